# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""multipath.conf whole: what is read in it, what is said of mistakes, and that the same bytes come out."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.document import Document, Place, device, listed_device, multipath, parse, protocol
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.grammar import LARGEST_FILE

DEFAULTS, BLACKLIST = Place(("defaults",)), Place(("blacklist",))

CEPH = b"""# for the gateways
devices {
        device {
                vendor                 "LIO-ORG"
                product                ".*"
                hardware_handler       "1 alua"
                path_grouping_policy   "failover"
                path_selector          "queue-length 0"
                failback               60
                path_checker           tur
                prio                   alua
                prio_args              exclusive_pref_bit
                fast_oi_fail_tmo       25    # a mistake of the document itself, none of the grammar
                no_path_retry          queue
        }
}
"""

WHOLE = b"""defaults {
\tuser_friendly_names yes
}
blacklist {
\tdevnode "^sd[a-z]"
\tdevnode "^hd"
\tdevice {
\t\tvendor IBM
\t}
\tprotocol "scsi:usb"
}
overrides{
\tno_path_retry fail
\tprotocol {
\t\ttype "scsi:iscsi"
\t\tfast_io_fail_tmo 5
\t}
}
multipaths {
\tmultipath {
\t\twwid 3600
\t\talias "red \xe9"
\t}
\tmultipath {
\t\twwid 3601
\t}
}
"""


@pytest.mark.parametrize(("release", "harmful", "words"), [
    (None, True, "has no product, so multipath-tools drops it"), ((0, 7, 2), True, "has no product, so multipath-tools drops it"),
    ((0, 7, 1), False, "has no product, which here means any"), ((0, 4, 9), False, "has no product, which here means any"),
])
def test_a_device_without_product_is_dropped_since_0_7_2(release: t.Optional[t.Tuple[int, ...]], harmful: bool, words: str) -> None:
    problem, = parse(b"devices {\ndevice {\nvendor A\n}\n}\n", release=release).problems
    assert (problem.line, problem.harmful) == (2, harmful) and words in problem.what and problem.remedy


def test_the_document_of_ceph_is_read_without_a_word() -> None:
    document = parse(CEPH)
    assert document.problems == ()
    section, = document.find(device("LIO-ORG", ".*"))
    assert (section.path, section.line, section.end) == (("devices", "device"), 3, 15)
    assert document.settings(device("LIO-ORG", ".*")) == {
        "vendor": "LIO-ORG", "product": ".*", "hardware_handler": "1 alua", "path_grouping_policy": "failover", "path_selector": "queue-length 0",
        "failback": "60", "path_checker": "tur", "prio": "alua", "prio_args": "exclusive_pref_bit", "fast_oi_fail_tmo": "25", "no_path_retry": "queue"}
    assert [(entry.keyword, entry.line) for entry in section.entries][-2:] == [("fast_oi_fail_tmo", 13), ("no_path_retry", 14)]


def test_every_kind_of_section() -> None:
    document = parse(WHOLE)
    assert [(section.path, section.line) for section in document.walk()] == [
        (("defaults",), 1), (("blacklist",), 4), (("blacklist", "device"), 7), (("overrides",), 12), (("overrides", "protocol"), 14), (("multipaths",), 19),
        (("multipaths", "multipath"), 20), (("multipaths", "multipath"), 24)]
    assert document.values(BLACKLIST, "devnode") == ["^sd[a-z]", "^hd"]
    assert document.values(BLACKLIST, "protocol") == ["scsi:usb"]
    assert document.get(protocol("scsi:iscsi"), "fast_io_fail_tmo") == "5"
    assert document.get(multipath("3600"), "alias") == "red \udce9"
    assert len(document.find(listed_device("blacklist", "IBM", None))) == 1
    assert document.find(listed_device("blacklist", "IBM", "x")) == []
    assert [problem.what for problem in document.problems] == ["'red \\\\xe9' is not UTF-8; multipath-tools takes its bytes as they are"]
    assert document.harmful() == []


DEVICE = b'devices {\ndevice {\nvendor "A"\nproduct "B"\n%s}\n}\n'


def in_device(lines: bytes) -> bytes:
    return DEVICE % lines


