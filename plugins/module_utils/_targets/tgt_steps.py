# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a step of a tgt_target plan is made of, and what the plan is made from."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.lunar.iscsi.plugins.module_utils._names import Portal
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_control import Request
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_live import NAME_FORMS, LiveSystem, LiveTarget
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_model import Target, Unit
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_saved import SavedFiles

# page 8, caching, as tgt has it, with the write cache enabled or not (scripts/tgt-admin, usr/sbc.c)
_CACHING = "8:0:18:{}:0:0xff:0xff:0:0:0xff:0xff:0xff:0xff:0x80:0x14:0:0:0:0:0:0"
#: what tgtd can take for an address; it may have a zone
_ADDRESS = re.compile(r"ALL|[0-9A-Fa-f.:/\[\]]+(%[^/]+)?")
#: how the settings of a LUN are called in a request
_SETTINGS = {"scsi_id": "scsi_id", "scsi_sn": "scsi_sn", "vendor": "vendor_id", "product": "product_id", "revision": "product_rev",
             "readonly": "readonly", "removable": "removable", "thin": "thin_provisioning"}  # fmt: skip


class FileOp(t.NamedTuple):
    """One move on a file of the host: make, grow (``size`` in bytes), save or remove (a file of tgt's configuration, for root alone), publish.

    And begin or forget: what a task is about to make of a target, for the next task if this one breaks off.
    """

    kind: str
    path: str
    size: int = 0
    sparse: bool = True
    text: str = ""

    def __repr__(self) -> str:
        return f"FileOp({self.kind} {self.path})"


class Attempt(t.NamedTuple):
    """A request that may be refused: what it takes away may not be there."""

    request: Request


Op = t.Union[Request, Attempt, FileOp]


class File(t.NamedTuple):
    """What is at a path: missing, file, block, char or other; bytes; whether its folder is there; a mount point above it that is not mounted."""

    kind: str = "missing"
    size: int = 0
    has_folder: bool = True
    unmounted: str = ""


@dataclass(frozen=True)
class Service:
    """The service of tgtd: how it is started, where our addition to it is, and what that says now."""

    command: str = ""
    drop_in: str = ""
    text: str = ""


@dataclass(frozen=True)
class Found:
    """The host as read: what tgtd serves and can, its configuration, the files behind LUNs and who else uses those that are devices."""

    live: t.Mapping[str, LiveTarget]
    system: LiveSystem
    saved: SavedFiles
    parameters: t.Mapping[str, t.Mapping[str, str]] = field(default_factory=dict)
    files: t.Mapping[str, File] = field(default_factory=dict)
    users: t.Mapping[str, t.Sequence[str]] = field(default_factory=dict)
    #: what is really behind a path of this host: two paths with the same are one image
    images: t.Mapping[str, str] = field(default_factory=dict)
    #: where tgtd listens, if the task says where it shall
    portals: t.Sequence[Portal] = ()
    service: t.Optional[Service] = None
    #: what this very tgtd was told by tasks that saved nothing, and what a task has begun to make of it
    notes: SavedFiles = field(default_factory=lambda: SavedFiles(""))
    begun: SavedFiles = field(default_factory=lambda: SavedFiles(""))

    def known(self, name: str) -> t.Optional[Target]:
        """A target as tgtd was last told to have it; LUNs that a task has begun to remove, and are there, are among its LUNs."""
        before = self.notes.ours.get(name) or self.saved.ours.get(name)
        begun = self.begun.ours.get(name)
        if begun is None or before is None:
            return begun or before
        there = self.live[name].luns if name in self.live else {}
        return replace(begun, units={**{number: unit for number, unit in before.units.items() if number in there}, **begun.units})

    def doubts(self, name: str) -> t.FrozenSet[str]:
        """What of that tgtd may have, or not, since a task broke off."""
        return self.begun.doubts.get(name, frozenset())

    def free_tids(self) -> t.Iterator[int]:
        """Numbers that no target has, the smallest first; tgtd has no way to ask for any."""
        used = {one.tid for one in self.live.values()}
        return (number for number in range(1, 1 << 31) if number not in used)


