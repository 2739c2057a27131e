# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the initramfs is told, read back by a shell and by dracut's own functions' rules; and what neither tool can do."""

from __future__ import annotations

import subprocess
import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.lunar.iscsi.plugins.filter.boot_initramfs import FilterModule, boot_initramfs

ONE, TWO = "iqn.2026-11.org.example:one", "iqn.2026-11.org.example:two"
HOST = "iqn.2026-11.org.example:host"
NODES = [{"target": ONE, "portals": ["192.0.2.1:3260,7"], "ifaces": ["default"]}]
NIC = {"interface": "ens17", "mac": "52:54:00:00:00:01", "drivers": ["virtio_net"], "address": "192.0.2.10", "prefix": 24, "netmask": "255.255.255.0",
       "gateway": None}
CHAP = {"username": "me", "password": "plain-secret-1", "username_in": "array", "password_in": "plain-secret-2"}


def tools(nodes: t.Any = None, **more: t.Any) -> t.Dict[str, t.Any]:
    return boot_initramfs(NODES if nodes is None else nodes, **{"generator": "initramfs-tools", "nics": [NIC], "initiator_name": HOST, **more})


def dracut(nodes: t.Any = None, **more: t.Any) -> t.List[str]:
    made = boot_initramfs(NODES if nodes is None else nodes, **{"generator": "dracut", "nics": [NIC], "initiator_name": HOST, **more})
    assert (made["target_file"], made["conf_file"]) == ("", "")
    return t.cast(t.List[str], made["words"])


def test_initramfs_tools() -> None:
    assert tools() == {
        "target_file": f"ISCSI_INITIATOR={HOST}\nISCSI_TARGET_NAME={ONE}\nISCSI_TARGET_IP=192.0.2.1\nISCSI_TARGET_PORT=3260\nISCSI_TARGET_GROUP=7\n",
        "conf_file": "IP=192.0.2.10:::255.255.255.0::ens17:off\n", "words": [], "secret": False}


def test_firmware_knows_the_rest() -> None:
    assert tools([], firmware=True, nics=[], auth=CHAP) == {"target_file": "ISCSI_AUTO=true\n", "conf_file": "", "words": [], "secret": False}
    assert dracut([], firmware=True, nics=[]) == ["rd.iscsi.ibft=1", "rd.iscsi.firmware=1", "rd.neednet=1"]
    assert dracut([], firmware=True) == ["rd.iscsi.firmware=1", "rd.neednet=1", "ip=192.0.2.10:::255.255.255.0::ens17:none"]


def test_secrets_close_the_initramfs() -> None:
    made = tools(auth=CHAP)
    assert made["secret"] and made["conf_file"].endswith("UMASK=0077\n")
    assert not tools(auth={"method": "None", **CHAP})["secret"]


@settings(max_examples=30, deadline=None)
@given(secret=st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=20))
def test_a_shell_reads_back_what_was_meant(secret: str) -> None:
    text = tools(auth={**CHAP, "password": secret})["target_file"]
    said = subprocess.run(["sh", "-c", f'{text}\nprintf "%s" "$ISCSI_PASSWORD|$ISCSI_TARGET_NAME"'], capture_output=True, check=True).stdout.decode()
    assert said == f"{secret}|{ONE}"


def test_dracut() -> None:
    made = dracut([*NODES, {"target": TWO, "portals": ["[2001:db8::1]:860,1"]}], auth=CHAP, lun=3, settings={"node.session.timeo.replacement_timeout": 86400},
                  more=["rd.luks=0"])
    assert made == [
        "rd.neednet=1", "ip=192.0.2.10:::255.255.255.0::ens17:none", f"rd.iscsi.initiator={HOST}", "rd.iscsi.username=me", "rd.iscsi.password=plain-secret-1",
        "rd.iscsi.in.username=array", "rd.iscsi.in.password=plain-secret-2", "rd.iscsi.param=node.session.timeo.replacement_timeout=86400",
        f"netroot=iscsi:192.0.2.1::3260:3:{ONE}", f"netroot=iscsi:[2001:db8::1]::860:3:{TWO}", "rd.luks=0"]


@pytest.mark.parametrize("nic, debian, fedora", [
    ({**NIC, "gateway": "192.0.2.254"}, "192.0.2.10::192.0.2.254:255.255.255.0::ens17:off", "192.0.2.10::192.0.2.254:255.255.255.0::ens17:none"),
    ({"interface": "eth0", "address": "dhcp"}, ":::::eth0:dhcp", "eth0:dhcp"),
    ({"interface": "eth0", "address": "192.0.2.10", "prefix": 25}, "192.0.2.10:::255.255.255.128::eth0:off", "192.0.2.10:::255.255.255.128::eth0:none"),
    ({"interface": "eth0", "address": "2001:db8::10", "prefix": 64, "gateway": "2001:db8::1"}, None, "[2001:db8::10]::[2001:db8::1]:64::eth0:none"),
])
def test_networks(nic: t.Any, debian: t.Optional[str], fedora: str) -> None:
    assert f"ip={fedora}" in dracut(nics=[nic])
    if debian:
        assert tools(nics=[nic])["conf_file"] == f"IP={debian}\n"
    else:
        with pytest.raises(AnsibleFilterError, match="sets up no IPv6 address"):
            tools(nics=[nic])


@pytest.mark.parametrize("call, words", [
    (lambda: tools([]), "There is nothing to log in to"), (lambda: tools(nics=[]), "No network interface is given or found"),
    (lambda: tools([*NODES, {"target": TWO, "portals": ["192.0.2.1"]}]), f"logs in to one target alone, and these are {ONE}, {TWO}"),
    (lambda: tools(nics=[{"interface": "eth0"}]), "its address is not known"), (lambda: tools(nics=[{"address": "dhcp"}]), "its name is not known"),
    (lambda: tools(nics=[{"interface": "eth0", "address": "192.0.2.999", "prefix": 24}]), "none that can be set"),
    (lambda: tools(nics=[{"interface": "eth0", "address": "192.0.2.9"}]), "none that can be set"),
    (lambda: tools([{"target": ONE, "portals": ["a b"]}]), "no address:port,tpgt"), (lambda: tools(generator="booster"), "generator is 'booster'"),
    (lambda: tools(more=["x"]), "Put the words for it into your boot loader"), (lambda: dracut(more=["a b"]), "has white space"),
])
def test_refused_in_words(call: t.Callable[[], t.Any], words: str) -> None:
    with pytest.raises(AnsibleFilterError, match=words):
        call()


def test_a_secret_that_cannot_be_said_is_not_shown() -> None:
    with pytest.raises(AnsibleFilterError, match=r"rd\.iscsi\.password=\*{8}") as caught:
        dracut(auth={**CHAP, "password": 'plain "secret'})
    assert "plain" not in str(caught.value)


def test_the_filter_has_its_name() -> None:
    assert FilterModule().filters() == {"boot_initramfs": boot_initramfs}
