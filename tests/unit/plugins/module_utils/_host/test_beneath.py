# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The disks under a system: through partitions, volumes, maps and btrfs, and never those of the system around it."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._host import beneath
from ansible_collections.lunar.iscsi.plugins.module_utils._host.beneath import system_disks
from ansible_collections.lunar.iscsi.plugins.module_utils._host.block import User
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.carriers import find_carriers, system_users
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.sessions import read_sessions
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.sysfs_tree import Tree

NUMBERS = {"sda": "8:0", "sda1": "8:1", "sdb": "8:16", "sdc": "8:32", "vda": "254:0", "dm-0": "253:0", "dm-1": "253:1", "dm-2": "253:2"}
ONE, TWO = "iqn.2026-11.org.example:one", "iqn.2026-11.org.example:two"


@pytest.fixture
def host(tmp_path: Path) -> Tree:
    """Two sessions with a disk each and a partition on the first; sdb and sdc are two paths; a disk of its own."""
    tree = Tree(tmp_path)
    tree.session(1, 3, ONE)
    tree.lun(1, 3, 1, "sda", "8:0")
    tree.partition("sda", "sda1", "8:1")
    tree.session(2, 4, TWO)
    tree.lun(2, 4, 1, "sdb", "8:16")
    tree.session(3, 5, TWO, "192.0.2.2")
    tree.lun(3, 5, 1, "sdc", "8:32")
    for name in ("vda", "dm-0", "dm-1", "dm-2"):
        tree.block(name, NUMBERS[name])
    tree.stack("dm-0", "sdb", "sdc")  # the map
    tree.stack("dm-1", "dm-0", "sda1")  # a volume over it and the partition
    tree.stack("dm-2", "dm-1")  # encrypted
    for name, numbers in NUMBERS.items():
        tree.link(f"/sys/dev/block/{numbers}", f"/sys/class/block/{name}")
    return tree


def mounted(tree: Tree, **points: str) -> None:
    lines = [f"{number} 1 {NUMBERS.get(name, name)} / {point} rw - ext4 /dev/{name} rw\n" for number, (point, name) in enumerate(points.items(), 20)]
    tree.write("/proc/self/mountinfo", "".join(lines))


CASES: t.Mapping[str, t.Tuple[t.Mapping[str, str], str, t.Mapping[str, t.Sequence[str]]]] = {
    "a disk": ({"/": "sda"}, "/", {"/": ["sda"]}),
    "a partition": ({"/": "sda1"}, "/", {"/": ["sda"]}),
    "a map over two paths": ({"/": "dm-0"}, "/", {"/": ["sdb", "sdc"]}),
    "encryption over a volume over a map and a partition": ({"/": "dm-2"}, "/", {"/": ["sda", "sdb", "sdc"]}),
    "another file system it needs": ({"/": "vda", "/usr": "sda1"}, "/", {"/": ["vda"], "/usr": ["sda"]}),
    "one it can be without": ({"/": "vda", "/srv": "sda1"}, "/", {"/": ["vda"]}),
    "a mounted tree, not what is around it": ({"/": "vda", "/mnt/image": "sda1", "/mnt/image/usr": "sdb"}, "/mnt/image/", {"/": ["sda"], "/usr": ["sdb"]}),
    "a folder of the system around it": ({"/": "sda1"}, "/mnt/image", {}),
    "no device": ({"/": "0:25"}, "/", {}),
}


@pytest.mark.parametrize("points, root, expected", CASES.values(), ids=CASES)
def test_disks_under_a_system(host: Tree, points: t.Mapping[str, str], root: str, expected: t.Mapping[str, t.Sequence[str]]) -> None:
    mounted(host, **points)
    assert system_disks(root, sys=host.sys, proc=host.proc) == expected


def test_the_last_mount_at_a_point_is_the_one_that_is_seen(host: Tree) -> None:
    host.write("/proc/self/mountinfo", "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n21 20 254:0 / / rw - ext4 /dev/vda rw\n")
    assert system_disks("/", sys=host.sys, proc=host.proc) == {"/": ["vda"]}


def test_all_devices_of_btrfs_count(host: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    host.write("/proc/self/mountinfo", "20 1 0:31 /sub / rw - btrfs /dev/sda1 rw\n")
    for name in ("sda1", "sdb"):
        host.link(f"/sys/fs/btrfs/0123/devices/{name}", f"/sys/class/block/{name}")
    monkeypatch.setattr(beneath, "_numbers_of", {"/dev/sda1": "8:1"}.__getitem__)
    assert system_disks("/", sys=host.sys, proc=host.proc) == {"/": ["sda", "sdb"]}


def test_carriers_are_the_sessions_with_a_disk_under_it(host: Tree) -> None:
    mounted(host, **{"/": "dm-0", "/usr": "sdb", "/var": "vda"})
    found = find_carriers(read_sessions(host.sys), "/", sys=host.sys, proc=host.proc)
    assert [(carrier.session.sid, carrier.points, carrier.disks) for carrier in found] == [(2, ("/", "/usr"), ("sdb",)), (3, ("/",), ("sdc",))]


def test_without_sessions_nothing_is_read(tmp_path: Path) -> None:
    assert find_carriers([], "/", sys=str(tmp_path / "none"), proc=str(tmp_path / "none")) == []


@pytest.mark.parametrize("user, needed", [
    (User("/dev/sda1", "mount", "/"), True), (User("/dev/sda1", "mount", "/usr"), True), (User("/dev/sda1", "swap"), True),
    (User("/dev/sda1", "btrfs", "0123", "mounted on /, /home"), True), (User("/dev/sda1", "btrfs", "0123", "mounted on /home"), False),
    (User("/dev/sda1", "mount", "/srv"), False), (User("/dev/sda1", "mount", "/", "in the mount namespace of init, pid 12"), False),
    (User("/dev/sda1", "lvm", "vg-root"), False), (User("/dev/sda", "open", "dd", "pid 3"), False),
])
def test_what_the_system_cannot_be_without(user: User, needed: bool) -> None:
    assert bool(system_users([user])) is needed
