# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What iscsi_iface plans, by values; and that any valid state of an iface, once written, is no work for the next run."""

from __future__ import annotations

import string
import typing as t
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import bring_about
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InputError, InUseError, IscsiError
from ansible_collections.lunar.iscsi.plugins.module_utils._host import rp_filter
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result, Runner
from ansible_collections.lunar.iscsi.plugins.module_utils._host.rp_filter import RpFilter
from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi import ifaces
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.database import open_writer
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.iface_wanted import Binding, check_iface_name
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.iscsiadm import Iscsiadm, IscsiadmError, parse_pings
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.layout import locate
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.new_records import new_iface, new_node
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.ports import differing_port
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import Field, Kind, Type, fields
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.session_keys import SessionKey
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.stored import STATIC, Database, read_database
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.version import NEWEST

from ..sysfs_tree import Tree
from .builders import A, B, ONE, TWO, database

ON_SAN0 = NodeKey(ONE, A, "san0")


def params(**options: t.Any) -> t.Dict[str, t.Any]:
    return {"name": "san0", "state": "present", "transport": None, "settings": None, "force": False, "rp_filter": "report", "apply": False, "ping": None,
            "repair": False, "timeout": 30, "root": "/", **options}


def held(*keys: NodeKey, **given_settings: str) -> Database:
    """A database with the iface san0 and nodes that are bound to it."""
    made = new_iface("san0", {f"iface.{key}": value for key, value in given_settings.items()}, version=NEWEST)
    return database(*((key, new_node({}, target=key.target, portal=key.portal, iface=made if key.iface == "san0" else None, version=NEWEST)) for key in keys),
                    ifaces={"san0": "tcp"})


def plan(db: Database, *, found: t.Optional[t.Mapping[str, t.Any]] = None, **options: t.Any) -> t.Any:
    return ifaces.IfaceTask(params(**options)).plan(ifaces.Found(db, **(found or {})))


def words(made: t.Any) -> t.List[str]:
    return [str(step) for step in made.steps]


class TestSessions:
    LIVE = (SessionKey(3, ON_SAN0), SessionKey(4, NodeKey(TWO, B, "san0")))

    @pytest.mark.parametrize("options", [
        pytest.param({"settings": {"iface.mtu": 9000}}, id="update"),
        pytest.param({"state": "absent", "force": True}, id="absent"),
        pytest.param({"transport": "iser"}, id="transport"),
    ])
    def test_a_record_with_sessions_on_it_does_not_change(self, options: t.Dict[str, t.Any]) -> None:
        with pytest.raises(InUseError) as caught:
            plan(held(ON_SAN0), found={"sessions": self.LIVE}, **options)
        assert caught.value.users == (f"session 3 ({ONE} at {A})", f"session 4 ({TWO} at {B})")

    def test_nor_comes_one_under_them(self) -> None:
        with pytest.raises(InUseError, match="session 3"):
            plan(database(), found={"sessions": self.LIVE})

    def test_what_is_there_already_is_no_change(self) -> None:
        made = plan(held(ON_SAN0), found={"sessions": self.LIVE}, settings={"iface.mtu": 0})
        assert words(made) == [] and made.facts["sids"] == [3, 4] and made.facts["bound"] == [{"target": ONE, "portal": str(A), "iface": "san0"}]


