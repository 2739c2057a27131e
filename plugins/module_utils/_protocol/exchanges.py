# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole errands at a target: ask what targets there are, or try a login. Bytes in, bytes out; no socket and no clock."""

from __future__ import annotations

import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError, IscsiError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import Portal, check_iscsi_name, parse_portal
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol import connection as c
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol import status
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.auth import Auth
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.connection import Connection, Limits
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.errors import DroppedError, ProtocolError
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.login import Login, LoginOptions
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.text import Pairs
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.wire import AsyncEvent

__all__ = ("Auth", "DiscoveredTarget", "DiscoveryExchange", "Limits", "LoginCheckExchange", "LoginOptions", "parse_targets")


class DiscoveredTarget(t.NamedTuple):
    """A target as SendTargets named it. No ``portals``: it is reached at the portal that was asked (RFC 7143 appendix C)."""

    name: str
    portals: t.Tuple[Portal, ...] = ()


def parse_targets(pairs: Pairs, limits: Limits = Limits()) -> t.Tuple[DiscoveredTarget, ...]:
    """The answer to SendTargets as targets (RFC 7143 appendix C): targets in order, portals in order, duplicates merged.

    Raises ``ProtocolError`` for a name or an address that is none, an address before any name, and too many of them.
    """
    found: t.Dict[str, t.Dict[Portal, None]] = {}
    current: t.Optional[t.Dict[Portal, None]] = None
    name = ""
    for key, value in pairs:
        if key == "TargetName":
            name = _checked_name(value)
            current = found.setdefault(name, {})
            if len(found) > limits.targets:
                raise ProtocolError(f"named more than {limits.targets} targets")
        elif key == "TargetAddress":
            if current is None:
                raise ProtocolError("sent a TargetAddress before any TargetName")
            current[_parse_address(value)] = None
            if len(current) > limits.portals_per_target:
                raise ProtocolError(f"named more than {limits.portals_per_target} portals for the target {name}")
    return tuple(DiscoveredTarget(name, tuple(portals)) for name, portals in found.items())


def _checked_name(value: str) -> str:
    try:
        return check_iscsi_name(value)
    except InputError as error:
        raise ProtocolError(f"sent a target name that is none: {error.subject[:300]} {error.what[:300]}") from None


def _parse_address(value: str) -> Portal:
    try:
        return parse_portal(value)
    except InputError as error:
        raise ProtocolError(f"sent a TargetAddress that is none: {error.subject[:300]} {error.what[:300]}") from None


