# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing what the host knows of its LUNs up to what the targets have: LUNs that are new, disks and maps that have grown, LUNs that are gone.

The target is asked (REPORT LUNS, READ CAPACITY, VPD page 83h) and what it says is held against sysfs, so that nothing is scanned where nothing
changed. What has gone, or is another disk now under the same number, is told, and taken away where that is asked for and nobody uses it. A disk that is
another one now never grows: looking at it again would make the kernel, and the map above it, take the one for the other.
"""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.lunar.iscsi.plugins.module_utils._argspec import check_timeout
from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import Plan, Step
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._host import scsi
from ansible_collections.lunar.iscsi.plugins.module_utils._host.block import flush_and_remove, maps_on, users_of
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Runner
from ansible_collections.lunar.iscsi.plugins.module_utils._host.sysfs import list_dir, read_bytes, read_int, read_text, write_text
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.disk_settings import DiskSettings, FoundSettings
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.disks import DISK_TYPES, parse_vpd83, read_disks, wait_for_disks
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.sessions import (
    SECTOR, Lun, Session, check_sids, read_sessions, select_sessions,
)

_DISK = 0  # peripheral device type of disks (SPC-4 6.6.2)


@dataclass(frozen=True)
class Map:
    """A multipath map over disks of the sessions: its name, device (``dm-0``), size and paths (``sdb``)."""

    name: str
    device: str
    size: int
    paths: t.Tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """The sessions, what their targets say, and the maps above their disks.

    ``luns``: session id -> the LUNs that the target reports. ``sizes``: disk -> bytes, as the disk says. ``silent``: what could not be asked, and why.
    ``bare``: ids of sessions that have no LUN by which the target could be asked. ``others``: disk -> the WWIDs it had and has, where they differ.
    ``users``: disk that could be removed -> who uses it.
    """

    sessions: t.Tuple[Session, ...]
    luns: t.Mapping[int, t.Sequence[int]] = field(default_factory=dict)
    sizes: t.Mapping[str, int] = field(default_factory=dict)
    maps: t.Tuple[Map, ...] = ()
    silent: t.Tuple[HostError, ...] = ()
    bare: t.Tuple[int, ...] = ()
    others: t.Mapping[str, t.Tuple[str, str]] = field(default_factory=dict)
    users: t.Mapping[str, t.Sequence[str]] = field(default_factory=dict)
    settings: t.Optional[FoundSettings] = None

    def left(self, session: Session) -> t.List[Lun]:
        """The LUNs of a session that the target does not report, or not as the disks they were."""
        reported = self.luns.get(session.sid)
        return [] if reported is None else [lun for lun in session.luns if lun.lun not in reported or lun.name in self.others]


class RescanTask:
    """``iscsi_session`` with ``state: rescanned`` or ``present``.

    ``resize`` makes a map (``dm-0``) as large as its paths. A session whose target had no LUN when it was made has no device to ask by, nor has one
    whose LUNs are all gone: it is scanned, once a task, which changes nothing if there still is none.
    """

    def __init__(
        self, params: t.Mapping[str, t.Any], *, check_mode: bool, resize: t.Callable[[str], None], sys: str = "/sys",
    ) -> None:
        self._targets, self._sids = params["targets"], check_sids(params["sids"])
        self._timeout = check_timeout(params["timeout"])
        self._rescan, self._prune = params["state"] == "rescanned", params["prune"]
        if self._prune and not self._rescan:
            raise InputError("option prune", f"is true together with state {params['state']}", "Use state rescanned, which asks the targets for their LUNs")
        self._resize, self._check_mode, self._sys = resize, check_mode, sys
        self._runner = Runner()
        self._settings = None if params["disk_settings"] is None else DiskSettings(
            params["disk_settings"], targets=self._targets, sids=self._sids, persistent=params["persistent"], runner=self._runner, sys=sys)
        self._scanned = check_mode
        self._appeared: t.List[Step] = []

    def read(self) -> Found:
        """Look at the sessions, ask one device of each for the target's LUNs, and every disk for its size and which it is."""
        sessions = self._look()
        if not self._rescan:
            return Found(tuple(sessions), settings=self._read_settings(sessions))
        luns: t.Dict[int, t.Sequence[int]] = {}
        sizes: t.Dict[str, int] = {}
        others: t.Dict[str, t.Tuple[str, str]] = {}
        silent: t.List[HostError] = []
        bare = self._ask_all(sessions, luns, silent)
        if bare and not self._scanned:
            for session in bare:
                self._scan(session)
            had, sessions = {(session.sid, lun.lun) for session in bare for lun in session.luns}, self._look()
            scanned = [session for session in sessions if session.sid in {one.sid for one in bare}]
            self._appeared += [_add(session, lun.lun) for session in scanned for lun in session.luns if (session.sid, lun.lun) not in had]
            bare = self._ask_all(scanned, luns, silent)
        self._scanned = True
        for session in sessions:
            try:
                for disk in (lun for lun in session.luns if _removable(lun) and lun.lun in luns.get(session.sid, ())):
                    if not self._ask_disk(disk, sizes, others):
                        luns[session.sid] = [number for number in luns[session.sid] if number != disk.lun]
            except HostError as error:
                silent.append(error)
        found = Found(tuple(sessions), luns, sizes, tuple(read_maps(sessions, self._sys)), tuple(silent), tuple(session.sid for session in bare), others,
                      settings=self._read_settings(sessions))
        return replace(found, users=self._users([str(lun.name) for session in sessions for lun in found.left(session) if _removable(lun)]))

    def _look(self) -> t.List[Session]:
        return select_sessions(read_sessions(self._sys), self._targets, self._sids)

    def _read_settings(self, sessions: t.Sequence[Session]) -> t.Optional[FoundSettings]:
        return None if self._settings is None else self._settings.read(sessions)

    def _ask_all(self, sessions: t.Iterable[Session], luns: t.Dict[int, t.Sequence[int]], silent: t.List[HostError]) -> t.List[Session]:
        """Ask the targets for their LUNs; returns the sessions that have no LUN to ask by, or none that the target still has."""
        bare = []
        for session in (session for session in sessions if session.logged_in):
            try:
                reported = self._report_luns(session)
                luns[session.sid] = reported or ()
                if reported is None:
                    bare.append(session)
            except HostError as error:
                silent.append(error)
        return bare

    def _report_luns(self, session: Session) -> t.Optional[t.Sequence[int]]:
        """What the target reports; None where each LUN by which it could be asked is gone, as the target answers then."""
        for lun in [lun for lun in session.luns if lun.state in (None, "running")] or session.luns:
            try:
                return scsi.report_luns(_asked_by(lun, self._sys), self._timeout)
            except scsi.NoLunError:
                continue
        return None

    def _ask_disk(self, disk: Lun, sizes: t.Dict[str, int], others: t.Dict[str, t.Tuple[str, str]]) -> bool:
        """Ask a disk which one it is and how large; whether it is there at all."""
        name = str(disk.name)
        try:
            was = parse_vpd83(read_bytes(os.path.join(self._sys, "class/block", name, "device/vpd_pg83")) or b"")
            now = parse_vpd83(scsi.device_identification(f"/dev/{name}", self._timeout) or b"")
            if was is not None and now is not None and was != now:
                others[name] = (was, now)
            elif disk.type == _DISK:
                sizes[name] = scsi.read_capacity(f"/dev/{name}", self._timeout)
        except scsi.NoLunError:
            return False
        return True

    def _users(self, names: t.Sequence[str]) -> t.Dict[str, t.List[str]]:
        """Who uses each of the disks that could be removed. Paths of one map stand or fall together, or the last one would take the map along."""
        if not self._prune or not names:
            return {}
        groups = {name: [name] for name in names}
        for paths in maps_on(names, self._sys).values():
            together = [path for path in paths if path in groups]
            groups.update((path, together) for path in together)
        return {name: [str(user) for user in users_of(group, self._sys)] for name, group in groups.items()}

    def plan(self, found: Found) -> Plan:
        """What keeps settings, LUNs that are gone, LUNs that are new, disks that have grown, the maps above them, the settings of disks."""
        settings, problems = ([], []) if self._settings is None or found.settings is None else self._settings.plan(found.settings)
        steps = [step for step in settings if step.action != "set"] + list(self._appeared)
        problems += [error.as_problem() for error in found.silent]
        going: t.List[str] = []
        adds: t.List[Step] = []
        for session in found.sessions if self._rescan else ():
            problems += self._problems(session, found)
            removed = [lun for lun in found.left(session) if self._prune and _removable(lun) and not found.users.get(str(lun.name))]
            going += [str(lun.name) for lun in removed]
            steps += [Step("remove", _named(lun, session), f"LUN {lun.lun}", None, str(lun.name)) for lun in removed]
            here = {lun.lun for lun in session.luns if lun not in removed}
            adds += [_add(session, lun, self) for lun in found.luns.get(session.sid, ()) if lun not in here]
        steps += adds + list(self._grown(found, going, problems))
        return Plan(steps + [step for step in settings if step.action == "set" and step.subject.rpartition("/")[2] not in going], problems)

    def _grown(self, found: Found, going: t.Sequence[str], problems: t.List[t.Dict[str, str]]) -> t.Iterator[Step]:
        known = {lun.name: lun.size or 0 for session in found.sessions for lun in session.luns if lun.name}
        after = dict(known)
        for name, size in found.sizes.items():
            if size > known[name]:
                after[name] = size
                yield Step("resize", f"/dev/{name}", f"{known[name]} bytes", f"{size} bytes", lambda name=name: self._look_again(name))
            elif size < known[name]:
                problems.append({"object": f"/dev/{name}", "what": f"has {size} bytes and had {known[name]}: the target made it smaller",
                                 "remedy": "What is beyond its new end is lost. It is left as the kernel knows it"})
        for one in found.maps:
            paths = [path for path in one.paths if path not in going]
            size = min((after.get(path) or self._size(path) for path in paths), default=0)
            if size > one.size and not any(path in found.others for path in paths):
                yield Step("resize", f"map {one.name}", f"{one.size} bytes", f"{size} bytes", lambda one=one: self._resize(one.device))

    def _problems(self, session: Session, found: Found) -> t.Iterator[t.Dict[str, str]]:
        subject = f"session {session.sid} of {session.key}"
        if not session.logged_in:
            yield {"object": subject, "what": f"is in state {session.state}, so its target was not asked", "remedy": "Look at it with iscsi_session_info"}
        elif session.sid in found.bare and self._check_mode:
            yield {"object": subject, "what": "has no LUN by which its target could be asked", "remedy": "A run outside check mode scans it"}
        for lun in found.left(session):
            another = found.others.get(str(lun.name))
            what = "is not there any more, says the target" if another is None else (
                f"answers with the WWID {another[1]} and had {another[0]}: another disk stands behind this LUN now")
            remedy = "let the target have it again" if another is None else "do not write to it until then"
            users = found.users.get(str(lun.name))
            if users:
                yield {"object": _named(lun, session), "what": f"{what}. It is kept, for it is in use: {', '.join(users)}",
                       "remedy": f"Unmount or stop what uses it and run this again; {remedy}"}
            elif not _removable(lun):
                yield {"object": _named(lun, session), "what": what, "remedy": "Log out, or let the target have it again"}
            elif not self._prune:
                yield {"object": _named(lun, session), "what": what, "remedy": f"Say prune: true to have it removed if nothing uses it; {remedy}"}

    def apply(self, steps: t.Sequence[Step]) -> t.Mapping[str, t.Any]:
        """Remove disks, scan for single LUNs, look at single disks again, have maps resized; wait until new disks are usable, and set them, too."""
        self._appeared = []
        for step in steps:
            if callable(step.work) and step.action not in ("add", "resize"):
                step.work()
        going = [step.work for step in steps if step.action == "remove"]
        if going:
            self._remove(going)
        for step in steps:
            if callable(step.work) and step.action in ("add", "resize"):
                step.work()
        if any(step.action == "add" for step in steps):
            wait_for_disks(self._look, timeout=self._timeout, runner=self._runner, sys=self._sys)
        if self._settings is not None:
            self._settings.set_on(self._look())
        return {}

    def _remove(self, names: t.Sequence[str]) -> None:
        """Delete disks that are gone or another one now. First each of them is taken offline, so that nothing is written to what stands there now."""
        states = {name: f"class/block/{name}/device/state" for name in names}
        stopped = {name: state for name, state in states.items() if read_text(os.path.join(self._sys, state)) == "running"}
        for state in stopped.values():
            self._write(state, "offline\n")
        try:
            flush_and_remove(names, runner=self._runner, timeout=self._timeout, sys=self._sys)
        except HostError:
            for state in stopped.values():  # what stays is as it was, or it could not even be asked the next time
                if os.path.exists(os.path.join(self._sys, state)):
                    self._write(state, "running\n")
            raise

    def finish(self, found: Found, done: bool) -> t.Mapping[str, t.Any]:
        """The disks of the sessions."""
        noticed = [] if self._settings is None else self._settings.noticed
        return {"disks": [disk.as_fact() for disk in read_disks(found.sessions, self._sys)], "problems": noticed}

    def _scan(self, session: Session, lun: t.Optional[int] = None) -> None:
        """Let the kernel look for one LUN, or for all. (Documentation/scsi: "channel target lun", ``-`` for all.)"""
        target = "-" if session.target_id is None else str(session.target_id)
        self._write(f"class/scsi_host/host{session.host}/scan", f"0 {target} {'-' if lun is None else lun}")

    def _look_again(self, name: str) -> None:
        self._write(f"class/block/{name}/device/rescan", "1")

    def _write(self, path: str, text: str) -> None:
        write_text(os.path.join(self._sys, path), text)

    def _size(self, name: str) -> int:
        return (read_int(os.path.join(self._sys, "class/block", name, "size")) or 0) * SECTOR


