# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module tgt_target does: ask tgtd, read its configuration, plan, apply under a lock, save."""

from __future__ import annotations

import glob
import os
import stat
import typing as t
from dataclasses import replace

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import Plan, Step
from ansible_collections.lunar.iscsi.plugins.module_utils._host.block import read_mounts, users_of
from ansible_collections.lunar.iscsi.plugins.module_utils._host.files import remove_empty_folders_up_to, remove_file, remove_leftovers
from ansible_collections.lunar.iscsi.plugins.module_utils._host.sysfs import read_text
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_apply import LOCK, Lock, apply_steps
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_control import ALL_TARGETS, Control, Request
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_live import (
    LiveTarget,
    has_sessions,
    parse_names,
    parse_parameters,
    parse_system,
    parse_targets,
)
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_model import ELSEWHERE, Target, Unit
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_plan import make_plan
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_portals import read_portals, read_service
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_saved import FOLDER, MAIN, SavedFiles, read_saved
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_steps import File, Found
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_wanted import Wanted, parse_wanted

#: what a tgtd was told in tasks that save nothing, and what tasks have begun, until it ends or the host does: it does not tell itself
NOTES = "/run/lunar-iscsi-tgt"
_BEGUN = ".begun"


class TgtTask:
    """One tgt_target task; see ``_convergence.Task``. ``control``, ``main``, ``fstab``, ``lock`` and ``notes`` are given by tests."""

    def __init__(self, params: t.Mapping[str, t.Any], control: t.Optional[Control] = None, main: str = MAIN, fstab: str = "/etc/fstab",
                 lock: str = LOCK, notes: str = NOTES) -> None:
        self.wanted: Wanted = parse_wanted(params)
        self.control = control or Control(params.get("control_port") or 0)
        self._folder = params.get("save_folder") or FOLDER
        #: whether tgt's configuration is about this tgtd
        self._configured = self.wanted.boots or bool(params.get("save_folder"))
        self._main, self._fstab, self._lock, self._notes = main, fstab, lock, notes

    def read(self) -> Found:
        text = self.control.ask(Request("target", "show", "", ALL_TARGETS))
        names = parse_names(self.control.ask(Request("lld", "show"))) if has_sessions(text) else None
        live = {one.name: one for one in parse_targets(text, names)}
        saved = read_saved(self._folder, self._main) if self._configured else SavedFiles(self._folder)
        notes = self._notes_folder()
        found = Found(live, parse_system(self.control.ask(Request("system", "show", "", ALL_TARGETS))), saved,
                      notes=read_saved(notes, None), begun=read_saved(notes + _BEGUN, None))
        mounts = _awaited_mounts(self._fstab)
        served = {lun.path for one in live.values() for lun in one.luns.values()}
        units = [unit for one in self.wanted.targets.values() for unit in one.units.values()]
        units += [unit for name in self.wanted.targets for unit in _not_there(found, name)]
        paths = {unit.path for unit in units if unit.path and unit.bs_type not in ELSEWHERE}
        files = {path: _look_at(path, mounts) for path in sorted(paths)}
        portals = self.wanted.portals is not None
        return replace(
            found, files=files, parameters={name: self._parameters(live[name], found.known(name)) for name in self.wanted.targets if name in live},
            images={path: _image(path) for path in (served | paths if files else ()) if path.startswith("/")},
            users={path: _users(path) for path, file in files.items() if file.kind == "block" and path not in served},
            portals=read_portals(self.control, self.wanted.portals or ()) if portals else (),
            service=read_service() if portals and self.wanted.save and self.wanted.boots else None)

    def _notes_folder(self) -> str:
        """Where notes of this very tgtd are: each makes its socket anew."""
        try:
            socket = os.stat(self.control.path)
        except OSError:
            return os.path.join(self._notes, "none")
        return os.path.join(self._notes, f"{self.control.port}-{socket.st_ino}-{socket.st_ctime_ns}")

    def _parameters(self, live: LiveTarget, known: t.Optional[Target]) -> t.Mapping[str, str]:
        """Those parameters of a target that a task ever said; nothing is asked where there are none."""
        said = {*self.wanted.targets[live.name].parameters, *(known.parameters if known else ())}
        there = parse_parameters(self.control.ask(Request("target", "show", "", live.tid, lld=live.driver))) if said else {}
        return {name: value for name, value in there.items() if name in said}

    def plan(self, found: Found) -> Plan:
        return make_plan(self.wanted, found)

    def apply(self, steps: t.Sequence[Step]) -> t.Mapping[str, t.Any]:
        with Lock(self._lock):
            # another task may have worked on this tgtd since it was read: what counts is what is there now
            steps = self.plan(self.read()).steps
            self._forget_others()
            apply_steps(steps, self.control)
        return {"steps": [str(step) for step in steps], "changed": bool(steps)}

    def _forget_others(self) -> None:
        """Remove the notes of a tgtd that was here before, and of tasks what broke off while it was written."""
        own = self._notes_folder()
        for folder in glob.glob(os.path.join(glob.escape(self._notes), f"{self.control.port}-*")):
            remove_leftovers(folder)
            for path in glob.glob(os.path.join(glob.escape(folder), "*")) if folder not in (own, own + _BEGUN) else ():
                remove_file(path)
            remove_empty_folders_up_to(folder, self._notes)

    def finish(self, found: Found, done: bool) -> t.Mapping[str, t.Any]:
        return {"targets": make_plan(self.wanted, found).facts["targets"]} if done else {}


