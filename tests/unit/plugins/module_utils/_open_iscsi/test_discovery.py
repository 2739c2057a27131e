# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What iscsi_discovery plans, by values: a database, live sessions and answers in, steps out."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError, InUseError, PeerError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey, Portal, parse_portal
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.ask import Answer, auth_settings, read_auth
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.discovery import DiscoveryTask, Filters, Found
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.record import record_sides
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import Kind

from .builders import A, B, ONE, TWO, conf, database, discovery_params, node, send_targets, session

ASKED = parse_portal("192.0.2.1")


def answer(*targets: t.Tuple[str, t.Sequence[Portal]], portal: Portal = ASKED) -> Answer:
    return Answer(portal, targets)


def plan(db: t.Any, answers: t.Sequence[Answer], sessions: t.Sequence[t.Any] = (), **params: t.Any) -> t.Any:
    return DiscoveryTask(discovery_params(**params)).plan(Found(db, conf(), sessions, answers))


def words(made: t.Any) -> t.List[str]:
    return [str(step) for step in made.steps]


class TestAdd:
    def test_new_nodes_and_the_discovery_are_recorded(self) -> None:
        made = plan(database(), [answer((ONE, [A, B]))])
        assert words(made) == ["record discovery at 192.0.2.1:3260", f"record node {ONE} at {A}", f"record node {ONE} at {B}"]
        assert [entry["portal"] for entry in made.facts["added"]] == [str(A), str(B)]
        assert made.facts["nodes"] == [{"target": ONE, "portals": [str(A), str(B)], "ifaces": ["default"]}]

    def test_a_known_node_keeps_what_was_set(self) -> None:
        known = node(ONE, A, startup="automatic")
        made = plan(database(known, discoveries=[send_targets(ASKED, known)]), [answer((ONE, [A]))], settings={"node.startup": "manual"})
        assert words(made) == []
        assert [entry["portal"] for entry in made.facts["kept"]] == [str(A)]

    def test_update_applies_settings_and_nothing_else(self) -> None:
        known = node(ONE, A, startup="automatic", **{"node.session.timeo.replacement_timeout": "77"})
        made = plan(database(known, discoveries=[send_targets(ASKED, known)]), [answer((ONE, [A]))], settings={"node.startup": "manual"}, update=True)
        assert words(made) == [f"update node {ONE} at {A}"]
        before, after = made.steps[0].before, made.steps[0].after
        assert {key for key in after if before.get(key) != after[key]} == {"node.startup"}
        assert after["node.session.timeo.replacement_timeout"] == "77"

    def test_a_record_without_tpgt_is_the_same_node(self) -> None:
        known = node(ONE, A._replace(tpgt=None))
        made = plan(database(known, discoveries=[send_targets(ASKED)]), [answer((ONE, [A]))])
        assert words(made) == []

    def test_another_tpgt_is_another_node(self) -> None:
        known = node(ONE, A._replace(tpgt=9))
        made = plan(database(known, discoveries=[send_targets(ASKED, known)]), [answer((ONE, [A]))])
        assert words(made) == [f"record node {ONE} at {A}"]

    def test_one_portal_announced_twice_is_one_node(self) -> None:
        second = parse_portal("192.0.2.2")
        made = plan(database(), [answer((ONE, [A])), answer((ONE, [A]), portal=second)])
        assert len(made.facts["added"]) == 1

    def test_without_add_nothing_is_written(self) -> None:
        assert words(plan(database(), [answer((ONE, [A]))], add=False)) == []

    def test_forgetting_without_writing_is_refused(self) -> None:
        with pytest.raises(InputError, match="option persistent"):
            DiscoveryTask(discovery_params(state="absent", persistent=False))

    def test_not_persistent_only_looks(self) -> None:
        made = plan(database(), [answer((ONE, [A]))], persistent=False, prune=True)
        assert words(made) == [] and made.facts["targets"] == {ONE: [str(A)]}

    @pytest.mark.parametrize(("ifaces", "wanted"), [
        pytest.param({}, ["default"], id="none-created"),
        pytest.param({"san0": "tcp", "san1": "tcp"}, ["san0", "san1"], id="software-ifaces-instead-of-default"),
        pytest.param({"be2iscsi.00": "be2iscsi"}, ["default"], id="offload-ifaces-are-not-bound-by-themselves"),
    ])
    def test_ifaces_of_the_host(self, ifaces: t.Dict[str, str], wanted: t.List[str]) -> None:
        assert plan(database(ifaces=ifaces), [answer((ONE, [A]))]).facts["nodes"][0]["ifaces"] == wanted

    def test_an_iface_without_record_is_refused(self) -> None:
        with pytest.raises(InputError, match="san7"):
            plan(database(), [answer((ONE, [A]))], ifaces=["san7"])

    def test_secrets_are_stars_on_both_sides(self) -> None:
        auth = {"method": "CHAP", "username": "u", "password": "plaintext-secret"}
        made = plan(database(), [answer((ONE, [A]))], auth=auth)
        assert "plaintext-secret" not in repr(made.steps)
        assert made.steps[0].after["discovery.sendtargets.auth.password"] == "********"


