# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking multipathd over its own socket, without a process.

The wire (multipath-tools: libmpathcmd/mpath_cmd.c, multipathd/uxlsnr.c): a length in the host's own ``size_t`` and that many
bytes of text with a NUL at the end, in both directions; the connection stays open for further commands. Two facts that are
easily missed: the length counts the NUL, and the JSON answers of 0.6.2 to 0.8.6 come without one.

Where it listens: on the abstract socket since 0.5.0, and on a file in ``/run`` too since 0.12.0, so that it can be reached from
another network namespace (an abstract name belongs to one). Its own client tries the file first, and so do we. 0.4.9 listens on
a file in ``/var/run`` and speaks JSON only as Red Hat patched it; there the command is asked, as wherever no socket is found.

Who may ask: ``list`` and ``show`` everybody, all else root, whom the daemon knows by the credentials of the socket. Anybody can
listen on an abstract name while the daemon is down, so we look at the credentials too: the answer has to come from root.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Runner, last_words

SOCKETS = ("/run/multipathd.socket", "@/org/kernel/linux/storage/multipathd")
#: the client of multipath-tools refuses a longer answer, too (MAX_REPLY_LEN)
MAX_REPLY = 32 * 1024 * 1024
#: the daemon gives up waiting for its own lock after uxsock_timeout, 4000 ms unless configured longer; then it says so
PATIENCE = 10.0
_LENGTH = struct.Struct("@N")
_CREDENTIALS = struct.Struct("@iII")  # struct ucred: pid, uid, gid
_PAUSE = 0.05
_SUBJECT = "multipathd"
_ABSENT = (errno.ENOENT, errno.ECONNREFUSED, errno.EACCES, errno.ENOTDIR)


class NotRunningError(HostError):
    """Nobody listens for multipathd on this host. It may be asked again later."""

    def __init__(self, said: str = "") -> None:
        what = "does not run on this host" + (f": {said}" if said else "")
        super().__init__(_SUBJECT, what, "Start it (systemctl start multipathd); it wants a multipath.conf on some distributions")


class RefusedError(HostError):
    """multipathd answered, and the answer is no. ``busy`` says whether asking again may help (a lock, a map that just went)."""

    def __init__(self, command: str, said: str, busy: bool) -> None:
        self.busy = busy
        remedy = "Try again; another command holds its lock, or a map changed meanwhile" if busy else "Look into the log of multipathd"
        super().__init__(_SUBJECT, f"answers {command!r} with {said!r}", remedy)


class BrokenOffError(HostError):
    """multipathd was there, and the connection to it broke: it was stopped, is being started anew, or has crashed."""

    def __init__(self, what: str) -> None:
        super().__init__(_SUBJECT, what, "It may have been stopped or have crashed; look into its log")


