# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files and devices behind LUNs: looked at before anything is changed, made and grown, never made smaller and never overwritten."""

from __future__ import annotations

import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import Step
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InUseError
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_live import LiveLun, LiveTarget, naa_of
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_model import ELSEWHERE, Target, Unit
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_steps import File, FileOp, Found
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_wanted import Backing, WantedTarget, check_kind

#: the one place below /dev where a file is as good as elsewhere
_SHM = "/dev/shm/"  # noqa: S108 nothing is written there by us
_PACKAGES = {"glfs": "tgt-glusterfs", "rbd": "tgt-rbd"}


def check_backing(subject: str, unit: Unit, backing: Backing, found: Found) -> None:
    """Refuse a LUN that tgtd could not make, or that would end as an empty target. Raises ``HostError``, ``InputError``, ``InUseError``."""
    bs_type = unit.bs_type or ""
    # once more, now that what the task does not say is taken from the LUN that is there
    check_kind(subject, unit.kind or "disk", unit.bs_type, unit.path)
    known = found.system.bs_types
    if known and bs_type not in known:
        package = f"Install {_PACKAGES[bs_type]} (Debian) and restart tgtd" if bs_type in _PACKAGES else "Choose another"
        raise HostError(f"{subject}: bs_type {bs_type}", "is none that this tgtd has", f"{package}; it has {', '.join(sorted(known))}")
    for flag in unit.flags or ():
        if known and flag not in known[bs_type]:
            raise HostError(f"{subject}: flag {flag}", f"is none that the backing store {bs_type} takes",
                            f"It takes: {', '.join(sorted(known[bs_type])) or 'none'}")
    if bs_type in ELSEWHERE or not unit.path:
        return
    _check_file(f"{subject}: backing_store {unit.path}", unit, backing, found.files.get(unit.path, File()))
    if found.users.get(unit.path):
        raise InUseError(f"{subject}: backing_store {unit.path}", found.users[unit.path], "An initiator would write to it behind their back; free it first")


def _check_file(subject: str, unit: Unit, backing: Backing, file: File) -> None:
    if file.unmounted:
        raise HostError(subject, f"is below {file.unmounted}, which is to be mounted and is not",
                        f"Mount it (mount {file.unmounted}); what stands in the folder below it is not the disk that is meant")
    if file.kind == "missing" and unit.path.startswith("/dev/") and not unit.path.startswith(_SHM):
        raise HostError(subject, "is no device, and there is none", "Make it (lvcreate, or whatever makes such devices); a file below /dev is gone at boot")
    if file.kind == "missing" and not backing.create:
        raise HostError(subject, "does not exist", "Make it, or say size and create: true and it is made")
    if file.kind == "missing" and not file.has_folder:
        raise HostError(subject, "cannot be made, its folder is missing", "Make the folder first, or mount what is to be there")
    fitting = ("char", "block") if unit.kind == "pt" else ("file", "block")
    if file.kind not in (*fitting, "missing"):
        raise HostError(subject, f"is neither a {fitting[0]} nor a {fitting[1]}", "Name the disk that is meant")
    if file.kind == "file" and file.size == 0 and backing.size is None and unit.kind == "disk":
        raise HostError(subject, "is empty", "Say how large the disk shall be (size)")


class _Disk(t.NamedTuple):
    """A LUN as far as it can be mistaken for another. ``fresh``: it is about to become what it is here."""

    subject: str
    target: str
    image: str
    path: str
    wwid: str
    writes: bool
    fresh: bool


def check_images(desired: t.Mapping[str, Target], was: t.Mapping[str, t.Optional[Target]], found: Found) -> t.List[t.Mapping[str, str]]:
    """Refuse two images under one WWID, and one image under two, which is a problem only where it was so before. Raises ``HostError``."""
    disks = [_disk(live.name, lun, found, fresh=False) for live in found.live.values() if live.name not in desired
             for lun in live.luns.values()]
    for target in desired.values():
        before = was[target.name]
        for number, unit in sorted(target.units.items()):
            old = before.units.get(number) if before else None
            disks.append(_disk(target.name, unit, found, fresh=old is None or (old.path, old.scsi_id) != (unit.path, unit.scsi_id)))
    problems: t.List[t.Mapping[str, str]] = []
    ids: t.Dict[str, _Disk] = {}
    images: t.Dict[str, _Disk] = {}
    for disk in disks:
        problems += _compare(disk, ids.setdefault(disk.wwid, disk), images.setdefault(disk.image, disk) if disk.image else disk, desired)
    return problems


