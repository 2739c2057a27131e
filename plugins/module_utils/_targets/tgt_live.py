# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tgtd serves, read from what it prints: targets, LUNs, sessions, accounts, ACLs; never secrets and never most settings of a LUN."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError

#: written for "nobody" where a list may not be empty; tgtd looks it up as an address, which it is not (iscsi/target.c, ip_match)
NOBODY = "none"
_OUTGOING = " (outgoing)"
#: how names of initiators begin, by which they are told from addresses
NAME_FORMS = ("iqn.", "eui.", "naa.")


@dataclass(frozen=True)
class LiveLun:
    """One LUN as tgtd prints it. ``kind`` is disk, tape, cd, changer, osd or pt; LUN 0 is the controller and is left out."""

    number: int
    kind: str
    scsi_id: str = ""
    scsi_sn: str = ""
    #: what it prints of the size, such as ``67 MB``; it is rounded in a way of its own
    size: str = ""
    block_size: int = 512
    removable: bool = False
    readonly: bool = False
    thin: bool = False
    bs_type: str = ""
    path: str = ""
    flags: t.Tuple[str, ...] = ()


@dataclass(frozen=True)
class LiveSession:
    """One session: who, from where, and the number of each connection."""

    sid: int
    initiator: str
    addresses: t.Tuple[str, ...] = ()
    cids: t.Tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"session {self.sid} of {self.initiator}" + (f" from {', '.join(self.addresses)}" if self.addresses else "")


@dataclass(frozen=True)
class LiveTarget:
    """One target. ``accounts`` are in the order of tgtd's own list, ``addresses`` and ``initiators`` in that of its ACL."""

    tid: int
    name: str
    driver: str = "iscsi"
    ready: bool = True
    nop_interval: int = 0
    nop_count: int = 0
    sessions: t.Tuple[LiveSession, ...] = ()
    luns: t.Mapping[int, LiveLun] = field(default_factory=dict)
    accounts: t.Tuple[str, ...] = ()
    outgoing: str = ""
    addresses: t.Tuple[str, ...] = ()
    initiators: t.Tuple[str, ...] = ()


@dataclass(frozen=True)
class LiveSystem:
    """What this tgtd can do: drivers that are ready, backing stores with the flags that they take; accounts that discovery asks for."""

    drivers: t.FrozenSet[str] = frozenset()
    bs_types: t.Mapping[str, t.FrozenSet[str]] = field(default_factory=dict)
    discovery_accounts: t.FrozenSet[str] = frozenset()


_KINDS = {"disk": "disk", "tape": "tape", "cd/dvd": "cd", "changer": "changer", "osd": "osd", "passthrough": "pt", "controller": "controller"}


#: what an initiator calls itself is printed as it came, so only what cannot be within its lines begins a part
_TARGET = re.compile(r"^Target (\d+): (.*)\n    System information:\n        Driver: ", re.MULTILINE)
_SESSIONS, _LUNS, _NEXUS = "    I_T nexus information:\n", "    LUN information:\n", "        I_T nexus: "


def has_sessions(text: str) -> bool:
    """Whether ``tgtadm --op show --mode target`` holds words of initiators."""
    return _NEXUS in text


def parse_names(text: str) -> t.Dict[int, str]:
    """``tgtadm --op show --mode lld``: names of targets by number. No initiator has a word in it."""
    return {int(tid): name for tid, name in re.findall(r"^ {8}Target (\d+): (.*)$", text, re.MULTILINE)}


def parse_targets(text: str, names: t.Optional[t.Mapping[int, str]] = None) -> t.List[LiveTarget]:
    """``tgtadm --op show --mode target``: every target, in the order of their numbers; only those of ``names`` where initiators had a word.

    Raises ``DamagedError`` for what is none of it.
    """
    heads = [head for head in _TARGET.finditer(text) if names is None or names.get(int(head.group(1))) == head.group(2)]
    if text.strip() and (not heads or heads[0].start()):
        raise _unknown(text.splitlines()[0])
    for before, after in zip(heads, heads[1:]):
        if int(after.group(1)) <= int(before.group(1)):  # it lists them in order
            raise DamagedError("tgtd", f"tells of target {after.group(2)} twice; an initiator bears a name that is made to look so",
                               f"Look at the sessions of target {before.group(2)} (tgtadm --op show --mode conn), and who may log in to it")
    ends = [head.start() for head in heads[1:]] + [len(text)]
    return [_target(int(head.group(1)), head.group(2), text[head.end():end]) for head, end in zip(heads, ends)]


def _unknown(line: str) -> DamagedError:
    return DamagedError("tgtd", f"describes its targets in a form that is not known: {line[:80]!r}", "Is it another release than 1.0.19 to 1.0.97?")


