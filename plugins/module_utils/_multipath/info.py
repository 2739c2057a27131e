# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task of the module ``multipath_info``: one query of multipathd beside sysfs, as often as a condition wants it."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.daemon import BrokenOffError, Daemon, NotRunningError, RefusedError
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.maps import Group, Map, Path, parse_maps
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.sysfs_maps import KernelMap, kernel_name, read_address, read_kernel_maps

Problem = t.Dict[str, str]
Fact = t.Dict[str, t.Any]
#: a disk's kernel name -> the iSCSI session behind it, as it is to be returned
Sessions = t.Mapping[str, Fact]
#: each query makes multipathd read every map's table and status from the kernel
POLL = 0.5


class Wait(t.NamedTuple):
    """What every selected map has to fulfil; None and False ask for nothing. All of it at once, in one look."""

    paths: t.Optional[int] = None
    groups: t.Optional[int] = None
    all_ready: bool = False
    group_active: bool = False
    active_priority: t.Optional[int] = None


class Seen(t.NamedTuple):
    """One look: what multipathd tells (None where it was not asked for maps, as there are none), and what the kernel has."""

    maps: t.Tuple[Map, ...]
    kernel: t.Tuple[KernelMap, ...]

    def kernel_of(self, one: Map) -> t.Optional[KernelMap]:
        """The kernel's side of a map."""
        return next((known for known in self.kernel if known.dm == one.dm), None)


class NotReachedError(HostError):
    """What was waited for did not come true in time; ``missing`` says what, map by map."""

    def __init__(self, seconds: float, missing: t.Sequence[Problem]) -> None:
        self.missing = tuple(missing)
        said = "; ".join(f"{entry['object']} {entry['what']}" for entry in missing)
        super().__init__("wait_for", f"is not reached after {seconds:g} s: {said}", "Look at the sessions behind these paths, and at multipath -ll")

    def fields(self) -> t.Dict[str, t.Any]:
        return dict(super().fields(), missing=[dict(entry) for entry in self.missing])


def check_wait(option: t.Optional[t.Mapping[str, t.Any]]) -> t.Optional[Wait]:
    """The option ``wait_for`` as a value; raises ``InputError`` for numbers that make no sense."""
    if option is None:
        return None
    wait = Wait(**{name: option[name] for name in Wait._fields if option.get(name) is not None})
    for name in ("paths", "groups"):
        number = getattr(wait, name)
        if number is not None and number < 1:
            raise InputError(f"option wait_for.{name}", f"is {number}", "Give a number from 1 up")
    return wait


def look(daemon: Daemon, timeout: float, sys: str = "/sys") -> Seen:
    """Ask once. Where the kernel has no map, only whether multipathd is there: 0.6.2 to 0.7.1 crash when they list no maps."""
    kernel = read_kernel_maps(sys)
    if not kernel:
        daemon.ask("show daemon", timeout)
        return Seen((), ())
    return Seen(parse_maps(daemon.ask("show maps json", timeout)), kernel)


def select(seen: Seen, names: t.Sequence[str], sys: str = "/sys", dev: str = "/dev") -> t.Tuple[t.Tuple[Map, ...], t.Tuple[str, ...]]:
    """The maps that ``names`` mean (all of them for no name), and the names that mean none.

    A name is an alias, a WWID, a name in /dev/mapper, or a device file: the map's own, one of its paths, or a link to one of these.
    """
    if not names:
        return seen.maps, ()
    wanted: t.Set[int] = set()
    unknown = []
    for name in names:
        device = kernel_name(name, dev)
        found = {number for number, one in enumerate(seen.maps) if _is_meant(one, seen.kernel_of(one), name, device)}
        wanted |= found
        if not found:
            unknown.append(name)
    return tuple(one for number, one in enumerate(seen.maps) if number in wanted), tuple(unknown)


def _is_meant(one: Map, kernel: t.Optional[KernelMap], name: str, device: t.Optional[str]) -> bool:
    if device is not None:
        return device in [one.dm] + [path.name for path in one.paths] or kernel is not None and name == kernel.device
    return name in (one.name, one.wwid, one.dm) or kernel is not None and name in (kernel.name, kernel.alias, kernel.wwid)


def find_missing(one: Map, wait: Wait) -> t.List[str]:
    """What a map still lacks of a condition, in words; empty where it lacks nothing."""
    found = []
    usable = [path for path in one.paths if path.usable]
    others = ", ".join(_state_of(path) for path in one.paths if not path.usable)
    if wait.paths is not None and len(usable) < wait.paths:
        found.append(f"has {len(usable)} of {wait.paths} usable paths" + (f" ({others})" if others else ""))
    elif wait.all_ready and (others or not usable):
        found.append(f"has paths that are not usable: {others}" if others else "has no path")
    if wait.groups is not None and len(one.groups) != wait.groups:
        found.append(f"has {len(one.groups)} path groups, not {wait.groups}")
    active = [group for group in one.groups if group.state == "active"]
    if not active and (wait.group_active or wait.active_priority is not None):
        states = ", ".join(f"group {group.number} is {group.state or 'in no known state'}" for group in one.groups)
        found.append("has no active group" + (f" ({states})" if states else ""))
    elif wait.active_priority is not None and active[0].priority != wait.active_priority:
        found.append(f"has an active group of priority {active[0].priority}, not {wait.active_priority}")
    return found


def _state_of(path: Path) -> str:
    name = path.name or "a path without a device"
    return f"{name} is {path.state or 'unknown'} to the kernel and {path.checked or 'unknown'} to the checker"


