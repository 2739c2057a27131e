# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A target in memory, written from RFC 7143 and not from the code under test: its own packing, CRC32C and CHAP.

It is a witness: everything a request must hold is checked here, and a request that is wrong raises ``WrongRequest``.
"""

from __future__ import annotations

import hashlib
import struct
import typing as t
from dataclasses import dataclass, field

NO_TAG = 0xFFFFFFFF
HASHES = {5: "md5", 6: "sha1", 7: "sha256", 8: "sha3_256"}
CHALLENGE = bytes(range(100, 124))
IDENTIFIER = 77


class WrongRequest(AssertionError):
    """The initiator sent what RFC 7143 does not allow."""


def bitwise_crc32c(data: bytes) -> bytes:
    """RFC 3385, one bit at a time."""
    crc = 0xFFFFFFFF
    for byte in data:
        for bit in range(8):
            low = (crc ^ (byte >> bit)) & 1
            crc = (crc >> 1) ^ (0x82F63B78 if low else 0)
    return struct.pack("<I", crc ^ 0xFFFFFFFF)


def text(*pairs: t.Tuple[str, str]) -> bytes:
    return b"".join(key.encode() + b"=" + value.encode() + b"\0" for key, value in pairs)


def pdu(header: t.Sequence[int], *, data: bytes = b"", header_digest: bool = False, data_digest: bool = False) -> bytes:
    """48 bytes of header whose data length is filled in, then digests and padding."""
    raw = bytearray(header)
    raw[5:8] = len(data).to_bytes(3, "big")
    out = bytes(raw) + (bitwise_crc32c(bytes(raw)) if header_digest else b"")
    padded = data + b"\0" * (-len(data) % 4)
    return out + padded + (bitwise_crc32c(padded) if data and data_digest else b"")


def login_response(
    *, itt: int = 1, flags: int = 0, version_active: int = 0, isid: bytes = bytes(6), tsih: int = 0, stat_sn: int = 1, status: int = 0,
) -> bytes:
    return (bytes([0x23, flags, 0, version_active, 0, 0, 0, 0]) + isid + struct.pack(">H", tsih) + struct.pack(">I", itt) + bytes(4)
            + struct.pack(">III", stat_sn, 1, 64) + struct.pack(">H", status) + bytes(10))


def text_response(*, itt: int, flags: int = 0x80, ttt: int = NO_TAG, lun: bytes = bytes(8), stat_sn: int = 1) -> bytes:
    return bytes([0x24, flags, 0, 0, 0, 0, 0, 0]) + lun + struct.pack(">IIIII", itt, ttt, stat_sn, 1, 64) + bytes(12)


def logout_response(*, itt: int, response: int = 0, stat_sn: int = 1) -> bytes:
    return bytes([0x26, 0x80, response, 0, 0, 0, 0, 0]) + bytes(8) + struct.pack(">IIIII", itt, 0, stat_sn, 1, 64) + bytes(12)


def nop_in(*, ttt: int, itt: int = NO_TAG, lun: bytes = bytes(8), stat_sn: int = 1) -> bytes:
    return bytes([0x20, 0x80, 0, 0, 0, 0, 0, 0]) + lun + struct.pack(">IIIII", itt, ttt, stat_sn, 1, 64) + bytes(12)


def async_message(event: int, stat_sn: int = 1) -> bytes:
    return bytes([0x32, 0x80, 0, 0, 0, 0, 0, 0]) + bytes(8) + struct.pack(">IIIII", NO_TAG, 0, stat_sn, 1, 64) + bytes([event, 0]) + bytes(10)


def reject(reason: int, stat_sn: int = 1) -> bytes:
    return bytes([0x3F, 0x80, reason, 0, 0, 0, 0, 0]) + bytes(8) + struct.pack(">IIIII", NO_TAG, 0, stat_sn, 1, 64) + bytes(12)


class Seen(t.NamedTuple):
    """A request as it came."""

    opcode: int
    flags: int
    itt: int
    header: bytes
    pairs: t.Tuple[t.Tuple[str, str], ...]


@dataclass
class Target:
    """How the target behaves. ``receive`` takes bytes of the initiator and returns the bytes of the answers."""

    targets: t.Sequence[t.Tuple[str, t.Sequence[str]]] = ()
    algorithm: t.Optional[int] = None  # CHAP is demanded with this one
    secret: str = "initiator-secret"
    challenge: bytes = CHALLENGE
    name_out: str = "the-target"
    secret_out: str = ""  # what mutual CHAP is answered with
    base64: bool = False
    digests: t.Tuple[bool, bool] = (False, False)
    piece: int = 8192  # bytes of text in one answer of the full feature phase
    continue_bit: bool = False  # cut text answers with C=1 instead of F=0 alone
    login_piece: int = 0  # cut login answers with C=1
    stays: int = 0  # how often the move out of a stage is refused at first
    status: int = 0
    redirect: str = ""
    offers: t.Tuple[t.Tuple[str, str], ...] = ()  # keys the target begins with in the operational stage
    answers: t.Mapping[str, str] = field(default_factory=dict)  # instead of what would be answered for a key
    ping: bool = False  # a NOP-In before each answer of the full feature phase
    before_text: t.Sequence[bytes] = ()  # headers put before the answer to a text request
    silent_logout: bool = False
    seen: t.List[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._buffer = b""
        self._stat_sn = 0xFFFFFFFE  # wraps within the login
        self._expected_stat_sn: t.Optional[int] = None
        self._full = False
        self._rest = b""
        self._partial = b""
        self._login_rest: t.List[bytes] = []
        self._user_ok = False
        self.pings_answered = 0

    # -- in

    def receive(self, data: bytes) -> bytes:
        self._buffer += data
        out: t.List[bytes] = []
        while True:
            request = self._cut()
            if request is None:
                return b"".join(out)
            self.seen.append(request)
            out.append(self._answer(request))

    def _cut(self) -> t.Optional[Seen]:
        header_digest, data_digest = self.digests if self._full else (False, False)
        if len(self._buffer) < 48:
            return None
        header = self._buffer[:48]
        length = int.from_bytes(header[5:8], "big")
        start = 48 + 4 * header_digest
        padded_end = start + length + -length % 4
        end = padded_end + (4 if data_digest and length else 0)
        if len(self._buffer) < end:
            return None
        if header_digest and self._buffer[48:52] != bitwise_crc32c(header):
            raise WrongRequest("header digest")
        data = self._buffer[start:padded_end]
        if end > padded_end and self._buffer[padded_end:end] != bitwise_crc32c(data):
            raise WrongRequest("data digest")
        self._buffer = self._buffer[end:]
        opcode, flags = header[0] & 0x3F, header[1]
        if not header[0] & 0x40:
            raise WrongRequest("not immediate")
        if length > 8192:
            raise WrongRequest("more than 8192 bytes in one PDU")
        (itt,) = struct.unpack(">I", header[16:20])
        self._check_numbers(header)
        body = data[:length]
        if opcode == 0x03 and flags & 0x40:
            self._partial += body
            pairs: t.Tuple[t.Tuple[str, str], ...] = ()
        else:
            body, self._partial = self._partial + body, b""
            if body and not body.endswith(b"\0"):
                raise WrongRequest("text that is not ended by NUL")
            pairs = tuple(tuple(item.decode().split("=", 1)) for item in body.split(b"\0") if item)  # type: ignore[misc]
        return Seen(opcode, flags, itt, header, pairs)

    def _check_numbers(self, header: bytes) -> None:
        cmd_sn, exp_stat_sn = struct.unpack(">II", header[24:32])
        if cmd_sn != 1:
            raise WrongRequest(f"CmdSN {cmd_sn} moved although everything is immediate")
        pinged = header[0] & 0x3F == 0 and exp_stat_sn + 1 == self._expected_stat_sn  # answered before the next PDU was looked at
        if self._expected_stat_sn is not None and exp_stat_sn != self._expected_stat_sn and not pinged:
            raise WrongRequest(f"ExpStatSN {exp_stat_sn:#x} instead of {self._expected_stat_sn:#x}")

    def _next_stat_sn(self) -> int:
        now = self._stat_sn
        self._stat_sn = self._expected_stat_sn = (now + 1) & 0xFFFFFFFF
        return now

    # -- out

    def _answer(self, request: Seen) -> bytes:
        if request.opcode == 0x03:
            if self._full:
                raise WrongRequest("login in the full feature phase")
            return self._login(request)
        if not self._full:
            raise WrongRequest(f"opcode {request.opcode:#x} during the login")
        if request.opcode == 0x04:
            return self._text(request)
        if request.opcode == 0x06:
            if self.silent_logout:
                return b""
            return self._full_pdu(logout_response(itt=request.itt, stat_sn=self._next_stat_sn()))
        if request.opcode == 0x00:
            if request.itt != NO_TAG or request.header[20:24] != b"\0\0\xab\xcd" or request.header[8:16] != b"\0\x05" + bytes(6):
                raise WrongRequest("a NOP-Out that does not carry tag and LUN of the NOP-In")
            self.pings_answered += 1
            return b""
        raise WrongRequest(f"opcode {request.opcode:#x}")

    def _full_pdu(self, header: bytes, data: bytes = b"") -> bytes:
        return pdu(header, data=data, header_digest=self.digests[0], data_digest=self.digests[1])

    def _login(self, request: Seen) -> bytes:
        stage, wanted = request.flags >> 2 & 3, request.flags & 3
        transit = bool(request.flags & 0x80)
        isid = request.header[8:14]
        if transit and request.flags & 0x40:
            raise WrongRequest("T and C together")
        if request.header[14:16] != b"\0\0":
            raise WrongRequest("TSIH of a new session is not 0")
        if request.flags & 0x40:
            return self._login_pdu(request, stage << 2, b"", isid)
        if self._login_rest:
            if request.pairs or transit:
                raise WrongRequest("something other than an empty request while the answer is not whole")
            return self._login_piece(request, stage, isid)
        if self.status or self.redirect:
            status, data = self.status or 0x0101, text(("TargetAddress", self.redirect)) if self.redirect else b""
            return pdu(login_response(itt=request.itt, isid=isid, status=status, stat_sn=0), data=data)
        pairs = self._security(dict(request.pairs), request) if stage == 0 else self._operational(request.pairs)
        if transit and self.stays:
            self.stays -= 1
            transit = False
        if stage == 0 and self.algorithm is not None and not self._user_ok:
            transit = False
        data = text(*pairs)
        if self.login_piece and len(data) > self.login_piece:
            self._login_rest = [data[at:at + self.login_piece] for at in range(0, len(data), self.login_piece)]
            return self._login_piece(request, stage, isid)
        if transit and wanted == 3:
            self._full = True
        return self._login_pdu(request, stage << 2 | (0x80 | wanted if transit else 0), data, isid)

    def _login_piece(self, request: Seen, stage: int, isid: bytes) -> bytes:
        data = self._login_rest.pop(0)
        return self._login_pdu(request, stage << 2 | (0x40 if self._login_rest else 0), data, isid)

    def _login_pdu(self, request: Seen, flags: int, data: bytes, isid: bytes) -> bytes:
        return pdu(login_response(itt=request.itt, flags=flags, isid=isid, stat_sn=self._next_stat_sn(), tsih=9 if self._full else 0), data=data)

    def _binary(self, value: bytes) -> str:
        import base64

        return "0b" + base64.b64encode(value).decode() if self.base64 else "0x" + value.hex()

    def _hash(self, identifier: int, secret: str, challenge: bytes) -> bytes:
        return hashlib.new(HASHES[self.algorithm or 5], bytes([identifier]) + secret.encode() + challenge).digest()

    def _security(self, pairs: t.Mapping[str, str], request: Seen) -> t.List[t.Tuple[str, str]]:
        if "AuthMethod" in pairs:
            if "InitiatorName" not in pairs or "SessionType" not in pairs:
                raise WrongRequest("names missing in the first request")
            methods = pairs["AuthMethod"].split(",")
            return [("TargetPortalGroupTag", "1"), ("AuthMethod", self.answers.get(
                "AuthMethod", "CHAP" if self.algorithm is not None else "None" if "None" in methods else "Reject"))]
        if "CHAP_A" in pairs:
            if str(self.algorithm) not in pairs["CHAP_A"].split(","):
                return [("CHAP_A", "Reject")]
            return [("CHAP_A", self.answers.get("CHAP_A", str(self.algorithm))), ("CHAP_I", str(IDENTIFIER)), ("CHAP_C", self._binary(self.challenge))]
        if "CHAP_R" in pairs:
            return self._check_response(pairs)
        return []

    def _check_response(self, pairs: t.Mapping[str, str]) -> t.List[t.Tuple[str, str]]:
        if pairs["CHAP_N"] != "the-user" or bytes.fromhex(pairs["CHAP_R"][2:]) != self._hash(IDENTIFIER, self.secret, self.challenge):
            raise WrongRequest("wrong CHAP_N or CHAP_R")
        self._user_ok = True
        if not self.secret_out or "CHAP_C" not in pairs:
            return []
        proof = self._hash(int(pairs["CHAP_I"]), self.secret_out, bytes.fromhex(pairs["CHAP_C"][2:]))
        return [("CHAP_N", self.name_out), ("CHAP_R", self.answers.get("CHAP_R", self._binary(proof)).replace("OURS", pairs["CHAP_R"]))]

    def _operational(self, pairs: t.Sequence[t.Tuple[str, str]]) -> t.List[t.Tuple[str, str]]:
        answers = []
        for key, value in pairs:
            if key in self.answers:
                answers.append((key, self.answers[key]))
            elif key in ("HeaderDigest", "DataDigest"):
                wanted = "CRC32C" if self.digests[key == "DataDigest"] else "None"
                answers.append((key, wanted if wanted in value.split(",") else "Reject"))
            elif key == "MaxRecvDataSegmentLength":
                answers.append((key, "8192"))
            elif key not in dict(self.offers):
                answers.append((key, value))
        if pairs and self.offers and not any(seen.flags >> 2 & 3 == 1 for seen in self.seen[:-1]):
            answers += self.offers
            self.stays = 1
        return answers

    def _text(self, request: Seen) -> bytes:
        (ttt,) = struct.unpack(">I", request.header[20:24])
        lun = b"\0\x07" + bytes(6)
        if ttt == NO_TAG:
            (key, value), = request.pairs
            if key != "SendTargets":
                raise WrongRequest(f"text key {key}")
            self._rest = b"".join(
                text(("TargetName", name), *(("TargetAddress", address) for address in addresses))
                for name, addresses in self.targets if value in ("All", name))
        elif ttt != 0x1234 or request.header[8:16] != lun or request.pairs:
            raise WrongRequest("the continuation does not carry the tag and LUN of the answer, or carries text")
        out = [self._full_pdu(header) for header in self.before_text]
        if self.ping:
            out.append(self._full_pdu(nop_in(ttt=0xABCD, lun=b"\0\x05" + bytes(6), stat_sn=self._stat_sn)))
        data, self._rest = self._rest[:self.piece], self._rest[self.piece:]
        flags = (0x40 if self.continue_bit else 0) if self._rest else 0x80
        out.append(self._full_pdu(text_response(
            itt=request.itt, flags=flags, ttt=0x1234 if self._rest else NO_TAG, lun=lun, stat_sn=self._next_stat_sn()), data))
        return b"".join(out)


class Carried(t.Protocol):
    finished: bool

    def start(self) -> bytes: ...

    def receive(self, data: bytes) -> bytes: ...

    def closed(self) -> None: ...


def carry(exchange: Carried, target: Target, piece: int = 0) -> bytes:
    """Run an exchange against a target, feeding ``piece`` bytes at a time (0: all at once); return all the target said."""
    said = b""
    to_target = exchange.start()
    while not exchange.finished:
        answer = target.receive(to_target)
        said += answer
        if not answer:
            exchange.closed()
            return said
        to_target = b""
        step = piece or len(answer)
        for at in range(0, len(answer), step):
            to_target += exchange.receive(answer[at:at + step])
    return said
