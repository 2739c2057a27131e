# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The logical volumes that the kernel has, whether LVM still sees their disks or not, and who uses them.

The UUID that device-mapper has for one is ``LVM-``, that of the group, that of the volume, and perhaps a layer (``-real``, ``-tpool``); its name
is group, volume and layer with ``-`` between them, and ``--`` for each ``-`` in one of them (LVM2: lib/activate/dev_manager.c).
"""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._host.block import User, users_of
from ansible_collections.lunar.iscsi.plugins.module_utils._host.sysfs import list_dir, read_int, read_text

_SECTOR = 512  # what size counts in
_UUID = re.compile(r"LVM-(?P<group>[A-Za-z0-9]{32})(?P<volume>[A-Za-z0-9]{32})(?P<layer>-.+)?")
_BETWEEN = re.compile(r"(?<!-)-(?!-)")


class Node(t.NamedTuple):
    """One device of device-mapper that LVM made. ``kernel`` is ``dm-3``, ``name`` that in /dev/mapper; the UUIDs are without their dashes."""

    kernel: str
    name: str
    group_uuid: str
    volume_uuid: str
    layer: str = ""
    size: int = 0
    suspended: bool = False

    @property
    def group(self) -> str:
        """The name of its group when it was activated."""
        return split_name(self.name)[0]

    @property
    def mapper(self) -> str:
        """``/dev/mapper/NAME``."""
        return f"/dev/mapper/{self.name}"


def split_name(name: str) -> t.List[str]:
    """Group, volume and perhaps layer out of the name of a device in /dev/mapper."""
    return [part.replace("--", "-") for part in _BETWEEN.split(name)]


def short(uuid: str) -> str:
    """A UUID as device-mapper has it."""
    return uuid.replace("-", "")


def read_nodes(sys: str = "/sys") -> t.List[Node]:
    """All that LVM has made in this kernel, in the order of their numbers."""
    found = []
    for kernel in list_dir(f"{sys}/block"):
        match = _UUID.fullmatch(read_text(f"{sys}/block/{kernel}/dm/uuid") or "") if kernel.startswith("dm-") else None
        if match is not None:
            found.append(Node(
                kernel=kernel, name=read_text(f"{sys}/block/{kernel}/dm/name") or kernel, group_uuid=match.group("group"),
                volume_uuid=match.group("volume"), layer=match.group("layer") or "", size=_SECTOR * (read_int(f"{sys}/block/{kernel}/size") or 0),
                suspended=read_text(f"{sys}/block/{kernel}/dm/suspended") == "1",
            ))
    return found


def find_users(nodes: t.Sequence[Node], *, opened: bool = True, sys: str = "/sys", proc: str = "/proc", dev: str = "/dev") -> t.List[User]:
    """Who uses these devices, but for each other: a pool is held by its volumes, a volume by its snapshots.

    With ``opened`` processes that have one open are users too, and an opener of which nothing is known but that it is there.
    """
    names = {node.kernel: node.mapper for node in nodes}
    own = {node.name for node in nodes}
    users = users_of(list(names), sys=sys, proc=proc, dev=dev, opened=opened)
    return [
        user._replace(device=names.get(os.path.basename(user.device), user.device))
        for user in users if not (user.kind == "lvm" and user.name in own)
    ]
