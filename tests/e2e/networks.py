# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's two storage networks as one."""

from __future__ import annotations

import typing as t


def join_networks(shell: t.Callable[[str, str], str]) -> None:
    """A bridge on the target joins the networks, and the initiator has an address of the first on both of its NICs, with a strict rp_filter."""
    shell("target", """set -e
        ip link add br0 type bridge
        ip address del 192.168.56.101/24 dev san1
        ip address add 192.168.56.101/24 dev br0
        for nic in san1 san2; do ip link set "$nic" master br0; done
        ip link set br0 up""")
    shell("initiator", """set -e
        ip address add 192.168.56.11/24 dev san2
        sysctl --quiet net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.san1.rp_filter=1 net.ipv4.conf.san2.rp_filter=1
        for try in $(seq 15); do ping -c 1 -W 2 -I san1 192.168.56.101 >/dev/null && exit 0; done; exit 1""")
