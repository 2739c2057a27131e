# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iscsi_image without iscsiadm: which nodes a tree is on, other versions of open-iscsi, and what is left alone with a word."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import bring_about
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, HostError, InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.carriers import Carrier
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.database import open_writer
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.image_task import ImageTask, for_version, startup_settings
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.layout import locate
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.new_records import new_iface, new_node, new_send_targets
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import Kind, fields
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.stored import FW, Discovery, discovered_by, read_database
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.version import parse_version
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils._open_iscsi.builders import ONE, TWO, A, B, session

NAME = "iqn.2026-11.org.example:host"
OLD, NEW = "2.0-873", "2.1.11"


class System:
    """A system under a folder, with an iscsiadm of a version."""

    def __init__(self, root: Path, version: str, name: str = NAME) -> None:
        self.root = root
        (root / "usr/sbin").mkdir(parents=True)
        (root / "usr/sbin/iscsiadm").write_bytes(b"x\0# BEGIN RECORD " + version.encode() + b"\0/etc/iscsi/nodes\0")
        (root / "etc/iscsi").mkdir(parents=True)
        (root / "etc/iscsi/initiatorname.iscsi").write_text(f"InitiatorName={name}\n")
        self.version = parse_version(version)

    def node(self, target: str, portal: t.Any, iface: str = "default", **settings: str) -> NodeKey:
        bound = None if iface == "default" else new_iface(iface, {}, version=self.version)
        record = new_node({}, target=target, portal=portal, version=self.version, iface=bound).with_settings(settings)
        with open_writer(locate(str(self.root))) as writer:
            writer.write_node(NodeKey(target, portal, iface), record, discovered_by(record))
        return NodeKey(target, portal, iface)

    def startups(self) -> t.Dict[str, str]:
        return {str(key): stored.record.get("node.startup") for key, stored in read_database(locate(str(self.root))).nodes.items()}


@pytest.fixture
def source(tmp_path: Path) -> System:
    return System(tmp_path / "source", NEW)


@pytest.fixture
def tree(tmp_path: Path) -> System:
    return System(tmp_path / "tree", NEW, "iqn.2026-11.org.example:fresh")


def run(source: System, tree: System, *live: t.Any, boot: t.Optional[t.List[t.Dict[str, t.Any]]] = None, check: bool = False) -> t.Dict[str, t.Any]:
    nodes = None if boot is None else [{"portals": None, "ifaces": None, **node} for node in boot]
    params = {"root": str(tree.root), "source": str(source.root), "boot_nodes": nodes}
    carriers = [Carrier(one, ("/",), ("sda",)) for one in live]
    return bring_about(ImageTask(params, lambda root: carriers if root == str(tree.root) else []), check)


def test_the_nodes_under_the_tree_are_found_out(source: System, tree: System) -> None:
    source.node(ONE, A)
    source.node(TWO, B)
    done = run(source, tree, session(7, ONE, A))
    assert done["boot_nodes"] == [{"target": ONE, "portals": [str(A)], "ifaces": ["default"]}]
    assert tree.startups() == {f"{ONE} at {A}": "onboot", f"{TWO} at {B}": "automatic"}
    assert not run(source, tree, session(7, ONE, A))["changed"]


def test_a_node_that_was_automatic_and_carries_the_root_now_becomes_onboot(source: System, tree: System) -> None:
    source.node(ONE, A)
    run(source, tree)
    assert tree.startups() == {f"{ONE} at {A}": "automatic"}
    done = run(source, tree, session(7, ONE, A))
    assert [step.split()[0] for step in done["steps"]] == ["update"] and tree.startups() == {f"{ONE} at {A}": "onboot"}


def test_a_session_without_a_record_is_recorded(source: System, tree: System) -> None:
    done = run(source, tree, session(7, ONE, A))
    assert done["changed"] and tree.startups() == {f"{ONE} at {A}": "onboot"}


def test_a_node_the_firmware_named_but_nothing_stands_on_becomes_automatic(source: System, tree: System) -> None:
    record = new_node({}, target=ONE, portal=A, version=source.version, discovery=FW)
    with open_writer(locate(str(source.root))) as writer:
        writer.write_node(NodeKey(ONE, A), record, FW)
    run(source, tree)
    found = read_database(locate(str(tree.root)))
    held = found.nodes[NodeKey(ONE, A)].record
    assert (held.get("node.startup"), held.get("node.conn[0].startup")) == ("automatic", "automatic")
    assert found.linked[FW] == {NodeKey(ONE, A)}


