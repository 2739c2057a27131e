# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ipaddress
import string
import typing as t

import pytest
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey, Portal, check_iscsi_name, normalise_host, parse_portal
from hypothesis import given
from hypothesis import strategies as st

LONGEST = "iqn.2003-01.org.example:" + "x" * (223 - 24)


@pytest.mark.parametrize("name", [
    pytest.param("iqn.2003-01.org.linux-iscsi.rheln1", id="iqn"),
    pytest.param("iqn.1993-08.org.debian:01:1a2b3c", id="iqn with text"),
    pytest.param("iqn.2001-04.com.example:storage:diskarrays-sn-a8675309", id="iqn of RFC 7143"),
    pytest.param("iqn.2010-10.org.freenas.ctl:disk_1", id="underscore"),
    pytest.param("IQN.2003-01.org.example:Disk", id="upper case"),
    pytest.param("iqn.2003-01.org.example:straße", id="not ascii"),
    pytest.param("iqn.2003-01.localhost", id="authority of one label"),
    pytest.param("eui.02004567A425678D", id="eui"),
    pytest.param("naa.52004567BA64678D", id="naa of 16"),
    pytest.param("naa.62004567BA64678D0123456789ABCDEF", id="naa of 32"),
    pytest.param(LONGEST, id="223 bytes"),
])
def test_names_that_are_accepted_come_back_unchanged(name: str) -> None:
    assert check_iscsi_name(name) == name


@pytest.mark.parametrize(("name", "what"), [
    pytest.param("", "is empty", id="empty"),
    pytest.param("disk1", "does not begin with iqn., eui. or naa.", id="no type"),
    pytest.param("iqn", "does not begin with iqn., eui. or naa.", id="type alone"),
    pytest.param("iqn.", "has '' where a date YYYY-MM is expected", id="iqn. alone"),
    pytest.param("iqn.2003.org.example", "has '2003' where a date YYYY-MM is expected", id="no month"),
    pytest.param("iqn.2003-13.org.example", "has the month '13' in its date; a month is 01 to 12", id="month 13"),
    pytest.param("iqn.2003-00.org.example", "has the month '00' in its date; a month is 01 to 12", id="month 0"),
    pytest.param("iqn.٢٠٠٣-٠١.org.example", "has '٢٠٠٣-٠١' where a date YYYY-MM is expected", id="digits that are not ascii"),
    pytest.param("iqn.2003-01", "has no naming authority (a reversed domain name) after the date", id="no authority"),
    pytest.param("iqn.2003-01.:disk", "has '' where a reversed domain name is expected", id="empty authority"),
    pytest.param("iqn.2003-01.org.example:", "has nothing after the colon", id="nothing after the colon"),
    pytest.param("iqn.2003-01.org.example:a b", "holds the character ' ', which iSCSI names may not hold", id="space"),
    pytest.param("iqn.2003-01.org.example:a,1", "holds the character ',', which iSCSI names may not hold", id="comma"),
    pytest.param("iqn.2003-01.org.example:a/../b", "holds the character '/', which iSCSI names may not hold", id="slash"),
    pytest.param("iqn.2003-01.org.example:a\n", "holds the character '\\n', which iSCSI names may not hold", id="final newline"),
    pytest.param("iqn.2003-01.org.example\n", "holds the character '\\n', which iSCSI names may not hold", id="final newline of the authority"),
    pytest.param("iqn.2003-01.org.example:a\x00", "holds the character '\\x00', which iSCSI names may not hold", id="nul"),
    pytest.param("iqn.2003-01.org.example:a\x85b", "holds the character '\\x85', which iSCSI names may not hold", id="next line"),
    pytest.param("iqn.2003-01.org.example:a\u2028b", "holds the character '\\u2028', which iSCSI names may not hold", id="line separator"),
    pytest.param("eui.02004567A425678", "has the wrong number of hex digits after 'eui.', or something that is not a hex digit", id="eui of 15"),
    pytest.param("eui.02004567A425678G", "has the wrong number of hex digits after 'eui.', or something that is not a hex digit", id="eui with a G"),
    pytest.param("naa.52004567BA64678D\n", "has the wrong number of hex digits after 'naa.', or something that is not a hex digit", id="naa, newline"),
    pytest.param("naa.52004567BA64678D00", "has the wrong number of hex digits after 'naa.', or something that is not a hex digit", id="naa of 18"),
    pytest.param(LONGEST + "x", "is 224 bytes long; the longest allowed is 223", id="224 bytes"),
    pytest.param(LONGEST[:-1] + "ß", "is 224 bytes long; the longest allowed is 223", id="224 bytes, 223 characters"),
])
def test_names_that_are_refused(name: str, what: str) -> None:
    with pytest.raises(InputError) as caught:
        check_iscsi_name(name)
    assert caught.value.subject == f"target {name!r}"
    assert caught.value.what == what
    assert "An iSCSI name is" in caught.value.remedy


