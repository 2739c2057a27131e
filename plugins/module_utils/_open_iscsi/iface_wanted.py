# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an iface may be called and hold: the rules of open-iscsi (its README, section 5.1; usr/iface.c, usr/iscsiadm.c, usr/io.c)."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import check_iscsi_name
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.new_records import called, check_family, iface_family
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.record import Record
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import Kind, check_settings, fields
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.stored import BUILT_IN_IFACES
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.version import NEWEST, Version

#: ISCSI_MAX_IFACE_LEN of usr/config.h is 65, with the end of the text
MAX_NAME_BYTES = 64
#: usr/transport.c
TRANSPORTS = ("tcp", "iser", "bnx2i", "be2iscsi", "cxgb3i", "cxgb4i", "ocs", "qedi", "qla4xxx")
#: those that leave the network to the kernel, and have no port of their own
SOFTWARE = ("tcp", "iser")
#: a file that packages used to install in the folder of the ifaces, and that iscsiadm passes over
_EXAMPLE = "iface.example"
_NAME = "iface.iscsi_ifacename"
_TRANSPORT = "iface.transport_name"
_MAC = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}")
_ADDRESSES = ("iface.ipaddress", "iface.subnet_mask", "iface.gateway")
#: IEEE 802.1Q; the record would hold more
_MOST = {"iface.vlan_id": 4095, "iface.vlan_priority": 7}
#: text that stands for "not set", as open-iscsi itself writes it at times
_UNSET = ("", "default", "<empty>")


def check_iface_name(name: str) -> str:
    """Return ``name`` if an iface record may be called so; raise ``InputError`` otherwise."""
    subject = f"iface {name!r}"
    if name in BUILT_IN_IFACES:
        raise InputError(f"iface {name}", "is built into open-iscsi and has no record", "Give your iface another name")
    if name == _EXAMPLE:
        raise InputError(f"iface {name}", "is passed over by open-iscsi, which takes it for an example", "Give your iface another name")
    length = len(name.encode("utf-8", "surrogateescape"))
    if not 1 <= length <= MAX_NAME_BYTES:
        raise InputError(subject, f"has a name of {length} bytes", f"Give it a name of 1 to {MAX_NAME_BYTES} bytes")
    bad = re.search(r"[\s/,\x00-\x20\x7f-\x9f]", name)
    if bad or name in (".", ".."):
        raise InputError(subject, f"has {bad.group(0)!r} in its name" if bad else "has the name of a folder",
                         "The name is that of a file, and stands in the names of links between commas: use letters, digits, dots, colons, dashes")
    return name


def check_iface_settings(settings: t.Mapping[str, t.Any], transport: t.Optional[str], version: t.Optional[Version]) -> t.Dict[str, str]:
    """The options ``settings`` and ``transport`` as one set of texts; ``InputError`` names what cannot be."""
    checked = check_settings(Kind.IFACE, settings, version=version)
    if transport is not None:
        if checked.get(_TRANSPORT, transport) != transport:
            raise InputError("option transport", f"is {transport}, but settings say {_TRANSPORT}: {checked[_TRANSPORT]}", "Say it once")
        checked[_TRANSPORT] = transport
    if checked.get(_TRANSPORT, "tcp") == "":
        raise InputError(f"setting {_TRANSPORT!r}", "is empty; open-iscsi passes over an iface without transport", f"Name one of {', '.join(TRANSPORTS)}")
    for key, value in checked.items():
        if value in _UNSET:
            continue
        if key == "iface.hwaddress" and not _MAC.fullmatch(value):
            raise InputError(f"setting {key!r}", f"{value!r} is no hardware address", "Write it as 00:0f:1f:92:6b:bf")
        if key == "iface.net_ifacename" and re.search(r"[\s/]", value):
            raise InputError(f"setting {key!r}", f"{value!r} is no name of a network interface", "See ip link for their names")
        if key == "iface.initiatorname":
            check_iscsi_name(value, f"setting {key!r}")
        if key in _ADDRESSES:
            _check_address(key, value)
        if key in _MOST and int(value) > _MOST[key]:
            raise InputError(f"setting {key!r}", f"{value} is out of range", f"Allowed is a number from 0 to {_MOST[key]}")
    return checked


def _check_address(key: str, value: str) -> None:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise InputError(f"setting {key!r}", f"{value!r} is no IP address", "Write an IPv4 or IPv6 address, without prefix length") from None


def of_its_family(name: str, settings: t.Mapping[str, str], whole: t.Mapping[str, str], version: t.Optional[Version]) -> t.Dict[str, str]:
    """``settings`` without unset ones of the other address family, which such a record cannot hold; ``whole`` is the record with them.

    Raises ``InputError`` where one of them is set, and where name and address are of different families.
    """
    version = version or NEWEST
    check_family(f"iface {name}", {**whole, _NAME: name}, version)
    ours = iface_family({_NAME: name}, version)
    fitting = {}
    for key, value in settings.items():
        family = fields(Kind.IFACE, version)[key].family
        if ours and family not in (0, ours):
            if value in ("", "0"):
                continue
            raise InputError(f"setting {key!r}", f"is one of IPv{family}, which open-iscsi reads only of an iface with a name {called(family)}",
                             "Leave it out, or name the iface accordingly")
        fitting[key] = value
    return fitting


def check_binding(name: str, record: Record) -> None:
    """Refuse a record that is bound to a network interface in two ways (usr/iscsiadm.c, verify_iface_params)."""
    address, interface = record.get("iface.hwaddress"), record.get("iface.net_ifacename")
    if address not in _UNSET and interface not in _UNSET:
        raise InputError(f"iface {name}", f"would be bound to the hardware address {address} and to the network interface {interface}",
                         "Take one of them out, with an empty value")


class Binding(t.NamedTuple):
    """What of a host a software iface is bound to; both empty where it is bound to nothing."""

    interface: str = ""
    address: str = ""


def binding_of(record: Record) -> Binding:
    """The network interface, by name or by hardware address, that sessions over this iface are bound to (only those of tcp can be)."""
    if record.get(_TRANSPORT, "tcp") != "tcp":
        return Binding()
    address, interface = record.get("iface.hwaddress"), record.get("iface.net_ifacename")
    if address not in _UNSET:
        return Binding(address=address)
    return Binding(interface=interface) if interface not in _UNSET else Binding()


def by_address_alone(record: Record) -> bool:
    """Whether a tcp iface is bound by nothing but an IP address, with which every login fails (usr/io.c, bind_conn_to_iface)."""
    return record.get(_TRANSPORT, "tcp") == "tcp" and record.get("iface.ipaddress") not in _UNSET and binding_of(record) == Binding()
