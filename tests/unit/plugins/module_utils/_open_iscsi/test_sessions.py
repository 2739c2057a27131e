# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey, Portal
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi import sessions as of_sessions
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.session_keys import read_session_keys
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.sessions import Session, nodes_of, read_session, select_sessions
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.sysfs_tree import Tree, grow

ONE = "iqn.2026-11.org.example:disk1"
TWO = "iqn.2026-11.org.example:disk12"


def read_sessions(sys: str) -> t.List[Session]:
    """All sessions; the short way of reading which nodes have one has to say the same."""
    sessions = of_sessions.read_sessions(sys)
    keys = read_session_keys(sys)
    assert [(one.sid, one.key) for one in keys] == [(session.sid, session.key) for session in sessions]
    probes = [session.key for session in sessions]
    assert [[one.belongs_to(key) for key in probes] for one in keys] == [[session.belongs_to(key) for key in probes] for session in sessions]
    return sessions


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_a_kernel_without_iscsi_has_no_sessions(tree: Tree) -> None:
    assert read_sessions(tree.sys) == []
    assert read_sessions(str(tree.root / "nowhere")) == []


def test_everything_of_one_session(tree: Tree) -> None:
    tree.session(3, 7, ONE, username="host1", username_in="array", password="secretword1", password_in="secretword2", targetalias="box")
    tree.lun(3, 7, 0, type=12, model="Controller")
    tree.lun(3, 7, 1, "sdb", "8:16")
    (session,) = read_sessions(tree.sys)
    assert session.key == NodeKey(ONE, Portal("192.0.2.1", 3260, 1), "default")
    assert session.logged_in
    fact = session.as_fact()
    assert fact["luns"] == [
        {"lun": 0, "address": "7:0:0:0", "type": 12, "device": None, "state": "running", "vendor": "IET", "model": "Controller", "size": None},
        {"lun": 1, "address": "7:0:0:1", "type": 0, "device": "/dev/sdb", "state": "running", "vendor": "IET", "model": "VIRTUAL-DISK",
         "size": 1073741824},
    ]
    assert fact["iface"] == {
        "name": "default", "transport": "tcp", "netdev": None, "hwaddress": None, "ipaddress": "192.0.2.10",
        "initiatorname": "iqn.2026-11.org.example:host1"}
    assert fact["timeouts"] == {"recovery_tmo": 120, "abort_tmo": 15, "lu_reset_tmo": 30, "tgt_reset_tmo": 30, "ping_tmo": 5, "recv_tmo": 5}
    assert (fact["host"], fact["host_state"], fact["target_id"], fact["target_state"]) == (7, "running", 0, "SCANNED")
    assert (fact["negotiated"]["header_digest"], fact["negotiated"]["data_digest"]) == ("None", "CRC32C")
    assert (fact["negotiated"]["immediate_data"], fact["negotiated"]["initial_r2t"]) == (True, False)
    assert fact["chap"] == {"username": "host1", "username_in": "array"}
    assert fact["target_alias"] == "box"
    assert "secretword" not in json.dumps(fact) + repr(session)


def test_sessions_come_by_number_and_other_names_are_no_sessions(tree: Tree) -> None:
    for sid in (10, 2):
        tree.session(sid, sid, ONE)
    tree.attributes("/sys/class/iscsi_session/sessionfoo", targetname=ONE)
    assert [session.sid for session in read_sessions(tree.sys)] == [2, 10]


@pytest.mark.parametrize(("address", "written"), [
    pytest.param("192.0.2.1", "192.0.2.1:3261,1", id="IPv4"),
    pytest.param("fd00:56::101", "[fd00:56::101]:3261,1", id="IPv6"),
    pytest.param("fd00:0056:0000:0000:0000:0000:0000:0101", "[fd00:56::101]:3261,1", id="IPv6 in full"),
    pytest.param("fe80::1%eth0", "[fe80::1%eth0]:3261,1", id="IPv6 with scope"),
    pytest.param("Array.Example.org", "array.example.org:3261,1", id="host name"),
])
def test_portals(tree: Tree, address: str, written: str) -> None:
    tree.session(1, 2, ONE, address, 3261)
    fact = read_sessions(tree.sys)[0].as_fact()
    assert (fact["portal"], fact["persistent_portal"]) == (written, written)