class TestIsns:
    SERVER = parse_portal("192.0.2.1", 3205)

    def test_the_port_is_that_of_isns(self) -> None:
        made = plan(database(), [answer((ONE, [A]), portal=self.SERVER)], type="isns")
        assert words(made) == ["record iSNS discovery at 192.0.2.1:3205", f"record node {ONE} at {A}"]
        assert made.steps[0].work[:2] == ("write_isns", self.SERVER)
        assert made.steps[1].after["node.discovery_type"] == "isns" and made.steps[1].after["node.discovery_port"] == "3205"

    def test_a_target_without_portals_is_a_problem(self) -> None:
        made = plan(database(), [answer((ONE, []), portal=self.SERVER)], type="isns")
        assert words(made) == ["record iSNS discovery at 192.0.2.1:3205"] and made.facts["targets"] == {ONE: []}
        assert [problem["object"] for problem in made.problems] == [ONE]

    @pytest.mark.parametrize("state", ["present", "absent"])
    def test_a_sendtargets_record_of_the_same_portal_is_another_one(self, state: str) -> None:
        known = node(ONE, A)
        db = database(known, discoveries=[send_targets(self.SERVER, known)])
        answers = [answer(portal=self.SERVER)] if state == "present" else []
        made = plan(db, answers, type="isns", state=state, prune=True)
        assert words(made) == (["record iSNS discovery at 192.0.2.1:3205"] if state == "present" else [])

    def test_settings_of_the_record_itself(self) -> None:
        made = plan(database(), [answer(portal=self.SERVER)], type="isns", discovery_settings={"discovery.isns.use_discoveryd": True})
        assert made.steps[0].after["discovery.isns.use_discoveryd"] == "Yes"
        db = database(discoveries=[send_targets(ASKED)])
        made = plan(db, [answer()], discovery_settings={"discovery.sendtargets.use_discoveryd": "yes", "discovery.sendtargets.reopen_max": 5})
        assert words(made) == ["update discovery at 192.0.2.1:3260"]
        before, after = made.steps[0].before, made.steps[0].after
        assert {key: after[key] for key in after if before.get(key) != after[key]} == {"discovery.sendtargets.use_discoveryd": "Yes"}
        assert words(plan(db, [answer()], discovery_settings={"discovery.sendtargets.reopen_max": 5})) == []

    @pytest.mark.parametrize(("given", "says"), [
        pytest.param({"discovery_settings": {"discovery.isns.use_discoveryd": True}}, "not a setting of sendtargets records", id="of the other type"),
        pytest.param({"discovery_settings": {"discovery.sendtargets.address": "a"}}, "looked up by", id="of the portal"),
        pytest.param({"discovery_settings": {"discovery.sendtargets.auth.username": "u"}, "auth": {"method": "CHAP", "username": "u", "password": "p" * 12}},
                     "auth is given too", id="said twice"),
    ])
    def test_wrong_settings_of_the_record(self, given: t.Dict[str, t.Any], says: str) -> None:
        with pytest.raises(InputError, match=says):
            DiscoveryTask(discovery_params(**given))

    def test_auth_is_refused(self) -> None:
        with pytest.raises(InputError, match="option auth"):
            DiscoveryTask(discovery_params(type="isns", auth={"method": "CHAP", "username": "u", "password": "plaintext-secret"}))


class TestPrune:
    def test_gone_nodes_go(self) -> None:
        here, gone = node(ONE, A), node(TWO, A)
        made = plan(database(here, gone, discoveries=[send_targets(ASKED, here, gone)]), [answer((ONE, [A]))], prune=True)
        assert words(made) == [f"forget node {TWO} at {A}"]

    def test_filtered_is_not_gone(self) -> None:
        known = node(TWO, A)
        made = plan(database(known, discoveries=[send_targets(ASKED, known)]), [answer((TWO, [A]))], prune=True, targets=[ONE])
        assert words(made) == []

    def test_a_silent_portal_prunes_nothing(self) -> None:
        known = node(TWO, A)
        silent = Answer(ASKED, error=PeerError("portal", "is silent"))
        made = plan(database(known, discoveries=[send_targets(ASKED, known)]), [silent], prune=True)
        assert words(made) == [] and made.problems

    def test_static_nodes_stay(self) -> None:
        known = node(TWO, A)
        assert words(plan(database(known, discoveries=[send_targets(ASKED)]), [answer()], prune=True)) == []

    def test_a_node_with_a_session_stays_and_is_named(self) -> None:
        known = node(TWO, A)
        made = plan(database(known, discoveries=[send_targets(ASKED, known)]), [answer()], [session(7, TWO, A)], prune=True)
        assert words(made) == []
        assert any("session 7" in problem["what"] for problem in made.problems)