class TestBoundNodes:
    def test_they_follow(self) -> None:
        made = plan(held(ON_SAN0, NodeKey(TWO, B)), settings={"iface.mtu": 9000})
        assert words(made) == ["update iface san0", f"update node {ON_SAN0}"]
        assert [(step.before["iface.mtu"], step.after["iface.mtu"]) for step in made.steps] == [("0", "9000")] * 2
        assert {key for step in made.steps for key in step.after if step.before.get(key) != step.after[key]} == {"iface.mtu"}

    def test_one_that_was_left_behind_follows_too(self) -> None:
        made = plan(held(ON_SAN0, mtu="9000"), settings={"iface.mtu": 0})
        assert words(made) == [f"update node {ON_SAN0}"]

    def test_what_is_not_named_stays(self) -> None:
        assert words(plan(held(ON_SAN0, mtu="9000"))) == []

    def test_absent_names_them(self) -> None:
        with pytest.raises(InUseError) as caught:
            plan(held(ON_SAN0, NodeKey(TWO, B)), state="absent")
        assert caught.value.users == (f"node {ON_SAN0}",) and "force: true" in caught.value.remedy
        made = plan(held(ON_SAN0, NodeKey(TWO, B)), state="absent", force=True)
        assert words(made) == [f"forget node {ON_SAN0}", "forget iface san0"]

    def test_damaged_ones_are_bound_too(self) -> None:
        db = database(ifaces={"san0": "tcp"}, damaged={ON_SAN0: "node.startup = a"})
        with pytest.raises(InUseError) as caught:
            plan(db, state="absent")
        assert caught.value.users == (f"node {ON_SAN0}",)
        assert words(plan(db, state="absent", force=True)) == [f"forget node {ON_SAN0} (damaged)", "forget iface san0"]


class TestWhatTheKernelLetsIn:
    @pytest.mark.parametrize(("of_all", "own", "strict"), [
        (0, 0, False), (0, 1, True), (0, 2, False), (1, 0, True), (1, 1, True), (1, 2, False), (2, 0, False), (2, 1, False), (2, 2, False), (None, 1, True),
    ])
    def test_the_greater_value_counts(self, of_all: t.Optional[int], own: int, strict: bool) -> None:
        found = {"binding": Binding("eth1"), "interface": "eth1", "rp_filter": RpFilter("eth1", of_all, own)}
        assert [problem["object"] for problem in plan(held(), found=found).problems] == (["network interface eth1"] if strict else [])
        if strict:
            with pytest.raises(HostError, match="rp_filter: set"):
                plan(held(), found=found, rp_filter="require")
        else:
            plan(held(), found=found, rp_filter="require")
        set_ = plan(held(), found=found, rp_filter="set")
        lasting = rp_filter.lasting_path("eth1")
        assert words(set_) == [f"write {lasting}", *(["loosen rp_filter of eth1"] if strict else [])] and set_.problems == []

    def test_the_file_is_written_once_and_goes_with_the_last_iface(self) -> None:
        found = {"binding": Binding("eth1"), "interface": "eth1", "rp_filter": RpFilter("eth1", 0, 2), "lasting": rp_filter.lasting_text("eth1")}
        assert words(plan(held(), found=found, rp_filter="set")) == []
        assert words(plan(held(), found=found, state="absent")) == ["forget iface san0", f"remove {rp_filter.lasting_path('eth1')}"]
        assert words(plan(held(), found={**found, "shared": True}, state="absent")) == ["forget iface san0"]

    def test_an_interface_that_is_not_there_is_named(self) -> None:
        made = plan(held(), found={"binding": Binding("eth9")}, rp_filter="set")
        assert words(made) == [] and "no such network interface" in made.problems[0]["what"]

    def test_reading(self, tmp_path: Path) -> None:
        tree = Tree(tmp_path)
        tree.write("/proc/sys/net/ipv4/conf/all/rp_filter", "2\n")
        tree.write("/proc/sys/net/ipv4/conf/eth0.5/rp_filter", "1\n")
        assert rp_filter.read_rp_filter("eth0.5", tree.proc) == RpFilter("eth0.5", 2, 1) and rp_filter.read_rp_filter("eth0.5", tree.proc).effective == 2
        assert rp_filter.read_rp_filter("eth9", tree.proc).effective is None
        rp_filter.loosen("eth0.5", tree.proc)
        assert rp_filter.read_rp_filter("eth0.5", tree.proc).own == 2
        with pytest.raises(HostError, match="could not be set"):
            rp_filter.loosen("eth9", tree.proc)


class Says(Runner):
    """A runner that answers with one result, and keeps what it was asked."""

    def __init__(self, code: int, stdout: str = "", stderr: str = "") -> None:
        super().__init__()
        self.asked: t.List[str] = []
        self.said = (code, stdout, stderr)

    def run(self, argv: t.Sequence[str], **_options: t.Any) -> Result:
        self.asked.append(" ".join(argv))
        return Result(tuple(argv), *self.said)


