# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database that every module has written, and random ones: read and changed by iscsiadm of each release of Debian, and read here again.

A thousand random states in every run, a thousand for each release where E2E_LONG is set (``make test-all``).
"""

from __future__ import annotations

import os
import shutil
import typing as t
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey, check_iscsi_name, parse_portal
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.conf import read_iscsid_conf
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.database import open_writer
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.layout import installed_version, locate
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.new_records import new_iface, new_node
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.record import Record
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.stored import STATIC, read_database
from ansible_collections.lunar.iscsi.tests.integration.conftest import Isns
from ansible_collections.lunar.iscsi.tests.integration.database.releases import RELEASES, ReleasedHost, find_release, pairs
from ansible_collections.lunar.iscsi.tests.integration.database.test_random_records import changes, iqns, portals
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.ibft_tree import build, kernel_shows, with_header

PREFIX = "iqn.2026-11.org.example"
#: for each release
STATES = 1000 if os.environ.get("E2E_LONG") else 500
ADAPTER = "qla4xxx.00:0e:1e:04:8b:2e"
TABLE = {"initiator": {"name": f"{PREFIX}:boot"}, "nics": [{"mac": "52:54:00:12:34:56", "address": "192.0.2.10", "prefix": 24}],
         "targets": [{"name": f"{PREFIX}:booted", "address": "192.0.2.3", "lun": 1}]}
STATIC_NODES: t.Dict[str, t.Any] = {
    "nodes": [{"target": f"{PREFIX}:static{number}", "portals": [f"192.0.2.{number}:3260,1", f"[2001:db8::{number}]:3260,2"], "ifaces": ["default", "san0"]}
              for number in (1, 2)],
    "startup": "onboot", "profile": "multipath", "settings": {"node.conn[0].iscsi.HeaderDigest": "CRC32C,None"},
    "auth": {"username": "host1", "password": "a # secret = of sorts", "username_in": "array", "password_in": "another-secret"}}
#: what each module that writes to the database is told to have there; nothing of what iscsiadm changes later
TASKS: t.Sequence[t.Tuple[str, t.Dict[str, t.Any]]] = [
    ("iscsi_config", {"settings": {"node.startup": "automatic", "node.session.timeo.replacement_timeout": "15"}, "initiator_alias": "witness"}),
    ("iscsi_iface", {"name": "san0", "settings": {"iface.net_ifacename": "lo", "iface.initiatorname": f"{PREFIX}:san0"}}),
    ("iscsi_iface", {"name": ADAPTER, "transport": "qla4xxx", "settings": {
        "iface.hwaddress": "00:0e:1e:04:8b:2e", "iface.ipaddress": "192.0.2.20", "iface.vlan_id": "56"}}),
    ("iscsi_discovery", {"portals": ["127.0.0.1"], "discovery_settings": {"discovery.sendtargets.use_discoveryd": True}, "settings": {"node.startup": "manual"},
                         "auth": {"method": "CHAP", "username": "disc", "password": "plain-secret-disc"}}),
    ("iscsi_discovery", {"portals": ["127.0.0.1"], "type": "isns", "discovery_settings": {"discovery.isns.use_discoveryd": True}}),
    ("iscsi_discovery", {"type": "firmware"}),
    ("iscsi_node", STATIC_NODES),
    ("iscsi_db", {"repair": True}),
]
SERVED = [f"{PREFIX}:served{number}" for number in (1, 2)]
#: some of what has to come of it, by the place of the record; iscsiadm shows it so
TOLD: t.Mapping[str, t.Mapping[str, str]] = {
    f"nodes/{PREFIX}:static1/192.0.2.1,3260,1/san0": {
        "node.startup": "onboot", "node.discovery_type": "static", "node.tpgt": "1", "node.conn[0].iscsi.HeaderDigest": "CRC32C,None",
        "node.session.auth.authmethod": "CHAP", "node.session.auth.username": "host1", "node.session.auth.password": "a # secret = of sorts",
        "node.session.auth.username_in": "array", "iface.net_ifacename": "lo", "iface.initiatorname": f"{PREFIX}:san0"},
    f"nodes/{PREFIX}:static2/2001:db8::2,3260,2/default": {"node.tpgt": "2", "node.conn[0].address": "2001:db8::2", "iface.iscsi_ifacename": "default"},
    f"nodes/{PREFIX}:served2/127.0.0.1,3260,1/san0": {
        "node.startup": "manual", "node.discovery_type": "send_targets", "node.session.timeo.replacement_timeout": "15"},
    f"nodes/{PREFIX}:named/192.0.2.7,3260,1/san0": {"node.startup": "automatic", "node.discovery_type": "isns"},
    f"nodes/{PREFIX}:booted/192.0.2.3,3260,1/san0": {"node.startup": "onboot", "node.discovery_type": "fw"},
    "ifaces/san0": {"iface.net_ifacename": "lo", "iface.initiatorname": f"{PREFIX}:san0"},
    f"ifaces/{ADAPTER}": {"iface.transport_name": "qla4xxx", "iface.ipaddress": "192.0.2.20", "iface.vlan_id": "56"},
    "send_targets/127.0.0.1,3260/st_config": {
        "discovery.sendtargets.use_discoveryd": "Yes", "discovery.sendtargets.auth.username": "disc",
        "discovery.sendtargets.auth.password": "plain-secret-disc"},
    "isns/127.0.0.1,3205/isns_config": {"discovery.isns.use_discoveryd": "Yes"},
}


@pytest.fixture(scope="module", params=RELEASES, name="released")
def _released(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[ReleasedHost]:
    """A host of each release, with targets that want CHAP, an iSNS server, and a firmware that it booted from."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("iscsiadm", "tgtd", "isnsd"))):
        pytest.fail("these tests make namespaces: run them as root, with the packages open-iscsi, tgt, open-isns-server and open-isns-utils installed")
    folder = tmp_path_factory.mktemp(request.param)
    for name in ("host", "isns"):
        (folder / name).mkdir()
    host = ReleasedHost(folder / "host", find_release(request.param))
    isns = Isns(folder / "isns")
    try:
        host.start_tgtd(SERVED, ["127.0.0.1:3260"])
        for words in ("new --mode account --user disc --password plain-secret-disc", "bind --mode account --user disc"):
            host.run("env", f"TGT_IPC_SOCKET={host.root}/tgtd.sock", "tgtadm", "--lld", "iscsi", "--op", *words.split())
        # open-isns takes an address only where the network has one of that kind, loopback not counted
        host.run("ip", "address", "add", "192.0.2.99/32", "dev", "lo")
        isns.portal, isns.port = "127.0.0.1:3205", 3205
        isns.start(before=host.inside()).register({f"{PREFIX}:named": ["192.0.2.7:3260,1"]}, before=host.inside())
        for path, text in kernel_shows(with_header(build(TABLE))).items():
            (folder / "firmware/ibft" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "firmware/ibft" / path).write_text(text)
        host.run("mount", "--bind", str(folder / "firmware"), "/sys/firmware")
        yield host
    finally:
        isns.stop()
        host.stop()


