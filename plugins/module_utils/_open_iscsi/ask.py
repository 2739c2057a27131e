# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking portals as this host would: its name, its credentials, its digests; for discovery and for trying a login."""

from __future__ import annotations

import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._argspec import CHAP_ALGORITHMS
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import CommandError, InputError, IscsiError, PeerError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.sockets import Job, run_jobs
from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey, Portal
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.conf import HostConf, settings_from_conf
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.record import Record
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import Kind
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.stored import Database
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.connection import Limits
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.exchanges import Auth, DiscoveryExchange, LoginCheckExchange, LoginOptions

#: what iscsid uses where neither a record nor iscsid.conf names algorithms (usr/initiator.h)
DEFAULT_ALGORITHMS = "MD5"
#: the same key in node and in discovery records (usr/idbm.c)
_ALGORITHMS = "node.session.auth.chap_algs"
#: MaxRecvDataSegmentLength is 512 to 2^24-1 bytes (RFC 7143 section 13.12)
_SMALLEST_SEGMENT = 512
Settings = t.Mapping[str, str]


class Answer(t.NamedTuple):
    """What one portal said: its targets, or why it said nothing."""

    portal: Portal
    targets: t.Sequence[t.Tuple[str, t.Sequence[Portal]]] = ()
    error: t.Optional[IscsiError] = None


def auth_settings(prefix: str, auth: t.Mapping[str, t.Any]) -> t.Dict[str, str]:
    """The option ``auth`` as settings of a record; ``prefix`` is ``node.session.auth`` or ``discovery.sendtargets.auth``.

    What the option does not say (the way back, the names under method None) is emptied: the option is the whole truth.
    Algorithms are the exception: without them the record keeps what it has.
    """
    chap = auth["method"] == "CHAP"
    settings = {f"{prefix}.authmethod": auth["method"]}
    for word in ("username", "password", "username_in", "password_in"):
        settings[f"{prefix}.{word}"] = (auth.get(word) or "") if chap else ""
    if chap and auth.get("algorithms"):
        settings[_ALGORITHMS] = ",".join(auth["algorithms"])
    return settings


def discovery_auth_settings(auth: t.Mapping[str, t.Any]) -> t.Dict[str, str]:
    """The option ``auth`` as settings of a send_targets record."""
    return auth_settings("discovery.sendtargets.auth", auth)


def read_auth(prefix: str, settings: Settings) -> t.Optional[Auth]:
    """The credentials of a record or of iscsid.conf; None where its authmethod is not CHAP, whatever else is set."""
    if settings.get(f"{prefix}.authmethod", "None") != "CHAP":
        return None
    named = settings.get(_ALGORITHMS) or DEFAULT_ALGORITHMS
    algorithms = tuple(word.strip() for word in named.split(",") if word.strip() in CHAP_ALGORITHMS)
    return Auth(
        username=settings.get(f"{prefix}.username") or "",
        password=settings.get(f"{prefix}.password") or "",
        username_in=settings.get(f"{prefix}.username_in") or None,
        password_in=settings.get(f"{prefix}.password_in") or None,
        algorithms=algorithms or (DEFAULT_ALGORITHMS,),
    )


def discovery_options(name: str, conf: HostConf, settings: Settings) -> LoginOptions:
    """How a discovery session is opened with ``settings`` (keys as in a send_targets record and in iscsid.conf)."""
    held = settings_from_conf(Kind.SEND_TARGETS, settings, conf.version)
    segment = int(held["discovery.sendtargets.iscsi.MaxRecvDataSegmentLength"])
    return LoginOptions(initiator_name=name, initiator_alias=conf.initiator_alias, auth=read_auth("discovery.sendtargets.auth", settings),
                        max_recv_data_segment_length=min(max(segment, _SMALLEST_SEGMENT), Limits().pdu_bytes))


