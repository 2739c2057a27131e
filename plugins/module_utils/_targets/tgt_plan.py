# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what tgtd serves to what a task wants: the steps, in an order in which nobody gets in early and no session drops."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import Plan, Step
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InUseError
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_accounts import account_steps, drop_accounts
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_backing import backing_steps, check_backing, check_images, may_remove
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_control import Request
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_desired import (
    changed_settings,
    current,
    desire,
    given_secrets,
    must_be_made_anew,
)
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_live import LiveTarget, naa_of
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_model import IDENTITY, Target, Unit
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_portals import portal_steps
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_saved import check_savable, path_of, render
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_steps import (
    File,
    FileOp,
    Found,
    Op,
    allow,
    disallow,
    megabytes,
    new_lun,
    new_target,
    nop_settings,
    printed_size,
    remove_lun,
    set_lun,
    set_state,
    set_target,
)
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_wanted import Backing, Wanted

_FORCE = "End its sessions first, or say force: true, and they lose it"


def make_plan(wanted: Wanted, found: Found) -> Plan:
    """The steps, what is wrong around them, and the LUNs as initiators will see them."""
    return _Planner(wanted, found).plan() if wanted.present else _plan_absent(wanted, found)


def _plan_absent(wanted: Wanted, found: Found) -> Plan:
    steps: t.List[Step] = []
    last = [name for name in wanted.targets if name in found.live][-1:]
    for name in wanted.targets:
        was = current(name, found)
        live = found.live.get(name)
        if live is not None and was is not None:
            if live.sessions and not wanted.force:
                raise InUseError(f"target {name}", [str(one) for one in live.sessions], _FORCE)
            if not wanted.force:
                may_remove(live, live.luns, found)
            closing: t.List[Op] = [set_state(live.tid, live.driver, ready=False)]
            closing += [Request("connection", "delete", "", live.tid, sid=one.sid, cid=cid, lld=live.driver) for one in live.sessions for cid in one.cids]
            closing.append(Request("target", "delete", "", live.tid, lld=live.driver))
            closing += drop_accounts(wanted.targets, found) if name in last else []
            steps.append(Step("remove", f"target {name}", _shown(was), None, closing))
        if name in found.saved.texts:
            path = path_of(found.saved.folder, name)
            steps.append(Step("remove", path, f"target {name}", None, [FileOp("remove", path)]))
    return Plan(steps, (), {"targets": []})


