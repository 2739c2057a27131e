# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task of the module ``iscsi_host``: the CHAP table and the flash nodes of one offload adapter."""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass

from ansible_collections.lunar.iscsi.plugins.module_utils._argspec import check_timeout
from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import REDACTED, Plan, Step
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InputError, InUseError, IscsiError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.block import flush_and_remove
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.detach import disk_names, disk_users, refuse_users
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.flash_nodes import CHAP, CHAP_INDEX, IDENTITY, PORTAL_TYPE, FlashNode, check_families
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.host_wanted import WantedNode, parse_chap_option, parse_nodes_option
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.hosts import SOFTWARE, IscsiHost, find_hosts, read_hosts
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.iscsiadm import Exit, IscsiadmError
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.iscsiadm_host import ChapEntry, HostAdm
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.sessions import Session

#: how often to look whether a session is up
_LOOK = 0.2
_EXPOSED = "secrets_in_arguments"
Problems = t.List[t.Mapping[str, str]]


@dataclass(frozen=True)
class Found:
    """The adapter as it is; ``chap`` is None where nobody asked for the table."""

    host: IscsiHost
    chap: t.Optional[t.Sequence[ChapEntry]]


class HostTask:
    """One adapter, its CHAP table and its flash nodes; ``sys`` and the clock are for tests."""

    def __init__(
        self, params: t.Mapping[str, t.Any], *, sys: str = "/sys", adm: t.Optional[HostAdm] = None,
        clock: t.Callable[[], float] = time.monotonic, sleep: t.Callable[[float], None] = time.sleep,
    ) -> None:
        self._timeout = check_timeout(params["timeout"])
        self._word = str(params["host"])
        self._chap = None if params["chap"] is None else parse_chap_option(params["chap"])
        self._nodes = parse_nodes_option(params["flash_nodes"] or [])
        self._force, self._exposed = params["force"], params[_EXPOSED]
        self._sys, self._clock, self._sleep = sys, clock, sleep
        self._noticed: Problems = []
        self._adm = adm if adm is not None else HostAdm(timeout=self._timeout)

    def read(self) -> Found:
        """The adapter from sysfs, and its CHAP table by iscsiadm where the task names entries of it."""
        number = find_hosts([self._word], self._sys, "host")[0]
        hosts = read_hosts(self._sys, [number])
        if not hosts:
            raise HostError(f"iSCSI host {number}", "went away while it was read", "Run the task again")
        if hosts[0].transport in SOFTWARE:
            raise InputError("option host", f"is {self._word!r}, which is no offload adapter but a session of {hosts[0].transport}",
                             "Sessions of software iSCSI are the matter of iscsi_node")
        return Found(hosts[0], None if self._chap is None else self._adm.chap(number))

    # plan

    def plan(self, found: Found) -> Plan:
        """Log out and remove first, then the CHAP table, then the flash nodes that use it."""
        down: t.List[Step] = []
        up: t.List[Step] = []
        problems: Problems = []
        meant: t.Dict[int, WantedNode] = {}
        for wanted in self._nodes:
            nodes = self._choose(wanted, found.host)
            for node in nodes:
                if meant.setdefault(node.index, wanted) is not wanted:
                    raise InputError(str(wanted), f"is the same as {meant[node.index]}", "Name a flash node once")
            if wanted.state in ("absent", "logged_out"):
                down.extend(self._down(wanted, nodes, found.host))
            else:
                up.extend(self._up(wanted, nodes, found.host, problems))
        gone = {step.work[1] for step in down if step.work[0] == "delete_node"}
        freed = [index for index in gone if meant[index].index is not None]
        if freed and any(step.work[0] == "new_node" for step in up):
            raise InputError(f"flash node {freed[0]}", "is to be removed by its index, which the adapter may give to one that is to be made",
                             "Remove it by target and portal, or in a task of its own")
        out = {step.work[1] for step in down if step.work[0] == "logout"}
        left = [node for node in found.host.flash_nodes if node.index not in gone]
        live = [node for node in left if node.index not in out and any(session.logged_in for session in found.host.sessions_of(node))]
        return Plan([*down, *self._table(found.chap or [], left, live), *up], problems)

    def _choose(self, wanted: WantedNode, host: IscsiHost) -> t.List[FlashNode]:
        nodes = [node for node in host.flash_nodes if wanted.matches(node)]
        if wanted.state != "absent" and len(nodes) > 1:
            raise InputError(str(wanted), f"is there {len(nodes)} times, as {', '.join(str(node.index) for node in nodes)}", "Say which one by its index")
        if not nodes and wanted.state in ("present", "logged_in") and wanted.index is not None:
            there = ", ".join(str(node.index) for node in host.flash_nodes) or "none"
            raise InputError(str(wanted), f"is not there (there are: {there})", "The adapter chooses the index of a new one: give target and portal alone")
        return nodes

    def _down(self, wanted: WantedNode, nodes: t.Sequence[FlashNode], host: IscsiHost) -> t.Iterator[Step]:
        for node in nodes:
            sessions = host.sessions_of(node)
            if node.boots and (sessions or wanted.state == "absent"):
                raise InUseError(str(node), ["the adapter, which boots from it"],
                                 "The driver lets nobody log it out or delete it; change it in the adapter's BIOS")
            if sessions:
                refuse_users(f"disks of {node}", disk_users(sessions), force=self._force)
                yield Step("log out", str(node), "logged in\n", "logged out\n", work=("logout", node.index, tuple(sessions)))
            if wanted.state == "absent":
                yield Step("delete", str(node), dict(node.settings), None, work=("delete_node", node.index))

    def _up(self, wanted: WantedNode, nodes: t.Sequence[FlashNode], host: IscsiHost, problems: Problems) -> t.Iterator[Step]:
        login = Step("log in", str(wanted), "logged out\n", "logged in\n", work=("login", wanted, nodes[0].index if nodes else None))
        if not nodes:
            check_families(wanted.settings, wanted.portal_type, str(wanted))
            yield Step("add", str(wanted), None, dict(wanted.settings), work=("new_node", wanted))
            if wanted.state == "logged_in":
                yield login
            return
        node, portal = nodes[0], wanted.portal
        if portal is not None and node.settings[PORTAL_TYPE] not in ("", wanted.portal_type):
            raise InputError(str(node), f"is for {node.settings[PORTAL_TYPE]} and cannot go to {portal.address}",
                             "Remove it, and have one made for the other kind of address")
        check_families(wanted.settings, node.settings[PORTAL_TYPE] or wanted.portal_type, str(node))
        sessions = host.sessions_of(node)
        differing = {key: value for key, value in wanted.settings.items() if node.settings[key] != value}
        if sessions and any(key in IDENTITY for key in differing):
            raise InUseError(str(node), [f"session {session.sid}" for session in sessions], "Log it out first (state: logged_out), then give it another target")
        if differing:
            yield Step("update", str(node), {key: node.settings[key] for key in differing}, differing, work=("update_node", node.index, differing))
            if sessions:
                problems.append(HostError(str(node), "is logged in with the settings that it had", "The new ones hold from its next login on").as_problem())
        if wanted.state == "logged_in":
            if not (wanted.target or node.target):
                raise InputError(str(node), "has no target to log in to", "Give target and portal")
            if not host.sessions_at(wanted.target or node.target, portal or node.portal):
                yield login

    def _table(self, table: t.Sequence[ChapEntry], nodes: t.Sequence[FlashNode], live: t.Sequence[FlashNode]) -> t.List[Step]:
        """Steps for the CHAP table, removals first; ``nodes`` stay in the end, and ``live`` are those of them with a session now and then."""
        removed: t.List[Step] = []
        written: t.List[Step] = []
        for wanted in self._chap or ():
            matching = [entry for entry in table if wanted.matches(entry)]
            if not wanted.present:
                for unwanted in matching:
                    _refuse_if_used(unwanted, live if self._force else nodes)
                    removed.append(_deleted(unwanted))
                continue
            if any((entry.kind, entry.username, entry.password) == (wanted.kind, wanted.username, wanted.password) for entry in matching):
                continue
            if len(matching) > 1:
                raise InputError(str(wanted), f"is there {len(matching)} times, as {', '.join(str(entry.index) for entry in matching)}",
                                 "Say which one by its index")
            if not self._exposed:
                raise InputError(str(wanted), "has to be written, and iscsiadm takes its secret only as an argument, which every user of this host can see "
                                 "while it runs", f"Say {_EXPOSED}: true to accept that, or write the entry in the adapter's BIOS")
            entry: t.Optional[ChapEntry] = matching[0] if matching else None
            if entry is not None:
                _refuse_if_used(entry, live)
            if entry is not None and entry.kind != wanted.kind:  # the driver changes no entry from one kind to the other
                removed.append(_deleted(entry))
                entry = None
            after = {"type": wanted.kind, "username": wanted.username, "password": REDACTED}
            if entry is not None and entry.password != wanted.password:
                after["password"] = f"{REDACTED} (another one)"
            index = wanted.index if entry is None else entry.index
            name = str(wanted) if entry is None else _entry_name(entry)
            written.append(Step("add" if entry is None else "update", name, None if entry is None else _entry_shown(entry), after,
                                work=("set_chap", index, wanted)))
        return [*removed, *written]

    # apply

    def apply(self, steps: t.Sequence[Step]) -> t.Mapping[str, t.Any]:
        """Do the steps in order."""
        number = find_hosts([self._word], self._sys, "host")[0]
        made: t.Dict[str, int] = {}
        for step in steps:
            kind, *work = step.work
            if kind == "logout":
                self._log_out(number, *work)
            elif kind == "delete_node":
                self._adm.delete_flash_node(number, *work)
            elif kind in ("delete_chap", "set_chap"):
                self._write_chap(number, step)
            elif kind == "update_node":
                self._adm.update_flash_node(number, *work)
            elif kind == "new_node":
                made[str(work[0])] = self._make(number, *work)
            elif kind == "login":
                wanted, index = work
                self._adm.login_flash_node(number, made[str(wanted)] if index is None else index)
        return {}

    def _log_out(self, number: int, index: int, sessions: t.Sequence[Session]) -> None:
        """Flush and remove the disks, then log out. With force, a disk that cannot be removed is named and left behind."""
        names = disk_names(sessions)
        try:
            if names:
                self._noticed.extend(flush_and_remove(names, runner=self._adm.runner, timeout=self._timeout))
        except HostError as error:
            if not self._force:
                raise
            self._noticed.append(error.as_problem())
        self._adm.logout_flash_node(number, index)

    def _write_chap(self, number: int, step: Step) -> None:
        kind, index, *rest = step.work
        try:
            if kind == "delete_chap":
                self._adm.delete_chap(number, index)
            else:
                wanted = rest[0]
                self._adm.set_chap(number, index, wanted.kind, wanted.username, wanted.password)
            return
        except IscsiadmError as error:
            if error.exit is not Exit.BUSY:
                raise
        if index is None:
            raise HostError(step.subject, "found no free place in the adapter's CHAP table",
                            "Remove an entry, or give the index of one that may be overwritten")
        raise InUseError(step.subject, ["a session that is up"], "Log out the sessions that were made with it, then run the task again")

    def _make(self, number: int, wanted: WantedNode) -> int:
        """A flash node with the wanted settings; one that could not be given them does not stay."""
        try:
            index = self._adm.new_flash_node(number, wanted.portal_type)
        except IscsiadmError as error:
            if error.exit is not Exit.ERR:
                raise
            raise HostError(str(wanted), f"could not be made: {error.what}",
                            "The adapter's flash is full, or holds a flash node that was begun and not finished, without a target: delete that") from None
        try:
            self._adm.update_flash_node(number, index, wanted.settings)
        except IscsiError as failure:
            try:
                self._adm.delete_flash_node(number, index)
            except IscsiError:
                failure.facts["unfinished"] = index
            raise
        return index

    # finish

    def finish(self, found: Found, done: bool) -> t.Mapping[str, t.Any]:
        """The adapter in the end, once the sessions that shall be there are up. Raises ``HostError`` where one does not come up in time."""
        host, deadline = found.host, self._clock() + self._timeout
        waiting = self._waiting(host)
        while done and waiting and self._clock() < deadline:
            self._sleep(_LOOK)
            host = next(iter(read_hosts(self._sys, [host.number])), host)
            waiting = self._waiting(host)
        errors = [HostError(f"session {session.sid} of {session.target} at {session.persistent_portal}", f"is not up, its state is {session.state}",
                            "The adapter goes on trying; look at the portal, the CHAP entry and the kernel log") for session in waiting]
        if errors and done:
            raise errors[0]
        chap = None if found.chap is None else [entry.as_fact() for entry in found.chap]
        return {"host": dict(host.as_fact(), chap=chap), "problems": [*self._noticed, *(error.as_problem() for error in errors)]}

    def _waiting(self, host: IscsiHost) -> t.List[Session]:
        """The sessions that shall be up and are not."""
        found: t.Dict[int, Session] = {}
        for wanted in self._nodes:
            for node in host.flash_nodes if wanted.state == "logged_in" else ():
                sessions = host.sessions_of(node) if wanted.matches(node) else []
                if not any(session.logged_in for session in sessions):
                    found.update((session.sid, session) for session in sessions)
        return list(found.values())


def _refuse_if_used(entry: ChapEntry, nodes: t.Iterable[FlashNode]) -> None:
    """Raise ``InUseError`` naming the flash nodes among ``nodes`` that log in with this entry."""
    users = [str(node) for node in nodes if node.settings[CHAP] == "1" and node.settings[CHAP_INDEX] == str(entry.index)]
    if users:
        raise InUseError(_entry_name(entry), users,
                         "Log them out, or give them another entry; force: true removes an entry from flash nodes that are logged out")


def _deleted(entry: ChapEntry) -> Step:
    return Step("delete", _entry_name(entry), _entry_shown(entry), None, work=("delete_chap", entry.index))


def _entry_name(entry: ChapEntry) -> str:
    return f"CHAP entry {entry.index} ({entry.kind} {entry.username})"


def _entry_shown(entry: ChapEntry) -> t.Dict[str, str]:
    return {"type": entry.kind, "username": entry.username, "password": REDACTED}
