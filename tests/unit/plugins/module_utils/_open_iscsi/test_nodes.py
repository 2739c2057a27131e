# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What iscsi_node plans, by values: a database, live sessions and who uses their disks in, steps out."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import bring_about
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError, InUseError, IscsiError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.block import User
from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.live import Live
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi import nodes
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.disks import Attached
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.iscsiadm import Verdict
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.nodes import Found, LoginError, NodeTask
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.wanted import parse_nodes, wanted_keys

from .builders import A, B, ONE, TWO, conf, database, node, node_params, session


def entry(target: str = ONE, portals: t.Any = None, ifaces: t.Any = None) -> t.Dict[str, t.Any]:
    return {"target": target, "portals": portals, "ifaces": ifaces}


def plan(db: t.Any, sessions: t.Sequence[t.Any] = (), live: t.Any = None, users: t.Any = None, **params: t.Any) -> t.Any:
    return NodeTask(node_params(**params)).plan(Found(db, conf(), sessions, live or {}, {}, users or {}))


def words(made: t.Any) -> t.List[str]:
    return [str(step) for step in made.steps]


class TestWhichNodes:
    def keys(self, db: t.Any, *entries: t.Dict[str, t.Any]) -> t.List[str]:
        return [str(key) for key in wanted_keys(parse_nodes(entries), db)]

    def test_without_portals_all_that_are_recorded(self) -> None:
        assert self.keys(database(node(ONE, A), node(ONE, B), node(TWO, A)), entry()) == [f"{ONE} at {A}", f"{ONE} at {B}"]

    def test_a_target_whose_name_begins_like_another_is_not_it(self) -> None:
        db = database(node(f"{ONE}1", A), node(ONE, B))
        assert self.keys(db, entry()) == [f"{ONE} at {B}"]

    def test_unknown_target_without_portals_is_refused(self) -> None:
        with pytest.raises(InputError, match="not recorded"):
            self.keys(database(), entry())

    def test_a_portal_without_tpgt_finds_the_record(self) -> None:
        assert self.keys(database(node(ONE, A)), entry(portals=["192.0.2.1"])) == [f"{ONE} at {A}"]

    def test_two_tpgts_are_refused_unless_said(self) -> None:
        db = database(node(ONE, A), node(ONE, A._replace(tpgt=2)))
        with pytest.raises(InputError, match="recorded more than once"):
            self.keys(db, entry(portals=["192.0.2.1"]))
        assert self.keys(db, entry(portals=["192.0.2.1:3260,2"])) == [f"{ONE} at 192.0.2.1:3260,2"]

    def test_a_portal_named_with_its_tpgt_and_without_is_one(self) -> None:
        assert self.keys(database(), entry(portals=["192.0.2.1", str(A)])) == [f"{ONE} at {A}"]

    def test_ifaces_multiply(self) -> None:
        db = database(ifaces={"san0": "tcp", "san1": "tcp"})
        assert self.keys(db, entry(portals=[str(A)], ifaces=["san0", "san1"])) == [f"{ONE} at {A} via iface san0", f"{ONE} at {A} via iface san1"]

    def test_each_node_once(self) -> None:
        assert len(self.keys(database(node(ONE, A)), entry(), entry(portals=["192.0.2.1"]))) == 1


class TestPresent:
    def test_a_static_node_is_recorded(self) -> None:
        made = plan(database(), nodes=[entry(portals=[str(A)])], startup="automatic")
        assert words(made) == [f"record node {ONE} at {A}"]
        assert made.steps[0].after["node.startup"] == "automatic" and made.steps[0].after["node.discovery_type"] in ("static", "fw")

    def test_nothing_said_nothing_reset(self) -> None:
        assert words(plan(database(node(ONE, A, startup="automatic")))) == []

    @pytest.mark.parametrize(("params", "key", "value"), [
        ({"startup": "onboot"}, "node.startup", "onboot"),
        ({"leading_login": True}, "node.leading_login", "Yes"),
        ({"nr_sessions": 2}, "node.session.nr_sessions", "2"),
        ({"scan": "manual"}, "node.session.scan", "manual"),
        ({"profile": "multipath"}, "node.session.timeo.replacement_timeout", "15"),
        ({"profile": "root"}, "node.conn[0].timeo.noop_out_interval", "0"),
        ({"profile": "root"}, "node.session.timeo.replacement_timeout", "86400"),
        ({"profile": "tape"}, "node.conn[0].timeo.noop_out_timeout", "0"),
        ({"profile": "multipath", "settings": {"node.session.timeo.replacement_timeout": 7}}, "node.session.timeo.replacement_timeout", "7"),
        ({"settings": {"node.session.cmds_max": "256"}}, "node.session.cmds_max", "256"),
    ])
    def test_settings(self, params: t.Dict[str, t.Any], key: str, value: str) -> None:
        made = plan(database(node(ONE, A)), **params)
        assert words(made) == [f"update node {ONE} at {A}"] and made.steps[0].after[key] == value

    def test_secrets_are_not_shown(self) -> None:
        made = plan(database(node(ONE, A)), auth={"method": "CHAP", "username": "u", "password": "plaintext-secret"})
        assert made.steps and "plaintext-secret" not in repr(made.steps)

    def test_chap_without_a_secret_is_refused(self) -> None:
        with pytest.raises(InputError, match="CHAP"):
            plan(database(node(ONE, A)), settings={"node.session.auth.authmethod": "CHAP"})


