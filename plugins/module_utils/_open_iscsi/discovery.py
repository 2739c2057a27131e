# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module iscsi_discovery does: ask portals, compare with the records, plan, write."""

from __future__ import annotations

import fnmatch
import ipaddress
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._argspec import check_auth, check_root, check_timeout
from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import Plan, Step
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError, InUseError, PeerError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import DEFAULT_PORT, ISNS_PORT, NodeKey, Portal, check_iscsi_name, parse_portal
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.ask import Answer, Asker, discovery_auth_settings
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.conf import HostConf, read_host_conf
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.database import open_writer
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.layout import installed_version, locate
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.stored import Database, Discovery, read_database
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.new_records import new_isns, new_node, new_send_targets
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.record import Record, record_sides
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import Kind, check_settings
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.session_keys import SessionKey, read_session_keys
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.wanted import WantedNode

Network = t.Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
#: the option type -> the kind of record, and what a step calls such a discovery
_KINDS: t.Mapping[str, Kind] = {"send_targets": Kind.SEND_TARGETS, "isns": Kind.ISNS, "firmware": Kind.FW}
_CALLED: t.Mapping[Kind, str] = {Kind.SEND_TARGETS: "discovery", Kind.ISNS: "iSNS discovery", Kind.FW: "firmware discovery"}


class Filters(t.NamedTuple):
    """Which targets and portals of an answer to keep."""

    targets: t.Optional[t.Sequence[str]] = None
    networks: t.Optional[t.Sequence[Network]] = None
    link_local: bool = False

    def reason_against(self, target: str, portal: Portal) -> t.Optional[str]:
        """Why this portal of this target is left out, in words; None if it is kept."""
        if self.targets is not None and not any(fnmatch.fnmatchcase(target, pattern) for pattern in self.targets):
            return "no pattern of targets matches the name"
        if portal.is_link_local and not self.link_local:
            return "link-local address"
        if self.networks is None:
            return None
        try:
            address = ipaddress.ip_address(portal.host.partition("%")[0])
        except ValueError:
            return "host name, of which it is not known whether it is in networks"
        return None if any(address in network for network in self.networks) else "address in none of networks"


class Found(t.NamedTuple):
    """What is: the records, the live sessions, what each portal answered."""

    database: Database
    conf: HostConf
    sessions: t.Sequence[SessionKey]
    answers: t.Sequence[Answer]


class DiscoveryTask:
    """One iscsi_discovery task; see ``_convergence.Task``."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        self._params = params
        self._root = check_root(params["root"])
        self._location = locate(self._root)
        self._kind = _KINDS[params["type"]]
        self._portals = self._asked()
        for option in ("targets", "networks", "ifaces"):
            if params[option] == []:
                raise InputError(f"option {option}", "is an empty list, which would leave out every node", "Leave the option out to keep all")
        self._filters = Filters(params["targets"], _networks(params["networks"]), params["link_local"])
        self._settings = check_settings(Kind.NODE, params["settings"] or {}, version=self._location.version)
        self._discovery_settings = self._of_the_record()
        self._auth = check_auth(params["auth"])
        self._timeout = check_timeout(params["timeout"])
        if params["initiator_name"] is not None:
            check_iscsi_name(params["initiator_name"], "option initiator_name")
        if self._kind is Kind.ISNS and self._auth is not None:
            raise InputError("option auth", "is given together with type isns, which knows no CHAP", "Leave it out; auth of iscsi_node is for the nodes")
        twice = [key for key in self._discovery_settings if ".auth." in key and self._auth is not None]
        if twice:
            raise InputError("option discovery_settings", f"has {twice[0]!r}, and auth is given too", "Say it in one of the two")
        if params["method"] == "iscsiadm" and (self._auth is not None or self._root != "/" or params["initiator_name"] is not None):
            raise InputError("option method", "is iscsiadm together with auth, initiator_name or root",
                             "iscsiadm asks from the running host with what is recorded; use method: native")
        if params["state"] == "absent" and not params["persistent"]:
            raise InputError("option persistent", "is false together with state absent, which is about nothing but records",
                             "Leave persistent out, or see with check mode what would be forgotten")
        self._answers: t.Optional[t.Sequence[Answer]] = None

    def _asked(self) -> t.List[Portal]:
        """The portals of the task."""
        if self._params["bind_nics"]:
            raise InputError("option bind_nics", f"is true together with type {self._params['type']}, which knows nothing of NICs",
                             "Leave it out, or use ifaces")
        return _portals(self._params["portals"], ISNS_PORT if self._kind is Kind.ISNS else DEFAULT_PORT)

    def _of_the_record(self) -> t.Dict[str, str]:
        """The option discovery_settings."""
        return check_settings(self._kind, self._params["discovery_settings"] or {}, version=self._location.version)

    def read(self) -> Found:
        """The records, the sessions and, once in a task, the answers of the portals."""
        database = read_database(self._location)
        conf = read_host_conf(self._root)
        if self._answers is None:
            self._answers = self._ask(database, conf) if self._params["state"] == "present" else ()
        return Found(database, conf, read_session_keys() if self._root == "/" else (), self._answers)

    def _ask(self, database: Database, conf: HostConf) -> t.Sequence[Answer]:
        asker = Asker(conf, database, auth=self._auth, initiator_name=self._params["initiator_name"], timeout=self._timeout)
        if self._params["method"] == "iscsiadm":
            answers = asker.ask_iscsiadm(self._portals, self._kind)
        else:
            answers = asker.ask_isns(self._portals) if self._kind is Kind.ISNS else asker.ask(self._portals)
        silent = [answer for answer in answers if answer.error is not None]
        if silent and (self._params["require"] == "all" or len(silent) == len(answers)):
            raise PeerError("", "; ".join(answer.error.sentence().rstrip(".") for answer in silent if answer.error), "Nothing was recorded")
        return answers

    def plan(self, found: Found) -> Plan:
        """The steps to what the options say."""
        if self._params["state"] == "absent":
            return _plan_absent(self._kind, self._portals, found, self._params["repair"])
        return self._present(found).make()

    def _present(self, found: Found) -> PresentPlan:
        return PresentPlan(self._kind, self._params, self._filters, self._settings, self._discovery_settings, self._auth, found)

    def apply(self, steps: t.Sequence[Step]) -> t.Mapping[str, t.Any]:
        """Write, all of it under one hold of open-iscsi's lock."""
        installed_version(self._location)  # refuses where there is none: nobody would read what we write
        with open_writer(self._location) as writer:
            for step in steps:
                name, *arguments = step.work
                getattr(writer, name)(*arguments)
        return {}

    def finish(self, found: Found, done: bool) -> t.Mapping[str, t.Any]:
        """Nothing more to say."""
        return {}


