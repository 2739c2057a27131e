# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module iscsi_iface, with the real iscsiadm as witness: it shows what was written, and would have written the same."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import Field, Kind, Type, fields
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.version import parse_version

if t.TYPE_CHECKING:
    from conftest import Host, Run

TARGET = "iqn.2026-11.org.example:disk1"
PORTAL = "192.0.2.1:3260,1"
Settings = t.Dict[str, t.Any]

#: what a task says first, and what one says later, with a node bound in between
CHANGES: t.Dict[str, t.Tuple[str, Settings, Settings]] = {
    "bare": ("bare", {}, {}),
    "bound": ("san0", {"iface.net_ifacename": "lo"}, {"iface.initiatorname": "iqn.2026-11.org.example:other"}),
    "by hardware address": ("san1", {"iface.hwaddress": "00:0F:1F:92:6B:BF"}, {"iface.hwaddress": "00:0F:1F:92:6B:C0", "iface.mtu": 9000}),
    "offload": (
        "qla4xxx.00:0e:1e:04:8b:2e.ipv4.0",
        {"iface.transport_name": "qla4xxx", "iface.hwaddress": "00:0e:1e:04:8b:2e", "iface.ipaddress": "20.15.0.66"},
        {"iface.vlan_id": 56, "iface.vlan_state": True, "iface.vlan_priority": 3, "iface.ttl": 9, "iface.subnet_mask": "255.255.255.0"},
    ),
    "second address of a port": ("hba.ipv6.1", {"iface.ipaddress": "fec0:ce00:7014::1", "iface.iface_num": 1}, {"iface.hop_limit": 7, "iface.mld": False}),
    "another address": ("moves", {"iface.ipaddress": "10.0.0.9", "iface.ttl": 3}, {"iface.ipaddress": "10.0.0.10", "iface.ttl": 0, "iface.hop_limit": 0}),
    "back to nothing": ("empties", {"iface.net_ifacename": "lo", "iface.vlan_id": 7}, {"iface.net_ifacename": "", "iface.vlan_id": 0}),
    "the longest name": ("x" * 64, {"iface.iface_num": 2}, {"iface.port": 3261}),
}


