# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task of iscsi_host against the real iscsiadm, over a stand-in for a kernel with an adapter, whose flash is the witness."""

from __future__ import annotations

import json
import re
import traceback
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import bring_about
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError, InUseError, IscsiError
from ansible_collections.lunar.iscsi.plugins.module_utils._module import SettingsModule
from ansible_collections.lunar.iscsi.plugins.module_utils._host.block import User
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi import host_task
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.flash_nodes import FIELDS, IDENTITY
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.host_task import HostTask
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.iscsiadm_host import HostAdm
from ansible_collections.lunar.iscsi.plugins.modules import iscsi_host
from ansible_collections.lunar.iscsi.tests.integration.hosts.adapter import BIDI, CHAP_PLACES, HOST, LOCAL, MAC
from ansible_collections.lunar.iscsi.tests.integration.hosts.record import Machine

TARGET = "iqn.2002-03.com.compellent:5000d310004b0716"
OTHER = "iqn.2002-03.com.compellent:other"
PORTAL = "192.168.1.12:3260"
SECRET, ANOTHER = "secret of the host", "another secret = 12"
SHOW = f"-m host -H {HOST} -C chap -o show"
NODE = f"-m host -H {HOST} -C flashnode"

Result = t.Dict[str, t.Any]
Options = t.Dict[str, t.Any]


def task(machine: Machine, **options: t.Any) -> HostTask:
    params: Options = {"host": str(HOST), "chap": None, "secrets_in_arguments": False, "flash_nodes": None, "force": False, "timeout": 20, **options}
    return HostTask(params, sys=machine.tree.sys, adm=HostAdm(tool=machine.tool))


def run(machine: Machine, *, check: bool = False, **options: t.Any) -> Result:
    """One run. What check mode says is what happens, and a second run has nothing to do; neither says a secret."""
    if check:
        return bring_about(task(machine, **options), True, True)
    predicted = bring_about(task(machine, **options), True, True)
    result = bring_about(task(machine, **options), False, True)
    again = bring_about(task(machine, **options), False, True)
    assert (predicted["steps"], predicted["diff"]) == (result["steps"], result["diff"])
    assert (again["changed"], again["steps"]) == (False, [])
    for secret in (SECRET, ANOTHER):
        assert secret not in json.dumps([predicted, result, again])
    return result


def node(**more: t.Any) -> Options:
    return {"target": TARGET, "portal": PORTAL, **more}


def chap(**more: t.Any) -> Options:
    return {"chap": [{"username": "host1", "password": SECRET, **more}], "secrets_in_arguments": True}


# flash nodes


def test_a_flash_node_is_made_as_the_document_shows(machine: Machine) -> None:
    check = run(machine, check=True, flash_nodes=[node(state="logged_in")])
    assert (check["changed"], machine.adapter.nodes(), machine.calls()) == (True, [], [])
    result = bring_about(task(machine, flash_nodes=[node(state="logged_in")]), False)
    assert result["steps"] == check["steps"] == [f"add flash node {TARGET} at {PORTAL}", f"log in flash node {TARGET} at {PORTAL}"]
    assert machine.calls() == [
        f"{NODE} -o new -A ipv4",
        f"{NODE} -x 2 -o update -n flashnode.conn[0].ipaddress -v 192.168.1.12 -n flashnode.conn[0].port -v 3260 -n flashnode.session.targetname -v {TARGET}",
        f"{NODE} -x 2 -o login",
    ]
    adapter = machine.adapter
    assert [(index, adapter.get(index, "sess.targetname"), adapter.get(index, "conn.ipaddress"), adapter.sids(index)) for index in adapter.nodes()] == [
        (2, TARGET, "192.168.1.12", [1])]
    [found] = result["host"]["flash_nodes"]
    assert (found["index"], found["target"], found["portal"], found["sids"]) == (2, TARGET, PORTAL, [1])
    assert run(machine, flash_nodes=[node(state="logged_in")])["changed"] is False
    assert machine.calls() == []  # what is there is read without a process


