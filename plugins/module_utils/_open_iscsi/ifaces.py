# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module iscsi_iface does: what the record of an iface shall say, what hangs on it, and what the host must let through."""

from __future__ import annotations

import ipaddress
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lunar.iscsi.plugins.module_utils._argspec import check_root, check_timeout
from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import Plan, Step
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, HostError, InputError, InUseError
from ansible_collections.lunar.iscsi.plugins.module_utils._host import echo, files, rp_filter
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Runner
from ansible_collections.lunar.iscsi.plugins.module_utils._host.rp_filter import RpFilter
from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.database import open_writer
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.iface_wanted import (
    SOFTWARE, Binding, binding_of, by_address_alone, check_binding, check_iface_name, check_iface_settings, of_its_family,
)
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.iscsiadm import Iscsiadm
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.layout import installed_version, locate
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.new_records import new_iface, rebound_node, updated_iface
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.ports import differing_port
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.record import Record, record_sides
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.repair import forget_step, iface_anew, repair_step
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import Kind, fields
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.session_keys import SessionKey, read_session_keys
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.stored import Database, Problem, read_database
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.version import NEWEST

_TRANSPORT = "iface.transport_name"


@dataclass(frozen=True)
class Found:
    """What is: records, sessions, and of the network interface or the port behind the iface, what it lets through and what it is set to."""

    database: Database
    sessions: t.Sequence[SessionKey] = ()
    #: what the iface is (to be) bound to, and the name of the network interface that this is; empty where there is none, or none is known
    binding: Binding = Binding()
    interface: str = ""
    #: whether another iface is bound to it as well
    shared: bool = False
    rp_filter: t.Optional[RpFilter] = None
    #: what the file for the next boot says, where the task is to set it or to take it away
    lasting: t.Optional[str] = None
    #: settings that the port of an offload adapter has otherwise: what it has, what it shall have
    port: t.Mapping[str, t.Tuple[str, str]] = field(default_factory=dict)