def as_text(value: t.Any) -> str:
    return {True: "enable", False: "disable"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def update(host: Host, name: str, settings: Settings) -> None:
    for key, value in settings.items():
        host.iscsiadm("-m", "iface", "-I", name, "-o", "update", "-n", key, "-v", as_text(value))


def ifaces(host: Host) -> t.List[str]:
    """The names that iscsiadm lists, without those that are built in."""
    return sorted(name for name in (line.split(" ")[0] for line in host.iscsiadm("-m", "iface").stdout.splitlines()) if name not in ("default", "iser"))


def bind(host: Host, name: str, portal: str = PORTAL) -> None:
    host.iscsiadm("-m", "node", "-o", "new", "-T", TARGET, "-p", portal, "-I", name)


@pytest.mark.parametrize("case", sorted(CHANGES))
def test_records_are_those_of_iscsiadm_and_so_are_changes_of_bound_nodes(host: Host, run: Run, case: str) -> None:
    name, first, later = CHANGES[case]
    host.iscsiadm("-m", "iface", "-I", name, "-o", "new")
    update(host, name, {key: value for key, value in first.items() if key != "iface.transport_name"})
    if "iface.transport_name" in first:
        update(host, name, {"iface.transport_name": first["iface.transport_name"]})
    created = host.files()
    if "ipv6" not in name:  # iscsiadm forgets what only IPv6 ifaces have when it updates nodes, and copies it when it makes them
        bind(host, name)
    if "iface.transport_name" in first:  # iscsiadm updates only ifaces of drivers that are loaded
        update_without_driver(host, name, later)
    else:
        update(host, name, {key: value for key, value in later.items() if key != "iface.hop_limit" or value})
    if "ipv6" in name:
        bind(host, name)
    theirs = host.files()
    host.clear()

    predicted = run("iscsi_iface", name=name, settings=first, check=True, diff=True)
    assert host.files() == {}
    done = run("iscsi_iface", name=name, settings=first, diff=True)
    assert done["changed"] and done["steps"] == predicted["steps"] == [f"record iface {name}"] and done["diff"] == predicted["diff"]
    assert host.files() == created and ifaces(host) == [name]
    assert not run("iscsi_iface", name=name, settings=first)["changed"]
    bind(host, name)
    predicted = run("iscsi_iface", name=name, settings=later, check=True, diff=True)
    done = run("iscsi_iface", name=name, settings=later, diff=True)
    assert done["steps"] == predicted["steps"] and done["diff"] == predicted["diff"]
    ours = host.files()
    assert sorted(ours) == sorted(theirs)
    for path in theirs:
        assert ours[path].split("\n") == theirs[path].split("\n"), path
    assert done["bound"] == [{"target": TARGET, "portal": PORTAL, "iface": name}]
    again = run("iscsi_iface", name=name, settings={**first, **later})
    assert not again["changed"] and again["steps"] == [] and host.files() == ours
    assert host.iscsiadm("-m", "node").stdout == f"{PORTAL} {TARGET}\n"
    assert host.modes() <= {"d700", "f600"}


def update_without_driver(host: Host, name: str, settings: Settings) -> None:
    """Let iscsiadm update an iface of a driver that is not loaded: it is one of tcp for as long as that takes."""
    paths = [path for path in host.etc.rglob("*") if path.is_file() and not path.is_symlink() and f"iface.iscsi_ifacename = {name}\n" in path.read_text()]
    for path in paths:
        path.write_text(path.read_text().replace("transport_name = qla4xxx", "transport_name = tcp"))
    update(host, name, settings)
    for path in paths:
        path.write_text(path.read_text().replace("transport_name = tcp", "transport_name = qla4xxx"))


def values(one: Field) -> st.SearchStrategy[str]:
    """Values of a setting, of which those that open-iscsi takes for "not set" are none."""
    if one.key in ("iface.ipaddress", "iface.subnet_mask", "iface.gateway"):
        return st.just("192.0.2.9")
    if one.key == "iface.initiatorname":
        return st.text("abc0", min_size=1, max_size=60).map("iqn.2026-11.org.example:{}".format)
    if one.type is Type.INT:
        most = {"iface.vlan_id": 4095, "iface.vlan_priority": 7}.get(one.key, one.shape.maximum)
        return st.integers(one.shape.minimum, most).map(str)
    if one.choices:
        return st.sampled_from(one.choices)
    letters = st.characters(exclude_categories=["Cc", "Cs", "Z"], exclude_characters="/")
    return st.text(letters, min_size=1, max_size=20).filter(lambda text: len(text.encode()) <= min(one.shape.maximum, 15))


# the transport is one whose driver is there; a binding by hardware address is another case
KNOWN = {key: one for key, one in fields(Kind.IFACE, parse_version("2.1.8")).items()
         if not one.read_only and one.family != 6 and key not in ("iface.transport_name", "iface.hwaddress")}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given_settings=st.lists(st.sampled_from(sorted(KNOWN)), unique=True, min_size=1).flatmap(
    lambda keys: st.fixed_dictionaries({key: values(KNOWN[key]) for key in keys})))
def test_random_settings_are_written_shown_and_changed_as_by_iscsiadm(host: Host, run: Run, given_settings: t.Dict[str, str]) -> None:
    host.clear()
    host.iscsiadm("-m", "iface", "-I", "san0", "-o", "new")
    host.iscsiadm("-m", "iface", "-I", "san0", "-o", "update", *(word for key, value in given_settings.items() for word in ("-n", key, "-v", value)))
    theirs = host.files()
    host.clear()
    assert run("iscsi_iface", name="san0", settings=given_settings)["changed"]
    assert host.files() == theirs
    shown = dict(line.split(" = ", 1) for line in host.iscsiadm("-m", "iface", "-I", "san0").stdout.splitlines() if " = " in line)
    assert {key: shown.get(key) for key in given_settings} == given_settings
    # iscsiadm writes it again, and nothing is left to do
    host.iscsiadm("-m", "iface", "-I", "san0", "-o", "update", "-n", "iface.mtu", "-v", given_settings.get("iface.mtu", "0"))
    assert host.files() == theirs and not run("iscsi_iface", name="san0", settings=given_settings)["changed"]


def test_what_is_set_is_not_reset(host: Host, run: Run) -> None:
    host.iscsiadm("-m", "iface", "-I", "san0", "-o", "new")
    update(host, "san0", {"iface.net_ifacename": "lo", "iface.vlan_id": 7})
    before = host.files()
    assert not run("iscsi_iface", name="san0")["changed"] and host.files() == before
    run("iscsi_iface", name="san0", settings={"iface.mtu": 9000})
    shown = host.iscsiadm("-m", "iface", "-I", "san0").stdout
    assert "iface.vlan_id = 7\n" in shown and "iface.net_ifacename = lo\n" in shown and "iface.mtu = 9000\n" in shown


