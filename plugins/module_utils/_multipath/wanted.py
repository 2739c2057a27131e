# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task of multipath_conf asks for, and the document that comes of it. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath import edits, schema
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.check import Checker, Verdict
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.document import Document, Place, device, listed_device, multipath, protocol
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.grammar import SAME_AS, Problem, Release, sections_in
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.values import render_value, same

Options = t.Mapping[str, t.Any]
#: the options that are one section, and those that are a list of sections
_SINGLE = ("defaults", "overrides")
_BLACKLISTS = ("blacklist", "blacklist_exceptions")
#: what sections in a list are known by
_KEYS: t.Mapping[str, t.Tuple[str, ...]] = {"devices": ("vendor", "product"), "multipaths": ("wwid",), "protocols": ("type",)}
#: words of sections, and the options that they are
_SECTIONS: t.Mapping[str, str] = {"device": "devices", "multipath": "multipaths", "protocol": "protocols",
                                  **{name: name for name in (*_SINGLE, *_BLACKLISTS, "devices", "multipaths")}}


class Section(t.NamedTuple):
    """Keywords of one section, as a task gives them."""

    #: how the task's option is called, for messages
    option: str
    place: Place
    settings: t.Mapping[str, t.Any]


class Listed(t.NamedTuple):
    """Values of a keyword of a blacklist."""

    option: str
    place: Place
    keyword: str
    values: t.Sequence[str]


class Wanted(t.NamedTuple):
    """Everything that a task names, in the order in which it is written."""

    sections: t.Sequence[Section] = ()
    lists: t.Sequence[Listed] = ()


def parse_wanted(params: Options) -> Wanted:
    """The options of a task; ``InputError`` where an entry does not say which section it means, or names one twice."""
    sections = [Section(f"option {name}", Place((name,)), _given(params[name])) for name in _SINGLE if params.get(name) is not None]
    lists: t.List[Listed] = []
    for name in _BLACKLISTS:
        entries = dict(params.get(name) or {})
        for index, entry in enumerate(entries.pop("devices", None) or ()):
            place = listed_device(name, entry.get("vendor") or None, entry.get("product") or None)
            option = f"option {name}.devices[{index}]"
            if not entry.get("vendor") and not entry.get("product"):
                raise InputError(option, "names neither a vendor nor a product", "Give at least one of them")
            sections.append(Section(option, place, {}))
        lists.extend(Listed(f"option {name}.{keyword}", Place((name,)), keyword, [str(value) for value in values])
                     for keyword, values in entries.items() if values)
    for name, keys in _KEYS.items():
        for index, entry in enumerate(params.get(name) or ()):
            sections.append(_entry(f"option {name}[{index}]", name, keys, entry))
    _refuse_twice(sections)
    return Wanted(sections, lists)


def _given(entry: Options) -> t.Dict[str, t.Any]:
    return {str(key): value for key, value in entry.items()}


def _entry(option: str, name: str, keys: t.Sequence[str], entry: Options) -> Section:
    missing = [key for key in keys if entry.get(key) in (None, "")]
    if missing:
        raise InputError(option, f"has no {' and no '.join(missing)}", f"Say which {name[:-1]} is meant")
    known_by = [_name(option, key, entry[key]) for key in keys]
    if name == "devices":
        place = device(known_by[0], known_by[1], None if entry.get("revision") is None else _name(option, "revision", entry["revision"]))
    else:
        place = (multipath if name == "multipaths" else protocol)(known_by[0])
    return Section(f"{option} ({' '.join(known_by)})", place, {key: value for key, value in entry.items() if key not in dict(place.identity)})


