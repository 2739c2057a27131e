# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what tgtd serves to what a task wants: the steps, in an order in which nobody gets in early and no session drops.

Who may not log in any more goes first, then come LUNs and accounts, and who may log in from now on comes last; where accounts change in a way
that would let somebody in for a moment, nobody may meanwhile. Before all that, what is to become of a target is written down beside what tgtd
was told: a task that breaks off is completed by the next one, which believes nothing of what was in doubt (tgt_saved, ``doubted``).
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import Plan, Step
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InUseError, IscsiError
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_accounts import AccountPlan, drop_accounts, plan_accounts
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
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_model import IDENTITY, Target, Unit, is_unfinished
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_portals import portal_steps
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_saved import check_savable, doubted, path_of, render
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
    problems: t.List[t.Mapping[str, str]] = []
    last = [name for name in wanted.targets if name in found.live][-1:]
    for name in wanted.targets:
        was = current(name, found)
        live = found.live.get(name)
        if live is not None and was is not None:
            if live.sessions and not wanted.force:
                raise InUseError(f"target {name}", [str(one) for one in live.sessions], _FORCE)
            if not wanted.force:
                may_remove(live, live.luns, found)
            closing = [*_end_sessions(live), Request("target", "delete", "", live.tid, lld=live.driver)]
            closing += drop_accounts(wanted.targets, found) if name in last else []
            steps.append(Step("remove", f"target {name}", _shown(was), None, closing))
        for files, kind in ((found.saved, "remove"), (found.notes, "forget"), (found.begun, "forget")):
            path = path_of(files.folder, name)
            if name in files.texts and (wanted.save or files is not found.saved):
                step = Step("remove", path, f"target {name}", None, [FileOp(kind, path)])
                # tgtd may die of taking a glfs LUN away, and would have it again from the file when it is started anew
                steps.insert(len(steps) - 1 if _dies(live) and files is found.saved else len(steps), step)
            elif name in files.texts:
                problems.append({"object": path, "what": f"brings target {name} back at boot", "remedy": "Say save: true, and it goes too"})
    return Plan(steps, problems, {"targets": []})


def _dies(live: t.Optional[LiveTarget]) -> bool:
    return live is not None and any(lun.bs_type == "glfs" for lun in live.luns.values())


