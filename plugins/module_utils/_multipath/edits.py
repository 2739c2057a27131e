# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Edits of a multipath.conf: a document and what shall be in it, in; another document, out. All other lines stay as they are, byte for byte.

New lines go behind the last one of their section, in its indent and with its line ends; a section that is missing goes to the end of its parent,
or of the file. Each edit is read again: where multipath-tools would not see it (the file is damaged around it), ``DamagedError`` says so.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.document import Document, Entry, Place, Section
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.grammar import (
    LONGEST_LINE, SAME_AS, Problem, check_value, dialect_of, encode, quote, seen_text, split_pieces, tokens_of)


def set_keywords(document: Document, place: Place, settings: t.Mapping[str, t.Optional[str]]) -> Document:
    """Set keywords of a section, or with None take them away. A section that is missing is added where there is a value to set.

    A keyword that stands there several times is left once. Where sections of the same identity are several, each that has the keyword gets the value.
    """
    for keyword, value in settings.items():
        known_by = dict(place.identity)
        if keyword in known_by and value != known_by[keyword]:
            raise InputError(f"{place}: {keyword}", "is what the section is known by", "Add a section for the other value, and take this one away")
        if value is not None:
            check_value(f"{place}: {keyword}", value, document.release)
    wanted = {keyword: value for keyword, value in settings.items() if keyword not in dict(place.identity)}
    sections = document.find(place)
    if not sections:
        missing = {keyword: value for keyword, value in wanted.items() if value is not None}
        return _add(document, place, missing) if missing else document
    changes = _Changes(document)
    for keyword, value in wanted.items():
        holding = [section for section in sections if _named(section, keyword)]
        if value is not None and (document.stands_alone(place) or not holding):
            holding = sections if document.stands_alone(place) else sections[-1:]
        for section in holding:
            changes.set(section, keyword, value)
    return _proved(changes.made(), place, wanted)


def set_list(document: Document, place: Place, keyword: str, values: t.Sequence[str]) -> Document:
    """Let a list keyword of a blacklist have these values and no others; those that are there keep their lines."""
    changed = remove_from_list(document, place, keyword, [value for value in document.values(place, keyword) if value not in values])
    return add_to_list(changed, place, keyword, values)


def add_to_list(document: Document, place: Place, keyword: str, values: t.Sequence[str]) -> Document:
    """Add what is missing of these values, behind the last line of the keyword."""
    for value in values:
        check_value(f"{place}: {keyword}", value, document.release)
    missing = [value for value in dict.fromkeys(values) if value not in document.values(place, keyword)]
    if not missing:
        return document
    if not document.find(place):
        document = _add(document, place, {})
    sections = document.find(place)
    section = next((one for one in reversed(sections) if one.values(keyword)), sections[-1])
    changes = _Changes(document)
    for value in missing:
        changes.insert_entry(section, keyword, value, behind=[entry for entry in section.entries if entry.keyword == keyword] or section.entries)
    return _proved_list(changes.made(), place, keyword, present=values)


def remove_from_list(document: Document, place: Place, keyword: str, values: t.Sequence[str]) -> Document:
    """Take away every line with one of these values."""
    changes = _Changes(document)
    for section in document.find(place):
        for entry in section.entries:
            if entry.keyword == keyword and entry.value in values:
                changes.remove(entry.piece, entry.piece)
    return _proved_list(changes.made(), place, keyword, absent=values)


def add_section(document: Document, place: Place) -> Document:
    """Add a section, and the one it stands in, where it is missing."""
    return document if document.find(place) else _add(document, place, {})


def remove_section(document: Document, place: Place) -> Document:
    """Take away every such section, with all that is in it."""
    changes = _Changes(document)
    for section in document.find(place):
        if section.end is None:
            raise _damaged(document, section.line, f"the section {section.path[-1]} is not closed, so it is not clear what belongs to it")
        changes.remove(section.first, section.last)
    changed = changes.made()
    if changed.find(place):
        raise _damaged(document, changed.find(place)[0].line, f"{place} would still be there")
    return changed


def _add(document: Document, place: Place, settings: t.Mapping[str, str]) -> Document:
    known_by = {keyword: value for keyword, value in place.identity if value is not None}
    for keyword, value in known_by.items():
        check_value(f"{place.path[-1]} {keyword}", value, document.release)
    changes = _Changes(document)
    changes.insert_section(place.path, dict(known_by, **settings))
    changed = changes.made()
    if not changed.find(place):
        raise _damaged(document, 0, f"{place} would not be read where it was added")
    return _proved(changed, place, dict(known_by, **settings))