def connection(sid: int) -> str:
    return f"/sys/class/iscsi_connection/connection{sid}:0"


@pytest.mark.parametrize(("changed", "portal", "persistent"), [
    pytest.param({"address": "198.51.100.9", "port": "3262"}, "198.51.100.9:3262,1", "192.0.2.1:3260,1", id="redirected"),
    pytest.param({"address": "(null)"}, "192.0.2.1:3260,1", "192.0.2.1:3260,1", id="iser tells no current address"),
    pytest.param({"persistent_address": "(null)", "address": "198.51.100.9"}, "198.51.100.9:3260,1", "198.51.100.9:3260,1", id="no persistent"),
    pytest.param({"port": "-1"}, "192.0.2.1:3260,1", "192.0.2.1:3260,1", id="no port"),
])
def test_portals_that_a_driver_does_not_tell(tree: Tree, changed: t.Dict[str, str], portal: str, persistent: str) -> None:
    tree.session(1, 2, ONE)
    tree.attributes(connection(1), **changed)
    fact = read_sessions(tree.sys)[0].as_fact()
    assert (fact["portal"], fact["persistent_portal"]) == (portal, persistent)


@pytest.mark.parametrize(("state", "logged_in"), [("LOGGED_IN", True), ("FAILED", False), ("FREE", False)])
def test_lost_sessions_are_sessions(tree: Tree, state: str, logged_in: bool) -> None:
    tree.session(1, 2, ONE, state=state)
    os.unlink(tree.sys + "/class/iscsi_connection/connection1:0/address")  # the kernel answers ENOTCONN
    (session,) = read_sessions(tree.sys)
    assert (session.state, session.logged_in, str(session.portal)) == (state, logged_in, "192.0.2.1:3260,1")


def test_a_session_stuck_without_connection_is_shown_and_belongs_to_no_node(tree: Tree) -> None:
    tree.session(1, 2, ONE)
    os.unlink(tree.sys + "/class/iscsi_connection/connection1:0")
    (session,) = read_sessions(tree.sys)
    assert (session.as_fact()["portal"], session.as_fact()["persistent_portal"], session.connections) == (None, None, ())
    assert not session.belongs_to(NodeKey(ONE, Portal("192.0.2.1")))
    assert nodes_of([session]) == []


def test_a_session_that_vanishes_is_left_out(tree: Tree) -> None:
    tree.session(1, 2, ONE)
    tree.session(2, 3, TWO)
    shutil.rmtree(tree.sys + "/devices/platform/host2")
    assert [session.sid for session in read_sessions(tree.sys)] == [2]
    assert read_session(tree.sys, 1) is None


@pytest.mark.parametrize("folder", ["session1/iscsi_session/session1", "session1/connection1:0/iscsi_connection/connection1:0", "session1/target2:0:0"])
@pytest.mark.parametrize("after", range(0, 40, 3))
@pytest.mark.parametrize("read", [of_sessions.read_sessions, read_session_keys])
def test_what_vanishes_while_it_is_read_never_raises(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, folder: str, after: int, read: t.Callable[[str], t.Sequence[t.Any]],
) -> None:
    tree.session(1, 2, ONE)
    tree.lun(1, 2, 1, "sdb", "8:16")
    opened = 0
    really = open

    def counting(path: str, *args: t.Any, **kwargs: t.Any) -> t.Any:
        nonlocal opened
        opened += 1
        if opened == after + 1:
            shutil.rmtree(f"{tree.sys}/devices/platform/host2/{folder}")
        return really(path, *args, **kwargs)

    monkeypatch.setattr("builtins.open", counting)
    assert [session.sid for session in read(tree.sys)] in ([1], [])


