# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Boot firmware's tables: trees as the kernel shows them in, values and problems out."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.firmware import Firmware, lun_number
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.firmware_read import read_firmware
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.ibft_table import look_over

from ..ibft_tree import ONE_TARGET, build, kernel_shows, plant, with_header
from ..sysfs_tree import Tree

ONE = "iqn.2026-11.org.example:one"
MAC, MAC2 = "52:54:00:12:34:56", "52:54:00:12:34:57"
CHAP = {"username": "host", "password": "plain-secret-1", "username_in": "array", "password_in": "plain-secret-2"}
#: two NICs, one of them with IPv6 by DHCP in a VLAN, and a target behind each
TWO: t.Mapping[str, t.Any] = {
    "initiator": {"name": "iqn.2026-11.org.example:boot", "isns_server": "192.0.2.9"},
    "nics": [dict(ONE_TARGET["nics"][0], hostname="host1"),
             {"mac": MAC2, "address": "2001:db8::10", "prefix": 64, "vlan": 12, "origin": 3, "dhcp_server": "2001:db8::1", "gateway": "fe80::1"}],
    "targets": [dict(ONE_TARGET["targets"][0], chap=CHAP),
                {"name": "iqn.2026-11.org.example:two", "address": "2001:db8::2", "port": 860, "lun": 300, "flags": 1}],
}


def read(tree: Tree) -> Firmware:
    return read_firmware(tree.sys, tree.proc)


def booted(tmp_path: Path, table: t.Mapping[str, t.Any] = ONE_TARGET, interfaces: t.Optional[t.Mapping[str, str]] = None) -> Tree:
    tree = Tree(tmp_path)
    plant(tree, table, {"ens5": MAC, "ens6": MAC2} if interfaces is None else interfaces)
    return tree


def with_target(**changed: t.Any) -> t.Mapping[str, t.Any]:
    return dict(ONE_TARGET, targets=[dict(ONE_TARGET["targets"][0], **changed)])


def whats(found: Firmware) -> t.List[str]:
    return [f"{problem['object']} {problem['what']}" for problem in found.problems]


def test_one_target(tmp_path: Path) -> None:
    found = read(booted(tmp_path))
    assert whats(found) == [] and found.damage == [] and found.acpi == {"signature": "iBFT", "oem_id": "LUNAR", "oem_table_id": "LABTABLE"}
    assert [one.as_fact() for one in found.initiators] == [{
        "source": "ibft", "name": "iqn.2026-11.org.example:boot", "isid": None, "isns_server": None, "slp_server": None, "radius_servers": [],
        "valid": True, "boot": True}]
    assert [nic.as_fact() for nic in found.nics] == [{
        "source": "ibft", "name": "ethernet0", "index": 0, "mac": MAC, "interface": "ens5", "transport": "tcp", "address": "192.0.2.10", "prefix": 24,
        "netmask": "255.255.255.0", "gateway": "192.0.2.254", "dns": ["192.0.2.53"], "dhcp": False, "dhcp_server": None, "vlan": None, "origin": "manual",
        "hostname": None, "valid": True, "boot": True}]
    assert [target.as_fact() for target in found.targets] == [{
        "source": "ibft", "name": "target0", "index": 0, "target": ONE, "portal": "192.0.2.1:3260", "lun": 1, "boot_lun": "01000000", "nic": "ethernet0",
        "chap": "none", "auth": {"method": "None", "username": None, "username_in": None}, "valid": True, "boot": True, "usable": True}]


def test_two_nics_and_targets_ipv6_vlan_dhcp_and_chap(tmp_path: Path) -> None:
    found = read(booted(tmp_path, TWO))
    assert whats(found) == []
    second = found.nics[1].as_fact()
    assert (second["interface"], second["address"], second["prefix"], second["netmask"], second["vlan"]) == ("ens6", "2001:db8::10", 64, None, 12)
    assert (second["dhcp"], second["origin"], second["dhcp_server"], second["gateway"]) == (True, "dhcp", "2001:db8::1", "fe80::1")
    first, other = (target.as_fact() for target in found.targets)
    assert first["chap"] == "mutual" and first["auth"] == {"method": "CHAP", "username": "host", "username_in": "array"}
    assert (other["portal"], other["lun"], other["nic"], other["boot"], other["valid"]) == ("[2001:db8::2]:860", 300, "ethernet1", False, True)
    assert found.initiators[0].as_fact()["isns_server"] == "192.0.2.9" and found.nics[0].hostname == "host1"


