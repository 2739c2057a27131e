# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""multipath.conf as a value: bytes in, the same bytes out, and in between what multipath-tools reads there.

To walk a document::

    document = parse(data, "/etc/multipath.conf", (0, 9, 4))
    for problem in document.problems: ...          # grammar and identity only: braces, quotes, missing values, duplicates, a device without vendor
    for section in document.walk():                # every section, in the order of the file
        section.path                               # ("devices", "device")
        section.line                               # of its first line
        for entry in section.entries:              # its own keywords, not those of the sections in it
            entry.keyword, entry.value, entry.line # value is None where multipath-tools drops the line (that is in problems already)
    document.top.entries                           # keywords outside of any section: multipath-tools drops them (in problems already)

Which section counts where there are several: those with the same word at the top are read as one. ``device`` sections of the same vendor, product and
revision, ``multipath`` sections of one wwid and ``protocol`` sections of one type are merged, and a later one wins (until 0.4.9 the first device,
until 0.7.7 the first multipath section stood alone). Within a section the last line of a keyword wins, except for the lists of the blacklists.
"""

from __future__ import annotations

import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.grammar import (
    LARGEST_FILE, LISTS, LONGEST_LINE, OPENS_ALONE, SAME_AS, Fault, Path, Problem, Reading, Release, dialect_of, place_name, read_piece, split_pieces)


class Entry(t.NamedTuple):
    """One line ``keyword value``."""

    keyword: str
    #: as multipath-tools reads it, quotes removed; None where there is none and the line is dropped. Bytes that are not UTF-8 are surrogates
    value: t.Optional[str]
    #: as an editor counts, from 1
    line: int
    quoted: bool
    #: which of ``Document.pieces`` it is
    piece: int


class Section(t.NamedTuple):
    """What stands between a section's word and the brace that closes it."""

    path: Path
    line: int
    entries: t.Tuple[Entry, ...]
    sections: t.Tuple[Section, ...]
    #: line of the closing brace; None where the file ends before
    end: t.Optional[int]
    #: which of ``Document.pieces`` it begins and ends with
    first: int
    last: int
    #: the piece that its content comes behind: its word, or the brace in a line below
    head: int

    def values(self, keyword: str) -> t.List[str]:
        """All values of a keyword, or of another word for it, in the order of the file."""
        name = SAME_AS.get(keyword, keyword)
        return [entry.value for entry in self.entries if SAME_AS.get(entry.keyword, entry.keyword) == name and entry.value is not None]

    def get(self, keyword: str) -> t.Optional[str]:
        """The value that counts, the last one."""
        found = self.values(keyword)
        return found[-1] if found else None

    def walk(self) -> t.Iterator[Section]:
        """The sections in it, each before those in it."""
        for section in self.sections:
            yield section
            yield from section.walk()


class Place(t.NamedTuple):
    """Which section is meant: where it stands, and what it says about itself. ``Place(("defaults",))``, or by the functions below."""

    path: Path
    identity: t.Tuple[t.Tuple[str, t.Optional[str]], ...] = ()

    def __str__(self) -> str:
        return " ".join([" / ".join(self.path), *(value for _keyword, value in self.identity if value is not None)])


def device(vendor: str, product: str, revision: t.Optional[str] = None) -> Place:
    """A device section of ``devices``; one that names a revision is another one."""
    return Place(("devices", "device"), (("vendor", vendor), ("product", product), ("revision", revision)))


def multipath(wwid: str) -> Place:
    return Place(("multipaths", "multipath"), (("wwid", wwid),))


def protocol(kind: str) -> Place:
    """A protocol section of ``overrides`` (since 0.9.0), by its type such as ``scsi:iscsi``."""
    return Place(("overrides", "protocol"), (("type", kind),))


def listed_device(blacklist: str, vendor: t.Optional[str], product: t.Optional[str]) -> Place:
    """A device section of ``blacklist`` or ``blacklist_exceptions``; either may be missing there."""
    return Place((blacklist, "device"), (("vendor", vendor), ("product", product)))