class Broken(t.NamedTuple):
    data: bytes
    #: line, and a part of what is said, of each problem; ~ before it: multipath-tools reads what is meant
    says: t.List[t.Tuple[int, str]]
    #: what is read all the same
    reads: t.Mapping[str, t.Optional[str]] = {}


NO_BRACE = "there is no brace after"
NEEDS_BRACE = [(2, "opens nothing"), (3, "outside of any section"), (4, "closes nothing")]
BROKEN = [
    pytest.param(Broken(b"defaults {\npolling_interval 5\n", [(1, "defaults is not closed")], {"polling_interval": "5"}), id="missing brace at the end"),
    pytest.param(Broken(b"defaults {\npolling_interval 5\ndevices {\n}\n}\n",
                        [(3, "devices opens no section in the section defaults"), (5, "closes nothing")], {"polling_interval": "5", "devices": "{"}),
                 id="missing brace in the middle"),
    pytest.param(Broken(b"defaults {\npolling_interval 5 }\n", [(1, "not closed"), (2, "the brace after the value of polling_interval is dropped")],
                        {"polling_interval": "5"}), id="brace behind a value"),
    pytest.param(Broken(b"defaults {\nalias_prefix }\n", [(1, "not closed"), (2, "is read as its value and closes nothing")], {"alias_prefix": "}"}),
                 id="brace behind a keyword"),
    pytest.param(Broken(b"defaults { polling_interval 5\n}\n", [(1, "'polling_interval' and all that follows it")], {"polling_interval": None}),
                 id="keyword behind the brace"),
    pytest.param(Broken(b"defaults {}\n", [(1, "'}' and all that follows it"), (1, "not closed")]), id="both braces in a line"),
    pytest.param(Broken(b"devices { device {\nvendor x\n}\n}\n", [(1, "'device' and all that follows"), (4, "closes nothing")]), id="two sections in a line"),
    pytest.param(Broken(in_device(b"} }\n").replace(b"\n}\n}\n", b"\n"), [(1, "devices is not closed"), (5, "'}' and all that follows")]),
                 id="two braces in a line"),
    pytest.param(Broken(b"}\ndefaults {\npolling_interval 5\n}\n", [(1, "closes nothing")], {"polling_interval": "5"}), id="stray brace"),
    pytest.param(Broken(b"defaults {\npolling_interval 5\n}\n}\n", [(4, "closes nothing")], {"polling_interval": "5"}), id="one brace too many"),
    pytest.param(Broken(b"defaults\n{\npolling_interval 5\n}\n", [(1, "~" + NO_BRACE)], {"polling_interval": "5"}), id="brace in the next line"),
    pytest.param(Broken(b"defaults\n\n# x\n{\npolling_interval 5\n}\n", [(1, "~" + NO_BRACE)], {"polling_interval": "5"}), id="brace some lines below"),
    pytest.param(Broken(b"defaults\npolling_interval 5\n}\n", [(1, "~" + NO_BRACE)], {"polling_interval": "5"}), id="no brace"),
    pytest.param(Broken(b"defaults\npolling_interval 5\n{\nverbosity 2\n}\n", [(1, "~" + NO_BRACE), (3, "opens nothing")],
                        {"polling_interval": "5", "verbosity": "2"}), id="a brace too late"),
    pytest.param(Broken(b"defaults {\n{\npolling_interval 5\n}\n", [(2, "opens nothing")], {"polling_interval": "5"}), id="two opening braces"),
    pytest.param(Broken(b"defaults x {\npolling_interval 5\n}\n", [(1, "a brace is expected after defaults")], {"polling_interval": "5"}),
                 id="a word before the brace"),
    pytest.param(Broken(b"overrides\n{\nno_path_retry 5\n}\n", [(1, NO_BRACE + " overrides, so multipath-tools drops the line"), *NEEDS_BRACE]),
                 id="overrides needs its brace"),
    pytest.param(Broken(b"default {\npolling_interval 5\n}\n", [(1, "default opens no section"), (2, "outside of any section"), (3, "closes nothing")]),
                 id="a section misspelt"),
    pytest.param(Broken(b"device {\nvendor A\n}\n", [(1, "device opens no section"), (2, "outside"), (3, "closes nothing")]),
                 id="a section in the wrong place"),
    pytest.param(Broken(b"defaults {\ndevice x\n}\n", [(2, "device opens no section in the section defaults")]),
                 id="a section in the wrong place, without a brace"),
    pytest.param(Broken(b"device x {\n", [(1, "device opens no section in the top of the file")]),
                 id="a section in the wrong place, its brace too late"),
    pytest.param(Broken(b"polling_interval 5\n", [(1, "outside of any section")]), id="a keyword outside of any section"),
    pytest.param(Broken(b'alias "{"\n', [(1, "outside of any section")]), id="a keyword outside of any section, a brace in quotes"),
    pytest.param(Broken(b"defaults {\npolling_interval\n}\n", [(2, "has no value")], {"polling_interval": None}), id="missing value"),
    pytest.param(Broken(b"defaults {\npath_selector round-robin 0\n}\n", [(2, "the value of path_selector is 'round-robin', what follows it is dropped")],
                        {"path_selector": "round-robin"}), id="blanks without quotes"),
    pytest.param(Broken(b"defaults {\npath_selector = x\n}\n", [(2, "the equals sign is read as the value")], {"path_selector": "="}), id="equals sign"),
    pytest.param(Broken(b"defaults {\npath_selector=x\n}\n", [(2, "is read as one word")], {"path_selector": None}), id="equals sign without blanks"),
    pytest.param(Broken(b'defaults {\nprio_args "a b\n}\n', [(2, "is not closed")], {"prio_args": "a b"}), id="quote that is not closed"),
    pytest.param(Broken(b'defaults {\nprio_args "a b # c\n}\n', [(2, "is not closed")], {"prio_args": "a b # c"}),
                 id="quote that is not closed, with a comment"),
    pytest.param(Broken(b'defaults {\nprio_args "a "b" c"\n}\n', [(2, "what follows the closing quote of prio_args is dropped, from 'b' on")],
                        {"prio_args": "a "}), id="quotes in quotes"),
    pytest.param(Broken(b'defaults {\n"prio_args" a\n}\n', [(2, "begins with a quote")], {"prio_args": None}), id="quoted keyword"),
    pytest.param(Broken(b"defaults {\nprio_args a#b\n}\n", [(2, "~# right after 'a' begins a comment")], {"prio_args": "a"}), id="comment in a word"),
    pytest.param(Broken(b"defaults {\nverbosity 2\nverbosity 3\n}\n", [(3, "'verbosity' is set already in line 2, so '2' there is")], {"verbosity": "3"}),
                 id="keyword twice"),
    pytest.param(Broken(b"defaults {\nverbosity 2\nverbosity 2\n}\n", [(3, "~'verbosity' is set already in line 2, with the same value")], {"verbosity": "2"}),
                 id="keyword twice alike"),
    pytest.param(Broken(b"defaults {\npath_checker tur\nchecker rdac\n}\n", [(3, "'checker' is set already")], {"path_checker": "rdac", "checker": "rdac"}),
                 id="keyword twice by its other name"),
    pytest.param(Broken(b"defaults {\nverbosity 2\n}\ndefaults {\nverbosity 3\n}\n", [(4, "~defaults has a section already, in line 1")], {"verbosity": "3"}),
                 id="section twice"),
    pytest.param(Broken(b"defaults {\r\nverbosity 2\r\n}\r\n", [(0, "~carriage return")], {"verbosity": "2"}), id="CR LF"),
    pytest.param(Broken(b"defaults {\rverbosity 2\r}\r", [(1, "a carriage return in the line ends it"), (1, "not closed")], {"verbosity": None}), id="CR"),
    pytest.param(Broken(b"defaults {\nverbosity 2\0 3\n}\n", [(2, "a NUL byte in the line ends it")], {"verbosity": "2"}), id="NUL"),
    pytest.param(Broken(b"defaults {\nverbosity 2\0\n}\n", [(2, "~a NUL byte ends the line")], {"verbosity": "2"}), id="NUL at the end"),
    pytest.param(Broken(b"defaults {\nalias_prefix caf\xe9\n}\n", [(2, "outside of quotes and not ASCII")], {"alias_prefix": "caf"}), id="Latin-1"),
    pytest.param(Broken(b"defaults {\nalias_prefix \xc3\xa9t\xc3\xa9\n}\n", [(2, "outside of quotes and not ASCII")], {"alias_prefix": "t"}), id="UTF-8"),
    pytest.param(Broken(b'defaults {\nprio_args "caf\xe9"\n}\n', [(2, "~is not UTF-8")], {"prio_args": "caf\udce9"}), id="Latin-1 in quotes"),
    pytest.param(Broken(b'defaults {\nprio_args "caf\xc3\xa9" # caf\xe9\n}\n', [], {"prio_args": "caf\u00e9"}), id="UTF-8 in quotes, Latin-1 in a comment"),
    pytest.param(Broken(b"defaults {\nverbosity\xc2\xa02\n}\n", [(2, "~outside of quotes and not ASCII")], {"verbosity": "2"}), id="no-break space"),
    pytest.param(Broken(b"\xef\xbb\xbfdefaults {\nverbosity 2\n}\n", [(0, "~byte order mark")], {"verbosity": "2"}), id="byte order mark"),
    pytest.param(Broken("defaults {\nverbosity 2\n}\n".encode("utf-16"), [(0, "UTF-16")], {"verbosity": None}), id="UTF-16"),
    pytest.param(Broken(b"defaults {\nprio_args " + b"a" * 1100 + b"\n}\n", [(2, "more than the 1023 bytes"), (2, "has no value")], {"prio_args": "a" * 1013}),
                 id="a long line"),
    pytest.param(Broken(b"defaults {\n# " + b"a" * 1100 + b" b\nverbosity 2\n}\n", [(2, "more than the 1023 bytes")], {"verbosity": "2"}), id="a long comment"),
    pytest.param(Broken(b"defaults {\nverbosity 2" + b" " * 1100 + b"\n}\n", [], {"verbosity": "2"}), id="blanks at the end of a long line"),
    pytest.param(Broken(in_device(b"").replace(b'product "B"\n', b""), [(2, "has no product, so multipath-tools drops it")]), id="device without product"),
    pytest.param(Broken(b"multipaths {\nmultipath {\nalias a\n}\n}\n", [(2, "has no wwid")]), id="multipath without wwid"),
    pytest.param(Broken(b"overrides {\nprotocol {\n}\n}\n", [(2, "has no type")]), id="protocol without type"),
    pytest.param(Broken(in_device(b"") * 2, [(7, "~devices has a section already"), (8, "~device A B has a section already, in line 2")]), id="device twice"),
    pytest.param(Broken(b"\x7fELF\x02\x01\x01\0\0\n\x01\n", [(1, "~NUL"), (1, "no value"), (2, "no value")]), id="no text at all"),
]