def test_secrets_are_shown_only_when_asked(tmp_path: Path) -> None:
    found = read(booted(tmp_path, TWO))
    assert "plain-secret" not in json.dumps([found.records(), [target.as_fact() for target in found.targets]]) + repr(found)
    assert found.records()[0]["node.session.auth.password"] == "********"
    assert found.records(secrets=True)[0]["node.session.auth.password_in"] == "plain-secret-2"
    assert found.targets[0].as_fact(secrets=True)["auth"] == {"method": "CHAP", **CHAP}


def test_records_are_what_iscsiadm_prints(tmp_path: Path) -> None:
    """The fixture is what ``iscsiadm -m fw`` of open-iscsi 2.1.8 printed over this tree, in a mount namespace."""
    tree = booted(tmp_path, TWO)
    for number, name in ((0, "ens5"), (1, "ens6")):
        (tmp_path / f"sys/firmware/ibft/ethernet{number}/device/net/{name}").mkdir(parents=True)
    text = (Path(__file__).parent / "fixtures/firmware-2.1.8.txt").read_text("utf-8")
    printed = [dict(line.split(" = ") for line in one.splitlines() if not line.startswith("#"))
               for one in text.split("# END RECORD\n") if "# BEGIN" in one]
    assert len(printed) == 2
    assert sorted(read(tree).records(secrets=True), key=str) == sorted(printed, key=str)


@pytest.mark.parametrize(("table", "says"), [
    pytest.param(with_target(nic=1), "target0 of ibft is to be reached through NIC 1, and the table has no such NIC", id="no such NIC"),
    pytest.param(with_target(name=""), "target0 of ibft names no target", id="no name"),
    pytest.param(dict(ONE_TARGET, nics=[dict(ONE_TARGET["nics"][0], flags=0)]),
                 "target0 of ibft is to be reached through ethernet0, which the table marks as not in use", id="NIC not in use"),
    pytest.param(with_target(name="iqn.2026-11.org.example:\x07one"), "target0 of ibft has a target-name that is no text", id="no text"),
])
def test_a_target_that_iscsiadm_leaves_out(tmp_path: Path, table: t.Mapping[str, t.Any], says: str) -> None:
    found = read(booted(tmp_path, table))
    assert says in whats(found) and found.usable == [] and found.records() == []
    assert [target.as_fact()["nic"] for target in found.targets] == [None]


def test_a_nic_that_is_gone(tmp_path: Path) -> None:
    tree = booted(tmp_path, interfaces={"ens9": MAC2})
    assert len(read(tree).usable) == 1 and read(tree).nics[0].as_fact()["interface"] is None  # iscsiadm looks only where there is a device
    (tmp_path / "sys/firmware/ibft/ethernet0/device").mkdir()
    found = read(tree)
    assert found.usable == []
    assert whats(found) == [f"target0 of ibft is to be reached through ethernet0, and no network interface of this host has its hardware address {MAC}"]


def test_an_entry_that_is_not_in_use_is_no_problem(tmp_path: Path) -> None:
    found = read(booted(tmp_path, with_target(flags=0)))
    assert whats(found) == [] and [target.usable for target in found.targets] == [False]


@pytest.mark.parametrize(("changed", "says"), [
    pytest.param({"chap": {"username": "host", "password": ""}}, "has a CHAP name and no secret for it", id="no secret"),
    pytest.param({"chap": dict(CHAP, password_in="")}, "has a reverse CHAP name and no secret for it", id="no reverse secret"),
    pytest.param({"chap": CHAP, "chap_type": 0}, "says that CHAP is not used, but has a CHAP name", id="not used"),
    pytest.param({"chap_type": 1}, "says that CHAP is used, but has no CHAP name", id="no name"),
])
def test_chap_that_does_not_fit(tmp_path: Path, changed: t.Mapping[str, t.Any], says: str) -> None:
    found = read(booted(tmp_path, with_target(**changed)))
    assert [what for what in whats(found) if says in what] and len(found.usable) == 1 and "plain-secret" not in str(found.problems)


