# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
r"""What the kernel knows of multipath maps: that they are there, their names whole, their sizes.

libdevmapper writes the bytes of a name that udev would not like as ``\x20``, so the map with the alias ``say "hi"`` is
``/dev/mapper/say\x20\x22hi\x22`` (LVM2: libdm/libdm-common.c); the UUID is ``mpath-`` and the WWID.
"""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.lunar.iscsi.plugins.module_utils._host.sysfs import list_dir, read_int, read_text, resolve

_PREFIX = "mpath-"
_SECTOR = 512  # what size counts in, whatever the device's own sector is
_MANGLED = re.compile(rb"\\x([0-9a-f]{2})")


@dataclass(frozen=True)
class KernelMap:
    """A map in the kernel. ``name`` is device-mapper's, as in /dev/mapper; ``alias`` is what it stands for; ``size`` is in bytes."""

    dm: str
    name: str
    wwid: str
    size: t.Optional[int] = None

    @property
    def alias(self) -> str:
        """The name without the escapes of libdevmapper."""
        return plain(self.name)

    @property
    def plain_wwid(self) -> str:
        """The WWID without the escapes of libdevmapper, as it stands in multipath's files."""
        return plain(self.wwid)

    @property
    def device(self) -> str:
        """``/dev/mapper/NAME``."""
        return f"/dev/mapper/{self.name}"


def plain(text: str) -> str:
    """What libdevmapper was given, of what it made of that."""
    return _MANGLED.sub(lambda match: bytes([int(match.group(1), 16)]), text.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")


def read_kernel_maps(sys: str = "/sys") -> t.Tuple[KernelMap, ...]:
    """The multipath maps that are there, in the order of their numbers."""
    found = []
    for dm in list_dir(f"{sys}/block"):
        uuid = read_text(f"{sys}/block/{dm}/dm/uuid") if dm.startswith("dm-") else None
        if uuid is None or not uuid.startswith(_PREFIX):
            continue
        sectors = read_int(f"{sys}/block/{dm}/size")
        found.append(KernelMap(
            dm=dm,
            name=read_text(f"{sys}/block/{dm}/dm/name") or dm,
            wwid=uuid[len(_PREFIX):],
            size=None if sectors is None else sectors * _SECTOR,
        ))
    return tuple(found)


def read_address(name: str, sys: str = "/sys") -> t.Optional[str]:
    """The SCSI address (``2:0:0:1``) of a disk; None where it is gone or is no SCSI disk."""
    folder = os.path.basename(resolve(f"{sys}/block/{name}/device") or "")
    return folder if re.fullmatch(r"\d+:\d+:\d+:\d+", folder) else None


def kernel_name(device: str, dev: str = "/dev") -> t.Optional[str]:
    """The kernel's name (``dm-0``, ``sdb``) of a device file or a link to one; None for what is no path in /dev."""
    if not device.startswith("/dev/"):
        return None
    return os.path.basename(os.path.realpath(dev + device[len("/dev"):]))