class _Exchange:
    """What both errands share: log in, do the errand, log out. Satisfies ``Exchange`` of ``_host/sockets.py``."""

    discovery: t.ClassVar[bool]

    def __init__(self, options: LoginOptions) -> None:
        self.finished = False
        #: the answer is there, only the goodbye is missing
        self.answered = False
        self.redirect: t.Optional[Portal] = None
        self.redirect_permanent = False
        self._options = options
        self._login = Login(options, discovery=self.discovery)
        self._connection = Connection(isid=options.isid, limits=options.limits)
        self._failure: t.Optional[IscsiError] = None

    def start(self) -> bytes:
        """The first bytes to send."""
        return self._connection.send(self._login.first())

    def receive(self, data: bytes) -> bytes:
        """Take what the target sent, return what is to be sent now. Raises ``PeerError``; the connection is over then."""
        if self.finished:
            return b""
        self._connection.receive_data(data)
        replies = []
        while not self.finished:
            event = self._connection.next_event()
            if event is None:
                break
            replies.append(self._handle(event))
        return b"".join(replies)

    def closed(self) -> None:
        """The target closed the connection. Raises ``PeerError`` unless the errand was done."""
        if self._failure is not None:
            raise self._failure
        if self.finished or self.answered:
            self.finished = True
            return
        if self._connection.state is c.State.LOGIN:
            raise DroppedError(
                "closed the connection during the login without giving a reason",
                "Often an access list of the target refuses this host, or the port belongs to another service")
        raise DroppedError("closed the connection before it had answered", "The log of the target may say why")

    # -- events ------------------------------------------------------------------------------------------------------

    def _handle(self, event: c.Event) -> bytes:
        if isinstance(event, c.LoginAnswer):
            return self._handle_login(event)
        if isinstance(event, c.MoreToCome):
            return self._connection.send(c.SendContinue())
        if isinstance(event, c.TextAnswer):
            self._take_text(event.pairs)
            return self._log_out()
        if isinstance(event, c.LogoutAnswer):
            return self._handle_logout()
        if isinstance(event, c.Ping):
            return self._connection.send(c.SendNopOut(event.lun, event.ttt))
        if isinstance(event, c.Notice):
            return self._handle_notice(event)
        if self.answered:  # it does not like our goodbye; we are leaving anyway
            self.finished = True
            return b""
        raise status.rejected(event.reason)

    def _handle_login(self, answer: c.LoginAnswer) -> bytes:
        if answer.status_class == status.StatusClass.REDIRECTION:
            self._follow(answer)
            return b""
        if answer.status_class != status.StatusClass.SUCCESS:
            raise status.login_refused(answer.status_class, answer.status_detail)
        step = self._login.answer(answer)
        if step is not None:
            return self._connection.send(step)
        parameters = self._login.parameters
        self._connection.peer_receive_bytes = self._login.peer_receive_bytes
        self._connection.use_digests(header=parameters["HeaderDigest"] == "CRC32C", data=parameters["DataDigest"] == "CRC32C")
        return self._errand()

    def _follow(self, answer: c.LoginAnswer) -> None:
        addresses = [value for key, value in answer.pairs if key == "TargetAddress"]
        if answer.status_detail not in (status.MOVED_TEMPORARILY, status.MOVED_PERMANENTLY):
            raise status.login_refused(answer.status_class, answer.status_detail)
        if len(addresses) != 1:
            raise ProtocolError(f"redirects us (0x01{answer.status_detail:02x}) to {len(addresses)} addresses; one is expected")
        self.redirect = _parse_address(addresses[0])
        self.redirect_permanent = answer.status_detail == status.MOVED_PERMANENTLY
        self.finished = True

    def _handle_logout(self) -> bytes:
        if self._failure is not None:
            raise self._failure
        self.finished = True
        return b""

    def _handle_notice(self, notice: c.Notice) -> bytes:
        if notice.event in (AsyncEvent.CONNECTION_DROPPED, AsyncEvent.ALL_CONNECTIONS_DROPPED):
            if not self.answered:
                raise DroppedError("says that it dropped the connection", "The log of the target may say why")
            self.finished = True
        elif notice.event in (AsyncEvent.LOGOUT_REQUEST, AsyncEvent.NEGOTIATION_REQUEST) and self._connection.state is c.State.FULL_FEATURE:
            self._failure = DroppedError("asked us to log out before it had answered", "It may be shutting down or moving; try again")
            return self._connection.send(c.SendLogout())
        return b""

    def _log_out(self) -> bytes:
        self.answered = True
        return self._connection.send(c.SendLogout())

    # -- the errand --------------------------------------------------------------------------------------------------

    def _errand(self) -> bytes:
        raise NotImplementedError

    def _take_text(self, pairs: Pairs) -> None:
        raise NotImplementedError


class DiscoveryExchange(_Exchange):
    """A discovery session: SendTargets, then a clean logout. ``result`` is valid once ``finished`` without redirect.

    ``send_targets`` is ``All`` or one target name. Raises ``InputError`` for anything else.
    """

    discovery = True

    def __init__(self, options: LoginOptions, *, send_targets: str = "All") -> None:
        super().__init__(options)
        self._send_targets = send_targets if send_targets == "All" else check_iscsi_name(send_targets)
        self.result: t.Tuple[DiscoveredTarget, ...] = ()

    def _errand(self) -> bytes:
        return self._connection.send(c.SendText((("SendTargets", self._send_targets),)))

    def _take_text(self, pairs: Pairs) -> None:
        answer = dict(pairs).get("SendTargets")
        if answer is not None:
            raise ProtocolError(f"answered SendTargets with {answer[:40]!a}", "This portal does not offer discovery")
        self.result = parse_targets(pairs, self._options.limits)


class LoginCheckExchange(_Exchange):
    """A normal session: log in fully, then log out at once. ``result`` is what both sides agreed on, by key name."""

    discovery = False

    def __init__(self, options: LoginOptions) -> None:
        if options.target is None:
            raise InputError("target", "a login needs the name of a target", "Give target")
        super().__init__(options)
        self.result: t.Mapping[str, str] = {}

    def _errand(self) -> bytes:
        self.result = dict(self._login.parameters)
        return self._log_out()

    def _take_text(self, pairs: Pairs) -> None:
        raise ProtocolError("sent a text answer that nobody asked for")
