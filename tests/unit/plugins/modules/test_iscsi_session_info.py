# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import calendar
import os
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

pytest.importorskip("ansible")
yaml = pytest.importorskip("yaml")

from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result, Runner  # noqa: E402
from ansible_collections.lunar.iscsi.plugins.modules import iscsi_session_info as module  # noqa: E402
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.sysfs_tree import Tree  # noqa: E402

ONE = "iqn.2026-11.org.example:disk1"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    tree.session(1, 2, ONE)
    tree.lun(1, 2, 1, "sda", "8:0")
    tree.session(2, 3, ONE + "2", "192.0.2.2")
    return tree


def look(tree: Tree, targets: t.Sequence[str] = (), sids: t.Sequence[int] = (), **more: t.Any) -> t.Dict[str, t.Any]:
    return module.look(targets, sids, sys=tree.sys, dev=tree.dev, udev_db=tree.udev, **more)


@pytest.fixture
def iscsiadm(monkeypatch: pytest.MonkeyPatch) -> t.List[t.Tuple[str, ...]]:
    """An iscsiadm that counts for session 1 and fails for session 2; the command lines it got."""
    ran: t.List[t.Tuple[str, ...]] = []

    def run(_self: Runner, argv: t.Sequence[str], **_more: t.Any) -> Result:
        ran.append(tuple(argv))
        text = "Stats for session [sid: 1, target: x, portal: y,1]\niSCSI SNMP:\n\ttxdata_octets: 7\n"
        return Result(tuple(argv), 2, "" if "2" in argv else text, "")

    monkeypatch.setattr(Runner, "run", run)
    return ran


def test_counters_go_to_their_sessions(tree: Tree, iscsiadm: t.List[t.Tuple[str, ...]]) -> None:
    found = look(tree, statistics=True)
    assert [session["statistics"] for session in found["sessions"]] == [{"txdata_octets": 7}, None]
    assert [problem["object"] for problem in found["problems"]] == ["session 2"]
    assert iscsiadm == [("iscsiadm", "-m", "session", "--stats"), ("iscsiadm", "-m", "session", "-r", "2", "--stats")]


def test_no_counter_is_asked_for_where_there_is_no_session(tree: Tree, iscsiadm: t.List[t.Tuple[str, ...]]) -> None:
    assert look(tree, sids=[9], statistics=True)["sessions"] == [] and iscsiadm == []


def test_a_host_without_sessions(tmp_path: Path) -> None:
    assert look(Tree(tmp_path)) == {"changed": False, "sessions": [], "disks": [], "nodes": [], "problems": []}


def test_selection_holds_for_disks_and_nodes_too(tree: Tree) -> None:
    found = look(tree, sids=[2])
    assert ([session["sid"] for session in found["sessions"]], found["disks"]) == ([2], [])
    assert found["nodes"] == [{"target": ONE + "2", "portals": ["192.0.2.2:3260,1"], "ifaces": ["default"]}]


def test_no_process_is_started(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    started: t.List[t.Any] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: started.append(args))
    for name in ("fork", "posix_spawn", "system"):
        monkeypatch.setattr(os, name, lambda *args, **kwargs: started.append(args))
    assert len(look(tree)["sessions"]) == 2
    assert started == []


def kmsg(tree: Tree, ago: float, sid: int = 1) -> str:
    """A log with one record in it."""
    tree.write("/dev/kmsg", f"6,1042,{int((time.monotonic() - ago) * 1e6)},-; connection{sid}:0: detected conn error (1020)\n")
    return f"{tree.dev}/kmsg"


def test_a_session_is_explained_when_asked(tree: Tree) -> None:
    tree.session(3, 4, ONE, "192.0.2.3", state="FAILED")
    assert [session.get("explanation") for session in look(tree, kmsg=kmsg(tree, 20))["sessions"]] == [None, None, None]
    found = look(tree, explain=True, kmsg=kmsg(tree, 20, sid=3))
    assert [session["explanation"]["recovery"] for session in found["sessions"]] == ["none", "none", "waiting"]
    explained = found["sessions"][2]["explanation"]
    assert explained["error"]["number"] == 1020 and 95 < explained["timer"]["remaining"] <= 100
    stamp = calendar.timegm(time.strptime(explained["error"]["time"], "%Y-%m-%dT%H:%M:%SZ"))
    assert abs(time.time() - 20 - stamp) < 5
    assert found["problems"] == []


def test_a_log_that_is_not_for_this_user_is_told(tree: Tree) -> None:
    found = look(tree, explain=True, kmsg=f"{tree.dev}/kmsg")
    assert [problem["object"] for problem in found["problems"]] == [f"the kernel's log {tree.dev}/kmsg"]
    assert [session["explanation"]["recovery"] for session in found["sessions"]] == ["none", "none"]


def test_a_log_that_was_not_read_to_its_end_is_told(tree: Tree) -> None:
    assert "its newest messages were not read" in look(tree, explain=True, kmsg=tree.dev)["problems"][0]["what"]


def compare(documented: t.Mapping[str, t.Any], returned: t.Mapping[str, t.Any], where: str) -> None:
    assert set(documented) == set(returned) - {"changed"}, where
    for name, entry in documented.items():
        value = returned[name][0] if entry["type"] == "list" and returned[name] else returned[name]
        if "contains" in entry and value:
            compare(entry["contains"], value, f"{where}.{name}")


def test_return_is_documented_key_by_key(tree: Tree, iscsiadm: t.List[t.Tuple[str, ...]]) -> None:
    found = look(tree, explain=True, statistics=True, kmsg=kmsg(tree, 20))
    documented = yaml.safe_load(module.RETURN)
    explained = documented["sessions"]["contains"]["explanation"]
    shown = found["sessions"][0]["explanation"]
    assert shown["error"] == shown["events"][0] and shown["timer"]
    explained["contains"]["error"]["contains"] = explained["contains"]["events"]["contains"]
    for place, value in (("returned", shown), ("sample", explained["sample"])):
        compare(explained["contains"], value, f"explanation, {place}")
    compare(documented, found, "RETURN")
    for name in ("explanation", "statistics"):
        del documented["sessions"]["contains"][name]
    del documented["sessions"]["sample"][0]["statistics"]
    compare(documented, look(tree), "RETURN")
    for name in ("sessions", "disks", "nodes", "problems"):
        compare(documented[name]["contains"], documented[name]["sample"][0], f"sample of {name}")
