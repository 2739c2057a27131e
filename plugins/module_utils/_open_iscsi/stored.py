# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All records of a host, read in one pass: no process is run, no lock is needed, and a damaged record is a problem, not an end."""

from __future__ import annotations

import functools
import os
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, HostError, InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.files import read_bytes
from ansible_collections.lunar.iscsi.plugins.module_utils._names import TPGT_UNKNOWN, NodeKey, Portal, normalise_host
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.layout import Location, not_installed
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.record import Record, parse_record
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import Kind, discovery_kind

Endpoint = t.Tuple[str, int]
ST_CONFIG = "st_config"
ISNS_CONFIG = "isns_config"
#: ifaces that open-iscsi has built in; they have no file
BUILT_IN_IFACES = ("default", "iser")


class Stored(t.NamedTuple):
    record: Record
    path: str


class Damaged(t.NamedTuple):
    """A file that stands where a record is expected and is none. ``text`` may hold secrets and is never shown."""

    path: str
    what: str
    text: str

    def __repr__(self) -> str:
        return f"Damaged({self.path!r}, {self.what!r})"


class Discovery(t.NamedTuple):
    """How a node was found: the kind, and for SEND_TARGETS and ISNS the address that was asked."""

    kind: Kind
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        return f"{self.kind.value} discovery" + (f" at {Portal(self.host, self.port)}" if self.host else "")


_REPAIR: t.Mapping[Kind, str] = {
    Kind.NODE: "Say repair: true in a task that names the node (iscsi_node or iscsi_discovery), or restore the file from a backup",
    Kind.SEND_TARGETS: "Say repair: true in a task of iscsi_discovery that asks this portal, or restore the file from a backup",
    Kind.IFACE: "Say repair: true in a task of iscsi_iface that names it, or restore the file from a backup",
    Kind.ISNS: "Say repair: true in a task of iscsi_discovery with type: isns that asks this server, or restore the file from a backup",
}
STATIC = Discovery(Kind.STATIC)
FW = Discovery(Kind.FW)
Problem = t.Dict[str, str]


class Fault(t.NamedTuple):
    """Something that is wrong in the database: which check found it, the object, what, and what to do; where it is, and which node it concerns."""

    check: str
    subject: str
    what: str
    remedy: str
    path: str = ""
    node: t.Optional[NodeKey] = None

    def as_problem(self) -> Problem:
        """The fault as an entry of a module's ``problems``."""
        return {"object": self.subject, "what": self.what, "remedy": self.remedy}


