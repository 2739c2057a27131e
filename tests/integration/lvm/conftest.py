# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups on files behind loop devices, and the real lvm, which keeps to a configuration of its own and to these devices. It needs root and lvm2.

Nothing is ever activated in the kernel of this machine: LVM is told that there is no device-mapper, or has one in a folder (device_mapper.c).
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result, Runner

from .role_host import RoleHost

HERE = Path(__file__).parent
NAME = "lunar_test"


class WithoutDeviceMapper(Runner):
    """Runs the real lvm; ``selections`` are what --select was given."""

    def __init__(self) -> None:
        super().__init__()
        self.selections: t.List[str] = []

    def run(self, argv: t.Sequence[str], *, stdin: t.Optional[str] = None, timeout: float = 60.0, env: t.Optional[t.Mapping[str, str]] = None) -> Result:
        self.selections += [word for before, word in zip(argv, argv[1:]) if before == "--select"]
        return super().run([*argv[:2], "--driverloaded", "n", *argv[2:]], stdin=stdin, timeout=timeout, env=env)


def said(argv: t.Sequence[str], env: t.Optional[t.Mapping[str, str]] = None) -> str:
    """What a command says that is to succeed."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=dict(os.environ, **(env or {})))
    assert done.returncode == 0, done.stderr
    return done.stdout


class Disks:
    """Files behind loop devices, and LVM on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loops: t.Dict[str, str] = {}

    def attach(self, name: str, file: str = "") -> str:
        """A loop device over a file, which is made if it is missing; LVM looks at it from now on."""
        path = self.folder / (file or name)
        if not path.exists():
            with path.open("wb") as made:
                made.truncate(32 << 20)
        self.loops[name] = said(["losetup", "--find", "--show", str(path)]).strip()
        self.look_at(*self.loops.values())
        return self.loops[name]

    def detach(self, name: str) -> None:
        said(["losetup", "--detach", self.loops.pop(name)])
        self.look_at(*self.loops.values())

    def look_at(self, *devices: str, more: str = "") -> None:
        only = "".join(f'"a|^{device}$|", ' for device in devices)
        (self.folder / "lvm.conf").write_text(f'backup {{ backup=0 archive=0 }}\ndevices {{ filter = [ {only}"r|.*|" ] {more} }}\n')

    def lvm(self, command: str, *words: str) -> str:
        return said(["lvm", command, "--driverloaded", "n", *words])

    def report(self, command: str, *words: str) -> t.List[t.Dict[str, str]]:
        """What vgs, pvs or lvs says; the witness."""
        answer = json.loads(self.lvm(command, "--reportformat", "json", "--units", "b", "--nosuffix", *words))
        return t.cast(t.List[t.Dict[str, str]], answer["report"][0][command[:2]])

    def group(self, *names: str) -> None:
        """A group with one volume over all of these disks; udev of the machine is to leave it alone."""
        self.lvm("vgcreate", "--setautoactivation", "n", NAME, *(self.attach(name) for name in names))
        self.lvm("lvcreate", "-an", "-Zn", "-Wn", "-l", "100%FREE", "-n", "one", NAME)


@pytest.fixture
def disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Disks]:
    made = Disks(tmp_path)
    monkeypatch.setenv("LVM_SYSTEM_DIR", str(tmp_path))
    monkeypatch.setenv("LVM_SUPPRESS_FD_WARNINGS", "1")
    try:
        yield made
    finally:
        for name in list(made.loops):
            with contextlib.suppress(AssertionError):
                made.detach(name)


class Kernel(Disks):
    """The same with a device-mapper in a folder, and device files in another; LVM looks at nothing else."""

    def __init__(self, folder: Path, library: Path) -> None:
        super().__init__(folder)
        self.dm = folder / "kernel"
        self.dev = folder / "dev"
        (self.dev / "mapper").mkdir(parents=True)
        self.dm.mkdir()
        self.env = {"LD_PRELOAD": str(library), "LUNAR_DM": str(self.dm)}

    def attach(self, name: str, file: str = "") -> str:
        device = Path(super().attach(name, file))
        node = self.dev / device.name
        os.mknod(node, 0o600 | stat.S_IFBLK, device.stat().st_rdev)
        self.look_at(*self.nodes())
        return str(node)

    def detach(self, name: str) -> None:
        (self.dev / Path(self.loops[name]).name).unlink()
        super().detach(name)
        self.look_at(*self.nodes())

    def nodes(self, *names: str) -> t.List[str]:
        """The device files of these disks, or of all."""
        return [str(self.dev / Path(loop).name) for name, loop in self.loops.items() if not names or name in names]

    def look_at(self, *devices: str, more: str = "") -> None:
        super().look_at(*devices, more=f'dir="{self.dev}" scan=["{self.dev}"] obtain_device_list_from_udev=0 {more}')
        with (self.folder / "lvm.conf").open("a") as conf:
            conf.write("activation { udev_sync=0 udev_rules=0 monitoring=0 }\n")

    def here(self, command: str, *words: str) -> str:
        """LVM of this host; ``lvm`` is that of another, which has none of this kernel's devices."""
        return said(["lvm", command, *words], self.env)

    def active(self) -> t.List[str]:
        """GROUP/VOLUME of what is active, as lvs says; the witness."""
        answer = json.loads(self.here("lvs", "--reportformat", "json", "-o", "lv_full_name", "--select", "lv_active=active"))
        return sorted(row["lv_full_name"] for row in answer["report"][0]["lv"])

    def minor(self, mapper: str) -> int:
        """The number of a device in the kernel, by its name in /dev/mapper."""
        return next(int(path.parent.name) for path in (self.dm / "dm").glob("*/name") if path.read_text() == mapper)

    def open(self, mapper: str, times: int = 1) -> None:
        (self.dm / "dm" / str(self.minor(mapper)) / "open").write_text(str(times))


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("device-mapper") / "device_mapper.so"
    said(["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(made), str(HERE / "device_mapper.c")])
    return made


@pytest.fixture
def kernel(tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Kernel]:
    made = Kernel(tmp_path, library)
    monkeypatch.setenv("LVM_SYSTEM_DIR", str(tmp_path))
    monkeypatch.setenv("LVM_SUPPRESS_FD_WARNINGS", "1")
    try:
        yield made
    finally:
        for name in list(made.loops):
            with contextlib.suppress(AssertionError):
                made.detach(name)


@pytest.fixture
def host(tmp_path: Path, library: Path) -> t.Iterator[RoleHost]:
    made = RoleHost(tmp_path / "host", library)
    try:
        made.boot()
        yield made
    finally:
        made.end()
