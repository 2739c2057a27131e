# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The disks behind sessions: their WWID, their names, their multipath map, and waiting until all of that is there."""

from __future__ import annotations

import os
import re
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Runner
from ansible_collections.lunar.iscsi.plugins.module_utils._host.sysfs import list_dir, read_bytes, read_int, read_text
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.sessions import SECTOR, Lun, Session

Problem = t.Dict[str, str]
#: SCSI peripheral device types that are disks: direct access, reduced block commands (SPC-5 table 150)
DISK_TYPES = (0, 14)
#: states of a SCSI device that answers now (drivers/scsi/scsi_sysfs.c; blocked and transport-offline are a lost session)
_RUNNING = ("running",)
POLL = 0.1
#: how long nothing may have changed before it is believed that nothing more comes
SETTLE = 0.5
#: how long a session that shows no SCSI device at all is waited for
EMPTY = 3.0


@dataclass(frozen=True)
class Disk:
    """One LUN as this host sees it, over however many paths. Lists are sorted; ``paths`` are devices, ``device`` the first."""

    target: str
    lun: int
    wwid: t.Optional[str]
    size: int
    device: str
    by_id: t.Tuple[str, ...] = ()
    by_path: t.Tuple[str, ...] = ()
    map: t.Optional[str] = None
    paths: t.Tuple[str, ...] = ()

    def as_fact(self) -> t.Dict[str, t.Any]:
        """The disk as a module returns it."""
        return {
            "target": self.target, "lun": self.lun, "wwid": self.wwid, "size": self.size, "device": self.device,
            "by_id": list(self.by_id), "by_path": list(self.by_path), "map": self.map, "paths": list(self.paths),
        }


class Attached(t.NamedTuple):
    """What waiting came to: the disks there are, and what is wrong or missing around them."""

    disks: t.List[Disk]
    problems: t.List[Problem]


@dataclass(frozen=True)
class Udev:
    """What udev's database says of one device (systemd: src/libsystemd/sd-device/device-private.c)."""

    properties: t.Mapping[str, str]
    links: t.Tuple[str, ...]


def read_udev(numbers: t.Optional[str], udev_db: str = "/run/udev/data") -> t.Optional[Udev]:
    """The entry of the block device with these numbers (``8:16``); None where udev has not finished with it."""
    text = None if numbers is None else read_text(os.path.join(udev_db, f"b{numbers}"))
    if text is None:
        return None
    properties, links = {}, []
    for line in text.splitlines():
        if line.startswith("S:"):
            links.append("/dev/" + line[2:])
        elif line.startswith("E:"):
            name, _equals, value = line[2:].partition("=")
            properties[name] = value
    return Udev(properties, tuple(sorted(links)))


def parse_vpd83(page: bytes) -> t.Optional[str]:
    """The WWID out of VPD page 0x83 (SPC-5 section 7.7.6), written as scsi_id and multipath write it.

    A digit for the kind of designator and the designator: ``3`` NAA, ``2`` EUI-64, ``8`` SCSI name string, ``1`` T10
    vendor. NAA with 16 bytes is preferred, then other NAA, EUI-64, SCSI name, T10. Only designators of the LUN count.
    """
    if len(page) < 4 or page[1] != 0x83:
        return None
    body, found = page[4:4 + int.from_bytes(page[2:4], "big")], []
    while len(body) >= 4:
        code_set, kind, association, length = body[0] & 0x0F, body[1] & 0x0F, body[1] >> 4 & 0x03, body[3]
        value, body = body[4:4 + length], body[4 + length:]
        if association == 0 and len(value) == length and length:
            found.append(_designator(kind, code_set, value))
    ranked = sorted((entry for entry in found if entry is not None), key=lambda entry: entry[0])
    return ranked[0][1] if ranked else None


def _designator(kind: int, code_set: int, value: bytes) -> t.Optional[t.Tuple[int, str]]:
    """The rank of a designator (lower is better) and the WWID made of it; None for kinds that name no LUN."""
    binary = code_set == 1
    if kind in (2, 3):
        text = value.hex() if binary else value.decode("ascii", "replace").strip("\x00 ").lower()
        return ((0 if value[0] >> 4 == 6 else 1) if kind == 3 else 2, f"{kind}{text}")
    text = "_".join(value.decode("utf-8", "replace").replace("\x00", " ").split())
    if kind == 8:
        return (3, f"8{text}")
    if kind == 1:
        return (4, f"1{value.hex() if binary else text}")
    return None


def read_wwid(name: str, sys: str = "/sys", udev: t.Optional[Udev] = None) -> t.Optional[str]:
    """The WWID of a block device: from VPD page 0x83, from udev's ``ID_SERIAL``, or from the kernel's ``wwid``."""
    device = os.path.join(sys, "block", name, "device")
    wwid = parse_vpd83(read_bytes(f"{device}/vpd_pg83") or b"")
    if wwid is None and udev is not None:
        wwid = udev.properties.get("ID_SERIAL")
    return wwid or _from_kernel(read_text(f"{device}/wwid"))


