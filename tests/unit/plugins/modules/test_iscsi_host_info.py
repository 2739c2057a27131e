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

from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.iscsiadm_host import HostAdm  # noqa: E402
from ansible_collections.lunar.iscsi.plugins.modules import iscsi_host, iscsi_host_info  # noqa: E402
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils._open_iscsi.iscsiadm_player import Player  # noqa: E402
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.sysfs_tree import Tree  # noqa: E402

TARGET = "iqn.2026-11.org.example:disk1"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    tree.session(1, 6, TARGET)
    tree.attributes("/sys/class/scsi_host/host6", proc_name="qla4xxx", state="running")
    tree.attributes("/sys/bus/iscsi_flashnode/devices/flashnode_sess-6:2", targetname=TARGET, portal_type="ipv4")
    tree.attributes("/sys/bus/iscsi_flashnode/devices/flashnode_conn-6:2:0", ipaddress="192.0.2.1", port=3260)
    tree.attributes("/sys/class/iscsi_iface/ipv4-iface-6-0", ipaddress="192.0.2.10", mtu=1500)
    return tree


def look(tree: Tree, *dialogues: str, **params: t.Any) -> t.Dict[str, t.Any]:
    return iscsi_host_info.look(dict({"hosts": [], "chap": False, "stats": False}, **params), tree.sys, HostAdm(Player(*dialogues)))


def test_no_process_is_started_without_need(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    started: t.List[t.Any] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: started.append(args))
    for name in ("fork", "posix_spawn", "system"):
        monkeypatch.setattr(os, name, lambda *args, **kwargs: started.append(args))
    [host] = iscsi_host_info.look({"hosts": ["6"], "chap": False, "stats": False}, tree.sys)["hosts"]
    assert (host["transport"], host["flash_nodes"][0]["sids"], host["chap"], host["stats"]) == ("qla4xxx", [1], None, None)
    assert started == []


def test_sessions_of_software_are_not_asked_for_tables(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.session(1, 12, TARGET)
    result = look(tree, chap=True, stats=True)
    assert [(host["host"], host["chap"], host["stats"]) for host in result["hosts"]] == [(12, None, None)]
    assert result["problems"] == []


def compare(documented: t.Mapping[str, t.Any], returned: t.Mapping[str, t.Any], where: str) -> None:
    assert set(documented) == set(returned), where
    for name, entry in documented.items():
        value = returned[name][0] if entry["type"] == "list" and returned[name] else returned[name]
        if "contains" in entry:
            compare(entry["contains"], value, f"{where}.{name}")


def test_return_is_documented_key_by_key(tree: Tree) -> None:
    found = look(tree, "table", "statistics", chap=True, stats=True)
    assert found.pop("changed") is False
    documented = yaml.safe_load(iscsi_host_info.RETURN)
    compare(documented, found, "RETURN")
    compare(documented["hosts"]["contains"], documented["hosts"]["sample"][0], "sample of hosts")
    of_module = yaml.safe_load(iscsi_host.RETURN)["host"]
    compare(of_module["contains"], {name: value for name, value in found["hosts"][0].items() if name != "stats"}, "RETURN of iscsi_host")
    compare(of_module["contains"], of_module["sample"], "sample of host")
