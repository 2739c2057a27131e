# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Repair, by values: what is saved of a damaged file, which records go, what is left alone without ``repair``."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import bring_about, render_diff
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, HostError, InputError, InUseError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey, parse_portal
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi import discovery, nodes
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.ask import Answer
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.database import open_writer
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.layout import locate
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.new_records import new_node, new_send_targets
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.record import render_record
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.repair import salvage
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import Kind
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.stored import STATIC, Damaged, Discovery, read_database
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.version import NEWEST

from .builders import A, B, ONE, TWO, conf, database, discovery_params, node, node_params, session

OTHER_TAG = A._replace(tpgt=2)
SECRET = "plain-secret-kept"
CHAP = {"node.session.auth.authmethod": "CHAP", "node.session.auth.username": "u", "node.session.auth.password": SECRET}
WHOLE = render_record(node(ONE, A, startup="automatic", **{"node.session.timeo.replacement_timeout": "77", **CHAP})[1])
CUT = WHOLE[:WHOLE.index("node.session.err_timeo.lu_reset_timeout = 30") + len("node.session.err_timeo.lu_reset_timeout = 3")]


def entry(target: str = ONE, portals: t.Any = None, ifaces: t.Any = None) -> t.Dict[str, t.Any]:
    return {"target": target, "portals": portals, "ifaces": ifaces}


def plan(db: t.Any, sessions: t.Sequence[t.Any] = (), **params: t.Any) -> t.Any:
    return nodes.NodeTask(node_params(**params)).plan(nodes.Found(db, conf(**{"node.session.timeo.replacement_timeout": "15"}), sessions))


def words(made: t.Any) -> t.List[str]:
    return [str(step) for step in made.steps]


@pytest.mark.parametrize(("text", "saved"), [
    pytest.param("", {}, id="empty"),
    pytest.param("\0" * 4096, {}, id="zeroes"),
    pytest.param("node.startup = automatic", {}, id="a-last-line-without-end-may-be-cut"),
    pytest.param("node.startup = automatic\n", {"node.startup": "automatic"}, id="whole-line"),
    pytest.param("node.startup = sometimes\nnode.leading_login = Yes\n", {"node.leading_login": "Yes"}, id="wrong-word"),
    pytest.param("node.session.queue_depth = 999999\nnode.session.cmds_max = 3\n", {}, id="out-of-range"),
    pytest.param("node.name = iqn.2001-01.x\nnode.conn[0].address = 10.0.0.1\niface.mtu = 1\n", {}, id="not-what-it-is-looked-up-by"),
    pytest.param("node.colour = blue\nrubbish\n\1\2 = 3\nnode.startup = onboot\n", {"node.startup": "onboot"}, id="rubbish-between"),
    pytest.param("node.session.auth.username = a\0b\nnode.session.auth.password = a = #b\n", {"node.session.auth.password": "a = #b"}, id="text"),
    pytest.param("node.startup = manual\nnode.startup = onboot\n", {"node.startup": "onboot"}, id="the-last-one-wins-as-in-iscsiadm"),
])
def test_what_is_saved_of_a_damaged_file(text: str, saved: t.Dict[str, str]) -> None:
    assert salvage(Damaged("/x", "is damaged", text), Kind.NODE, NEWEST) == saved


def test_a_damaged_file_is_not_shown() -> None:
    assert SECRET not in repr(database(damaged={NodeKey(ONE, A): CUT}))


