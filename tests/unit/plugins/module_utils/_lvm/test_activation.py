# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole task over a host with recorded reports (fake_lvm.py says what of it is made up)."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import bring_about
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import CommandError, HostError, InputError, InUseError, IscsiError, NotConvergedError
from ansible_collections.lunar.iscsi.plugins.module_utils._host import scsi
from ansible_collections.lunar.iscsi.plugins.module_utils._lvm import activation
from ansible_collections.lunar.iscsi.plugins.module_utils._lvm.activation import ActivationTask

from .fake_lvm import LINEAR, NOC1, NOC2, RELEASES, FakeLvm

DATA = "Wd2Kx1-5mFZ-9sTq-LkQe-ZyUb-34dv-8HnPaR"
PVSCAN = ("pvscan", "--cache")


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: t.List[float] = []
        self.wake: t.Callable[[], None] = lambda: None

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)
        self.wake()


def run(lvm: FakeLvm, *volumes: str, check: bool = False, diff: bool = False, clock: t.Optional[Clock] = None, **options: t.Any) -> t.Dict[str, t.Any]:
    """One task; returns its result and, as ``calls``, what LVM was asked but for the report."""
    params: t.Dict[str, t.Any] = dict(
        {"volumes": list(volumes), "state": "active", "devices": [], "elsewhere": None, "shared": False, "devices_file": True, "rescan": False,
         "timeout": 30.0}, **options)
    clock = clock or Clock()
    first = len(lvm.calls)
    listed = str(lvm.tree.root / "system.devices")
    task = ActivationTask(params, check_mode=check, runner=lvm, host=lvm.host, devices_file=listed, clock=clock, sleep=clock.sleep)
    result = bring_about(task, check, diff)
    calls = [call for call in lvm.calls[first:] if call[0] != "fullreport"]
    return dict(result, calls=calls, reports=len(lvm.calls) - first - len(calls))


def refused(kind: t.Type[IscsiError], lvm: FakeLvm, *volumes: str, words: str = "", **options: t.Any) -> IscsiError:
    """The error of a task that has changed nothing."""
    before = set(lvm.active)
    first = len(lvm.calls)
    with pytest.raises(kind) as caught:
        run(lvm, *volumes, **options)
    assert words in caught.value.sentence()
    assert {call[0] for call in lvm.calls[first:]} <= {"fullreport", "vgs", "systemid"}
    assert lvm.active == before
    assert caught.value.remedy
    return caught.value


@pytest.fixture(params=RELEASES)
def lvm(request: pytest.FixtureRequest, tmp_path: Path) -> FakeLvm:
    return FakeLvm(tmp_path, release=request.param)


def of(tmp_path: Path, report: str) -> FakeLvm:
    return FakeLvm(tmp_path, report, RELEASES[-1])


# active


def test_a_group_is_activated_once(lvm: FakeLvm) -> None:
    result = run(lvm, "xenGuests", diff=True)
    assert result["changed"] and result["steps"] == [f"activate {NOC2}", f"activate {NOC1}"]
    assert result["calls"] == [PVSCAN, ("vgchange", "-ay", "xenGuests")]
    assert [entry["after"] for entry in result["diff"]] == [
        "state = active\ndevice = /dev/mapper/xenGuests-noc--2\n", "state = active\ndevice = /dev/mapper/xenGuests-noc1\n"]
    assert lvm.active == set(LINEAR)
    again = run(lvm, "xenGuests")
    assert (again["changed"], again["steps"], again["calls"], again["reports"], again["problems"]) == (False, [], [], 1, [])


def test_what_is_returned(lvm: FakeLvm) -> None:
    lvm.activate(NOC1)
    lvm.mount(NOC1, "/srv/noc\\0401")
    result = run(lvm, NOC1)
    assert result["volumes"] == [{
        "name": NOC1, "group": "xenGuests", "uuid": lvm.volumes()[NOC1][1]["lv_uuid"], "device": "/dev/xenGuests/noc1",
        "mapper": "/dev/mapper/xenGuests-noc1", "kernel_device": "/dev/dm-3", "size": 16777216, "active": True, "open": True,
        "users": ["/dev/mapper/xenGuests-noc1 mounted on /srv/noc 1"]}]
    group = result["groups"][1]
    assert {key: group[key] for key in ("name", "volumes", "active", "open", "partial", "exported", "free")} == {
        "name": "xenGuests", "volumes": ["noc-2", "noc1"], "active": ["noc1"], "open": ["noc1"], "partial": False, "exported": False, "free": 83886080}
    assert [disk["device"] for disk in group["disks"]] == ["/dev/loop1", "/dev/loop2"]


