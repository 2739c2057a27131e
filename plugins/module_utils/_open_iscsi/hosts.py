# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The iSCSI hosts of this machine, read from sysfs without a fork: what ``iscsiadm -m host -P 4`` reads (usr/host.c, usr/iscsi_sysfs.c).

A host is one port of an offload adapter. Software iSCSI has one host a session, which is there as long as the session.
"""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import asdict, dataclass

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.sysfs import list_dir, read_int, read_text
from ansible_collections.lunar.iscsi.plugins.module_utils._names import Portal, normalise_host
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.flash_nodes import FlashNode, read_flash_nodes
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.sessions import Session, read_sessions

#: transports whose hosts are no adapters: they have neither a CHAP table nor flash nodes nor counters
SOFTWARE = ("tcp", "iser")


@dataclass(frozen=True)
class HostIface:
    """One address of the port of an offload adapter (sysfs, class iscsi_iface); None where the driver does not say."""

    name: str
    ipaddress: t.Optional[str] = None
    gateway: t.Optional[str] = None
    subnet: t.Optional[str] = None
    bootproto: t.Optional[str] = None
    ipaddr_autocfg: t.Optional[str] = None
    link_local_addr: t.Optional[str] = None
    link_local_autocfg: t.Optional[str] = None
    router_addr: t.Optional[str] = None
    enabled: t.Optional[str] = None
    port: t.Optional[int] = None
    mtu: t.Optional[int] = None
    vlan_id: t.Optional[int] = None
    vlan_priority: t.Optional[int] = None
    vlan_enabled: t.Optional[str] = None


@dataclass(frozen=True)
class IscsiHost:
    """One iSCSI host with what goes over it; None where the driver does not say."""

    number: int
    state: t.Optional[str] = None
    transport: t.Optional[str] = None
    initiatorname: t.Optional[str] = None
    ipaddress: t.Optional[str] = None
    hwaddress: t.Optional[str] = None
    netdev: t.Optional[str] = None
    port_state: t.Optional[str] = None
    port_speed: t.Optional[str] = None
    ifaces: t.Tuple[HostIface, ...] = ()
    sessions: t.Tuple[Session, ...] = ()
    flash_nodes: t.Tuple[FlashNode, ...] = ()

    def sessions_of(self, node: FlashNode) -> t.List[Session]:
        """The sessions to the target of a flash node, at its portal."""
        return self.sessions_at(node.target, node.portal)

    def sessions_at(self, target: t.Optional[str], portal: t.Optional[Portal]) -> t.List[Session]:
        """The sessions to a target at a portal, before or after a redirect."""
        if not target or portal is None:
            return []
        return [one for one in self.sessions if one.target == target and portal.endpoint in (one.persistent_portal.endpoint, one.portal.endpoint)]

    def as_fact(self) -> t.Dict[str, t.Any]:
        """The host as a module returns it."""
        return {
            "host": self.number,
            "state": self.state,
            "transport": self.transport,
            "initiatorname": self.initiatorname,
            "ipaddress": self.ipaddress,
            "hwaddress": self.hwaddress,
            "netdev": self.netdev,
            "port_state": self.port_state,
            "port_speed": self.port_speed,
            "ifaces": [asdict(iface) for iface in self.ifaces],
            "sessions": [session.as_fact() for session in self.sessions],
            "flash_nodes": [
                {"index": node.index, "target": node.target or None, "portal": None if node.portal is None else node.portal.address,
                 "boot": node.boots, "sids": [session.sid for session in self.sessions_of(node)], "settings": dict(node.settings)}
                for node in self.flash_nodes
            ],
        }


def read_numbers(sys: str = "/sys") -> t.List[int]:
    """The numbers of all iSCSI hosts, sorted."""
    found = (re.fullmatch(r"host(\d+)", name) for name in list_dir(os.path.join(sys, "class/iscsi_host")))
    return sorted(int(match.group(1)) for match in found if match)


def read_hosts(sys: str = "/sys", numbers: t.Optional[t.Container[int]] = None) -> t.List[IscsiHost]:
    """The hosts with these numbers, or all, by number; empty where the kernel has no iSCSI."""
    wanted = [number for number in read_numbers(sys) if numbers is None or number in numbers]
    sessions = read_sessions(sys) if wanted else []
    return [_read(sys, number, [one for one in sessions if one.host == number]) for number in wanted]


def find_hosts(words: t.Iterable[str], sys: str = "/sys", option: str = "hosts") -> t.List[int]:
    """The numbers of the hosts that are named by number or by hardware address, as iscsiadm takes them.

    Raises ``InputError`` for one that is not there, and for an address that several hosts have.
    """
    numbers = read_numbers(sys)
    addresses = {number: (read_text(os.path.join(sys, f"class/iscsi_host/host{number}/hwaddress")) or "").lower() for number in numbers}
    found: t.Dict[int, None] = {}
    for word in words:
        text = str(word).strip().lower()
        matching = [number for number in numbers if str(number) == text or (":" in text and addresses[number] == text)]
        if len(matching) > 1:
            raise InputError(f"option {option}", f"is {word!r}, which is the address of the hosts {', '.join(map(str, matching))}",
                             "Name the host by its number")
        if not matching:
            there = ", ".join(f"{number} ({addresses[number]})" if addresses[number] else str(number) for number in numbers)
            raise InputError(f"option {option}", f"is {word!r}, and there is no such iSCSI host",
                             f"There are: {there}" if there else "This machine has none: no offload adapter, and no session")
        found[matching[0]] = None
    return list(found)


def read_version(sys: str = "/sys") -> t.Optional[str]:
    """The version of the kernel's transport class, None where that is not loaded."""
    return read_text(os.path.join(sys, "module/scsi_transport_iscsi/version"))


