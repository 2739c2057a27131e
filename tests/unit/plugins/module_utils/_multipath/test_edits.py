# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Edits of multipath.conf: what was asked for is read afterwards, and no other line is another one."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, InputError, IscsiError
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.document import Document, Place, device, listed_device, multipath, parse, protocol
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.edits import (
    add_section, add_to_list, remove_from_list, remove_section, set_keywords, set_list)
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.grammar import LISTS, SAME_AS

DEFAULTS, BLACKLIST, OVERRIDES = Place(("defaults",)), Place(("blacklist",)), Place(("overrides",))
LIO = device("LIO-ORG", ".*")
Settings = t.Mapping[str, t.Optional[str]]


class Case(t.NamedTuple):
    before: str
    place: Place
    settings: Settings
    after: str


SET = [
    pytest.param(Case("", DEFAULTS, {"verbosity": "3"}, "defaults {\n\tverbosity 3\n}\n"), id="a file that is empty"),
    pytest.param(Case("# mine", DEFAULTS, {"verbosity": "3"}, "# mine\ndefaults {\n\tverbosity 3\n}\n"), id="a last line without an end"),
    pytest.param(Case("x y\r\n\r", DEFAULTS, {"a": "1"}, "x y\r\n\r\ndefaults {\r\n\ta 1\r\n}\r\n"), id="a last line with half an end"),
    pytest.param(Case("# mine\n\n", LIO, {"failback": "60"},
                      '# mine\n\ndevices {\n\tdevice {\n\t\tvendor "LIO-ORG"\n\t\tproduct ".*"\n\t\tfailback 60\n\t}\n}\n'),
                 id="a device where there are none"),
    pytest.param(Case("defaults {\n  verbosity 2\n}\n\n# the end\n", multipath("3600"), {"alias": "red disk"},
                      'defaults {\n  verbosity 2\n}\n\n# the end\n\nmultipaths {\n  multipath {\n    wwid 3600\n    alias "red disk"\n  }\n}\n'),
                 id="a section behind others, with a blank line as there, in their indent"),
    pytest.param(Case("defaults {\n}\ndevices {\n    device {\n      vendor A\n      product B\n    } # A\n    # no more\n}\n", LIO, {"prio": "alua"},
                      "defaults {\n}\ndevices {\n    device {\n      vendor A\n      product B\n    } # A\n"
                      '    device {\n      vendor "LIO-ORG"\n      product ".*"\n      prio alua\n    }\n    # no more\n}\n'),
                 id="a device behind another, in its indent"),
    pytest.param(Case("defaults {\n\tverbosity 2 # why\n}\n", DEFAULTS, {"verbosity": "3"}, "defaults {\n\tverbosity 3 # why\n}\n"), id="a comment stays"),
    pytest.param(Case('defaults {\n\tverbosity\t "2"! why\n}', DEFAULTS, {"verbosity": "3"}, 'defaults {\n\tverbosity\t "3"! why\n}'),
                 id="quotes and blanks stay"),
    pytest.param(Case("defaults {\n prio_args a\n}\n", DEFAULTS, {"prio_args": 'a "b" #1'}, 'defaults {\n prio_args "a ""b"" #1"\n}\n'),
                 id="quotes where needed"),
    pytest.param(Case('defaults {\n prio_args"a"\n}\n', DEFAULTS, {"prio_args": "b"}, 'defaults {\n prio_args "b"\n}\n'), id="a blank where there was none"),
    pytest.param(Case("defaults {\r\n verbosity 2\r\n}\r\n", DEFAULTS, {"verbosity": "3", "mode": "0600"},
                      "defaults {\r\n verbosity 3\r\n mode 0600\r\n}\r\n"), id="line ends of the file"),
    pytest.param(Case("defaults {\n\n\t# nothing yet\n}\n", DEFAULTS, {"verbosity": "3"}, "defaults {\n\tverbosity 3\n\n\t# nothing yet\n}\n"),
                 id="an empty section"),
    pytest.param(Case("defaults\n{\n}\n", DEFAULTS, {"verbosity": "3"}, "defaults\n{\n\tverbosity 3\n}\n"), id="a brace in the next line"),
    pytest.param(Case("defaults {\n\ta b\n\n\t# end\n}\n", DEFAULTS, {"c": "1", "d": "2"}, "defaults {\n\ta b\n\tc 1\n\td 2\n\n\t# end\n}\n"),
                 id="new lines behind the last"),
    pytest.param(Case("overrides {\n\tprotocol {\n\t\ttype fcp\n\t}\n}\n", OVERRIDES, {"prio": "alua"},
                      "overrides {\n\tprio alua\n\tprotocol {\n\t\ttype fcp\n\t}\n}\n"),
                 id="a keyword does not fall into a section within"),
    pytest.param(Case("defaults {\n a 1\n b 2\n a 3\n}\n", DEFAULTS, {"a": "4"}, "defaults {\n b 2\n a 4\n}\n"), id="a keyword that stands there twice"),
    pytest.param(Case("defaults {\n a 1\n b 2\n a 3\n}\n", DEFAULTS, {"a": "3"}, "defaults {\n b 2\n a 3\n}\n"), id="twice, the last as it shall be"),
    pytest.param(Case("defaults {\n a 1\n b 2\n a\n}\n", DEFAULTS, {"a": "3"}, "defaults {\n a 3\n b 2\n}\n"), id="a line that is dropped gives way"),
    pytest.param(Case("defaults {\n  a # x\n}\n", DEFAULTS, {"a": "3"}, "defaults {\n  a 3 # x\n}\n"), id="a missing value"),
    pytest.param(Case("defaults {\n a 1 0 # x\n}\n", DEFAULTS, {"a": "1 0"}, 'defaults {\n a "1 0" # x\n}\n'), id="a value that lacked its quotes"),
    pytest.param(Case('defaults {\n a "1 # x\n}\n', DEFAULTS, {"a": "2"}, 'defaults {\n a "2"\n}\n'), id="a quote that was not closed"),
    pytest.param(Case("defaults {\n checker tur\n}\n", DEFAULTS, {"path_checker": "rdac"}, "defaults {\n checker rdac\n}\n"), id="a keyword by its other name"),
    pytest.param(Case("defaults {\n path_checker a\n checker tur\n}\n", DEFAULTS, {"path_checker": "a"}, "defaults {\n checker a\n}\n"),
                 id="by both its names"),
    pytest.param(Case("defaults {\n a 1 # x\n\n b 2\n}\n", DEFAULTS, {"a": None, "c": None}, "defaults {\n\n b 2\n}\n"), id="taken away"),
    pytest.param(Case("defaults {\n a 1\n a 2\n}\ndefaults {\n a 3\n}\n", DEFAULTS, {"a": None}, "defaults {\n}\ndefaults {\n}\n"), id="taken away everywhere"),
    pytest.param(Case("defaults {\n a 1\n}\ndefaults {\n b 3\n}\n", DEFAULTS, {"a": "2", "c": "5"}, "defaults {\n a 2\n}\ndefaults {\n b 3\n c 5\n}\n"),
                 id="a section that is there twice"),
    pytest.param(Case("x y\n", DEFAULTS, {"a": None}, "x y\n"), id="nothing to take away"),
    pytest.param(Case("defaults {\n a 1\n}\n", DEFAULTS, {"a": "1"}, "defaults {\n a 1\n}\n"), id="as it shall be already"),
    pytest.param(Case("defaults {\n a \xe9\n}\n", DEFAULTS, {"a": "\udce9"}, 'defaults {\n a "\udce9"\n}\n'), id="letters taken for white space go"),
    pytest.param(Case("defaults {\n a\xa01\n}\n", DEFAULTS, {"a": "2"}, "defaults {\n a 2\n}\n"), id="a no-break space too"),
]


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("case", SET)
def test_set_keywords(case: Case) -> None:
    changed = set_keywords(parse(as_bytes(case.before)), case.place, case.settings)
    assert changed.render().decode("utf-8", "surrogateescape") == case.after
    assert set_keywords(changed, case.place, case.settings) is changed
    found = changed.settings(case.place)
    assert {keyword: found.get(SAME_AS.get(keyword, keyword)) for keyword in case.settings} == case.settings