def new_target(tid: int, target: Target) -> t.List[Op]:
    """A target into which nobody can log in yet."""
    ops: t.List[Op] = [Request("target", "new", f"targetname={target.name}", tid, lld=target.driver)]
    return ops + nop_settings(tid, target)


def nop_settings(tid: int, target: Target) -> t.List[Op]:
    """How often, in seconds, tgtd pings initiators, and how many unanswered pings end a connection."""
    said = (("nop_interval", target.nop_interval), ("nop_count", target.nop_count))
    return [set_target(tid, target.driver, name, str(value)) for name, value in said if value is not None]


def set_target(tid: int, driver: str, name: str, value: str) -> Request:
    """One setting of a target, for the logins to come."""
    return Request("target", "update", f"{name}={value}", tid, lld=driver)


def new_lun(tid: int, driver: str, unit: Unit) -> t.List[Op]:
    """A LUN with all that is said of it."""
    parts = [("path", unit.path), ("bstype", unit.bs_type), ("bsopts", unit.bs_options), ("bsoflags", ":".join(unit.flags or ())),
             ("blocksize", unit.block_size)]
    text = ",".join(f"{name}={value}" for name, value in parts if value)
    made: t.List[Op] = [Request("device", "new", text, tid, unit.number, lld=driver, device=unit.kind or "disk")]
    return made + set_lun(tid, driver, unit, list(unit.said()))


def set_lun(tid: int, driver: str, unit: Unit, names: t.Sequence[str]) -> t.List[Op]:
    """Those settings of a LUN that can be set at any time, in one request."""
    # first, since tgtd forgets that it refused a word when a page after it is right
    words = [f"mode_page={_CACHING.format('0x14' if unit.write_cache else '0x10')}"] if "write_cache" in names else []
    words += [f"{_SETTINGS[name]}={_plain(getattr(unit, name))}" for name in names if name in _SETTINGS]
    return [Request("device", "update", f"targetOps {','.join(words)},", tid, unit.number, lld=driver)] if words else []


def _plain(value: t.Any) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def remove_lun(tid: int, driver: str, number: int) -> Request:
    """Take a LUN away; its file stays."""
    return Request("device", "delete", "", tid, number, lld=driver)


def allow(tid: int, driver: str, what: str) -> Request:
    """Let an address or an initiator in. What is neither was set by hand, and is as good as none unless it is a name."""
    word = "initiator-address" if _ADDRESS.fullmatch(what) else "initiator-name"
    return Request("target", "bind", f"{word}={what}", tid, lld=driver)


def disallow(tid: int, driver: str, what: str) -> t.List[Op]:
    """Let it in no longer. What is neither an address nor a name was set by hand, and tgtd does not show as which of the two."""
    word = "initiator-address" if _ADDRESS.fullmatch(what) else "initiator-name"
    ops = [Request("target", "unbind", f"{each}={what}", tid, lld=driver) for each in ("initiator-address", "initiator-name")]
    if word == "initiator-address" or what.startswith(NAME_FORMS):
        return [op for op in ops if op.text.startswith(word)]
    return [Attempt(op) for op in ops]


def bind(tid: int, driver: str, user: str, *, outgoing: bool = False, op: str = "bind") -> Request:
    """Have a target ask for an account, or no longer."""
    return Request("account", op, f"user={user}", tid, lld=driver, outgoing=outgoing)


def set_state(tid: int, driver: str, ready: bool) -> Request:
    """Offline, a target refuses logins, and what sessions ask is never answered: not for a target with sessions that are to go on."""
    return set_target(tid, driver, "state", "ready" if ready else "offline")


def printed_size(size: int) -> str:
    """How tgtd prints a number of bytes (target.c, print_disksize)."""
    sectors = size // 512
    return f"{(sectors - ((sectors // 625) - 974)) // 1950} MB"


def megabytes(shown: str) -> int:
    """A size as tgtd prints it, as a number; 0 where it is none."""
    number = shown.partition(" ")[0]
    return int(number) if number.isdigit() else 0
