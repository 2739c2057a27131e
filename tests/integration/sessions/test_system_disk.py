# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host whose /var/lib is on an iSCSI disk: a real mount, which the kernel's own tables tell of, and iscsiadm as the witness of what stays.

The disk is a loop device whose numbers the session's disk has; sysfs and iscsid are stood in for.
"""

from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

import pytest

if t.TYPE_CHECKING:
    from conftest import Host

SYSTEM, DATA = "iqn.2026-11.org.example:system", "iqn.2026-11.org.example:data"
PORTAL = "192.0.2.1:3260,1"
TIMER = "node.session.timeo.replacement_timeout"


@pytest.fixture
def loop(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[str]:
    """A loop device with a file system."""
    image = tmp_path_factory.mktemp("disk") / "image"
    image.write_bytes(bytes(8 << 20))
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    made = subprocess.run(["losetup", "--find", "--show", str(image)], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"needs a loop device: {made.stderr}")
    yield made.stdout.strip()
    subprocess.run(["losetup", "--detach", made.stdout.strip()], check=True)


@pytest.fixture
def standing(host: Host, loop: str) -> Host:
    """The host with both sessions and their records; the first one's disk is mounted where the system needs it."""
    host.session(1, SYSTEM, {"sda": 0})
    host.session(2, DATA, {"sdb": 0})
    numbers = Path("/sys/class/block", Path(loop).name, "dev").read_text().strip()
    (host.root / "sys/class/block/sda/dev").write_text(f"{numbers}\n")
    host.tree.link(f"/sys/dev/block/{numbers}", "/sys/class/block/sda")
    host.start()
    host.run("mknod", loop, "b", *numbers.split(":"))
    host.run("mount", "-t", "ext4", loop, "/var/lib")
    host.run("mkdir", "-p", "/run/lock/iscsi")
    for target in (SYSTEM, DATA):
        host.run("iscsiadm", "-m", "node", "-o", "new", "-T", target, "-p", PORTAL)
    return host


def node(target: str) -> t.List[t.Dict[str, t.Any]]:
    return [{"target": target, "portals": [PORTAL]}]


def sessions(host: Host) -> t.List[str]:
    return sorted(line.split()[3] for line in host.run("iscsiadm", "-m", "session").stdout.splitlines())


def shown(host: Host, target: str) -> t.Dict[str, str]:
    text = host.run("iscsiadm", "-m", "node", "-T", target, "-p", PORTAL, "-o", "show").stdout
    return dict(line.split(" = ", 1) for line in text.splitlines() if " = " in line)


def test_what_it_stands_on(standing: Host) -> None:
    found = standing.module("iscsi_boot_info")
    assert [(one["target"], one["mount_points"], one["devices"]) for one in found["sessions"]] == [(SYSTEM, ["/var/lib"], ["/dev/sda"])]
    assert found["nodes"] == [{"target": SYSTEM, "portals": [PORTAL], "ifaces": ["default"]}] and found["multipath"] is False


@pytest.mark.parametrize("name, options", [
    ("iscsi_node", {"nodes": node(SYSTEM), "state": "logged_out"}), ("iscsi_node", {"nodes": node(SYSTEM), "state": "absent"}),
    ("iscsi_node", {"recorded": "all", "state": "logged_out"}), ("iscsi_session", {"targets": ["*"], "state": "logged_out"}),
    ("iscsi_session", {"sids": [1], "state": "logged_out"}),
])
def test_no_force_logs_out_of_it(standing: Host, name: str, options: t.Dict[str, t.Any]) -> None:
    done = standing.module(name, force=True, **options)
    assert done["failed"] and "mounted on /var/lib" in done["msg"] and "no force takes that away" in done["msg"], done
    assert sessions(standing) == [DATA, SYSTEM]


def test_its_record_is_changed_by_a_task_that_says_onboot_and_no_other(standing: Host) -> None:
    before = shown(standing, SYSTEM)
    done = standing.module("iscsi_node", recorded="all", startup="automatic", profile="multipath", relogin=True, probe="none")
    assert shown(standing, SYSTEM) == before and shown(standing, DATA)[TIMER] == "15"
    assert [problem["object"] for problem in done["problems"]] == [f"{SYSTEM} at {PORTAL}"] and "carries /var/lib" in done["problems"][0]["what"]
    assert SYSTEM in sessions(standing)  # the other one was logged out, to be made anew, and nobody here answers its login
    done = standing.module("iscsi_node", nodes=node(SYSTEM), startup="onboot", profile="root")
    assert done["changed"] and done["problems"] == []
    assert (shown(standing, SYSTEM)["node.startup"], shown(standing, SYSTEM)[TIMER]) == ("onboot", "86400")
    assert not standing.module("iscsi_node", nodes=node(SYSTEM), startup="onboot", profile="root")["changed"]
