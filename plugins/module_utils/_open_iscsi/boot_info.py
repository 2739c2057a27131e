# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a system stands on, as data: sessions, nodes, and the network interfaces they go through."""

from __future__ import annotations

import ipaddress
import os
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._host.addresses import Address, Gateway, interface_name
from ansible_collections.lunar.iscsi.plugins.module_utils._host.block import maps_on
from ansible_collections.lunar.iscsi.plugins.module_utils._host.sysfs import list_dir, read_text, resolve
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.carriers import Carrier
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.sessions import nodes_of


def describe(
    carriers: t.Sequence[Carrier], addresses: t.Sequence[Address], gateways: t.Sequence[Gateway], *, sys: str = "/sys",
    name_of: t.Callable[[int], str] = interface_name,
) -> t.Dict[str, t.Any]:
    """What the module iscsi_boot_info returns of these sessions."""
    nics: t.Dict[str, t.Dict[str, t.Any]] = {}
    sessions = []
    for carrier in carriers:
        nic = _nic(carrier, addresses, gateways, sys, name_of)
        if nic is not None:
            nics.setdefault(nic["interface"], nic)
        key = carrier.session.key
        sessions.append({
            "sid": carrier.session.sid, "target": key.target, "portal": str(key.portal), "iface": key.iface, "state": carrier.session.state,
            "mount_points": list(carrier.points), "devices": [f"/dev/{disk}" for disk in carrier.disks],
            "interface": None if nic is None else nic["interface"], "initiator_name": carrier.session.iface.initiatorname,
        })
    disks = [disk for carrier in carriers for disk in carrier.disks]
    return {
        "sessions": sessions, "nodes": nodes_of(carrier.session for carrier in carriers), "nics": list(nics.values()), "multipath": bool(maps_on(disks, sys)),
    }


def _nic(
    carrier: Carrier, addresses: t.Sequence[Address], gateways: t.Sequence[Gateway], sys: str, name_of: t.Callable[[int], str],
) -> t.Optional[t.Dict[str, t.Any]]:
    """The network interface of a session: the one with the address that its connection goes out from."""
    local = next((one.local_address for one in carrier.session.connections if one.local_address), None) or carrier.session.iface.ipaddress
    own = next((one for one in addresses if local is not None and _same(one.address, local)), None)
    name = name_of(own.number) if own is not None else carrier.session.iface.netdev or ""
    if not name:
        return None
    behind = own.number if own is not None else -1
    six = own is not None and ":" in own.address
    return {
        "interface": name, "mac": read_text(os.path.join(sys, "class/net", name, "address")), "drivers": _drivers(name, sys),
        "address": None if own is None else own.address, "prefix": None if own is None else own.prefix, "netmask": _netmask(own),
        "gateway": next((one.gateway for one in gateways if one.number == behind and (":" in one.gateway) is six), None),
    }


def _same(one: str, other: str) -> bool:
    try:
        return ipaddress.ip_address(one) == ipaddress.ip_address(other.partition("%")[0])
    except ValueError:
        return False


def _netmask(own: t.Optional[Address]) -> t.Optional[str]:
    return None if own is None or ":" in own.address else str(ipaddress.ip_network(f"{own.address}/{own.prefix}", strict=False).netmask)


def _drivers(name: str, sys: str) -> t.List[str]:
    """The kernel modules that a network interface needs, its own and those of the interfaces below it (a bond, a bridge, a VLAN)."""
    base = os.path.join(sys, "class/net", name)
    module = resolve(os.path.join(base, "device/driver/module"))
    below = [entry[len("lower_"):] for entry in list_dir(base) if entry.startswith("lower_")]
    kind = next((line[len("DEVTYPE="):] for line in (read_text(os.path.join(base, "uevent")) or "").splitlines() if line.startswith("DEVTYPE=")), "")
    stacked = {"bond": "bonding", "bridge": "bridge", "vlan": "8021q", "team": "team"}.get(kind)
    found = [os.path.basename(module)] if module else []
    return list(dict.fromkeys([*found, *([stacked] if stacked else []), *(driver for one in below for driver in _drivers(one, sys))]))