@pytest.fixture
def written(released: ReleasedHost) -> ReleasedHost:
    """The host after every task has run, one record was damaged and mended, and set again."""
    released.clear()
    released.configure(released.conf)
    for module, options in TASKS:
        if module == "iscsi_db":
            path = released.records / f"nodes/{PREFIX}:static1/192.0.2.1,3260,1/default"
            path.write_text(path.read_text().partition("node.session.auth")[0])
        done = released.module(module, **options)
        assert done.get("changed") and done["problems"] == [], (module, done.get("msg") or done["problems"])
    assert released.module("iscsi_node", **STATIC_NODES)["changed"]
    return released


def unchanged(host: ReleasedHost) -> None:
    for module, options in TASKS:
        again = host.module(module, **options)
        assert not again.get("failed") and not again["changed"] and again["problems"] == [], (module, again.get("msg") or again["steps"] or again["problems"])


def ask_for(place: str) -> t.List[str]:
    """How iscsiadm is asked to show, or to change, the record at a place in the database."""
    kind, *parts = place.split("/")
    if kind == "nodes":
        address, port, tag = parts[1].split(",")
        return ["-m", "node", "-T", parts[0], "-p", f"[{address}]:{port},{tag}" if ":" in address else f"{address}:{port},{tag}", "-I", parts[2]]
    if kind == "ifaces":
        return ["-m", "iface", "-I", parts[0]]
    return ["-m", "discoverydb", "-t", "isns" if kind == "isns" else "st", "-p", parts[0].replace(",", ":")]


