# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts as data: the real iscsiadm reads the same sysfs and is the witness."""

from __future__ import annotations

import ipaddress
import subprocess
import typing as t

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.flash_nodes import FIELDS, SECRETS, read_flash_nodes
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.hosts import IscsiHost, read_hosts
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.iscsiadm_host import HostAdm
from ansible_collections.lunar.iscsi.plugins.modules import iscsi_host_info
from ansible_collections.lunar.iscsi.tests.integration.hosts.adapter import BIDI, HOST, LOCAL, PARAMETERS, STATISTICS
from ansible_collections.lunar.iscsi.tests.integration.hosts.record import Machine

TARGET = "iqn.2002-03.com.compellent:5000d310004b0716"
NOTHING = "<empty>"


def look(machine: Machine, **params: t.Any) -> t.Dict[str, t.Any]:
    return iscsi_host_info.look(dict({"hosts": [], "chap": False, "stats": False}, **params), machine.tree.sys, HostAdm(tool=machine.tool))


def exploded(address: t.Optional[str]) -> str:
    """As the kernel prints it, and iscsiadm with it."""
    return NOTHING if address is None else ipaddress.ip_address(address).exploded if ":" not in address else f"[{ipaddress.ip_address(address).exploded}]"


def printed(host: IscsiHost) -> t.List[str]:
    """What we read, as iscsiadm -m host -P 1 prints it."""
    def shown(value: object) -> str:
        return NOTHING if value is None else str(value)

    lines = [f"Host Number: {host.number}", f"State: {host.state}", f"Transport: {shown(host.transport)}", f"Initiatorname: {shown(host.initiatorname)}",
             f"IPaddress: {exploded(host.ipaddress)}", f"HWaddress: {shown(host.hwaddress)}", f"Netdev: {shown(host.netdev)}"]
    for iface in host.ifaces:
        lines += ["**********", "Interface:", "**********", f"Kernel Name: {iface.name}", f"IPaddress: {exploded(iface.ipaddress)}"]
        if iface.name.startswith("ipv4"):
            lines += [f"Gateway: {exploded(iface.gateway)}", f"Subnet: {shown(iface.subnet)}", f"BootProto: {shown(iface.bootproto)}"]
        else:
            lines += [f"IPaddress Autocfg: {shown(iface.ipaddr_autocfg)}", f"Link Local Address: {exploded(iface.link_local_addr)}",
                      f"Link Local Autocfg: {shown(iface.link_local_autocfg)}", f"Router Address: {exploded(iface.router_addr)}"]
        lines += [f"Port State: {shown(host.port_state)}", f"Port Speed: {shown(host.port_speed)}", f"Port: {shown(iface.port)}", f"MTU: {shown(iface.mtu)}",
                  f"VLAN ID: {shown(iface.vlan_id)}", f"VLAN priority: {shown(iface.vlan_priority)}"]
    return lines


def test_a_host_is_what_iscsiadm_prints(machine: Machine) -> None:
    witness = machine.iscsiadm("-m host -P 1")
    assert witness.code == 0, witness.stderr
    [host] = read_hosts(machine.tree.sys)
    assert printed(host) == [line.strip() for line in witness.stdout.splitlines()]
    assert len(host.ifaces) == 2


def test_sessions_of_a_host_are_those_that_iscsiadm_prints(machine: Machine) -> None:
    sids = [machine.adapter.begin(TARGET, "192.168.1.12"), machine.adapter.begin(TARGET, "fd00::12", "3261")]
    witness = machine.iscsiadm("-m host -P 4").stdout
    lines = [line.strip() for line in witness.splitlines()]
    [host] = look(machine)["hosts"]
    assert lines[0] == f"iSCSI Transport Class version {look(machine)['kernel_version']}"
    assert [f"Persistent Portal: {session['persistent_portal']}" for session in host["sessions"]] == [line for line in lines if line.startswith("Persistent")]
    assert [f"SID: {session['sid']}" for session in host["sessions"]] == [line for line in lines if line.startswith("SID")] == [f"SID: {sid}" for sid in sids]
    assert sum(line.startswith(f"Target: {TARGET}") for line in lines) == 1


@pytest.mark.parametrize("portal_type", ["ipv4", "ipv6"])
def test_every_setting_of_a_flash_node_is_what_iscsiadm_prints(machine: Machine, portal_type: str) -> None:
    machine.adapter.add(2, portal_type)
    for number, (name, kind) in enumerate(PARAMETERS, 1):  # another value for each
        address = exploded(f"fd00::{number}" if portal_type == "ipv6" else f"10.0.0.{number}").strip("[]")
        values = {"address": address, "ipv6": address if portal_type == "ipv6" else "", "text": f"text{number}", "isid": f"{number:012x}"}
        if name != "sess.portal_type":
            machine.adapter.put(2, name, values.get(kind, number))
    witness = machine.iscsiadm(f"-m host -H {HOST} -C flashnode -x 2")
    theirs = dict(line.split(" = ", 1) for line in witness.stdout.splitlines() if " = " in line)
    assert set(theirs) == set(FIELDS)
    secrets = {name: theirs.pop(name) for name in SECRETS}
    assert all(value.startswith("text") for value in secrets.values())
    [node] = read_flash_nodes(HOST, machine.tree.sys)
    assert set(node.settings) == set(theirs)
    for name, value in theirs.items():
        if FIELDS[name].kind in ("address", "ipv6") and value != NOTHING:
            value = str(ipaddress.ip_address(value))
        if value == NOTHING:
            value = ""
        assert node.settings[name] == value, name
    assert not set(node.settings.values()) & set(secrets.values())