TWICE = "multipaths {\nmultipath {\nwwid 1\nalias a\n}\nmultipath {\nwwid 1\nmode 0600\n}\n}\n"


@pytest.mark.parametrize(("release", "first", "second"), [
    pytest.param((0, 7, 7), "alias b\nmode 0644\n", "mode 0644\nalias b\n", id="the first alone counts: all are the same"),
    pytest.param(None, "alias b\n", "mode 0644\n", id="merged: where it stands"),
])
def test_sections_of_one_identity(release: t.Optional[t.Tuple[int, ...]], first: str, second: str) -> None:
    changed = set_keywords(parse(TWICE.encode(), release=release), multipath("1"), {"alias": "b", "mode": "0644"})
    assert changed.render().decode() == f"multipaths {{\nmultipath {{\nwwid 1\n{first}}}\nmultipath {{\nwwid 1\n{second}}}\n}}\n".replace("\n\t", "\n")


def test_a_device_with_a_revision_is_another_one() -> None:
    document = set_keywords(set_keywords(parse(b""), LIO, {"failback": "60"}), device("LIO-ORG", ".*", "4.0"), {"failback": "manual"})
    assert [section.get("failback") for section in document.walk()] == [None, "60", "manual"]
    assert document.get(LIO, "failback") == "60"
    assert [section.get("failback") for section in remove_section(document, LIO).walk()] == [None, "manual"]


