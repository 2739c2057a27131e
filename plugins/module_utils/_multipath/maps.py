# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
r"""What multipathd answers to ``show maps json``, as values (multipath-tools: libmultipath/print.c, print.h).

The layout is version 0.1 in every release from 0.6.2, the first that has it, to 0.14. Each value stands on a line of its own.
``marginal_st`` came with 0.8.3, ``lun_hex`` with 0.8.9; there is no size. The wildcards behind the fields are those of
``show maps format`` and ``show paths format``.

No release escapes anything. An alias ``say "hi"``, a product ``C:\new`` or a WWID with a quote in it is written as it is,
which is no JSON, or JSON that means something else. So the answer is read by its lines: a value begins after the first quote behind
the colon and ends before the last quote of its line, whatever stands between, and a backslash is a backslash. Layouts of other
versions, which may escape, are read as JSON.

Values are cut after 63 bytes before 0.7.0 and after 127 before 0.8.7; device-mapper knows the name and the WWID whole.
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, HostError

#: the layout that is written without escaping
UNESCAPED = (0, 1)
#: states of a path that I/O is sent to: ``ready``, and ``ghost`` for the passive side of an array that has one
USABLE = ("ready", "ghost")
_SUBJECT = "multipathd's answer to 'show maps json'"
_REMEDY = "Look at: multipathd show maps json"
_STRING = re.compile(r'\s*"(\w+)" ?: "(.*)",?')
_NUMBER = re.compile(r'\s*"(\w+)" ?: ?(-?\d+),?')
_OPENS = re.compile(r'\s*"(\w+)" ?: ?\[\{')
_EMPTY = re.compile(r'\s*"(\w+)" ?: ?\[\]')
#: what stands where there is nothing to tell
_NOTHING = ("", "-", "##", "#:#", "undef", "[undef]", "[unknown]", "(null)")

Node = t.Dict[str, t.Any]


@dataclass(frozen=True)
class Path:
    """One path. Fields that multipathd does not know are None.

    ``name`` (%d) is the kernel's (``sdb``), ``numbers`` (%D) its device numbers. ``state`` (%t) is device-mapper's view: active or
    failed. ``checked`` (%T) is the checker's: ready, ghost, faulty, shaky, delayed, i/o pending, i/o timeout, disconnected. ``online``
    (%o) is whether the SCSI layer holds the device for running. ``priority`` is -1 where there is none (%p). On iSCSI ``target`` (%n) is
    the name of the target and ``adapter`` (%a) the host's own address; elsewhere they are a WWNN and a PCI function.
    """

    name: t.Optional[str] = None
    numbers: t.Optional[str] = None
    state: t.Optional[str] = None
    checked: t.Optional[str] = None
    online: t.Optional[bool] = None
    checker: t.Optional[str] = None
    priority: t.Optional[int] = None
    host_wwnn: t.Optional[str] = None
    host_wwpn: t.Optional[str] = None
    target: t.Optional[str] = None
    target_wwpn: t.Optional[str] = None
    adapter: t.Optional[str] = None
    marginal: t.Optional[bool] = None

    @property
    def usable(self) -> bool:
        """Whether I/O is sent over it without an error being expected."""
        return self.state == "active" and self.checked in USABLE


@dataclass(frozen=True)
class Group:
    """One path group. ``state`` (%t) is active (I/O goes here), enabled (it may) or disabled (only if nothing else is left)."""

    number: int
    selector: t.Optional[str] = None
    priority: t.Optional[int] = None
    state: t.Optional[str] = None
    marginal: t.Optional[bool] = None
    paths: t.Tuple[Path, ...] = ()


@dataclass(frozen=True)
class Map:
    """One map. ``name`` (%n) is the alias as multipathd has it, ``wwid`` (%w) its WWID, ``dm`` (%d) the kernel's name (``dm-0``).

    ``state`` (%t) is active or suspend. ``queueing`` (%Q) is what happens when no path is left: ``on`` I/O waits, ``off`` it fails, ``12 chk``
    it waits for 12 checks, ``30 sec`` it waits now and for so long still; None where nothing is configured. ``features`` (%f) and
    ``hwhandler`` (%h) are those of the kernel's table: a count and words. ``failback`` (%F) is immediate, followover, manual, deferred:60, or
    a progress bar while it runs; before 0.9.9 manual and deferred both come as a dash, which is None. ``action`` (%A) is what multipathd
    is about to do with it.
    """

    name: str
    wwid: str
    dm: t.Optional[str] = None
    state: t.Optional[str] = None
    failback: t.Optional[str] = None
    queueing: t.Optional[str] = None
    features: t.Optional[str] = None
    hwhandler: t.Optional[str] = None
    action: t.Optional[str] = None
    read_only: t.Optional[bool] = None
    vendor: t.Optional[str] = None
    product: t.Optional[str] = None
    revision: t.Optional[str] = None
    path_faults: t.Optional[int] = None
    switch_groups: t.Optional[int] = None
    loads: t.Optional[int] = None
    queueing_time: t.Optional[int] = None
    queueing_timeouts: t.Optional[int] = None
    groups: t.Tuple[Group, ...] = ()

    @property
    def paths(self) -> t.Tuple[Path, ...]:
        """The paths of all groups, in their order."""
        return tuple(path for group in self.groups for path in group.paths)

    @property
    def queues(self) -> bool:
        """Whether the kernel lets I/O wait while no path is left."""
        return "queue_if_no_path" in (self.features or "").split()


def parse_maps(reply: bytes) -> t.Tuple[Map, ...]:
    """The maps in an answer. Bytes that are no UTF-8 become the replacement character.

    Raises ``HostError`` where multipathd is older than 0.6.2 and answers with its help, ``DamagedError`` for everything that cannot
    be understood.
    """
    text = reply.decode("utf-8", "replace").strip()
    if not text.startswith("{"):
        shown = text.split("\n", 1)[0][:80]
        raise HostError("multipathd", f"does not answer 'show maps json' with JSON but with {shown!r}", "It has this since release 0.6.2; update it")
    found = _read(text)
    maps = found.get("maps")
    if not isinstance(maps, list):
        raise DamagedError(_SUBJECT, "holds no list of maps")
    return tuple(_map(each) for each in _dicts(maps))


def _read(text: str) -> Node:
    problem = ""
    if _version(text) == UNESCAPED:
        try:
            return _read_lines(text)
        except ValueError as error:
            problem = str(error)
            if "\\" in text:  # JSON would make something else of it
                raise DamagedError(_SUBJECT, f"cannot be read: {problem}", _REMEDY)
    try:
        found = json.loads(text, strict=False)
    except ValueError as error:
        raise DamagedError(_SUBJECT, f"cannot be read: {problem or error}", _REMEDY)
    if not isinstance(found, dict):
        raise DamagedError(_SUBJECT, "is no object")
    return found


def _version(text: str) -> t.Optional[t.Tuple[int, int]]:
    match = re.match(r'\{\s*"major_version" ?: ?(\d+),\s*"minor_version" ?: ?(\d+),', text)
    return None if match is None else (int(match.group(1)), int(match.group(2)))


def _read_lines(text: str) -> Node:
    """The tree of an unescaped answer; raises ``ValueError`` with the line that does not fit.

    Brackets count only where a line begins with them or with a key, so no value can open or close anything.
    """
    root: Node = {}
    node: t.Optional[Node] = root
    above: t.List[t.Tuple[Node, t.List[Node]]] = []  # the node a list belongs to, and the list, outermost first
    for number, line in enumerate(text.split("\n")[1:], 2):
        mark = line.strip()
        if node is None:
            raise ValueError(f"line {number} stands behind its end: {mark[:60]!r}")
        if mark == "},{" and above:
            node = {}
            above[-1][1].append(node)
        elif mark == "}]" and above:
            node = above.pop()[0]
        elif mark == "}" and not above:
            node = None
        else:
            _read_field(line, number, node, above)
            if _OPENS.fullmatch(line):
                node = above[-1][1][0]
    if node is not None:
        raise ValueError("it ends too early")
    return root


def _read_field(line: str, number: int, node: Node, above: t.List[t.Tuple[Node, t.List[Node]]]) -> None:
    string, integer = _STRING.fullmatch(line), _NUMBER.fullmatch(line)
    opens, empty = _OPENS.fullmatch(line), _EMPTY.fullmatch(line)
    if string is not None:
        node[string.group(1)] = string.group(2)
    elif integer is not None:
        node[integer.group(1)] = int(integer.group(2))
    elif empty is not None:
        node[empty.group(1)] = []
    elif opens is not None:
        below: t.List[Node] = [{}]
        node[opens.group(1)] = below
        above.append((node, below))
    else:
        raise ValueError(f"line {number} is {line.strip()[:60]!r}")


def _map(node: Node) -> Map:
    name, wwid = _text(node, "name"), _text(node, "uuid")
    if name is None and wwid is None:
        raise DamagedError(_SUBJECT, "holds a map without a name")
    ro = _text(node, "write_prot")
    return Map(
        name=name or wwid or "",
        wwid=wwid or "",
        dm=_text(node, "sysfs"),
        state=_text(node, "dm_st"),
        failback=_text(node, "failback"),
        queueing=_text(node, "queueing"),
        features=_text(node, "features"),
        hwhandler=_text(node, "hwhandler"),
        action=_text(node, "action"),
        read_only=None if ro is None else ro == "ro",
        vendor=_text(node, "vend"),
        product=_text(node, "prod"),
        revision=_text(node, "rev"),
        path_faults=_int(node, "path_faults"),
        switch_groups=_int(node, "switch_grp"),
        loads=_int(node, "map_loads"),
        queueing_time=_int(node, "total_q_time"),
        queueing_timeouts=_int(node, "q_timeouts"),
        groups=tuple(_group(each, number) for number, each in enumerate(_dicts(node.get("path_groups")), 1)),
    )


def _group(node: Node, number: int) -> Group:
    shown = _int(node, "group")
    return Group(
        number=number if shown is None else shown,
        selector=_text(node, "selector"),
        priority=_int(node, "pri"),
        state=_text(node, "dm_st"),
        marginal=_marginal(node),
        paths=tuple(_path(each) for each in _dicts(node.get("paths"))),
    )


def _path(node: Node) -> Path:
    running = _text(node, "dev_st")
    return Path(
        name=_text(node, "dev"),
        numbers=_text(node, "dev_t"),
        state=_text(node, "dm_st"),
        checked=_text(node, "chk_st"),
        online={"running": True, "offline": False}.get(running or ""),
        checker=_text(node, "checker"),
        priority=_int(node, "pri"),
        host_wwnn=_text(node, "host_wwnn"),
        host_wwpn=_text(node, "host_wwpn"),
        target=_text(node, "target_wwnn"),
        target_wwpn=_text(node, "target_wwpn"),
        adapter=_text(node, "host_adapter"),
        marginal=_marginal(node),
    )


def _dicts(value: t.Any) -> t.List[Node]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _text(node: Node, key: str) -> t.Optional[str]:
    value = node.get(key)
    return value if isinstance(value, str) and (value not in _NOTHING or key == "name" and value) else None


def _int(node: Node, key: str) -> t.Optional[int]:
    value = node.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _marginal(node: Node) -> t.Optional[bool]:
    return {"marginal": True, "normal": False}.get(_text(node, "marginal_st") or "")