def test_the_example_of_the_readme(machine: Machine) -> None:
    text = (Path(__file__).resolve().parents[3] / "README.md").read_text("utf-8")
    [example] = [block for block in re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL) if "iscsi_host:" in block]
    options = yaml.safe_load(example)[1]["lunar.iscsi.iscsi_host"]
    assert len(run(machine, **options)["steps"]) == 2
    assert list(machine.adapter.sessions().values()) == [("iqn.2003-01.org.linux-iscsi.rheln1", "192.168.56.101", "3260")]


def test_ipv6_and_a_portal_group_tag(machine: Machine) -> None:
    run(machine, flash_nodes=[{"target": TARGET, "portal": "[fd00:0:0::12]:3261,4"}])
    assert machine.calls()[0] == f"{NODE} -o new -A ipv6"
    [line] = machine.iscsiadm(f"-m host -H {HOST} -C flashnode").stdout.splitlines()
    assert line == f"qla4xxx: [2] [fd00:0000:0000:0000:0000:0000:0000:0012]:3261,4 {TARGET}"


def test_several_at_once_by_hardware_address_and_the_others_stay(machine: Machine) -> None:
    machine.adapter.add(7, conn__ipaddress="192.168.1.99", sess__targetname=OTHER)
    result = run(machine, host=MAC.upper(), flash_nodes=[node(), {"target": OTHER, "portal": PORTAL}])
    assert result["host"]["host"] == HOST
    assert [(found["index"], found["target"], found["portal"]) for found in result["host"]["flash_nodes"]] == [
        (2, TARGET, PORTAL), (3, OTHER, PORTAL), (7, OTHER, "192.168.1.99:3260")]


SETTABLE = sorted(name for name, field in FIELDS.items() if field.settable and name not in IDENTITY
                  and name not in ("flashnode.session.discovery_parent_type", "flashnode.session.chap_out_idx", "flashnode.session.chap_auth_en"))


@pytest.mark.parametrize("portal", [PORTAL, "[fd00::12]:3260"])
def test_every_setting_that_we_take_for_settable_is_sent_by_iscsiadm(machine: Machine, portal: str) -> None:
    values: t.Dict[str, t.Any] = {}
    address = "10.1.0.9" if portal == PORTAL else "fd00::9"
    for number, name in enumerate(SETTABLE, 1):
        if portal != PORTAL or FIELDS[name].kind != "ipv6":
            values[name] = {"address": address, "ipv6": "fe80::9", "text": f"text {number}", "isid": f"{number:012X}"}.get(FIELDS[name].kind, number)
    result = run(machine, flash_nodes=[node(portal=portal, settings=values)])
    settings = result["host"]["flash_nodes"][0]["settings"]
    assert {name: settings[name] for name in values} == {name: str(value).lower() for name, value in values.items()}
    # one of them alone is one of them in the command line
    machine.calls()
    run(machine, flash_nodes=[{"index": 2, "settings": {"flashnode.conn[0].keepalive_tmo": 99, SETTABLE[0]: values[SETTABLE[0]]}}])
    assert machine.calls() == [f"{NODE} -x 2 -o update -n flashnode.conn[0].keepalive_tmo -v 99"]


@pytest.mark.parametrize(("portal", "name", "value"), [
    (PORTAL, "redirect_ipaddr", "fd00::9"), ("[fd00::12]:3260", "redirect_ipaddr", "10.1.0.9"), (PORTAL, "link_local_ipv6", "fe80::1"),
    ("[fd00::12]:3260", "link_local_ipv6", "10.1.0.9")])
def test_addresses_that_iscsiadm_leaves_out_are_refused(machine: Machine, portal: str, name: str, value: str) -> None:
    for _there in (False, True):
        with pytest.raises(InputError, match=f"cannot have flashnode.conn.0..{name}: {value}"):
            bring_about(task(machine, flash_nodes=[node(portal=portal, settings={f"flashnode.conn[0].{name}": value})]), True)
        run(machine, flash_nodes=[node(portal=portal)])
    there = machine.adapter.get(2, f"conn.{name}")
    machine.iscsiadm(f"{NODE} -x 2 -o update -n flashnode.session.tpgt -v 7 -n flashnode.conn[0].{name} -v {value}")
    assert (machine.adapter.get(2, f"conn.{name}"), machine.adapter.get(2, "sess.tpgt")) == (there, "7")


