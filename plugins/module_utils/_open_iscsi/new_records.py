# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records as this host's iscsiadm would create them from its iscsid.conf, field for field (usr/idbm.c, usr/iface.c, usr/iscsiadm.c)."""

from __future__ import annotations

import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import DEFAULT_PORT, TPGT_UNKNOWN, NodeKey, Portal
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.conf import as_read, settings_from_conf
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.record import Record
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import Kind, discovery_text, fields
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.stored import STATIC, Discovery, as_discovery
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.version import Version

Conf = t.Mapping[str, str]


def new_node(
    conf: Conf, *, target: str, portal: Portal, version: Version, iface: t.Optional[Record] = None, discovery: t.Union[Discovery, Portal] = STATIC,
) -> Record:
    """The record of a node as iscsiadm creates it: by ``-m discovery`` where ``discovery`` says so, else by ``-m node -o new``.

    ``iface`` is the iface's record (``iface=None`` is the default iface). iscsiadm asks a running iscsid for the configuration;
    this is what it makes with one that runs. ``InputError`` where iscsiadm would make a record that keeps it from listing any node.
    """
    how = as_discovery(discovery)
    settings = settings_from_conf(Kind.NODE, conf, version)
    settings.update({
        "node.name": target,
        "node.tpgt": str(TPGT_UNKNOWN if portal.tpgt is None else portal.tpgt),
        "node.conn[0].address": portal.host,
        "node.conn[0].port": str(portal.port),
        "node.discovery_address": how.host,
        "node.discovery_port": str(how.port),
        "node.discovery_type": discovery_text(how.kind, version),
        "iface.iscsi_ifacename": "default",
    })
    if iface is not None:
        settings.update(_iface_settings(iface, version))
    elif how.kind in (Kind.SEND_TARGETS, Kind.ISNS):
        settings["iface.transport_name"] = "tcp"
    _refuse_unlistable(f"node {target} at {portal} via iface {settings['iface.iscsi_ifacename']}", portal, settings, version)
    if how.kind is Kind.FW:
        settings["node.startup"] = settings["node.conn[0].startup"] = "onboot"
    return _record(Kind.NODE, settings, version)


def new_iface(name: str, settings: t.Optional[t.Mapping[str, str]] = None, *, version: Version) -> Record:
    """The record of an iface as ``iscsiadm -m iface -o new`` creates it, with ``settings`` (as ``check_settings`` returns them) on top."""
    made = settings_from_conf(Kind.IFACE, {}, version)
    made["iface.iscsi_ifacename"] = name
    made.update(settings or {})
    return _record(Kind.IFACE, made, version)


def updated_iface(name: str, record: Record, settings: t.Mapping[str, str], *, version: Version) -> Record:
    """The record of an iface as ``iscsiadm -m iface -o update`` leaves it. Unlike there, settings that are not known are kept."""
    return _rewritten(record, {"iface.iscsi_ifacename": name, **settings}, version)


def rebound_node(key: NodeKey, record: Record, settings: t.Mapping[str, str], *, version: Version) -> Record:
    """The record of a node that is bound to an iface which got these settings: they are its own, too.

    iscsiadm forgets those that only IPv6 ifaces have, and copies them to nodes that are bound later.
    """
    made = _rewritten(record, settings, version)
    _refuse_unlistable(f"node {key}", key.portal, made.settings, version)
    return made


def _rewritten(record: Record, settings: t.Mapping[str, str], version: Version) -> Record:
    """iscsiadm writes a record whole: the half of the iface settings that fits the address now, what was not set with its default."""
    unset = {key: value for key, value in settings_from_conf(record.kind, {}, version).items() if key.startswith("iface.")}
    made = _record(record.kind, {**unset, **record.settings, **settings}, version)
    return Record(record.kind, {**made.settings, **{key: record.get(key) for key in record.unknown_keys(version)}}, version)


