# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor of the database: records as any version of open-iscsi makes them are whole; what is wrong with others, and what becomes of them."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import bring_about
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey, Portal, parse_portal
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi import doctor
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.checkup import more_faults
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.conf import parse_iscsid_conf
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.database import open_writer
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.layout import Location, locate
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.new_records import new_iface, new_isns, new_node, new_send_targets
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.session_keys import SessionKey
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.stored import FW, STATIC, Fault, read_database
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.version import Version, parse_version

from .test_versions import CASES, FIXTURES
from .builders import A, B, ONE, TWO, conf, database, node

VERSIONS = ["2.0.873", "2.0.874", "2.0.877", "2.1.1", "2.1.8", "2.1.9", "2.1.11"]
SECRET = "plain-secret-kept"


def host(root: Path, version: str = "2.1.8") -> Location:
    """A system with an iscsiadm of that version, as far as it is looked at."""
    (root / "sbin").mkdir(exist_ok=True)
    (root / "sbin/iscsiadm").write_bytes(f"# BEGIN RECORD {version}\0".encode())
    return locate(str(root))


def filled(root: Path, version: str = "2.1.8", nodes: t.Sequence[NodeKey] = (NodeKey(ONE, A),), password: str = "") -> Location:
    location = host(root, version)
    iface = new_iface("san0", {"iface.net_ifacename": "eth1"}, version=t.cast(Version, location.version))
    with open_writer(location) as writer:
        writer.write_iface("san0", iface)
        writer.write_send_targets(Portal("192.0.2.9"), new_send_targets({}, Portal("192.0.2.9"), version=t.cast(Version, location.version)))
        writer.write_isns(Portal("192.0.2.8", 3205), new_isns({}, Portal("192.0.2.8", 3205), version=t.cast(Version, location.version)))
        for key in nodes:
            made = new_node({}, target=key.target, portal=key.portal, iface=iface if key.iface == "san0" else None, version=t.cast(Version, location.version))
            writer.write_node(key, made.with_settings({"node.session.auth.password": password}), STATIC)
    return location


def run(root: Path, *, repair: bool = False, check: bool = False, show: bool = False) -> t.Dict[str, t.Any]:
    return bring_about(doctor.DoctorTask({"root": str(root), "repair": repair, "show": show}), check_mode=check, diff_mode=True)


def checks(result: t.Mapping[str, t.Any]) -> t.List[str]:
    return [finding["check"] for finding in result["findings"]]


def tree(root: Path) -> t.Dict[str, bytes]:
    top = root / "etc/iscsi"
    return {str(path.relative_to(top)): os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
            for path in top.rglob("*") if path.is_symlink() or path.is_file()}


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_new_is_whole(tmp_path: Path, version: str) -> None:
    filled(tmp_path, version, [NodeKey(ONE, A), NodeKey(ONE, A, "san0"), NodeKey(TWO, B)])
    found = run(tmp_path, repair=True)
    # the versions that mix up static nodes and those of the firmware write what a later one takes for something else
    mixed = parse_version(version).mixes_discovery_types
    assert checks(found) == (["next_version"] if mixed else []) and found["steps"] == []
    assert found["records"] == {"nodes": 3, "ifaces": 1, "send_targets": 1, "isns": 1}


@pytest.mark.parametrize(("name", "iscsid"), CASES)
def test_what_real_versions_stored_is_whole(tmp_path: Path, name: str, iscsid: str) -> None:
    fixture = FIXTURES[name]
    for path, text in fixture.files[iscsid].items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        (tmp_path / path).chmod(0o600)
    for path, to in fixture.links[iscsid].items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).symlink_to(to)
    location = Location(str(tmp_path), str(tmp_path), fixture.database, str(tmp_path / "lock"), fixture.version)
    held = read_database(location)
    assert held.nodes and held.problems == []
    faults = more_faults(held, conf(**parse_iscsid_conf(fixture.confs[iscsid]))._replace(version=fixture.version))
    assert [fault.check for fault in faults] == (["next_version"] if fixture.version.mixes_discovery_types else []), faults


