# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with sessions, as far as sysfs goes: whole modules beside the real iscsiadm and the real udevadm."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.sysfs_tree import Tree

HERE = Path(__file__).parent
MODULE = """
import importlib, json, sys
from ansible.module_utils.testing import patch_module_args
with patch_module_args(json.load(sys.stdin)):
    importlib.import_module("ansible_collections.lunar.iscsi.plugins.modules." + sys.argv[1]).main()
"""


class Host:
    """Sessions and disks in a sysfs of its own; nothing of it is the machine's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tree = Tree(root)
        self.rules = root / "etc/udev/rules.d"
        self.rules.mkdir(parents=True)
        (root / "etc/iscsi").mkdir()
        (root / "etc/iscsi/iscsid.conf").write_text("")
        (root / "etc/iscsi/initiatorname.iscsi").write_text("InitiatorName=iqn.2026-11.org.example:witness\n")
        self.tree.attributes("/sys/devices/platform", uevent="")
        self.tree.attributes("/sys/class/iscsi_transport/tcp", handle="18446744072637906944", caps="0x39")
        for folder in ("bus/scsi/devices", "class/block", "block", "class/iscsi_session", "class/iscsi_connection"):
            (root / "sys" / folder).mkdir(parents=True)
        self._holder: t.Optional[subprocess.Popen[bytes]] = None

    def session(self, sid: int, target: str, disks: t.Optional[t.Mapping[str, int]] = None, counts: bool = True) -> None:
        """A session to ``target`` with disks (name -> LUN), as iscsi_tcp and sd show them; one that does not count gives iscsid no counters."""
        host = sid + 1
        self.tree.session(sid, host, target)
        folder = f"/sys/devices/platform/host{host}"
        for path, kind in ((folder, "scsi_host"), (f"{folder}/session{sid}/target{host}:0:0", "scsi_target")):
            self.tree.attributes(path, uevent=f"DEVTYPE={kind}")
            self.tree.link(f"{path}/subsystem", "/sys/bus/scsi")
        for name in ("iscsi_session", "iscsi_connection"):
            called = f"session{sid}" if name == "iscsi_session" else f"connection{sid}:0"
            base = f"{folder}/session{sid}/{name}/{called}" if name == "iscsi_session" else f"{folder}/session{sid}/{called}/{name}/{called}"
            self.tree.attributes(base, uevent="")
            self.tree.link(f"{base}/subsystem", f"/sys/class/{name}")
        self.tree.attributes(f"{folder}/session{sid}", uevent="")
        self.tree.attributes(f"/sys/class/scsi_host/host{host}", can_queue=113)
        self.tree.link(f"{folder}/iscsi_host/host{host}", f"/sys/class/iscsi_host/host{host}")
        if counts:
            self.tree.attributes(f"{folder}/session{sid}/iscsi_session/session{sid}", counts="")
        for disk, lun in (disks or {}).items():
            minor = 16 * (ord(disk[-1]) - ord("a"))
            device = self.tree.lun(sid, host, lun, disk, f"8:{minor}", timeout=30, queue_depth=32, uevent="DEVTYPE=scsi_device")
            self.tree.attributes(f"{device}/scsi_disk/{host}:0:0:{lun}", max_retries=5)
            self.tree.link(f"{device}/subsystem", "/sys/bus/scsi")
            self.tree.attributes(f"{device}/block/{disk}", uevent=f"MAJOR=8\nMINOR={minor}\nDEVNAME={disk}\nDEVTYPE=disk")
            self.tree.link(f"{device}/block/{disk}/subsystem", "/sys/class/block")

    def prepare(self, sid: int, target: str) -> None:
        """A session that comes up, with a disk, when iscsid is asked for a login to the target."""
        self.session(sid, target, {f"sd{chr(96 + sid)}": 0})
        folder = self.root / "sys/prepared" / target
        folder.mkdir(parents=True)
        for link in (self.root / f"sys/class/iscsi_session/session{sid}", self.root / f"sys/class/iscsi_connection/connection{sid}:0"):
            (folder / link.name).symlink_to(os.path.relpath(link.resolve(), link.parent))
            link.unlink()

    def start(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--net", "--propagation", "private", sys.executable, str(HERE / "stand_in.py"), str(self.root)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._holder.stdout is not None and self._holder.stdout.readline() == b"ready\n", "the namespaces could not be made"

    def stop(self) -> None:
        if self._holder is not None:
            assert self._holder.stdin is not None
            self._holder.stdin.close()
            self._holder.wait(10)

    def inside(self, *argv: str) -> t.List[str]:
        assert self._holder is not None
        return ["nsenter", "--target", str(self._holder.pid), "--mount", "--net", "--", *argv]

    def run(self, *argv: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(self.inside(*argv), capture_output=True, text=True, timeout=100, check=False, env=dict(os.environ, **environment))
        assert not check or done.returncode == 0, f"{argv}: rc {done.returncode}: {done.stdout}{done.stderr}"
        return done

    def module(self, name: str, /, *before: str, check: bool = False, **options: t.Any) -> t.Dict[str, t.Any]:
        """Run a module inside, where this host is ``/``, under the command ``before`` if there is one: options in, what it printed out."""
        given = {"_ansible_check_mode": check, "_ansible_diff": True, **options}
        path = os.pathsep.join(os.path.abspath(folder) for folder in sys.path)
        done = subprocess.run(self.inside(*before, sys.executable, "-c", MODULE, name), input=json.dumps(given), capture_output=True, text=True, timeout=100,
                              check=False, env=dict(os.environ, PYTHONPATH=path))
        assert done.stdout, done.stderr
        return t.cast(t.Dict[str, t.Any], json.loads(done.stdout))

    def processes(self, name: str, /, **options: t.Any) -> t.List[str]:
        """What a module executes, itself left out, as strace sees it."""
        log = self.root / "strace"
        self.module(name, "strace", "-f", "-qq", "-o", str(log), "-e", "trace=execve", **options)
        lines = [line for line in log.read_text().splitlines() if "execve(" in line and "ENOENT" not in line]
        assert lines, "strace did not even show the module"
        return lines[1:]

    def appears(self, disk: str) -> None:
        """Let udev do what it does when a disk appears."""
        self.run("udevadm", "test", "--action=add", f"/sys/class/block/{disk}", SYSTEMD_DEVICE_VERIFY_SYSFS="0")

    def values(self, disk: str) -> t.Tuple[int, int, int]:
        """Timeout, queue depth and retries of a disk. A plain file keeps what stood behind a shorter value, so they are of one length here."""
        device = self.root / "sys/class/block" / disk / "device"
        (scsi_disk,) = (device / "scsi_disk").iterdir()
        timeout, depth, retries = (path.read_text().split()[0] for path in (device / "timeout", device / "queue_depth", scsi_disk / "max_retries"))
        return int(timeout), int(depth), int(retries)


@pytest.fixture
def host(tmp_path: Path) -> t.Iterator[Host]:
    if os.geteuid() != 0 or not shutil.which("iscsiadm") or not shutil.which("udevadm"):
        pytest.fail("these tests make namespaces and run iscsiadm, udevadm and strace: run them as root, with open-iscsi, udev and strace installed")
    one = Host(tmp_path)
    yield one
    one.stop()
