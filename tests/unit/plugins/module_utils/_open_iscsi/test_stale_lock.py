# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lock is stale only where nobody can be holding it; one that is held is never taken away."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi import lock
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.layout import Location
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.lock import DatabaseLock, remove_stale_lock, stale_lock
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.version import NEWEST


@pytest.fixture
def location(tmp_path: Path) -> Location:
    (tmp_path / "lock").mkdir()
    return Location("/", str(tmp_path / "db"), "/etc/iscsi", str(tmp_path / "lock"), NEWEST)


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_STALE_AFTER", 0.0)


def take(location: Location) -> None:
    """As iscsiadm takes it."""
    Path(location.lock_folder, "lock").touch()
    os.link(Path(location.lock_folder, "lock"), location.lock)


@pytest.fixture
def iscsiadm(tmp_path: Path) -> t.Iterator[t.Callable[[], None]]:
    """Start a program of that name, which does nothing."""
    program, running = tmp_path / "iscsiadm", []
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)

    def start() -> None:
        running.append(subprocess.Popen([str(program), "60"]))
        deadline = time.monotonic() + 5
        while not lock.running_programs(("iscsiadm",)) and time.monotonic() < deadline:
            time.sleep(0.01)

    yield start
    for process in running:
        process.kill()
        process.wait()


def test_none_is_none(location: Location) -> None:
    assert stale_lock(location) is None
    remove_stale_lock(location)


def test_one_that_was_taken_a_moment_ago_is_not(location: Location) -> None:
    take(location)
    assert stale_lock(location) is None
    remove_stale_lock(location)
    assert os.path.exists(location.lock)


@pytest.mark.usefixtures("no_wait")
def test_one_that_nobody_can_hold_is(location: Location) -> None:
    take(location)
    assert "nobody who could hold it" in (stale_lock(location) or "")
    remove_stale_lock(location)
    assert not os.path.exists(location.lock)


@pytest.mark.usefixtures("no_wait")
def test_one_of_a_program_that_ran_already_is_not(location: Location, iscsiadm: t.Callable[[], None]) -> None:
    iscsiadm()
    take(location)
    assert stale_lock(location) is None


@pytest.mark.usefixtures("no_wait")
def test_one_that_a_program_waits_for_is(location: Location, iscsiadm: t.Callable[[], None]) -> None:
    take(location)
    time.sleep(1.5)
    iscsiadm()
    assert stale_lock(location) is not None


@pytest.mark.usefixtures("no_wait")
def test_ours_is_while_no_task_holds_it(location: Location) -> None:
    with DatabaseLock(location, 1):
        assert os.path.exists(location.lock) and stale_lock(location) is None
        remove_stale_lock(location)
        assert os.path.exists(location.lock)
    os.link(Path(location.lock_folder, "lock.lunar"), location.lock)  # as a killed task leaves it
    assert stale_lock(location) == "was left by a task of this collection that was killed"