def test_the_subject_of_a_refusal_can_be_another() -> None:
    with pytest.raises(InputError, match=r"^initiator 'x': does not begin"):
        check_iscsi_name("x", "initiator")


@given(st.text(max_size=240))
def test_a_name_is_accepted_or_refused_with_an_input_error(text: str) -> None:
    try:
        assert check_iscsi_name("iqn.2003-01.org.example:" + text).endswith(text)
    except InputError as error:
        assert error.remedy
        return
    assert text
    assert not set(text) & set(" \t\n\r\x0b\x0c,/\\\x00")
    assert text.isprintable() or not any(character.isspace() for character in text)


@pytest.mark.parametrize(("text", "host", "port", "tpgt"), [
    pytest.param("192.168.56.101", "192.168.56.101", 3260, None, id="IPv4"),
    pytest.param("192.168.56.101:3261", "192.168.56.101", 3261, None, id="IPv4 port"),
    pytest.param("192.168.56.101:3260,1", "192.168.56.101", 3260, 1, id="IPv4 port tpgt"),
    pytest.param("192.168.56.101,1", "192.168.56.101", 3260, 1, id="IPv4 tpgt"),
    pytest.param("192.168.56.101:3260,0", "192.168.56.101", 3260, 0, id="tpgt 0"),
    pytest.param("192.168.56.101:65535,65535", "192.168.56.101", 65535, 65535, id="largest"),
    pytest.param("192.168.56.101:3260,-1", "192.168.56.101", 3260, None, id="no tpgt, -1"),
    pytest.param("192.168.56.101:3260,4294967295", "192.168.56.101", 3260, None, id="no tpgt, unsigned"),
    pytest.param("[fd00:56::101]:3260,2", "fd00:56::101", 3260, 2, id="IPv6 port tpgt"),
    pytest.param("[fd00:56::101]:3261", "fd00:56::101", 3261, None, id="IPv6 port"),
    pytest.param("[fd00:56::101]", "fd00:56::101", 3260, None, id="IPv6 in brackets"),
    pytest.param("[fd00:56::101],3", "fd00:56::101", 3260, 3, id="IPv6 in brackets, tpgt"),
    pytest.param("fd00:56::101", "fd00:56::101", 3260, None, id="bare IPv6"),
    pytest.param("fd00:56::101,4", "fd00:56::101", 3260, 4, id="bare IPv6, tpgt"),
    pytest.param("[FD00:0056:0:0:0:0:0:0101]:3260", "fd00:56::101", 3260, None, id="long IPv6"),
    pytest.param("[fe80::5054:ff:fe12:3456%ens4]:3260", "fe80::5054:ff:fe12:3456%ens4", 3260, None, id="scope id"),
    pytest.param("[::ffff:c000:201]:3260", "::ffff:192.0.2.1", 3260, None, id="IPv4 mapped"),
    pytest.param("san1.example.org", "san1.example.org", 3260, None, id="host name"),
    pytest.param("SAN1.Example.ORG.:3260,1", "san1.example.org", 3260, 1, id="host name, case and final dot"),
    pytest.param("array_a:860", "array_a", 860, None, id="underscore in a host name"),
    pytest.param("  192.168.56.101  ", "192.168.56.101", 3260, None, id="white space around"),
])
def test_parse_portal(text: str, host: str, port: int, tpgt: t.Optional[int]) -> None:
    portal = parse_portal(text)
    assert portal == Portal(host, port, tpgt)
    assert parse_portal(str(portal)) == portal


