# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real servers on loopback for integration tests: the fixtures ``tgt`` (package tgt) and ``isns`` (packages open-isns-server and open-isns-utils)."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import socket
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

_SOCKETS = Path("/var/run/tgtd")


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port that nothing listens on right now."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


class Tgt:
    """One tgtd of our own: its own control port, its own TCP port, no target at first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        #: as iscsiadm and this collection write it
        self.portal = f"127.0.0.1:{self.port}"
        self.portal6 = f"[::1]:{self.port}"
        self.log = folder / "tgtd.log"
        #: its control port (tgtadm -C)
        self.control = 0
        self._process: t.Optional[subprocess.Popen[bytes]] = None
        self._last_tid = 0
        self._accounts: t.Set[str] = set()

    def start(self) -> Tgt:
        """Start the daemon and wait until it answers; another control port is tried where one is taken."""
        for _attempt in range(5):
            self.control = random.randrange(1000, 32000)
            if (_SOCKETS / f"socket.{self.control}").exists():
                continue
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    ["tgtd", "-f", "-C", str(self.control), "--iscsi", f"portal={self.portal}"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            if self._answers():
                return self
            self.stop()
        raise RuntimeError(f"tgtd did not start: {self.log.read_text(errors='replace')}")

    def _answers(self) -> bool:
        until = time.monotonic() + 10
        while time.monotonic() < until and self._process is not None and self._process.poll() is None:
            # the control socket is there before the portal is
            with contextlib.suppress(subprocess.CalledProcessError, OSError):
                self.adm("--op", "show", "--mode", "target")
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return True
            time.sleep(0.05)
        return False

    def stop(self) -> None:
        """End the daemon whatever it does (it ignores SIGTERM while it has targets), and take its control socket away."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=10)
            self._process = None
        for name in (f"socket.{self.control}", f"socket.{self.control}.lock"):
            with contextlib.suppress(FileNotFoundError):
                (_SOCKETS / name).unlink()

    def adm(self, *args: str) -> str:
        """Run ``tgtadm --lld iscsi`` with these arguments; its output. Raises ``CalledProcessError``."""
        return subprocess.run(
            ["tgtadm", "-C", str(self.control), "--lld", "iscsi", *args], check=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30).stdout

    def alive(self) -> bool:
        """Whether the daemon still runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The number of its process."""
        assert self._process is not None
        return self._process.pid

    def restart(self) -> None:
        """Start it anew at the same ports, without any target."""
        self.stop()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["tgtd", "-f", "-C", str(self.control), "--iscsi", f"portal={self.portal}"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if not self._answers():
            raise RuntimeError(f"tgtd did not start again: {self.log.read_text(errors='replace')}")
        self._last_tid = 0
        self._accounts.clear()

    def add_portal6(self) -> str:
        """Listen on ::1, too; the portal as text."""
        self.adm("--op", "new", "--mode", "portal", "--param", f"portal={self.portal6}")
        return self.portal6

    def add_target(
        self, name: str, *, luns: t.Sequence[Path] = (), accounts: t.Optional[t.Mapping[str, str]] = None,
        outgoing: t.Optional[t.Tuple[str, str]] = None, settings: t.Optional[t.Mapping[str, str]] = None, allow: str = "ALL",
    ) -> int:
        """A target that lets ``allow`` in; LUN 1, 2 … are ``luns``; accounts are user → secret. Returns its tid."""
        self._last_tid += 1
        tid = str(self._last_tid)
        self.adm("--op", "new", "--mode", "target", "--tid", tid, "-T", name)
        for number, path in enumerate(luns, 1):
            self.adm("--op", "new", "--mode", "logicalunit", "--tid", tid, "--lun", str(number), "-b", str(path))
        for user, secret in (accounts or {}).items():
            self.add_account(user, secret)
            self.adm("--op", "bind", "--mode", "account", "--tid", tid, "--user", user)
        if outgoing is not None:
            self.add_account(*outgoing)
            self.adm("--op", "bind", "--mode", "account", "--tid", tid, "--user", outgoing[0], "--outgoing")
        for key, value in (settings or {}).items():
            self.adm("--op", "update", "--mode", "target", "--tid", tid, "--name", key, "--value", value)
        if allow:
            self.adm("--op", "bind", "--mode", "target", "--tid", tid, "-I", allow)
        return self._last_tid

    def add_account(self, user: str, secret: str) -> None:
        """Make an account known; it counts for nothing until it is bound."""
        if user not in self._accounts:
            self.adm("--op", "new", "--mode", "account", "--user", user, "--password", secret)
            self._accounts.add(user)

    def demand_discovery_auth(self, user: str, secret: str, outgoing: t.Optional[t.Tuple[str, str]] = None) -> None:
        """From now on discovery needs CHAP. Bound to no target, an account is one for discovery."""
        self.add_account(user, secret)
        self.adm("--op", "bind", "--mode", "account", "--user", user)
        if outgoing is not None:
            self.add_account(*outgoing)
            self.adm("--op", "bind", "--mode", "account", "--user", outgoing[0], "--outgoing")


@pytest.fixture
def tgt(tmp_path: Path) -> t.Iterator[Tgt]:
    """A running tgtd without targets, gone after the test."""
    if os.geteuid() != 0 or shutil.which("tgtd") is None:
        pytest.fail("these tests start a tgtd of their own: run them as root, with the package tgt installed")
    daemon = Tgt(tmp_path)
    try:
        yield daemon.start()
    finally:
        daemon.stop()


class Isns:
    """One isnsd of our own: its own folder, its own TCP port, nothing registered at first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.portal = f"127.0.0.1:{self.port}"
        self.log = folder / "isnsd.log"
        self._process: t.Optional[subprocess.Popen[bytes]] = None
        #: the socket is local to a file, too: what is asked over it needs no registration
        self._control = folder / "isnsctl"

    def configure(self) -> t.List[str]:
        """Write the configuration; the command line that starts the daemon."""
        server = {"SourceName": "iqn.2026-11.org.example:isns-server", "Database": self.folder / "isnsdb", "BindAddress": self.portal,
                  "PIDFile": self.folder / "isnsd.pid", "SLPRegister": 0, "ClientKeyStore": "DB:", "ESIRetries": 0, "RegistrationPeriod": 0,
                  "DefaultDiscoveryDomain": 1}
        client = {"SourceName": "iqn.2026-11.org.example:isns-client", "ServerAddress": self.portal}
        for name, settings in (("isnsd.conf", server), ("isnsadm.conf", client)):
            lines = [f"{key} = {value}\n" for key, value in {**settings, "Security": 0, "ControlSocket": self._control}.items()]
            (self.folder / name).write_text("".join(lines))
        return ["isnsd", "-f", "-c", str(self.folder / "isnsd.conf")]

    def start(self, before: t.Sequence[str] = ()) -> Isns:
        """Start the daemon and wait until it answers. ``before`` are words in front of every command, such as those that enter a namespace."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([*before, *self.configure()], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until = time.monotonic() + 10
        while time.monotonic() < until and self._process.poll() is None:
            with contextlib.suppress(AssertionError):
                self.adm("--query", "iscsi-node-type=control", "?iscsi-name", before=before)
                return self
            time.sleep(0.05)
        raise RuntimeError(f"isnsd did not start: {self.log.read_text(errors='replace')}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=10)
            self._process = None

    def adm(self, *args: str, before: t.Sequence[str] = ()) -> str:
        """Run isnsadm; its output. ``before`` are words in front of it."""
        done = subprocess.run([*before, "isnsadm", "-c", str(self.folder / "isnsadm.conf"), *args], check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        assert done.returncode == 0, f"isnsadm {args[:3]}: {done.stdout}"
        return done.stdout

    def register(self, targets: t.Mapping[str, t.Sequence[str]], entity: str = "array", before: t.Sequence[str] = ()) -> None:
        """Register targets of one entity, each with its portals as ``address:port,tpgt``; a portal of one is one of the others with tag 1."""
        everything = list(targets.items())
        for start in range(0, len(everything), 40):  # isnsadm sends no message of more than 8 KiB
            words = [f"entity={entity}"]
            for name, portals in everything[start:start + 40]:
                words.append(f"target={name}")
                for portal in portals:
                    address, _comma, tag = portal.rpartition(",")
                    words += [f"portal={address}", f"pg,pgt={tag}"]
            self.adm("--register", *words, before=before)

    def nodes(self) -> t.Set[str]:
        """The names of all nodes that are registered, initiators too."""
        said = self.adm("--local", "--list", "nodes")
        return set(re.findall(r'iSCSI name = "([^"]+)"', said))


@pytest.fixture
def isns(tmp_path: Path) -> t.Iterator[Isns]:
    """A running isnsd that knows nobody, gone after the test."""
    if os.geteuid() != 0 or shutil.which("isnsd") is None or shutil.which("isnsadm") is None:
        pytest.fail("these tests start an isnsd of their own: run them as root, with the packages open-isns-server and open-isns-utils installed")
    folder = tmp_path / "isns"
    folder.mkdir()
    server = Isns(folder)
    try:
        yield server.start()
    finally:
        server.stop()