def _missing(maps: t.Sequence[Map], unknown: t.Sequence[str], wait: Wait) -> t.List[Problem]:
    found = [_problem(f"map {name}", "is not there", "") for name in unknown]
    if not maps and not unknown:
        found.append(_problem("multipath", "has no map", "Check that the disks are there and are not blacklisted: multipath -v3"))
    return found + [_problem(f"map {one.name}", what, "") for one in maps for what in find_missing(one, wait)]


def find_problems(seen: Seen, maps: t.Sequence[Map], unknown: t.Sequence[str]) -> t.List[Problem]:
    """What is wrong around the maps that were asked for: names that mean none, maps without a usable path, maps nobody looks after."""
    found = [_problem(f"map {name}", "is not there", "Look at what multipathd lists: multipath -ll") for name in unknown]
    for one in maps:
        if not any(path.usable for path in one.paths):
            now = "waits" if one.queues else "fails"
            found.append(_problem(f"map {one.name}", f"has no usable path: its I/O {now}", "Look at the sessions behind its paths"))
    watched = [one.dm for one in seen.maps]
    for kernel in seen.kernel:
        if kernel.dm not in watched:
            found.append(_problem(f"map {kernel.alias}", f"({kernel.device}) is in the kernel, but multipathd does not know it: nobody checks its paths",
                                  "Look at whether the configuration leaves its disks out, then: multipathd reconfigure"))
    return found


def gather(
    daemon: Daemon,
    names: t.Sequence[str],
    wait: t.Optional[Wait],
    timeout: float,
    sessions: t.Callable[[], Sessions],
    *,
    sys: str = "/sys",
    dev: str = "/dev",
    clock: t.Callable[[], float] = time.monotonic,
    sleep: t.Callable[[float], None] = time.sleep,
) -> Fact:
    """What the module returns. With ``wait``, ask until every map fulfils it, at most ``timeout`` seconds.

    Without ``wait`` a host without multipathd is told as a problem as long as the kernel has no map either. Raises
    ``NotReachedError``, with the last look in its facts, and whatever ``Daemon.ask`` raises.
    """
    deadline = clock() + timeout
    while True:
        try:
            seen = look(daemon, max(1.0, deadline - clock()), sys)
        except HostError as error:
            passing = isinstance(error, RefusedError) and error.busy or wait is not None and isinstance(error, (NotRunningError, BrokenOffError))
            if passing and deadline - clock() >= POLL:
                sleep(POLL)
                continue
            if wait is None and not read_kernel_maps(sys):
                return {"changed": False, "maps": [], "problems": [error.as_problem(), *find_problems(Seen((), ()), (), names)]}
            raise
        maps, unknown = select(seen, names, sys, dev)
        missing = [] if wait is None else _missing(maps, unknown, wait)
        if not missing or deadline - clock() < POLL:
            break
        sleep(POLL)
    behind = sessions()
    facts = {"maps": [as_fact(one, seen.kernel_of(one), behind, sys) for one in maps], "problems": find_problems(seen, maps, unknown)}
    if missing:
        failed = NotReachedError(timeout, missing)
        failed.facts.update(facts)
        raise failed
    return dict(facts, changed=False)


def as_fact(one: Map, kernel: t.Optional[KernelMap], sessions: Sessions, sys: str = "/sys") -> Fact:
    """A map as the module returns it. A name or WWID that an old multipathd cut comes whole from the kernel."""
    whole = kernel if kernel is not None and kernel.wwid.startswith(one.wwid) else None
    cut = whole is not None and len(one.name.encode("utf-8")) in (63, 127) and whole.alias.startswith(one.name)
    return {
        "name": whole.alias if whole is not None and cut else one.name,
        "wwid": (one.wwid if whole is None else whole.wwid) or None,
        "device": None if kernel is None else kernel.device,
        "dm": one.dm,
        "size": None if kernel is None else kernel.size,
        "state": one.state,
        "read_only": one.read_only,
        "vendor": one.vendor,
        "product": one.product,
        "revision": one.revision,
        "features": one.features,
        "hwhandler": one.hwhandler,
        "queueing": one.queueing,
        "queues": one.queues,
        "failback": one.failback,
        "action": one.action,
        "usable_paths": sum(1 for path in one.paths if path.usable),
        "counters": {
            "path_faults": one.path_faults, "switch_groups": one.switch_groups, "loads": one.loads,
            "queueing_time": one.queueing_time, "queueing_timeouts": one.queueing_timeouts,
        },
        "groups": [_group_fact(group, sessions, sys) for group in one.groups],
    }


def _group_fact(group: Group, sessions: Sessions, sys: str) -> Fact:
    return {
        "group": group.number, "priority": group.priority, "state": group.state, "selector": group.selector, "marginal": group.marginal,
        "paths": [_path_fact(path, sessions, sys) for path in group.paths],
    }


def _path_fact(path: Path, sessions: Sessions, sys: str) -> Fact:
    return {
        "device": None if path.name is None else f"/dev/{path.name}",
        "numbers": path.numbers,
        "address": None if path.name is None else read_address(path.name, sys),
        "state": path.state,
        "checker": path.checker,
        "checker_state": path.checked,
        "online": path.online,
        "usable": path.usable,
        "priority": path.priority,
        "marginal": path.marginal,
        "target": path.target,
        "target_wwpn": path.target_wwpn,
        "host_wwnn": path.host_wwnn,
        "host_wwpn": path.host_wwpn,
        "adapter": path.adapter,
        "session": None if path.name is None or path.name not in sessions else dict(sessions[path.name]),
    }


def _problem(subject: str, what: str, remedy: str) -> Problem:
    return {"object": subject, "what": what, "remedy": remedy}
