# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random tasks after one another on an imitated tgtd, with logins, restarts, changes by hand and kills between and in the middle of them.

After every request, not only at the end: a look at tgtd does not end it, a target that has accounts lets nobody in without one, nobody sees a
LUN who neither saw it before nor does so in the end, a new target lets nobody in before it is whole, no session is left without answers, and
no session ends and no LUN of it goes that was not forced. And at the end what is known of tgtd is so, and no LUN was forgotten.
"""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
import time
import types
import typing as t

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import bring_about
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InputError, InUseError
from ansible_collections.lunar.iscsi.plugins.module_utils._targets import tgt_apply
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_control import ALL_TARGETS, Request
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_saved import parse
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_task import TgtTask

from .fake_tgtd import FakeTgtd, Served

Options = t.Dict[str, t.Any]
NAMES = ["iqn.2026-11.org.example:a", "iqn.2026-11.org.example:b", "iqn.2026-11.org.example:c"]
USERS = ["anna", "bert", "cleo"]
HOSTS = ["iqn.2026-11.org.example:host1", "iqn.2026-11.org.example:host2"]
LOOK = Request("target", "show", "", ALL_TARGETS)


class Killed(BaseException):
    """The module is killed here."""


class World:
    """A host with an imitated tgtd and a folder; what has to hold after every request is checked here."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.conf = os.path.join(folder, "conf.d")
        os.mkdir(self.conf)
        for name in ("targets.conf", "socket", "fstab"):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(f"include {self.conf}/*.conf\n" if name == "targets.conf" else "")
        self.tgtd = FakeTgtd(os.path.join(folder, "socket"))
        self.tgtd.boundary = self.check
        #: targets that have had accounts since a task last took them all away
        self.guarded: t.Set[str] = set()
        self.new: t.Set[str] = set()
        self.old: t.Dict[str, Served] = {}
        self.stages: t.List[t.Tuple[str, Served]] = []
        self.kill_after = -1
        self.force = False
        self.before: t.Dict[str, t.Tuple[t.Set[int], t.Set[int]]] = {}

    def check(self, request: Request) -> None:
        self.tgtd.ask(LOOK)
        for target in self.tgtd.targets.values():
            if target.name in self.guarded:
                assert target.accounts or not target.open, f"{target.name} lets in without a secret after {request}"
            self.stages.append((str(request), copy.deepcopy(target)))
        if not self.force:
            assert request.text != "state=offline" or not self.tgtd.targets[request.tid].sessions, f"no session gets an answer after {request}"
            for name, (sids, luns) in self.before.items():
                there = self.tgtd.named(name) or Served(name, "")
                assert not there.ending and sids <= set(there.sessions), f"a session of {name} ended with {request}"
                assert not sids or luns <= set(there.luns), f"a LUN of {name} went with {request}"
        if self.kill_after == 0:
            raise Killed
        self.kill_after -= 1

    def task(self, options: Options) -> TgtTask:
        params = {"save": True, "state": "present", "save_folder": self.conf, **options}
        return TgtTask(params, self.tgtd, main=os.path.join(self.folder, "targets.conf"), fstab=os.path.join(self.folder, "fstab"),
                       lock=os.path.join(self.folder, "lock"), notes=os.path.join(self.folder, "notes"))

    def run(self, options: Options, *, check: bool = False) -> Options:
        return bring_about(self.task(options), check, True)

    def turn(self, options: Options, kill_after: int = -1) -> bool:
        """One task, foretold by check mode; whether it was carried through. What refuses has moved nothing."""
        self.force = bool(options.get("force"))
        self.before = {one.name: (set(one.sessions), set(one.luns)) for one in self.tgtd.targets.values()}
        self.new = {one["name"] for one in options["targets"] if self.tgtd.named(one["name"]) is None}
        self.old = {one.name: copy.deepcopy(one) for one in self.tgtd.targets.values()}
        self.stages = []
        self.tgtd.moves.clear()
        text, files, units = self.tgtd.ask(LOOK), self.files(), self.units()
        bare = set()
        for one in options["targets"]:
            said = one.get("accounts")
            if options.get("state") == "absent" or said is not None and not said.get("incoming"):
                bare.add(one["name"])
            elif said is None and not self.has_accounts(one["name"]):
                bare.add(one["name"])
        self.guarded -= bare
        try:
            foretold = self.run(options, check=True)
            assert not self.tgtd.moves and (text, files) == (self.tgtd.ask(LOOK), self.files()), "check mode changed something"
            self.kill_after = kill_after
            result = self.run(options)
        except (InputError, InUseError, HostError) as error:
            assert not self.tgtd.moves, f"{error} came after {self.tgtd.moves}"
            assert (text, files) == (self.tgtd.ask(LOOK), self.files())
            return False
        except Killed:
            self.remember()
            # the next task completes it, if need be
            self.guarded -= bare
            return False
        finally:
            self.kill_after = -1
        assert (foretold["steps"], foretold["diff"]) == (result["steps"], result["diff"])
        self.whole()
        for one in options["targets"]:
            there = self.tgtd.named(one["name"])
            if options["state"] == "absent":
                assert there is None
            else:
                assert there is not None
                kept(one, there, self.tgtd)
                self.true(one["name"], there, options)
                if not options["purge"]:
                    lost = {number: path for number, path in units.get(one["name"], {}).items() if number not in there.luns and path not in there.paths}
                    assert not lost, f"{one['name']} has lost the LUNs {lost}"
        self.remember()
        again = self.run(options)
        assert not again["changed"], again["steps"]
        assert again["targets"] == result["targets"]
        return True

    def has_accounts(self, name: str) -> bool:
        """In what a task has begun to make of it, else in tgtd or in what is saved of it."""
        there = self.tgtd.named(name)
        for path, text in self.files().items():
            if path.endswith(f".begun/{name}.conf"):
                return "incominguser" in text
        return bool(there and there.accounts) or any("incominguser" in text for path, text in self.files().items() if path.endswith(f"/{name}.conf"))

    def remember(self) -> None:
        self.guarded.update(one.name for one in self.tgtd.targets.values() if one.accounts)

    def whole(self) -> None:
        """No new target could be seen by anybody before it was what it is now."""
        for request, stage in self.stages:
            now, was = self.tgtd.named(stage.name), self.old.get(stage.name)
            sights = {sight for one in (was, now) if one is not None for sight in one.sights()}
            assert stage.sights() <= sights | {(*sight[:-1], True) for sight in sights}, f"{stage.name} shows too much after {request}"
            if now is not None and stage.open and stage.name in self.new:
                assert (set(stage.luns), stage.slots, stage.params, stage.outgoing) == (set(now.luns), now.slots, now.params, now.outgoing), request

    def units(self) -> t.Dict[str, t.Dict[int, str]]:
        """The LUNs that are known, of all targets."""
        found = self.task({"targets": [{"name": name} for name in NAMES]}).read()
        known = {name: found.known(name) for name in NAMES}
        return {name: {number: unit.path for number, unit in one.units.items()} for name, one in known.items() if one is not None}

    def true(self, name: str, there: Served, options: Options) -> None:
        """What is known of a target is so, as is what is saved, if the task saved."""
        found = self.task(options).read()
        assert name not in found.begun.texts
        for one in [found.known(name), *([found.saved.ours[name]] if options["save"] else [])]:
            assert one is not None and set(one.units) == set(there.luns) and one.parameters.items() <= there.params.items()
            assert (set(one.addresses), set(one.initiators), one.enabled) == (set(there.addresses), set(there.initiators), there.ready)
            assert {user: one.secrets.get(user) for user in one.incoming} == self.tgtd.secrets(there)
            for number, unit in one.units.items():
                lun = there.luns[number]
                assert (unit.path, unit.scsi_id, unit.vendor) == (lun.params["path"], lun.scsi_id, lun.config.get("vendor_id"))
                assert unit.write_cache in (lun.write_cache, None) and (lun.write_cache or unit.write_cache is False)

    def boot(self, missing: int) -> None:
        """The host starts anew, at first without some of the images, and tgt-admin brings back what is saved."""
        self.tgtd.restart()
        paths = [path for path in {self.path(name, missing) for name in NAMES} if os.path.exists(path)]
        for path in paths:
            os.rename(path, path + ".away")
        self.force = True
        for name in sorted(os.listdir(self.conf)):
            with open(os.path.join(self.conf, name), encoding="utf-8") as file:
                self.tgtd.bring_back(parse(file.read(), name))
        for path in paths:
            os.rename(path + ".away", path)

    def files(self) -> t.Dict[str, str]:
        found = {}
        for folder in ("conf.d", "notes"):
            for top, _folders, names in os.walk(os.path.join(self.folder, folder)):
                for name in names:
                    with open(os.path.join(top, name), encoding="utf-8") as file:
                        found[os.path.join(top, name)] = file.read()
        paths = [self.path(name, number) for name in NAMES for number in range(9)]
        return {**found, **{path: str(os.path.getsize(path)) for path in paths if os.path.exists(path)}}

    def path(self, name: str, number: int) -> str:
        """Images of a target; the fifth is that of all, which needs one SCSI id."""
        return os.path.join(self.folder, f"disk{number}{name[-1] if number < 5 else ''}")


