# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iscsi_node by the startup that is recorded: what loginall and logoutall of iscsiadm do, as a state."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import bring_about
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError, InUseError, IscsiError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.block import User
from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi import nodes
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.disks import Attached
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.iscsiadm import Verdict
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.live import Live
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.nodes import Found, LoginError, NodeTask
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.sessions import Session
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.stored import FW, Database

from .builders import A, B, ONE, TWO, Node, conf, database, node, node_params, session

#: one of each kind: manual, automatic, onboot, found in firmware
EACH = (node(ONE, A), node(ONE, B, startup="automatic"), node(TWO, A, startup="onboot"), node(TWO, B, startup="automatic"))
EVERYWHERE = [session(1, ONE, A), session(2, ONE, B), session(3, TWO, A), session(4, TWO, B)]


def host(*recorded: Node, firmware: t.Sequence[NodeKey] = (NodeKey(TWO, B),)) -> Database:
    made = database(*recorded)
    return dataclasses.replace(made, linked={**made.linked, FW: set(firmware)})


def words(recorded: str, state: str, sessions: t.Sequence[Session] = (), **params: t.Any) -> t.List[str]:
    made = NodeTask(node_params(recorded=recorded, state=state, **params)).plan(Found(host(*EACH), conf(), sessions))
    return [str(step) for step in made.steps]


@pytest.mark.parametrize(("recorded", "meant"), [
    ("all", [0, 1, 2, 3]), ("manual", [0]), ("automatic", [1, 3]), ("onboot", [2]),
])
def test_loginall_means_the_nodes_with_this_startup(recorded: str, meant: t.List[int]) -> None:
    assert words(recorded, "logged_in") == [f"log in to {EACH[number][0]}" for number in meant]
    assert words(recorded, "logged_in", EVERYWHERE) == []


@pytest.mark.parametrize("state", ["logged_out", "absent"])
@pytest.mark.parametrize(("recorded", "meant"), [("all", [0, 1]), ("manual", [0]), ("automatic", [1])])
def test_logoutall_leaves_onboot_and_firmware_alone(recorded: str, meant: t.List[int], state: str) -> None:
    steps = [f"log out of {EACH[number][0]} (session {number + 1})" for number in meant]
    assert words(recorded, state, EVERYWHERE) == steps + [f"forget node {EACH[number][0]}" for number in meant if state == "absent"]


def test_a_session_without_a_record_has_no_startup_and_stays() -> None:
    assert words("all", "logged_out", [session(9, ONE, A, iface="san0")]) == []


def test_nothing_recorded_is_nothing_to_do() -> None:
    assert list(NodeTask(node_params(recorded="all", state="logged_in")).plan(Found(database(), conf())).steps) == []


def test_settings_for_all_that_are_recorded() -> None:
    assert words("automatic", "present", settings={"node.session.cmds_max": "256"}) == [f"update node {EACH[1][0]}", f"update node {EACH[3][0]}"]


def test_a_disk_in_use_is_refused() -> None:
    users = {frozenset({1, 2}): [User("/dev/sda", "mount", "/srv")]}
    with pytest.raises(InUseError, match="/srv"):
        NodeTask(node_params(recorded="all", state="logged_out")).plan(Found(host(*EACH), conf(), EVERYWHERE, users=users))


