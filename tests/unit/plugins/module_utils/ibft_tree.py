# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A second reader of boot firmware's table: what Linux shows of it in /sys/firmware/ibft, file by file.

It shares no code with what makes tables (``lab/ibft.py``) nor with what is shipped; it goes by drivers/firmware/iscsi_ibft.c and
drivers/scsi/iscsi_boot_sysfs.c of Linux 6.1.
"""

from __future__ import annotations

import struct
import sys
import typing as t
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "lab"))

from ibft import build, with_header

if t.TYPE_CHECKING:
    from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.sysfs_tree import Tree

__all__ = ["ONE_TARGET", "build", "kernel_shows", "plant", "with_header"]

#: a table as a boot loader makes it for one disk
ONE_TARGET: t.Mapping[str, t.Any] = {
    "initiator": {"name": "iqn.2026-11.org.example:boot"},
    "nics": [{"mac": "52:54:00:12:34:56", "address": "192.0.2.10", "prefix": 24, "gateway": "192.0.2.254", "dns": ["192.0.2.53"]}],
    "targets": [{"name": "iqn.2026-11.org.example:one", "address": "192.0.2.1", "lun": 1}],
}
Shown = t.Dict[str, str]


def plant(tree: Tree, table: t.Mapping[str, t.Any], interfaces: t.Mapping[str, str]) -> bytes:
    """Let a host have booted with a table; ``interfaces`` are its network interfaces and their hardware addresses. Returns the whole table."""
    whole = with_header(build(table))
    for path, text in kernel_shows(whole).items():
        tree.write(f"/sys/firmware/ibft/{path}", text)
    for number, (name, mac) in enumerate(interfaces.items(), 2):
        tree.attributes(f"/sys/class/net/{name}", address=mac, type=1, ifindex=number)
    tree.write("/sys/firmware/acpi/tables/iBFT", whole)
    return whole


def kernel_shows(table: bytes, behind: bytes = b"") -> Shown:
    """Every file below /sys/firmware/ibft with what is read from it; nothing where the module would not load.

    ``behind`` is what lies behind the table in memory, which the kernel reads where a table was cut off.
    """
    signature, length, revision, _checksum, oem, oem_table = struct.unpack_from("<4sIBB6s8s", table)
    if revision != 1 or sum(table) % 256:
        return {}
    table += behind
    kind, _version, size, index, _flags, _extensions = struct.unpack_from("<BBHBBH", table, 48)
    if (kind, size, index) != (1, 18, 0):
        return {}
    shown: Shown = {}
    for place in struct.unpack_from("<5H", table, 48 + 8):
        if 0 < place < length - 48:
            shown.update(_structure(table, place))
    for name, raw in (("signature", signature), ("oem_id", oem), ("oem_table_id", oem_table)):
        shown[f"acpi_header/{name}"] = raw.split(b"\0")[0].decode() + "\n"
    return shown


def _structure(table: bytes, place: int) -> Shown:
    kind, _version, size, index, flags = struct.unpack_from("<BBHBB", table, place)
    readers: t.Mapping[int, t.Tuple[str, int, t.Callable[[bytes, bytes], t.Dict[str, t.Optional[str]]]]] = {
        2: ("initiator", 74, _initiator), 3: (f"ethernet{index}", 102, _ethernet), 4: (f"target{index}", 54, _target)}
    if kind not in readers or readers[kind][1] != size:
        return {}
    folder, _size, reader = readers[kind]
    shown = {f"{folder}/index": f"{index}\n", f"{folder}/flags": f"{flags}\n"}
    shown.update({f"{folder}/{name}": text for name, text in reader(table[place + 6:place + size], table).items() if text is not None})
    return shown


def _text(table: bytes, length: int, place: int) -> str:
    return table[place:place + length].split(b"\0")[0].decode("utf-8", "surrogateescape") + "\n"


def _address(raw: bytes) -> str:
    if raw[:12] == bytes(10) + b"\xff\xff":
        return ".".join(str(byte) for byte in raw[12:]) + "\n"
    return ":".join(raw[start:start + 2].hex() for start in range(0, 16, 2)) + "\n"


def _address_if_any(raw: bytes) -> t.Optional[str]:
    return None if raw in (bytes(16), bytes(10) + b"\xff\xff" + bytes(4)) else _address(raw)


def _initiator(body: bytes, table: bytes) -> t.Dict[str, t.Optional[str]]:
    isns, slp, radius, second, length, place = struct.unpack("<16s16s16s16sHH", body)
    return {
        "isns-server": _address_if_any(isns), "slp-server": _address_if_any(slp), "pri-radius-server": _address_if_any(radius),
        "sec-radius-server": _address_if_any(second), "initiator-name": _text(table, length, place) if length else None,
    }


def _ethernet(body: bytes, table: bytes) -> t.Dict[str, t.Optional[str]]:
    address, prefix, origin, gateway, primary, secondary, dhcp, vlan, mac, _pci, length, place = struct.unpack("<16sBB16s16s16s16sH6sHHH", body)
    mask = 2**32 - (1 << (32 - prefix) % 32)  # a shift by more than there are bits is one by the rest, on x86
    return {
        "ip-addr": _address_if_any(address), "prefix-len": f"{prefix}\n" if prefix else None,
        "subnet-mask": ".".join(str(byte) for byte in struct.pack(">I", mask)) if prefix else None, "origin": f"{origin}\n",
        "gateway": _address_if_any(gateway), "primary-dns": _address_if_any(primary), "secondary-dns": _address_if_any(secondary),
        "dhcp": _address_if_any(dhcp), "vlan": f"{vlan}\n", "mac": ":".join(f"{byte:02x}" for byte in mac) + "\n",
        "hostname": _text(table, length, place) if place else None,
    }


def _target(body: bytes, table: bytes) -> t.Dict[str, t.Optional[str]]:
    address, port, lun, chap, nic, *texts = struct.unpack("<16sH8sBB10H", body)
    pairs = [(texts[start], texts[start + 1]) for start in range(0, 10, 2)]
    name, user, secret, user_in, secret_in = (_text(table, *pair) for pair in pairs)
    return {
        "ip-addr": _address(address), "port": f"{port}\n", "lun": "".join(f"{byte:x}" for byte in lun) + "\n", "chap-type": f"{chap}\n",
        "nic-assoc": f"{nic}\n", "target-name": name if pairs[0][0] else None, "chap-name": user if pairs[1][0] else None,
        "chap-secret": secret if pairs[1][0] else None, "rev-chap-name": user_in if pairs[3][0] else None,
        "rev-chap-name-secret": secret_in if pairs[3][0] else None,
    }
