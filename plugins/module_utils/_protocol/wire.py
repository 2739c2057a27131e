# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PDUs as bytes: opcodes, flags, the basic header segment, and framing with digests (RFC 7143 sections 11.1 to 11.20).

Only what an initiator needs for logging in, asking for targets and logging out: requests are rendered, answers parsed.
All numbers on the wire are big-endian.
"""

from __future__ import annotations

import struct
import typing as t
from enum import IntEnum

from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.digest import DIGEST_BYTES, render_digest
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.errors import ProtocolError

BHS_BYTES = 48
#: the reserved tag: "no target transfer tag", "no task" (RFC 7143 section 11.2.1.8)
RESERVED_TAG = 0xFFFFFFFF
#: what may be sent in one PDU before the target declares something else (RFC 7143 section 13.12)
DEFAULT_RECEIVE_BYTES = 8192
MAX_SN = 0xFFFFFFFF

OPCODE_MASK = 0x3F  # section 11.2.1.2
IMMEDIATE = 0x40  # section 11.2.1.1
FINAL = 0x80  # section 11.2.1.3
TRANSIT = 0x80  # section 11.12.1
CONTINUE = 0x40  # sections 11.12.2, 11.10.2
STAGE_MASK = 0x03  # section 11.12.3
CSG_SHIFT = 2


class Opcode(IntEnum):
    """RFC 7143 section 11.2.1.2."""

    NOP_OUT = 0x00
    LOGIN_REQUEST = 0x03
    TEXT_REQUEST = 0x04
    LOGOUT_REQUEST = 0x06
    NOP_IN = 0x20
    LOGIN_RESPONSE = 0x23
    TEXT_RESPONSE = 0x24
    LOGOUT_RESPONSE = 0x26
    ASYNC_MESSAGE = 0x32
    REJECT = 0x3F


class Stage(IntEnum):
    """Stages of a login (RFC 7143 section 11.12.3)."""

    SECURITY = 0
    OPERATIONAL = 1
    FULL_FEATURE = 3


class LogoutReason(IntEnum):
    """RFC 7143 section 11.14.1."""

    CLOSE_SESSION = 0
    CLOSE_CONNECTION = 1


class AsyncEvent(IntEnum):
    """RFC 7143 section 11.9.1."""

    SCSI = 0
    LOGOUT_REQUEST = 1
    CONNECTION_DROPPED = 2
    ALL_CONNECTIONS_DROPPED = 3
    NEGOTIATION_REQUEST = 4
    TASKS_ABORTED = 5
    VENDOR = 255


class Frame(t.NamedTuple):
    """One PDU as it came: opcode without the immediate bit, the 48 bytes of its header, its data without padding."""

    opcode: int
    header: bytes
    data: bytes


class LoginResponse(t.NamedTuple):
    """RFC 7143 section 11.13."""

    transit: bool
    more: bool
    stage: int
    next_stage: int
    version_active: int
    tsih: int
    itt: int
    stat_sn: int
    status_class: int
    status_detail: int

    @classmethod
    def parse(cls, header: bytes) -> LoginResponse:
        flags, _version_max, version_active = struct.unpack_from("!BBB", header, 1)
        tsih, itt = struct.unpack_from("!HI", header, 14)
        stat_sn, _exp_cmd_sn, _max_cmd_sn, status_class, status_detail = struct.unpack_from("!IIIBB", header, 24)
        return cls(
            transit=bool(flags & TRANSIT), more=bool(flags & CONTINUE), stage=flags >> CSG_SHIFT & STAGE_MASK, next_stage=flags & STAGE_MASK,
            version_active=version_active, tsih=tsih, itt=itt, stat_sn=stat_sn, status_class=status_class, status_detail=status_detail)


class TextResponse(t.NamedTuple):
    """RFC 7143 section 11.11."""

    final: bool
    more: bool
    lun: bytes
    itt: int
    ttt: int
    stat_sn: int

    @classmethod
    def parse(cls, header: bytes) -> TextResponse:
        itt, ttt, stat_sn = struct.unpack_from("!III", header, 16)
        return cls(final=bool(header[1] & FINAL), more=bool(header[1] & CONTINUE), lun=header[8:16], itt=itt, ttt=ttt, stat_sn=stat_sn)


class LogoutResponse(t.NamedTuple):
    """RFC 7143 section 11.15."""

    response: int
    itt: int
    stat_sn: int

    @classmethod
    def parse(cls, header: bytes) -> LogoutResponse:
        itt, _reserved, stat_sn = struct.unpack_from("!III", header, 16)
        return cls(response=header[2], itt=itt, stat_sn=stat_sn)


class NopIn(t.NamedTuple):
    """RFC 7143 section 11.19. A ``ttt`` other than the reserved tag asks for a NOP-Out."""

    lun: bytes
    itt: int
    ttt: int
    stat_sn: int

    @classmethod
    def parse(cls, header: bytes) -> NopIn:
        itt, ttt, stat_sn = struct.unpack_from("!III", header, 16)
        return cls(lun=header[8:16], itt=itt, ttt=ttt, stat_sn=stat_sn)


class AsyncMessage(t.NamedTuple):
    """RFC 7143 section 11.9. ``event`` is a number of ``AsyncEvent`` or an unknown one; parameters as the event says."""

    event: int
    parameter1: int
    parameter2: int
    parameter3: int
    stat_sn: int

    @classmethod
    def parse(cls, header: bytes) -> AsyncMessage:
        (stat_sn,) = struct.unpack_from("!I", header, 24)
        event, _vendor, parameter1, parameter2, parameter3 = struct.unpack_from("!BBHHH", header, 36)
        return cls(event=event, parameter1=parameter1, parameter2=parameter2, parameter3=parameter3, stat_sn=stat_sn)


class Reject(t.NamedTuple):
    """RFC 7143 section 11.17."""

    reason: int
    stat_sn: int

    @classmethod
    def parse(cls, header: bytes) -> Reject:
        (stat_sn,) = struct.unpack_from("!I", header, 24)
        return cls(reason=header[2], stat_sn=stat_sn)


def render_login_request(
    *, stage: int, next_stage: int, transit: bool, more: bool, isid: bytes, itt: int, cmd_sn: int, exp_stat_sn: int, length: int,
) -> bytes:
    """The header of a Login Request of a new session (RFC 7143 section 11.12): TSIH 0, CID 0, version 0, always immediate."""
    flags = (TRANSIT | next_stage if transit else 0) | (CONTINUE if more else 0) | stage << CSG_SHIFT
    return struct.pack(
        "!BBBBI6sHIHHII16x", IMMEDIATE | Opcode.LOGIN_REQUEST, flags, 0, 0, length, isid, 0, itt, 0, 0, cmd_sn, exp_stat_sn)


def render_text_request(*, final: bool, more: bool, lun: bytes, itt: int, ttt: int, cmd_sn: int, exp_stat_sn: int, length: int) -> bytes:
    """The header of a Text Request (RFC 7143 section 11.10), sent for immediate delivery so that CmdSN stays where it is."""
    flags = (FINAL if final else 0) | (CONTINUE if more else 0)
    return struct.pack("!BBxxI8sIIII16x", IMMEDIATE | Opcode.TEXT_REQUEST, flags, length, lun, itt, ttt, cmd_sn, exp_stat_sn)


def render_logout_request(*, reason: int, itt: int, cmd_sn: int, exp_stat_sn: int) -> bytes:
    """The header of a Logout Request (RFC 7143 section 11.14) for connection 0, sent for immediate delivery."""
    return struct.pack("!BBxxI8xIHxxII16x", IMMEDIATE | Opcode.LOGOUT_REQUEST, FINAL | reason, 0, itt, 0, cmd_sn, exp_stat_sn)


def render_nop_out(*, lun: bytes, ttt: int, cmd_sn: int, exp_stat_sn: int) -> bytes:
    """The header of a NOP-Out that answers a NOP-In (RFC 7143 section 11.18): its LUN and target transfer tag, no task."""
    return struct.pack("!BBxxI8sIIII16x", IMMEDIATE | Opcode.NOP_OUT, FINAL, 0, lun, RESERVED_TAG, ttt, cmd_sn, exp_stat_sn)


def render_pdu(header: bytes, data: bytes = b"", *, header_digest: bool = False, data_digest: bool = False) -> bytes:
    """A whole PDU: header, digest, data padded to four bytes, digest (RFC 7143 section 11.1). No data, no data digest."""
    parts = [header]
    if header_digest:
        parts.append(render_digest(header))
    if data:
        padded = data + bytes(-len(data) % 4)
        parts.append(padded)
        if data_digest:
            parts.append(render_digest(padded))
    return b"".join(parts)


class FrameReader:
    """Cuts a stream of bytes into PDUs. What is buffered between two frames is at most one PDU of ``limit`` bytes of data."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.header_digest = False
        self.data_digest = False
        self._buffer = bytearray()
        self._header_seen = False

    def feed(self, data: bytes) -> None:
        """Take bytes in; call ``next_frame`` until it returns None before feeding again."""
        self._buffer += data

    @property
    def opcode(self) -> t.Optional[int]:
        """The opcode of the PDU that comes next, as soon as its first byte is there."""
        return self._buffer[0] & OPCODE_MASK if self._buffer else None

    def next_frame(self) -> t.Optional[Frame]:
        """The next whole PDU, or None where more bytes are needed. Raises ``ProtocolError``: too long, wrong digest."""
        buffer = self._buffer
        if len(buffer) < BHS_BYTES:
            return None
        length = int.from_bytes(buffer[5:8], "big")
        header_end = BHS_BYTES + 4 * buffer[4]
        data_start = header_end + (DIGEST_BYTES if self.header_digest else 0)
        if not self._header_seen:
            if len(buffer) < data_start:
                return None
            # the digest is looked at before the length in the header is believed
            if self.header_digest and render_digest(buffer[:header_end]) != buffer[header_end:data_start]:
                raise ProtocolError("sent a header whose CRC32C digest is wrong", "The network or the target damages data on this path")
            self._header_seen = True
        if length > self.limit:
            raise ProtocolError(f"sent a PDU of {length} bytes; at most {self.limit} are accepted")
        data_end = data_start + length + -length % 4
        end = data_end + (DIGEST_BYTES if self.data_digest and length else 0)
        if len(buffer) < end:
            return None
        if end > data_end and render_digest(buffer[data_start:data_end]) != buffer[data_end:end]:
            raise ProtocolError("sent data whose CRC32C digest is wrong", "The network or the target damages data on this path")
        frame = Frame(buffer[0] & OPCODE_MASK, bytes(buffer[:BHS_BYTES]), bytes(buffer[data_start:data_start + length]))
        del buffer[:end]
        self._header_seen = False
        return frame
