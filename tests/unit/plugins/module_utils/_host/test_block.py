# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import CommandError, HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._host import block
from ansible_collections.lunar.iscsi.plugins.module_utils._host.block import flush_and_remove, maps_on, read_mounts, users_of
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result, Runner
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.sysfs_tree import Tree

ROOT_MOUNT = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    for sid, name, numbers in ((1, "sda", "8:0"), (2, "sdb", "8:16")):
        tree.lun(sid, sid + 1, 1, name, numbers)
        tree.write(f"/dev/{name}", "")
        tree.write(f"{disk(name)}/delete", "")
    tree.partition("sda", "sda1", "8:1")
    tree.write("/proc/self/mountinfo", ROOT_MOUNT)
    tree.write("/proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n")
    return tree


def disk(name: str) -> str:
    return {"sda": "/sys/devices/platform/host2/session1/target2:0:0/2:0:0:1", "sdb": "/sys/devices/platform/host3/session2/target3:0:0/3:0:0:1"}[name]


def users(tree: Tree, *devices: str) -> t.List[str]:
    return [str(user) for user in users_of(devices, tree.sys, tree.proc, tree.dev)]


def mount(tree: Tree, *lines: str) -> None:
    tree.write("/proc/self/mountinfo", ROOT_MOUNT + "".join(line + "\n" for line in lines))


def add_map(tree: Tree) -> None:
    tree.block("dm-0", "253:0", uuid="mpath-360014", name="mpatha")
    tree.stack("dm-0", "sda", "sdb")


def test_a_disk_nobody_uses(tree: Tree) -> None:
    assert users(tree, "/dev/sda", "sdb") == []


def test_a_disk_that_is_not_there(tree: Tree) -> None:
    assert users(tree, "/dev/sdz") == []


@pytest.mark.parametrize(("line", "said"), [
    pytest.param("30 22 8:1 / /srv/data rw - ext4 /dev/sda1 rw", "/dev/sda1 mounted on /srv/data", id="partition"),
    pytest.param("30 22 8:0 / /srv/data rw - xfs /dev/sda rw", "/dev/sda mounted on /srv/data", id="whole disk"),
    pytest.param("30 22 8:1 / /srv/my\\040data rw shared:1 master:2 - ext4 /dev/sda1 rw", "/dev/sda1 mounted on /srv/my data", id="space in the name"),
    pytest.param("30 22 0:44 / /srv/b rw - btrfs /dev/sda1 rw", "/dev/sda1 mounted on /srv/b", id="btrfs has numbers of its own"),
])
def test_mounts(tree: Tree, line: str, said: str) -> None:
    mount(tree, line)
    assert users(tree, "/dev/sda") == [said]


@pytest.mark.parametrize("line", [
    "30 22 8:16 / /srv/data rw - ext4 /dev/sdb rw",
    "30 22 8:11 / /srv/data rw - ext4 /dev/sda11 rw",
    "30 22 0:44 / /srv/sda1 rw - nfs server:/dev/sda1 rw",
    "nonsense",
])
def test_mounts_of_others_are_not_ours(tree: Tree, line: str) -> None:
    mount(tree, line)
    assert users(tree, "/dev/sda") == []


def test_a_second_device_of_a_btrfs_is_used_too(tree: Tree) -> None:
    mount(tree, "30 22 0:44 / /srv/b rw - btrfs /dev/sda1 rw")
    for name in ("sda1", "sdb"):
        tree.link(f"/sys/fs/btrfs/11-22/devices/{name}", f"/sys/class/block/{name}")
    assert users(tree, "/dev/sdb") == ["/dev/sdb is part of the btrfs file system 11-22 (mounted on /srv/b)"]


def test_swap(tree: Tree) -> None:
    tree.write("/proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/sda1  partition\t1048572\t0\t-2\n")
    assert users(tree, "sda") == ["/dev/sda1 used as swap"]


def test_lvm_and_what_is_mounted_on_it(tree: Tree) -> None:
    tree.block("dm-1", "253:1", uuid="LVM-abc", name="vg-lv")
    tree.stack("dm-1", "sda1")
    mount(tree, "30 22 253:1 / /srv/lv rw - ext4 /dev/mapper/vg-lv rw")
    assert users(tree, "sda") == ["/dev/sda1 holds the LVM volume vg-lv", "/dev/mapper/vg-lv mounted on /srv/lv"]


@pytest.mark.parametrize(("name", "dm", "said"), [
    ("dm-1", {"uuid": "CRYPT-LUKS2-abc", "name": "safe"}, "/dev/sda1 holds the crypt device safe"),
    ("dm-1", {"uuid": "other", "name": "thing"}, "/dev/sda1 is held by /dev/mapper/thing"),
    ("bcache0", {}, "/dev/sda1 is held by /dev/bcache0"),
])
def test_other_holders(tree: Tree, name: str, dm: t.Dict[str, str], said: str) -> None:
    tree.block(name, "253:1", **dm)
    tree.stack(name, "sda1")
    assert users(tree, "sda") == [said]


