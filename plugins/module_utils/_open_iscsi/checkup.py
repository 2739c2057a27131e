# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong in a database beyond what every task notices when it reads it: values, permissions, the lock, what the next open-iscsi makes of it."""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.files import under_root
from ansible_collections.lunar.iscsi.plugins.module_utils._names import TPGT_UNKNOWN, NodeKey, Portal, normalise_host
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.conf import CONF, HostConf, as_read
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.layout import Location
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.lock import stale_lock
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.new_records import check_family, new_iface, new_isns, new_node, new_send_targets
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.record import Record
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import SECRET_KEYS, Field, Kind, Type, check_settings, discovery_text, fields
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.stored import STATIC, Database, Discovery, Fault, Stored, discovered_by
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.version import Version

#: a file or folder that somebody else than its owner may write, or a file with secrets that somebody else may read
_WRITABLE_BY_OTHERS, _OPEN_TO_OTHERS = 0o022, 0o077


class Entry(t.NamedTuple):
    """One record that can be read, with what names it and the record that would be made of it anew."""

    name: str
    stored: Stored
    fresh: Record
    #: the node that it is one of; None for other kinds
    key: t.Optional[NodeKey] = None
    #: where it was found, of nodes: the discovery that has a link to it
    linked_by: t.Optional[Discovery] = None
    endpoint: t.Optional[t.Tuple[str, int]] = None


def entries(database: Database, conf: HostConf) -> t.Iterator[Entry]:
    """Every record of the database."""
    links = {key: how for how, keys in database.linked.items() for key in keys}
    for key, stored in database.nodes.items():
        how = links.get(key)
        yield Entry(str(key), stored, _fresh_node(key, database, conf, how or discovered_by(stored.record)), key, how)
    for name, stored in database.ifaces.items():
        yield Entry(f"iface {name}", stored, new_iface(name, version=conf.version))
    for kind, known, make in ((Kind.SEND_TARGETS, database.send_targets, new_send_targets), (Kind.ISNS, database.isns, new_isns)):
        for endpoint, stored in known.items():
            portal = Portal(*endpoint)
            yield Entry(f"{kind.value} record of {portal.address}", stored, make(conf.iscsid, portal, version=conf.version), endpoint=endpoint)


def _fresh_node(key: NodeKey, database: Database, conf: HostConf, how: Discovery) -> Record:
    known = key.iface in database.ifaces or key.iface in ("default", "iser")
    try:
        iface = database.iface_record(key.iface) if known else new_iface(key.iface, version=conf.version)
        return new_node(conf.iscsid, target=key.target, portal=key.portal, iface=iface, discovery=how, version=conf.version)
    except InputError:  # no new one could be made like that; what is wrong with the iface is told for itself
        made = new_node(conf.iscsid, target=key.target, portal=key.portal, discovery=how, version=conf.version)
        return Record(Kind.NODE, {**made.settings, "iface.iscsi_ifacename": key.iface}, conf.version)


def more_faults(database: Database, conf: HostConf) -> t.List[Fault]:
    """All that only a look at the whole database tells."""
    found: t.List[Fault] = []
    for entry in entries(database, conf):
        found.extend(_faults_of(entry, conf.version))
    found.extend(_read_otherwise_later(database, conf.version))
    found.extend(_permissions(database.location))
    found.extend(_open_configuration(database.location, conf))
    stale = stale_lock(database.location)
    if stale is not None:
        found.append(Fault("stale_lock", database.location.lock, stale, "Remove the file", database.location.lock))
    return found


def _faults_of(entry: Entry, version: Version) -> t.Iterator[Fault]:
    record, path = entry.stored.record, entry.stored.path
    for key in sorted(bad_values(entry, version)):
        one, value = fields(record.kind, version)[key], record.get(key)
        what = "has none" if not value else f"has {value}" if is_harmless(value) else "has a value (not shown, it may be part of a secret)"
        taken = as_read(one, value) if value else None
        read = "none, or lists nothing at all" if taken is None else repr(taken) if is_harmless(taken) else "it as it is"
        yield Fault("bad_value", entry.name, f"{what} for {key}, and open-iscsi takes {read}; it should be {_should_be(one, entry)}",
                    "Set it anew, or say repair: true to have what a new record would have", path, entry.key)
    if misread(entry, version):
        held = record.get("node.discovery_type") or "nothing"
        held = held if held == "nothing" or held in fields(Kind.NODE)["node.discovery_type"].choices else "something else"
        yield Fault("next_version", entry.name, f"has {held} for node.discovery_type, as another open-iscsi wrote it; this one takes it for another kind of"
                    " node than its link says", "Say repair: true to have it written as this open-iscsi does", path, entry.key)
    if record.kind in (Kind.NODE, Kind.IFACE):
        try:
            check_family(entry.name, record.settings, version)
        except InputError as error:
            yield Fault("family", entry.name, error.what, error.remedy, path, entry.key)


def is_harmless(value: str) -> bool:
    """Whether a value may be shown that stands where it should not: in a damaged file, that could be a piece of a secret."""
    return re.fullmatch(r"-?[0-9]{1,6}", value) is not None


def _should_be(one: Field, entry: Entry) -> str:
    return entry.fresh.get(one.key) if entry.key is not None and one.key in _identity(entry.key) else one.allowed()