@pytest.mark.parametrize(("params", "says"), [
    ({"recorded": "all", "nodes": []}, "both given"),
    ({"recorded": None, "nodes": None}, "both left out"),
    ({"recorded": "onboot", "state": "logged_out"}, "onboot together with state logged_out"),
    ({"recorded": "onboot", "state": "absent"}, "onboot together with state absent"),
    ({"recorded": "all", "repair": True}, "together with repair"),
    ({"recorded": "all", "state": "logged_in", "root": "/mnt"}, "option root"),
])
def test_what_cannot_be_meant_is_refused(params: t.Dict[str, t.Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        NodeTask(node_params(**params))


class Host:
    """Records and sessions that logging in changes; portals that are in ``dead`` fail the probe, those in ``refusing`` the login."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *recorded: Node) -> None:
        self.recorded = dict(recorded)
        self.sessions: t.List[Session] = []
        self.dead: t.Set[NodeKey] = set()
        self.refusing: t.Set[NodeKey] = set()
        self.tried: t.List[NodeKey] = []
        self.probed: t.List[NodeKey] = []
        for name, stand_in in {
            "locate": lambda root: database().location, "read_database": lambda location: database(*self.recorded.items()),
            "read_host_conf": lambda root: conf(),
            "read_sessions": lambda: list(self.sessions), "read_live": lambda sid, mapped: Live({}), "try_logins": self.try_logins,
            "Iscsiadm": lambda runner: self, "Runner": lambda: None, "wait_for_disks": lambda read, **_given: Attached([], []),
            "read_disks": lambda sessions: [], "open_writer": lambda location: self, "installed_version": lambda location: None,
        }.items():
            monkeypatch.setattr(nodes, name, stand_in)
        self.runner = None

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def write_node(self, key: NodeKey, record: t.Any, _found_by: t.Any) -> None:
        self.recorded[key] = record

    def try_logins(self, missing: t.Mapping[NodeKey, t.Any], _conf: t.Any, timeout: float) -> t.Dict[NodeKey, t.Optional[IscsiError]]:
        self.probed += missing
        return {key: IscsiError("", "is silent", "Wake it") if key in self.dead else None for key in missing}

    def login(self, keys: t.Sequence[NodeKey], timeout: float) -> t.Dict[NodeKey, Verdict]:
        self.tried += keys
        for key in keys:
            if key not in self.refusing:
                self.sessions.append(session(len(self.sessions) + 1, key.target, key.portal))
        return {key: Verdict(key not in self.refusing, True, 24, "authentication failed", "Check the secrets") for key in keys}

    def run(self, check_mode: bool = False, **params: t.Any) -> t.Dict[str, t.Any]:
        return bring_about(NodeTask(node_params(recorded="automatic", state="logged_in", **params)), check_mode)


def verdicts(result: t.Mapping[str, t.Any]) -> t.List[str]:
    return [path["verdict"] for path in result["paths"]]


class TestLeadingLogin:
    KEYS = (NodeKey(ONE, A), NodeKey(ONE, B))

    @pytest.fixture
    def host(self, monkeypatch: pytest.MonkeyPatch) -> Host:
        return Host(monkeypatch, *(node(ONE, portal, startup="automatic", **{"node.leading_login": "Yes"}) for portal in (A, B)),
                    node(TWO, A, startup="automatic"), node(TWO, B, startup="automatic"))

    def test_one_session_for_a_target_with_leading_login_and_all_of_the_others(self, host: Host) -> None:
        predicted, done = host.run(check_mode=True), host.run()
        assert predicted["steps"] == done["steps"] == [f"log in to {ONE} at {A}", f"log in to {TWO} at {A}", f"log in to {TWO} at {B}"]
        assert verdicts(predicted) == ["would log in", "not needed", "would log in", "would log in"]
        assert verdicts(done) == ["logged in", "not needed", "logged in", "logged in"]
        probed = len(host.probed)
        again = host.run()
        assert not again["changed"] and verdicts(again) == ["session exists", "not needed", "session exists", "session exists"]
        assert len(host.tried) == 3 and len(host.probed) == probed

    def test_a_dead_portal_is_passed_over_and_told(self, host: Host) -> None:
        host.dead = {self.KEYS[0]}
        done = host.run()
        assert verdicts(done)[:2] == ["failed", "logged in"] and [problem["what"] for problem in done["problems"]] == ["is silent"]
        assert self.KEYS[0] not in host.tried

    def test_a_portal_that_refuses_is_followed_by_the_next(self, host: Host) -> None:
        host.refusing = {self.KEYS[0]}
        done = host.run()
        assert verdicts(done)[:2] == ["failed", "logged in"] and host.tried[-1] == self.KEYS[1]
        assert not host.run()["changed"]

    @pytest.mark.parametrize("how", ["dead", "refusing"])
    def test_a_target_without_a_session_fails_the_task(self, host: Host, how: str) -> None:
        setattr(host, how, set(self.KEYS))
        with pytest.raises(LoginError, match="2 of 4 paths"):
            host.run()

    def test_without_leading_login_each_portal_counts(self, host: Host) -> None:
        host.dead = {NodeKey(TWO, B)}
        with pytest.raises(LoginError, match=f"1 of 4 paths.*{TWO}"):
            host.run()
        assert verdicts(host.run(require="any"))[2:] == ["session exists", "failed"]

    def test_named_nodes_are_each_logged_in(self, host: Host) -> None:
        host.recorded = {key: record for key, record in host.recorded.items() if key.target == ONE}
        assert verdicts(bring_about(NodeTask(node_params(state="logged_in")), False)) == ["logged in", "logged in"]


def test_what_the_task_itself_records_changes_nothing_about_what_it_means(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Host(monkeypatch, node(ONE, A, startup="automatic"), node(TWO, A))
    done = one.run(startup="manual")
    assert done["steps"] == [f"update node {ONE} at {A}", f"log in to {ONE} at {A}"] and verdicts(done) == ["logged in"]
    assert not one.run(startup="manual")["changed"]
