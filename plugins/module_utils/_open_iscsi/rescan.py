# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing what the host knows of its LUNs up to what the targets have: LUNs that are new, disks and maps that have grown.

The target is asked (REPORT LUNS, READ CAPACITY) and what it says is held against sysfs, so that nothing is scanned where nothing changed. What has
gone or become smaller is told and left: taking a disk away is another wish than looking for new ones.
"""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from ansible_collections.lunar.iscsi.plugins.module_utils._argspec import check_timeout
from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import Plan, Step
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._host import scsi
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Runner
from ansible_collections.lunar.iscsi.plugins.module_utils._host.sysfs import list_dir, read_int, read_text
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.disks import read_disks, wait_for_disks
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.sessions import SECTOR, Lun, Session, read_sessions, select_sessions

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
    """

    sessions: t.Tuple[Session, ...]
    luns: t.Mapping[int, t.Sequence[int]]
    sizes: t.Mapping[str, int]
    maps: t.Tuple[Map, ...]
    silent: t.Tuple[HostError, ...] = ()


class RescanTask:
    """``iscsi_session`` with ``state: rescanned``.

    ``resize`` makes a map (``dm-0``) as large as its paths. A session whose target had no LUN when it was made has no device to ask by: it is
    scanned whenever it is looked at, which changes nothing if there still is none.
    """

    def __init__(
        self, params: t.Mapping[str, t.Any], *, check_mode: bool, resize: t.Callable[[str], None], sys: str = "/sys",
    ) -> None:
        if not all(isinstance(sid, int) and sid >= 0 for sid in params["sids"]):
            raise InputError("option sids", f"is {params['sids']}", "Give session ids as iscsi_session_info returns them")
        self._targets, self._sids = params["targets"], params["sids"]
        self._timeout = check_timeout(params["timeout"])
        self._resize, self._check_mode, self._sys = resize, check_mode, sys
        self._appeared: t.List[Step] = []

    def read(self) -> Found:
        """Look at the sessions, ask one device of each for the target's LUNs, and every disk for its size."""
        sessions = self._look()
        bare = [session for session in sessions if session.logged_in and not session.luns]
        if bare and not self._check_mode:
            for session in bare:
                self._scan(session)
            sids, sessions = {session.sid for session in bare}, self._look()
            self._appeared += [_add(session, lun.lun) for session in sessions if session.sid in sids for lun in session.luns]
        luns: t.Dict[int, t.Sequence[int]] = {}
        sizes: t.Dict[str, int] = {}
        silent: t.List[HostError] = []
        for session in (session for session in sessions if session.logged_in and session.luns):
            try:
                luns[session.sid] = scsi.report_luns(_asked_by(session.luns[0], self._sys), self._timeout)
                for disk in (lun for lun in session.luns if lun.name and lun.type == _DISK):
                    sizes[str(disk.name)] = scsi.read_capacity(f"/dev/{disk.name}", self._timeout)
            except HostError as error:
                silent.append(error)
        return Found(tuple(sessions), luns, sizes, tuple(read_maps(sessions, self._sys)), tuple(silent))

    def _look(self) -> t.List[Session]:
        return select_sessions(read_sessions(self._sys), self._targets, self._sids)

    def plan(self, found: Found) -> Plan:
        """New LUNs first, then disks that have grown, then the maps above them."""
        steps, problems = list(self._appeared), [error.as_problem() for error in found.silent]
        known = {lun.name: lun.size or 0 for session in found.sessions for lun in session.luns if lun.name}
        after = dict(known)
        for session in found.sessions:
            problems += self._problems(session, found)
            reported = found.luns.get(session.sid)
            here = {lun.lun for lun in session.luns}
            steps += [_add(session, lun, self) for lun in reported or () if lun not in here]
        for name, size in found.sizes.items():
            if size > known[name]:
                after[name] = size
                steps.append(Step("resize", f"/dev/{name}", f"{known[name]} bytes", f"{size} bytes", lambda name=name: self._rescan(name)))
            elif size < known[name]:
                problems.append({"object": f"/dev/{name}", "what": f"has {size} bytes and had {known[name]}: the target made it smaller",
                                 "remedy": "What is beyond its new end is lost. It is left as the kernel knows it"})
        for one in found.maps:
            size = min((after.get(path) or self._size(path) for path in one.paths), default=0)
            if size > one.size:
                steps.append(Step("resize", f"map {one.name}", f"{one.size} bytes", f"{size} bytes", lambda one=one: self._resize(one.device)))
        return Plan(steps, problems)

    def _problems(self, session: Session, found: Found) -> t.Iterator[t.Dict[str, str]]:
        subject = f"session {session.sid} of {session.key}"
        if not session.logged_in:
            yield {"object": subject, "what": f"is in state {session.state}, so its target was not asked", "remedy": "Look at it with iscsi_session_info"}
        elif not session.luns and self._check_mode:
            yield {"object": subject, "what": "has no LUN by which its target could be asked", "remedy": "A run outside check mode scans it"}
        reported = found.luns.get(session.sid)
        for lun in (lun for lun in session.luns if reported is not None and lun.lun not in reported):
            yield {"object": f"LUN {lun.lun} of {subject}" + (f" ({lun.device})" if lun.device else ""), "what": "is not there any more, says the target",
                   "remedy": "Unmount what is on it and log out, or let the target have it again"}

    def apply(self, steps: t.Sequence[Step]) -> t.Mapping[str, t.Any]:
        """Scan for single LUNs, look at single disks again, have maps resized; wait until new disks are usable."""
        self._appeared = []
        for step in steps:
            if step.work is not None:
                step.work()
        if any(step.action == "add" for step in steps):
            wait_for_disks(self._look, timeout=self._timeout, runner=Runner(), sys=self._sys)
        return {}

    def finish(self, found: Found, done: bool) -> t.Mapping[str, t.Any]:
        """The disks of the sessions."""
        return {"disks": [disk.as_fact() for disk in read_disks(found.sessions, self._sys)]}

    def _scan(self, session: Session, lun: t.Optional[int] = None) -> None:
        """Let the kernel look for one LUN, or for all. (Documentation/scsi: "channel target lun", ``-`` for all.)"""
        target = "-" if session.target_id is None else str(session.target_id)
        self._write(f"class/scsi_host/host{session.host}/scan", f"0 {target} {'-' if lun is None else lun}")

    def _rescan(self, name: str) -> None:
        self._write(f"class/block/{name}/device/rescan", "1")

    def _write(self, path: str, text: str) -> None:
        path = os.path.join(self._sys, path)
        try:
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
        except OSError as error:
            raise HostError(path, f"did not take {text!r}: {error.strerror or error}", "Look at the kernel's log; the module needs root")

    def _size(self, name: str) -> int:
        return (read_int(os.path.join(self._sys, "class/block", name, "size")) or 0) * SECTOR


def _add(session: Session, lun: int, task: t.Optional[RescanTask] = None) -> Step:
    """The step that adds a LUN; without ``task`` it is done already."""
    work = None if task is None else lambda: task._scan(session, lun)
    return Step("add", f"LUN {lun} of session {session.sid} of {session.key}", None, f"LUN {lun}", work)


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
