# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write and delete records under open-iscsi's lock, each whole at any moment, with the links iscsiadm keeps."""

from __future__ import annotations

import itertools
import os
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._host import files
from ansible_collections.lunar.iscsi.plugins.module_utils._names import TPGT_UNKNOWN, NodeKey, Portal
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.layout import Location
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.lock import DEFAULT_WAIT, DatabaseLock
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.record import Record, render_record
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import Kind
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.stored import (
    BUILT_IN_IFACES, ISNS_CONFIG, ST_CONFIG, Damaged, Database, Discovery, Endpoint, Stored, as_discovery, parse_link, read_database,
)

#: the folder of the database in which this collection keeps what damaged files held
KEPT_ASIDE = "damaged"


class DatabaseWriter:
    """Collects what is to be written and does it at once; get one from ``open_writer``.

    Nothing is on the disk before ``flush`` (which leaving the ``with`` block calls, unless by an exception). Then each record is old
    or new, whole, at any moment; records come before the links to them, links go before the records they lead to. Temporary files lie
    in the folder of the database itself, the only one in which open-iscsi does not take every file for a record.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        self._writes: t.Dict[str, bytes] = {}
        self._links: t.Dict[str, str] = {}
        self._kept_aside: t.Dict[str, bytes] = {}
        self._removals: t.Dict[str, str] = {}
        self._in_the_way: t.List[str] = []
        self._touched: t.Set[str] = set()
        self._known: t.Optional[Database] = None
        self._link_paths: t.Dict[NodeKey, t.List[str]] = {}

    @property
    def database(self) -> Database:
        """The records as they are under the lock, before anything of this writer is flushed; read once."""
        if self._known is None:
            self._known = read_database(self._location)
            for path in self._all_links():
                key = parse_link(os.path.basename(path))
                if key is not None:
                    self._link_paths.setdefault(key, []).append(path)
        return self._known

    # nodes

    def write_node(self, key: NodeKey, record: Record, discovered_by: t.Union[Discovery, Portal, None] = None) -> None:
        """Write a node's record. ``discovered_by`` makes the link from that discovery, the only one that is kept, as iscsiadm does.

        Without it links stay as they are. A record in the old layout (no tpgt) of the same portal gives way to one with a tpgt; one
        without tpgt is refused where records with a tpgt stand, because iscsiadm then finds neither. What a damaged file held is kept aside.
        """
        found = self.database.nodes.get(key)
        damaged = self._keep_aside(self.database.damaged.get(key))
        path = found.path if found else damaged.path if damaged else self._node_path(key, record)
        for other in self.database.nodes_of(key.target, key.portal.endpoint):
            if key.portal.tpgt is None and other.portal.tpgt is not None:
                raise InputError(f"node {key}", f"has no portal group tag, but there is a record with tag {other.portal.tpgt}",
                                 f"Name the portal as {key.portal.address},{other.portal.tpgt}, or remove that record")
            if key.portal.tpgt is not None and other.portal.tpgt is None:
                self._remove(self.database.nodes[other].path)
        self._write(path, record, found)
        if discovered_by is not None:
            self.link(key, discovered_by, record)

    def delete_node(self, key: NodeKey) -> bool:
        """Remove a node's record, every link to it and the folders that become empty; whether there was a record.

        What a damaged file held is kept aside.
        """
        found = self.database.nodes.get(key) or self._keep_aside(self.database.damaged.get(key))
        for path in self._link_paths.get(key, ()):
            self._remove(path)
        if found is None:
            return False
        self._links = {path: to for path, to in self._links.items() if parse_link(os.path.basename(path)) != key}
        self._remove(found.path, self._location.nodes)
        return True

    def link(self, key: NodeKey, discovery: t.Union[Discovery, Portal], record: t.Optional[Record] = None) -> None:
        """Make the link from ``discovery`` to the node, and remove those from elsewhere."""
        if key.portal.tpgt is None:
            return  # nodes in the old layout have no links
        stored = self.database.nodes.get(key)
        held = record or (stored.record if stored else None)
        address = (held.get("node.conn[0].address") if held else "") or key.portal.host
        name = f"{key.target},{address},{key.portal.port},{key.portal.tpgt},{key.iface}"
        path = os.path.join(self._link_folder(as_discovery(discovery)), name)
        for other in self._link_paths.get(key, ()):
            if other != path:
                self._remove(other)
        self._removals.pop(path, None)
        self._links[path] = f"{self._location.inside}/nodes/{key.target}/{address},{key.portal.port},{key.portal.tpgt}"

    def unlink(self, key: NodeKey, discovery: t.Union[Discovery, Portal]) -> None:
        """Remove the link from ``discovery`` to the node; the record stays."""
        folder = self._link_folder(as_discovery(discovery))
        for path in self._link_paths.get(key, ()):
            if os.path.dirname(path) == folder:
                self._remove(path)

    # discoveries

    def write_send_targets(self, portal: Portal, record: Record) -> None:
        self._write_discovery(portal, record, self.database.send_targets, self._location.send_targets, ST_CONFIG)

    def write_isns(self, portal: Portal, record: Record) -> None:
        self._write_discovery(portal, record, self.database.isns, self._location.isns, ISNS_CONFIG)

    def delete_send_targets(self, portal: Portal) -> t.List[NodeKey]:
        """Remove the discovery's record and, as iscsiadm does, every node it is linked to; returns those nodes."""
        return self._delete_discovery(Discovery(Kind.SEND_TARGETS, *portal.endpoint), self.database.send_targets)

    def delete_isns(self, portal: Portal) -> t.List[NodeKey]:
        """The same for an iSNS server."""
        return self._delete_discovery(Discovery(Kind.ISNS, *portal.endpoint), self.database.isns)

    # ifaces

    def write_iface(self, name: str, record: Record) -> None:
        if name in BUILT_IN_IFACES:
            raise InputError(f"iface {name}", "is built into open-iscsi and has no record", "Give your iface another name")
        self._keep_aside(self.database.damaged_ifaces.get(name))
        self._write(os.path.join(self._location.ifaces, name), record, self.database.ifaces.get(name))

    def delete_iface(self, name: str) -> bool:
        """Remove an iface's record; whether there was one. Nodes bound to it stay. What a damaged file held is kept aside."""
        found = self.database.ifaces.get(name) or self._keep_aside(self.database.damaged_ifaces.get(name))
        if found is None:
            return False
        self._remove(found.path)
        return True

    # what is no record, and what is to be looked at again later

    def remove(self, path: str, stop: str = "") -> None:
        """Remove a file or a link that belongs to no record, and up to the folder ``stop`` the folders that become empty."""
        self._remove(path, stop)

    def keep_copy(self, path: str) -> None:
        """Keep aside what a file holds now, before it is changed or removed."""
        data = files.read_bytes(path)
        if data:
            self._keep(path, data)

    # the disk

    def flush(self) -> None:
        """Do all that was asked for so far, and wait until the disk has it."""
        touched = set(self._touched)
        if self._kept_aside:  # before what they are copies of is overwritten
            made = [folder for path in sorted(self._kept_aside) for folder in files.make_folder(os.path.dirname(path))]
            files.write_all_atomic(self._kept_aside, temp_folder=self._temp_folder(self._kept_aside))
            files.flush_folders(made)
        for path in self._in_the_way:
            files.remove_file(path)
        for folder in sorted({os.path.dirname(path) for path in (*self._writes, *self._links)}):
            touched.update(files.make_folder(folder))
        if self._writes:
            files.write_all_atomic(self._writes, temp_folder=self._temp_folder(self._writes))
        for path, to in self._links.items():
            if files.make_link(to, path):
                touched.add(os.path.dirname(path))
        for path, stop in self._removals.items():
            files.remove_file(path)
            touched.add(os.path.dirname(path))
            if stop:
                files.remove_empty_folders_up_to(os.path.dirname(path), stop)
                touched.add(stop)
        files.flush_folders(touched)
        self._writes, self._links, self._kept_aside, self._removals, self._link_paths = {}, {}, {}, {}, {}
        self._touched, self._in_the_way, self._known = set(), [], None

    def _temp_folder(self, paths: t.Iterable[str]) -> t.Optional[str]:
        """The database's own folder, if a rename from there can reach the records (a folder in it may be another file system)."""
        folder = self._location.folder
        device = os.stat(folder).st_dev
        return folder if all(os.stat(os.path.dirname(path)).st_dev == device for path in paths) else None

    def _keep_aside(self, damaged: t.Optional[Damaged]) -> t.Optional[Damaged]:
        """Plan a copy of a damaged file in the folder ``damaged`` of the database, where open-iscsi looks for no records; an older copy stays."""
        if damaged is not None and damaged.text:
            self._keep(damaged.path, damaged.text.encode("utf-8", "surrogateescape"))
        return damaged

    def _keep(self, path: str, data: bytes) -> None:
        copy = os.path.join(self._location.folder, KEPT_ASIDE, os.path.relpath(path, self._location.folder))
        number = next(number for number in itertools.count(1) if not os.path.lexists(f"{copy}.{number}"))
        self._kept_aside[f"{copy}.{number}"] = data

    @property
    def kept_aside(self) -> t.List[str]:
        """The copies that ``flush`` will make, sorted."""
        return sorted(self._kept_aside)

    def _write(self, path: str, record: Record, found: t.Optional[Stored] = None) -> None:
        version = self._location.version
        before = found.record.settings if found else {}
        unknown = [key for key in record.unknown_keys(version) if key not in before] if version else []
        if version and unknown:
            raise InputError(path, f"would get settings that open-iscsi {version.text} of this host does not know: {', '.join(unknown)}",
                             "Leave them out; iscsiadm might refuse to list any record because of them")
        self._removals.pop(path, None)
        self._writes[path] = render_record(record).encode("utf-8", "surrogateescape")

    def _remove(self, path: str, stop: str = "") -> None:
        self._writes.pop(path, None)
        self._links.pop(path, None)
        self._removals.pop(path, None)
        self._removals[path] = stop

    def _node_path(self, key: NodeKey, record: Record) -> str:
        address = record.get("node.conn[0].address") or key.portal.host
        for part in (key.target, address, key.iface):
            if "/" in part or part in ("", ".", ".."):
                raise InputError(f"node {key}", f"has {part!r} in it, which is no name for a file", "Use names without slashes")
        folder = os.path.join(self._location.nodes, key.target, f"{address},{key.portal.port}")
        if key.portal.tpgt in (None, TPGT_UNKNOWN):
            return folder
        return os.path.join(f"{folder},{key.portal.tpgt}", key.iface)

    def _link_folder(self, discovery: Discovery) -> str:
        if discovery.kind is Kind.STATIC:
            return self._location.static
        if discovery.kind is Kind.FW:
            return self._location.fw
        known = self.database.send_targets if discovery.kind is Kind.SEND_TARGETS else self.database.isns
        base = self._location.send_targets if discovery.kind is Kind.SEND_TARGETS else self._location.isns
        config = ST_CONFIG if discovery.kind is Kind.SEND_TARGETS else ISNS_CONFIG
        for path in list(self._writes) + [stored.path for stored in known.values()]:
            folder = os.path.dirname(path)
            if os.path.basename(path) == config and os.path.dirname(folder) == base and _endpoint_of(folder) == (discovery.host, discovery.port):
                return folder
        return os.path.join(base, f"{discovery.host},{discovery.port}")

    def _write_discovery(self, portal: Portal, record: Record, known: t.Mapping[Endpoint, Stored], base: str, config: str) -> None:
        found = known.get(portal.endpoint)
        damaged = self._keep_aside(self.database.damaged_discoveries(Kind.SEND_TARGETS if config == ST_CONFIG else Kind.ISNS).get(portal.endpoint))
        stands = found or damaged
        if stands is not None and os.path.basename(stands.path) == config:
            self._write(stands.path, record, found)
            return
        address = record.get("discovery.sendtargets.address") or portal.host
        if "/" in address:
            raise InputError(f"portal {portal}", "has a slash in its address", "Give an IP address or a host name")
        if stands is not None:  # the old layout: a file where the folder is to stand
            self._in_the_way.append(stands.path)
        self._write(os.path.join(base, f"{address},{portal.port}", config), record)

    def _delete_discovery(self, discovery: Discovery, known: t.Mapping[Endpoint, Stored]) -> t.List[NodeKey]:
        folder = self._link_folder(discovery)
        base = self._location.send_targets if discovery.kind is Kind.SEND_TARGETS else self._location.isns
        keys = sorted(self.database.linked.get(discovery, ()), key=str)
        for key in keys:
            self.delete_node(key)
        for path in self._all_links(folder):
            self._remove(path)
        endpoint = (discovery.host, discovery.port)
        found = known.get(endpoint) or self._keep_aside(self.database.damaged_discoveries(discovery.kind).get(endpoint))
        if found is not None:
            self._remove(found.path, base)
        else:  # only the folder is there
            self._remove(os.path.join(folder, ST_CONFIG if discovery.kind is Kind.SEND_TARGETS else ISNS_CONFIG), base)
        return keys

    def _all_links(self, *folders: str) -> t.Iterator[str]:
        """The paths of all links to nodes, or of those in ``folders``."""
        if not folders:
            outer = (self._location.send_targets, self._location.isns)
            folders = (self._location.static, self._location.fw, self._location.isns) + tuple(
                os.path.join(base, name) for base in outer for name in (os.listdir(base) if os.path.isdir(base) else ()))
        for folder in folders:
            if os.path.isdir(folder):
                with os.scandir(folder) as entries:
                    yield from sorted(entry.path for entry in entries if entry.is_symlink())


def _endpoint_of(folder: str) -> t.Optional[Endpoint]:
    key = parse_link(f"x,{os.path.basename(folder)},0,x")
    return key.portal.endpoint if key else None


class open_writer:  # pylint: disable=invalid-name
    """``with open_writer(location, wait=30) as writer:`` takes the lock, gives a writer, and flushes it on leaving without an exception.

    ``wait`` is in seconds; ``LockedError`` names the lock after that. Under ``root`` the lock inside the image is taken, so that two
    tasks on one image exclude each other; what that made there is removed again.
    """

    def __init__(self, location: Location, wait: float = DEFAULT_WAIT) -> None:
        self._location = location
        self._lock = DatabaseLock(location, wait)
        self._writer = DatabaseWriter(location)

    def __enter__(self) -> DatabaseWriter:
        files.make_folder(self._location.folder, 0o755)
        self._lock.__enter__()
        # nobody else writes now: temporary files are those of a task that was killed
        files.remove_leftovers(self._location.folder)
        return self._writer

    def __exit__(self, kind: t.Optional[t.Type[BaseException]], *_rest: object) -> None:
        try:
            if kind is None:
                self._writer.flush()
        finally:
            self._lock.__exit__()
