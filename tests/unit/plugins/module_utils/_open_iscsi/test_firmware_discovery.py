# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What iscsi_discovery plans with type firmware: a table of the firmware, a database and live sessions in, steps out."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import typing as t
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, HostError, InputError, InUseError, IscsiError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey, Portal, parse_portal
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.discovery import Found
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.firmware_discovery import FirmwareTask
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.firmware_read import read_firmware, vlan_interface
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.new_records import new_iface
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.session_keys import SessionKey
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.stored import FW, Damaged, Database, Stored, discovered_by
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.version import NEWEST

from ..ibft_tree import ONE_TARGET, build, kernel_shows, plant, with_header
from ..sysfs_tree import Tree
from .builders import A, B, ONE, Node, conf, database, discovery_params, node, session
from .test_firmware_read import CHAP, MAC, MAC2, TWO, offload, with_target

BOOT = "iqn.2026-11.org.example:boot"
SIX = parse_portal("[2001:db8::2]:860,1")
BOUND, BOUND6 = f"tcp.{MAC}.ipv4.0", f"tcp.{MAC2}.ipv6.0"
SECOND = "iqn.2026-11.org.example:two"


class Host:
    """A host that booted with a table, what it has recorded, and which sessions it has."""

    def __init__(self, folder: Path, table: t.Optional[t.Mapping[str, t.Any]] = ONE_TARGET) -> None:
        self.tree = Tree(folder)
        self.database = database()
        self.live: t.List[SessionKey] = []
        if table is not None:
            plant(self.tree, table, {"ens5": MAC, "ens6": MAC2})

    def task(self, **params: t.Any) -> FirmwareTask:
        given = discovery_params(**{"type": "firmware", "portals": None, **params})
        return FirmwareTask(given, lambda: read_firmware(self.tree.sys, self.tree.proc), lambda: self.live,
                            lambda interface, vlan: vlan_interface(interface, vlan, self.tree.proc))

    def plan(self, **params: t.Any) -> t.Any:
        task = self.task(**params)
        answers = task._ask(self.database, conf()) if params.get("state") != "absent" else ()
        return task.plan(Found(self.database, conf(), self.live, answers))

    def has(self, *nodes: Node, linked: bool = True, **more: t.Any) -> None:
        self.database = dataclasses.replace(database(*nodes, **more), linked={FW: {key for key, _record in nodes}} if linked else {})


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def words(made: t.Any) -> t.List[str]:
    return [str(step) for step in made.steps]


def test_a_node_of_the_firmware(host: Host) -> None:
    made = host.plan()
    assert words(made) == [f"record node {ONE} at {A}"]
    after = made.steps[0].after
    expected = {"node.startup": "onboot", "node.conn[0].startup": "onboot", "node.tpgt": "1", "node.session.auth.authmethod": "None",
                "iface.initiatorname": BOOT, "iface.iscsi_ifacename": "default", "iface.hwaddress": None}
    assert {key: after.get(key) for key in expected} == expected
    assert made.steps[0].work[0] == "write_node" and made.steps[0].work[3] == discovered_by(made.steps[0].work[2]) == FW
    assert made.facts["nodes"] == [{"target": ONE, "portals": [str(A)], "ifaces": ["default"]}] and made.facts["targets"] == {ONE: [str(A)]}
    assert made.problems == host.database.problems


def test_two_targets_with_ipv6_and_chap(tmp_path: Path) -> None:
    made = Host(tmp_path, TWO).plan()
    assert words(made) == [f"record node {ONE} at {A}", f"record node {SECOND} at {SIX}"]
    record = made.steps[0].work[2]
    assert {word: record.get(f"node.session.auth.{word}") for word in ("authmethod", *CHAP)} == {"authmethod": "CHAP", **CHAP}
    assert "plain-secret" not in repr(made.steps) and made.steps[0].after["node.session.auth.password"] == "********"
    assert made.steps[1].work[2].get("node.session.auth.authmethod") == "None"


def test_settings_win_over_firmware(host: Host) -> None:
    assert host.plan(settings={"node.startup": "automatic"}).steps[0].after["node.startup"] == "automatic"


def test_a_known_node_is_left_as_it_is(host: Host) -> None:
    host.has(node(ONE, A, startup="manual"))
    made = host.plan()
    assert words(made) == [] and [entry["portal"] for entry in made.facts["kept"]] == [str(A)]