class TestAbsent:
    def test_record_and_nodes_go(self) -> None:
        known = node(ONE, A)
        made = plan(database(known, discoveries=[send_targets(ASKED, known)]), [], state="absent")
        assert words(made) == [f"forget node {ONE} at {A}", "forget discovery at 192.0.2.1:3260"]

    def test_unknown_portal_is_nothing_to_do(self) -> None:
        assert words(plan(database(), [], state="absent")) == []

    def test_a_session_refuses(self) -> None:
        known = node(ONE, A)
        with pytest.raises(InUseError, match="session 3"):
            plan(database(known, discoveries=[send_targets(ASKED, known)]), [], [session(3, ONE, A)], state="absent")


@pytest.mark.parametrize(("filters", "portal", "reason"), [
    pytest.param(Filters(), "192.0.2.1:3260,1", None, id="none"),
    pytest.param(Filters(), "[fe80::1]:3260,1", "link-local", id="link-local-is-out"),
    pytest.param(Filters(link_local=True), "[fe80::1]:3260,1", None, id="link-local-asked-for"),
    pytest.param(Filters(targets=["iqn.2026-11.*"]), "192.0.2.1", None, id="glob-matches"),
    pytest.param(Filters(targets=["iqn.1999-*"]), "192.0.2.1", "pattern", id="glob-does-not"),
    pytest.param(Filters(targets=["IQN.2026-11.*"]), "192.0.2.1", "pattern", id="glob-case-counts"),
])
def test_filters(filters: Filters, portal: str, reason: t.Optional[str]) -> None:
    said = filters.reason_against(ONE, parse_portal(portal))
    assert (said is None) if reason is None else (said is not None and reason in said)


@pytest.mark.parametrize(("networks", "kept"), [
    (["192.0.2.0/24"], ["192.0.2.1:3260,1"]),
    (["192.0.2.1"], ["192.0.2.1:3260,1"]),
    (["fd00:56::/64"], ["[fd00:56::1]:3260,1"]),
    (["192.0.2.0/24", "fd00:56::/64"], ["192.0.2.1:3260,1", "[fd00:56::1]:3260,1"]),
])
def test_networks(networks: t.List[str], kept: t.List[str]) -> None:
    portals = [parse_portal(text) for text in ("192.0.2.1:3260,1", "[fd00:56::1]:3260,1", "array.example:3260,1")]
    made = plan(database(), [answer((ONE, portals))], networks=networks)
    assert made.facts["nodes"][0]["portals"] == kept
    assert any("host name" in entry["reason"] for entry in made.facts["filtered"])


@pytest.mark.parametrize(("params", "says"), [
    ({"portals": []}, "empty list"),
    ({"portals": ["1.2.3.4:99999"]}, "99999"),
    ({"networks": ["192.168.1.0/33"]}, "not a network"),
    ({"settings": {"node.startpu": "automatic"}}, "node.startup"),
    ({"settings": {"node.session.timeo.replacement_timeout": "abc"}}, "abc"),
    ({"timeout": 0}, "timeout"),
    ({"initiator_name": "host1"}, "iqn"),
    ({"auth": {"method": "CHAP", "username": "u", "password": "same-secret-1", "password_in": "same-secret-1", "username_in": "v"}}, "same secret"),
    ({"method": "iscsiadm", "auth": {"method": "None"}}, "method"),
])
def test_wrong_options_are_refused_in_words(params: t.Dict[str, t.Any], says: str) -> None:
    with pytest.raises(InputError) as caught:
        DiscoveryTask(discovery_params(**params))
    assert says in caught.value.sentence() and "same-secret-1" not in caught.value.sentence()


def test_a_changed_secret_is_seen_and_not_shown() -> None:
    old = node(ONE, A, **{"node.session.auth.password": "old-secret"})[1]
    before, after = record_sides(old, old.with_settings({"node.session.auth.password": "new-secret"}))
    assert before is not None and after is not None
    assert before != after and "secret" not in str(list(before.values()) + list(after.values()))


def test_auth_none_empties_names_and_secrets() -> None:
    settings = auth_settings("node.session.auth", {"method": "None", "username": "u", "password": "p"})
    assert settings["node.session.auth.username"] == "" and settings["node.session.auth.authmethod"] == "None"


def test_secrets_of_a_record_without_chap_are_not_used() -> None:
    assert read_auth("node.session.auth", {"node.session.auth.username": "u", "node.session.auth.password": "p"}) is None


def test_the_found_kind_of_links_is_that_of_the_portal_asked() -> None:
    known = node(ONE, A)
    db = database(known, discoveries=[send_targets(ASKED, known)])
    assert db.links[ASKED.endpoint] == {NodeKey(ONE, A)} and Kind.SEND_TARGETS.value == "sendtargets"
