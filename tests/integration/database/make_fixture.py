# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write down what another version of iscsiadm stores and shows, as a fixture for the unit tests.

    python make_fixture.py PROGRAM ORIGIN OUTPUT [LOADER WORDS...]

As root, with tgt installed, and the collection on PYTHONPATH. PROGRAM is that version's iscsiadm; LOADER WORDS go before it on the command
line (the dynamic loader of its own distribution and ``--library-path``). ORIGIN is a sentence for the reader of the fixture.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

from conftest import Host

TARGET = "iqn.2026-11.org.example:disk1"
ASKED = "127.0.0.1:13270"
CONF = """node.startup = automatic
node.session.timeo.replacement_timeout = 16
node.conn[0].iscsi.HeaderDigest = CRC32C,None
node.session.auth.authmethod = CHAP
node.session.auth.username = user name
node.session.auth.password = a # secret = of sorts
node.session.auth.chap_algs = SHA1,MD5
node.session.queue_depth = -1
node.session.reopen_max = 7
node.session.scan = manual
discovery.sendtargets.auth.authmethod = CHAP
discovery.sendtargets.auth.username = disc
discovery.sendtargets.timeo.login_timeout = 7
discovery.sendtargets.use_discoveryd = Yes
discovery.isns.use_discoveryd = Yes
"""
IFACES: t.Dict[str, t.Dict[str, str]] = {
    "san0": {"iface.hwaddress": "00:11:22:33:44:55", "iface.mtu": "9000", "iface.vlan_id": "7"},
    "hba.ipv6.0": {"iface.ipaddress": "fd00::9", "iface.vlan_priority": "2"},
}


class Maker:
    """One run over one version."""

    def __init__(self, program: str, origin: str, loader: t.Sequence[str]) -> None:
        self._command = [*loader, program]
        self._program = program
        self._lines = [f"# {origin}", "# written by tests/integration/database/make_fixture.py; not by hand"]

    def tell(self, folder: Path) -> str:
        """The whole fixture as text."""
        host = Host(folder, self._program)
        try:
            database = host.etc if "/etc/iscsi" in host.database else host.root / host.database.lstrip("/")
            database.mkdir(parents=True, exist_ok=True)
            if database != host.etc:
                host.run("mkdir", "-p", host.database)
                host.run("mount", "--bind", str(database), host.database)
            version = self._run(host, "--version").split()[-1]
            self._lines.append(f"==== version {version} database {host.database}")
            host.start_tgtd([TARGET], [ASKED])
            for name, conf in (("plain", ""), ("settings", CONF)):
                host.configure(conf)
                self._all(host) if name == "plain" else self._some(host)
                self._lines.append(f"==== conf {name}")
                self._lines.extend(conf.splitlines())
                self._write_down(database)
                for path in list(database.iterdir()):
                    if path.is_dir():
                        subprocess.run(["rm", "-r", str(path)], check=True)
        finally:
            host.stop()
        return "\n".join(self._lines) + "\n"

    def _run(self, host: Host, *arguments: str) -> str:
        return str(host.run(*self._command, *arguments).stdout)

    def _try(self, host: Host, *arguments: str) -> str:
        """For what some versions cannot: its output, or nothing and a remark in the fixture."""
        done = host.run(*self._command, *arguments, check=False)
        if done.returncode == 0:
            return str(done.stdout)
        self._lines.append(f"# iscsiadm {' '.join(arguments)}: exit code {done.returncode}")
        return ""

    def _some(self, host: Host) -> None:
        self._run(host, "-m", "node", "-o", "new", "-T", TARGET, "-p", "192.0.2.1:3260,1")
        for kind in ("st", "isns"):
            self._run(host, "-m", "discoverydb", "-t", kind, "-p", "192.0.2.9:3260", "-o", "new")

    def _all(self, host: Host) -> None:
        self._some(host)
        self._run(host, "-m", "node", "-o", "new", "-T", TARGET, "-p", "[fd00::1]:3260")
        self._try(host, "-m", "discovery", "-t", "st", "-p", ASKED, "-I", "default")
        node = ["-m", "node", "-T", TARGET, "-p"]
        self._show("node default", self._run(host, *node, "192.0.2.1:3260,1", "-o", "show"))
        for number, (name, settings) in enumerate(IFACES.items()):
            self._run(host, "-m", "iface", "-I", name, "-o", "new")
            for key, value in settings.items():
                self._run(host, "-m", "iface", "-I", name, "-o", "update", "-n", key, "-v", value)
            self._show(f"iface {name}", self._run(host, "-m", "iface", "-I", name, "-o", "show"))
            portal = f"192.0.2.{number + 2}:3260,1"
            self._run(host, *node, portal, "-I", name, "-o", "new")
            self._show(f"node {name}", self._try(host, *node, portal, "-I", name, "-o", "show"))
        for kind in ("st", "isns"):
            self._show(kind, self._run(host, "-m", "discoverydb", "-t", kind, "-p", "192.0.2.9:3260", "-o", "show"))

    def _show(self, what: str, text: str) -> None:
        if not text:
            return
        self._lines.append(f"==== keys {what}")
        self._lines.extend(line.partition(" = ")[0] for line in text.splitlines() if " = " in line)

    def _write_down(self, database: Path) -> None:
        for path in sorted(database.rglob("*")):
            where = str(path.relative_to(database))
            if path.is_symlink():
                self._lines.append(f"==== link {where} {path.readlink()}")
            elif path.is_file() and path.parent != database:
                self._lines.append(f"==== file {where}")
                self._lines.extend(path.read_text(encoding="utf-8").splitlines())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        Path(sys.argv[3]).write_text(Maker(sys.argv[1], sys.argv[2], sys.argv[4:]).tell(Path(temporary)), encoding="utf-8")