def test_without_volumes_it_only_looks(lvm: FakeLvm) -> None:
    lvm.activate(NOC1)
    result = run(lvm)
    assert (result["changed"], result["reports"], result["calls"], result["volumes"]) == (False, 1, [], [])
    assert {group["name"]: group["active"] for group in result["groups"]} == {"data": [], "xenGuests": ["noc1"]}
    assert run(lvm, rescan=True)["calls"] == [PVSCAN]
    assert run(lvm, rescan=True, check=True)["calls"] == []


def test_check_mode_says_the_same_and_does_nothing(lvm: FakeLvm) -> None:
    planned = run(lvm, "xenGuests", check=True, diff=True)
    assert (planned["calls"], lvm.active, [volume["active"] for volume in planned["volumes"]]) == ([], set(), [False, False])
    done = run(lvm, "xenGuests", diff=True)
    assert (planned["changed"], planned["steps"], planned["diff"]) == (done["changed"], done["steps"], done["diff"])


@pytest.mark.parametrize("volumes, command, active", [
    (["data"], ("vgchange", "-ay", "data"), {"data/www", "data/nightly"}),
    (["data/www"], ("lvchange", "-ay", "-K", "data/www"), {"data/www"}),
    (["data/db-1"], ("lvchange", "-ay", "-K", "data/db-1"), {"data/db-1"}),
    (["data", "data/db-1"], ("lvchange", "-ay", "-K", "data/db-1", "data/nightly", "data/www"), {"data/www", "data/nightly", "data/db-1"}),
    ([DATA], ("vgchange", "-ay", "data"), {"data/www", "data/nightly"}),
])
def test_what_goes_along_and_what_is_named(lvm: FakeLvm, volumes: t.List[str], command: t.Tuple[str, ...], active: t.Set[str]) -> None:
    assert run(lvm, *volumes)["calls"] == [PVSCAN, command]
    assert lvm.active == active
    assert run(lvm, *volumes)["changed"] is False


def test_several_groups_are_one_task(lvm: FakeLvm) -> None:
    assert run(lvm, NOC1, "data")["calls"] == [PVSCAN, ("lvchange", "-ay", "-K", NOC1), ("vgchange", "-ay", "data")]
    assert run(lvm, NOC1, "data", state="inactive")["calls"] == [("lvchange", "-an", NOC1), ("vgchange", "-an", "data")]
    assert lvm.active == set()


def test_what_lvm_does_not_do_in_spite_of_its_exit_code_fails(lvm: FakeLvm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lvm, "_vgchange", lambda argv: None)
    with pytest.raises(NotConvergedError, match="activate xenGuests/noc1"):
        run(lvm, "xenGuests")


def test_a_command_that_fails_says_what_lvm_said(lvm: FakeLvm) -> None:
    lvm.failing["vgchange"] = "  device-mapper: reload ioctl on  (252:3) failed: Device or resource busy\n"
    with pytest.raises(CommandError) as caught:
        run(lvm, "xenGuests")
    assert caught.value.subject == "lvm vgchange -ay xenGuests"
    assert caught.value.what == "failed for the volume group xenGuests: device-mapper: reload ioctl on  (252:3) failed: Device or resource busy"
    assert caught.value.facts["steps"] == [f"activate {NOC2}", f"activate {NOC1}"]


# what is refused


def test_a_group_that_is_not_there(lvm: FakeLvm) -> None:
    clock = Clock()
    error = refused(InputError, lvm, "xenGuest", clock=clock)
    assert error.sentence() == ("volume group xenGuest: is on no disk that this host sees. Did you mean xenGuests? This host sees data, xenGuests. "
                                "If its disks are not attached, log in first (iscsi_node)")
    assert 30 <= clock.now < 31
    assert refused(InputError, lvm, "xenGuest", check=True, clock=Clock())


