# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a system stands on as data: the NIC by the address of the connection, its drivers, its gateway."""

from __future__ import annotations

import dataclasses
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._host.addresses import Address, Gateway
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.boot_info import describe
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.carriers import Carrier
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.sessions import Connection, Iface
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils._open_iscsi.builders import ONE, TWO, A, B, session
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.sysfs_tree import Tree

NAMES = {2: "ens17", 3: "bond0", 4: "ens18"}
ADDRESSES = [Address(2, "192.0.2.10", 24), Address(2, "2001:db8::10", 64), Address(3, "198.51.100.10", 25)]
GATEWAYS = [Gateway(2, "2001:db8::1"), Gateway(2, "192.0.2.254"), Gateway(4, "203.0.113.1")]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    found = Tree(tmp_path)
    for name, mac in (("ens17", "52:54:00:00:00:01"), ("bond0", "52:54:00:00:00:02"), ("ens18", "52:54:00:00:00:02")):
        found.attributes(f"/sys/class/net/{name}", address=mac, uevent=f"INTERFACE={name}" + ("\nDEVTYPE=bond" if name == "bond0" else ""))
    for name, driver in (("ens17", "virtio_net"), ("ens18", "e1000e")):
        found.attributes(f"/sys/module/{driver}", initstate="live")
        found.link(f"/sys/bus/drivers/{driver}/module", f"/sys/module/{driver}")
        found.link(f"/sys/class/net/{name}/device/driver", f"/sys/bus/drivers/{driver}")
    found.link("/sys/class/net/bond0/lower_ens18", "/sys/class/net/ens18")
    return found


def carrier(sid: int, target: str, portal: t.Any, local: t.Optional[str], netdev: t.Optional[str] = None) -> Carrier:
    made = dataclasses.replace(session(sid, target, portal, disk=f"sd{sid}"), connections=(Connection(0, portal, portal, "up", local),),
                               iface=Iface(netdev=netdev, initiatorname="iqn.2026-11.org.example:host"))
    return Carrier(made, ("/",), (f"sd{sid}",))


def look(tree: Tree, *carriers: Carrier) -> t.Dict[str, t.Any]:
    return describe(carriers, ADDRESSES, GATEWAYS, sys=tree.sys, name_of=lambda index: NAMES.get(index, ""))


def test_one_session(tree: Tree) -> None:
    found = look(tree, carrier(1, ONE, A, "192.0.2.10"))
    assert found["nics"] == [{"interface": "ens17", "mac": "52:54:00:00:00:01", "drivers": ["virtio_net"], "address": "192.0.2.10", "prefix": 24,
                              "netmask": "255.255.255.0", "gateway": "192.0.2.254"}]
    assert found["nodes"] == [{"target": ONE, "portals": [str(A)], "ifaces": ["default"]}]
    assert found["sessions"] == [{"sid": 1, "target": ONE, "portal": str(A), "iface": "default", "state": "LOGGED_IN", "mount_points": ["/"],
                                  "devices": ["/dev/sd1"], "interface": "ens17", "initiator_name": "iqn.2026-11.org.example:host"}]
    assert found["multipath"] is False


def test_ipv6_in_whatever_form_the_kernel_prints_it(tree: Tree) -> None:
    nic = look(tree, carrier(1, ONE, A, "2001:0db8:0000:0000:0000:0000:0000:0010"))["nics"][0]
    assert (nic["address"], nic["prefix"], nic["netmask"], nic["gateway"]) == ("2001:db8::10", 64, None, "2001:db8::1")


def test_a_bond_needs_what_is_below_it(tree: Tree) -> None:
    nic = look(tree, carrier(1, ONE, A, "198.51.100.10"))["nics"][0]
    assert (nic["interface"], nic["drivers"], nic["netmask"], nic["gateway"]) == ("bond0", ["bonding", "e1000e"], "255.255.255.128", None)


def test_two_sessions_through_one_nic_and_multipath(tree: Tree) -> None:
    for number in (1, 2):
        tree.block(f"sd{number}", f"8:{number}")
    tree.block("dm-0", "253:0", uuid="mpath-3600", name="mpatha")
    tree.stack("dm-0", "sd1", "sd2")
    found = look(tree, carrier(1, ONE, A, "192.0.2.10"), carrier(2, TWO, B, "192.0.2.10"))
    assert [nic["interface"] for nic in found["nics"]] == ["ens17"] and found["multipath"] is True and len(found["nodes"]) == 2


def test_an_address_that_is_gone_leaves_the_device_the_session_is_bound_to(tree: Tree) -> None:
    nic = look(tree, carrier(1, ONE, A, "203.0.113.77", netdev="ens18"))["nics"][0]
    assert (nic["interface"], nic["address"], nic["gateway"]) == ("ens18", None, None)
    assert look(tree, carrier(1, ONE, A, None))["nics"] == []


def test_nothing_on_iscsi() -> None:
    assert describe([], [], []) == {"sessions": [], "nodes": [], "nics": [], "multipath": False}
