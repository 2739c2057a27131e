# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import functools
import os
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import bring_about
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InputError, NotConvergedError
from ansible_collections.lunar.iscsi.plugins.module_utils._host import scsi
from ansible_collections.lunar.iscsi.plugins.module_utils._host.block import users_of
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi import rescan
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.sessions import read_sessions
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.sysfs_tree import Tree

from .builders import session_params

ARRAY = "iqn.2026-11.org.example:array"
MIB = 1 << 20
#: what Tree gives a disk
SIZE = 2097152 * 512
OLD, NEW = "36001405" + "a" * 25, "36001405" + "b" * 25


def page(wwid: str) -> bytes:
    """VPD page 83h with one NAA designator of 16 bytes (SPC-5 7.7.6)."""
    designator = bytes([1, 3, 0, 16]) + bytes.fromhex(wwid[1:])
    return bytes([0, 0x83, 0, len(designator)]) + designator


class World:
    """Two sessions to one target over one map. What the target has; what the kernel then makes of a write to sysfs."""

    def __init__(self, root: Path) -> None:
        self.tree = Tree(root)
        self.luns: t.Dict[str, t.List[int]] = {}
        self.sizes: t.Dict[str, int] = {}
        self.written: t.List[t.Tuple[str, str]] = []
        self.resized: t.List[str] = []
        self.removed: t.List[t.List[str]] = []
        #: disk -> its WWID, where it tells one, when the kernel looked and now
        self.wwids: t.Dict[str, str] = {}
        self.deaf: t.Set[str] = set()
        self.unconnected: t.Set[str] = set()
        #: whether a scan finds nothing
        self.barren = False
        for sid, host, name, numbers in ((1, 2, "sda", "8:0"), (2, 3, "sdb", "8:16")):
            self.tree.session(sid, host, ARRAY, f"192.0.2.{sid}")
            self.tree.lun(sid, host, 0, name, numbers)
            self.luns[f"/dev/{name}"], self.sizes[f"/dev/{name}"] = [0], SIZE
        self.tree.block("dm-0", "253:0", name="rbd0", uuid="mpath-36001405abc")
        self.tree.stack("dm-0", "sda", "sdb")

    def report_luns(self, device: str, timeout: float) -> t.List[int]:
        if device not in self.luns:
            raise HostError(device, "did not answer a SCSI question", "Look")
        if device in self.deaf:
            raise scsi.NoLunError(device, "is no LUN of its target any more")
        return self.luns[device]

    def read_capacity(self, device: str, timeout: float) -> int:
        return self.sizes[device]

    def identify(self, device: str, timeout: float) -> t.Optional[bytes]:
        if device in self.unconnected:
            raise scsi.NoLunError(device, "is no LUN of its target any more")
        return page(self.wwids[device]) if device in self.wwids else None

    def knows(self, name: str, wwid: str, now: t.Optional[str] = None) -> None:
        """The kernel saw this WWID when it last looked at the disk; ``now`` is what the disk says."""
        self.tree.write(os.path.realpath(os.path.join(self.tree.sys, "class/block", name, "device"))[len(str(self.tree.root)):] + "/vpd_pg83", page(wwid))
        self.wwids[f"/dev/{name}"] = now or wwid

    def flush_and_remove(self, names: t.Sequence[str], **more: t.Any) -> t.List[t.Dict[str, str]]:
        self.removed.append(list(names))
        for name in names:
            folder = Path(self.tree.sys, "class/block", name)
            for holder in list((folder / "holders").iterdir()):
                Path(self.tree.sys, "class/block", holder.name, "slaves", name).unlink()
            device = (folder / "device").resolve()
            folder.unlink()
            Path(self.tree.sys, "block", name).unlink()
            shutil.rmtree(device)
        return [{"object": "/dev/sda", "what": "is in state offline: what was not yet written to it is lost", "remedy": ""}]

    def write(self, path: str, text: str) -> None:
        self.written.append((path, text))
        if path.endswith("/state"):
            Path(self.tree.sys, path).write_text(text)
        elif path.endswith("/rescan"):
            name = path.split("/")[2]
            self.tree.attributes(f"/sys/class/block/{name}", size=self.sizes[f"/dev/{name}"] // 512)
        elif not self.barren:
            host, lun = int(path.split("/")[2][4:]), text.split()[2]
            name = f"sdx{host}"
            self.tree.lun(host - 1, host, 5 if lun == "-" else int(lun), name, f"65:{host}")
            self.luns[f"/dev/{name}"], self.sizes[f"/dev/{name}"] = [5], SIZE

    def resize(self, device: str) -> None:
        self.resized.append(device)
        self.tree.attributes(f"/sys/class/block/{device}", size=min(self.sizes["/dev/sda"], self.sizes["/dev/sdb"]) // 512)

    def run(self, check_mode: bool = False, **options: t.Any) -> t.Dict[str, t.Any]:
        params = dict(session_params(timeout=1.0), **options)
        task = rescan.RescanTask(params, check_mode=check_mode, resize=self.resize, sys=self.tree.sys)
        return bring_about(task, check_mode, diff_mode=True)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    one = World(tmp_path)
    monkeypatch.setattr(scsi, "report_luns", one.report_luns)
    monkeypatch.setattr(scsi, "read_capacity", one.read_capacity)
    monkeypatch.setattr(scsi, "device_identification", one.identify)
    monkeypatch.setattr(rescan.RescanTask, "_write", staticmethod(one.write))
    monkeypatch.setattr(rescan, "wait_for_disks", lambda read, **_more: read())
    monkeypatch.setattr(rescan, "flush_and_remove", one.flush_and_remove)
    monkeypatch.setattr(rescan, "users_of", functools.partial(users_of, proc=one.tree.proc, dev=one.tree.dev))
    return one


def both(world: World, check: t.Mapping[str, t.Any]) -> t.List[str]:
    """Check mode, a run that does what was predicted, a second run that has nothing to do; the steps."""
    before = list(world.written)
    predicted = world.run(check_mode=True, **check)
    assert world.written == before
    done = world.run(**check)
    again = world.run(**check)
    assert (predicted["changed"], predicted["steps"], predicted["diff"]) == (done["changed"], done["steps"], done["diff"])
    assert not again["changed"] and not again["steps"]
    return list(done["steps"])


def test_nothing_is_scanned_where_nothing_changed(world: World) -> None:
    assert both(world, {}) == []
    assert world.written == [] and world.resized == []


def test_a_lun_that_is_new_is_looked_for_alone(world: World) -> None:
    world.luns = {"/dev/sda": [0, 7], "/dev/sdb": [0]}
    assert both(world, {}) == [f"add LUN 7 of session 1 of {ARRAY} at 192.0.2.1:3260,1"]
    assert world.written == [("class/scsi_host/host2/scan", "0 0 7")]


def test_a_lun_has_grown_on_one_path_so_the_map_waits(world: World) -> None:
    world.sizes["/dev/sdb"] = SIZE + MIB
    assert both(world, {}) == ["resize /dev/sdb"]
    assert world.resized == []


def test_a_lun_has_grown_and_its_map_follows(world: World) -> None:
    world.sizes = {"/dev/sda": SIZE + MIB, "/dev/sdb": SIZE + MIB}
    assert both(world, {}) == ["resize /dev/sda", "resize /dev/sdb", "resize map rbd0"]
    assert world.resized == ["dm-0"]


def test_a_map_left_behind_by_a_run_that_broke_off(world: World) -> None:
    for name in ("sda", "sdb"):
        world.sizes[f"/dev/{name}"] = SIZE + MIB
        world.tree.attributes(f"/sys/class/block/{name}", size=(SIZE + MIB) // 512)
    assert both(world, {}) == ["resize map rbd0"]


def test_one_path_is_selected_and_the_map_still_waits_for_the_other(world: World) -> None:
    world.sizes = {"/dev/sda": SIZE + MIB, "/dev/sdb": SIZE + MIB}
    assert both(world, {"sids": [2]}) == ["resize /dev/sdb"]
    assert both(world, {"targets": ["*:other"]}) == []
    assert both(world, {"targets": ["*:array"]}) == ["resize /dev/sda", "resize map rbd0"]


def test_a_disk_that_became_smaller_is_told_and_left(world: World) -> None:
    world.sizes["/dev/sda"] = SIZE - MIB
    result = world.run()
    assert not result["changed"] and world.written == []
    assert [problem["object"] for problem in result["problems"]] == ["/dev/sda"]
    assert f"{SIZE - MIB} bytes" in result["problems"][0]["what"]


def test_a_lun_that_is_gone_is_told_and_left(world: World) -> None:
    world.luns["/dev/sda"] = []
    result = world.run()
    assert not result["changed"] and world.written == []
    assert result["problems"][0]["object"] == f"LUN 0 of session 1 of {ARRAY} at 192.0.2.1:3260,1 (/dev/sda)"


class TestPrune:
    """LUN 3 of session 1 (sdc) and of session 2 (sdd), with a map of their own, beside LUN 0."""

    @pytest.fixture(autouse=True)
    def two_more(self, world: World) -> None:
        for sid, name, numbers in ((1, "sdc", "8:32"), (2, "sdd", "8:48")):
            world.tree.lun(sid, sid + 1, 3, name, numbers)
            world.luns[f"/dev/{name}"], world.sizes[f"/dev/{name}"] = [0], SIZE
        world.tree.block("dm-1", "253:1", name="old0", uuid="mpath-36001405def")
        world.tree.stack("dm-1", "sdc", "sdd")

    @staticmethod
    def named(sid: int, name: str) -> str:
        return f"LUN 3 of session {sid} of {ARRAY} at 192.0.2.{sid}:3260,1 (/dev/{name})"

    def mount(self, world: World, numbers: str = "253:1", point: str = "/srv/old") -> None:
        world.tree.write("/proc/self/mountinfo", f"36 25 {numbers} / {point} rw - ext4 /dev/mapper/old0 rw\n")

    def test_told_where_it_is_not_asked_for(self, world: World) -> None:
        result = world.run()
        assert not result["changed"] and [problem["object"] for problem in result["problems"]] == [self.named(1, "sdc"), self.named(2, "sdd")]
        assert {problem["what"] for problem in result["problems"]} == {"is not there any more, says the target"}
        assert "prune: true" in result["problems"][0]["remedy"]

    def test_what_is_gone_is_taken_offline_and_removed_and_nothing_else(self, world: World) -> None:
        assert both(world, {"prune": True}) == [f"remove {self.named(1, 'sdc')}", f"remove {self.named(2, 'sdd')}"]
        assert world.written == [("class/block/sdc/device/state", "offline\n"), ("class/block/sdd/device/state", "offline\n")]
        assert world.removed == [["sdc", "sdd"]]
        assert world.run(prune=True)["problems"] == []
        assert sorted(os.listdir(os.path.join(world.tree.sys, "class/block"))) == ["dm-0", "dm-1", "sda", "sdb"]

    def test_what_cannot_be_removed_is_as_it_was_and_can_be_removed_later(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(names: t.Sequence[str], **_more: t.Any) -> t.List[t.Dict[str, str]]:
            assert names == ["sdc"]
            raise HostError("multipath -f old0", "the multipath map old0 cannot be removed")

        monkeypatch.setattr(rescan, "flush_and_remove", fail)
        with pytest.raises(HostError, match="old0 cannot be removed"):
            world.run(prune=True, sids=[1])
        assert world.written == [("class/block/sdc/device/state", "offline\n"), ("class/block/sdc/device/state", "running\n")]
        monkeypatch.setattr(rescan, "flush_and_remove", world.flush_and_remove)
        assert both(world, {"prune": True, "sids": [1]}) == [f"remove {self.named(1, 'sdc')}"]

    def test_a_disk_that_somebody_took_offline_is_not_asked_for_the_luns(self, world: World) -> None:
        world.tree.attributes("/sys/devices/platform/host2/session1/target2:0:0/2:0:0:0", state="offline")
        world.luns["/dev/sdc"] = [0, 3, 7]
        del world.luns["/dev/sda"]
        assert world.run(sids=[1], check_mode=True)["steps"] == [f"add LUN 7 of session 1 of {ARRAY} at 192.0.2.1:3260,1"]

    def test_what_is_in_use_is_kept_and_its_user_named(self, world: World) -> None:
        self.mount(world)
        assert both(world, {"prune": True}) == []
        problems = world.run(prune=True)["problems"]
        assert [problem["object"] for problem in problems] == [self.named(1, "sdc"), self.named(2, "sdd")]
        assert all("/dev/mapper/old0 mounted on /srv/old" in problem["what"] for problem in problems)
        assert world.written == [] and world.removed == []

    @pytest.mark.parametrize("used", ["holder", "swap", "lvm", "partition", "process"])
    def test_every_kind_of_use_keeps_it(self, world: World, used: str) -> None:
        if used == "swap":
            world.tree.write("/proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/mapper/old0 partition 1 0 -2\n")
        elif used == "partition":
            world.tree.partition("sdc", "sdc1", "8:33")
            self.mount(world, "8:33")
        elif used == "process":
            world.tree.write("/proc/77/comm", "qemu-system-x86\n")
            (Path(world.tree.proc) / "77/fd").mkdir()
            (Path(world.tree.proc) / "77/fd/9").symlink_to("/dev/sdc")
        else:
            uuid = {"lvm": "LVM-abc", "holder": "other-abc"}[used]
            world.tree.block("dm-7", "253:7", name="vg-data", uuid=uuid)
            world.tree.stack("dm-7", "dm-1")
        result = world.run(prune=True)
        assert not result["changed"] and world.removed == []
        assert all("is kept, for it is in use: /dev/" in problem["what"] for problem in result["problems"]) and len(result["problems"]) == 2

    def test_a_path_goes_while_the_map_lives_on_over_another(self, world: World) -> None:
        self.mount(world)
        world.luns["/dev/sdb"] = [0, 3]
        assert both(world, {"prune": True}) == [f"remove {self.named(1, 'sdc')}"]
        assert world.removed == [["sdc"]]

    def test_the_last_path_stays_while_the_other_session_is_down(self, world: World) -> None:
        self.mount(world)
        world.tree.attributes("/sys/devices/platform/host3/session2/iscsi_session/session2", state="FAILED")
        world.tree.attributes("/sys/devices/platform/host3/session2/target3:0:0/3:0:0:3", state="transport-offline")
        assert both(world, {"prune": True}) == [] and world.removed == []

    def test_another_disk_behind_the_number_is_told_and_never_grows(self, world: World) -> None:
        for name in ("sdc", "sdd"):
            world.knows(name, OLD, now=NEW)
            world.sizes[f"/dev/{name}"] = SIZE + MIB
        world.luns = {name: [0, 3] for name in world.luns}
        result = world.run()
        assert not result["changed"] and world.written == []
        assert [problem["object"] for problem in result["problems"]] == [self.named(1, "sdc"), self.named(2, "sdd")]
        assert NEW in result["problems"][0]["what"] and OLD in result["problems"][0]["what"] and "do not write" in result["problems"][0]["remedy"]

    def test_another_disk_behind_the_number_is_made_known_as_what_it_is(self, world: World) -> None:
        world.knows("sda", OLD)
        world.knows("sdc", OLD, now=NEW)
        world.luns = {name: [0, 3] for name in world.luns}
        assert both(world, {"prune": True, "sids": [1]}) == [
            f"remove {self.named(1, 'sdc')}", f"add LUN 3 of session 1 of {ARRAY} at 192.0.2.1:3260,1"]
        assert world.written == [("class/block/sdc/device/state", "offline\n"), ("class/scsi_host/host2/scan", "0 0 3")]

    def test_another_disk_behind_a_number_in_use_stays_and_is_not_scanned(self, world: World) -> None:
        self.mount(world)
        for name in ("sdc", "sdd"):
            world.knows(name, OLD, now=NEW)
        world.luns = {name: [0, 3] for name in world.luns}
        assert both(world, {"prune": True}) == [] and world.written == []
        assert "another disk stands behind this LUN" in world.run(prune=True)["problems"][0]["what"]

    @pytest.mark.parametrize(("was", "now"), [(OLD, OLD), (OLD, None), (None, NEW)])
    def test_a_disk_that_says_nothing_new_is_the_same(self, world: World, was: t.Optional[str], now: t.Optional[str]) -> None:
        world.luns = {name: [0, 3] for name in world.luns}
        if was:
            world.knows("sdc", was)
        world.wwids["/dev/sdc"] = now or ""
        if not now:
            del world.wwids["/dev/sdc"]
        assert world.run(prune=True)["problems"] == [] and world.written == []

    def test_the_target_is_asked_by_a_lun_that_it_still_has(self, world: World) -> None:
        world.deaf = {"/dev/sda"}
        world.luns = {name: [3] for name in world.luns}
        assert both(world, {"prune": True, "sids": [1]}) == [f"remove LUN 0 of session 1 of {ARRAY} at 192.0.2.1:3260,1 (/dev/sda)"]

    def test_a_session_none_of_whose_luns_is_left_is_scanned(self, world: World) -> None:
        world.deaf = {"/dev/sda", "/dev/sdc"}
        predicted = world.run(check_mode=True, prune=True, sids=[1])
        assert len(predicted["steps"]) == 2 and "has no LUN by which" in predicted["problems"][0]["what"] and world.written == []
        done = world.run(prune=True, sids=[1])
        assert done["steps"] == [f"add LUN 5 of session 1 of {ARRAY} at 192.0.2.1:3260,1", *predicted["steps"]]
        assert not world.run(prune=True, sids=[1])["changed"]

    def test_a_lun_that_is_reported_though_nothing_is_connected_is_gone(self, world: World) -> None:
        """What LIO says of LUN 0 when it has no LUN for this host."""
        world.luns = {name: [0] for name in world.luns}
        world.unconnected = {"/dev/sda"}
        world.barren = True
        assert both(world, {"prune": True, "sids": [1]}) == [
            f"remove LUN 0 of session 1 of {ARRAY} at 192.0.2.1:3260,1 (/dev/sda)", f"remove {self.named(1, 'sdc')}"]
        assert world.written[-1] == ("class/scsi_host/host2/scan", "0 0 -") and world.written.count(world.written[-1]) == 1  # by the second run

    def test_what_is_no_disk_is_only_told(self, world: World) -> None:
        world.tree.lun(1, 2, 9, type=1)
        result = world.run(prune=True, sids=[1])
        assert [step for step in result["steps"] if "LUN 9" in step] == []
        assert [problem["remedy"] for problem in result["problems"]] == ["Log out, or let the target have it again"]

    def test_a_prune_without_asking_the_targets_is_refused(self, world: World) -> None:
        with pytest.raises(InputError, match="prune"):
            world.run(prune=True, state="present")


def test_present_asks_no_target_and_changes_no_lun(world: World) -> None:
    world.luns, world.sizes = {}, {}
    result = world.run(state="present")
    assert not result["changed"] and result["problems"] == [] and [disk["device"] for disk in result["disks"]] == ["/dev/sda", "/dev/sdb"]


def test_a_session_that_is_not_logged_in_is_not_asked(world: World) -> None:
    world.tree.attributes("/sys/devices/platform/host2/session1/iscsi_session/session1", state="FAILED")
    del world.luns["/dev/sda"]
    result = world.run()
    assert not result["changed"]
    assert [problem["what"] for problem in result["problems"]] == ["is in state FAILED, so its target was not asked"]


def test_a_disk_that_does_not_answer_is_a_problem_and_the_others_go_on(world: World) -> None:
    del world.luns["/dev/sda"]
    world.luns["/dev/sdb"] = [0, 1]
    result = world.run()
    assert result["steps"] == [f"add LUN 1 of session 2 of {ARRAY} at 192.0.2.2:3260,1"]
    assert result["problems"][0]["object"] == "/dev/sda"


def test_a_session_without_a_lun_can_only_be_scanned(world: World) -> None:
    world.tree.session(4, 5, "iqn.2026-11.org.example:empty")
    predicted = world.run(check_mode=True)
    assert not predicted["changed"] and world.written == []
    assert "has no LUN by which" in predicted["problems"][0]["what"]
    done = world.run()
    assert world.written == [("class/scsi_host/host5/scan", "0 0 -")]
    assert done["steps"] == ["add LUN 5 of session 4 of iqn.2026-11.org.example:empty at 192.0.2.1:3260,1"] and not done["problems"]
    assert not world.run()["changed"]
    assert len(world.written) == 1


def test_a_session_whose_target_still_has_no_lun_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.tree.session(4, 5, "iqn.2026-11.org.example:empty")
    monkeypatch.setattr(rescan.RescanTask, "_write", lambda task, path, text: None)
    assert not world.run()["changed"]


def test_what_the_kernel_does_not_take_in_fails_the_task(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.luns["/dev/sda"] = [0, 9]
    monkeypatch.setattr(rescan.RescanTask, "_write", lambda task, path, text: None)
    with pytest.raises(NotConvergedError, match="LUN 9 of session 1"):
        world.run()


@pytest.mark.parametrize("options", [{"timeout": 0}, {"sids": [-1]}])
def test_options_that_mean_nothing_are_refused(world: World, options: t.Mapping[str, t.Any]) -> None:
    with pytest.raises(InputError):
        world.run(**options)


def test_other_devices_are_asked_by_their_generic_node(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.session(1, 2, ARRAY)
    folder = tree.lun(1, 2, 0, type=12)
    tree.link("/sys/bus/scsi/devices/2:0:0:0", folder)
    (session,) = read_sessions(tree.sys)
    with pytest.raises(HostError, match="modprobe sg"):
        rescan._asked_by(session.luns[0], tree.sys)
    tree.attributes(f"{folder}/scsi_generic/sg3", dev="21:3")
    assert rescan._asked_by(session.luns[0], tree.sys) == "/dev/sg3"
