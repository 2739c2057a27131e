# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ending sessions without pulling a disk from under anybody: who uses the disks, flush, remove, log out."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InUseError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.block import User, flush_and_remove, users_of
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.iscsiadm import Iscsiadm
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.sessions import Session


def disk_names(sessions: t.Iterable[Session]) -> t.List[str]:
    """The block devices behind sessions, such as ``sdb``."""
    return [lun.name for session in sessions for lun in session.luns if lun.name is not None]


def disk_users(sessions: t.Iterable[Session], back: t.Iterable[Session] = ()) -> t.List[User]:
    """Who would lose a disk if these sessions ended, with those that are ``back`` by then up. A multipath map with another running path loses nothing."""
    names = disk_names(sessions)
    return users_of(names, back=disk_names(back)) if names else []


def refuse_if_used(sessions: t.Sequence[Session], users: t.Sequence[User]) -> None:
    """Raise ``InUseError`` where somebody uses the disks of sessions that shall end."""
    if users:
        names = ", ".join(sorted({str(session.key) for session in sessions}))
        raise InUseError(f"disks of {names}", [str(user) for user in users], "Unmount or stop what uses them, or say force: true and lose what is not written")


def detach(sessions: t.Sequence[Session], iscsiadm: Iscsiadm, *, timeout: float, force: bool) -> t.List[t.Dict[str, str]]:
    """Flush and remove the disks of ``sessions``, then log out of them, all within ``timeout`` seconds; returns problems.

    Call it only when ``disk_users`` is empty, or with ``force``, which goes on where a map or a disk cannot be removed.
    Raises ``HostError`` naming the session that stayed.
    """
    if not sessions:
        return []
    deadline = time.monotonic() + timeout
    problems: t.List[t.Dict[str, str]] = []
    try:
        problems.extend(flush_and_remove(disk_names(sessions), runner=iscsiadm.runner, timeout=timeout / 2))
    except HostError as error:
        if not force:
            raise
        problems.append(error.as_problem())
    by_sid = {session.sid: session for session in sessions}
    for sid, verdict in iscsiadm.logout(list(by_sid), timeout=max(deadline - time.monotonic(), 1.0)).items():
        if not verdict.done:
            raise HostError(f"session {sid} of {by_sid[sid].key}", f"could not be logged out: {verdict.what}", verdict.remedy)
    return problems
