# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables that guests of the lab boot with: what was put in is what a second reader finds."""

from __future__ import annotations

import ipaddress
import json
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.ibft_tree import ONE_TARGET, build, kernel_shows, with_header

LAB = Path(__file__).resolve().parents[3] / "lab"

names = st.text("abcdefgh0123.:-", min_size=1, max_size=200)
words = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x17F, exclude_categories=["Cc", "Cs", "Zs"]), min_size=1, max_size=60)
addresses = st.ip_addresses().filter(lambda found: not found.is_unspecified and not (found.version == 6 and found.ipv4_mapped)).map(str)
macs = st.binary(min_size=6, max_size=6).map(lambda raw: ":".join(f"{byte:02x}" for byte in raw))
nics = st.fixed_dictionaries({"mac": macs}, optional={
    "address": addresses, "prefix": st.integers(1, 128), "gateway": addresses, "dns": st.lists(addresses, max_size=2), "dhcp_server": addresses,
    "vlan": st.integers(0, 4094), "origin": st.sampled_from([0, 1, 2, 3, 4, 16]), "hostname": words, "flags": st.integers(0, 7)})
chaps = st.fixed_dictionaries({"username": words, "password": words}) | st.fixed_dictionaries(
    {"username": words, "password": words, "username_in": words, "password_in": words})
targets = st.fixed_dictionaries({"name": names, "address": addresses}, optional={
    "port": st.integers(1, 65535), "lun": st.integers(0, 16383), "nic": st.integers(0, 1), "chap": chaps, "flags": st.integers(0, 7)})
tables = st.fixed_dictionaries({
    "initiator": st.fixed_dictionaries({"name": names}, optional={"isns_server": addresses, "slp_server": addresses, "flags": st.integers(0, 3)}),
    "nics": st.lists(nics, max_size=2), "targets": st.lists(targets, max_size=2)})


def same(shown: t.Optional[str], text: t.Optional[str]) -> bool:
    """Whether a file says that address; a file that is missing says none."""
    return (shown is None) is (not text) and (not text or ipaddress.ip_address((shown or "").strip()) == ipaddress.ip_address(text))


@given(tables)
def test_what_was_put_in_is_what_the_kernel_shows(table: t.Dict[str, t.Any]) -> None:
    shown = kernel_shows(with_header(build(table)))
    assert {path.split("/")[0] for path in shown} == {
        "acpi_header", "initiator", *(f"ethernet{number}" for number in range(len(table["nics"]))),
        *(f"target{number}" for number in range(len(table["targets"])))}
    initiator = table["initiator"]
    assert shown["initiator/initiator-name"] == initiator["name"] + "\n"
    assert same(shown.get("initiator/isns-server"), initiator.get("isns_server")) and same(shown.get("initiator/slp-server"), initiator.get("slp_server"))
    for number, nic in enumerate(table["nics"]):
        there = {path.split("/")[1]: text for path, text in shown.items() if path.startswith(f"ethernet{number}/")}
        dns = [*nic.get("dns", ()), None, None]
        assert there["mac"] == nic["mac"] + "\n" and there["vlan"] == f"{nic.get('vlan', 0)}\n" and there["origin"] == f"{nic.get('origin', 1)}\n"
        assert there.get("prefix-len", "0\n") == f"{nic.get('prefix', 0)}\n" and there["flags"] == f"{nic.get('flags', 3)}\n"
        assert there.get("hostname", "\n") == nic.get("hostname", "") + "\n"
        for name, given_one in (("ip-addr", nic.get("address")), ("gateway", nic.get("gateway")), ("primary-dns", dns[0]), ("secondary-dns", dns[1]),
                                ("dhcp", nic.get("dhcp_server"))):
            assert same(there.get(name), given_one)
    for number, target in enumerate(table["targets"]):
        there = {path.split("/")[1]: text for path, text in shown.items() if path.startswith(f"target{number}/")}
        chap = target.get("chap", {})
        assert there["target-name"] == target["name"] + "\n" and same(there["ip-addr"], target["address"]) and there["port"] == f"{target.get('port', 3260)}\n"
        assert there["nic-assoc"] == f"{target.get('nic', number)}\n" and there["flags"] == f"{target.get('flags', 3)}\n"
        assert there["chap-type"] == f"{2 if 'username_in' in chap else 1 if chap else 0}\n"
        for name, word in (("chap-name", "username"), ("chap-secret", "password"), ("rev-chap-name", "username_in"), ("rev-chap-name-secret", "password_in")):
            assert there.get(name) == (chap[word] + "\n" if word in chap else None)


@given(tables)
def test_a_table_is_sound(table: t.Dict[str, t.Any]) -> None:
    body = build(table)
    whole = with_header(body)
    assert sum(whole) % 256 == 0 and whole[:4] == b"iBFT" and int.from_bytes(whole[4:8], "little") == len(whole) == 36 + len(body)


@pytest.mark.parametrize(("number", "raw"), [(0, "0000"), (1, "0001"), (255, "00ff"), (256, "4100"), (16383, "7fff")])
def test_luns(number: int, raw: str) -> None:
    table = dict(ONE_TARGET, targets=[dict(ONE_TARGET["targets"][0], lun=number)])
    wanted = "".join(f"{byte:x}" for byte in bytes.fromhex(raw.ljust(16, "0")))
    assert kernel_shows(with_header(build(table)))["target0/lun"] == wanted + "\n"


@pytest.mark.parametrize("wrong", [
    pytest.param({"nics": ONE_TARGET["nics"] * 3}, id="three NICs"),
    pytest.param({"targets": ONE_TARGET["targets"] * 3}, id="three targets"),
    pytest.param({"targets": [{"name": "iqn", "address": "192.0.2.1", "lun": 16384}]}, id="a LUN too high"),
    pytest.param({"targets": [{"name": "iqn", "address": "array", "lun": 1}]}, id="no address"),
    pytest.param({"initiator": {"name": "x" * 65500}}, id="a name too long"),
])
def test_what_a_table_cannot_hold_is_refused(wrong: t.Dict[str, t.Any]) -> None:
    with pytest.raises(ValueError):
        build(dict(ONE_TARGET, **wrong))


def test_the_command_writes_what_qemu_takes(tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text(json.dumps(ONE_TARGET))
    subprocess.run([sys.executable, str(LAB / "ibft.py"), str(tmp_path / "table.json"), str(tmp_path / "out")], check=True)
    assert (tmp_path / "out").read_bytes() == build(ONE_TARGET)
    assert subprocess.run([sys.executable, str(LAB / "ibft.py")], capture_output=True, check=False).returncode == 2