@pytest.mark.parametrize("name", sorted(name for name, field in FIELDS.items() if not field.settable))
def test_what_we_refuse_to_set_iscsiadm_does_not_send(machine: Machine, name: str) -> None:
    machine.adapter.add(2)
    assert machine.iscsiadm(f"{NODE} -x 2 -o update -n {name} -v 1").stderr.startswith("iscsiadm: Build flashnode config failed.")
    with pytest.raises(InputError, match="cannot be set"):
        task(machine, flash_nodes=[{"index": 2, "settings": {name: 1}}])


def test_a_flash_node_that_cannot_have_its_settings_does_not_stay(machine: Machine) -> None:
    with pytest.raises(IscsiError, match="Function not implemented|without saying why"):
        bring_about(task(machine, flash_nodes=[node(settings={"flashnode.session.discovery_parent_type": "iSNS"})]), False)
    assert (machine.adapter.nodes(), machine.adapter.unfinished) == ([], set())


def test_a_setting_that_the_adapter_does_not_take_is_told(machine: Machine) -> None:
    with pytest.raises(IscsiError, match="still to do: update flash node 2"):  # there is no such CHAP entry
        bring_about(task(machine, flash_nodes=[node(settings={"flashnode.session.chap_out_idx": 9})]), False)


def test_what_somebody_began_is_in_the_way(machine: Machine) -> None:
    machine.iscsiadm(f"{NODE} -o new -A ipv4")
    with pytest.raises(IscsiError, match="could not be made.*begun and not finished"):
        bring_about(task(machine, flash_nodes=[node()]), False)
    run(machine, flash_nodes=[{"index": 2, "state": "absent"}])
    run(machine, flash_nodes=[node()])
    assert machine.adapter.get(2, "sess.targetname") == TARGET