def test_an_initiator_without_name(tmp_path: Path) -> None:
    found = read(booted(tmp_path, dict(ONE_TARGET, initiator={})))
    assert whats(found) == ["initiator of ibft has no name"] and "iface.initiatorname" not in found.records()[0]


@pytest.mark.parametrize(("raw", "number"), [
    ("00000000", 0), ("01000000", 1), ("0f000000", 15), ("010000000", 16), ("0ff000000", 255), ("410000000", 256), ("7fff000000", 16383), ("40ff000000", 255),
    ("10000000", None), ("00100000", None), ("012345678", None), ("", None), ("x", None), ("1", 1), ("01f", 31),
])
def test_lun_numbers(raw: str, number: t.Optional[int]) -> None:
    assert lun_number(raw) == number


@pytest.mark.parametrize("number", [0, 1, 9, 15, 16, 100, 255, 256, 257, 4095, 4096, 16383])
def test_lun_numbers_as_the_kernel_prints_them(tmp_path: Path, number: int) -> None:
    assert read(booted(tmp_path, with_target(lun=number))).targets[0].as_fact()["lun"] == number


@pytest.mark.parametrize(("server", "dhcp"), [("0.0.0.0", False), ("192.0.2.67", True)])
def test_a_dhcp_server_that_is_none(tmp_path: Path, server: str, dhcp: bool) -> None:
    """The firmware of some adapters names one without address where it did not ask any."""
    tree = booted(tmp_path)
    tree.write("/sys/firmware/ibft/ethernet0/dhcp", f"{server}\n")
    found = read(tree)
    assert found.nics[0].as_fact()["dhcp"] is dhcp and found.records()[0]["iface.bootproto"] == ("DHCP" if dhcp else "STATIC")


class TestInterfaces:
    def test_iscsiadm_names_none_where_the_kernel_knows_no_device(self, tmp_path: Path) -> None:
        tree = booted(tmp_path)
        assert "iface.net_ifacename" not in read(tree).records()[0]
        (tmp_path / "sys/firmware/ibft/ethernet0/device").mkdir()
        assert read(tree).records()[0]["iface.net_ifacename"] == "ens5"

    def test_the_oldest_of_several(self, tmp_path: Path) -> None:
        """A VLAN and its network interface have the same hardware address."""
        tree = booted(tmp_path, interfaces={})
        for name, number in (("ens5.12", 7), ("ens5", 2), ("abc", 9)):
            tree.attributes(f"/sys/class/net/{name}", address=MAC.upper(), type=1, ifindex=number)
        tree.attributes("/sys/class/net/ib0", address=MAC, type=32, ifindex=1)
        assert read(tree).nics[0].interface == "ens5"

    def test_the_device_counts_more(self, tmp_path: Path) -> None:
        """The two functions of an offload adapter have addresses of their own."""
        tree = booted(tmp_path)
        (tmp_path / "sys/firmware/ibft/ethernet0/device/net/ens8").mkdir(parents=True)
        assert read(tree).nics[0].interface == "ens8"


def offload(tree: Tree) -> None:
    """An adapter of QLogic whose own firmware booted from another target, and a NIC that is a part of an adapter of Broadcom."""
    tree.attributes("/sys/class/scsi_host/host7", proc_name="qla4xxx")
    for path, text in kernel_shows(with_header(build(TWO))).items():
        if path.split("/")[0] in ("initiator", "ethernet0", "target0"):
            tree.write(f"/sys/firmware/iscsi_boot7/{path}", text)
    tree.attributes("/sys/class/iscsi_host/host8", hwaddress=MAC)
    tree.attributes("/sys/class/scsi_host/host8", proc_name="bnx2i")
    tree.link("/sys/class/net/ens5/device/driver", "/sys/bus/pci/drivers/bnx2x")


