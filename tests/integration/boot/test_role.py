# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role boot prepares a system that is mounted, as ansible-playbook runs it; what it cannot show without a boot is tried in the lab."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import typing as t
from pathlib import Path

import pytest

if t.TYPE_CHECKING:
    from conftest import System

KERNEL = "6.1.0-test-amd64"
ONE = "iqn.2026-11.org.example:one"
COLLECTIONS = Path(__file__).resolve().parents[3] / ".build"
NODES = [{"target": ONE, "portals": ["192.0.2.1:3260,1"]}]
NICS = [{"interface": "ens17", "mac": "52:54:00:00:00:01", "address": "192.0.2.10", "prefix": 24, "drivers": ["virtio_net"]}]
GIVEN: t.Mapping[str, t.Any] = {"boot_nodes": NODES, "boot_nics": NICS}
SECRET = {"username": "me", "password": "plain-secret-1", "username_in": "array", "password_in": "plain-secret-2"}


class Outcome(t.NamedTuple):
    changed: t.List[str]
    failed: t.List[str]
    text: str


@pytest.fixture
def play(system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., Outcome]:
    """Run the role on this machine, whose records are others for that long, for the system that is mounted."""
    if not shutil.which("mkinitramfs", path="/usr/sbin"):
        pytest.fail("needs initramfs-tools: see requirements/debian.txt")
    (system.root / "etc/initramfs-tools/conf.d/small").write_text("MODULES=list\nRESUME=none\nFSTYPE=ext4\nCOMPRESSLEVEL=1\n")
    for path, text in (
        ("etc/systemd/network/20-all.network", ""), ("etc/NetworkManager/conf.d/x.conf", ""), ("etc/default/networking", 'EXCLUDE_INTERFACES="eth9"\n'),
        # the role knows tools by their names, and these are not on every machine
        ("etc/default/ifup", ""), ("etc/default/NetworkManager", ""),
        ("etc/default/open-iscsi", 'LVMGROUPS=""\nEXCLUDE_MOUNTS_AT_SHUTDOWN=""\n'),
    ):
        (system.root / path).parent.mkdir(parents=True, exist_ok=True)
        (system.root / path).write_text(text)
    ours = tmp_path / "installer"
    shutil.copytree("/etc/iscsi", ours, ignore=shutil.ignore_patterns("nodes", "send_targets", "ifaces", "isns", "static", "fw"))
    (ours / "initiatorname.iscsi").write_text("InitiatorName=iqn.2026-11.org.example:installer\n")
    book = tmp_path / "play.yml"

    def run(*options: str, **given: t.Any) -> Outcome:
        variables = {"boot_root": str(system.root), "boot_manage_packages": False, "ansible_python_interpreter": sys.executable, **given}
        book.write_text(json.dumps([{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [
            {"name": "Prepare", "ansible.builtin.include_role": {"name": "lunar.iscsi.boot"}, "vars": variables}]}]))
        tool = str(Path(sys.executable).parent / "ansible-playbook")
        done = system.run("sh", "-ec", 'mount --bind "$0" /etc/iscsi; exec "$@"', str(ours), tool, *options, "-i", "localhost,", str(book))
        text = done.stdout + done.stderr
        names = re.findall(r"TASK \[([^\]]+)\] \*+\n(?:(?!TASK|PLAY)[^\n]*\n)*?(changed|fatal|failed):", text)
        assert "plain-secret" not in text
        return Outcome([name for name, how in names if how == "changed"], [name for name, how in names if how != "changed"], text)

    for name, value in {"ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_HOME": str(tmp_path / "home"), "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    return run


def text(system: System, path: str) -> str:
    return str((system.root / path).read_text())


def records(system: System) -> t.Dict[str, str]:
    folder = system.root / "etc/iscsi/nodes" / ONE / "192.0.2.1,3260,1"
    return dict(line.split(" = ", 1) for line in (folder / "default").read_text().splitlines() if " = " in line)


def test_a_mounted_system_is_prepared_once(system: System, play: t.Callable[..., Outcome]) -> None:
    first = play(**GIVEN)
    assert not first.failed and first.changed, first.text
    held = records(system)
    assert (held["node.startup"], held["node.conn[0].startup"], held["node.session.timeo.replacement_timeout"]) == ("onboot", "onboot", "86400")
    assert (held["node.conn[0].timeo.noop_out_interval"], held["node.conn[0].timeo.noop_out_timeout"]) == ("0", "0")
    assert text(system, "etc/iscsi/initiatorname.iscsi").endswith("InitiatorName=iqn.2026-11.org.example:installer\n")
    assert "ISCSI_TARGET_NAME=" + ONE in text(system, "etc/iscsi/iscsi.initramfs")
    assert "IP=192.0.2.10:::255.255.255.0::ens17:off" in text(system, "etc/initramfs-tools/conf.d/lunar-iscsi-boot")
    listed = system.run("chroot", str(system.root), "lsinitramfs", f"/boot/initrd.img-{KERNEL}").stdout
    for piece in ("sbin/iscsistart", "iscsi_tcp.ko", "virtio_net.ko", "sd_mod.ko", "etc/iscsi.initramfs", "conf/conf.d/lunar-iscsi-boot"):
        assert piece in listed
    unit = "lib/systemd/system/iscsid.service"
    assert os.path.islink(system.root / "etc/systemd/system/sysinit.target.wants/iscsid.service") or not os.path.exists(f"/{unit}")
    network = text(system, "etc/systemd/network/05-lunar-iscsi-boot-ens17.network")
    assert "[Match]\nMACAddress=52:54:00:00:00:01\n" in network and "Unmanaged=yes" in network
    assert text(system, "etc/default/networking") == 'EXCLUDE_INTERFACES="eth9 ens17"\n'
    manager = text(system, "etc/NetworkManager/conf.d/90-lunar-iscsi-boot.conf")
    assert manager.endswith("[device-lunar-iscsi-boot]\nmatch-device=mac:52:54:00:00:00:01\nmanaged=0\n")
    second = play("--diff", **GIVEN)
    assert not second.failed and second.changed == [], second.text


def test_check_mode_before_the_first_run_writes_nothing(system: System, play: t.Callable[..., Outcome]) -> None:
    before = {path: path.stat().st_mtime_ns for path in system.root.rglob("*") if path.is_file() and "usr/" not in str(path)}
    done = play("--check", "--diff", **GIVEN)
    assert not done.failed and done.changed, done.text
    assert {path: path.stat().st_mtime_ns for path in system.root.rglob("*") if path.is_file() and "usr/" not in str(path)} == before


def test_firmware(system: System, play: t.Callable[..., Outcome]) -> None:
    done = play(**GIVEN, boot_firmware=True)
    assert not done.failed, done.text
    assert text(system, "etc/iscsi/iscsi.initramfs") == "ISCSI_AUTO=true\n"
    assert "iscsi_ibft.ko" in system.run("chroot", str(system.root), "lsinitramfs", f"/boot/initrd.img-{KERNEL}").stdout


def test_chap(system: System, play: t.Callable[..., Outcome]) -> None:
    done = play(**GIVEN, boot_auth=SECRET)
    assert not done.failed and "ISCSI_PASSWORD=plain-secret-1" in text(system, "etc/iscsi/iscsi.initramfs"), done.text
    assert records(system)["node.session.auth.password"] == "plain-secret-1"
    assert "UMASK=0077" in text(system, "etc/initramfs-tools/conf.d/lunar-iscsi-boot")
    assert (system.root / f"boot/initrd.img-{KERNEL}").stat().st_mode & 0o777 == 0o600
    assert (system.root / "etc/iscsi/iscsi.initramfs").stat().st_mode & 0o777 == 0o600


def test_nothing_to_boot_from_is_said_before_anything_is_built(system: System, play: t.Callable[..., Outcome]) -> None:
    done = play()
    assert done.failed and "There is nothing to log in to" in done.text
    assert not (system.root / f"boot/initrd.img-{KERNEL}").exists()


def test_dracut(system: System, play: t.Callable[..., Outcome]) -> None:
    if not shutil.which("dracut") or not os.path.isdir("/usr/lib/dracut/modules.d/95iscsi"):
        pytest.fail("needs dracut-network: see requirements/debian.txt")
    (system.root / "etc/dracut.conf.d").mkdir(exist_ok=True)  # comes with the package
    done = play(**GIVEN, boot_generator="dracut", boot_lun=1)
    assert not done.failed, done.text
    words = system.run("chroot", str(system.root), "lsinitrd", "-f", "etc/cmdline.d/01-default.conf", f"/boot/initrd.img-{KERNEL}").stdout.split()
    assert {f"netroot=iscsi:192.0.2.1::3260:1:{ONE}", "ip=192.0.2.10:::255.255.255.0::ens17:none", "rd.neednet=1",
            "rd.iscsi.param=node.session.timeo.replacement_timeout=86400", "rd.iscsi.initiator=iqn.2026-11.org.example:installer"} <= set(words)