class Daemon:
    """One way to ask multipathd. ``names`` are sockets (``@`` marks an abstract one), ``owners`` the users that may answer.

    Every question is a connection of its own: the daemon may be restarted between two of them. Where no socket is found, the
    command ``multipathd`` is asked by ``runner``, since a distribution may have built it with other names.
    """

    def __init__(
        self,
        *,
        runner: t.Optional[Runner] = None,
        names: t.Optional[t.Sequence[str]] = None,
        owners: t.Sequence[int] = (0,),
        clock: t.Callable[[], float] = time.monotonic,
        sleep: t.Callable[[float], None] = time.sleep,
    ) -> None:
        own = os.environ.get("MULTIPATH_SOCKET_NAME")  # what the client of 0.12.0 and later obeys
        self._runner = Runner() if runner is None else runner
        self._names = tuple(names) if names is not None else (own,) if own else SOCKETS
        self._owners = tuple(owners)
        self._clock, self._sleep = clock, sleep

    def ask(self, command: str, timeout: float = PATIENCE) -> bytes:
        """The answer to one command, as it is, without the NUL at its end; ``timeout`` seconds for all of it.

        Raises ``NotRunningError``, ``RefusedError`` where the daemon says no, ``BrokenOffError`` where it ends meanwhile, ``HostError``
        where it stays silent, is not installed or is not root's, and ``DamagedError`` where what comes is no answer at all.
        """
        deadline = self._clock() + timeout
        for name in self._names:
            link = self._connect(name, deadline)
            if link is None:
                continue
            with link:
                self._check_owner(link, name)
                return check_reply(command, self._exchange(link, command.encode("utf-8", "surrogateescape"), deadline))
        return self._run(command, max(1.0, deadline - self._clock()))

    def _connect(self, name: str, deadline: float) -> t.Optional[socket.socket]:
        address = "\0" + name[1:] if name.startswith("@") else name
        while True:
            link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                link.settimeout(self._left(deadline))
                link.connect(address)
                return link
            except OSError as error:
                link.close()
                if error.errno in _ABSENT:
                    return None
                if error.errno != errno.EAGAIN:  # EAGAIN: more clients wait than its queue holds
                    raise _broken(error)
            self._sleep(min(_PAUSE, self._left(deadline)))

    def _check_owner(self, link: socket.socket, name: str) -> None:
        _pid, uid, _gid = _CREDENTIALS.unpack(link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        if uid not in self._owners:
            raise HostError(f"socket {name}", f"is answered by a process of the user {uid}, not by root", "Find out who listens there: ss -xlp")

    def _exchange(self, link: socket.socket, command: bytes, deadline: float) -> bytes:
        try:
            link.settimeout(self._left(deadline))
            link.sendall(_LENGTH.pack(len(command) + 1) + command + b"\0")
            length = _LENGTH.unpack(self._receive(link, _LENGTH.size, deadline))[0]
            if not 0 < length < MAX_REPLY:
                raise DamagedError(_SUBJECT, f"announces an answer of {length} bytes", "Look at what listens on its socket: ss -xlp")
            return self._receive(link, length, deadline)
        except socket.timeout:
            raise _silent()
        except OSError as error:
            raise BrokenOffError(f"broke off the connection: {error.strerror or error}")

    def _receive(self, link: socket.socket, length: int, deadline: float) -> bytes:
        parts: t.List[bytes] = []
        missing = length
        while missing:
            link.settimeout(self._left(deadline))
            part = link.recv(min(missing, 1 << 16))
            if not part:
                raise BrokenOffError("ended the connection before its answer was complete")
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _left(self, deadline: float) -> float:
        left = deadline - self._clock()
        if left <= 0:
            raise _silent()
        return left

    def _run(self, command: str, timeout: float) -> bytes:
        # the daemon takes the rest of its command line for one command
        result = self._runner.run(["multipathd", *command.split(" ")], timeout=timeout)
        text = result.stdout.encode("utf-8", "surrogateescape")
        if not text.strip() or result.code and not text.lstrip().startswith((b"fail", b"timeout")):
            raise NotRunningError(last_words(result.stderr) or last_words(result.stdout))
        return check_reply(command, text)


def check_reply(command: str, reply: bytes) -> bytes:
    """The answer up to its NUL; raises ``RefusedError`` for the answers that mean no.

    They are ``fail`` (since 0.9.8 with a reason below), ``timeout`` (the daemon's lock was not free within ``uxsock_timeout``; since
    0.9.8 a reason below ``fail``) and ``permission deny: need to be root``. ``ok`` is the answer to what has nothing to tell.
    """
    text = reply.split(b"\0", 1)[0]
    lines = [line.strip() for line in text[:1000].decode("utf-8", "replace").splitlines() if line.strip()]
    if lines and (lines[0] in ("fail", "timeout") or lines[0].startswith("permission deny")):
        said = lines[:2]  # below a "fail" because of the command itself stands the help for all commands
        raise RefusedError(command, ", ".join(said), said in (["fail"], ["timeout"], ["fail", "timeout"], ["fail", "device not found"]))
    return text


def _broken(error: OSError) -> HostError:
    if isinstance(error, socket.timeout):
        return _silent()
    return HostError(_SUBJECT, f"cannot be asked: {error.strerror or error}", "Look at whether it runs: systemctl status multipathd")


def _silent() -> HostError:
    return HostError(_SUBJECT, "did not answer in time", "It may be busy with paths that hang; look into its log, and give a longer timeout")
