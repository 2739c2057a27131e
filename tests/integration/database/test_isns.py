# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iscsi_discovery with type isns beside the real iscsiadm at the same isnsd: the same records, byte for byte."""

from __future__ import annotations

import contextlib
import json
import typing as t
from pathlib import Path

import pytest

if t.TYPE_CHECKING:
    from conftest import Host, Run

ONE = "iqn.2026-11.org.example:one"
TWO = "iqn.2026-11.org.example:two"
SERVER = "127.0.0.1:3205"
RECORD = "isns/127.0.0.1,3205/isns_config"
TARGETS: t.Mapping[str, t.Sequence[str]] = {ONE: ["192.0.2.1:3260,1", "[2001:db8::1]:3260,2"]}


@pytest.fixture
def inside(host: Host, tmp_path: Path, isns: t.Any) -> t.Iterator[t.Any]:
    """An isnsd on its own port inside the network of the host, where nothing else listens."""
    isns.stop()
    isns.portal = SERVER
    isns.port = 3205
    # open-isns takes an address only where the network has one of that kind, loopback not counted
    for address in ("192.0.2.99/32", "2001:db8::99/128"):
        host.run("ip", "address", "replace", address, "dev", "lo")
    isns.start(before=host.inside())
    try:
        isns.register(TARGETS, before=host.inside())
        isns.register({TWO: ["192.0.2.7:860,7"]}, entity="other", before=host.inside())
        yield isns
    finally:
        with contextlib.suppress(ProcessLookupError):
            isns.stop()


def listed(host: Host) -> t.List[str]:
    done = host.iscsiadm("-m", "node", check=False)
    return sorted(done.stdout.splitlines()) if done.returncode != 21 else []


def test_the_records_are_those_of_iscsiadm(host: Host, inside: t.Any) -> None:
    host.iscsiadm("-m", "discoverydb", "-t", "isns", "-p", SERVER, "-o", "new")
    host.iscsiadm("-m", "discoverydb", "-t", "isns", "-p", SERVER, "--discover")
    theirs = host.files()
    assert RECORD in theirs and len(listed(host)) == 3
    host.clear()
    done = host.module("iscsi_discovery", portals=["127.0.0.1"], type="isns")
    assert done.get("changed"), done
    assert host.files() == theirs
    again = host.module("iscsi_discovery", portals=["127.0.0.1"], type="isns")
    assert not again["changed"] and again["steps"] == [] and len(again["kept"]) == 3


def test_iscsiadm_goes_on_with_what_we_wrote(host: Host, inside: t.Any) -> None:
    host.module("iscsi_discovery", portals=["127.0.0.1"], type="isns", targets=[ONE])
    host.iscsiadm("-m", "discoverydb", "-t", "isns", "-p", SERVER, "-o", "update", "-n", "discovery.isns.use_discoveryd", "-v", "Yes")
    host.iscsiadm("-m", "discoverydb", "-t", "isns", "-p", SERVER, "--discover", "-o", "new")
    assert len(listed(host)) == 3
    ours = host.module("iscsi_discovery", portals=[SERVER], type="isns")
    assert not ours["changed"] and "discovery.isns.use_discoveryd = Yes" in host.files()[RECORD]
    gone = host.module("iscsi_discovery", portals=[SERVER], type="isns", state="absent")
    assert gone["changed"] and gone["steps"][-1] == f"forget iSNS discovery at {SERVER}" and len(gone["pruned"]) == 3
    assert not [path for path in host.files() if path.startswith(("nodes", "isns"))]
    assert SERVER not in host.iscsiadm("-m", "discoverydb", check=False).stdout