def test_records_written_by_hand_stay_until_something_changes(host: Host, run: Run) -> None:
    (host.etc / "ifaces").mkdir()
    text = "# by hand\niface.transport_name = tcp\niface.hwaddress = 00:0F:1F:92:6B:BF\n"
    (host.etc / "ifaces/iface0").write_text(text)
    assert ifaces(host) == ["iface0"]
    assert not run("iscsi_iface", name="iface0", settings={"iface.hwaddress": "00:0F:1F:92:6B:BF"})["changed"]
    assert host.files() == {"ifaces/iface0": text}
    run("iscsi_iface", name="iface0", settings={"iface.vlan_id": 3})
    ours = host.files()
    (host.etc / "ifaces/iface0").write_text(text)
    update(host, "iface0", {"iface.vlan_id": 3})
    assert ours == host.files()


def test_absent_refuses_while_nodes_are_bound_and_removes_them_when_told(host: Host, run: Run) -> None:
    run("iscsi_iface", name="san0")
    run("iscsi_iface", name="san00")
    bind(host, "san0")
    bind(host, "san00", "192.0.2.2:3260,1")
    before = host.files()
    refused = run("iscsi_iface", name="san0", state="absent")
    assert refused["failed"] and f"{TARGET} at {PORTAL} via iface san0" in refused["msg"] and "force: true" in refused["msg"]
    assert "192.0.2.2" not in refused["msg"] and host.files() == before
    predicted = run("iscsi_iface", name="san0", state="absent", force=True, check=True)
    assert host.files() == before
    done = run("iscsi_iface", name="san0", state="absent", force=True)
    assert done["steps"] == predicted["steps"] == [f"forget node {TARGET} at {PORTAL} via iface san0", "forget iface san0"] and done["bound"] == []
    assert ifaces(host) == ["san00"] and host.iscsiadm("-m", "node").stdout == f"192.0.2.2:3260,1 {TARGET}\n"
    assert not run("iscsi_iface", name="san0", state="absent", force=True)["changed"]


def test_iscsiadm_deletes_what_was_written(host: Host, run: Run) -> None:
    run("iscsi_iface", name="san0", settings={"iface.net_ifacename": "lo"})
    bind(host, "san0")
    host.iscsiadm("-m", "iface", "-I", "san0", "-o", "delete")
    assert host.files() == {}


@pytest.mark.parametrize("text", ["", "\0" * 900, "# BEGIN RECORD 2.1.8\niface.iscsi_ifacename = san0\niface.net_ifa"], ids=["empty", "zeroes", "cut off"])
def test_a_damaged_record_is_refused_and_written_anew_from_its_nodes_when_told(host: Host, run: Run, text: str) -> None:
    run("iscsi_iface", name="san0", settings={"iface.net_ifacename": "lo", "iface.vlan_id": 5})
    bind(host, "san0")
    whole = host.files()
    (host.etc / "ifaces/san0").write_text(text)
    damaged = host.files()
    for state in ("present", "absent"):
        left = run("iscsi_iface", name="san0", state=state)
        assert left["failed"] and "repair: true" in left["msg"] and host.files() == damaged
    done = run("iscsi_iface", name="san0", repair=True)
    assert len(done["steps"]) == 1 and done["problems"] == []
    kept = {path: held for path, held in host.files().items() if path.startswith("damaged/")}
    assert list(kept.values()) == ([text] if text else [])
    assert {path: held for path, held in host.files().items() if path not in kept} == whole