LISTED = "blacklist {\n  devnode ^sda # system\n  wwid 1\n  devnode \"^sdb\"\n  # more\n}\nblacklist {\n  devnode ^sdc\n  devnode ^sda\n}\n"


@pytest.mark.parametrize(("edit", "after"), [
    pytest.param(lambda one: add_to_list(one, BLACKLIST, "devnode", ["^sdb", "^sdd", "^sdd"]), LISTED.replace("sda\n}", 'sda\n  devnode "^sdd"\n}'), id="add"),
    pytest.param(lambda one: add_to_list(one, BLACKLIST, "wwid", ["1", "2"]), LISTED.replace("wwid 1\n", "wwid 1\n  wwid 2\n"), id="add behind its own"),
    pytest.param(lambda one: add_to_list(one, BLACKLIST, "property", ["x"]), LISTED.replace("sda\n}", "sda\n  property x\n}"), id="add the first of a kind"),
    pytest.param(lambda one: remove_from_list(one, BLACKLIST, "devnode", ["^sda", "^x"]),
                 LISTED.replace("  devnode ^sda # system\n", "").replace("  devnode ^sda\n", ""), id="remove, everywhere"),
    pytest.param(lambda one: set_list(one, BLACKLIST, "devnode", ["^sdb", "^sda"]), LISTED.replace("  devnode ^sdc\n", ""), id="set: others go"),
    pytest.param(lambda one: set_list(one, BLACKLIST, "devnode", []),
                 "blacklist {\n  wwid 1\n  # more\n}\nblacklist {\n}\n", id="set to none"),
    pytest.param(lambda one: set_list(one, BLACKLIST, "devnode", ["^sda", "^sdb", "^sdc"]), LISTED, id="set as it is"),
    pytest.param(lambda one: add_to_list(one, Place(("blacklist_exceptions",)), "wwid", ["36 0"]), LISTED + 'blacklist_exceptions {\n  wwid "36 0"\n}\n',
                 id="a section that is missing"),
    pytest.param(lambda one: add_section(one, listed_device("blacklist", "IBM", None)),
                 LISTED.replace("^sda\n}", "^sda\n  device {\n    vendor IBM\n  }\n}"), id="a device of the list"),
])
def test_lists(edit: t.Callable[[Document], Document], after: str) -> None:
    changed = edit(parse(LISTED.encode()))
    assert changed.render().decode() == after
    assert edit(changed) == changed


def test_sections() -> None:
    before = parse(b"# a\n\noverrides {\n\tprio alua # b\n\tprotocol {\n\t\ttype \"scsi:fcp\"\n\t}\n}\n# c\n")
    added = add_section(before, protocol("scsi:iscsi"))
    assert added.render() == before.render().replace(b"\t}\n}", b'\t}\n\tprotocol {\n\t\ttype "scsi:iscsi"\n\t}\n}')
    assert add_section(added, protocol("scsi:iscsi")) is added
    assert remove_section(added, protocol("scsi:iscsi")) == before
    assert remove_section(before, OVERRIDES).render() == b"# a\n\n# c\n"
    assert remove_section(before, DEFAULTS) is before


def whole_edit(document: Document) -> Document:
    return set_keywords(document, DEFAULTS, {"a": "1"})