def test_check_mode_waits_for_nothing(lvm: FakeLvm) -> None:
    clock = Clock()
    refused(InputError, lvm, "nosuch", clock=clock, check=True)
    assert clock.slept == []


@pytest.mark.parametrize("report, volumes, words", [
    ("partial", ["xenGuests"], "is partial: 1 of its 2 disks is not there, XeNaaa-2222-2222-2222-2222-2222-222222. LVM says: VG xenGuests is missing PV"),
    ("partial", [NOC1], "vgreduce --removemissing xenGuests. Nothing was activated"),
    ("returned", ["xenGuests"], "was changed while /dev/loop2 was not there"),
    ("returned", ["xenGuests"], "vgextend --restoremissing xenGuests /dev/loop2"),
    ("exported", ["xenGuests"], "was exported (vgexport)"),
    ("exported", ["xenGuests"], "vgimport xenGuests"),
    ("foreign", ["xenGuests"], "belongs to the host with the system ID otherhost, and this host has none"),
    ("locked", ["data"], "is locked by sanlock through lvmlockd, which does not run on this host"),
    ("clustered", ["data"], "is on no disk that this host sees. LVM says: Skipping clustered VG data"),
    ("damaged", ["data"], "LVM says: PV /dev/loop3 is marked in use but no VG was found using it"),
    ("twice", ["xenGuests"], "exists 2 times"),
    ("copied", ["xenGuests"], "has a physical volume that is there more than once, on /dev/loop2 and /dev/loop5"),
    ("copied", ["xenGuests"], "vgimportclone"),
    ("plain", ["xenGuests"], "the kernel of this host has no device-mapper"),
    ("empty", ["xenGuests"], "This host sees no group at all"),
])
@pytest.mark.parametrize("check", [False, True], ids=["", "check mode"])
def test_states_in_which_nothing_is_activated(tmp_path: Path, report: str, volumes: t.List[str], words: str, check: bool) -> None:
    refused(IscsiError, of(tmp_path, report), *volumes, words=words, check=check)


@pytest.mark.parametrize("report", ["partial", "returned", "exported", "foreign", "copied"])
def test_other_groups_are_no_matter(tmp_path: Path, report: str) -> None:
    lvm = of(tmp_path, report)
    run(lvm, "data")
    assert lvm.active == {"data/www", "data/nightly"}


@pytest.mark.parametrize("report", ["partial", "returned", "exported", "foreign", "copied"])
def test_what_is_active_stays_so_without_a_word(tmp_path: Path, report: str) -> None:
    lvm = of(tmp_path, report)
    lvm.activate(*LINEAR)
    result = run(lvm, "xenGuests")
    assert (result["changed"], result["reports"], result["calls"]) == (False, 1, [])


def test_a_disk_that_comes_while_it_is_waited_for(tmp_path: Path) -> None:
    lvm, clock = of(tmp_path, "empty"), Clock()
    lvm.reports = ["empty", "partial", "partial", "whole"]
    assert run(lvm, "xenGuests", clock=clock)["changed"]
    assert clock.slept == [0.5, 1.0, 2.0]


def test_the_system_id_of_this_host_is_no_obstacle(tmp_path: Path) -> None:
    lvm = of(tmp_path, "foreign")
    lvm.system_id = "host1"
    error = refused(HostError, lvm, "xenGuests", words="and this host's is host1")
    assert "vgexport xenGuests" in error.remedy
    lvm.system_id = "otherhost"
    assert run(lvm, "xenGuests")["calls"] == [("vgs", "--noheadings", "-o", "vg_uuid"), PVSCAN, ("vgchange", "-ay", "xenGuests")]


def test_one_of_two_groups_of_a_name_by_its_uuid(tmp_path: Path) -> None:
    lvm = of(tmp_path, "twice")
    uuid = lvm.volumes()[NOC1][0]
    result = run(lvm, uuid)
    assert result["calls"] == [PVSCAN, ("vgchange", "-ay", "--select", f"vg_uuid={uuid}")]
    assert lvm.active == set(LINEAR)
    volume = lvm.volumes()[NOC1][1]["lv_uuid"]
    assert run(lvm, f"{uuid}/noc1", state="inactive")["calls"] == [("lvchange", "-an", "--select", f"vg_uuid={uuid} && (lv_uuid={volume})")]
    assert run(lvm, uuid, state="inactive")["calls"] == [("vgchange", "-an", "--select", f"vg_uuid={uuid}")]
    assert lvm.active == set()


