# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for every tool of LVM on a host without a device-mapper: called by its name, it runs the real one over device_mapper.c.

What that keeps in a folder becomes devices with data in them: a volume of one piece is a loop device at its place on the disk, under its own name in
/dev/mapper, so that blkid, mkfs, mount and findmnt are real, too. A volume is open as often as it is mounted. LUNAR_HOST names the folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HOST = Path(os.environ["LUNAR_HOST"])
DEVICES = HOST / "dm/dm"
LOOPS = HOST / "loops"
FIRST_BLOCK = 4096


def said(*argv: str) -> str:
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def count_mounts() -> None:
    numbers = [line.split()[2] for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines()]
    for loop in LOOPS.iterdir():
        for name in DEVICES.glob("*/name"):
            if name.read_text("utf-8") == loop.name:
                (name.parent / "open").write_text(str(numbers.count(f"7:{loop.read_text('ascii')}")))


def make_devices() -> None:
    there = {path.read_text("utf-8"): path.parent for path in DEVICES.glob("*/name") if (path.parent / "table").exists()}
    for gone in [loop for loop in LOOPS.iterdir() if loop.name not in there]:
        said("losetup", "--detach", f"/dev/loop{gone.read_text('ascii')}")
        gone.unlink()
    for name, folder in there.items():
        if not (LOOPS / name).exists():
            _start, length, _linear, disk, offset = (folder / "table").read_text("utf-8").split()
            minor = said("losetup", "--find", "--show", "--offset", str(512 * int(offset)), "--sizelimit", str(512 * int(length)),
                         f"/dev/loop{disk.partition(':')[2]}").replace("/dev/loop", "")
            (LOOPS / name).write_text(minor)
            node = Path("/dev/mapper", name)
            node.unlink(missing_ok=True)
            os.mknod(node, 0o600 | 0o060000, os.makedev(7, int(minor)))
            (HOST / f"dm/sys/devices/virtual/block/dm-{folder.name}/dev").write_text(f"7:{minor}\n")


def main() -> int:
    name, words = Path(sys.argv[0]).name, sys.argv[1:]
    if name == "lvm":
        name, *words = words
    with (HOST / "log").open("a") as log:
        log.write(" ".join([name, *words]) + "\n")
    count_mounts()
    before = {loop.name for loop in LOOPS.iterdir()}
    if name == "lvcreate":  # LVM itself would write into its volume, which is here a moment later
        words = ["-Zn", "-Wn", *(word for word in words if word not in ("--wipesignatures", "y"))]
    environment = dict(os.environ, LD_PRELOAD=str(HOST / "device_mapper.so"), LUNAR_DM=str(HOST / "dm"), LVM_SYSTEM_DIR=str(HOST / "lvm"))
    code = subprocess.run(["/sbin/lvm", name, *words], env=environment, check=False).returncode
    make_devices()
    if name == "lvcreate":
        for made in {loop.name for loop in LOOPS.iterdir()} - before:
            said("wipefs", "--all", "--quiet", f"/dev/mapper/{made}")
            with open(f"/dev/mapper/{made}", "r+b") as device:
                device.write(bytes(FIRST_BLOCK))
    return code


sys.exit(main())
