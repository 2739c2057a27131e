# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result, Runner
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.disks import (
    Attached,
    find_conflicts,
    find_missing,
    parse_vpd83,
    read_disks,
    read_udev,
    wait_for_disks,
)
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.sessions import read_sessions
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.sysfs_tree import Tree, grow

TARGET = "iqn.2026-11.org.example:disk1"
WWID = "360000000000000000e00000000010001"


def designator(kind: int, value: bytes, code_set: int = 1, association: int = 0) -> bytes:
    return bytes([code_set, association << 4 | kind, 0, len(value)]) + value


def page(*designators: bytes) -> bytes:
    body = b"".join(designators)
    return bytes([0, 0x83]) + len(body).to_bytes(2, "big") + body


NAA6 = designator(3, bytes.fromhex(WWID[1:]))
NAA5 = designator(3, bytes.fromhex("5000c5001234abcd"))
EUI = designator(2, bytes.fromhex("0017380000cb0028"))
T10 = designator(1, b"IET     00010001\x00\x00\x00", code_set=2)
PORT = designator(3, bytes.fromhex("5000c500deadbeef"), association=1)


@pytest.mark.parametrize(("raw", "wwid"), [
    pytest.param(page(NAA6), WWID, id="NAA 6"),
    pytest.param(page(T10, PORT, EUI, NAA5, NAA6), WWID, id="NAA 6 goes before all"),
    pytest.param(page(T10, EUI, NAA5), "35000c5001234abcd", id="NAA 5 goes before EUI"),
    pytest.param(page(T10, EUI), "20017380000cb0028", id="EUI goes before T10"),
    pytest.param(page(T10), "1IET_00010001", id="T10 vendor, white space as scsi_id writes it"),
    pytest.param(page(designator(8, b"iqn.2026-11.org.example:lu1\x00", 3), T10), "8iqn.2026-11.org.example:lu1", id="SCSI name"),
    pytest.param(page(designator(3, b"6001405abc", 2)), "36001405abc", id="NAA in ASCII"),
    pytest.param(page(PORT), None, id="of the port, not the LUN"),
    pytest.param(page(NAA6)[:12], None, id="cut off"),
    pytest.param(page(designator(3, b"")), None, id="empty designator"),
    pytest.param(bytes([0, 0x80, 0, 4]) + b"abcd", None, id="another page"),
    pytest.param(b"", None, id="nothing"),
])
def test_parse_vpd83(raw: bytes, wwid: t.Optional[str]) -> None:
    assert parse_vpd83(raw) == wwid


@given(st.binary(max_size=80))
def test_parse_vpd83_takes_any_bytes(raw: bytes) -> None:
    for text in (raw, b"\x00\x83" + raw, page(raw)):
        assert parse_vpd83(text) is None or parse_vpd83(text)


