# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every version of open-iscsi that the schema tells apart: its own iscsiadm showed these keys and stored these records.

The fixtures were written by tests/integration/database/make_fixture.py; the first line of each says which iscsiadm it was.
"""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey, Portal, normalise_host
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.conf import parse_iscsid_conf
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.database import open_writer
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.layout import Location, locate
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.new_records import new_iface, new_isns, new_node, new_send_targets
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.nodes import PROFILES
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.record import Record, parse_record, render_record
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import Kind, check_settings, fields
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.stored import STATIC, Discovery, read_database
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.version import Version, parse_version

FOLDER = Path(__file__).parent / "fixtures/records"
#: as make_fixture.py set them
IFACES = {
    "san0": {"iface.hwaddress": "00:11:22:33:44:55", "iface.mtu": "9000", "iface.vlan_id": "7"},
    "hba.ipv6.0": {"iface.ipaddress": "fd00::9", "iface.vlan_priority": "2"},
}
KINDS = {"nodes": Kind.NODE, "ifaces": Kind.IFACE, "send_targets": Kind.SEND_TARGETS, "isns": Kind.ISNS}


class Fixture:
    """One file: the keys that ``-o show`` printed, and for each iscsid.conf the files and links that were stored."""

    def __init__(self, path: Path) -> None:
        self.keys: t.Dict[str, t.List[str]] = {}
        self.confs: t.Dict[str, str] = {}
        self.files: t.Dict[str, t.Dict[str, str]] = {}
        self.links: t.Dict[str, t.Dict[str, str]] = {}
        conf = ""
        for section in path.read_text(encoding="utf-8").split("==== ")[1:]:
            head, _end, body = section.partition("\n")
            kind, _space, name = head.partition(" ")
            if kind == "version":
                text, _word, self.database = name.split(" ")
                # the one distribution whose package differs from upstream under the same version
                self.version: Version = parse_version(text)._replace(mended="deb13u2" in path.name)
            elif kind == "keys":
                self.keys[name] = [line for line in body.splitlines() if not line.startswith("#")]
            elif kind == "conf":
                conf = name
                self.confs[conf], self.files[conf], self.links[conf] = body, {}, {}
            elif kind == "link":
                link, to = name.split(" ")
                self.links[conf][link] = to
            else:
                self.files[conf][name] = body


FIXTURES = {path.stem: Fixture(path) for path in sorted(FOLDER.glob("*.txt"))}


def test_there_are_all_versions_that_differ() -> None:
    # 2.1.8 is what the integration tests run against
    assert sorted(FIXTURES) == ["2.0.873", "2.0.874", "2.0.875", "2.0.876", "2.0.877", "2.1.1", "2.1.10", "2.1.11", "2.1.11-1+deb13u2", "2.1.9"]
    assert {one.since for kind in KINDS.values() for one in fields(kind).values()} <= {fixture.version.numbers for fixture in FIXTURES.values()}


@pytest.mark.parametrize("name", sorted(FIXTURES))
def test_the_keys_are_those_that_iscsiadm_shows_in_its_order(name: str) -> None:
    fixture = FIXTURES[name]
    assert len(fixture.keys) >= 6
    for what, shown in fixture.keys.items():
        kind = {"st": Kind.SEND_TARGETS, "isns": Kind.ISNS}.get(what) or Kind(what.split()[0])
        family = 6 if "ipv6" in what else 4
        known = fields(kind, fixture.version)
        ours = [key for key, one in known.items() if "h" not in one.flags and one.family in (0, family)]
        if shown_by_library(what, fixture):
            # an order of its own, and it takes these two for settings of IPv4; the file, which the next test is about, is not written by it
            ipv4 = ["iface.gateway", "iface.subnet_mask"] if family == 6 else []
            assert sorted(shown + ipv4) == sorted(ours), what
        else:
            assert shown == ours, what


def shown_by_library(what: str, fixture: Fixture) -> bool:
    """Whether libopeniscsiusr prints this, and not iscsiadm itself: nodes, since 2.0.877."""
    return what.startswith("node ") and fixture.version.numbers >= (2, 0, 877)


def made(path: str, fixture: Fixture, conf_name: str) -> Record:
    """The record that this collection makes where iscsiadm of that version made the file at ``path``."""
    conf, version, files = parse_iscsid_conf(fixture.confs[conf_name]), fixture.version, fixture.files[conf_name]
    folder, _slash, rest = path.partition("/")
    if folder == "ifaces":
        return new_iface(rest, IFACES[rest], version=version)
    host, port, *tag = rest.split("/")[1 if folder == "nodes" else 0].split(",")
    portal = Portal(host, int(port), int(tag[0]) if tag else None)
    if folder != "nodes":
        return (new_isns if folder == "isns" else new_send_targets)(conf, portal, version=version)
    iface = rest.split("/")[2] if tag else "default"
    bound = parse_record(files[f"ifaces/{iface}"], iface, Kind.IFACE) if iface != "default" else None
    return new_node(conf, target=rest.split("/")[0], portal=portal, version=version, iface=bound, discovery=found_by(path, fixture, conf_name))


def found_by(path: str, fixture: Fixture, conf_name: str) -> Discovery:
    """Which discovery has a link to the node at ``path``; a node without tag has none and is static."""
    node = f"{fixture.database}/{os.path.dirname(path)}"
    for link, to in fixture.links[conf_name].items():
        if to == node and link.startswith("send_targets/"):
            host, port = link.split("/")[1].split(",")
            return Discovery(Kind.SEND_TARGETS, host, int(port))
    return STATIC


CASES = [pytest.param(name, conf, id=f"{name}-{conf}") for name, fixture in FIXTURES.items() for conf in fixture.confs]


@pytest.mark.parametrize(("name", "conf"), CASES)
def test_records_are_made_byte_for_byte(name: str, conf: str) -> None:
    fixture = FIXTURES[name]
    assert len(fixture.files[conf]) >= 3
    for path, text in fixture.files[conf].items():
        assert render_record(made(path, fixture, conf)).split("\n") == text.split("\n"), path


@pytest.mark.parametrize(("name", "conf"), CASES)
def test_the_database_is_written_and_read_as_that_version_has_it(name: str, conf: str, tmp_path: Path) -> None:
    fixture = FIXTURES[name]
    location = Location("/", str(tmp_path / "db"), fixture.database, str(tmp_path / "lock"), fixture.version)
    with open_writer(location) as writer:
        for path in fixture.files[conf]:
            record, parts = made(path, fixture, conf), path.split("/")
            if parts[0] == "ifaces":
                writer.write_iface(parts[1], record)
                continue
            host, port, *tag = parts[2 if parts[0] == "nodes" else 1].split(",")
            portal = Portal(normalise_host(host), int(port), int(tag[0]) if tag else None)
            if parts[0] == "nodes":
                writer.write_node(NodeKey(parts[1], portal, parts[3] if tag else "default"), record, found_by(path, fixture, conf))
            else:
                (writer.write_isns if parts[0] == "isns" else writer.write_send_targets)(portal, record)
    found = {str(path.relative_to(location.folder)): path for path in Path(location.folder).rglob("*") if path.is_symlink() or path.is_file()}
    assert {where: path.read_text() for where, path in found.items() if not path.is_symlink()} == fixture.files[conf]
    assert {where: os.readlink(path) for where, path in found.items() if path.is_symlink()} == fixture.links[conf]
    database = read_database(location)
    assert database.problems == []
    for stored in (*database.nodes.values(), *database.ifaces.values(), *database.send_targets.values(), *database.isns.values()):
        assert render_record(stored.record) == Path(stored.path).read_text()
    assert len(database.nodes) == sum(path.startswith("nodes/") for path in fixture.files[conf])


@pytest.mark.parametrize("name", sorted(FIXTURES))
def test_the_profile_default_is_what_that_version_has_without_a_configuration(name: str) -> None:
    fixture = FIXTURES[name]
    nodes = [parse_record(text, path, Kind.NODE) for path, text in fixture.files["plain"].items() if path.startswith("nodes/")]
    assert nodes and "node." not in fixture.confs["plain"]
    for record in nodes:
        assert {key: record.get(key) for key in PROFILES["default"]} == PROFILES["default"]


def test_the_profile_default_takes_back_what_any_other_sets() -> None:
    assert set(PROFILES["default"]) == {key for settings in PROFILES.values() for key in settings}


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_a_profile_is_settings_that_every_version_takes(profile: str) -> None:
    for fixture in FIXTURES.values():
        assert check_settings(Kind.NODE, PROFILES[profile], version=fixture.version) == PROFILES[profile]


@pytest.mark.parametrize(("package", "mended"), [
    ("2.1.11-1+deb13u2", True), ("2.1.11-1+deb13u10", True), ("2.1.11-6", True), ("2.1.11-4", True), ("2.1.11-4ubuntu1", True),
    ("2.1.11-3", False), ("2.1.11-1", False), ("2.1.11-1+deb13u1", False), ("2.1.10-4", False), (None, False),
])
def test_debian_mended_its_package_without_a_new_version(tmp_path: Path, package: t.Optional[str], mended: bool) -> None:
    (tmp_path / "usr/sbin").mkdir(parents=True)
    (tmp_path / "usr/sbin/iscsiadm").write_bytes(b"\0/var/lib/iscsi/nodes\0\0# BEGIN RECORD 2.1.11\0")
    if package is not None:
        (tmp_path / "var/lib/dpkg").mkdir(parents=True)
        (tmp_path / "var/lib/dpkg/status").write_text(
            "Package: libopeniscsiusr\nStatus: install ok installed\nVersion: 2.1.11-9\n\n"
            f"Package: open-iscsi\nStatus: install ok installed\nSource: open-iscsi\nVersion: {package}\nDepends: libc6\n\nPackage: z\nVersion: 2.1.11-9\n")
    version = locate(str(tmp_path)).version
    assert version is not None and version.mended is mended and version.mixes_discovery_types is not mended
