# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Timers and limits of SCSI disks (open-iscsi README, sections 8.1.2 and 8.1.4): as the kernel has them now, and as udev keeps them.

The kernel's side is drivers/scsi/scsi_sysfs.c (timeout, queue_depth) and drivers/scsi/sd.c (max_retries, since Linux 5.10).
"""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import Step
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._host import files
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Runner, check
from ansible_collections.lunar.iscsi.plugins.module_utils._host.sysfs import list_dir, read_int, write_text
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.disk_rules import (
    ATTRIBUTES, RULES, Rule, is_ours, parse_rules, render_rules, rule_targets, with_rule, without_rule,
)
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.disks import DISK_TYPES
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.sessions import Session

#: what the kernel takes, but for times that nobody can mean
_LIMITS: t.Mapping[str, t.Tuple[int, int]] = {"timeout": (1, 86400), "queue_depth": (1, 65535), "max_retries": (-1, 5)}


@dataclass(frozen=True)
class DiskState:
    """One disk: its name (``sdb``), its session, the settings by name (None where the kernel has none), and how many commands its session takes."""

    name: str
    session: Session
    values: t.Mapping[str, t.Optional[int]]
    can_queue: t.Optional[int] = None


@dataclass(frozen=True)
class FoundSettings:
    """The disks as they are, and the rules; ``text`` is their file, None where there is none."""

    disks: t.Sequence[DiskState]
    text: t.Optional[str] = None


class DiskSettings:
    """The options ``disk_settings`` and ``persistent`` of one task. ``given`` may hold None for what is not said."""

    def __init__(
        self, given: t.Mapping[str, t.Optional[int]], *, targets: t.Sequence[str], sids: t.Sequence[int], persistent: bool, runner: Runner,
        sys: str = "/sys", rules: str = RULES,
    ) -> None:
        self.wanted = {name: value for name, value in given.items() if value is not None}
        if not self.wanted:
            raise InputError("option disk_settings", "names no setting", f"Name one of {', '.join(sorted(_LIMITS))}")
        for name, value in self.wanted.items():
            least, most = _LIMITS[name]
            if not least <= value <= most:
                raise InputError(f"option disk_settings.{name}", f"is {value}", f"Give a number from {least} to {most}")
        if persistent and sids:
            raise InputError("option sids", "is given together with disk_settings that shall be kept, and session ids are given anew at every login",
                             "Name targets instead, or say persistent: false")
        self._persistent = persistent
        self._targets = () if sids else rule_targets(targets)
        self._runner, self._sys, self._rules = runner, sys, rules
        #: what went wrong and leaves nothing undone
        self.noticed: t.List[t.Dict[str, str]] = []

    def read(self, sessions: t.Sequence[Session]) -> FoundSettings:
        """The disks of the sessions, and the file with the rules."""
        disks = []
        for session in sessions:
            can_queue = read_int(os.path.join(self._sys, f"class/scsi_host/host{session.host}/can_queue"))
            for lun in session.luns:
                if lun.name is not None and lun.type in DISK_TYPES:
                    values = {name: read_int(self._path(lun.name, name)) for name in self.wanted}
                    disks.append(DiskState(lun.name, session, values, can_queue))
        raw = files.read_bytes(self._rules)
        return FoundSettings(disks, None if raw is None else raw.decode("utf-8", "replace"))

    def _path(self, disk: str, name: str) -> str:
        base = os.path.join(self._sys, "class/block", disk)
        head, star, tail = ATTRIBUTES[name].partition("/*/")
        if not star:
            return os.path.join(base, head)
        folders = list_dir(os.path.join(base, head))
        return os.path.join(base, head, folders[0] if folders else "0", tail)

    def plan(self, found: FoundSettings) -> t.Tuple[t.List[Step], t.List[t.Dict[str, str]]]:
        """The rule first, so that disks which come later in the task are born with it; then disk by disk. Raises what the kernel would refuse."""
        steps: t.List[Step] = []
        text = found.text or ""
        rules = parse_rules(text, self._rules) if self._persistent or is_ours(text) else []
        kept = with_rule(rules, self._targets, self.wanted) if self._persistent else without_rule(rules, self._targets)
        after = render_rules(kept)
        if self._persistent and after != text or len(kept) < len(rules):
            action = "remove rules" if not after else "write rules" if found.text is None else "change rules"
            steps.append(Step(action, self._rules, found.text, after or None, lambda: self._write_rules(after)))
        for disk in found.disks:
            self._check(disk)
            differs = [name for name in sorted(self.wanted) if disk.values[name] != self.wanted[name]]
            if differs:
                steps.append(Step("set", f"{', '.join(differs)} of /dev/{disk.name}",
                                  {name: disk.values[name] for name in differs}, {name: self.wanted[name] for name in differs}))
        return steps, list(self._contradictions(kept, found.disks))

    def _check(self, disk: DiskState) -> None:
        for name, value in disk.values.items():
            if value is None:
                raise HostError(f"/dev/{disk.name}", f"has no setting {name} in this kernel", "Leave it out of disk_settings"
                                + (", or use Linux 5.10 or newer" if name == "max_retries" else ""))
        depth = self.wanted.get("queue_depth")
        if depth is not None and disk.can_queue is not None and depth > disk.can_queue:
            raise InputError("option disk_settings.queue_depth", f"is {depth}, and session {disk.session.sid} of {disk.session.key} takes no more than "
                             f"{disk.can_queue} commands at once",
                             f"Give at most {disk.can_queue}, or raise node.session.cmds_max and log in again (iscsi_node)")

    def _contradictions(self, rules: t.Sequence[Rule], disks: t.Sequence[DiskState]) -> t.Iterator[t.Dict[str, str]]:
        """Rules of other tasks that say something else of the same targets: the last one in the file wins when a disk appears."""
        for target in dict.fromkeys(disk.session.target for disk in disks):
            for rule in rules:
                names = [name for name, value in self.wanted.items() if rule.settings.get(name, value) != value]
                if rule.covers(target) and names:
                    yield {"object": f"target {target}",
                           "what": f"has other values of {', '.join(names)} in the rule for {' '.join(rule.targets)} in {self._rules}",
                           "remedy": "Let one task alone name these settings for a target; with persistent: false and the targets of the other, its rule goes"}

    def _write_rules(self, text: str) -> None:
        if text:
            files.make_folder(os.path.dirname(self._rules), 0o755)
            files.write_atomic(self._rules, text.encode(), 0o644)
        else:
            files.remove_file(self._rules)
            files.flush_folders([os.path.dirname(self._rules)])
        try:
            check(self._runner.run(["udevadm", "control", "--reload"], timeout=30.0))
        except HostError as error:
            self.noticed.append({"object": self._rules, "what": f"was written, and udev could not be told: {error.sentence()}",
                                 "remedy": "udev reads it when it starts, at the next boot at the latest"})

    def set_on(self, sessions: t.Sequence[Session]) -> None:
        """Give every disk of the sessions the settings it does not have yet."""
        for disk in self.read(sessions).disks:
            self._check(disk)
            for name, value in self.wanted.items():
                if disk.values[name] != value:
                    write_text(self._path(disk.name, name), f"{value}\n")
