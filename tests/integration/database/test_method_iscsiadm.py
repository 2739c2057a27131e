# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``method: iscsiadm`` of iscsi_discovery beside ``method: native``: the same tgtd is asked, the same records come of it.

The real iscsiadm asks inside the namespaces. It wants an iscsid to tell it the initiator's name; the one that stands in does.
"""

from __future__ import annotations

import typing as t

import pytest

if t.TYPE_CHECKING:
    from conftest import Host

NAMES = [f"iqn.2026-11.org.example:m{number}" for number in range(3)]
FOUR, SIX, DEAD = "127.0.0.1:13262", "[::1]:13262", "127.0.0.1:9"
FACTS = ("nodes", "targets", "added", "updated", "pruned", "kept", "filtered", "steps", "problems")


@pytest.fixture(scope="module", autouse=True)
def _served(_host: Host) -> None:
    _host.start_tgtd(NAMES, [FOUR, SIX])


@pytest.mark.parametrize("portals", [[FOUR], [SIX], [FOUR, SIX]], ids=["ipv4", "ipv6", "both"])
def test_the_same_answer_and_the_same_records(host: Host, portals: t.List[str]) -> None:
    outcomes = []
    for method in ("native", "iscsiadm"):
        host.clear()
        looked = host.module("iscsi_discovery", portals=portals, method=method, persistent=False)
        assert host.files() == {} and set(looked["targets"]) == set(NAMES), looked
        done = host.module("iscsi_discovery", portals=portals, method=method)
        again = host.module("iscsi_discovery", portals=portals, method=method)
        assert done["changed"] and not again["changed"] and again["steps"] == []
        listed = sorted(host.iscsiadm("-m", "node").stdout.splitlines())
        outcomes.append(([{name: result[name] for name in FACTS} for result in (looked, done, again)], listed, host.files()))
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0][1]) == len(NAMES) * len(portals)


@pytest.mark.parametrize("method", ["native", "iscsiadm"])
def test_known_records_are_not_reset(host: Host, method: str) -> None:
    host.iscsiadm("-m", "discovery", "-t", "st", "-p", FOUR)
    for key, value in (("node.startup", "automatic"), ("node.session.timeo.replacement_timeout", "77")):
        host.iscsiadm("-m", "node", "-T", NAMES[0], "-o", "update", "-n", key, "-v", value)
    host.iscsiadm("-m", "discoverydb", "-t", "st", "-p", FOUR, "-o", "update", "-n", "discovery.sendtargets.timeo.login_timeout", "-v", "7")
    before = host.files()
    done = host.module("iscsi_discovery", portals=[FOUR], method=method)
    assert not done["changed"] and host.files() == before and len(done["kept"]) == len(NAMES), done
    # the witness that there was something to lose: iscsiadm itself resets it
    host.iscsiadm("-m", "discovery", "-t", "st", "-p", FOUR)
    assert host.files() != before


def test_check_mode_writes_nothing(host: Host) -> None:
    looked = host.module("iscsi_discovery", portals=[FOUR], method="iscsiadm", _ansible_check_mode=True)
    assert looked["changed"] and len(looked["steps"]) == len(NAMES) + 1 and host.files() == {}


def test_a_dead_portal_is_named(host: Host) -> None:
    host.configure((host.etc / "iscsid.conf").read_text() + "discovery.sendtargets.reopen_max = 0\n")
    done = host.module("iscsi_discovery", portals=[DEAD, FOUR], method="iscsiadm", timeout=5)
    assert done["changed"] and [problem["object"] for problem in done["problems"]] == [f"portal {DEAD}"], done["problems"]
    refused = host.module("iscsi_discovery", portals=[DEAD, FOUR], method="iscsiadm", require="all", timeout=5)
    assert refused["failed"] and DEAD in refused["msg"]


def tgtadm(host: Host, op: str, *words: str) -> None:
    host.run("env", f"TGT_IPC_SOCKET={host.root}/tgtd.sock", "tgtadm", "--lld", "iscsi", "--op", op, "--mode", "account", "--user", "disc", *words)


def test_it_asks_with_the_recorded_credentials(host: Host) -> None:
    tgtadm(host, "new", "--password", "plain-secret-of-disc")
    tgtadm(host, "bind")
    try:
        refused = host.module("iscsi_discovery", portals=[FOUR], method="iscsiadm", persistent=False)
        assert refused["failed"] and "authentication" in refused["msg"], refused["msg"]
        auth = {"method": "CHAP", "username": "disc", "password": "plain-secret-of-disc"}
        assert host.module("iscsi_discovery", portals=[FOUR], auth=auth)["changed"]
        done = host.module("iscsi_discovery", portals=[FOUR], method="iscsiadm")
        assert not done["changed"] and set(done["targets"]) == set(NAMES), done
    finally:
        tgtadm(host, "unbind")
        tgtadm(host, "delete")