class TestPorts:
    HBA = "00:0e:1e:04:8b:2e"

    def grown(self, root: Path, **attributes: str) -> str:
        tree = Tree(root)
        tree.attributes("/sys/class/iscsi_host/host7", hwaddress=self.HBA.upper())
        tree.attributes("/sys/class/iscsi_iface/ipv4-iface-7-0", **{"ipaddress": "192.0.2.9", "vlan_id": "0", "mtu": "1500", **attributes})
        return tree.sys

    def record(self, **given_settings: str) -> t.Any:
        return new_iface("hba0", {"iface.transport_name": "qla4xxx", "iface.hwaddress": self.HBA,
                                  **{f"iface.{key}": value for key, value in given_settings.items()}}, version=NEWEST)

    def test_what_a_port_has_otherwise(self, tmp_path: Path) -> None:
        sys = self.grown(tmp_path)
        assert differing_port(self.record(ipaddress="192.0.2.9", mtu="1500", gateway="192.0.2.1"), sys) == {}
        assert differing_port(self.record(ipaddress="192.0.2.10", vlan_id="56"), sys) == {
            "iface.ipaddress": ("192.0.2.9", "192.0.2.10"), "iface.vlan_id": ("0", "56")}
        assert differing_port(self.record(ipaddress="192.0.2.10", iface_num="1"), sys) == {}
        assert differing_port(new_iface("san0", {"iface.ipaddress": "192.0.2.10"}, version=NEWEST), sys) == {}

    def test_it_is_applied_to_once_and_only_where_there_is_something_to_apply(self) -> None:
        runner = Says(0, "hba0 applied.\n")
        options = params(name="hba0", transport="qla4xxx", apply=True)
        task = ifaces.IfaceTask(options, Iscsiadm(runner))
        db = database(ifaces={"hba0": "qla4xxx"})
        assert words(task.plan(ifaces.Found(db))) == []
        made = task.plan(ifaces.Found(db, port={"iface.ipaddress": ("192.0.2.9", "192.0.2.10")}))
        assert words(made) == ["apply iface hba0"]
        assert (made.steps[0].before, made.steps[0].after) == ({"iface.ipaddress": "192.0.2.9"}, {"iface.ipaddress": "192.0.2.10"})
        task.apply(made.steps)
        assert runner.asked == ["iscsiadm -m iface -I hba0 -o apply"]
        # a driver may take its time to show it; that is no reason to apply again, or to fail
        assert words(task.plan(ifaces.Found(db, port={"iface.ipaddress": ("192.0.2.9", "192.0.2.10")}))) == []

    def test_a_refusal_is_told(self) -> None:
        with pytest.raises(IscsiadmError, match="Could not apply net configuration"):
            Iscsiadm(Says(1, "", "iscsiadm: Could not apply net configuration: unknown error\n")).apply_iface("hba0")

    @pytest.mark.parametrize(("said", "statistics"), [
        ("Ping 1 completed\n", {"sent": 1, "answered": 1, "failed": []}),
        ("Ping 1 failed: timed out\nPing 2 completed\n", {"sent": 2, "answered": 1, "failed": [{"number": 1, "reason": "timed out"}]}),
        ("Ping 1 failed: (null)\n", {"sent": 1, "answered": 0, "failed": [{"number": 1, "reason": "(null)"}]}),
    ])
    def test_ping(self, said: str, statistics: t.Dict[str, t.Any]) -> None:
        options = params(name="hba0", ping={"address": "192.0.2.1", "count": 2, "size": 64, "interval": 1})
        runner = Says(0, said)
        done = ifaces.IfaceTask(options, Iscsiadm(runner)).finish(ifaces.Found(database(ifaces={"hba0": "qla4xxx"})), False)
        assert done["ping"] == statistics and bool(done["problems"]) is bool(statistics["failed"])
        assert runner.asked == ["iscsiadm -m iface -I hba0 -C ping -a 192.0.2.1 -b 64 -c 2 -i 1"]

    def test_no_ping_at_all_is_an_error(self) -> None:
        with pytest.raises(IscsiadmError, match="Can't find host_no"):
            Iscsiadm(Says(7, "", "iscsiadm: Can't find host_no.\n")).ping("hba0", "192.0.2.1", count=1, size=32, interval=0)
        assert parse_pings("iscsiadm: noise\nPing x completed\nPing 3\n") == []


