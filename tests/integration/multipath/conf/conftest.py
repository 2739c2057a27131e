# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host of its own for multipath_conf: its own /etc and /run, the machine's real multipath, and a stand-in for multipathd where a test wants one.

It needs root and the package multipath-tools. The real multipathd runs here too, without any map: it is told of a device-mapper that has none.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import typing as t
from pathlib import Path

import pytest

HERE = Path(__file__).parent
_LENGTH = struct.Struct("@N")
#: what of the machine's /etc has to be there for its tools
_KEPT = ("passwd", "group", "nsswitch.conf", "ld.so.cache")


class StandIn:
    """Listens where multipathd does and answers one thing after the other, the last for ever; a process of its name is there, too."""

    def __init__(self, run: Path, answers: t.Sequence[bytes]) -> None:
        self.asked: t.List[str] = []
        self._answers = list(answers)
        self._run = run
        shutil.copy(shutil.which("sleep") or "/bin/sleep", run / "multipathd")
        self._process = subprocess.Popen([str(run / "multipathd"), "600"])
        (run / "multipathd.pid").write_text(f"{self._process.pid}\n")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(run / "multipathd.socket"))
        self._listener.listen(8)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                link, _address = self._listener.accept()
            except OSError:
                return
            with link:
                length = _LENGTH.unpack(link.recv(_LENGTH.size))[0]
                self.asked.append(link.recv(length).rstrip(b"\0").decode())
                answer = (self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]) + b"\0"
                link.sendall(_LENGTH.pack(len(answer)) + answer)

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)
        self._process.kill()
        self._process.wait()
        for name in ("multipathd", "multipathd.pid", "multipathd.socket"):
            (self._run / name).unlink()


class Host:
    """The host. Its files can be looked at from outside, at ``etc``."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="mp"))  # a short name: that of a socket may have 107 bytes
        self.etc = self.root / "etc"
        self.main = self.etc / "multipath.conf"
        self.drop_ins = self.etc / "multipath" / "conf.d"
        self.wwids = self.etc / "multipath" / "wwids"
        (self.root / "run").mkdir()
        self.clear()
        path = os.pathsep.join(os.path.abspath(folder) for folder in sys.path)
        self._inside = subprocess.Popen(["unshare", "--mount", "--net", "--propagation", "private", sys.executable, str(HERE / "inside.py"), str(self.root)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ, PYTHONPATH=path))
        assert self._inside.stdin is not None and self._inside.stdout is not None
        self._requests, self._answers = self._inside.stdin, self._inside.stdout
        assert self._answers.readline() == "ready\n", "the namespaces could not be made"

    def clear(self) -> None:
        """Nothing of multipath is there; the folder itself stays, since it is mounted."""
        self.etc.mkdir(exist_ok=True)
        for path in list(self.etc.iterdir()):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        for name in _KEPT:
            if Path("/etc", name).exists():
                shutil.copy(Path("/etc", name), self.etc / name)
        self.drop_ins.mkdir(parents=True)

    def module(self, *, check: bool = False, diff: bool = False, **options: t.Any) -> t.Dict[str, t.Any]:
        """Run the module inside: options in, what it returned out."""
        given = {"_ansible_check_mode": check, "_ansible_diff": diff, **options}
        self._requests.write(json.dumps(["multipath_conf", given]) + "\n")
        self._requests.flush()
        return t.cast(t.Dict[str, t.Any], json.loads(json.loads(self._answers.readline())))

    def path(self, folder: str) -> None:
        """From now on tools are looked for in this folder first; none takes that back."""
        self._requests.write(json.dumps(["", {"PATH": folder}]) + "\n")
        self._requests.flush()
        assert self._answers.readline() == "null\n"

    def module_killed(self, before: str, **options: t.Any) -> None:
        """Run the module and kill it, before it starts ``multipath`` with this as its first argument."""
        tools = self.root / "run" / "bin"
        tools.mkdir()
        (tools / "multipath").write_text(f'#!/bin/sh\nif [ "$1" = "{before}" ]; then kill -KILL $PPID; exit 1; fi\nexec {shutil.which("multipath")} "$@"\n')
        (tools / "multipath").chmod(0o755)
        self.path("/run/bin")
        try:
            self._requests.write(json.dumps(["multipath_conf", options]) + "\n")
            self._requests.flush()
            assert json.loads(self._answers.readline()) == "", "it was not killed"
        finally:
            self.path("")
            shutil.rmtree(tools)

    def files(self) -> t.Dict[str, bytes]:
        """Every file of multipath, temporary ones and backups too."""
        return {str(path.relative_to(self.etc)): path.read_bytes() for path in sorted(self.etc.rglob("*")) if path.is_file() and path.name not in _KEPT}

    def inside(self, *argv: str) -> str:
        done = subprocess.run(["nsenter", "--target", str(self._inside.pid), "--mount", "--net", "--", *argv], capture_output=True, text=True, check=True)
        return done.stdout

    def start_inside(self, *argv: str, **env: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["nsenter", "--target", str(self._inside.pid), "--mount", "--net", "--", *argv], env=dict(os.environ, **env),
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def multipath_t(self) -> subprocess.CompletedProcess[str]:
        """What the host's own tool makes of the files as they are now: the witness."""
        return subprocess.run(["nsenter", "--target", str(self._inside.pid), "--mount", "--", "multipath", "-t"], capture_output=True, text=True,
                              errors="surrogateescape", timeout=60, check=False)

    def stop(self) -> None:
        self._requests.close()
        self._inside.wait(10)
        self._answers.close()
        shutil.rmtree(self.root)


@pytest.fixture(scope="session")
def _host() -> t.Iterator[Host]:
    if os.geteuid() != 0 or not shutil.which("multipath"):
        pytest.fail("these tests run the real multipath in a mount namespace: run them as root, with the package multipath-tools installed")
    host = Host()
    try:
        yield host
    finally:
        host.stop()


@pytest.fixture
def host(_host: Host) -> Host:
    """The host without any configuration of multipath."""
    _host.clear()
    return _host


@pytest.fixture
def daemon(host: Host) -> t.Iterator[t.Callable[..., StandIn]]:
    """Start a stand-in for multipathd that gives these answers; it ends with the test."""
    started: t.List[StandIn] = []

    def start(*answers: bytes) -> StandIn:
        started.append(StandIn(host.root / "run", answers))
        return started[-1]

    yield start
    for one in started:
        one.stop()


class RealDaemon:
    """The real multipathd, without any map; ``start`` it when its files are there."""

    def __init__(self, host: Host, preloaded: Path) -> None:
        self._host = host
        self._preloaded = preloaded
        self._process: t.Optional[subprocess.Popen[bytes]] = None

    def start(self) -> None:
        self._process = self._host.start_inside("multipathd", "-d", LD_PRELOAD=str(self._preloaded))
        for _attempt in range(100):
            with contextlib.suppress(subprocess.CalledProcessError):
                if "idle" in self._host.inside("multipathd", "show", "daemon"):
                    return
            time.sleep(0.1)
        pytest.fail("multipathd does not answer")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def config(self) -> t.List[str]:
        """The configuration that it uses: the witness."""
        return self._host.inside("multipathd", "show", "config").splitlines()


@pytest.fixture(scope="session")
def _preloaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("preloaded") / "no_device_mapper.so"
    subprocess.run(["gcc", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(HERE / "no_device_mapper.c")], check=True)
    return library


@pytest.fixture
def multipathd(host: Host, _preloaded: Path) -> t.Iterator[RealDaemon]:
    daemon = RealDaemon(host, _preloaded)
    yield daemon
    daemon.stop()
