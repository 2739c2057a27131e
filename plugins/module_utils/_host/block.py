# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who uses a block device, and taking a SCSI disk away once nobody does.

Everything is read from sysfs and procfs. A multipath map is not a user of its paths: what stands on the map is, and only
where no other running path would keep the map alive.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import time
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Runner, check
from ansible_collections.lunar.iscsi.plugins.module_utils._host.sysfs import list_dir, read_text

Problem = t.Dict[str, str]
_BLKFLSBUF = 0x1261  # linux/fs.h: write out and forget the buffers of a block device
#: they keep every disk open to watch it, and let go by themselves
_WATCHERS = ("multipathd", "systemd-udevd", "udevd", "(udev-worker)", "udisksd", "smartd")
_WORDS: t.Mapping[str, str] = {
    "mount": "mounted on {name}",
    "swap": "used as swap",
    "lvm": "holds the LVM volume {name}",
    "md": "is part of the md array {name}",
    "crypt": "holds the crypt device {name}",
    "multipath": "is a path of the multipath map {name}",
    "holder": "is held by {name}",
    "loop": "stands behind the loop device {name}",
    "btrfs": "is part of the btrfs file system {name}",
    "open": "is opened by {name}",
}


class User(t.NamedTuple):
    """One use of one block device. ``device`` is ``/dev/sdb1``; ``kind`` is mount, swap, lvm, md, crypt, holder, loop, btrfs or open."""

    device: str
    kind: str
    name: str = ""
    detail: str = ""

    def __str__(self) -> str:
        words = _WORDS.get(self.kind, "is used by {name}").format(name=self.name)
        return f"{self.device} {words}" + (f" ({self.detail})" if self.detail else "")


class Mount(t.NamedTuple):
    """One line of a mountinfo file (proc(5)); ``detail`` names a foreign mount namespace."""

    numbers: str
    point: str
    kind: str
    source: str
    detail: str = ""


def users_of(devices: t.Iterable[str], sys: str = "/sys", proc: str = "/proc", dev: str = "/dev", opened: bool = True,
             back: t.Container[str] = ()) -> t.List[User]:
    """Everything that uses these block devices (``sdb`` or ``/dev/sdb``), their partitions and what is stacked on them.

    ``opened`` also looks for processes that hold a device open and for an exclusive opener the kernel does not name. Paths of multipath maps that are
    ``back`` by then (``sdc``) count as running.
    """
    names = [os.path.basename(device) for device in devices]
    mounts, swaps, loops = read_mounts(proc), _read_swaps(proc), _read_loops(sys)
    btrfs = read_btrfs(sys)
    found: t.Dict[User, None] = {}
    walked: t.Dict[str, None] = {}
    for name in names:
        nodes, holders = _walk(name, names, sys, back)
        users = [User(f"/dev/{held}", *_describe(holder, sys)) for held, holder in holders]
        for node in nodes:
            users += _uses(node, sys, mounts, swaps, loops, btrfs)
        if opened and not users:
            users += [user for node in nodes for user in _exclusive(node, sys, dev)]
        found.update(dict.fromkeys(users))
        walked.update(dict.fromkeys(nodes))
    if opened:
        named = _openers(list(walked), proc)
        found = {user: None for user in found if user.name != _SOMETHING or not any(user.device == other.device for other in named)}
        found.update(dict.fromkeys(named))
    return list(found)


def maps_on(devices: t.Iterable[str], sys: str = "/sys") -> t.Dict[str, t.Tuple[str, ...]]:
    """The multipath maps over these devices: the map's name -> all its paths (``sdb``, ``sdc``), others' paths too."""
    found: t.Dict[str, t.Tuple[str, ...]] = {}
    for device in devices:
        for holder in list_dir(_node(sys, os.path.basename(device), "holders")):
            if _uuid(holder, sys).startswith("mpath-"):
                label = read_text(_node(sys, holder, "dm/name")) or holder
                found[label] = tuple(list_dir(_node(sys, holder, "slaves")))
    return found


