# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What comes before anything is activated, with the real lvm: what is seen, what is refused, the devices file. The witnesses are vgs, pvs and lvs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import bring_about
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, IscsiError, NotConvergedError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result, Runner
from ansible_collections.lunar.iscsi.plugins.module_utils._lvm.activation import ActivationTask

from .conftest import NAME, Disks, WithoutDeviceMapper


def run(disks: Disks, *volumes: str, check: bool = True, runner: t.Optional[Runner] = None, **options: t.Any) -> t.Dict[str, t.Any]:
    params: t.Dict[str, t.Any] = dict(
        {"volumes": list(volumes), "state": "active", "devices": [], "elsewhere": None, "shared": False, "devices_file": True, "rescan": False,
         "timeout": 30.0}, **options)
    task = ActivationTask(params, check_mode=check, runner=runner or WithoutDeviceMapper(), devices_file=str(disks.folder / "devices/system.devices"))
    return bring_about(task, check)


def refused(disks: Disks, *volumes: str, **options: t.Any) -> str:
    with pytest.raises(IscsiError) as caught:
        run(disks, *volumes, **options)
    return caught.value.sentence()


def test_what_is_told_is_what_lvm_tells(disks: Disks) -> None:
    disks.group("a", "b")
    [group] = run(disks)["groups"]
    [vg] = disks.report("vgs", "-o", "vg_name,vg_uuid,vg_size,vg_free")
    assert {f"vg_{key}": str(group[key]) for key in ("name", "uuid", "size", "free")} == vg
    assert [{"pv_name": disk["device"], "pv_uuid": disk["uuid"], "dev_size": str(disk["size"])} for disk in group["disks"]] == disks.report(
        "pvs", "-o", "pv_name,pv_uuid,dev_size")
    assert (group["volumes"], group["active"], group["partial"]) == (["one"], [], False)
    assert run(disks, NAME)["steps"] == [f"activate {NAME}/one"]
    assert run(disks, NAME, state="inactive")["steps"] == []


def test_a_missing_disk(disks: Disks) -> None:
    disks.group("a", "b")
    uuid = disks.report("pvs", "-o", "pv_uuid", disks.loops["b"])[0]["pv_uuid"]
    disks.detach("b")
    assert f"is partial: 1 of its 2 disks is not there, {uuid}" in refused(disks, NAME)
    disks.lvm("vgchange", "--addtag", "changed", NAME)
    assert f"vgextend --restoremissing {NAME} {disks.attach('b')}" in refused(disks, NAME)
    disks.lvm("vgextend", "--restoremissing", NAME, disks.loops["b"])
    assert run(disks, NAME)["changed"]


def test_an_exported_group(disks: Disks) -> None:
    disks.group("a")
    disks.lvm("vgexport", NAME)
    assert f"was exported (vgexport), to be taken to another host. If this is the host, import it: vgimport {NAME}" in refused(disks, NAME)
    disks.lvm("vgimport", NAME)
    assert run(disks, NAME)["changed"]


def test_a_group_of_another_host(disks: Disks) -> None:
    disks.group("a")
    disks.lvm("vgchange", "--yes", "--systemid", "host2", NAME)
    assert "belongs to the host with the system ID host2, and this host has none" in refused(disks, NAME)
    with (disks.folder / "lvm.conf").open("a") as conf:
        conf.write('global { system_id_source = "lvmlocal" }\nlocal { system_id = "host1" }\n')
    assert "system ID host2, and this host's is host1" in refused(disks, NAME)
    with (disks.folder / "lvm.conf").open("a") as conf:
        conf.write('local { extra_system_ids = [ "host2" ] }\n')
    assert run(disks, NAME)["changed"]


def test_a_copy_of_a_disk(disks: Disks) -> None:
    disks.group("a", "b")
    copy = disks.attach("copy", "b")
    sentence = refused(disks, NAME)
    assert "has a physical volume that is there more than once" in sentence and copy in sentence and disks.loops["b"] in sentence


def test_two_groups_of_one_name(disks: Disks) -> None:
    disks.group("a")
    first = disks.loops["a"]
    disks.look_at(disks.attach("b"))
    disks.lvm("vgcreate", "--setautoactivation", "n", NAME, disks.loops["b"])
    for name in ("one", "two"):
        disks.lvm("lvcreate", "-an", "-Zn", "-Wn", "-L", "8M", "-n", name, NAME)
    disks.look_at(*disks.loops.values())
    uuids = {row["vg_uuid"] for row in disks.report("vgs", "-o", "vg_uuid")}
    sentence = refused(disks, NAME)
    assert len(uuids) == 2 and all(uuid in sentence for uuid in uuids) and first in sentence
    of_first = disks.report("pvs", "-o", "vg_uuid", first)[0]["vg_uuid"]
    assert run(disks, of_first)["steps"] == [f"activate {NAME}/one"]
    of_second = next(uuid for uuid in uuids if uuid != of_first)
    for volumes, selected in (([of_second], ["one", "two"]), ([f"{of_second}/two"], ["two"]), ([f"{of_first}/one"], ["one"])):
        runner = WithoutDeviceMapper()
        with pytest.raises(NotConvergedError):  # LVM is told that there is no device-mapper
            run(disks, *volumes, check=False, runner=runner)
        found = disks.report("lvs", "-o", "vg_uuid,lv_name", "--select", runner.selections[0])
        assert sorted(row["lv_name"] for row in found) == selected and {row["vg_uuid"] for row in found} == {volumes[0].partition("/")[0]}