class Asker:
    """Asks portals for their targets with the discovery credentials that apply: the task's, the record's, iscsid.conf's."""

    def __init__(self, conf: HostConf, database: Database, *, auth: t.Optional[t.Mapping[str, t.Any]],
                 initiator_name: t.Optional[str], timeout: float) -> None:
        self._conf = conf
        self._database = database
        self._auth = None if auth is None else discovery_auth_settings(auth)
        self._name = initiator_name
        self._timeout = timeout

    def ask(self, portals: t.Sequence[Portal]) -> t.List[Answer]:
        """Ask all portals at once from here."""
        name = self._name or self._conf.require_initiator_name()
        # a target without an address is reachable where it was asked for (RFC 7143 appendix C)
        return [answer._replace(targets=[(target, found or (answer.portal,)) for target, found in answer.targets])
                for answer in self._run([Job(portal, self._maker(name, portal)) for portal in portals])]

    def ask_isns(self, portals: t.Sequence[Portal]) -> t.List[Answer]:
        """Ask all iSNS servers at once from here. A target without portals is one that nobody can get to."""
        # seldom needed, and every import costs the host at every task
        from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.isns import IsnsDiscoveryExchange

        name = self._name or self._conf.require_initiator_name()
        return self._run([Job(portal, lambda: IsnsDiscoveryExchange(name)) for portal in portals])

    def _run(self, jobs: t.Sequence[Job]) -> t.List[Answer]:
        answers = []
        for outcome in run_jobs(jobs, connect_timeout=self._timeout, timeout=self._timeout):
            portal, exchange = outcome.job.portal, t.cast(t.Optional[DiscoveryExchange], outcome.exchange)
            if outcome.error is not None or exchange is None:
                answers.append(Answer(portal, error=outcome.error))
            else:
                answers.append(Answer(portal, [(target.name, target.portals) for target in exchange.result]))
        return answers

    def _maker(self, name: str, portal: Portal) -> t.Callable[[], DiscoveryExchange]:
        stored = self._database.send_targets.get(portal.endpoint)
        settings = dict(self._conf.iscsid)
        settings.update({} if stored is None else stored.record.settings)
        settings.update(self._auth or {})
        options = discovery_options(name, self._conf, settings)
        return lambda: DiscoveryExchange(options)

    def ask_iscsiadm(self, portals: t.Sequence[Portal], kind: Kind = Kind.SEND_TARGETS) -> t.List[Answer]:
        """Let iscsiadm ask, one portal after the other, as it knows them; nothing is recorded by it."""
        # seldom needed, and every import costs the host at every task
        from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Runner
        from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.iscsiadm import Iscsiadm

        iscsiadm = Iscsiadm(Runner())
        answers = []
        for portal in portals:
            try:
                answers.append(Answer(portal, _group(iscsiadm.discover(portal, timeout=self._timeout, how=kind.value))))
            except (PeerError, CommandError) as error:
                # the portal is what failed to answer, not the command
                answers.append(Answer(portal, error=PeerError(f"portal {portal}", error.what, error.remedy)))
        return answers


def _group(pairs: t.Iterable[t.Tuple[str, Portal]]) -> t.List[t.Tuple[str, t.List[Portal]]]:
    grouped: t.Dict[str, t.List[Portal]] = {}
    for target, portal in pairs:
        grouped.setdefault(target, []).append(portal)
    return list(grouped.items())


def try_logins(wanted: t.Mapping[NodeKey, Record], conf: HostConf, *, timeout: float) -> t.Dict[NodeKey, t.Optional[IscsiError]]:
    """Log in to each node and out again with what its record says, all at once; None where it went well, else why not.

    The session of the try has an identifier of its own (a random ISID), so no session of the kernel is touched.
    Nodes on ifaces with an offload transport cannot be tried from here and are left out.
    """
    name = conf.require_initiator_name()
    keys = [key for key, record in wanted.items() if (record.get("iface.transport_name") or "tcp") == "tcp"]
    jobs = [Job(key.portal, _login_maker(name, conf, key, wanted[key]), device=wanted[key].get("iface.net_ifacename") or None) for key in keys]
    outcomes = run_jobs(jobs, connect_timeout=timeout, timeout=timeout)
    return {key: outcome.error for key, outcome in zip(keys, outcomes)}


def _login_maker(name: str, conf: HostConf, key: NodeKey, record: Record) -> t.Callable[[], LoginCheckExchange]:
    def digest(word: str) -> t.Tuple[str, ...]:
        return tuple((record.get(f"node.conn[0].iscsi.{word}") or "None").replace(",", " ").split())

    options = LoginOptions(
        initiator_name=record.get("iface.initiatorname") or name,
        initiator_alias=conf.initiator_alias,
        target=key.target,
        auth=read_auth("node.session.auth", record.settings),
        header_digest=digest("HeaderDigest"),
        data_digest=digest("DataDigest"),
    )
    return lambda: LoginCheckExchange(options)


def check_chap_complete(subject: str, settings: Settings) -> None:
    """Refuse a record that asks for CHAP and has no name or no secret; open-iscsi would log in without CHAP then."""
    prefix = "node.session.auth"
    if settings.get(f"{prefix}.authmethod") == "CHAP" and not (settings.get(f"{prefix}.username") and settings.get(f"{prefix}.password")):
        raise InputError(subject, "has authmethod CHAP without a username and a password", "Give both, with auth or settings, or authmethod None")
