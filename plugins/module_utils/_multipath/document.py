# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""multipath.conf as a value: bytes in, the same bytes out, and edits that leave every other line as it is.

To walk a document::

    document = parse(data, "/etc/multipath.conf", (0, 9, 4))
    for problem in document.problems: ...          # grammar only: braces, quotes, missing values, duplicates
    for section in document.walk():                # every section, in the order of the file
        section.path                               # ("devices", "device")
        section.line                               # of its first line
        for entry in section.entries:              # its own keywords, not those of the sections in it
            entry.keyword, entry.value, entry.line # value is None where multipath-tools drops the line
    document.top.entries                           # keywords outside of any section: multipath-tools drops them all
"""

from __future__ import annotations

import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.grammar import Path, Problem, Release


class Entry(t.NamedTuple):
    """One line ``keyword value``."""

    keyword: str
    #: as multipath-tools reads it, quotes removed; None where there is none and the line is dropped. Bytes that are not UTF-8 are surrogates
    value: t.Optional[str]
    line: int
    quoted: bool


class Section(t.NamedTuple):
    """What stands between a section's word and the brace that closes it."""

    path: Path
    line: int
    entries: t.Tuple[Entry, ...]
    sections: t.Tuple["Section", ...]
    #: line of the closing brace; None where the file ends before
    end: t.Optional[int]

    def values(self, keyword: str) -> t.List[str]:
        """All values of a keyword, in the order of the file."""
        return [entry.value for entry in self.entries if entry.keyword == keyword and entry.value is not None]

    def get(self, keyword: str) -> t.Optional[str]:
        """The value that counts, the last one."""
        found = self.values(keyword)
        return found[-1] if found else None


class Document:
    """A file as it stands, and what multipath-tools reads in it. Never changed, only copied."""

    path: str
    release: t.Optional[Release]
    top: Section
    problems: t.Tuple[Problem, ...]

    def render(self) -> bytes:
        raise NotImplementedError

    def walk(self) -> t.Iterator[Section]:
        """Every section of the file, in its order, a section before those in it."""
        raise NotImplementedError


def parse(data: bytes, path: str = "/etc/multipath.conf", release: t.Optional[Release] = None) -> Document:
    """Read a file. Raises ``InputError`` only for a file that is larger than ``LARGEST_FILE``; all else is in ``problems``."""
    raise NotImplementedError
