# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that booted from iSCSI beside the real iscsiadm: the same table, and the same records.

The kernel's view of a table (/sys/firmware/ibft) is put in place by hand, in a mount namespace; everything else is as on a host.
"""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.ibft_tree import build, kernel_shows, with_header

if t.TYPE_CHECKING:
    from conftest import Host

ONE, TWO = "iqn.2026-11.org.example:one", "iqn.2026-11.org.example:two"
INITIATOR = "iqn.2026-11.org.example:boot"
MACS = ("52:54:00:12:34:56", "52:54:00:12:34:57")
CHAP = {"username": "host", "password": "plain-secret-1", "username_in": "array", "password_in": "plain-secret-2"}
Table = t.Mapping[str, t.Any]


def table(*targets: t.Mapping[str, t.Any], nics: t.Sequence[t.Mapping[str, t.Any]] = ({"address": "192.0.2.10", "prefix": 24}, {})) -> Table:
    return {"initiator": {"name": INITIATOR}, "nics": [dict(nic, mac=mac) for nic, mac in zip(nics, MACS)], "targets": targets}


ONE_TARGET = table({"name": ONE, "address": "192.0.2.1", "lun": 1}, nics=[{"address": "192.0.2.10", "prefix": 24, "gateway": "192.0.2.254"}])
TABLES: t.Mapping[str, Table] = {
    "one target": ONE_TARGET,
    "two targets on two NICs": table({"name": ONE, "address": "192.0.2.1"}, {"name": TWO, "address": "198.51.100.1", "port": 860, "flags": 1}),
    "IPv6, DHCP and a VLAN": table({"name": ONE, "address": "2001:db8::1", "lun": 300}, nics=[
        {"address": "2001:db8::10", "prefix": 64, "origin": 3, "dhcp_server": "2001:db8::5", "dns": ["2001:db8::53"], "vlan": 12}]),
    "CHAP both ways": table({"name": ONE, "address": "192.0.2.1", "chap": CHAP}),
    "a NIC that is not in use": table({"name": ONE, "address": "192.0.2.1"}, {"name": TWO, "address": "192.0.2.2"}, nics=[{}, {"flags": 0}]),
    "a target that is not in use": table({"name": ONE, "address": "192.0.2.1", "flags": 0}, {"name": TWO, "address": "192.0.2.2", "nic": 0}),
    "a NIC that is not there": table({"name": ONE, "address": "192.0.2.1", "nic": 7}, {"name": TWO, "address": "192.0.2.2"}),
    "no name of the initiator": dict(ONE_TARGET, initiator={}),
}


@pytest.fixture
def booted(host: Host, tmp_path: Path) -> t.Iterator[t.Callable[[Table], Path]]:
    """Let the host have booted with a table."""
    host.run("mount", "-t", "tmpfs", "none", "/sys/firmware")

    def boot(with_table: Table) -> Path:
        folder = tmp_path / "firmware"
        whole = with_header(build(with_table))
        host.run("sh", "-c", "rm -rf /sys/firmware/ibft /sys/firmware/acpi")
        for path, text in kernel_shows(whole).items():
            (folder / "ibft" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "ibft" / path).write_text(text)
        for number, _nic in enumerate(with_table["nics"]):
            (folder / f"ibft/ethernet{number}/device/net/ens{number + 5}").mkdir(parents=True, exist_ok=True)
        (folder / "acpi/tables").mkdir(parents=True, exist_ok=True)
        (folder / "acpi/tables/iBFT").write_bytes(whole)
        host.run("cp", "-r", f"{folder}/.", "/sys/firmware")
        host.run("rm", "-r", str(folder))
        return folder

    yield boot
    host.run("umount", "/sys/firmware")


def printed(host: Host) -> t.List[t.Dict[str, str]]:
    """What ``iscsiadm -m fw`` prints, in any order: that of the folder. A length of a prefix that is not there is -1 to it."""
    done = host.iscsiadm("-m", "fw", check=False)
    blocks = done.stdout.split("# END RECORD\n")[:-1]
    return [{key: value for key, value in (line.split(" = ", 1) for line in block.splitlines() if " = " in line)
             if (key, value) != ("iface.prefix_len", "-1")} for block in blocks]


def same(theirs: t.List[t.Dict[str, str]], ours: t.List[t.Dict[str, str]]) -> bool:
    return sorted(theirs, key=str) == sorted(ours, key=str)


@pytest.mark.parametrize("case", sorted(TABLES))
def test_the_table_is_that_of_iscsiadm(host: Host, booted: t.Callable[[Table], Path], case: str) -> None:
    booted(TABLES[case])
    theirs = printed(host)
    assert theirs
    found = host.module("iscsi_firmware_info", secrets=True, _ansible_no_log=True)
    assert same([{key: theirs[place][key] for key in sorted(theirs[place])} for place in range(len(theirs))],
                [{key: record[key] for key in sorted(record)} for record in found["records"]])
    shown = host.module("iscsi_firmware_info")
    assert "plain-secret" not in json.dumps(shown) and len(shown["records"]) == len(theirs) == sum(target["usable"] for target in shown["targets"])


def test_secrets_need_no_log(host: Host, booted: t.Callable[[Table], Path]) -> None:
    booted(TABLES["CHAP both ways"])
    refused = host.module("iscsi_firmware_info", secrets=True)
    assert refused["failed"] and "no_log" in refused["msg"] and "plain-secret" not in json.dumps(refused)


def as_we_say(text: str) -> str:
    """A record of iscsiadm as it is here: secrets are said to be used, addresses are short."""
    if "node.session.auth.password = " in text:
        text = text.replace("authmethod = None", "authmethod = CHAP")
    return text.replace("2001:0db8:0000:0000:0000:0000:0000:0001", "2001:db8::1")


@pytest.mark.parametrize("case", ["one target", "two targets on two NICs", "IPv6, DHCP and a VLAN", "CHAP both ways", "a NIC that is not in use",
                                  "no name of the initiator"])
@pytest.mark.parametrize("iface", ["", "san0"])
def test_the_records_are_those_of_iscsiadm(host: Host, booted: t.Callable[[Table], Path], case: str, iface: str) -> None:
    booted(TABLES[case])
    if iface:
        host.iscsiadm("-m", "iface", "-I", iface, "-o", "new")
    for _time in range(2):  # 2.1.8 says onboot only where it makes a record anew
        host.iscsiadm("-m", "discovery", "-t", "fw")
    theirs = {as_we_say(path): as_we_say(text) for path, text in host.files().items()}
    assert any(path.startswith("fw/") for path in theirs)
    host.clear()
    if iface:
        host.iscsiadm("-m", "iface", "-I", iface, "-o", "new")
    before = host.files()
    predicted = host.module("iscsi_discovery", type="firmware", _ansible_check_mode=True, _ansible_diff=True)
    assert host.files() == before and predicted["changed"]
    done = host.module("iscsi_discovery", type="firmware", _ansible_diff=True)
    assert done.get("changed") and (done["steps"], done["diff"]) == (predicted["steps"], predicted["diff"]), done
    assert "plain-secret" not in json.dumps(done)
    assert host.files() == theirs
    assert host.modes() <= {"d700", "f600"}
    again = host.module("iscsi_discovery", type="firmware")
    assert not again["changed"] and again["steps"] == [] and len(again["kept"]) == len(done["added"])


def test_iscsiadm_goes_on_with_what_we_wrote(host: Host, booted: t.Callable[[Table], Path]) -> None:
    booted(TABLES["two targets on two NICs"])
    done = host.module("iscsi_discovery", type="firmware", bind_nics=True)
    recorded = host.module("iscsi_node", nodes=done["nodes"])
    assert not recorded["changed"] and recorded["steps"] == [], recorded
    listed = sorted(host.iscsiadm("-m", "node").stdout.splitlines())
    assert listed == [f"192.0.2.1:3260,1 {ONE}", f"198.51.100.1:860,1 {TWO}"]
    assert sorted(line.split()[0] for line in host.iscsiadm("-m", "iface").stdout.splitlines() if MACS[0][:5] in line) == [
        f"tcp.{mac}.ipv4.0" for mac in MACS]
    shown = host.iscsiadm("-m", "node", "-T", TWO, "-o", "show").stdout
    assert f"iface.hwaddress = {MACS[1]}\n" in shown and f"iface.initiatorname = {INITIATOR}\n" in shown and "node.startup = onboot\n" in shown
    assert "FIRMWARE:\nTarget: " in host.iscsiadm("-m", "discovery", "-P", "1").stdout
    kept = host.module("iscsi_node", nodes=[{"target": ONE}], settings={"node.session.timeo.replacement_timeout": 77})
    assert kept["changed"] and not host.module("iscsi_discovery", type="firmware", bind_nics=True)["changed"]
    assert "replacement_timeout = 77" in host.iscsiadm("-m", "node", "-T", ONE, "-o", "show").stdout
    booted(ONE_TARGET)
    pruned = host.module("iscsi_discovery", type="firmware", bind_nics=True, prune=True)
    assert [entry["target"] for entry in pruned["pruned"]] == [TWO]
    gone = host.module("iscsi_discovery", type="firmware", state="absent")
    assert [entry["target"] for entry in gone["pruned"]] == [ONE]
    assert host.iscsiadm("-m", "node", check=False).returncode == 21 and not [path for path in host.files() if path.startswith(("nodes", "fw"))]


def test_what_iscsiadm_wrote_is_known(host: Host, booted: t.Callable[[Table], Path]) -> None:
    booted(TABLES["two targets on two NICs"])
    host.iscsiadm("-m", "discovery", "-t", "fw")
    host.iscsiadm("-m", "node", "-T", ONE, "-o", "update", "-n", "node.startup", "-v", "automatic")
    before = host.files()
    done = host.module("iscsi_discovery", type="firmware")
    assert not done["changed"] and len(done["kept"]) == 2 and host.files() == before


@pytest.mark.parametrize("length", [0, 40, 150, 250, -4])
def test_a_table_that_was_cut_off_changes_nothing(host: Host, booted: t.Callable[[Table], Path], tmp_path: Path, length: int) -> None:
    booted(ONE_TARGET)
    cut = tmp_path / "cut"
    cut.write_bytes(with_header(build(ONE_TARGET)[:length]))
    host.run("cp", str(cut), "/sys/firmware/acpi/tables/iBFT")
    failed = host.module("iscsi_discovery", type="firmware")
    assert failed["failed"] and ("cut off" in failed["msg"] or "bytes long" in failed["msg"]) and host.files() == {}
    assert host.module("iscsi_firmware_info")["problems"]


def test_a_host_that_booted_by_other_means(host: Host, booted: t.Callable[[Table], Path]) -> None:
    assert host.iscsiadm("-m", "fw", check=False).returncode == 21
    assert host.module("iscsi_firmware_info")["records"] == []
    failed = host.module("iscsi_discovery", type="firmware")
    assert failed["failed"] and "names no target" in failed["msg"] and host.files() == {}


addresses = st.ip_addresses().filter(lambda found: not found.is_unspecified and not (found.version == 6 and found.ipv4_mapped)).map(str)
words = st.text("abcdefghijklmnopqrstuvwxyz0123456789.-_=+", min_size=1, max_size=60)
nics = st.fixed_dictionaries({}, optional={
    "address": addresses, "prefix": st.integers(1, 128), "gateway": addresses, "dns": st.lists(addresses, max_size=2), "dhcp_server": addresses,
    "vlan": st.integers(0, 4094), "origin": st.sampled_from([0, 1, 2, 3, 4, 16]), "hostname": words, "flags": st.integers(0, 3)})
chaps = st.fixed_dictionaries({"username": words, "password": words}, optional={"username_in": words, "password_in": words})
targets = st.fixed_dictionaries({"name": words.map("iqn.2026-11.org.example:{}".format), "address": addresses}, optional={
    "port": st.integers(1, 65535), "lun": st.integers(0, 16383), "nic": st.integers(0, 2), "chap": chaps, "flags": st.integers(0, 3)})


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(nics, min_size=1, max_size=2), st.lists(targets, min_size=1, max_size=2))
def test_random_tables_are_those_of_iscsiadm(host: Host, booted: t.Callable[[Table], Path], some: t.List[t.Any], those: t.List[t.Any]) -> None:
    booted(table(*those, nics=some))
    found = host.module("iscsi_firmware_info", secrets=True, _ansible_no_log=True)
    assert same([dict(sorted(record.items())) for record in printed(host)], [dict(sorted(record.items())) for record in found["records"]])


def test_nobody_else_is_told_the_secrets(host: Host, booted: t.Callable[[Table], Path]) -> None:
    """They stand in files that only root may read."""
    booted(TABLES["CHAP both ways"])
    host.module("iscsi_discovery", type="firmware")
    holding = [path for path in host.etc.rglob("*") if path.is_file() and not path.is_symlink() and "plain-secret" in path.read_text()]
    assert holding and {path.stat().st_mode & 0o777 for path in holding} == {0o600}