class IfaceTask:
    """One iscsi_iface task; see ``_convergence.Task``."""

    def __init__(self, params: t.Mapping[str, t.Any], iscsiadm: t.Optional[Iscsiadm] = None) -> None:
        self._params = params
        self._name = check_iface_name(params["name"])
        self._present: bool = params["state"] == "present"
        self._root = check_root(params["root"])
        self._location = locate(self._root)
        self._version = self._location.version or NEWEST
        self._settings = check_iface_settings(params["settings"] or {}, params["transport"], self._location.version)
        self._ping = _check_ping(params["ping"]) if params["ping"] else None
        self._timeout = check_timeout(params["timeout"])
        self._iscsiadm = iscsiadm or Iscsiadm(Runner())
        self._applied = False
        if self._root != "/" and (params["apply"] or self._ping):
            raise InputError("option root", f"is {self._root} together with apply or ping", "Those are of the running host; leave them out")
        if not self._present and (self._settings or params["apply"] or self._ping):
            raise InputError("option state", "is absent together with settings, transport, apply or ping", "An iface that shall not be has none of them")

    # read

    def read(self) -> Found:
        """Records and sessions; and the network interface or the port of what will be the record."""
        database = read_database(self._location)
        running = self._root == "/"
        sessions = [session for session in read_session_keys() if session.key.iface == self._name] if running else []
        record = self._wanted(database)[1] if self._present else self._stored(database)
        binding = Binding() if record is None else binding_of(record)
        interface = self._interface(binding)
        minds_the_file = interface and (self._params["rp_filter"] == "set" or not self._present)
        lasting = files.read_bytes(rp_filter.lasting_path(interface, self._root)) if minds_the_file else None
        return Found(
            database, sessions, binding, interface,
            shared=any(self._interface(binding_of(other.record)) == interface for name, other in database.ifaces.items() if name != self._name),
            rp_filter=rp_filter.read_rp_filter(interface) if interface and running else None,
            lasting=None if lasting is None else lasting.decode("utf-8", "replace"),
            port=differing_port(record) if record is not None and self._params["apply"] else {},
        )

    def _interface(self, binding: Binding) -> str:
        """The name of the network interface; of one that is known by its hardware address, where this is its host and has it."""
        if self._root != "/":
            return binding.interface
        found = rp_filter.interface_of(binding.address) if binding.address else binding.interface
        return found if found and rp_filter.has_interface(found) else ""

    def _stored(self, database: Database) -> t.Optional[Record]:
        found = database.ifaces.get(self._name)
        return None if found is None else found.record

    def _wanted(self, database: Database) -> t.Tuple[t.Optional[Record], Record, t.Dict[str, str]]:
        """The record that is, the one that shall be, and those of the settings that its address family has."""
        old = base = self._stored(database)
        if base is None and self._name in database.damaged_ifaces:
            base = iface_anew(self._name, database, self._version)
        given = dict(self._settings)
        if base is not None and not base.get(_TRANSPORT):  # written by hand; open-iscsi passes it over like that
            given.setdefault(_TRANSPORT, "tcp")
        whole = {**(base.settings if base else {}), "iface.iscsi_ifacename": self._name, **given}
        settings = of_its_family(self._name, given, whole, self._location.version)
        if base is None:
            new = new_iface(self._name, settings, version=self._version)
        else:
            new = updated_iface(self._name, base, settings, version=self._version) if base.differing(settings) else base
        check_binding(self._name, new)
        if self._params["apply"] and new.get(_TRANSPORT) in SOFTWARE:
            raise InputError("option apply", f"is for ports of offload adapters, and iface {self._name} has the transport {new.get(_TRANSPORT)}",
                             "Leave it out")
        return old, new, settings

    # plan

    def plan(self, found: Found) -> Plan:
        """The steps to what the options say."""
        damaged = found.database.damaged_ifaces.get(self._name)
        if damaged is not None and not self._params["repair"]:
            raise DamagedError(f"iface {self._name}", f"the stored record is damaged ({damaged.path} {damaged.what}) and was left as it is",
                               "Say repair: true to have it written anew, or restore the file from a backup")
        steps = self._made(found) if self._present else self._gone(found)
        if any(step.work[0] in ("write_iface", "write_node", "delete_iface", "delete_node") for step in steps):
            self._refuse_if_used(found)
        record = self._wanted(found.database)[1] if self._present else None
        iface = None if record is None else {"name": self._name, "transport": record.get(_TRANSPORT), "settings": dict(record.settings)}
        bound = [{"target": key.target, "portal": str(key.portal), "iface": key.iface} for key in self._bound(found.database)]
        facts = {"iface": iface, "bound": [] if steps and not self._present else bound, "sids": [session.sid for session in found.sessions]}
        return Plan(steps, [*found.database.problems, *self._problems(found, record)], facts)

    def _bound(self, database: Database) -> t.List[NodeKey]:
        return sorted((key for key in database.nodes if key.iface == self._name), key=str)

    def _refuse_if_used(self, found: Found) -> None:
        if found.sessions:
            raise InUseError(f"iface {self._name}", [f"session {session.sid} ({session.key.target} at {session.key.portal})" for session in found.sessions],
                             "Log it out first (iscsi_node with state: logged_out); the record of an iface with sessions on it is not changed")

    def _made(self, found: Found) -> t.List[Step]:
        old, new, settings = self._wanted(found.database)
        steps: t.List[Step] = []
        damaged = found.database.damaged_ifaces.get(self._name)
        if damaged is not None:
            steps.append(repair_step(f"iface {self._name}", damaged, new, ("write_iface", self._name, new)))
        elif new != old:
            steps.append(Step("record iface" if old is None else "update iface", self._name, *record_sides(old, new), work=("write_iface", self._name, new)))
        for key in self._bound(found.database):
            held = found.database.nodes[key].record
            if held.differing(_of_nodes(settings, new)):
                record = rebound_node(key, held, _of_nodes(settings, new), version=self._version)
                steps.append(Step("update node", str(key), *record_sides(held, record), work=("write_node", key, record)))
        steps.extend(self._loosened(found))
        if self._params["apply"] and not self._applied and (new != old or found.port):
            before, after = ({key: sides[place] for key, sides in found.port.items()} for place in (0, 1))
            steps.append(Step("apply iface", self._name, before or "as it was", after or "as the record says", work=("apply",)))
        return steps

    def _loosened(self, found: Found) -> t.Iterator[Step]:
        """Let in what comes by the network interface: for the next boot in a file, and now where the kernel is strict."""
        if self._params["rp_filter"] != "set" or not found.interface:
            return
        path, text = rp_filter.lasting_path(found.interface, self._root), rp_filter.lasting_text(found.interface)
        if found.lasting != text:
            yield Step("write", path, found.lasting, text, work=("write_file", path, text))
        if found.rp_filter is not None and found.rp_filter.effective == rp_filter.STRICT:
            yield Step("loosen rp_filter of", found.interface, f"{found.rp_filter.effective}\n", f"{rp_filter.LOOSE}\n", work=("loosen", found.interface))

    def _gone(self, found: Found) -> t.List[Step]:
        old, bound = self._stored(found.database), self._bound(found.database)
        bound.extend(sorted((key for key in found.database.damaged if key.iface == self._name), key=str))
        steps: t.List[Step] = []
        damaged = found.database.damaged_ifaces.get(self._name)
        if old is None and damaged is None:
            return steps
        if bound and not self._params["force"]:
            raise InUseError(f"iface {self._name}", [f"node {key}" for key in bound],
                             "Record these nodes with another iface and remove them (iscsi_node), or say force: true to remove them together with the iface")
        for key in bound:
            if key in found.database.damaged:
                steps.append(forget_step(key, "damaged", found.database, ("delete_node", key)))
            else:
                steps.append(Step("forget node", str(key), *record_sides(found.database.nodes[key].record, None), work=("delete_node", key)))
        shown = record_sides(old, None)[0] if damaged is None else f"{damaged.path} {damaged.what}\n"
        steps.append(Step("forget iface", self._name, shown, None, work=("delete_iface", self._name)))
        if found.lasting is not None and not found.shared:
            path = rp_filter.lasting_path(found.interface, self._root)
            steps.append(Step("remove", path, found.lasting, None, work=("remove_file", path)))
        return steps

    def _problems(self, found: Found, record: t.Optional[Record]) -> t.List[Problem]:
        """What keeps sessions from coming up over this iface; an error where the task says so."""
        if record is None:
            return []
        subject = f"iface {self._name}"
        errors: t.List[HostError] = []
        if by_address_alone(record):
            errors.append(HostError(subject, f"is bound to nothing but the address {record.get('iface.ipaddress')}, which open-iscsi cannot do with tcp",
                                    "Give the network interface that has this address, as iface.net_ifacename"))
        bound_to = found.binding.interface or found.binding.address
        if bound_to and not found.interface and self._root == "/":
            errors.append(HostError(subject, f"is bound to {bound_to}, and this host has no such network interface", "See ip link for what there is"))
        elif bound_to and not found.interface and self._params["rp_filter"] == "set":
            errors.append(HostError(subject, f"is bound to {bound_to}, and only the running host knows which network interface that is; rp_filter was not set",
                                    "Run the task again when the host runs"))
        filtered = found.rp_filter
        if filtered is not None and filtered.effective == rp_filter.STRICT and self._params["rp_filter"] != "set":
            error = HostError(
                f"network interface {filtered.interface}",
                f"has a strict rp_filter (it is {filtered.own} of its own and {filtered.of_all} for all, the greater one counts), with which the answers to "
                "a session that is bound to it may be thrown away", "Set it to 0 or 2 (net.ipv4.conf), or say rp_filter: set")
            if self._params["rp_filter"] == "require":
                raise error
            errors.append(error)
        return [error.as_problem() for error in errors]

    # apply

    def apply(self, steps: t.Sequence[Step]) -> t.Mapping[str, t.Any]:
        """Write the records in one go, then what the host lets through, then the port."""
        of_records = [step.work for step in steps if step.work[0] in ("write_iface", "write_node", "delete_iface", "delete_node")]
        if of_records:
            installed_version(self._location)  # refuses where there is none: nobody would read what we write
            with open_writer(self._location) as writer:
                for method, *arguments in of_records:
                    getattr(writer, method)(*arguments)
        for step in steps:
            kind, *arguments = step.work
            if kind == "write_file":
                path, text = arguments
                files.make_folder(path.rpartition("/")[0], 0o755)
                files.write_atomic(path, text.encode("utf-8"), 0o644)
            elif kind == "remove_file":
                files.remove_file(arguments[0])
            elif kind == "loosen":
                rp_filter.loosen(arguments[0])
            elif kind == "apply":
                self._applied = True
                self._iscsiadm.apply_iface(self._name, timeout=self._timeout)
        return {}

    # finish

    def finish(self, found: Found, done: bool) -> t.Mapping[str, t.Any]:
        """Ping, where asked for and where there is an iface to do it."""
        if self._ping is None or self._name not in found.database.ifaces:
            return {}
        transport = self._wanted(found.database)[1].get(_TRANSPORT)
        if transport in SOFTWARE:
            answers = echo.ping(found.interface, **self._ping)
        else:
            answers = self._iscsiadm.ping(self._name, timeout=self._timeout + self._ping["count"] * (self._ping["interval"] + 1), **self._ping)
        return _statistics(f"{self._ping['address']} through iface {self._name}", answers)