def _end_sessions(live: LiveTarget) -> t.List[Op]:
    """Let nobody in any more, and log out who is there."""
    ends: t.List[Op] = [Request("connection", "delete", "", live.tid, sid=one.sid, cid=cid, lld=live.driver) for one in live.sessions for cid in one.cids]
    return [set_state(live.tid, live.driver, ready=False), *ends]


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
        #: LUNs that are known and cannot be brought back now; they stay saved
        self.lost: t.Dict[str, t.Dict[int, Unit]] = {name: self._lose(name) for name in self.desired}
        #: what of a target is in doubt while this task works on it
        self.doubts: t.Dict[str, t.Set[str]] = {name: set(found.doubts(name)) for name in self.desired}

    def _lose(self, name: str) -> t.Dict[int, Unit]:
        """Take those LUNs out of what shall be that did not come back, and cannot, and are none of the task's affair."""
        was, target, lost = self.was[name], self.desired[name], {}
        for number, unit in target.units.items() if was else ():
            if was and number not in was.units and number not in self.wanted.targets[name].units:
                try:
                    check_backing(f"LUN {number} of target {name}", unit, Backing(), self.found)
                except IscsiError as error:
                    lost[number] = unit
                    self._problem(f"LUN {number} of target {name}", f"is saved and not there: {error.subject} {error.what}", error.remedy)
        self.desired[name] = replace(target, units={number: unit for number, unit in target.units.items() if number not in lost})
        return lost

    def plan(self) -> Plan:
        self._check()
        before = portal_steps(self.wanted.portals, self.found.portals, self.found.service)
        made: t.Dict[str, File] = {}
        for one in self.wanted.targets.values():
            before += backing_steps(one, self.found, made)
        accounts = plan_accounts(self.desired, self.tids, self.given, self.found)
        first = {name: self._narrow(target, name in accounts.shut) for name, target in self.desired.items()}
        second = {name: self._make(target) if self.was[name] is None else self._change(target) for name, target in self.desired.items()}
        last = {name: self._open(target, name in accounts.shut) for name, target in self.desired.items()}
        saves = self._saves()
        steps = [*_flat(first), *_flat(second), *accounts.steps.values(), *_flat(last)]
        begun = {name for name in self.desired if first[name] or second[name] or name in accounts.steps or last[name]}
        if steps:
            steps[0] = replace(steps[0], work=[*self._begin(begun, accounts), *steps[0].work])
        steps = before + self._end(begun, saves, [*steps, *saves.values()])
        for target in self.desired.values():
            self._notice(target)
        return Plan(steps, self.problems, {"targets": [self._facts(target) for target in self.desired.values()]})

    def _begin(self, names: t.Container[str], accounts: AccountPlan) -> t.List[Op]:
        """Write down what is to become of these targets."""
        ops: t.List[Op] = []
        for name, target in self.desired.items():
            self.doubts[name].update(f"account {user}" for user in (*target.incoming, target.outgoing) if user in accounts.made)
            if name in names:
                ops.append(FileOp("begin", path_of(self.found.begun.folder, name), text=doubted(self._text(target), self.doubts[name])))
        return ops

    def _end(self, begun: t.Container[str], saves: t.Container[str], steps: t.List[Step]) -> t.List[Step]:
        """What is done is not begun any more, and what is saved needs no note."""
        ops: t.List[Op] = []
        for name in self.desired:
            if not steps and name in self.found.begun.texts:
                steps.append(Step("complete", f"target {name}", "changed by a task that broke off", "whole", []))
            if self.wanted.save and name in self.found.notes.texts and (name in begun or name in saves):
                ops.append(FileOp("forget", path_of(self.found.notes.folder, name)))
            if name in begun or name in self.found.begun.texts:
                ops.append(FileOp("forget", path_of(self.found.begun.folder, name)))
        return [*steps[:-1], replace(steps[-1], work=[*steps[-1].work, *ops])] if ops else steps

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
        self.doubts[target.name].add(f"LUN {unit.number}")
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
            if was.parameters.get(name) != value:
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
        # nobody was told that it is ready, and what it seems to be now is nobody's choice
        finishing = f"LUN {unit.number}" in self.doubts[target.name] and is_unfinished(tid, live.luns[unit.number], self._known(target.name, unit.number))
        self.doubts[target.name].add(f"LUN {unit.number}")
        if must_be_made_anew(names) or grown:
            self._may_lose(live, unit.number, f"cannot have another {', '.join(names)} while it is used" if names else "cannot grow while it is used",
                           goes=True)
            return [Step("make anew", subject, was.said(), unit.said(),
                         [remove_lun(tid, target.driver, unit.number), *new_lun(tid, target.driver, unit)])]
        if set(names) & set(IDENTITY) and not finishing:
            self._may_lose(live, unit.number, f"cannot become another disk ({', '.join(names)}) while it is used")
        if "readonly" in names and unit.readonly and not finishing:
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

    def _known(self, name: str, number: int) -> t.Optional[Unit]:
        known = self.found.known(name)
        return known.units.get(number) if known else None

    def _may_lose(self, live: LiveTarget, number: int, what: str, *, goes: bool = False) -> None:
        if self.wanted.force:
            return
        if live.sessions:
            raise InUseError(f"LUN {number} of target {live.name} {what}: it is", [str(one) for one in live.sessions], _FORCE)
        if goes:
            may_remove(live, [number], self.found)

    def _kept(self, target: Target, shut: bool) -> t.Tuple[t.Sequence[str], t.Sequence[str]]:
        """Who may log in now, and who of them all the while."""
        was = self.was[target.name] or Target(target.name)
        before = (*was.addresses, *was.initiators)
        return before, () if shut else [one for one in before if one in (*target.addresses, *target.initiators)]

    def _narrow(self, target: Target, shut: bool) -> t.List[Step]:
        """Who may not log in any more, or not before the end."""
        live = self.found.live.get(target.name)
        if live is None:
            return []
        steps = []
        if live.ready and not target.enabled:
            if live.sessions and not self.wanted.force:
                raise InUseError(f"target {target.name} cannot be disabled, since tgtd then answers no session any more: it is",
                                 [str(one) for one in live.sessions], _FORCE)
            steps.append(Step("disable", f"target {target.name}", "enabled: True", "enabled: False", _end_sessions(live)))
        before, kept = self._kept(target, shut)
        ops = [op for one in before if one not in kept for op in disallow(live.tid, live.driver, one)]
        return [*steps, Step("narrow who may log in to", f"target {target.name}", _lines(before), _lines(kept), ops)] if ops else steps

    def _open(self, target: Target, shut: bool) -> t.List[Step]:
        """Who may log in from now on."""
        tid, was = self.tids[target.name], self.was[target.name]
        kept, after = self._kept(target, shut)[1], (*target.addresses, *target.initiators)
        ops: t.List[Op] = [allow(tid, target.driver, one) for one in after if one not in kept]
        steps = [Step("set who may log in to", f"target {target.name}", _lines(kept), _lines(after), ops)] if ops else []
        if was is None and not target.enabled:
            return [Step("disable", f"target {target.name}", "enabled: True", "enabled: False", [set_state(tid, target.driver, ready=False)]), *steps]
        if was is not None and target.enabled and not was.enabled:
            steps.append(Step("enable", f"target {target.name}", "enabled: False", "enabled: True", [set_state(tid, target.driver, ready=True)]))
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
            # of what is not saved, the notes tell, and where there are none, what is saved
            files, text = self.found.saved if self.wanted.save else self.found.notes, self._text(target)
            path, old = path_of(files.folder, target.name), files.texts.get(target.name)
            if old != text and (self.wanted.save or old is not None or self.found.saved.texts.get(target.name) != text):
                steps[target.name] = Step("save" if self.wanted.save else "note", f"target {target.name} in {path}",
                                          None if old is None else "saved otherwise", "saved as above", [FileOp("save", path, text=text)])
        return steps

    def _text(self, target: Target) -> str:
        """The target with those settings of its LUNs that were ever said, by a task or by hand; the rest is tgtd's own choice."""
        was, wanted = self.was[target.name], self.wanted.targets[target.name]
        units = dict(self.lost[target.name])
        for number, unit in target.units.items():
            names = {"path", "kind", "bs_type", *IDENTITY, *(wanted.units[number].said() if number in wanted.units else ())}
            known = self._known(target.name, number)
            if known is not None:
                names.update(known.said())
            elif was is not None and number in was.units:
                names.update(name for name, value in unit.said().items() if value and (name, value) != ("block_size", 512))
            units[number] = Unit(number, **{name: value for name, value in unit.said().items() if name in names})
        return render(replace(target, units=units))

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


def _flat(steps: t.Mapping[str, t.Sequence[Step]]) -> t.List[Step]:
    return [step for some in steps.values() for step in some]


def _shown(target: Target) -> t.Dict[str, t.Any]:
    pings = {name: value for name, value in (("nop_interval", target.nop_interval), ("nop_count", target.nop_count)) if value}
    return {"driver": target.driver, "enabled": target.enabled, **pings, **target.parameters}


def _lines(values: t.Sequence[str]) -> str:
    return "".join(f"{value}\n" for value in values)
