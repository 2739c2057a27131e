# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ICMP echo through a network interface, as ``ping -I`` does it (RFC 792, RFC 4443), without a process."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import time
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError

#: seconds for which an answer is waited
ANSWER_WITHIN = 2.0
_REQUEST, _REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
_HEADER = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence number


def ping(interface: str, address: str, *, count: int, size: int, interval: float, within: float = ANSWER_WITHIN) -> t.List[t.Tuple[int, str]]:
    """The number of each packet, and why it got no answer, empty where it got one. ``interface`` may be empty: the routes decide then."""
    asked = ipaddress.ip_address(address)
    version, address = asked.version, str(asked)  # as the kernel writes the sender of an answer
    family, protocol = (socket.AF_INET, socket.IPPROTO_ICMP) if version == 4 else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
    answers = []
    try:
        with socket.socket(family, socket.SOCK_RAW, protocol) as endpoint:
            if interface:
                endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
            for number in range(1, count + 1):
                answers.append((number, _one(endpoint, version, address, number, size, within)))
                if number < count:
                    time.sleep(interval)
    except OSError as error:
        raise HostError(f"ping {address}", f"could not be done: {error.strerror}", "Run the task as root (become: true)") from error
    return answers


def _one(endpoint: socket.socket, version: int, address: str, number: int, size: int, within: float) -> str:
    identifier = os.getpid() & 0xFFFF
    try:
        endpoint.sendto(request(version, identifier, number, size), (address, 0))
        deadline = time.monotonic() + within
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return "timed out"
            endpoint.settimeout(left)
            data, sender = endpoint.recvfrom(65536)
            if sender[0].partition("%")[0] == address and is_reply(version, data, identifier, number):
                return ""
    except socket.timeout:
        return "timed out"
    except OSError as error:
        return error.strerror or str(error)


def request(version: int, identifier: int, number: int, size: int) -> bytes:
    """An echo request; the kernel fills in the checksum of ICMPv6."""
    payload = bytes(size)
    head = _HEADER.pack(_REQUEST[version], 0, 0, identifier, number)
    return _HEADER.pack(_REQUEST[version], 0, checksum(head + payload) if version == 4 else 0, identifier, number) + payload


def is_reply(version: int, data: bytes, identifier: int, number: int) -> bool:
    """Whether this is the answer; IPv4 packets come with their IP header."""
    start = (data[0] & 0x0F) * 4 if version == 4 and data else 0
    if len(data) < start + _HEADER.size:
        return False
    kind, code, _checksum, its_identifier, its_number = _HEADER.unpack_from(data, start)
    return (kind, code, its_identifier, its_number) == (_REPLY[version], 0, identifier, number)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    padded = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