def _of_nodes(settings: t.Mapping[str, str], iface: Record) -> t.Dict[str, str]:
    """Those of the settings of an iface that a node's record has room for, as it would hold them."""
    known = fields(Kind.NODE, iface.version)
    return {key: value for key, value in settings.items() if key in known}


def _check_ping(ping: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    try:
        ipaddress.ip_address(ping["address"])
    except ValueError:
        raise InputError("option ping.address", f"is {ping['address']!r}, which is no IP address", "Give the address of a portal") from None
    for word, low, high in (("count", 1, 1000), ("size", 1, 65507), ("interval", 0, 60)):
        if not low <= ping[word] <= high:
            raise InputError(f"option ping.{word}", f"is {ping[word]}", f"Give a number from {low} to {high}")
    return dict(ping)


def _statistics(subject: str, answers: t.Sequence[t.Tuple[int, str]]) -> t.Dict[str, t.Any]:
    lost = [{"number": number, "reason": reason} for number, reason in answers if reason]
    reasons = ", ".join(dict.fromkeys(one["reason"] for one in lost if isinstance(one["reason"], str)))
    problems = [{"object": subject, "what": f"did not answer {len(lost)} of {len(answers)} pings ({reasons})", "remedy": "Look at cabling, VLAN and addresses"}]
    return {"ping": {"sent": len(answers), "answered": len(answers) - len(lost), "failed": lost}, "problems": problems if lost else []}
