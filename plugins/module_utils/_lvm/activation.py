# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module lvm_activation does: volumes active or inactive on this host, after looking at all that speaks against it."""

from __future__ import annotations

import os
import time
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._argspec import check_timeout
from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import Plan, Step
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InputError, InUseError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.block import User
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Runner, check
from ansible_collections.lunar.iscsi.plugins.module_utils._lvm import refusals
from ansible_collections.lunar.iscsi.plugins.module_utils._lvm.kernel import Node, find_users, read_nodes, short
from ansible_collections.lunar.iscsi.plugins.module_utils._lvm.paths import Host
from ansible_collections.lunar.iscsi.plugins.module_utils._lvm.refusals import Looked
from ansible_collections.lunar.iscsi.plugins.module_utils._lvm.report import ENVIRONMENT, Group, Report, Volume, ask
from ansible_collections.lunar.iscsi.plugins.module_utils._lvm.wanted import Choice, Wanted, choose, parse_elsewhere, parse_volumes

#: LVM takes its folder from this variable, too (lvm(8), ENVIRONMENT VARIABLES)
DEVICES_FILE = os.path.join(os.environ.get("LVM_SYSTEM_DIR") or "/etc/lvm", "devices/system.devices")
LVMLOCKD = "/run/lvm/lvmlockd.socket"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 2.0
#: how long somebody may hold a volume open of whom nothing is known; udev looks at each device for a moment
_PASSING = 5.0
#: how long a path may take to say who it is; one that does not is passed over
_ANSWER = 5.0
#: the volume in which sanlock keeps its leases; it stays active until the lock space is stopped
_LEASES = "lvmlock"


class Found(t.NamedTuple):
    """What is."""

    report: Report
    nodes: t.Sequence[Node]
    choices: t.Sequence[Choice]
    absent: t.Sequence[Wanted]
    #: the groups (UUIDs) that LVM sees whole only outside its devices file
    unlisted: t.Collection[str] = ()
    looked: Looked = Looked()
    #: who uses what is to be deactivated, or what is left of a group whose disks are gone
    users: t.Sequence[User] = ()
    #: what is wrong with the disks that the task names, each with whether waiting may help
    disks: t.Sequence[t.Tuple[str, bool]] = ()


