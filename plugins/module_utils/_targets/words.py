# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the options of both kinds of targets have in common: sizes, places, the nearest right word, lists in which nothing comes twice."""

from __future__ import annotations

import difflib
import re
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError

_UNITS = {
    "": 1, "B": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40, "PIB": 2**50, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "PB": 10**15, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50,
}  # fmt: skip


_MOST = (1 << 63) - 1  # off_t


def parse_size(size: t.Any, subject: str, block: int = 512, *, bare: bool = True) -> t.Optional[int]:
    """Bytes of ``1GiB``, ``500MB`` or, where ``bare``, a number; None for None.

    What is written with a unit is cut to whole blocks, a number must be of them.
    """
    if size is None:
        return None
    found = re.fullmatch(r"([0-9]{1,15})(?:\.([0-9]{1,3}))?\s*([A-Za-z]*)", str(size).strip())
    unit = _UNITS.get(found.group(3).upper()) if found else None
    if found is None or unit is None:
        raise InputError(subject, f"is {size!r}, which is no size", f"Write it as 1GiB{', 500MB or in bytes' if bare else ' or 500MB'}")
    if not bare and not found.group(3):
        raise InputError(subject, f"is {size!r}, a number without a unit", f"Write {size}GiB, {size}MB or {size}B, whichever is meant")
    number = int(found.group(1)) * unit + (int(found.group(2)) * unit // 10 ** len(found.group(2)) if found.group(2) else 0)
    number -= number % block if found.group(3) else 0
    if number < block or number % block:
        raise InputError(subject, f"is {number} bytes", f"Give a multiple of {block}")
    if number > _MOST:
        raise InputError(subject, f"is {size!r}, more than a file can have", "Ask for less than 8EiB, which is 8192PiB")
    return number


def check_place(path: t.Optional[str], option: str) -> None:
    """Refuse a place that is none or that depends on where the module happens to run; None and nothing are no place at all."""
    if path and (not path.startswith("/") or "\0" in path):
        raise InputError(f"option {option}", f"is {path!r}, which is no absolute path", "Give one, or leave it out")


def nearest(word: t.Any, known: t.Iterable[str]) -> str:
    """`` (did you mean ...?)`` or nothing."""
    close = difflib.get_close_matches(str(word), list(known), 1, 0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def once(subject: str, values: t.Sequence[t.Any]) -> None:
    """Refuse a list in which a value is given twice."""
    for value in values:
        if values.count(value) > 1:
            raise InputError(subject, f"{value} is given twice", "Give each once")