@pytest.mark.parametrize(("text", "what"), [
    pytest.param("", "'' is neither an IP address nor a host name", id="empty"),
    pytest.param(":3260", "'' is neither an IP address nor a host name", id="port alone"),
    pytest.param("192.168.56.999", "'192.168.56.999' is neither an IP address nor a host name", id="not IPv4"),
    pytest.param("192.168.56", "'192.168.56' is neither an IP address nor a host name", id="three numbers"),
    pytest.param("192.168.056.1", "'192.168.056.1' is neither an IP address nor a host name", id="leading zero"),
    pytest.param("192.168.56.101:0", "has the port '0'; a port is a number from 1 to 65535", id="port 0"),
    pytest.param("192.168.56.101:65536", "has the port '65536'; a port is a number from 1 to 65535", id="port too large"),
    pytest.param("192.168.56.101:", "has the port ''; a port is a number from 1 to 65535", id="port empty"),
    pytest.param("192.168.56.101:iscsi", "has the port 'iscsi'; a port is a number from 1 to 65535", id="port in words"),
    pytest.param("192.168.56.101:+3260", "has the port '+3260'; a port is a number from 1 to 65535", id="port with a sign"),
    pytest.param("192.168.56.101:٣٢٦٠", "has the port '٣٢٦٠'; a port is a number from 1 to 65535", id="port of other digits"),
    pytest.param("192.168.56.101:" + "9" * 5000, None, id="endless port"),
    pytest.param("192.168.56.101:3260,", "has the portal group tag ''; a tpgt is a number from 0 to 65535", id="tpgt empty"),
    pytest.param("192.168.56.101:3260,65536", "has the portal group tag '65536'; a tpgt is a number from 0 to 65535", id="tpgt too large"),
    pytest.param("192.168.56.101:3260,1,2", "has the portal group tag '1,2'; a tpgt is a number from 0 to 65535", id="two tpgts"),
    pytest.param("192.168.56.101:3260," + "9" * 5000, None, id="endless tpgt"),
    pytest.param("[fd00::1", "has a bracket that is not closed, or something other than :port after it", id="open bracket"),
    pytest.param("[fd00::1]3260", "has a bracket that is not closed, or something other than :port after it", id="no colon"),
    pytest.param("[192.168.56.101]:3260", "has brackets around '192.168.56.101', which is not an IPv6 address", id="brackets around IPv4"),
    pytest.param("[fd00::xyz]:3260", "'fd00::xyz' is neither an IP address nor a host name", id="not IPv6"),
    pytest.param("192.168.56.101:3260:1", "'192.168.56.101:3260:1' is neither an IP address nor a host name", id="two ports"),
    pytest.param("[fe80::1%]:3260", "'fe80::1%' is neither an IP address nor a host name", id="scope id empty"),
    pytest.param("[fe80::1%a b]:3260", "'fe80::1%a b' is neither an IP address nor a host name", id="space in the scope id"),
    pytest.param("[fe80::1%../x]:3260", "'fe80::1%../x' is neither an IP address nor a host name", id="slash in the scope id"),
    pytest.param("10.0.0.1%ens4", "'10.0.0.1%ens4' is neither an IP address nor a host name", id="scope id of IPv4"),
    pytest.param("san1/../x", "'san1/../x' is neither an IP address nor a host name", id="slash"),
    pytest.param("-san1", "'-san1' is neither an IP address nor a host name", id="leading dash"),
    pytest.param("san1..example", "'san1..example' is neither an IP address nor a host name", id="empty label"),
    pytest.param("san 1", "'san 1' is neither an IP address nor a host name", id="space inside"),
    pytest.param("http://san1", None, id="URL"),
])
def test_portals_that_are_refused(text: str, what: t.Optional[str]) -> None:
    with pytest.raises(InputError) as caught:
        parse_portal(text)
    assert caught.value.subject.startswith("portal ")
    assert what is None or caught.value.what == what
    assert "[IPv6]:port,tpgt" in caught.value.remedy


ADDRESSES = st.one_of(st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str)).map(normalise_host)
LABELS = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=12).filter(lambda label: not label.isdigit())
HOSTS = st.one_of(ADDRESSES, st.lists(LABELS, min_size=1, max_size=4).map(".".join))
PORTALS = st.builds(Portal, HOSTS, st.integers(1, 65535), st.none() | st.integers(0, 65535))


