# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which disks a file system stands on: from a mount point down through volumes, maps and partitions, read from sysfs and procfs."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._host.block import Mount, parse_mounts, read_btrfs
from ansible_collections.lunar.iscsi.plugins.module_utils._host.sysfs import list_dir, read_text

#: a system whose file system there goes away cannot go on, and could not start what would bring it back
SYSTEM_POINTS = ("/", "/etc", "/run", "/sbin", "/usr", "/usr/sbin", "/var", "/var/lib", "/lib", "/usr/lib")


def system_disks(root: str = "/", *, sys: str = "/sys", proc: str = "/proc") -> t.Dict[str, t.List[str]]:
    """The disks under each file system that the system at ``root`` cannot be without: mount point (as that system names it) -> ``[sda]``.

    A tree that is no mount point of its own is a folder of another system, and stands on nothing of its own.
    """
    mounts = {mount.point: mount for mount in parse_mounts(read_text(f"{proc}/self/mountinfo") or "")}  # of several at one point the last is seen
    base = os.path.realpath(root).rstrip("/")
    found = {point: _disks_of(mounts[(base + point).rstrip("/") or "/"], sys) for point in SYSTEM_POINTS if ((base + point).rstrip("/") or "/") in mounts}
    return {point: disks for point, disks in found.items() if disks}


def _disks_of(mount: Mount, sys: str) -> t.List[str]:
    name = _node_of(mount, sys)
    if name is None:
        return []
    members = next((members for members in read_btrfs(sys).values() if name in members), [name])
    return sorted({disk for member in members for disk in _lowest(member, sys)})


def _node_of(mount: Mount, sys: str) -> t.Optional[str]:
    """The block device of a mount, such as ``dm-0``; btrfs has a number of its own, and only its source says which device."""
    numbers = mount.numbers
    if numbers.startswith("0:"):
        numbers = _numbers_of(mount.source)
    place = os.path.join(sys, "dev/block", numbers)
    return os.path.basename(os.path.realpath(place)) if os.path.exists(place) else None


def _numbers_of(source: str) -> str:
    try:
        device = os.stat(source).st_rdev if source.startswith("/dev/") else 0
    except OSError:
        return "none"
    return f"{os.major(device)}:{os.minor(device)}"


def _lowest(name: str, sys: str) -> t.Set[str]:
    """The disks that a device is made of, itself where it is one."""
    place = os.path.join(sys, "class/block", name)
    if os.path.exists(os.path.join(place, "partition")):
        return _lowest(os.path.basename(os.path.dirname(os.path.realpath(place))), sys)
    below = list_dir(os.path.join(place, "slaves"))
    return {disk for one in below for disk in _lowest(one, sys)} if below else {name}
