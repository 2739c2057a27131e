# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What boot firmware says of iSCSI, as values; ``firmware_read.py`` reads them.

Which targets count is decided as iscsiadm does (usr/fwparam_ibft); what it leaves out without a word is said in words here.
"""

from __future__ import annotations

import enum
import re
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import redact
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import DEFAULT_PORT, Portal, normalise_host, parse_portal
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import SECRET_KEYS

Problem = t.Dict[str, str]
#: flags of every structure of a table; iscsiadm takes one with any flag for valid, since some firmware sets only BOOT
VALID, BOOT = 1, 2


class Origin(enum.IntEnum):
    """Where a NIC has its address from (include/fw_context.h)."""

    OTHER = 0
    MANUAL = 1
    WELL_KNOWN = 2
    DHCP = 3
    ROUTER_ADVERTISEMENT = 4
    UNCHANGED = 16


_ORIGINS: t.Mapping[int, str] = {one.value: one.name.lower() for one in Origin}


class Initiator(t.NamedTuple):
    """Who booted. Text is as the kernel prints it, and empty where the table does not say."""

    source: str
    name: str = ""
    isid: str = ""
    isns_server: str = ""
    slp_server: str = ""
    radius_servers: t.Tuple[str, ...] = ()
    flags: int = 0

    def as_fact(self) -> t.Dict[str, t.Any]:
        """The initiator as a module returns it."""
        return {
            "source": self.source, "name": self.name or None, "isid": self.isid or None, "isns_server": short(self.isns_server),
            "slp_server": short(self.slp_server), "radius_servers": [short(server) for server in self.radius_servers],
            "valid": bool(self.flags & VALID), "boot": bool(self.flags & BOOT),
        }


class Nic(t.NamedTuple):
    """A network interface that firmware used. ``interface`` is its name on this host, empty where it has none."""

    source: str
    name: str
    number: t.Optional[int] = None
    flags: int = 0
    mac: str = ""
    address: str = ""
    netmask: str = ""
    prefix: t.Optional[int] = None
    gateway: str = ""
    dns: t.Tuple[str, str] = ("", "")
    dhcp_server: str = ""
    vlan: str = ""
    origin: t.Optional[int] = None
    hostname: str = ""
    interface: str = ""
    #: whether the kernel knows the device; iscsiadm looks for an interface, and insists on one, only then
    linked: bool = False
    #: how sessions through it are made; anything but tcp is an offload adapter
    transport: str = "tcp"

    @property
    def dhcp(self) -> bool:
        """Whether its address came by DHCP (some firmware names 0.0.0.0 as server where it did not)."""
        return self.origin == Origin.DHCP or self.dhcp_server not in ("", "0.0.0.0")  # noqa: S104

    @property
    def vlan_id(self) -> t.Optional[int]:
        """The VLAN it is in; None where it is in none."""
        return int(self.vlan) if re.fullmatch("[0-9]{1,5}", self.vlan) and int(self.vlan) else None

    def as_fact(self) -> t.Dict[str, t.Any]:
        """The NIC as a module returns it."""
        return {
            "source": self.source, "name": self.name, "index": self.number, "mac": self.mac or None, "interface": self.interface or None,
            "transport": self.transport, "address": short(self.address), "prefix": self.prefix,
            # the kernel works out a mask for IPv6 addresses, too, which means nothing
            "netmask": None if ":" in self.address else self.netmask or None, "gateway": short(self.gateway), "dns": [short(one) for one in self.dns if one],
            "dhcp": self.dhcp, "dhcp_server": short(self.dhcp_server), "vlan": self.vlan_id,
            "origin": None if self.origin is None else _ORIGINS.get(self.origin, str(self.origin)), "hostname": self.hostname or None,
            "valid": bool(self.flags & VALID), "boot": bool(self.flags & BOOT),
        }


class BootTarget(t.NamedTuple):
    """A target that firmware was told of."""

    source: str
    name: str
    number: t.Optional[int] = None
    flags: int = 0
    target: str = ""
    address: str = ""
    port: int = DEFAULT_PORT
    lun: str = ""
    nic_index: t.Optional[int] = None
    chap_type: t.Optional[int] = None
    username: str = ""
    password: str = ""
    username_in: str = ""
    password_in: str = ""
    #: the NIC it is reached through; None where iscsiadm leaves the target out
    nic: t.Optional[Nic] = None

    @property
    def usable(self) -> bool:
        """Whether iscsiadm takes it."""
        return self.nic is not None

    @property
    def portal(self) -> t.Optional[Portal]:
        """Where it is, without portal group tag, which firmware does not know; None where that is no address and port."""
        try:
            return None if set(self.address) <= set("0.:") else parse_portal(Portal(self.address, self.port).address)
        except InputError:
            return None

    @property
    def chap(self) -> str:
        """What open-iscsi would do with the names and secrets it has."""
        if not (self.username and self.password):
            return "none"
        return "mutual" if self.username_in and self.password_in else "one_way"

    def as_fact(self, *, secrets: bool = False) -> t.Dict[str, t.Any]:
        """The target as a module returns it; ``auth`` is what modules take as auth, without passwords unless ``secrets``."""
        auth: t.Dict[str, t.Optional[str]] = {"method": "CHAP" if self.chap != "none" else "None", "username": self.username or None,
                                              "username_in": self.username_in or None}
        if secrets:
            auth.update(password=self.password or None, password_in=self.password_in or None)
        return {
            "source": self.source, "name": self.name, "index": self.number, "target": self.target or None,
            "portal": None if self.portal is None else self.portal.address, "lun": lun_number(self.lun), "boot_lun": self.lun or None,
            "nic": None if self.nic is None else self.nic.name, "chap": self.chap, "auth": auth,
            "valid": bool(self.flags & VALID), "boot": bool(self.flags & BOOT), "usable": self.usable,
        }

    def __repr__(self) -> str:
        return f"BootTarget({self.source!r}, {self.name!r}, {self.target!r}, {self.address!r}, {self.port})"


class Firmware(t.NamedTuple):
    """All that firmware says."""

    initiators: t.Sequence[Initiator] = ()
    nics: t.Sequence[Nic] = ()
    targets: t.Sequence[BootTarget] = ()
    #: what the ACPI table says of itself
    acpi: t.Mapping[str, str] = {}
    problems: t.Sequence[Problem] = ()
    #: those of them that are about the table as a whole: the kernel may show what lies behind it in memory
    damage: t.Sequence[Problem] = ()

    @property
    def usable(self) -> t.List[BootTarget]:
        """The targets that iscsiadm would print and record."""
        return [target for target in self.targets if target.usable]

    def initiator_of(self, source: str) -> Initiator:
        """The initiator of a table."""
        return next((one for one in self.initiators if one.source == source), Initiator(source))

    def records(self, *, secrets: bool = False) -> t.List[t.Dict[str, str]]:
        """What ``iscsiadm -m fw`` prints: one set of settings a usable target. Secrets are stars unless ``secrets``."""
        found = [self._record(target, target.nic) for target in self.targets if target.nic is not None]
        return found if secrets else [redact(record, SECRET_KEYS) for record in found]

    def _record(self, target: BootTarget, nic: Nic) -> t.Dict[str, str]:
        initiator = self.initiator_of(target.source)
        record = {
            "iface.initiatorname": initiator.name,
            "iface.isid": initiator.isid,
            "iface.transport_name": nic.transport,
            "iface.hwaddress": nic.mac,
            "iface.bootproto": "DHCP" if nic.dhcp else "STATIC",
            "iface.ipaddress": nic.address,
            "iface.prefix_len": str(nic.prefix or ""),
            "iface.subnet_mask": nic.netmask,
            "iface.gateway": nic.gateway,
            "iface.primary_dns": nic.dns[0],
            "iface.secondary_dns": nic.dns[1],
            "iface.vlan_id": nic.vlan,
            "iface.net_ifacename": nic.interface if nic.linked else "",
            "node.name": target.target,
            "node.conn[0].address": target.address,
            "node.conn[0].port": str(target.port),
            "node.session.auth.username": target.username,
            "node.session.auth.password": target.password,
            "node.session.auth.username_in": target.username_in,
            "node.session.auth.password_in": target.password_in,
            "node.boot_lun": target.lun,
        }
        return {key: value for key, value in record.items() if value}


def short(address: str) -> t.Optional[str]:
    """An address in its short form; None where there is none. The kernel prints IPv6 addresses with all their zeros."""
    return normalise_host(address) if address else None


def lun_number(text: str) -> t.Optional[int]:
    """The number of a LUN as the kernel prints its eight bytes, each in hexadecimal without leading zero; None where it is no simple one.

    Peripheral addressing (first byte 0) and flat addressing (first byte 40 to 7f) are understood (SAM-5). Open Firmware has the number itself.
    """
    if re.fullmatch("[0-9a-fA-F]{1,4}", text):
        return int(text, 16)
    peripheral = re.fullmatch(r"0(0|[1-9a-f][0-9a-f]?)0{6}", text)
    if peripheral:
        return int(peripheral.group(1), 16)
    flat = re.fullmatch(r"([4-7][0-9a-f])(0|[1-9a-f][0-9a-f]?)0{6}", text)
    return (int(flat.group(1), 16) & 0x3F) << 8 | int(flat.group(2), 16) if flat else None