@pytest.mark.parametrize("broken", BROKEN)
def test_broken(broken: Broken) -> None:
    document = parse(broken.data, "f.conf")
    assert document.render() == broken.data
    found = [(problem.line, ("" if problem.harmful else "~") + problem.what) for problem in document.problems]
    assert len(found) == len(broken.says), found
    for (line, what), (expected_line, part) in zip(found, sorted(broken.says, key=lambda one: one[0])):
        assert line == expected_line
        assert part.lstrip("~") in what and what.startswith("~") is part.startswith("~"), found
    for keyword, value in broken.reads.items():
        assert document.get(DEFAULTS, keyword) == value
    for problem in document.problems:
        error = problem.as_error()
        assert error.subject == (f"f.conf, line {problem.line}" if problem.line else "f.conf") and problem.remedy
        error.sentence().encode("utf-8")
        assert problem.as_problem() == {"object": error.subject, "what": problem.what, "remedy": problem.remedy}


def test_sections_misspelt_or_misplaced_are_answered_with_the_right_one() -> None:
    def remedy(data: bytes, release: t.Optional[t.Tuple[int, ...]] = None) -> str:
        return parse(data, release=release).problems[0].remedy

    assert remedy(b"blacklist_exception {\n}\n") == "Did you mean blacklist_exceptions?"
    assert remedy(b"multipath {\n}\n") == "multipath belongs into the section multipaths"
    assert "belongs into the top of the file; close the section devices before it" in remedy(b"devices {\nmultipaths {\n}\n}\n")
    assert remedy(b"overrides {\n}\n", (0, 5, 0)) == "multipath-tools reads it since 0.6.0"
    assert remedy(b"overrides {\nprotocol {\n}\n}\n", (0, 8, 9)) == "multipath-tools reads it since 0.9.0"
    assert "There are no sections in the section defaults" in remedy(b"defaults {\nxyz {\n}\n}\n")


