# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iscsid.conf and initiatorname.iscsi as values: text in, the same text out, and edits that leave every other line as it is."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import REDACTED
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.conf import LONGEST_LINE, config_value, last_piece, parse_iscsid_conf
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.conf_keys import DAEMON_KEYS, check_conf_settings, is_secret, read_value
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.record import parse_line
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.version import Version

Problem = t.Dict[str, str]
#: a line of a setting, commented out or not: what comes before the key, the key, what stands around the equals sign, the value, the end
_LINE = re.compile(r"(?P<before>[ \t]*(?P<hash>#[#\s]*)?)(?P<key>[^\s=#]+)(?P<sign>[^\S\n]*=[^\S\n]*)(?P<value>.*?)(?P<end>\s*)", re.DOTALL | re.ASCII)


class Line(t.NamedTuple):
    """One line that holds a setting. ``state`` is ``set`` (open-iscsi reads it), ``passed over`` (it was meant so) or ``commented out``."""

    place: int
    state: str
    key: str
    value: str


def split_lines(text: str) -> t.List[str]:
    """The lines with their ends, by line feeds alone."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


class ConfDocument:
    """iscsid.conf as it stands. Never changed, only copied."""

    __slots__ = ("lines", "path", "pieces")

    def __init__(self, text: str, path: str) -> None:
        self.path = path
        self.pieces: t.Tuple[str, ...] = tuple(split_lines(text))
        #: the lines that hold a setting
        self.lines: t.Tuple[Line, ...] = tuple(line for line in map(_read_line, range(len(self.pieces)), self.pieces) if line is not None)

    def render(self) -> str:
        return "".join(self.pieces)

    def effective(self) -> t.Dict[str, str]:
        """What open-iscsi reads: of most keys the last line that it takes, of those of the daemon the first."""
        text = self.render()
        found = {key: value for key, value in parse_iscsid_conf(text).items() if key not in DAEMON_KEYS}
        found.update((key, value) for key, value in ((key, config_value(text, key)) for key in DAEMON_KEYS) if value)
        return found

    def with_setting(self, key: str, value: str) -> ConfDocument:
        """A copy in which open-iscsi reads ``value`` for ``key``.

        The line that counts changes; without one, the setting goes below the line where it stands commented out, one with this very value
        before others, and else to the end. Raises ``DamagedError`` where another line would win.
        """
        if self.effective().get(key) == value:
            return self
        pieces = list(self.pieces)
        counts = self._line_that_counts(key)
        if counts is not None:
            match = _match(pieces[counts.place])
            sign = match.group("sign") if re.search(r"\s=", match.group("sign")) or key in DAEMON_KEYS else " = "
            end = match.group("end") if match.group("end").endswith("\n") else _end_of(pieces)
            pieces[counts.place] = f"{match.group('before')}{key}{sign}{value}{end}"
        else:
            place = self._place_of(key, value)
            if place and not pieces[place - 1].endswith("\n"):
                pieces[place - 1] += _end_of(pieces)
            pieces.insert(place, f"{key} = {value}{_end_of(pieces)}")
        return ConfDocument("".join(pieces), self.path)._proved(key, value)

    def _proved(self, key: str, value: t.Optional[str]) -> ConfDocument:
        if self.effective().get(key) != value:
            raise DamagedError(self.path, f"has a line in which open-iscsi finds another value of {key} than the one that is wanted",
                               f"Look for a line of more than {LONGEST_LINE} bytes, or for {key} in the middle of one")
        return self

    def without(self, key: str) -> ConfDocument:
        """A copy without any line that sets ``key`` or was meant to; what is commented out stays. Raises ``DamagedError`` as ``with_setting``."""
        gone = {line.place for line in self.lines if line.key == key and line.state != "commented out"}
        return ConfDocument("".join(piece for index, piece in enumerate(self.pieces) if index not in gone), self.path)._proved(key, None)

    def _line_that_counts(self, key: str) -> t.Optional[Line]:
        """The line to change: the one whose value is in effect, else the last that was meant to set the key."""
        lines = [line for line in self.lines if line.key == key and line.state != "commented out"]
        value = self.effective().get(key)
        winning = [line for line in lines if line.state == "set" and line.value == value]
        if winning:
            return winning[0] if key in DAEMON_KEYS else winning[-1]
        return lines[-1] if lines else None

    def _place_of(self, key: str, value: str) -> int:
        comments = [line for line in self.lines if line.key == key and line.state == "commented out"]
        if comments:
            return next((line for line in comments if line.value == value), comments[-1]).place + 1
        last = len(self.pieces)
        # a last line without an end is not read, and would be with something behind it
        unread = bool(self.lines) and self.lines[-1].place == last - 1 and self.lines[-1].state == "passed over" and not self.pieces[-1].endswith("\n")
        return last - 1 if unread else last

    def redacted(self, changed: t.Container[str] = ()) -> str:
        """The text with stars for secrets, also in comments and under names that look like those of secrets."""
        return "".join(_redact(piece, changed) for piece in self.pieces)

    def problems(self, version: t.Optional[Version]) -> t.List[Problem]:
        """Lines from which open-iscsi reads something else than what is written."""
        found: t.List[Problem] = []

        def say(index: int, what: str, remedy: str) -> None:
            found.append({"object": f"{self.path}, line {index + 1}", "what": what, "remedy": remedy})

        for index, piece in enumerate(self.pieces):
            if len(piece) > LONGEST_LINE and (not piece.lstrip().startswith("#") or parse_line(last_piece(piece[:-1]))):
                say(index, f"is longer than the {LONGEST_LINE} bytes that open-iscsi reads at once; it takes the rest for another line", "Make it shorter")
        last = len(self.pieces) - 1
        effective = self.effective()
        for line in self.lines:
            if line.state == "commented out":
                continue
            try:
                meant = check_conf_settings({line.key: line.value}, version)[line.key]
            except InputError as error:
                say(line.place, f"{error.subject} {error.what}", error.remedy)
                continue
            if read_value(line.key, line.value) != meant:
                say(line.place, f"sets {line.key} to a word that open-iscsi does not take as it is written", f"Write it as {meant}")
            elif line.state == "passed over" and line.place == last and not self.pieces[last].endswith("\n"):
                say(line.place, "has no end, so open-iscsi does not read it", "End it with a line feed")
            elif line.state == "passed over":
                say(line.place, f"has no white space between {line.key} and the equals sign, so open-iscsi passes over it", f"Write it as {line.key} = value")
            elif effective.get(line.key, line.value) != line.value:
                say(line.place, f"sets {line.key} to another value than the line that counts", "Remove one of the two")
        return found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ConfDocument) and self.pieces == other.pieces

    def __hash__(self) -> int:
        return hash(self.pieces)

    def __repr__(self) -> str:
        return f"ConfDocument({self.path!r}, {len(self.pieces)} lines)"


def _match(piece: str) -> t.Match[str]:
    match = _LINE.fullmatch(piece)
    if match is None:
        raise DamagedError("a line of iscsid.conf", "holds no setting", "")
    return match


def _read_line(index: int, piece: str) -> t.Optional[Line]:
    match = _LINE.fullmatch(piece)
    if match is None or not match.group("value"):
        return None
    key, value = match.group("key"), match.group("value")
    if match.group("hash"):
        # in the middle of a sentence there may be an equals sign, too
        return Line(index, "commented out", key, value) if re.fullmatch(r"[a-z_]+(\.[\w\[\]-]+)+", key) else None
    if key in DAEMON_KEYS:
        return Line(index, "set", key, value)
    read = piece.endswith("\n") and len(piece) <= LONGEST_LINE and parse_line(piece) is not None
    return Line(index, "set" if read else "passed over", key, value)


def _end_of(pieces: t.Sequence[str]) -> str:
    """How lines end in this file."""
    return "\r\n" if pieces and pieces[0].endswith("\r\n") else "\n"


def _redact(piece: str, changed: t.Container[str]) -> str:
    match = _LINE.fullmatch(piece)
    if match is None or not match.group("value") or not is_secret(match.group("key")):
        return piece
    stars = REDACTED + (" (changed)" if match.group("key") in changed and not match.group("hash") else "")
    return f"{match.group('before')}{match.group('key')}{match.group('sign')}{stars}{match.group('end')}"


class NameDocument:
    """initiatorname.iscsi as it stands. Never changed, only copied."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    @property
    def name(self) -> str:
        """InitiatorName as iscsid reads it; empty where there is none."""
        return config_value(self.text, "InitiatorName")

    @property
    def alias(self) -> str:
        return config_value(self.text, "InitiatorAlias")

    def with_name(self, name: str) -> NameDocument:
        """A copy with this InitiatorName, written as Debian's start-up check wants it, and without the order to make one up at the next start."""
        return NameDocument("".join(piece for piece in split_lines(self.text) if not piece.startswith("GenerateName=")))._with("InitiatorName", name)

    def with_alias(self, alias: str) -> NameDocument:
        """A copy with this InitiatorAlias, or without one where it is empty."""
        if alias:
            return self._with("InitiatorAlias", alias)
        return NameDocument("".join(piece for piece in split_lines(self.text) if not _sets(piece, "InitiatorAlias")))

    def _with(self, key: str, value: str) -> NameDocument:
        pieces = split_lines(self.text)
        line = f"{key}={value}\n"
        places = [index for index, piece in enumerate(pieces) if _sets(piece, key)]
        if places:
            pieces[places[0]] = line
        else:
            if pieces and not pieces[-1].endswith("\n"):
                pieces[-1] += "\n"
            comments = [index for index, piece in enumerate(pieces) if re.match(rf"\s*#[#\s]*{key}\s*=", piece)]
            pieces.insert(comments[-1] + 1 if comments else len(pieces), line)
        return NameDocument("".join(pieces))


def _sets(piece: str, key: str) -> bool:
    return bool(config_value(piece, key))
