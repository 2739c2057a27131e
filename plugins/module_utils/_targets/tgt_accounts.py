# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the accounts of targets change while sessions go on and nobody gets in without a secret.

Four facts about tgtd make the order (target.c of 1.0.85 to 1.0.97): a secret cannot be changed, only an account be removed and made anew;
an account is one for all targets; without any account a target asks for none; and the list of a target must have no hole, or the next
look at it ends tgtd. So logins are refused meanwhile, accounts are taken off a list from its end, and put back in order.
"""

from __future__ import annotations

import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import REDACTED, Step
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_control import Request
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_live import LiveTarget
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_model import Target
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_steps import Attempt, Found, Op, bind, set_state


def account_steps(desired: t.Mapping[str, Target], tids: t.Mapping[str, int], given: t.Mapping[str, str], found: Found) -> t.List[Step]:
    """The steps for all targets of a task; ``given`` are the secrets that the task says. The first step carries what all of them need."""
    rotated = _to_make(desired, given, found)
    closing: t.List[Op] = []
    steps: t.List[Step] = []
    used = set(found.system.discovery_accounts)
    for name, live in found.live.items():
        target = desired.get(name)
        used.update((*target.incoming, target.outgoing) if target else (*live.accounts, live.outgoing))
    gone: t.Set[str] = set()
    for name, target in desired.items():
        was = found.live.get(name, LiveTarget(tids[name], name, target.driver))
        off, on = _moves(tids[name], was, target, rotated)
        if off or on:
            closing += off
            gone.update({*was.accounts, was.outgoing} - {""})
            steps.append(Step("set accounts of", f"target {name}", _words(was.accounts, was.outgoing, ()),
                              _words(target.incoming, target.outgoing, rotated), on))
    if steps:
        for user in sorted((gone - used) | rotated):
            closing.append(Attempt(Request("account", "delete", f"user={user}")))
        for user in sorted(rotated):
            closing.append(Request("account", "new", f"user={user},password={given[user]}", secret=True))
        first = steps[0]
        steps[0] = Step(first.action, first.subject, first.before, first.after, closing + first.work)
    return steps


def _to_make(desired: t.Mapping[str, Target], given: t.Mapping[str, str], found: Found) -> t.Set[str]:
    """The accounts that have to be made, anew where they are there. Raises ``InputError`` where others would lose theirs."""
    owners: t.Dict[str, t.List[str]] = {}
    for live in found.live.values():
        for user in {*live.accounts, live.outgoing} - {""}:
            owners.setdefault(user, []).append(live.name)
    needed = {user for target in desired.values() for user in (*target.incoming, target.outgoing) if user}
    rotated = set()
    for user in sorted(needed & set(given)):
        known = {found.saved.ours[name].secrets.get(user) for name in owners.get(user, ()) if name in found.saved.ours}
        if user in owners and known == {given[user]}:
            continue
        others = [name for name in owners.get(user, ()) if name not in desired or user not in (*desired[name].incoming, desired[name].outgoing)]
        others = [name for name in others if name not in desired]
        if others or user in found.system.discovery_accounts:
            also = f"target {others[0]}" if others else "discovery"
            raise InputError(f"account {user!r}", f"is used by {also} too, with a secret that differs or cannot be seen",
                             "tgtd has one secret for an account name; name all its targets in one task (targets), or use another name")
        rotated.add(user)
    return rotated


def _moves(tid: int, was: LiveTarget, target: Target, rotated: t.Container[str]) -> t.Tuple[t.List[Op], t.List[Op]]:
    """What takes accounts off a target, and what puts them on."""
    kept = 0
    for old, new in zip(was.accounts, target.incoming):
        if old != new or old in rotated:
            break
        kept += 1
    outgoing = was.outgoing != target.outgoing or target.outgoing in rotated
    off: t.List[Op] = [bind(tid, target.driver, user, op="unbind") for user in reversed(was.accounts[kept:])]
    if was.outgoing and outgoing:
        off.append(bind(tid, target.driver, was.outgoing, outgoing=True, op="unbind"))
    on: t.List[Op] = [bind(tid, target.driver, user) for user in target.incoming[kept:]]
    if target.outgoing and outgoing:
        on.append(bind(tid, target.driver, target.outgoing, outgoing=True))
    if off:
        off.insert(0, set_state(tid, target.driver, ready=False))
        on += [set_state(tid, target.driver, ready=True)] if target.enabled else []
    return off, on


def _words(incoming: t.Sequence[str], outgoing: str, rotated: t.Container[str]) -> t.Dict[str, str]:
    """Accounts for the diff; a new secret shows as one."""
    def shown(user: str) -> str:
        return f"{REDACTED} (new)" if user in rotated else REDACTED
    return {**{user: shown(user) for user in incoming}, **({f"{outgoing} (outgoing)": shown(outgoing)} if outgoing else {})}
