# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of disks, log-outs and counters. udev itself, iscsiadm itself and strace are the witnesses; the kernel and iscsid are stood in for.

What needs SCSI commands that are answered (new LUNs, LUNs that are gone) is tested in the lab.
"""

from __future__ import annotations

import typing as t

import pytest

if t.TYPE_CHECKING:
    from conftest import Host

ONE = "iqn.2026-11.org.example:disk1"
FILE = "99-lunar-iscsi-disks.rules"
SETTINGS = {"timeout": 75, "queue_depth": 16, "max_retries": 2}


def listed(host: Host) -> t.List[str]:
    """The sessions as iscsiadm lists them."""
    done = host.run("iscsiadm", "-m", "session", check=False)
    return [line.split()[1] + " " + line.split()[3] for line in done.stdout.splitlines()]


def test_udev_gives_a_disk_that_appears_what_the_rule_says_and_no_other_disk(host: Host) -> None:
    host.session(1, ONE, {"sda": 0, "sdb": 255})
    host.session(2, ONE, {"sdc": 16640})
    host.session(3, ONE + "2", {"sdd": 0})
    host.session(4, ONE + "-lun-7", {"sde": 0})
    host.session(5, "iqn.2026-11.org.example:other", {"sdf": 0})
    host.session(6, "x" + ONE, {"sdg": 0})
    host.start()
    predicted = host.module("iscsi_session", check=True, state="present", targets=[ONE], disk_settings=SETTINGS)
    assert not (host.rules / FILE).exists() and host.values("sda") == (30, 32, 5)
    done = host.module("iscsi_session", state="present", targets=[ONE], disk_settings=SETTINGS)
    assert done["steps"] == predicted["steps"] and done["diff"] == predicted["diff"] and done["changed"]
    assert [host.values(disk) for disk in ("sda", "sdb", "sdc", "sdd")] == [(75, 16, 2)] * 3 + [(30, 32, 5)]
    for disk in ("sda", "sdb", "sdc", "sdd", "sde", "sdf", "sdg"):
        device = host.root / "sys/class/block" / disk / "device"
        host.tree.attributes(str(device.resolve())[len(str(host.root)):], timeout=30, queue_depth=32)
        (scsi_disk,) = (device / "scsi_disk").iterdir()
        (scsi_disk / "max_retries").write_text("5\n")
        host.appears(disk)
    assert {disk: host.values(disk) for disk in ("sda", "sdb", "sdc")} == dict.fromkeys(("sda", "sdb", "sdc"), (75, 16, 2))
    assert {disk: host.values(disk) for disk in ("sdd", "sde", "sdf", "sdg")} == dict.fromkeys(("sdd", "sde", "sdf", "sdg"), (30, 32, 5))


def test_udev_reads_globs_as_the_module_does_and_the_last_rule_wins(host: Host) -> None:
    names = {"sda": "iqn.2026-11.org.example:a1", "sdb": "iqn.2026-11.org.example:b1", "sdc": "iqn.2026-11.org.example:b12", "sdd": "eui.0123456789abcdef"}
    for sid, (disk, target) in enumerate(names.items(), 1):
        host.session(sid, target, {disk: sid})
    host.start()
    said = [(["*"], 41), (["*:b?"], 42), (["*:[!b]*"], 43), (["eui.*", "naa.*"], 44)]
    by_module = {}
    for targets, timeout in said:
        host.module("iscsi_session", state="present", targets=targets, disk_settings={"timeout": timeout})
    for disk in names:
        by_module[disk] = host.values(disk)[0]
        device = host.root / "sys/class/block" / disk / "device"
        (device / "timeout").write_text("30\n")
        host.appears(disk)
    assert by_module == {disk: host.values(disk)[0] for disk in names} == {"sda": 43, "sdb": 42, "sdc": 41, "sdd": 44}


def test_a_rule_that_goes_is_none_to_udev(host: Host) -> None:
    host.session(1, ONE, {"sda": 0})
    host.start()
    host.module("iscsi_session", state="present", disk_settings=SETTINGS)
    host.module("iscsi_session", state="present", disk_settings={"timeout": 30, "queue_depth": 32, "max_retries": 5}, persistent=False)
    assert list(host.rules.iterdir()) == [] and host.values("sda") == (30, 32, 5)
    host.appears("sda")
    assert host.values("sda") == (30, 32, 5)


def test_an_unchanged_run_executes_nothing(host: Host) -> None:
    host.session(1, ONE, {"sda": 0})
    host.start()
    options: t.Dict[str, t.Any] = {"state": "present", "disk_settings": SETTINGS}
    assert ["udevadm" in line and '"control", "--reload"' in line for line in host.processes("iscsi_session", **options)] == [True]
    assert host.processes("iscsi_session", **options) == []
    assert host.processes("iscsi_session", state="logged_out", sids=[9]) == []


def test_exactly_the_named_sessions_are_logged_out(host: Host) -> None:
    host.session(1, ONE, {"sda": 0})
    host.session(2, ONE, {"sdb": 0})
    host.session(12, ONE + "2", {"sdc": 0})
    host.start()
    assert listed(host) == [f"[1] {ONE}", f"[12] {ONE}2", f"[2] {ONE}"]
    predicted = host.module("iscsi_session", check=True, state="logged_out", sids=[1])
    assert len(listed(host)) == 3
    done = host.module("iscsi_session", state="logged_out", sids=[1])
    assert done["changed"] and done["steps"] == predicted["steps"] and listed(host) == [f"[12] {ONE}2", f"[2] {ONE}"]
    assert not (host.root / "sys/class/block/sda").exists() and (host.root / "sys/class/block/sdb").exists()
    assert not host.module("iscsi_session", state="logged_out", sids=[1])["changed"]
    assert host.module("iscsi_session", state="logged_out", targets=["*:disk1"])["changed"] and listed(host) == [f"[12] {ONE}2"]


def test_counters_are_those_that_iscsiadm_prints(host: Host) -> None:
    for sid in (1, 2, 3):
        host.session(sid, ONE)
    host.start()
    printed = host.run("iscsiadm", "-m", "session", "--stats").stdout
    found = host.module("iscsi_session_info", statistics=True)
    assert found["problems"] == [] and [session["sid"] for session in found["sessions"]] == [1, 2, 3]
    for session in found["sessions"]:
        counters = session["statistics"]
        assert len(counters) == 22 and counters["txdata_octets"] == 2 ** 40 + session["sid"] and counters["eh_abort_cnt"] == 7000 + session["sid"]
        assert all(f"\t{name}: {value}\n" in printed for name, value in counters.items())
    assert printed.count("\t") == 3 * 22
    executed = host.processes("iscsi_session_info", statistics=True)
    assert len(executed) == 1 and "iscsiadm" in executed[0]
    assert host.processes("iscsi_session_info") == [] and host.processes("iscsi_session_info", statistics=True, sids=[9]) == []


def test_sessions_behind_one_that_gives_no_counters(host: Host) -> None:
    for sid in (1, 2, 3):
        host.session(sid, ONE, counts=sid != 2)
    host.start()
    found = host.module("iscsi_session_info", statistics=True)
    assert [session["statistics"] is not None for session in found["sessions"]] == [True, False, True]
    assert [problem["object"] for problem in found["problems"]] == ["session 2"]


PORTAL = "192.0.2.1:3260,1"


def record_and_log_in(host: Host) -> None:
    """Sessions of nodes with each startup, and one that has no record."""
    for sid, name in enumerate(("manual", "automatic", "onboot", "unrecorded"), 1):
        host.session(sid, f"iqn.2026-11.org.example:{name}", {f"sd{chr(96 + sid)}": 0})
    host.start()
    for name in ("manual", "automatic", "onboot"):
        done = host.module("iscsi_node", nodes=[{"target": f"iqn.2026-11.org.example:{name}", "portals": [PORTAL]}], startup=name)
        assert done["changed"]


def record(host: Host) -> None:
    """Nodes with each startup, none of them logged in."""
    for sid, name in enumerate(("manual", "automatic", "onboot"), 1):
        host.prepare(sid, f"iqn.2026-11.org.example:{name}")
    host.start()
    for name in ("manual", "automatic", "onboot"):
        assert host.module("iscsi_node", nodes=[{"target": f"iqn.2026-11.org.example:{name}", "portals": [PORTAL]}], startup=name)["changed"]


@pytest.mark.parametrize(("recorded", "up"), [
    ("all", ["manual", "automatic", "onboot"]), ("automatic", ["automatic"]), ("onboot", ["onboot"]), ("manual", ["manual"]),
])
def test_loginall_brings_up_what_iscsiadm_brings_up(host: Host, tmp_path_factory: pytest.TempPathFactory, recorded: str, up: t.List[str]) -> None:
    record(host)
    options: t.Dict[str, t.Any] = {"recorded": recorded, "state": "logged_in", "probe": "none"}
    predicted = host.module("iscsi_node", check=True, **options)
    assert left(host) == []
    done = host.module("iscsi_node", **options)
    assert done["steps"] == predicted["steps"] == [f"log in to iqn.2026-11.org.example:{name} at {PORTAL}" for name in sorted(up)]
    assert left(host) == up
    assert not host.module("iscsi_node", **options)["changed"] and host.processes("iscsi_node", **options) == []
    witness = type(host)(tmp_path_factory.mktemp("witness"))
    try:
        record(witness)
        witness.run("iscsiadm", "-m", "node", "--loginall", recorded)
        # iscsiadm takes nodes for manual whose node.conn[0].startup is manual, and that is so in every record that nobody changed there
        assert left(witness) == (["manual", "automatic", "onboot"] if recorded == "manual" else up)
    finally:
        witness.stop()


def left(host: Host) -> t.List[str]:
    return [line.rpartition(":")[2] for line in listed(host)]


@pytest.mark.parametrize(("recorded", "stay"), [
    ("all", ["onboot", "unrecorded"]), ("automatic", ["manual", "onboot", "unrecorded"]), ("manual", ["automatic", "onboot", "unrecorded"]),
])
def test_logoutall_leaves_what_iscsiadm_leaves(host: Host, tmp_path_factory: pytest.TempPathFactory, recorded: str, stay: t.List[str]) -> None:
    record_and_log_in(host)
    predicted = host.module("iscsi_node", check=True, recorded=recorded, state="logged_out")
    assert left(host) == ["manual", "automatic", "onboot", "unrecorded"]
    done = host.module("iscsi_node", recorded=recorded, state="logged_out")
    assert done["steps"] == predicted["steps"] and left(host) == stay
    assert host.processes("iscsi_node", recorded=recorded, state="logged_out") == []
    witness = type(host)(tmp_path_factory.mktemp("witness"))
    try:
        record_and_log_in(witness)
        witness.run("iscsiadm", "-m", "node", "--logoutall", recorded)
        assert left(witness) == (["onboot", "unrecorded"] if recorded == "manual" else stay)
    finally:
        witness.stop()
