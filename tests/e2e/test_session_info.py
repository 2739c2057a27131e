# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iscsi_session_info on a real host says what ``iscsiadm -m session -P 3`` says there."""

from __future__ import annotations

import calendar
import ipaddress
import re
import time
import typing as t

import pytest

if t.TYPE_CHECKING:
    from conftest import Reset, RunModule, Shell

TARGET = "iqn.2026-11.org.example:info"
SECRET = "plain-secret-for-info"


@pytest.fixture(scope="module")
def printed(reset: Reset, shell: Shell) -> str:
    """Two sessions, IPv4 with CHAP and IPv6 with CHAP, made by the hosts' own tools; what iscsiadm prints of them."""
    reset()
    shell("target", f"""set -e
        DEBIAN_FRONTEND=noninteractive apt-get install -qy tgt >/dev/null
        truncate --size 64M /srv/info.img
        printf '<target {TARGET}>\\n backing-store /srv/info.img\\n incominguser info {SECRET}\\n</target>\\n' > /etc/tgt/conf.d/info.conf
        tgt-admin --update ALL --force""")
    shown: str = shell("initiator", f"""set -e
        DEBIAN_FRONTEND=noninteractive apt-get install -qy open-iscsi >/dev/null
        for portal in 192.168.56.101 '[fd00:57::101]'; do iscsiadm -m discovery -t sendtargets -p "$portal" >/dev/null; done
        iscsiadm -m node -T {TARGET} -o update -n node.session.auth.authmethod -v CHAP \\
            -n node.session.auth.username -v info -n node.session.auth.password -v {SECRET}
        iscsiadm -m node -T {TARGET} --login >/dev/null
        udevadm settle
        iscsiadm -m session -P 3""")
    return shown


def sessions_of(printed: str) -> t.Dict[int, t.Dict[str, str]]:
    """What iscsiadm prints, as label and value, for each session."""
    found: t.Dict[int, t.Dict[str, str]] = {}
    for block in re.split(r"(?=\tCurrent Portal: )", printed)[1:]:
        pairs = dict(re.findall(r"^\s*([^:\n]+): ?(.*?)\s*$", block, re.MULTILINE))
        disk = re.search(r"Attached scsi disk (\S+)\s+State: (\S+)", block)
        pairs.update({"disk": disk.group(1), "disk state": disk.group(2)} if disk else {})
        found[int(pairs["SID"])] = pairs
    return found


def shortened(portal: str) -> str:
    """The kernel writes IPv6 addresses in full length, and iscsiadm prints them so."""
    return re.sub(r"^\[(.*)\]", lambda found: f"[{ipaddress.ip_address(found.group(1)).compressed}]", portal)


def test_same_as_iscsiadm(printed: str, run_module: RunModule) -> None:
    theirs = sessions_of(printed)
    result = run_module("iscsi_session_info")
    assert not result.get("failed"), result
    assert not result["changed"]
    ours = {session["sid"]: session for session in result["sessions"]}
    assert len(theirs) == 2
    assert set(ours) == set(theirs)
    for sid, words in theirs.items():
        session = ours[sid]
        assert session["target"] == TARGET
        assert session["portal"] == shortened(words["Current Portal"])
        assert session["persistent_portal"] == words["Persistent Portal"]
        assert session["iface"]["name"] == words["Iface Name"]
        assert session["iface"]["transport"] == words["Iface Transport"]
        assert session["iface"]["initiatorname"] == words["Iface Initiatorname"]
        assert session["state"] == words["iSCSI Session State"]
        assert session["chap"]["username"] == words["username"]
        assert [lun["device"] for lun in session["luns"] if lun["device"]] == ["/dev/" + words["disk"]]
        assert [lun["state"] for lun in session["luns"] if lun["device"]] == [words["disk state"]]
        assert str(session["host"]) == words["Host Number"].split()[0]
        for name, label in {"recovery_tmo": "Recovery Timeout", "tgt_reset_tmo": "Target Reset Timeout", "lu_reset_tmo": "LUN Reset Timeout",
                            "abort_tmo": "Abort Timeout"}.items():
            assert str(session["timeouts"][name]) == words[label], label
        negotiated = session["negotiated"]
        for name, label in {"header_digest": "HeaderDigest", "data_digest": "DataDigest", "max_recv_data_segment_length": "MaxRecvDataSegmentLength",
                            "max_xmit_data_segment_length": "MaxXmitDataSegmentLength", "first_burst_length": "FirstBurstLength",
                            "max_burst_length": "MaxBurstLength", "max_outstanding_r2t": "MaxOutstandingR2T"}.items():
            assert str(negotiated[name]) == words[label], label
        for name, label in {"immediate_data": "ImmediateData", "initial_r2t": "InitialR2T"}.items():
            assert negotiated[name] == (words[label] == "Yes"), label


def test_no_secret_is_told(printed: str, run_module: RunModule) -> None:
    assert SECRET not in str(run_module("iscsi_session_info"))


def test_only_the_sessions_asked_for(printed: str, run_module: RunModule) -> None:
    sids = sorted(sessions_of(printed))
    assert [session["sid"] for session in run_module("iscsi_session_info", sids=sids[:1])["sessions"]] == sids[:1]
    assert run_module("iscsi_session_info", targets=["iqn.2026-11.org.example:inf"])["sessions"] == []
    assert len(run_module("iscsi_session_info", targets=["*:info"])["sessions"]) == 2


def wait_for_state(shell: Shell, state: str) -> None:
    """Until both sessions are in that state, as the kernel has it."""
    shell("initiator", f"""for second in $(seq 90); do
        test "$(cat /sys/class/iscsi_session/session*/state | sort | uniq -c | tr -s ' ')" = ' 2 {state}' && exit 0; sleep 1; done; exit 1""")


def test_a_session_that_broke_is_explained_as_the_kernel_tells_it(printed: str, run_module: RunModule, shell: Shell) -> None:
    sids = sorted(sessions_of(printed))
    began = int(shell("initiator", "date +%s"))
    shell("target", "systemctl stop tgt")
    wait_for_state(shell, "FAILED")
    result = run_module("iscsi_session_info", explain=True)
    logged = re.findall(r"connection(\d+):0: (detected conn error \(\d+\))", shell("initiator", "dmesg --kernel"))
    ended = int(shell("initiator", "date +%s"))
    shell("target", "systemctl start tgt")
    assert not result.get("failed") and result["problems"] == []
    assert [session["sid"] for session in result["sessions"]] == sids
    for session in result["sessions"]:
        explained = session["explanation"]
        told = [event["message"] for event in explained["events"] if event["number"]]
        # iscsid may have tried again since
        assert told and told == [message for sid, message in logged if int(sid) == session["sid"]][:len(told)]
        assert f"({explained['error']['number']})" in told[-1] and explained["error"]["name"] in explained["summary"]
        assert began - 5 <= calendar.timegm(time.strptime(explained["error"]["time"], "%Y-%m-%dT%H:%M:%SZ")) <= ended + 5
        assert (explained["recovery"], explained["timer"]["name"], explained["timer"]["seconds"]) == ("waiting", "recovery_tmo", 120)
        assert 120 - (ended - began) - 5 <= explained["timer"]["remaining"] <= 120
    wait_for_state(shell, "LOGGED_IN")
    after = run_module("iscsi_session_info", explain=True)["sessions"]
    assert [(session["explanation"]["recovery"], session["explanation"]["timer"]["name"]) for session in after] == [("none", "recv_tmo")] * 2
