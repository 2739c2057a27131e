# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks of two sessions to one LUN, with and without a map; another LUN behind a disk that the kernel knows."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, IscsiError
from ansible_collections.lunar.iscsi.plugins.module_utils._host import scsi
from ansible_collections.lunar.iscsi.plugins.module_utils._lvm.paths import Host
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.sysfs_tree import Tree

ONE, TWO = "6001405bbbbbbbbbbbbbbbbbbbbbbbb1", "6001405bbbbbbbbbbbbbbbbbbbbbbbb2"


def page83(*naas: str) -> bytes:
    """VPD page 0x83 with NAA designators of the LUN, and one of the port before them, as LIO has them."""
    body = b"\x01\x14\x00\x04\x00\x00\x00\x01" + b"".join(b"\x01\x03\x00" + bytes([len(naa) // 2]) + bytes.fromhex(naa) for naa in naas)
    return b"\x00\x83" + len(body).to_bytes(2, "big") + body


class Made(t.NamedTuple):
    tree: Tree
    host: Host

    def disk(self, name: str, numbers: str, naa: str, number: int, **values: object) -> None:
        folder = self.tree.lun(number, number, 0, name, numbers, wwid=f"naa.{naa}", **values)
        self.tree.write(f"{folder}/vpd_pg83", page83(naa))
        self.tree.write(f"/dev/{name}", b"")

    def single_path(self, device: str) -> t.Optional[IscsiError]:
        return self.host.single_path(device, self.host.by_wwid())

    def map(self, wwid: str, *paths: str) -> None:
        self.tree.block("dm-0", "252:0", "", 100, uuid=f"mpath-{wwid}", name="mpatha")
        self.tree.stack("dm-0", *paths)
        self.tree.write("/dev/dm-0", b"")
        (self.tree.root / "dev/mapper").mkdir()
        (self.tree.root / "dev/mapper/mpatha").symlink_to("../dm-0")


@pytest.fixture
def made(tmp_path: Path) -> Made:
    tree = Tree(tmp_path)
    return Made(tree, Host(tree.sys, tree.proc, tree.dev, tree.udev))


def test_a_disk_with_one_path_is_used_as_it_is(made: Made) -> None:
    made.disk("sdb", "8:16", ONE, 1)
    made.disk("sdc", "8:32", TWO, 2)
    assert made.single_path("/dev/sdb") is None


def test_a_map_over_both_paths_is_used_and_a_partition_of_it(made: Made) -> None:
    made.disk("sdb", "8:16", ONE, 1)
    made.disk("sdc", "8:32", ONE, 2)
    made.map(f"3{ONE}", "sdb", "sdc")
    made.tree.block("dm-1", "252:1", "", 10, uuid=f"part1-mpath-3{ONE}", name="mpatha1")
    made.tree.stack("dm-1", "dm-0")
    made.tree.write("/dev/dm-1", b"")
    assert made.single_path("/dev/mapper/mpatha") is None
    assert made.single_path("/dev/dm-1") is None
    assert made.host.below("dm-1") == ["dm-1", "dm-0", "sdb", "sdc"]


def test_two_paths_without_a_map(made: Made) -> None:
    made.disk("sdb", "8:16", ONE, 1)
    made.disk("sdc", "8:32", ONE, 2)
    refused = made.single_path("/dev/sdc")
    assert refused is not None
    assert refused.what == f"is one path of several to one disk (/dev/sdb, /dev/sdc, all naa.{ONE}), and no multipath map is over them"
    assert "multipathd" in refused.remedy


def test_a_partition_of_one_path(made: Made) -> None:
    made.disk("sdb", "8:16", ONE, 1)
    made.disk("sdc", "8:32", ONE, 2)
    made.tree.partition("sdb", "sdb1", "8:17")
    made.tree.write("/dev/sdb1", b"")
    refused = made.single_path("/dev/sdb1")
    assert refused is not None and "/dev/sdb, /dev/sdc" in refused.what


@pytest.mark.parametrize("word, refused", [("1", True), ("2", True), ("0", False)], ids=["claimed", "may be claimed yet", "not claimed"])
def test_a_disk_that_multipath_has_claimed(made: Made, word: str, refused: bool) -> None:
    made.disk("sdb", "8:16", ONE, 1)
    made.tree.write("/run/udev/data/b8:16", f"S:disk/by-id/x\nE:ID_SERIAL=3{ONE}\nE:DM_MULTIPATH_DEVICE_PATH={word}\n")
    found = made.single_path("/dev/sdb")
    assert (found is not None and found.what == "belongs to multipath, which has not made its map yet") is refused
    assert (found is None) is not refused


def test_a_path_of_a_map_that_lvm_uses_itself(made: Made) -> None:
    made.disk("sdb", "8:16", ONE, 1)
    made.map(f"3{ONE}", "sdb")
    refused = made.single_path("/dev/sdb")
    assert refused is not None and refused.what.startswith("is a path of the multipath map /dev/mapper/mpatha")


def answers(monkeypatch: pytest.MonkeyPatch, made: Made, **names: t.Optional[t.List[str]]) -> t.List[str]:
    asked: t.List[str] = []

    def read_names(device: str, timeout: float) -> t.List[str]:
        asked.append(device[len(made.tree.dev) + 1:])
        found = names[asked[-1]]
        if found is None:
            raise HostError(device, "did not answer a SCSI question")
        return found

    monkeypatch.setattr(scsi, "read_names", read_names)
    return asked


def test_a_lun_that_was_exchanged_behind_a_disk(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    made.disk("sdb", "8:16", ONE, 1)
    assert answers(monkeypatch, made, sdb=[f"naa.{ONE}", "t10.LIO-ORG"]) == []
    assert made.host.stale("/dev/sdb", 5) is None
    answers(monkeypatch, made, sdb=[f"naa.{TWO}"])
    refused = made.host.stale("/dev/sdb", 5)
    assert refused is not None
    assert (refused.subject, refused.what) == ("/dev/sdb", f"answers as naa.{TWO}, and this host knows it as naa.{ONE}: another LUN stands behind it now")


@pytest.mark.parametrize("second, words", [(ONE, None), (TWO, f"answers as naa.{TWO}, and is a path of the multipath map /dev/mapper/mpatha")],
                         ids=["both paths to one LUN", "one path to another LUN, of which the kernel knows"])
def test_paths_of_a_map(made: Made, monkeypatch: pytest.MonkeyPatch, second: str, words: t.Optional[str]) -> None:
    made.disk("sdb", "8:16", ONE, 1)
    made.disk("sdc", "8:32", second, 2)
    made.map(f"3{ONE}", "sdb", "sdc")
    asked = answers(monkeypatch, made, sdb=[f"naa.{ONE}"], sdc=[f"naa.{second}"])
    refused = made.host.stale("/dev/mapper/mpatha", 5)
    assert asked == ["sdb", "sdc"]
    assert refused is None if words is None else refused is not None and refused.what.startswith(words)


def test_paths_that_are_down_or_give_no_answer_are_passed_over(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    made.disk("sdb", "8:16", ONE, 1, state="transport-offline")
    made.disk("sdc", "8:32", ONE, 2)
    made.disk("sdd", "8:48", ONE, 3)
    made.map(f"3{ONE}", "sdb", "sdc", "sdd")
    asked = answers(monkeypatch, made, sdc=None, sdd=[f"naa.{ONE}"])
    assert made.host.stale("/dev/mapper/mpatha", 5) is None
    assert asked == ["sdc", "sdd"]


def test_disks_that_are_no_scsi_disks_are_not_asked(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    made.tree.block("vdb", "254:16")
    made.tree.write("/dev/vdb", b"")
    assert answers(monkeypatch, made) == []
    assert made.host.stale("/dev/vdb", 5) is None and made.single_path("/dev/vdb") is None


@pytest.mark.parametrize("sector", range(5))
def test_the_label_in_each_sector(made: Made, sector: int) -> None:
    made.tree.write("/dev/sdb", bytes(512 * sector) + b"LABELONE" + bytes(16) + b"LVM2 001" + bytes(4096))
    assert made.host.has_label("sdb") is (sector < 4)


@pytest.mark.parametrize("content", [b"", b"LABELONE", bytes(512) + b"LABELONE" + bytes(16) + b"LVM1 001", b"x" * 4096])
def test_no_label(made: Made, content: bytes) -> None:
    made.tree.write("/dev/sdb", content)
    assert made.host.has_label("sdb") is False
    assert made.host.has_label("sdz") is None


@pytest.mark.parametrize("device", ["/dev/sdz", "/dev/disk/by-id/none", "/dev/null"])
def test_what_is_no_block_device(made: Made, device: str) -> None:
    assert made.host.kernel_name(device) == ""
    assert made.host.below("") == []
