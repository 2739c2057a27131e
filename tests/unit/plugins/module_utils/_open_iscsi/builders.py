# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Short ways to make the values that plans are made from."""

from __future__ import annotations

import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey, Portal, parse_portal
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.conf import HostConf
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.layout import locate
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.new_records import new_iface, new_node, new_send_targets
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.record import Record
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.sessions import Iface, Lun, Session
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.stored import Damaged, Database, Discovery, Stored, as_discovery
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.version import NEWEST

ONE = "iqn.2026-11.org.example:one"
TWO = "iqn.2026-11.org.example:two"
A = parse_portal("192.0.2.1:3260,1")
B = parse_portal("192.0.2.2:3260,1")

Node = t.Tuple[NodeKey, Record]


def conf(**iscsid: str) -> HostConf:
    return HostConf(iscsid, NEWEST, "iqn.2026-11.org.example:host", "", None)


def node(target: str, portal: Portal, iface: str = "default", startup: str = "manual", **settings: str) -> Node:
    record = new_node({}, target=target, portal=portal, version=NEWEST).with_settings({"node.startup": startup, **settings})
    return NodeKey(target, portal, iface), record


def send_targets(asked: Portal, *nodes: Node) -> t.Tuple[Portal, t.Sequence[Node]]:
    return asked, nodes


def database(
    *nodes: Node, discoveries: t.Sequence[t.Tuple[Portal, t.Sequence[Node]]] = (), ifaces: t.Optional[t.Mapping[str, str]] = None,
    damaged: t.Optional[t.Mapping[NodeKey, str]] = None,
) -> Database:
    linked: t.Dict[Discovery, t.Set[NodeKey]] = {as_discovery(asked): {key for key, _record in found} for asked, found in discoveries}
    return Database(
        locate("/"),
        nodes={key: Stored(record, f"/{key}") for key, record in nodes},
        ifaces={name: Stored(new_iface(name, {"iface.transport_name": transport}, version=NEWEST), f"/{name}") for name, transport in (ifaces or {}).items()},
        send_targets={asked.endpoint: Stored(new_send_targets({}, asked, version=NEWEST), f"/{asked}") for asked, _found in discoveries},
        linked=linked,
        damaged={key: Damaged(f"/{key}", "is empty" if not text else "was cut off", text) for key, text in (damaged or {}).items()},
    )


def session(sid: int, target: str, portal: Portal, iface: str = "default", disk: t.Optional[str] = None) -> Session:
    luns = () if disk is None else (Lun(lun=1, address=f"{sid}:0:0:1", name=disk, state="running"),)
    return Session(sid=sid, target=target, portal=portal, persistent_portal=portal, iface=Iface(name=iface), state="LOGGED_IN", luns=luns)


def discovery_params(**given: t.Any) -> t.Dict[str, t.Any]:
    return {
        "portals": ["192.0.2.1"], "type": "send_targets", "state": "present", "targets": None, "networks": None, "link_local": False, "ifaces": None,
        "bind_nics": False, "settings": None, "discovery_settings": None,
        "add": True, "update": False, "prune": False, "persistent": True, "method": "native", "initiator_name": None, "require": "any",
        "repair": False, "timeout": 10, "auth": None, "root": "/", **given,
    }


def node_params(**given: t.Any) -> t.Dict[str, t.Any]:
    return {
        "nodes": None if given.get("recorded") else [{"target": ONE, "portals": None, "ifaces": None}], "recorded": None,
        "state": "present", "startup": None, "leading_login": None, "nr_sessions": None,
        "scan": None, "profile": None, "settings": None, "require": "all", "probe": "login", "relogin": False, "force": False, "repair": False, "timeout": 30,
        "auth": None, "root": "/", **given,
    }


def session_params(**given: t.Any) -> t.Dict[str, t.Any]:
    return {
        "state": "rescanned", "targets": [], "sids": [], "prune": False, "disk_settings": None, "persistent": True, "force": False, "timeout": 30, **given,
    }