class ActivationTask:
    """One lvm_activation task; see ``_convergence.Task``."""

    def __init__(
        self, params: t.Mapping[str, t.Any], *, check_mode: bool = False, runner: t.Optional[Runner] = None, host: Host = Host(),
        devices_file: str = DEVICES_FILE, clock: t.Callable[[], float] = time.monotonic, sleep: t.Callable[[float], None] = time.sleep,
    ) -> None:
        self._wanted = parse_volumes(params["volumes"])
        self._active = params["state"] == "active"
        self._shared, self._list, self._rescan = params["shared"], params["devices_file"], params["rescan"]
        self._elsewhere = parse_elsewhere(params["elsewhere"])
        self._devices: t.Sequence[str] = params["devices"]
        self._timeout = check_timeout(params["timeout"])
        for device in self._devices:
            if not os.path.normpath(device).startswith("/dev/"):
                raise InputError("option devices", f"has {device}, which is no device", "Give paths in /dev, such as the devices of iscsi_node's disks")
        if self._devices and not (self._active and self._wanted):
            raise InputError("option devices", "is given without volumes that are to be active", "It says on which disks they are")
        self._check_mode = check_mode
        self._runner, self._host, self._devices_file, self._clock, self._sleep = runner or Runner(), host, devices_file, clock, sleep

    # read

    def read(self) -> Found:
        """One report of LVM; more only where something is to be done, is not there, or is not ready. Outside check mode that is waited for."""
        if self._rescan and not self._check_mode:
            self._run("pvscan", "--cache")
            self._rescan = False
        start, pause = self._clock(), _FIRST_PAUSE
        while True:
            found = self._look()
            left = start + (self._timeout if self._active else min(_PASSING, self._timeout)) - self._clock()
            if self._check_mode or left <= 0 or not self._may_change(found):
                return self._look_closer(found) if self._active else found
            self._sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _look(self) -> Found:
        report, nodes = ask(self._runner, self._timeout), read_nodes(self._host.sys)
        choices, absent = choose(self._wanted, report, self._active)
        if not self._active:
            found = Found(report, nodes, choices, absent)
            return found._replace(users=self._users(self._affected(found)))
        unlisted: t.List[str] = []
        if os.path.exists(self._devices_file) and (absent or any(choice.group.missing for choice in choices)):
            everywhere = ask(self._runner, self._timeout, everywhere=True)
            unlisted = self._find_unlisted(report, everywhere)
            if unlisted:
                report = everywhere
                choices, absent = choose(self._wanted, report, self._active)
        luns = self._host.by_wwid() if choices or self._devices else {}
        paths = {disk.device: self._host.single_path(disk.device, luns) for choice in choices for disk in choice.group.disks if disk.device}
        looked = Looked(nodes, {device: refused for device, refused in paths.items() if refused is not None})
        found = Found(report, nodes, choices, absent, unlisted, looked)
        return found._replace(disks=[wrong for wrong in (self._check_device(device, found, luns) for device in self._devices) if wrong is not None])

    def _find_unlisted(self, report: Report, everywhere: Report) -> t.List[str]:
        """The groups that the task means with a disk that LVM sees only where it does not keep to its devices file."""
        listed = {disk.uuid for group in report.groups for disk in group.disks if disk.device}
        named = {entry.group for entry in self._wanted}
        return [group.uuid for group in everywhere.groups if {group.name, group.uuid} & named
                and any(disk.device and disk.uuid not in listed for disk in group.disks)]

    def _look_closer(self, found: Found) -> Found:
        """What else speaks against activating the groups in which something is to be: disks are asked who they are, and LVM whose a group is."""
        todo = [choice for choice in found.choices if _todo(choice, True)]
        paths = dict(found.looked.paths)
        for device in (disk.device for choice in todo for disk in choice.group.disks if disk.device and disk.device not in paths):
            refused = self._host.stale(device, _ANSWER)
            if refused is not None:
                paths[device] = refused
        foreign, system_id = self._ask_owner(todo)
        return found._replace(looked=Looked(found.nodes, paths, foreign, system_id, os.path.exists(LVMLOCKD)))

    def _ask_owner(self, todo: t.Sequence[Choice]) -> t.Tuple[t.List[str], str]:
        """Which of these groups LVM keeps from this host because of their system ID; it is asked, since a host may have several."""
        owned = [choice.group.uuid for choice in todo if choice.group.system_id]
        if not owned:
            return [], ""
        seen = self._run("vgs", "--noheadings", "-o", "vg_uuid").split()
        foreign = [uuid for uuid in owned if uuid not in seen]
        return foreign, self._run("systemid").partition(":")[2].strip() if foreign else ""

    def _check_device(self, device: str, found: Found, luns: t.Mapping[str, t.Sequence[str]]) -> t.Optional[t.Tuple[str, bool]]:
        """What is wrong with a disk that the task names, and whether waiting may help."""
        name = self._host.kernel_name(device)
        if not name:
            return f"{device} is not there", True
        group = next((group for group in found.report.groups if self._stands_on(group.disks, name)), None)
        if group is not None:
            if any(choice.group.uuid == group.uuid for choice in found.choices):
                return None
            return f"{device} is a disk of the volume group {group.name} ({group.uuid}), which is not one of those named", False
        if self._stands_on(found.report.orphans, name):
            return f"{device} carries the label of LVM and belongs to no volume group that can be read", False
        over = self._host.single_path(device, luns)
        if over is not None and not self._host.map_over(name):
            return f"{over.subject} {over.what}", True
        label = self._host.has_label(self._host.map_over(name) or name)
        if label:
            return f"{device} carries the label of LVM, and LVM does not look at it (its filter or its devices file)", True
        return f"{device} " + ("cannot be read" if label is None else "carries no label of LVM"), label is None

    def _stands_on(self, disks: t.Iterable[t.Any], name: str) -> bool:
        return any(name in self._host.below(self._host.kernel_name(disk.device)) for disk in disks if disk.device)

    def _may_change(self, found: Found) -> bool:
        """Whether something that is in the way may go by itself."""
        if not self._active:
            return bool(self._opened(found)) if not found.users else all(user.kind == "open" and not user.detail for user in found.users)
        if self._devices and found.disks:
            return all(waits for _words, waits in found.disks)
        if found.absent:
            return True
        todo = [choice for choice in found.choices if _todo(choice, True)]
        return any(not disk.device or disk.device in found.looked.paths for choice in todo for disk in choice.group.disks)

    # who uses what is to be deactivated

    def _affected(self, found: Found) -> t.List[Node]:
        """The devices that go away: those of volumes, with a whole group all of them, and those of groups whose disks are gone."""
        volumes = {short(volume.uuid) for choice in found.choices for volume in _todo(choice, False)}
        groups = {short(choice.group.uuid) for choice in found.choices if choice.whole and _todo(choice, False)}
        nodes = [node for node in found.nodes if node.volume_uuid in volumes or node.group_uuid in groups]
        nodes += [node for entry in found.absent for node in _left_behind(entry, found)]
        return [node for node in nodes if not node.name.endswith(f"-{_LEASES}")]

    def _users(self, nodes: t.Sequence[Node], opened: bool = True) -> t.List[User]:
        host = self._host
        return find_users(nodes, opened=opened, sys=host.sys, proc=host.proc, dev=host.dev) if nodes else []

    def _opened(self, found: Found) -> t.List[str]:
        """The volumes that LVM calls open and that no other volume stands on."""
        held = {name for node in found.nodes for name in self._host.below(node.kernel)[1:]}
        busy = {node.volume_uuid for node in found.nodes if node.kernel in held}
        return [f"{choice.group.name}/{volume.name}" for choice in found.choices for volume in _todo(choice, False)
                if volume.opened and short(volume.uuid) not in busy]

    # plan

    def plan(self, found: Found) -> Plan:
        """Take up disks in the devices file, activate; or deactivate, if nobody uses anything of it."""
        return self._plan_active(found) if self._active else self._plan_inactive(found)

    def _plan_active(self, found: Found) -> Plan:
        wrong = [words for words, _waits in found.disks]
        if found.absent:
            raise refusals.absent_group(found.absent[0], found.report, wrong)
        if wrong:
            raise InputError("option devices", "; ".join(wrong), "Give the disks of the groups that are named, or leave the option out")
        steps: t.List[Step] = []
        for choice in found.choices:
            group, todo = choice.group, _todo(choice, True)
            if not todo:
                continue
            refusals.refuse(choice, found.report, found.looked)
            refusals.refuse_elsewhere(group, self._elsewhere, self._shared)
            if group.uuid in found.unlisted:
                if not self._list:
                    raise HostError(f"volume group {group.name}", f"is on disks that are not in LVM's devices file ({self._devices_file})",
                                    f"Say devices_file: true, or list them yourself: vgimportdevices {group.name}. Nothing was activated")
                disks = ", ".join(disk.device for disk in group.disks)
                steps.append(Step("list in the devices file", f"the disks of {group.name}", None, disks, work=("list", choice, None)))
            steps += [Step("activate", f"{group.name}/{volume.name}", {"state": "inactive"}, {"state": "active", "device": volume.mapper},
                           work=("activate", choice, volume)) for volume in todo]
        return Plan(steps, self._problems(found))

    def _plan_inactive(self, found: Found) -> Plan:
        for entry in found.absent:
            nodes = _left_behind(entry, found)
            if nodes:
                raise refusals.left_behind(entry, nodes, [str(user) for user in found.users])
        todo = [(choice, volume) for choice in found.choices for volume in _todo(choice, False)]
        users = [str(user) for user in found.users] or [
            f"something that neither /proc nor /sys of this host names, which has {name} open" for name in self._opened(found)]
        if users:
            raise _in_use(users, [choice for choice, _volume in todo])
        steps = [Step("deactivate", f"{choice.group.name}/{volume.name}", {"state": "active", "device": volume.mapper}, {"state": "inactive"},
                      work=("deactivate", choice, volume)) for choice, volume in todo]
        return Plan(steps, self._problems(found))

    def _problems(self, found: Found) -> t.List[t.Dict[str, str]]:
        if not self._active:
            return [{"object": f"volume group {entry.group}", "what": "is on no disk that this host sees, so there is nothing to deactivate",
                     "remedy": "Look whether the name is right"} for entry in found.absent]
        problems: t.List[t.Dict[str, str]] = []
        nodes = {(node.group_uuid, node.volume_uuid): node for node in found.nodes if not node.layer}
        for choice in found.choices:
            group, subject = choice.group, f"volume group {choice.group.name}"
            problems += [{"object": subject, "what": f"is active, and {refused.subject} {refused.what}", "remedy": f"Deactivate the group. {refused.remedy}"}
                         for refused in (found.looked.paths.get(disk.device) for disk in group.disks) if refused is not None]
            for volume in choice.volumes:
                node = nodes.get((short(group.uuid), short(volume.uuid)))
                problems += refusals.volume_problems(group, volume, node) if node is not None else []
            for one in refusals.active_elsewhere(group, self._elsewhere) if not self._shared else ():
                problems.append({"object": subject, "what": f"is active here and on {one.host}, and nothing keeps them from each other",
                                 "remedy": "Deactivate it on one of them, or say shared: true if that is meant"})
        return problems

    # apply

    def apply(self, steps: t.Sequence[Step]) -> t.Mapping[str, t.Any]:
        """One command of LVM a group, after a look at all disks."""
        groups: t.Dict[str, t.Tuple[Choice, t.List[Volume]]] = {}
        for step in steps:
            kind, choice, volume = step.work
            if kind == "list":
                self._take_up(choice)
            else:
                groups.setdefault(choice.group.uuid, (choice, []))[1].append(volume)
        if self._active:
            self._run("pvscan", "--cache")
        for choice, volumes in groups.values():
            if self._active:
                self._activate(choice, volumes)
            else:
                self._deactivate(choice, volumes)
        return {}

    def _take_up(self, choice: Choice) -> None:
        if not choice.by_uuid:
            self._change(choice.group, ["vgimportdevices", choice.group.name])
            return
        for disk in choice.group.disks:
            self._change(choice.group, ["lvmdevices", "--yes", "--adddev", disk.device])

    def _activate(self, choice: Choice, volumes: t.Sequence[Volume]) -> None:
        group = choice.group
        if group.locked:
            self._change(group, ["vgchange", "--lockstart", group.name])
        how = "-ay" if not group.locked else "-asy" if self._shared else "-aey"
        if choice.whole and all(volume.goes_along for volume in volumes):
            self._change(group, ["vgchange", how, *_group_words(choice)])
        else:  # a volume that is named is activated even if it says that it is to be left alone
            self._change(group, ["lvchange", how, "-K", *_volume_words(choice, volumes)])

    def _deactivate(self, choice: Choice, volumes: t.Sequence[Volume]) -> None:
        group = choice.group
        argv = ["vgchange", "-an", *_group_words(choice)] if choice.whole else ["lvchange", "-an", *_volume_words(choice, volumes)]
        try:
            self._change(group, argv)
        except HostError:
            mine = {short(volume.uuid) for volume in volumes}
            users = self._users([node for node in read_nodes(self._host.sys) if node.group_uuid == short(group.uuid)
                                 and (node.volume_uuid in mine or choice.whole) and not node.name.endswith(f"-{_LEASES}")])
            if users:  # somebody came in between
                raise _in_use([str(user) for user in users], [choice], "What is not in use may be inactive now")
            raise
        if group.locked and choice.whole:
            self._change(group, ["vgchange", "--lockstop", group.name])

    def _change(self, group: Group, argv: t.Sequence[str]) -> None:
        result = self._runner.run(["lvm", *argv], timeout=self._timeout, env=ENVIRONMENT)
        check(result, f"failed for the volume group {group.name}", "All that LVM said is in stderr; the kernel's log may have more")

    def _run(self, *argv: str) -> str:
        """A command that is judged by what is read afterwards, not by its exit code: LVM ends with 5 over any disk that it cannot read."""
        return self._runner.run(["lvm", *argv], timeout=self._timeout, env=ENVIRONMENT).stdout

    # finish

    def finish(self, found: Found, done: bool) -> t.Mapping[str, t.Any]:
        """All groups that are seen, and the volumes that the task names, with their users."""
        nodes: t.Dict[t.Tuple[str, str], t.List[Node]] = {}
        for node in found.nodes:
            nodes.setdefault((node.group_uuid, node.volume_uuid), []).append(node)
        volumes = []
        for choice in found.choices:
            for volume in choice.volumes:
                own = nodes.get((short(choice.group.uuid), short(volume.uuid)), [])
                volumes.append(_volume_fact(choice.group, volume, own, self._users(own, opened=False) if volume.opened else []))
        return {"groups": [_group_fact(group) for group in found.report.groups], "volumes": volumes}


