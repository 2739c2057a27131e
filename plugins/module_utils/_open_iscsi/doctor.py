# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module iscsi_db does: everything that is wrong in a database, and what can be mended of it without asking anybody."""

from __future__ import annotations

import dataclasses
import os
import stat
import typing as t
from dataclasses import dataclass

from ansible_collections.lunar.iscsi.plugins.module_utils._argspec import check_root
from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import Plan, Step
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._host import files
from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey, Portal
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.checkup import Entry, bad_values, entries, is_harmless, misread, more_faults, right_mode
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.conf import HostConf, read_host_conf
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.database import open_writer
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.iface_wanted import check_iface_name
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.layout import installed_version, locate
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.lock import remove_stale_lock
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.new_records import check_family, new_iface, new_isns, new_send_targets
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.record import Record, record_sides
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.repair import (
    forget_step, iface_anew, iface_of_nodes, node_anew, repair_step, salvage,
)
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import Kind, discovery_text
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.session_keys import SessionKey, read_session_keys
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.shown import show_records
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.stored import (
    Damaged, Database, Endpoint, Fault, Stored, discovered_by, doubled_tags, read_database,
)


class Path(t.NamedTuple):
    """What stands at a path."""

    mode: int
    owner: int
    is_folder: bool
    leads_to: t.Optional[str] = None
    is_empty: bool = False


@dataclass(frozen=True)
class Found:
    """What is: records, configuration, sessions, and all that is wrong."""

    database: Database
    conf: HostConf
    sessions: t.Sequence[SessionKey]
    faults: t.Sequence[Fault]
    #: of paths with a fault: the mode and the owner, where a link leads to, whether it is an empty folder
    paths: t.Mapping[str, Path] = dataclasses.field(default_factory=dict)