@pytest.mark.parametrize(("options", "says"), [
    ({"name": "default"}, "built into"),
    ({"name": "iser", "state": "absent"}, "built into"),
    ({"name": "iface.example"}, "example"),
    ({"name": "x" * 65}, "65 bytes"),
    ({"name": ""}, "0 bytes"),
    ({"name": ".."}, "folder"),
    ({"name": "a/b"}, "'/'"),
    ({"name": "a,b"}, "','"),
    ({"name": "a b"}, "' '"),
    ({"name": "san0", "settings": {"iface.iscsi_ifacename": "san1"}}, "looked up by"),
    ({"name": "san0", "settings": {"iface.net_ifname": "lo"}}, "iface.net_ifacename"),
    ({"name": "san0", "settings": {"iface.vlan_id": 4096}}, "4095"),
    ({"name": "san0", "settings": {"iface.vlan_id": "abc"}}, "abc"),
    ({"name": "san0", "settings": {"iface.mtu": 70000}}, "65535"),
    ({"name": "san0", "settings": {"iface.hwaddress": "00:0F:1F"}}, "hardware address"),
    ({"name": "san0", "settings": {"iface.ipaddress": "10.0.0.300"}}, "no IP address"),
    ({"name": "san0", "settings": {"iface.initiatorname": "host1"}}, "iqn."),
    ({"name": "san0", "settings": {"iface.net_ifacename": "lo", "iface.hwaddress": "00:0F:1F:92:6B:BF"}}, "would be bound"),
    ({"name": "san0", "settings": {"iface.hop_limit": 7}}, "ipv6"),
    ({"name": "san0", "settings": {"iface.ipaddress": "fd00::9"}}, "with 'ipv6' in it"),
    ({"name": "hba.ipv6.0", "settings": {"iface.ipaddress": "10.0.0.9"}}, "without 'ipv6' in it"),
    ({"name": "san0", "settings": {"iface.transport_name": "iser"}, "transport": "tcp"}, "Say it once"),
    ({"name": "san0", "settings": {"iface.transport_name": ""}}, "without transport"),
    ({"name": "san0", "state": "absent", "transport": "tcp"}, "absent together"),
    ({"name": "san0", "apply": True}, "root"),
    ({"name": "san0", "ping": {"address": "192.0.2.1"}}, "root"),
])
def test_wrong_input_is_a_sentence_and_changes_nothing(host: Host, run: Run, options: t.Dict[str, t.Any], says: str) -> None:
    failed = run("iscsi_iface", **options)
    assert failed["failed"] and says in failed["msg"] and "Traceback" not in failed["msg"], failed["msg"]
    assert host.files() == {}


anything = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2**40), st.text(max_size=80), st.lists(st.text(max_size=5), max_size=2),
    st.dictionaries(st.sampled_from([*sorted(KNOWN), "iface.colour", "node.startup", ""]), st.one_of(st.integers(-9, 2**33), st.text(max_size=20)), max_size=3),
    st.sampled_from(["san0", "absent", "present", "tcp", "iser", "set", "../x", "iface.example", "1e9", "inf", "nan", "fd00::1", "\udc80", "\0"]))
OPTIONS = ("name", "state", "transport", "settings", "force", "rp_filter", "apply", "ping", "repair", "timeout", "colour")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(options=st.dictionaries(st.sampled_from(OPTIONS), anything, max_size=4), name=st.sampled_from(["san0", "other", None]))
def test_whatever_is_given_the_answer_is_a_sentence(host: Host, run: Run, options: t.Dict[str, t.Any], name: t.Optional[str]) -> None:
    host.clear()
    host.iscsiadm("-m", "iface", "-I", "san0", "-o", "new")
    bind(host, "san0")
    before = host.files()
    done = run("iscsi_iface", **({"name": name} if name else {}), **{key: value for key, value in options.items() if key != "name" or not name})
    if done.get("failed"):
        assert done["msg"] and "Traceback" not in str(done) and not done.get("changed") and host.files() == before
    else:
        host.iscsiadm("-m", "iface")  # it can still list them


def test_from_one_binding_to_another(host: Host, run: Run) -> None:
    run("iscsi_iface", name="san0", settings={"iface.net_ifacename": "lo"})
    before = host.files()
    refused = run("iscsi_iface", name="san0", settings={"iface.hwaddress": "00:0F:1F:92:6B:BF"})
    assert refused["failed"] and "empty value" in refused["msg"] and host.files() == before
    assert run("iscsi_iface", name="san0", settings={"iface.net_ifacename": "", "iface.hwaddress": "00:0F:1F:92:6B:BF"})["changed"]
    assert "san0 tcp,00:0F:1F:92:6B:BF,<empty>,<empty>,<empty>\n" in host.iscsiadm("-m", "iface").stdout


