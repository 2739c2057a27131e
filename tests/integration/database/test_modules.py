# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole modules against a real tgtd on loopback; the real iscsiadm reads what they wrote. Sessions need a kernel and are tested in the lab."""

from __future__ import annotations

import typing as t

import pytest

if t.TYPE_CHECKING:
    from conftest import Host, Run

ONE = "iqn.2026-11.org.example:one"
TWO = "iqn.2026-11.org.example:two"
SECRET = "plain-secret-of-discovery"


def recorded(host: Host) -> t.List[str]:
    done = host.iscsiadm("-m", "node", check=False)
    return sorted(done.stdout.splitlines()) if done.returncode != 21 else []


def setting(host: Host, target: str, key: str) -> str:
    text = host.iscsiadm("-m", "node", "-T", target, "-S").stdout
    return next(str(line.partition(" = ")[2]) for line in text.splitlines() if line.startswith(f"{key} = "))


def test_discover_look_record_again_forget(host: Host, tgt: t.Any, run: Run) -> None:
    for name in (ONE, TWO):
        tgt.add_target(name)
    looked = run("iscsi_discovery", portals=[tgt.portal], persistent=False)
    assert not looked["changed"] and recorded(host) == [] and set(looked["targets"]) == {ONE, TWO}
    predicted = run("iscsi_discovery", portals=[tgt.portal], check=True, diff=True)
    assert recorded(host) == []
    done = run("iscsi_discovery", portals=[tgt.portal], diff=True)
    assert done["steps"] == predicted["steps"] and done["diff"] == predicted["diff"] and done["changed"]
    assert recorded(host) == [f"{tgt.portal},1 {ONE}", f"{tgt.portal},1 {TWO}"]
    before = host.files()
    again = run("iscsi_discovery", portals=[tgt.portal])
    assert not again["changed"] and again["steps"] == [] and host.files() == before
    gone = run("iscsi_discovery", portals=[tgt.portal], state="absent")
    assert gone["changed"] and recorded(host) == []
    assert not [path for path in host.files() if path.startswith(("nodes", "send_targets"))]


def test_discovery_resets_nothing_and_prunes_when_asked(host: Host, tgt: t.Any, run: Run) -> None:
    tgt.add_target(ONE)
    tid = tgt.add_target(TWO)
    run("iscsi_discovery", portals=[tgt.portal])
    host.iscsiadm("-m", "node", "-T", ONE, "-o", "update", "-n", "node.startup", "-v", "automatic")
    tgt.adm("--op", "delete", "--mode", "target", "--tid", str(tid))
    kept = run("iscsi_discovery", portals=[tgt.portal])
    assert not kept["changed"] and len(recorded(host)) == 2
    pruned = run("iscsi_discovery", portals=[tgt.portal], prune=True)
    assert [entry["target"] for entry in pruned["pruned"]] == [TWO]
    assert recorded(host) == [f"{tgt.portal},1 {ONE}"]
    assert setting(host, ONE, "node.startup") == "automatic"


def test_a_dead_portal_costs_its_deadline_and_is_named(tgt: t.Any, run: Run) -> None:
    tgt.add_target(ONE)
    dead = "127.0.0.1:9"
    some = run("iscsi_discovery", portals=[tgt.portal, dead], timeout=3)
    assert some["changed"] and [problem["object"] for problem in some["problems"]] == [f"portal {dead}"]
    assert run("iscsi_discovery", portals=[tgt.portal, dead], timeout=3, require="all", prune=True)["failed"]


def test_discovery_chap_is_recorded_for_the_next_time(host: Host, tgt: t.Any, run: Run) -> None:
    tgt.add_target(ONE)
    tgt.demand_discovery_auth("disc", SECRET)
    refused = run("iscsi_discovery", portals=[tgt.portal])
    assert refused["failed"] and "0x0201" in refused["msg"] and recorded(host) == []
    auth = {"method": "CHAP", "username": "disc", "password": SECRET}
    assert run("iscsi_discovery", portals=[tgt.portal], auth=auth, diff=True)["changed"]
    stored = next(text for path, text in host.files().items() if path.endswith("st_config"))
    assert f"discovery.sendtargets.auth.password = {SECRET}" in stored
    assert not run("iscsi_discovery", portals=[tgt.portal])["changed"]
    assert host.modes() <= {"d700", "f600"}


def test_static_nodes_by_hundreds_and_settings_that_stay(host: Host, run: Run) -> None:
    nodes = [{"target": f"{ONE}-{number}", "portals": ["192.0.2.1:3260,1", "192.0.2.2:3260,1"]} for number in range(100)]
    auth = {"method": "CHAP", "username": "host", "password": "plain-secret-of-node"}
    predicted = run("iscsi_node", nodes=nodes, startup="automatic", auth=auth, check=True)
    done = run("iscsi_node", nodes=nodes, startup="automatic", auth=auth, diff=True)
    assert done["steps"] == predicted["steps"] and len(done["steps"]) == 200 == len(recorded(host))
    assert setting(host, f"{ONE}-7", "node.session.auth.password") == "plain-secret-of-node"
    assert not run("iscsi_node", nodes=nodes, startup="automatic", auth=auth)["changed"]
    host.iscsiadm("-m", "node", "-T", f"{ONE}-7", "-o", "update", "-n", "node.session.timeo.replacement_timeout", "-v", "77")
    changed = run("iscsi_node", nodes=[{"target": f"{ONE}-7"}], leading_login=True)
    assert len(changed["steps"]) == 2
    assert setting(host, f"{ONE}-7", "node.session.timeo.replacement_timeout") == "77"
    assert run("iscsi_node", nodes=nodes, state="absent")["changed"] and recorded(host) == []


@pytest.mark.parametrize(("options", "says"), [
    ({"nodes": [{"target": "iqn.20013-10.com.redhat"}]}, "20013-10"),
    ({"nodes": [{"target": ONE}]}, "not recorded"),
    ({"nodes": [{"target": ONE, "portals": ["192.0.2.1"]}], "settings": {"node.session.timeo.replacement_timeout": "abc"}}, "abc"),
    ({"nodes": [{"target": ONE, "portals": ["192.0.2.1"]}], "settings": {"node.sesion.scan": "auto"}}, "node.session.scan"),
    ({"nodes": [{"target": ONE, "portals": ["192.0.2.1"], "ifaces": ["san7"]}]}, "san7"),
    ({"nodes": [{"target": ONE, "portals": ["192.0.2.1"]}], "state": "logged_in"}, "root"),
])
def test_wrong_input_is_a_sentence_and_changes_nothing(host: Host, run: Run, options: t.Dict[str, t.Any], says: str) -> None:
    before = host.files()
    failed = run("iscsi_node", **options)
    assert failed["failed"] and says in failed["msg"] and "Traceback" not in failed["msg"]
    assert host.files() == before
