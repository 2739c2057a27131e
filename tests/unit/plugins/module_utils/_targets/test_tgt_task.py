# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task of tgt_target on an imitated tgtd: what it asks, what it looks at, and what it does where others were quicker."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import Step, bring_about
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InputError, InUseError, LockedError
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_apply import Lock, apply_steps
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_backing import may_remove
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_control import Control, RefusedError, Request, pack
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_live import LiveLun, LiveSession, LiveSystem, LiveTarget
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_saved import SavedFiles
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_steps import FileOp, Found
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_task import TgtTask

from . import fake_tgtd
from .fake_tgtd import FakeTgtd

NAME = "iqn.2013-10.com.example:disk3"
HOST1 = "iqn.2026-11.org.example:host1"
Options = t.Dict[str, t.Any]


class Host:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf = folder / "conf.d"
        self.conf.mkdir()
        (folder / "targets.conf").write_text(f"include {self.conf}/*.conf\n", encoding="utf-8")
        (folder / "socket").touch()
        (folder / "fstab").touch()
        self.tgtd = FakeTgtd(str(folder / "socket"))

    def task(self, **given: t.Any) -> TgtTask:
        params = {"name": NAME, "state": "present", "save": True, "save_folder": str(self.conf), **given}
        return TgtTask(params, self.tgtd, main=str(self.folder / "targets.conf"), fstab=str(self.folder / "fstab"), lock=str(self.folder / "lock"),
                       notes=str(self.folder / "notes"))

    def run(self, **given: t.Any) -> Options:
        return bring_about(self.task(**given), False, True)

    def disk(self, lun: int = 1, **given: t.Any) -> Options:
        path = self.folder / f"disk{lun}"
        path.write_bytes(bytes(1 << 20))
        return {"lun": lun, "backing_store": str(path), **given}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_another_task_was_quicker(host: Host) -> None:
    same, other = host.task(luns=[host.disk()]), host.task(name=NAME + "x", luns=[host.disk(2)])
    plans = {task: task.plan(task.read()) for task in (same, other)}
    host.run(luns=[host.disk()])
    host.tgtd.moves.clear()
    assert same.apply(plans[same].steps) == {"steps": [], "changed": False} and host.tgtd.moves == []
    assert other.apply(plans[other].steps)["changed"]
    assert [one.name for one in host.tgtd.targets.values()] == [NAME, NAME + "x"]


def test_what_is_asked(host: Host) -> None:
    def asked(**given: t.Any) -> int:
        before = host.tgtd.asked
        host.run(**given)
        return host.tgtd.asked - before

    options: Options = {"luns": [host.disk()], "allow": {"initiators": [HOST1]}}
    host.run(**options)
    assert asked(**options) == 2
    host.tgtd.log_in(NAME, HOST1)
    assert asked(**options) == 3
    host.run(parameters={"MaxBurstLength": 512})
    assert asked(**options) == 4
    assert "MaxBurstLength 512\n" in next(host.conf.iterdir()).read_text("utf-8")


@pytest.mark.parametrize("line, refused", [
    ("{0}/vol {1} glusterfs defaults,_netdev 0 0", True), ("# {0} {1} glusterfs defaults 0 0", False), ("none {1} swap sw 0 0", False),
    ("UUID=1 {1}/deeper ext4 defaults 0 0", False), ("{0} /proc proc defaults 0 0", False), ("{1}", False),
], ids=["gluster", "comment", "swap", "deeper", "mounted", "short"])  # fmt: skip
@pytest.mark.parametrize("through", ["mnt", "link"])
def test_what_is_to_be_mounted(host: Host, line: str, refused: bool, through: str) -> None:
    mount = host.folder / "mnt"
    mount.mkdir()
    (mount / "disk").write_bytes(bytes(1 << 20))
    (host.folder / "link").symlink_to(mount)
    (host.folder / "fstab").write_text(line.format("server", mount) + "\n", encoding="utf-8")
    options: Options = {"luns": [{"lun": 1, "backing_store": str(host.folder / through / "disk")}]}
    if refused:
        with pytest.raises(HostError, match="is to be mounted and is not"):
            host.run(**options)
        assert host.tgtd.moves == []
    else:
        assert host.run(**options)["changed"]