def test_names_in_dev_mapper_that_the_other_group_of_a_name_has(tmp_path: Path) -> None:
    lvm = of(tmp_path, "twice")
    lvm.activate(NOC1)
    other = next(group["uuid"] for group in run(lvm)["groups"] if group["name"] == "xenGuests" and not group["active"])
    error = refused(HostError, lvm, other, words="cannot be activated as /dev/mapper/xenGuests-noc1, since another volume is active under this name")
    assert f"vgrename {other} NEW_NAME" in error.remedy


def test_a_volume_that_another_host_has_made_anew(lvm: FakeLvm) -> None:
    lvm.activate(NOC1)
    uuid = Path(lvm.tree.sys) / "block" / lvm.kernel(NOC1) / "dm/uuid"
    lvm.active.clear()
    uuid.write_text(uuid.read_text().strip()[:-6] + "oldone\n")
    error = refused(HostError, lvm, "xenGuests", words="cannot be activated as /dev/mapper/xenGuests-noc1, since another volume is active under this name")
    assert "dmsetup remove xenGuests-noc1" in error.remedy


# disks and paths


def scsi_disk(lvm: FakeLvm, name: str, numbers: str, number: int, naa: str) -> None:
    """A SCSI disk in place of a loop device."""
    folder = lvm.tree.lun(number, number, 0, name, numbers, wwid=f"naa.{naa}")
    page = bytes.fromhex("01030010" + naa)
    lvm.tree.write(f"{folder}/vpd_pg83", b"\x00\x83" + len(page).to_bytes(2, "big") + page)
    lvm.tree.write(f"/dev/{name}", b"")


NAA = "6001405bbbbbbbbbbbbbbbbbbbbbbbb1"


@pytest.fixture
def on_scsi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeLvm:
    """The first disk of xenGuests is sdb, a path to the same LUN as sdc; /dev/loop1 leads to it."""
    lvm = of(tmp_path, "whole")
    scsi_disk(lvm, "sdb", "8:16", 1, NAA)
    scsi_disk(lvm, "sdc", "8:32", 2, NAA)
    loop = lvm.tree.root / "dev/loop1"
    loop.unlink()
    loop.symlink_to("sdb")
    monkeypatch.setattr(scsi, "read_names", lambda device, timeout: [f"naa.{NAA}"])
    return lvm


def make_map(lvm: FakeLvm) -> None:
    lvm.tree.block("dm-0", "252:0", "", 131072, uuid=f"mpath-3{NAA}", name="mpatha", suspended="0")
    lvm.tree.stack("dm-0", "sdb", "sdc")
    lvm.tree.write("/dev/dm-0", b"")
    (lvm.tree.root / "dev/loop1").unlink()
    (lvm.tree.root / "dev/loop1").symlink_to("dm-0")


def test_a_single_path_is_never_activated_on(on_scsi: FakeLvm) -> None:
    clock = Clock()
    error = refused(HostError, on_scsi, "xenGuests", words="volume group xenGuests: must not be used: /dev/loop1 is one path of several", clock=clock)
    assert "Start multipathd" in error.remedy
    assert 30 <= clock.now < 31


def test_the_map_is_waited_for(on_scsi: FakeLvm) -> None:
    clock = Clock()
    clock.wake = lambda: make_map(on_scsi) if len(clock.slept) == 2 else None
    assert run(on_scsi, "xenGuests", clock=clock)["changed"]
    assert clock.slept == [0.5, 1.0]


def test_a_group_that_udev_activated_over_one_path_is_told(on_scsi: FakeLvm) -> None:
    on_scsi.activate(*LINEAR)
    result = run(on_scsi, "xenGuests")
    assert not result["changed"] and result["reports"] == 1
    assert [problem["object"] for problem in result["problems"]] == ["volume group xenGuests"]
    assert result["problems"][0]["what"].startswith("is active, and /dev/loop1 is one path of several")
    assert result["problems"][0]["remedy"].startswith("Deactivate the group. Start multipathd")


