# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module tgt_target beside a script of tgtadm, on a tgtd with a socket and a port of its own; images and files are in memory."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from measure import Row, timed
from rows import names

BIN = Path(sys.executable).parent
LUNS = (1, 2)
MODULE = "ansible_collections.lunar.iscsi.plugins.modules.tgt_target"


class Tgtd:
    """A tgtd, the images of so many targets, and both ways to them."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.names = folder, names(count)
        self.images = folder / "srv"
        self.conf = folder / "conf.d"
        for place in (self.images, self.conf):
            place.mkdir(exist_ok=True)
        for name in self.names:
            for lun in LUNS:
                with self.image(name, lun).open("wb") as file:
                    file.truncate(1 << 20)
        control = folder / "tgtd"
        self.socket = f"{control}.0"
        self.env = dict(os.environ, TGT_IPC_SOCKET=str(control), PYTHONPATH=":".join(sys.path), ANSIBLE_COLLECTIONS_PATH=sys.path[0],
                        ANSIBLE_HOME=str(folder / "ansible"), ANSIBLE_PIPELINING="1", ANSIBLE_LOCALHOST_WARNING="0",
                        ANSIBLE_INVENTORY_UNPARSED_WARNING="0", NO_COLOR="1")

    def image(self, name: str, lun: int) -> Path:
        return self.images / f"{name.rpartition('-')[2]}-{lun}"

    @contextlib.contextmanager
    def running(self) -> t.Iterator[None]:
        """A tgtd without targets; nothing is saved of any either."""
        for path in self.conf.iterdir():
            path.unlink()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        quiet = subprocess.DEVNULL
        daemon = subprocess.Popen(["tgtd", "-f", "--iscsi", f"portal=127.0.0.1:{port}"], env=self.env, stdin=quiet, stdout=quiet, stderr=quiet)
        try:
            until = time.monotonic() + 20
            while subprocess.run(["tgtadm", "--op", "show", "--mode", "sys"], env=self.env, capture_output=True, check=False).returncode:
                if time.monotonic() > until:
                    raise RuntimeError("tgtd does not answer")
                time.sleep(0.05)
            yield
        finally:
            daemon.kill()
            daemon.wait()

    def script(self) -> Path:
        """What an administrator would write: four calls of tgtadm for each target."""
        lines = ["set -e"]
        for tid, name in enumerate(self.names, 1):
            lines.append(f"tgtadm --lld iscsi --op new --mode target --tid {tid} -T {name}")
            lines += [f"tgtadm --lld iscsi --op new --mode logicalunit --tid {tid} --lun {lun} -b {self.image(name, lun)}" for lun in LUNS]
            lines.append(f"tgtadm --lld iscsi --op bind --mode target --tid {tid} -I 192.0.2.0/24")
        path = self.folder / "script.sh"
        path.write_text("\n".join([*lines, ""]), "utf-8")
        return path

    def options(self) -> t.Dict[str, t.Any]:
        targets = [{"name": name, "luns": [{"lun": lun, "backing_store": str(self.image(name, lun))} for lun in LUNS], "allow": {"addresses": ["192.0.2.0/24"]}}
                   for name in self.names]
        return {"targets": targets, "save_folder": str(self.conf)}

    def by_script(self) -> None:
        self._run(["sh", str(self.folder / "script.sh")])

    def by_module(self, changed: bool) -> None:
        """A whole run of ansible-playbook with the one task."""
        play = self.folder / "play.json"
        task = {"name": "Ours", "lunar.iscsi.tgt_target": self.options()}
        play.write_text(json.dumps([{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task]}]), "utf-8")
        text = self._run([str(BIN / "ansible-playbook"), str(play)])
        if not re.search(rf"changed={int(changed)} .*failed=0", text):
            raise RuntimeError(text[-3000:])

    def served(self) -> t.Tuple[int, int]:
        """How many targets and LUNs (without LUN 0) there are, as tgtadm counts them."""
        text = self._run(["tgtadm", "--lld", "iscsi", "--op", "show", "--mode", "target"])
        return len(re.findall(r"^Target ", text, re.MULTILINE)), len(re.findall(r"Type: disk", text))

    def traced(self) -> t.Tuple[int, int]:
        """Requests to tgtd and processes started by the module, counted by strace."""
        log = self.folder / "strace"
        argv = ["strace", "-f", "-qq", "-o", str(log), "-e", "trace=connect,execve", sys.executable, "-m", MODULE]
        answer = json.loads(self._run(argv, json.dumps({"ANSIBLE_MODULE_ARGS": self.options()})))
        if answer["changed"]:
            raise RuntimeError("something changed")
        text = log.read_text("utf-8")
        return len(re.findall(rf"connect\(.*{re.escape(self.socket)}", text)), text.count("execve(") - 1

    def _run(self, argv: t.Sequence[str], stdin: t.Optional[str] = None) -> str:
        done = subprocess.run(argv, input=stdin, env=self.env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{argv[0]}: {done.stdout[-3000:]}{done.stderr[-2000:]}")
        return done.stdout


def script_and_module(folder: Path, count: int) -> t.Iterator[Row]:
    """The first run and the unchanged run of the module, each beside the script on an empty tgtd."""
    tgtd = Tgtd(folder, count)
    tgtd.script()
    taken: t.List[t.Tuple[float, float, float]] = []
    for turn in range(6):
        with tgtd.running():
            script = timed(tgtd.by_script)
            _expect(tgtd, count)
        with tgtd.running():
            first = timed(lambda: tgtd.by_module(True))
            _expect(tgtd, count)
            again = timed(lambda: tgtd.by_module(False))
        if turn:
            taken.append((script, first, again))
    others = [one[0] for one in taken]
    for label, mine, bound in (("first run", [one[1] for one in taken], 5.0), ("unchanged", [one[2] for one in taken], None)):
        ratios = [own / other for own, other in zip(mine, others)]
        what = f"tgt_target / script of tgtadm, {count} targets with {len(LUNS)} LUNs, {label}"
        yield Row(what, statistics.median(mine), statistics.median(others), statistics.median(ratios), min(ratios), max(ratios), len(ratios), bound)


def _expect(tgtd: Tgtd, count: int) -> None:
    if tgtd.served() != (count, count * len(LUNS)):
        raise RuntimeError(f"{tgtd.served()} targets and LUNs")


def unchanged(folder: Path, count: int) -> t.Tuple[int, int]:
    """Requests and processes of a run that changes nothing."""
    tgtd = Tgtd(folder, count)
    with tgtd.running():
        tgtd.by_module(True)
        return tgtd.traced()