def test_what_was_begun_is_taken_back(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """tgtd refuses something half-way: the new target goes again, into which nobody could log in; the one before it stays as it was."""
    host.run(luns=[host.disk()], allow={"addresses": ["ALL"]})
    monkeypatch.setattr(host.tgtd, "_new_device", lambda target, request: 17)
    with pytest.raises(RefusedError, match="does not accept the request") as caught:
        host.run(name=NAME + "x", luns=[host.disk(2)], allow={"addresses": ["ALL"]})
    assert caught.value.facts["taken_back"] == [2] and [one.name for one in host.tgtd.targets.values()] == [NAME]
    assert len(list(host.conf.iterdir())) == 1 and not list((host.folder / "notes").rglob("*"))


def test_what_was_begun_and_failed_is_completed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two new targets the first fails after it is open, or the second before it was made: what is not there was not begun."""
    asked = host.tgtd.ask

    def refuse(request: Request, patience: float = 30.0) -> str:
        if request.op == "bind" and request.tid == 2:
            raise RefusedError(request, 17)
        return asked(request, patience)

    targets = [{"name": name, "luns": [host.disk(number)], "allow": {"addresses": ["ALL"]}} for number, name in enumerate((NAME, NAME + "x"), 1)]
    with monkeypatch.context() as patched:
        patched.setattr(host.tgtd, "ask", refuse)
        with pytest.raises(RefusedError):
            host.run(name=None, targets=targets)
    assert [one.name for one in host.tgtd.targets.values()] == [NAME]
    assert [path.name for path in (host.folder / "notes").rglob("*.conf")] == [f"{NAME}.conf"] and not list(host.conf.iterdir())
    assert host.run()["steps"] == [f"save target {NAME} in {host.conf}/{NAME}.conf"]
    assert not list((host.folder / "notes").rglob("*"))


def test_two_secrets_of_one_account(host: Host) -> None:
    def accounts(secret: str) -> Options:
        return {"incoming": [{"username": "anna", "password": secret}]}

    host.run(accounts=accounts("first-secret"))
    host.tgtd.restart()
    host.run(name=NAME + "x", accounts=accounts("second-secret"))
    host.tgtd.moves.clear()
    with pytest.raises(InputError, match="name all its targets in one task"):
        host.run()
    with pytest.raises(HostError, match=f"has another secret for the account 'anna' than target {NAME}") as caught:
        host.run(name=None, targets=[{"name": NAME}, {"name": NAME + "x"}])
    assert host.tgtd.moves == [] and "secret-of" not in str(caught.value) and "first-secret" not in str(caught.value)
    host.run(name=None, targets=[{"name": NAME, "accounts": accounts("first-secret")}, {"name": NAME + "x"}])
    assert host.tgtd.accounts == {1: ("anna", "first-secret")}


def test_in_use_names_everybody(host: Host) -> None:
    host.run(luns=[host.disk()], allow={"addresses": ["ALL"]})
    for number in (1, 2):
        host.tgtd.log_in(NAME, f"iqn.2026-11.org.example:host{number}")
    with pytest.raises(InUseError) as caught:
        host.run(state="absent")
    assert [user.partition(" of ")[2] for user in caught.value.users] == [f"iqn.2026-11.org.example:host{number} from 192.0.2.9" for number in (1, 2)]


def test_a_folder_that_is_not_read_at_boot_is_told(host: Host) -> None:
    (host.folder / "targets.conf").write_text("", encoding="utf-8")
    (problem,) = host.run(luns=[host.disk()])["problems"]
    assert "returns at boot" in problem["what"] and problem["remedy"] == f"Write into it: include {host.conf}/*.conf"
    assert host.run(control_port=5)["problems"] == []


def test_notes_are_of_one_tgtd(host: Host) -> None:
    host.run(luns=[host.disk(vendor="LUNAR")], save=False)
    (first,) = (host.folder / "notes").glob("*/*")
    assert not host.run(luns=[host.disk(vendor="LUNAR")], save=False)["changed"] and not list(host.conf.iterdir())
    host.tgtd.restart()
    host.run(luns=[host.disk(vendor="LUNAR")], save=False)
    (second,) = (host.folder / "notes").glob("*/*")
    assert first != second and not first.parent.exists()


def test_the_lock_is_waited_for(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with Lock(path):
        with pytest.raises(LockedError, match="was not free within 0 s"):
            with Lock(path, patience=0.0):
                pass
    with Lock(path, patience=0.0):
        assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_secret_is_not_in_what_a_request_looks_like() -> None:
    request = Request("account", "new", "user=anna,password=a-secret-of-twelve", secret=True)
    assert "secret-of" not in repr(request) and "secret-of" not in str(RefusedError(request, 14))
    assert pack(request).endswith(b"password=a-secret-of-twelve\0")


def test_a_text_that_tgtd_would_drop(host: Host) -> None:
    with pytest.raises(HostError, match="no more than 8192 bytes"):
        pack(Request("device", "new", "x" * 8192))
    apply_steps([], host.tgtd)


def test_a_file_that_another_gateway_made_meanwhile_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"data")
    apply_steps([Step("make", str(path), work=[FileOp("make", str(path), 4096)])], Control(0, (str(tmp_path / "none"),)))
    assert path.stat().st_size == 4096 and path.read_bytes()[:4] == b"data"


ONE = {"scsi_id": "6123456789abcdef"}


@pytest.mark.parametrize("first, second, what", [
    ({}, {}, f"LUN 1 of target {NAME}x: has the image of LUN 1 of target {NAME} .*and another SCSI id"),
    ({}, {"readonly": True}, "and another SCSI id"), (ONE, ONE, ""), ({"readonly": True}, {"readonly": True}, ""), ({"type": "cd"}, {"type": "cd"}, ""),
], ids=["two disks", "one of them readonly", "one SCSI id", "both readonly", "both cd"])  # fmt: skip
@pytest.mark.parametrize("alias", ["../{0}/disk1", "link", "hard", "disk1"])
@pytest.mark.parametrize("together", [True, False], ids=["one task", "two tasks"])
def test_one_image_is_one_disk(host: Host, first: Options, second: Options, what: str, alias: str, together: bool) -> None:
    (host.folder / "disk1").write_bytes(bytes(1 << 20))
    (host.folder / "link").symlink_to("disk1")
    os.link(host.folder / "disk1", host.folder / "hard")
    one = {"name": NAME, "luns": [host.disk(**first)]}
    two = {"name": NAME + "x", "luns": [{"lun": 1, "backing_store": str(host.folder / alias.format(host.folder.name)), **second}]}
    tasks: t.List[Options] = [{"name": None, "targets": [one, two]}] if together else [one, two]
    for task in tasks[:-1]:
        host.run(**task)
    moves = len(host.tgtd.moves)
    if what:
        with pytest.raises(HostError, match=what):
            host.run(**tasks[-1])
        assert len(host.tgtd.moves) == moves
    else:
        assert host.run(**tasks[-1])["changed"] and not host.run(**tasks[-1])["changed"]


def test_one_image_twice_in_a_target(host: Host) -> None:
    """Also where it is not made yet, and under one SCSI id."""
    luns = [{"lun": number, "backing_store": path, "size": "1MiB", "create": True, **ONE} for number, path in enumerate(
        [str(host.folder / "disk9"), f"{host.folder}//disk9"], 1)]
    with pytest.raises(HostError, match="LUN 2 of target .*: has the image of LUN 1 of"):
        host.run(luns=luns)
    host.run(luns=luns[:1])
    with pytest.raises(HostError, match="LUN 2 of target .*: has the image of LUN 1 of"):
        host.run(luns=luns[1:])
    assert len(host.tgtd.targets[1].luns) == 1


def test_one_image_that_is_two_disks_already(host: Host) -> None:
    """By hand; what a task has to do with it or not, it is told."""
    host.run(luns=[host.disk()])
    path = str(host.folder / "disk1")
    host.tgtd.ask(Request("target", "new", f"targetname={NAME}x", 2))
    host.tgtd.ask(Request("device", "new", f"path={path}", 2, 1))
    (problem,) = host.run(allow={"initiators": [HOST1]})["problems"]
    assert problem["object"] == f"LUN 1 of target {NAME}" and f"image of LUN 1 of target {NAME}x ({path})" in problem["what"]
    assert host.run(name=NAME + "z", luns=[host.disk(3)])["problems"] == []


@pytest.mark.parametrize("path", ["/dev/lunar-none", "/dev/mapper/lunar-none"])
def test_no_file_is_made_among_devices(host: Host, path: str) -> None:
    try:
        with pytest.raises(HostError, match="is no device, and there is none"):
            host.run(luns=[{"lun": 1, "backing_store": path, "size": "1MiB", "create": True}])
        assert not os.path.exists(path)
    finally:
        if os.path.exists(path):
            os.unlink(path)


@pytest.mark.parametrize("sparse", [True, False])
def test_a_file_that_cannot_be_so_large_is_not_left_behind(host: Host, sparse: bool) -> None:
    path = host.folder / "large"
    with pytest.raises(HostError, match=f"could not be made with {8191 << 50} bytes"):
        host.run(luns=[{"lun": 1, "backing_store": str(path), "size": "8191PiB", "create": True, "sparse": sparse}])
    assert not path.exists()


def test_a_lun_of_glfs_goes_only_while_nobody_is_logged_in() -> None:
    glfs = LiveTarget(1, NAME, luns={1: LiveLun(1, "disk", bs_type="glfs"), 2: LiveLun(2, "disk", bs_type="rdwr")})
    other = LiveTarget(2, NAME + "x", sessions=(LiveSession(7, HOST1),))
    alone, busy = (Found({one.name: one for one in targets}, LiveSystem(), SavedFiles("")) for targets in ([glfs], [glfs, other]))
    may_remove(glfs, [1, 2], alone)
    may_remove(glfs, [2], busy)
    with pytest.raises(InUseError, match=f"session 7 of {HOST1} .target {NAME}x"):
        may_remove(glfs, [1], busy)


def test_a_backing_store_is_for_the_type_that_is_there(host: Host) -> None:
    """The task does not say the type, the LUN is a cd."""
    host.run(luns=[host.disk(type="cd")])
    host.tgtd.moves.clear()
    with pytest.raises(InputError, match="is rdwr for a cd"):
        host.run(luns=[host.disk(bs_type="rdwr")])
    assert host.tgtd.moves == []


def test_what_a_killed_task_left_is_removed(host: Host) -> None:
    """It may hold secrets. What stands beside it stays."""
    host.run(luns=[host.disk()])
    for name in (".lunar-iscsi-x1", "mine.conf"):
        (host.conf / name).touch()
    host.run(luns=[host.disk()])
    assert (host.conf / ".lunar-iscsi-x1").exists(), "without a step nobody has the lock"
    host.run(luns=[host.disk(vendor="LUNAR")])
    assert sorted(path.name for path in host.conf.iterdir()) == [f"{NAME}.conf", "mine.conf"]
    (host.conf / ".lunar-iscsi-x2").touch()
    host.run(state="absent")
    assert [path.name for path in host.conf.iterdir()] == ["mine.conf"]


def test_a_device_passed_through_has_a_wwid_of_its_own(host: Host) -> None:
    task = host.task(luns=[host.disk(), {"lun": 2, "type": "pt", "backing_store": "/dev/null"}])
    first, second = task.plan(task.read()).facts["targets"][0]["luns"]
    assert first["wwid"] == "3" + first["scsi_id"] and second["wwid"] is None


def test_a_file_that_was_grown_by_hand(host: Host) -> None:
    """Larger than asked for, it stays as it is; where it is less than asked for, the task cannot be done under a session."""
    options: Options = {"luns": [host.disk(size="1MiB")], "allow": {"addresses": ["ALL"]}}
    host.run(**options)
    assert host.tgtd.log_in(NAME, HOST1)
    os.truncate(host.folder / "disk1", 9 << 20)
    result = host.run(**options)
    assert not result["changed"] and [problem["object"] for problem in result["problems"]] == [f"LUN 1 of target {NAME}"]
    assert f"its file has {9 << 20} bytes" in result["problems"][0]["what"]
    with pytest.raises(InUseError, match="cannot grow while it is used"):
        host.run(luns=[dict(options["luns"][0], size="9MiB")])
    with pytest.raises(InUseError, match="cannot grow while it is used"):
        host.run(luns=[dict(options["luns"][0], size="10MiB")])
    host.tgtd.targets[1].sessions.clear()
    assert host.run(**options)["changed"] and host.tgtd.targets[1].luns[1].size == 9 << 20
    assert host.run(**options)["problems"] == []


def test_what_tgtd_may_die_of_is_first_taken_out_of_what_it_reads_at_its_start(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """tgtd 1.0.85 does, when a LUN of the store glfs goes; it would come back with the LUN, again and again."""
    monkeypatch.setitem(fake_tgtd._STORES, "glfs", "")
    monkeypatch.chdir(host.folder)  # the imitation takes a file of this name for the one in the volume
    (host.folder / "gv0@192.0.2.1:disk").touch()
    host.run(luns=[{"lun": 1, "backing_store": "gv0@192.0.2.1:disk", "bs_type": "glfs"}])
    assert [step.split()[1] for step in host.run(state="absent")["steps"]] == [f"{host.conf}/{NAME}.conf", "target"]
    host.run(luns=[host.disk()])
    assert [step.split()[1] for step in host.run(state="absent")["steps"]] == ["target", f"{host.conf}/{NAME}.conf"]