def test_unset_iface_name_is_default_and_tpgt_may_be_unknown(tree: Tree) -> None:
    tree.session(1, 2, ONE, ifacename="(null)", tpgt=-1)
    session = read_sessions(tree.sys)[0]
    assert session.key == NodeKey(ONE, Portal("192.0.2.1", 3260, None), "default")


@pytest.mark.parametrize(("key", "belongs"), [
    pytest.param(NodeKey(ONE, Portal("192.0.2.1", 3260, 1)), True, id="same"),
    pytest.param(NodeKey(ONE, Portal("192.0.2.1", 3260)), True, id="record without tpgt"),
    pytest.param(NodeKey(ONE, Portal("192.0.2.1", 3260, 2)), False, id="other tpgt"),
    pytest.param(NodeKey(ONE, Portal("192.0.2.1", 3261, 1)), False, id="other port"),
    pytest.param(NodeKey(ONE, Portal("192.0.2.11", 3260, 1)), False, id="address that begins alike"),
    pytest.param(NodeKey(TWO, Portal("192.0.2.1", 3260, 1)), False, id="target that begins alike"),
    pytest.param(NodeKey(ONE, Portal("192.0.2.1", 3260, 1), "san0"), False, id="other iface"),
])
def test_belongs_to(tree: Tree, key: NodeKey, belongs: bool) -> None:
    tree.session(1, 2, ONE)
    assert read_sessions(tree.sys)[0].belongs_to(key) is belongs
    assert read_session_keys(tree.sys)[0].belongs_to(key) is belongs


@pytest.mark.parametrize(("targets", "sids", "left"), [
    pytest.param([], [], [1, 2, 3], id="all"),
    pytest.param([ONE], [], [1, 3], id="exact name is no prefix"),
    pytest.param([ONE + "*"], [], [1, 2, 3], id="glob"),
    pytest.param([], [2, 99], [2], id="sids"),
    pytest.param([ONE], [2, 3], [3], id="both"),
])
def test_select_sessions(tree: Tree, targets: t.List[str], sids: t.List[int], left: t.List[int]) -> None:
    tree.session(1, 2, ONE)
    tree.session(2, 3, TWO)
    tree.session(3, 4, ONE, "192.0.2.2")
    sessions = read_sessions(tree.sys)
    assert [session.sid for session in select_sessions(sessions, targets, sids)] == left


def test_nodes_of_joins_portals_by_iface(tree: Tree) -> None:
    tree.session(1, 2, ONE)
    tree.session(2, 3, ONE, "192.0.2.2")
    tree.session(3, 4, ONE, "192.0.2.2")
    tree.session(4, 5, ONE, ifacename="san0")
    assert nodes_of(read_sessions(tree.sys)) == [
        {"target": ONE, "portals": ["192.0.2.1:3260,1", "192.0.2.2:3260,1"], "ifaces": ["default"]},
        {"target": ONE, "portals": ["192.0.2.1:3260,1"], "ifaces": ["san0"]},
    ]


FIXTURES = Path(__file__).parent / "fixtures"
#: how iscsiadm names what we return, and where
PRINTED = {
    "Iface Name": ("iface", "name"), "Iface Transport": ("iface", "transport"), "Iface Initiatorname": ("iface", "initiatorname"),
    "Iface IPaddress": ("iface", "ipaddress"), "Iface HWaddress": ("iface", "hwaddress"), "Iface Netdev": ("iface", "netdev"), "SID": ("sid",),
    "iSCSI Session State": ("state",), "Recovery Timeout": ("timeouts", "recovery_tmo"), "Target Reset Timeout": ("timeouts", "tgt_reset_tmo"),
    "LUN Reset Timeout": ("timeouts", "lu_reset_tmo"), "Abort Timeout": ("timeouts", "abort_tmo"), "username": ("chap", "username"),
    "username_in": ("chap", "username_in"), "HeaderDigest": ("negotiated", "header_digest"), "DataDigest": ("negotiated", "data_digest"),
    "MaxRecvDataSegmentLength": ("negotiated", "max_recv_data_segment_length"), "ImmediateData": ("negotiated", "immediate_data"),
    "MaxXmitDataSegmentLength": ("negotiated", "max_xmit_data_segment_length"), "FirstBurstLength": ("negotiated", "first_burst_length"),
    "MaxBurstLength": ("negotiated", "max_burst_length"), "InitialR2T": ("negotiated", "initial_r2t"),
    "MaxOutstandingR2T": ("negotiated", "max_outstanding_r2t"),
}
NOT_IN_SYSFS = {"iSCSI Connection State", "Internal iscsid Session State", "password", "password_in"}