def bad_values(entry: Entry, version: Version) -> t.Set[str]:
    """The settings of a record that open-iscsi reads otherwise than they are written, or could not have been told to write."""
    record, known, found = entry.stored.record, fields(entry.stored.record.kind, version), set()
    for key, value in record.settings.items():
        one = known.get(key)
        if one is None or "h" in one.flags or value == entry.fresh.get(key):
            continue
        if key == "iface.iscsi_ifacename" or not _read_as_it_stands(one, value) or not _valid(record.kind, one, value, version):
            found.add(key)
    if record.kind is Kind.IFACE and not record.get("iface.transport_name"):
        found.add("iface.transport_name")  # open-iscsi passes over an iface without it
    return found | (_wrong_identity(entry) if entry.key is not None else set())


def _read_as_it_stands(one: Field, value: str) -> bool:
    """Whether open-iscsi reads what is written; another spelling of the same is the same."""
    read = as_read(one, value)
    if one.type is Type.INT and re.fullmatch(r"[+-]?[0-9]{1,20}", value):
        return read == str(int(value))
    if one.type is Type.LIST:
        return read == ",".join(re.split(r"[, ]+", value))
    return read == value


def _valid(kind: Kind, one: Field, value: str, version: Version) -> bool:
    if one.read_only and (kind is not Kind.NODE or not one.key.startswith("iface.")):
        return True
    try:
        check_settings(Kind.IFACE if one.key.startswith("iface.") else kind, {one.key: value}, version=version)
    except InputError:
        return False
    return True


def _identity(key: NodeKey) -> t.Dict[str, str]:
    """The settings by which a node's record says which node it is."""
    tpgt = str(TPGT_UNKNOWN if key.portal.tpgt is None else key.portal.tpgt)
    return {"node.tpgt": tpgt, "node.conn[0].address": key.portal.host, "node.conn[0].port": str(key.portal.port), "iface.iscsi_ifacename": key.iface}


def _wrong_identity(entry: Entry) -> t.Set[str]:
    """Those by which it says to be another node than its file is named for."""
    record = entry.stored.record
    said = {name: record.get(name) for name in _identity(t.cast(NodeKey, entry.key))}
    said["node.conn[0].address"] = normalise_host(said["node.conn[0].address"])
    return {name for name, value in _identity(t.cast(NodeKey, entry.key)).items() if said[name] != value}


def misread(entry: Entry, version: Version) -> bool:
    """Whether this open-iscsi takes a node for another kind than its link says, since another version wrote the record."""
    if entry.linked_by is None or entry.linked_by.kind not in (Kind.STATIC, Kind.FW):
        return False
    return entry.stored.record.get("node.discovery_type") != discovery_text(entry.linked_by.kind, version)


def _read_otherwise_later(database: Database, version: Version) -> t.Iterator[Fault]:
    """One fault for all static nodes that this open-iscsi writes otherwise than those that come after it."""
    written = discovery_text(Kind.STATIC, version)
    count = sum(1 for key in database.linked.get(STATIC, ()) if database.nodes[key].record.get("node.discovery_type") == written)
    if version.mixes_discovery_types and count:
        yield Fault("next_version", "static nodes", f"are recorded as {written} ({count} of them), since open-iscsi 2.1.9 to 2.1.11 mixes up static nodes and"
                    " those of the firmware; a later one will take them for nodes of the firmware",
                    "After the update of open-iscsi, run iscsi_db with repair: true")


def _permissions(location: Location) -> t.Iterator[Fault]:
    """Files and folders that others may write, and files with secrets that others may read."""
    owner = _stat(location.folder)
    if owner is None:
        return
    for base, secret in ((location.nodes, True), (location.send_targets, True), (location.isns, False), (location.ifaces, False),
                         (location.static, False), (location.fw, False)):
        for folder, _folders, names in os.walk(base):
            for path, is_file in [(folder, False), *((os.path.join(folder, name), True) for name in sorted(names))]:
                found = _stat(path)
                if found is None or (is_file and os.path.islink(path)):
                    continue
                mode = found.st_mode & 0o7777
                if mode & (_OPEN_TO_OTHERS if is_file and secret else _WRITABLE_BY_OTHERS) or found.st_uid != owner.st_uid:
                    others = "" if found.st_uid == owner.st_uid else f" and belongs to user {found.st_uid}"
                    yield Fault("permissions", path, f"has mode {mode:04o}{others}; whoever may read it has its secrets, whoever may write it can change them",
                                f"Give it mode {right_mode(is_file):04o} and owner {owner.st_uid}", path)


def _open_configuration(location: Location, conf: HostConf) -> t.Iterator[Fault]:
    """iscsid.conf, where it has secrets and others may read it."""
    path = under_root(location.root, CONF)
    found = _stat(path)
    if found is not None and found.st_mode & _OPEN_TO_OTHERS and any(conf.iscsid.get(key) for key in SECRET_KEYS):
        yield Fault("permissions", path, f"has mode {found.st_mode & 0o7777:04o} and holds secrets", f"Give it mode {right_mode(True):04o}", path)


def right_mode(is_file: bool) -> int:
    """What iscsiadm makes."""
    return 0o600 if is_file else 0o700


def _stat(path: str) -> t.Optional[os.stat_result]:
    try:
        return os.lstat(path)
    except OSError:
        return None