def _read(sys: str, number: int, sessions: t.Sequence[Session]) -> IscsiHost:
    base = os.path.join(sys, f"class/iscsi_host/host{number}")
    scsi = os.path.join(sys, f"class/scsi_host/host{number}")
    driver = read_text(f"{scsi}/proc_name")
    if driver is not None and driver.startswith("iscsi_"):
        driver = driver[len("iscsi_"):]  # the modules are iscsi_tcp and iscsi_iser, the transports tcp and iser
    return IscsiHost(
        number=number,
        state=read_text(f"{scsi}/state"),
        transport=driver,
        initiatorname=read_text(f"{base}/initiatorname"),
        ipaddress=_address(f"{base}/ipaddress"),
        hwaddress=read_text(f"{base}/hwaddress"),
        netdev=read_text(f"{base}/netdev"),
        port_state=read_text(f"{base}/port_state"),
        port_speed=read_text(f"{base}/port_speed"),
        ifaces=tuple(_read_ifaces(sys, number)),
        sessions=tuple(sessions),
        flash_nodes=tuple(read_flash_nodes(number, sys)),
    )


def _read_ifaces(sys: str, number: int) -> t.Iterator[HostIface]:
    folder = os.path.join(sys, "class/iscsi_iface")
    for name in list_dir(folder):
        if not re.fullmatch(rf"ipv[46]-iface-{number}-\d+", name):
            continue
        base = f"{folder}/{name}"
        yield HostIface(
            name=name,
            ipaddress=_address(f"{base}/ipaddress"),
            gateway=_address(f"{base}/gateway"),
            subnet=read_text(f"{base}/subnet"),
            bootproto=read_text(f"{base}/bootproto"),
            ipaddr_autocfg=read_text(f"{base}/ipaddr_autocfg"),
            link_local_addr=_address(f"{base}/link_local_addr"),
            link_local_autocfg=read_text(f"{base}/link_local_autocfg"),
            router_addr=_address(f"{base}/router_addr"),
            enabled=read_text(f"{base}/enabled"),
            port=read_int(f"{base}/port"),
            mtu=read_int(f"{base}/mtu"),
            vlan_id=read_int(f"{base}/vlan_id"),
            vlan_priority=read_int(f"{base}/vlan_priority"),
            vlan_enabled=read_text(f"{base}/vlan_enabled"),
        )


def _address(path: str) -> t.Optional[str]:
    text = read_text(path)
    return None if text is None else normalise_host(text)  # the kernel prints IPv6 in full