def test_another_lun_than_before_is_never_activated_on(on_scsi: FakeLvm, monkeypatch: pytest.MonkeyPatch) -> None:
    make_map(on_scsi)
    monkeypatch.setattr(scsi, "read_names", lambda device, timeout: ["naa.6001405cccccccccccccccccccccccc2"])
    clock = Clock()
    error = refused(HostError, on_scsi, "xenGuests", words="/dev/sdb answers as naa.6001405c", clock=clock)
    assert clock.slept == [], "waiting does not mend it"
    assert "another LUN stands behind it now" in error.what and "device/delete" in error.remedy


def test_disks_are_not_asked_where_nothing_is_to_be_activated(on_scsi: FakeLvm, monkeypatch: pytest.MonkeyPatch) -> None:
    on_scsi.activate(*LINEAR)
    make_map(on_scsi)
    monkeypatch.setattr(scsi, "read_names", lambda device, timeout: pytest.fail("asked"))
    assert run(on_scsi, "xenGuests")["problems"] == []


LABEL = bytes(512) + b"LABELONE" + bytes(16) + b"LVM2 001" + bytes(2000)


def test_the_disks_that_a_task_names(on_scsi: FakeLvm) -> None:
    make_map(on_scsi)
    for device in ("/dev/sdb", "/dev/sdc", "/dev/dm-0"):
        assert run(on_scsi, "xenGuests", devices=[device, "/dev/loop2"], check=True)["changed"]
    assert run(on_scsi, "xenGuests", "data", devices=["/dev/loop2", "/dev/loop3"])["changed"]


@pytest.mark.parametrize("volume, device, words, waits", [
    ("xenGuests", "/dev/loop3", f"/dev/loop3 is a disk of the volume group data ({DATA}), which is not one of those named", False),
    ("xenGuests", "/dev/loop4", "/dev/loop4 carries the label of LVM and belongs to no volume group that can be read", False),
    ("xenGuests", "/dev/loop6", "/dev/loop6 carries no label of LVM", False),
    ("nosuch", "/dev/loop6", "volume group nosuch: is on no disk that this host sees; /dev/loop6 carries no label of LVM", False),
    ("xenGuests", "/dev/loop5", "/dev/loop5 carries the label of LVM, and LVM does not look at it (its filter or its devices file)", True),
    ("xenGuests", "/dev/sdq", "/dev/sdq is not there", True),
    ("nosuch", "/dev/disk/by-id/wwn-0x60014", "/dev/disk/by-id/wwn-0x60014 is not there", True),
])
def test_disks_that_are_not_what_a_task_takes_them_for(tmp_path: Path, volume: str, device: str, words: str, waits: bool) -> None:
    lvm, clock = of(tmp_path, "whole"), Clock()
    lvm.tree.write("/dev/loop5", LABEL)
    refused(InputError, lvm, volume, devices=[device], words=words, clock=clock)
    assert (clock.now >= 30) is waits


def test_no_wait_where_one_of_several_disks_will_never_do(tmp_path: Path) -> None:
    clock = Clock()
    refused(InputError, of(tmp_path, "whole"), "xenGuests", devices=["/dev/sdq", "/dev/loop6"], clock=clock,
            words="option devices: /dev/sdq is not there; /dev/loop6 carries no label of LVM")
    assert clock.slept == []


def test_a_path_of_a_map_without_a_label(on_scsi: FakeLvm) -> None:
    make_map(on_scsi)
    (on_scsi.tree.root / "dev/loop1").unlink()
    refused(InputError, on_scsi, "xenGuests", devices=["/dev/sdc"], words="/dev/sdc carries no label of LVM")
    on_scsi.tree.write("/dev/dm-0", LABEL)
    refused(InputError, on_scsi, "xenGuests", devices=["/dev/sdc"], words="/dev/sdc carries the label of LVM, and LVM does not look at it")


def test_a_disk_of_a_group_that_cannot_be_read(tmp_path: Path) -> None:
    words = "/dev/loop3 carries the label of LVM and belongs to no volume group that can be read. LVM says: PV /dev/loop3 is marked in use"
    refused(InputError, of(tmp_path, "damaged"), "data", devices=["/dev/loop3"], words=words)


