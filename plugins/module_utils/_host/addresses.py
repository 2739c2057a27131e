# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses of this host's network interfaces and its default gateways, asked of the kernel by rtnetlink(7), without a process."""

from __future__ import annotations

import errno
import os
import socket
import struct
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError

_RTM_NEWADDR, _RTM_GETADDR, _RTM_NEWROUTE, _RTM_GETROUTE = 20, 22, 24, 26
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_ROOT | NLM_F_MATCH
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_TABLE = 1, 4, 5, 15
_RT_TABLE_MAIN = 254
_HEADER = struct.Struct("=IHHII")
_BUFFER = 1 << 17


class Address(t.NamedTuple):
    """One address of one network interface, by the interface's number."""

    number: int
    address: str
    prefix: int


class Gateway(t.NamedTuple):
    """A default gateway and the network interface it is behind."""

    number: int
    gateway: str


Message = t.Tuple[int, bytes]


def read_addresses() -> t.List[Address]:
    """Every IPv4 and IPv6 address of this host's network interfaces."""
    return parse_addresses(_dump(_RTM_GETADDR))


def read_gateways() -> t.List[Gateway]:
    """The gateways of the default routes in the main table."""
    return parse_gateways(_dump(_RTM_GETROUTE))


def interface_name(index: int) -> str:
    """The name of a network interface; empty where it is gone."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return ""


def parse_addresses(messages: t.Iterable[Message]) -> t.List[Address]:
    """The addresses in answers to RTM_GETADDR (struct ifaddrmsg). Of a point-to-point interface the local one counts."""
    found = []
    for kind, body in messages:
        if kind != _RTM_NEWADDR or len(body) < 8:
            continue
        _family, prefix, _flags, _scope, index = struct.unpack_from("=BBBBI", body)
        attributes = _attributes(body[8:])
        raw = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
        text = _text(raw)
        if text:
            found.append(Address(index, text, prefix))
    return found


def parse_gateways(messages: t.Iterable[Message]) -> t.List[Gateway]:
    """The default gateways in answers to RTM_GETROUTE (struct rtmsg)."""
    found = []
    for kind, body in messages:
        if kind != _RTM_NEWROUTE or len(body) < 12:
            continue
        length, table = body[1], body[4]
        attributes = _attributes(body[12:])
        raw, device = attributes.get(_RTA_GATEWAY), attributes.get(_RTA_OIF)
        if length == 0 and table == _RT_TABLE_MAIN and _RTA_DST not in attributes and device and _text(raw):
            found.append(Gateway(struct.unpack("=I", device[:4])[0], _text(raw)))
    return found


def _text(raw: t.Optional[bytes]) -> str:
    families = {4: socket.AF_INET, 16: socket.AF_INET6}
    return socket.inet_ntop(families[len(raw)], raw) if raw is not None and len(raw) in families else ""


def _attributes(data: bytes) -> t.Dict[int, bytes]:
    found: t.Dict[int, bytes] = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        found[kind] = data[4:length]
        data = data[(length + 3) & ~3:]
    return found


def _dump(kind: int) -> t.List[Message]:
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as asking:
            asking.settimeout(10)
            asking.bind((0, 0))
            asking.sendto(_HEADER.pack(_HEADER.size + 12, kind, _DUMP, 1, 0) + bytes(12), (0, 0))
            return _collect(lambda: asking.recv(_BUFFER))
    except OSError as error:
        raise HostError("the kernel", f"did not tell the addresses of its network interfaces: {error.strerror or error}", "Look at ip address") from error


def _collect(receive: t.Callable[[], bytes]) -> t.List[Message]:
    """The messages of a dump up to its end."""
    found: t.List[Message] = []
    while True:
        data = receive()
        if len(data) < _HEADER.size:
            raise OSError(errno.EPROTO, os.strerror(errno.EPROTO))
        while len(data) >= _HEADER.size:
            length, kind, _flags, _sequence, _port = _HEADER.unpack_from(data)
            if kind == _NLMSG_DONE:
                return found
            if kind == _NLMSG_ERROR or length < _HEADER.size:
                number = -struct.unpack_from("=i", data, _HEADER.size)[0] if len(data) >= _HEADER.size + 4 else errno.EPROTO
                raise OSError(number, os.strerror(number))
            found.append((kind, data[_HEADER.size:length]))
            data = data[(length + 3) & ~3:]