class PresentPlan:
    """The plan of ``state: present``, made of what the portals answered."""

    def __init__(self, kind: Kind, params: t.Mapping[str, t.Any], filters: Filters, settings: t.Mapping[str, str],
                 discovery_settings: t.Mapping[str, str], auth: t.Optional[t.Mapping[str, t.Any]], found: Found) -> None:
        self._kind = kind
        self._params = params
        self._settings = settings
        #: what the record of the discovery itself shall hold
        self._given = dict(discovery_settings, **({} if auth is None else discovery_auth_settings(auth)))
        self._found = found
        self._database = found.database
        self._problems = list(found.database.problems)
        self._lists: t.Dict[str, t.List[t.Dict[str, str]]] = {"added": [], "updated": [], "pruned": [], "kept": [], "filtered": []}
        #: every kept (target, portal) with the first discovery portal that announced it, in the order of the answers
        self._kept: t.Dict[t.Tuple[str, Portal], Portal] = {}
        self._all_ifaces: t.List[str] = []
        self._offered: t.Dict[str, t.List[Portal]] = {}
        for answer in found.answers:
            if answer.error is not None:
                self._problems.append(answer.error.as_problem())
            for target, portals in answer.targets:
                if not portals:
                    self._offered.setdefault(target, [])
                    self._problems.append({"object": target, "what": f"is known to the iSNS server {answer.portal.address}, but no portal of it is",
                                           "remedy": "Let the target register its portals and their group tags there"})
                for portal in portals:
                    self._sort_in(filters, answer.portal, target, portal)

    def _sort_in(self, filters: Filters, asked: Portal, target: str, portal: Portal) -> None:
        known = self._offered.setdefault(target, [])
        if portal in known:
            return
        known.append(portal)
        reason = filters.reason_against(target, portal)
        if reason is None:
            self._kept[target, portal] = asked
        else:
            self._lists["filtered"].append({"target": target, "portal": str(portal), "reason": reason})

    def make(self) -> Plan:
        self._all_ifaces = self._ifaces()
        steps: t.List[Step] = []
        if self._params["persistent"]:
            if self._params["repair"]:
                # in each place where something is repaired: seldom needed, and every import costs the host at every task
                from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.repair import forget_step, leaving_nodes

                leaving = leaving_nodes(self._named(), self._database, self._found.sessions)
                steps.extend(forget_step(key, reason, self._database, ("delete_node", key)) for key, reason in leaving.items())
                self._lists["pruned"].extend(_entry(key) for key in leaving)
            if self._params["add"]:
                steps.extend(self._discovery_steps())
            for (target, portal), asked in self._kept.items():
                for iface in self._through(target, portal):
                    steps.extend(self._node_steps(NodeKey(target, portal, iface), asked))
            if self._params["prune"]:
                steps.extend(self._prune_steps([step.work[1] for step in steps if step.work[0] == "delete_node"]))
        facts = dict(self._lists, nodes=self._nodes(), targets={name: [str(portal) for portal in known] for name, known in self._offered.items()})
        return Plan(steps, self._problems, facts)

    def _named(self) -> t.List[WantedNode]:
        """What the portals offered, as a task names nodes."""
        by_target: t.Dict[str, t.List[Portal]] = {}
        for target, portal in self._kept:
            by_target.setdefault(target, []).append(portal)
        return [WantedNode(target, tuple(portals)) for target, portals in by_target.items()]

    def _ifaces(self) -> t.List[str]:
        wanted = self._params["ifaces"]
        if wanted is not None:
            unknown = [name for name in wanted if name not in self._database.ifaces and name not in ("default", "iser")]
            if unknown and self._params["persistent"]:
                raise InputError("option ifaces", f"names {', '.join(unknown)}, of which this host has no record", "Create the iface first")
            return list(dict.fromkeys(wanted))
        created = [
            name for name, stored in sorted(self._database.ifaces.items())
            if name not in ("default", "iser") and (stored.record.get("iface.transport_name") or "tcp") == "tcp"
        ]
        return created or ["default"]

    def _through(self, target: str, portal: Portal) -> t.Sequence[str]:
        """The ifaces through which a portal of a target is recorded."""
        return self._all_ifaces

    def _nodes(self) -> t.List[t.Dict[str, t.Any]]:
        found: t.Dict[t.Tuple[str, t.Tuple[str, ...]], t.List[str]] = {}
        for target, portal in self._kept:
            found.setdefault((target, tuple(self._through(target, portal))), []).append(str(portal))
        return [{"target": target, "portals": portals, "ifaces": list(ifaces)} for (target, ifaces), portals in found.items()]

    def _iface_record(self, name: str) -> t.Optional[Record]:
        return self._database.iface_record(name)

    def _told(self, key: NodeKey) -> t.Mapping[str, str]:
        """What whoever was asked says of a node beyond where it is."""
        return {}

    def _fresh(self, portal: Portal, settings: t.Optional[t.Mapping[str, str]] = None) -> Record:
        make = new_isns if self._kind is Kind.ISNS else new_send_targets
        return make(self._found.conf.iscsid, portal, settings, version=self._found.conf.version)

    def _discovery_steps(self) -> t.Iterator[Step]:
        called, write = _CALLED[self._kind], "write_isns" if self._kind is Kind.ISNS else "write_send_targets"
        for answer in self._found.answers:
            if answer.error is not None:
                continue
            damaged = self._database.damaged_discoveries(self._kind).get(answer.portal.endpoint)
            if damaged is not None:
                if self._params["repair"]:
                    from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.repair import repair_step, salvage

                    made = self._fresh(answer.portal, salvage(damaged, self._kind, self._found.conf.version)).with_settings(self._given)
                    yield repair_step(f"{called} at {answer.portal.address}", damaged, made, (write, answer.portal, made))
                continue
            stored = self._database.discoveries(self._kind).get(answer.portal.endpoint)
            old = None if stored is None else stored.record
            new = (self._fresh(answer.portal) if old is None else old).with_settings(self._given)
            if new != old:
                yield record_step(f"record {called} at" if old is None else f"update {called} at", answer.portal.address, old, new,
                                  write, answer.portal, new)

    def _node_steps(self, key: NodeKey, asked: Portal) -> t.Iterator[Step]:
        known = self._database.find_node(key)
        found_by = Discovery(self._kind, *asked.endpoint)
        damaged = self._database.find_damaged(key) if known is None else None
        if damaged is not None:
            if self._params["repair"]:
                from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.repair import node_anew, repair_step

                record, found_by = node_anew(damaged, self._database, self._found.conf, found_by)
                record = record.with_settings({word: value for word, value in self._told(damaged).items() if "startup" not in word})
                record = record.with_settings(self._settings if self._params["update"] else {})
                self._lists["updated"].append(_entry(damaged))
                yield repair_step(f"node {damaged}", self._database.damaged[damaged], record, ("write_node", damaged, record, found_by))
            return
        if known is None:
            if self._params["add"]:
                record = new_node(self._found.conf.iscsid, target=key.target, portal=key.portal, iface=self._iface_record(key.iface),
                                  discovery=found_by, version=self._found.conf.version).with_settings({**self._told(key), **self._settings})
                self._lists["added"].append(_entry(key))
                yield record_step("record node", str(key), None, record,
                                  "write_node", key, record, found_by)
            return
        old = self._database.nodes[known].record
        new = old.with_settings({**self._told(known), **self._settings}) if self._params["update"] else old
        self._lists["kept" if new == old else "updated"].append(_entry(known))
        if new != old:
            yield record_step("update node", str(known), old, new, "write_node", known, new)

    def _prune_steps(self, leaving: t.Container[NodeKey]) -> t.Iterator[Step]:
        answered = [answer.portal for answer in self._found.answers if answer.error is None]
        gone: t.Dict[NodeKey, None] = {}
        for portal in answered:
            for key in sorted(self._database.linked.get(Discovery(self._kind, *portal.endpoint), ())):
                if key not in leaving and not any(key.portal.matches(offered) for offered in self._offered.get(key.target, ())):
                    gone[key] = None
        for key in gone:
            live = [session for session in self._found.sessions if session.belongs_to(key)]
            if live:
                self._problems.append({
                    "object": str(key), "what": f"is offered no more, but session {live[0].sid} is up, so its record is kept",
                    "remedy": "Log it out with iscsi_node (state: absent) when nothing uses its disks"})
                continue
            self._lists["pruned"].append(_entry(key))
            yield record_step("forget node", str(key), self._database.nodes[key].record, None, "delete_node", key)


