# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong in a multipath.conf: words that are no keyword where they stand, values that are not allowed, names that are given twice.

multipath-tools reads most of these without failing, and takes something else than what was meant. What it drops or misreads is ``harmful``; a word that
has a successor is not. Braces, quotes and lines that are set twice are found by ``document.py``; ``check`` hands back both.
"""

from __future__ import annotations

import difflib
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._multipath import schema
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.document import Document, Entry, Section
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.grammar import Path, Problem, Release
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.schema import Has, Keyword, as_text, section_text
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.values import check_value

#: how alike a word must be to be offered as the right one
_ALIKE = 0.7
#: a file with more of them is no multipath.conf, and to look for what was meant costs time
_MOST_PROBLEMS = 100
_MULTIPATH: Path = ("multipaths", "multipath")


class Verdict(t.NamedTuple):
    """What is wrong with a word, without the place where it stands."""

    what: str
    remedy: str
    harmful: bool = True


class Checker:
    """Checks against one release. ``has`` and ``plugins`` say what the host knows beyond it (see ``version.Installed``).

    Without a release everything passes that some release reads and that was not removed since.
    """

    def __init__(self, release: t.Optional[Release] = None, *, has: t.Optional[Has] = None,
                 plugins: t.Optional[t.Mapping[str, t.Collection[str]]] = None) -> None:
        self.release = release
        self.has = has
        self.plugins = plugins or {}

    def keyword(self, section: Path, word: str) -> t.Optional[Verdict]:
        """What is wrong with a keyword in a section; None where nothing is."""
        known = schema.all_keywords(section).get(word)
        if known is not None and known.known_to(self.release, self.has):
            return self._deprecated(known)
        if known is not None and self.release is not None:
            return self._not_of_this_release(known, self.release)
        if known is not None:
            return Verdict(f"{word!r} was removed from multipath-tools", _instead(known))
        return self._unknown(section, word)

    def value(self, section: Path, word: str, value: str) -> t.Optional[Verdict]:
        """What is wrong with a value of a keyword that the section knows; None where nothing is, or where the keyword is unknown."""
        known = schema.all_keywords(section).get(word)
        if known is None or (known.ignored and known.is_deprecated(self.release)):
            return None
        wrong = check_value(known, value, self.release, self.has, self.plugins)
        return Verdict(f"{value!r} as {word} {wrong.what}", wrong.remedy, wrong.harmful) if wrong else None

    def _deprecated(self, one: Keyword) -> t.Optional[Verdict]:
        if not one.is_deprecated(self.release) or (self.release is None and not one.ignored and not one.successor):
            return None
        does = "is not read any more, and its value ignored" if one.ignored else "is deprecated"
        return Verdict(f"{one.name!r} {does}", _instead(one), harmful=False)

    def _not_of_this_release(self, one: Keyword, release: Release) -> Verdict:
        later, gone = one.came_with(release), one.went_with(release)
        if one.red_hat:
            return Verdict(f"{one.name!r} is known to Red Hat's multipath-tools 0.4.9 alone, not to {as_text(release)}", _instead(one))
        if gone is not None:
            back = f"; {as_text(later)} brought it back" if later else ""
            return Verdict(f"{one.name!r} was removed from multipath-tools with {as_text(gone)}{back}", _instead(one))
        what = f"{one.name!r} is not known to multipath-tools {as_text(release)} of this host"
        return Verdict(what, f"It came with {as_text(later or ())}; leave it out here")

    def _unknown(self, section: Path, word: str) -> Verdict:
        what = f"{word!r} is not a keyword of {section_text(section)}" if section else f"{word!r} stands outside of any section"
        here = schema.keywords(section, self.release, self.has)
        homes = schema.sections_of(word, self.release, self.has)
        if homes:
            return Verdict(what, f"It belongs in {' or '.join(section_text(home) for home in homes[:2])}")
        near = difflib.get_close_matches(word, here, 1, _ALIKE)
        if near:
            return Verdict(what, f"Did you mean {near[0]!r}?")
        others = {name: home for home, _since in schema.SECTIONS.values() for name in schema.keywords(home, self.release, self.has)}
        near = difflib.get_close_matches(word, others, 1, _ALIKE)
        if near:
            return Verdict(what, f"Did you mean {near[0]!r}, which belongs in {section_text(others[near[0]])}?")
        if self.release is not None and self.release > schema.NEWEST and section:
            return Verdict(f"{what} as far as it is known here, up to multipath-tools {as_text(schema.NEWEST)}",
                           "See multipath.conf(5) of this host", harmful=False)
        return Verdict(what, "See multipath.conf(5) for the keywords there are" if here or not section else "Only other sections may stand there")


def _instead(one: Keyword) -> str:
    return f"Use {one.successor!r} instead" if one.successor else "Leave it out"


def check(document: Document, release: t.Optional[Release] = None, *, has: t.Optional[Has] = None,
          plugins: t.Optional[t.Mapping[str, t.Collection[str]]] = None) -> t.List[Problem]:
    """All that is wrong in a document, the grammar's problems included, in the order of the file."""
    checker = Checker(release if release is not None else document.release, has=has, plugins=plugins)
    found = list(document.problems)
    said = {(one.line, one.word) for one in found if one.harmful}
    for section in (document.top, *document.walk()):
        if len(found) >= _MOST_PROBLEMS:
            break
        ours = _check_section(document.path, section, checker, said)
        if not section.path:  # the grammar says that such a line is dropped, and this where it belongs
            better = {(one.line, one.word) for one in ours}
            found = [one for one in found if (one.line, one.word) not in better]
        found += ours
    found += _check_names([document])
    return sorted(found, key=lambda one: one.line)