BAD: t.Dict[str, t.Tuple[str, str, str]] = {
    "a word where a number is": ("node.session.timeo.replacement_timeout = 120", "node.session.timeo.replacement_timeout = abc", "open-iscsi takes '0'"),
    "out of range": ("node.session.queue_depth = 32", "node.session.queue_depth = 99999", "from 1 to 1024"),
    "no power of two": ("node.session.cmds_max = 128", "node.session.cmds_max = 100", "2 to 2048"),
    "a word that is none of those": ("node.startup = manual", "node.startup = sometimes", "'manual' or 'automatic' or 'onboot'"),
    "a wrong algorithm": ("node.session.auth.chap_algs = MD5", "node.session.auth.chap_algs = MD5,ROT13", "a list of"),
    "another port": ("node.conn[0].port = 3260", "node.conn[0].port = 3261", "should be 3260"),
    "another address": ("node.conn[0].address = 192.0.2.1", "node.conn[0].address = 192.0.2.77", "should be 192.0.2.1"),
    "another iface": ("iface.iscsi_ifacename = default", "iface.iscsi_ifacename = san7", "should be default"),
    "a number of the iface that is too large": ("iface.mtu = 0", "iface.mtu = 99999", "65535"),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_values_are_named_and_set_as_in_a_new_record(tmp_path: Path, case: str) -> None:
    filled(tmp_path)
    right, wrong, says = BAD[case]
    path = next(tmp_path.rglob("default"))
    whole = tree(tmp_path)
    path.write_text(path.read_text().replace(right, wrong))
    found = run(tmp_path)
    assert checks(found) == ["bad_value"] and says in found["problems"][0]["what"] and found["steps"] == []
    done = run(tmp_path, repair=True)
    assert len(done["steps"]) == 1 and done["problems"] == [] and {name: held for name, held in tree(tmp_path).items() if "damaged" not in name} == whole
    assert wrong in Path(done["kept"][0]).read_text()


@pytest.mark.parametrize("same", ["node.session.queue_depth = 032", "node.session.queue_depth = +32"])
def test_another_spelling_is_no_fault(tmp_path: Path, same: str) -> None:
    filled(tmp_path)
    path = next(tmp_path.rglob("default"))
    path.write_text(path.read_text().replace("node.session.queue_depth = 32", same))
    assert run(tmp_path, repair=True)["findings"] == []


def test_a_secret_is_not_shown(tmp_path: Path) -> None:
    filled(tmp_path, password=SECRET * 20)
    found = run(tmp_path, repair=True)
    assert checks(found) == ["bad_value"] and SECRET not in str(found) and "secret" in found["findings"][0]["what"]


def test_nor_is_one_that_came_into_another_setting(tmp_path: Path) -> None:
    filled(tmp_path)
    path = next(tmp_path.rglob("default"))
    path.write_text(path.read_text().replace("node.startup = manual", f"node.startup = {SECRET}").replace("32\n", f"32{SECRET}\n"))
    found = run(tmp_path)
    assert checks(found) == ["bad_value", "bad_value"] and SECRET not in str(found)
    assert SECRET not in str(run(tmp_path, repair=True, check=True)) and SECRET not in str(run(tmp_path, repair=True)) and SECRET not in path.read_text()


@pytest.mark.parametrize("text", [None, "", "\0\0\0"], ids=["gone", "empty", "zeroes"])
def test_an_iface_comes_back_for_a_damaged_node_too(tmp_path: Path, text: t.Optional[str]) -> None:
    location = filled(tmp_path, nodes=[NodeKey(ONE, A, "san0"), NodeKey(TWO, B, "san0")])
    whole, iface = tree(tmp_path), Path(location.ifaces) / "san0"
    next(path for path in tmp_path.rglob("san0") if TWO in str(path)).write_text("")
    iface.unlink() if text is None else iface.write_text(text)
    done = run(tmp_path, repair=True)
    assert len(done["steps"]) == 2 and done["problems"] == []
    assert {name: held for name, held in tree(tmp_path).items() if "damaged" not in name} == whole


@pytest.mark.parametrize(("text", "mode", "found"), [
    ("node.startup = manual\n", 0o644, []), (f"node.session.auth.password = {SECRET}\n", 0o600, []),
    (f"node.session.auth.password = {SECRET}\n", 0o640, ["permissions"]), (f"#node.session.auth.password = {SECRET}\n", 0o644, []),
])
def test_a_configuration_with_secrets_is_for_root_alone(tmp_path: Path, text: str, mode: int, found: t.List[str]) -> None:
    filled(tmp_path)
    path = tmp_path / "etc/iscsi/iscsid.conf"
    path.write_text(text)
    path.chmod(mode)
    done = run(tmp_path, repair=True)
    assert checks(done) == found and SECRET not in str(done) and done["problems"] == []
    assert path.stat().st_mode & 0o777 == (0o600 if found else mode) and path.read_text() == text


def live(*keys: NodeKey) -> t.List[SessionKey]:
    return [SessionKey(number, key) for number, key in enumerate(keys, 1)]


SECOND = NodeKey(ONE, A._replace(tpgt=2))


@pytest.mark.parametrize(("sessions", "goes"), [
    pytest.param([], [], id="nobody-knows"),
    pytest.param([SECOND], [f"forget node {NodeKey(ONE, A)} (the portal has the tag 2)"], id="the-one-with-a-session-stays"),
    pytest.param([NodeKey(ONE, A), SECOND], [], id="both-have-sessions"),
    pytest.param([SECOND._replace(portal=A._replace(tpgt=None))], [], id="a-session-whose-tag-is-not-known"),
    pytest.param([SECOND._replace(target=TWO)], [], id="a-session-of-another-target"),
    pytest.param([SECOND._replace(portal=A._replace(tpgt=3))], [], id="a-session-with-a-tag-that-is-not-recorded"),
])
def test_of_two_tags_the_one_with_a_session_stays(sessions: t.Sequence[NodeKey], goes: t.List[str]) -> None:
    db = database(node(ONE, A), node(ONE, SECOND.portal))
    found = doctor.Found(db, conf(), live(*sessions), [Fault("duplicate_tpgt", "x", "y", "z")])
    made = doctor.DoctorTask({"root": "/", "repair": True, "show": False}).plan(found)
    assert [str(step) for step in made.steps] == goes


def test_any_tag_is_better_than_none() -> None:
    none = NodeKey(ONE, A._replace(tpgt=None))
    db = database(node(ONE, none.portal), node(ONE, A), node(ONE, SECOND.portal))
    made = doctor.DoctorTask({"root": "/", "repair": True, "show": False}).plan(doctor.Found(db, conf(), live(none), [Fault("duplicate_tpgt", "x", "y", "z")]))
    assert [str(step) for step in made.steps] == [f"forget node {none} (the portal has the tag 1 or 2)"]


def test_an_iface_comes_back_only_if_its_nodes_agree(tmp_path: Path) -> None:
    location = filled(tmp_path, nodes=[NodeKey(ONE, A, "san0"), NodeKey(TWO, B, "san0")])
    (Path(location.ifaces) / "san0").unlink()
    record = next(path for path in tmp_path.rglob("san0") if TWO in str(path))
    record.write_text(record.read_text().replace("net_ifacename = eth1", "net_ifacename = eth2"))
    done = run(tmp_path, repair=True)
    assert checks(done) == ["missing_iface", "missing_iface"] and done["steps"] == [] and len(done["problems"]) == 2
    record.write_text(record.read_text().replace("net_ifacename = eth2", "net_ifacename = eth1"))
    assert run(tmp_path, repair=True)["steps"] == ["record iface san0 (as its nodes hold it)"]
    assert read_database(location).ifaces["san0"].record == new_iface("san0", {"iface.net_ifacename": "eth1"}, version=t.cast(Version, location.version))


class TestVersionsThatMixUpHowNodesWereFound:
    def test_after_the_update_records_are_written_right(self, tmp_path: Path) -> None:
        filled(tmp_path, "2.1.11")
        path = next(tmp_path.rglob("default"))
        assert "node.discovery_type = fw\n" in path.read_text()
        assert checks(run(tmp_path, repair=True)) == ["next_version"] and "node.discovery_type = fw\n" in path.read_text()
        (tmp_path / "var/lib/dpkg").mkdir(parents=True)
        (tmp_path / "var/lib/dpkg/status").write_text("Package: open-iscsi\nStatus: install ok installed\nVersion: 2.1.11-4\n\n")
        done = run(tmp_path, repair=True)
        assert checks(done) == ["next_version"] and len(done["steps"]) == 1 and done["problems"] == []
        assert "node.discovery_type = static\n" in path.read_text()

    def test_nodes_of_the_firmware_are_not_taken_for_static_ones(self, tmp_path: Path) -> None:
        location = host(tmp_path, "2.1.8")
        with open_writer(location) as writer:
            writer.write_node(NodeKey(ONE, A), new_node({}, target=ONE, portal=A, version=t.cast(Version, location.version), discovery=FW), FW)
        assert run(tmp_path)["findings"] == []


def test_without_an_open_iscsi_nothing_is_written(tmp_path: Path) -> None:
    filled(tmp_path)
    next(tmp_path.rglob("default")).write_text("")
    (tmp_path / "sbin/iscsiadm").unlink()
    before = tree(tmp_path)
    assert set(checks(run(tmp_path))) == {"damaged", "not_installed"}
    with pytest.raises(HostError, match="is not installed"):
        run(tmp_path, repair=True)
    assert tree(tmp_path) == before


def _records(root: Path) -> t.List[Path]:
    return sorted(path for path in (root / "etc/iscsi").rglob("*") if path.is_file() and not path.is_symlink() and "damaged" not in str(path))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], phases=[Phase.explicit, Phase.generate])