def _todo(choice: Choice, active: bool) -> t.List[Volume]:
    return [volume for volume in choice.volumes if volume.active is not active]


def _left_behind(entry: Wanted, found: Found) -> t.List[Node]:
    return [node for node in found.nodes if entry.group == node.group or short(entry.group) == node.group_uuid]


def _in_use(users: t.Sequence[str], choices: t.Sequence[Choice], done: str = "Nothing was deactivated") -> InUseError:
    names = list(dict.fromkeys(choice.group.name for choice in choices))
    return InUseError(f"volume group {', '.join(names)}", users, f"Unmount or stop what uses it, and repeat this. {done}")


def _group_words(choice: Choice) -> t.List[str]:
    """How to say to LVM which group: its UUID selects among several of one name."""
    return ["--select", f"vg_uuid={choice.group.uuid}"] if choice.by_uuid else [choice.group.name]


def _volume_words(choice: Choice, volumes: t.Sequence[Volume]) -> t.List[str]:
    if choice.by_uuid:
        return ["--select", f"vg_uuid={choice.group.uuid} && (" + " || ".join(f"lv_uuid={volume.uuid}" for volume in volumes) + ")"]
    return [f"{choice.group.name}/{volume.name}" for volume in volumes]


def _group_fact(group: Group) -> t.Dict[str, t.Any]:
    return {
        "name": group.name, "uuid": group.uuid, "size": group.size, "free": group.free, "exported": group.exported, "system_id": group.system_id,
        "lock_type": group.lock_type, "partial": bool(group.missing),
        "disks": [{"uuid": disk.uuid, "device": disk.device, "size": disk.size, "missing": disk.missing} for disk in group.disks],
        "volumes": [volume.name for volume in group.volumes], "active": [volume.name for volume in group.active],
        "open": [volume.name for volume in group.volumes if volume.opened],
    }


def _volume_fact(group: Group, volume: Volume, nodes: t.Sequence[Node], users: t.Sequence[User]) -> t.Dict[str, t.Any]:
    kernel = next((f"/dev/{node.kernel}" for node in nodes if not node.layer), "")
    return {
        "name": f"{group.name}/{volume.name}", "group": group.name, "uuid": volume.uuid, "device": f"/dev/{group.name}/{volume.name}",
        "mapper": volume.mapper, "kernel_device": kernel, "size": volume.size, "active": volume.active, "open": volume.opened,
        "users": [str(user) for user in users],
    }