LONG = " #" + "x" * 1100
DAMAGED = [
    pytest.param("devices {\ndevice {\nvendor A\n", whole_edit, "line 1", "the section devices is not closed, so nothing can be added behind it",
                 id="something behind a section that is not closed"),
    pytest.param("devices {\ndevice {\nvendor A\n", lambda one: add_section(one, LIO), "line 2",
                 "the section device is not closed, so nothing can be added behind it", id="something behind a device that is not closed"),
    pytest.param("defaults {\na 2\n", lambda one: remove_section(one, DEFAULTS), "line 1",
                 "the section defaults is not closed, so it is not clear what belongs to it", id="a section that is not closed, to be removed"),
    pytest.param(f"defaults {{\na 2{LONG}\n}}\n", whole_edit, "line 2", "the line has more than the 1023 bytes", id="in a long line"),
    pytest.param(f"defaults {{\nb 2{LONG}\n}}\n", whole_edit, "line 2", "the line has more than the 1023 bytes", id="behind a long line"),
    pytest.param(f"defaults {{\na 2{LONG}\n}}\n", lambda one: set_keywords(one, DEFAULTS, {"a": None}), "line 2", "the line has more than the 1023 bytes",
                 id="a long line, to be removed"),
    pytest.param(f"defaults {{\n{LONG}\n a 2\n}}\n", lambda one: remove_section(one, DEFAULTS), "line 2", "the line has more than the 1023 bytes",
                 id="a section with a long line, to be removed"),
    pytest.param("devices {\n}\n", lambda one: set_keywords(one, Place(("devices",)), {"device": "x"}), "f.conf",
                 "devices: device would not be read as it was written", id="a section as a keyword"),
]


@pytest.mark.parametrize(("before", "edit", "where", "what"), DAMAGED)
def test_damaged(before: str, edit: t.Callable[[Document], Document], where: str, what: str) -> None:
    with pytest.raises(DamagedError) as caught:
        edit(parse(before.encode(), "f.conf"))
    assert caught.value.subject.endswith(where) and caught.value.what.startswith(what) and caught.value.remedy


@pytest.mark.parametrize(("before", "says"), [
    pytest.param("defaults {\n\ta 2\n", "f.conf, line 1: the section defaults is not closed, so nothing can be added behind it. "
                 "Write the brace that closes it, on a line of its own", id="the thing itself"),
    pytest.param("defaults {\n\ta 2 }\n", "f.conf, line 1: the section defaults is not closed, so nothing can be added behind it. "
                 "First mend line 2: the brace after the value of a is dropped; it closes nothing. Write it on a line of its own", id="its cause"),
])
def test_what_is_damaged_is_said_once_and_with_its_cause(before: str, says: str) -> None:
    with pytest.raises(DamagedError) as caught:
        add_section(parse(before.encode(), "f.conf"), LIO)
    assert caught.value.sentence() == says


def test_a_section_that_is_not_closed_can_be_edited_itself() -> None:
    assert whole_edit(parse(b"defaults {\na 2\n# x")).render() == b"defaults {\na 1\n# x"
    assert whole_edit(parse(b"defaults {")).render() == b"defaults {\n\ta 1\n"


@pytest.mark.parametrize(("settings", "says"), [
    ({"vendor": "IBM"}, "known by"), ({"revision": "1"}, "known by"), ({"vendor": None}, "known by"), ({"a": "b\nc"}, "one line"),
    ({"a": "x" * 1020}, "at most 1023"),
])
def test_refused(settings: Settings, says: str) -> None:
    for before in (b"", set_keywords(parse(b""), LIO, {"a": "1"}).render()):
        with pytest.raises(InputError, match=says):
            set_keywords(parse(before), LIO, settings)


def test_the_longest_line() -> None:
    value = "x" * (1022 - len("\ta "))
    assert set_keywords(parse(b""), DEFAULTS, {"a": value}).get(DEFAULTS, "a") == value


