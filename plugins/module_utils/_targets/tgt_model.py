# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A target of tgtd as a value, whole: what is there and what shall be are both written down in it."""

from __future__ import annotations

import hashlib
import re
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_live import LiveLun, LiveTarget

#: what neither a request to tgtd, nor targets.conf, nor the shell that tgt-admin hands it to makes something else of
PLAIN = re.compile(r"[^\s,'\"\\#<>$`*?\[\]{}|;&()!\x00-\x1f\x7f]+")
#: backing store types whose path is none of this host
ELSEWHERE = ("glfs", "rbd", "sheepdog", "null")
#: what can only be set when a LUN is made
FIXED = ("path", "kind", "bs_type", "bs_options", "flags", "block_size")
#: what tgtd never tells; only our own files know it
UNTOLD = ("bs_options", "write_cache", "vendor", "product", "revision")
#: what initiators know a disk by
IDENTITY = ("scsi_id", "scsi_sn")
#: the backing store type that a kind of LUN has unless another is named
BS_TYPES = {"disk": "rdwr", "cd": "mmc", "tape": "ssc", "changer": "smc", "osd": "osd", "pt": "sg"}


@dataclass(frozen=True)
class Unit:
    """A LUN; what is None is not said, or not known."""

    number: int
    path: str = ""
    kind: t.Optional[str] = None
    bs_type: t.Optional[str] = None
    bs_options: t.Optional[str] = None
    flags: t.Optional[t.Tuple[str, ...]] = None
    block_size: t.Optional[int] = None
    scsi_id: t.Optional[str] = None
    scsi_sn: t.Optional[str] = None
    readonly: t.Optional[bool] = None
    removable: t.Optional[bool] = None
    thin: t.Optional[bool] = None
    write_cache: t.Optional[bool] = None
    vendor: t.Optional[str] = None
    product: t.Optional[str] = None
    revision: t.Optional[str] = None

    def said(self) -> t.Dict[str, t.Any]:
        """What is not None, by name, without the number."""
        return {name: value for name, value in self.__dict__.items() if value is not None and name != "number"}


@dataclass(frozen=True)
class Target:
    """A target. ``secrets`` holds what is known of them, by account; ``incoming`` is in tgtd's order."""

    name: str
    driver: str = "iscsi"
    enabled: bool = True
    units: t.Mapping[int, Unit] = field(default_factory=dict)
    incoming: t.Tuple[str, ...] = ()
    outgoing: str = ""
    secrets: t.Mapping[str, str] = field(default_factory=dict, repr=False)
    addresses: t.Tuple[str, ...] = ()
    initiators: t.Tuple[str, ...] = ()
    parameters: t.Mapping[str, str] = field(default_factory=dict)
    #: None leaves them to tgtd
    nop_interval: t.Optional[int] = None
    nop_count: t.Optional[int] = None


def is_unfinished(tid: int, live: LiveLun, known: t.Optional[Unit]) -> bool:
    """Whether a LUN was made and nothing said of it since: what it is known by is not there, but what tgtd itself gives (spc.c, spc_lu_init)."""
    return known is not None and known.path == live.path and known.scsi_id not in (None, live.scsi_id) and (
        live.scsi_id == f"IET     {tid:04x}{live.number:04x}")


def unit_of(tid: int, live: LiveLun, known: t.Optional[Unit], doubted: bool = False) -> Unit:
    """A LUN as tgtd has it; what it does not tell is as it is known, if that is the same disk, is whole, and nobody broke off while it changed."""
    told = Unit(live.number, live.path, live.kind, live.bs_type, None, live.flags, live.block_size, live.scsi_id, live.scsi_sn, live.readonly,
                live.removable, live.thin)
    if known is None or known.path != live.path:
        return told
    unfinished = is_unfinished(tid, live, known)
    if unfinished and doubted:  # what cannot be set later was said when it was made
        return replace(told, bs_options=known.bs_options)
    return told if unfinished or doubted else replace(told, **{name: getattr(known, name) for name in UNTOLD})


def target_of(live: LiveTarget, known: t.Optional[Target], doubts: t.Container[str], parameters: t.Mapping[str, str]) -> Target:
    """A target as tgtd has it, and as far as tgtd does not tell, as it is known."""
    units = known.units if known else {}
    secrets = known.secrets if known else {}
    return Target(
        live.name, live.driver, live.ready,
        {number: unit_of(live.tid, lun, units.get(number), f"LUN {number}" in doubts) for number, lun in live.luns.items()}, live.accounts,
        live.outgoing, {user: secrets[user] for user in (*live.accounts, live.outgoing) if user in secrets}, live.addresses, live.initiators,
        {name: parameters.get(name, "") for name in {**(known.parameters if known else {}), **parameters}}, live.nop_interval, live.nop_count)


def own_identity(target: str, number: int) -> t.Tuple[str, str]:
    """SCSI id and serial number of a new LUN: the same wherever a target of this name is served, and no other's.

    tgtd's own are made of the number that the target happens to have, so they change from boot to boot, and those of the first target
    of two hosts are the same. The id is 32 hexadecimal digits that are the NAA name as well (type 6, see ``naa_of``).
    """
    digest = hashlib.sha256(f"{target}\n{number}".encode()).hexdigest()
    return "6" + digest[:31], digest[:16]
