# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A system with a kernel that boots nothing: the machine's programs and configuration, seen through mounts of a namespace, and made-up modules."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

KERNEL = "6.1.0-test-amd64"
MODULES = ("drivers/scsi/iscsi_tcp", "drivers/scsi/libiscsi", "drivers/net/virtio_net", "drivers/firmware/iscsi_ibft", "drivers/scsi/sd_mod")
MODULE = """
import importlib, json, sys
from ansible.module_utils.testing import patch_module_args
with patch_module_args(json.load(sys.stdin)):
    importlib.import_module("ansible_collections.lunar.iscsi.plugins.modules." + sys.argv[1]).main()
"""
#: /usr is the machine's, but for a place for modules; /boot may be made small
MOUNTS = """
for one in /usr/* /usr/lib/*; do
  if [ "$one" != /usr/lib ] && [ "$one" != /usr/lib/modules ] && [ ! -L "$one" ]; then mount --bind "$one" "$1$one"; fi
done
if [ -n "$2" ]; then mount -t tmpfs -o "size=$2" none "$1/small"; fi
shift 2; exec "$@"
"""


class System:
    """Below ``root``; everything that runs does so in a mount namespace of its own."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root
        self.small = ""
        for name in ("usr", "proc", "sys", "dev", "tmp", "var/tmp", "run", "boot", "small", "etc/initramfs-tools"):
            (root / name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            (root / name).symlink_to(f"usr/{name}")
        for source in [*Path("/usr").iterdir(), *Path("/usr/lib").iterdir()]:
            copy = root / str(source)[1:]
            if source.is_symlink():
                copy.symlink_to(os.readlink(source))
            elif source.is_dir():
                copy.mkdir(exist_ok=True)
            else:
                copy.touch()
        for name in ("initramfs-tools", "ld.so.conf", "ld.so.conf.d", "ld.so.cache", "udev", "modprobe.d", "alternatives", "passwd", "group", "nsswitch.conf",
                     "dpkg", "debian_version", "dracut.conf", "dracut.conf.d", "systemd"):
            source, copy = Path("/etc", name), root / "etc" / name
            if source.is_dir():
                shutil.copytree(source, copy, symlinks=True, dirs_exist_ok=True)
            elif source.exists():
                shutil.copy(source, copy)
        (root / "etc/iscsi").mkdir()
        (root / "etc/iscsi/iscsid.conf").write_text(Path("/etc/iscsi/iscsid.conf").read_text())
        (root / "etc/iscsi/initiatorname.iscsi").write_text("InitiatorName=iqn.2026-11.org.example:booted\n")
        self._make_kernel(folder)

    def _make_kernel(self, folder: Path) -> None:
        base = self.root / f"lib/modules/{KERNEL}"
        for path in MODULES:
            name = path.rpartition("/")[2]
            source = folder / f"{name}.c"
            source.write_text(f'__attribute__((section(".modinfo"), used)) static const char n[] = "name={name}";\n')
            made = base / f"kernel/{path}.ko"
            made.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["gcc", "-c", "-o", str(made), str(source)], check=True)
        (base / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\n")
        (base / "modules.order").write_text("".join(f"kernel/{path}.ko\n" for path in MODULES))
        subprocess.run(["depmod", "--basedir", str(self.root), KERNEL], check=True)
        (self.root / f"boot/vmlinuz-{KERNEL}").write_text("no kernel\n")
        words = "".join(f"CONFIG_RD_{name}=y\n" for name in ("GZIP", "BZIP2", "LZMA", "XZ", "LZO", "LZ4", "ZSTD"))
        (self.root / f"boot/config-{KERNEL}").write_text(words)

    def run(self, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join(os.path.abspath(folder) for folder in sys.path)
        whole = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", MOUNTS, "sh", str(self.root), self.small, *argv]
        return subprocess.run(whole, input=stdin, capture_output=True, text=True, timeout=1200, check=False, env=dict(os.environ, PYTHONPATH=path))

    def module(self, name: str, /, *, check: bool = False, **options: t.Any) -> t.Dict[str, t.Any]:
        """Run a module that sees this system mounted."""
        given = {"root": str(self.root), "_ansible_check_mode": check, "_ansible_diff": True, **options}
        done = self.run(sys.executable, "-c", MODULE, name, stdin=json.dumps(given))
        assert done.stdout, done.stderr
        return t.cast(t.Dict[str, t.Any], json.loads(done.stdout))

    def module_between(self, name: str, before: str, after: str, /, **options: t.Any) -> t.Tuple[t.Dict[str, t.Any], str]:
        """The same between two pieces of shell in the same namespace; returns what the second one said, too."""
        script = f'{before}; "$0" -c "$1" "$2" || true; echo; {after}'
        done = self.run("sh", "-ec", script, sys.executable, MODULE, name, stdin=json.dumps({"root": str(self.root), **options}))
        result, _newline, said = done.stdout.strip().partition("\n")
        assert result, done.stderr
        return json.loads(result), said


@pytest.fixture
def system(tmp_path: Path) -> System:
    if os.geteuid() != 0 or not shutil.which("gcc") or not os.path.exists("/sbin/iscsistart"):
        pytest.fail("needs root, gcc and open-iscsi: see requirements/debian.txt")
    (tmp_path / "build").mkdir()
    return System(tmp_path / "root", tmp_path / "build")