def test_offload_adapters(tmp_path: Path) -> None:
    tree = booted(tmp_path)
    offload(tree)
    found = read(tree)
    assert [(nic.source, nic.transport, nic.interface) for nic in found.nics] == [("ibft", "bnx2i", "ens5"), ("iscsi_boot7", "qla4xxx", "")]
    assert [(target.source, target.usable) for target in found.targets] == [("ibft", True), ("iscsi_boot7", True)]
    assert [record["iface.transport_name"] for record in found.records()] == ["bnx2i", "qla4xxx"]


def test_a_software_session_is_no_adapter(tmp_path: Path) -> None:
    tree = booted(tmp_path)
    tree.attributes("/sys/class/iscsi_host/host8", hwaddress=MAC)
    tree.attributes("/sys/class/scsi_host/host8", proc_name="iscsi_tcp")
    assert read(tree).nics[0].transport == "tcp"


class TestTable:
    def test_no_table(self, tmp_path: Path) -> None:
        assert read(Tree(tmp_path)) == Firmware([], [], [], {}, [], [])

    def test_a_table_that_the_kernel_was_not_asked_for(self, tmp_path: Path) -> None:
        tree = Tree(tmp_path)
        tree.write("/sys/firmware/acpi/tables/iBFT", with_header(build(ONE_TARGET)))
        found = read(tree)
        assert whats(found) == ["ACPI table iBFT is there, but the kernel does not show it"] and "modprobe iscsi_ibft" in found.problems[0]["remedy"]

    @pytest.mark.parametrize(("place", "byte", "says"), [
        pytest.param(8, 2, "has revision 2", id="revision"),
        pytest.param(9, 0x55, "has a wrong checksum", id="checksum"),
        pytest.param(48, 9, "has no valid control structure", id="no control structure"),
        pytest.param(50, 19, "has no valid control structure", id="size of the control structure"),
    ])
    def test_a_table_that_the_kernel_refuses(self, tmp_path: Path, place: int, byte: int, says: str) -> None:
        tree = Tree(tmp_path)
        whole = bytearray(with_header(build(ONE_TARGET)))
        whole[place] = byte
        if place > 9:
            whole = bytearray(with_header(bytes(whole[36:])))
        assert kernel_shows(bytes(whole)) == {}
        tree.write("/sys/firmware/acpi/tables/iBFT", bytes(whole))
        found = whats(read(tree))
        assert found[0].startswith(f"ACPI table iBFT {says}") and found[-1] == "ACPI table iBFT is refused by the kernel because of that"

    def test_a_sound_table_has_no_faults(self) -> None:
        assert look_over(with_header(build(TWO))) == []

    def test_cut_off_anywhere(self, tmp_path: Path) -> None:
        """Each length, with a header that is right about it, as QEMU and boot loaders make it: words, and no text of what lies behind the table."""
        body = build(TWO)
        for length in range(len(body) - 1):  # the last byte ends the last text, which is known by its length
            whole = with_header(body[:length])
            tree = Tree(tmp_path / str(length))
            for path, text in kernel_shows(whole, b"\x8e" * 600).items():
                tree.write(f"/sys/firmware/ibft/{path}", text.encode("utf-8", "surrogateescape"))
            tree.write("/sys/firmware/acpi/tables/iBFT", whole)
            found = read(tree)
            assert any("cut off" in what or "bytes long" in what for what in whats(found)), length
            shown = json.dumps([
                found.records(secrets=True), [one.as_fact() for one in found.initiators], [one.as_fact() for one in found.nics],
                [one.as_fact() for one in found.targets]])
            assert found.damage and "udc8e" not in shown, length

    def test_text_that_is_cut_off(self) -> None:
        body = build(ONE_TARGET)
        assert [fault.what for fault in look_over(with_header(body[:-5]))] == [
            f"was cut off: the name of its first target is to end at byte {36 + len(body) - 1}, and there are {36 + len(body) - 5}"]

    def test_a_table_shorter_than_it_says(self) -> None:
        assert "was cut off: it says that it is" in look_over(with_header(build(ONE_TARGET))[:-8])[0].what

    @pytest.mark.parametrize(("place", "byte", "says"), [
        pytest.param(72, 7, "has something else where its initiator should be (kind 7 of 74 bytes, not 2 of 74)", id="kind"),
        pytest.param(74, 75, "has something else where its initiator should be (kind 2 of 75 bytes, not 2 of 74)", id="size"),
        pytest.param(56, 0, "has no initiator", id="no initiator"),
    ])
    def test_structures(self, place: int, byte: int, says: str) -> None:
        whole = bytearray(with_header(build(ONE_TARGET)))
        assert whole[56] == 72  # where the initiator is
        whole[place] = byte
        assert says in [fault.what for fault in look_over(bytes(whole))]