def kept(one: Options, there: Served, tgtd: FakeTgtd) -> None:
    """What the task said is so."""
    if one.get("accounts") is not None:
        assert tgtd.secrets(there) == {user["username"]: user["password"] for user in one["accounts"]["incoming"]}
        outgoing = one["accounts"].get("outgoing")
        assert tgtd.accounts.get(there.outgoing) == (outgoing and (outgoing["username"], outgoing["password"]))
    if one["allow"] is not None:
        assert set(there.addresses) == set(one["allow"].get("addresses", ())) and set(there.initiators) == set(one["allow"].get("initiators", ()))
    assert there.ready is (one["enabled"] is not False)
    assert {name: there.params[name] for name in one["parameters"] or ()} == {name: str(value) for name, value in (one["parameters"] or {}).items()}
    assert one["nop_interval"] in (None, there.nop["nop_interval"])
    assert not one["nop_interval"] or one["nop_count"] in (None, there.nop["nop_count"])
    for said in one.get("luns") or ():
        lun = there.luns[said["lun"]]
        assert lun.params["path"] == said["backing_store"] and lun.size == os.path.getsize(lun.params["path"])
        assert said["block_size"] in (None, int(lun.params.get("blocksize", 512))) and said["type"] in (None, lun.kind)
        assert said["vendor"] in (None, lun.config.get("vendor_id")) and said["scsi_id"] in (None, lun.scsi_id)
        assert said["readonly"] in (None, lun.config.get("readonly") == "1")
        assert said["write_cache"] in (None, lun.write_cache)
        assert said["flags"] in (None, lun.params.get("bsoflags", "").split(":"))