@pytest.mark.parametrize("options, words", [
    ({"devices": ["/srv/disk"]}, "option devices: has /srv/disk, which is no device"),
    ({"devices": ["/dev/../srv/disk"]}, "which is no device"),
    ({"devices": ["/dev/sdb"], "state": "inactive"}, "option devices: is given without volumes that are to be active"),
    ({"elsewhere": {"host2": "all"}}, "option elsewhere"),
    ({"timeout": 0}, "option timeout"),
])
def test_options_that_mean_nothing(tmp_path: Path, options: t.Dict[str, t.Any], words: str) -> None:
    lvm = of(tmp_path, "whole")
    refused(InputError, lvm, "xenGuests", words=words, **options)
    assert lvm.calls == []


# the devices file


@pytest.fixture
def listing(tmp_path: Path) -> FakeLvm:
    """A host whose devices file lists no disk of xenGuests."""
    lvm = of(tmp_path, "empty")
    lvm.everywhere = "whole"
    lvm.tree.write("/system.devices", "VERSION=1.1.1\n")
    return lvm


def test_new_disks_are_listed_in_the_devices_file(listing: FakeLvm) -> None:
    planned = run(listing, "xenGuests", check=True, diff=True)
    assert (planned["calls"], planned["reports"]) == ([], 2)
    result = run(listing, "xenGuests", diff=True)
    assert result["steps"] == planned["steps"] == ["list in the devices file the disks of xenGuests", f"activate {NOC2}", f"activate {NOC1}"]
    assert result["diff"][0]["after"] == "/dev/loop1, /dev/loop2\n"
    assert result["calls"] == [("vgimportdevices", "xenGuests"), PVSCAN, ("vgchange", "-ay", "xenGuests")]
    assert run(listing, "xenGuests")["reports"] == 1


def test_a_group_of_which_one_disk_is_listed(listing: FakeLvm) -> None:
    listing.reports = ["partial"]
    assert run(listing, "xenGuests")["calls"][0] == ("vgimportdevices", "xenGuests")


def test_a_group_with_a_name_that_is_there_twice_is_listed_by_its_disks(listing: FakeLvm) -> None:
    listing.reports, listing.everywhere = ["twice"], "twice"
    uuid = listing.volumes()[NOC1][0]
    listing.reports = ["empty"]
    assert run(listing, uuid)["calls"][:2] == [("lvmdevices", "--yes", "--adddev", "/dev/loop1"), ("lvmdevices", "--yes", "--adddev", "/dev/loop2")]


def test_the_devices_file_is_left_alone_where_a_task_says_so(listing: FakeLvm) -> None:
    error = refused(HostError, listing, "xenGuests", devices_file=False, words="is on disks that are not in LVM's devices file")
    assert "vgimportdevices xenGuests" in error.remedy


def test_no_devices_file_no_second_look(listing: FakeLvm) -> None:
    (listing.tree.root / "system.devices").unlink()
    refused(InputError, listing, "xenGuests", check=True, words="on no disk")
    assert len(listing.calls) == 1


# other hosts


def elsewhere(active: t.List[str], host: str = "host2") -> t.Dict[str, t.Any]:
    return {host: [{"name": "data", "uuid": DATA, "active": active}, {"name": "xenGuests", "uuid": "another", "active": ["noc1"]}]}


def test_a_group_that_another_host_has_active_is_refused(lvm: FakeLvm) -> None:
    error = refused(InUseError, lvm, "data", elsewhere=elsewhere(["www", "db-1"]))
    assert error.sentence().startswith(f"volume group data ({DATA}): still in use by host2, where www, db-1 are active. Without locking, ")
    assert "shared: true" in error.remedy
    refused(InUseError, lvm, "data/nightly", elsewhere=elsewhere(["www"]), check=True)


@pytest.mark.parametrize("options", [{"elsewhere": elsewhere([])}, {"elsewhere": elsewhere(["www"]), "shared": True}, {"elsewhere": {}}],
                         ids=["not active there", "shared", "no other host"])
def test_groups_that_may_be_activated(lvm: FakeLvm, options: t.Dict[str, t.Any]) -> None:
    result = run(lvm, "data", **options)
    assert result["calls"] == [PVSCAN, ("vgchange", "-ay", "data")] and result["problems"] == []