class _Planner:
    """The plan of one task that wants targets to be there."""

    def __init__(self, wanted: Wanted, found: Found) -> None:
        self.wanted, self.found = wanted, found
        self.was = {name: current(name, found) for name in wanted.targets}
        self.given = given_secrets(wanted)
        self.desired = {name: desire(one, wanted, self.given, found) for name, one in wanted.targets.items()}
        free = found.free_tids()
        self.tids = {name: found.live[name].tid if name in found.live else next(free) for name in wanted.targets}
        self.problems: t.List[t.Mapping[str, str]] = []

    def plan(self) -> Plan:
        self._check()
        steps = portal_steps(self.wanted.portals, self.found.portals, self.found.service)
        made: t.Dict[str, File] = {}
        for one in self.wanted.targets.values():
            steps += backing_steps(one, self.found, made)
        for target in self.desired.values():
            steps += self._make(target) if self.was[target.name] is None else self._change(target)
        saves = self._saves()
        steps += account_steps(self.desired, self.tids, self.given, self.found, saves)
        for target in self.desired.values():
            steps += self._open(target)
        steps += saves.values()
        for target in self.desired.values():
            self._notice(target)
        return Plan(steps, self.problems, {"targets": [self._facts(target) for target in self.desired.values()]})

    def _check(self) -> None:
        """Refuse what tgtd would refuse half-way."""
        self.problems += check_images(self.desired, self.was, self.found)
        for target in self.desired.values():
            if self.was[target.name] is None and target.driver not in self.found.system.drivers:
                raise HostError(f"target {target.name}", f"is for the driver {target.driver}, which is not ready in this tgtd",
                                f"Ready are: {', '.join(sorted(self.found.system.drivers)) or 'none'}")
            self._check_units(target)

    def _check_units(self, target: Target) -> None:
        was = self.was[target.name]
        backings = self.wanted.targets[target.name].backings
        for number, new in target.units.items():
            old = was.units.get(number) if was else None
            if old is None or must_be_made_anew(changed_settings(old, new)):
                check_backing(f"LUN {number} of target {target.name}", new, backings.get(number, Backing()), self.found)

    def _make(self, target: Target) -> t.List[Step]:
        tid = self.tids[target.name]
        ops = new_target(tid, target) + [set_target(tid, target.driver, name, value) for name, value in sorted(target.parameters.items())]
        steps = [Step("create", f"target {target.name}", None, _shown(target), ops)]
        return steps + [self._new_lun(target, unit) for _number, unit in sorted(target.units.items())]

    def _new_lun(self, target: Target, unit: Unit) -> Step:
        return Step("create", f"LUN {unit.number} of target {target.name}", None, unit.said(), new_lun(self.tids[target.name], target.driver, unit))

    def _change(self, target: Target) -> t.List[Step]:
        tid, live, was = self.tids[target.name], self.found.live[target.name], self.was[target.name]
        steps: t.List[Step] = []
        if was is None:
            return steps
        if (was.nop_interval, was.nop_count) != (target.nop_interval, target.nop_count):
            steps.append(Step("set pings of", f"target {target.name}", {"nop_interval": was.nop_interval, "nop_count": was.nop_count},
                              {"nop_interval": target.nop_interval, "nop_count": target.nop_count}, nop_settings(tid, target)))
        for name, value in sorted(target.parameters.items()):
            if was.parameters.get(name) != value and name in self.wanted.targets[target.name].parameters:
                steps.append(Step("set", f"{name} of target {target.name}", was.parameters.get(name, ""), value,
                                  [set_target(tid, target.driver, name, value)]))
        for number in sorted(set(was.units) - set(target.units)):
            self._may_lose(live, number, "cannot be removed", goes=True)
            steps.append(Step("remove", f"LUN {number} of target {target.name}", was.units[number].said(), None,
                              [remove_lun(tid, target.driver, number)]))
        for number, unit in sorted(target.units.items()):
            steps += [self._new_lun(target, unit)] if number not in was.units else self._change_lun(target, was.units[number], unit, live)
        return steps

    def _change_lun(self, target: Target, was: Unit, unit: Unit, live: LiveTarget) -> t.List[Step]:
        tid, subject = self.tids[target.name], f"LUN {unit.number} of target {target.name}"
        names = changed_settings(was, unit)
        grown = self._has_grown(target, unit, live)
        if not names and not grown:
            return []
        if must_be_made_anew(names) or grown:
            self._may_lose(live, unit.number, f"cannot have another {', '.join(names)} while it is used" if names else "cannot grow while it is used",
                           goes=True)
            return [Step("make anew", subject, was.said(), unit.said(),
                         [remove_lun(tid, target.driver, unit.number), *new_lun(tid, target.driver, unit)])]
        if set(names) & set(IDENTITY):
            self._may_lose(live, unit.number, f"cannot become another disk ({', '.join(names)}) while it is used")
        if "readonly" in names and unit.readonly:
            self._may_lose(live, unit.number, "cannot become readonly while it is used")
        return [Step("set", f"{', '.join(names)} of {subject}", was.said(), unit.said(), set_lun(tid, target.driver, unit, names))]

    def _has_grown(self, target: Target, unit: Unit, live: LiveTarget) -> bool:
        """Whether the LUN has to be made anew for its size; what is larger than asked for waits until nobody uses it."""
        backing, file, shown = self.wanted.targets[target.name].backings.get(unit.number), self.found.files.get(unit.path), live.luns[unit.number].size
        if not backing or not backing.size or not file or file.kind != "file":
            return False
        if file.size < backing.size or printed_size(file.size) == shown:
            return file.size < backing.size
        waits = bool(live.sessions) and not self.wanted.force and megabytes(shown) >= megabytes(printed_size(backing.size))
        if waits:
            self._problem(f"LUN {unit.number} of target {target.name}", f"is shown with {shown}, and its file has {file.size} bytes by now",
                          "Run the task when nobody is logged in, or with force: true, and initiators see the new size")
        return not waits

    def _may_lose(self, live: LiveTarget, number: int, what: str, *, goes: bool = False) -> None:
        if self.wanted.force:
            return
        if live.sessions:
            raise InUseError(f"LUN {number} of target {live.name} {what}: it is", [str(one) for one in live.sessions], _FORCE)
        if goes:
            may_remove(live, [number], self.found)

    def _open(self, target: Target) -> t.List[Step]:
        """Who may log in: what is no longer allowed goes first."""
        tid, was = self.tids[target.name], self.was[target.name] or Target(target.name)
        before, after = (*was.addresses, *was.initiators), (*target.addresses, *target.initiators)
        ops: t.List[Op] = [op for one in before if one not in after for op in disallow(tid, target.driver, one)]
        ops += [allow(tid, target.driver, one) for one in after if one not in before]
        steps = [Step("set who may log in to", f"target {target.name}", _lines(before), _lines(after), ops)] if ops else []
        if was.enabled != target.enabled:
            state = Step("enable" if target.enabled else "disable", f"target {target.name}", f"enabled: {was.enabled}", f"enabled: {target.enabled}",
                         [set_state(tid, target.driver, target.enabled)])
            steps = [*steps, state] if target.enabled else [state, *steps]
        return steps

    def _saves(self) -> t.Dict[str, Step]:
        steps = {}
        for target in self.desired.values():
            unknown = [user for user in (*target.incoming, target.outgoing) if user and user not in target.secrets]
            if self.wanted.save:
                check_savable(target)
            if unknown and self.wanted.save:
                raise HostError(f"target {target.name}", f"has the account {unknown[0]!r}, whose secret tgtd does not tell, so it cannot be saved",
                                "Name its accounts (option accounts), or say save: false")
            path, text = path_of(self.found.saved.folder, target.name), render(self._for_file(target))
            if self.found.saved.texts.get(target.name) != text:
                there = target.name in self.found.saved.texts
                action = "save" if self.wanted.save else "note"
                steps[target.name] = Step(action, f"target {target.name} in {path}", "saved otherwise" if there else None, "saved as above",
                                          [FileOp("save", path, text=text)])
        return steps

    def _for_file(self, target: Target) -> Target:
        """The target with those settings of its LUNs that were ever said, by a task or by hand; the rest is tgtd's own choice."""
        saved, was, wanted = self.found.saved.ours.get(target.name), self.was[target.name], self.wanted.targets[target.name]
        units = {}
        for number, unit in target.units.items():
            names = {"path", "kind", "bs_type", *IDENTITY, *(wanted.units[number].said() if number in wanted.units else ())}
            if saved is not None and number in saved.units:
                names.update(saved.units[number].said())
            elif was is not None and number in was.units:
                names.update(name for name, value in unit.said().items() if value and (name, value) != ("block_size", 512))
            units[number] = Unit(number, **{name: value for name, value in unit.said().items() if name in names})
        return replace(target, units=units)

    def _notice(self, target: Target) -> None:
        live = self.found.live.get(target.name)
        for session in live.sessions if live else ():
            if not _allowed(session.initiator, session.addresses, target):
                self._problem(str(session), "is of an initiator that may not log in any more, and goes on until it ends", "End it there, or allow it")
        if not (self.wanted.save and self.wanted.boots):
            return
        if target.nop_interval:
            self._problem(f"target {target.name}", "has pings (nop_interval), which tgt-admin cannot set at boot",
                          "Run the task after a boot, or start tgtd with --iscsi nop_interval=,nop_count= for all targets")
        if not self.found.saved.included:
            self._problem(self.found.saved.folder, "is not included by /etc/tgt/targets.conf, so nothing in it returns at boot",
                          f"Write into it: include {self.found.saved.folder}/*.conf")

    def _problem(self, subject: str, what: str, remedy: str) -> None:
        problem = {"object": subject, "what": what, "remedy": remedy}
        if problem not in self.problems:
            self.problems.append(problem)

    def _facts(self, target: Target) -> t.Dict[str, t.Any]:
        live = self.found.live.get(target.name)
        return {
            "name": target.name,
            "tid": self.tids[target.name],
            "luns": [
                {"lun": number, "backing_store": unit.path, "wwid": None if unit.kind == "pt" else "3" + naa_of(unit.scsi_id or ""),
                 "scsi_id": unit.scsi_id, "serial": unit.scsi_sn}
                for number, unit in sorted(target.units.items())
            ],
            "sessions": [{"sid": one.sid, "initiator": one.initiator, "addresses": list(one.addresses)} for one in (live.sessions if live else ())],
        }


def _allowed(initiator: str, addresses: t.Sequence[str], target: Target) -> bool:
    """As tgtd decides (iscsi/target.c): one match of either kind is enough."""
    import ipaddress  # seldom needed: only sessions are looked at

    if initiator in target.initiators or "ALL" in target.addresses:
        return True
    try:
        networks = [ipaddress.ip_network(one.replace("[", "").replace("]", ""), strict=False) for one in target.addresses]
        return any(ipaddress.ip_address(one) in network for one in addresses for network in networks)
    except ValueError:  # an address of a transport that is not IP, or what was set by hand and is none
        return True


def _shown(target: Target) -> t.Dict[str, t.Any]:
    pings = {name: value for name, value in (("nop_interval", target.nop_interval), ("nop_count", target.nop_count)) if value}
    return {"driver": target.driver, "enabled": target.enabled, **pings, **target.parameters}


def _lines(values: t.Sequence[str]) -> str:
    return "".join(f"{value}\n" for value in values)
