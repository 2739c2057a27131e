# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module iscsi_image does: the records of one system are merged into another one that does not run yet.

It is what the installer anaconda does with the database of the system it runs in, except that nothing that is there already is replaced.
"""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from ansible_collections.lunar.iscsi.plugins.module_utils._argspec import check_root
from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import Plan, Step
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.files import make_folder, read_bytes, under_root, write_atomic
from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey, Portal
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.carriers import Carrier, find_carriers
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.conf import INITIATOR_NAME, HostConf, read_host_conf
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.conf_document import NameDocument
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.database import DatabaseWriter, open_writer
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.layout import installed_version, locate
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.new_records import new_node
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.record import Record, record_sides
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import Kind, discovery_text, fields
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.sessions import read_sessions
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.stored import (
    BUILT_IN_IFACES, STATIC, Database, Discovery, discovered_by, read_database,
)
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.version import Version
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.wanted import parse_nodes, wanted_keys

Problem = t.Dict[str, str]
_NAME_MODE = 0o600
_STARTUPS = ("node.startup", "node.conn[0].startup")
#: when a node is logged in is for each system to say; how a discovery is called depends on the version
_OWN = (*_STARTUPS, "node.discovery_type", "discovery.type")


@dataclass(frozen=True)
class Found:
    """What is: the records of both systems, the initiator's name in each, and the nodes that the second one will be on."""

    source: Database
    conf: HostConf
    tree: Database
    tree_conf: HostConf
    name: t.Optional[bytes]
    boot: t.Sequence[NodeKey]


class ImageTask:
    """One iscsi_image task; see ``_convergence.Task``."""

    def __init__(self, params: t.Mapping[str, t.Any], carriers: t.Optional[t.Callable[[str], t.Sequence[Carrier]]] = None) -> None:
        self._source, self._root = check_root(params["source"]), check_root(params["root"])
        self._boot = None if params["boot_nodes"] is None else parse_nodes(params["boot_nodes"])
        self._carriers = carriers or (lambda root: find_carriers(read_sessions(), root))
        self._from, self._to = locate(self._source), locate(self._root)
        if os.path.realpath(self._from.folder) == os.path.realpath(self._to.folder):
            raise InputError("option root", f"is {params['root']}, whose database {self._to.folder} is that of source, too",
                             "Give the mount point of the installed system as root, and in a chroot where the running system is as source")
        self._name_path = os.path.realpath(INITIATOR_NAME) if self._root == "/" else under_root(self._root, INITIATOR_NAME)

    def read(self) -> Found:
        """Both databases, both names, and the sessions under the file systems of the tree."""
        source, conf = read_database(self._from), read_host_conf(self._source)
        if self._boot is None:
            boot = [carrier.session.key for carrier in self._carriers(self._root)]
        else:
            boot = wanted_keys(self._boot, source)
        # a session knows its tag, a record may not
        keys = dict.fromkeys(source.find_node(key) or key for key in boot)
        return Found(source, conf, read_database(self._to), read_host_conf(self._root), read_bytes(self._name_path), list(keys))

    # plan

    def plan(self, found: Found) -> Plan:
        """First the name, then what nodes are bound to and hang on, then nodes."""
        merger = _Merger(found, self._name_path)
        steps = [*merger.name_steps(), *merger.iface_steps(), *merger.discovery_steps(), *merger.node_steps()]
        facts = {"boot_nodes": [_named(key) for key in found.boot], "initiator_name": found.conf.require_initiator_name(), "folder": self._to.folder,
                 "kept": merger.kept}
        return Plan(steps, [*found.tree.problems, *merger.problems], facts)

    def apply(self, steps: t.Sequence[Step]) -> t.Mapping[str, t.Any]:
        """All records under one hold of the tree's lock, then the name."""
        installed_version(self._to)  # refuses where there is none: nobody would read what we write
        with open_writer(self._to) as writer:
            for step in steps:
                if step.work[0] != "name":
                    _write(writer, *step.work)
        for step in steps:
            if step.work[0] == "name":
                make_folder(os.path.dirname(self._name_path), 0o755)
                write_atomic(self._name_path, step.work[1].encode("utf-8", "surrogateescape"), _NAME_MODE)
        return {}

    def finish(self, found: Found, done: bool) -> t.Mapping[str, t.Any]:
        """Nothing more to say."""
        return {}


def _write(writer: DatabaseWriter, kind: str, *what: t.Any) -> None:
    getattr(writer, f"write_{kind}")(*what)


