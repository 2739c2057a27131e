# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One line of multipath.conf. The first table holds the cases of multipath-tools' own tests/parser.c (0.14.3): what goes in and what has to come out."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.grammar import (
    check_value, dialect_of, drop_ins, quote, read_piece, sections_in, seen_text, split_pieces, tokens_of)

#: a quote that opens or closes
Q = None

UPSTREAM = [
    pytest.param(b"keyword value", [b"keyword", b"value"], "value", id="01 plain"),
    pytest.param(b'keyword "value"', [b"keyword", Q, b"value", Q], "value", id="02 quoted"),
    pytest.param(b"keyword value\n", [b"keyword", b"value"], "value", id="03 end of line"),
    pytest.param(b"keyword \t   value   \t \n   ", [b"keyword", b"value"], "value", id="04 white space"),
    pytest.param(b"keyword \t   value   \t ! comment  ", [b"keyword", b"value"], "value", id="05 comment with !"),
    pytest.param(b"keyword \t   value   # \n comment  ", [b"keyword", b"value"], "value", id="06 comment with #"),
    pytest.param(b"keyword \t   value   more  ", [b"keyword", b"value", b"more"], "value", id="07 more than one word"),
    pytest.param(b'keyword \t "  value   more  "', [b"keyword", Q, b"  value   more  ", Q], "  value   more  ", id="08 white space in quotes"),
    pytest.param(b'keyword "value # more"', [b"keyword", Q, b"value # more", Q], "value # more", id="09 # in quotes"),
    pytest.param(b'keyword "value ! more"', [b"keyword", Q, b"value ! more", Q], "value ! more", id="10 ! in quotes"),
    pytest.param(b'keyword"value comment"', [b"keyword", Q, b"value comment", Q], "value comment", id="11 no blank before the quote"),
    pytest.param(b'key"word"', [b"key", Q, b"word", Q], "word", id="12 a quote ends a word"),
    pytest.param(b'keyword value "quoted"', [b"keyword", b"value", Q, b"quoted", Q], "value", id="13 a word before the quote"),
    pytest.param(b'keyword "value "  comment""', [b"keyword", Q, b"value ", Q, b"comment", Q, Q], "value ", id="14 text after the quote"),
    pytest.param(b'keyword "2.5"" SSD"', [b"keyword", Q, b'2.5" SSD', Q], '2.5" SSD', id="16 a quote in the value"),
    pytest.param(b'keyword """"" is empty"', [b"keyword", Q, b'"" is empty', Q], '"" is empty', id="17 two quotes in the value"),
    pytest.param(b'keyword """"', [b"keyword", Q, b'"', Q], '"', id="18 nothing but a quote"),
    pytest.param(b'key "!value"', [b"key", Q, b"!value", Q], "!value", id="19 ! first in quotes"),
    pytest.param(b'key "#value"', [b"key", Q, b"#value", Q], "#value", id="20 # first in quotes"),
]


def words(line: bytes, release: t.Optional[t.Tuple[int, ...]] = None) -> t.List[t.Optional[bytes]]:
    return [None if token.kind == "quote" else token.text for token in tokens_of(line, dialect_of(release))]


@pytest.mark.parametrize(("line", "tokens", "value"), UPSTREAM)
def test_as_in_the_tests_of_multipath_tools(line: bytes, tokens: t.List[t.Optional[bytes]], value: str) -> None:
    assert words(line) == tokens
    reading = read_piece(line, ("defaults",))
    assert (reading.does, reading.word, reading.value) == ("keyword", (tokens[0] or b"").decode(), value)


def test_as_in_the_tests_of_multipath_tools_15_an_end_of_line_in_quotes() -> None:
    # its lexer takes it, but what reads the file never hands it two lines
    assert words(b'key"word  value\n  comment"') == [b"key", Q, b"word  value\n  comment", Q]
    assert read_piece(b'key"word  value\n', ("defaults",)).value == "word  value"


#: what that file says of earlier releases, in its switches TWO_QUOTES_ONLY and LSTRIP_QUOTED_WSP
@pytest.mark.parametrize(("line", "release", "tokens"), [
    pytest.param(b'keyword \t "  value   more  "', (0, 7, 5), [b"keyword", Q, b"value   more  ", Q], id="08"),
    pytest.param(b'keyword "2.5"" SSD"', (0, 7, 5), [b"keyword", Q, b"2.5", Q, Q, b"SSD", Q], id="16"),
    pytest.param(b'keyword """"" is empty"', (0, 7, 5), [b"keyword", Q, Q, Q, Q, Q, b"is empty", Q], id="17"),
    pytest.param(b'keyword """"', (0, 7, 5), [b"keyword", Q, Q, Q, Q], id="18"),
    pytest.param(b'key "!value"', (0, 8, 4), [b"key", Q], id="19"),
    pytest.param(b'key "#value"', (0, 8, 4), [b"key", Q], id="20"),
    pytest.param(b'keyword "2.5"" SSD"', (0, 7, 6), [b"keyword", Q, b'2.5" SSD', Q], id="16, newer"),
    pytest.param(b'key "#value"', (0, 8, 5), [b"key", Q, b"#value", Q], id="20, newer"),
])
def test_earlier_releases(line: bytes, release: t.Tuple[int, ...], tokens: t.List[t.Optional[bytes]]) -> None:
    assert words(line, release) == tokens