def _plan_absent(kind: Kind, portals: t.Sequence[Portal], found: Found, repair: bool) -> Plan:
    """Discovery records away, with the nodes that hang on them; refused while one of these has a session."""
    steps: t.List[Step] = []
    pruned: t.Dict[NodeKey, None] = {}
    action, delete = f"forget {_CALLED[kind]} at", "delete_isns" if kind is Kind.ISNS else "delete_send_targets"
    for portal in portals:
        how = Discovery(kind, *portal.endpoint)
        stored = found.database.discoveries(kind).get(portal.endpoint)
        keys = [key for key in sorted(found.database.linked.get(how, ())) if key in found.database.nodes]
        for key in keys:
            live = [f"session {session.sid}" for session in found.sessions if session.belongs_to(key)]
            if live:
                raise InUseError(f"node {key}", live, "Log it out first, with iscsi_node (state: logged_out or absent)")
            if key not in pruned:
                pruned[key] = None
                steps.append(record_step("forget node", str(key), found.database.nodes[key].record, None, "delete_node", key))
        for key in [key for key, found_by in found.database.damaged_found_by.items() if repair and found_by == how]:
            from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.repair import forget_step

            pruned[key] = None
            steps.append(forget_step(key, "damaged", found.database, ("delete_node", key)))
        damaged = found.database.damaged_discoveries(kind).get(portal.endpoint)
        if damaged is not None and repair:
            steps.append(Step(action, f"{portal.address} (damaged)", f"{damaged.path} {damaged.what}\n", None, (delete, portal)))
        if stored is not None:
            steps.append(record_step(action, portal.address, stored.record, None, delete, portal))
    facts = {"added": [], "updated": [], "kept": [], "pruned": [_entry(key) for key in pruned]}
    return Plan(steps, found.database.problems, facts)


def record_step(action: str, subject: str, old: t.Optional[Record], new: t.Optional[Record], *work: t.Any) -> Step:
    """A step whose work is a method of the writer by name, and its arguments."""
    return Step(action, subject, *record_sides(old, new), work=work)


def _entry(key: NodeKey) -> t.Dict[str, str]:
    return {"target": key.target, "portal": str(key.portal), "iface": key.iface}


def _portals(texts: t.Sequence[str], default_port: int) -> t.List[Portal]:
    if not texts:
        raise InputError("option portals", "is an empty list", "Name at least one portal")
    return list(dict.fromkeys(parse_portal(text, default_port)._replace(tpgt=None) for text in texts))


def _networks(texts: t.Optional[t.Sequence[str]]) -> t.Optional[t.List[Network]]:
    if texts is None:
        return None
    networks: t.List[Network] = []
    for text in texts:
        try:
            networks.append(ipaddress.ip_network(text, strict=False))
        except ValueError:
            raise InputError("option networks", f"has {text!r}, which is not a network", "Write it as address/prefix, such as 192.168.56.0/23 or fd00:56::/64")
    return networks