def _from_kernel(text: t.Optional[str]) -> t.Optional[str]:
    kind, dot, rest = (text or "").partition(".")
    digit = {"naa": "3", "eui": "2", "t10": "1"}.get(kind)
    return digit + "_".join(rest.split()) if digit and dot and rest else None


def find_map(name: str, sys: str = "/sys") -> t.Optional[str]:
    """The device-mapper device (``dm-0``) that is the multipath map over a path, or None."""
    for holder in list_dir(os.path.join(sys, "block", name, "holders")):
        uuid = read_text(os.path.join(sys, "block", holder, "dm/uuid"))
        if uuid is not None and uuid.startswith("mpath-"):
            return holder
    return None


def read_disks(
    sessions: t.Iterable[Session], sys: str = "/sys", dev: str = "/dev", udev_db: str = "/run/udev/data",
) -> t.List[Disk]:
    """The disks behind ``sessions``, several paths to one LUN as one disk, in the order of target and LUN."""
    groups: t.Dict[t.Tuple[str, ...], t.List[t.Tuple[Session, Lun, t.Optional[Udev]]]] = {}
    for session in sessions:
        for lun in _disk_luns(session):
            if lun.name is None:
                continue
            udev = read_udev(read_text(os.path.join(sys, "block", lun.name, "dev")), udev_db)
            wwid = read_wwid(lun.name, sys, udev)
            group = ("wwid", wwid) if wwid is not None else ("path", lun.name)
            groups.setdefault(group, []).append((session, lun, udev))
    disks = [_merge(group[1] if group[0] == "wwid" else None, paths, sys, dev) for group, paths in groups.items()]
    return sorted(disks, key=lambda disk: (disk.target, disk.lun, disk.device))


def _merge(wwid: t.Optional[str], found: t.Sequence[t.Tuple[Session, Lun, t.Optional[Udev]]], sys: str, dev: str) -> Disk:
    ordered = sorted(found, key=lambda path: (path[0].target, path[1].lun, len(path[1].name or ""), path[1].name or ""))
    session, first, _udev = ordered[0]
    names = [lun.name for _session, lun, _found in ordered if lun.name is not None]
    dm = next((held for held in (find_map(name, sys) for name in names) if held is not None), None)
    links = {link for (_session, lun, udev) in ordered for link in (udev.links if udev is not None else _links_to(lun.name or "", dev))}
    label = None if dm is None else read_text(os.path.join(sys, "block", dm, "dm/name"))
    return Disk(
        target=session.target,
        lun=first.lun,
        wwid=wwid,
        size=first.size or 0,
        device=f"/dev/{first.name}",
        by_id=tuple(sorted(link for link in links if link.startswith("/dev/disk/by-id/"))),
        by_path=tuple(sorted(link for link in links if link.startswith("/dev/disk/by-path/"))),
        map=None if label is None else f"/dev/mapper/{label}",
        paths=tuple(f"/dev/{name}" for name in names),
    )


def _links_to(name: str, dev: str) -> t.List[str]:
    """The links to a device where udev keeps no database to read."""
    found = []
    for folder in ("disk/by-id", "disk/by-path"):
        for link in list_dir(os.path.join(dev, folder)):
            if os.path.basename(os.path.realpath(os.path.join(dev, folder, link))) == name:
                found.append(f"/dev/{folder}/{link}")
    return found


def _disk_luns(session: Session) -> t.List[Lun]:
    return [lun for lun in session.luns if lun.type in DISK_TYPES]


def find_missing(sessions: t.Iterable[Session], sys: str = "/sys", udev_db: str = "/run/udev/data") -> t.List[Problem]:
    """What is not there yet (or wrong): an entry for each disk that cannot be used, and for each session without a LUN."""
    problems: t.List[Problem] = []
    watched = os.path.isdir(udev_db)
    for session in sessions:
        if not session.luns:
            problems.append(_problem(
                f"session {session.sid} ({session.key})", "shows no LUN",
                "Check that the target maps a LUN to this initiator name; with node.session.scan = manual none is scanned"))
        for lun in _disk_luns(session):
            problems += _missing_of(session, lun, sys, udev_db, watched)
    return problems


