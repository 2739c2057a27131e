# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Open Firmware (POWER) booted from: one line in the device tree, ``/chosen/bootpath`` (usr/fwparam_ibft/prom_parse.y).

``/pci@800000020000002/ethernet@1:iscsi,ciaddr=…,itname=…,siaddr=…,iname=…,iport=…,ilun=…``: the device, what it did, and with what.
"""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._host.sysfs import read_for_root
from ansible_collections.lunar.iscsi.plugins.module_utils._names import DEFAULT_PORT
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.firmware import BOOT, VALID, BootTarget, Firmware, Initiator, Nic, Origin

SOURCE = "open_firmware"
_REMEDY = "Look at the boot device of the partition, and boot again"


def read_open_firmware(proc: str, interface_of: t.Callable[[str], str]) -> t.Optional[Firmware]:
    """What it says; None where the host has no Open Firmware, or did not boot from iSCSI."""
    tree = os.path.join(proc, "device-tree")
    path = os.path.join(tree, "chosen/bootpath")
    device, _colon, rest = (read_for_root(path) or b"").rstrip(b"\0").decode("utf-8", "replace").partition(":")
    words = rest.split(",")
    if "iscsi" not in words:
        return None
    given = {key: value for key, equals, value in (word.partition("=") for word in words) if equals}
    raw = read_for_root(os.path.join(tree, device.lstrip("/"), "local-mac-address")) or b""
    mac = ":".join(f"{byte:02x}" for byte in raw) if len(raw) == 6 else ""
    nic = Nic(
        SOURCE, os.path.basename(device), 0, VALID | BOOT, mac, given.get("ciaddr", ""), _plain(given.get("subnet-mask", "")),
        gateway=given.get("giaddr", ""), dhcp_server=given.get("dhcp", ""), interface=interface_of(mac) if mac else "", linked=True,
        origin=Origin.DHCP if {"bootp", "dhcpv6"} & set(words) else Origin.MANUAL)
    port = _plain(given.get("iport", ""))
    target = BootTarget(
        SOURCE, "bootpath", 0, VALID | BOOT, given.get("iname", ""), _plain(given.get("siaddr", "")),
        int(port) if re.fullmatch("[0-9]{1,5}", port) else DEFAULT_PORT, _plain(given.get("ilun", "")), 0, None,
        given.get("ichapid", ""), given.get("ichappw", ""), given.get("chapid", ""), given.get("chappw", ""))
    lacking = [what for what, there in (("the hardware address of its device", mac), ("a target", target.target), ("an address of the target", target.address))
               if not there]
    return Firmware(
        initiators=[Initiator(SOURCE, given.get("itname", ""), _plain(given.get("isid", "")), flags=VALID)], nics=[nic],
        targets=[target if lacking else target._replace(nic=nic)],
        problems=[{"object": path, "what": f"says that this host booted from iSCSI, and lacks {what}", "remedy": _REMEDY} for what in lacking])


def _plain(value: str) -> str:
    """Without the disk label that may stand behind the last one of the values (``:2`` or ``:2,\\file``)."""
    return value if value.count(":") > 1 else value.partition(":")[0]
