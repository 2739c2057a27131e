# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with an iBFT itself (the ACPI table in which boot firmware tells of its iSCSI disk): bytes in, sentences out.

The kernel refuses some damage, passes over other without a word, and prints whatever lies behind a table whose end is cut off
(drivers/firmware/iscsi_ibft.c, where the layout is, too).
"""

from __future__ import annotations

import struct
import typing as t

_ACPI_HEADER = 36
_HEADER = _ACPI_HEADER + 12  # twelve reserved bytes
_CONTROL = 18
#: what the control structure has the places of: name, kind, size, and where in it are (length, place) of its texts
_NIC = (3, 102, {"host name": 98})
_TARGET = (4, 54, {"name": 34, "CHAP name": 38, "CHAP secret": 42, "reverse CHAP name": 46, "reverse CHAP secret": 50})
_PARTS: t.Sequence[t.Tuple[str, int, int, t.Mapping[str, int]]] = (
    ("initiator", 2, 74, {"name": 70}), ("first NIC", *_NIC), ("first target", *_TARGET), ("second NIC", *_NIC), ("second target", *_TARGET))


class Fault(t.NamedTuple):
    """What is wrong; whether the kernel refuses the whole table for it, and whether it may show what is not in the table."""

    what: str
    refused: bool = False
    cut: bool = False


def look_over(table: bytes) -> t.List[Fault]:
    """Everything that is wrong with a table, its ACPI header included; empty where nothing is."""
    if len(table) < _HEADER + _CONTROL:
        return [Fault(f"is {len(table)} bytes long, and its headers alone are {_HEADER + _CONTROL}", True)]
    found: t.List[Fault] = []
    length, revision = struct.unpack_from("<IB", table, 4)
    if length > len(table):
        found.append(Fault(f"was cut off: it says that it is {length} bytes long, and there are {len(table)}", cut=True))
    if revision != 1:
        found.append(Fault(f"has revision {revision}; only revision 1 is known", True))
    if length <= len(table) and sum(table[:length]) & 0xFF:
        found.append(Fault("has a wrong checksum", True))
    kind, _version, size, index = struct.unpack_from("<BBHB", table, _HEADER)
    if (kind, size, index) != (1, _CONTROL, 0):
        found.append(Fault("has no valid control structure behind its header", True))
        return found
    places = struct.unpack_from("<5H", table, _HEADER + 8)
    if not places[0]:
        found.append(Fault("has no initiator"))
    for place, part in zip(places, _PARTS):
        if place:
            found.extend(_look_at(table, place, *part))
    return found


def _look_at(table: bytes, place: int, name: str, kind: int, size: int, texts: t.Mapping[str, int]) -> t.Iterator[Fault]:
    if place + size > len(table):
        yield Fault(f"was cut off: its {name} is to end at byte {place + size}, and there are {len(table)}", cut=True)
        return
    has_kind, _version, has_size = struct.unpack_from("<BBH", table, place)
    if (has_kind, has_size) != (kind, size):
        yield Fault(f"has something else where its {name} should be (kind {has_kind} of {has_size} bytes, not {kind} of {size})")
        return
    if place >= len(table) - _HEADER:
        yield Fault(f"has its {name} in its last {_HEADER} bytes, where the kernel passes over it")
    for text, at in texts.items():
        length, start = struct.unpack_from("<HH", table, place + at)
        if length and start + length > len(table):
            yield Fault(f"was cut off: the {text} of its {name} is to end at byte {start + length}, and there are {len(table)}", cut=True)