class TestOnTheRunningSystem:
    """Inside, where the host is ``/``: its own /proc/sys/net, and an iscsiadm that counts how often it is asked."""

    @pytest.fixture
    def counted(self, host: Host) -> t.Iterator[Path]:
        """A stand-in for iscsiadm that notes its arguments and answers as the real one does to a qla4xxx port (usr/iscsiadm.c)."""
        asked = host.root / "asked"
        asked.write_text("")
        stand_in = host.root / "stand-in-iscsiadm"
        stand_in.write_text(
            f"#!/bin/sh\necho \"$*\" >> {asked}\ncase \"$*\" in\n"
            "*ping*) printf 'Ping 1 completed\\nPing 2 failed: timed out\\nPing 3 completed\\n' ;;\n"
            "*apply*) echo \"$4 applied.\" ;;\n"
            "*) exit 6 ;;\nesac\n")
        stand_in.chmod(0o755)
        # the program stays where its version is read; what is run comes first in PATH
        folder = host.root / "first-in-path"
        folder.mkdir(exist_ok=True)
        link = folder / "iscsiadm"
        if not link.exists():
            link.symlink_to(stand_in)
        yield asked

    @staticmethod
    def inside(host: Host, **options: t.Any) -> t.Dict[str, t.Any]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", str(host.root / "first-in-path"), prepend=os.pathsep)
            done: t.Dict[str, t.Any] = host.module("iscsi_iface", **options)
            return done

    def test_nothing_is_run_for_records(self, host: Host, counted: Path) -> None:
        assert self.inside(host, name="san0", settings={"iface.net_ifacename": "lo"})["changed"]
        assert not self.inside(host, name="san0", settings={"iface.net_ifacename": "lo"})["changed"]
        assert self.inside(host, name="san0", state="absent")["changed"]
        assert counted.read_text() == ""

    def test_apply_and_ping_ask_iscsiadm_once_each(self, host: Host, counted: Path) -> None:
        port = {"name": "hba0", "transport": "qla4xxx", "settings": {"iface.hwaddress": "00:0e:1e:04:8b:2e", "iface.ipaddress": "192.0.2.9"}, "apply": True}
        done = self.inside(host, ping={"address": "192.0.2.1", "count": 3}, **port)
        assert done["steps"] == ["record iface hba0", "apply iface hba0"]
        assert done["ping"] == {"sent": 3, "answered": 2, "failed": [{"number": 2, "reason": "timed out"}]}
        assert "1 of 3 pings (timed out)" in done["problems"][0]["what"]
        assert counted.read_text().splitlines() == ["-m iface -I hba0 -o apply", "-m iface -I hba0 -C ping -a 192.0.2.1 -b 32 -c 3 -i 0"]
        assert not self.inside(host, **port)["changed"] and len(counted.read_text().splitlines()) == 2
        # what the real iscsiadm says of these command lines, on a host without such an adapter
        said = [host.iscsiadm(*line.split(" "), check=False) for line in counted.read_text().splitlines()]
        assert "Can't find transport." in said[1].stderr and said[1].returncode == 7
        assert "Could not apply net configuration" in said[0].stderr

    def test_a_software_iface_has_no_port(self, host: Host) -> None:
        refused = self.inside(host, name="san0", apply=True)
        assert refused["failed"] and "offload" in refused["msg"] and host.files() == {}

    def test_ping_goes_through_the_interface_that_the_iface_is_bound_to(self, host: Host, counted: Path) -> None:
        """The witness is a neighbour in another network namespace, which answers on one interface only."""
        host.run("ip", "netns", "add", "lunar-array")
        try:
            for name, peer, address in (("san7", "peer7", "192.0.2.129/25"), ("san8", "peer8", "198.51.100.1/24")):
                host.run("ip", "link", "add", name, "type", "veth", "peer", "name", peer)
                host.run("ip", "link", "set", peer, "netns", "lunar-array")
                host.run("ip", "address", "add", address, "dev", name)
                host.run("ip", "link", "set", name, "up")
                host.run("ip", "-n", "lunar-array", "link", "set", peer, "up")
            host.run("ip", "-n", "lunar-array", "address", "add", "192.0.2.130/25", "dev", "peer7")
            good = self.inside(host, name="san7", settings={"iface.net_ifacename": "san7"}, ping={"address": "192.0.2.130", "count": 3})
            assert good["ping"] == {"sent": 3, "answered": 3, "failed": []} and good["problems"] == []
            bad = self.inside(host, name="san8", settings={"iface.net_ifacename": "san8"}, ping={"address": "192.0.2.130"})
            assert bad["ping"]["answered"] == 0 and bad["ping"]["failed"][0]["reason"] and "did not answer 1 of 1 pings" in bad["problems"][0]["what"]
            free = self.inside(host, name="unbound", ping={"address": "192.0.2.130"})
            assert free["ping"]["answered"] == 1
            assert self.inside(host, name="unbound", ping={"address": "::1"}, settings={})["ping"]["answered"] == 1
            again = self.inside(host, name="san7", settings={"iface.net_ifacename": "san7"}, ping={"address": "192.0.2.130"}, _ansible_check_mode=True)
            assert not again["changed"] and again["ping"]["answered"] == 1
            assert "ping" not in self.inside(host, name="new", ping={"address": "192.0.2.130"}, _ansible_check_mode=True)
            assert counted.read_text() == ""
        finally:
            host.run("ip", "netns", "del", "lunar-array")

    def test_rp_filter(self, host: Host) -> None:
        def value(name: str, to: t.Optional[int] = None) -> str:
            path = f"/proc/sys/net/ipv4/conf/{name}/rp_filter"
            if to is not None:
                host.run("sh", "-c", f"echo {to} > {path}")
            return str(host.run("cat", path).stdout).strip()

        ours = host.root / "sysctl.d"
        ours.mkdir()
        host.run("mount", "--bind", str(ours), "/etc/sysctl.d")
        host.run("ip", "link", "add", "san.5", "type", "bridge")
        iface = {"name": "san0", "settings": {"iface.net_ifacename": "san.5"}}
        for of_all, own, strict in ((0, 0, False), (1, 0, True), (0, 1, True), (1, 2, False), (2, 1, False)):
            value("all", of_all), value("san.5", own)
            problems = self.inside(host, **iface)["problems"]
            assert [problem["object"] for problem in problems] == (["network interface san.5"] if strict else []), (of_all, own)
        value("all", 1), value("san.5", 0)
        host.clear()
        refused = self.inside(host, rp_filter="require", **iface)
        assert refused["failed"] and "rp_filter" in refused["msg"] and host.files() == {}
        done = self.inside(host, rp_filter="set", _ansible_diff=True, **iface)
        path = "/etc/sysctl.d/90-lunar-iscsi-rp_filter-san.5.conf"
        assert done["steps"] == ["record iface san0", f"write {path}", "loosen rp_filter of san.5"] and done["problems"] == []
        assert value("san.5") == "2" and value("all") == "1"
        assert not self.inside(host, rp_filter="set", **iface)["changed"]
        # the witness: sysctl reads the file, and finds the interface in spite of its dot
        value("san.5", 0)
        host.run("sysctl", "-p", path)
        assert value("san.5") == "2"
        self.inside(host, name="san1", settings={"iface.net_ifacename": "san.5"})
        assert self.inside(host, name="san1", state="absent")["steps"] == ["forget iface san1"]
        assert self.inside(host, name="san0", state="absent")["steps"] == ["forget iface san0", f"remove {path}"]
        assert list(ours.iterdir()) == [] and value("san.5") == "2"

    def test_bound_by_hardware_address(self, host: Host) -> None:
        host.run("ip", "link", "add", "san6", "type", "bridge")
        host.run("ip", "link", "set", "san6", "address", "02:00:00:aB:cd:0e")
        host.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/san6/rp_filter")
        problems = self.inside(host, name="san0", settings={"iface.hwaddress": "02:00:00:AB:CD:0E"})["problems"]
        assert [problem["object"] for problem in problems] == ["network interface san6"]
        problems = self.inside(host, name="san0", settings={"iface.hwaddress": "02:00:00:AB:CD:0F"})["problems"]
        assert [problem["what"] for problem in problems] == ["is bound to 02:00:00:AB:CD:0F, and this host has no such network interface"]

    def test_an_interface_that_is_not_there_is_named(self, host: Host) -> None:
        problems = self.inside(host, name="san0", settings={"iface.net_ifacename": "nosuch0"})["problems"]
        assert [problem["what"] for problem in problems] == ["is bound to nosuch0, and this host has no such network interface"]
        problems = self.inside(host, name="san1", settings={"iface.ipaddress": "192.0.2.9"})["problems"]
        assert "which open-iscsi cannot do with tcp" in problems[0]["what"]