def printed(fact: t.Dict[str, t.Any]) -> t.List[str]:
    """A session in the lines of ``iscsiadm -m session -P 3``, but for those that only the daemon knows."""
    lines = [f"Current Portal: {fact['portal']}", f"Persistent Portal: {fact['persistent_portal']}"]
    for name, where in PRINTED.items():
        value = fact[where[0]] if len(where) == 1 else fact[where[0]][where[1]]
        shown = {True: "Yes", False: "No", None: "default"}.get(value) if isinstance(value, (bool, type(None))) else value
        lines.append(f"{name}: {shown}")
    lines.append(f"Host Number: {fact['host']} State: {fact['host_state']}")
    for lun in fact["luns"]:
        lines.append("scsi{} Channel 00 Id {} Lun: {}".format(fact["host"], fact["target_id"], lun["lun"]))
        if lun["device"]:
            lines.append("Attached scsi disk {} State: {}".format(lun["device"][len("/dev/"):], lun["state"]))
    return sorted(lines)


def said(text: str) -> t.List[t.List[str]]:
    """What iscsiadm printed, a list of lines a session; its full IPv6 addresses in their short form."""
    found: t.List[t.List[str]] = []
    for line in (" ".join(line.split()) for line in text.splitlines()):
        name, colon, value = line.partition(": ")
        if name == "Current Portal":
            found.append([])
        if not found or not colon or name in NOT_IN_SYSFS or line.startswith("Target:"):
            continue
        short = re.sub(r"\[?([0-9a-f]{4}(?::[0-9a-f]{4}){7})\]?", lambda match: f"[{ipaddress.ip_address(match.group(1))}]", line)
        found[-1].append(short.replace("[", "").replace("]", "") if name == "Iface IPaddress" else short)
    return [sorted(lines) for lines in found]


def test_a_real_host_is_read_as_iscsiadm_reads_it(tmp_path: Path) -> None:
    tree = grow(FIXTURES / "three_sessions.tree", tmp_path)
    ours = [printed(session.as_fact()) for session in read_sessions(tree.sys)]
    theirs = said((FIXTURES / "three_sessions.P3").read_text())
    assert len(theirs) == 3 and {len(lines) for lines in theirs} == {31}
    assert ours == theirs


def test_a_host_below_a_pci_function(tree: Tree) -> None:
    # where an offload card's session lies: /sys/devices/pci.../hostN/sessionS
    tree.session(1, 2, ONE)
    real = f"{tree.sys}/devices/pci0000:00/0000:00:05.0/host2/session1"
    os.makedirs(os.path.dirname(real))
    shutil.move(f"{tree.sys}/devices/platform/host2/session1", real)
    for link, to in (
        ("class/iscsi_session/session1", "iscsi_session/session1"),
        ("class/iscsi_connection/connection1:0", "connection1:0/iscsi_connection/connection1:0"),
    ):
        os.unlink(f"{tree.sys}/{link}")
        os.symlink(f"{real}/{to}", f"{tree.sys}/{link}")
    os.unlink(f"{real}/iscsi_session/session1/device")
    os.symlink(real, f"{real}/iscsi_session/session1/device")
    tree.attributes("/sys/class/scsi_host/host2", proc_name="qla4xxx")
    (session,) = read_sessions(tree.sys)
    assert (session.host, session.iface.transport) == (2, "qla4xxx")
