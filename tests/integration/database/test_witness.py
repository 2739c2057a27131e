# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real iscsiadm as witness: what it creates we create, what it writes we read, what we write it reads, updates and deletes."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey, Portal, parse_portal
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.conf import read_iscsid_conf
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.database import open_writer
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.layout import Location, installed_version, locate
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.stored import STATIC, Database, read_database
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.new_records import new_iface, new_isns, new_node, new_send_targets
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.record import Record, parse_record, render_record
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import Kind, check_settings, fields

if t.TYPE_CHECKING:
    from conftest import Host

TARGET = "iqn.2026-11.org.example:disk1"
CHANGED = """
node.startup = automatic
node.leading_login = Yes
node.session.timeo.replacement_timeout = 15 # seconds
node.session.timeo.replacement_timeout = 16
node.conn[0].timeo.login_timeout=99
  node.conn[0].timeo.noop_out_interval =   abc
node.conn[0].iscsi.HeaderDigest = CRC32C,None
node.conn[0].iscsi.DataDigest = None CRC32C
node.conn[0].iscsi.IFMarker = yes
node.session.auth.authmethod = CHAP
node.session.auth.username = user name
node.session.auth.password = a # secret = of sorts
node.session.auth.username_in = back
node.session.auth.password_in = other
node.session.auth.chap_algs = SHA3-256, SHA1,nonsense,SHA1,MD5
node.session.queue_depth = -1
node.session.cmds_max = 99999999999999999999999
node.session.reopen_max = 4294967297
node.session.nr_sessions =
node.session.scan = sometimes
node.conn[0].startup = automatic
iface.mtu = 70000
iface.vlan_id = 7
iface.gateway = 10.0.0.1
iface.hop_limit = 4
discovery.startup = automatic
discovery.sendtargets.auth.authmethod = CHAP
discovery.sendtargets.auth.username = disc
discovery.sendtargets.auth.password = discsecret
discovery.sendtargets.timeo.login_timeout = 7
discovery.sendtargets.use_discoveryd = Yes
discovery.sendtargets.iscsi.MaxRecvDataSegmentLength = 65536
discovery.isns.use_discoveryd = Yes
discovery.isns.discoveryd_poll_inval = 60
no.such.key = 1
"""
CONFS = {"as installed": "", "many settings": CHANGED, "last line without an end": "node.startup = onboot\nnode.session.queue_depth = 7",
         "a long line": "#" * 2047 + "node.session.queue_depth = 9\nnode.startup = automatic\n" + "#" * 2046 + "\nnode.session.cmds_max = 64\n"}


def place(host: Host) -> Location:
    return locate(str(host.root))


def key(portal: str, iface: str = "default", target: str = TARGET) -> NodeKey:
    return NodeKey(target, parse_portal(portal), iface)


def made(host: Host, portal: str, iface: t.Optional[Record] = None, discovery: t.Any = STATIC) -> Record:
    location = place(host)
    return new_node(read_iscsid_conf(str(host.root)), target=TARGET, portal=parse_portal(portal), iface=iface, discovery=discovery,
                    version=installed_version(location))


def assert_same(ours: t.Mapping[str, str], theirs: t.Mapping[str, str]) -> None:
    """Equal file by file, told line by line."""
    assert sorted(ours) == sorted(theirs)
    for path in theirs:
        assert ours[path].split("\n") == theirs[path].split("\n"), path


def only_node(host: Host) -> str:
    return next(str(text) for path, text in host.files().items() if path.startswith("nodes/"))


@pytest.fixture(params=sorted(CONFS))
def conf(request: pytest.FixtureRequest, host: Host) -> str:
    base = (host.etc / "iscsid.conf").read_text()
    host.configure(base + CONFS[request.param])
    return str(request.param)


PORTALS = ["192.0.2.1:3260,1", "192.0.2.1:3261,65535", "192.0.2.1:3260", "[fd00::1]:3260,2", "[fd00::1]:3260", "disk.example.org:3260,1"]