def _name(option: str, key: str, value: t.Any) -> str:
    """What a section is known by, as text; a number of more than digits is not what was written (1.10 is 1.1)."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise InputError(option, f"{key} is {value!r}, a {type(value).__name__}", "Give it as text, in quotes")
    if not str(value).isprintable():
        raise InputError(option, f"{key} is {value!r}, which holds what cannot be printed", "Leave that out; the end of a line, perhaps")
    return str(value)


def _refuse_twice(sections: t.Sequence[Section]) -> None:
    seen: t.Dict[Place, str] = {}
    for section in sections:
        if section.place in seen:
            raise InputError(section.option, f"means the same section as {seen[section.place]}", "Make one entry of them")
        seen[section.place] = section.option


def edit(document: Document, wanted: Wanted, checker: Checker, *, absent: bool = False) -> Document:
    """The document with what is wanted in it, or with ``absent`` without it; ``InputError`` for what this release would not read as it is meant."""
    for section in wanted.sections:
        _look_section(section, checker.release)
        document = _without(document, section, checker) if absent else _with(document, section, checker)
    for one in wanted.lists:
        _look(one.option, checker.keyword(one.place.path, one.keyword))
        for value in () if absent else one.values:
            verdict = checker.value(one.place.path, one.keyword, value)
            if verdict is not None:  # an empty pattern, too, which is merely told where it stands in a file
                raise InputError(one.option, verdict.what, verdict.remedy)
        document = (edits.remove_from_list if absent else edits.add_to_list)(document, one.place, one.keyword, one.values)
    return document


def _look_section(section: Section, release: t.Optional[Release]) -> None:
    path = section.place.path
    for depth, word in enumerate(path):
        if word not in sections_in(path[:depth], release):
            since = next((since for known, since in schema.SECTIONS.values() if known == path[:depth + 1]), "")
            raise InputError(section.option, f"needs a section {word!r}, which multipath-tools {schema.as_text(release or ())} of this host does not read",
                             f"It came with {since}; leave it out here")


def _with(document: Document, section: Section, checker: Checker) -> Document:
    words = {keyword: _word(section, keyword, value, checker) for keyword, value in section.settings.items() if value is not None}
    for word, name in SAME_AS.items():
        if word in words and name in words:
            raise InputError(section.option, f"has {word} and {name}, which set the same thing", "Give one of them")
    for keyword, value in section.place.identity:
        if value is not None:
            _look(section.option, checker.value(section.place.path, keyword, value))
    now = document.settings(section.place)
    changed = {keyword: word for keyword, word in words.items()
               if not _same(section.place, keyword, now.get(SAME_AS.get(keyword, keyword)), word, checker.release)}
    try:
        document = edits.set_keywords(document, section.place, changed)
        return edits.add_section(document, section.place) if section.place.identity else document
    except InputError as error:
        raise InputError(f"{section.option}: {error.subject.rpartition(' ')[2]}", error.what, error.remedy)


def _without(document: Document, section: Section, checker: Checker) -> Document:
    if section.place.identity and not section.settings:
        return edits.remove_section(document, section.place)
    for keyword in section.settings:
        if keyword not in schema.all_keywords(section.place.path):
            _look(section.option, checker.keyword(section.place.path, keyword))
    return edits.set_keywords(document, section.place, dict.fromkeys(section.settings))


def _word(section: Section, keyword: str, value: t.Any, checker: Checker) -> str:
    path = section.place.path
    if keyword in _SECTIONS and isinstance(value, (dict, list)):
        raise InputError(section.option, f"{keyword} is a section", f"Give it as an option of its own, {_SECTIONS[keyword]}")
    _look(section.option, checker.keyword(path, keyword))
    known = schema.all_keywords(path).get(keyword)
    if known is None:  # of a release that is newer than the table
        return _name(section.option, keyword, value)
    try:
        word = render_value(known, value, checker.release)
    except InputError as error:
        raise InputError(f"{section.option}: {keyword}", error.what, error.remedy)
    _look(section.option, checker.value(path, keyword, word))
    return word


def _same(place: Place, keyword: str, now: t.Optional[str], word: str, release: t.Optional[Release]) -> bool:
    known = schema.all_keywords(place.path).get(keyword)
    return now is not None and (now == word or (known is not None and same(known, now, word, release)))


def _look(option: str, verdict: t.Optional[Verdict]) -> None:
    """Raise for what would be misread; what is merely old is told by the check of the document."""
    if verdict is not None and verdict.harmful:
        raise InputError(option, verdict.what, verdict.remedy)


def overruled(wanted: Wanted, documents: t.Sequence[Document], path: str, release: t.Optional[Release]) -> t.List[Problem]:
    """What stays without effect in the file at ``path``: a later one sets it otherwise, or a device's keyword stands in ``overrides`` too."""
    names = [document.path for document in documents]
    later = documents[names.index(path) + 1:] if path in names else ()
    found: t.List[Problem] = []
    for section in wanted.sections:
        for document in later:
            found += _otherwise(section, document, section.place, f"sets %s of {section.place} to %s and is read later", release)
        for document in documents if section.place.path == ("devices", "device") else ():
            found += _otherwise(section, document, Place(("overrides",)), "sets %s of overrides to %s, which goes before that of a device", release)
        found += _detected(section, documents, path, release)
    return found


def _detected(section: Section, documents: t.Sequence[Document], path: str, release: t.Optional[Release]) -> t.Iterator[Problem]:
    """A way to group paths that multipath's own choice goes before, as it does for ALUA unless told otherwise (libmultipath/propsel.c, since 0.9.6)."""
    policy, chooser = section.settings.get("path_grouping_policy"), "detect_pgpolicy"
    if section.place.path == ("multipaths", "multipath") or policy in (None, "group_by_prio", "group_by_tpg"):
        return
    if release is None or chooser not in schema.keywords(("defaults",), release):
        return
    for place in (Place(("overrides",)), section.place, Place(("defaults",))):
        said = [document.settings(place)[chooser] for document in documents if chooser in document.settings(place)]
        if said:
            if said[-1] in ("no", "off"):
                return
            break
    lines = [entry.line for document in documents if document.path == path for one in document.find(section.place) for entry in one.entries
             if entry.keyword == "path_grouping_policy"]
    yield Problem(path, lines[-1] if lines else 1, "path_grouping_policy",
                  f"disks with ALUA are grouped by their priorities, since {chooser} is on, so {policy!r} of this task has no effect on them",
                  f"Set {chooser} to no beside it, or let it choose and leave path_grouping_policy out")


def _otherwise(section: Section, document: Document, place: Place, what: str, release: t.Optional[Release]) -> t.Iterator[Problem]:
    theirs = document.settings(place)
    for keyword, value in section.settings.items():
        name, known = SAME_AS.get(keyword, keyword), schema.all_keywords(section.place.path).get(keyword)
        if value is None or name not in theirs or known is None or same(known, theirs[name], render_value(known, value, release), release):
            continue
        lines = [entry.line for one in document.find(place) for entry in one.entries if SAME_AS.get(entry.keyword, entry.keyword) == name]
        ours = render_value(known, value, release)
        yield Problem(document.path, lines[-1], keyword, f"{what % (keyword, repr(theirs[name]))}, so {ours!r} of this task has no effect",
                      "Set it there, or take it out there")