def test_a_session_that_takes_its_time_is_waited_for(machine: Machine) -> None:
    machine.adapter.first_state = "FREE"
    looks: t.List[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            machine.adapter.set_state(1, "LOGGED_IN")

    one = task(machine, flash_nodes=[node(state="logged_in")])
    one._sleep = sleep
    result = bring_about(one, False)
    assert (len(looks), result["host"]["sessions"][0]["state"], result["problems"]) == (3, "LOGGED_IN", [])


def test_a_session_that_does_not_come_up_fails_now_and_later(machine: Machine) -> None:
    machine.adapter.first_state = "FREE"
    for changed in (True, False):
        with pytest.raises(IscsiError, match=f"session 1 of {TARGET} at {PORTAL},1: is not up, its state is FREE") as caught:
            bring_about(task(machine, flash_nodes=[node(state="logged_in")], timeout=0.1), False)
        assert caught.value.facts["changed"] is changed
    check = bring_about(task(machine, flash_nodes=[node(state="logged_in")]), True)
    assert [problem["what"] for problem in check["problems"]] == ["is not up, its state is FREE"]


def test_down_and_away(machine: Machine) -> None:
    run(machine, flash_nodes=[node(state="logged_in")])
    assert run(machine, flash_nodes=[node(state="present")])["changed"] is False  # a session is no difference
    machine.calls()
    assert run(machine, flash_nodes=[node(state="logged_out")])["steps"] == [f"log out flash node 2 of host {HOST} ({TARGET} at {PORTAL})"]
    assert (machine.adapter.nodes(), machine.adapter.sessions(), machine.calls()) == ([2], {}, [f"{NODE} -x 2 -o logout"])
    run(machine, flash_nodes=[node(state="logged_in")])
    machine.calls()
    assert len(run(machine, flash_nodes=[{"index": 2, "state": "absent"}])["steps"]) == 2
    assert (machine.adapter.nodes(), machine.adapter.sessions()) == ([], {})
    assert machine.calls() == [f"{NODE} -x 2 -o logout", f"{NODE} -x 2 -o delete"]
    for state in ("absent", "logged_out"):
        assert run(machine, flash_nodes=[node(state=state), {"index": 9, "state": state}])["changed"] is False


def test_a_session_to_another_portal_is_another(machine: Machine) -> None:
    run(machine, flash_nodes=[node()])
    machine.adapter.begin(TARGET, "192.168.1.13")
    machine.adapter.begin(TARGET + "x", "192.168.1.12")
    assert len(run(machine, flash_nodes=[node(state="logged_in")])["steps"]) == 1
    run(machine, flash_nodes=[node(state="absent")])
    assert sorted(machine.adapter.sessions()) == [1, 2]


def test_a_disk_that_is_used_is_not_taken_away(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    run(machine, flash_nodes=[node(state="logged_in")])
    monkeypatch.setattr(host_task, "disk_users", lambda sessions: [User("/dev/sdb", "mount", "/srv")] if sessions else [])
    for state in ("logged_out", "absent"):
        for check in (True, False):
            with pytest.raises(InUseError, match=r"disks of flash node 2 of host 6 .* still in use by /dev/sdb mounted on /srv"):
                bring_about(task(machine, flash_nodes=[node(state=state)]), check)
    assert machine.adapter.sessions()
    run(machine, flash_nodes=[node(state="absent")], force=True)
    assert not machine.adapter.sessions()


def test_no_force_takes_away_what_the_system_stands_on(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    run(machine, flash_nodes=[node(state="logged_in")])
    monkeypatch.setattr(host_task, "disk_users", lambda sessions: [User("/dev/sdb", "mount", "/")] if sessions else [])
    with pytest.raises(InUseError, match="no force takes that away"):
        bring_about(task(machine, flash_nodes=[node(state="logged_out")], force=True), False)
    assert machine.adapter.sessions()


def test_what_the_adapter_boots_from_stays(machine: Machine) -> None:
    machine.adapter.add(0, conn__ipaddress="192.168.1.12", sess__targetname=TARGET, sess__is_boot_target=1)
    sid = machine.adapter.begin(TARGET, "192.168.1.12")
    for state in ("absent", "logged_out"):
        with pytest.raises(InUseError, match="still in use by the adapter, which boots from it"):
            bring_about(task(machine, flash_nodes=[node(state=state)], force=True), True)
    assert (machine.adapter.nodes(), list(machine.adapter.sessions())) == ([0], [sid])
    # and the driver would have said so
    assert machine.iscsiadm(f"{NODE} -x 0 -o logout").code == 10


def test_another_target_for_a_flash_node(machine: Machine) -> None:
    run(machine, flash_nodes=[node(state="logged_in")])
    moved = {"index": 2, "target": OTHER, "portal": "192.168.1.13"}
    with pytest.raises(InUseError, match="still in use by session 1"):
        bring_about(task(machine, flash_nodes=[moved]), False)
    run(machine, flash_nodes=[node(state="logged_out")])
    result = run(machine, flash_nodes=[dict(moved, state="logged_in")])
    assert len(result["steps"]) == 2
    assert list(machine.adapter.sessions().values()) == [(OTHER, "192.168.1.13", "3260")]
    with pytest.raises(InputError, match="is for ipv4 and cannot go to"):
        bring_about(task(machine, flash_nodes=[dict(moved, portal="fd00::1")]), True)


def test_new_settings_hold_from_the_next_login_on(machine: Machine) -> None:
    run(machine, flash_nodes=[node(state="logged_in")])
    options: Options = {"flash_nodes": [node(settings={"flashnode.session.def_time2wait": 5})]}
    check = bring_about(task(machine, **options), True)
    assert [problem["what"] for problem in check["problems"]] == ["is logged in with the settings that it had"]
    run(machine, **options)
    assert machine.adapter.get(2, "sess.def_time2wait") == "5"


def test_flash_nodes_that_are_not_there_or_there_twice(machine: Machine) -> None:
    for index in (3, 5):
        machine.adapter.add(index, conn__ipaddress="192.168.1.12", sess__targetname=TARGET)
    machine.adapter.add(6, conn__ipaddress="192.168.1.12")
    with pytest.raises(InputError, match=r"is not there \(there are: 3, 5, 6\)"):
        bring_about(task(machine, flash_nodes=[{"index": 4}]), True)
    with pytest.raises(InputError, match="is there 2 times, as 3, 5"):
        bring_about(task(machine, flash_nodes=[node(state="logged_in")]), True)
    with pytest.raises(InputError, match="has no target to log in to"):
        bring_about(task(machine, flash_nodes=[{"index": 6, "state": "logged_in"}]), True)
    run(machine, flash_nodes=[node(state="absent")])
    assert machine.adapter.nodes() == [6]


def test_an_index_that_is_freed_may_be_given_to_another(machine: Machine) -> None:
    run(machine, flash_nodes=[{"target": OTHER, "portal": PORTAL}])
    with pytest.raises(InputError, match="flash node 2: is to be removed by its index, which the adapter may give"):
        bring_about(task(machine, flash_nodes=[{"index": 2, "state": "absent"}, node()]), True)
    run(machine, flash_nodes=[{"target": OTHER, "portal": PORTAL, "state": "absent"}, node()])
    with pytest.raises(InputError, match=f"flash node {TARGET} at {PORTAL}: is the same as flash node 2"):
        bring_about(task(machine, flash_nodes=[{"index": 2, "state": "absent"}, node()]), True)


# the CHAP table


def test_a_chap_entry_is_written_and_compared(machine: Machine) -> None:
    assert run(machine, **chap(index=4))["steps"] == ["add CHAP entry 4 (local host1)"]
    assert machine.adapter.chap == {4: (LOCAL, "host1", SECRET)}
    assert machine.calls() == [SHOW, SHOW, f"-m host -H {HOST} -C chap -o update -x 4 -n host.auth.username -v host1 -n host.auth.password -v {SECRET}",
                               SHOW, SHOW]
    result = run(machine, **chap(index=4, password=ANOTHER))
    assert result["steps"] == ["update CHAP entry 4 (local host1)"]
    assert result["diff"][0]["before"] != result["diff"][0]["after"]
    assert machine.adapter.chap == {4: (LOCAL, "host1", ANOTHER)}
    assert result["host"]["chap"] == [{"index": 4, "type": "local", "username": "host1"}]
    machine.calls()
    assert run(machine, **{**chap(index=4, password=ANOTHER), "secrets_in_arguments": False})["changed"] is False  # nothing is written
    assert machine.calls() == [SHOW] * 3


def test_without_consent_no_secret_is_an_argument(machine: Machine) -> None:
    for check in (True, False):
        with pytest.raises(InputError, match="CHAP entry local host1: has to be written, and iscsiadm takes its secret only as an argument") as caught:
            bring_about(task(machine, **{**chap(), "secrets_in_arguments": False}), check)
        assert SECRET not in json.dumps(caught.value.fields())
    assert machine.calls() == [SHOW, SHOW]


def test_an_entry_without_index_goes_where_there_is_room_and_is_found_again(machine: Machine) -> None:
    machine.adapter.chap[4] = (BIDI, "host1", "of the other direction")
    machine.adapter.chap[5] = (LOCAL, "host2", "of another")
    run(machine, **chap())
    assert machine.adapter.chap[6] == (LOCAL, "host1", SECRET)
    run(machine, **chap(password=ANOTHER))
    assert machine.adapter.chap[6] == (LOCAL, "host1", ANOTHER)
    assert len(machine.adapter.chap) == 3


def test_the_other_direction(machine: Machine) -> None:
    run(machine, chap=[{"username_in": "target1", "password_in": SECRET}], secrets_in_arguments=True)
    assert machine.adapter.chap == {4: (BIDI, "target1", SECRET)}
    assert "-o new -n host.auth.username_in -v target1 -n host.auth.password_in -v" in machine.calls()[2]
    # an entry changes its direction by way of none
    assert run(machine, **chap(index=4))["steps"] == ["delete CHAP entry 4 (bidi target1)", "add CHAP entry 4 (local host1)"]
    assert machine.adapter.chap == {4: (LOCAL, "host1", SECRET)}


def test_entries_go_by_index_or_name(machine: Machine) -> None:
    machine.adapter.chap.update({4: (LOCAL, "a", "x"), 5: (LOCAL, "b", "x"), 6: (BIDI, "b", "x"), 7: (LOCAL, "c", "x"), 8: (LOCAL, "d", "x")})
    result = run(machine, chap=[{"index": 4, "state": "absent"}, {"username": "b", "state": "absent"}, {"index": 9, "state": "absent"},
                                {"index": 7, "username": "other", "state": "absent"}, {"index": 8, "username": "d", "state": "absent"}])
    assert result["steps"] == ["delete CHAP entry 4 (local a)", "delete CHAP entry 5 (local b)", "delete CHAP entry 8 (local d)"]
    assert sorted(machine.adapter.chap) == [6, 7]


def test_two_of_one_name_are_not_guessed_at(machine: Machine) -> None:
    machine.adapter.chap.update({4: (LOCAL, "host1", "x"), 5: (LOCAL, "host1", "y")})
    with pytest.raises(InputError, match="is there 2 times, as 4, 5"):
        bring_about(task(machine, **chap()), True)
    machine.adapter.chap[6] = (LOCAL, "host1", SECRET)
    assert run(machine, **chap())["changed"] is False


def test_a_target_with_chap_in_one_task(machine: Machine) -> None:
    options = dict(chap(index=4), flash_nodes=[node(
        state="logged_in", settings={"flashnode.session.chap_out_idx": 4, "flashnode.session.chap_auth_en": True})])
    assert [step.split(" ")[0] for step in run(machine, **options)["steps"]] == ["add", "add", "log"]
    adapter = machine.adapter
    assert (adapter.get(2, "sess.chap_out_idx"), adapter.get(2, "sess.chap_auth"), adapter.sids(2)) == ("4", "1", [1])
    # the driver shows the secret of it in sysfs; we do not
    assert adapter.get(2, "sess.password") == SECRET
    used = f"flash node 2 of host {HOST} ({TARGET} at {PORTAL})"
    for wanted in (chap(index=4, password=ANOTHER), {"chap": [{"index": 4, "state": "absent"}], "force": True}):
        with pytest.raises(InUseError) as caught:
            bring_about(task(machine, **wanted), True)
        assert caught.value.users == (used,)
    run(machine, flash_nodes=[node(state="logged_out")])
    run(machine, **chap(index=4, password=ANOTHER))
    with pytest.raises(InUseError):
        bring_about(task(machine, chap=[{"index": 4, "state": "absent"}]), True)
    # all of it goes in one task, in the right order
    assert run(machine, chap=[{"index": 4, "state": "absent"}], flash_nodes=[node(state="absent")])["steps"] == [
        f"delete {used}", "delete CHAP entry 4 (local host1)"]
    assert (adapter.chap, adapter.nodes()) == ({}, [])


def test_an_entry_is_removed_from_a_flash_node_by_force(machine: Machine) -> None:
    machine.adapter.chap[4] = (LOCAL, "host1", SECRET)
    machine.adapter.add(2, conn__ipaddress="192.168.1.12", sess__targetname=TARGET, sess__chap_auth=1, sess__chap_out_idx=4)
    run(machine, chap=[{"index": 4, "state": "absent"}], force=True)
    assert machine.adapter.chap == {}


def test_an_entry_that_the_kernel_holds_for_used(machine: Machine) -> None:
    machine.adapter.chap[4] = (LOCAL, "host1", "x")
    machine.adapter.add(2, conn__ipaddress="192.168.1.12", sess__targetname=TARGET, sess__chap_out_idx=4)  # without chap_auth, as the driver sees it
    machine.adapter.begin(TARGET, "192.168.1.12")
    for options in (chap(index=4), {"chap": [{"index": 4, "state": "absent"}]}):
        with pytest.raises(InUseError, match=r"CHAP entry 4 \(local host1\): still in use by a session that is up"):
            bring_about(task(machine, **options), False)


def test_a_table_that_is_full(machine: Machine) -> None:
    machine.adapter.chap.update({index: (LOCAL, f"user{index}", "x") for index in range(CHAP_PLACES)})
    with pytest.raises(IscsiError, match="CHAP entry local host1: found no free place"):
        bring_about(task(machine, **chap()), False)


@pytest.mark.parametrize("where", ["refused", "late"])
def test_what_goes_wrong_says_no_secret(machine: Machine, where: str) -> None:
    if where == "refused":
        machine.adapter.broken.add(41)  # to set an entry
        adm = HostAdm(tool=machine.tool)
    else:
        with open(machine.tool, encoding="ascii") as file:
            text = file.read()
        with open(machine.tool, "w", encoding="ascii") as file:
            file.write(text.replace("exec unshare", 'case "$*" in *update*) sleep 30;; esac\nexec unshare'))
        adm = HostAdm(tool=machine.tool, timeout=1.0)
    one = task(machine, **chap(index=4))
    one._adm = adm
    with pytest.raises(IscsiError) as caught:
        bring_about(one, False)
    error = caught.value
    assert "host.auth.password -v ********" in error.sentence()
    assert ("CHAP setting failed" if where == "refused" else "did not end within 1 s") in error.sentence()
    seen: t.Optional[BaseException] = error
    while seen is not None:
        assert SECRET not in str(seen) + str(getattr(seen, "argv", "")) + json.dumps(getattr(seen, "facts", {}))
        seen = seen.__cause__ or seen.__context__
    assert SECRET not in json.dumps(error.fields()) + "".join(traceback.format_exception(type(error), error, error.__traceback__))


@pytest.mark.parametrize("accepted", [True, False])
def test_the_module_prints_and_logs_no_secret(
    machine: Machine, accepted: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    logged: t.List[str] = []
    monkeypatch.setattr(SettingsModule, "log", lambda self, msg, log_args=None: logged.append(f"{msg} {log_args}"))
    monkeypatch.setattr(iscsi_host, "HostTask", lambda params: HostTask(params, sys=machine.tree.sys, adm=HostAdm(tool=machine.tool)))
    arguments = {"host": HOST, "chap": [{"index": 4, "username": "host1", "password": SECRET}], "secrets_in_arguments": accepted,
                 "flash_nodes": [node(settings={"flashnode.session.erl": 1})], "_ansible_diff": True}
    with patch_module_args(arguments), pytest.raises(SystemExit):
        iscsi_host.main()
    printed = capsys.readouterr().out
    result = json.loads(printed)
    assert SECRET not in printed + "".join(logged) and len(logged) == 1
    assert (result.get("failed", False), machine.adapter.chap) == ((False, {4: (LOCAL, "host1", SECRET)}) if accepted else (True, {}))
    assert len(result["diff"]) == 2 if accepted else "has to be written" in result["msg"]


def test_an_adapter_without_a_table(make_machine: t.Callable[..., Machine]) -> None:
    machine = make_machine("be2iscsi")
    with pytest.raises(IscsiError, match="get_chap_info failed"):
        bring_about(task(machine, **chap(index=4)), True)


def test_the_names_in_the_document_are_not_those_that_iscsiadm_takes(machine: Machine) -> None:
    """Why our command lines say host.auth.username; should that change, we want to know."""
    answer = machine.iscsiadm(f"-m host -H {HOST} -C chap -o update -x 4 -n username -v u -n password -v p")
    assert (answer.code, machine.adapter.chap) == (7, {})
    assert "Invalid username/password pair" in answer.stderr
    # and why we refuse an index beyond the table
    assert machine.iscsiadm(f"-m host -H {HOST} -C chap -o delete -x 3000").code == 0
