# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How multipath-tools reads one line of multipath.conf: libmultipath/parser.c (libmpathutil/parser.c since 0.9.1), tests/parser.c.

A line is read on its own: there is no continuation, and no quoted text reaches over the end of a line.

- The file comes in pieces of at most 1023 bytes (``fgets`` into a buffer of 1024): the rest of a longer line is read as a line of its own.
- A line ends at its first NUL byte, line feed or carriage return that follows anything else; what comes after it is not seen.
- White space, and outside of quotes every byte that is not ASCII, parts words. ``!`` and ``#`` begin a comment, also in the middle of a word,
  but not inside of quotes. ``{``, ``}`` and ``"`` are words of their own, with or without white space around them.
- Inside of quotes two quotes stand for one.
- The first word of a line decides. ``}`` closes the innermost section. A word that names a section *at this place* opens it, with or without
  a brace after it. Any other word is a keyword, and the word or the quoted text after it is its value. All that follows is dropped, braces included.
- A line that has a keyword and nothing else is dropped, and so is a line that begins with ``{``. A word that names no section here followed by a
  brace opens nothing: the lines after it belong to the section around it, and so does the closing brace.

By release: until 0.4.9 a carriage return ended a line and a last line without an end was lost. Until 0.7.5 quoted text lost the white space at its begin,
and two quotes ended it. Until 0.8.4 quoted text that begins with ``!`` or ``#`` was a comment. ``overrides`` is read since 0.6.0, ``protocol`` within it
since 0.9.0, ``devnode_blacklist`` (an older word for ``blacklist``) until 0.8.9. The files of conf.d are read since 0.6.0.
"""

from __future__ import annotations

import difflib
import functools
import re
import sys
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError

#: a release of multipath-tools: (0, 9, 4)
Release = t.Tuple[int, ...]
#: a section by the words that lead to it: ("devices", "device"); () is the file itself
Path = t.Tuple[str, ...]

#: bytes of a line with its end that multipath-tools reads at once, in every release (MAXBUF less the final NUL)
LONGEST_LINE = 1023
#: bytes of a file beyond which nothing is parsed here; multipath-tools itself has no limit. The longest file it prints itself (all its arrays) has 50 KiB
LARGEST_FILE = 1024 * 1024

BLACKLISTS = ("blacklist", "blacklist_exceptions")
#: keywords whose lines add up, by the section they stand in; everywhere else the last line of a keyword wins
LISTS: t.Mapping[Path, t.Tuple[str, ...]] = {(name,): ("devnode", "wwid", "property", "protocol") for name in (*BLACKLISTS, "devnode_blacklist")}
#: keywords that set the same thing as another one
SAME_AS: t.Mapping[str, str] = {"checker": "path_checker"}


class Problem(t.NamedTuple):
    """Something in a file that multipath-tools does not read as it is written, or complains about.

    ``harmful``: it reads something else than what is written, or drops it. Otherwise it reads what is meant, perhaps with a complaint.
    """

    path: str
    #: as an editor counts, from 1; 0 for the file as a whole
    line: int
    #: the word at fault, as it stands in the file
    word: str
    what: str
    remedy: str
    harmful: bool = True

    @property
    def subject(self) -> str:
        return f"{self.path}, line {self.line}" if self.line else self.path

    def as_error(self) -> InputError:
        return InputError(self.subject, self.what, self.remedy)

    def as_problem(self) -> t.Dict[str, str]:
        """As an entry of a module's ``problems``."""
        return self.as_error().as_problem()


class Dialect(t.NamedTuple):
    """What differs between releases inside of one line."""

    #: two quotes inside of quotes are one quote (0.7.6)
    doubled_quotes: bool = True
    #: quoted text keeps the white space it begins with (0.7.6)
    leading_blanks: bool = True
    #: quoted text may begin with ! or # (0.8.5)
    leading_marks: bool = True


def dialect_of(release: t.Optional[Release]) -> Dialect:
    """The dialect of a release; of the newest where it is not known."""
    if release is None:
        return Dialect()
    return Dialect(release >= (0, 7, 6), release >= (0, 7, 6), release >= (0, 8, 5))


def sections_in(path: Path, release: t.Optional[Release] = None) -> t.Tuple[str, ...]:
    """The words that open a section at this place."""
    known = release or (sys.maxsize,)
    if path == ():
        later = ("overrides",) if known >= (0, 6, 0) else ()
        gone = ("devnode_blacklist",) if known < (0, 9, 0) else ()
        return ("defaults", *BLACKLISTS, "devices", *later, "multipaths", *gone)
    if path == ("overrides",):
        return ("protocol",) if known >= (0, 9, 0) else ()
    if path == ("multipaths",):
        return ("multipath",)
    return ("device",) if path == ("devices",) or path in LISTS else ()


class Token(t.NamedTuple):
    #: "word" (also the text inside of quotes), "quote" or "brace"
    kind: str
    text: bytes
    start: int
    end: int


_PIECE = re.compile(rb"[^\n]{0,1022}(?:\n|[^\n]|\Z)")
_SEEN = re.compile(rb"[\r\n]*[^\r\n]*")
_BLANKS = re.compile(rb"[ \t\n\v\f\r\x80-\xff]*")
_WORD = re.compile(rb'[^ \t\n\v\f\r\x80-\xff!#{}"]+')
_QUOTED = re.compile(rb'[^"]*(?:""[^"]*)*')
_QUOTED_UNTIL_0_7_5 = re.compile(rb'[^"]*')


def split_pieces(data: bytes) -> t.List[bytes]:
    """The file in the pieces that multipath-tools reads: lines with their ends, those that are too long cut."""
    return [piece for piece in _PIECE.findall(data) if piece]


def seen_text(piece: bytes) -> bytes:
    """The part of a piece that is looked at: up to the first NUL byte, and to the first end of line that follows anything else."""
    found = _SEEN.match(piece.partition(b"\0")[0])
    return found.group() if found else b""


def _skip(pattern: t.Pattern[bytes], text: bytes, start: int) -> int:
    found = pattern.match(text, start)
    return found.end() if found else start


def tokens_of(text: bytes, dialect: Dialect = Dialect()) -> t.List[Token]:
    """The words of a line; none for a line that is empty or a comment."""
    found: t.List[Token] = []
    place, inside, quoted = _skip(_BLANKS, text, 0), False, _QUOTED if dialect.doubled_quotes else _QUOTED_UNTIL_0_7_5
    while place < len(text) and (text[place] not in b"!#" or (inside and dialect.leading_marks)):
        here = text[place:place + 1]
        if here == b'"' and not (inside and dialect.doubled_quotes and text[place + 1:place + 2] == b'"'):
            kind, end, inside = "quote", place + 1, not inside
        elif here in (b"{", b"}") and not inside:
            kind, end = "brace", place + 1
        else:
            kind, end = "word", _skip(quoted if inside else _WORD, text, place)
        word = text[place:end]
        found.append(Token(kind, word.replace(b'""', b'"') if inside and kind == "word" and dialect.doubled_quotes else word, place, end))
        place = end if inside and dialect.leading_blanks else _skip(_BLANKS, text, end)
    return found


class Fault(t.NamedTuple):
    """A problem of a line whose place is not said yet."""

    word: str
    what: str
    remedy: str
    harmful: bool = True


class Reading(t.NamedTuple):
    """What multipath-tools makes of one line."""

    #: "nothing", "open", "close", "brace" (one at the begin of a line, dropped) or "keyword"
    does: str = "nothing"
    #: the word that opens a section, or the keyword
    word: str = ""
    #: None where the line is dropped
    value: t.Optional[str] = None
    quoted: bool = False
    #: whether the line that opens a section has its brace
    braced: bool = False
    faults: t.Tuple[Fault, ...] = ()


@functools.lru_cache(maxsize=16384)
def read_piece(piece: bytes, path: Path, release: t.Optional[Release] = None, dialect: Dialect = Dialect()) -> Reading:
    """Read one piece of the file, as a line of the section at ``path``."""
    text = seen_text(piece)
    tokens = tokens_of(text, dialect)
    faults = [*_unseen(piece, text), *_not_ascii(text, tokens)]
    if not tokens:
        return Reading(faults=tuple(faults))
    word = decode(tokens[0].text)
    if tokens[0].kind == "brace":
        if word == "{":
            return Reading("brace", faults=tuple(faults))
        return Reading("close", faults=(*faults, *_after_brace(tokens, 1)))
    if word in sections_in(path, release) and tokens[0].kind == "word" and (len(tokens) > 1 or word in OPENS_ALONE):
        braced = len(tokens) > 1 and tokens[1].text == b"{"
        if len(tokens) > 1 and not braced:
            faults.append(Fault(decode(tokens[1].text), f"a brace is expected after {word}, and {_show(tokens[1].text)} is dropped", f"Write {word} {{"))
        return Reading("open", word, braced=braced, faults=(*faults, *(_after_brace(tokens, 2) if braced else ())))
    return _read_keyword(text, tokens, faults, path, release)


def _read_keyword(text: bytes, tokens: t.Sequence[Token], before: t.Sequence[Fault], path: Path, release: t.Optional[Release]) -> Reading:
    """A line that neither opens nor closes a section."""
    faults: t.List[Fault] = []
    word = decode(tokens[0].text)
    value, used, quoted, closed = _value(tokens)
    if tokens[0].kind == "quote":
        word = decode(tokens[1].text) if len(tokens) > 1 else '"'
        faults.append(Fault(word, "the line begins with a quote, so multipath-tools drops it", "Write the keyword without quotes"))
        value = None
    elif value is None:
        faults.append(_no_value(word, path, release))
    elif not closed:
        faults.append(Fault(word, f"the quote that opens the value of {_name(word)} is not closed, so the value reaches to the end of the line",
                            "Close it; to have a quote in a value, write it twice"))
    elif word in OPENS_ALONE:
        faults.append(_opens_nothing(word, path, release))
    elif value in ("{", "}") and not quoted:
        faults.append(_brace_as_value(word, value, path, release))
    if value is not None and len(tokens) > used and (quoted or value not in ("{", "}")) and word not in OPENS_ALONE:
        faults.append(_extra(word, value, tokens, used, quoted=quoted))
    elif value is not None and not quoted and tokens[1].end < len(text) and text[tokens[1].end] in b"!#":
        mark = chr(text[tokens[1].end])
        faults.append(Fault(word, f"{mark} right after {_show(tokens[1].text)} begins a comment, so it is no part of the value of {_name(word)}",
                            "Put the value in quotes if it is meant to be, or a blank before the comment", harmful=False))
    return Reading("keyword", word, value, quoted, faults=(*before, *faults))


#: where the brace is missing these open their section all the same; the others are taken for a keyword without a value
OPENS_ALONE = ("defaults", *BLACKLISTS, "devices", "device", "multipaths", "multipath")


def decode(text: bytes) -> str:
    """Bytes of the file as text; those that are not UTF-8 as surrogates."""
    return text.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _show(text: bytes) -> str:
    """Text of the file in a sentence."""
    return repr(text.decode("utf-8", "backslashreplace"))


def _name(word: str) -> str:
    """A word of the file in a sentence: as it is, unless it would spoil the sentence."""
    return word if word.isprintable() else repr(word)


def _value(tokens: t.Sequence[Token]) -> t.Tuple[t.Optional[str], int, bool, bool]:
    """The value of a keyword, how many words it and the keyword are, whether it is in quotes, and whether these are closed."""
    if len(tokens) < 2:
        return None, 1, False, True
    if tokens[1].kind != "quote":
        return decode(tokens[1].text), 2, False, True
    end = next((place for place in range(2, len(tokens)) if tokens[place].kind == "quote"), len(tokens))
    return decode(b" ".join([one.text for one in tokens[2:end]])), min(end + 1, len(tokens)), True, end < len(tokens)


def _unseen(piece: bytes, text: bytes) -> t.List[Fault]:
    rest = piece[len(text):]
    if not rest.strip(b" \t\r\n\0"):
        return [Fault("", "a NUL byte ends the line", "Remove it", harmful=False)] if b"\0" in rest else []
    what = "a NUL byte" if rest.startswith(b"\0") else "a carriage return"
    return [Fault("", f"{what} in the line ends it, and multipath-tools does not see what follows", "Begin a new line there, with a line feed")]


def _not_ascii(text: bytes, tokens: t.Sequence[Token]) -> t.List[Fault]:
    """Bytes beyond ASCII: white space outside of quotes, taken as they are inside."""
    found: t.List[Fault] = []
    place = 0
    for number, token in enumerate(tokens):
        gap = text[place:token.start]
        inside = number > 0 and token.kind == "word" and tokens[number - 1].kind == "quote"
        if decode(gap).strip(" \t\n\v\f\r\ufeff") and not inside:
            found.append(_foreign(gap))
        elif inside and any(0xDC80 <= ord(char) <= 0xDCFF for char in decode(token.text)):
            found.append(Fault("", f"{_show(token.text)} is not UTF-8; multipath-tools takes its bytes as they are", "Write the file in UTF-8", harmful=False))
        place = token.end
    tail = re.split(rb"[!#]", text[place:], maxsplit=1)[0] if tokens else b""
    if decode(tail).strip(" \t\n\v\f\r"):
        found.append(_foreign(tail))
    return found[:1]


def _foreign(gap: bytes) -> Fault:
    blank = not decode(gap).strip()
    return Fault("", f"{_show(gap.strip())} is outside of quotes and not ASCII, so multipath-tools reads it as white space",
                 "Write a blank or a tab" if blank else "Put the value in quotes", harmful=not blank)


def _after_brace(tokens: t.Sequence[Token], first: int) -> t.List[Fault]:
    """What stands after the brace of a line that opens or closes a section."""
    if len(tokens) <= first:
        return []
    return [Fault(decode(tokens[first].text), f"{_show(tokens[first].text)} and all that follows it in the line is dropped, since a line ends with its brace",
                  "Write it on a line of its own" + (", each closing brace too" if any(one.text == b"}" for one in tokens[first:]) else ""))]


def _no_value(word: str, path: Path, release: t.Optional[Release]) -> Fault:
    if word in sections_in(path, release):
        return Fault(word, f"there is no brace after {word}, so multipath-tools drops the line and reads what follows as a part of {place_name(path)}",
                     f"Write {word} {{")
    if "=" in word:
        return Fault(word, f"{word!r} is read as one word, a keyword without a value, and dropped", "Write a blank between keyword and value, no equals sign")
    return Fault(word, f"{_name(word)} has no value, so multipath-tools drops the line", 'Write a value after it; an empty one is ""')


def _brace_as_value(word: str, brace: str, path: Path, release: t.Optional[Release]) -> Fault:
    if brace == "}":
        return Fault(word, f"the brace after {_name(word)} is read as its value and closes nothing", "Write the brace on a line of its own")
    return _opens_nothing(word, path, release)


def _opens_nothing(word: str, path: Path, release: t.Optional[Release]) -> Fault:
    """A section's word, or what looks like one, where it is none."""
    here = sections_in(path, release)
    place = place_name(path)
    what = f"{_name(word)} opens no section in {place}: the lines that follow, and the brace meant to close it, are read as parts of {place}"
    close = difflib.get_close_matches(word, here, 1)
    others = [parent for parent in _PARENTS if word in sections_in(parent, release) and parent != path]
    if others:
        remedy = f"{word} belongs into {place_name(others[0])}" + (f"; close {place_name(path)} before it" if path else "")
    elif close:
        remedy = f"Did you mean {close[0]}?"
    elif word in _SINCE and release is not None:
        remedy = _SINCE[word]
    else:
        remedy = f"A section here is {' or '.join(here)}" if here else f"There are no sections in {place_name(path)}"
    return Fault(word, what, remedy)


_PARENTS: t.Tuple[Path, ...] = ((), ("devices",), ("multipaths",), ("overrides",))
_SINCE = {"overrides": "multipath-tools reads it since 0.6.0", "protocol": "multipath-tools reads it since 0.9.0"}


def place_name(path: Path) -> str:
    """A section in a sentence."""
    return f"the section {' / '.join(path)}" if path else "the top of the file"


def _extra(word: str, value: str, tokens: t.Sequence[Token], used: int, *, quoted: bool) -> Fault:
    rest = decode(tokens[used].text)
    if rest in ("{", "}") and tokens[used].kind == "brace":
        does = "closes" if rest == "}" else "opens"
        return Fault(word, f"the brace after the value of {_name(word)} is dropped; it {does} nothing", "Write it on a line of its own")
    if value == "=" and not quoted:
        return Fault(word, f"the equals sign is read as the value of {_name(word)}, and {rest!r} is dropped", "Write keyword and value without it")
    if quoted:
        return Fault(word, f"what follows the closing quote of {_name(word)} is dropped, from {rest!r} on",
                     "Write one value; a quote inside of it is written twice, a comment begins with #")
    return Fault(word, f"the value of {_name(word)} is {value!r}, what follows it is dropped", "Put a value with blanks in quotes; a comment begins with #")


_PLAIN = re.compile(r"-?[A-Za-z0-9_]+")


def quote(value: str, *, always: bool = False) -> str:
    """A value as it is written in the file."""
    return value if _PLAIN.fullmatch(value) and not always else '"' + value.replace('"', '""') + '"'


def check_value(subject: str, value: str, release: t.Optional[Release] = None) -> None:
    """Raise ``InputError`` for a value that cannot be written so that this release reads it."""
    if any(char in value for char in "\0\r\n"):
        raise InputError(subject, "holds the end of a line or a NUL byte", "A value of multipath.conf is one line")
    dialect, remedy = dialect_of(release), "The installed release of multipath-tools cannot read it; choose another value, or write it as a regular expression"
    if '"' in value and not dialect.doubled_quotes:
        raise InputError(subject, "holds a quote, which multipath-tools reads since 0.7.6", remedy)
    if value[:1] in tuple(" \t\v\f") and not dialect.leading_blanks:
        raise InputError(subject, "begins with white space, which multipath-tools reads since 0.7.6", remedy)
    if value[:1] in ("!", "#") and not dialect.leading_marks:
        raise InputError(subject, f"begins with {value[0]}, which multipath-tools reads since 0.8.5", remedy)


def drop_ins(names: t.Iterable[str], release: t.Optional[Release] = None) -> t.List[str]:
    """Which files of the folder conf.d are read, in their order, after the main file (libmultipath/config.c): a later file wins.

    Names that end with .conf, hidden ones too, sorted by their bytes; until 0.8.3 also names that have .conf anywhere. (Before 0.6.0 the folder is
    read only where a distribution brought it back; that is not looked at here.)
    """
    anywhere = release is not None and release < (0, 8, 4)
    return sorted((name for name in names if name.endswith(".conf") or (anywhere and ".conf" in name)), key=encode)
