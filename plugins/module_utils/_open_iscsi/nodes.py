# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module iscsi_node does: which nodes are meant, what their records shall say, which sessions shall be."""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lunar.iscsi.plugins.module_utils._argspec import check_auth, check_root, check_timeout
from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import Plan, Step
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, InputError, IscsiError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.block import User, maps_on
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Runner
from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.ask import auth_settings, check_chap_complete, try_logins
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.conf import HostConf, read_host_conf
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.database import open_writer
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.layout import installed_version, locate
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.detach import detach, disk_users, refuse_if_used
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.disks import read_disks, wait_for_disks
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.iscsiadm import Iscsiadm
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.live import Live, changes_a_session, differences, read_live
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.new_records import new_node
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.record import Record, record_sides
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.repair import forget_step, leaving_nodes, node_anew, repair_step
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import Kind, check_settings
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.sessions import Session, read_sessions
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.stored import STATIC, Database, Discovery, read_database
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.version import Version
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.wanted import parse_nodes, recorded_nodes, wanted_keys

PROFILES: t.Mapping[str, t.Mapping[str, str]] = {
    # what open-iscsi has without any configuration (usr/iscsi_settings.h; its README still tells of 10 and 15 for the pings):
    # every key that another profile sets, so that it takes each of them back
    "default": {
        "node.session.timeo.replacement_timeout": "120",
        "node.conn[0].timeo.noop_out_interval": "5",
        "node.conn[0].timeo.noop_out_timeout": "5",
    },
    # the open-iscsi README, sections 8.1, 8.2 and 8.3
    "multipath": {
        "node.session.timeo.replacement_timeout": "15",
        "node.conn[0].timeo.noop_out_interval": "5",
        "node.conn[0].timeo.noop_out_timeout": "5",
    },
    "root": {
        "node.session.timeo.replacement_timeout": "86400",
        "node.conn[0].timeo.noop_out_interval": "0",
        "node.conn[0].timeo.noop_out_timeout": "0",
    },
    "tape": {
        "node.conn[0].timeo.noop_out_interval": "0",
        "node.conn[0].timeo.noop_out_timeout": "0",
    },
}
#: a target answers a login at once or not at all; more than this is left to the login proper
_PROBE_SECONDS = 8.0
_MAKES = ("present", "logged_in")


class Records(t.NamedTuple):
    """The record a node has, if any, the one it shall have, and for a new one how the node was found."""

    old: t.Optional[Record]
    new: Record
    found_by: t.Optional[Discovery] = None


@dataclass(frozen=True)
class Found:
    """What is: records, sessions, what live sessions were made with, what trying a login came to, who uses the disks."""

    database: Database
    conf: HostConf
    sessions: t.Sequence[Session] = ()
    live: t.Mapping[int, Live] = field(default_factory=dict)
    tried: t.Mapping[NodeKey, t.Optional[IscsiError]] = field(default_factory=dict)
    #: who would lose a disk if the sessions with these sids ended together; known of those the task may end
    users: t.Mapping[t.FrozenSet[int], t.Sequence[User]] = field(default_factory=dict)
    #: sids of sessions that can be made anew only after others, whose paths their maps do not have now
    last: t.FrozenSet[int] = frozenset()