class DoctorTask:
    """One iscsi_db task; see ``_convergence.Task``."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        self._repair: bool = params["repair"]
        self._show: bool = params["show"]
        self._root = check_root(params["root"])
        self._location = locate(self._root)
        self._kept: t.List[str] = []

    def read(self) -> Found:
        """Records, links, modes, the lock: no process is run."""
        database, conf = read_database(self._location), read_host_conf(self._root)
        sessions = read_session_keys() if self._root == "/" else []
        faults = [*database.faults, *more_faults(database, conf)]
        paths = {path: _look(path) for path in (self._location.folder, *(fault.path for fault in faults)) if os.path.lexists(path)}
        return Found(database, conf, sessions, faults, paths)

    def plan(self, found: Found) -> Plan:
        """What can be mended; nothing where that is not asked for."""
        steps = list(_Mender(found).steps()) if self._repair else []
        findings = [dict(fault.as_problem(), check=fault.check, path=fault.path or None) for fault in found.faults]
        counted = {"nodes": len(found.database.nodes), "ifaces": len(found.database.ifaces), "send_targets": len(found.database.send_targets),
                   "isns": len(found.database.isns)}
        return Plan(steps, [fault.as_problem() for fault in found.faults], {"findings": findings, "records": counted, "folder": self._location.folder})

    def apply(self, steps: t.Sequence[Step]) -> t.Mapping[str, t.Any]:
        """The lock first, then modes, then all records in one go, each after a copy of its file."""
        installed_version(self._location)  # refuses where there is none: nobody would read what we write
        work = [step.work for step in steps]
        if any(kind == "unlock" for kind, *_rest in work):
            remove_stale_lock(self._location)
        with open_writer(self._location) as writer:
            for kind, *arguments in work:
                if kind == "mode":
                    files.set_mode(*arguments)
            for kind, *arguments in work:
                if kind == "writer":
                    copied, method, *rest = arguments
                    if copied:
                        writer.keep_copy(copied)
                    getattr(writer, method)(*rest)
            kept = writer.kept_aside
        self._kept.extend(kept)
        return {}

    def finish(self, found: Found, done: bool) -> t.Mapping[str, t.Any]:
        """Where the copies are; the records themselves where they are asked for."""
        return dict({"kept": self._kept}, **(show_records(found.database) if self._show else {}))


def _look(path: str) -> Path:
    found = os.lstat(path)
    folder = stat.S_ISDIR(found.st_mode)
    return Path(found.st_mode & 0o7777, found.st_uid, folder, os.readlink(path) if stat.S_ISLNK(found.st_mode) else None, folder and not os.listdir(path))


class _Mender:
    """Makes the steps, in the order in which they have to be done; later ones see the ifaces that earlier ones make. Pure."""

    def __init__(self, found: Found) -> None:
        self._found = found
        self._version = found.conf.version
        self._database = found.database
        self._leaving: t.Set[NodeKey] = set()

    def steps(self) -> t.Iterator[Step]:
        if any(fault.check == "stale_lock" for fault in self._found.faults):
            path = self._found.database.location.lock
            yield Step("remove", path, "held by nobody", None, work=("unlock",))
        owner = self._found.paths[self._database.location.folder].owner if self._of("permissions") else 0
        for fault in self._of("permissions"):
            found, mode = self._found.paths[fault.path], right_mode(not self._found.paths[fault.path].is_folder)
            yield Step("set mode of", fault.path, f"{found.mode:04o}, user {found.owner}\n", f"{mode:04o}, user {owner}\n", ("mode", fault.path, mode, owner))
        yield from self._ifaces()
        yield from self._discoveries()
        yield from self._doubled()
        yield from self._damaged_nodes()
        yield from self._records()
        yield from self._rest()

    def _of(self, *checks: str) -> t.List[Fault]:
        return [fault for fault in self._found.faults if fault.check in checks]

    # ifaces come before the nodes that are bound to them

    def _ifaces(self) -> t.Iterator[Step]:
        ifaces = dict(self._database.ifaces)
        for name, damaged in sorted(self._database.damaged_ifaces.items()):
            made = iface_anew(name, self._database, self._version)
            if made == new_iface(name, version=self._version) and not any(key.iface == name for key in self._database.nodes):
                # nothing is known of it and nothing uses it; but as an iface that is bound to nothing, discovery would bind nodes to it
                yield Step("forget iface", f"{name} (its file {damaged.what})", f"{damaged.path} {damaged.what}\n", None, ("writer", "", "delete_iface", name))
                continue
            if not self._is_whole(name, made):
                continue
            ifaces[name] = Stored(made, damaged.path)
            yield repair_step(f"iface {name}", damaged, made, ("writer", "", "write_iface", name, made))
        for name in sorted({fault.node.iface for fault in self._of("missing_iface") if fault.node is not None} - set(ifaces)):
            made = iface_anew(name, self._database, self._version)
            if not self._is_whole(name, made) or not self._agrees(name):
                continue
            ifaces[name] = Stored(made, os.path.join(self._database.location.ifaces, name))
            # a file of comments only may stand there, or what is left of a record
            work = ("writer", ifaces[name].path, "write_iface", name, made)
            yield Step("record iface", f"{name} (as its nodes hold it)", *record_sides(None, made), work=work)
        for entry in entries(self._database, self._found.conf):
            made = self._mended(entry) if entry.stored.record.kind is Kind.IFACE else entry.stored.record
            if made != entry.stored.record:
                ifaces[os.path.basename(entry.stored.path)] = Stored(made, entry.stored.path)
                yield self._mend_step(entry, made)
        self._database = dataclasses.replace(self._database, ifaces=ifaces)

    def _is_whole(self, name: str, made: Record) -> bool:
        try:
            check_iface_name(name)
            check_family(name, made.settings, self._version)
        except InputError:
            return False
        return True

    def _agrees(self, name: str) -> bool:
        """Whether the nodes that are bound to an iface say the same of what binds it; if they do not, nobody can know which are right."""
        bound = {tuple(stored.record.get(f"iface.{key}") for key in ("transport_name", "net_ifacename", "hwaddress", "ipaddress", "initiatorname"))
                 for key, stored in self._database.nodes.items() if key.iface == name}
        return len(bound) == 1 and bool(iface_of_nodes(name, self._database, self._version))

    # discoveries

    def _discoveries(self) -> t.Iterator[Step]:
        conf = self._found.conf.iscsid
        for endpoint, damaged in sorted(self._database.damaged_send_targets.items()):
            made = new_send_targets(conf, Portal(*endpoint), salvage(damaged, Kind.SEND_TARGETS, self._version), version=self._version)
            yield self._discovery(Kind.SEND_TARGETS, endpoint, damaged, made)
        for endpoint, damaged in sorted(self._database.damaged_isns.items()):
            made = new_isns(conf, Portal(*endpoint), salvage(damaged, Kind.ISNS, self._version), version=self._version)
            yield self._discovery(Kind.ISNS, endpoint, damaged, made)
        for fault in self._of("no_record"):
            if self._found.paths[fault.path].is_empty:
                inside, above = os.path.join(fault.path, "none"), os.path.dirname(fault.path)
                yield Step("remove", fault.path, "an empty folder", None, work=("writer", "", "remove", inside, above))

    @staticmethod
    def _discovery(kind: Kind, endpoint: Endpoint, damaged: Damaged, made: Record) -> Step:
        portal = Portal(*endpoint)
        return repair_step(f"{kind.value} discovery at {portal.address}", damaged, made, ("writer", "", f"write_{_METHODS[kind]}", portal, made))

    # nodes

    def _doubled(self) -> t.Iterator[Step]:
        """Of several tags, those with sessions stay; and any tag rather than none, since iscsiadm finds neither beside it.

        Which of those that stay is right, only the target knows.
        """
        for target, endpoint, tags in doubled_tags(self._database):
            here = self._database.nodes_of(target, endpoint)
            live = {session.key.portal.tpgt for session in self._found.sessions if any(session.belongs_to(key) for key in here)} - {None}
            staying = [tag for tag in tags if tag in live] or [tag for tag in tags if tag is not None]
            for key in sorted((key for key in here if key.portal.tpgt not in staying), key=str):
                self._leaving.add(key)
                work = ("writer", self._database.nodes[key].path, "delete_node", key)
                yield forget_step(key, f"the portal has the tag {' or '.join(map(str, staying))}", self._database, work)

    def _damaged_nodes(self) -> t.Iterator[Step]:
        for key, damaged in sorted(self._database.damaged.items(), key=lambda item: str(item[0])):
            others = [other for other in self._database.nodes_of(key.target, key.portal.endpoint) if other.portal.tpgt != key.portal.tpgt]
            gone = not self._database.has_iface(key.iface)
            if gone or (others and key.portal.tpgt is None):
                reason = f"damaged, and its iface {key.iface} is gone" if gone else f"damaged, and the portal has the tag {others[0].portal.tpgt}"
                if not any(session.belongs_to(key) for session in self._found.sessions) or not gone:
                    yield forget_step(key, reason, self._database, ("writer", "", "delete_node", key))
                continue
            if others:
                continue  # which tag is right is not known, and a second one is worse than a damaged record
            try:
                made, found_by = node_anew(key, self._database, self._found.conf)
            except InputError:
                continue
            yield repair_step(f"node {key}", damaged, made, ("writer", "", "write_node", key, made, found_by))

    def _records(self) -> t.Iterator[Step]:
        """Other records that can be read and hold something that is wrong: one step each."""
        for entry in entries(self._database, self._found.conf):
            made = self._mended(entry)
            if made != entry.stored.record and entry.stored.record.kind is not Kind.IFACE and entry.key not in self._leaving:
                yield self._mend_step(entry, made)

    def _mended(self, entry: Entry) -> Record:
        made = entry.stored.record.with_settings(self._changes(entry))
        if made.kind is Kind.IFACE and not set(made.settings) - {"iface.transport_name"}:  # nothing of it was left
            return iface_anew(os.path.basename(entry.stored.path), self._database, self._version)
        return made

    def _mend_step(self, entry: Entry, made: Record) -> Step:
        changes = self._changes(entry)
        before, after = record_sides(entry.stored.record, made)
        # what stands where it should not may be a piece of a secret
        shown = {key: "(not shown)" if key in changes and not is_harmless(value) else value for key, value in (before or {}).items()}
        return Step("mend", entry.name, shown, after, work=("writer", entry.stored.path, *_write(entry, made)))

    def _changes(self, entry: Entry) -> t.Dict[str, str]:
        record = entry.stored.record
        changes = dict.fromkeys(record.unknown_keys(self._version), "")
        changes.update({key: entry.fresh.get(key) for key in bad_values(entry, self._version)})
        if misread(entry, self._version) and entry.linked_by is not None:
            changes["node.discovery_type"] = discovery_text(entry.linked_by.kind, self._version)
        return changes

    # what is left

    def _rest(self) -> t.Iterator[Step]:
        for fault in self._of("orphan_link", "strange_link"):
            to = self._found.paths[fault.path].leads_to
            if to is not None:
                yield Step("remove", f"{fault.path} ({fault.what})", f"-> {to}", None, work=("writer", "", "remove", fault.path))
        for fault in self._of("misplaced"):
            work = ("writer", fault.path, "remove", fault.path, self._database.location.nodes)
            yield Step("remove", f"{fault.path} ({fault.what})", "a file that is no record of a node", None, work)
        for fault in self._of("no_link"):
            key = fault.node
            if key is not None and key not in self._leaving:
                how = discovered_by(self._database.nodes[key].record)
                yield Step("link", f"{key} to the {how}", None, "a link", work=("writer", "", "link", key, how))


#: what the methods of the writer call the kinds
_METHODS = {Kind.SEND_TARGETS: "send_targets", Kind.ISNS: "isns"}


def _write(entry: Entry, made: Record) -> t.Tuple[t.Any, ...]:
    """The method of the writer that writes this record, and its arguments."""
    if entry.key is not None:
        return "write_node", entry.key, made
    if entry.endpoint is not None:
        return f"write_{_METHODS[made.kind]}", Portal(*entry.endpoint), made
    return "write_iface", os.path.basename(entry.stored.path), made
