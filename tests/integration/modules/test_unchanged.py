# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module about open-iscsi that finds nothing to change runs no iscsiadm, or one; strace counts. bench/README.md says the same."""

from __future__ import annotations

import os
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.tests.integration.modules.unchanged import BARE, CASES, COLUMNS, DISK, SERVED, Case, World, world

ROOT = Path(__file__).resolve().parents[3]
#: what only iscsiadm can tell; all other tasks run nothing
ONE = {("iscsi_discovery", "SendTargets, `method: iscsiadm`"), ("iscsi_host", "CHAP table"), ("iscsi_host_info", "`chap`"), ("iscsi_host_info", "`stats`"),
       ("iscsi_session_info", "`statistics`")}


@pytest.fixture(scope="module", name="host")
def _host(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[World]:
    if os.geteuid() != 0 or not all(map(shutil.which, ("iscsiadm", "tgtd", "isnsd", "strace", "gcc"))):
        pytest.fail("these tests make namespaces: run them as root, with the packages open-iscsi, tgt, open-isns-server, open-isns-utils, strace and gcc")
    with world(tmp_path_factory.mktemp("world")) as one:
        yield one


@pytest.mark.parametrize("case", CASES, ids=str)
def test_nothing_is_run_or_one_iscsiadm(host: World, case: Case) -> None:
    assert host.count(case) == (int(case[:2] in ONE), ())


def test_every_module_about_open_iscsi_is_there() -> None:
    assert {case.module for case in CASES} == {path.stem for path in (ROOT / "plugins/modules").glob("iscsi_*.py")}
    assert {case[:2] for case in CASES} >= ONE


def test_the_page_says_so() -> None:
    lines = (ROOT / "bench/README.md").read_text("utf-8").splitlines()
    start = lines.index("| " + " | ".join(COLUMNS) + " |") + 2
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines[start:] if line.startswith("|")]
    assert rows == [(f"`{case.module}`", case.what, str(int(case[:2] in ONE)), "none") for case in CASES]


def test_there_was_something_to_find(host: World) -> None:
    """iscsiadm as the witness: what the tasks are about is there."""
    for case in CASES:
        if case.module in ("iscsi_discovery", "iscsi_node"):
            host.count(case)
    recorded = host.run("iscsiadm", "-m", "node").stdout
    assert all(name in recorded for name in (*SERVED, DISK)) and "192.0.2.7:3260,1 " in recorded and "192.0.2.3:3260,1 " in recorded
    assert recorded.count(":node") == 100
    assert host.run("iscsiadm", "-m", "session").stdout.count("(non-flash)") == 2 and BARE in host.run("iscsiadm", "-m", "session").stdout


def test_what_is_run_is_counted(host: World) -> None:
    """Several are several, and a task that changes something is not taken for one that does not."""
    assert host.count(Case("iscsi_host_info", "two tables", {"chap": True, "stats": True})) == (2, ())
    with pytest.raises(RuntimeError, match="update iface san9"):
        host.count(Case("iscsi_iface", "another size", {"name": "san9", "settings": {"iface.mtu": 9000}}, {"settings": {"iface.mtu": 1500}}))
