# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The small moves that a step of a lio_target plan is made of, and what the plan is made from."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_configfs import Acl, Auth, Kernel, PortalGroup, portal_name

_ANY = ("0.0.0.0", "::")  # noqa: S104 looked for, not listened on


class Op(t.NamedTuple):
    """One move. ``path`` is below /sys/kernel/config/target, but for ``grow`` and ``save``, which name a file of the host.

    ``kind`` is mkdir, rmdir, link (``value`` is where to, below the same folder), unlink, write, grow (``value`` is bytes), module or save.
    A secret ``value`` is never shown.
    """

    kind: str
    path: str
    value: str = ""
    secret: bool = False

    def __repr__(self) -> str:
        return f"Op({self.kind} {self.path} {'********' if self.secret else self.value})"


class File(t.NamedTuple):
    """What is at the path of a backstore: missing, file, block or other; bytes; whether its folder is there."""

    kind: str = "missing"
    size: int = 0
    has_folder: bool = True


@dataclass(frozen=True)
class Saved:
    """The file that the target is restored from at boot; ``content`` is None where there is none."""

    path: str
    content: t.Optional[t.Mapping[str, t.Any]] = None
    #: whether a service is enabled that restores it
    restored_at_boot: bool = True


@dataclass(frozen=True)
class Found:
    """The host as read: the kernel's target, the files and devices of backstores, who else uses the devices, what is saved."""

    kernel: Kernel
    saved: Saved
    files: t.Mapping[str, File] = field(default_factory=dict)
    #: who uses a block device that is no backstore yet
    users: t.Mapping[str, t.Sequence[str]] = field(default_factory=dict)
    #: what tells this host, in this boot, from all others; new unit serials are made of it
    seed: str = ""
    #: address and port of the TCP sockets that listen
    listening: t.FrozenSet[t.Tuple[str, int]] = frozenset()
    #: whether tcmu-runner is there
    tcmu: bool = True
    #: whether the kernel's folder for persistent reservations is there; it is made with the saved file
    reservations: bool = True


def group_path(target: str, tag: int) -> str:
    """The folder of a portal group."""
    return f"iscsi/{target}/tpgt_{tag}"


def remove_mapped(base: str, acl: Acl, number: int) -> t.List[Op]:
    """Take one LUN away from one initiator."""
    path = f"{base}/acls/{acl.initiator}/lun_{number}"
    link = acl.mapped[number].link
    return ([Op("unlink", f"{path}/{link}")] if link else []) + [Op("rmdir", path)]


def remove_acl(base: str, acl: Acl) -> t.List[Op]:
    """Take an ACL away; the kernel ends its session."""
    return [op for number in acl.mapped for op in remove_mapped(base, acl, number)] + [Op("rmdir", f"{base}/acls/{acl.initiator}")]


def remove_lun(base: str, group: PortalGroup, number: int) -> t.List[Op]:
    """Take a LUN away that is mapped no more."""
    path = f"{base}/lun/lun_{number}"
    link = group.luns[number].link
    return ([Op("unlink", f"{path}/{link}")] if link else []) + [Op("rmdir", path)]


def remove_group(base: str, group: PortalGroup) -> t.List[Op]:
    """Take a portal group away: closed first, then from the leaves to the root."""
    ops = [Op("write", f"{base}/enable", "0")] if group.enabled else []
    for acl in group.acls.values():
        ops += remove_acl(base, acl)
    for number in group.luns:
        ops += remove_lun(base, group, number)
    return ops + [Op("rmdir", f"{base}/np/{portal}") for portal in group.portals] + [Op("rmdir", base)]


def sessions_of(group: PortalGroup) -> t.List[str]:
    """The sessions of a portal group, in words."""
    return [acl.session for acl in group.acls.values() if acl.session] + [f"session of {name} (no ACL)" for name in group.dynamic]


def lun_sessions(group: PortalGroup, number: int) -> t.List[str]:
    """The sessions that see a LUN; one without ACL sees them all."""
    mapped = [acl.session for acl in group.acls.values() if acl.session and any(one.lun == number for one in acl.mapped.values())]
    return mapped + [f"session of {name} (no ACL)" for name in group.dynamic]


def auth_ops(base: str, old: Auth, new: Auth) -> t.List[Op]:
    """Write the CHAP names and secrets that differ; NULL is the kernel's word for none."""
    return [
        Op("write", f"{base}/{name}", value or "NULL", secret=name.startswith("password"))
        for (name, value), (_name, was) in zip(new.items(), old.items())
        if value != was
    ]


def same(old: t.Optional[str], new: str) -> bool:
    """Whether the kernel says what is wanted; numbers and on/off words have more than one spelling."""
    if old is None:
        return False
    return old == new or _plain(old) == _plain(new)


def _plain(value: str) -> str:
    value = value.strip().lower()
    try:
        return str(int(value, 0))
    except ValueError:
        return value


def taken_by_others(portal: str, listening: t.Container[t.Tuple[str, int]], ours: t.Container[str]) -> bool:
    """Whether a portal that is to be made meets a socket that is not a portal of LIO."""
    host, _colon, port = portal.rpartition(":")
    here = [(host.strip("[]"), int(port)), *((any_address, int(port)) for any_address in _ANY)]
    return any((one, number) in listening and portal_name(one, number) not in ours for one, number in here)
