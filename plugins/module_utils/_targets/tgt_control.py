# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Speaking with tgtd over its control socket, without a process: no secret is ever an argument, and a request costs a round trip.

The wire (tgt: usr/tgtadm.h, usr/mgmt.c, unchanged since 1.0.19 of 2011): a fixed C structure in the host's own byte order and a text of
``key=value`` pairs; the answer is an error number, a length and a text. One connection for one request.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, HostError

#: where the socket is since tgt 1.0.58, and where it was before
NAMES = ("/var/run/tgtd/socket", "/var/run/tgtd.ipc_abstract_namespace")
#: mgmt.c, MAX_MGT_BUFSIZE: a longer text is dropped without an answer
MAX_TEXT = 8 * 1024
_MAX_REPLY = 64 * 1024 * 1024
_PATIENCE = 30.0

MODES = {"system": 0, "target": 1, "device": 2, "portal": 3, "lld": 4, "session": 5, "connection": 6, "account": 7}
OPS = {"new": 0, "delete": 1, "show": 2, "bind": 3, "unbind": 4, "update": 5}
#: SCSI peripheral device types (SPC-4 section 6.4.2); passthrough is tgt's own word
DEVICE_TYPES = {"disk": 0, "tape": 1, "cd": 5, "changer": 8, "osd": 0x11, "pt": 0xFF}
#: tgtadm_error.h, by number
REFUSALS = (
    "success", "it failed for a reason that is in its log alone", "it has no memory left", "it has no such driver", "there is no such target",
    "there is no such LUN", "there is no such session", "there is no such connection", "there is no such binding",
    "there is a target of this number or name already", "there is a LUN of this number already", "there is such a binding already",
    "there is such an entry already", "there is no such entry", "there is an account of this name already", "there is no such account",
    "it has too many accounts", "it does not accept the request", "the target has an outgoing account already", "the target has sessions",
    "commands are running on the LUN", "the driver is busy", "it does not know this operation", "it does not know this parameter",
    "the medium is locked by an initiator",
)  # fmt: skip
#: the number of a target in a request that is about all of them
ALL_TARGETS = -1
TARGET_ACTIVE, LUN_ACTIVE = 19, 20
# mode, op, lld, len, tid, sid, lun, cid, host_no, device_type, ac_dir, pack, force; padded as a C compiler pads it
_REQUEST = struct.Struct("@ii64sIiQQIIIIII")
_REPLY = struct.Struct("@II")


class Request(t.NamedTuple):
    """One thing to ask of tgtd. ``text`` is what tgtadm makes of its options; a secret one is never shown."""

    mode: str
    op: str
    text: str = ""
    tid: int = 0
    lun: int = 0
    sid: int = 0
    cid: int = 0
    lld: str = "iscsi"
    device: str = "disk"
    outgoing: bool = False
    secret: bool = False

    def __repr__(self) -> str:
        where = f" tid {self.tid}" if self.tid > 0 else ""
        return f"Request({self.mode} {self.op}{where}{f' lun {self.lun}' if self.mode == 'device' else ''} {'********' if self.secret else self.text})"


class RefusedError(HostError):
    """tgtd answered, and the answer is no; ``number`` is that of tgtadm_error.h."""

    def __init__(self, request: Request, number: int) -> None:
        self.number = number
        why = REFUSALS[number] if number < len(REFUSALS) else f"error {number}"
        super().__init__(f"tgtd, asked for {request!r}", why, "Its log says more (journalctl -u tgt, or -u tgtd)")


class Control:
    """tgtd at one control port. ``names`` are given by tests; ``TGT_IPC_SOCKET`` is obeyed as by tgtadm."""

    def __init__(self, port: int = 0, names: t.Sequence[str] = NAMES) -> None:
        own = os.environ.get("TGT_IPC_SOCKET")
        paths = [f"{name}.{port}" for name in ([own] if own else names)]
        self.port = port
        self.path = next(filter(os.path.exists, paths), paths[0])
        #: requests so far, for the curious
        self.asked = 0

    def ask(self, request: Request, patience: float = _PATIENCE) -> str:
        """The text of the answer. Raises ``RefusedError`` where tgtd says no, ``HostError`` where it is not there or silent."""
        self.asked += 1
        deadline = time.monotonic() + patience
        with self._connect() as link:
            try:
                link.settimeout(patience)
                link.sendall(pack(request))
                number, length = _REPLY.unpack(_receive(link, _REPLY.size, deadline))
                if number:
                    raise RefusedError(request, number)
                if not _REPLY.size <= length < _MAX_REPLY:
                    raise DamagedError(f"socket {self.path}", f"announces an answer of {length} bytes", "Look at what listens there: ss -xlp")
                return _receive(link, length - _REPLY.size, deadline).rstrip(b"\0").decode("utf-8", "surrogateescape")
            except socket.timeout:
                raise HostError("tgtd", f"did not answer within {patience:.0f} s", "Its backing stores may hang; look at them and at its log") from None
            except OSError as error:
                raise HostError("tgtd", f"broke off the connection: {error.strerror or error}",
                                "It may have been stopped or have crashed; look into its log") from None

    def _connect(self) -> socket.socket:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            link.settimeout(_PATIENCE)
            link.connect(self.path)
        except OSError as error:
            link.close()
            if error.errno in (errno.EACCES, errno.EPERM):
                raise HostError(f"socket {self.path}", "may be used by root alone", "Run the task as root (become: true)") from None
            if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
                raise HostError("tgtd", f"does not run on this host with the control port {self.port}",
                                "Install it (package tgt or scsi-target-utils) and start it (systemctl start tgt, or tgtd)") from None
            raise HostError(f"socket {self.path}", f"cannot be used: {error.strerror or error}", "Look at whether tgtd runs") from None
        return link


def pack(request: Request) -> bytes:
    """A request as bytes; raises ``HostError`` where its text is longer than tgtd takes."""
    # tgtd reads the text as C strings: a NUL at the end as tgtadm sends it
    text = request.text.encode("utf-8", "surrogateescape") + b"\0" if request.text else b""
    if len(text) > MAX_TEXT:
        raise HostError(f"tgtd, asked for {request.mode} {request.op}", f"takes no more than {MAX_TEXT} bytes", "Use shorter names and paths")
    return _REQUEST.pack(
        MODES[request.mode], OPS[request.op], request.lld.encode("ascii"), _REQUEST.size + len(text), request.tid, request.sid, request.lun,
        request.cid, 0, DEVICE_TYPES[request.device], int(request.outgoing), 0, 0) + text  # fmt: skip


def _receive(link: socket.socket, length: int, deadline: float) -> bytes:
    parts: t.List[bytes] = []
    while length:
        left = deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout
        link.settimeout(left)
        part = link.recv(min(length, 1 << 16))
        if not part:
            raise ConnectionResetError(errno.ECONNRESET, "it ended before the answer was complete")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
