# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random records through the real iscsiadm, both ways: what we write it shows, what it writes we read and would write alike."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey, Portal, check_iscsi_name, normalise_host, parse_portal
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.conf import read_iscsid_conf
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.database import open_writer
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.layout import installed_version, locate
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.new_records import new_node
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.record import render_record
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import Field, Kind, Type, check_settings, fields
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.stored import STATIC, read_database
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.version import Version

if t.TYPE_CHECKING:
    from conftest import Host

Begin = t.Callable[[str, str, str], NodeKey]
IFACES = ("default", "san0", "hba.ipv6.0")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
#: some 20 ms an example on two cores that do other things besides
RANDOM = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

iqns = st.builds(
    "iqn.{:04}-{:02}.org.{}{}".format, st.integers(1970, 2099), st.integers(1, 12), st.text(LETTERS, min_size=1, max_size=20),
    st.one_of(st.just(""), st.text(LETTERS + ".-:_", min_size=1, max_size=170).map(":{}".format)))
names = st.one_of(iqns, st.text("0123456789abcdef", min_size=16, max_size=16).map("eui.{}".format),
                  st.text("0123456789ABCDEF", min_size=32, max_size=32).map("naa.{}".format))
# iscsiadm cannot read an IPv6 address that is written with dots (::ffff:192.0.2.1) on its command line
sixes = st.ip_addresses(v=6).map(lambda address: normalise_host(str(address))).filter(lambda text: "." not in text)
hosts = st.one_of(st.ip_addresses(v=4).map(str), sixes.map("[{}]".format),
                  st.text(LETTERS, min_size=1, max_size=30).map("h-{}.example.org".format))
portals = st.builds("{}:{}{}".format, hosts, st.integers(1, 65535), st.one_of(st.just(""), st.integers(0, 65535).map(",{}".format)))


def texts(maximum: int) -> st.SearchStrategy[str]:
    inner = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=maximum)
    return inner.filter(lambda text: text == text.strip() and len(text.encode()) <= maximum)


def values(one: Field) -> st.SearchStrategy[str]:
    """Any value that the schema allows for this field, as text."""
    if one.key == "node.session.cmds_max":
        return st.integers(1, 11).map(lambda power: str(2**power))
    if one.type is Type.INT:
        return st.one_of(st.integers(one.shape.minimum, one.shape.maximum), *(st.just(number) for number in one.shape.also)).map(str)
    if one.type is Type.LIST:
        return st.lists(st.sampled_from(one.choices), min_size=1, unique=True).map(",".join)
    return st.sampled_from(one.choices) if one.choices else texts(one.shape.maximum)


def settable(version: Version) -> t.Dict[str, Field]:
    return {key: one for key, one in fields(Kind.NODE, version).items() if not one.read_only and "h" not in one.flags}


@st.composite
def changes(draw: st.DrawFn, version: Version) -> t.Dict[str, str]:
    known = settable(version)
    keys = draw(st.lists(st.sampled_from(sorted(known)), unique=True, max_size=len(known)))
    made = {key: draw(values(known[key])) for key in keys}
    try:
        return check_settings(Kind.NODE, made, version=version)
    except InputError:  # two that cannot go together; each of them alone is checked by the next example
        assume(False)
        raise


@pytest.fixture
def node(host: Host) -> Begin:
    """Begin anew, with the ifaces; returns the key of the node that an example is about."""

    def begin(target: str, portal: str, iface: str) -> NodeKey:
        host.clear()
        for name in IFACES[1:]:
            path = host.etc / "ifaces" / name
            path.parent.mkdir(exist_ok=True, mode=0o700)
            path.write_text(f"# BEGIN RECORD 2.1.8\niface.iscsi_ifacename = {name}\niface.transport_name = tcp\niface.mtu = 9000\n# END RECORD\n")
        return NodeKey(check_iscsi_name(target), parse_portal(portal), iface)

    return begin


def named(key: NodeKey) -> t.List[str]:
    return ["-m", "node", "-T", key.target, "-p", str(key.portal), "-I", key.iface]


def line(portal: Portal, target: str) -> str:
    # a host name is printed in brackets unless it has a dot; ours all have
    return f"{portal.address},{4294967295 if portal.tpgt is None else portal.tpgt} {target}\n"


@RANDOM
@given(data=st.data(), target=names, portal=portals, iface=st.sampled_from(IFACES))
def test_what_we_write_iscsiadm_shows(host: Host, node: Begin, data: st.DataObject, target: str, portal: str, iface: str) -> None:
    location = locate(str(host.root))
    version = installed_version(location)
    key, given_settings = node(target, portal, iface), data.draw(changes(version))
    assume(key.portal.tpgt is not None or "ipv6" not in iface)
    fresh = new_node(read_iscsid_conf(str(host.root)), target=target, portal=key.portal, iface=read_database(location).iface_record(iface), version=version)
    record = fresh.with_settings(given_settings)
    with open_writer(location) as writer:
        writer.write_node(key, record, STATIC)
    assert host.iscsiadm("-m", "node").stdout == line(key.portal, target)
    shown = host.iscsiadm(*named(key), "-o", "show", "-S").stdout
    pairs = dict(text.split(" = ", 1) for text in shown.split("\n") if " = " in text)
    assert {name: pairs.get(name) for name in record.settings} == record.settings
    assert {value for name, value in pairs.items() if name not in record.settings} <= {"<empty>"}
    # and writing it back changes nothing
    before = host.files()
    host.iscsiadm(*named(key), "-o", "update", "-n", "node.startup", "-v", record.get("node.startup"))
    assert host.files() == before


@RANDOM
@given(data=st.data(), target=names, portal=portals, iface=st.sampled_from(IFACES))
def test_what_iscsiadm_writes_we_read(host: Host, node: Begin, data: st.DataObject, target: str, portal: str, iface: str) -> None:
    location = locate(str(host.root))
    key, given_settings = node(target, portal, iface), data.draw(changes(installed_version(location)))
    host.iscsiadm(*named(key), "-o", "new")
    fresh = read_database(location).nodes[key].record
    if given_settings:
        host.iscsiadm(*named(key), "-o", "update", *(word for name, value in given_settings.items() for word in ("-n", name, "-v", value)))
    database = read_database(location)
    assert set(database.nodes) == {key} and database.problems == []
    stored = database.nodes[key]
    assert stored.record == fresh.with_settings(given_settings)
    with open(stored.path, encoding="utf-8", newline="") as file:
        text = file.read()
    assert render_record(stored.record) == text == render_record(fresh.with_settings(given_settings))


def test_a_record_that_would_keep_iscsiadm_from_listing_is_refused(host: Host, node: Begin) -> None:
    location = locate(str(host.root))
    key = node("iqn.2026-11.org.example:one", "192.0.2.1:3260", "hba.ipv6.0")
    with pytest.raises(InputError, match="tag"):
        new_node({}, target=key.target, portal=key.portal, iface=read_database(location).iface_record(key.iface), version=installed_version(location))
    # the witness: iscsiadm makes that record, and can list nothing then
    host.iscsiadm(*named(key), "-o", "new")
    assert host.iscsiadm("-m", "node", check=False).returncode == 7