def some(values: t.Sequence[t.Any], least: int = 0) -> st.SearchStrategy[t.List[t.Any]]:
    return st.lists(st.sampled_from(values), min_size=least, unique=True)


maybe = st.none() | st.booleans()
secrets = {user: st.sampled_from([f"{user}-secret-one", f"{user}-secret-two"]) for user in USERS}
#: drawn once a task: an account has one secret
passwords = st.fixed_dictionaries(secrets)
luns = st.fixed_dictionaries({
    "lun": st.integers(1, 3), "disk": st.integers(1, 5), "readonly": maybe, "write_cache": maybe, "block_size": st.sampled_from([None, None, None, 4096]),
    "vendor": st.sampled_from([None, None, "LUNAR"]), "size": st.sampled_from(["1MiB", "1MiB", "3MiB"]), "flags": st.sampled_from([None, None, ["sync"]]),
    "scsi_id": st.sampled_from([None, None, None, "6abc"]), "type": st.sampled_from([None, None, "disk", "cd"])})
EVERYBODY = {"addresses": ["ALL"]}
allow = st.fixed_dictionaries({"addresses": some(["192.0.2.0/24", "192.0.2.9", "fd00::/64"]), "initiators": some(HOSTS)})
targets = st.fixed_dictionaries({
    "name": st.sampled_from([*NAMES, *NAMES[:2]]),
    "luns": st.none() | st.lists(luns, max_size=3, unique_by=(lambda one: str(one["lun"]), lambda one: str(one["disk"]))),
    "users": st.none() | some(USERS) | some(USERS, 1), "outgoing": st.sampled_from([None, None, *USERS]), "allow": st.none() | st.just(EVERYBODY) | allow,
    "parameters": st.none() | st.dictionaries(st.sampled_from(["MaxBurstLength", "MaxConnections"]), st.sampled_from([512, 1024])),
    "enabled": st.sampled_from([None, None, True, False]),
    "nop_interval": st.sampled_from([None, None, None, 5, 5, 0]), "nop_count": st.sampled_from([None, 3])})