def _named(section: Section, keyword: str) -> t.List[Entry]:
    """The lines of a keyword, or of another word for it, those too that are dropped."""
    name = SAME_AS.get(keyword, keyword)
    return [entry for entry in section.entries if SAME_AS.get(entry.keyword, entry.keyword) == name]


def likely_cause(problems: t.Iterable[Problem]) -> t.Optional[Problem]:
    """The first of these that may be why a file cannot be edited: that a section is not closed follows from what is wrong within it."""
    harmful = [problem for problem in problems if problem.harmful]
    return next((problem for problem in harmful if not problem.what.endswith("is not closed")), next(iter(harmful), None))


def _damaged(document: Document, line: int, what: str) -> DamagedError:
    """``what``, and what to mend, which is the likely cause."""
    subject = f"{document.path}, line {line}" if line else document.path
    cause = likely_cause(document.problems)
    if cause is None:
        return DamagedError(subject, what, "Mend the file by hand")
    if cause.line == line or not cause.line:
        return DamagedError(subject, what, cause.remedy)
    return DamagedError(subject, what, f"First mend line {cause.line}: {cause.what}. {cause.remedy}")


def _proved(changed: Document, place: Place, wanted: t.Mapping[str, t.Optional[str]]) -> Document:
    found = changed.settings(place)
    for keyword, value in wanted.items():
        if found.get(SAME_AS.get(keyword, keyword)) != value:
            raise _damaged(changed, 0, f"{place}: {keyword} would not be read as it was written")
    return changed


def _proved_list(changed: Document, place: Place, keyword: str, *, present: t.Sequence[str] = (), absent: t.Sequence[str] = ()) -> Document:
    found = changed.values(place, keyword)
    if not set(present) <= set(found) or set(absent) & set(found):
        raise _damaged(changed, 0, f"{place}: the lines of {keyword} would not be read as they were written")
    return changed


#: what is read as white space behind a value, and has no business there
_FOREIGN = re.compile(rb"^[ \t\v\f\x80-\xff]*[\x80-\xff]")