class TestLogin:
    def test_only_what_has_no_session(self) -> None:
        made = plan(database(node(ONE, A), node(ONE, B)), [session(1, ONE, A)], state="logged_in")
        assert words(made) == [f"log in to {ONE} at {B}"]

    def test_a_session_of_a_longer_name_does_not_count(self) -> None:
        assert words(plan(database(node(ONE, A)), [session(1, f"{ONE}1", A)], state="logged_in")) == [f"log in to {ONE} at {A}"]

    def test_a_session_through_another_iface_does_not_count(self) -> None:
        assert len(words(plan(database(node(ONE, A)), [session(1, ONE, A, iface="san0")], state="logged_in"))) == 1

    @pytest.mark.parametrize(("has", "steps"), [(1, 1), (2, 0)])
    def test_nr_sessions(self, has: int, steps: int) -> None:
        known = node(ONE, A, **{"node.session.nr_sessions": "2"})
        assert len(words(plan(database(known), [session(sid, ONE, A) for sid in range(has)], state="logged_in"))) == steps

    def test_no_login_outside_the_running_host(self) -> None:
        with pytest.raises(InputError, match="root"):
            NodeTask(node_params(state="logged_in", root="/mnt"))


class TestPendingRelogin:
    KNOWN = node(ONE, A, **{"node.session.auth.authmethod": "CHAP", "node.session.auth.username": "u", "node.session.auth.password": "new-secret-12"})

    def live(self, **attributes: str) -> t.Dict[int, Live]:
        return {1: Live({"recovery_tmo": "120", "username": "u", "password": "new-secret-12", **attributes})}

    def test_nothing_differs(self) -> None:
        assert plan(database(self.KNOWN), [session(1, ONE, A)], self.live()).facts["pending_relogin"] == []

    @pytest.mark.parametrize(("attributes", "differs"), [
        ({"password": "old-secret-12"}, "node.session.auth.password"),
        ({"username": "v"}, "node.session.auth.username"),
        ({"recovery_tmo": "5"}, "node.session.timeo.replacement_timeout"),
        ({"recv_tmo": "7"}, "node.conn[0].timeo.noop_out_interval"),
        ({"ping_tmo": "7"}, "node.conn[0].timeo.noop_out_timeout"),
    ])
    def test_what_the_kernel_says_differs(self, attributes: t.Dict[str, str], differs: str) -> None:
        made = plan(database(self.KNOWN), [session(1, ONE, A)], self.live(**attributes))
        assert words(made) == [] and made.facts["pending_relogin"][0]["differs"] == [differs]

    def test_a_change_of_now_is_pending_though_the_kernel_does_not_show_it(self) -> None:
        made = plan(database(self.KNOWN), [session(1, ONE, A)], self.live(), settings={"node.conn[0].iscsi.HeaderDigest": "CRC32C"})
        assert made.facts["pending_relogin"][0]["differs"] == ["node.conn[0].iscsi.HeaderDigest"]

    def test_startup_is_nothing_a_session_minds(self) -> None:
        assert plan(database(self.KNOWN), [session(1, ONE, A)], self.live(), startup="automatic").facts["pending_relogin"] == []

    def test_relogin_makes_it_anew(self) -> None:
        made = plan(database(self.KNOWN), [session(1, ONE, A)], self.live(recovery_tmo="5"), relogin=True, state="logged_in")
        assert words(made) == [f"log out and in again {ONE} at {A} (session 1)"]

    def test_relogin_refuses_under_a_mount(self) -> None:
        users = {frozenset({1}): [User("/dev/sda", "mount", "/srv")]}
        with pytest.raises(InUseError, match="/srv"):
            plan(database(self.KNOWN), [session(1, ONE, A, disk="sda")], self.live(recovery_tmo="5"), users, relogin=True)

    def test_a_path_that_a_map_stands_on_alone_comes_last(self) -> None:
        live = {sid: Live({"recovery_tmo": "5"}) for sid in (1, 2)}
        found = Found(database(node(ONE, A), node(ONE, B)), conf(), [session(1, ONE, A), session(2, ONE, B)], live, {}, {}, frozenset({1}))
        made = NodeTask(node_params(relogin=True)).plan(found)
        assert words(made) == [f"log out and in again {ONE} at {B} (session 2)", f"log out and in again {ONE} at {A} (session 1)"]