def test_disks_that_are_not_what_they_are_taken_for(disks: Disks) -> None:
    disks.group("a")
    bare, orphan, hidden = disks.attach("bare"), disks.attach("orphan"), disks.attach("hidden")
    for device in (orphan, hidden):
        disks.lvm("pvcreate", device)
    disks.look_at(disks.loops["a"], bare, orphan)
    sentence = refused(disks, NAME, devices=[disks.loops["a"], bare, orphan, hidden])
    assert sentence.startswith(f"option devices: {bare} carries no label of LVM; {orphan} carries the label of LVM and belongs to no volume group that can be "
                               f"read; {hidden} carries the label of LVM, and LVM does not look at it")
    assert run(disks, NAME, devices=[disks.loops["a"]])["changed"]


@pytest.mark.parametrize("volume, words", [
    ("lunar_tset", "is on no disk that this host sees. Did you mean lunar_test?"),
    (f"{NAME}/two", "logical volume lunar_test/two: does not exist. The group has one"),
])
def test_names_of_nothing(disks: Disks, volume: str, words: str) -> None:
    disks.group("a")
    assert words in refused(disks, volume)


def test_metadata_that_cannot_be_read(disks: Disks) -> None:
    disks.group("a")
    with open(disks.loops["a"], "r+b") as disk:
        disk.seek(4096)
        disk.write(bytes(256 << 10))
    assert "is on no disk that this host sees. LVM says: PV" in refused(disks, NAME)


def entries(disks: Disks) -> t.Set[str]:
    """The files behind the loop devices that LVM's devices file lists."""
    return set(re.findall(r"IDNAME=(\S+)", (disks.folder / "devices/system.devices").read_text()))


def test_the_devices_file(disks: Disks) -> None:
    disks.group("a", "b")
    other = disks.attach("other")
    disks.look_at(*disks.loops.values(), more="use_devicesfile=1")
    disks.lvm("lvmdevices", "--yes", "--adddev", other)
    before = entries(disks)
    assert before == {f"{disks.folder}/other"} and disks.report("vgs") == []
    planned = run(disks, NAME)["steps"]
    assert planned == [f"list in the devices file the disks of {NAME}", f"activate {NAME}/one"]
    assert "not in LVM's devices file" in refused(disks, NAME, devices_file=False)
    assert entries(disks) == before
    with pytest.raises(NotConvergedError) as caught:  # listed it is; activated it cannot be, since LVM is told that there is no device-mapper
        run(disks, NAME, check=False)
    assert caught.value.steps == (f"activate {NAME}/one",)
    assert entries(disks) == {f"{disks.folder}/{name}" for name in ("a", "b", "other")}
    assert [row["vg_name"] for row in disks.report("vgs", "-o", "vg_name")] == [NAME]


def test_nothing_of_all_this_changes_a_group(disks: Disks) -> None:
    """The report is asked for as often as one likes: the metadata keeps its number."""
    disks.group("a", "b")
    before = disks.report("vgs", "-o", "vg_seqno,vg_tags,vg_mda_count")
    for options in ({}, {"check": False, "rescan": True}, {"volumes": [NAME]}, {"volumes": [NAME], "state": "inactive", "check": False}):
        run(disks, *t.cast(t.List[str], options.pop("volumes", [])), **options)
    assert disks.report("vgs", "-o", "vg_seqno,vg_tags,vg_mda_count") == before


def test_a_user_that_is_not_root(disks: Disks) -> None:
    """LVM ends with 5 and an empty report, and that is no host without groups."""

    class Nobody(Runner):
        def run(self, argv: t.Sequence[str], **options: t.Any) -> Result:
            return super().run(["setpriv", "--reuid", "65534", "--clear-groups", "env", "-u", "LVM_SYSTEM_DIR", *argv], **options)

    for state in ("active", "inactive"):
        with pytest.raises(HostError, match="lvm fullreport: is not run by root"):
            run(disks, NAME, state=state, check=False, runner=Nobody())


def test_the_module_itself(disks: Disks) -> None:
    """As a process, as Ansible starts it; it takes the kernel of this machine as it is."""
    disks.group("a")
    given = json.dumps({"ANSIBLE_MODULE_ARGS": {"volumes": [f"{NAME}/two"], "timeout": 30, "_ansible_check_mode": True}})
    done = subprocess.run([sys.executable, "-m", "ansible_collections.lunar.iscsi.plugins.modules.lvm_activation"],
                          input=given, capture_output=True, text=True, check=False, timeout=120)
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["failed"], answer["msg"]) == (1, True, "logical volume lunar_test/two: does not exist. The group has one")
