# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The framing, against a stand-in for multipathd on a socket of its own (the real one is asked in the lab).

The stand-in's answers are those that multipathd 0.9.4 gave to the same commands.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result, Runner
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.daemon import BrokenOffError, MAX_REPLY, Daemon, NotRunningError, RefusedError

EMPTY = b'{\n   "major_version": 0,\n   "minor_version": 1,\n   "maps": []\n}\n\0'
NOBODY = "@/lunar.iscsi/nobody"


def framed(reply: bytes) -> bytes:
    return struct.pack("@N", len(reply)) + reply


class StandIn:
    """Listens, notes what each connection sends, and answers it with bytes (in ``pieces``, with a ``pause``), then closes unless it is to ``hang``."""

    def __init__(self, name: str, *answers: bytes, pieces: int = 1 << 20, pause: float = 0.0, hang: bool = False) -> None:
        self.name, self.received = name, t.cast(t.List[bytes], [])
        self._answers, self._pieces, self._pause, self._hang = list(answers), pieces, pause, hang
        self._done = threading.Event()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self._socket.listen(5)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> StandIn:
        self._thread.start()
        return self

    def __exit__(self, *_args: object) -> None:
        self._done.set()
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._thread.join(5)
        self._socket.close()

    def _serve(self) -> None:
        for answer in self._answers:
            try:
                link, _address = self._socket.accept()
            except OSError:
                return
            with link:
                head = link.recv(8, socket.MSG_WAITALL)
                if len(head) < 8:
                    continue  # who asked has gone
                (length,) = struct.unpack("@N", head)
                self.received.append(link.recv(length, socket.MSG_WAITALL))
                for start in range(0, len(answer), self._pieces):
                    self._done.wait(self._pause)
                    try:
                        link.sendall(answer[start:start + self._pieces])
                    except OSError:
                        return
                if self._hang:
                    self._done.wait(10)


class NoCommand(Runner):
    """A runner that notes what would be run and gives a fixed answer."""

    def __init__(self, code: int = 1, stdout: str = "", stderr: str = "") -> None:
        super().__init__()
        self.ran: t.List[t.Sequence[str]] = []
        self._result = (code, stdout, stderr)

    def run(self, argv: t.Sequence[str], **_options: t.Any) -> Result:
        self.ran.append(list(argv))
        return Result(tuple(argv), *self._result)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return f"@/lunar.iscsi/{os.getpid()}/{request.node.name}"[:100]


def daemon(*names: str, runner: t.Optional[Runner] = None) -> Daemon:
    return Daemon(names=names, owners=[os.getuid()], runner=runner or NoCommand())


@pytest.mark.parametrize("pieces", [1, 3, 1 << 20], ids=["byte by byte", "three bytes", "whole"])
def test_a_question_and_its_answer(name: str, pieces: int) -> None:
    with StandIn(name, framed(EMPTY), pieces=pieces) as peer:
        assert daemon(name).ask("show maps json") == EMPTY[:-1]
    assert peer.received == [b"show maps json\0"]


def test_old_releases_send_json_without_a_nul(name: str) -> None:
    with StandIn(name, framed(EMPTY[:-1])):
        assert daemon(name).ask("show maps json") == EMPTY[:-1]


def test_a_long_answer(name: str) -> None:
    text = b"{" + b"x" * 3000000 + b"}\n"
    with StandIn(name, framed(text + b"\0")):
        assert daemon(name).ask("show maps json") == text


def test_a_new_connection_for_each_question(name: str) -> None:
    with StandIn(name, framed(b"pid 4 idle\n\0"), framed(EMPTY)) as peer:
        asked = daemon(name)
        assert (asked.ask("show daemon"), asked.ask("show maps json")) == (b"pid 4 idle\n", EMPTY[:-1])
    assert peer.received == [b"show daemon\0", b"show maps json\0"]