def test_update_brings_what_the_firmware_says(tmp_path: Path) -> None:
    host = Host(tmp_path, with_target(chap=CHAP))
    host.has(node(ONE, A, **{"node.session.auth.password": "plain-old-one", "node.session.timeo.replacement_timeout": "77"}))
    made = host.plan(update=True, settings={"node.leading_login": True})
    assert words(made) == [f"update node {ONE} at {A}"] and "plain-" not in repr(made.steps)
    record = made.steps[0].work[2]
    assert [record.get(f"node.{word}") for word in ("startup", "session.auth.password", "session.timeo.replacement_timeout", "leading_login")] == [
        "onboot", "plain-secret-1", "77", "Yes"]
    assert record.get("iface.initiatorname") == BOOT


def test_update_without_chap_keeps_what_there_is(host: Host) -> None:
    host.has(node(ONE, A, **{"node.session.auth.authmethod": "CHAP", "node.session.auth.username": "u", "node.session.auth.password": "plain-old-one"}))
    record = host.plan(update=True).steps[0].work[2]
    assert record.get("node.session.auth.password") == "plain-old-one" and record.get("node.session.auth.authmethod") == "CHAP"


class TestTags:
    """iscsiadm assumes 1; a second record of the same portal would be wrong, and hide the session that is there."""

    @pytest.mark.parametrize(("recorded", "learned", "tag"), [
        pytest.param((), (), 1, id="nothing known"),
        pytest.param((), (4,), 4, id="a session"),
        pytest.param((3,), (), 3, id="a record"),
        pytest.param((1, 4), (4,), 4, id="the record of the session"),
        pytest.param((3,), (4,), 3, id="a record with another tag than the session"),
        pytest.param((None,), (), 1, id="a record from before tags were known"),
    ])
    def test_tag(self, host: Host, recorded: t.Sequence[t.Optional[int]], learned: t.Sequence[int], tag: int) -> None:
        host.has(*(node(ONE, A._replace(tpgt=one)) for one in recorded))
        host.live = [SessionKey(sid, NodeKey(ONE, A._replace(tpgt=one))) for sid, one in enumerate(learned, 1)]
        made = host.plan()
        assert made.facts["nodes"][0]["portals"] == [str(A._replace(tpgt=tag))]
        assert words(made) == ([] if recorded else [f"record node {ONE} at {A._replace(tpgt=tag)}"])

    def test_another_portal_teaches_nothing(self, host: Host) -> None:
        host.live = [SessionKey(1, NodeKey(ONE, B._replace(tpgt=9))), SessionKey(2, NodeKey(SECOND, A._replace(tpgt=9)))]
        assert host.plan().facts["nodes"][0]["portals"] == [str(A)]