def test_a_real_host(tmp_path: Path) -> None:
    """The names are those of /dev/disk of the recorded host, the WWIDs those that its scsi_id printed."""
    tree = grow(Path(__file__).parent / "fixtures" / "three_sessions.tree", tmp_path)
    sessions = read_sessions(tree.sys)
    disks = read_disks(sessions, tree.sys, tree.dev, tree.udev)
    assert [(disk.wwid, disk.lun, disk.size, disk.paths) for disk in disks] == [
        ("360000000000000000e00000000010001", 1, 209715200, ("/dev/sda", "/dev/sdc", "/dev/sde")),
        ("360000000000000000e00000000010002", 2, 104857600, ("/dev/sdb", "/dev/sdd", "/dev/sdf")),
    ]
    assert disks[1].by_id == (
        "/dev/disk/by-id/scsi-360000000000000000e00000000010002", "/dev/disk/by-id/wwn-0x60000000000000000e00000000010002")
    assert disks[1].by_path == tuple(
        f"/dev/disk/by-path/ip-{portal}:3260-iscsi-iqn.2026-11.org.example:disk1-lun-2"
        for portal in ("192.168.56.101", "192.168.57.101", "fd00:56::101"))
    assert find_missing(sessions, tree.sys, tree.udev) == []
    without_udev = read_disks(sessions, tree.sys, tree.dev, str(tree.root / "nowhere"))
    assert [disk.wwid for disk in without_udev] == [disk.wwid for disk in disks]
    for name in ("sda", "sdb", "sdc", "sdd", "sde", "sdf"):
        os.unlink(os.path.join(tree.sys, "block", name, "device", "vpd_pg83"))
    assert [disk.wwid for disk in read_disks(sessions, tree.sys, tree.dev, str(tree.root / "nowhere"))] == [disk.wwid for disk in disks]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def two_paths(tree: Tree, first: bytes = NAA6, second: bytes = NAA6) -> None:
    for sid, name, numbers, address, vpd in ((1, "sda", "8:0", "192.0.2.1", first), (2, "sdb", "8:16", "192.0.2.2", second)):
        tree.session(sid, sid + 1, TARGET, address)
        tree.lun(sid, sid + 1, 0, type=12)
        folder = tree.lun(sid, sid + 1, 1, name, numbers)
        if vpd:
            tree.write(f"{folder}/vpd_pg83", page(vpd))
        tree.write(f"/run/udev/data/b{numbers}", (
            f"S:disk/by-path/ip-{address}:3260-iscsi-{TARGET}-lun-1\nS:disk/by-id/scsi-{WWID}\nS:disk/by-id/wwn-0x{WWID[1:]}\n"
            f"I:123456\nE:ID_SERIAL={WWID}\nE:ID_BUS=scsi\nG:systemd\n"))


def add_map(tree: Tree, name: str = "mpatha", over: t.Sequence[str] = ("sda", "sdb"), suspended: int = 0) -> None:
    tree.block("dm-0", "253:0", uuid=f"mpath-{WWID}", name=name, suspended=str(suspended))
    tree.stack("dm-0", *over)
    tree.write("/run/udev/data/b253:0", "I:1\nE:DM_NAME=mpatha\n")


def test_two_paths_are_one_disk(tree: Tree) -> None:
    two_paths(tree)
    add_map(tree)
    (disk,) = read_disks(read_sessions(tree.sys), tree.sys, tree.dev, tree.udev)
    assert disk.as_fact() == {
        "target": TARGET, "lun": 1, "wwid": WWID, "size": 1073741824, "device": "/dev/sda",
        "by_id": [f"/dev/disk/by-id/scsi-{WWID}", f"/dev/disk/by-id/wwn-0x{WWID[1:]}"],
        "by_path": [f"/dev/disk/by-path/ip-192.0.2.1:3260-iscsi-{TARGET}-lun-1", f"/dev/disk/by-path/ip-192.0.2.2:3260-iscsi-{TARGET}-lun-1"],
        "map": "/dev/mapper/mpatha", "paths": ["/dev/sda", "/dev/sdb"],
    }


def test_other_wwids_are_other_disks_and_other_holders_no_map(tree: Tree) -> None:
    two_paths(tree, second=NAA5)
    tree.block("dm-3", "253:3", uuid="LVM-abc", name="vg-lv")
    tree.stack("dm-3", "sda")
    disks = read_disks(read_sessions(tree.sys), tree.sys, tree.dev, tree.udev)
    assert [(disk.wwid, disk.device, disk.map) for disk in disks] == [(WWID, "/dev/sda", None), ("35000c5001234abcd", "/dev/sdb", None)]


def test_wwid_from_udev_then_from_the_kernel_then_none(tree: Tree) -> None:
    two_paths(tree, first=b"", second=b"")
    assert [disk.wwid for disk in read_disks(read_sessions(tree.sys), tree.sys, tree.dev, tree.udev)] == [WWID]
    tree.attributes("/sys/block/sda/device", wwid="naa.6001405abc")
    tree.attributes("/sys/block/sdb/device", wwid="t10.IET     00010001")
    nowhere = str(tree.root / "nowhere")
    assert [disk.wwid for disk in read_disks(read_sessions(tree.sys), tree.sys, tree.dev, nowhere)] == ["36001405abc", "1IET_00010001"]
    for name in ("sda", "sdb"):
        os.unlink(f"{tree.sys}/block/{name}/device/wwid")
    assert [(disk.wwid, disk.paths) for disk in read_disks(read_sessions(tree.sys), tree.sys, tree.dev, nowhere)] == [
        (None, ("/dev/sda",)), (None, ("/dev/sdb",))]