class NodeTask:
    """One iscsi_node task; see ``_convergence.Task``."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        self._params = params
        self._state: str = params["state"]
        self._root = check_root(params["root"])
        self._location = locate(self._root)
        self._recorded: t.Optional[str] = params["recorded"]
        self._nodes = parse_nodes(params["nodes"] or ())
        self._check_recorded()
        self._timeout = check_timeout(params["timeout"])
        self._deadline = time.monotonic() + self._timeout
        if self._root != "/" and self._state not in ("present", "absent"):
            raise InputError("option root", f"is {self._root} together with state {self._state}",
                             "Sessions are of the running host; use state present or absent")
        self._settings = _settings(params, self._location.version)
        self._iscsiadm = Iscsiadm(Runner())
        self._tried: t.Optional[t.Mapping[NodeKey, t.Optional[IscsiError]]] = None
        #: nodes that could not be logged in to, and why; they are not planned again
        self._failed: t.Dict[NodeKey, t.Dict[str, str]] = {}
        self._logged_in: t.List[NodeKey] = []
        self._noticed: t.List[t.Dict[str, str]] = []
        #: the sessions that did not fit their records at first, and the numbers of those that were ended for new ones
        self._first_pending: t.Optional[t.List[t.Dict[str, t.Any]]] = None
        self._renewed: t.Set[int] = set()
        #: the nodes that are to be logged in to; node with leading login -> those that are only needed where this one gives no session
        self._planned: t.Set[NodeKey] = set()
        self._others: t.Dict[NodeKey, t.List[NodeKey]] = {}

    def _check_recorded(self) -> None:
        if (self._recorded is None) is (self._params["nodes"] is None):
            raise InputError("options nodes and recorded", "are both given" if self._recorded else "are both left out", "Give one of them")
        if self._recorded == "onboot" and self._state not in _MAKES:
            raise InputError("option recorded", f"is onboot together with state {self._state}, and the host may stand on such nodes", "Name them in nodes")
        if self._recorded and self._params["repair"]:
            raise InputError("option recorded", "is given together with repair, and a damaged record may not say its startup", "Name the nodes in nodes")
        self._chosen = self._recorded is None

    def _choose(self, database: Database) -> None:
        """Once in a task, since the task itself may change what is recorded as the startup of a node."""
        if not self._chosen:
            self._nodes = recorded_nodes(database, self._recorded or "all", ending=self._state not in _MAKES)
            self._chosen = True

    def _left(self) -> float:
        return max(self._deadline - time.monotonic(), 1.0)

    # read

    def read(self) -> Found:
        """Records and sessions; and, once in a task, what trying to log in comes to."""
        database, conf = read_database(self._location), read_host_conf(self._root)
        self._choose(database)
        if self._root != "/":
            return Found(database, conf)
        sessions = read_sessions()
        ours = self._covered(sessions)
        live = {session.sid: read_live(session.sid, mapped=bool(maps_on(lun.name for lun in session.luns if lun.name))) for session in ours}
        if self._tried is None:
            self._tried = self._try(Found(database, conf, sessions, live)) if self._state in _MAKES and self._params["probe"] == "login" else {}
            self._failed.update({key: error.as_problem() for key, error in self._tried.items() if error is not None})
        if self._state not in _MAKES:
            return Found(database, conf, sessions, live, self._tried, {_sids(ours): disk_users(ours)})
        users, last = _users_one_by_one(ours) if self._params["relogin"] else ({}, frozenset())
        return Found(database, conf, sessions, live, self._tried, users, last)

    def _covered(self, sessions: t.Sequence[Session]) -> t.List[Session]:
        return [session for session in sessions if any(node.covers(session.key) for node in self._nodes)]

    def _try(self, found: Found) -> t.Mapping[NodeKey, t.Optional[IscsiError]]:
        """What logging in comes to, where a session is missing or is to be made anew; asked before anything is written or logged out."""
        records = self._records(found)
        missing = {key: record.new for key, record in records.items()
                   if self._state == "logged_in" and self._lacks(key, record.new, found.sessions)}
        if self._params["relogin"]:
            missing.update((key, records[key].new) for key, _session, _names in self._pending(records, found))
        if not missing or found.conf.initiator_name is None:
            return {}
        # the node is the object of the error, since a portal serves many
        return {key: None if error is None else IscsiError(str(key), error.what, error.remedy)
                for key, error in try_logins(missing, found.conf, timeout=min(_PROBE_SECONDS, self._timeout / 2)).items()}

    # plan

    def plan(self, found: Found) -> Plan:
        """The steps to what the options say."""
        self._choose(found.database)
        return self._plan_made(found) if self._state in _MAKES else self._plan_gone(found)

    def _leaving(self, found: Found) -> t.Dict[NodeKey, str]:
        return leaving_nodes(self._nodes, found.database, found.sessions) if self._params["repair"] else {}

    def _records(self, found: Found) -> t.Dict[NodeKey, Records]:
        """The records of all nodes that the task makes, but for damaged ones that it may not repair."""
        records: t.Dict[NodeKey, Records] = {}
        for key in wanted_keys(self._nodes, found.database, self._leaving(found)):
            if key not in found.database.damaged or self._params["repair"]:
                records[key] = self._records_of(key, found)
        return records

    def _records_of(self, key: NodeKey, found: Found) -> Records:
        stored = found.database.nodes.get(key)
        old = None if stored is None else stored.record
        base, found_by = old, None
        if base is None and key in found.database.damaged:
            base, found_by = node_anew(key, found.database, found.conf)
        elif base is None:
            base, found_by = new_node(found.conf.iscsid, target=key.target, portal=key.portal, iface=found.database.iface_record(key.iface),
                                      version=found.conf.version), STATIC
        record = base.with_settings(self._settings)
        if record != old:
            check_chap_complete(f"node {key}", record.settings)
        return Records(old, record, found_by)

    def _damaged(self, found: Found) -> t.List[NodeKey]:
        """The nodes that the task means, whose record is damaged and may not be repaired."""
        if self._params["repair"] or self._state == "logged_out" or not found.database.damaged:
            return []
        if self._state == "absent":
            return [key for key in found.database.damaged if any(node.covers(key) for node in self._nodes)]
        return [key for key in wanted_keys(self._nodes, found.database) if key in found.database.damaged]

    def _plan_made(self, found: Found) -> Plan:
        records = self._records(found)
        steps = [forget_step(key, reason, found.database, ("delete", key, None)) for key, reason in self._leaving(found).items()]
        steps.extend(self._write_step(key, record, found) for key, record in records.items() if record.new != record.old)
        pending = self._pending(records, found)
        if self._params["relogin"]:
            steps.extend(self._relogin_steps(pending, found))
        if self._state == "logged_in":
            steps.extend(Step("log in to", str(key), "no session\n", "session\n", work=("login", key, None)) for key in self._lacking(records, found.sessions))
        facts = [{"target": key.target, "portal": str(key.portal), "iface": key.iface, "sid": session.sid, "differs": names} for key, session, names in pending]
        if self._first_pending is None:
            self._first_pending = facts
        return Plan(steps, found.database.problems, {"pending_relogin": facts})

    def _lacking(self, records: t.Mapping[NodeKey, Records], sessions: t.Sequence[Session]) -> t.Iterator[NodeKey]:
        """The nodes to log in to; of those with leading login that ``recorded`` means, one for each target."""
        first: t.Dict[str, NodeKey] = {}
        for key, record in records.items():
            if key in self._failed or not self._lacks(key, record.new, sessions):
                continue
            if self._leading(record.new):
                if key.target in first:
                    self._others.setdefault(first[key.target], []).append(key)
                    continue
                first[key.target] = key
            self._planned.add(key)
            yield key

    def _lacks(self, key: NodeKey, record: Record, sessions: t.Sequence[Session]) -> bool:
        return _lacks_session(key, record, sessions) and not (self._leading(record) and any(session.target == key.target for session in sessions))

    def _leading(self, record: Record) -> bool:
        """Whether one session with the target is enough, through whatever portal: as iscsiadm takes leading login, where it logs in by startup."""
        return self._recorded is not None and record.get("node.leading_login") == "Yes"

    @staticmethod
    def _write_step(key: NodeKey, record: Records, found: Found) -> Step:
        work = ("write", key, record)
        if key in found.database.damaged:
            return repair_step(f"node {key}", found.database.damaged[key], record.new, work)
        return Step("record node" if record.old is None else "update node", str(key), *record_sides(record.old, record.new), work=work)

    def _pending(self, records: t.Mapping[NodeKey, Records], found: Found) -> t.List[t.Tuple[NodeKey, Session, t.List[str]]]:
        pending = []
        for key, (old, new, _found_by) in records.items():
            changed = [] if old is None else [word for word in _changed(old, new) if changes_a_session(word)]
            for session in found.sessions:
                if not session.belongs_to(key):
                    continue
                names = dict.fromkeys([*changed, *(differences(new, found.live[session.sid]) if session.sid in found.live else ())])
                if names:
                    pending.append((key, session, list(names)))
        return pending

    def _relogin_steps(self, pending: t.Sequence[t.Tuple[NodeKey, Session, t.List[str]]], found: Found) -> t.Iterator[Step]:
        for key, session, names in sorted(pending, key=lambda one: one[1].sid in found.last):
            if key in self._failed:
                continue  # the new login would fail, so the session stays as it is
            self._refuse_if_used([session], found)
            yield Step("log out and in again", f"{key} (session {session.sid})", "made with other " + ", ".join(names), "made with what the record says",
                       work=("relogin", key, session))

    def _plan_gone(self, found: Found) -> Plan:
        going = self._covered(found.sessions)
        self._refuse_if_used(going, found)
        steps = [
            Step("log out of", f"{session.key} (session {session.sid})", "session\n", "no session\n", work=("logout", session.key, session))
            for session in going
        ]
        if self._state == "absent":
            keys = dict.fromkeys(key for node in self._nodes for key in found.database.nodes_of(node.target) if node.covers(key))
            steps.extend(Step("forget node", str(key), *record_sides(found.database.nodes[key].record, None), work=("delete", key, None)) for key in keys)
            if self._params["repair"]:
                steps.extend(forget_step(key, "damaged", found.database, ("delete", key, None))
                             for key in found.database.damaged if any(node.covers(key) for node in self._nodes))
        return Plan(steps, found.database.problems)

    def _refuse_if_used(self, going: t.Sequence[Session], found: Found) -> None:
        if not self._params["force"]:
            refuse_if_used(going, found.users.get(_sids(going), ()))

    # apply

    def apply(self, steps: t.Sequence[Step]) -> t.Mapping[str, t.Any]:
        """Log out, write the records, log in: each kind in one go, except that sessions are made anew one after the other."""
        by_kind: t.Dict[str, t.List[t.Tuple[NodeKey, t.Any]]] = {}
        for step in steps:
            kind, key, what = step.work
            by_kind.setdefault(kind, []).append((key, what))
        self._detach([session for _key, session in by_kind.get("logout", ())])
        if "write" in by_kind or "delete" in by_kind:
            installed_version(self._location)  # refuses where there is none: nobody would read what we write
            with open_writer(self._location) as writer:
                for key, _none in by_kind.get("delete", ()):
                    writer.delete_node(key)
                for key, record in by_kind.get("write", ()):
                    writer.write_node(key, record.new, record.found_by)
        for key, session in by_kind.get("relogin", ()):
            self._relogin(key, session)
        self._login([key for key, _none in by_kind.get("login", ())])
        for first, others in self._others.items():
            while first in self._failed and others:  # one session is enough, through whichever portal gives it
                first = others.pop(0)
                self._login([first])
        return {}

    def _relogin(self, key: NodeKey, session: Session) -> None:
        """Out and in again; but first the map, if there is one, has to have its other paths back."""
        while not self._params["force"]:
            users = disk_users([session])
            if not users:
                break
            if time.monotonic() >= self._deadline:
                refuse_if_used([session], users)
            time.sleep(0.5)
        self._detach([session])
        self._renewed.add(session.sid)
        self._login([key])

    def _detach(self, sessions: t.Sequence[Session]) -> None:
        self._noticed.extend(detach(sessions, self._iscsiadm, timeout=self._left(), force=self._params["force"]))

    def _login(self, keys: t.Sequence[NodeKey]) -> None:
        for key, verdict in self._iscsiadm.login(keys, timeout=self._left()).items():
            if verdict.done:
                self._logged_in.append(key)
            else:
                self._failed[key] = verdict.as_problem(str(key))

    # finish

    def finish(self, found: Found, done: bool) -> t.Mapping[str, t.Any]:
        """Wait for the disks, say what became of each path, and fail where ``require`` is not met."""
        damaged = self._damaged(found)
        if self._state not in _MAKES:
            if damaged:
                raise _not_repaired(damaged, found.database)
            return {"problems": self._noticed}
        pending = {"pending_relogin": [entry for entry in self._first_pending or () if entry["sid"] not in self._renewed]}
        if self._state == "present":
            if damaged:
                raise _not_repaired(damaged, found.database)
            self._require([self._path(key, None, found.sessions, done) for key in self._failed])
            return dict(pending, problems=self._noticed + list(self._failed.values()) + self._old_secrets(pending))
        records = self._records(found)
        paths = [self._path(key, record.new, found.sessions, done) for key, record in records.items()]
        leading = {(key.target, str(key.portal), key.iface) for key, record in records.items() if self._leading(record.new)}
        for key in damaged:
            error = _not_repaired([key], found.database)
            self._failed[key] = error.as_problem()
            paths.append(self._path(key, None, found.sessions, done))
        if any(path["verdict"] == "failed" for path in paths):
            self._require(paths, leading)
        ours = [session for session in found.sessions if any(session.belongs_to(key) for key in records)]
        problems = self._noticed + [self._failed[key] for key in records if key in self._failed] + _stuck(ours) + self._old_secrets(pending)
        if done and self._logged_in and self._params["scan"] != "manual":
            attached = wait_for_disks(lambda: [again for again in read_sessions() if again.sid in {one.sid for one in ours}],
                                      timeout=self._left(), runner=self._iscsiadm.runner)
            return dict(pending, paths=paths, disks=[disk.as_fact() for disk in attached.disks], problems=problems + list(attached.problems))
        return dict(pending, paths=paths, disks=[disk.as_fact() for disk in read_disks(ours)], problems=problems)

    def _old_secrets(self, pending: t.Mapping[str, t.Any]) -> t.List[t.Dict[str, str]]:
        """What is to be said of sessions that iscsid holds with another account than is recorded, where they are to stay."""
        return [] if self._params["relogin"] else [
            {"object": f"session {one['sid']} of {one['target']} at {one['portal']}",
             "what": "was made with another account or secret than is recorded, and when its connection breaks, iscsid tries to come back with that one",
             "remedy": "Say relogin: true, while the target takes the recorded one and the other paths are up"}
            for one in pending["pending_relogin"] if any(name.startswith("node.session.auth.") for name in one["differs"])]

    def _path(self, key: NodeKey, record: t.Optional[Record], sessions: t.Sequence[Session], done: bool) -> t.Dict[str, t.Any]:
        path: t.Dict[str, t.Any] = {
            "target": key.target, "portal": str(key.portal), "iface": key.iface,
            "sids": [session.sid for session in sessions if session.belongs_to(key)],
        }
        if key in self._failed:
            path.update(verdict="failed", reason=self._failed[key]["what"])
        elif record is not None and self._leading(record) and not path["sids"] and key not in self._planned:
            path.update(verdict="not needed")
        elif not done and record is not None and _lacks_session(key, record, sessions):
            path.update(verdict="would log in")
        else:
            path.update(verdict="logged in" if key in self._logged_in else "session exists")
        return path

    def _require(self, paths: t.Sequence[t.Mapping[str, t.Any]], leading: t.Container[t.Tuple[str, str, str]] = ()) -> None:
        """Fail where a path failed that counts; with ``require: any``, and with leading login, one good path is enough for a target."""
        good = {path["target"] for path in paths if path["verdict"] not in ("failed", "not needed")}
        failed = [path for path in paths if path["verdict"] == "failed" and not (path["target"] in good and (
            self._params["require"] == "any" or (path["target"], path["portal"], path["iface"]) in leading))]
        if not failed:
            return
        words = "; ".join(f"{path['target']} at {path['portal']}: {path['reason']}" for path in failed)
        remedies = list(dict.fromkeys(problem["remedy"] for problem in self._failed.values() if problem["remedy"]))
        error = LoginError(f"{len(failed)} of {len(paths)} paths", f"could not be logged in to ({words})", ". ".join(remedies))
        error.facts.update(paths=list(paths))
        raise error


def _not_repaired(keys: t.Sequence[NodeKey], database: Database) -> DamagedError:
    """What stands in the way of nodes whose record is damaged, where the task may not repair them."""
    words = "; ".join(f"{database.damaged[key].path} {database.damaged[key].what}" for key in keys)
    return DamagedError(", ".join(f"node {key}" for key in keys), f"the stored record is damaged ({words}) and was left as it is",
                        "Say repair: true to have it written anew, or restore the file from a backup")


class LoginError(IscsiError):
    """Paths that ``require`` asks for could not be logged in to."""


def _settings(params: t.Mapping[str, t.Any], version: t.Optional[Version]) -> t.Dict[str, str]:
    """What the options say of the record: the profile, then settings, then the options with a name of their own."""
    auth = check_auth(params["auth"])
    named = {
        "node.startup": params["startup"],
        "node.leading_login": params["leading_login"],
        "node.session.nr_sessions": params["nr_sessions"],
        "node.session.scan": params["scan"],
    }
    settings = dict(PROFILES[params["profile"]]) if params["profile"] else {}
    settings.update(check_settings(Kind.NODE, params["settings"] or {}, version=version))
    settings.update(check_settings(Kind.NODE, {key: value for key, value in named.items() if value is not None}, version=version))
    if auth is not None:
        settings.update(auth_settings("node.session.auth", auth))
    return settings


def _lacks_session(key: NodeKey, record: Record, sessions: t.Sequence[Session]) -> bool:
    has = sum(1 for session in sessions if session.belongs_to(key))
    return has < int(record.get("node.session.nr_sessions") or 1)


def _sids(sessions: t.Iterable[Session]) -> t.FrozenSet[int]:
    return frozenset(session.sid for session in sessions)


def _users_one_by_one(sessions: t.Sequence[Session]) -> t.Tuple[t.Dict[t.FrozenSet[int], t.Sequence[User]], t.FrozenSet[int]]:
    """Who would lose a disk if each session ended alone, those that nobody needs now being up again; and the sids of those that have to wait for that."""
    needed = [session for session in sessions if disk_users([session])]
    idle = [session for session in sessions if session not in needed]
    return {_sids([session]): disk_users([session], idle) if session in needed else [] for session in sessions}, _sids(needed)


def _stuck(sessions: t.Sequence[Session]) -> t.List[t.Dict[str, str]]:
    """What is to be said of sessions that are there and not logged in."""
    return [{"object": f"session {session.sid} of {session.key}", "what": f"is not logged in now (the kernel says {session.state})",
             "remedy": "iscsid tries again and again; journalctl -u iscsid says what stands in its way"}
            for session in sessions if session.state is not None and not session.logged_in]


def _changed(old: Record, new: Record) -> t.List[str]:
    before, after = old.settings, new.settings
    return [key for key in {**before, **after} if before.get(key) != after.get(key)]