def _missing_of(session: Session, lun: Lun, sys: str, udev_db: str, watched: bool) -> t.List[Problem]:
    subject = f"LUN {lun.lun} of {session.target} ({lun.device or lun.address})"
    if lun.name is None:
        return [_problem(subject, "has no block device", "Look into the kernel log; the disk may not answer")]
    if lun.state is not None and lun.state not in _RUNNING:
        return [_problem(subject, f"is in state {lun.state}", "Look at the session's state and into the kernel log")]
    if not lun.size:
        return [_problem(subject, "has no size", "The target does not answer reads of its capacity; look into the kernel log")]
    if not watched:
        return []
    numbers = read_text(os.path.join(sys, "block", lun.name, "dev"))
    udev = read_udev(numbers, udev_db)
    if udev is None:
        return [_problem(subject, "is not yet in udev's database", "Check that systemd-udevd runs; look at udevadm settle")]
    serial, wwid = udev.properties.get("ID_SERIAL"), read_wwid(lun.name, sys)
    if serial and wwid and re.fullmatch(r"3[0-9a-f]{16,32}", serial) and wwid != serial and wwid.startswith("3"):
        return [_problem(subject, f"answers with the WWID {wwid}, while udev knows it as {serial}: another disk stands behind this LUN now",
                         "Do not write to it; delete the device and scan again")]
    return _missing_map(subject, lun.name, udev, sys, udev_db)


def _missing_map(subject: str, name: str, udev: Udev, sys: str, udev_db: str) -> t.List[Problem]:
    if udev.properties.get("DM_MULTIPATH_DEVICE_PATH") not in ("1", "2"):  # 2: it may become one; multipathd is waiting
        return []
    dm = find_map(name, sys)
    if dm is None:
        return [_problem(subject, "is a multipath path without a map", "Check that multipathd runs; look at multipath -ll")]
    base = os.path.join(sys, "block", dm)
    if read_int(f"{base}/dm/suspended") == 1 or not read_int(f"{base}/size") or read_udev(read_text(f"{base}/dev"), udev_db) is None:
        return [_problem(subject, f"has a multipath map ({read_text(f'{base}/dm/name')}) that is not ready", "Look at multipath -ll")]
    return []


def find_conflicts(disks: t.Iterable[Disk], sys: str = "/sys") -> t.List[Problem]:
    """Paths that claim to be one disk (one WWID) and are not of one size: writing to such a disk destroys data."""
    problems = []
    for disk in disks:
        sizes = {path: (read_int(os.path.join(sys, "block", os.path.basename(path), "size")) or 0) * SECTOR for path in disk.paths}
        if len(set(sizes.values())) > 1:
            shown = ", ".join(f"{path} {size}" for path, size in sizes.items())
            problems.append(_problem(f"disk {disk.wwid}", f"has paths of different sizes in bytes: {shown}",
                                     "Two LUNs have one WWN, or a size changed and was not rescanned; do not write to it"))
    return problems


def wait_for_disks(
    read: t.Callable[[], t.Sequence[Session]],
    *,
    timeout: float,
    runner: t.Optional[Runner] = None,
    sys: str = "/sys",
    dev: str = "/dev",
    udev_db: str = "/run/udev/data",
    settle: float = SETTLE,
    empty: float = EMPTY,
    clock: t.Callable[[], float] = time.monotonic,
    sleep: t.Callable[[float], None] = time.sleep,
) -> Attached:
    """Wait until the disks of the sessions that ``read`` returns are usable, at most ``timeout`` seconds.

    "There" means: every LUN that is a disk has a block device with a size, udev has finished with it (its links exist),
    its map is ready where multipath claims it, and nothing new came for ``settle`` seconds. iscsid answers a login after
    its scan, so a session that shows nothing for ``empty`` seconds has nothing; that is a problem told, not waited out.
    With a ``runner``, ``udevadm settle`` is asked once before the links are read.
    """
    start = clock()
    seen: t.Any = None
    since = start
    while True:
        now = clock()
        sessions = list(read())
        missing = find_missing(sessions, sys, udev_db)
        shape = [(session.sid, session.luns) for session in sessions]
        if shape != seen:
            seen, since = shape, now
        bare = sum(1 for session in sessions if not session.luns)
        done = len(missing) == bare and now - since >= settle and (not bare or now - start >= empty)
        if done or now - start >= timeout:
            break
        sleep(min(POLL, max(0.0, timeout - (now - start))))
    if runner is not None and os.path.isdir(udev_db):
        _settle(runner, max(1.0, timeout - (clock() - start)))
    disks = read_disks(sessions, sys, dev, udev_db)
    return Attached(disks, find_missing(sessions, sys, udev_db) + find_conflicts(disks, sys))


def _settle(runner: Runner, seconds: float) -> None:
    """Let udev finish what it has begun. It is a courtesy: what is missing afterwards is told by what is missing."""
    try:
        runner.run(["udevadm", "settle", f"--timeout={int(seconds)}"], timeout=seconds + 5.0)
    except HostError:
        pass


def _problem(subject: str, what: str, remedy: str) -> Problem:
    return {"object": subject, "what": what, "remedy": remedy}
