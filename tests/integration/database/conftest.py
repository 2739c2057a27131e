# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host of its own for the real iscsiadm: its folders, its network, none of the machine's records."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.layout import locate

HERE = Path(__file__).parent
CONF = Path("/etc/iscsi/iscsid.conf")
Run = t.Callable[..., t.Dict[str, t.Any]]
MODULE = """
import importlib, json, sys
from ansible.module_utils.testing import patch_module_args
with patch_module_args(json.load(sys.stdin)):
    importlib.import_module("ansible_collections.lunar.iscsi.plugins.modules." + sys.argv[1]).main()
"""


class Host:
    """A mounted image, as far as the code under test sees it, and a running system, as far as iscsiadm does."""

    def __init__(self, root: Path, program: str = "/usr/sbin/iscsiadm") -> None:
        self.root = root
        self.etc = root / "etc/iscsi"
        self.etc.mkdir(parents=True)
        (root / "usr/sbin").mkdir(parents=True)
        shutil.copy(program, root / "usr/sbin/iscsiadm")
        #: where this iscsiadm keeps its records, as it names it
        self.database = locate(str(root)).inside
        self._others: t.List[subprocess.Popen[bytes]] = []
        (self.etc / "initiatorname.iscsi").write_text("InitiatorName=iqn.2026-11.org.example:witness\n")
        self.configure(CONF.read_text())
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--net", "--propagation", "private", sys.executable, str(HERE / "stand_in.py"), str(root)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._holder.stdout is not None and self._holder.stdout.readline() == b"ready\n", "the namespaces could not be made"

    def configure(self, text: str) -> None:
        (self.etc / "iscsid.conf").write_text(text)

    def inside(self, *argv: str) -> t.List[str]:
        return ["nsenter", "--target", str(self._holder.pid), "--mount", "--net", "--", *argv]

    def run(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(self.inside(*argv), capture_output=True, text=True, timeout=100, check=False)
        assert not check or done.returncode == 0, f"{argv}: rc {done.returncode}: {done.stdout}{done.stderr}"
        return done

    def iscsiadm(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("iscsiadm", *arguments, check=check)

    def module(self, name: str, /, **options: t.Any) -> t.Dict[str, t.Any]:
        """Run a module inside, where this host is ``/``: options in, what it printed out."""
        argv = self.inside(sys.executable, "-c", MODULE, name)
        path = os.pathsep.join(os.path.abspath(folder) for folder in sys.path)  # inside, the working folder is another one
        done = subprocess.run(argv, input=json.dumps(options), env=dict(os.environ, PYTHONPATH=path), capture_output=True, text=True, timeout=100, check=False)
        assert done.stdout, done.stderr
        return t.cast(t.Dict[str, t.Any], json.loads(done.stdout))

    def files(self) -> t.Dict[str, str]:
        """Every record and link under /etc/iscsi: path to content, or to where a link leads."""
        found = {}
        for folder, _folders, names in os.walk(self.etc):
            for name in names:
                path = Path(folder, name)
                if path.parent != self.etc:
                    found[str(path.relative_to(self.etc))] = "-> " + os.readlink(path) if path.is_symlink() else path.read_text()
        return found

    def modes(self) -> t.Set[str]:
        return {f"{'d' if path.is_dir() else 'f'}{path.stat().st_mode & 0o777:o}"
                for top in self.etc.iterdir() if top.is_dir() for path in [top, *top.rglob("*")] if not path.is_symlink()}

    def clear(self) -> None:
        for path in list(self.etc.iterdir()):
            if path.is_dir():
                shutil.rmtree(path)

    def start(self, *argv: str, **env: str) -> None:
        """Run a daemon that stays in the foreground, until this host ends."""
        silent = subprocess.DEVNULL
        self._others.append(subprocess.Popen(self.inside(*argv), env=dict(os.environ, **env), stdin=silent, stdout=silent, stderr=silent))

    def start_tgtd(self, targets: t.Sequence[str], portals: t.Sequence[str]) -> None:
        listen = ["--iscsi", ",".join(f"portal={portal}" for portal in portals)]
        control = self.root / "tgtd.sock"
        environment = dict(os.environ, TGT_IPC_SOCKET=str(control))
        self.start("tgtd", "-f", *listen, TGT_IPC_SOCKET=str(control))
        deadline = time.monotonic() + 20
        ask = self.inside("tgtadm", "--lld", "iscsi", "--op", "show", "--mode", "sys")
        while subprocess.run(ask, env=environment, capture_output=True, check=False).returncode and time.monotonic() < deadline:
            time.sleep(0.1)
        for number, target in enumerate(targets, 1):
            for words in (["new", "--mode", "target", "--tid", str(number), "-T", target], ["bind", "--mode", "target", "--tid", str(number), "-I", "ALL"]):
                subprocess.run(self.inside("tgtadm", "--lld", "iscsi", "--op", *words), env=environment, check=True)

    def stop_others(self) -> None:
        """End what was started."""
        for process in self._others:
            process.kill()
            process.wait()
        self._others.clear()

    def stop(self) -> None:
        self.stop_others()
        assert self._holder.stdin is not None
        self._holder.stdin.close()
        self._holder.wait(10)


@pytest.fixture(scope="module")
def _host(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Host]:
    if os.geteuid() != 0 or not shutil.which("iscsiadm"):
        pytest.skip("needs root and iscsiadm (Debian: open-iscsi)")
    host = Host(tmp_path_factory.mktemp("host"))
    yield host
    host.stop()


@pytest.fixture
def host(_host: Host) -> Host:
    """The host of this file of tests, without records and with the configuration as installed."""
    _host.clear()
    _host.configure(CONF.read_text())
    return _host


@pytest.fixture
def run(host: Host, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a module as Ansible does, up to its process: options in, what it printed out."""

    def one(name: str, /, *, check: bool = False, diff: bool = False, **options: t.Any) -> t.Dict[str, t.Any]:
        module = importlib.import_module(f"ansible_collections.lunar.iscsi.plugins.modules.{name}")
        given = {"root": str(host.root), "_ansible_check_mode": check, "_ansible_diff": diff, **options}
        with patch_module_args(given), pytest.raises(SystemExit):
            module.main()
        text = capsys.readouterr().out
        assert "plain-secret" not in text, "a secret in the result"
        return t.cast(t.Dict[str, t.Any], json.loads(text))

    return one
