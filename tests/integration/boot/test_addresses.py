# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel says of its addresses beside iproute2, in a network namespace of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t

import pytest

SETUP = """set -e
ip link set lo up
ip link add one type veth peer name two
ip address add 192.0.2.10/24 dev one
ip address add 192.0.2.11/25 dev one
ip address add 2001:db8::10/64 dev one nodad
ip address add 198.51.100.1 peer 198.51.100.2/32 dev two
ip link set one up; ip link set two up
ip route add default via 192.0.2.254 dev one
ip route add 203.0.113.0/24 via 192.0.2.253 dev one
ip route add default via 192.0.2.77 dev one table 7
ip -6 route add default via 2001:db8::1 dev one
"""
LOOK = """
import json
from ansible_collections.lunar.iscsi.plugins.module_utils._host.addresses import interface_name, read_addresses, read_gateways
print(json.dumps([[[interface_name(one.number), one.address, one.prefix] for one in read_addresses()],
                  [[interface_name(one.number), one.gateway] for one in read_gateways()]]))
"""


@pytest.fixture(scope="module")
def seen() -> t.Any:
    """What we say, and what ``ip`` says."""
    if os.geteuid() != 0:
        pytest.fail("needs root")
    script = f"{SETUP}\n{sys.executable} -c '{LOOK}'\nip -j address show\n"
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(os.path.abspath(folder) for folder in sys.path))
    done = subprocess.run(["unshare", "--net", "sh", "-c", script], capture_output=True, text=True, env=env, check=False, timeout=60)
    if "Unknown device type" in done.stderr or "not supported" in done.stderr:
        pytest.skip("this kernel has no veth")
    assert done.returncode == 0, done.stderr
    ours, theirs = done.stdout.strip().split("\n", 1)
    return json.loads(ours), json.loads(theirs)


def test_addresses_are_those_of_iproute2(seen: t.Any) -> None:
    (addresses, _gateways), links = seen
    expected = [[link["ifname"], one["local"], one["prefixlen"]] for link in links for one in link["addr_info"]]
    assert sorted(addresses) == sorted(expected) and ["two", "198.51.100.1", 32] in addresses


def test_only_default_routes_of_the_main_table_count(seen: t.Any) -> None:
    (_addresses, gateways), _links = seen
    assert sorted(gateways) == [["one", "192.0.2.254"], ["one", "2001:db8::1"]]