@dataclass(frozen=True)
class Database:
    """What is stored. Hosts in the keys are normalised (``_names.normalise_host``); ``Stored.path`` leads to the file."""

    location: Location
    nodes: t.Dict[NodeKey, Stored] = field(default_factory=dict)
    ifaces: t.Dict[str, Stored] = field(default_factory=dict)
    send_targets: t.Dict[Endpoint, Stored] = field(default_factory=dict)
    isns: t.Dict[Endpoint, Stored] = field(default_factory=dict)
    #: from each discovery record (and STATIC and FW) the nodes it is linked to
    linked: t.Dict[Discovery, t.Set[NodeKey]] = field(default_factory=dict)
    #: nodes, ifaces and discoveries whose file is damaged, and which discovery is linked to such a node
    damaged: t.Dict[NodeKey, Damaged] = field(default_factory=dict)
    damaged_ifaces: t.Dict[str, Damaged] = field(default_factory=dict)
    damaged_send_targets: t.Dict[Endpoint, Damaged] = field(default_factory=dict)
    damaged_isns: t.Dict[Endpoint, Damaged] = field(default_factory=dict)
    damaged_found_by: t.Dict[NodeKey, Discovery] = field(default_factory=dict)
    faults: t.List[Fault] = field(default_factory=list)

    @property
    def problems(self) -> t.List[Problem]:
        """What is wrong, as modules return it."""
        return [fault.as_problem() for fault in self.faults]

    @property
    def links(self) -> t.Dict[Endpoint, t.Set[NodeKey]]:
        """The nodes linked to each SendTargets discovery."""
        return {(how.host, how.port): keys for how, keys in self.linked.items() if how.kind is Kind.SEND_TARGETS}

    def discoveries(self, kind: Kind) -> t.Mapping[Endpoint, Stored]:
        """The records of SendTargets discoveries or of iSNS servers."""
        return self.isns if kind is Kind.ISNS else self.send_targets

    def damaged_discoveries(self, kind: Kind) -> t.Dict[Endpoint, Damaged]:
        """Those whose file is damaged."""
        return self.damaged_isns if kind is Kind.ISNS else self.damaged_send_targets

    def nodes_of(self, target: str, endpoint: t.Optional[Endpoint] = None) -> t.List[NodeKey]:
        """The nodes of a target, at one address and port where given, whatever their tpgt and iface."""
        return [key for key in self._by_target.get(target, ()) if endpoint in (None, key.portal.endpoint)]

    @functools.cached_property
    def _by_target(self) -> t.Mapping[str, t.Sequence[NodeKey]]:
        found: t.Dict[str, t.List[NodeKey]] = {}
        for key in self.nodes:
            found.setdefault(key.target, []).append(key)
        return found

    def find_node(self, key: NodeKey) -> t.Optional[NodeKey]:
        """The key under which the node is recorded: the same tpgt, else one that only one side knows; None where there is none."""
        if key in self.nodes:
            return key
        return next((each for each in self.nodes_of(key.target, key.portal.endpoint) if each.iface == key.iface and each.portal.matches(key.portal)), None)

    def find_damaged(self, key: NodeKey) -> t.Optional[NodeKey]:
        """The same for a node whose record is damaged."""
        if key in self.damaged:
            return key
        return next((each for each in self.damaged if each._replace(portal=key.portal) == key and each.portal.matches(key.portal)), None)

    def has_iface(self, name: str) -> bool:
        return name in BUILT_IN_IFACES or name in self.ifaces

    def iface_record(self, name: str) -> t.Optional[Record]:
        """What ``new_node`` takes as iface: the record; None for the default iface; ``InputError`` where there is no such iface."""
        if name == "default":
            return None
        if name in self.ifaces:
            return self.ifaces[name].record
        if name in BUILT_IN_IFACES:
            return Record(Kind.IFACE, {"iface.iscsi_ifacename": name, "iface.transport_name": name}, self.location.version)
        raise InputError(f"iface {name}", f"has no record in {self.location.ifaces}", "Create it first (iscsi_iface)")


def as_discovery(asked: t.Union[Discovery, Portal]) -> Discovery:
    """A portal stands for the SendTargets discovery at it."""
    return asked if isinstance(asked, Discovery) else Discovery(Kind.SEND_TARGETS, *asked.endpoint)


def discovered_by(record: Record) -> Discovery:
    """How the record says that its node was found, whichever version wrote it."""
    kind = discovery_kind(record.get("node.discovery_type"), record.version)
    if kind in (Kind.STATIC, Kind.FW):
        return Discovery(kind)
    port = record.get("node.discovery_port")
    return Discovery(kind, normalise_host(record.get("node.discovery_address")), int(port) if port.isdigit() else 0)


def read_database(location: Location) -> Database:
    """Read everything at ``location``; a folder that is missing is empty. ``HostError`` only where reading is not permitted."""
    database = Database(location)
    _read_ifaces(database)
    _read_nodes(database)
    _read_discoveries(database, Kind.SEND_TARGETS, location.send_targets, ST_CONFIG, database.send_targets)
    _read_discoveries(database, Kind.ISNS, location.isns, ISNS_CONFIG, database.isns)
    for discovery, folder in ((STATIC, location.static), (FW, location.fw)):
        for entry in _entries(folder):
            _read_link(database, discovery, entry)
    _look_for_problems(database)
    return database