@pytest.mark.parametrize("portal", PORTALS)
def test_new_static_node_is_iscsiadms(host: Host, conf: str, portal: str) -> None:
    host.iscsiadm("-m", "node", "-o", "new", "-T", TARGET, "-p", portal)
    theirs = host.files()
    assert any(path.startswith("nodes/") for path in theirs)
    modes = host.modes()
    host.clear()
    with open_writer(place(host)) as writer:
        writer.write_node(key(portal), made(host, portal), STATIC)
    assert_same(host.files(), theirs)
    assert host.modes() <= modes == {"d700", "f600"}


IFACES: t.Dict[str, t.Dict[str, t.Any]] = {
    "bare": {},
    "byaddress": {"iface.hwaddress": "00:11:22:33:44:55"},
    "san0": {"iface.net_ifacename": "lo", "iface.initiatorname": "iqn.2026-11.org.example:other"},
    "vlan": {"iface.ipaddress": "10.0.0.9", "iface.vlan_id": 7, "iface.mtu": 9000, "iface.state": True, "iface.bootproto": "static", "iface.ttl": 3},
    "hba.ipv6.0": {"iface.ipaddress": "fd00::9", "iface.hop_limit": 9, "iface.mld": "disable", "iface.vlan_priority": 2},
}


@pytest.mark.parametrize("name", sorted(IFACES))
def test_new_iface_and_node_on_it_are_iscsiadms(host: Host, name: str) -> None:
    settings = check_settings(Kind.IFACE, IFACES[name])
    host.iscsiadm("-m", "iface", "-I", name, "-o", "new")
    for setting, value in settings.items():
        host.iscsiadm("-m", "iface", "-I", name, "-o", "update", "-n", setting, "-v", value)
    host.iscsiadm("-m", "node", "-o", "new", "-T", TARGET, "-p", "192.0.2.1:3260,1", "-I", name)
    theirs = host.files()
    assert len(theirs) == 3
    host.clear()
    location = place(host)
    with open_writer(location) as writer:
        writer.write_iface(name, new_iface(name, settings, version=installed_version(location)))
    iface = read_database(location).iface_record(name)
    with open_writer(location) as writer:
        writer.write_node(key("192.0.2.1:3260,1", name), made(host, "192.0.2.1:3260,1", iface), STATIC)
    assert_same(host.files(), theirs)
    assert read_database(location).problems == []


@pytest.mark.parametrize("kind, port", [("st", 3260), ("isns", 3205)])
@pytest.mark.parametrize("address", ["192.0.2.1", "fd00::1", "disk.example.org"])
def test_new_discovery_record_is_iscsiadms(host: Host, conf: str, kind: str, port: int, address: str) -> None:
    written = f"[{address}]" if ":" in address else address
    host.iscsiadm("-m", "discoverydb", "-t", kind, "-p", f"{written}:{port}", "-o", "new")
    theirs = host.files()
    assert len(theirs) == 1
    host.clear()
    location, portal = place(host), Portal(address, port)
    make = new_send_targets if kind == "st" else new_isns
    record = make(read_iscsid_conf(str(host.root)), portal, version=installed_version(location))
    with open_writer(location) as writer:
        (writer.write_send_targets if kind == "st" else writer.write_isns)(portal, record)
    assert_same(host.files(), theirs)


def test_old_records_that_iscsiadm_left_are_read_whole(host: Host) -> None:
    host.iscsiadm("-m", "node", "-o", "new", "-T", TARGET, "-p", "192.0.2.1:3260,1")
    host.iscsiadm("-m", "node", "-o", "new", "-T", TARGET, "-p", "[fd00::1]:3260")
    host.iscsiadm("-m", "discoverydb", "-t", "st", "-p", "192.0.2.1", "-o", "new")
    database = read_database(place(host))
    assert set(database.nodes) == {key("192.0.2.1:3260,1"), key("[fd00::1]:3260")}
    assert database.linked[STATIC] == {key("192.0.2.1:3260,1")}
    assert set(database.send_targets) == {("192.0.2.1", 3260)}
    assert database.problems == []
    for stored in [*database.nodes.values(), *database.send_targets.values()]:
        with open(stored.path, encoding="utf-8") as file:
            assert render_record(stored.record) == file.read()