class TestIfaces:
    def test_software_ifaces_of_the_host_as_for_any_discovery(self, host: Host) -> None:
        host.has(ifaces={"san0": "tcp"})
        made = host.plan()
        assert words(made) == [f"record node {ONE} at {A} via iface san0"] and made.steps[0].after["iface.initiatorname"] == BOOT

    def test_the_name_of_an_iface_wins(self, host: Host) -> None:
        host.has(ifaces={"san0": "tcp"})
        record = new_iface("san0", {"iface.initiatorname": "iqn.2026-11.org.example:other"}, version=NEWEST)
        host.database.ifaces["san0"] = Stored(record, "/san0")
        assert host.plan().steps[0].after["iface.initiatorname"] == "iqn.2026-11.org.example:other"

    def test_offload_adapters_get_theirs(self, tmp_path: Path) -> None:
        host = Host(tmp_path)
        offload(host.tree)
        made = host.plan()
        names = [f"bnx2i.{MAC}.ipv4.0", f"qla4xxx.{MAC}.ipv4.0"]
        assert words(made) == [*(f"record iface {name}" for name in names), *(f"record node {ONE} at {A} via iface {name}" for name in names)]
        assert {key: value for key, value in made.steps[0].after.items() if value != "0"} == {
            "iface.iscsi_ifacename": names[0], "iface.net_ifacename": "ens5", "iface.ipaddress": "192.0.2.10", "iface.hwaddress": MAC,
            "iface.transport_name": "bnx2i", "iface.initiatorname": BOOT, "iface.subnet_mask": "255.255.255.0", "iface.gateway": "192.0.2.254"}
        assert made.steps[2].after["iface.transport_name"] == "bnx2i" and made.facts["nodes"][0]["ifaces"] == names

    @pytest.mark.parametrize("nic", TWO["nics"], ids=["IPv4", "IPv6"])
    def test_the_iface_of_an_adapter_needs_no_update(self, tmp_path: Path, nic: t.Mapping[str, t.Any]) -> None:
        host = Host(tmp_path, dict(ONE_TARGET, nics=[nic]))
        host.tree.attributes("/sys/class/iscsi_host/host8", hwaddress=nic["mac"])
        host.tree.attributes("/sys/class/scsi_host/host8", proc_name="be2iscsi")
        made = host.plan()
        name, record = made.steps[0].work[1:3]
        assert name == f"be2iscsi.{nic['mac']}.ipv{6 if ':' in nic['address'] else 4}.0" and record.get("iface.ipaddress") == nic["address"]
        host.database.ifaces[name] = Stored(record, f"/{name}")
        assert words(host.plan(update=True)) == [f"record node {ONE} at {A} via iface {name}"]

    def test_nics_are_bound_when_asked(self, tmp_path: Path) -> None:
        host = Host(tmp_path, dict(TWO, nics=[TWO["nics"][0], dict(TWO["nics"][1], vlan=0)]))
        made = host.plan(bind_nics=True)
        assert words(made) == [f"record iface {BOUND}", f"record iface {BOUND6}", f"record node {ONE} at {A} via iface {BOUND}",
                               f"record node {SECOND} at {SIX} via iface {BOUND6}"]
        assert {key: value for key, value in made.steps[1].after.items() if value != "0"} == {
            "iface.iscsi_ifacename": BOUND6, "iface.hwaddress": MAC2, "iface.transport_name": "tcp", "iface.initiatorname": BOOT}
        assert made.steps[3].after["iface.hwaddress"] == MAC2
        assert made.facts["nodes"] == [{"target": ONE, "portals": [str(A)], "ifaces": [BOUND]}, {"target": SECOND, "portals": [str(SIX)], "ifaces": [BOUND6]}]

    def test_one_portal_through_two_nics(self, tmp_path: Path) -> None:
        host = Host(tmp_path, dict(TWO, nics=[TWO["nics"][0], dict(ONE_TARGET["nics"][0], mac=MAC2)],
                                   targets=[dict(ONE_TARGET["targets"][0], chap={"username": f"u{nic}", "password": f"plain-{nic}"}) for nic in (0, 1)]))
        second = f"tcp.{MAC2}.ipv4.0"
        made = host.plan(bind_nics=True)
        assert words(made)[2:] == [f"record node {ONE} at {A} via iface {name}" for name in (BOUND, second)]
        assert [step.work[2].get("node.session.auth.username") for step in made.steps[2:]] == ["u0", "u1"]
        assert made.facts["nodes"] == [{"target": ONE, "portals": [str(A)], "ifaces": [BOUND, second]}]

    def test_a_vlan_is_bound_by_its_network_interface(self, tmp_path: Path) -> None:
        host = Host(tmp_path, TWO)
        with pytest.raises(HostError, match="ethernet1 of ibft: is in VLAN 12, for which this host has no network interface"):
            host.plan(bind_nics=True)
        host.tree.write("/proc/net/vlan/config", "VLAN Dev name    | VLAN ID\nName-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD\n"
                                                 "ens5.12        | 12  | ens5\nstorage        | 12  | ens6\n")
        after = host.plan(bind_nics=True).steps[1].after
        assert (after["iface.net_ifacename"], after.get("iface.hwaddress")) == ("storage", None)

    def test_an_iface_that_is_there_is_left_as_it_is_unless_told(self, host: Host) -> None:
        held = new_iface(BOUND, {"iface.hwaddress": MAC, "iface.mtu": "9000"}, version=NEWEST)
        host.database.ifaces[BOUND] = Stored(held, "/held")
        made = host.plan(bind_nics=True)
        assert words(made) == [f"record node {ONE} at {A} via iface {BOUND}"] and made.steps[0].after["iface.mtu"] == "9000"
        made = host.plan(bind_nics=True, update=True)
        assert words(made)[0] == f"update iface {BOUND}"
        assert (made.steps[0].after["iface.initiatorname"], made.steps[0].after["iface.mtu"]) == (BOOT, "9000")

    def test_a_damaged_iface(self, host: Host) -> None:
        host.database.damaged_ifaces[BOUND] = Damaged("/held", "is empty", "")
        with pytest.raises(DamagedError, match="repair: true"):
            host.plan(bind_nics=True)
        assert words(host.plan(bind_nics=True, repair=True))[0] == f"repair iface {BOUND} (its file is empty)"