class Document:
    """A file as it stands, and what multipath-tools reads in it. Never changed, only copied."""

    __slots__ = ("_index", "path", "pieces", "problems", "release", "top")

    def __init__(self, pieces: t.Sequence[bytes], path: str, release: t.Optional[Release]) -> None:
        self.path = path
        self.release = release
        #: the file, cut into lines with their ends (lines that are too long into several)
        self.pieces: t.Tuple[bytes, ...] = tuple(pieces)
        reader = _Reader(path, release)
        #: the file as a section around all sections
        self.top: Section = reader.read(self.pieces)
        self.problems: t.Tuple[Problem, ...] = tuple(sorted(reader.problems, key=lambda one: one.line))
        self._index: t.Dict[t.Tuple[Path, t.Tuple[str, ...]], t.Dict[t.Tuple[t.Optional[str], ...], t.List[Section]]] = {}

    def render(self) -> bytes:
        """The file, byte for byte."""
        return b"".join(self.pieces)

    def walk(self) -> t.Iterator[Section]:
        """Every section of the file, in its order, a section before those in it."""
        return self.top.walk()

    def find(self, place: Place) -> t.List[Section]:
        """The sections of this name and identity, in the order of the file."""
        keywords = tuple(keyword for keyword, _value in place.identity)
        index = self._index.get((place.path, keywords))
        if index is None:
            index = self._index[place.path, keywords] = {}
            for section in self.walk():
                if section.path == place.path:
                    index.setdefault(tuple(section.get(keyword) for keyword in keywords), []).append(section)
        return list(index.get(tuple(value for _keyword, value in place.identity), ()))

    def stands_alone(self, place: Place) -> bool:
        """Whether of several such sections the first alone is read: devices until 0.4.9, multipath sections until 0.7.7."""
        since = _MERGED_SINCE.get(place.path)
        return self.release is not None and since is not None and self.release < since

    def settings(self, place: Place) -> t.Dict[str, str]:
        """Every keyword of a section with the value that counts, of the last section that has one."""
        found = self.find(place)
        return {SAME_AS.get(entry.keyword, entry.keyword): entry.value for section in (found[:1] if self.stands_alone(place) else found)
                for entry in section.entries if entry.value is not None}

    def get(self, place: Place, keyword: str) -> t.Optional[str]:
        """The value that counts, or None."""
        return self.settings(place).get(SAME_AS.get(keyword, keyword))

    def values(self, place: Place, keyword: str) -> t.List[str]:
        """All values of a keyword that is a list, each once, in the order of the file."""
        return list(dict.fromkeys(value for section in self.find(place) for value in section.values(keyword)))

    def harmful(self) -> t.List[Problem]:
        """Problems where multipath-tools reads something else than what is written."""
        return [problem for problem in self.problems if problem.harmful]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Document) and self.pieces == other.pieces and self.release == other.release

    def __hash__(self) -> int:
        return hash(self.pieces)

    def __repr__(self) -> str:
        return f"Document({self.path!r}, {len(self.pieces)} lines, {len(self.problems)} problems)"


def parse(data: bytes, path: str = "/etc/multipath.conf", release: t.Optional[Release] = None) -> Document:
    """Read a file, as ``release`` (or the newest) reads it. All that is wrong with it is in ``problems``.

    Raises ``InputError`` only for a file larger than ``LARGEST_FILE``, which is none that anybody wrote.
    """
    if len(data) > LARGEST_FILE:
        raise InputError(path, f"has {len(data)} bytes, which is no file that was written for multipath-tools",
                         f"At most {LARGEST_FILE} bytes are read here; look at what it is, and put a configuration in its place")
    return Document(split_pieces(data), path, release)


#: the release that began to merge sections of the same identity
_MERGED_SINCE: t.Mapping[Path, Release] = {("devices", "device"): (0, 5, 0), ("multipaths", "multipath"): (0, 7, 8)}
#: how many problems of one file are told apart; more would tell nothing new
_MOST_PROBLEMS = 200
#: the release that began to drop devices without vendor or product; until then such a section was for any (libmultipath/config.c)
_DROPPED_SINCE: Release = (0, 7, 2)
#: what a section must say about itself, or multipath-tools drops it
_IDENTITY: t.Mapping[Path, t.Tuple[str, ...]] = {
    ("devices", "device"): ("vendor", "product"), ("multipaths", "multipath"): ("wwid",), ("overrides", "protocol"): ("type",)}


class _Open:
    """A section whose end has not come yet."""

    def __init__(self, path: Path, line: int, first: int, *, braced: bool) -> None:
        self.path, self.line, self.first, self.head, self.braced = path, line, first, first, braced
        self.entries: t.List[Entry] = []
        self.sections: t.List[Section] = []

    def close(self, end: t.Optional[int], last: int) -> Section:
        return Section(self.path, self.line, tuple(self.entries), tuple(self.sections), end, self.first, last, self.head)