def _add(session: Session, lun: int, task: t.Optional[RescanTask] = None) -> Step:
    """The step that adds a LUN; without ``task`` it is done already."""
    work = None if task is None else lambda: task._scan(session, lun)
    return Step("add", f"LUN {lun} of session {session.sid} of {session.key}", None, f"LUN {lun}", work)


def _named(lun: Lun, session: Session) -> str:
    return f"LUN {lun.lun} of session {session.sid} of {session.key}" + (f" ({lun.device})" if lun.device else "")


def _removable(lun: Lun) -> bool:
    """Whether it is a disk, of which the kernel says who uses it."""
    return lun.name is not None and lun.type in DISK_TYPES


def _asked_by(lun: Lun, sys: str) -> str:
    """A device node that takes SCSI commands for this LUN: its disk, or its sg device (other types have no disk)."""
    if lun.device:
        return lun.device
    generic = list_dir(os.path.join(sys, "bus/scsi/devices", lun.address, "scsi_generic"))
    if not generic:
        raise HostError(f"LUN {lun.lun} ({lun.address})", "has no device to ask it by", "Load the kernel module sg: modprobe sg")
    return f"/dev/{generic[0]}"


def read_maps(sessions: t.Iterable[Session], sys: str = "/sys") -> t.List[Map]:
    """The multipath maps over the sessions' disks."""
    found: t.Dict[str, Map] = {}
    for name in (lun.name for session in sessions for lun in session.luns if lun.name):
        for holder in list_dir(os.path.join(sys, "class/block", name, "holders")):
            base = os.path.join(sys, "class/block", holder)
            if holder not in found and (read_text(f"{base}/dm/uuid") or "").startswith("mpath-"):
                size = (read_int(f"{base}/size") or 0) * SECTOR
                found[holder] = Map(read_text(f"{base}/dm/name") or holder, holder, size, tuple(list_dir(f"{base}/slaves")))
    return list(found.values())
