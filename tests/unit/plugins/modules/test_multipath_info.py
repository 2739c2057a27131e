# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

pytest.importorskip("ansible")
yaml = pytest.importorskip("yaml")

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError, IscsiError  # noqa: E402
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.daemon import Daemon  # noqa: E402
from ansible_collections.lunar.iscsi.plugins.modules import multipath_info as module  # noqa: E402
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.sysfs_tree import Tree  # noqa: E402

ANSWER = (Path(__file__).parents[1] / "module_utils/_multipath/fixtures/maps/0.14.3-failover.txt").read_bytes()
TARGET = "iqn.2003-01.org.linux-iscsi.rheln1"


class Fixed(Daemon):
    def ask(self, command: str, timeout: float = 10.0) -> bytes:
        return ANSWER


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    tree.session(1, 2, TARGET)
    tree.lun(1, 2, 0, "sdb", "8:16")
    tree.session(2, 3, TARGET, "192.0.2.2", state="FAILED", ifacename="san1")
    tree.lun(2, 3, 0, "sdc", "8:32")
    add_map(tree, "rbd0", "360014059ca317516a69465c883a29603")
    return tree


def add_map(tree: Tree, name: str, wwid: str) -> None:
    tree.block("dm-0", "254:0", name=name, uuid=f"mpath-{wwid}")


def look(tree: Tree, **options: t.Any) -> t.Dict[str, t.Any]:
    return module.look(Fixed(), dict({"maps": ["rbd0"], "wait_for": None, "timeout": 1.0}, **options), tree.sys, tree.dev)


def test_the_session_behind_each_path(tree: Tree) -> None:
    found = [path["session"] for group in look(tree)["maps"][0]["groups"] for path in group["paths"]]
    assert found == [
        {"sid": 1, "target": TARGET, "portal": "192.0.2.1:3260,1", "iface": "default", "state": "LOGGED_IN"},
        {"sid": 2, "target": TARGET, "portal": "192.0.2.2:3260,1", "iface": "san1", "state": "FAILED"},
    ]


def compare(documented: t.Mapping[str, t.Any], returned: t.Mapping[str, t.Any], where: str) -> None:
    assert set(documented) == set(returned), where
    for name, entry in documented.items():
        value = returned[name][0] if entry["type"] == "list" and returned[name] else returned[name]
        if "contains" in entry and value:
            compare(entry["contains"], value, f"{where}.{name}")


def test_return_is_documented_key_by_key(tree: Tree) -> None:
    with pytest.raises(IscsiError) as caught:
        look(tree, maps=["rbd0", "gone"], wait_for={"paths": 3}, timeout=0.1)
    failed = caught.value.fields()
    assert failed.pop("error")["object"] == "wait_for"
    documented = yaml.safe_load(module.RETURN)
    compare(documented, failed, "RETURN")
    found = look(tree)
    assert (found.pop("changed"), set(found)) == (False, set(documented) - {"missing"})
    for name in documented:
        compare(documented[name]["contains"], documented[name]["sample"][0], f"sample of {name}")


@pytest.mark.parametrize("timeout", [0, -1, 3601])
def test_a_timeout_that_makes_no_sense(tree: Tree, timeout: float) -> None:
    with pytest.raises(InputError, match="option timeout"):
        look(tree, timeout=timeout)