def test_a_damaged_node_gets_its_secrets_back(tmp_path: Path) -> None:
    host = Host(tmp_path, with_target(chap=CHAP))
    host.has(damaged={NodeKey(ONE, A): "node.startup = automatic\nnode.leading_login = Yes\nnode.conn"})
    assert words(host.plan()) == []
    made = host.plan(repair=True)
    assert words(made) == [f"repair node {ONE} at {A} (its file was cut off)"]
    record = made.steps[0].work[2]
    assert [record.get(key) for key in ("node.startup", "node.leading_login", "node.session.auth.password")] == ["automatic", "Yes", "plain-secret-1"]


class TestPrune:
    def test_what_the_firmware_does_not_name_any_more_goes(self, host: Host) -> None:
        host.has(node(ONE, A), node(SECOND, A))
        assert words(host.plan(prune=True)) == [f"forget node {SECOND} at {A}"]

    def test_nodes_from_elsewhere_stay(self, host: Host) -> None:
        host.has(node(ONE, A), node(SECOND, A), linked=False)
        assert words(host.plan(prune=True)) == []

    def test_a_node_with_a_session_stays(self, host: Host) -> None:
        host.has(node(ONE, A), node(SECOND, A))
        host.live = [SessionKey(7, NodeKey(SECOND, A))]
        made = host.plan(prune=True)
        assert words(made) == [] and any("session 7" in problem["what"] for problem in made.problems)

    def test_a_table_that_is_not_whole_prunes_nothing(self, tmp_path: Path) -> None:
        host = Host(tmp_path, dict(ONE_TARGET, targets=[ONE_TARGET["targets"][0], {"name": SECOND, "address": "192.0.2.2", "nic": 1}]))
        host.has(node(ONE, A), node(SECOND, B))
        made = host.plan(prune=True)
        assert words(made) == [] and [problem["object"] for problem in made.problems][-2:] == ["target1 of ibft", "option prune"]


class TestAbsent:
    def test_nodes_of_the_firmware_go(self, host: Host) -> None:
        host.has(node(ONE, A))
        made = host.plan(state="absent")
        assert words(made) == [f"forget node {ONE} at {A}"] and made.facts["pruned"] == [{"target": ONE, "portal": str(A), "iface": "default"}]

    def test_no_table_is_needed(self, tmp_path: Path) -> None:
        assert words(Host(tmp_path, None).plan(state="absent")) == []

    def test_a_session_refuses(self, host: Host) -> None:
        host.has(node(ONE, A))
        host.live = t.cast(t.Any, [session(3, ONE, A)])
        with pytest.raises(InUseError, match="session 3"):
            host.plan(state="absent")


@pytest.mark.parametrize(("params", "kept"), [
    ({"targets": ["*:two"]}, [SECOND]), ({"networks": ["192.0.2.0/24"]}, [ONE]), ({"add": False}, []), ({"persistent": False, "prune": True}, []),
])
def test_filters_hold_as_for_any_discovery(tmp_path: Path, params: t.Dict[str, t.Any], kept: t.List[str]) -> None:
    made = Host(tmp_path, TWO).plan(**params)
    assert [step.work[1].target for step in made.steps] == kept and list(made.facts["targets"]) == [ONE, SECOND]


