# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest of the lab boots with: the command line that QEMU gets, what is kept for the next start, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

LAB = Path(__file__).resolve().parents[3] / "lab"
sys.path.insert(0, str(LAB))

from lunarlab.boot import Boot, read_boot  # noqa: E402
from lunarlab.common import LabError  # noqa: E402
from lunarlab.hosts import HOSTS, write_access  # noqa: E402
from lunarlab.image import Image  # noqa: E402
from lunarlab.machine import Machine  # noqa: E402
from lunarlab.operations import Lab  # noqa: E402

IMAGE = Image(Path("/image/root.qcow2"), Path("/image/vmlinuz"), Path("/image/initrd.img"))


@pytest.fixture
def files(tmp_path: Path) -> t.Dict[str, Path]:
    made = {name: tmp_path / name for name in ("kernel", "initrd", "table")}
    for path in made.values():
        path.write_bytes(b"x" * 100)
    return made


def machine(folder: Path, name: str = "diskless") -> Machine:
    for host in HOSTS.values():
        (folder / host.name).mkdir(exist_ok=True)
        for file in ("ssh_host_key", "ssh_host_key.pub"):
            (folder / host.name / file).write_text("key\n")
    (folder / "id_ed25519.pub").write_text("key\n")
    return Machine(folder, folder, HOSTS[name])


def command(of: Machine) -> t.List[str]:
    return of._command(IMAGE, "-accel tcg", "1024M", 2222)


def after(words: t.List[str], option: str) -> t.List[str]:
    return [words[place + 1] for place, word in enumerate(words) if word == option]


def test_the_usual_guest(tmp_path: Path) -> None:
    words = command(machine(tmp_path, "initiator"))
    assert after(words, "-kernel") == ["/image/vmlinuz"] and after(words, "-initrd") == ["/image/initrd.img"] and "-acpitable" not in words
    assert "root=/dev/vda rw rootfstype=ext4 fsck.mode=skip" in after(words, "-append")[0] and any("disk.qcow2" in word for word in words)


def test_a_guest_without_a_disk(tmp_path: Path, files: t.Dict[str, Path]) -> None:
    guest = machine(tmp_path)
    Boot(files["kernel"], files["initrd"], "root=UUID=0123 rw", files["table"], disk=False).write(guest.boot_file)
    words = command(guest)
    assert after(words, "-kernel") == [str(files["kernel"])] and after(words, "-initrd") == [str(files["initrd"])]
    assert after(words, "-acpitable") == [f"sig=iBFT,rev=1,data={files['table']}"]
    assert "root=UUID=0123 rw" in after(words, "-append")[0] and "/dev/vda" not in after(words, "-append")[0]
    assert "-drive" not in words and not any("virtio-blk" in word for word in words)
    assert any("id=nic-san1" in word and "mac=52:54:00:6c:01:14" in word for word in words)


def test_a_table_for_a_usual_guest(tmp_path: Path, files: t.Dict[str, Path]) -> None:
    guest = machine(tmp_path, "initiator")
    Boot(firmware=files["table"]).write(guest.boot_file)
    words = command(guest)
    assert after(words, "-acpitable") and after(words, "-kernel") == ["/image/vmlinuz"] and "-drive" in words


def test_what_is_kept_is_what_was_given(tmp_path: Path, files: t.Dict[str, Path]) -> None:
    boot = Boot(files["kernel"], files["initrd"], "root=x", None, disk=False)
    boot.write(tmp_path / "deep/boot.json")
    assert read_boot(tmp_path / "deep/boot.json") == boot
    assert read_boot(tmp_path / "none") == Boot()
    (tmp_path / "broken").write_text("{")
    assert read_boot(tmp_path / "broken") == Boot()


@pytest.mark.parametrize("given, words", [
    ({"kernel": "kernel"}, "belong together"), ({"initrd": "initrd"}, "belong together"), ({"disk": False}, "without a disk needs a kernel"),
    ({"kernel": "kernel", "initrd": "initrd", "disk": False}, "words about its root"), ({"firmware": "none"}, "is no file"),
    ({"kernel": "kernel", "initrd": "none"}, "is no file"), ({"firmware": "empty"}, "is 0 bytes long"), ({"firmware": "long"}, "which no table is"),
    ({"firmware": "a,b"}, "a name with a comma"),
])
def test_refused_in_words(tmp_path: Path, files: t.Dict[str, Path], given: t.Dict[str, t.Any], words: str) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "long").write_bytes(b"x" * 70000)
    (tmp_path / "a,b").write_bytes(b"x")
    with pytest.raises(LabError, match=words):
        paths: t.Dict[str, t.Any] = {name: tmp_path / value if isinstance(value, str) else value for name, value in given.items()}
        Boot(**paths).check()


def test_relative_paths_hold_from_everywhere(tmp_path: Path, files: t.Dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Boot(firmware=Path("table")).check().firmware == files["table"]


def test_the_inventory_has_it_in_a_group_of_its_own(tmp_path: Path) -> None:
    machine(tmp_path)
    write_access(tmp_path, tmp_path, {"initiator": 1, "diskless": 2})
    groups = json.loads((tmp_path / "hosts.yml").read_text())["all"]["children"]["lab"]["children"]
    assert list(groups["initiators"]["hosts"]) == ["initiator"] and list(groups["netbooted"]["hosts"]) == ["diskless"]


def test_it_is_not_brought_up_without_something_to_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_NAME", "unit-test-that-runs-nothing")
    lab = Lab()
    monkeypatch.setattr("lunarlab.operations.require", lambda *_tools: None)
    with pytest.raises(LabError, match="has nothing to boot from yet"):
        lab.up([HOSTS["diskless"]])
    with pytest.raises(LabError, match="the lab is not up"):
        lab.boot("initiator", Boot())
    with pytest.raises(LabError, match="is no host of the lab"):
        lab.boot("nobody", Boot())


def test_it_is_forgotten_with_what_it_boots_from(tmp_path: Path, files: t.Dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_NAME", "unit-test-that-runs-nothing")
    lab = Lab()
    lab.folder = lab.sockets = tmp_path
    lab.state_file = tmp_path / "state.json"
    lab.machines["diskless"] = machine(tmp_path)
    Boot(files["kernel"], files["initrd"], "root=x", disk=False).write(lab.machines["diskless"].boot_file)
    lab._write_state({"target": 1, "diskless": 2}, "-accel tcg")
    lab._forget_diskless()
    assert lab.ports() == {"target": 1} and not lab.machines["diskless"].boot_file.exists()
    assert "diskless" not in (tmp_path / "ssh_config").read_text()


def test_the_command_line(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(LAB / "lab.py"), "boot", "diskless", "--firmware", str(tmp_path / "none")], capture_output=True, text=True,
                          check=False, env={"LAB_NAME": "unit-test-that-runs-nothing", "PATH": "/usr/bin:/bin"})
    assert done.returncode == 1 and "a guest without a disk needs a kernel" in done.stderr