def check_all(documents: t.Sequence[Document], release: t.Optional[Release] = None, *, has: t.Optional[Has] = None,
              plugins: t.Optional[t.Mapping[str, t.Collection[str]]] = None) -> t.List[Problem]:
    """All that is wrong in multipath.conf and its drop-ins, in the order in which they are read: each alone, and names given twice across them."""
    found = [problem for document in documents for problem in check(document, release, has=has, plugins=plugins)]
    return found + [problem for problem in _check_names(documents) if problem not in found]


def _check_section(path: str, section: Section, checker: Checker, said: t.Container[t.Tuple[int, str]]) -> t.List[Problem]:
    found: t.List[Problem] = []
    for entry in section.entries:
        if len(found) >= _MOST_PROBLEMS:
            break
        dropped = entry.value is None or (entry.value in ("{", "}") and not entry.quoted)
        if dropped and (entry.line, entry.keyword) in said:
            continue
        verdict = checker.keyword(section.path, entry.keyword)
        if verdict is not None:
            found.append(Problem(path, entry.line, entry.keyword, *verdict))
        if entry.value is not None and (verdict is None or not verdict.harmful):
            verdict = checker.value(section.path, entry.keyword, entry.value)
            if verdict is not None:
                found.append(Problem(path, entry.line, entry.value, *verdict))
    if section.path == ("defaults",):
        found += _check_polling(path, section)
    return found


def _check_polling(path: str, section: Section) -> t.List[Problem]:
    """multipath-tools lowers polling_interval to the maximum without a word."""
    last: t.Dict[str, Entry] = {entry.keyword: entry for entry in section.entries}
    interval, most = last.get("polling_interval"), last.get("max_polling_interval")
    if interval is None or most is None:
        return []
    low, high = interval.value or "", most.value or ""
    if not ((low + high).isascii() and low.isdigit() and high.isdigit() and 0 < int(high[:20]) < int(low[:20])):
        return []
    return [Problem(path, interval.line, low, f"polling_interval {low} is more than max_polling_interval {high}, which is then used for both",
                    "Lower the one or raise the other")]


def _check_names(documents: t.Sequence[Document]) -> t.List[Problem]:
    """An alias of two maps is given to one of them; sections of one wwid in several files are read as one, with a complaint."""
    aliases: t.Dict[str, t.Tuple[t.Optional[str], str]] = {}
    wwids: t.Dict[str, t.Tuple[str, str]] = {}
    found: t.List[Problem] = []
    for document in documents:
        for section in document.walk():
            if section.path != _MULTIPATH:
                continue
            wwid, alias = section.get("wwid"), section.get("alias")
            line = next((entry.line for entry in section.entries if entry.keyword == "alias"), section.line)
            place = f"{document.path}, line {line}"
            other, there = aliases.setdefault(alias, (wwid, place)) if alias else (wwid, "")
            if other != wwid:
                found.append(Problem(document.path, line, alias or "", f"the alias {alias!r} is given to {other} already, in {there}",
                                     "Give each map a name of its own"))
            before, at = wwids.setdefault(wwid, (document.path, f"{document.path}, line {section.line}")) if wwid else (document.path, "")
            if before != document.path:
                found.append(Problem(document.path, section.line, wwid or "", f"{wwid} has a section already, in {at}; multipath-tools reads both as one",
                                     "Make one section of them", harmful=False))
    return found
