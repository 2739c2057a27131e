# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iSNS messages as bytes: functions, flags, attributes, and framing with fragments (RFC 4171 sections 5 and 6).

Only what a client needs. All numbers on the wire are big-endian. A message may come in several PDUs (section 5.1.5); ours fit in one.
"""

from __future__ import annotations

import ipaddress
import re
import struct
import typing as t
from enum import IntEnum

from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.errors import LocalProtocolError, ProtocolError

VERSION = 1  # section 5.1.1
HEADER = struct.Struct("!HHHHHH")  # section 5.1: version, function, length of the payload, flags, transaction, sequence
RESPONSE = 0x8000  # section 5.1.2: set in the function of an answer
#: section 5.1.3: the length of a payload is a 16 bit number and a multiple of 4
MAX_PAYLOAD = 65532
#: section 6.4.1: with the NUL byte at its end; 223 of the name itself
MAX_NAME_VALUE = 224
_UDP = 0x10000  # section 6.3.2: the port belongs to UDP


class Function(IntEnum):
    """Section 5.1.2, table of functions."""

    REGISTER = 0x0001
    QUERY = 0x0002
    GET_NEXT = 0x0003
    DEREGISTER = 0x0004
    SCN_REGISTER = 0x0005
    SCN_DEREGISTER = 0x0006
    SCN_EVENT = 0x0007
    STATE_CHANGE = 0x0008
    ENTITY_STATUS = 0x000D
    HEARTBEAT = 0x000E


class Flag(IntEnum):
    """Section 5.1.4."""

    CLIENT = 0x8000
    SERVER = 0x4000
    AUTHENTICATED = 0x2000
    REPLACE = 0x1000
    LAST = 0x0800
    FIRST = 0x0400


class Tag(IntEnum):
    """Attributes, section 6.1; those that discovery needs."""

    DELIMITER = 0
    ENTITY_ID = 1
    ENTITY_PROTOCOL = 2
    REGISTRATION_PERIOD = 6
    PORTAL_ADDRESS = 16
    PORTAL_PORT = 17
    SCN_PORT = 23
    NODE_NAME = 32
    NODE_TYPE = 33
    NODE_ALIAS = 34
    SCN_BITMAP = 35
    GROUP_NODE_NAME = 48
    GROUP_ADDRESS = 49
    GROUP_PORT = 50
    GROUP_TAG = 51


class NodeType(IntEnum):
    """Section 6.4.2."""

    TARGET = 1
    INITIATOR = 2
    CONTROL = 4


class Scn(IntEnum):
    """What a state change notification tells of, section 6.4.4."""

    MEMBER_ADDED = 0x01
    MEMBER_REMOVED = 0x02
    UPDATED = 0x04
    ADDED = 0x08
    REMOVED = 0x10
    MANAGEMENT = 0x20
    TARGETS_ONLY = 0x40
    INITIATORS_ONLY = 0x80


class Attribute(t.NamedTuple):
    """One attribute (section 5.1.6) with its value as it is on the wire, padded. No value: it is asked for, or there is none."""

    tag: int
    value: bytes = b""

    @property
    def text(self) -> str:
        """The value of a text attribute; raises ``ProtocolError`` where it is none."""
        try:
            text = self.value.rstrip(b"\0").decode("utf-8")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            raise ProtocolError(f"sent the attribute {self.tag} with a value that is no text")
        return text

    @property
    def number(self) -> int:
        """The value of a number; raises ``ProtocolError`` where it has not four bytes."""
        if len(self.value) != 4:
            raise ProtocolError(f"sent the attribute {self.tag} with {len(self.value)} bytes where a number of 4 is expected")
        return int.from_bytes(self.value, "big")

    @property
    def address(self) -> str:
        """The value of an IP address: 16 bytes, of which an IPv4 address is the last four behind zeroes or behind ``::ffff``."""
        if len(self.value) != 16:
            raise ProtocolError(f"sent the attribute {self.tag} with {len(self.value)} bytes where an IP address of 16 is expected")
        if self.value[:12] in (bytes(10) + b"\xff\xff", bytes(12)) and self.value[12:15] != bytes(3):
            return str(ipaddress.IPv4Address(self.value[12:]))
        return str(ipaddress.IPv6Address(self.value))

    @property
    def tcp_port(self) -> t.Optional[int]:
        """The value of a port; None where it belongs to UDP. Raises ``ProtocolError`` where it is no port."""
        number = self.number
        if not 1 <= number & 0xFFFF or number > _UDP | 0xFFFF:
            raise ProtocolError(f"sent the attribute {self.tag} with the port number {number & 0xFFFF}")
        return None if number & _UDP else number


DELIMITER = Attribute(Tag.DELIMITER)


def text_attribute(tag: int, text: str) -> Attribute:
    """Text ends with a NUL byte and is padded to four bytes (section 5.1.6). Raises ``LocalProtocolError`` for what cannot be sent."""
    data = text.encode("utf-8", "surrogateescape")
    if b"\0" in data or len(data) >= MAX_NAME_VALUE:
        raise LocalProtocolError(f"iSNS attribute {int(tag)}", f"has a value that holds a NUL or more than {MAX_NAME_VALUE - 1} bytes")
    return Attribute(tag, data + bytes(4 - len(data) % 4))


def number_attribute(tag: int, number: int) -> Attribute:
    return Attribute(tag, struct.pack("!I", number))


def render_attributes(attributes: t.Iterable[Attribute]) -> bytes:
    return b"".join(struct.pack("!II", attribute.tag, len(attribute.value)) + attribute.value for attribute in attributes)


def parse_attributes(data: bytes) -> t.Tuple[Attribute, ...]:
    """Read attributes to the end of ``data``. Raises ``ProtocolError`` where one is cut off or has no multiple of four bytes."""
    found = []
    place = 0
    while place < len(data):
        if len(data) - place < 8:
            raise ProtocolError("sent an attribute whose head is cut off")
        tag, length = struct.unpack_from("!II", data, place)
        place += 8
        if length % 4:
            raise ProtocolError(f"sent the attribute {tag} with {length} bytes; a multiple of 4 is expected")
        if length > len(data) - place:
            raise ProtocolError(f"sent the attribute {tag} with {length} bytes, of which {len(data) - place} are there")
        found.append(Attribute(tag, data[place:place + length]))
        place += length
    return tuple(found)


class Message(t.NamedTuple):
    """One message, put together from its PDUs. ``status`` is that of an answer, None in a request."""

    function: int
    transaction: int
    status: t.Optional[int] = None
    attributes: t.Tuple[Attribute, ...] = ()
    flags: int = 0

    @property
    def operating(self) -> t.Tuple[Attribute, ...]:
        """The attributes behind the delimiter (section 5.6); all of them where there is none."""
        for place, attribute in enumerate(self.attributes):
            if attribute.tag == Tag.DELIMITER:
                return self.attributes[place + 1:]
        return self.attributes


def render_message(message: Message) -> bytes:
    """A message in one PDU. Raises ``LocalProtocolError`` where it is too long for one."""
    payload = render_attributes(message.attributes)
    if message.status is not None:
        payload = struct.pack("!I", message.status) + payload
    if len(payload) > MAX_PAYLOAD:
        raise LocalProtocolError("iSNS message", f"has {len(payload)} bytes; at most {MAX_PAYLOAD} go into one")
    function = message.function | (RESPONSE if message.status is not None else 0)
    return HEADER.pack(VERSION, function, len(payload), message.flags | Flag.FIRST | Flag.LAST, message.transaction, 0) + payload


class Limits(t.NamedTuple):
    """What a server may make us keep: bytes of one message, messages that are not whole yet, targets, portals of one target."""

    message_bytes: int = 16 * 1024 * 1024
    open_messages: int = 16
    targets: int = 16384
    portals_per_target: int = 256


class _Open:
    """A message of which PDUs are missing."""

    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.pieces: t.List[bytes] = []
        self.size = 0


class MessageReader:
    """Cuts a stream of bytes into PDUs and puts messages together. Raises ``ProtocolError``; the connection is over then."""

    def __init__(self, limits: Limits = Limits()) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._open: t.Dict[t.Tuple[int, int], _Open] = {}

    def feed(self, data: bytes) -> None:
        """Take bytes in; call ``next_message`` until it returns None before feeding again."""
        self._buffer += data

    def next_message(self) -> t.Optional[Message]:
        """The next whole message, or None where more bytes are needed."""
        while True:
            buffer = self._buffer
            if len(buffer) < HEADER.size:
                return None
            version, function, length, flags, transaction, sequence = HEADER.unpack_from(buffer)
            if version != VERSION:
                raise ProtocolError(f"speaks version {version} of iSNS; 1 is expected", "The service there may be no iSNS server")
            if length % 4:
                raise ProtocolError(f"sent a PDU of {length} bytes; a multiple of 4 is expected")
            if flags & Flag.AUTHENTICATED:
                raise ProtocolError("signs its messages, which cannot be checked here", "Let the server answer this host without authentication blocks")
            if len(buffer) < HEADER.size + length:
                return None
            payload = bytes(buffer[HEADER.size:HEADER.size + length])
            del buffer[:HEADER.size + length]
            message = self._take(function, flags, transaction, sequence, payload)
            if message is not None:
                return message

    def _take(self, function: int, flags: int, transaction: int, sequence: int, payload: bytes) -> t.Optional[Message]:
        key = (function, transaction)
        if flags & Flag.FIRST:
            if key in self._open or sequence:
                raise ProtocolError(f"begins the message {transaction} in the middle")
            if len(self._open) >= self._limits.open_messages:
                raise ProtocolError(f"sends more than {self._limits.open_messages} messages at once")
            self._open[key] = _Open(flags)
        held = self._open.get(key)
        if held is None or sequence != len(held.pieces):
            raise ProtocolError(f"sent the piece {sequence} of the message {transaction}, which was not next")
        held.pieces.append(payload)
        held.size += HEADER.size + len(payload)  # an empty piece counts, too
        if held.size > self._limits.message_bytes:
            raise ProtocolError(f"sent a message of more than {self._limits.message_bytes} bytes")
        if not flags & Flag.LAST:
            return None
        del self._open[key]
        return _parse_message(function, transaction, b"".join(held.pieces), held.flags | flags)


def _parse_message(function: int, transaction: int, payload: bytes, flags: int) -> Message:
    flags &= ~(Flag.FIRST | Flag.LAST)
    if not function & RESPONSE:
        return Message(function, transaction, None, parse_attributes(payload), flags)
    if len(payload) < 4:
        raise ProtocolError("sent an answer without a status")
    return Message(function & ~RESPONSE, transaction, int.from_bytes(payload[:4], "big"), parse_attributes(payload[4:]), flags)


def shown(text: str) -> str:
    """Text of a peer for an error, cut short."""
    cleaned = re.sub(r"[^ -~]", "?", text)
    return repr(cleaned[:120] + ("..." if len(cleaned) > 120 else ""))
