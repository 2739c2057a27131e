# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook failover_drill's hands, on an interface in a network namespace of its own. What needs systemd and paths is tried in the lab."""

from __future__ import annotations

import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "playbooks" / "files" / "failover_drill.sh"
#: a link with addresses of both families, routes over gateways, and a bridge over another link
SETTING = """
set -e
mount -t sysfs none /sys
ip link set lo up
for pair in "san1 peer1" "port1 peer2"; do
    ip link add "${pair% *}" type veth peer name "${pair#* }"
    ip link set "${pair% *}" up
    ip link set "${pair#* }" up
done
ip link add br0 type bridge
ip link set port1 master br0
ip link set br0 up
ip address add 10.5.0.10/24 dev br0
ip address add 192.168.56.10/24 dev san1
ip address add fd00:56::10/64 dev san1 nodad
ip route add 10.9.0.0/16 via 192.168.56.1 mtu 1400
ip route add default via 192.168.56.1 src 192.168.56.10
ip -6 route add fd00:9::/64 via fd00:56::1
ip -6 route add default via fd00:56::1 metric 50
hands() { sh "$SCRIPT" "$@" 2>> "$FOLDER/errors"; }
show() {
    ip -oneline address show dev san1 scope global | sed 's/valid_lft.*//'
    ip -4 route show dev san1
    ip -6 route show dev san1 | grep -v ^fe80
}
"""

Inside = t.Callable[[str], t.List[str]]


@pytest.fixture
def inside(tmp_path: Path) -> Inside:
    """Runs a script in the setting above; its output, line by line."""
    script = shutil.copy(SCRIPT, tmp_path)

    def run(lines: str) -> t.List[str]:
        done = subprocess.run(["unshare", "--net", "--mount", "sh", "-c", f"SCRIPT={script}\nFOLDER={tmp_path}\n{SETTING}\n{lines}"],
                              capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    return run


def test_addresses_and_routes_come_back_with_the_link(inside: Inside, tmp_path: Path) -> None:
    inside("""
        show > "$FOLDER/before"
        hands hold 0 interface san1
        show > "$FOLDER/cut" || :
        hands restore interface san1
        show > "$FOLDER/restored"
        hands restore interface san1
        show > "$FOLDER/restored_twice"
    """)
    before, cut, restored, twice = ((tmp_path / name).read_text("utf-8").splitlines() for name in ("before", "cut", "restored", "restored_twice"))
    assert len(before) == 8 and "fd00:56::10/64" in before[1]
    assert [line for line in before if line not in cut], "nothing was cut"
    assert not [line for line in cut if "via" in line or "fd00" in line]
    assert sorted(restored) == sorted(twice) == sorted(before)


def test_restore_does_nothing_where_nothing_is_cut(inside: Inside, tmp_path: Path) -> None:
    inside("""show > "$FOLDER/before"; hands restore interface san1; show > "$FOLDER/after" """)
    assert (tmp_path / "before").read_text("utf-8") == (tmp_path / "after").read_text("utf-8") != ""
    assert (tmp_path / "errors").read_text("utf-8") == ""


@pytest.mark.parametrize(("command", "wanted"), [
    pytest.param("netdev 192.168.56.101", ["san1"], id="IPv4"),
    pytest.param("netdev fd00:56::101 fd00:56::10", ["san1"], id="IPv6, from an address"),
    pytest.param("netdev 10.5.0.1", ["br0"], id="a bridge"),
    pytest.param("carriers 192.168.56.1 192.168.56.10", ["san1"], id="a connection over a link"),
    pytest.param("carriers 10.5.0.1 10.5.0.10", ["br0", "port1"], id="over a bridge, which stands on its port"),
    pytest.param("carriers 10.5.0.1 192.168.56.10", ["br0", "port1", "san1"], id="in over one, out over another"),
    pytest.param("check interface san1", [], id="may be cut"),
])
def test_interfaces(command: str, wanted: t.Sequence[str], inside: Inside) -> None:
    assert inside(f"hands {command}") == wanted


@pytest.mark.parametrize(("command", "said"), [
    pytest.param("check interface port1", "br0 stands on port1", id="under a bridge"),
    pytest.param("check interface eth9", "there is no interface eth9", id="unknown interface"),
    pytest.param("check portal iqn.2026-11.org.example:array1 1", "LIO here has no portal group 1", id="no such portal group"),
    pytest.param("check load /etc/hostname 30", "/etc/hostname is there already", id="a file that is there"),
    pytest.param("explode", "knows no explode", id="no such word"),
])
def test_refusals(command: str, said: str, inside: Inside, tmp_path: Path) -> None:
    inside(f"ln -s /bin/true $FOLDER/fio; PATH=$FOLDER:$PATH; ! hands {command}")
    assert said in (tmp_path / "errors").read_text("utf-8")