@given(PORTALS)
def test_a_portal_that_is_printed_reads_back_the_same(portal: Portal) -> None:
    assert parse_portal(str(portal)) == portal
    assert parse_portal(portal.address) == portal._replace(tpgt=None)


@given(st.ip_addresses(v=6), st.integers(1, 65535))
def test_all_ways_to_write_an_ipv6_address_are_one_portal(address: ipaddress.IPv6Address, port: int) -> None:
    assert parse_portal(f"[{address.exploded.upper()}]:{port}") == parse_portal(f"[{address.compressed}]:{port}")


@given(st.text())
def test_any_text_is_a_portal_or_an_input_error(text: str) -> None:
    try:
        portal = parse_portal(text)
    except InputError:
        return
    assert 1 <= portal.port <= 65535
    assert portal.tpgt is None or 0 <= portal.tpgt <= 65535
    assert not set(portal.host) & set(" ,/[]\\\n")
    assert parse_portal(str(portal)) == portal


@pytest.mark.parametrize(("portal", "address", "text"), [
    pytest.param(Portal("10.0.0.1"), "10.0.0.1:3260", "10.0.0.1:3260", id="IPv4"),
    pytest.param(Portal("10.0.0.1", 3261, 0), "10.0.0.1:3261", "10.0.0.1:3261,0", id="tpgt 0 is a tpgt"),
    pytest.param(Portal("fd00::1", 3260, 1), "[fd00::1]:3260", "[fd00::1]:3260,1", id="IPv6"),
    pytest.param(Portal("fe80::1%ens4"), "[fe80::1%ens4]:3260", "[fe80::1%ens4]:3260", id="scope id"),
])
def test_how_portals_are_printed(portal: Portal, address: str, text: str) -> None:
    assert (portal.address, str(portal)) == (address, text)


@pytest.mark.parametrize(("one", "other", "same"), [
    pytest.param("10.0.0.1:3260,1", "10.0.0.1:3260,1", True, id="equal"),
    pytest.param("10.0.0.1:3260,1", "10.0.0.1:3260", True, id="one without tpgt"),
    pytest.param("10.0.0.1:3260,1", "10.0.0.1:3260,2", False, id="two tpgts"),
    pytest.param("10.0.0.1:3260,0", "10.0.0.1:3260,1", False, id="tpgt 0 is not unknown"),
    pytest.param("10.0.0.1:3260", "10.0.0.1:3261", False, id="two ports"),
    pytest.param("10.0.0.1:3260", "10.0.0.11:3260", False, id="a prefix is not a match"),
])
def test_matches_is_symmetric(one: str, other: str, same: bool) -> None:
    assert parse_portal(one).matches(parse_portal(other)) is same
    assert parse_portal(other).matches(parse_portal(one)) is same


@pytest.mark.parametrize(("host", "link_local"), [
    ("fe80::1", True), ("fe80::1%ens4", True), ("169.254.3.4", True), ("fd00::1", False), ("192.168.1.1", False), ("san1.example.org", False),
    ("fe80.example.org", False),
])
def test_link_local(host: str, link_local: bool) -> None:
    assert Portal(host).is_link_local is link_local


@pytest.mark.parametrize(("host", "normal"), [
    ("FD00:0::0001", "fd00::1"), ("FE80::1%Ens4", "fe80::1%Ens4"), ("010.0.0.1", "010.0.0.1"), ("SAN1.Example.", "san1.example"), ("10.0.0.1", "10.0.0.1"),
])
def test_normalise_host(host: str, normal: str) -> None:
    assert normalise_host(host) == normal
    assert normalise_host(normal) == normal


def test_a_node_is_named_with_its_iface_where_that_is_not_the_default() -> None:
    portal = Portal("fd00::1", 3260, 1)
    assert str(NodeKey("iqn.2003-01.org.example:a", portal)) == "iqn.2003-01.org.example:a at [fd00::1]:3260,1"
    assert str(NodeKey("iqn.2003-01.org.example:a", portal, "san0")) == "iqn.2003-01.org.example:a at [fd00::1]:3260,1 via iface san0"
