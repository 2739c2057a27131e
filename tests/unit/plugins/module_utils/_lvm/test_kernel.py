# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lunar.iscsi.plugins.module_utils._lvm.kernel import Node, find_users, read_nodes, split_name
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.sysfs_tree import Tree

GROUP, VOLUME, OTHER = "sBfxKJs0I6K0ERu1jVapJdcJbfL2gf7K", "ncdGeF75n99DWMpzqFlL8d7OC5xgqD7C", "ncdGeF75n99DWMpzqFlL8d7OC5xgqD7D"


@pytest.mark.parametrize("name, parts", [
    ("xenGuests-noc1", ["xenGuests", "noc1"]),
    ("my--group-my--volume", ["my-group", "my-volume"]),
    ("data-tp-tpool", ["data", "tp", "tpool"]),
    ("mpatha", ["mpatha"]),
])
def test_names_in_dev_mapper(name: str, parts: t.List[str]) -> None:
    assert split_name(name) == parts


# lvm(8) lets no name of a group or volume begin with a hyphen; one that ends with it cannot be told apart by its device's name alone
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,6}[a-z0-9]", fullmatch=True)


@given(NAMES, NAMES)
def test_any_two_names_come_back(group: str, volume: str) -> None:
    assert split_name(f"{group.replace('-', '--')}-{volume.replace('-', '--')}") == [group, volume]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    tree.block("sda", "8:0", "", 100)
    tree.block("dm-0", "252:0", "", 100, uuid="mpath-36001405aa", name="mpatha", suspended="0")
    tree.block("dm-1", "252:1", "", 2048, uuid=f"LVM-{GROUP}{VOLUME}", name="xenGuests-noc--1", suspended="0")
    tree.block("dm-2", "252:2", "", 2048, uuid=f"LVM-{GROUP}{VOLUME}-real", name="xenGuests-noc--1-real", suspended="0")
    tree.block("dm-10", "252:10", "", 8, uuid=f"LVM-{GROUP}{OTHER}", name="xenGuests-snap", suspended="1")
    tree.block("dm-11", "252:11", "", 8, uuid="CRYPT-LUKS2-aa-secret", name="secret", suspended="0")
    return tree


def test_what_lvm_made_in_the_kernel(tree: Tree) -> None:
    assert read_nodes(tree.sys) == [
        Node("dm-1", "xenGuests-noc--1", GROUP, VOLUME, "", 1 << 20, False),
        Node("dm-2", "xenGuests-noc--1-real", GROUP, VOLUME, "-real", 1 << 20, False),
        Node("dm-10", "xenGuests-snap", GROUP, OTHER, "", 4096, True),
    ]
    assert {node.group for node in read_nodes(tree.sys)} == {"xenGuests"}


def test_a_host_without_any(tmp_path: Path) -> None:
    assert read_nodes(str(tmp_path)) == []


def users(tree: Tree, nodes: t.Sequence[Node]) -> t.List[str]:
    return [str(user) for user in find_users(nodes, sys=tree.sys, proc=tree.proc, dev=tree.dev)]


def test_volumes_that_stand_on_each_other_are_no_users(tree: Tree) -> None:
    tree.stack("dm-1", "dm-2")
    tree.stack("dm-10", "dm-2")
    nodes = read_nodes(tree.sys)
    assert users(tree, nodes) == []
    assert users(tree, nodes[:2]) == ["/dev/mapper/xenGuests-noc--1-real holds the LVM volume xenGuests-snap"]


def test_what_stands_on_a_volume_is_a_user_and_what_is_mounted_of_it(tree: Tree) -> None:
    tree.stack("dm-11", "dm-1")
    tree.write("/proc/self/mountinfo", "30 1 252:11 / /srv/secret rw - ext4 /dev/mapper/secret rw\n")
    assert users(tree, read_nodes(tree.sys)) == [
        "/dev/mapper/xenGuests-noc--1 holds the crypt device secret", "/dev/mapper/secret mounted on /srv/secret"]


def test_a_process_and_swap_are_users(tree: Tree) -> None:
    tree.write("/proc/swaps", "Filename Type Size Used Priority\n/dev/dm-10 partition 1 0 -2\n")
    tree.write("/proc/77/comm", "qemu\n")
    (Path(tree.proc) / "77/fd").mkdir()
    (Path(tree.proc) / "77/fd/5").symlink_to("/dev/dm-1")
    assert users(tree, read_nodes(tree.sys)) == ["/dev/mapper/xenGuests-snap used as swap", "/dev/mapper/xenGuests-noc--1 is opened by qemu (pid 77)"]
