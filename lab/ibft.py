# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the table in which boot firmware tells an operating system of its iSCSI disk (iBFT), for guests of QEMU.

``python3 lab/ibft.py TABLE.json OUT`` writes what follows the 36 bytes of the ACPI header, which QEMU puts before it (with length and checksum)
for ``-acpitable sig=iBFT,rev=1,data=OUT``. TABLE.json is, with everything but the names, MAC addresses and addresses left out at will::

    {"initiator": {"name": "iqn.2026-11.org.example:host1"},
     "nics": [{"mac": "52:54:00:00:00:01", "address": "192.168.56.10", "prefix": 24, "gateway": "…", "dns": ["…"], "dhcp_server": "…", "vlan": 7,
               "origin": 3, "pci": "00:03.0", "hostname": "host1", "flags": 3}],
     "targets": [{"name": "iqn.2026-11.org.example:disk1", "address": "192.168.56.101", "port": 3260, "lun": 1, "nic": 0, "flags": 3,
                  "chap": {"username": "u", "password": "p", "username_in": "v", "password_in": "q"}}]}

The layout is that of drivers/firmware/iscsi_ibft.c: a control structure with the places of one initiator, two NICs and two targets; these; and a heap
of texts. Places count from the start of the ACPI header.
"""

from __future__ import annotations

import ipaddress
import json
import struct
import sys
import typing as t
from pathlib import Path

ACPI_HEADER = 36
RESERVED = 12
CONTROL, INITIATOR, NIC, TARGET = 1, 2, 3, 4
VALID_AND_BOOT = 3
#: at most so many of each have a place in the control structure
MOST = 2
LONGEST = 0xFFFF  # places have 16 bits
MANUAL = 1
NO_CHAP, CHAP, MUTUAL_CHAP = 0, 1, 2
Entry = t.Mapping[str, t.Any]


class Heap:
    """The texts behind the structures; each ends with a zero byte, which the kernel does not need and other readers do."""

    def __init__(self, start: int) -> None:
        self._start = start
        self.data = b""

    def add(self, text: t.Optional[str]) -> bytes:
        """Length and place of a text, two numbers of 16 bits; zeros for none."""
        if not text:
            return bytes(4)
        raw = text.encode("utf-8")
        if self._start + len(self.data) + len(raw) > LONGEST:
            raise ValueError("the texts are too long for one table")
        place = struct.pack("<HH", len(raw), self._start + len(self.data))
        self.data += raw + b"\0"
        return place


def address(text: t.Optional[str]) -> bytes:
    """An address as 16 bytes: IPv4 mapped into IPv6, zeros for none."""
    if not text:
        return bytes(16)
    found = ipaddress.ip_address(text)
    return found.packed if found.version == 6 else bytes(10) + b"\xff\xff" + found.packed


def pci(text: t.Optional[str]) -> int:
    """``BUS:DEVICE.FUNCTION``, as lspci writes it, as the number in the table; 0, the host bridge, for none."""
    if not text:
        return 0
    bus, _colon, rest = text.partition(":")
    device, _dot, function = rest.partition(".")
    return int(bus, 16) << 8 | int(device, 16) << 3 | int(function, 16)


def lun(number: int) -> bytes:
    """A LUN as eight bytes: peripheral addressing up to 255, flat addressing up to 16383 (SAM-5)."""
    if not 0 <= number < 1 << 14:
        raise ValueError(f"LUN {number} is not between 0 and 16383")
    return struct.pack(">H", number if number < 256 else 0x4000 | number) + bytes(6)


def _head(kind: int, size: int, index: int, flags: int) -> bytes:
    return struct.pack("<BBHBB", kind, 1, size, index, flags)


def _initiator(entry: Entry, heap: Heap) -> bytes:
    servers = b"".join(address(entry.get(word)) for word in ("isns_server", "slp_server", "radius_server", "second_radius_server"))
    return _head(INITIATOR, 74, 0, entry.get("flags", VALID_AND_BOOT)) + servers + heap.add(entry.get("name"))


def _nic(entry: Entry, index: int, heap: Heap) -> bytes:
    dns = [*entry.get("dns", ()), None, None][:2]
    return b"".join([
        _head(NIC, 102, index, entry.get("flags", VALID_AND_BOOT)), address(entry.get("address")),
        bytes([entry.get("prefix", 0), entry.get("origin", MANUAL)]), address(entry.get("gateway")), address(dns[0]), address(dns[1]),
        address(entry.get("dhcp_server")), struct.pack("<H", entry.get("vlan", 0)), bytes.fromhex(entry["mac"].replace(":", "")),
        struct.pack("<H", pci(entry.get("pci"))), heap.add(entry.get("hostname")),
    ])


def _target(entry: Entry, index: int, heap: Heap) -> bytes:
    chap = entry.get("chap") or {}
    kind = MUTUAL_CHAP if chap.get("username_in") else CHAP if chap else NO_CHAP
    return b"".join([
        _head(TARGET, 54, index, entry.get("flags", VALID_AND_BOOT)), address(entry["address"]), struct.pack("<H", entry.get("port", 3260)),
        lun(entry.get("lun", 0)), bytes([entry.get("chap_type", kind), entry.get("nic", index)]), heap.add(entry.get("name")),
        *(heap.add(chap.get(word)) for word in ("username", "password", "username_in", "password_in")),
    ])


def _aligned(size: int) -> int:
    return (size + 7) // 8 * 8


def build(table: Entry) -> bytes:
    """The bytes behind the ACPI header. ``ValueError`` where the table cannot hold what is given."""
    nics, targets = table.get("nics", ()), table.get("targets", ())
    if len(nics) > MOST or len(targets) > MOST:
        raise ValueError(f"a table holds {MOST} NICs and {MOST} targets, not {len(nics)} and {len(targets)}")
    # the order in which the control structure has them: initiator, and by turns a NIC and a target
    sizes: t.Dict[str, int] = {"initiator": 74} if table.get("initiator") is not None else {}
    for number in range(MOST):
        sizes.update({f"nic{number}": 102} if number < len(nics) else {})
        sizes.update({f"target{number}": 54} if number < len(targets) else {})
    places: t.Dict[str, int] = {}
    end = ACPI_HEADER + RESERVED + _aligned(18)
    for name, size in sizes.items():
        places[name] = end
        end += _aligned(size)
    heap = Heap(end)
    parts = {"initiator": _initiator(table["initiator"], heap)} if "initiator" in places else {}
    parts.update({f"nic{number}": _nic(entry, number, heap) for number, entry in enumerate(nics)})
    parts.update({f"target{number}": _target(entry, number, heap) for number, entry in enumerate(targets)})
    control = _head(CONTROL, 18, 0, 0) + struct.pack("<6H", 0, *(places.get(name, 0) for name in ("initiator", "nic0", "target0", "nic1", "target1")))
    body = bytes(RESERVED) + control
    for name in sizes:
        body = body.ljust(places[name] - ACPI_HEADER, b"\0") + parts[name]
    body = body.ljust(end - ACPI_HEADER, b"\0") + heap.data
    # the kernel passes over structures that begin in the last 48 bytes
    return body.ljust(max(places.values(), default=0) + RESERVED + 1, b"\0")


def with_header(body: bytes, signature: bytes = b"iBFT", revision: int = 1) -> bytes:
    """The whole table, with a header as QEMU would put before ``body``: length, checksum, and who made it."""
    header = struct.pack("<4sIBB6s8sI4sI", signature, ACPI_HEADER + len(body), revision, 0, b"LUNAR ", b"LABTABLE", 1, b"LAB ", 1)
    checksum = -sum(header + body) & 0xFF
    return header[:9] + bytes([checksum]) + header[10:] + body


def main(arguments: t.Sequence[str]) -> int:
    if len(arguments) != 2:
        print("usage: python3 lab/ibft.py TABLE.json OUT", file=sys.stderr)
        return 2
    Path(arguments[1]).write_bytes(build(json.loads(Path(arguments[0]).read_text("utf-8"))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
