# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task of iscsi_host with recorded dialogues: its options, its steps, its results. More of it is in tests/integration/hosts."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import bring_about
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.host_task import HostTask
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.host_wanted import parse_chap_option, parse_nodes_option
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.iscsiadm_host import HostAdm

from ..sysfs_tree import Tree
from .iscsiadm_player import Player

TARGET = "iqn.2002-03.com.compellent:5000d310004b0716"
SECRET = "secret-of-host"
ENTRY = {"index": 4, "username": "host1", "password": SECRET}
NODES = "/sys/bus/iscsi_flashnode/devices/flashnode_"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    tree.attributes("/sys/class/iscsi_host/host6", hwaddress="00:0e:1e:04:8b:2e")
    tree.attributes("/sys/class/scsi_host/host6", proc_name="qla4xxx", state="running")
    return tree


def make(tree: Tree, player: Player, **options: t.Any) -> HostTask:
    params = {"host": "6", "chap": None, "secrets_in_arguments": True, "flash_nodes": None, "force": False, "timeout": 1, **options}
    return HostTask(params, sys=tree.sys, adm=HostAdm(player))


def made(tree: Tree, **session: object) -> None:
    """What the kernel shows of flash node 2."""
    tree.attributes(f"{NODES}sess-6:2", targetname=TARGET, portal_type="ipv4", chap_auth=0, chap_out_idx=65535, is_boot_target=0, **session)
    tree.attributes(f"{NODES}conn-6:2:0", ipaddress="192.168.1.12", port=3260)


def logged_in(tree: Tree) -> None:
    tree.session(1, 6, TARGET, "192.168.1.12")
    tree.attributes("/sys/class/scsi_host/host6", proc_name="qla4xxx", state="running")


def test_a_flash_node_is_made_and_logged_in(tree: Tree) -> None:
    wanted = {"flash_nodes": [{"target": TARGET, "portal": "192.168.1.12", "state": "logged_in"}]}
    check = bring_about(make(tree, Player(), **wanted), True, True)
    player = Player("new flash node", "update flash node", "log in", after={"update flash node": lambda: made(tree), "log in": lambda: logged_in(tree)})
    result = bring_about(make(tree, player, **wanted), False, True)
    assert player.through()
    assert (check["steps"], check["diff"], check["changed"]) == (result["steps"], result["diff"], True)
    assert result["steps"] == [f"add flash node {TARGET} at 192.168.1.12:3260", f"log in flash node {TARGET} at 192.168.1.12:3260"]
    assert result["diff"][0] == {
        "before_header": f"flash node {TARGET} at 192.168.1.12:3260", "after_header": f"flash node {TARGET} at 192.168.1.12:3260", "before": "",
        "after": f"flashnode.conn[0].ipaddress = 192.168.1.12\nflashnode.conn[0].port = 3260\nflashnode.session.targetname = {TARGET}\n"}
    assert result["host"]["flash_nodes"][0]["sids"] == [1] and result["host"]["chap"] is None
    again = Player()
    assert bring_about(make(tree, again, **wanted), False)["changed"] is False
    assert again.count == 0


def test_an_entry_is_added_compared_and_deleted(tree: Tree) -> None:
    player = Player("empty table", "add entry", "table")
    result = bring_about(make(tree, player, chap=[ENTRY]), False, True)
    assert result["steps"] == ["add CHAP entry 4 (local host1)"]
    assert result["diff"][0]["after"] == "type = local\nusername = host1\npassword = ********\n"
    assert result["host"]["chap"] == [{"index": 4, "type": "local", "username": "host1"}, {"index": 5, "type": "bidi", "username": "target1"}]
    same = bring_about(make(tree, Player("table"), chap=[ENTRY], secrets_in_arguments=False), False, True)
    assert same["changed"] is False
    gone = bring_about(make(tree, Player("table", "delete entry", "empty table"), chap=[{"index": 4, "state": "absent"}]), False, True)
    assert gone["steps"] == ["delete CHAP entry 4 (local host1)"]
    assert "secret" not in json.dumps([result, same, gone])


def test_without_consent_nothing_is_written(tree: Tree) -> None:
    with pytest.raises(InputError, match="Say secrets_in_arguments: true to accept that"):
        bring_about(make(tree, Player("empty table"), chap=[ENTRY], secrets_in_arguments=False), False)


def test_it_is_about_adapters(tree: Tree) -> None:
    tree.session(1, 12, TARGET)
    with pytest.raises(InputError, match="option host: is '12', which is no offload adapter but a session of tcp"):
        bring_about(make(tree, Player(), host="12", flash_nodes=[]), True)
    with pytest.raises(InputError, match="option host: is '3', and there is no such iSCSI host"):
        bring_about(make(tree, Player(), host="3"), True)


def test_a_timeout_has_bounds(tree: Tree) -> None:
    with pytest.raises(InputError, match="option timeout: is 0"):
        make(tree, Player(), timeout=0)


