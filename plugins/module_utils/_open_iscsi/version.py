# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of open-iscsi: which keys a record has, and in which order, depends on them."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError


class Version(t.NamedTuple):
    """A version of open-iscsi: comparable numbers, and the text it writes into its records.

    2.1.9 to 2.1.11 took ``slp`` out of the names of discovery types and not its number, and so mixed up static and firmware nodes.
    ``mended`` says that a distribution put that right without a new version.
    """

    numbers: t.Tuple[int, ...]
    text: str
    mended: bool = False

    @property
    def mixes_discovery_types(self) -> bool:
        return (2, 1, 9) <= self.numbers <= (2, 1, 11) and not self.mended


def parse_version(text: str) -> Version:
    """``2.1.8``, ``2.0-873`` (as 2.0.873 calls itself) or ``6.2.1.4-1`` (RHEL puts a 6 in front); ``InputError`` otherwise."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", text))
    if numbers[:2] == (6, 2):
        numbers = numbers[1:]
    if len(numbers) < 3:
        raise InputError(f"open-iscsi version {text!r}", "is not a version number", "Write it as iscsiadm --version prints it, for example 2.1.8")
    return Version(numbers[:3], text)


NEWEST = Version((2, 1, 11), "2.1.11")
