# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One iSCSI connection seen from the initiator, without a socket: bytes in, events out; requests in, bytes out.

The connection keeps framing, digests, sequence numbers and text continuation, and knows which PDU may come when
(``RECEIVABLE``, ``SENDABLE``). What to say is the business of its user. Errors: ``ProtocolError`` and its siblings are the
target's fault, ``LocalProtocolError`` is ours.
"""

from __future__ import annotations

import typing as t
from enum import Enum

from ansible_collections.lunar.iscsi.plugins.module_utils._protocol import wire
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.errors import LocalProtocolError, ProtocolError
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.text import Pairs, parse_pairs, render_pairs
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.wire import Opcode, Stage


class Limits(t.NamedTuple):
    """What a target may make us read and keep: bytes in one PDU, bytes of text in one answer, PDUs, targets, portals."""

    pdu_bytes: int = 262144
    text_bytes: int = 16 * 1024 * 1024
    pdus: int = 20000
    targets: int = 16384
    portals_per_target: int = 256


class State(Enum):
    """Where a connection is (RFC 7143 section 8.1.3 knows more states; a connection that only asks needs these)."""

    LOGIN = "login"
    FULL_FEATURE = "full feature phase"
    LOGOUT = "logout"
    CLOSED = "closed"


# -- what may be said ------------------------------------------------------------------------------------------------


class SendLogin(t.NamedTuple):
    """A step of the login: the stage we are in, what we say in it, and the stage we want to go to (None: stay)."""

    stage: Stage
    pairs: Pairs = ()
    next_stage: t.Optional[Stage] = None


class SendText(t.NamedTuple):
    """A text request that fits into one PDU."""

    pairs: Pairs


class SendContinue(t.NamedTuple):
    """Go on after ``MoreToCome``: the rest of what we have to say, or nothing, so that the target goes on."""


class SendLogout(t.NamedTuple):
    """Close the session."""

    reason: wire.LogoutReason = wire.LogoutReason.CLOSE_SESSION


class SendNopOut(t.NamedTuple):
    """Answer ``Ping``."""

    lun: bytes
    ttt: int


Request = t.Union[SendLogin, SendText, SendContinue, SendLogout, SendNopOut]

# -- what may happen -------------------------------------------------------------------------------------------------


class LoginAnswer(t.NamedTuple):
    """A whole answer to a login step. ``next_stage`` is None where the target wants to stay."""

    stage: int
    next_stage: t.Optional[int]
    pairs: Pairs
    status_class: int
    status_detail: int
    tsih: int


class TextAnswer(t.NamedTuple):
    """A whole answer to a text request."""

    pairs: Pairs


class MoreToCome(t.NamedTuple):
    """Part of an answer has come, or part of our request has gone; answer it with ``SendContinue``."""


class LogoutAnswer(t.NamedTuple):
    """``response`` is 0 where the session is closed (RFC 7143 section 11.15.1)."""

    response: int


class Ping(t.NamedTuple):
    """The target asks whether we are there; answer it with ``SendNopOut``."""

    lun: bytes
    ttt: int


class Notice(t.NamedTuple):
    """An asynchronous message; ``event`` is a number of ``wire.AsyncEvent`` or one nobody knows."""

    event: int


class Rejected(t.NamedTuple):
    """Our PDU was rejected."""

    reason: int


Event = t.Union[LoginAnswer, TextAnswer, MoreToCome, LogoutAnswer, Ping, Notice, Rejected]

_ALWAYS = frozenset({Opcode.NOP_IN, Opcode.ASYNC_MESSAGE, Opcode.REJECT})
#: which PDUs may come in which state
RECEIVABLE: t.Mapping[State, t.FrozenSet[Opcode]] = {
    State.LOGIN: frozenset({Opcode.LOGIN_RESPONSE, Opcode.REJECT}),
    State.FULL_FEATURE: _ALWAYS | {Opcode.TEXT_RESPONSE},
    State.LOGOUT: _ALWAYS | {Opcode.TEXT_RESPONSE, Opcode.LOGOUT_RESPONSE},
    State.CLOSED: frozenset(),
}
#: which requests may be sent in which state
SENDABLE: t.Mapping[State, t.FrozenSet[type]] = {
    State.LOGIN: frozenset({SendLogin, SendContinue}),
    State.FULL_FEATURE: frozenset({SendText, SendContinue, SendLogout, SendNopOut}),
    State.LOGOUT: frozenset({SendNopOut}),
    State.CLOSED: frozenset(),
}


class Connection:
    """``send`` a request, give what came to ``receive_data``, ask for ``next_event`` until it is None."""

    def __init__(self, *, isid: bytes, limits: Limits = Limits()) -> None:
        if len(isid) != 6:
            raise LocalProtocolError("isid", f"has {len(isid)} bytes; 6 are expected")
        self.state = State.LOGIN
        self.peer_receive_bytes = wire.DEFAULT_RECEIVE_BYTES
        self._isid = isid
        self._limits = limits
        self._reader = wire.FrameReader(limits.pdu_bytes)
        self._header_digest = False
        self._data_digest = False
        self._pdus = 0
        self._itt = 1  # one tag for the whole login, one for each request after it
        self._cmd_sn = 1  # stays: everything we send is for immediate delivery
        self._exp_stat_sn = 0
        self._waiting_for: t.Optional[Opcode] = None
        self._asked: t.Optional[Stage] = None
        self._stage = Stage.SECURITY
        self._unsent = b""
        self._text = bytearray()
        self._text_lun = bytes(8)
        self._text_ttt = wire.RESERVED_TAG

    def use_digests(self, *, header: bool, data: bool) -> None:
        """Switch on what was negotiated; it counts from the first PDU after the login (RFC 7143 section 13.1)."""
        self._header_digest = self._reader.header_digest = header
        self._data_digest = self._reader.data_digest = data

    # -- out ---------------------------------------------------------------------------------------------------------

    def send(self, request: Request) -> bytes:
        """The bytes of ``request``. Raises ``LocalProtocolError`` where the state does not allow it."""
        if type(request) not in SENDABLE[self.state]:
            raise LocalProtocolError("connection", f"{type(request).__name__} cannot be sent in the state {self.state.value!r}")
        if isinstance(request, SendNopOut):
            return self._render(wire.render_nop_out(
                lun=request.lun, ttt=request.ttt, cmd_sn=self._cmd_sn, exp_stat_sn=self._exp_stat_sn))
        if isinstance(request, SendLogout):
            return self._send_logout(request)
        if self._waiting_for is not None:
            raise LocalProtocolError("connection", f"{type(request).__name__} cannot be sent before the last answer has come")
        if isinstance(request, SendContinue):
            return self._send_continue()
        if isinstance(request, SendText):
            return self._send_text(request)
        self._stage, self._asked = request.stage, request.next_stage
        self._unsent = render_pairs(request.pairs)
        return self._send_login_part()

    def _send_continue(self) -> bytes:
        if self.state is State.LOGIN:
            return self._send_login_part()
        if self._text_ttt == wire.RESERVED_TAG:
            raise LocalProtocolError("connection", "SendContinue cannot be sent, there is nothing to go on with")
        return self._send_text_part(b"")

    def _send_login_part(self) -> bytes:
        data, self._unsent = self._unsent[:self.peer_receive_bytes], self._unsent[self.peer_receive_bytes:]
        more = bool(self._unsent)
        transit = self._asked is not None and not more and not self._text
        self._waiting_for = Opcode.LOGIN_RESPONSE
        return self._render(wire.render_login_request(
            stage=self._stage, next_stage=self._asked or Stage.SECURITY, transit=transit, more=more, isid=self._isid, itt=self._itt,
            cmd_sn=self._cmd_sn, exp_stat_sn=self._exp_stat_sn, length=len(data)), data)

    def _send_text(self, request: SendText) -> bytes:
        data = render_pairs(request.pairs)
        if len(data) > self.peer_receive_bytes:
            raise LocalProtocolError("connection", f"a text request of {len(data)} bytes does not fit into one PDU")
        self._itt += 1
        self._text_lun, self._text_ttt = bytes(8), wire.RESERVED_TAG
        return self._send_text_part(data)

    def _send_text_part(self, data: bytes) -> bytes:
        self._waiting_for = Opcode.TEXT_RESPONSE
        return self._render(wire.render_text_request(
            final=True, more=False, lun=self._text_lun, itt=self._itt, ttt=self._text_ttt, cmd_sn=self._cmd_sn,
            exp_stat_sn=self._exp_stat_sn, length=len(data)), data)

    def _send_logout(self, request: SendLogout) -> bytes:
        self._itt += 1
        self._waiting_for = Opcode.LOGOUT_RESPONSE
        self.state = State.LOGOUT
        return self._render(wire.render_logout_request(
            reason=request.reason, itt=self._itt, cmd_sn=self._cmd_sn, exp_stat_sn=self._exp_stat_sn))

    def _render(self, header: bytes, data: bytes = b"") -> bytes:
        return wire.render_pdu(header, data, header_digest=self._header_digest, data_digest=self._data_digest)

    # -- in ----------------------------------------------------------------------------------------------------------

    def receive_data(self, data: bytes) -> None:
        """Take bytes that came from the target; they are looked at by ``next_event``."""
        self._reader.feed(data)

    def next_event(self) -> t.Optional[Event]:
        """What happened next, or None where more bytes are needed. Raises ``ProtocolError``."""
        while self.state is not State.CLOSED:
            self._check_opcode(self._reader.opcode)
            frame = self._reader.next_frame()
            if frame is None:
                return None
            self._pdus += 1
            if self._pdus > self._limits.pdus:
                raise ProtocolError(f"sent more than {self._limits.pdus} PDUs without coming to an end")
            event = self._take(frame)
            if event is not None:
                return event
        return None

    def _check_opcode(self, opcode: t.Optional[int]) -> None:
        """Refuse a PDU by its first byte, so that a service that is no target is known before 48 bytes have come."""
        if opcode is None or opcode in RECEIVABLE[self.state]:
            return
        if opcode in Opcode.__members__.values():
            raise ProtocolError(f"sent {Opcode(opcode).name} (0x{opcode:02x}), which may not come during {self.state.value}")
        raise ProtocolError(f"sent something that is no iSCSI PDU (it begins with opcode 0x{opcode:02x})", "The port may belong to another service")

    def _take(self, frame: wire.Frame) -> t.Optional[Event]:
        opcode = frame.opcode
        if opcode == Opcode.LOGIN_RESPONSE:
            return self._take_login(frame)
        if opcode == Opcode.TEXT_RESPONSE:
            return self._take_text(frame)
        if opcode == Opcode.LOGOUT_RESPONSE:
            return self._take_logout(wire.LogoutResponse.parse(frame.header))
        if opcode == Opcode.NOP_IN:
            return self._take_nop(wire.NopIn.parse(frame.header))
        if opcode == Opcode.ASYNC_MESSAGE:
            message = wire.AsyncMessage.parse(frame.header)
            self._count(message.stat_sn)
            return Notice(message.event)
        reject = wire.Reject.parse(frame.header)
        self._count(reject.stat_sn)
        return Rejected(reject.reason)

    def _take_login(self, frame: wire.Frame) -> Event:
        response = wire.LoginResponse.parse(frame.header)
        self._expect(Opcode.LOGIN_RESPONSE, response.itt)
        if response.status_class != 0:  # StatSN and the rest of the header mean nothing then (section 11.13.4)
            self.state = State.CLOSED
            return LoginAnswer(response.stage, None, parse_pairs(frame.data), response.status_class, response.status_detail, response.tsih)
        if response.version_active != 0:
            raise ProtocolError(f"speaks version {response.version_active} of the protocol; version 0 was asked for")
        if response.stage != self._stage:
            raise ProtocolError(f"answered for login stage {response.stage} while in stage {self._stage.value}")
        self._exp_stat_sn = response.stat_sn + 1 & wire.MAX_SN
        self._gather(frame.data)
        if response.more or self._unsent:
            if response.transit:
                raise ProtocolError("wants to go to the next login stage before the text is whole")
            return MoreToCome()
        if response.transit and response.next_stage != self._asked:
            raise ProtocolError(f"goes to login stage {response.next_stage}, which was not asked for")
        next_stage = response.next_stage if response.transit else None
        if next_stage == Stage.FULL_FEATURE:
            self.state = State.FULL_FEATURE
        return LoginAnswer(response.stage, next_stage, self._whole_text(), 0, response.status_detail, response.tsih)

    def _take_text(self, frame: wire.Frame) -> t.Optional[Event]:
        response = wire.TextResponse.parse(frame.header)
        if self.state is State.LOGOUT:  # we stopped listening to it
            self._count(response.stat_sn)
            return None
        self._expect(Opcode.TEXT_RESPONSE, response.itt)
        self._count(response.stat_sn)
        self._gather(frame.data)
        if response.final and not response.more:
            self._text_ttt = wire.RESERVED_TAG
            return TextAnswer(self._whole_text())
        if response.ttt == wire.RESERVED_TAG:
            raise ProtocolError("sent part of a text answer without a tag to ask for the rest")
        self._text_lun, self._text_ttt = response.lun, response.ttt
        return MoreToCome()

    def _take_logout(self, response: wire.LogoutResponse) -> Event:
        self._expect(Opcode.LOGOUT_RESPONSE, response.itt)
        self._count(response.stat_sn)
        self.state = State.CLOSED
        return LogoutAnswer(response.response)

    def _take_nop(self, nop: wire.NopIn) -> t.Optional[Event]:
        if nop.ttt == wire.RESERVED_TAG:
            if nop.itt != wire.RESERVED_TAG:
                raise ProtocolError("answered a NOP-Out that was never sent")
            return None  # carries sequence numbers only, and its StatSN is not counted (section 11.19)
        return Ping(nop.lun, nop.ttt)

    def _expect(self, opcode: Opcode, itt: int) -> None:
        if self._waiting_for is not opcode:
            raise ProtocolError(f"sent {opcode.name} that nobody asked for")
        if itt != self._itt:
            raise ProtocolError(f"sent {opcode.name} with the task tag 0x{itt:08x}; 0x{self._itt:08x} was sent")
        self._waiting_for = None

    def _count(self, stat_sn: int) -> None:
        # A gap would matter to a session that carries commands; we have at most one request under way.
        self._exp_stat_sn = stat_sn + 1 & wire.MAX_SN

    def _gather(self, data: bytes) -> None:
        if len(self._text) + len(data) > self._limits.text_bytes:
            raise ProtocolError(f"sent more than {self._limits.text_bytes} bytes of text in one answer")
        self._text += data

    def _whole_text(self) -> Pairs:
        text, self._text = bytes(self._text), bytearray()
        return parse_pairs(text)