@pytest.mark.parametrize(("kind", "word", "portal"), [("isns", "isns", SERVER), ("send_targets", "sendtargets", "127.0.0.1:3260")])
def test_settings_of_the_record_itself(host: Host, inside: t.Any, kind: str, word: str, portal: str) -> None:
    if kind == "send_targets":
        host.start_tgtd([ONE], [portal])
    wanted = {f"discovery.{word}.use_discoveryd": "Yes", f"discovery.{word}.discoveryd_poll_inval": "17"}
    host.iscsiadm("-m", "discoverydb", "-t", word, "-p", portal, "-o", "new")
    for key, value in wanted.items():
        host.iscsiadm("-m", "discoverydb", "-t", word, "-p", portal, "-o", "update", "-n", key, "-v", value)
    theirs = {path: text for path, text in host.files().items() if path.endswith("_config")}
    host.clear()
    done = host.module("iscsi_discovery", type=kind, portals=[portal], discovery_settings=wanted)
    assert done.get("changed"), done
    assert {path: text for path, text in host.files().items() if path.endswith("_config")} == theirs
    assert not host.module("iscsi_discovery", type=kind, portals=[portal], discovery_settings=wanted)["changed"]


def test_iscsiadm_deletes_what_we_wrote(host: Host, inside: t.Any) -> None:
    host.module("iscsi_discovery", portals=[SERVER], type="isns")
    host.iscsiadm("-m", "discoverydb", "-t", "isns", "-p", SERVER, "-o", "delete")
    assert listed(host) == [] and RECORD not in host.files()


def test_what_is_gone_is_pruned_when_asked(host: Host, inside: t.Any) -> None:
    host.module("iscsi_discovery", portals=[SERVER], type="isns")
    inside.adm("--local", "--deregister", f"iscsi-name={TWO}", before=host.inside())
    assert not host.module("iscsi_discovery", portals=[SERVER], type="isns")["changed"]
    pruned = host.module("iscsi_discovery", portals=[SERVER], type="isns", prune=True)
    assert [entry["target"] for entry in pruned["pruned"]] == [TWO]
    assert {line.split()[1] for line in listed(host)} == {ONE}


def test_both_methods_find_the_same(host: Host, inside: t.Any) -> None:
    native, by_tool = (host.module("iscsi_discovery", portals=[SERVER], type="isns", method=method, persistent=False) for method in ("native", "iscsiadm"))
    assert native["targets"] == by_tool["targets"] == {**TARGETS, TWO: ["192.0.2.7:860,7"]}


def test_check_mode_looks_and_writes_nothing(isns: t.Any, host: Host, run: Run) -> None:
    isns.register(TARGETS)
    predicted = run("iscsi_discovery", portals=[isns.portal], type="isns", check=True, diff=True)
    assert predicted["changed"] and host.files() == {}
    done = run("iscsi_discovery", portals=[isns.portal], type="isns", diff=True)
    assert (done["steps"], done["diff"]) == (predicted["steps"], predicted["diff"])
    assert done["steps"][0] == f"record iSNS discovery at {isns.portal}"


def test_a_damaged_record_is_named_and_repaired_when_asked(isns: t.Any, host: Host, run: Run) -> None:
    isns.register(TARGETS)
    run("iscsi_discovery", portals=[isns.portal], type="isns")
    path = next(host.etc.glob("isns/*/isns_config"))
    whole = path.read_text()
    path.write_text("")
    named = run("iscsi_discovery", portals=[isns.portal], type="isns")
    assert not named["changed"] and path.read_text() == "" and str(path) in json.dumps(named["problems"])
    mended = run("iscsi_discovery", portals=[isns.portal], type="isns", repair=True)
    assert mended["changed"] and path.read_text() == whole


@pytest.mark.parametrize(("options", "says"), [
    pytest.param({"portals": ["127.0.0.1:9"], "timeout": 3}, "127.0.0.1:9", id="nobody there"),
    pytest.param({"portals": ["127.0.0.1"], "auth": {"method": "CHAP", "username": "u", "password": "plain-secret-1"}}, "iSNS|isns", id="auth"),
    pytest.param({"portals": ["127.0.0.1:0"]}, "port", id="no port"),
])
def test_wrong_input_is_a_sentence_and_changes_nothing(host: Host, run: Run, options: t.Dict[str, t.Any], says: str) -> None:
    failed = run("iscsi_discovery", type="isns", **options)
    assert failed["failed"] and any(word in failed["msg"] for word in says.split("|")) and host.files() == {}