def test_md(tree: Tree) -> None:
    tree.block("md0", "9:0")
    tree.attributes("/sys/class/block/md0/md", array_state="clean")
    tree.stack("md0", "sda1", "sdb")
    assert users(tree, "sda") == ["/dev/sda1 is part of the md array /dev/md0 (clean)"]


def test_loop_device_over_a_disk(tree: Tree) -> None:
    tree.block("loop0", "7:0")
    tree.attributes("/sys/class/block/loop0/loop", backing_file="/dev/sda1")
    assert users(tree, "sda") == ["/dev/sda1 stands behind the loop device /dev/loop0"]


def test_a_map_itself_is_no_user(tree: Tree) -> None:
    add_map(tree)
    assert users(tree, "sda", "sdb") == []
    assert maps_on(["/dev/sda"], tree.sys) == {"mpatha": ("sda", "sdb")}


def test_what_stands_on_a_map_uses_its_last_paths(tree: Tree) -> None:
    add_map(tree)
    tree.block("dm-1", "253:1", uuid="part1-mpath-360014", name="mpatha-part1")
    tree.stack("dm-1", "dm-0")
    mount(tree, "30 22 253:1 / /srv/data rw - ext4 /dev/mapper/mpatha-part1 rw")
    said = ["/dev/mapper/mpatha-part1 mounted on /srv/data"]
    assert users(tree, "sda", "sdb") == said
    assert users(tree, "sda") == [], "the map lives on over sdb"
    tree.attributes(disk("sdb"), state="transport-offline")
    assert users(tree, "sda") == said, "sdb is no path that would keep it alive"
    assert users_of(["sda"], tree.sys, tree.proc, tree.dev, back=["sdb"]) == [], "unless it is back by then"


def process(tree: Tree, pid: int, comm: str, opened: str, space: str = "mnt:[1]", mountinfo: str = "") -> None:
    tree.attributes(f"/proc/{pid}", comm=comm, mountinfo=mountinfo)
    for link, to in ((f"{pid}/fd/3", opened), (f"{pid}/ns/mnt", space)):
        path = Path(tree.proc, link)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(to)


def test_processes_that_hold_a_disk_open_are_named_but_not_those_that_watch_it(tree: Tree) -> None:
    process(tree, 100, "qemu-system-x86", "/dev/sda")
    process(tree, 101, "multipathd", "/dev/sda")
    process(tree, 102, "other", "/dev/sdb")
    assert users(tree, "sda") == ["/dev/sda is opened by qemu-system-x86 (pid 100)"]
    assert users_of(["sda"], tree.sys, tree.proc, tree.dev, opened=False) == []