def _walk(name: str, removed: t.Sequence[str], sys: str, back: t.Container[str]) -> t.Tuple[t.List[str], t.List[t.Tuple[str, str]]]:
    """The devices that stand or fall with ``name`` (itself first), and the (device, holder) pairs that are uses."""
    nodes: t.Dict[str, None] = {}
    holders: t.Dict[t.Tuple[str, str], None] = {}
    waiting = [name]
    while waiting:
        node = waiting.pop(0)
        if node in nodes:
            continue
        nodes[node] = None
        waiting += [child for child in list_dir(_node(sys, node)) if os.path.exists(_node(sys, node, child, "partition"))]
        for holder in list_dir(_node(sys, node, "holders")):
            uuid = _uuid(holder, sys)
            if uuid.startswith("mpath-"):
                others = [path for path in list_dir(_node(sys, holder, "slaves")) if path not in removed]
                if any(path in back or read_text(_node(sys, path, "device/state")) == "running" for path in others):
                    continue  # the map lives on over another path
            elif not re.match(r"part\d+-mpath-", uuid):
                holders[(node, holder)] = None
            waiting.append(holder)
    return list(nodes), list(holders)


def _uses(
    node: str, sys: str, mounts: t.Sequence[Mount], swaps: t.Sequence[str], loops: t.Mapping[str, str], btrfs: t.Mapping[str, t.Sequence[str]],
) -> t.List[User]:
    device, label = f"/dev/{node}", read_text(_node(sys, node, "dm/name"))
    shown = f"/dev/mapper/{label}" if label else device
    numbers = read_text(_node(sys, node, "dev"))
    names = {device, shown}
    users = [
        User(shown, "mount", mount.point, mount.detail)
        for mount in mounts if mount.numbers == numbers or (mount.numbers.startswith("0:") and mount.source in names)
    ]
    users += [User(shown, "swap") for swap in swaps if swap in names]
    users += [User(shown, "loop", f"/dev/{loop}") for loop, file in loops.items() if file in names]
    for uuid, members in btrfs.items():
        if node in members and not any(user.kind == "mount" for user in users):
            users.append(User(shown, "btrfs", uuid, _btrfs_points(members, mounts, sys)))
    return users


def _btrfs_points(members: t.Sequence[str], mounts: t.Sequence[Mount], sys: str) -> str:
    sources = {f"/dev/{member}" for member in members}
    sources |= {f"/dev/mapper/{label}" for label in (read_text(_node(sys, member, "dm/name")) for member in members) if label}
    points = sorted({mount.point for mount in mounts if mount.source in sources})
    return "mounted on " + ", ".join(points) if points else ""


def _describe(holder: str, sys: str) -> t.Tuple[str, str, str]:
    """Kind, name and detail of what holds a device."""
    uuid, label = _uuid(holder, sys), read_text(_node(sys, holder, "dm/name"))
    if uuid.startswith("LVM-"):
        return "lvm", label or holder, ""
    if uuid.startswith("CRYPT-"):
        return "crypt", label or holder, ""
    if os.path.isdir(_node(sys, holder, "md")):
        return "md", f"/dev/{holder}", read_text(_node(sys, holder, "md/array_state")) or ""
    return "holder", f"/dev/mapper/{label}" if label else f"/dev/{holder}", ""


def read_mounts(proc: str = "/proc") -> t.List[Mount]:
    """The mounts of our own mount namespace and, where they may be read, those of all others that ours does not have."""
    own = parse_mounts(read_text(f"{proc}/self/mountinfo") or "", "")
    seen = {(mount.numbers, mount.point) for mount in own}
    spaces = {_link(f"{proc}/self/ns/mnt")}
    for pid in (name for name in list_dir(proc) if name.isdigit()):
        space = _link(f"{proc}/{pid}/ns/mnt")
        if not space or space in spaces:
            continue
        spaces.add(space)
        where = f"in the mount namespace of {read_text(f'{proc}/{pid}/comm') or 'a process'}, pid {pid}"
        for mount in parse_mounts(read_text(f"{proc}/{pid}/mountinfo") or "", where):
            if (mount.numbers, mount.point) not in seen:
                seen.add((mount.numbers, mount.point))
                own.append(mount)
    return own