def _not_there(found: Found, name: str) -> t.List[Unit]:
    """The LUNs that a target is known to have, and that are not there."""
    known = found.known(name)
    there = found.live[name].luns if name in found.live else {}
    return [unit for number, unit in (known.units if known else {}).items() if number not in there or there[number].path != unit.path]


def _look_at(path: str, mounts: t.Sequence[str]) -> File:
    has_folder = os.path.isdir(os.path.dirname(path))
    unmounted = next((one for one in mounts for name in (path, os.path.realpath(path)) if name.startswith(one.rstrip("/") + "/")), "")
    try:
        found = os.stat(path)
    except OSError:
        return File(has_folder=has_folder, unmounted=unmounted)
    kinds = ((stat.S_ISBLK, "block"), (stat.S_ISREG, "file"), (stat.S_ISCHR, "char"))
    kind = next((word for test, word in kinds if test(found.st_mode)), "other")
    return File(kind, _block_size(path) if kind == "block" else found.st_size, has_folder, unmounted)


def _image(path: str) -> str:
    """What a file or device is known by, whatever its path is."""
    try:
        found = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    return f"device {found.st_rdev}" if stat.S_ISBLK(found.st_mode) or stat.S_ISCHR(found.st_mode) else f"file {found.st_dev}:{found.st_ino}"


def _block_size(path: str) -> int:
    """Bytes of a block device, from sysfs; 0 where it does not say."""
    sectors = read_text(f"/sys/class/block/{os.path.basename(os.path.realpath(path))}/size")
    return int(sectors) * 512 if sectors and sectors.isdigit() else 0


def _users(path: str) -> t.Sequence[str]:
    return tuple(str(user) for user in users_of([os.path.realpath(path)]))


def _awaited_mounts(fstab: str) -> t.List[str]:
    """Mount points of /etc/fstab (fstab(5)) that are not mounted, the deepest first."""
    fields = [line.split() for line in (read_text(fstab) or "").splitlines()]
    entries = [entry for entry in fields if len(entry) > 3 and not entry[0].startswith("#") and entry[1].startswith("/") and entry[2] != "swap"]
    points = {entry[1].replace("\\040", " ") for entry in entries}
    mounted = {mount.point for mount in read_mounts()}
    return sorted((one for one in points if os.path.realpath(one) not in mounted), key=len, reverse=True)