class _Changes:
    """What is to happen to the pieces of a document, done in one go."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._pieces = document.pieces
        self._replaced: t.Dict[int, bytes] = {}
        self._removed: t.Set[int] = set()
        #: by the piece they come behind; -1 is the begin of the file
        self._inserted: t.Dict[int, t.List[bytes]] = {}
        self._found_end = b""

    def made(self) -> Document:
        if not self._replaced and not self._removed and not self._inserted:
            return self._document
        pieces = list(self._inserted.get(-1, []))
        for index, piece in enumerate(self._pieces):
            new = self._inserted.get(index, [])
            if index not in self._removed:
                kept = self._replaced.get(index, piece)
                pieces.append(kept if not new or kept.endswith(b"\n") else kept + (b"\n" if kept.endswith(b"\r") else self._end()))
            pieces.extend(new)
        return Document(split_pieces(b"".join(pieces)), self._document.path, self._document.release)

    def set(self, section: Section, keyword: str, value: t.Optional[str]) -> None:
        """One keyword of one section; the line that counts is kept, the others go."""
        lines = _named(section, keyword)
        kept = next((entry for entry in reversed(lines) if entry.value is not None), lines[-1] if lines else None)
        for entry in lines:
            if value is None or entry is not kept:
                self.remove(entry.piece, entry.piece)
        if value is None:
            return
        if kept is None:
            self.insert_entry(section, keyword, value, behind=section.entries)
        elif kept.value != value:
            self._replace(kept, value)

    def remove(self, first: int, last: int) -> None:
        for index in range(first, last + 1):
            self._whole(index)
            self._removed.add(index)

    def insert_entry(self, section: Section, keyword: str, value: str, *, behind: t.Sequence[Entry]) -> None:
        """A line behind the last of some entries, or at the begin of the section where there are none."""
        place = behind[-1].piece if behind else section.head
        indent = self._indent(place) if behind else self._indent(section.first) + self._unit()
        self._insert(place, [self._line(indent, keyword, quote(value))])

    def insert_section(self, path: t.Tuple[str, ...], settings: t.Mapping[str, str]) -> None:
        """A section at the end of its parent, or of the file."""
        parent = next((one for one in reversed(self._document.find(Place(path[:-1])))), None) if len(path) > 1 else None
        outer = b""
        lines: t.List[bytes] = []
        if parent is not None:
            content = [*(one.last for one in parent.sections), *(one.piece for one in parent.entries)]
            place = max(content, default=parent.head)
            outer = self._indent(parent.sections[-1].first) if parent.sections else self._indent(parent.first) + self._unit()
            self._closed(parent.sections[-1:])
        else:
            place = len(self._pieces) - 1
            self._closed(self._document.top.sections[-1:])
            if any(not piece.strip() for piece in self._pieces) and self._pieces[place].strip():
                lines.append(self._end())
            if len(path) > 1:
                lines.append(b"".join([encode(path[0]), b" {", self._end()]))
                outer = self._unit()
        lines.append(b"".join([outer, encode(path[-1]), b" {", self._end()]))
        lines.extend([self._line(outer + self._unit(), keyword, quote(value)) for keyword, value in settings.items()])
        lines.append(b"".join([outer, b"}", self._end()]))
        if parent is None and len(path) > 1:
            lines.append(b"}" + self._end())
        self._insert(place, lines)

    def _closed(self, sections: t.Sequence[Section]) -> None:
        for section in sections:
            if section.end is None:
                raise _damaged(self._document, section.line, f"the section {section.path[-1]} is not closed, so nothing can be added behind it")

    def _replace(self, entry: Entry, value: str) -> None:
        """Another value in the line of an entry, which keeps its indent, its quotes and its comment."""
        self._whole(entry.piece)
        piece = self._pieces[entry.piece]
        tokens = tokens_of(seen_text(piece), dialect_of(self._document.release))
        written = encode(quote(value, always=entry.quoted))
        rest = _FOREIGN.sub(b"", piece[tokens[-1].end:])
        if entry.value is None:
            kept = piece[:tokens[0].start] + encode(entry.keyword) + b" "
        else:
            gap = piece[tokens[0].end:tokens[1].start]
            kept = piece[:tokens[0].end] + (gap if gap and gap.isascii() else b" ")
        self._replaced[entry.piece] = self._fitting(kept + written + rest, entry.keyword)

    def _whole(self, index: int) -> None:
        """Raise where a piece is only a part of a line."""
        before = self._pieces[index - 1] if index else b"\n"
        if not before.endswith(b"\n") or (index < len(self._pieces) - 1 and not self._pieces[index].endswith(b"\n")):
            line = b"".join(self._pieces[:index]).count(b"\n") + 1
            raise _damaged(self._document, line, f"the line has more than the {LONGEST_LINE} bytes that multipath-tools reads at once")

    def _insert(self, place: int, lines: t.Sequence[bytes]) -> None:
        if 0 <= place < len(self._pieces) - 1:
            self._whole(place)
        self._inserted.setdefault(place, []).extend(lines)

    def _line(self, indent: bytes, keyword: str, written: str) -> bytes:
        return self._fitting(b"".join([indent, encode(keyword), b" ", encode(written), self._end()]), keyword)

    @staticmethod
    def _fitting(piece: bytes, keyword: str) -> bytes:
        if len(piece) > LONGEST_LINE:
            raise InputError(keyword, f"the line would have {len(piece)} bytes", f"multipath-tools reads at most {LONGEST_LINE} of a line; shorten the value")
        return piece

    def _end(self) -> bytes:
        """The line end of this file."""
        if not self._found_end:
            ends = [piece[-2:] for piece in self._pieces if piece.endswith(b"\n")]
            self._found_end = b"\r\n" if ends.count(b"\r\n") * 2 > len(ends) else b"\n"
        return self._found_end

    def _indent(self, index: int) -> bytes:
        piece = self._pieces[index]
        return piece[:len(piece) - len(piece.lstrip(b" \t"))]

    def _unit(self) -> bytes:
        """What this file indents a section by: as its first section with an indent does, or a tab."""
        for section in self._document.walk():
            for entry in section.entries[:1]:
                outer, inner = self._indent(section.first), self._indent(entry.piece)
                if inner.startswith(outer) and len(inner) > len(outer):
                    return inner[len(outer):]
        return b"\t"