class TestDiscovery:
    PORTALS = ("127.0.0.1:13260", "127.0.0.2:13260", "[::1]:13261")
    NAMES = tuple(f"iqn.2026-11.org.example:d{number}" for number in range(3))

    @pytest.fixture(scope="class")
    @classmethod
    def served(cls, _host: Host) -> None:
        _host.start_tgtd(cls.NAMES, cls.PORTALS)

    @pytest.mark.usefixtures("served")
    @pytest.mark.parametrize("asked", ["127.0.0.1:13260", "[::1]:13261"])
    @pytest.mark.parametrize("conf_text", ["", CHANGED.replace("discovery.sendtargets.auth.authmethod = CHAP\n", "")], ids=["as installed", "many settings"])
    def test_discovery_records_are_iscsiadms(self, host: Host, conf_text: str, asked: str) -> None:
        host.configure((host.etc / "iscsid.conf").read_text() + conf_text)
        answer = host.iscsiadm("-m", "discovery", "-t", "st", "-p", asked).stdout.split("\n")[:-1]
        theirs = host.files()
        assert len(theirs) == 2 * len(answer) + 1 == 2 * len(self.NAMES) + 1  # tgtd names the portal it was asked at
        host.clear()
        location, conf, version = place(host), read_iscsid_conf(str(host.root)), installed_version(str(host.root))
        portal = parse_portal(asked)
        with open_writer(location) as writer:
            writer.write_send_targets(portal, new_send_targets(conf, portal, version=version))
            for line in answer:
                where, target = line.split(" ")
                node = NodeKey(target, parse_portal(where))
                writer.write_node(node, new_node(conf, target=target, portal=node.portal, discovery=portal, version=version), portal)
        assert_same(host.files(), theirs)
        database = read_database(location)
        assert database.problems == []
        assert database.links[portal.endpoint] == set(database.nodes)

    @pytest.mark.usefixtures("served")
    def test_iscsiadm_finds_nothing_to_change_in_ours_and_deletes_it(self, host: Host) -> None:
        self.test_discovery_records_are_iscsiadms(host, "", "127.0.0.1:13260")
        before = host.files()
        host.iscsiadm("-m", "discovery", "-t", "st", "-p", "127.0.0.1:13260")
        assert host.files() == before
        host.iscsiadm("-m", "discoverydb", "-t", "st", "-p", "127.0.0.1:13260", "-o", "delete")
        assert host.files() == {}
        assert not any((host.etc / name).exists() and list((host.etc / name).iterdir()) for name in ("nodes", "send_targets"))

    @pytest.mark.usefixtures("served")
    def test_we_delete_what_iscsiadm_discovered(self, host: Host) -> None:
        host.iscsiadm("-m", "discovery", "-t", "st", "-p", "127.0.0.1:13260")
        keep = NodeKey("iqn.2026-11.org.example:other", parse_portal("192.0.2.1:3260,1"))
        host.iscsiadm("-m", "node", "-o", "new", "-T", keep.target, "-p", str(keep.portal))
        with open_writer(place(host)) as writer:
            gone = writer.delete_send_targets(Portal("127.0.0.1", 13260))
        assert len(gone) == len(self.NAMES)
        database: Database = read_database(place(host))
        assert set(database.nodes) == {keep} and not database.send_targets and not database.problems
        assert list((host.etc / "send_targets").iterdir()) == []
        assert [path.name for path in (host.etc / "nodes").iterdir()] == [keep.target]
        assert keep.target in host.iscsiadm("-m", "node").stdout


