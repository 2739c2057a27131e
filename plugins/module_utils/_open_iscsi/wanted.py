# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which nodes a task names: the option ``nodes`` as values, and the recorded nodes it means."""

from __future__ import annotations

import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey, Portal, check_iscsi_name, parse_portal
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.stored import FW, Database


class WantedNode(t.NamedTuple):
    """One entry of the option ``nodes``; None where the user left it to what is recorded."""

    target: str
    portals: t.Optional[t.Tuple[Portal, ...]] = None
    ifaces: t.Optional[t.Tuple[str, ...]] = None

    def covers(self, key: NodeKey) -> bool:
        """Whether a node or a session of this key is meant."""
        return (
            key.target == self.target
            and (self.portals is None or any(portal.matches(key.portal) for portal in self.portals))
            and (self.ifaces is None or key.iface in self.ifaces)
        )


def parse_nodes(entries: t.Sequence[t.Mapping[str, t.Any]]) -> t.List[WantedNode]:
    """Check and read the option ``nodes``; raises ``InputError``."""
    nodes = []
    for entry in entries:
        portals, ifaces = entry.get("portals"), entry.get("ifaces")
        if portals == [] or ifaces == []:
            raise InputError(f"node {entry['target']}", "has an empty list of portals or ifaces", "Leave the option out to mean what is recorded")
        nodes.append(WantedNode(
            check_iscsi_name(entry["target"]),
            None if portals is None else _each_once([parse_portal(text) for text in portals]),
            None if ifaces is None else tuple(dict.fromkeys(ifaces)),
        ))
    return nodes


def recorded_nodes(database: Database, startup: str, *, ending: bool) -> t.List[WantedNode]:
    """The recorded nodes with this ``node.startup`` (``all``: with any), each by itself.

    Where sessions are to end (``ending``), nodes that the host may stand on are not among them, as with ``iscsiadm -m node --logoutall``
    (usr/iscsiadm.c, __logout_by_startup): those with startup ``onboot``, and those found in firmware.
    """
    meant = [key for key, stored in database.nodes.items() if startup in ("all", stored.record.get("node.startup") or "manual")]
    if ending:
        meant = [key for key in meant if database.nodes[key].record.get("node.startup") != "onboot" and key not in database.linked.get(FW, ())]
    return [WantedNode(key.target, (key.portal,), (key.iface,)) for key in meant]


def _each_once(portals: t.Sequence[Portal]) -> t.Tuple[Portal, ...]:
    """Each portal once; one that is named with a portal group tag and without is the one with the tag."""
    tagged = {portal.endpoint for portal in portals if portal.tpgt is not None}
    return tuple(dict.fromkeys(portal for portal in portals if portal.tpgt is not None or portal.endpoint not in tagged))


def wanted_keys(nodes: t.Sequence[WantedNode], database: Database, leaving: t.Container[NodeKey] = ()) -> t.List[NodeKey]:
    """The nodes that ``present`` and ``logged_in`` mean, recorded (damaged or not) or to be recorded, each once, in the order of the option.

    ``leaving`` are recorded nodes that are about to be removed: they count no more, but their portals are still meant.

    Raises ``InputError`` where nothing is recorded of a target that comes without portals, where a portal without tpgt
    fits two records that differ in it, and where an iface is not recorded.
    """
    keys: t.Dict[NodeKey, None] = {}
    for node in nodes:
        recorded = [*database.nodes_of(node.target), *(key for key in database.damaged if key.target == node.target)]
        known = [key for key in recorded if key not in leaving]
        portals = node.portals
        if portals is None:
            portals = tuple(dict.fromkeys(key.portal for key in recorded))
            if not portals:
                raise InputError(f"target {node.target}", "is not recorded on this host, and the task gives no portals for it",
                                 "Give its portals, or run iscsi_discovery first")
        for portal in portals:
            for key in _keys_at(node, portal, known):
                keys[key] = None
    for key in keys:
        stays = key not in leaving and (key in database.nodes or key in database.damaged)
        if not stays and not database.has_iface(key.iface):
            raise InputError(f"iface {key.iface}", "is not recorded on this host", "Create it first (iscsi_iface), or leave ifaces out")
    return list(keys)


def _keys_at(node: WantedNode, portal: Portal, known: t.Sequence[NodeKey]) -> t.List[NodeKey]:
    here = [key for key in known if portal.matches(key.portal)]
    tags = sorted({str(key.portal) for key in here})
    if len(tags) > 1:
        raise InputError(f"portal {portal} of {node.target}", f"is recorded more than once ({' and '.join(tags)})",
                         "Write the portal group tag behind the portal; with repair: true, the record with the other one is removed")
    if node.ifaces is None:
        return here or [NodeKey(node.target, portal)]
    at = here[0].portal if here else portal
    return [NodeKey(node.target, at, iface) for iface in node.ifaces]