def test_links_come_from_dev_where_udev_has_no_database(tree: Tree) -> None:
    two_paths(tree)
    for name in ("sda", "sdb"):
        tree.write(f"/dev/{name}", "")
        tree.link(f"/dev/disk/by-path/to-{name}", f"/dev/{name}")
    tree.link("/dev/disk/by-id/scsi-x", "/dev/sda")
    (disk,) = read_disks(read_sessions(tree.sys), tree.sys, tree.dev, str(tree.root / "nowhere"))
    assert (disk.by_id, disk.by_path) == (("/dev/disk/by-id/scsi-x",), ("/dev/disk/by-path/to-sda", "/dev/disk/by-path/to-sdb"))


def test_read_udev(tree: Tree) -> None:
    tree.write("/run/udev/data/b8:0", "S:disk/by-id/b\nS:disk/by-id/a\nL:0\nI:1\nE:A=b=c\nE:EMPTY=\nV:1\n")
    found = read_udev("8:0", tree.udev)
    assert found is not None
    assert (dict(found.properties), found.links) == ({"A": "b=c", "EMPTY": ""}, ("/dev/disk/by-id/a", "/dev/disk/by-id/b"))
    assert read_udev("8:1", tree.udev) is None
    assert read_udev(None, tree.udev) is None


def missing(tree: Tree) -> t.List[str]:
    return [problem["what"] for problem in find_missing(read_sessions(tree.sys), tree.sys, tree.udev)]


def test_nothing_is_missing(tree: Tree) -> None:
    two_paths(tree)
    assert missing(tree) == []


@pytest.mark.parametrize(("spoil", "what"), [
    pytest.param(lambda tree: tree.attributes("/sys/block/sda", size=0), "has no size", id="no size"),
    pytest.param(lambda tree: tree.attributes("/sys/block/sda/device", state="blocked"), "is in state blocked", id="blocked"),
    pytest.param(lambda tree: os.unlink(f"{tree.udev}/b8:0"), "is not yet in udev's database", id="udev"),
    pytest.param(lambda tree: tree.write("/run/udev/data/b8:0", "I:1\nE:DM_MULTIPATH_DEVICE_PATH=1\n"), "is a multipath path without a map", id="map"),
    pytest.param(lambda tree: tree.write("/run/udev/data/b8:0", "E:ID_SERIAL=36001405aaaaaaaaaaaaaaaaaaaaaaaaa\n"),
                 f"answers with the WWID {WWID}, while udev knows it as 36001405aaaaaaaaaaaaaaaaaaaaaaaaa: another disk stands behind this LUN now",
                 id="reused LUN number"),
    pytest.param(lambda tree: tree.lun(1, 2, 2), "has no block device", id="no block device"),
    pytest.param(lambda tree: tree.session(9, 9, TARGET, "192.0.2.9"), "shows no LUN", id="no LUN"),
])
def test_what_is_missing_is_named(tree: Tree, spoil: t.Callable[[Tree], object], what: str) -> None:
    two_paths(tree)
    spoil(tree)
    assert missing(tree) == [what]


@pytest.mark.parametrize(("suspended", "known", "ready"), [(0, True, True), (1, True, False), (0, False, False)])
def test_a_map_must_be_ready(tree: Tree, suspended: int, known: bool, ready: bool) -> None:
    two_paths(tree)
    for numbers in ("8:0", "8:16"):
        tree.write(f"/run/udev/data/b{numbers}", "I:1\nE:DM_MULTIPATH_DEVICE_PATH=1\n")
    add_map(tree, suspended=suspended)
    if not known:
        os.unlink(f"{tree.udev}/b253:0")
    assert missing(tree) == ([] if ready else ["has a multipath map (mpatha) that is not ready"] * 2)


