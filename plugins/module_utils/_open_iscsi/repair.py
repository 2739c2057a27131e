# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``repair: true`` makes of records that cannot stay as they are: damaged ones are written anew, those that are not right go."""

from __future__ import annotations

import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import Step
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError, InUseError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.conf import HostConf
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.new_records import new_iface, new_node
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.record import Record, parse_line
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import Kind, check_settings, fields
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.session_keys import Live
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.stored import STATIC, Damaged, Database, Discovery
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.version import Version
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.wanted import WantedNode


def leaving_nodes(nodes: t.Sequence[WantedNode], database: Database, sessions: t.Sequence[Live]) -> t.Dict[NodeKey, str]:
    """The recorded nodes that ``nodes`` concern and that are to be removed, each with the reason in words.

    Those are nodes whose iface is gone, and nodes at a portal that is named with another portal group tag. Raises ``InUseError``
    where one of them has a session.
    """
    leaving: t.Dict[NodeKey, str] = {}
    for key in (*database.nodes, *database.damaged):
        reason = _reason_to_leave(key, nodes, database)
        if reason is None:
            continue
        live = [f"session {session.sid}" for session in sessions if session.belongs_to(key)]
        if live:
            raise InUseError(f"node {key} ({reason})", live, "Log it out first (state: logged_out); a record with a live session is not removed by repair")
        leaving[key] = reason
    return leaving


def _reason_to_leave(key: NodeKey, nodes: t.Sequence[WantedNode], database: Database) -> t.Optional[str]:
    ours = [node for node in nodes if node.target == key.target and (node.ifaces is None or key.iface in node.ifaces)]
    if not database.has_iface(key.iface) and any(node.covers(key) for node in ours):
        return f"its iface {key.iface} is gone"
    named = [portal for node in ours for portal in node.portals or () if portal.endpoint == key.portal.endpoint]
    if not named or any(portal.tpgt in (None, key.portal.tpgt) for portal in named):
        return None
    # a record from before tags were known is the node itself, unless another one carries the tag
    if key.portal.tpgt is None and not any(other.portal in named for other in database.nodes_of(key.target, key.portal.endpoint)):
        return None
    return f"the task names this portal with the portal group tag {' and '.join(str(portal.tpgt) for portal in named)}"


def repair_step(subject: str, damaged: Damaged, record: Record, work: t.Any) -> Step:
    """A damaged file becomes a record. The diff never shows its text, in which a secret could stand anywhere."""
    return Step(f"repair {subject}", f"(its file {damaged.what})", _shown(damaged), record.redacted(), work)


def forget_step(key: NodeKey, reason: str, database: Database, work: t.Any) -> Step:
    """A record, damaged or not, goes."""
    stored = database.nodes.get(key)
    return Step("forget node", f"{key} ({reason})", stored.record.redacted() if stored else _shown(database.damaged[key]), None, work)


def _shown(damaged: Damaged) -> str:
    return f"{damaged.path} {damaged.what}\n"


def node_anew(key: NodeKey, database: Database, conf: HostConf, unlinked: Discovery = STATIC) -> t.Tuple[Record, Discovery]:
    """The record of a damaged node: what can be saved of the file, and the rest as in a new record; and which discovery it belongs to.

    That is the one that has a link to it, else ``unlinked``.
    """
    found_by = database.damaged_found_by.get(key, unlinked)
    fresh = new_node(conf.iscsid, target=key.target, portal=key.portal, iface=database.iface_record(key.iface), discovery=found_by, version=conf.version)
    return fresh.with_settings(salvage(database.damaged[key], Kind.NODE, conf.version)), found_by


def salvage(damaged: Damaged, kind: Kind, version: Version) -> t.Dict[str, str]:
    """The settings in a damaged file that are whole and valid.

    A last line without an end counts as cut off, since its value may be. What a record is looked up by is not taken from the file.
    """
    pairs = (parse_line(line) for line in damaged.text.split("\n")[:-1])
    return valid_settings(kind, (pair for pair in pairs if pair is not None), version)


def valid_settings(kind: Kind, pairs: t.Iterable[t.Tuple[str, str]], version: Version) -> t.Dict[str, str]:
    """Those settings that may be set and whose values are valid; of several for one key the last."""
    valid: t.Dict[str, str] = {}
    for key, value in pairs:
        try:
            valid.update(check_settings(kind, {key: value}, version=version))
        except InputError:
            continue
    return valid


def iface_anew(name: str, database: Database, version: Version) -> Record:
    """The record of an iface that is damaged or gone: what can be saved of the file; where that is nothing, what its nodes still hold of it."""
    damaged = database.damaged_ifaces.get(name)
    saved = salvage(damaged, Kind.IFACE, version) if damaged is not None else {}
    return new_iface(name, saved or iface_of_nodes(name, database, version), version=version)


def iface_of_nodes(name: str, database: Database, version: Version) -> t.Dict[str, str]:
    """The settings of an iface that the records of all nodes which are bound to it hold alike, and that are not what is unset."""
    unset = {key: one.default for key, one in fields(Kind.IFACE, version).items() if not one.read_only}
    found: t.Optional[t.Set[t.Tuple[str, str]]] = None
    for key, stored in database.nodes.items():
        if key.iface == name:
            held = {(each, stored.record.get(each)) for each in unset}
            found = held if found is None else found & held
    settings = {key: value for key, value in sorted(found or ()) if value not in ("", unset[key]) or key == "iface.transport_name"}
    return valid_settings(Kind.IFACE, settings.items(), version)
