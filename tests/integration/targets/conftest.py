# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tgtd of its own with the module tgt_target on it. Witnesses are tgtadm, tgt-admin and libiscsi's tools."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import bring_about
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_control import Control
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_task import TgtTask

if t.TYPE_CHECKING:
    from ..conftest import Tgt

MODULE = "ansible_collections.lunar.iscsi.plugins.modules.tgt_target"
NAME = "iqn.2013-10.com.example:disk3"
HOST1, HOST2 = "iqn.2026-11.org.example:host1", "iqn.2026-11.org.example:host2"
Options = t.Dict[str, t.Any]
#: a child that kills itself after so many requests that change something; it prints the steps if it gets that far
KILLED = """
import json, os, signal, sys
from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import bring_about
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_control import Control
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_task import TgtTask
left, options, main, lock, notes = json.load(sys.stdin)
class Fatal(Control):
    def ask(self, request, patience=30.0):
        global left
        answer = super().ask(request, patience)
        left -= request.op != "show"
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer
task = TgtTask(options, Fatal(options["control_port"]), main=main, lock=lock, notes=notes)
print(len(bring_about(task, False)["steps"]))
"""


class Gateway:
    """A host that offers targets: a tgtd, its configuration and a folder of images."""

    def __init__(self, tgt: Tgt, folder: Path) -> None:
        self.tgt = tgt
        self.folder = folder
        self.conf = folder / "conf.d"
        self.conf.mkdir()
        self.images = folder / "srv"
        self.images.mkdir()
        self.main = folder / "targets.conf"
        self.main.write_text(f"include {self.conf}/*.conf\n")
        self.fstab = folder / "fstab"
        self.fstab.touch()
        self.requests = 0

    def image(self, name: str = "disk3", size: int = 16 << 20) -> str:
        """A sparse image, made by hand; its path."""
        path = self.images / name
        with path.open("wb") as file:
            file.truncate(size)
        return str(path)

    def options(self, **given: t.Any) -> Options:
        """What all tasks here have in common."""
        names = {} if "targets" in given else {"name": NAME}
        return {**names, "control_port": self.tgt.control, "save_folder": str(self.conf), **given}

    def run(self, *, check: bool = False, **given: t.Any) -> Options:
        """A task in this process. Raises ``IscsiError``."""
        control = Control(self.tgt.control)
        task = TgtTask(self.options(**given), control, main=str(self.main), fstab=str(self.fstab), lock=str(self.folder / "lock"),
                       notes=str(self.folder / "notes"))
        try:
            return bring_about(task, check, True)
        finally:
            self.requests = control.asked

    def start(self, *before: str, **given: t.Any) -> subprocess.Popen[str]:
        """The whole module as a process, as Ansible starts it."""
        module = subprocess.Popen([*before, sys.executable, "-m", MODULE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert module.stdin is not None
        module.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": dict(self.options(**given), _ansible_diff=True)}))
        module.stdin.close()
        module.stdin = None
        return module

    def module(self, *before: str, **given: t.Any) -> t.Tuple[Options, str]:
        """Let the module finish; its result, and that as it was printed."""
        output, errors = self.start(*before, **given).communicate(timeout=60)
        assert output, errors
        result: Options = json.loads(output)
        return result, output

    def killed(self, left: int, **given: t.Any) -> bool:
        """A task that is killed after so many requests that change something and one more; whether it came to that."""
        wanted = [left, self.options(**given), str(self.main), str(self.folder / "lock"), str(self.folder / "notes")]
        child = subprocess.run([sys.executable, "-c", KILLED], input=json.dumps(wanted), capture_output=True, text=True, timeout=60, check=False)
        assert child.returncode in (0, -9), child.stderr
        assert self.tgt.alive()
        self.show()
        return child.returncode != 0

    def boot(self) -> None:
        """tgtd ends, starts, and the distribution's own script brings the targets back."""
        self.tgt.restart()
        subprocess.run(["tgt-admin", "-C", str(self.tgt.control), "-c", str(self.main), "-e"], check=True, capture_output=True, timeout=60)

    def show(self) -> str:
        """All that tgtadm tells of targets."""
        return self.tgt.adm("--op", "show", "--mode", "target")

    def part(self, heading: str) -> t.List[str]:
        """The lines below a heading of the first target in what tgtadm tells."""
        lines = self.show().splitlines()
        begin = lines.index(f"    {heading}:") + 1
        end = next((number for number in range(begin, len(lines)) if not lines[number].startswith("        ")), len(lines))
        return [line.strip() for line in lines[begin:end]]

    def accounts(self) -> t.List[str]:
        return self.part("Account information")

    def acl(self) -> t.List[str]:
        return self.part("ACL information")

    def paths(self) -> t.List[str]:
        """The backing stores of the first target but for that of LUN 0."""
        return [line.partition(": ")[2] for line in self.part("LUN information") if line.startswith("Backing store path: ")][1:]

    def sids(self, tid: int = 1) -> t.List[str]:
        """The sessions of a target."""
        return re.findall(r"^Session: (\d+)", self.tgt.adm("--op", "show", "--mode", "conn", "--tid", str(tid)), re.MULTILINE)

    def gone(self, *sids: str) -> None:
        """Wait until these sessions are gone, or without any named, all."""
        until = time.monotonic() + 20
        while any(sid in sids or not sids for sid in self.sids()):
            assert time.monotonic() < until, "a session does not end"
            time.sleep(0.05)

    def state(self) -> t.Tuple[str, t.Dict[str, str]]:
        """All that a task could change: what tgtd serves, and every file of its configuration."""
        files = {str(path): path.read_text() for path in [*self.conf.iterdir(), self.main]}
        return self.show(), dict(files, images=" ".join(f"{path.name}:{path.stat().st_size}" for path in sorted(self.images.iterdir())))

    def url(self, account: str = "", lun: int = 1, name: str = NAME) -> str:
        return f"iscsi://{account and account + '@'}{self.tgt.portal}/{name}/{lun}"

    def inquiry(self, page: int, lun: int = 1, name: str = NAME) -> bytes:
        """A page of vital product data, as libiscsi prints it."""
        return subprocess.run(["iscsi-inq", "-e", "1", "-c", str(page), self.url(lun=lun, name=name)], check=True, capture_output=True, timeout=20).stdout

    def standard_inquiry(self, lun: int = 1, account: str = "") -> str:
        """What a LUN says of itself, and its WWID."""
        pages = (["-i", HOST1], ["-i", HOST1, "-e", "1", "-c", str(0x83)])
        return "".join(subprocess.run(["iscsi-inq", *page, self.url(account, lun)], check=True, capture_output=True, timeout=20).stdout.decode("latin-1")
                       for page in pages)

    def lets_in(self, initiator: str = HOST1, account: str = "", lun: int = 1, name: str = NAME) -> bool:
        """Whether an initiator can log in and see a LUN; the account is user%secret."""
        return subprocess.run(["iscsi-inq", "-i", initiator, self.url(account, lun, name)], check=False, capture_output=True, timeout=20).returncode == 0

    def capacity(self, lun: int = 1) -> int:
        """Bytes of a LUN as an initiator sees them."""
        text = subprocess.run(["iscsi-readcapacity16", self.url(lun=lun)], check=True, capture_output=True, text=True, timeout=20).stdout
        found = re.search(r"Total size:(\d+)", text)
        assert found, text
        return int(found.group(1))

    @contextlib.contextmanager
    def session(self, account: str = "", initiator: str = HOST1) -> t.Iterator[str]:
        """A session that reads all the while; its number in tgtadm."""
        reader = subprocess.Popen(["iscsi-perf", "-i", initiator, "-m", "1", "-b", "8", "-x", "0", self.url(account)],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + 10
            while not self.sids() and time.monotonic() < until and reader.poll() is None:
                time.sleep(0.02)
            (sid,) = self.sids()
            yield sid
        finally:
            reader.kill()
            reader.wait(timeout=10)

    def served(self, seconds: float = 0.5) -> int:
        """Bytes that tgtd read and wrote within so many seconds, of images and of the network."""
        before = _io_of(self.tgt.pid)
        time.sleep(seconds)
        return _io_of(self.tgt.pid) - before

    @contextlib.contextmanager
    def writing(self, account: str, size: int) -> t.Iterator[t.List[float]]:
        """An initiator that writes all the while; afterwards how many writes, and the seconds of the slowest, are in what this gives."""
        user, _percent, secret = account.partition("%")
        said: t.List[float] = []
        arguments = [sys.executable, str(Path(__file__).with_name("writer.py")), self.tgt.portal, NAME, user, secret, str(size)]
        with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as writer:
            assert writer.stdin and writer.stdout and writer.stderr
            assert writer.stdout.readline() == "ready\n", writer.stderr.read()
            yield said
            output, errors = writer.communicate("stop\n", timeout=60)
        assert writer.returncode == 0, errors
        said += map(float, output.split())


def _io_of(pid: int) -> int:
    counters = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(counters["rchar"]) + int(counters["wchar"])


@pytest.fixture
def gateway(tgt: Tgt, tmp_path: Path) -> Gateway:
    for tool in ("tgt-admin", "iscsi-inq", "iscsi-perf", "iscsi-readcapacity16"):
        assert shutil.which(tool), f"{tool} is needed (Debian: tgt, libiscsi-bin)"
    return Gateway(tgt, tmp_path)