class TestDamaged:
    DB = database(node(TWO, A), damaged={NodeKey(ONE, A): CUT, NodeKey(ONE, B): ""})

    @pytest.mark.parametrize("portals", [[str(A)], ["192.0.2.1"], None], ids=["named", "without-tag", "as-recorded"])
    def test_without_repair_nothing_is_planned_and_the_task_fails(self, portals: t.Any) -> None:
        task = nodes.NodeTask(node_params(nodes=[entry(portals=portals)], startup="manual"))
        found = nodes.Found(self.DB, conf())
        assert words(task.plan(found)) == []
        with pytest.raises(DamagedError, match="repair: true") as caught:
            task.finish(found, False)
        assert f"/{ONE} at {A} was cut off" in caught.value.sentence() and SECRET not in caught.value.sentence()

    def test_a_login_over_it_fails_and_the_others_are_tried(self) -> None:
        db = database(node(ONE, B), damaged={NodeKey(ONE, A): CUT})
        task = nodes.NodeTask(node_params(nodes=[entry()], state="logged_in", require="any"))
        found = nodes.Found(db, conf())
        assert words(task.plan(found)) == [f"log in to {ONE} at {B}"]
        assert [(path["portal"], path["verdict"]) for path in task.finish(found, False)["paths"]] == [(str(B), "would log in"), (str(A), "failed")]

    def test_repair_writes_it_anew(self) -> None:
        made = plan(self.DB, nodes=[entry(portals=[str(A)])], repair=True, leading_login=True)
        assert words(made) == [f"repair node {ONE} at {A} (its file was cut off)"]
        _kind, key, (old, new, found_by) = made.steps[0].work
        assert (key, old, found_by) == (NodeKey(ONE, A), None, STATIC)
        # saved; of the task; cut off and therefore the default; never saved and therefore of the portal
        assert [new.get(name) for name in ("node.startup", "node.leading_login", "node.session.err_timeo.lu_reset_timeout", "node.conn[0].address")] == [
            "automatic", "Yes", "30", A.host]
        assert new.get("node.session.timeo.replacement_timeout") == "77" and new.get("node.session.auth.password") == SECRET

    def test_nothing_saved_comes_from_the_configuration(self) -> None:
        made = plan(self.DB, nodes=[entry(portals=[str(B)])], repair=True)
        assert made.steps[0].after["node.session.timeo.replacement_timeout"] == "15" and made.steps[0].after["node.startup"] == "manual"

    def test_the_diff_shows_no_secret(self) -> None:
        text = repr(render_diff(plan(self.DB, nodes=[entry()], repair=True).steps))
        assert "was cut off" in text and "node.session.auth.password = ****" in text and SECRET not in text

    def test_chap_of_which_the_secret_is_lost_is_refused(self) -> None:
        db = database(damaged={NodeKey(ONE, A): CUT[:CUT.index(SECRET) + 3]})
        with pytest.raises(InputError, match="CHAP without"):
            plan(db, nodes=[entry()], repair=True)
        assert plan(db, nodes=[entry()], repair=True, auth={"method": "CHAP", "username": "u", "password": SECRET}).steps

    def test_only_the_nodes_of_the_task(self) -> None:
        assert words(plan(self.DB, nodes=[entry(TWO)], repair=True)) == []

    def test_it_stays_with_the_discovery_that_is_linked_to_it(self) -> None:
        db = database(damaged={NodeKey(ONE, A): ""})
        how = Discovery(Kind.SEND_TARGETS, "192.0.2.9", 3260)
        db.damaged_found_by[NodeKey(ONE, A)] = how
        record = plan(db, nodes=[entry()], repair=True).steps[0].work[2]
        assert record.found_by == how and record.new.get("node.discovery_address") == "192.0.2.9"

    def test_absent(self) -> None:
        task = nodes.NodeTask(node_params(nodes=[entry()], state="absent"))
        assert words(task.plan(nodes.Found(self.DB, conf()))) == []
        with pytest.raises(DamagedError):
            task.finish(nodes.Found(self.DB, conf()), False)
        assert words(plan(self.DB, nodes=[entry(portals=[str(A)])], state="absent", repair=True)) == [f"forget node {ONE} at {A} (damaged)"]


