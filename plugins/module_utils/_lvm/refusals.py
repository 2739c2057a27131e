# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a group is not to be activated here. Pure: all that was looked at is handed in."""

from __future__ import annotations

import difflib
import os
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InputError, InUseError, IscsiError
from ansible_collections.lunar.iscsi.plugins.module_utils._lvm.kernel import Node, short
from ansible_collections.lunar.iscsi.plugins.module_utils._lvm.report import Group, Report, Volume
from ansible_collections.lunar.iscsi.plugins.module_utils._lvm.wanted import Choice, Elsewhere, Wanted

_NO_DEVICE_MAPPER = "Failure to communicate with kernel device-mapper driver"
#: of a disk whose label says that it belongs to a group, and nothing on it says to which
_UNREADABLE = "marked in use but no VG was found"
_NOTHING = "Nothing was activated"


class Looked(t.NamedTuple):
    """What was looked at besides LVM's report, of the groups in which something is to be activated."""

    nodes: t.Sequence[Node] = ()
    #: why the physical volume on a device is not to be used
    paths: t.Mapping[str, IscsiError] = {}
    #: the groups (UUIDs) that LVM keeps from this host, and this host's own system ID
    foreign: t.Collection[str] = ()
    system_id: str = ""
    lvmlockd: bool = False


def refuse(choice: Choice, report: Report, looked: Looked) -> None:
    """Raise where the group as it is must not be activated on this host."""
    group, subject = choice.group, f"volume group {choice.group.name}"
    if group.exported:
        raise HostError(subject, "was exported (vgexport), to be taken to another host",
                        f"If this is the host, import it: vgimport {group.name}. {_NOTHING}")
    if group.uuid in looked.foreign:
        own = f"this host's is {looked.system_id}" if looked.system_id else "this host has none (system_id_source in lvm.conf)"
        raise HostError(subject, f"belongs to the host with the system ID {group.system_id}, and {own}",
                        f"Deactivate and export it there (vgexport {group.name}), then vgimport it here; lvmsystemid(7) says more. {_NOTHING}")
    if group.locked and not looked.lvmlockd:
        raise HostError(subject, f"is locked by {group.lock_type} through lvmlockd, which does not run on this host",
                        f"Start lvmlockd and its lock manager first (lvmlockd(8)). {_NOTHING}")
    _refuse_disks(group, subject, report, looked)
    _refuse_names(choice, looked.nodes)
    if any(_NO_DEVICE_MAPPER in line for line in report.said):
        raise HostError(subject, "cannot be activated: the kernel of this host has no device-mapper", f"Load it (modprobe dm_mod). {_NOTHING}")


def _refuse_disks(group: Group, subject: str, report: Report, looked: Looked) -> None:
    gone = [disk for disk in group.missing if not disk.device]
    if gone:
        heard = [line for line in report.said if any(disk.uuid in line for disk in gone)]
        disks = ", ".join(disk.uuid for disk in gone)
        raise HostError(subject, f"is partial: {len(gone)} of its {len(group.disks)} disks {'are' if len(gone) > 1 else 'is'} not there, {disks}"
                        + (f". LVM says: {heard[0]}" if heard else ""),
                        "Attach what is missing (iscsi_session_info shows the LUNs there are). A disk that will not come back is taken out with "
                        f"vgreduce --removemissing {group.name}. {_NOTHING}")
    if group.missing:
        back = " ".join(disk.device for disk in group.missing)
        raise HostError(subject, f"was changed while {back} was not there, so what is on that disk may be old",
                        f"If it is as it should be, take it in again: vgextend --restoremissing {group.name} {back}. {_NOTHING}")
    duplicates = report.duplicates()
    for disk in group.disks:
        refused = looked.paths.get(disk.device)
        if refused is not None:
            raise HostError(subject, f"must not be used: {refused.subject} {refused.what}", f"{refused.remedy}. {_NOTHING}")
        if disk.uuid in duplicates:
            devices = " and ".join([disk.device, *duplicates[disk.uuid]])
            raise HostError(subject, f"has a physical volume that is there more than once, on {devices}",
                            "If they are paths to one disk, have multipath make a map of them. If one is a copy of the other (a snapshot or clone "
                            f"on the array), detach it, or give it names of its own with vgimportclone. {_NOTHING}")