@given(data=st.data())
def test_whatever_happens_to_files_repair_ends_and_the_second_one_changes_nothing(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    root = tmp_path_factory.mktemp("db")
    keys = [NodeKey(ONE, A), NodeKey(ONE, A, "san0"), SECOND, NodeKey(TWO, B)]
    filled(root, data.draw(st.sampled_from(["2.0.873", "2.1.8", "2.1.11"])), keys, SECRET)
    for _number in range(data.draw(st.integers(1, 4))):
        files = _records(root)
        if not files:
            break
        path = data.draw(st.sampled_from(files))
        held = path.read_bytes()
        what = data.draw(st.sampled_from(["cut", "noise", "empty", "remove", "line", "mode"]))
        if what == "cut":
            path.write_bytes(held[:data.draw(st.integers(0, len(held)))])
        elif what == "noise":
            place = data.draw(st.integers(0, len(held)))
            path.write_bytes(held[:place] + data.draw(st.binary(max_size=40)) + held[place + data.draw(st.integers(0, 40)):])
        elif what == "empty":
            path.write_bytes(b"")
        elif what == "remove":
            path.unlink()
        elif what == "mode":
            path.chmod(0o666)
        else:
            lines = held.split(b"\n")
            number = data.draw(st.integers(0, max(0, len(lines) - 2)))
            lines[number] = lines[number].partition(b" = ")[0] + b" = " + data.draw(st.text(max_size=12)).encode("utf-8", "surrogateescape").replace(b"\n", b"")
            path.write_bytes(b"\n".join(lines))
    before = tree(root)
    first = run(root)
    assert tree(root) == before and not first["changed"] and SECRET not in str(first)
    predicted = run(root, repair=True, check=True)
    assert tree(root) == before
    done = run(root, repair=True)
    assert done["steps"] == predicted["steps"] and len(done["problems"]) <= len(predicted["problems"]) and SECRET not in str(done)
    after = tree(root)
    again = run(root, repair=True)
    assert not again["changed"] and tree(root) == after
    # what was changed or removed and was not empty has a copy
    kept = [held for name, held in after.items() if name.startswith("damaged/")]
    gone = [held for name, held in before.items() if held.strip(b"\0") and not name.startswith(("damaged/", "static/")) and after.get(name) != held]
    assert sorted(held for held in gone if held in kept) == sorted(gone)


class TestShow:
    KEYS = (NodeKey(ONE, A), NodeKey(ONE, B), NodeKey(ONE, A, "san0"), NodeKey(TWO, A))

    def test_nodes_as_the_next_task_takes_them(self, tmp_path: Path) -> None:
        filled(tmp_path, nodes=self.KEYS)
        found = run(tmp_path, show=True)
        assert found["nodes"] == [
            {"target": ONE, "portals": [str(A)], "ifaces": ["default", "san0"]}, {"target": ONE, "portals": [str(B)], "ifaces": ["default"]},
            {"target": TWO, "portals": [str(A)], "ifaces": ["default"]}]
        assert {(key.target, key.portal, key.iface) for key in self.KEYS} == {
            (one["target"], parse_portal(portal), iface) for one in found["nodes"] for portal in one["portals"] for iface in one["ifaces"]}

    def test_settings_without_secrets(self, tmp_path: Path) -> None:
        location = filled(tmp_path, password=SECRET)
        path = next(Path(location.nodes).rglob("default"))
        path.write_text(path.read_text().replace("# END", "node.session.auth.future_secret = plain-secret-too\n# END"))
        found = run(tmp_path, show=True)
        record = found["node_records"][0]
        assert (record["target"], record["portal"], record["iface"], record["found_by"]) == (ONE, str(A), "default", {"type": "static", "portal": None})
        assert record["settings"]["node.session.auth.password"] == record["settings"]["node.session.auth.future_secret"] == "********"
        assert record["settings"]["node.startup"] == "manual" and "plain-secret" not in str(found)

    def test_discoveries_and_what_was_found_by_them(self, tmp_path: Path) -> None:
        location = filled(tmp_path)
        asked, key = Portal("192.0.2.9"), NodeKey(TWO, B)
        with open_writer(location) as writer:
            writer.write_node(key, new_node({}, target=TWO, portal=B, discovery=asked, version=t.cast(Version, location.version)), asked)
        found = run(tmp_path, show=True)
        assert [(one["type"], one["portal"], [node["target"] for node in one["nodes"]]) for one in found["discovery_records"]] == [
            ("send_targets", "192.0.2.9:3260", [TWO]), ("isns", "192.0.2.8:3205", [])]
        assert found["node_records"][1]["found_by"] == {"type": "send_targets", "portal": "192.0.2.9:3260"}
        assert [(one["name"], one["settings"]["iface.net_ifacename"]) for one in found["iface_records"]] == [("san0", "eth1")]

    def test_nothing_is_shown_unasked(self, tmp_path: Path) -> None:
        filled(tmp_path)
        assert not {"nodes", "node_records", "iface_records", "discovery_records"} & set(run(tmp_path))
