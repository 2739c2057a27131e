# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Discovery that iscsid does by itself (section 7.4 of open-iscsi's README), set up by iscsi_discovery: it logs in to what appears, and out of what goes."""

from __future__ import annotations

import typing as t

import pytest

if t.TYPE_CHECKING:
    from conftest import Reset, RunModule, Shell

STAYS = "iqn.2026-11.org.example:stays"
GOES = "iqn.2026-11.org.example:goes"
COMES = "iqn.2026-11.org.example:comes"
ISNS_SERVER = """
    printf '%s\\n' 'SourceName = iqn.2026-11.org.example:isns-server' 'Database = /run/isnsdb' 'BindAddress = 192.168.56.101:3205' 'SLPRegister = 0' \\
        'PIDFile = /run/isnsd.pid' 'ClientKeyStore = DB:' 'ESIRetries = 0' 'RegistrationPeriod = 0' 'DefaultDiscoveryDomain = 1' 'Security = 0' \\
        'SCNTimeout = 5' 'ControlSocket = /run/isnsctl' > /run/isnsd.conf
    printf '%s\\n' 'SourceName = iqn.2026-11.org.example:isns-client' 'ServerAddress = 192.168.56.101:3205' 'Security = 0' \\
        'ControlSocket = /run/isnsctl' > /run/isnsadm.conf
    systemctl stop isnsd.service isnsd.socket open-isns.service 2>/dev/null || true
    systemd-run --quiet --unit lunar-isnsd isnsd -f -c /run/isnsd.conf"""


@pytest.fixture
def hosts(reset: Reset, shell: Shell) -> None:
    """A target in user space that offers two targets, and an initiator that knows nothing."""
    reset()
    shell("target", """set -e
        DEBIAN_FRONTEND=noninteractive apt-get install -qy tgt open-isns-server open-isns-utils >/dev/null
        systemctl start tgt""")
    for number, name in enumerate((STAYS, GOES), 1):
        offer(shell, number, name)
    shell("initiator", "DEBIAN_FRONTEND=noninteractive apt-get install -qy open-iscsi >/dev/null")


def offer(shell: Shell, number: int, name: str) -> None:
    shell("target", f"""set -e
        tgtadm --lld iscsi --op new --mode target --tid {number} -T {name}
        tgtadm --lld iscsi --op bind --mode target --tid {number} -I ALL""")


def register(shell: Shell, *names: str) -> None:
    """Have the iSNS server know these targets."""
    words = " ".join(f"target={name} portal=192.168.56.101:3260 pg,pgt=1" for name in names)
    shell("target", f"isnsadm -c /run/isnsadm.conf --register entity=array {words}")


def wait_for_sessions(shell: Shell, *names: str) -> None:
    """Until there is a session with each of these targets and with no other, as the kernel has it."""
    wanted = "".join(f"{name}\n" for name in sorted(names))
    shell("initiator", f"""for second in $(seq 120); do
        test "$(cat /sys/class/iscsi_session/session*/targetname 2>/dev/null | sort)" = "{wanted.rstrip()}" && exit 0; sleep 1; done
        iscsiadm -m session; journalctl --no-pager --unit iscsid | tail -20; exit 1""")


def test_what_appears_is_logged_in_and_what_goes_is_logged_out(hosts: None, run_module: RunModule, shell: Shell) -> None:
    settings: t.Dict[str, t.Any] = {"discovery.sendtargets.use_discoveryd": True, "discovery.sendtargets.discoveryd_poll_inval": 5}
    options: t.Dict[str, t.Any] = {"portals": ["192.168.56.101"], "discovery_settings": settings}
    assert run_module("iscsi_discovery", **options)["changed"]
    shown = shell("initiator", "iscsiadm -m discoverydb -t st -p 192.168.56.101 -o show")
    assert "discovery.sendtargets.use_discoveryd = Yes\n" in shown and "discovery.sendtargets.discoveryd_poll_inval = 5\n" in shown
    shell("initiator", "systemctl restart iscsid")
    wait_for_sessions(shell, STAYS, GOES)
    assert not run_module("iscsi_discovery", **options)["changed"]
    offer(shell, 3, COMES)
    wait_for_sessions(shell, STAYS, GOES, COMES)
    # a target that lets this host in no more is not announced to it either; the session that is up stays up until iscsid ends it
    shell("target", "tgtadm --lld iscsi --op unbind --mode target --tid 2 -I ALL")
    wait_for_sessions(shell, STAYS, COMES)
    # iscsid logs in and records nothing; a task that asks does
    again = run_module("iscsi_discovery", **options)
    assert [node["target"] for node in again["added"]] == [COMES] and not again["pruned"]
    assert not run_module("iscsi_discovery", **options)["changed"]
    wait_for_sessions(shell, STAYS, COMES)


def test_an_isns_server_tells_of_what_appears(hosts: None, run_module: RunModule, shell: Shell) -> None:
    shell("target", f"set -e{ISNS_SERVER}\n    for n in $(seq 30); do ss -Htln 'sport = :3205' | grep -q . && exit 0; sleep 1; done; exit 1")
    register(shell, STAYS)
    # without an interval iscsid asks once, and then whenever the server tells of a change
    options: t.Dict[str, t.Any] = {"type": "isns", "portals": ["192.168.56.101"], "discovery_settings": {"discovery.isns.use_discoveryd": True}}
    result = run_module("iscsi_discovery", **options)
    assert result["changed"] and result["targets"] == {STAYS: ["192.168.56.101:3260,1"]}
    # iscsid registers under the name of its first address, which it writes as an IPv6 one, and not at all where no name server answers, as here
    shell("initiator", """ip -4 -o address show scope global | awk '{ sub("/.*", "", $4); print "::" $4, "initiator" }' >> /etc/hosts
        systemctl restart iscsid""")
    wait_for_sessions(shell, STAYS)
    offer(shell, 3, COMES)
    register(shell, STAYS, COMES)
    wait_for_sessions(shell, STAYS, COMES)
    shell("target", f"isnsadm -c /run/isnsadm.conf --local --deregister iscsi-name={COMES}")
    wait_for_sessions(shell, STAYS)
    assert not run_module("iscsi_discovery", **options)["changed"]
