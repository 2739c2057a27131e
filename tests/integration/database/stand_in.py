# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for iscsid where no kernel module lets it start: it tells iscsiadm the configuration file and the initiator's name.

Runs as root in namespaces of its own (``unshare --mount --net``): ROOT/etc/iscsi and ROOT/run/lock/iscsi are put over the machine's
own, and it answers on iscsid's abstract socket (usr/mgmt_ipc.h) until its standard input ends.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading

COMMANDS = {8: b"iqn.2026-11.org.example:witness", 9: b"", 10: b"/etc/iscsi/iscsid.conf"}
LONGER_THAN_ANY_ANSWER = 65536
NAME = b"\0ISCSIADM_ABSTRACT_NAMESPACE"
LENGTH_OF_NAMES = 108  # of sockets, on Linux


def answer(connection: socket.socket) -> None:
    with connection:
        request = connection.recv(4)
        command = struct.unpack("i", request)[0] if len(request) == 4 else 0
        text = COMMANDS.get(command)
        body = struct.pack("ii", command, 0 if text is not None else 1) + (text or b"")
        try:
            connection.sendall(body.ljust(LONGER_THAN_ANY_ANSWER, b"\0"))
            while connection.recv(65536):
                pass
        except OSError:
            pass  # iscsiadm has what it wanted


def serve(listener: socket.socket) -> None:
    while True:
        threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()


def main(root: str) -> None:
    for path in ("/etc/iscsi", "/run/lock/iscsi"):
        subprocess.run(["mkdir", "-p", path, root + path], check=True)
        subprocess.run(["mount", "--bind", root + path, path], check=True)
    if not os.path.exists("/sys/class/iscsi_transport"):  # a kernel without iscsi_tcp: show a transport, as the module would
        transport = root + "/sys/class/iscsi_transport/tcp"
        os.makedirs(transport)
        for name, text in (("handle", "18446744072637906944"), ("caps", "0x39")):
            with open(os.path.join(transport, name), "w", encoding="ascii") as file:
                file.write(text + "\n")
        subprocess.run(["mount", "--bind", root + "/sys/class", "/sys/class"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for called in (NAME, NAME.ljust(LENGTH_OF_NAMES, b"\0")):  # the latter is how 2.0.873 calls it
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(called)
        listener.listen(64)
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()


main(sys.argv[1])