def test_a_last_line_without_an_end_is_lost_before_0_6() -> None:
    data = b"defaults {\nverbosity 2\n}"
    assert parse(data).problems == ()
    assert "drops it" in parse(data, release=(0, 5, 0)).problems[0].what


def test_files_without_an_end() -> None:
    parse(b"#" * LARGEST_FILE)
    with pytest.raises(InputError, match="1048577 bytes"):
        parse(b"#" * (LARGEST_FILE + 1))
    assert 0 < len(parse(b"}\n" * 5000).problems) <= 200


def test_the_last_line_of_a_keyword_counts() -> None:
    section, = parse(b"defaults {\nchecker a\npath_checker b\npath_checker c\nprio\n}\n").walk()
    assert section.get("path_checker") == section.get("checker") == "c"
    assert section.values("checker") == ["a", "b", "c"]
    assert section.get("prio") is None and section.values("prio") == []
    assert parse(b"defaults\na 1\n{\n}\n").find(DEFAULTS)[0].head == 0


DUPLICATES = b"""multipaths {
multipath {
wwid 1
alias first
mode 0600
}
multipath {
wwid 1
alias second
}
}
"""


@pytest.mark.parametrize(("release", "alias", "mode"), [((0, 7, 7), "first", "0600"), ((0, 7, 8), "second", "0600"), (None, "second", "0600")])
def test_which_of_two_sections_counts(release: t.Optional[t.Tuple[int, ...]], alias: str, mode: str) -> None:
    document = parse(DUPLICATES, release=release)
    assert (document.get(multipath("1"), "alias"), document.get(multipath("1"), "mode")) == (alias, mode)


