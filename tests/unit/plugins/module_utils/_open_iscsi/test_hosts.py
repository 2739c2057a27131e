# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts and flash nodes as values; that they are what iscsiadm reads is shown in tests/integration/hosts."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import Portal
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.flash_nodes import FIELDS, IDENTITY, SECRETS, check_families, check_settings
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.hosts import find_hosts, read_hosts, read_version

from ..sysfs_tree import Tree

TARGET = "iqn.2026-11.org.example:disk1"


def flash_node(tree: Tree, host: int, index: int, **connection: object) -> None:
    base = "/sys/bus/iscsi_flashnode/devices/flashnode_"
    tree.attributes(f"{base}sess-{host}:{index}", targetname=TARGET, portal_type="ipv4", tpgt=1, is_boot_target=0, password="secret")
    tree.attributes(f"{base}conn-{host}:{index}:0", **dict({"ipaddress": "192.0.2.1", "port": 3260}, **connection))


def test_a_machine_without_iscsi(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    assert (read_hosts(tree.sys), read_version(tree.sys)) == ([], None)
    with pytest.raises(InputError, match=r"option hosts: is '2', and there is no such iSCSI host\. This machine has none"):
        find_hosts(["2"], tree.sys)


def test_a_session_of_software_is_a_host(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.session(1, 12, TARGET)
    tree.session(2, 2, TARGET + "2")
    hosts = read_hosts(tree.sys)
    assert [(host.number, host.transport, host.state, host.ipaddress, host.hwaddress, [one.sid for one in host.sessions]) for host in hosts] == [
        (2, "tcp", "running", "192.0.2.10", None, [2]), (12, "tcp", "running", "192.0.2.10", None, [1])]
    assert [host.number for host in read_hosts(tree.sys, [12, 13])] == [12]


def test_flash_nodes_of_other_hosts_and_sessions_elsewhere_do_not_count(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.session(1, 3, TARGET, "192.0.2.1")
    tree.session(2, 3, TARGET, "192.0.2.2")
    flash_node(tree, 3, 2)
    flash_node(tree, 3, 10)
    flash_node(tree, 3, 11, ipaddress="(null)")
    flash_node(tree, 33, 4)
    [host] = read_hosts(tree.sys)
    assert [(node.index, node.portal) for node in host.flash_nodes] == [(2, Portal("192.0.2.1")), (10, Portal("192.0.2.1")), (11, None)]
    assert [one.sid for one in host.sessions_of(host.flash_nodes[0])] == [1]
    assert host.sessions_of(host.flash_nodes[2]) == []
    assert str(host.flash_nodes[0]) == f"flash node 2 of host 3 ({TARGET} at 192.0.2.1:3260)"
    assert "secret" not in str(host) and not set(SECRETS) & set(host.flash_nodes[0].settings)


@pytest.mark.parametrize(("words", "found"), [(["6"], [6]), (["00:0E:1e:04:8b:2e"], [6]), (["7", "6", "7"], [7, 6])])
def test_hosts_are_found_by_number_and_address(tmp_path: Path, words: t.List[str], found: t.List[int]) -> None:
    tree = Tree(tmp_path)
    tree.attributes("/sys/class/iscsi_host/host6", hwaddress="00:0e:1e:04:8b:2e")
    tree.attributes("/sys/class/iscsi_host/host7", hwaddress="00:0e:1e:04:8b:2f")
    tree.attributes("/sys/class/iscsi_host/host8", hwaddress="00:0e:1e:04:8b:2f")
    assert find_hosts(words, tree.sys) == found
    with pytest.raises(InputError, match="which is the address of the hosts 7, 8. Name the host by its number"):
        find_hosts(["00:0e:1e:04:8b:2f"], tree.sys)
    for wrong in ("", "host6", "06", "9", "00:0e"):
        with pytest.raises(InputError, match=r"There are: 6 \(00:0e:1e:04:8b:2e\), 7"):
            find_hosts([wrong], tree.sys)


S, C = "flashnode.session.", "flashnode.conn[0]."


@pytest.mark.parametrize(("name", "value", "text"), [
    (S + "chap_auth_en", True, "1"), (S + "chap_auth_en", "no", "0"), (S + "erl", 255, "255"), (S + "tsid", "0065535", "65535"),
    (S + "max_burst_len", 2**32 - 1, "4294967295"), (S + "isid", "00023D000001", "00023d000001"), (S + "targetalias", None, ""),
    (C + "redirect_ipaddr", "FD00:0::1", "fd00::1"), (C + "link_local_ipv6", "fe80::1", "fe80::1"),
])
def test_values_are_as_the_kernel_shows_them(name: str, value: t.Any, text: str) -> None:
    assert check_settings({name: value}, "settings") == {name: text}


@pytest.mark.parametrize(("name", "value", "what"), [
    (S + "erl", 256, "is '256'. Give a number from 0 to 255"), (S + "erl", -1, "is '-1'"), (S + "erl", None, "is ''"), (S + "tsid", "ten", "is 'ten'"),
    (S + "tsid", 65536, "from 0 to 65535"), (S + "isid", "00:02:3d", "Give 12 hex digits"), (C + "redirect_ipaddr", "array", "which is no IP address"),
    (C + "link_local_ipv6", "fe80::1%eth0", "which is no IP address"),
    (S + "targetalias", "a\nb", "holds a control character"), (S + "targetalias", "é" * 112, "more than 223 bytes"), (S + "chap_auth_enn", 1, "Did you mean"),
    ("x", 1, "shows them all"), (S + "targetname", "iqn.x", "Say target and portal"), (C + "port", 1, "Say target and portal"),
    (S + "password", "secret", "Put it into the table"), (S + "username_in", "x", "Put it into the table"), (S + "is_boot_target", 1, "does not send it"),
])
def test_values_that_are_refused(name: str, value: t.Any, what: str) -> None:
    with pytest.raises(InputError) as caught:
        check_settings({name: value}, "settings")
    assert what in caught.value.sentence()
    assert caught.value.subject == f"settings.{name}"
    assert "secret" not in caught.value.sentence()


@given(st.sampled_from(sorted(set(FIELDS) - set(IDENTITY))),
       st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())))
def test_any_value_is_taken_or_refused(name: str, value: t.Any) -> None:
    try:
        found = check_settings({name: value}, "settings")
    except InputError:
        return
    assert check_settings(found, "settings") == found
    assert "\n" not in found[name] and len(found[name].encode()) <= 223


@pytest.mark.parametrize(("settings", "portal_type", "fits"), [
    ({C + "redirect_ipaddr": "10.0.0.1"}, "ipv4", True), ({C + "redirect_ipaddr": "10.0.0.1"}, "ipv6", False),
    ({C + "link_local_ipv6": "fe80::1"}, "ipv6", True),
    ({C + "link_local_ipv6": "fe80::1"}, "ipv4", False), ({C + "link_local_ipv6": "10.0.0.1"}, "ipv4", False), ({S + "tsid": "1"}, "ipv4", True),
])
def test_families(settings: t.Dict[str, str], portal_type: str, fits: bool) -> None:
    if fits:
        check_families(settings, portal_type, "flash node 2")
    else:
        with pytest.raises(InputError, match=f"flash node 2: is for {portal_type} and cannot have"):
            check_families(settings, portal_type, "flash node 2")
