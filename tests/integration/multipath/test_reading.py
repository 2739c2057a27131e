# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""multipath.conf as we read it beside what the real multipath reads: random files, mistakes, edits, drop-ins."""

from __future__ import annotations

import itertools
import random
import re
import typing as t

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import IscsiError
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.document import Document, Place, device, multipath, parse
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.edits import add_to_list, set_keywords
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.grammar import drop_ins

if t.TYPE_CHECKING:
    from conftest import Answer, Multipath

DEFAULTS, OVERRIDES, BLACKLIST = Place(("defaults",)), Place(("overrides",)), Place(("blacklist",))
#: keywords whose values multipath takes and prints as they are
TEXTS: t.Mapping[t.Tuple[str, ...], t.Sequence[str]] = {
    ("defaults",): ("uid_attribute", "prio_args"), ("overrides",): ("uid_attribute", "prio_args"), ("blacklist",): ("wwid",),
    ("devices", "device"): ("vendor", "product", "revision", "uid_attribute", "prio_args"),
    ("multipaths", "multipath"): ("wwid", "alias", "prio_args")}
JUNK = ["defaults", "devices", "device", "multipaths", "multipath", "overrides", "protocol", "blacklist", "{", "}", "} ", "\n", "\n", "\n", "\t", " ", '"',
        '""', "#", "!", "\u00e9", "alias", "wwid", "vendor", "product", "prio_args", "a", "b1", "X y", "\r", "\r\n", "\0", "=", "\u00a0", "x" * 500]


