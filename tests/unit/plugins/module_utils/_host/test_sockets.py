# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real sockets on loopback, and exchanges that know nothing of iSCSI."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import typing as t

import pytest
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InputError, PeerError
from ansible_collections.lunar.iscsi.plugins.module_utils._host import sockets
from ansible_collections.lunar.iscsi.plugins.module_utils._host.sockets import Job, Outcome, UnreachableError, run_jobs
from ansible_collections.lunar.iscsi.plugins.module_utils._names import Portal


class Ask:
    """Says ``ask`` and wants 5 bytes; ``goto 127.0.0.1:port`` in place of ``hello`` is a redirect; ``thank`` wants a goodbye."""

    def __init__(self, ask: bytes = b"ask") -> None:
        self.finished = False
        self.answered = False
        self.redirect: t.Optional[Portal] = None
        self.redirect_permanent = False
        self.ask = ask
        self.got = b""

    def start(self) -> bytes:
        return self.ask

    def receive(self, data: bytes) -> bytes:
        self.got += data
        if self.got.startswith(b"goto ") and self.got.endswith(b"\n"):
            self.redirect, self.redirect_permanent, self.finished = Portal("127.0.0.1", int(self.got[5:])), True, True
        elif self.got == b"thank":
            self.answered = True
            return b"bye"
        elif self.got == b"wrong":
            raise PeerError("the greeting", "is wrong")
        elif len(self.got) >= 5 and not self.got.startswith(b"goto "):
            self.finished = True
        return b""

    def closed(self) -> None:
        if not self.answered:
            raise PeerError("", "closed too early")


Behave = t.Callable[[socket.socket], None]