def _refuse_names(choice: Choice, nodes: t.Sequence[Node]) -> None:
    """Another group of the same name may have its volumes in the kernel, or this one a volume that was removed on another host."""
    group = choice.group
    wanted = {os.path.basename(volume.mapper): volume for volume in choice.volumes if not volume.active}
    for node in nodes:
        if node.name in wanted:
            volume = wanted[node.name]
            if node.group_uuid == short(group.uuid):
                remedy = f"It was removed and made anew on another host; stop what uses it here, then dmsetup remove {node.name}"
            else:
                remedy = f"It belongs to another group of the same name; rename one of them: vgrename {group.uuid} NEW_NAME"
            raise HostError(f"logical volume {group.name}/{volume.name}",
                            f"cannot be activated as {node.mapper}, since another volume is active under this name", f"{remedy}. {_NOTHING}")


def refuse_elsewhere(group: Group, elsewhere: t.Sequence[Elsewhere], shared: bool) -> None:
    """Raise where another host has the group active and nothing keeps the two from each other."""
    active = active_elsewhere(group, elsewhere)
    if active and not shared:
        users = [f"{one.host}, where {', '.join(one.volumes)} {'are' if len(one.volumes) > 1 else 'is'} active" for one in active]
        raise InUseError(f"volume group {group.name} ({group.uuid})", users,
                         "Without locking, hosts that use one group at a time destroy what is in it. Deactivate it there first; or use lvmlockd or system IDs; "
                         f"or say shared: true, where each volume is used by one host only, or by a file system made for several. {_NOTHING}")


def active_elsewhere(group: Group, elsewhere: t.Sequence[Elsewhere]) -> t.List[Elsewhere]:
    """The other hosts that have volumes of a group active that nobody locks."""
    return [] if group.locked else [one for one in elsewhere if one.group_uuid == group.uuid]


def absent_group(wanted: Wanted, report: Report, disks: t.Sequence[str]) -> IscsiError:
    """A group that no disk of this host carries; ``disks`` is what is wrong with the disks that the task names."""
    names = sorted({group.name for group in report.groups})
    near = difflib.get_close_matches(wanted.group, names, 1)
    heard = report.about(wanted.group) or [line for line in report.said if _UNREADABLE in line]
    there = f"This host sees {', '.join(names)}" if names else "This host sees no group at all"
    remedy = (f"Did you mean {near[0]}? " if near else "") + f"{there}. If its disks are not attached, log in first (iscsi_node)"
    return InputError(f"volume group {wanted.group}", "is on no disk that this host sees" + "".join(f"; {words}" for words in disks)
                      + (f". LVM says: {heard[0]}" if heard else ""), remedy)


def left_behind(wanted: Wanted, nodes: t.Sequence[Node], users: t.Sequence[str]) -> IscsiError:
    """Volumes that are still in the kernel though their disks are gone."""
    subject = f"volume group {wanted.group}"
    if users:
        return InUseError(subject, users, "Its disks are gone already, so what was not written yet is lost. Stop these first")
    names = " ".join(node.name for node in nodes)
    return HostError(subject, f"is on no disk that this host sees, and {len(nodes)} of its volumes {'are' if len(nodes) > 1 else 'is'} still active",
                     f"Attach the disks again and repeat this; or, if they are gone for good, dmsetup remove {names}")


def volume_problems(group: Group, volume: Volume, node: Node) -> t.List[t.Dict[str, str]]:
    """What is wrong with a volume that is active: another host has resized it, so that the kernel has its old size; it is suspended."""
    problems, subject = [], f"logical volume {group.name}/{volume.name}"
    if volume.size != node.size and "snapshot" not in volume.roles:
        problems.append({"object": subject, "what": f"has {node.size} bytes in this kernel and {volume.size} in the group: it was resized since it was "
                         "activated here, on another host", "remedy": f"lvchange --refresh {group.name}/{volume.name}"})
    if node.suspended:
        problems.append({"object": subject, "what": "is suspended: whoever reads or writes it waits",
                         "remedy": f"Look whether a command of LVM broke off, then dmsetup resume {node.name}"})
    return problems
