# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host for the role lvm, made of mount namespaces of this machine: its own /dev, /etc and block devices in /sys, LVM over stand_in.py, no systemd."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

HERE = Path(__file__).parent
TOOLS = ("lvm", "lvchange", "lvcreate", "lvremove", "lvs", "pvs", "pvcreate", "vgchange", "vgcreate", "vgexport", "vgs")
NODES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0), "mapper/control": (10, 236)}
LOOPS = 64
MEGABYTE = 1 << 20
SETTING = """
set -e
block=$LUNAR_HOST/dm/sys/devices/virtual/block
mkdir -p $LUNAR_HOST/real
mount --bind /sys/devices/virtual/block $LUNAR_HOST/real
for loop in $LUNAR_HOST/real/loop*; do
    ln -sfn $loop $block/${loop##*/}
    for folder in block class/block; do ln -sfn /sys/devices/virtual/block/${loop##*/} $LUNAR_HOST/dm/sys/$folder/${loop##*/}; done
done
for folder in block class/block devices/virtual/block; do mount --bind $LUNAR_HOST/dm/sys/$folder /sys/$folder; done
mount --bind $LUNAR_HOST/etc /etc
for folder in shm pts; do mount --rbind /dev/$folder $LUNAR_HOST/dev/$folder; done
mount --rbind $LUNAR_HOST/dev /dev
mount --bind $LUNAR_HOST/srv /srv
echo ready
exec sleep infinity
"""
SYSTEMCTL = """#!/bin/sh
echo "systemctl $*" >> $LUNAR_HOST/log
case "$*" in
  *is-enabled*) echo enabled;;
  *show*) printf 'LoadState=loaded\\nActiveState=active\\nUnitFileState=enabled\\n';;
esac
"""
#: the tools that change something, as the stand-in logs them
CHANGES = re.compile(r"^(vgcreate|lvcreate|vgchange|lvchange|systemctl daemon-reload)\b.*", re.MULTILINE)


class RoleHost:
    """One host; ``power_cut`` takes all that is not on its disks."""

    def __init__(self, folder: Path, library: Path) -> None:
        self.folder = folder
        self.disks: t.Dict[str, str] = {}
        self._alive: t.Optional[subprocess.Popen[str]] = None
        for name in ("loops", "lvm", "bin", "srv", "dev/mapper", "dev/shm", "dev/pts", "dm/sys/block", "dm/sys/class/block", "dm/sys/devices/virtual/block"):
            (folder / name).mkdir(parents=True)
        shutil.copy(library, folder / "device_mapper.so")
        for tool in TOOLS:
            (folder / "bin" / tool).write_text(f"#!{sys.executable}\n" + (HERE / "stand_in.py").read_text("utf-8"), "utf-8")
        (folder / "bin/systemctl").write_text(SYSTEMCTL, "utf-8")
        for script in (folder / "bin").iterdir():
            script.chmod(0o755)
        for name, (major, minor) in NODES.items():
            os.mknod(folder / "dev" / name, 0o20666, os.makedev(major, minor))
        for number in range(LOOPS):
            os.mknod(folder / f"dev/loop{number}", 0o60600, os.makedev(7, number))
        os.mknod(folder / "dev/loop-control", 0o20600, os.makedev(10, 237))
        for name, link in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
            (folder / "dev" / name).symlink_to(link)
        subprocess.run(["cp", "-a", "/etc/.", str(folder / "etc")], check=True)
        (folder / "etc/fstab").write_text("# nothing yet\n", "ascii")
        (folder / "log").touch()
        self.env = dict(os.environ, LUNAR_HOST=str(folder), PATH=f"{folder}/bin:{os.environ['PATH']}", LVM_SUPPRESS_FD_WARNINGS="1",
                        LVM_SYSTEM_DIR=str(folder / "lvm"), NO_COLOR="1", ANSIBLE_PIPELINING="1")

    def disk(self, name: str, content: bytes = b"", megabytes: int = 64) -> str:
        """A disk, empty but for what it begins with."""
        path = self.folder / name
        path.write_bytes(content)
        os.truncate(path, megabytes * MEGABYTE)
        return self._attach(name)

    def afresh(self) -> None:
        """As it was at first, without a disk."""
        self.end()
        self.disks.clear()
        for place in (self.folder / "srv").iterdir():
            place.rmdir()
        (self.folder / "etc/fstab").write_text("# nothing yet\n", "ascii")
        self.boot()

    def _attach(self, name: str) -> str:
        self.disks[name] = subprocess.run(["losetup", "--find", "--show", str(self.folder / name)], capture_output=True, text=True, check=True).stdout.strip()
        self.look_at(*self.disks)
        return self.disks[name]

    def look_at(self, *names: str) -> None:
        """LVM sees these disks alone."""
        only = "".join(f'"a|^{self.disks[name]}$|", ' for name in names)
        (self.folder / "lvm/lvm.conf").write_text(
            f'devices {{ filter = [ {only}"r|.*|" ] obtain_device_list_from_udev=0 }}\nbackup {{ backup=0 archive=0 }}\n'
            "activation { udev_sync=0 udev_rules=0 monitoring=0 }\n", "ascii")

    def boot(self) -> None:
        self._alive = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c", SETTING], stdout=subprocess.PIPE, text=True, env=self.env)
        assert self._alive.stdout is not None and self._alive.stdout.readline() == "ready\n"

    def power_cut(self) -> None:
        """Mounts and active volumes are gone; disks, /etc and /srv are as they were."""
        if self._alive is not None:
            self._alive.send_signal(signal.SIGKILL)
            self._alive.wait()
            assert self._alive.stdout is not None
            self._alive.stdout.close()
            self._alive = None
        for loop in (self.folder / "loops").iterdir():
            subprocess.run(["losetup", "--detach", f"/dev/loop{loop.read_text('ascii')}"], check=False)
            loop.unlink()
        for gone in ("dm/dm", "dm/sys/block", "dm/sys/class/block", "dm/sys/devices/virtual/block"):
            shutil.rmtree(self.folder / gone, ignore_errors=True)
            (self.folder / gone).mkdir()
        for place in (self.folder / "dev").iterdir():
            if place.is_dir() and not place.is_symlink() and place.name not in ("mapper", "shm", "pts"):
                shutil.rmtree(place)
        for node in (self.folder / "dev/mapper").iterdir():
            if node.name != "control":
                node.unlink()

    def end(self) -> None:
        self.power_cut()
        for loop in self.disks.values():
            subprocess.run(["losetup", "--detach", loop], check=False)

    def inside(self, *argv: str) -> t.List[str]:
        """What runs a command on the host."""
        assert self._alive is not None
        return ["nsenter", "--mount", "--target", str(self._alive.pid), "--wd=/", *argv]

    def run(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command on the host."""
        done = subprocess.run(self.inside(*argv), capture_output=True, text=True, env=self.env, check=False, timeout=300)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def said(self, command: str) -> str:
        """What a command line of the shell prints; the witness."""
        return self.run("sh", "-c", command).stdout

    def changes(self) -> t.List[str]:
        """The commands since the last look that change something."""
        log = self.folder / "log"
        found = [match.group(0) for match in CHANGES.finditer(log.read_text("utf-8"))]
        log.write_text("", "utf-8")
        return found
