# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iscsi_initramfs over a stand-in for the tools: what an initramfs lacks, and that the old one stays whatever goes wrong."""

from __future__ import annotations

import gzip
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._boot.initramfs_task import InitramfsTask
from ansible_collections.lunar.iscsi.plugins.module_utils._boot.pieces import find_generator, find_kernels, image_path
from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import bring_about
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, HostError, InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result, Runner, TimedOutError
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils._boot.cpio import cpio

KERNEL = "6.1.0-37-amd64"
WORDS = ["rd.iscsi.firmware=1", "ip=192.0.2.10:::255.255.255.0::san1:none"]


class System(Runner):
    """A system below a folder whose tool builds what ``files`` says, or fails."""

    def __init__(self, root: Path, tool: str = "usr/sbin/mkinitramfs") -> None:
        super().__init__()
        self.root = root
        self.ran: t.List[t.Tuple[str, ...]] = []
        self.modes: t.List[t.Optional[int]] = []
        self.code, self.stderr, self.cut = 0, "", 0
        self.dracut = "dracut" in tool
        self.write(tool, "")
        self.write(f"boot/vmlinuz-{KERNEL}", "kernel")
        self.write(f"lib/modules/{KERNEL}/modules.builtin", "kernel/drivers/net/virtio-net.ko\n")
        self.write("sbin/iscsistart", "program")
        self.write("etc/iscsi/initiatorname.iscsi", "InitiatorName=iqn.2026-11.org.example:host\n")
        self.write("etc/iscsi/iscsi.initramfs", "ISCSI_AUTO=true\n")
        self.leaves_out: t.Tuple[str, ...] = ()
        self.more: t.Dict[str, t.Optional[bytes]] = {}
        self.image = root / f"boot/initrd.img-{KERNEL}"

    def write(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def files(self) -> t.Dict[str, t.Optional[bytes]]:
        modules: t.Dict[str, t.Optional[bytes]] = {
            f"usr/lib/modules/{KERNEL}/kernel/{name}.ko.xz": b"" for name in ("drivers/scsi/iscsi_tcp", "drivers/firmware/iscsi_ibft")}
        if self.dracut:
            own: t.Dict[str, t.Optional[bytes]] = {
                "usr/sbin/iscsiroot": b"", "usr/sbin/iscsiadm": b"", "usr/sbin/iscsid": b"", "etc/cmdline.d/01-default.conf": " ".join(WORDS).encode()}
        else:
            own = {"scripts/local-top/iscsi": b"", "usr/sbin/iscsistart": (self.root / "sbin/iscsistart").read_bytes(),
                   "etc/initiatorname.iscsi": (self.root / "etc/iscsi/initiatorname.iscsi").read_bytes()}
            if (self.root / "etc/iscsi/iscsi.initramfs").exists():
                own["etc/iscsi.initramfs"] = (self.root / "etc/iscsi/iscsi.initramfs").read_bytes()
        return {name: data for name, data in {**modules, **own, **self.more}.items() if not any(word in name for word in self.leaves_out)}

    def run(self, argv: t.Sequence[str], *, stdin: t.Optional[str] = None, timeout: float = 60.0, env: t.Optional[t.Mapping[str, str]] = None) -> Result:
        self.ran.append(tuple(argv))
        if self.code < 0:
            raise TimedOutError(argv, timeout)
        output = next((one for one in argv if one.endswith(".lunar-iscsi-new")), None)
        if output:
            place = self.root / output.lstrip("/")
            self.modes.append(place.stat().st_mode & 0o777 if place.exists() else None)
            data = gzip.compress(cpio(self.files()))
            (self.root / output.lstrip("/")).write_bytes(data[:len(data) - self.cut])
        return Result(tuple(argv), self.code, "", self.stderr)

    def task(self, check: bool = False, **options: t.Any) -> t.Dict[str, t.Any]:
        params = {"root": str(self.root), "generator": "auto", "kernels": [], "modules": [], "words": [], "timeout": 60, **options}
        return bring_about(InitramfsTask(params, self), check, diff_mode=True)


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


def test_the_first_one_is_built_and_the_second_run_builds_nothing(system: System) -> None:
    done = system.task(modules=["virtio_net", "iscsi-ibft"])
    assert done["steps"] == [f"build {system.image}"] and done["images"] == [{"kernel": KERNEL, "path": str(system.image), "lacks": []}]
    assert system.ran[0][-4:] == ("mkinitramfs", "-o", f"/boot/initrd.img-{KERNEL}.lunar-iscsi-new", KERNEL)
    before = system.image.read_bytes()
    assert not system.task(modules=["virtio_net", "iscsi_ibft"])["changed"] and len(system.ran) == 1 and system.image.read_bytes() == before
    assert sorted(path.name for path in (system.root / "boot").iterdir()) == [f"initrd.img-{KERNEL}", f"vmlinuz-{KERNEL}"]


@pytest.mark.parametrize("path, text, words", [
    ("etc/iscsi/iscsi.initramfs", "ISCSI_AUTO=true\nISCSI_INITIATOR=x\n", "etc/iscsi.initramfs is not what /etc/iscsi/iscsi.initramfs is now"),
    ("etc/iscsi/initiatorname.iscsi", "InitiatorName=iqn.2026-11.org.example:other\n", "etc/initiatorname.iscsi is not what"),
    ("sbin/iscsistart", "another version", "sbin/iscsistart is not what /sbin/iscsistart is now"),
])
def test_a_changed_input_is_a_reason(system: System, path: str, text: str, words: str) -> None:
    system.task()
    system.write(path, text)
    predicted = system.task(check=True)
    assert words in predicted["diff"][0]["before"] and len(system.ran) == 1
    assert system.task()["changed"] and not system.task()["changed"]


def test_a_file_that_is_gone_is_a_reason(system: System) -> None:
    system.task()
    (system.root / "etc/iscsi/iscsi.initramfs").unlink()
    done = system.task()
    assert "etc/iscsi.initramfs is in it, and /etc/iscsi/iscsi.initramfs is gone" in done["diff"][0]["before"] and not system.task()["changed"]


def test_a_cut_off_one_is_built_anew(system: System) -> None:
    system.task()
    system.image.write_bytes(system.image.read_bytes()[:-30])
    assert "it is damaged" in system.task(check=True)["diff"][0]["before"]
    assert system.task()["images"][0]["lacks"] == []


@pytest.mark.parametrize("piece, words", [
    ("iscsistart", "sbin/iscsistart is not in it"), ("local-top", "scripts/local-top/iscsi is not in it"),
    ("iscsi_tcp", "the kernel module iscsi_tcp is not in it"), ("iscsi.initramfs", "etc/iscsi.initramfs is not in it"),
    ("initiatorname", "etc/initiatorname.iscsi is not in it"),
])
def test_a_build_that_leaves_a_piece_out_does_not_take_the_place_of_the_old_one(system: System, piece: str, words: str) -> None:
    system.task()
    old = system.image.read_bytes()
    system.write("sbin/iscsistart", "another version")
    system.leaves_out = (piece,)
    with pytest.raises(DamagedError, match=f"was built, but .*{words}.*The old one is in place as it was"):
        system.task()
    assert system.image.read_bytes() == old and len(list((system.root / "boot").iterdir())) == 2


@pytest.mark.parametrize("code, stderr, cut, error, words", [
    (1, "gzip: write error: No space left on device\nE: failure\n", 40, HostError, "No space left on device.*The old one is in place as it was. Make room"),
    (1, "W: look out\nE: hook failed\n", 40, HostError, "initramfs-tools ended with exit code 1: E: hook failed. The old one is in place as it was"),
    (0, "", 40, DamagedError, "was built, but it is damaged.*The old one is in place"),
    (-1, "", 0, HostError, "did not end within 60 s.*timeout"),
])
def test_a_build_that_fails_leaves_the_old_one(system: System, code: int, stderr: str, cut: int, error: t.Type[Exception], words: str) -> None:
    system.task()
    old = system.image.read_bytes()
    system.write("sbin/iscsistart", "another version")
    system.code, system.stderr, system.cut = code, stderr, cut
    with pytest.raises(error, match=words):
        system.task()
    assert system.image.read_bytes() == old and len(list((system.root / "boot").iterdir())) == 2
    system.code, system.stderr, system.cut = 0, "", 0
    assert system.task()["changed"]


def test_what_a_killed_task_left_is_overwritten_and_removed(system: System) -> None:
    left = system.write(f"boot/initrd.img-{KERNEL}.lunar-iscsi-new", "half of it")
    system.task()
    assert not left.exists() and not system.task()["changed"]


def test_one_with_a_secret_in_it_is_for_root_alone(system: System) -> None:
    (system.root / "etc/iscsi/iscsi.initramfs").chmod(0o644)
    system.task()
    assert system.image.stat().st_mode & 0o777 == 0o644
    system.write("etc/iscsi/iscsi.initramfs", "ISCSI_PASSWORD=x\n").chmod(0o600)
    system.task()
    assert system.image.stat().st_mode & 0o777 == 0o600 and system.modes == [None, 0o600]


def test_the_boot_loader_is_told_as_update_initramfs_does(system: System) -> None:
    system.write("etc/initramfs/post-update.d/zz-loader", "")
    system.task()
    assert system.ran[-1][-4:] == ("run-parts", f"--arg={KERNEL}", f"--arg=/boot/initrd.img-{KERNEL}", "/etc/initramfs/post-update.d")


class TestDracut:
    @pytest.fixture
    def system(self, tmp_path: Path) -> System:
        return System(tmp_path, "usr/bin/dracut")

    def test_its_module_its_words_and_what_it_runs(self, system: System) -> None:
        done = system.task(words=WORDS)
        assert done["generator"] == "dracut" and done["images"][0]["path"] == str(system.root / f"boot/initramfs-{KERNEL}.img")
        assert system.ran[0][-5:] == ("dracut", "--force", "--no-hostonly", f"/boot/initramfs-{KERNEL}.img.lunar-iscsi-new", KERNEL)
        assert not system.task(words=WORDS)["changed"]
        assert "its command line does not say rd.neednet=1" in system.task(check=True, words=[*WORDS, "rd.neednet=1"])["diff"][0]["before"]

    def test_a_secret_among_the_words_is_not_shown(self, system: System) -> None:
        with pytest.raises(DamagedError, match=r"does not say rd\.iscsi\.password=\*{8}") as caught:
            system.task(words=["rd.iscsi.password=plain-secret"])
        assert "plain-secret" not in str(caught.value) + str(caught.value.facts)

    @pytest.mark.parametrize("leaves_out, works", [(("iscsiroot",), False), (("iscsid",), False), ((), True)])
    def test_what_it_runs(self, system: System, leaves_out: t.Tuple[str, ...], works: bool) -> None:
        system.leaves_out = leaves_out
        if works:
            system.task()
        else:
            with pytest.raises(DamagedError, match="is not in it"):
                system.task()

    def test_where_each_distribution_puts_it(self, system: System) -> None:
        assert image_path(str(system.root), KERNEL, "dracut") == f"/boot/initramfs-{KERNEL}.img"
        system.write("etc/os-release", 'ID="opensuse-leap"\nID_LIKE="suse opensuse"\n')
        assert image_path(str(system.root), KERNEL, "dracut") == f"/boot/initrd-{KERNEL}"
        system.write("etc/debian_version", "12.1\n")
        assert image_path(str(system.root), KERNEL, "dracut") == f"/boot/initrd.img-{KERNEL}"
        system.write(f"boot/initrd-{KERNEL}", "there already")
        assert image_path(str(system.root), KERNEL, "dracut") == f"/boot/initrd-{KERNEL}"


def test_kernels_are_those_with_modules(system: System) -> None:
    system.write("boot/vmlinuz-0-rescue-abc", "kernel")
    assert find_kernels(str(system.root)) == [KERNEL]
    (system.root / f"boot/vmlinuz-{KERNEL}").unlink()
    with pytest.raises(HostError, match="has no kernel whose modules are installed"):
        find_kernels(str(system.root))


def test_the_running_system_needs_no_namespace(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    task = InitramfsTask({"root": "/", "generator": "auto", "kernels": [], "modules": [], "words": [], "timeout": 60}, system)
    task._run(["true"])
    assert system.ran == [("true",)]


@pytest.mark.parametrize("options, words", [
    ({"kernels": ["5.10"]}, "5.10, which is not installed"), ({"words": ["a"]}, "reads no command line but that of the kernel"),
    ({"modules": ["a b"]}, "option modules"), ({"timeout": 0}, "option timeout"), ({"root": "relative"}, "option root"),
])
def test_what_cannot_be_meant(system: System, options: t.Dict[str, t.Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        system.task(**options)


def test_a_system_without_a_tool(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="has neither initramfs-tools nor dracut"):
        System(tmp_path, "usr/bin/booster").task()


def test_where_both_are_installed(system: System) -> None:
    system.write("usr/bin/dracut", "")
    system.write("usr/sbin/update-initramfs", "")
    assert system.task(check=True)["generator"] == "initramfs-tools"
    assert system.task(check=True, generator="dracut")["generator"] == "dracut"
    (system.root / "usr/bin/dracut").unlink()
    with pytest.raises(HostError, match="has no dracut"):
        system.task(generator="dracut")


def test_dracut_in_the_place_of_initramfs_tools_whose_core_has_stayed(tmp_path: Path) -> None:
    System(tmp_path)
    assert find_generator(str(tmp_path)) == "initramfs-tools"
    (tmp_path / "usr/bin").mkdir()
    (tmp_path / "usr/bin/dracut").touch()
    assert find_generator(str(tmp_path)) == "dracut"
    (tmp_path / "usr/sbin/update-initramfs").touch()
    assert find_generator(str(tmp_path)) == "initramfs-tools"
    assert find_generator(str(tmp_path), "dracut") == "dracut"


def test_dracut_needs_an_awk_that_can_read_flags(tmp_path: Path) -> None:
    system = System(tmp_path, "usr/bin/dracut")
    system.more = {"usr/bin/mawk": b"", "usr/lib/net-lib.sh": b"awk -- 'BEGIN { exit (!and('\"$flags\"',1)) }' || continue\n"}
    system.task(words=WORDS)
    with pytest.raises(DamagedError, match="was built, but its command line .*; its awk is mawk, .* gawk can"):
        system.task(words=["rd.iscsi.ibft=1"])
    system.more["usr/lib/net-lib.sh"] = b"flags=$((flags & 1))\n"
    with pytest.raises(DamagedError) as caught:
        system.task(words=["rd.iscsi.ibft=1"])
    assert "awk" not in caught.value.what


def test_what_iscsid_is_started_with_is_in_it(tmp_path: Path) -> None:
    system = System(tmp_path, "usr/bin/dracut")
    system.more = {"usr/lib/systemd/system/iscsid.service":
                   b"[Service]\nExecStartPre=-/bin/absent\nExecStartPre=/lib/open-iscsi/startup-checks.sh\nExecStart=/sbin/iscsid -f\n"}
    system.task()  # nobody reads it
    system.more["usr/lib/systemd/systemd"] = b""
    for image in (tmp_path / "boot").glob("initr*"):
        image.unlink()
    with pytest.raises(DamagedError) as caught:
        system.task()
    assert "built, but lib/open-iscsi/startup-checks.sh, which its iscsid.service runs, is not in it" in caught.value.what
    assert "absent" not in caught.value.what
    system.more["usr/lib/open-iscsi/startup-checks.sh"] = b"#!/bin/sh\n"
    system.task()