class _Reader:
    """Goes through the pieces as multipath-tools does, with a section on the stack for each that is open."""

    def __init__(self, path: str, release: t.Optional[Release]) -> None:
        self.path = path
        self.release = release
        self.problems: t.List[Problem] = []
        self.line = 1
        self._stack: t.List[_Open] = []
        self._most = _MOST_PROBLEMS

    def say(self, fault: Fault, line: t.Optional[int] = None) -> None:
        if len(self.problems) < self._most:
            self.problems.append(Problem(self.path, self.line if line is None else line, fault.word, fault.what, fault.remedy, fault.harmful))

    def read(self, pieces: t.Sequence[bytes]) -> Section:
        dialect = dialect_of(self.release)
        self._stack = [_Open((), 0, -1, braced=True)]
        self._encoding(pieces)
        continued, reading = False, Reading()
        for index, piece in enumerate(pieces):
            reading = read_piece(piece, self._stack[-1].path, self.release, dialect)
            if continued and reading.does != "nothing":
                self.say(Fault("", f"the line has more than the {LONGEST_LINE} bytes that multipath-tools reads at once; the rest is read as another line",
                               "Make it shorter"))
            for fault in reading.faults:
                self.say(fault)
            self._take(reading, index)
            continued = not piece.endswith(b"\n")
            self.line += not continued
        if continued and reading.does != "nothing" and (self.release or (0, 6, 0)) < (0, 6, 0):
            self.say(Fault("", "the last line has no end, so multipath-tools before 0.6.0 drops it", "End it with a line feed"))
        for one in self._stack[1:]:
            self.say(Fault(one.path[-1], f"{place_name(one.path)} is not closed", "Write the brace that closes it, on a line of its own"), one.line)
        last = len(pieces) - 1
        while len(self._stack) > 1:
            section = self._stack.pop().close(None, last)
            self._stack[-1].sections.append(section)
            self._identity(section)
        top = self._stack.pop().close(None, last)
        self._duplicates(top)
        return top

    def _encoding(self, pieces: t.Sequence[bytes]) -> None:
        first = pieces[0] if pieces else b""
        if first.startswith((b"\xff\xfe", b"\xfe\xff")):
            self.say(Fault("", "is written in UTF-16, of which multipath-tools reads next to nothing", "Write it in UTF-8"), 0)
            self._most = 1
        elif first.startswith(b"\xef\xbb\xbf"):
            self.say(Fault("", "begins with a byte order mark, which multipath-tools passes over", "Remove it", harmful=False), 0)
        if any(piece.endswith(b"\r\n") for piece in pieces):
            self.say(Fault("", "has lines that end with carriage return and line feed, which multipath-tools reads", "Use line feeds alone", harmful=False), 0)

    def _take(self, reading: Reading, index: int) -> None:
        here = self._stack[-1]
        if reading.does == "brace":
            self._lone_brace(here)
            here.head = index if not here.braced else here.head
            here.braced = True
        elif reading.does == "open":
            if not reading.braced and not reading.faults:
                self.say(Fault(reading.word, f"there is no brace after {reading.word}; multipath-tools complains and reads on as if there were",
                               f"Write {reading.word} {{", harmful=False))
            self._stack.append(_Open((*here.path, reading.word), self.line, index, braced=reading.braced))
        elif reading.does == "close" and len(self._stack) > 1:
            self._stack.pop()
            section = here.close(self.line, index)
            self._stack[-1].sections.append(section)
            self._identity(section)
        elif reading.does == "close":
            self.say(Fault("}", "the brace closes nothing, since no section is open", "Remove it, or look above it for one brace too many"))
        elif reading.does == "keyword":
            here.braced = True
            here.entries.append(Entry(reading.word, reading.value, self.line, reading.quoted, index))
            if not here.path and reading.value is not None and (reading.quoted or reading.value != "{") and reading.word not in OPENS_ALONE:
                self.say(Fault(reading.word, f"{reading.word!r} stands outside of any section, so multipath-tools drops it",
                               "Put it into the section it belongs to"))

    def _lone_brace(self, here: _Open) -> None:
        if here.braced or here.entries or here.sections:
            self.say(Fault("{", "a line that begins with a brace is dropped, and opens nothing", "Write the brace behind the word of its section"))

    def _identity(self, section: Section) -> None:
        missing = [keyword for keyword in _IDENTITY.get(section.path, ()) if section.get(keyword) is None]
        if missing and section.path == ("devices", "device") and self.release is not None and self.release < _DROPPED_SINCE:
            self.say(Fault("device", f"the section device has no {' and no '.join(missing)}, which here means any; later releases drop it",
                           f"Say which {' and '.join(missing)}; '.*' is any", harmful=False), section.line)
        elif missing:
            self.say(Fault(section.path[-1], f"the section {section.path[-1]} has no {' and no '.join(missing)}, so multipath-tools drops it",
                           f"Say which {section.path[-1]} is meant"), section.line)

    def _duplicates(self, top: Section) -> None:
        seen: t.Dict[t.Tuple[Path, t.Tuple[t.Optional[str], ...]], int] = {}
        for section in (top, *top.walk()):
            self._twice(section)
            keys = ("vendor", "product", "revision") if section.path == ("devices", "device") else _IDENTITY.get(section.path, ())
            key = (section.path, tuple(section.get(keyword) for keyword in keys))
            if section.path[:1] and (len(section.path) == 1 or keys) and key in seen:
                name = " ".join([section.path[-1], *(value for value in key[1] if value is not None)])
                self.say(Fault(section.path[-1], f"{name} has a section already, in line {seen[key]}; multipath-tools reads both as one, the later one wins",
                               "Make one section of them", harmful=False), section.line)
            seen.setdefault(key, section.line)

    def _twice(self, section: Section) -> None:
        values: t.Dict[str, Entry] = {}
        for entry in section.entries:
            name = SAME_AS.get(entry.keyword, entry.keyword)
            before = values.get(name)
            if before is not None and entry.value is not None and name not in LISTS.get(section.path, ()) and section.path:
                other = before.value != entry.value
                what = f"so {before.value!r} there is dropped" if other else "with the same value"
                self.say(Fault(entry.keyword, f"{entry.keyword!r} is set already in line {before.line}, {what}", "Keep one of the lines",
                               harmful=other), entry.line)
            if entry.value is not None:
                values[name] = entry