def new_send_targets(conf: Conf, portal: Portal, settings: t.Optional[t.Mapping[str, str]] = None, *, version: Version) -> Record:
    """The record of a SendTargets discovery at ``portal``, with ``settings`` (as ``check_settings`` returns them) on top."""
    made = settings_from_conf(Kind.SEND_TARGETS, conf, version)
    made.update({
        "discovery.startup": "manual",
        "discovery.type": discovery_text(Kind.SEND_TARGETS, version, record=Kind.SEND_TARGETS),
        "discovery.sendtargets.address": portal.host,
        "discovery.sendtargets.port": str(portal.port or DEFAULT_PORT),
    })
    made.update(settings or {})
    return _record(Kind.SEND_TARGETS, made, version)


def new_isns(conf: Conf, portal: Portal, settings: t.Optional[t.Mapping[str, str]] = None, *, version: Version) -> Record:
    """The record of an iSNS server at ``portal``, with ``settings`` on top."""
    made = settings_from_conf(Kind.ISNS, conf, version)
    made.update({
        "discovery.startup": "manual",
        "discovery.type": discovery_text(Kind.ISNS, version, record=Kind.ISNS),
        "discovery.sendtargets.address": portal.host,
        "discovery.sendtargets.port": str(portal.port),
    })
    made.update(settings or {})
    return _record(Kind.ISNS, made, version)


def iface_family(settings: t.Mapping[str, str], version: Version) -> int:
    """4 or 6: which half of the iface settings a record holds (usr/iface.c, iface_get_iptype). 0 before 2.0.874: both."""
    if version.numbers < (2, 0, 874):
        return 0
    address = settings.get("iface.ipaddress", "")
    if address in ("", "<empty>"):
        return 6 if "ipv6" in settings.get("iface.iscsi_ifacename", "") else 4
    return 4 if "." in address or settings.get("iface.bootproto") == "dhcp" else 6


def check_family(subject: str, settings: t.Mapping[str, str], version: Version) -> None:
    """Refuse an iface whose name says one address family and whose address is of the other.

    open-iscsi writes a record by the address and reads it by the name, and does not know what it wrote (libopeniscsiusr/idbm.c).
    """
    family = iface_family(settings, version)
    if family != iface_family({"iface.iscsi_ifacename": settings.get("iface.iscsi_ifacename", "")}, version):
        raise InputError(subject, f"has an IPv{family} address and a name {called(10 - family)}; with such a record iscsiadm could list no iface and no node"
                         " of this host any more", f"An iface with this address needs a name {called(family)}")


def called(family: int) -> str:
    """How the name of an iface of this address family has to be."""
    return "with 'ipv6' in it" if family == 6 else "without 'ipv6' in it"


def _refuse_unlistable(subject: str, portal: Portal, settings: t.Mapping[str, str], version: Version) -> None:
    check_family(subject, settings, version)
    if portal.tpgt is None and iface_family(settings, version) == 6:
        # iscsiadm reads a record without tag before it knows the iface, and takes the settings of IPv6 ifaces in it for unknown ones
        raise InputError(subject, "has an IPv6 iface and no portal group tag; with such a record iscsiadm could list no node of this host any more",
                         "Write the portal group tag behind the portal: address:port,tpgt")


def _iface_settings(iface: Record, version: Version) -> t.Dict[str, str]:
    """What of an iface's record goes into a node's: everything that is set, where 0 counts as not set (usr/iface.c, iface_copy)."""
    name = iface.get("iface.iscsi_ifacename", "default")
    # the record is read before its address is known, so its name alone decides the family
    family = iface_family({"iface.iscsi_ifacename": name}, version)
    copied = {"iface.iscsi_ifacename": name}
    for key, one in fields(Kind.IFACE, version).items():
        value = as_read(one, iface.get(key)) if one.family in (0, family) and iface.get(key) else None
        if value is not None and value not in ("", "0"):
            copied[key] = value
    return copied


def _record(kind: Kind, settings: t.Mapping[str, str], version: Version) -> Record:
    known = fields(kind, version)
    family = iface_family(settings, version)
    return Record(kind, {key: settings[key] for key, one in known.items() if key in settings and (not family or one.family in (0, family))}, version)