def _entries(folder: str) -> t.List[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise HostError(folder, f"could not be read: {error.strerror}", "Run the task as root (become: true)") from error


def _fault(database: Database, check: str, subject: str, what: str, remedy: str, path: str = "", node: t.Optional[NodeKey] = None) -> None:
    database.faults.append(Fault(check, subject, what, remedy, path, node))


def _load(database: Database, path: str, kind: Kind) -> t.Union[None, Stored, Damaged]:
    data = read_bytes(path)
    if data is None:
        return None  # somebody removed it since the folder was read
    text = data.decode("utf-8", "surrogateescape")
    try:
        return Stored(parse_record(text, path, kind), path)
    except DamagedError as error:
        _fault(database, "damaged", path, error.what, _REPAIR.get(kind, error.remedy), path)
        return Damaged(path, error.what, text)


def _read_ifaces(database: Database) -> None:
    for entry in _entries(database.location.ifaces):
        stored = _load(database, entry.path, Kind.IFACE) if entry.is_file() else None
        if isinstance(stored, Damaged):
            database.damaged_ifaces[entry.name] = stored
        if not isinstance(stored, Stored) or not stored.record.settings:  # the example that packages install holds comments only
            continue
        database.ifaces[entry.name] = stored


def _read_nodes(database: Database) -> None:
    for target in _entries(database.location.nodes):
        for entry in _entries(target.path):
            portal = _portal_of(entry.name)
            if portal is None:
                continue  # iscsiadm passes over names without a comma too
            if portal.tpgt is None and entry.is_file():
                _read_node(database, target.name, portal, "", entry.path)
            elif entry.is_dir():
                for iface in _entries(entry.path):
                    _read_node(database, target.name, portal, iface.name, iface.path)
            else:
                _fault(database, "misplaced", entry.path, "is a file where a folder of one record an iface is expected",
                       "Remove it and discover the target again", entry.path)


def _portal_of(name: str) -> t.Optional[Portal]:
    """The portal a file or folder is named for: ``address,port`` or ``address,port,tpgt``, IPv6 without brackets."""
    parts = name.split(",")
    if len(parts) not in (2, 3) or not parts[1].isdigit() or not all(part.lstrip("-").isdigit() for part in parts[2:]):
        return None
    tpgt = int(parts[2]) if len(parts) == 3 else TPGT_UNKNOWN
    return Portal(normalise_host(parts[0]), int(parts[1]), None if tpgt == TPGT_UNKNOWN else tpgt)


def _read_node(database: Database, target: str, portal: Portal, iface: str, path: str) -> None:
    stored = _load(database, path, Kind.NODE)
    if isinstance(stored, Damaged):
        bound = re.search(r"(?m)^iface\.iscsi_ifacename = (\S+)$", stored.text)
        database.damaged[NodeKey(target, portal, iface or (bound.group(1) if bound else "default"))] = stored
        return
    if stored is None:
        return
    key = NodeKey(target, portal, iface or stored.record.get("iface.iscsi_ifacename", "default"))
    named = stored.record.get("node.name")
    if named != target:
        _fault(database, "misplaced", path, f"holds the record of {named or 'no target'}", "Remove it and discover the target again", path)
    elif key in database.nodes:
        _fault(database, "misplaced", path, f"is a second record of {key}, beside {database.nodes[key].path}", "Remove one of the two", path)
    else:
        database.nodes[key] = stored


def _read_discoveries(database: Database, kind: Kind, folder: str, config: str, into: t.Dict[Endpoint, Stored]) -> None:
    for entry in _entries(folder):
        portal = _portal_of(entry.name)
        if portal is None or portal.tpgt is not None:
            if entry.is_symlink() and kind is Kind.ISNS:  # before 2.0.872 all links stood here
                _read_link(database, Discovery(kind), entry)
            continue
        stored = _load(database, os.path.join(entry.path, config) if entry.is_dir() else entry.path, kind)
        discovery = Discovery(kind, *portal.endpoint)
        database.linked.setdefault(discovery, set())
        if isinstance(stored, Damaged):
            database.damaged_discoveries(kind)[portal.endpoint] = stored
        elif stored is not None:
            into[portal.endpoint] = stored
        elif entry.is_dir() and not os.path.lexists(os.path.join(entry.path, config)):
            _fault(database, "no_record", entry.path, "has no record of the discovery, only the folder",
                   "Discover again, or remove the folder if it is empty", entry.path)
        for link in _entries(entry.path):
            if link.name != config:
                _read_link(database, discovery, link)


def parse_link(name: str) -> t.Optional[NodeKey]:
    """The node that a link in a discovery's folder is named for: ``target,address,port,tpgt,iface``."""
    target, _comma, rest = name.partition(",")
    address, _comma, iface = rest.rpartition(",")
    portal = _portal_of(address)
    return NodeKey(target, portal, iface) if portal is not None and portal.tpgt is not None and iface else None


def _read_link(database: Database, discovery: Discovery, entry: os.DirEntry[str]) -> None:
    key = parse_link(entry.name)
    if key is None:
        _fault(database, "strange_link", entry.path, "is not the name of a link to a node",
               "Remove it; iscsiadm complains about it whenever it deletes the discovery", entry.path)
    elif key in database.damaged:  # named already
        database.damaged_found_by[key] = discovery
    elif key not in database.nodes:
        _fault(database, "orphan_link", entry.path, "leads to a node that has no record", "Remove the link, or discover again", entry.path, key)
    else:
        database.linked.setdefault(discovery, set()).add(key)


def _look_for_problems(database: Database) -> None:
    if database.location.version is None:  # a plan can be shown, but not carried out
        missing = not_installed(database.location)
        _fault(database, "not_installed", missing.subject, missing.what, missing.remedy)
    for key, stored in database.nodes.items():
        if not database.has_iface(key.iface):
            _fault(database, "missing_iface", str(key), f"is bound to iface {key.iface}, which has no record in {database.location.ifaces}",
                   "Write the iface again, or remove the node: repair: true in a task that names it", stored.path, key)
        _look_at_link(database, key, stored)
    for target, endpoint, tags in doubled_tags(database):
        names = ", ".join("none" if tag is None else str(tag) for tag in tags)
        _fault(database, "duplicate_tpgt", f"{target} at {Portal(*endpoint).address}", f"has records with different portal group tags ({names})",
               "Discover to see which tag the target gives now; a task that names it, with repair: true, removes the others")
    for name, stored in all_records(database):
        unknown = stored.record.unknown_keys(database.location.version)
        if unknown:
            _fault(database, "unknown_key", name, f"holds settings that this host's open-iscsi does not know: {', '.join(unknown)}",
                   f"Take them out of {stored.path}; iscsiadm may refuse to list any record because of them", stored.path)


def doubled_tags(database: Database) -> t.List[t.Tuple[str, Endpoint, t.List[t.Optional[int]]]]:
    """Where one portal of a target is recorded with several portal group tags: target, address and port, the tags (None first)."""
    tags: t.Dict[t.Tuple[str, Endpoint], t.Set[t.Optional[int]]] = {}
    for key in database.nodes:
        tags.setdefault((key.target, key.portal.endpoint), set()).add(key.portal.tpgt)
    return [(target, endpoint, sorted(found, key=lambda tag: -1 if tag is None else tag)) for (target, endpoint), found in tags.items() if len(found) > 1]


def _look_at_link(database: Database, key: NodeKey, stored: Stored) -> None:
    discovery = discovered_by(stored.record)
    known = discovery.kind in (Kind.SEND_TARGETS, Kind.ISNS) and discovery in database.linked and key.portal.tpgt is not None
    if known and key not in database.linked[discovery] and key not in database.linked.get(Discovery(Kind.ISNS), ()):
        _fault(database, "no_link", str(key), f"was found by {discovery}, which has no link to it",
               "Discover again; deleting the discovery would leave this node", stored.path, key)


def all_records(database: Database) -> t.Iterator[t.Tuple[str, Stored]]:
    """Every record that can be read, with the name of its object."""
    yield from ((str(key), stored) for key, stored in database.nodes.items())
    yield from ((f"iface {name}", stored) for name, stored in database.ifaces.items())
    yield from ((f"sendtargets record of {Portal(*endpoint).address}", stored) for endpoint, stored in database.send_targets.items())
    yield from ((f"isns record of {Portal(*endpoint).address}", stored) for endpoint, stored in database.isns.items())
