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
#: what tgtd never tells; only our own file knows it
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


def unit_of(live: LiveLun, saved: t.Optional[Unit]) -> Unit:
    """A LUN as tgtd has it; what it does not tell is taken from what is saved, if that is the same disk."""
    told = Unit(live.number, live.path, live.kind, live.bs_type, None, live.flags, live.block_size, live.scsi_id, live.scsi_sn, live.readonly,
                live.removable, live.thin)
    if saved is None or saved.path != live.path:
        return told
    return replace(told, **{name: getattr(saved, name) for name in UNTOLD})


def target_of(live: LiveTarget, saved: t.Optional[Target], parameters: t.Mapping[str, str]) -> Target:
    """A target as tgtd has it, and as far as tgtd does not tell, as it is saved."""
    units = saved.units if saved else {}
    known = saved.secrets if saved else {}
    return Target(
        live.name, live.driver, live.ready, {number: unit_of(lun, units.get(number)) for number, lun in live.luns.items()}, live.accounts,
        live.outgoing, {user: known[user] for user in (*live.accounts, live.outgoing) if user in known}, live.addresses, live.initiators,
        {name: parameters.get(name, "") for name in {**(saved.parameters if saved else {}), **parameters}}, live.nop_interval, live.nop_count)


def own_identity(target: str, number: int) -> t.Tuple[str, str]:
    """SCSI id and serial number of a new LUN: the same wherever a target of this name is served, and no other's.

    tgtd's own are made of the number that the target happens to have, so they change from boot to boot, and those of the first target
    of two hosts are the same. The id is 32 hexadecimal digits that are the NAA name as well (type 6, see ``naa_of``).
    """
    digest = hashlib.sha256(f"{target}\n{number}".encode()).hexdigest()
    return "6" + digest[:31], digest[:16]
