# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one room with sockets: carries many exchanges at once, each under its own deadline.

It knows nothing of what is said. An exchange gives the bytes to send and takes the bytes that came; connecting, name
resolution, deadlines, redirects and saying in words what went wrong are done here. Each job has a thread for itself while
it runs, so a dead portal costs its own deadline and nothing more, as long as no more than ``workers`` are dead at once.
"""

from __future__ import annotations

import errno
import queue
import socket
import threading
import time
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, IscsiError, PeerError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import Portal

RECEIVE_BYTES = 65536
_SO_BINDTODEVICE = getattr(socket, "SO_BINDTODEVICE", 25)
_Address = t.Tuple[int, t.Any]  # address family and what socket.connect takes


class Exchange(t.Protocol):
    """What can be carried. ``finished`` ends it; ``redirect`` then says where to go instead.

    ``answered``: what was asked for has come and only the goodbye is missing; a peer that is silent from then on is no error.
    ``closed`` is called when the peer closed the connection, and raises ``PeerError`` unless that is all right.
    """

    finished: bool
    answered: bool
    redirect: t.Optional[Portal]
    redirect_permanent: bool

    def start(self) -> bytes: ...

    def receive(self, data: bytes) -> bytes: ...

    def closed(self) -> None: ...


class Job(t.NamedTuple):
    """One errand at one portal. ``make`` builds a fresh exchange for every connection (each redirect is a new one).

    ``device`` is a network interface to go out by (SO_BINDTODEVICE), ``source`` a local address to come from.
    """

    portal: Portal
    make: t.Callable[[], Exchange]
    device: t.Optional[str] = None
    source: t.Optional[str] = None


class Outcome(t.NamedTuple):
    """What became of a job: its last exchange, or an error that names the portal.

    ``redirected`` are the portals it was sent to, in order; ``endpoint`` is the address and port that answered last.
    """

    job: Job
    exchange: t.Optional[Exchange] = None
    error: t.Optional[IscsiError] = None
    seconds: float = 0.0
    redirected: t.Tuple[Portal, ...] = ()
    endpoint: t.Optional[t.Tuple[str, int]] = None
    redirect_permanent: bool = False


class UnreachableError(PeerError):
    """No answer from a portal. ``reason`` is one of refused, timeout, no_route, unknown_name, reset, redirects, other."""

    def __init__(self, reason: str, what: str, remedy: str = "") -> None:
        self.reason = reason
        super().__init__("", what, remedy)

    def fields(self) -> dict[str, t.Any]:
        return dict(super().fields(), reason=self.reason)


def run_jobs(
    jobs: t.Sequence[Job], *, connect_timeout: float, timeout: float, workers: int = 32, max_redirects: int = 4,
) -> t.List[Outcome]:
    """Carry all jobs, at most ``workers`` at a time, and return their outcomes in the order of the jobs.

    ``timeout`` is the deadline in seconds of one whole job, redirects included; ``connect_timeout`` bounds, within it, the
    time from the look-up of the name to an open connection. A job's own failure is in its outcome and never raised.
    """

    def run(job: Job) -> Outcome:
        return _Run(job, connect_timeout, timeout, max_redirects).run()

    if len(jobs) < 2:
        return [run(job) for job in jobs]
    from concurrent.futures import ThreadPoolExecutor  # seldom needed, and every import costs the host at every task

    with ThreadPoolExecutor(max_workers=max(1, min(workers, len(jobs)))) as pool:
        return list(pool.map(run, jobs))


class _Run:
    """One job under way."""

    def __init__(self, job: Job, connect_timeout: float, timeout: float, max_redirects: int) -> None:
        self._job = job
        self._connect_timeout = min(connect_timeout, timeout)
        self._timeout = timeout
        self._max_redirects = max_redirects
        self._began = time.monotonic()
        self._portal = job.portal
        self._redirected: t.List[Portal] = []
        self._permanent = False
        self._exchange: t.Optional[Exchange] = None
        self._endpoint: t.Optional[t.Tuple[str, int]] = None

    def run(self) -> Outcome:
        error: t.Optional[IscsiError] = None
        try:
            while self._visit():
                pass
        except IscsiError as problem:
            error = self._named(problem)
        return Outcome(
            job=self._job, exchange=self._exchange, error=error, seconds=time.monotonic() - self._began,
            redirected=tuple(self._redirected), endpoint=self._endpoint, redirect_permanent=self._permanent)

    def _named(self, error: IscsiError) -> IscsiError:
        """The same error with the portal in front of its subject."""
        where = f"portal {self._portal.address}"
        if self._redirected:
            where += f" (redirected from {self._job.portal.address})"
        error.subject = f"{where}, {error.subject}" if error.subject else where
        error.args = (error.sentence(),)
        return error

    def _visit(self) -> bool:
        """One connection; True where the target sends us to another portal, which is then in ``self._portal``."""
        self._exchange = exchange = self._job.make()
        with self._connect() as sock:
            self._talk(sock, exchange)
        if exchange.redirect is None:
            return False
        if len(self._redirected) >= self._max_redirects:
            raise UnreachableError("redirects", f"redirects us again after {len(self._redirected)} redirects", "The targets may point at each other")
        self._permanent = exchange.redirect_permanent and (self._permanent or not self._redirected)
        self._portal = exchange.redirect
        self._redirected.append(self._portal)
        return True

    # -- talking -----------------------------------------------------------------------------------------------------

    def _left(self) -> float:
        return self._began + self._timeout - time.monotonic()

    def _talk(self, sock: socket.socket, exchange: Exchange) -> None:
        try:
            self._send(sock, exchange.start())
            while not exchange.finished:
                sock.settimeout(self._positive(self._left()))
                data = sock.recv(RECEIVE_BYTES)
                if not data:
                    exchange.closed()
                    return
                self._send(sock, exchange.receive(data))
        except socket.timeout:
            if not exchange.answered:
                raise UnreachableError(
                    "timeout", f"connected, but timed out after {self._timeout:g} s waiting for an answer",
                    "The service there may be stuck, or is no iSCSI target; look at it, or allow more time") from None
        except OSError as error:
            if error.errno in (errno.ECONNRESET, errno.EPIPE):
                exchange.closed()  # says it in the words of the errand
                return
            raise _in_words(error) from None

    def _send(self, sock: socket.socket, data: bytes) -> None:
        if data:
            sock.settimeout(self._positive(self._left()))
            sock.sendall(data)

    @staticmethod
    def _positive(seconds: float) -> float:
        if seconds <= 0:
            raise socket.timeout
        return seconds

    # -- connecting --------------------------------------------------------------------------------------------------

    def _connect(self) -> socket.socket:
        """An open connection to the first address of the portal that takes one, within the deadline."""
        allowed = min(self._connect_timeout, self._left())
        if allowed <= 0:
            raise UnreachableError("timeout", f"timed out after {self._timeout:g} s before it could be connected", "Allow more time")
        deadline = time.monotonic() + allowed
        addresses = self._resolve(deadline, allowed)
        first: t.Optional[OSError] = None
        for number, (family, address) in enumerate(addresses):
            # the time that is left is shared, so that one silent address leaves some for the others
            share = (deadline - time.monotonic()) / (len(addresses) - number)
            if share <= 0:
                break
            try:
                sock = self._open(family, address, share)
                self._endpoint = (address[0], address[1])
                return sock
            except OSError as error:
                first = first or error
        if first is None or isinstance(first, socket.timeout):
            raise UnreachableError(
                "timeout", f"timed out after {allowed:g} s while connecting",
                "The address may be wrong, the host down, or a firewall drops the packets")
        raise _in_words(first)

    def _open(self, family: int, address: t.Any, seconds: float) -> socket.socket:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._bind(sock, family)
            sock.settimeout(seconds)
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            sock.close()
            raise
        return sock

    def _bind(self, sock: socket.socket, family: int) -> None:
        device, source = self._job.device, self._job.source
        try:
            if device:
                sock.setsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, device.encode() + b"\0")
            if source:
                sock.bind((source, 0))
        except OSError as error:
            via = f"network interface {device}" if device else f"source address {source}"
            raise HostError(
                via, f"cannot be used for this connection: {error.strerror or error}", "Check the name, that it is up, and that this user may use it") from None

    def _resolve(self, deadline: float, allowed: float) -> t.List[_Address]:
        """All addresses of the portal. A look-up that hangs is left behind in its thread when the deadline comes."""
        host, port = self._portal.host, self._portal.port
        try:
            return self._usable(_look_up(host, port, socket.AI_NUMERICHOST))
        except socket.gaierror:
            pass  # a name: its look-up may block for longer than we have
        answers: queue.Queue[t.Union[t.List[_Address], OSError]] = queue.Queue()

        def work() -> None:
            try:
                answers.put(_look_up(host, port, 0))
            except OSError as error:
                answers.put(error)

        threading.Thread(target=work, daemon=True).start()
        try:
            answer = answers.get(timeout=max(deadline - time.monotonic(), 0.001))
        except queue.Empty:
            raise UnreachableError(
                "timeout", f"the look-up of the name {host} timed out after {allowed:g} s", "Check the name servers of this host") from None
        if isinstance(answer, OSError):
            raise UnreachableError("unknown_name", f"the name {host} is not known ({answer.strerror or answer})", "Check the name, or write the address")
        return self._usable(answer)

    def _usable(self, addresses: t.List[_Address]) -> t.List[_Address]:
        if not self._job.source:
            return addresses
        wanted = socket.AF_INET6 if ":" in self._job.source else socket.AF_INET
        usable = [entry for entry in addresses if entry[0] == wanted]
        if not usable:
            raise HostError(f"source address {self._job.source}", "is of another family (IPv4, IPv6) than the portal", "Give a source address that fits")
        return usable


def _look_up(host: str, port: int, flags: int) -> t.List[_Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except UnicodeError:  # a label too long for a name; Python notices it before the resolver does
        raise socket.gaierror(socket.EAI_NONAME, "no valid host name") from None
    return [(int(family), address) for family, _type, _proto, _name, address in found]


def _in_words(error: OSError) -> IscsiError:
    if isinstance(error, ConnectionRefusedError):
        return UnreachableError("refused", "connection refused, nothing listens there", "Start the target there, or correct address and port")
    if isinstance(error, ConnectionResetError):
        return UnreachableError("reset", "connection reset while connecting", "A firewall or a load balancer may refuse this host")
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN):
        return UnreachableError("no_route", f"no route to it ({error.strerror})", "Check the network of this host and whether the portal is on it")
    if error.errno == errno.ETIMEDOUT:
        return UnreachableError("timeout", "the network gave up on the connection (timed out)", "The host may be down, or a firewall drops the packets")
    return UnreachableError("other", f"connection failed: {error.strerror or error}")
