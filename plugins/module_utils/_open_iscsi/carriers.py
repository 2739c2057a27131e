# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which sessions a system stands on: those with a disk under its root file system, or under another one that it cannot be without."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.lunar.iscsi.plugins.module_utils._host.beneath import SYSTEM_POINTS, system_disks
from ansible_collections.lunar.iscsi.plugins.module_utils._host.block import User
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.sessions import Session


_SYSTEM = frozenset(SYSTEM_POINTS)


@dataclass(frozen=True)
class Carrier:
    """A session with a disk under file systems of the system: their mount points, and the disks."""

    session: Session
    points: t.Tuple[str, ...]
    disks: t.Tuple[str, ...]


def find_carriers(sessions: t.Sequence[Session], root: str = "/", *, sys: str = "/sys", proc: str = "/proc") -> t.List[Carrier]:
    """The sessions that the system at ``root`` stands on, each with what it carries."""
    if not sessions:
        return []
    under = system_disks(root, sys=sys, proc=proc)
    found = []
    for session in sessions:
        own = {lun.name for lun in session.luns if lun.name is not None}
        points = tuple(point for point, disks in under.items() if own & set(disks))
        disks = sorted({disk for point in points for disk in under[point]} & own)
        if points:
            found.append(Carrier(session, points, tuple(disks)))
    return found


def system_users(users: t.Iterable[User]) -> t.List[User]:
    """Those uses without which the running system cannot go on: its own file systems, and swap."""
    return [user for user in users if user.kind == "swap" or not _SYSTEM.isdisjoint(_points(user))]


def _points(user: User) -> t.Sequence[str]:
    """Where a use is mounted in our own mount namespace; of others, the detail says so. One of several disks under btrfs has its points there, too."""
    if user.kind == "mount":
        return () if user.detail else (user.name,)
    return user.detail.replace("mounted on ", "", 1).split(", ") if user.kind == "btrfs" else ()
