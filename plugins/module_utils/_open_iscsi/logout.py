# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logging out of sessions that are named by what they are, not by their records: ``iscsi_session`` with ``state: logged_out``."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.lunar.iscsi.plugins.module_utils._argspec import check_timeout
from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import Plan, Step
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.block import User
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.detach import detach, disk_users, refuse_if_used
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.disks import read_disks
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.iscsiadm import Iscsiadm
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.sessions import Session, check_sids, read_sessions, select_sessions


@dataclass(frozen=True)
class Found:
    """The sessions that shall end, and who would lose a disk then."""

    sessions: t.Tuple[Session, ...]
    users: t.Tuple[User, ...] = ()


class LogoutTask:
    """One such task; see ``_convergence.Task``."""

    def __init__(self, params: t.Mapping[str, t.Any], *, iscsiadm: t.Optional[Iscsiadm] = None, sys: str = "/sys") -> None:
        self._targets, self._sids = params["targets"], check_sids(params["sids"])
        self._timeout = check_timeout(params["timeout"])
        self._force: bool = params["force"]
        if not self._targets and not self._sids:
            raise InputError("option state", "is logged_out, and neither targets nor sids say of which sessions", 'Name them; targets: ["*"] means all')
        for option, given in (("prune", params["prune"]), ("disk_settings", params["disk_settings"] is not None)):
            if given:
                raise InputError(f"option {option}", "is given together with state logged_out, which leaves no disk", "Leave one of them out")
        self._iscsiadm = iscsiadm if iscsiadm is not None else Iscsiadm()
        self._sys = sys
        self._noticed: t.List[t.Dict[str, str]] = []

    def read(self) -> Found:
        """The sessions, and who uses their disks."""
        sessions = tuple(select_sessions(read_sessions(self._sys), self._targets, self._sids))
        return Found(sessions, tuple(disk_users(sessions)))

    def plan(self, found: Found) -> Plan:
        """A step for each session; raises ``InUseError`` where a disk is in use."""
        refuse_if_used(found.sessions, found.users, force=self._force)
        return Plan([Step("log out of", f"{session.key} (session {session.sid})", "session\n", "no session\n", work=session) for session in found.sessions])

    def apply(self, steps: t.Sequence[Step]) -> t.Mapping[str, t.Any]:
        """Flush and remove the disks, then log out, all at once."""
        self._noticed += detach([step.work for step in steps], self._iscsiadm, timeout=self._timeout, force=self._force)
        return {}

    def finish(self, found: Found, done: bool) -> t.Mapping[str, t.Any]:
        """The disks that are left."""
        return {"disks": [disk.as_fact() for disk in read_disks(found.sessions, self._sys)], "problems": self._noticed}