class TestNothingToRecord:
    def test_no_table(self, tmp_path: Path) -> None:
        with pytest.raises(HostError, match="names no target that can be recorded. Nothing was recorded"):
            Host(tmp_path, None).plan()

    def test_nothing_usable(self, tmp_path: Path) -> None:
        with pytest.raises(HostError, match=r"recorded \(target0 of ibft is to be reached through NIC 1, and the table has no such NIC\)"):
            Host(tmp_path, with_target(nic=1)).plan()

    @pytest.mark.parametrize("length", [20, 100, 250, 300, -3])
    def test_a_table_that_was_cut_off(self, tmp_path: Path, length: int) -> None:
        host = Host(tmp_path)
        host.tree.write("/sys/firmware/acpi/tables/iBFT", with_header(build(ONE_TARGET)[:length]))
        with pytest.raises(DamagedError, match="^ACPI table iBFT: .*(cut off|bytes long)"):
            host.plan()

    def test_a_table_that_the_kernel_does_not_show(self, tmp_path: Path) -> None:
        host = Host(tmp_path, None)
        host.tree.write("/sys/firmware/acpi/tables/iBFT", with_header(build(ONE_TARGET)))
        with pytest.raises(DamagedError, match="modprobe iscsi_ibft"):
            host.plan()

    def test_a_fault_that_the_kernel_passes_over_is_a_problem_only(self, tmp_path: Path) -> None:
        host = Host(tmp_path, dict(TWO, targets=TWO["targets"][:1]))
        whole = bytearray((tmp_path / "sys/firmware/acpi/tables/iBFT").read_bytes())
        second_nic = int.from_bytes(whole[62:64], "little")
        whole[second_nic] = 9
        host.tree.write("/sys/firmware/acpi/tables/iBFT", with_header(bytes(whole[36:])))
        made = host.plan()
        assert words(made) == [f"record node {ONE} at {A}"]
        assert any("something else where its second NIC should be" in problem["what"] for problem in made.problems)

    @pytest.mark.parametrize(("changed", "says"), [
        pytest.param({"name": "disk1"}, "target 'disk1' does not begin with iqn.", id="no iSCSI name"),
        pytest.param({"address": "0.0.0.0"}, "its address is '0.0.0.0', port 3260", id="no address"),
        pytest.param({"port": 0}, "its address is '192.0.2.1', port 0", id="no port"),
        pytest.param({"chap": dict(CHAP, password=" plain-secret")}, "begins or ends with a space", id="a secret that no record can hold"),
    ])
    def test_a_target_that_no_record_can_hold(self, tmp_path: Path, changed: t.Dict[str, t.Any], says: str) -> None:
        with pytest.raises(HostError) as caught:
            Host(tmp_path, with_target(**changed)).plan()
        assert says in caught.value.sentence() and "plain-secret" not in caught.value.sentence()


@pytest.mark.parametrize(("params", "says"), [
    ({"portals": ["192.0.2.1"]}, "option portals"), ({"auth": {"method": "None"}}, "option auth"), ({"initiator_name": BOOT}, "option initiator_name"),
    ({"method": "iscsiadm"}, "option method"), ({"discovery_settings": {"discovery.sendtargets.reopen_max": 5}}, "option discovery_settings"),
    ({"bind_nics": True, "ifaces": ["default"]}, "option bind_nics"),
])
def test_options_that_do_not_fit(host: Host, params: t.Dict[str, t.Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        host.task(**params)


@given(st.lists(st.tuples(st.integers(12, 500), st.integers(0, 255)), max_size=6), st.integers(60, 500), st.booleans())
@settings(max_examples=60)
def test_any_bytes_end_in_a_plan_or_a_sentence(flips: t.List[t.Tuple[int, int]], length: int, bind: bool) -> None:
    """A table with some bytes changed, or cut off: the kernel shows what it makes of it, and of what lies behind."""
    body = bytearray(build(dict(TWO, nics=[TWO["nics"][0], dict(TWO["nics"][1], vlan=0)]))[:length])
    for place, byte in flips:
        body[place % len(body)] = byte
    whole = with_header(bytes(body))
    with tempfile.TemporaryDirectory() as folder:
        host = Host(Path(folder), None)
        for path, text in kernel_shows(whole, b"behind-the-table" * 9000).items():
            host.tree.write(f"/sys/firmware/ibft/{path}", text.encode("utf-8", "surrogateescape"))
        if not (Path(folder) / "sys/firmware/ibft/initiator").exists():
            return
        found = read_firmware(host.tree.sys, host.tree.proc)
        json.dumps([found.records(), [target.as_fact() for target in found.targets], [nic.as_fact() for nic in found.nics]], ensure_ascii=False).encode("utf-8")
        host.tree.write("/sys/firmware/acpi/tables/iBFT", whole)
        try:
            made = host.plan(bind_nics=bind)
        except IscsiError as error:
            assert error.what and error.remedy and "plain-secret" not in error.sentence()
        else:
            assert "plain-secret" not in repr([step.after for step in made.steps]) and made.steps


def test_the_table_is_read_once_in_a_task(host: Host) -> None:
    task = host.task()
    found = task.read()
    assert found.answers and task.read().answers is found.answers and isinstance(found.database, Database)
    assert found.answers[0].portal == Portal("", 0)
