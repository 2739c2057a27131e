# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is compared. Everything runs in namespaces with their own /etc/iscsi and their own loopback, so nothing of the machine is touched."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

from ansible_collections.lunar.iscsi.plugins.module_utils._host.sockets import Job, run_jobs
from ansible_collections.lunar.iscsi.plugins.module_utils._names import Portal
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.exchanges import DiscoveryExchange
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.login import LoginOptions
from conftest import MODULE, Host
from measure import Row, compare, timed

BIN = Path(sys.executable).parent
PREFIX = "iqn.2026-11.org.example:bench"
PORTALS = ("127.0.0.1:3260", "127.0.0.2:3260")
SECRET = "plain-secret-bench"
AUTH = {"username": "bench", "password": SECRET}


def names(count: int) -> t.List[str]:
    """The names of so many targets."""
    return [f"{PREFIX}-{number:04d}" for number in range(count)]


class Bench:
    """One host with one tgtd, and Ansible that runs on it."""

    def __init__(self, host: Host, folder: Path, collections: t.Sequence[Path]) -> None:
        self.host = host
        self.folder = folder
        self.env = dict(os.environ, ANSIBLE_COLLECTIONS_PATH=":".join(map(str, collections)), ANSIBLE_HOME=str(folder / "ansible"), ANSIBLE_PIPELINING="1",
                        ANSIBLE_LOCALHOST_WARNING="0", ANSIBLE_INVENTORY_UNPARSED_WARNING="0", NO_COLOR="1")

    def ansible(self, *arguments: str, local: bool) -> str:
        """One task by ``ansible``, over ssh or where it runs; what it printed."""
        way = ["localhost", "-c", "local"] if local else ["host", "-i", str(self.folder / "ssh" / "inventory")]
        return self._run([str(BIN / "ansible"), *way, *arguments])

    def play(self, tasks: t.Sequence[t.Mapping[str, t.Any]]) -> int:
        """A play of these tasks; how many of them (a loop counts once) changed something."""
        path = self.folder / "play.json"
        path.write_text(json.dumps([{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": list(tasks)}]), "utf-8")
        text = self._run([str(BIN / "ansible-playbook"), str(path)])
        found = re.search(r"changed=(\d+) .*failed=0", text)
        if not found:
            raise RuntimeError(text[-3000:])
        return int(found.group(1))

    def _run(self, argv: t.Sequence[str]) -> str:
        done = subprocess.run(self.host.inside(*argv), env=self.env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{argv[0]}: {done.stdout[-3000:]}{done.stderr[-2000:]}")
        return done.stdout

    def records(self) -> int:
        """How many node records there are, as the host's own tool counts them."""
        return len(self.host.iscsiadm("-m", "node", check=False).stdout.splitlines())

    def start_sshd(self) -> None:
        """A sshd of its own in the host's namespaces, and what ``ansible`` needs to know to come in by it."""
        folder = self.folder / "ssh"
        folder.mkdir(mode=0o700)
        for key in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
        settings = {"Port": "22", "ListenAddress": "127.0.0.1", "HostKey": folder / "host", "AuthorizedKeysFile": folder / "user.pub", "PidFile": "none",
                    "StrictModes": "no", "UsePAM": "no", "PermitRootLogin": "prohibit-password"}
        (folder / "config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()), "utf-8")
        Path("/run/sshd").mkdir(exist_ok=True)
        self.host.start("/usr/sbin/sshd", "-D", "-f", str(folder / "config"))
        options = "-F /dev/null -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ControlMaster=auto -o ControlPersist=60s"
        options += f" -o ControlPath={folder / 'master'}"
        known = {"ansible_host": "127.0.0.1", "ansible_user": "root", "ansible_ssh_private_key_file": str(folder / "user"), "ansible_ssh_args": options,
                 "ansible_python_interpreter": sys.executable}
        (folder / "inventory").write_text(json.dumps({"all": {"hosts": {"host": known}}}), "utf-8")

    def stop_ssh(self) -> None:
        """End the connection that is kept open."""
        self._run(["ssh", "-F", "/dev/null", "-o", f"ControlPath={self.folder / 'ssh' / 'master'}", "-O", "exit", "127.0.0.1"])

    # discovery

    def discovery_and_ping(self, count: int, bound: float) -> t.Iterator[Row]:
        """The discovery task beside ``ping``, both over ssh: on a host without records, and where nothing is new."""
        self.start_sshd()
        yield from self._discovery_and_ping(count, bound, pairs=15)
        self.stop_ssh()

    def local_discovery_and_ping(self, count: int, where: str) -> t.Iterator[Row]:
        """The same over the local connection, where a ping costs least; no bound."""
        yield from self._discovery_and_ping(count, None, pairs=7, local=True, where=", " + where)

    def _discovery_and_ping(self, count: int, bound: t.Optional[float], *, pairs: int, local: bool = False, where: str = "") -> t.Iterator[Row]:
        def discover() -> None:
            self.ansible("-m", "lunar.iscsi.iscsi_discovery", "-a", f"portals={PORTALS[0]}", local=local)

        def ping() -> None:
            self.ansible("-m", "ping", local=local)

        noun = "1 target" if count == 1 else f"{count} targets"
        yield compare(f"discovery of {noun}, all new / ping{where}", discover, ping, pairs=pairs, bound=bound, before=self.host.clear)
        if self.records() != count:
            raise RuntimeError(f"{self.records()} records instead of {count}")
        yield compare(f"discovery of {noun}, none new / ping{where}", discover, ping, pairs=pairs, bound=bound)

    def library_and_iscsi_ls(self, count: int, bound: float) -> Row:
        """The library's discovery beside ``iscsi-ls``, which is one process of C a time. The loopback of the host is entered for both."""
        script = self.folder / "library.py"
        script.write_text(LIBRARY, "utf-8")
        env = dict(os.environ, PYTHONPATH=":".join(sys.path))
        child = subprocess.Popen(self.host.inside(sys.executable, str(script), PORTALS[0]), env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        listing = subprocess.Popen(self.host.inside(sys.executable, "-c", LISTING, f"iscsi://{PORTALS[0]}"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   text=True)

        def ask(process: subprocess.Popen[str]) -> t.Callable[[], None]:
            def once() -> None:
                if process.stdin is None or process.stdout is None:
                    raise RuntimeError("no pipe")
                process.stdin.write("go\n")
                process.stdin.flush()
                if process.stdout.readline() != f"{count}\n":
                    raise RuntimeError("another number of targets")
            return once

        try:
            return compare(f"library call for {count} targets / iscsi-ls", ask(child), ask(listing), pairs=25, bound=bound)
        finally:
            for process in (child, listing):
                process.kill()
                process.wait()

    # nodes

    def nodes(self, count: int) -> t.Dict[str, t.Any]:
        """One task for ``count`` records: half as many targets, each on two portals, with CHAP and startup."""
        return {"nodes": [{"target": name, "portals": [f"{portal},1" for portal in PORTALS]} for name in names(count // 2)],
                "startup": "automatic", "auth": AUTH}

    def node_and_loop(self, count: int) -> t.Iterator[Row]:
        """``iscsi_node`` beside a loop over the records with community.general.open_iscsi: first run, and unchanged."""
        ours: t.List[t.Dict[str, t.Any]] = [{"name": "Ours", "lunar.iscsi.iscsi_node": self.nodes(count), "no_log": True}]
        loop: t.List[t.Dict[str, t.Any]] = [
            {"name": "Discover", "community.general.open_iscsi": {"portal": "{{ item }}", "discover": True},
             "loop": [portal.partition(":")[0] for portal in PORTALS]},
            {"name": "The loop", "community.general.open_iscsi": {"portal": "{{ item[0] }}", "target": "{{ item[1] }}", "auto_portal_startup": True},
             "loop": [[portal.partition(":")[0], name] for name in names(count // 2) for portal in PORTALS], "loop_control": {"label": ""}},
        ]
        self.host.clear()
        # its second run is the loop alone: another discovery would set every startup back, and nothing would be unchanged
        other = [timed(lambda: self._changes(loop, 2)), timed(lambda: self._changes(loop[1:], 0))]
        self._expect(count)
        mine: t.List[t.List[float]] = [[], []]
        for _turn in range(5):
            self.host.clear()
            mine[0].append(timed(lambda: self._changes(ours, 1)))
            mine[1].append(timed(lambda: self._changes(ours, 0)))
        self._expect(count)
        for label, own, one, bound in (("first run", mine[0], other[0], 50.0), ("unchanged", mine[1], other[1], 100.0)):
            middle = sorted(own)[len(own) // 2]
            what = f"loop with community.general.open_iscsi / iscsi_node, {count} records, {label}"
            yield Row(what, middle, one, one / middle, one / max(own), one / min(own), len(own), bound, at_least=True)

    def _changes(self, tasks: t.Sequence[t.Mapping[str, t.Any]], wanted: int) -> None:
        changed = self.play(tasks)
        if changed != wanted:
            raise RuntimeError(f"{changed} tasks changed something, not {wanted}")

    def _expect(self, count: int) -> None:
        if self.records() != count:
            raise RuntimeError(f"{self.records()} records instead of {count}")

    def processes(self, count: int) -> t.Tuple[int, int]:
        """How many processes ``iscsi_node`` starts for so many records: first run, unchanged. Counted by strace, threads left out."""
        self.host.clear()
        return self._traced(count), self._traced(count)

    def _traced(self, count: int) -> int:
        log = self.folder / "strace"
        argv = ["strace", "-f", "-qq", "-o", str(log), "-e", "trace=fork,vfork,clone,clone3", sys.executable, "-c", CONTROL + MODULE, "iscsi_node"]
        done = subprocess.run(self.host.inside(*argv), input=json.dumps(self.nodes(count)), env=dict(os.environ, PYTHONPATH=":".join(sys.path)),
                              capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
        started = sum(1 for line in log.read_text("utf-8").splitlines() if re.search(r"(fork|clone3?)\(", line) and "CLONE_THREAD" not in line)
        if not started:
            raise RuntimeError("strace did not show the process that was started for it to be shown")
        return started - 1


CONTROL = "import subprocess; subprocess.run(['true'], check=True)\n"

LIBRARY = '''
import sys
import rows
while sys.stdin.readline():
    print(rows.discover(sys.argv[1]), flush=True)
'''

LISTING = '''
import subprocess, sys
while sys.stdin.readline():
    out = subprocess.run(["iscsi-ls", sys.argv[1]], stdout=subprocess.PIPE, check=True).stdout
    print(out.count(b"Target:"), flush=True)
'''


def discover(portal: str) -> int:
    """The library call that is measured: how many targets the portal announces."""
    host, port = portal.split(":")
    options = LoginOptions(initiator_name="iqn.2026-11.org.example:witness")
    outcome = run_jobs([Job(Portal(host, int(port)), lambda: DiscoveryExchange(options))], connect_timeout=10, timeout=10)[0]
    if outcome.error is not None:
        raise outcome.error
    return len(t.cast(DiscoveryExchange, outcome.exchange).result)
