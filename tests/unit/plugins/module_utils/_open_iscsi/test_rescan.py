# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import bring_about
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InputError, NotConvergedError
from ansible_collections.lunar.iscsi.plugins.module_utils._host import scsi
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi import rescan
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.sessions import read_sessions
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.sysfs_tree import Tree

ARRAY = "iqn.2026-11.org.example:array"
MIB = 1 << 20
#: what Tree gives a disk
SIZE = 2097152 * 512


class World:
    """Two sessions to one target over one map. What the target has; what the kernel then makes of a write to sysfs."""

    def __init__(self, root: Path) -> None:
        self.tree = Tree(root)
        self.luns: t.Dict[str, t.List[int]] = {}
        self.sizes: t.Dict[str, int] = {}
        self.written: t.List[t.Tuple[str, str]] = []
        self.resized: t.List[str] = []
        for sid, host, name, numbers in ((1, 2, "sda", "8:0"), (2, 3, "sdb", "8:16")):
            self.tree.session(sid, host, ARRAY, f"192.0.2.{sid}")
            self.tree.lun(sid, host, 0, name, numbers)
            self.luns[f"/dev/{name}"], self.sizes[f"/dev/{name}"] = [0], SIZE
        self.tree.block("dm-0", "253:0", name="rbd0", uuid="mpath-36001405abc")
        self.tree.stack("dm-0", "sda", "sdb")

    def report_luns(self, device: str, timeout: float) -> t.List[int]:
        if device not in self.luns:
            raise HostError(device, "did not answer a SCSI question", "Look")
        return self.luns[device]

    def read_capacity(self, device: str, timeout: float) -> int:
        return self.sizes[device]

    def write(self, path: str, text: str) -> None:
        self.written.append((path, text))
        if path.endswith("/rescan"):
            name = path.split("/")[2]
            self.tree.attributes(f"/sys/class/block/{name}", size=self.sizes[f"/dev/{name}"] // 512)
        else:
            host, lun = int(path.split("/")[2][4:]), text.split()[2]
            name = f"sdx{host}"
            self.tree.lun(host - 1, host, 5 if lun == "-" else int(lun), name, f"65:{host}")
            self.luns[f"/dev/{name}"], self.sizes[f"/dev/{name}"] = [5], SIZE

    def resize(self, device: str) -> None:
        self.resized.append(device)
        self.tree.attributes(f"/sys/class/block/{device}", size=min(self.sizes["/dev/sda"], self.sizes["/dev/sdb"]) // 512)

    def run(self, check_mode: bool = False, **options: t.Any) -> t.Dict[str, t.Any]:
        params = dict({"targets": [], "sids": [], "timeout": 1.0}, **options)
        task = rescan.RescanTask(params, check_mode=check_mode, resize=self.resize, sys=self.tree.sys)
        return bring_about(task, check_mode, diff_mode=True)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    one = World(tmp_path)
    monkeypatch.setattr(scsi, "report_luns", one.report_luns)
    monkeypatch.setattr(scsi, "read_capacity", one.read_capacity)
    monkeypatch.setattr(rescan.RescanTask, "_write", staticmethod(one.write))
    monkeypatch.setattr(rescan, "wait_for_disks", lambda read, **_more: read())
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
