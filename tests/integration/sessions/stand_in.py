# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for a kernel with iSCSI sessions and for iscsid, for the real iscsiadm and the real udevadm.

Runs as root in a mount and a network namespace of its own: ROOT/sys, ROOT/etc/iscsi and ROOT/etc/udev/rules.d are put over the machine's own, /run
and /dev are new. It answers on iscsid's abstract socket (usr/mgmt_ipc.h) with counters, logins, log-outs and the initiator's name, and lets a disk go
whose ``delete`` is written, until its standard input ends. A login brings up the session that is prepared for the target in /sys/prepared.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

CONFIG, INITIATOR_NAME, STATS, LOGOUT, LOGIN = 10, 8, 7, 2, 1
SESSION_NOT_FOUND = 2
LOGIN_FAILED = 5
LONGER_THAN_ANY_ANSWER = 65536
NAME = b"\0ISCSIADM_ABSTRACT_NAMESPACE"
LENGTH_OF_NAMES = 108  # of sockets, on Linux
NODES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9)}
#: struct iscsi_uevent (include/iscsi_if.h) goes before the counters in the kernel's answer
UEVENT = bytes(56)


def counters(sid: int) -> bytes:
    """struct iscsi_stats: two counters of bytes, then PDUs sent, received, and errors, all of them different; one of the transport's own."""
    numbers = [1000 * sid + number for number in range(19)]
    own = struct.pack("=64sQ", b"eh_abort_cnt", 7000 + sid)
    return struct.pack("=QQ19I", 2 ** 40 + sid, 2 ** 41 + sid, *numbers) + struct.pack("=I", 1) + own


def let_go(device: Path) -> None:
    """A SCSI device goes, and its disk with it."""
    for disk in (device / "block").glob("*"):
        for link in (Path("/sys/class/block") / disk.name, Path("/sys/block") / disk.name):
            link.unlink()
    shutil.rmtree(device)


def log_out(sid: int) -> int:
    link = Path(f"/sys/class/iscsi_session/session{sid}")
    if not link.exists():
        return SESSION_NOT_FOUND
    folder = (link / "device").resolve()
    for device in folder.glob("target*/*:*"):
        let_go(device)
    link.unlink()
    Path(f"/sys/class/iscsi_connection/connection{sid}:0").unlink()
    shutil.rmtree(folder)
    return 0


def log_in(connection: socket.socket) -> int:
    """The record of the node is in the request, with the target's name somewhere in it (struct node_rec); what follows is read by the caller."""
    record, name = b"", None
    connection.settimeout(5)
    with contextlib.suppress(socket.timeout):
        while name is None and (part := connection.recv(65536)):
            record += part
            name = re.search(rb"iqn\.2026-11\.org\.example:[a-z]+(?=\0)", record)
    connection.settimeout(None)
    prepared = Path("/sys/prepared") / (name.group(0).decode() if name else "nothing")
    if not prepared.exists():
        return LOGIN_FAILED
    for link in prepared.iterdir():
        link.rename(Path("/sys/class") / ("iscsi_connection" if ":" in link.name else "iscsi_session") / link.name)
    prepared.rmdir()
    return 0


def answer(connection: socket.socket) -> None:
    with connection:
        request = connection.recv(12, socket.MSG_WAITALL)
        command, _length, sid = struct.unpack("=iii", request)
        body = b""
        code = 0
        if command == STATS:
            code = 0 if os.path.exists(f"/sys/class/iscsi_session/session{sid}/counts") else SESSION_NOT_FOUND
            body = UEVENT + counters(sid)
        elif command == LOGOUT:
            code = log_out(sid)
        elif command == LOGIN:
            code = log_in(connection)
        elif command == CONFIG:
            body = b"/etc/iscsi/iscsid.conf"
        elif command == INITIATOR_NAME:
            body = b"iqn.2026-11.org.example:witness"
        try:
            connection.sendall((struct.pack("=ii", command, code) + body).ljust(LONGER_THAN_ANY_ANSWER, b"\0"))
            while connection.recv(65536):
                pass
        except OSError:
            pass  # iscsiadm has what it wanted


def serve(listener: socket.socket) -> t.NoReturn:
    while True:
        threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()


def delete() -> t.NoReturn:
    while True:
        for asked in Path("/sys/devices/platform").glob("host*/session*/target*/*:*/delete"):
            let_go(asked.parent)
        time.sleep(0.02)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def main(root: str) -> None:
    mount("-t", "tmpfs", "none", "/run")
    for path in ("/etc/iscsi", "/etc/udev/rules.d"):
        mount("--bind", root + path, path)
    mount("-t", "tmpfs", "none", "/dev")
    for name, (major, minor) in NODES.items():
        os.mknod(f"/dev/{name}", 0o20666, os.makedev(major, minor))
    mount("--bind", f"{root}/sys", "/sys")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for called in (NAME, NAME.ljust(LENGTH_OF_NAMES, b"\0")):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(called)
        listener.listen(64)
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
    threading.Thread(target=delete, daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()


main(sys.argv[1])
