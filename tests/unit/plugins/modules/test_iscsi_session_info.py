# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
import typing as t
from pathlib import Path

import pytest

pytest.importorskip("ansible")
yaml = pytest.importorskip("yaml")

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


def look(tree: Tree, targets: t.Sequence[str] = (), sids: t.Sequence[int] = ()) -> t.Dict[str, t.Any]:
    return module.look(targets, sids, tree.sys, tree.dev, tree.udev)


def test_a_host_without_sessions(tmp_path: Path) -> None:
    assert look(Tree(tmp_path)) == {"changed": False, "sessions": [], "disks": [], "nodes": []}


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


def compare(documented: t.Mapping[str, t.Any], returned: t.Mapping[str, t.Any], where: str) -> None:
    assert set(documented) == set(returned), where
    for name, entry in documented.items():
        value = returned[name][0] if entry["type"] == "list" and returned[name] else returned[name]
        if "contains" in entry:
            compare(entry["contains"], value, f"{where}.{name}")


def test_return_is_documented_key_by_key(tree: Tree) -> None:
    found = look(tree)
    del found["changed"]
    documented = yaml.safe_load(module.RETURN)
    compare(documented, found, "RETURN")
    for name in ("sessions", "disks", "nodes"):
        compare(documented[name]["contains"], documented[name]["sample"][0], f"sample of {name}")
