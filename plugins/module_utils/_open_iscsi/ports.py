# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What network settings the ports of offload adapters have now, against what the record of an iface says (sysfs, class iscsi_iface)."""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._host.sysfs import list_dir, read_text
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.new_records import iface_family
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.record import Record

#: setting of the record -> attribute of the port (drivers/scsi/scsi_transport_iscsi.c), as far as both are written alike
_ATTRIBUTES: t.Mapping[str, str] = {
    "iface.ipaddress": "ipaddress",
    "iface.subnet_mask": "subnet",
    "iface.gateway": "gateway",
    "iface.mtu": "mtu",
    "iface.port": "port",
    "iface.vlan_id": "vlan_id",
    "iface.vlan_priority": "vlan_priority",
}


def differing_port(record: Record, sys: str = "/sys") -> t.Dict[str, t.Tuple[str, str]]:
    """The settings that the port has otherwise: what it has, what the record says. Empty where the kernel does not say."""
    folder = _port_of(record, sys)
    found: t.Dict[str, t.Tuple[str, str]] = {}
    for setting, attribute in _ATTRIBUTES.items() if folder else ():
        wanted, has = record.get(setting), read_text(f"{folder}/{attribute}")
        if wanted not in ("", "0", "<empty>") and has is not None and has.lower() != wanted.lower():
            found[setting] = (has, wanted)
    return found


def _port_of(record: Record, sys: str) -> t.Optional[str]:
    """The folder ``ipv4-iface-HOST-NUMBER`` (or ipv6) of the adapter with the hardware address of the record."""
    address = record.get("iface.hwaddress").lower()
    family = iface_family(record.settings, record.version) or 4
    hosts = os.path.join(sys, "class/iscsi_host")
    for host in list_dir(hosts) if address else ():
        number = re.fullmatch(r"host(\d+)", host)
        if number and (read_text(f"{hosts}/{host}/hwaddress") or "").lower() == address:
            folder = os.path.join(sys, "class/iscsi_iface", f"ipv{family}-iface-{number.group(1)}-{record.get('iface.iface_num') or 0}")
            return folder if os.path.isdir(folder) else None
    return None
