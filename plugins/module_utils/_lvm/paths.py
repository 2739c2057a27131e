# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The disks under physical volumes: whether one is a single path of several, and whether it still is the LUN that it was."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, IscsiError
from ansible_collections.lunar.iscsi.plugins.module_utils._host import scsi
from ansible_collections.lunar.iscsi.plugins.module_utils._host.sysfs import list_dir, read_bytes, read_text, resolve

_SECTOR = 512
_LABEL_AREA = 4 * _SECTOR  # the label is in one of the first four sectors (LVM2: lib/label/label.h)
#: udev's word for a disk that multipath has claimed, or may claim in a moment (multipath-tools: multipath -u)
_CLAIMED = ("1", "2")


class Host(t.NamedTuple):
    """Where a host is looked at."""

    sys: str = "/sys"
    proc: str = "/proc"
    dev: str = "/dev"
    udev: str = "/run/udev/data"

    def kernel_name(self, device: str) -> str:
        """``dm-0`` or ``sdb`` for a device file or a link to one; empty where there is none."""
        path = os.path.realpath(self.dev + device[len("/dev"):])
        name = os.path.basename(path)
        return name if os.path.exists(path) and os.path.exists(f"{self.sys}/class/block/{name}") else ""

    def shown(self, name: str) -> str:
        """The device file of ``dm-0`` or ``sdb`` that people know."""
        label = read_text(f"{self.sys}/class/block/{name}/dm/name")
        return f"/dev/mapper/{label}" if label else f"/dev/{name}"

    def below(self, name: str) -> t.List[str]:
        """A device and all that it stands on, top first: a map, its paths; a partition, its disk."""
        found: t.Dict[str, None] = {}
        waiting = [name] if name else []
        while waiting:
            node = waiting.pop(0)
            if node in found:
                continue
            found[node] = None
            waiting += list_dir(f"{self.sys}/class/block/{node}/slaves")
            if os.path.exists(f"{self.sys}/class/block/{node}/partition"):
                waiting.append(os.path.basename(os.path.dirname(resolve(f"{self.sys}/class/block/{node}") or "")))
        return list(found)

    def map_over(self, name: str) -> str:
        """The multipath map over a disk, as ``dm-0``; empty where there is none."""
        holders = list_dir(f"{self.sys}/class/block/{name}/holders")
        return next((holder for holder in holders if self.map_wwid(holder)), "")

    def map_wwid(self, name: str) -> str:
        """The WWID of a multipath map; empty for other devices."""
        uuid = read_text(f"{self.sys}/class/block/{name}/dm/uuid") or ""
        return uuid[len("mpath-"):] if uuid.startswith("mpath-") else ""

    def by_wwid(self) -> t.Dict[str, t.List[str]]:
        """The SCSI disks by what the kernel calls their LUN (``naa.6001405...``); paths to one LUN have one WWID."""
        found: t.Dict[str, t.List[str]] = {}
        for name in list_dir(f"{self.sys}/block"):
            wwid = read_text(f"{self.sys}/block/{name}/device/wwid")
            if wwid is not None:
                found.setdefault(wwid, []).append(name)
        return found

    def _claimed(self, name: str) -> bool:
        numbers = read_text(f"{self.sys}/class/block/{name}/dev")
        lines = (read_text(f"{self.udev}/b{numbers}") or "").splitlines()
        return any(line == f"E:DM_MULTIPATH_DEVICE_PATH={value}" for line in lines for value in _CLAIMED)

    def single_path(self, device: str, luns: t.Mapping[str, t.Sequence[str]]) -> t.Optional[IscsiError]:
        """Why a physical volume on this device would be used over one path of several; None where it would not. ``luns`` is from ``by_wwid``."""
        under = self.below(self.kernel_name(device))
        if any(self.map_wwid(node) for node in under):
            return None
        for node in under:
            held = self.map_over(node)
            if held:
                return HostError(device, f"is a path of the multipath map {self.shown(held)}, and LVM takes its physical volume from the path",
                                 "Let LVM see the map alone: multipath_component_detection = 1 in lvm.conf, and the map in its filter or devices file")
            if self._claimed(node):
                return HostError(device, "belongs to multipath, which has not made its map yet",
                                 f"Look whether multipathd runs, and what it makes of this disk (multipath -v3 /dev/{node})")
            for wwid, paths in luns.items():
                if node in paths and len(paths) > 1:
                    several = ", ".join(f"/dev/{path}" for path in paths)
                    return HostError(device, f"is one path of several to one disk ({several}, all {wwid}), and no multipath map is over them",
                                     "Start multipathd, and see that its configuration does not leave this disk out; or log out of all paths but one")
        return None

    def stale(self, device: str, timeout: float) -> t.Optional[IscsiError]:
        """Whether another LUN than before answers behind a physical volume's device; the disks themselves are asked. None where all is well.

        A disk that gives no answer is passed over: another path may, and that the label could be read shows that one does.
        """
        under = self.below(self.kernel_name(device))
        wwid = next(filter(None, (self.map_wwid(node) for node in under)), "")
        for node in under:
            known = scsi.parse_names(read_bytes(f"{self.sys}/class/block/{node}/device/vpd_pg83") or b"")
            if not known or read_text(f"{self.sys}/class/block/{node}/device/state") != "running":
                continue
            try:
                now = scsi.read_names(f"{self.dev}/{node}", timeout)
            except HostError:
                continue
            if now and not set(known) & set(now):
                return HostError(f"/dev/{node}", f"answers as {now[0]}, and this host knows it as {known[0]}: another LUN stands behind it now",
                                 f"Do not use it. Take {device} out of use, delete the disk (echo 1 > /sys/block/{node}/device/delete) and rescan its session")
            naa = [name[len("naa."):] for name in now if name.startswith("naa.")]
            if naa and wwid.startswith("3") and wwid[1:] not in naa:
                return HostError(f"/dev/{node}", f"answers as naa.{naa[0]}, and is a path of the multipath map {device} with the WWID {wwid}",
                                 f"Do not use the map. Take it out of use (multipath -f), delete /dev/{node} and rescan its session")
        return None

    def has_label(self, name: str) -> t.Optional[bool]:
        """Whether a disk carries the label of a physical volume; None where it cannot be read."""
        try:
            with open(f"{self.dev}/{name}", "rb", buffering=0) as file:
                data = file.read(_LABEL_AREA)
        except OSError:
            return None
        return any(data[at:at + 8] == b"LABELONE" and data[at + 24:at + 32] == b"LVM2 001" for at in range(0, _LABEL_AREA, _SECTOR))