def test_a_group_that_is_active_here_and_there_is_told(lvm: FakeLvm) -> None:
    lvm.activate("data/www", "data/nightly", size=8388608)
    result = run(lvm, "data", elsewhere=elsewhere(["www"]))
    assert not result["changed"]
    assert [problem["what"] for problem in result["problems"]] == ["is active here and on host2, and nothing keeps them from each other"]
    assert run(lvm, "data", elsewhere=elsewhere(["www"]), shared=True)["problems"] == []


@pytest.mark.parametrize("shared, how", [(False, "-aey"), (True, "-asy")])
def test_a_group_that_is_locked_is_left_to_its_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: bool, how: str) -> None:
    lvm = of(tmp_path, "locked")
    lvm.tree.write("/run/lvmlockd.socket", "")
    monkeypatch.setattr(activation, "LVMLOCKD", str(lvm.tree.root / "run/lvmlockd.socket"))
    assert run(lvm, "data", elsewhere=elsewhere(["www"]), shared=shared)["calls"] == [
        PVSCAN, ("vgchange", "--lockstart", "data"), ("vgchange", how, "data")]
    assert run(lvm, "data", state="inactive")["calls"] == [("vgchange", "-an", "data"), ("vgchange", "--lockstop", "data")]


# inactive


def test_a_group_is_deactivated_once(lvm: FakeLvm) -> None:
    lvm.activate(*LINEAR, "data/www")
    planned = run(lvm, "xenGuests", state="inactive", check=True)
    result = run(lvm, "xenGuests", state="inactive", diff=True)
    assert planned["steps"] == result["steps"] == [f"deactivate {NOC2}", f"deactivate {NOC1}"]
    assert result["calls"] == [("vgchange", "-an", "xenGuests")]
    assert result["diff"][0]["after"] == "state = inactive\n"
    assert lvm.active == {"data/www"}
    again = run(lvm, "xenGuests", state="inactive")
    assert (again["changed"], again["calls"], again["reports"], again["problems"]) == (False, [], 1, [])


def test_the_one_volume_that_is_mounted_is_named_and_nothing_is_deactivated(lvm: FakeLvm) -> None:
    lvm.activate(*LINEAR)
    lvm.mount(NOC1, "/srv/noc1")
    clock = Clock()
    for volumes in (["xenGuests"], LINEAR):
        error = refused(InUseError, lvm, *volumes, state="inactive", clock=clock)
        assert error.sentence() == ("volume group xenGuests: still in use by /dev/mapper/xenGuests-noc1 mounted on /srv/noc1. "
                                    "Unmount or stop what uses it, and repeat this. Nothing was deactivated")
    assert clock.slept == []
    assert run(lvm, NOC2, state="inactive")["calls"] == [("lvchange", "-an", NOC2)]


def test_what_stands_on_a_volume_holds_it(lvm: FakeLvm) -> None:
    lvm.activate(NOC1)
    lvm.opened.add(NOC1)
    lvm.tree.block("dm-9", "252:9", "", 100, uuid="CRYPT-LUKS2-aa-secret", name="secret")
    lvm.tree.stack("dm-9", lvm.kernel(NOC1))
    refused(InUseError, lvm, "xenGuests", state="inactive", words="still in use by /dev/mapper/xenGuests-noc1 holds the crypt device secret. Unmount")


def test_a_pool_goes_with_its_volumes(lvm: FakeLvm) -> None:
    lvm.activate("data/tp", "data/db-1")
    lvm.opened.add("data/tp")
    lvm.tree.stack(lvm.kernel("data/db-1"), lvm.kernel("data/tp"))
    refused(InUseError, lvm, "data/tp", state="inactive", words="/dev/mapper/data-tp holds the LVM volume data-db--1")
    assert run(lvm, "data", state="inactive")["calls"] == [("vgchange", "-an", "data")]
    assert lvm.active == set()


