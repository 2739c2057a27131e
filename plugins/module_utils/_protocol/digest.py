# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CRC32C, the header and data digest of iSCSI (RFC 7143 section 13.1, RFC 3385; the polynomial of Castagnoli, reflected)."""

from __future__ import annotations

import typing as t

DIGEST_BYTES = 4
_POLYNOMIAL = 0x82F63B78


def _make_table() -> t.Tuple[int, ...]:
    table = []
    for byte in range(256):
        for _bit in range(8):
            byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


_TABLE = _make_table()


def crc32c(data: t.Union[bytes, bytearray, memoryview]) -> int:
    """The CRC32C of ``data`` as a number."""
    table = _TABLE
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def render_digest(data: t.Union[bytes, bytearray, memoryview]) -> bytes:
    """The four bytes that follow ``data`` on the wire (the least significant byte first, RFC 7143 appendix A.4)."""
    return crc32c(data).to_bytes(DIGEST_BYTES, "little")