def _disk(target: str, unit: t.Union[Unit, LiveLun], found: Found, *, fresh: bool) -> _Disk:
    image = found.images.get(unit.path, unit.path and f"{unit.bs_type if unit.bs_type in ELSEWHERE else ''} {unit.path}")
    return _Disk(f"LUN {unit.number} of target {target}", target, "" if unit.bs_type == "null" else image, unit.path, naa_of(unit.scsi_id or ""),
                 not unit.readonly and unit.kind not in ("cd", "pt"), fresh)


def _compare(disk: _Disk, same_id: _Disk, same_image: _Disk, desired: t.Container[str]) -> t.Iterator[t.Mapping[str, str]]:
    if disk.target not in desired:
        return
    if (same_id.image or same_id.path) != (disk.image or disk.path):
        raise HostError(disk.subject, f"has the WWID 3{disk.wwid} of {same_id.subject}, which is another image ({same_id.path})",
                        "Initiators would take the two for one disk and damage both; give it another scsi_id")
    if same_image is disk:
        return
    error = None
    if same_image.target == disk.target:
        error = HostError(disk.subject, f"has the image of {same_image.subject} ({same_image.path})", "Take one of the two away")
    elif same_image.wwid != disk.wwid and (same_image.writes or disk.writes):
        error = HostError(disk.subject, f"has the image of {same_image.subject} ({same_image.path}), and another SCSI id",
                          "Initiators would take it for two disks and damage it; give both the same scsi_id, or readonly: true")
    if error and (disk.fresh or same_image.fresh):
        raise error
    if error:
        yield error.as_problem()


def may_remove(live: LiveTarget, numbers: t.Iterable[int], found: Found) -> None:
    """Refuse to take away a LUN of glfs while anybody is logged in: tgtd 1.0.85 waits and may end when it lets go of the volume. ``InUseError``."""
    users = [f"{session} (target {one.name})" for one in found.live.values() for session in one.sessions]
    for number in numbers:
        if users and live.luns[number].bs_type == "glfs":
            raise InUseError(f"tgtd, which may end with LUN {number} of target {live.name}, since that is of glfs, is", users,
                             "End all sessions first, or say force: true, and they may break off until tgtd has been started again")


def backing_steps(one: WantedTarget, found: Found, made: t.Dict[str, File]) -> t.List[Step]:
    """Make and grow the files of a target's LUNs; a file that is larger than asked for stays as it is.

    ``made`` are the files as other targets of the task will have made them; it is added to.
    """
    steps: t.List[Step] = []
    for number, backing in sorted(one.backings.items()):
        path = one.units[number].path
        file = made.get(path, found.files.get(path, File()))
        if backing.size is None:
            continue
        subject = f"LUN {number} of target {one.name}: backing_store {path}"
        if file.unmounted:
            raise HostError(subject, f"is below {file.unmounted}, which is to be mounted and is not", f"Mount it (mount {file.unmounted})")
        if file.kind == "block" and file.size < backing.size:
            raise HostError(subject, f"has {file.size} bytes, and {backing.size} are asked for", "Grow the device first, or ask for less")
        live = found.live[one.name].luns.get(number) if one.name in found.live else None
        if file.kind == "missing" and live is not None and live.path == path:
            raise HostError(subject, "is gone, but tgtd still has it open and serves it",
                            "Copy what is in it while tgtd runs (from its /proc/PID/fd), or remove the LUN first (purge: true)")
        if file.kind == "missing" and backing.create:
            steps.append(Step("make", path, None, f"{backing.size} bytes", [FileOp("make", path, backing.size, backing.sparse)]))
            made[path] = File("file", backing.size)
        elif file.kind == "file" and file.size < backing.size:
            steps.append(Step("grow", path, f"{file.size} bytes", f"{backing.size} bytes", [FileOp("grow", path, backing.size, backing.sparse)]))
            made[path] = File("file", backing.size)
    return steps