def test_somebody_who_cannot_be_named_is_waited_for_and_then_refused(lvm: FakeLvm) -> None:
    lvm.activate(*LINEAR)
    lvm.opened.add(NOC1)
    clock = Clock()
    refused(InUseError, lvm, "xenGuests", state="inactive", clock=clock,
            words="still in use by something that neither /proc nor /sys of this host names, which has xenGuests/noc1 open")
    assert 5 <= clock.now < 6
    clock = Clock()
    clock.wake = lvm.opened.clear
    assert run(lvm, "xenGuests", state="inactive", clock=clock)["changed"]
    assert clock.slept == [0.5]


def test_somebody_who_comes_in_between(lvm: FakeLvm) -> None:
    lvm.activate(*LINEAR)
    lvm.failing["vgchange"] = "  Logical volume xenGuests/noc1 contains a filesystem in use.\n"
    lvm.before = lambda argv: lvm.mount(NOC1, "/srv/noc1") if argv[1] == "vgchange" else None
    with pytest.raises(InUseError) as caught:
        run(lvm, "xenGuests", state="inactive")
    assert caught.value.users == ("/dev/mapper/xenGuests-noc1 mounted on /srv/noc1",)
    assert caught.value.remedy.endswith("What is not in use may be inactive now")


def test_a_failure_without_a_user_is_lvm_s(lvm: FakeLvm) -> None:
    lvm.activate(*LINEAR)
    lvm.failing["vgchange"] = "  Can't deactivate volume group \"xenGuests\" with 1 open logical volume(s)\n"
    with pytest.raises(CommandError, match="with 1 open logical volume"):
        run(lvm, "xenGuests", state="inactive")


@pytest.mark.parametrize("volume", ["nosuch", "nosuch/www", "AAAAAA-5mFZ-9sTq-LkQe-ZyUb-34dv-8HnPaR"])
def test_a_group_that_is_gone_is_inactive(lvm: FakeLvm, volume: str) -> None:
    clock = Clock()
    result = run(lvm, volume, state="inactive", clock=clock)
    assert (result["changed"], result["reports"], clock.slept) == (False, 1, [])
    assert [problem["object"] for problem in result["problems"]] == [f"volume group {volume.partition('/')[0]}"]


@pytest.mark.parametrize("by_uuid", [False, True])
def test_volumes_whose_disks_are_gone(lvm: FakeLvm, by_uuid: bool) -> None:
    lvm.activate(*LINEAR)
    name = lvm.volumes()[NOC1][0] if by_uuid else "xenGuests"
    lvm.mount(NOC1, "/srv/noc1")
    volumes = set(lvm.active)
    lvm.reports = ["empty"]
    refused(InUseError, lvm, name, state="inactive", words="/dev/mapper/xenGuests-noc1 mounted on /srv/noc1. Its disks are gone already")
    (lvm.tree.root / "proc/self/mountinfo").unlink()
    error = refused(HostError, lvm, name, state="inactive", words="is on no disk that this host sees, and 2 of its volumes are still active")
    assert error.remedy.endswith("dmsetup remove xenGuests-noc1 xenGuests-noc--2")
    assert volumes == lvm.active


@pytest.mark.parametrize("report", ["partial", "returned", "copied"])
def test_a_group_that_could_not_be_activated_can_be_deactivated(tmp_path: Path, report: str) -> None:
    lvm = of(tmp_path, report)
    lvm.activate(*LINEAR)
    assert run(lvm, "xenGuests", state="inactive")["calls"] == [("vgchange", "-an", "xenGuests")]


# what is told


def test_a_volume_that_another_host_has_resized(lvm: FakeLvm) -> None:
    lvm.activate(NOC1, size=8388608)
    [problem] = run(lvm, NOC1)["problems"]
    assert problem == {"object": "logical volume xenGuests/noc1", "remedy": "lvchange --refresh xenGuests/noc1", "what":
                       "has 8388608 bytes in this kernel and 16777216 in the group: it was resized since it was activated here, on another host"}


def test_a_volume_that_is_suspended(lvm: FakeLvm) -> None:
    lvm.activate(NOC1, suspended=1)
    [problem] = run(lvm, NOC1)["problems"]
    assert problem["what"].startswith("is suspended") and problem["remedy"].endswith("dmsetup resume xenGuests-noc1")


def test_the_size_of_a_snapshot_is_that_of_what_changed(lvm: FakeLvm) -> None:
    lvm.activate("data/nightly", size=8388608)
    assert run(lvm, "data/nightly")["problems"] == []