def shown_alike(host: ReleasedHost) -> t.Dict[str, t.Dict[str, str]]:
    """The records, each of which iscsiadm shows as its file says."""
    records = host.settings()
    for place, said in records.items():
        shown = pairs(host.iscsiadm(*ask_for(place), "-o", "show", *(["-S"] if "ifaces" not in place else [])).stdout)
        assert {key: shown.get(key) for key in said} == said, place
    listed = sorted(line.split()[1] for line in host.iscsiadm("-m", "node").stdout.splitlines())
    assert listed == sorted(place.split("/")[1] for place in records if place.startswith("nodes/"))
    return records


def test_what_every_module_wrote_is_read_changed_and_read_again(written: ReleasedHost) -> None:
    before = shown_alike(written)
    assert len([place for place in before if place.startswith("nodes/")]) == 2 + 1 + 1 + 2 * 2 * 2 and len(before) == 12 + 2 + 2, list(before)
    assert {place: {key: before[place].get(key) for key in said} for place, said in TOLD.items()} == TOLD
    # new records begin with what iscsi_config set
    written.iscsiadm("-m", "node", "-o", "new", "-T", f"{PREFIX}:fresh", "-p", "192.0.2.50:3260,1", "-I", "default")
    fresh = pairs(written.iscsiadm("-m", "node", "-T", f"{PREFIX}:fresh", "-o", "show").stdout)
    assert (fresh["node.startup"], fresh["node.session.timeo.replacement_timeout"]) == ("automatic", "15")
    written.iscsiadm("-m", "node", "-T", f"{PREFIX}:fresh", "-o", "delete")
    # iscsiadm changes something in each of them, and nothing else is another than it was
    changed = {"nodes": ("node.session.queue_depth", "44"), "ifaces": ("iface.mtu", "9000"), "isns": ("discovery.isns.discoveryd_poll_inval", "44"),
               "send_targets": ("discovery.sendtargets.timeo.login_timeout", "44")}
    # but for the iface of an adapter, which it only changes where there is one
    wanted = {place: dict([*said.items(), changed[place.split("/")[0]]]) if ADAPTER not in place else said for place, said in before.items()}
    for place in (place for place in before if wanted[place] != before[place]):
        written.iscsiadm(*ask_for(place), "-o", "update", *(word for pair in zip(("-n", "-v"), changed[place.split("/")[0]]) for word in pair))
    after = shown_alike(written)
    for place, said in wanted.items():
        assert after[place] == {**said, **({"iface.mtu": "9000"} if place.endswith("/san0") else {})}, place
    doctor = written.module("iscsi_db", show=True)
    assert doctor["problems"] == [] and {node["settings"]["node.session.queue_depth"] for node in doctor["node_records"]} == {"44"}
    unchanged(written)
    # and it deletes all of it; nodes may have gone with the discovery that found them
    for place in sorted(before, key=lambda place: ("send_targets", "isns", "nodes", "ifaces").index(place.split("/")[0])):
        if place in written.settings() and ADAPTER not in place:
            written.iscsiadm(*ask_for(place), "-o", "delete")
    assert list(written.settings()) == [f"ifaces/{ADAPTER}"]