def test_an_exclusive_opener_is_seen(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    really = os.open

    def busy(path: str, flags: int, *rest: t.Any) -> int:
        if path == f"{tree.dev}/sda" and flags & os.O_EXCL:
            raise OSError(16, "Device or resource busy")
        return really(path, flags, *rest)

    monkeypatch.setattr("os.open", busy)
    assert users(tree, "sda", "sdb") == ["/dev/sda is opened by something that holds it for itself alone"]
    process(tree, 100, "mkfs.ext4", "/dev/sda")
    assert users(tree, "sda") == ["/dev/sda is opened by mkfs.ext4 (pid 100)"]


def test_mounts_of_other_namespaces_are_told_with_theirs(tree: Tree) -> None:
    Path(tree.proc, "self/ns").mkdir(parents=True)
    Path(tree.proc, "self/ns/mnt").symlink_to("mnt:[1]")
    line = "40 22 8:1 / /data rw - ext4 /dev/sda1 rw\n"
    process(tree, 200, "dockerd", "/dev/null", "mnt:[2]", ROOT_MOUNT + line)
    process(tree, 201, "sh", "/dev/null", "mnt:[2]", ROOT_MOUNT + line)
    process(tree, 202, "sh", "/dev/null", "mnt:[1]", "41 22 8:1 / /mnt rw - ext4 /dev/sda1 rw\n")
    assert users(tree, "sda") == ["/dev/sda1 mounted on /data (in the mount namespace of dockerd, pid 200)"]


def test_the_mounts_of_this_machine_are_those_of_proc_mounts() -> None:
    points = {line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines() if "\\" not in line}
    assert points <= {mount.point for mount in read_mounts()}


class Host(Runner):
    """A host on which ``multipath -f`` works at the try that ``codes`` says, and sysfs forgets what is deleted."""

    def __init__(self, tree: Tree, codes: t.Sequence[int] = (0,), gone: bool = True) -> None:
        super().__init__()
        self.tree, self.codes, self.gone = tree, list(codes), gone
        self.status = "0 8192 multipath 2 0 0 0 2 1 A 0 1 0 8:0 A 0 E 0 1 0 8:16 F 1 \n"
        self.argvs: t.List[str] = []
        self.now = 0.0

    def run(self, argv: t.Sequence[str], **_kwargs: t.Any) -> Result:
        if argv[:2] == ["dmsetup", "status"]:
            return Result(tuple(argv), 0, self.status, "")
        self.argvs.append(" ".join(argv))
        code = self.codes.pop(0) if self.codes and argv[0] == "multipath" else 0
        if code == 0 and argv[:2] == ["multipath", "-f"]:
            for name in ("sda", "sdb"):
                shutil.rmtree(f"{self.tree.sys}/class/block/{name}/holders")
        return Result(tuple(argv), code, "", "map in use\n" if code else "")

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for name in ("sda", "sdb"):
            deleted = Path(str(self.tree.root) + disk(name), "delete")
            if self.gone and deleted.exists() and deleted.read_text() == "1\n":
                os.unlink(f"{self.tree.sys}/class/block/{name}")
                shutil.rmtree(str(self.tree.root) + disk(name))

    def remove(self, *devices: str, timeout: float = 10) -> t.List[block.Problem]:
        return flush_and_remove(
            devices, runner=self, timeout=timeout, sys=self.tree.sys, dev=self.tree.dev, clock=self.clock, sleep=self.sleep)


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> t.List[str]:
    """The devices whose buffers were written out; a plain file takes no such ioctl."""
    found: t.List[str] = []

    def remember(handle: int, code: int, _argument: int) -> int:
        found.append(os.path.basename(os.readlink(f"/proc/self/fd/{handle}")))
        assert code == 0x1261
        return 0

    monkeypatch.setattr("fcntl.ioctl", remember)
    return found


def test_remove_flushes_deletes_and_waits(tree: Tree, flushed: t.List[str]) -> None:
    host = Host(tree)
    assert host.remove("/dev/sda", "sdb") == []
    assert (host.argvs, flushed, os.listdir(f"{tree.sys}/class/block")) == ([], ["sda", "sdb"], ["sda1"])


def test_remove_flushes_the_map_first_and_tries_again(tree: Tree, flushed: t.List[str]) -> None:
    add_map(tree)
    tree.write("/dev/mapper/mpatha", "")
    host = Host(tree, codes=[1, 1, 0])
    assert host.remove("sda", "sdb") == []
    assert host.argvs == ["multipath -f mpatha"] * 3
    assert flushed == ["mpatha", "sda", "sdb"]


def test_a_map_without_a_path_that_works_is_not_written_to_and_keeps_nobody_waiting(tree: Tree, flushed: t.List[str]) -> None:
    add_map(tree)
    tree.write("/dev/mapper/mpatha", "")
    host = Host(tree)
    host.status = "0 8192 multipath 2 0 0 0 2 1 E 0 1 0 8:0 F 1 E 0 1 0 8:16 F 1 \n"
    assert host.remove("sda", "sdb") == []
    assert host.argvs == ["multipathd disablequeueing map mpatha", "multipath -f mpatha"]
    assert flushed == ["sda", "sdb"]


@pytest.mark.parametrize("status, words", [
    ("0 8192 multipath 2 0 0 0 1 1 A 0 1 0 8:0 A 0 ", []), ("0 8192 multipath 2 0 0 0 1 1 E 0 1 0 8:0 F 1 ", ["disablequeueing", "restorequeueing"])])
def test_a_map_that_stays_ends_it_before_any_disk_is_deleted(status: str, words: t.Sequence[str], tree: Tree, flushed: t.List[str]) -> None:
    add_map(tree)
    tree.write("/dev/mapper/mpatha", "")
    host = Host(tree, codes=[1] * 99)
    host.status = status
    with pytest.raises(CommandError, match="the multipath map mpatha cannot be removed: map in use"):
        host.remove("sda", "sdb", timeout=3)
    assert [argv for argv in host.argvs if argv.startswith("multipathd")] == [f"multipathd {word} map mpatha" for word in words]
    assert Path(str(tree.root) + disk("sda"), "delete").read_text() == ""


def test_a_map_with_another_path_only_loses_one(tree: Tree, flushed: t.List[str]) -> None:
    add_map(tree)
    host = Host(tree)
    assert host.remove("sda") == []
    assert host.argvs == ["multipathd del path sda"]
    assert os.path.exists(f"{tree.sys}/class/block/sdb")


def test_a_lost_disk_is_not_flushed_and_that_is_told(tree: Tree, flushed: t.List[str]) -> None:
    tree.attributes(disk("sda"), state="transport-offline")
    (problem,) = Host(tree).remove("sda")
    assert problem["what"] == "is in state transport-offline: what was not yet written to it is lost"
    assert flushed == []


def test_a_lost_path_of_a_map_that_lives_on_loses_nothing(tree: Tree, flushed: t.List[str]) -> None:
    add_map(tree)
    tree.attributes(disk("sda"), state="transport-offline")
    assert Host(tree).remove("sda") == []


def test_a_disk_that_does_not_go_is_an_error(tree: Tree, flushed: t.List[str]) -> None:
    with pytest.raises(HostError, match="/dev/sda: was deleted and is still there after 2 s"):
        Host(tree, gone=False).remove("sda", timeout=2)


def test_a_disk_that_is_gone_already_is_fine(tree: Tree, flushed: t.List[str]) -> None:
    assert Host(tree).remove("sdz") == []
