# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the accounts of targets change while sessions go on and nobody gets in without a secret.

Four facts about tgtd make the order (target.c of 1.0.85 to 1.0.97): a secret cannot be changed, only an account be removed and made anew;
an account is one for all targets; without any account a target asks for none; and the list of a target must have no hole, or the next
look at it ends tgtd. So nobody is let in meanwhile, accounts are taken off a list from its end, and put back in order.
Nobody is let in by taking away who may log in, never by the state of the target: while that is offline, no session gets an answer, and what it
asked for meanwhile is not answered later either (target_cmd_queue, whose error iscsi_task_execute drops).
"""

from __future__ import annotations

import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import REDACTED, Step
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_control import Request
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_live import LiveTarget
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_model import Target
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_steps import Attempt, Found, Op, bind


class AccountPlan(t.NamedTuple):
    """The steps by target, the accounts that they make, and the targets into which nobody may be let meanwhile."""

    steps: t.Mapping[str, Step]
    made: t.FrozenSet[str]
    shut: t.FrozenSet[str]


def plan_accounts(desired: t.Mapping[str, Target], tids: t.Mapping[str, int], given: t.Container[str], found: Found) -> AccountPlan:
    """The steps for all targets of a task, of which the first carries what all of them need. ``given`` are the accounts that the task names."""
    made = _to_make(desired, given, found)
    first: t.List[Op] = []
    work: t.Dict[str, t.List[Op]] = {}
    gone: t.Set[str] = set()
    shut: t.Set[str] = set()
    for name, target in desired.items():
        was = found.live.get(name, LiveTarget(tids[name], name, target.driver))
        off, on = _moves(tids[name], was, target, made)
        if off or on:
            first += off
            gone.update({*was.accounts, was.outgoing} - {""})
            work[name] = on
            if off or not was.accounts:
                shut.add(name)
    first += [Attempt(Request("account", "delete", f"user={user}")) for user in sorted((gone - _used(desired, found)) | set(made))]
    first += [Request("account", "new", f"user={user},password={made[user]}", secret=True) for user in sorted(made)]
    steps = {}
    for name, on in work.items():
        was, target = found.live.get(name, LiveTarget(tids[name], name)), desired[name]
        steps[name] = Step("set accounts of", f"target {name}", _words(was.accounts, was.outgoing, ()), _words(target.incoming, target.outgoing, made),
                           first + on)
        first = []
    return AccountPlan(steps, frozenset(made), frozenset(shut))


def drop_accounts(names: t.Container[str], found: Found) -> t.List[Op]:
    """What takes the accounts away that only these targets have, which go: left behind, tgt-admin would take them with the secret they have."""
    gone: t.Set[str] = set()
    used = {"", *found.system.discovery_accounts}
    for name, live in found.live.items():
        (gone if name in names else used).update((*live.accounts, live.outgoing))
    return [Attempt(Request("account", "delete", f"user={user}")) for user in sorted(gone - used)]


def _used(desired: t.Mapping[str, Target], found: Found) -> t.Set[str]:
    """The accounts that something uses in the end."""
    used = set(found.system.discovery_accounts)
    for target in desired.values():
        used.update((*target.incoming, target.outgoing))
    for name, live in found.live.items():
        if name not in desired:
            used.update((*live.accounts, live.outgoing))
    return used


def _to_make(desired: t.Mapping[str, Target], given: t.Container[str], found: Found) -> t.Dict[str, str]:
    """The accounts that have to be made, anew where they are there, and their secrets.

    Raises ``InputError`` where others would lose theirs, and ``HostError`` where a secret is nowhere to be had.
    """
    owners: t.Dict[str, t.List[str]] = {}
    for live in found.live.values():
        for user in {*live.accounts, live.outgoing} - {""}:
            owners.setdefault(user, []).append(live.name)
    made: t.Dict[str, str] = {}
    every: t.Dict[str, t.Tuple[str, str]] = {}
    for target in desired.values():
        lost = [user for user in (*target.incoming, target.outgoing) if user and user not in owners and user not in target.secrets]
        if lost:
            raise HostError(f"target {target.name}", f"had the account {lost[0]!r}, which tgtd has no more, and its secret is not known",
                            "Name its accounts (option accounts)")
        for user, secret in target.secrets.items():
            if every.setdefault(user, (secret, target.name))[0] != secret:
                raise HostError(f"target {target.name}", f"has another secret for the account {user!r} than target {every[user][1]}",
                                "tgtd has one secret for an account name; name the accounts of both (option accounts)")
            if user in owners and not _differs(user, secret, owners[user], given, found):
                continue
            others = [name for name in owners.get(user, ()) if name not in desired]
            if others or user in found.system.discovery_accounts:
                also = f"target {others[0]}" if others else "discovery"
                raise InputError(f"account {user!r}", f"is used by {also} too, with a secret that differs or cannot be seen",
                                 "tgtd has one secret for an account name; name all its targets in one task (targets), or use another name")
            made[user] = secret
    return made


def _differs(user: str, secret: str, owners: t.Sequence[str], given: t.Container[str], found: Found) -> bool:
    """Whether tgtd may have another secret for an account that is there."""
    if any(f"account {user}" in doubts for doubts in found.begun.doubts.values()):
        return True
    known = [found.known(name) for name in owners]
    secrets = {one.secrets.get(user) for one in known if one is not None}
    return (secrets if user in given else secrets - {None}) != {secret}


def _moves(tid: int, was: LiveTarget, target: Target, made: t.Container[str]) -> t.Tuple[t.List[Op], t.List[Op]]:
    """What takes accounts off a target, and what puts them on."""
    kept = 0
    for old, new in zip(was.accounts, target.incoming):
        if old != new or old in made:
            break
        kept += 1
    outgoing = was.outgoing != target.outgoing or target.outgoing in made
    off: t.List[Op] = [bind(tid, target.driver, user, op="unbind") for user in reversed(was.accounts[kept:])]
    if was.outgoing and outgoing:
        off.append(bind(tid, target.driver, was.outgoing, outgoing=True, op="unbind"))
    on: t.List[Op] = [bind(tid, target.driver, user) for user in target.incoming[kept:]]
    if target.outgoing and outgoing:
        on.append(bind(tid, target.driver, target.outgoing, outgoing=True))
    return off, on


def _words(incoming: t.Sequence[str], outgoing: str, made: t.Container[str]) -> t.Dict[str, str]:
    """Accounts for the diff; a new secret shows as one."""
    def shown(user: str) -> str:
        return f"{REDACTED} (new)" if user in made else REDACTED
    return {**{user: shown(user) for user in incoming}, **({f"{outgoing} (outgoing)": shown(outgoing)} if outgoing else {})}