def _target(tid: int, name: str, text: str) -> LiveTarget:
    system, _heading, rest = ("Driver: " + text).partition(_SESSIONS)
    # the last of them: no initiator writes behind it
    sessions, _heading, rest = rest.rpartition(_LUNS)
    if not rest:
        raise _unknown(f"Target {tid}: {name}")
    said = _pairs(system.split("\n"))
    nexus = re.split(r"        I_T nexus: (\d+)\n            Initiator: ", sessions)
    parts = re.split(r"^    (Account|ACL) information:\n", rest, flags=re.MULTILINE)
    lists = {heading: [line.strip() for line in lines.split("\n") if line.strip()] for heading, lines in zip(parts[1::2], parts[2::2])}
    users, allowed = lists.get("Account", []), lists.get("ACL", [])
    luns = [_lun(part) for part in re.split(r"^(?=        LUN: )", parts[0], flags=re.MULTILINE) if part]
    return LiveTarget(
        tid=tid,
        name=name,
        driver=said.get("Driver", "iscsi"),
        ready=said.get("State") == "ready",
        nop_interval=int(said.get("Nop interval", "0")),
        nop_count=int(said.get("Nop count", "0")),
        sessions=tuple(map(_session, nexus[1::2], nexus[2::2])),
        luns={lun.number: lun for lun in luns if lun.kind != "controller"},
        accounts=tuple(user for user in users if not user.endswith(_OUTGOING)),
        outgoing=next((user[:-len(_OUTGOING)] for user in users if user.endswith(_OUTGOING)), ""),
        addresses=tuple(one for one in allowed if not one.startswith(NAME_FORMS) and one != NOBODY),
        initiators=tuple(one for one in allowed if one.startswith(NAME_FORMS)),
    )


def _session(sid: str, text: str) -> LiveSession:
    return LiveSession(
        sid=int(sid),
        initiator=text.partition("\n")[0].partition(" alias: ")[0],
        addresses=tuple(re.findall(r"^ {16}IP Address: (.*)", text, re.MULTILINE)),
        cids=tuple(int(cid) for cid in re.findall(r"^ {12}Connection: (\d+)$", text, re.MULTILINE)),
    )


def _pairs(lines: t.Iterable[str]) -> t.Dict[str, str]:
    return {key.strip(): value.strip() for key, _colon, value in (line.partition(":") for line in lines)}


def _lun(text: str) -> LiveLun:
    pairs = _pairs(text.split("\n"))
    size, _comma, rest = pairs.get("Size", "").partition(",")
    block = rest.rpartition(":")[2].strip()
    path = pairs.get("Backing store path", "")
    return LiveLun(
        number=int(pairs["LUN"]),
        kind=_KINDS.get(pairs.get("Type", ""), pairs.get("Type", "")),
        scsi_id=pairs.get("SCSI ID", ""),
        scsi_sn=pairs.get("SCSI SN", ""),
        size=size,
        block_size=int(block) if block.isdigit() else 512,
        removable=pairs.get("Removable media") == "Yes",
        readonly=pairs.get("Readonly") == "Yes",
        thin=pairs.get("Thin-provisioning") == "Yes",
        bs_type=pairs.get("Backing store type", ""),
        path="" if path == "None" else path,
        flags=tuple(sorted(filter(None, re.split(r"[:\s]+", pairs.get("Backing store flags", ""))))),
    )


def parse_parameters(text: str) -> t.Dict[str, str]:
    """``tgtadm --op show --mode target --tid N``: the parameters that the next login is offered, by name."""
    return {key: value for key, equals, value in (line.partition("=") for line in text.splitlines()) if equals}


def parse_system(text: str) -> LiveSystem:
    """``tgtadm --op show --mode system``."""
    sections: t.Dict[str, t.List[str]] = {}
    heading = ""
    for line in text.splitlines():
        if line[:1].strip():
            heading = line.rstrip()
        elif line.strip() == "Account information:":
            heading = line.strip()  # printed as an entry of the section before it
        elif line.strip():
            sections.setdefault(heading, []).append(line.strip())
    stores = {}
    for line in sections.get("Backing stores:", []):
        found = re.fullmatch(r"(\S+)(?: \(bsoflags (.*)\))?", line)
        if found:
            stores[found.group(1)] = frozenset(filter(None, re.split(r"[:\s]+", found.group(2) or "")))
    drivers = (line.partition(": ") for line in sections.get("LLDs:", []))
    accounts = (line[:-len(_OUTGOING)] if line.endswith(_OUTGOING) else line for line in sections.get("Account information:", []))
    return LiveSystem(frozenset(name for name, _colon, state in drivers if state == "ready"), stores, frozenset(accounts))


def naa_of(scsi_id: str) -> str:
    """The 32 hexadecimal digits that initiators see for a SCSI id (spc.c, update_vpd_83): its characters taken as digits, NAA type 6.

    A character that is no hexadecimal digit counts as 0, the last 32 count, and the first of them becomes 6.
    """
    digits = "".join(one if one in "0123456789abcdef" else "0" for one in scsi_id.lower())[-32:].rjust(32, "0")
    return "6" + digits[1:]


def wwid_of(lun: LiveLun) -> str:
    """The WWID as udev and multipath show it."""
    return "3" + naa_of(lun.scsi_id)