@pytest.mark.parametrize(("entries", "what"), [
    ([{}], "lacks a user name or its secret"),
    ([{"username": "u"}], "lacks a user name or its secret"),
    ([{"index": 4, "password_in": SECRET}], "lacks a user name or its secret"),
    ([{"username": "u", "password_in": SECRET}], "holds both directions"),
    ([{"state": "absent"}], "names no entry"),
    ([{"state": "absent", "password": SECRET}], "names no entry"),
    ([dict(ENTRY, index=2048)], "chap[0].index: is 2048. Give a number from 0 to 2047"),
    ([dict(ENTRY, index=-1)], "is -1"),
    ([dict(ENTRY, password="")], "chap[0].password: is 0 bytes long"),
    ([dict(ENTRY, password=SECRET * 20)], "chap[0].password: is 280 bytes long"),
    ([dict(ENTRY, password=SECRET + " ")], "begins or ends with white space"),
    ([dict(ENTRY, username="a\nb")], "chap[0].username: begins or ends with white space, or holds"),
    ([ENTRY, dict(ENTRY, username="other")], "chap[1]: is CHAP entry 4 (local other), which is in the list twice"),
    ([ENTRY, {"username": "host1", "state": "absent"}], "in the list twice"),
    ([{"username": "u", "password": SECRET}, {"username": "u", "password": SECRET}], "is CHAP entry local u, which is in the list twice"),
])
def test_entries_that_make_no_sense(entries: t.List[t.Dict[str, t.Any]], what: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_chap_option(entries)
    assert what in caught.value.sentence() and SECRET not in caught.value.sentence()


def test_entries_that_do() -> None:
    found = parse_chap_option([
        ENTRY, {"username_in": "host1", "password_in": "x"}, {"index": 9, "state": "absent"}, {"index": 8, "username": "host1", "state": "absent"}])
    assert [str(one) for one in found] == ["CHAP entry 4 (local host1)", "CHAP entry bidi host1", "CHAP entry 9", "CHAP entry 8 (local host1)"]
    assert SECRET not in repr(found)


NODE = {"target": TARGET, "portal": "192.168.1.12"}


@pytest.mark.parametrize(("entries", "what"), [
    ([{}], "names no flash node"),
    ([{"target": TARGET}], "names no flash node"),
    ([{"index": 1, "portal": "192.168.1.12"}], "names no flash node"),
    ([{"index": -1}], "index: is -1"),
    ([{"index": 2**32}], "index: is 4294967296"),
    ([dict(NODE, index=1, state="absent")], "names a flash node twice"),
    ([dict(NODE, state="absent", settings={"flashnode.session.erl": 1})], "settings: makes no sense with state: absent"),
    ([dict(NODE, target="disk1")], "does not begin with iqn., eui. or naa."),
    ([dict(NODE, portal="array.example.org")], "Give an IP address: adapters look up no names"),
    ([dict(NODE, portal="fe80::1%eth0")], "Give an IP address"),
    ([dict(NODE, portal="192.168.1.12:0")], "portal"),
    ([dict(NODE, portal="192.168.1.12:3260,4", settings={"flashnode.session.tpgt": 5})], "has the portal group tag 4, and flashnode.session.tpgt is 5"),
    ([NODE, dict(NODE, portal="192.168.1.12:3260,4")], "in the list twice"),
    ([{"index": 1}, dict(NODE, index=1)], "is flash node 1 ("),
    ([dict(NODE, settings={"flashnode.session.pasword": SECRET})], "Did you mean flashnode.session.password?"),
])
def test_flash_nodes_that_make_no_sense(entries: t.List[t.Dict[str, t.Any]], what: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_nodes_option(entries)
    assert what in caught.value.sentence() and SECRET not in caught.value.sentence()


def test_a_portal_is_settings() -> None:
    [found] = parse_nodes_option([dict(NODE, portal="[FD00:0::12]:3261,4")])
    assert found.portal_type == "ipv6"
    assert found.settings == {"flashnode.conn[0].ipaddress": "fd00::12", "flashnode.conn[0].port": "3261", "flashnode.session.targetname": TARGET,
                              "flashnode.session.tpgt": "4"}


_words = st.one_of(st.none(), st.text(max_size=8))
_numbers = st.one_of(st.none(), st.integers(-5, 5000))


@given(st.lists(st.fixed_dictionaries({
    "index": _numbers, "state": st.sampled_from(["present", "absent"]), "username": _words, "password": _words, "username_in": _words, "password_in": _words}),
    max_size=3))
def test_any_entries_are_taken_or_refused(entries: t.List[t.Dict[str, t.Any]]) -> None:
    try:
        assert len(parse_chap_option(entries)) == len(entries)
    except InputError as error:
        assert error.what


@given(st.lists(st.fixed_dictionaries({
    "index": _numbers, "state": st.sampled_from(["present", "absent", "logged_in", "logged_out"]), "target": st.one_of(_words, st.just(TARGET)),
    "portal": st.one_of(_words, st.just("10.0.0.1"), st.just("[fd00::1]:1,2")),
    "settings": st.one_of(st.none(), st.dictionaries(st.one_of(st.text(max_size=5), st.just("flashnode.session.erl")), st.integers(), max_size=2)),
}), max_size=3))
def test_any_flash_nodes_are_taken_or_refused(entries: t.List[t.Dict[str, t.Any]]) -> None:
    try:
        assert len(parse_nodes_option(entries)) == len(entries)
    except InputError as error:
        assert error.what