@settings(max_examples=300, deadline=None)
@given(name=st.text(max_size=80))
def test_a_name_is_taken_whole_or_refused_in_words(name: str) -> None:
    try:
        assert check_iface_name(name) == name
    except InputError as error:
        assert error.what and error.remedy
    else:
        assert 1 <= len(name.encode("utf-8", "surrogateescape")) <= 64 and not set(name) & set("/, \n") and name not in ("default", "iser", ".", "..")


def value(one: Field) -> st.SearchStrategy[t.Any]:
    if one.key in ("iface.ipaddress", "iface.subnet_mask", "iface.gateway"):
        return st.sampled_from(["192.0.2.9", "255.255.255.0", "fd00::9", ""])
    if one.key == "iface.hwaddress":
        return st.sampled_from(["00:0F:1F:92:6B:BF", ""])
    if one.key == "iface.initiatorname":
        return st.sampled_from(["iqn.2026-11.org.example:x", ""])
    if one.type is Type.INT:
        return st.one_of(st.integers(one.shape.minimum, one.shape.maximum), st.just(0))
    if one.choices:
        return st.sampled_from([*one.choices, ""])
    return st.one_of(st.text(string.ascii_lowercase + "-.", max_size=12), st.text(max_size=20))


KNOWN = {key: one for key, one in fields(Kind.IFACE, NEWEST).items() if not one.read_only}
wanted = st.lists(st.sampled_from(sorted(KNOWN)), unique=True, max_size=8).flatmap(lambda keys: st.fixed_dictionaries({key: value(KNOWN[key]) for key in keys}))


@settings(max_examples=120, deadline=None)
@given(name=st.sampled_from(["san0", "hba.ipv6.0"]), first=wanted, second=wanted)
def test_any_state_is_refused_in_words_or_reached_and_kept(
    tmp_path_factory: pytest.TempPathFactory, name: str, first: t.Dict[str, t.Any], second: t.Dict[str, t.Any],
) -> None:
    root = tmp_path_factory.mktemp("host")
    (root / "sbin").mkdir()
    (root / "sbin/iscsiadm").write_bytes(b"# BEGIN RECORD 2.1.11\0")
    location = locate(str(root))
    key = NodeKey(ONE, A, name)
    for number, given_settings in enumerate((first, second)):
        options = params(name=name, settings=given_settings, root=str(root))
        before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
        try:
            predicted = bring_about(ifaces.IfaceTask(options), check_mode=True, diff_mode=True)
            done = bring_about(ifaces.IfaceTask(options), check_mode=False, diff_mode=True)
        except IscsiError as error:
            assert isinstance(error, InputError) and error.sentence()
            assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
            return
        assert (done["steps"], done["diff"]) == (predicted["steps"], predicted["diff"])
        assert not bring_about(ifaces.IfaceTask(options), check_mode=False)["changed"]
        record = read_database(location).ifaces[name].record
        assert record.unknown_keys(NEWEST) == []
        if number == 0:  # bound now, it follows
            with open_writer(location) as writer:
                writer.write_node(key, new_node({}, target=ONE, portal=A, iface=record, version=NEWEST), STATIC)
    node = read_database(location).nodes[key].record
    fresh = new_node({}, target=ONE, portal=A, iface=record, version=NEWEST)
    assert {each: node.get(each) for each in KNOWN if each in second} == {each: fresh.get(each) for each in KNOWN if each in second}
    assert node.unknown_keys(NEWEST) == [] and read_database(location).problems == []