OPEN_FIRMWARE = ("/pci@800000020000002/pci@2,4/ethernet@1:iscsi,ciaddr=192.0.2.10,subnet-mask=255.255.255.0,giaddr=192.0.2.254,"
                 "itname=iqn.2026-11.org.example:boot,siaddr=192.0.2.1,iname=iqn.2026-11.org.example:one,iport=3261,ilun=2:3")


class TestOpenFirmware:
    def tree(self, tmp_path: Path, text: str, mac: bytes = bytes.fromhex("525400123456")) -> Tree:
        tree = booted(tmp_path)
        tree.write("/proc/device-tree/chosen/bootpath", text.encode() + b"\0")
        tree.write("/proc/device-tree/pci@800000020000002/pci@2,4/ethernet@1/local-mac-address", mac)
        return tree

    def test_what_it_says_comes_before_any_table(self, tmp_path: Path) -> None:
        found = read(self.tree(tmp_path, OPEN_FIRMWARE))
        assert whats(found) == [] and [one.name for one in found.initiators] == ["iqn.2026-11.org.example:boot"]
        assert [(nic.name, nic.mac, nic.interface, nic.address, nic.netmask, nic.gateway) for nic in found.nics] == [
            ("ethernet@1", MAC, "ens5", "192.0.2.10", "255.255.255.0", "192.0.2.254")]
        fact = found.targets[0].as_fact()
        assert (fact["source"], fact["target"], fact["portal"], fact["lun"], fact["usable"]) == ("open_firmware", ONE, "192.0.2.1:3261", 2, True)

    def test_ipv6_and_dhcp(self, tmp_path: Path) -> None:
        found = read(self.tree(tmp_path, OPEN_FIRMWARE.replace("192.0.2.10", "2001:db8::10").replace("192.0.2.1,", "2001:db8::1,").replace(
            ":iscsi,", ":ipv6,iscsi,dhcpv6,")))
        assert found.targets[0].as_fact()["portal"] == "[2001:db8::1]:3261" and found.nics[0].as_fact()["dhcp"] is True

    @pytest.mark.parametrize(("text", "mac", "says"), [
        pytest.param(OPEN_FIRMWARE.replace("iname=iqn.2026-11.org.example:one", ""), MAC, "lacks a target", id="no target"),
        pytest.param(OPEN_FIRMWARE.replace("siaddr=192.0.2.1,", ""), MAC, "lacks an address of the target", id="no address"),
        pytest.param(OPEN_FIRMWARE, "", "lacks the hardware address", id="no MAC"),
    ])
    def test_something_is_missing(self, tmp_path: Path, text: str, mac: str, says: str) -> None:
        found = read(self.tree(tmp_path, text, bytes.fromhex(mac.replace(":", ""))))
        assert says in whats(found)[0] and found.usable == []

    def test_another_boot_device_is_none_of_ours(self, tmp_path: Path) -> None:
        assert read(self.tree(tmp_path, "/vdevice/v-scsi@30000002/disk@8100000000000000")).initiators[0].source == "ibft"


def test_only_root_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = booted(tmp_path)
    monkeypatch.setattr("builtins.open", refusing)
    with pytest.raises(HostError, match="for root only.*become"):
        read(tree)


def refusing(path: str, *_args: t.Any, **_more: t.Any) -> t.Any:
    """Linux lets everybody open these files and root alone read them."""
    if "/firmware/" in path:
        raise PermissionError(13, "Permission denied", path)
    return os.fdopen(os.open(path, os.O_RDONLY), "rb")