def parse_mounts(text: str, detail: str = "") -> t.List[Mount]:
    """The lines of one mountinfo file."""
    found = []
    for line in text.splitlines():
        head, _dash, tail = line.partition(" - ")
        fields, more = head.split(" "), tail.split(" ")
        if len(fields) >= 6 and len(more) >= 2:
            found.append(Mount(fields[2], _unescape(fields[4]), more[0], _unescape(more[1]), detail))
    return found


def _unescape(text: str) -> str:
    r"""The kernel writes space, tab, line break and backslash as \040, \011, \012 and \134."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), text)


def _read_swaps(proc: str) -> t.List[str]:
    lines = (read_text(f"{proc}/swaps") or "").splitlines()[1:]
    return [_unescape(line.split()[0]) for line in lines if line.split()]


def _read_loops(sys: str) -> t.Dict[str, str]:
    names = [name for name in list_dir(f"{sys}/class/block") if name.startswith("loop")]
    files = {name: read_text(_node(sys, name, "loop/backing_file")) for name in names}
    return {name: file for name, file in files.items() if file is not None}


def read_btrfs(sys: str) -> t.Dict[str, t.List[str]]:
    """The devices of each btrfs file system that is known to the kernel, by its UUID."""
    folder = f"{sys}/fs/btrfs"
    return {uuid: list_dir(f"{folder}/{uuid}/devices") for uuid in list_dir(folder) if list_dir(f"{folder}/{uuid}/devices")}


_SOMETHING = "something that holds it for itself alone"


def _exclusive(node: str, sys: str, dev: str) -> t.List[User]:
    """Whether somebody in the kernel or outside holds the device exclusively (a LIO backstore, a cluster, mkfs)."""
    if list_dir(_node(sys, node, "holders")):
        return []  # the map over a path does; it is looked at itself
    try:
        os.close(os.open(f"{dev}/{node}", os.O_RDONLY | os.O_EXCL | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        return [User(f"/dev/{node}", "open", _SOMETHING)] if error.errno == errno.EBUSY else []
    return []


def _openers(nodes: t.Sequence[str], proc: str) -> t.List[User]:
    """The processes that have one of these devices open, but for those that only watch disks."""
    wanted = {f"/dev/{node}" for node in nodes}
    found: t.Dict[User, None] = {}
    for pid in (name for name in list_dir(proc) if name.isdigit()):
        opened = {_link(f"{proc}/{pid}/fd/{number}") for number in list_dir(f"{proc}/{pid}/fd")} & wanted
        comm = (read_text(f"{proc}/{pid}/comm") or "a process") if opened else ""
        if comm not in _WATCHERS:
            found.update((User(device, "open", comm, f"pid {pid}"), None) for device in sorted(opened))
    return list(found)


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _node(sys: str, name: str, *rest: str) -> str:
    return os.path.join(sys, "class/block", name, *rest)


def _uuid(name: str, sys: str) -> str:
    return read_text(_node(sys, name, "dm/uuid")) or ""


def flush_and_remove(
    devices: t.Iterable[str],
    *,
    runner: Runner,
    timeout: float = 30.0,
    sys: str = "/sys",
    dev: str = "/dev",
    clock: t.Callable[[], float] = time.monotonic,
    sleep: t.Callable[[float], None] = time.sleep,
) -> t.List[Problem]:
    """Take SCSI disks away: flush their maps, write out their buffers, delete the devices, wait until they are gone.

    Call it only when ``users_of`` these devices is empty, or by force. A map that keeps other running paths only loses
    these. Raises ``HostError`` where a map or a device stays; what is doubtful but done is returned as problems.
    """
    deadline = clock() + timeout
    names = [os.path.basename(device) for device in devices]
    problems: t.List[Problem] = []
    spared: t.Set[str] = set()  # what is not written through these goes through other paths
    for label, paths in maps_on(names, sys).items():
        left = [path for path in paths if path not in names and read_text(_node(sys, path, "device/state")) == "running"]
        if left:
            for path in (path for path in paths if path in names):
                runner.run(["multipathd", "del", "path", path], timeout=max(1.0, deadline - clock()))
                spared.add(path)
        else:
            if any(_running(path, sys) for path in paths) and _has_a_path(label, runner):
                problems += _flush(f"mapper/{label}", dev)
                _flush_map(label, runner, deadline, clock, sleep)
            else:
                _flush_dead_map(label, runner, deadline, clock, sleep)
    for name in names:
        if _running(name, sys):
            problems += _flush(name, dev)
        elif os.path.exists(_node(sys, name)) and name not in spared:
            state = read_text(_node(sys, name, "device/state")) or "unknown"
            problems.append({"object": f"/dev/{name}", "what": f"is in state {state}: what was not yet written to it is lost", "remedy": ""})
        _delete(name, sys)
    while True:
        left = [name for name in names if os.path.exists(_node(sys, name))]
        if not left:
            return problems
        if clock() >= deadline:
            raise HostError(f"/dev/{left[0]}", f"was deleted and is still there after {timeout:g} s", "Look into the kernel log")
        sleep(0.1)


def _running(name: str, sys: str) -> bool:
    return read_text(_node(sys, name, "device/state")) == "running"


def _has_a_path(label: str, runner: Runner) -> bool:
    """Whether multipath counts a path of the map as working: the ``A`` behind its numbers (the kernel's dm-mpath.c); true where that is not known."""
    status = runner.run(["dmsetup", "status", "--noflush", label])
    return status.code != 0 or re.search(r" \d+:\d+ A ", status.stdout) is not None


def _flush_map(label: str, runner: Runner, deadline: float, clock: t.Callable[[], float], sleep: t.Callable[[float], None]) -> None:
    """``multipath -f`` until it works: udev's own look at the map keeps it busy for moments."""
    while True:
        result = runner.run(["multipath", "-f", label], timeout=max(1.0, deadline - clock()))
        if result.code == 0:
            return
        if clock() + 0.5 >= deadline:
            check(result, f"the multipath map {label} cannot be removed", "Look at what holds it: lsblk, and multipath -ll")
        sleep(0.5)


def _flush_dead_map(label: str, runner: Runner, deadline: float, clock: t.Callable[[], float], sleep: t.Callable[[float], None]) -> None:
    """The same without a path that works: where I/O queues, udev's look at the map waits for ever, and keeps it busy as long."""
    runner.run(["multipathd", "disablequeueing", "map", label])
    try:
        _flush_map(label, runner, deadline, clock, sleep)
    except HostError:
        runner.run(["multipathd", "restorequeueing", "map", label])
        raise


def _flush(name: str, dev: str) -> t.List[Problem]:
    """Write out and forget the buffers of a device."""
    try:
        handle = os.open(f"{dev}/{name}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.fsync(handle)
            fcntl.ioctl(handle, _BLKFLSBUF, 0)
        finally:
            os.close(handle)
    except OSError as error:
        return [{"object": f"/dev/{name}", "what": f"could not be written out: {error.strerror}", "remedy": "Look into the kernel log"}]
    return []


def _delete(name: str, sys: str) -> None:
    try:
        with open(_node(sys, name, "device/delete"), "w", encoding="ascii") as file:
            file.write("1\n")
    except FileNotFoundError:
        pass  # gone already
    except OSError as error:
        raise HostError(f"/dev/{name}", f"cannot be deleted: {error.strerror}", "Deleting SCSI devices needs root; use become")