class TestOneByOne:
    def users(self, monkeypatch: pytest.MonkeyPatch, needed: t.Container[int], still: t.Container[int]) -> t.Any:
        def users(going: t.Sequence[t.Any], back: t.Sequence[t.Any] = ()) -> t.List[User]:
            return [User("/dev/dm-0", "mount", "/srv")] if going[0].sid in (still if back else needed) else []
        monkeypatch.setattr(nodes, "disk_users", users)
        return nodes._users_one_by_one([session(1, ONE, A), session(2, ONE, B)])

    def test_one_that_is_needed_until_the_other_is_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.users(monkeypatch, {1}, ()) == ({frozenset({1}): [], frozenset({2}): []}, {1})

    def test_one_that_is_needed_though_the_other_is_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        users, last = self.users(monkeypatch, {1}, {1})
        assert [str(user) for user in users[frozenset({1})]] == ["/dev/dm-0 mounted on /srv"] and last == {1}

    def test_none_is_needed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.users(monkeypatch, (), ()) == ({frozenset({1}): [], frozenset({2}): []}, frozenset())


class FakeHost:
    """One node with one session; a login comes to what ``fails`` says. Stands in for what the task would do to this machine."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, record: t.Any, live: t.Dict[int, Live]) -> None:
        self.record, self.live, self.sessions = record, live, [session(1, ONE, A)]
        self.probe_fails: t.Optional[IscsiError] = None
        self.login_fails = False
        self.done: t.List[str] = []
        for name, stand_in in {
            "locate": lambda root: database().location, "read_database": lambda location: database(self.record), "read_host_conf": lambda root: conf(),
            "read_sessions": lambda: list(self.sessions), "read_live": lambda sid, mapped: self.live.get(sid, Live({})),
            "disk_users": lambda going, back=(): [],
            "detach": self.detach, "try_logins": self.try_logins, "Iscsiadm": lambda runner: self, "Runner": lambda: None,
            "wait_for_disks": lambda read, **_given: Attached([], []), "read_disks": lambda sessions: [],
        }.items():
            monkeypatch.setattr(nodes, name, stand_in)
        self.runner = None

    def try_logins(self, missing: t.Mapping[NodeKey, t.Any], _conf: t.Any, timeout: float) -> t.Dict[NodeKey, t.Optional[IscsiError]]:
        self.done.append("try")
        return dict.fromkeys(missing, self.probe_fails)

    def detach(self, going: t.Sequence[t.Any], _iscsiadm: t.Any, **_given: t.Any) -> t.List[t.Any]:
        self.done += ["log out"] if going else []
        self.sessions = [one for one in self.sessions if one not in going]
        return []

    def login(self, keys: t.Sequence[NodeKey], timeout: float) -> t.Dict[NodeKey, Verdict]:
        if keys and not self.login_fails:
            self.done.append("log in")
            self.sessions, self.live = [session(2, ONE, A)], {2: Live({"recovery_tmo": "120", "username": "u", "password": "new-secret-12"})}
        return {key: Verdict(not self.login_fails, True, 24, "authentication failed", "Check the secrets") for key in keys}

    def run(self, check_mode: bool = False, **params: t.Any) -> t.Dict[str, t.Any]:
        return bring_about(NodeTask(node_params(**params)), check_mode)


@pytest.mark.parametrize("state", ["present", "logged_in"])
class TestRelogin:
    @pytest.fixture
    def host(self, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
        return FakeHost(monkeypatch, TestPendingRelogin.KNOWN, {1: Live({"recovery_tmo": "120", "username": "u", "password": "old-secret-12"})})

    def test_the_session_is_made_anew_and_pending_no_more(self, host: FakeHost, state: str) -> None:
        result = host.run(state=state, relogin=True)
        assert host.done == ["try", "log out", "log in"]
        assert result["changed"] and result["pending_relogin"] == [] and result["problems"] == []

    def test_without_relogin_it_is_pending(self, host: FakeHost, state: str) -> None:
        result = host.run(state=state)
        assert not result["changed"] and [entry["sid"] for entry in result["pending_relogin"]] == [1] and "log out" not in host.done
        assert [(problem["object"], "relogin: true" in problem["remedy"]) for problem in result["problems"]] == [(f"session 1 of {ONE} at {A}", True)]

    @pytest.mark.parametrize("check_mode", [False, True])
    def test_a_login_that_would_fail_leaves_the_session_alone(self, host: FakeHost, state: str, check_mode: bool) -> None:
        host.probe_fails = IscsiError("the portal", "authentication failure (0x0201)", "Check the secrets")
        with pytest.raises(LoginError, match=r"authentication failure \(0x0201\)"):
            host.run(check_mode, state=state, relogin=True)
        assert host.done == ["try"] and [one.sid for one in host.sessions] == [1]

    def test_a_login_that_fails_after_all_fails_the_task(self, host: FakeHost, state: str) -> None:
        host.login_fails = True
        with pytest.raises(LoginError, match="authentication failed"):
            host.run(state=state, relogin=True)


class TestStuck:
    @pytest.mark.parametrize(("state", "said"), [("LOGGED_IN", 0), ("FREE", 1), ("FAILED", 1)])
    def test_a_session_that_lost_its_connection_is_told(self, monkeypatch: pytest.MonkeyPatch, state: str, said: int) -> None:
        host = FakeHost(monkeypatch, node(ONE, A), {})
        host.sessions = [dataclasses.replace(session(1, ONE, A), state=state)]
        problems = host.run(state="logged_in")["problems"]
        assert [(one["object"], state in one["what"]) for one in problems] == [(f"session 1 of {ONE} at {A}", True)] * said


class TestGone:
    @pytest.mark.parametrize("state", ["logged_out", "absent"])
    def test_a_mounted_disk_is_not_pulled_away(self, state: str) -> None:
        users = {frozenset({1}): [User("/dev/sda", "mount", "/srv")]}
        with pytest.raises(InUseError, match="/dev/sda mounted on /srv"):
            plan(database(node(ONE, A)), [session(1, ONE, A, disk="sda")], None, users, state=state)

    def test_force(self) -> None:
        users = {frozenset({1}): [User("/dev/sda", "mount", "/srv")]}
        made = plan(database(node(ONE, A)), [session(1, ONE, A, disk="sda")], None, users, state="logged_out", force=True)
        assert words(made) == [f"log out of {ONE} at {A} (session 1)"]

    def test_absent_logs_out_and_forgets_only_what_is_named(self) -> None:
        made = plan(database(node(ONE, A), node(ONE, B), node(TWO, A)), [session(1, ONE, A), session(2, TWO, A)],
                    state="absent", nodes=[entry(portals=["192.0.2.1"])])
        assert words(made) == [f"log out of {ONE} at {A} (session 1)", f"forget node {ONE} at {A}"]

    def test_unknown_is_nothing_to_do(self) -> None:
        assert words(plan(database(), state="absent")) == []

    def test_sessions_without_a_record_are_logged_out_too(self) -> None:
        assert words(plan(database(), [session(4, ONE, A)], state="logged_out")) == [f"log out of {ONE} at {A} (session 4)"]


@pytest.mark.parametrize(("params", "says"), [
    ({"nodes": [entry("iqn.20013-10.com.redhat")]}, "20013-10"),
    ({"nodes": [entry(portals=[])]}, "empty list"),
    ({"nodes": [entry(portals=["192.0.2.1:0"])]}, "port"),
    ({"settings": {"node.name": "x"}}, "node.name"),
    ({"settings": {"node.session.timeo.replacement_timeut": 5}}, "replacement_timeout"),
    ({"settings": {"node.session.timeo.replacement_timeout": "abc"}}, "abc"),
    ({"nr_sessions": 0}, "nr_sessions"),
    ({"timeout": -1}, "timeout"),
])
def test_wrong_options_are_refused_in_words(params: t.Dict[str, t.Any], says: str) -> None:
    with pytest.raises(InputError) as caught:
        NodeTask(node_params(**params))
    assert says in caught.value.sentence()


class TestWhatBecameOfThePaths:
    """``finish`` in check mode: what the probe said, against ``require``."""

    def finish(self, failed: t.Sequence[NodeKey], require: str) -> t.Any:
        task = NodeTask(node_params(state="logged_in", require=require, nodes=[entry(ONE), entry(TWO)]))
        task._failed.update({key: IscsiError(str(key), "is silent", "Wake it").as_problem() for key in failed})
        found = Found(database(node(ONE, A), node(ONE, B), node(TWO, A)), conf())
        assert not any(str(key) in step for key in failed for step in words(task.plan(found)))
        return task.finish(found, False)

    @pytest.mark.parametrize(("failed", "require", "fails"), [
        pytest.param([], "all", False, id="all-well"),
        pytest.param([NodeKey(ONE, B)], "any", False, id="any-one-of-two-is-enough"),
        pytest.param([NodeKey(ONE, B)], "all", True, id="all-one-of-two-is-not"),
        pytest.param([NodeKey(TWO, A)], "any", True, id="any-each-target-needs-one"),
    ])
    def test_require(self, failed: t.List[NodeKey], require: str, fails: bool) -> None:
        if fails:
            with pytest.raises(IscsiError, match="is silent.*Wake it"):
                self.finish(failed, require)
        else:
            result = self.finish(failed, require)
            assert [path["verdict"] for path in result["paths"]].count("failed") == len(failed) == len(result["problems"])