#: one value for every setting of a node that can be set, none of them the default
EVERY: t.Dict[str, t.Any] = {
    name: {"int": min(max(one.shape.minimum, 3), one.shape.maximum) if "cmds_max" not in name else 64,
           "choice": one.choices[-1:] and one.choices[-1], "list": ["SHA1", "MD5"],
           "text": "tcp" if "transport" in name else one.choices[0] if one.choices else "x y=#z"}[one.type.value]
    for name, one in fields(Kind.NODE).items()
    if not one.read_only and "h" not in one.flags and one.family != 6 and "reopen_log_freq" not in name
}


def test_every_setting_we_write_iscsiadm_shows(host: Host) -> None:
    settings = check_settings(Kind.NODE, EVERY)
    node = key("192.0.2.1:3260,1")
    with open_writer(place(host)) as writer:
        writer.write_node(node, made(host, str(node.portal)).with_settings(settings), STATIC)
    shown = host.iscsiadm("-m", "node", "-T", TARGET, "-p", "192.0.2.1:3260,1", "-o", "show", "-S").stdout
    lines = dict(line.split(" = ", 1) for line in shown.split("\n") if " = " in line)
    assert {name: lines[name] for name in settings} == settings
    assert host.iscsiadm("-m", "node").stdout == f"192.0.2.1:3260,1 {TARGET}\n"


def test_every_setting_iscsiadm_updates_we_read_and_would_write_alike(host: Host) -> None:
    node = key("192.0.2.1:3260,1")
    with open_writer(place(host)) as writer:
        writer.write_node(node, made(host, str(node.portal)), STATIC)
    before = read_database(place(host)).nodes[node].record
    settings = check_settings(Kind.NODE, EVERY)
    pairs = [word for name, value in settings.items() for word in ("-n", name, "-v", value)]
    host.iscsiadm("-m", "node", "-T", TARGET, "-p", str(node.portal), "-o", "update", *pairs)
    after = read_database(place(host)).nodes[node]
    assert after.record == before.with_settings(settings)
    assert render_record(before.with_settings(settings)) == only_node(host)


@pytest.mark.parametrize("portal", ["192.0.2.1:3260,1", "192.0.2.1:3260", "[fd00::1]:3260,2"])
def test_iscsiadm_deletes_what_we_wrote(host: Host, portal: str) -> None:
    with open_writer(place(host)) as writer:
        writer.write_node(key(portal), made(host, portal), STATIC)
    assert len(host.files()) == (2 if "," in portal else 1)
    host.iscsiadm("-m", "node", "-T", TARGET, "-p", portal, "-o", "delete")
    assert host.files() == {} and list((host.etc / "nodes").iterdir()) == []


def test_a_tpgt_that_becomes_known_replaces_the_old_record(host: Host) -> None:
    host.iscsiadm("-m", "node", "-o", "new", "-T", TARGET, "-p", "192.0.2.1:3260")
    with open_writer(place(host)) as writer:
        writer.write_node(key("192.0.2.1:3260,1"), made(host, "192.0.2.1:3260,1"), STATIC)
    assert host.iscsiadm("-m", "node").stdout == f"192.0.2.1:3260,1 {TARGET}\n"


def test_an_unknown_key_is_kept_and_named_where_iscsiadm_fails(host: Host) -> None:
    node = key("192.0.2.1:3260,1")
    with open_writer(place(host)) as writer:
        writer.write_node(node, made(host, str(node.portal)), STATIC)
    path = host.etc / f"nodes/{TARGET}/192.0.2.1,3260,1/default"
    path.write_text(path.read_text().replace("# END", "node.colour = blue\n# END"))
    assert host.iscsiadm("-m", "node", check=False).returncode != 0
    database = read_database(place(host))
    assert ["node.colour" in problem["what"] for problem in database.problems] == [True]
    with open_writer(place(host)) as writer:
        writer.write_node(node, database.nodes[node].record.with_settings({"node.startup": "automatic"}))
    assert "node.colour = blue\n" in path.read_text() and "node.startup = automatic\n" in path.read_text()
    assert parse_record(path.read_text(), str(path)).get("node.colour") == "blue"
