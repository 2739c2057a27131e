# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a target of tgtd shall be in the end: what is there, and over it what the task says."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_model import (
    FIXED,
    IDENTITY,
    UNTOLD,
    Target,
    Unit,
    is_unfinished,
    own_identity,
    target_of,
)
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_steps import Found
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_wanted import Wanted, WantedTarget, default_bs_type


def current(name: str, found: Found) -> t.Optional[Target]:
    """A target as it is, or None. Raises ``HostError`` where a file that is not ours declares it."""
    if name in found.saved.foreign:
        raise HostError(f"target {name}", f"is declared in {found.saved.foreign[name]}, which this module did not write",
                        "Two files for one target contradict each other sooner or later; take it out of that file, the target itself stays as it runs")
    live = found.live.get(name)
    return target_of(live, found.known(name), found.doubts(name), found.parameters.get(name, {})) if live else None


def desire(one: WantedTarget, wanted: Wanted, given: t.Mapping[str, str], found: Found) -> Target:
    """The target as it shall be, whole; ``given`` are all secrets of the task."""
    was = current(one.name, found)
    known = found.known(one.name) or Target(one.name)
    base = _base(was, known, one.name in found.begun.ours)
    driver = one.driver or base.driver
    if was is not None and was.driver != driver:
        raise InputError(f"target {one.name}: option driver", f"is {driver}, and the target is of {was.driver}",
                         "A target cannot change its driver; remove it first (state: absent)")
    there = _units(one, was, known, found)
    units = {} if wanted.purge and one.names_luns else dict(there)
    units.update({number: _unit(unit, there.get(number), known.units.get(number), one.name) for number, unit in one.units.items()})
    incoming, outgoing = base.incoming, base.outgoing
    if one.incoming is not None:
        incoming = (*(user for user in base.incoming if user in one.incoming), *(user for user in one.incoming if user not in base.incoming))
        outgoing = one.outgoing[0] if one.outgoing else ""
    every = {**known.secrets, **base.secrets, **{user: given[user] for user in (*incoming, outgoing) if user in given}}
    secrets = {user: every[user] for user in (*incoming, outgoing) if user in every}
    addresses, initiators = one.allow if one.allow is not None else (base.addresses, base.initiators)
    return Target(
        one.name, driver, one.enabled, units, incoming, outgoing, secrets, addresses, initiators, {**base.parameters, **one.parameters},
        base.nop_interval if one.nop_interval is None else one.nop_interval, base.nop_count if one.nop_count is None else one.nop_count)


def _base(was: t.Optional[Target], known: Target, begun: bool) -> Target:
    """What holds where the task does not say: what another has begun, else what is there, and what is known and was lost."""
    if was is None:
        return known
    if begun:
        return replace(known, nop_interval=was.nop_interval, nop_count=was.nop_count)
    lost = tuple(user for user in known.incoming if user not in was.incoming)
    base = replace(was, incoming=(*was.incoming, *lost), outgoing=was.outgoing or known.outgoing)
    if was.units or was.addresses or was.initiators:
        return base
    return replace(base, addresses=known.addresses, initiators=known.initiators)


def _units(one: WantedTarget, was: t.Optional[Target], known: Target, found: Found) -> t.Dict[int, Unit]:
    """The LUNs where the task does not say: those that are there, and those that are known and did not come back, or not whole."""
    if was is None:
        return dict(known.units)
    live = found.live[one.name]
    begun = found.begun.ours.get(one.name, Target(one.name)).units
    there = {number: known.units[number] if is_unfinished(live.tid, live.luns[number], known.units.get(number)) else unit
             for number, unit in was.units.items()}
    # an image that is another LUN by now is not one twice
    mine = {unit.path: number for units in (begun, one.units) for number, unit in units.items() if unit.path}
    there = {number: unit for number, unit in {**there, **begun}.items() if mine.get(unit.path, number) == number}
    paths = {*mine, *(unit.path for unit in there.values())} - {""}
    return {**{number: unit for number, unit in known.units.items() if number not in was.units and unit.path not in paths}, **there}


def given_secrets(wanted: Wanted) -> t.Dict[str, str]:
    """All secrets that a task says, by account."""
    every: t.Dict[str, str] = {}
    for one in wanted.targets.values():
        every.update(one.incoming or {})
        if one.outgoing and one.outgoing[0]:
            every[one.outgoing[0]] = one.outgoing[1]
    return every


def _unit(unit: Unit, was: t.Optional[Unit], last: t.Optional[Unit], target: str) -> Unit:
    """``was`` is the LUN as it is, ``last`` as it is known."""
    scsi_id, scsi_sn = own_identity(target, unit.number)
    known = last if last is not None and unit.path in ("", last.path) else Unit(unit.number)
    was = was or (last if known is last else None)
    if was is None:
        kind = unit.kind or "disk"
        fresh = replace(unit, kind=kind, bs_type=unit.bs_type or default_bs_type(kind))
        return replace(fresh, scsi_id=unit.scsi_id or scsi_id, scsi_sn=unit.scsi_sn or scsi_sn)
    told = {name: value for name, value in unit.said().items() if value != ""}
    merged = replace(was, **told)
    if merged.path != was.path:
        # another image: what tgtd does not tell is not as it was, but as it is known of this very image
        merged = replace(merged, **{name: told.get(name, getattr(known, name)) for name in UNTOLD})
        merged = replace(merged, **{name: told.get(name) or getattr(known, name) or getattr(was, name) for name in IDENTITY})
    if unit.kind not in (None, was.kind) and unit.bs_type is None:
        merged = replace(merged, bs_type=default_bs_type(unit.kind))
    return merged


def changed_settings(was: Unit, unit: Unit) -> t.List[str]:
    """The names of what differs and is said."""
    return [name for name, value in unit.said().items() if getattr(was, name) != value]


def must_be_made_anew(names: t.Iterable[str]) -> bool:
    """Whether one of these settings can only be set when a LUN is made."""
    return any(name in FIXED for name in names)