@pytest.mark.parametrize(("line", "tokens"), [
    pytest.param(b"", [], id="empty"),
    pytest.param(b" \t\v\f\r\n", [], id="white space"),
    pytest.param(b"\xc3\xa9 # x", [], id="nothing but foreign letters"),
    pytest.param(b"\xef\xbb\xbfdefaults {", [b"defaults", b"{"], id="byte order mark"),
    pytest.param(b"a\xc2\xa0b", [b"a", b"b"], id="a no-break space parts words"),
    pytest.param(b"alias caf\xe9s", [b"alias", b"caf", b"s"], id="so does any letter beyond ASCII"),
    pytest.param(b'alias "caf\xe9s"', [b"alias", Q, b"caf\xe9s", Q], id="not in quotes"),
    pytest.param(b"defaults{a}", [b"defaults", b"{", b"a", b"}"], id="braces are words of their own"),
    pytest.param(b'a "{}"{', [b"a", Q, b"{}", Q, b"{"], id="not in quotes either"),
    pytest.param(b"a b#c", [b"a", b"b"], id="a comment in the middle of a word"),
    pytest.param(b'a "b', [b"a", Q, b"b"], id="a quote that is not closed"),
    pytest.param(b'a "', [b"a", Q], id="a quote and nothing more"),
    pytest.param(b'a """', [b"a", Q, b'"'], id="a quote, not closed, with a quote in it"),
    pytest.param(b'a ""', [b"a", Q, Q], id="empty quotes"),
])
def test_words(line: bytes, tokens: t.List[t.Optional[bytes]]) -> None:
    assert words(line) == tokens


@pytest.mark.parametrize(("data", "sizes"), [
    pytest.param(b"", [], id="empty"),
    pytest.param(b"a\n\nb", [2, 1, 1], id="no end at the end"),
    pytest.param(b"a" * 1022 + b"\nb\n", [1023, 2], id="the longest line"),
    pytest.param(b"a" * 1023 + b"\nb\n", [1023, 1, 2], id="one byte more"),
    pytest.param(b"a" * 2500, [1023, 1023, 454], id="no line at all"),
    pytest.param(b"a\r\nb\rc\n", [3, 4], id="a carriage return is no end here"),
])
def test_pieces(data: bytes, sizes: t.List[int]) -> None:
    pieces = split_pieces(data)
    assert [len(piece) for piece in pieces] == sizes
    assert b"".join(pieces) == data


@pytest.mark.parametrize(("piece", "seen"), [
    pytest.param(b"a b\n", b"a b", id="line feed"),
    pytest.param(b"a b\r\n", b"a b", id="both"),
    pytest.param(b"a\rb\n", b"a", id="carriage return in the middle"),
    pytest.param(b"\ra b\n", b"\ra b", id="carriage return first"),
    pytest.param(b"a\0b\n", b"a", id="NUL"),
    pytest.param(b"\0a\n", b"", id="NUL first"),
])
def test_what_is_seen_of_a_piece(piece: bytes, seen: bytes) -> None:
    assert seen_text(piece) == seen


def test_sections_by_release() -> None:
    assert "overrides" not in sections_in((), (0, 5, 0)) and "overrides" in sections_in((), (0, 6, 0))
    assert "devnode_blacklist" in sections_in((), (0, 8, 9)) and "devnode_blacklist" not in sections_in((), (0, 9, 0))
    assert sections_in(("overrides",), (0, 8, 9)) == () and sections_in(("overrides",)) == ("protocol",)
    assert sections_in(("blacklist",)) == sections_in(("devices",)) == ("device",)
    assert sections_in(("multipaths",)) == ("multipath",)
    assert sections_in(("defaults",)) == sections_in(("devices", "device")) == ()


@pytest.mark.parametrize(("value", "written"), [
    ("60", "60"), ("group_by_prio", "group_by_prio"), ("-1", "-1"), ("", '""'), ("a b", '"a b"'), ('2.5" SSD', '"2.5"" SSD"'), ('"', '""""'), ("#1", '"#1"'),
    ("a{", '"a{"'), (".*", '".*"'), ("caf\u00e9", '"caf\u00e9"'), ("-", '"-"'), ("a\n", '"a\n"'),
])
def test_quotes_only_where_they_are_needed(value: str, written: str) -> None:
    assert quote(value) == written
    assert quote(value, always=True) == (written if written.startswith('"') else f'"{written}"')


@pytest.mark.parametrize(("value", "release", "says"), [
    ("a\nb", None, "end of a line"), ("a\rb", None, "end of a line"), ("a\0", None, "NUL"),
    ('2.5" SSD', (0, 7, 5), "since 0.7.6"), (" a", (0, 7, 5), "since 0.7.6"), ("!^sd", (0, 8, 4), "since 0.8.5"), ("#1", (0, 4, 9), "since 0.8.5"),
])
def test_values_that_cannot_be_written(value: str, release: t.Optional[t.Tuple[int, ...]], says: str) -> None:
    with pytest.raises(InputError, match=says):
        check_value("x", value, release)


@pytest.mark.parametrize(("value", "release"), [
    ('2.5" SSD', (0, 7, 6)), (" a", (0, 7, 6)), ("!^sd", (0, 8, 5)), ("a#1 !", (0, 4, 9)), ("", (0, 4, 9)), ('#"', None),
])
def test_values_that_can(value: str, release: t.Optional[t.Tuple[int, ...]]) -> None:
    check_value("x", value, release)
    assert read_piece(f"x {quote(value)}\n".encode(), ("defaults",), release, dialect_of(release)).value == value


def test_drop_ins() -> None:
    names = ["b.conf", "a.conf", "A.conf", "10-x.conf", ".hidden.conf", "x.conf.bak", "x.CONF", "conf", "9.conf"]
    assert drop_ins(names) == [".hidden.conf", "10-x.conf", "9.conf", "A.conf", "a.conf", "b.conf"]
    assert drop_ins(names, (0, 8, 3)) == [".hidden.conf", "10-x.conf", "9.conf", "A.conf", "a.conf", "b.conf", "x.conf.bak"]
