# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which process is multipathd, and the note of what it was not told."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._multipath import owed


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(owed, "PID_FILES", (str(tmp_path / "one"), str(tmp_path / "two")))
    monkeypatch.setattr(owed, "NOTE", str(tmp_path / "note"))
    return tmp_path


@pytest.fixture
def named() -> t.Iterator[None]:
    """This process has the name of the daemon."""
    comm = Path("/proc/self/comm")
    name = comm.read_text()
    comm.write_text("multipathd")
    yield
    comm.write_text(name.strip())


def test_no_process_is_the_daemon(run: Path) -> None:
    assert owed.running_daemon() == ""
    (run / "two").write_text(f"{os.getpid()}\n")
    assert owed.running_daemon() == "", "the number of another process"


def test_which_process_is_the_daemon(run: Path, named: None) -> None:
    (run / "two").write_text(f"{os.getpid()}\n")
    number, began = owed.running_daemon().split(" ")
    assert int(number) == os.getpid()
    # the witness: when it began is between the boot and now
    assert 0 < int(began) <= float(Path("/proc/uptime").read_text().split()[0]) * os.sysconf("SC_CLK_TCK")
    for junk in ("", "x\n", "-1\n", "4194305\n"):
        (run / "two").write_text(junk)
        assert owed.running_daemon() == ""


def test_the_note_is_of_one_process(run: Path) -> None:
    assert not owed.is_owed("7 100") and not owed.is_owed("")
    owed.note("7 100")
    assert owed.is_owed("7 100") and (run / "note").stat().st_mode & 0o777 == 0o600
    assert not owed.is_owed("7 101") and not owed.is_owed("17 100") and not owed.is_owed("")
    owed.settle()
    assert not owed.is_owed("7 100")
    owed.settle()