class _Merger:
    """What of the first system is missing in the second one."""

    def __init__(self, found: Found, name_path: str) -> None:
        self._found = found
        self._name_path = name_path
        self._version = found.tree_conf.version
        self.problems: t.List[Problem] = [
            {"object": damaged.path, "what": f"{damaged.what}, so it was not carried over", "remedy": "Mend it with iscsi_db (repair: true), and run again"}
            for damaged in (*found.source.damaged.values(), *found.source.damaged_ifaces.values(), *found.source.damaged_send_targets.values(),
                            *found.source.damaged_isns.values())]
        #: what stands in the tree already, and says something else
        self.kept: t.List[t.Dict[str, t.Any]] = []

    def name_steps(self) -> t.Iterator[Step]:
        """The name by which targets know the host is that of the system in which they were asked."""
        found = self._found
        old = NameDocument((found.name or b"").decode("utf-8", "surrogateescape"))
        new = old.with_name(found.conf.require_initiator_name())
        if new.text != old.text:
            yield Step("write", self._name_path, None if found.name is None else old.text, new.text, ("name", new.text))

    def iface_steps(self) -> t.Iterator[Step]:
        tree = self._found.tree
        for name, stored in self._found.source.ifaces.items():
            record = for_version(stored.record, self._version)
            if name in tree.ifaces:
                self._keep(f"iface {name}", tree.ifaces[name].record, record)
            elif name not in tree.damaged_ifaces:
                yield Step("record iface", name, *record_sides(None, record), work=("iface", name, record))

    def discovery_steps(self) -> t.Iterator[Step]:
        for kind, write in ((Kind.SEND_TARGETS, "send_targets"), (Kind.ISNS, "isns")):
            known, damaged = self._found.tree.discoveries(kind), self._found.tree.damaged_discoveries(kind)
            for endpoint, stored in self._found.source.discoveries(kind).items():
                how, record = Discovery(kind, *endpoint), for_version(stored.record, self._version)
                if endpoint in known:
                    self._keep(str(how), known[endpoint].record, record)
                elif endpoint not in damaged:
                    yield Step("record", str(how), *record_sides(None, record), work=(write, Portal(*endpoint), record))

    def node_steps(self) -> t.Iterator[Step]:
        for key in dict.fromkeys([*self._found.source.nodes, *self._found.boot]):
            yield from self._node_steps(key)

    def _node_steps(self, key: NodeKey) -> t.Iterator[Step]:
        tree, boots = self._found.tree, key in self._found.boot
        if tree.find_damaged(key) is not None:
            return  # named among the problems of the tree
        if key.iface not in BUILT_IN_IFACES and not tree.has_iface(key.iface) and not self._found.source.has_iface(key.iface):
            self.problems.append({"object": str(key), "what": f"is bound to iface {key.iface}, of which there is no record, and was not carried over",
                                  "remedy": "Write the iface (iscsi_iface), and run this again"})
            return
        there = tree.find_node(key)
        others = [str(other.portal.tpgt) for other in tree.nodes_of(key.target, key.portal.endpoint) if not other.portal.matches(key.portal)]
        if there is None and others:
            self.problems.append({"object": str(key), "what": f"is recorded under {tree.location.root} with another portal group tag ({', '.join(others)})",
                                  "remedy": "Remove the one that is wrong (iscsi_node with root, state: absent), and run this again"})
            return
        carried = self._carried(key, boots)
        if there is None:
            yield Step("record node", str(key), *record_sides(None, carried), work=("node", key, carried, self._found_by(key)))
            return
        old = tree.nodes[there].record
        new = old.with_settings(dict.fromkeys(_STARTUPS, "onboot")) if boots else old
        if new != old:
            yield Step("update node", str(there), *record_sides(old, new), work=("node", there, new))
        self._keep(str(there), old, carried)

    def _carried(self, key: NodeKey, boots: bool) -> Record:
        """The record as the tree's open-iscsi would have it. One that iscsistart or somebody else logged in to has none yet."""
        stored = self._found.source.nodes.get(key)
        if stored is None:
            record = new_node(self._found.tree_conf.iscsid, target=key.target, portal=key.portal, iface=self._found.source.iface_record(key.iface),
                              version=self._version)
        else:
            record = for_version(stored.record, self._version)
        beside = not boots and any(key.target == boot.target for boot in self._found.boot)
        return record.with_settings(startup_settings(record, "onboot" if boots else "manual" if beside else "automatic"))

    def _found_by(self, key: NodeKey) -> Discovery:
        source = self._found.source
        linked = next((how for how, keys in source.linked.items() if key in keys), None)
        how = linked or (discovered_by(source.nodes[key].record) if key in source.nodes else STATIC)
        recorded = how.kind not in (Kind.SEND_TARGETS, Kind.ISNS) or (how.host, how.port) in {
            **source.discoveries(how.kind), **self._found.tree.discoveries(how.kind)}
        return how if recorded else STATIC

    def _keep(self, subject: str, old: Record, new: Record) -> None:
        """Note where a record of the tree, which stays, says something else than that of the running system. Values are not told."""
        names = [name for name in new.settings if name not in _OWN and old.get(name) != new.get(name)]
        if names:
            self.kept.append({"object": subject, "differs": names})


def startup_settings(record: Record, startup: str) -> t.Dict[str, str]:
    """When a node that is carried over is logged in.

    ``onboot`` is by the initramfs alone, ``automatic`` by the start scripts. Other portals of a target that the system boots from are ``manual``:
    where nobody makes one map of several paths, start scripts would bring the same disk a second time.
    """
    if startup == "onboot":
        return dict.fromkeys(_STARTUPS, startup)
    return {"node.startup": startup, **({"node.conn[0].startup": startup} if record.get("node.conn[0].startup") == "onboot" else {})}


def for_version(record: Record, version: Version) -> Record:
    """A record of another host's open-iscsi as this one has it: in its order, without what it does not know."""
    settings = dict(record.settings)
    if record.kind is Kind.NODE and settings.get("node.discovery_type"):
        settings["node.discovery_type"] = discovery_text(discovered_by(record).kind, version)
    if record.kind in (Kind.SEND_TARGETS, Kind.ISNS):
        settings["discovery.type"] = discovery_text(record.kind, version, record=record.kind)
    return Record(record.kind, {key: settings[key] for key in fields(record.kind, version) if key in settings}, version)


def _named(key: NodeKey) -> t.Dict[str, t.Any]:
    return {"target": key.target, "portals": [str(key.portal)], "ifaces": [key.iface]}
