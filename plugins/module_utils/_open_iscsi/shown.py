# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database as data: what ``iscsiadm`` lists in its modes node, discovery and iface, and shows with ``-o show``."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import redact
from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey, Portal
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.record import Record
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import Kind
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.stored import Database, Discovery, Stored

#: also the name of a setting that only another version knows
_SECRET = re.compile(r"pass|secret", re.IGNORECASE)
#: as the option type of iscsi_discovery has them
_TYPES = {Kind.SEND_TARGETS: "send_targets", Kind.ISNS: "isns", Kind.STATIC: "static", Kind.FW: "firmware"}


def show_records(database: Database) -> t.Dict[str, t.Any]:
    """Every record that can be read with all of its settings, secrets as stars; and the nodes as ``iscsi_node`` takes them."""
    found_by = {key: how for how, keys in database.linked.items() for key in keys}
    return {
        "nodes": as_nodes(sorted(database.nodes, key=str)),
        "node_records": [
            dict(_named(key), found_by=None if key not in found_by else _discovery(found_by[key]), settings=_settings(stored.record))
            for key, stored in sorted(database.nodes.items(), key=lambda item: str(item[0]))
        ],
        "iface_records": [{"name": name, "settings": _settings(stored.record)} for name, stored in sorted(database.ifaces.items())],
        "discovery_records": [
            dict(_discovery(how), settings=_settings(stored.record), nodes=as_nodes(sorted(database.linked.get(how, ()), key=str)))
            for kind in (Kind.SEND_TARGETS, Kind.ISNS)
            for how, stored in sorted(((Discovery(kind, *endpoint), stored) for endpoint, stored in database.discoveries(kind).items()), key=_place)
        ],
    }


def as_nodes(keys: t.Iterable[NodeKey]) -> t.List[t.Dict[str, t.Any]]:
    """Nodes as ``iscsi_node`` takes them: one entry for each target and each set of its ifaces that some portals have in common."""
    ifaces: t.Dict[t.Tuple[str, Portal], t.List[str]] = {}
    for key in keys:
        ifaces.setdefault((key.target, key.portal), []).append(key.iface)
    found: t.Dict[t.Tuple[str, t.Tuple[str, ...]], t.List[str]] = {}
    for (target, portal), names in ifaces.items():
        found.setdefault((target, tuple(names)), []).append(str(portal))
    return [{"target": target, "portals": portals, "ifaces": list(names)} for (target, names), portals in found.items()]


def _place(item: t.Tuple[Discovery, Stored]) -> t.Tuple[str, int]:
    return item[0].host, item[0].port


def _named(key: NodeKey) -> t.Dict[str, t.Any]:
    return {"target": key.target, "portal": str(key.portal), "iface": key.iface}


def _discovery(how: Discovery) -> t.Dict[str, t.Any]:
    return {"type": _TYPES[how.kind], "portal": str(Portal(how.host, how.port)) if how.host else None}


def _settings(record: Record) -> t.Dict[str, str]:
    return redact(record.redacted(), [key for key in record.settings if _SECRET.search(key)])
