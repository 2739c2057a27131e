# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iscsi_initramfs over the real mkinitramfs; lsinitramfs and unmkinitramfs say what is in what it made."""

from __future__ import annotations

import os
import re
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._boot.archive import read_archive

if t.TYPE_CHECKING:
    from conftest import System

KERNEL = "6.1.0-test-amd64"
WANTED = ["virtio_net", "iscsi_ibft", "sd_mod", "ext4"]
TARGET = "ISCSI_TARGET_NAME=iqn.2026-11.org.example:one\nISCSI_TARGET_IP=192.0.2.1\nISCSI_PASSWORD=plain-secret-1\n"


@pytest.fixture
def ready(system: System) -> System:
    """What the role writes: the target, and the driver of the NIC; a small initramfs, so that a test takes seconds."""
    if not shutil.which("mkinitramfs", path="/usr/sbin"):
        pytest.fail("needs initramfs-tools: see requirements/debian.txt")
    (system.root / "etc/iscsi/iscsi.initramfs").write_text(TARGET)
    (system.root / "etc/iscsi/iscsi.initramfs").chmod(0o600)
    (system.root / "etc/initramfs-tools/conf.d/small").write_text("MODULES=list\nRESUME=none\nFSTYPE=ext4\nCOMPRESSLEVEL=1\n")
    (system.root / "etc/initramfs-tools/modules").write_text("virtio_net\nsd_mod\n")
    return system


def image(system: System) -> Path:
    root: Path = system.root
    return root / f"boot/initrd.img-{KERNEL}"


def listed(system: System, path: str = f"/boot/initrd.img-{KERNEL}") -> t.Set[str]:
    done = system.run("chroot", str(system.root), "lsinitramfs", path)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split("\n")) - {""}