def test_one_wwid_and_two_sizes_is_told(tree: Tree) -> None:
    two_paths(tree)
    disks = read_disks(read_sessions(tree.sys), tree.sys, tree.dev, tree.udev)
    assert find_conflicts(disks, tree.sys) == []
    tree.attributes("/sys/block/sdb", size=8)
    (problem,) = find_conflicts(disks, tree.sys)
    assert "/dev/sda 1073741824, /dev/sdb 4096" in problem["what"]


class Clock:
    """Time that passes only while somebody sleeps; ``events`` are (second, what happens)."""

    def __init__(self, *events: t.Tuple[float, t.Callable[[], object]]) -> None:
        self.now = 0.0
        self.events = sorted(events, key=lambda event: event[0])

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.001)
        while self.events and self.events[0][0] <= self.now:
            self.events.pop(0)[1]()


class FakeRunner(Runner):
    def __init__(self) -> None:
        super().__init__()
        self.argvs: t.List[t.Tuple[str, ...]] = []

    def run(self, argv: t.Sequence[str], **_kwargs: t.Any) -> Result:
        self.argvs.append(tuple(argv))
        return Result(tuple(argv), 0, "", "")


def wait(tree: Tree, clock: Clock, timeout: float = 20, runner: t.Optional[Runner] = None) -> Attached:
    return wait_for_disks(
        lambda: read_sessions(tree.sys), timeout=timeout, runner=runner, sys=tree.sys, dev=tree.dev, udev_db=tree.udev, clock=clock, sleep=clock.sleep)


def test_waiting_ends_soon_when_all_is_there(tree: Tree) -> None:
    two_paths(tree)
    clock = Clock()
    runner = FakeRunner()
    found = wait(tree, clock, runner=runner)
    assert ([disk.wwid for disk in found.disks], found.problems) == ([WWID], [])
    assert clock.now < 1
    assert runner.argvs == [("udevadm", "settle", "--timeout=19")]


def test_a_disk_that_comes_late_is_waited_for(tree: Tree) -> None:
    tree.session(1, 2, TARGET)
    tree.lun(1, 2, 0, type=12)
    tree.lun(1, 2, 1)
    os.makedirs(tree.udev)

    def block() -> None:
        tree.block("sda", "8:0", "/sys/devices/platform/host2/session1/target2:0:0/2:0:0:1")

    clock = Clock((2.0, block), (4.0, lambda: tree.write("/run/udev/data/b8:0", "S:disk/by-id/x\n")))
    found = wait(tree, clock)
    assert [disk.by_id for disk in found.disks] == [("/dev/disk/by-id/x",)]
    assert found.problems == []
    assert 4.0 <= clock.now < 5.0


def test_a_second_disk_within_the_settle_time_is_waited_for(tree: Tree) -> None:
    tree.session(1, 2, TARGET)
    tree.lun(1, 2, 1, "sda", "8:0")
    clock = Clock((0.4, lambda: tree.lun(1, 2, 2, "sdb", "8:16")))
    assert [disk.device for disk in wait(tree, clock).disks] == ["/dev/sda", "/dev/sdb"]


def test_a_target_without_luns_is_a_problem_and_no_endless_wait(tree: Tree) -> None:
    tree.session(1, 2, TARGET)
    clock = Clock()
    found = wait(tree, clock)
    assert found.disks == []
    assert [problem["what"] for problem in found.problems] == ["shows no LUN"]
    assert 3.0 <= clock.now < 4.0


def test_waiting_ends_at_its_limit_and_says_what_is_missing(tree: Tree) -> None:
    two_paths(tree)
    tree.attributes("/sys/block/sda", size=0)
    clock = Clock()
    found = wait(tree, clock, timeout=5)
    assert 5.0 <= clock.now < 5.2
    assert [problem["what"] for problem in found.problems if "sizes" not in problem["what"]] == ["has no size"]
    assert len(found.disks) == 1


def test_no_sessions_no_wait(tree: Tree) -> None:
    clock = Clock()
    assert wait(tree, clock) == Attached([], [])
    assert clock.now < 1