#: any text that can be a value
VALUES = st.text(max_size=20).map(lambda text: text.translate({0: None, 10: None, 13: None}))
WORDS = st.sampled_from(["a", "b", "path_checker", "checker", "prio_args"])
PLACES = st.sampled_from([DEFAULTS, OVERRIDES, LIO, device("A", 'B "x"'),
                          multipath("1"), multipath("2"), protocol("fcp"), listed_device("blacklist", "A", "B")])


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Files as people write them: sections of all kinds, comments, blank lines, several ways to indent and to end a line."""
    indent = draw(st.sampled_from(["\t", "  ", ""]))
    end = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    noise = st.sampled_from(["", "", "", "# x {", "! }", "   "])
    lines: t.List[str] = []
    for place in draw(st.lists(PLACES, max_size=4)):
        lines.append(draw(noise))
        for depth, word in enumerate(place.path):
            lines.append(indent * depth + word + draw(st.sampled_from([" {", "{", " { # x"])))
        depth = len(place.path)
        lines.extend([f'{indent * depth}{keyword} "{value}"'.replace('B "x"', 'B ""x""') for keyword, value in place.identity if value is not None])
        for keyword in draw(st.lists(WORDS, max_size=4)):
            lines.append(draw(noise))
            lines.append(f"{indent * depth}{keyword} {draw(st.sampled_from(['1', 'two', '#none', '']))}{draw(st.sampled_from(['', ' # y', '!z']))}")
        lines.append(draw(noise))
        lines.extend(indent * outer + "}" for outer in reversed(range(depth)))
    return end.join(lines).encode() + draw(st.sampled_from([b"", end.encode()]))


SNIPPETS = st.sampled_from([b"defaults", b"devices", b"device", b"multipaths", b"multipath", b"overrides", b"blacklist", b" wwid 1", b" vendor A", b"a 1", b"a",
                            b" {", b" {\n", b"}", b"}\n", b"\n", b"\n", b"\n", b"\r\n", b"\r", b"\0", b'"', b"#", b"!", b" ", b"\xe9", b"x" * 600])
JUNK = st.lists(SNIPPETS, max_size=40).map(b"".join)


def untouched(before: Document, after: Document, place: Place, keywords: t.Collection[str]) -> None:
    """All lines but those of the keywords are there still, in their order."""
    names = {SAME_AS.get(keyword, keyword) for keyword in keywords}
    asked = {entry.piece for section in before.find(place) for entry in section.entries if SAME_AS.get(entry.keyword, entry.keyword) in names}
    left = iter(after.render().split(b"\n"))
    kept = b"".join(piece for index, piece in enumerate(before.pieces) if index not in asked).split(b"\n")
    for line in kept if kept[-1] else kept[:-1]:
        assert any(line in (other, other.rstrip(b"\r")) for other in left), line


@given(files(), PLACES, st.dictionaries(WORDS, st.one_of(st.none(), VALUES), max_size=3))
def test_what_was_set_is_read_and_nothing_else_is_another(data: bytes, place: Place, settings: t.Dict[str, t.Optional[str]]) -> None:
    if "checker" in settings:
        settings.pop("path_checker", None)
    before = parse(data)
    after = set_keywords(before, place, settings)
    found = after.settings(place)
    for keyword, value in settings.items():
        assert found.get(SAME_AS.get(keyword, keyword)) == value
    untouched(before, after, place, settings)
    assert len(after.harmful()) <= len(before.harmful())
    assert parse(after.render()) == after
    assert set_keywords(after, place, settings) is after
    for other in {(section.path, section.get("wwid"), section.get("vendor")) for section in before.walk()}:
        assert other in {(section.path, section.get("wwid"), section.get("vendor")) for section in after.walk()}


@given(files(), st.sampled_from(LISTS[("blacklist",)]), st.lists(VALUES, max_size=4), st.lists(VALUES, max_size=4))
def test_lists_are_what_was_set(data: bytes, keyword: str, values: t.List[str], others: t.List[str]) -> None:
    before = parse(data)
    filled = add_to_list(before, BLACKLIST, keyword, values + others)
    assert filled.values(BLACKLIST, keyword) == list(dict.fromkeys(values + others))
    after = set_list(filled, BLACKLIST, keyword, values)
    assert after.values(BLACKLIST, keyword) == list(dict.fromkeys(values))
    untouched(before, after, BLACKLIST, [])


@given(files(), PLACES)
def test_sections_come_and_go(data: bytes, place: Place) -> None:
    before = parse(data)
    added = add_section(before, place)
    assert added.find(place)
    untouched(before, added, place, [])
    removed = remove_section(added, place)
    assert not removed.find(place)
    if not before.find(place):
        untouched(before, removed, place, [])


@given(JUNK, PLACES, VALUES, st.sampled_from([None, (0, 4, 9), (0, 8, 4), (0, 9, 4)]))
def test_a_damaged_file_is_refused_or_the_edit_is_read(data: bytes, place: Place, value: str, release: t.Optional[t.Tuple[int, ...]]) -> None:
    before = parse(data, release=release)
    try:
        after = set_keywords(before, place, {"a": value})
    except IscsiError as error:
        error.sentence().encode("utf-8")
        return
    assert after.get(place, "a") == value
    untouched(before, after, place, ["a"])
