# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sysfs and procfs: small files that may be missing, unreadable, or gone while one looks; and writing to one of them."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError

#: what the kernel and older kernels print for a string that is not set
_NULLS = ("(null)", "<NULL>")


def read_text(path: str) -> t.Optional[str]:
    """The content without white space around it; None where the file is missing, unreadable, empty or a printed null."""
    raw = read_bytes(path)
    if raw is None:
        return None
    text = raw.replace(b"\x00", b"").decode("utf-8", "replace").strip()
    return None if not text or text in _NULLS else text


def read_int(path: str, base: int = 10) -> t.Optional[int]:
    """The content as a number; None where there is none."""
    try:
        return int(read_text(path) or "", base)
    except ValueError:
        return None


def read_bytes(path: str) -> t.Optional[bytes]:
    """The content as it is; None where the file is missing or unreadable (a device that goes away gives any OSError)."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def read_for_root(path: str) -> t.Optional[bytes]:
    """The same for what the kernel shows to root alone: ``HostError`` where this is somebody else."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except PermissionError as error:
        raise HostError(path, "is for root only", "Run the task as root (become: true)") from error
    except OSError:
        return None


def list_dir(path: str) -> t.List[str]:
    """The names in a folder in natural order (session2 before session10); empty where there is no folder."""
    try:
        return sorted(os.listdir(path), key=natural)
    except OSError:
        return []


def natural(name: str) -> t.Tuple[str, int, str]:
    """A sort key: the text before a final number, the number, the name itself."""
    stem = name.rstrip("0123456789")
    digits = name[len(stem):]
    return (stem, int(digits) if digits else -1, name)


def resolve(path: str) -> t.Optional[str]:
    """Where a link or a path with links in it leads; None where it leads nowhere."""
    found = os.path.realpath(path)
    return found if os.path.exists(found) else None


def write_text(path: str, text: str) -> None:
    """Write to a file of sysfs, which is a request to the kernel; raises ``HostError`` where it refuses."""
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
    except OSError as error:
        raise HostError(path, f"did not take {text.strip()!r}: {error.strerror or error}", "Look at the kernel's log; the module needs root")