def test_what_iscsiadm_wrote_is_as_it_should_be(released: ReleasedHost) -> None:
    released.clear()
    released.configure(released.conf)
    for line in ("-m iface -I san0 -o new", f"-m node -o new -T {PREFIX}:static1 -p 192.0.2.1:3260,1",
                 f"-m node -o new -T {PREFIX}:static2 -p 192.0.2.2:3260,1 -I san0",
                 "-m discoverydb -t isns -p 127.0.0.1:3205 -o new", "-m discoverydb -t isns -p 127.0.0.1:3205 --discover -I default"):
        released.iscsiadm(*line.split())
    before = shown_alike(released)
    assert len(before) == 5
    assert not released.module("iscsi_db", repair=True)["changed"]
    nodes = [{"target": f"{PREFIX}:static1", "portals": ["192.0.2.1:3260,1"]},
             {"target": f"{PREFIX}:static2", "portals": ["192.0.2.2:3260,1"], "ifaces": ["san0"]}]
    assert not released.module("iscsi_node", nodes=nodes)["changed"] and not released.module("iscsi_iface", name="san0")["changed"]
    assert not released.module("iscsi_discovery", type="isns", portals=["127.0.0.1"], ifaces=["default"])["changed"]
    assert released.settings() == before


@st.composite
def states(draw: st.DrawFn, version: t.Any) -> t.Dict[t.Tuple[str, str, str], t.Dict[str, str]]:
    """One to three nodes, no two of one name, each with its settings: (target, portal, iface) -> settings."""
    names = draw(st.lists(iqns, min_size=1, max_size=3, unique=True))
    return {(name, draw(portals), draw(st.sampled_from(("default", "san0")))): draw(changes(version)) for name in names}


@settings(max_examples=STATES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_states_survive(released: ReleasedHost, data: st.DataObject) -> None:
    """Our write, iscsiadm's reading, iscsiadm's change, our reading."""
    location = locate(str(released.root))
    version = installed_version(location)
    state = data.draw(states(version))
    released.clear()
    conf, iface = read_iscsid_conf(str(released.root)), new_iface("san0", {"iface.mtu": "9000"}, version=version)
    records: t.Dict[NodeKey, Record] = {}
    for (target, portal, name), said in state.items():
        key = NodeKey(check_iscsi_name(target), parse_portal(portal), name)
        fresh = new_node(conf, target=key.target, portal=key.portal, iface=iface if name == "san0" else None, version=version)
        records[key] = fresh.with_settings(said)
    with open_writer(location) as writer:
        writer.write_iface("san0", iface)
        for key, record in records.items():
            writer.write_node(key, record, STATIC)
    shown = [pairs(block) for block in released.iscsiadm("-m", "node", "-o", "show", "-S").stdout.split("# BEGIN RECORD")[1:]]
    by_name = {one["node.name"]: one for one in shown}
    assert len(shown) == len(records)
    for key, record in records.items():
        assert {name: by_name[key.target].get(name) for name in record.settings} == record.settings
    key = data.draw(st.sampled_from(sorted(records, key=str)))
    change = data.draw(changes(version))
    try:
        wanted = records[key].with_settings(change)
    except InputError:
        assume(False)
        raise
    if change:
        words = [word for name, value in change.items() for word in ("-n", name, "-v", value)]
        released.iscsiadm("-m", "node", "-T", key.target, "-p", str(key.portal), "-I", key.iface, "-o", "update", *words)
    database = read_database(location)
    assert database.problems == []
    assert {key: stored.record for key, stored in database.nodes.items()} == {**records, key: wanted}


def test_the_next_release_reads_what_was_written_for_the_one_before(tmp_path: Path) -> None:
    """An upgrade keeps the database, in its new place where that has moved."""
    older, newer = (ReleasedHost(tmp_path / name, find_release(name)) for name in RELEASES)
    try:
        for module, options in TASKS:
            if module != "iscsi_discovery":
                assert not older.module(module, **options).get("failed")
        for folder in ("nodes", "ifaces"):
            shutil.copytree(older.records / folder, newer.records / folder, symlinks=True)
        assert newer.settings() == older.settings() == shown_alike(newer)
        assert newer.module("iscsi_db")["problems"] == []
        for module, options in TASKS:
            if module in ("iscsi_node", "iscsi_iface"):
                assert not newer.module(module, **options)["changed"], module
    finally:
        newer.stop()
        older.stop()