tasks = st.fixed_dictionaries({
    "targets": st.lists(targets, min_size=1, max_size=3, unique_by=lambda one: str(one["name"])), "passwords": passwords,
    "purge": st.booleans(), "force": st.booleans(), "save": st.booleans(), "state": st.sampled_from(["present"] * 7 + ["absent"])})
turns = st.lists(st.tuples(
    tasks, st.sampled_from(["", "log in", "log in", "restart", "boot", "drift", "busy"]), st.sampled_from([-1] * 6 + [*range(12)]), st.integers(0, 9)),
    min_size=1, max_size=6)


def options_of(task: Options, world: World) -> Options:
    """What was drawn as options of the module."""
    told = []
    for drawn in task["targets"]:
        one = {key: value for key, value in drawn.items() if key not in ("users", "outgoing", "luns")}
        if one["nop_interval"] is None:
            one["nop_count"] = None
        if drawn["luns"] is not None:
            one["luns"] = [dict({key: value for key, value in lun.items() if key != "disk"}, backing_store=world.path(drawn["name"], lun["disk"]), create=True)
                           for lun in drawn["luns"]]
        if drawn["users"] is not None:
            one["accounts"] = {"incoming": [{"username": user, "password": task["passwords"][user]} for user in drawn["users"]]}
            if drawn["outgoing"] and drawn["users"] and drawn["outgoing"] not in drawn["users"]:
                one["accounts"]["outgoing"] = {"username": drawn["outgoing"], "password": task["passwords"][drawn["outgoing"]]}
        told.append(one)
    return {"targets": told, "purge": task["purge"], "force": task["force"], "save": task["save"], "state": task["state"]}


def meanwhile(what: str, number: int, world: World) -> None:
    """What happens on the host between two tasks."""
    tgtd = world.tgtd
    name = NAMES[number % 3]
    target = tgtd.named(name)
    if what == "log in":
        for one in NAMES:
            tgtd.log_in(one, HOSTS[number % 2])
    elif what == "restart":
        tgtd.restart()
        world.guarded.clear()
    elif what == "boot":
        world.guarded.clear()
        world.boot(number % 5 + 1)
        world.remember()
    elif what == "busy" and target:
        for lun in target.luns.values():
            lun.active = 1
    elif what == "drift" and target:
        tid = next(tid for tid, one in tgtd.targets.items() if one is target)
        world.force = True  # whoever does things by hand has no guard
        if target.addresses:
            tgtd.ask(Request("target", "unbind", f"initiator-address={target.addresses[0]}", tid))
        elif target.luns and not target.sessions:
            target.luns[min(target.luns)].active = 0
            tgtd.ask(Request("device", "delete", "", tid, min(target.luns)))
        else:
            tgtd.ask(Request("target", "update", f"state={'offline' if target.ready else 'ready'}", tid))


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tgt_apply, "time", types.SimpleNamespace(monotonic=time.monotonic, sleep=lambda seconds: None))


@pytest.mark.parametrize("save", [True, False, None], ids=["saved", "noted", "now and then"])
@settings(max_examples=int(os.environ.get("LUNAR_EXAMPLES", "40")), deadline=None, derandomize="LUNAR_SEEDS" not in os.environ, report_multiple_bugs=False,
          phases=(Phase.generate, Phase.shrink) if "LUNAR_SHRINK" in os.environ else (Phase.generate,), suppress_health_check=list(HealthCheck))
@given(turns=turns)
def test_from_anywhere_to_anywhere(save: t.Optional[bool], turns: t.Sequence[t.Tuple[Options, str, int, int]]) -> None:
    folder = tempfile.mkdtemp(prefix="lunar-tgt-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    try:
        world = World(folder)
        for task, happens, kill_after, number in turns:
            world.before = {}
            meanwhile(happens, number, world)
            options = options_of(task, world)
            options["save"] = options["save"] if save is None else save
            if not world.turn(options, kill_after) and kill_after >= 0:
                if number % 2:  # the task that comes after says nothing of accounts
                    options["targets"] = [{key: value for key, value in one.items() if key != "accounts"} for one in options["targets"]]
                world.turn(options)
    finally:
        shutil.rmtree(folder)