@pytest.mark.parametrize("versions", [(OLD, NEW), (NEW, OLD), ("2.1.8", "2.1.11"), ("2.1.11", "2.1.8")])
def test_records_are_those_of_the_trees_own_version(tmp_path: Path, versions: t.Tuple[str, str]) -> None:
    first, second = System(tmp_path / "source", versions[0]), System(tmp_path / "tree", versions[1])
    first.node(ONE, A, **{"node.session.timeo.replacement_timeout": "77"})
    record = new_send_targets({}, B, version=first.version)
    with open_writer(locate(str(first.root))) as writer:
        writer.write_send_targets(B, record)
    run(first, second)
    found = read_database(locate(str(second.root)))
    held = found.nodes[NodeKey(ONE, A)].record
    assert held.version == second.version and not held.unknown_keys(second.version) and not found.problems
    assert held.get("node.session.timeo.replacement_timeout") == "77"
    assert discovered_by(held).kind is Kind.STATIC and NodeKey(ONE, A) in found.linked[Discovery(Kind.STATIC)]
    order = list(fields(Kind.NODE, second.version))
    assert list(held.settings) == sorted(held.settings, key=order.index)
    assert not found.send_targets[B.endpoint].record.unknown_keys(second.version)
    assert not run(first, second)["changed"] and run(first, second)["kept"] == []


def test_another_tag_is_told_and_nothing_is_doubled(source: System, tree: System) -> None:
    source.node(ONE, A)
    tree.node(ONE, A._replace(tpgt=2))
    done = run(source, tree, session(7, ONE, A))
    assert any("with another portal group tag (2)" in problem["what"] for problem in done["problems"])
    assert list(tree.startups()) == [f"{ONE} at {A._replace(tpgt=2)}"]


def test_a_node_of_an_iface_without_record_is_told(source: System, tree: System) -> None:
    source.node(ONE, A, "lost")
    done = run(source, tree)
    assert any("bound to iface lost" in problem["what"] for problem in done["problems"]) and tree.startups() == {}


def test_a_damaged_record_of_the_tree_is_left(source: System, tree: System) -> None:
    source.node(ONE, A)
    path = tree.root / f"etc/iscsi/nodes/{ONE}/{A.host},3260,1/default"
    path.parent.mkdir(parents=True)
    path.write_text("")
    done = run(source, tree)
    assert path.read_text() == "" and any(problem["object"] == str(path) for problem in done["problems"])


def test_check_mode_writes_nothing(source: System, tree: System) -> None:
    source.node(ONE, A)
    done = run(source, tree, session(7, ONE, A), check=True)
    assert done["changed"] and tree.startups() == {} and "fresh" in (tree.root / "etc/iscsi/initiatorname.iscsi").read_text()


def test_a_source_without_a_name_is_refused(source: System, tree: System) -> None:
    name = source.root / "etc/iscsi/initiatorname.iscsi"
    name.write_text("# nothing\n")
    with pytest.raises(DamagedError, match="names no initiator"):
        run(source, tree)
    name.unlink()
    with pytest.raises(HostError, match="is missing"):
        run(source, tree)


def test_source_and_tree_are_two(source: System) -> None:
    with pytest.raises(InputError, match="is that of source, too"):
        run(source, source)


def test_another_portal_of_the_root_disk_is_not_logged_in_to_by_start_scripts(source: System, tree: System) -> None:
    for target, portal in ((ONE, A), (ONE, B), (TWO, B)):
        source.node(target, portal)
    run(source, tree, session(7, ONE, A))
    assert tree.startups() == {f"{ONE} at {A}": "onboot", f"{ONE} at {B}": "manual", f"{TWO} at {B}": "automatic"}


@pytest.mark.parametrize("conn, startup, expected", [
    ("manual", "onboot", {"node.startup": "onboot", "node.conn[0].startup": "onboot"}),
    ("manual", "automatic", {"node.startup": "automatic"}),
    ("onboot", "automatic", {"node.startup": "automatic", "node.conn[0].startup": "automatic"}),
    ("manual", "manual", {"node.startup": "manual"}),
])
def test_startup(conn: str, startup: str, expected: t.Dict[str, str]) -> None:
    record = new_node({}, target=ONE, portal=A, version=parse_version(NEW)).with_settings({"node.conn[0].startup": conn})
    assert startup_settings(record, startup) == expected


def test_the_same_version_changes_nothing() -> None:
    version = parse_version(NEW)
    record = new_node({}, target=ONE, portal=A, version=version, discovery=B)
    assert list(for_version(record, version).settings.items()) == list(record.settings.items())