def content(system: System, name: str) -> str:
    done = system.run("chroot", str(system.root), "sh", "-ec", 'rm -rf /tmp/x; unmkinitramfs "$1" /tmp/x; cat "/tmp/x/$2"', "sh",
                      f"/boot/initrd.img-{KERNEL}", name)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def test_built_once_with_everything_in_it(ready: System) -> None:
    predicted = ready.module("iscsi_initramfs", modules=WANTED, check=True)
    assert predicted["changed"] and not image(ready).exists()
    done = ready.module("iscsi_initramfs", modules=WANTED)
    assert "msg" not in done, done["msg"]
    assert done["changed"] and done["images"] == [{"kernel": KERNEL, "path": str(image(ready)), "lacks": []}], done
    names = listed(ready)
    assert {"etc/iscsi.initramfs", "etc/initiatorname.iscsi", "scripts/local-top/iscsi", "usr/sbin/iscsistart"} <= names
    for module in ("scsi/iscsi_tcp", "scsi/libiscsi", "net/virtio_net", "firmware/iscsi_ibft", "scsi/sd_mod"):
        assert f"usr/lib/modules/{KERNEL}/kernel/drivers/{module}.ko" in names
    assert content(ready, "etc/iscsi.initramfs") == TARGET
    assert image(ready).stat().st_mode & 0o777 == 0o600, "there is a secret in it"
    before = image(ready).stat()
    again = ready.module("iscsi_initramfs", modules=WANTED)
    assert not again["changed"] and (image(ready).stat().st_ino, image(ready).stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert "plain-secret" not in str(done) + str(again)


@pytest.mark.parametrize("compress", ["gzip", "zstd", "xz", "lz4", "bzip2", "lzma", "lzop"])
def test_our_reading_is_that_of_lsinitramfs(ready: System, compress: str) -> None:
    if not shutil.which(compress):
        pytest.fail(f"needs {compress}: see requirements/debian.txt")
    (ready.root / "etc/initramfs-tools/conf.d/compress").write_text(f"COMPRESS={compress}\nCOMPRESSLEVEL=1\n")
    made = ready.run("chroot", str(ready.root), "mkinitramfs", "-o", f"/boot/initrd.img-{KERNEL}", KERNEL)
    assert made.returncode == 0, made.stderr
    found = read_archive(str(image(ready)), lambda name: name == "etc/iscsi.initramfs")
    theirs = {name[4:] if name.startswith("usr/") else name for name in listed(ready)}
    assert found.names == theirs and found.contents["etc/iscsi.initramfs"] == TARGET.encode()
    assert not ready.module("iscsi_initramfs", modules=WANTED)["changed"]


def test_a_new_target_is_in_the_next_one(ready: System) -> None:
    ready.module("iscsi_initramfs", modules=WANTED)
    (ready.root / "etc/iscsi/iscsi.initramfs").write_text("ISCSI_AUTO=true\n")
    done = ready.module("iscsi_initramfs", modules=WANTED)
    assert done["diff"][0]["before"] == "etc/iscsi.initramfs is not what /etc/iscsi/iscsi.initramfs is now\n"
    assert content(ready, "etc/iscsi.initramfs") == "ISCSI_AUTO=true\n"


def test_a_driver_that_does_not_get_in_leaves_the_old_one(ready: System) -> None:
    ready.module("iscsi_initramfs", modules=WANTED)
    old = image(ready).read_bytes()
    (ready.root / "etc/initramfs-tools/modules").write_text("sd_mod\n")
    (ready.root / "etc/iscsi/iscsi.initramfs").write_text("ISCSI_AUTO=true\n")
    done = ready.module("iscsi_initramfs", modules=WANTED)
    assert done["failed"] and "the kernel module virtio_net is not in it" in done["msg"] and "The old one is in place as it was" in done["msg"]
    assert image(ready).read_bytes() == old and "etc/iscsi.initramfs" in listed(ready)


def test_a_hook_that_fails_leaves_the_old_one(ready: System) -> None:
    ready.module("iscsi_initramfs", modules=WANTED)
    old = image(ready).read_bytes()
    hook = ready.root / "etc/initramfs-tools/hooks/broken"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\n[ \"$1\" = prereqs ] && exit 0\necho 'the hook is broken' >&2\nexit 1\n")
    hook.chmod(0o755)
    (ready.root / "etc/iscsi/iscsi.initramfs").write_text("ISCSI_AUTO=true\n")
    done = ready.module("iscsi_initramfs", modules=WANTED)
    assert done["failed"] and "could not be built" in done["msg"] and "broken" in done["msg"]
    assert image(ready).read_bytes() == old and sorted(os.listdir(ready.root / "boot")) == [
        f"config-{KERNEL}", f"initrd.img-{KERNEL}", f"vmlinuz-{KERNEL}"]


def test_a_full_disk_leaves_the_old_one(ready: System) -> None:
    """/boot is a file system with room for one initramfs, and not for a second one beside it."""
    ready.module("iscsi_initramfs", modules=WANTED)
    size = image(ready).stat().st_size
    kept = {path.name: path.read_bytes() for path in (ready.root / "boot").iterdir()}
    shutil.rmtree(ready.root / "boot")
    (ready.root / "boot").symlink_to("small")
    (ready.root / "etc/iscsi/iscsi.initramfs").write_text("ISCSI_AUTO=true\n")
    ready.small = f"{size + size // 2 + 65536}"
    (ready.root.parent / "kept").mkdir()
    for name, data in kept.items():
        (ready.root.parent / "kept" / name).write_bytes(data)
    small, old = f"{ready.root}/small", ready.root.parent / "kept"
    before, after = f'cp -a "{old}/." "{small}/"', f'ls "{small}"; cmp "{small}/initrd.img-{KERNEL}" "{old}/initrd.img-{KERNEL}" && echo the same'
    result, said = ready.module_between("iscsi_initramfs", before, after, modules=WANTED)
    assert result["failed"] and "No space left on device" in result["msg"] and "Make room" in result["msg"], result
    assert said.split() == [f"config-{KERNEL}", f"initrd.img-{KERNEL}", f"vmlinuz-{KERNEL}", "the", "same"]


class TestDracut:
    """The real dracut; lsinitrd says what is in what it made."""

    WORDS = ("rd.iscsi.initiator=iqn.2026-11.org.example:booted", "netroot=iscsi:192.0.2.1::::iqn.2026-11.org.example:one", "rd.iscsi.password=plain-secret-1")

    @pytest.fixture
    def ready(self, system: System) -> System:
        if not shutil.which("dracut") or not os.path.isdir("/usr/lib/dracut/modules.d/95iscsi"):
            pytest.fail("needs dracut-network: see requirements/debian.txt")
        folder = system.root / "etc/dracut.conf.d"
        folder.mkdir(parents=True, exist_ok=True)
        words = " ".join(self.WORDS)
        (folder / "90-lunar-iscsi-boot.conf").write_text(
            f'dracutmodules="base iscsi network rootfs-block udev-rules"\nadd_drivers+=" iscsi_tcp virtio_net "\nkernel_cmdline+=" {words} "\n'
            'install_optional_items+=" /usr/lib/open-iscsi/startup-checks.sh "\n')
        return system

    def listed(self, system: System) -> str:
        done = system.run("chroot", str(system.root), "lsinitrd", f"/boot/initrd.img-{KERNEL}")
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    def test_built_once_with_everything_in_it(self, ready: System) -> None:
        options = {"generator": "dracut", "modules": ["virtio_net"], "words": list(self.WORDS)}
        done = ready.module("iscsi_initramfs", **options)
        assert "msg" not in done, done["msg"]
        assert done["changed"] and done["images"] == [{"kernel": KERNEL, "path": str(image(ready)), "lacks": []}]
        text = self.listed(ready)
        assert "sbin/iscsiroot" in text and "virtio_net.ko" in text and "iscsi_tcp.ko" in text
        lines = ready.run("chroot", str(ready.root), "lsinitrd", "-f", "etc/cmdline.d/01-default.conf", f"/boot/initrd.img-{KERNEL}").stdout
        assert set(self.WORDS) <= set(lines.split())
        assert image(ready).stat().st_mode & 0o777 == 0o600
        again = ready.module("iscsi_initramfs", **options)
        assert not again["changed"] and "plain-secret" not in str(done) + str(again)

    def test_our_reading_is_that_of_lsinitrd(self, ready: System) -> None:
        ready.module("iscsi_initramfs", generator="dracut")
        found = read_archive(str(image(ready)), lambda name: False)
        line = r"(?m)^[-dlcb]\S+ .*? [A-Z][a-z]{2} [ \d]\d +(?:\d\d:\d\d|\d{4}) (.+?)(?: -> .*)?$"  # mode, owner, size or numbers of a device, date, name
        theirs = set(re.findall(line, self.listed(ready)))
        assert {name[4:] if name.startswith("usr/") else name for name in theirs} == found.names

    def test_one_in_which_iscsid_would_not_start_is_not_put_in_place(self, ready: System) -> None:
        file = ready.root / "etc/dracut.conf.d/90-lunar-iscsi-boot.conf"
        file.write_text(file.read_text().partition("install_optional_items")[0])
        done = ready.module("iscsi_initramfs", generator="dracut")
        assert done["failed"] and "startup-checks.sh, which its iscsid.service runs, is not in it" in done["msg"] and not image(ready).exists()

    def test_a_word_that_is_not_said_leaves_the_old_one(self, ready: System) -> None:
        ready.module("iscsi_initramfs", generator="dracut")
        old = image(ready).read_bytes()
        done = ready.module("iscsi_initramfs", generator="dracut", words=["rd.iscsi.firmware=1"])
        assert done["failed"] and "its command line does not say rd.iscsi.firmware=1" in done["msg"] and image(ready).read_bytes() == old