class TestTags:
    DB = database(node(ONE, A), node(ONE, OTHER_TAG), node(ONE, B._replace(tpgt=2)), node(TWO, OTHER_TAG))

    @pytest.mark.parametrize(("portals", "gone"), [
        pytest.param([str(A)], [OTHER_TAG], id="the-other-one-goes"),
        pytest.param([str(OTHER_TAG)], [A], id="whichever-is-named"),
        pytest.param([str(A), str(OTHER_TAG)], [], id="both-are-named"),
        pytest.param(None, [], id="none-is-named"),
    ])
    def test_two_tags_at_a_portal(self, portals: t.Any, gone: t.Any) -> None:
        made = plan(self.DB, nodes=[entry(portals=portals)], repair=True)
        assert [step.work[:2] for step in made.steps] == [("delete", NodeKey(ONE, portal)) for portal in gone]
        assert words(plan(self.DB, nodes=[entry(portals=portals)])) == []

    def test_the_words(self) -> None:
        assert words(plan(self.DB, nodes=[entry(portals=[str(A)])], repair=True)) == [
            f"forget node {ONE} at {OTHER_TAG} (the task names this portal with the portal group tag 1)"]

    def test_a_tag_that_is_not_recorded_replaces_the_one_that_is(self) -> None:
        made = plan(database(node(ONE, A)), nodes=[entry(portals=[str(OTHER_TAG)])], repair=True)
        assert [step.work[:2] for step in made.steps] == [("delete", NodeKey(ONE, A)), ("write", NodeKey(ONE, OTHER_TAG))]

    def test_a_record_without_tag_is_the_same_node_until_one_has_the_tag(self) -> None:
        old = node(ONE, A._replace(tpgt=None))
        assert words(plan(database(old), nodes=[entry(portals=[str(A)])], repair=True)) == []
        made = plan(database(old, node(ONE, A)), nodes=[entry(portals=[str(A)])], repair=True)
        assert [step.work[:2] for step in made.steps] == [("delete", old[0])]

    def test_never_under_a_session(self) -> None:
        with pytest.raises(InUseError, match="session 7") as caught:
            plan(self.DB, [session(7, ONE, OTHER_TAG)], nodes=[entry(portals=[str(A)])], repair=True)
        assert str(OTHER_TAG) in caught.value.sentence() and "logged_out" in caught.value.sentence()
        assert len(words(plan(self.DB, [session(7, ONE, A)], nodes=[entry(portals=[str(A)])], repair=True))) == 1


class TestIfaceGone:
    BOUND, KEPT = node(ONE, A, iface="san9"), node(ONE, A, iface="san0")

    def test_it_goes_and_the_portal_is_recorded_with_default(self) -> None:
        made = plan(database(self.BOUND), repair=True)
        assert words(made) == [f"forget node {ONE} at {A} via iface san9 (its iface san9 is gone)", f"record node {ONE} at {A}"]
        assert words(plan(database(self.BOUND))) == []

    def test_beside_one_that_is_there(self) -> None:
        made = plan(database(self.BOUND, self.KEPT, ifaces={"san0": "tcp"}), repair=True)
        assert [step.work[:2] for step in made.steps] == [("delete", self.BOUND[0])]

    def test_an_iface_that_the_task_names_has_to_be_there(self) -> None:
        with pytest.raises(InputError, match="san9"):
            plan(database(self.BOUND), nodes=[entry(ifaces=["san9"])], repair=True)

    def test_never_under_a_session(self) -> None:
        with pytest.raises(InUseError, match="session 3"):
            plan(database(self.BOUND), [session(3, ONE, A, iface="san9")], repair=True)

    def test_other_targets_are_left_alone(self) -> None:
        assert words(plan(database(self.BOUND, node(TWO, A)), nodes=[entry(TWO)], repair=True)) == []


class TestDiscovery:
    ASKED = parse_portal("192.0.2.1")

    def plan(self, db: t.Any, sessions: t.Sequence[t.Any] = (), **params: t.Any) -> t.Any:
        answers = [Answer(self.ASKED, ((ONE, [A]),))]
        return discovery.DiscoveryTask(discovery_params(**params)).plan(discovery.Found(db, conf(), sessions, answers))

    def test_a_damaged_node_is_left_alone_or_repaired(self) -> None:
        db = database(damaged={NodeKey(ONE, A): CUT}, discoveries=[(self.ASKED, ())])
        assert words(self.plan(db)) == [] and self.plan(db).facts["added"] == []
        made = self.plan(db, repair=True)
        assert words(made) == [f"repair node {ONE} at {A} (its file was cut off)"] and SECRET not in repr(render_diff(made.steps))
        assert made.steps[0].work[2].get("node.discovery_address") == "192.0.2.1" and made.steps[0].work[2].get("node.startup") == "automatic"

    def test_other_tags_and_gone_ifaces(self) -> None:
        db = database(node(ONE, A), node(ONE, OTHER_TAG), node(ONE, A, iface="san9"), discoveries=[(self.ASKED, ())])
        assert words(self.plan(db)) == []
        made = self.plan(db, repair=True)
        assert [step.work for step in made.steps] == [("delete_node", NodeKey(ONE, OTHER_TAG)), ("delete_node", NodeKey(ONE, A, "san9"))]
        assert [gone["portal"] for gone in made.facts["pruned"]] == [str(OTHER_TAG), str(A)]
        with pytest.raises(InUseError):
            self.plan(db, [session(1, ONE, OTHER_TAG)], repair=True)

    def test_a_damaged_discovery_record(self) -> None:
        db = database(node(ONE, A))
        record = new_send_targets({}, self.ASKED, {"discovery.sendtargets.timeo.login_timeout": "7"}, version=NEWEST)
        db.damaged_send_targets[self.ASKED.endpoint] = Damaged("/st_config", "was cut off", render_record(record).replace("# END RECORD\n", ""))
        assert words(self.plan(db)) == []
        made = self.plan(db, repair=True)
        assert words(made) == ["repair discovery at 192.0.2.1:3260 (its file was cut off)"]
        assert made.steps[0].work[2] == record
        assert words(self.plan(db, state="absent")) == []
        assert words(self.plan(db, state="absent", repair=True)) == ["forget discovery at 192.0.2.1:3260 (damaged)"]


