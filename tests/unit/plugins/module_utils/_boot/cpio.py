# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cpio archive as an initramfs is one, written for tests after buffer-format.rst of Linux."""

from __future__ import annotations

import typing as t


def cpio(files: t.Mapping[str, t.Optional[bytes]]) -> bytes:
    """An archive of files (and folders, whose content is None), ended and padded as mkinitramfs does it."""
    parts = [_entry(name, data, 0o40755 if data is None else 0o100644) for name, data in files.items()]
    whole = b"".join(parts) + _entry("TRAILER!!!", b"", 0)
    return whole + bytes(-len(whole) % 512)


def _entry(name: str, data: t.Optional[bytes], mode: int) -> bytes:
    raw, body = name.encode() + b"\0", data or b""
    numbers = (1, mode, 0, 0, 1, 0, len(body), 0, 0, 0, 0, len(raw), 0)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + raw
    return head + bytes(-len(head) % 4) + body + bytes(-len(body) % 4)
