# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest

pytest.importorskip("ansible")
yaml = pytest.importorskip("yaml")

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError  # noqa: E402
from ansible_collections.lunar.iscsi.plugins.modules import iscsi_firmware_info as module  # noqa: E402
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.ibft_tree import ONE_TARGET, plant  # noqa: E402
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.sysfs_tree import Tree  # noqa: E402

CHAP = {"username": "host", "password": "plain-secret-1", "username_in": "array", "password_in": "plain-secret-2"}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    target = dict(ONE_TARGET["targets"][0], chap=CHAP)
    plant(tree, dict(ONE_TARGET, targets=[target, dict(target, nic=5)]), {"ens5": "52:54:00:12:34:56"})
    return tree


def look(tree: Tree, secrets: bool = False, hidden: bool = False) -> t.Dict[str, t.Any]:
    return module.look(secrets, hidden, tree.sys, tree.proc)


def test_a_host_without_table(tmp_path: Path) -> None:
    assert look(Tree(tmp_path)) == {"changed": False, "initiators": [], "nics": [], "targets": [], "records": [], "acpi": {}, "problems": []}


def test_no_process_is_started(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    started: t.List[t.Any] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: started.append(args))
    for name in ("fork", "posix_spawn", "system"):
        monkeypatch.setattr(os, name, lambda *args, **kwargs: started.append(args))
    assert len(look(tree)["records"]) == 1 and started == []


def test_secrets_come_only_where_nothing_is_logged(tree: Tree) -> None:
    with pytest.raises(InputError, match="no_log"):
        look(tree, secrets=True)
    assert "plain-secret" not in json.dumps([look(tree), look(tree, hidden=True)])
    found = look(tree, secrets=True, hidden=True)
    assert found["targets"][0]["auth"] == {"method": "CHAP", **CHAP} and found["records"][0]["node.session.auth.password"] == "plain-secret-1"


def compare(documented: t.Mapping[str, t.Any], returned: t.Mapping[str, t.Any], where: str) -> None:
    assert set(documented) == set(returned), where
    for name, entry in documented.items():
        value = returned[name][0] if entry["type"] == "list" and returned[name] else returned[name]
        if "contains" in entry:
            compare(entry["contains"], value, f"{where}.{name}")


def test_return_is_documented_key_by_key(tree: Tree) -> None:
    found = look(tree, secrets=True, hidden=True)
    del found["changed"]
    documented = yaml.safe_load(module.RETURN)
    compare(documented, found, "RETURN")
    for name in ("initiators", "nics", "problems"):
        compare(documented[name]["contains"], documented[name]["sample"][0], f"sample of {name}")
    sample = documented["targets"]["sample"][0]
    assert set(sample) == set(documented["targets"]["contains"])
    assert set(documented["targets"]["contains"]["auth"]["contains"]) - set(sample["auth"]) == {"password", "password_in"}
    assert set(documented["records"]["sample"][0]) <= {*found["records"][0], "iface.net_ifacename"}