@pytest.fixture(name="serve")
def fixture_serve() -> t.Iterator[t.Callable[[Behave], Portal]]:
    """Start a server with a behaviour; each connection has a thread; all is over at the end of the test."""
    with contextlib.ExitStack() as stack:
        over = threading.Event()
        stack.callback(over.set)

        def serve(behave: Behave, address: str = "127.0.0.1") -> Portal:
            listener = stack.enter_context(socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET))
            listener.bind((address, 0))
            listener.listen(64)
            listener.settimeout(0.05)

            def one(connection: socket.socket) -> None:
                with connection, contextlib.suppress(OSError):
                    behave(connection)

            def accept() -> None:
                while not over.is_set():
                    with contextlib.suppress(OSError):
                        connection = listener.accept()[0]
                        connection.settimeout(10)
                        threading.Thread(target=one, args=(connection,), daemon=True).start()

            thread = threading.Thread(target=accept, daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(over.set)
            return Portal(address, listener.getsockname()[1])

        yield serve


Serve = t.Callable[..., Portal]


def say(*words: bytes, pause: float = 0.0) -> Behave:
    def behave(connection: socket.socket) -> None:
        connection.recv(100)
        for word in words:
            connection.sendall(word)
            time.sleep(pause)

    return behave


def silent(connection: socket.socket) -> None:
    connection.recv(100)
    connection.recv(100)


def dribble(connection: socket.socket) -> None:
    connection.sendall(b"goto ")
    while True:
        connection.sendall(b"1")
        time.sleep(0.02)


def closed_port() -> Portal:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Portal("127.0.0.1", probe.getsockname()[1])


def run(*portals: Portal, timeout: float = 5.0, connect_timeout: float = 2.0, **options: t.Any) -> t.List[Outcome]:
    return run_jobs([Job(portal, Ask) for portal in portals], connect_timeout=connect_timeout, timeout=timeout, **options)


def reason(outcome: Outcome) -> str:
    assert isinstance(outcome.error, UnreachableError), outcome.error
    assert outcome.error.fields()["reason"] == outcome.error.reason
    return outcome.error.reason


def test_nothing_to_do() -> None:
    assert run_jobs([], connect_timeout=1, timeout=1) == []


def test_one_exchange(serve: Serve) -> None:
    portal = serve(say(b"he", b"llo", pause=0.01))
    (outcome,) = run(portal)
    assert outcome.error is None and isinstance(outcome.exchange, Ask) and outcome.exchange.got == b"hello"
    assert (outcome.job.portal, outcome.endpoint, outcome.redirected) == (portal, ("127.0.0.1", portal.port), ())


def test_ipv6(serve: Serve) -> None:
    (outcome,) = run(serve(say(b"hello"), "::1"))
    assert outcome.error is None and outcome.endpoint is not None and outcome.endpoint[0] == "::1"


def test_order_is_kept_and_a_dead_portal_costs_its_own_deadline_only(serve: Serve) -> None:
    slow, quick, dead = serve(say(b"hello", pause=0.3)), serve(say(b"hello")), serve(silent)
    portals = [dead, slow, quick, dead, quick, closed_port()]
    began = time.monotonic()
    outcomes = run(*portals, timeout=1.0)
    assert time.monotonic() - began < 1.8, "the dead portals were waited for one after the other"
    assert [outcome.job.portal for outcome in outcomes] == portals
    assert [outcome.error is None for outcome in outcomes] == [False, True, True, False, True, False]
    assert all(outcomes[number].seconds < 0.9 for number in (2, 4, 5))
    assert all(0.9 < outcomes[number].seconds < 1.5 for number in (0, 3))


def test_more_jobs_than_workers(serve: Serve) -> None:
    portal = serve(say(b"hello"))
    assert [outcome.error for outcome in run(*[portal] * 20, workers=3)] == [None] * 20


@pytest.mark.parametrize(("behave", "says"), [
    pytest.param(silent, "timed out after 0.3 s", id="silent"),
    pytest.param(dribble, "timed out after 0.3 s", id="a byte now and then"),
])
def test_the_whole_exchange_has_one_deadline(serve: Serve, behave: Behave, says: str) -> None:
    portal = serve(behave)
    (outcome,) = run(portal, timeout=0.3)
    assert reason(outcome) == "timeout" and outcome.seconds < 1.0
    assert f"portal {portal.address}" in str(outcome.error) and says in str(outcome.error)


def test_a_peer_that_takes_nothing_runs_into_the_deadline_too(serve: Serve) -> None:
    def deaf(connection: socket.socket) -> None:
        time.sleep(2)

    job = Job(serve(deaf), lambda: Ask(bytes(64 * 1024 * 1024)))
    (outcome,) = run_jobs([job], connect_timeout=1, timeout=0.4)
    assert reason(outcome) == "timeout" and outcome.seconds < 1.5


def test_refused() -> None:
    portal = closed_port()
    (outcome,) = run(portal)
    assert reason(outcome) == "refused"
    assert str(outcome.error).startswith(f"portal {portal.address}: connection refused")


def test_a_port_that_swallows_connections() -> None:
    """A listener whose backlog is full drops what comes after: as dead as a filtered address."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _number in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        time.sleep(0.05)
        (outcome,) = run(Portal("127.0.0.1", listener.getsockname()[1]), connect_timeout=0.4)
    assert reason(outcome) == "timeout" and "while connecting" in str(outcome.error)
    assert 0.3 < outcome.seconds < 1.2


def test_the_errors_of_the_exchange_get_the_portal_in_front(serve: Serve) -> None:
    closes, wrong = serve(say(b"he")), serve(say(b"wrong"))
    first, second = run(closes, wrong)
    assert str(first.error) == f"portal {closes.address}: closed too early"
    assert str(second.error) == f"portal {wrong.address}, the greeting: is wrong"
    assert isinstance(second.exchange, Ask)


def test_what_was_answered_counts_even_if_the_peer_does_not_say_goodbye(serve: Serve) -> None:
    def thank(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b"thank")
        time.sleep(2)

    silent_end, closing_end = run(serve(thank), serve(say(b"thank")), timeout=0.4)
    assert silent_end.error is None and closing_end.error is None


def test_a_reset_is_the_peer_closing(serve: Serve) -> None:
    def reset(connection: socket.socket) -> None:
        connection.recv(100)  # so that it comes after connecting, not within
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    (outcome,) = run(serve(reset))
    assert "closed too early" in str(outcome.error)


def test_redirects_are_followed(serve: Serve) -> None:
    last = serve(say(b"hello"))
    middle = serve(say(f"goto {last.port}\n".encode()))
    first = serve(say(f"goto {middle.port}\n".encode()))
    (outcome,) = run(first)
    assert outcome.error is None
    assert outcome.redirected == (middle, last) and outcome.endpoint == ("127.0.0.1", last.port) and outcome.redirect_permanent
    (outcome,) = run(first, max_redirects=1)
    assert reason(outcome) == "redirects" and f"redirected from {first.address}" in str(outcome.error)


def test_redirects_in_a_circle_end(serve: Serve) -> None:
    ports: t.List[int] = []

    def around(connection: socket.socket) -> None:
        say(f"goto {ports[0]}\n".encode())(connection)

    portal = serve(around)
    ports.append(portal.port)
    (outcome,) = run(portal)
    assert reason(outcome) == "redirects" and len(outcome.redirected) == 4


def test_every_address_of_a_name_is_tried(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    good, dead = serve(say(b"hello")), closed_port()
    real = sockets._look_up

    def look_up(host: str, port: int, flags: int) -> t.Any:
        return [(socket.AF_INET, (p.host, p.port)) for p in (dead, good)] if host == "san.example.org" and not flags else real(host, port, flags)

    monkeypatch.setattr(sockets, "_look_up", look_up)
    (outcome,) = run(Portal("san.example.org"))
    assert outcome.error is None and outcome.endpoint == (good.host, good.port)


def test_a_name_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(host: str, port: int, flags: int) -> t.Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(sockets, "_look_up", look_up)
    (outcome,) = run(Portal("nobody.example.org"))
    assert reason(outcome) == "unknown_name" and "nobody.example.org" in str(outcome.error)


def test_a_look_up_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    wake = threading.Event()

    def look_up(host: str, port: int, flags: int) -> t.Any:
        if not flags:
            wake.wait(5)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(sockets, "_look_up", look_up)
    (outcome,) = run(Portal("slow.example.org"), connect_timeout=0.3)
    wake.set()
    assert reason(outcome) == "timeout" and "look-up" in str(outcome.error) and outcome.seconds < 1


def test_a_name_too_long_for_the_resolver() -> None:
    (outcome,) = run(Portal("a" * 64 + ".example.org"))
    assert reason(outcome) == "unknown_name"


def test_source_address(serve: Serve) -> None:
    came_from: t.List[str] = []

    def note(connection: socket.socket) -> None:
        came_from.append(connection.getpeername()[0])
        say(b"hello")(connection)

    job = Job(serve(note), Ask, source="127.0.0.3")
    assert run_jobs([job], connect_timeout=1, timeout=1)[0].error is None
    assert came_from == ["127.0.0.3"]


@pytest.mark.parametrize(("job", "subject"), [
    pytest.param(Job(Portal("127.0.0.1"), Ask, source="192.0.2.77"), "source address 192.0.2.77", id="not our address"),
    pytest.param(Job(Portal("127.0.0.1"), Ask, source="::1"), "source address ::1", id="another family"),
    pytest.param(Job(Portal("127.0.0.1"), Ask, device="none0"), "network interface none0", id="no such interface"),
])
def test_what_this_host_cannot_do(job: Job, subject: str) -> None:
    error = run_jobs([job], connect_timeout=1, timeout=1)[0].error
    assert isinstance(error, HostError) and subject in error.subject and "127.0.0.1:3260" in error.subject


def test_an_exchange_that_cannot_be_made_is_an_outcome() -> None:
    def make() -> Ask:
        raise InputError("target", "is missing")

    (outcome,) = run_jobs([Job(Portal("127.0.0.1"), make)], connect_timeout=1, timeout=1)
    assert isinstance(outcome.error, InputError) and outcome.exchange is None
