# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions that the running system stands on: nothing of this collection logs them out, makes them anew, or gives their records other timers."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InUseError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.block import User
from ansible_collections.lunar.iscsi.plugins.module_utils._names import parse_portal
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi import discovery, logout
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.ask import Answer
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.carriers import Carrier
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.detach import refuse_users
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.live import Live
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.nodes import Found, NodeTask
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.session_keys import SessionKey

from .builders import A, ONE, TWO, conf, database, discovery_params, node, node_params, session, session_params

ROOT = session(1, ONE, A, disk="sda")
DATA = session(2, TWO, A, disk="sdb")
ON_IT = Carrier(ROOT, ("/",), ("sda",))
USERS = {frozenset({1}): [User("/dev/sda1", "mount", "/"), User("/dev/sda2", "mount", "/srv")], frozenset({2}): [],
         frozenset({1, 2}): [User("/dev/sda1", "mount", "/")]}
BOTH = [{"target": ONE, "portals": None, "ifaces": None}, {"target": TWO, "portals": None, "ifaces": None}]
TIMER = "node.session.timeo.replacement_timeout"


def plan(db: t.Any, live: t.Any = None, **params: t.Any) -> t.Any:
    return NodeTask(node_params(**params)).plan(Found(db, conf(), [ROOT, DATA], live or {}, {}, USERS, carriers=[ON_IT]))


def steps(made: t.Any) -> t.List[str]:
    return [str(step) for step in made.steps]


@pytest.mark.parametrize("state", ["logged_out", "absent"])
@pytest.mark.parametrize("nodes", [BOTH[:1], BOTH])
def test_no_force_logs_out_of_what_the_system_runs_from(state: str, nodes: t.Any) -> None:
    with pytest.raises(InUseError, match="in use by /dev/sda1 mounted on /.*no force takes that away"):
        plan(database(node(ONE, A), node(TWO, A)), nodes=nodes, state=state, force=True)
    assert steps(plan(database(node(ONE, A), node(TWO, A)), nodes=BOTH[1:], state="logged_out")) == [f"log out of {TWO} at {A} (session 2)"]


@pytest.mark.parametrize("users", [
    [User("/dev/sda", "swap")], [User("/dev/sda1", "mount", "/usr")], [User("/dev/sda1", "btrfs", "uuid", "mounted on /")],
])
def test_by_session_it_is_the_same(users: t.List[User], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logout, "read_sessions", lambda _sys: [ROOT, DATA])
    monkeypatch.setattr(logout, "disk_users", lambda _sessions: users)
    task = logout.LogoutTask(session_params(state="logged_out", targets=["*"], force=True))
    with pytest.raises(InUseError, match="no force takes that away"):
        task.plan(task.read())


def test_what_else_is_in_use_can_be_forced() -> None:
    refuse_users("disks of x", [User("/dev/sdb", "mount", "/srv")], force=True)
    refuse_users("disks of x", [User("/dev/sdb", "mount", "/", "in the mount namespace of bash, pid 7")], force=True)


def test_a_session_under_the_root_is_never_made_anew() -> None:
    """Although its record and its session differ, and the other one's is made anew."""
    live = {sid: Live({"recovery_tmo": "5"}) for sid in (1, 2)}
    db = database(node(ONE, A, startup="onboot"), node(TWO, A))
    for force in (False, True):
        made = plan(db, live, nodes=BOTH, state="logged_in", relogin=True, force=force)
        assert steps(made) == [f"log out and in again {TWO} at {A} (session 2)"]
        assert {entry["sid"] for entry in made.facts["pending_relogin"]} == {1, 2}


@pytest.mark.parametrize("options", [
    {"startup": "automatic", "profile": "multipath"}, {"settings": {TIMER: 5}}, {"startup": "automatic"}, {"startup": "manual"},
    {"auth": {"method": "None", "username": None, "password": None, "username_in": None, "password_in": None, "algorithms": None}},
])
@pytest.mark.parametrize("state", ["present", "logged_in"])
def test_its_record_is_left_alone_and_that_is_told(options: t.Any, state: str) -> None:
    root = node(ONE, A, startup="onboot", **{TIMER: "86400", "node.session.auth.authmethod": "CHAP", "node.session.auth.username": "u",
                                             "node.session.auth.password": "plain-secret"})
    made = plan(database(root, node(TWO, A)), nodes=BOTH, state=state, **options)
    assert not any(ONE in step for step in steps(made))
    told = [problem for problem in made.problems if problem["object"] == f"{ONE} at {A}"]
    assert len(told) == 1 and "carries / of this system" in told[0]["what"] and "plain-secret" not in str(told)


def test_nothing_is_told_where_nothing_differs() -> None:
    made = plan(database(node(ONE, A, startup="onboot"), node(TWO, A, startup="onboot")), nodes=BOTH, startup=None)
    assert not made.problems and not made.steps


def test_a_task_that_says_onboot_changes_it() -> None:
    made = plan(database(node(ONE, A, startup="automatic"), node(TWO, A)), nodes=BOTH[:1], startup="onboot", profile="root")
    assert steps(made) == [f"update node {ONE} at {A}"]
    assert made.steps[0].after["node.startup"] == "onboot" and made.steps[0].after[TIMER] == "86400"
    assert not made.problems


def test_a_new_record_of_it_is_onboot_with_timers_of_the_host() -> None:
    made = plan(database(node(TWO, A)), nodes=[{"target": ONE, "portals": [str(A)], "ifaces": None}], startup="automatic", profile="multipath")
    after = made.steps[0].after
    assert steps(made) == [f"record node {ONE} at {A}"] and (after["node.startup"], after[TIMER]) == ("onboot", "120")


def discover(db: t.Any, **params: t.Any) -> t.Any:
    """A discovery that offers both, on a host that stands on the first."""
    asked = parse_portal("192.0.2.1")
    keys = [SessionKey(one.sid, one.key) for one in (ROOT, DATA)]
    found = discovery.Found(db, conf(), keys, [Answer(asked, [(ONE, [A]), (TWO, [A])])], keys[:1])
    return discovery.DiscoveryTask(discovery_params(**params)).plan(found)


@pytest.mark.parametrize("settings, changed", [({TIMER: 5}, False), ({"node.startup": "automatic"}, False), ({"node.startup": "onboot", TIMER: 5}, True)])
def test_a_discovery_that_updates_leaves_it_alone(settings: t.Any, changed: bool) -> None:
    made = discover(database(node(ONE, A, startup="manual"), node(TWO, A)), update=True, settings=settings)
    assert any(step == f"update node {ONE} at {A}" for step in steps(made)) is changed
    assert f"update node {TWO} at {A}" in steps(made)
    assert [problem["object"] for problem in made.problems if "carries this system" in problem["what"]] == ([] if changed else [f"{ONE} at {A}"])


def test_a_discovery_records_it_as_onboot() -> None:
    startups = {step.subject: step.after["node.startup"] for step in discover(database()).steps if step.action == "record node"}
    assert startups == {f"{ONE} at {A}": "onboot", f"{TWO} at {A}": "manual"}