class Writer:
    """Writes files that are sometimes right."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._pick = self._random.choice

    def value(self) -> str:
        alphabet = ["a", "b", "1", "Z", " ", "  ", '"', '""', "#", "!", "{", "}", "\t", "\u00e9"]
        return "".join(self._pick(alphabet) for _number in range(self._random.randint(0, 5)))

    def _entry(self, keyword: str) -> str:
        # those of a blacklist are regular expressions, and one that is none makes multipath refuse the whole file
        value = self.value() if keyword != "wwid" else "".join(self._pick('ab1 "#') for _number in range(self._random.randint(1, 5)))
        written = '"' + value.replace('"', '""') + '"' if self._random.random() < 0.7 or keyword == "wwid" else value
        return keyword + self._pick([" "] * 8 + ["", "\t", "  ", "\u00a0"]) + written

    def _end(self) -> str:
        return self._pick(["\n"] * 6 + ["\r\n", " # c\n", "#c\n", " x\n", " }\n", "\n\n"])

    def _section(self, path: t.Sequence[str]) -> t.Iterator[str]:
        for depth, word in enumerate(path):
            yield "\t" * depth + word + self._pick([" {"] * 8 + ["{", "\n{", "", " x {", "{ }"]) + self._end()
            if self._random.random() < 0.05:
                yield "junk {\n"
        for _number in range(self._random.randint(0, 5)):
            yield "\t" * len(path) + self._entry(self._pick(list(TEXTS[tuple(path)]))) + self._end()
        for _word in path:
            yield self._pick(["}"] * 9 + ["", "} }", "}}"]) + self._end()

    def file(self) -> bytes:
        parts: t.List[str] = []
        for _number in range(self._random.randint(1, 6)):
            if self._random.random() < 0.25:
                parts.append("".join(self._pick(JUNK) for _number in range(self._random.randint(1, 14))) + "\n")
            else:
                parts.extend(self._section(self._pick(list(TEXTS))))
        return "".join(parts).encode(self._pick(["utf-8"] * 4 + ["latin-1"]))


Identity = t.Tuple[t.Optional[str], ...]
Known = t.Dict[Identity, t.Dict[str, str]]


def ours(document: Document, path: t.Tuple[str, ...], known_by: t.Sequence[str]) -> Known:
    """Sections by their identity, those that multipath drops left out, those of one identity merged."""
    found: Known = {}
    for section in document.walk():
        if section.path == path and all(section.get(keyword) is not None for keyword in known_by if keyword != "revision"):
            settings = document.settings(Place(path, tuple((keyword, section.get(keyword)) for keyword in known_by)))
            found[tuple(section.get(keyword) for keyword in known_by)] = {key: value for key, value in settings.items() if key in TEXTS[path]}
    return found


def theirs(answer: Answer, path: t.Tuple[str, ...], known_by: t.Sequence[str]) -> Known:
    found: Known = {}
    for section in answer.sections:
        settings = dict(section.entries)
        if section.path == path:
            found[tuple(settings.get(keyword) for keyword in known_by)] = {key: value for key, value in settings.items() if key in TEXTS[path]}
    return found


def compare(document: Document, answer: Answer) -> None:
    for path, known_by in ((("devices", "device"), ("vendor", "product", "revision")), (("multipaths", "multipath"), ("wwid",))):
        assert ours(document, path, known_by) == theirs(answer, path, known_by)
    for place in (DEFAULTS, OVERRIDES):
        printed = dict(answer.values(*place.path))
        wanted = {key: value for key, value in document.settings(place).items() if key in TEXTS[place.path]}
        assert {key: printed.get(key) for key in wanted} == wanted
    assert [value for keyword, value in answer.values("blacklist") if keyword == "wwid"] == document.values(BLACKLIST, "wwid")


#: what multipath says of the grammar; what it says of keywords and values is left to the check of these
_COMPLAINT = re.compile(r"(?:can't parse|missing|ignoring extra data|invalid keyword '\{'|expecting '\{'|unmatched).* (?:on|at) line (\d+) of |"
                        r".* line (\d+), duplicate keyword|.* line (\d+), invalid keyword: ")


def complained_about(answer: Answer) -> t.Dict[int, str]:
    found = [_COMPLAINT.match(complaint) for complaint in answer.complaints]
    return {int(next(filter(None, one.groups()))): one.string for one in found if one}


@pytest.mark.parametrize("seed", range(4))
def test_random_files_are_read_alike(witness: Multipath, seed: int) -> None:
    writer, compared = Writer(seed), 0
    for _number in range(100):
        data = writer.file()
        answer = witness.read(data)
        document = parse(data, release=(0, 9, 4))
        assert document.render() == data
        if answer.code == 0:  # otherwise a value could not be taken, and nothing is printed
            compare(document, answer)
            compared += 1
        # each line that multipath complains about is among our problems, unless a line was so long that it counts otherwise
        if not any(len(line) > 1000 for line in data.split(b"\n")):
            about = {problem.line for problem in document.problems}
            about |= {b"".join(document.pieces[:section.head]).count(b"\n") + 1 for section in document.walk()}  # a brace below its word
            assert {line: says for line, says in complained_about(answer).items() if line not in about} == {}
        if any("at end of" in complaint for complaint in answer.complaints):
            assert any("is not closed" in problem.what for problem in document.harmful())
    assert compared > 80


@pytest.mark.parametrize("seed", range(10, 12))
def test_edits_of_random_files_are_read(witness: Multipath, seed: int) -> None:
    writer, seen = Writer(seed), 0
    for number in itertools.count():
        if number == 80:
            break
        document = parse(writer.file(), release=(0, 9, 4))
        value = writer.value()
        try:
            for place in (DEFAULTS, OVERRIDES, device('Edited "1"', "P#"), multipath("edited")):
                document = set_keywords(document, place, {"prio_args": value})
            document = add_to_list(document, BLACKLIST, "wwid", ["edited"])
        except IscsiError:
            continue  # a section is not closed
        answer = witness.read(document.render())
        if answer.code == 0:
            seen += 1
            compare(document, answer)
            assert theirs(answer, ("devices", "device"), ("vendor", "product", "revision"))[('Edited "1"', "P#", None)]["prio_args"] == value
            assert theirs(answer, ("multipaths", "multipath"), ("wwid",))[("edited",)]["prio_args"] == value
            assert dict(answer.values("defaults"))["prio_args"] == dict(answer.values("overrides"))["prio_args"] == value
            assert ("wwid", "edited") in answer.values("blacklist")
    assert seen > 20


def test_a_file_of_ours_is_read_without_a_complaint(witness: Multipath) -> None:
    document = parse(b"")
    for place in (DEFAULTS, OVERRIDES, device("LIO-ORG", ".*"), multipath("3600 1")):
        document = set_keywords(document, place, {"prio_args": ' a "b" {c} #d !e \u00e9 '})
    answer = witness.read(add_to_list(document, BLACKLIST, "wwid", ["1", "2"]).render())
    assert (answer.code, answer.complaints) == (0, [])


def test_drop_ins_are_read_in_our_order(witness: Multipath) -> None:
    names = ["b.conf", "A.conf", "a.conf", "10-x.conf", ".hidden.conf", "z.conf.bak", "z.CONF", "9.conf", "_.conf", "\u00e9.conf", "z"]
    left = list(names)
    order = drop_ins(names, (0, 9, 4))
    while left:
        files = {name: f'defaults {{\nprio_args "{name}"\n}}\n'.encode() for name in left}
        wins = dict(witness.read(b'defaults {\nprio_args "main"\n}\n', files).values("defaults"))["prio_args"]
        expected = [name for name in order if name in left]
        assert wins == (expected[-1] if expected else "main")
        if not expected:
            break
        left.remove(expected[-1])