def test_flash_nodes_are_those_that_iscsiadm_lists(machine: Machine) -> None:
    machine.adapter.add(10, conn__ipaddress="192.168.1.13", sess__targetname=TARGET + "0", sess__tpgt=2)
    machine.adapter.add(2, conn__ipaddress="192.168.1.12", sess__targetname=TARGET, conn__port=3261)
    machine.adapter.add(3, "ipv6", conn__ipaddress="fd00:0000:0000:0000:0000:0000:0000:0012", sess__targetname=TARGET)
    machine.adapter.add(4, conn__ipaddress="192.168.1.14")
    sid = machine.adapter.begin(TARGET, "192.168.1.12", "3261")
    witness = machine.iscsiadm(f"-m host -H {HOST} -C flashnode").stdout.splitlines()
    nodes = look(machine)["hosts"][0]["flash_nodes"]
    ours = [f"qla4xxx: [{node['index']}] {node['portal']},{node['settings']['flashnode.session.tpgt']} {node['target'] or NOTHING}" for node in nodes]
    assert sorted(ours) == sorted(line.replace("fd00:0000:0000:0000:0000:0000:0000:0012", "fd00::12") for line in witness)
    assert [node["index"] for node in nodes] == [2, 3, 4, 10]
    assert [node["sids"] for node in nodes] == [[sid], [], [], []]


def test_the_chap_table_comes_without_secrets_and_the_counters_with_their_numbers(machine: Machine) -> None:
    entries = {index: (index % 2, f"user{index}", f"secret{index:06}") for index in range(4, 24)}  # more than fit into one message
    machine.adapter.chap.update(entries)
    result = look(machine, chap=True, stats=True)
    [host] = result["hosts"]
    assert host["chap"] == [{"index": index, "type": ["local", "bidi"][kind], "username": name} for index, (kind, name, _secret) in entries.items()]
    assert "secret" not in str(result)
    assert list(host["stats"].values()) == [number * number for number in range(1, STATISTICS + 1)]
    assert (host["stats"]["mactx_frames"], host["stats"]["iscsi_sequence_error"]) == (1, STATISTICS**2)
    assert result["problems"] == []
    assert machine.calls() == [f"-m host -H {HOST} -C chap -o show", f"-m host -H {HOST} -C stats"]
    # the exit codes that iscsiadm ends with then mean nothing; should that change, we want to know
    assert machine.iscsiadm(f"-m host -H {HOST} -C chap -o show").code not in range(34)


def test_an_empty_chap_table(machine: Machine) -> None:
    assert look(machine, chap=True)["hosts"][0]["chap"] == []


def test_without_being_asked_nothing_is_started(machine: Machine) -> None:
    look(machine)
    assert machine.calls() == []


def test_an_adapter_that_can_do_less_is_named(make_machine: t.Callable[..., Machine]) -> None:
    machine = make_machine("be2iscsi")
    result = look(machine, chap=True, stats=True)
    assert [(host["transport"], host["chap"], host["stats"], host["flash_nodes"]) for host in result["hosts"]] == [("be2iscsi", None, None, [])]
    assert [problem["object"].split(" -C ")[1] for problem in result["problems"]] == ["chap -o show", "stats"]
    assert all("iscsiadm failed without saying why (iscsiadm: get_" in problem["what"] for problem in result["problems"])


def test_secrets_that_are_hard_to_read_are_read_right(machine: Machine) -> None:
    secrets = ["a = b", "# END RECORD", "# BEGIN RECORD 2.1.8", "host.auth.username = x", "<em pty>", "é" * 100, "\"'$`\\", "-v", "x" * 255]
    machine.adapter.chap.update({4 + number: ((LOCAL, BIDI)[number % 2], f"user {number}", secret) for number, secret in enumerate(secrets)})
    table = HostAdm(tool=machine.tool).chap(HOST)
    assert [entry.password for entry in table] == secrets
    assert not any(secret in repr(table) for secret in secrets)


def test_this_machine_has_no_adapter_says_iscsiadm_too() -> None:
    witness = subprocess.run(["iscsiadm", "-m", "host"], capture_output=True, text=True, check=False)
    hosts = iscsi_host_info.look({"hosts": [], "chap": True, "stats": True})
    if not hosts["hosts"]:
        assert (witness.returncode, witness.stderr) == (21, "iscsiadm: No iSCSI hosts.\n")
    else:  # a machine with sessions
        assert [host["host"] for host in hosts["hosts"]] == sorted(int(line.split(" ")[1].strip("[]")) for line in witness.stdout.splitlines())
    assert hosts["problems"] == []