def test_the_file_is_tried_before_the_abstract_name(name: str, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with StandIn(path, framed(b"file\n\0")) as file, StandIn(name, framed(b"abstract\n\0")):
        assert daemon(path, name).ask("show daemon") == b"file\n"
    assert file.received == [b"show daemon\0"]


@pytest.mark.parametrize("left", ["nothing", "file", "folder"])
def test_without_the_file_the_abstract_name_is_asked(name: str, tmp_path: Path, left: str) -> None:
    path = tmp_path / "s"
    if left == "file":
        with StandIn(str(path)):
            pass  # a socket that nobody listens on any more
    elif left == "folder":
        path = path / "none" / "s"
    with StandIn(name, framed(EMPTY)):
        assert daemon(str(path), name).ask("show maps json") == EMPTY[:-1]


@pytest.mark.parametrize("reply, said, busy", [
    (b"fail\n\0", "fail", True),
    (b"timeout\n\0", "timeout", True),
    (b"fail\ntimeout\n\0", "fail, timeout", True),
    (b"fail\ndevice not found\n\0", "fail, device not found", True),
    (b"permission deny: need to be root\n\0", "permission deny: need to be root", False),
    (b"permission deny: need to be root\0", "permission deny: need to be root", False),
    (b"fail\npermission deny: need to be root\n\0", "fail, permission deny: need to be root", False),
    (b"fail\nshow: not found\n" + b"help for all commands\n" * 99 + b"\0", "fail, show: not found", False),
])
def test_answers_that_mean_no(name: str, reply: bytes, said: str, busy: bool) -> None:
    with StandIn(name, framed(reply)), pytest.raises(RefusedError) as caught:
        daemon(name).ask("show maps json")
    assert (caught.value.busy, said in caught.value.what) == (busy, True)


def test_an_alias_of_fail_is_no_refusal(name: str) -> None:
    with StandIn(name, framed(b"failure fine\n\0")):
        assert daemon(name).ask("show maps") == b"failure fine\n"


@pytest.mark.parametrize("length", [0, MAX_REPLY, 1 << 62], ids=str)
def test_a_length_that_cannot_be(name: str, length: int) -> None:
    with StandIn(name, struct.pack("@N", length)), pytest.raises(DamagedError, match=f"{length} bytes"):
        daemon(name).ask("show maps json")


@pytest.mark.parametrize("sent", [b"", framed(EMPTY)[:5], framed(EMPTY)[:-1]], ids=["nothing", "half a length", "all but one"])
def test_an_answer_that_ends_early(name: str, sent: bytes) -> None:
    with StandIn(name, sent), pytest.raises(BrokenOffError, match="before its answer was complete"):
        daemon(name).ask("show maps json")


@pytest.mark.parametrize("sent", [b"", framed(EMPTY)[:-1]], ids=["nothing", "all but one"])
def test_silence(name: str, sent: bytes) -> None:
    with StandIn(name, sent, hang=True), pytest.raises(HostError, match="did not answer in time"):
        daemon(name).ask("show maps json", timeout=0.2)


def test_a_drip_does_not_outlive_the_time_limit(name: str) -> None:
    with StandIn(name, framed(EMPTY), pieces=1, pause=0.02), pytest.raises(HostError, match="did not answer in time"):
        daemon(name).ask("show maps json", timeout=0.3)


def test_an_answer_from_somebody_else_is_not_taken(name: str) -> None:
    with StandIn(name, framed(EMPTY)) as peer, pytest.raises(HostError, match=f"a process of the user {os.getuid()}, not by root"):
        Daemon(names=[name], owners=[os.getuid() + 1], runner=NoCommand()).ask("show maps json")
    assert peer.received == []


def test_no_socket_asks_the_command() -> None:
    runner = NoCommand(0, EMPTY[:-1].decode())
    assert daemon(NOBODY, runner=runner).ask("show maps json") == EMPTY[:-1]
    assert runner.ran == [["multipathd", "show", "maps", "json"]]


@pytest.mark.parametrize("code, stdout, stderr", [
    (1, "", ""), (0, "", ""), (1, "", "error -1 connecting to multipathd\n"), (1, "ux_socket_connect: Connection refused\n", ""),
])
def test_nobody_listens(code: int, stdout: str, stderr: str) -> None:
    with pytest.raises(NotRunningError, match="does not run on this host") as caught:
        daemon(NOBODY, runner=NoCommand(code, stdout, stderr)).ask("show maps json")
    assert (stdout + stderr).strip() in caught.value.what


@pytest.mark.parametrize("code", [0, 1])
def test_the_command_brings_a_refusal(code: int) -> None:
    with pytest.raises(RefusedError):
        daemon(NOBODY, runner=NoCommand(code, "timeout\n")).ask("show maps json")


def test_it_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ansible_collections.lunar.iscsi.plugins.module_utils._host.commands._SBIN", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match="multipathd: is not installed on this host. Install the package multipath-tools"):
        daemon(NOBODY, runner=Runner()).ask("show maps json")


def test_the_environment_names_the_socket(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIPATH_SOCKET_NAME", name)
    with StandIn(name, framed(EMPTY)):
        assert Daemon(owners=[os.getuid()], runner=NoCommand()).ask("show maps json") == EMPTY[:-1]