class TestOnDisk:
    """The writer over damaged files, without a host."""

    def damage(self, root: Path, text: str) -> t.Tuple[t.Any, NodeKey, Path]:
        (root / "sbin").mkdir(exist_ok=True)
        (root / "sbin/iscsiadm").write_bytes(b"# BEGIN RECORD 2.1.11\0")  # where its version is read
        location, key = locate(str(root)), NodeKey(ONE, A)
        with open_writer(location) as writer:
            writer.write_node(key, new_node({}, target=ONE, portal=A, version=NEWEST), STATIC)
        path = Path(location.nodes, ONE, "192.0.2.1,3260,1/default")
        path.write_text(text)
        return location, key, path

    def test_what_it_held_is_kept_aside_each_time(self, tmp_path: Path) -> None:
        for number, text in enumerate((CUT, CUT[:200]), 1):
            location, key, path = self.damage(tmp_path, text)
            found = read_database(location)
            assert set(found.damaged) == {key} and found.damaged_found_by == {key: STATIC} and key not in found.nodes
            assert [(problem["object"], "repair: true" in problem["remedy"]) for problem in found.problems] == [(str(path), True)]
            with open_writer(location) as writer:
                writer.write_node(key, new_node({}, target=ONE, portal=A, version=NEWEST), STATIC)
            copy = Path(location.folder, "damaged/nodes", ONE, f"192.0.2.1,3260,1/default.{number}")
            assert copy.read_text() == text and copy.stat().st_mode & 0o777 == 0o600
            assert read_database(location).problems == [] and set(read_database(location).nodes) == {key}
        assert len(list(copy.parent.iterdir())) == 2

    def test_of_an_empty_file_nothing_is_kept(self, tmp_path: Path) -> None:
        location, key, path = self.damage(tmp_path, "")
        with open_writer(location) as writer:
            assert writer.delete_node(key)
        assert not path.exists() and not Path(location.folder, "damaged").exists() and read_database(location).problems == []

    def test_without_repair_the_file_stays_and_is_named(self, tmp_path: Path) -> None:
        _location, _key, path = self.damage(tmp_path, CUT)
        with pytest.raises(DamagedError) as caught:
            bring_about(nodes.NodeTask(node_params(nodes=[entry(portals=[str(A)])], root=str(tmp_path))), check_mode=False)
        assert path.read_text() == CUT
        assert [problem["object"] for problem in caught.value.facts["problems"]] == [str(path)] and not caught.value.facts["changed"]

    def test_without_open_iscsi_the_plan_says_what_is_missing(self, tmp_path: Path) -> None:
        task = node_params(nodes=[entry(portals=[str(A)])], root=str(tmp_path))
        foreseen = bring_about(nodes.NodeTask(task), check_mode=True)
        assert foreseen["changed"] and [problem["what"].split(" under")[0] for problem in foreseen["problems"]] == ["is not installed"]
        with pytest.raises(HostError, match="is not installed"):
            bring_about(nodes.NodeTask(task), check_mode=False)
        assert not list(tmp_path.rglob("*"))