@pytest.mark.parametrize(("release", "value"), [((0, 7, 5), "2.5"), ((0, 7, 6), '2.5" SSD')])
def test_values_as_the_release_reads_them(release: t.Tuple[int, ...], value: str) -> None:
    assert parse(b'defaults {\nprio_args "2.5"" SSD"\n}\n', release=release).get(DEFAULTS, "prio_args") == value


def test_devnode_blacklist_of_old() -> None:
    data = b"devnode_blacklist {\ndevnode sda\n}\n"
    assert parse(data, release=(0, 8, 9)).problems == ()
    assert [problem.line for problem in parse(data, release=(0, 9, 0)).problems] == [1, 2, 3]


def test_documents_are_values() -> None:
    one, other = parse(WHOLE), parse(WHOLE)
    assert one == other and hash(one) == hash(other) and one != parse(CEPH)
    assert repr(one) == "Document('/etc/multipath.conf', 27 lines, 1 problems)"


#: pieces of which files are made that are sometimes right
SNIPPETS = st.sampled_from([b"defaults", b"devices", b"device", b"multipaths", b"multipath", b"overrides", b"protocol", b"blacklist", b"wwid", b"vendor", b"x",
                            b" {", b"{\n", b"}", b"}\n", b"\n", b"\r\n", b"\r", b"\0", b'"', b'""', b"#", b"!", b" ", b"\t", b"\xe9", b"\xc3\xa9", b"a" * 600])


def whole(document: Document) -> None:
    """What holds for any document."""
    for section in document.walk():
        assert 0 <= section.first <= section.head <= section.last < len(document.pieces)
        assert all(section.head < entry.piece <= section.last for entry in section.entries)
        assert all(section.first < inner.first for inner in section.sections)


@given(st.one_of(st.binary(max_size=3000), st.lists(SNIPPETS, max_size=60).map(b"".join)), st.sampled_from([None, (0, 4, 9), (0, 7, 7), (0, 8, 4), (0, 9, 4)]))
def test_any_file_comes_out_as_it_went_in(data: bytes, release: t.Optional[t.Tuple[int, ...]]) -> None:
    document = parse(data, release=release)
    assert document.render() == data
    whole(document)
