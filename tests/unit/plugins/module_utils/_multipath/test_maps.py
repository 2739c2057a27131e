# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers to ``show maps json``, printed by multipath-tools' own code of four releases (fixtures/maps/make_maps.c says how)."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path as File

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.maps import Map, Path, _read_lines, parse_maps

FOLDER = File(__file__).parent / "fixtures" / "maps"
FIXTURES = sorted(path.stem for path in FOLDER.glob("*.txt"))
RELEASES = ("0.6.2", "0.8.3", "0.9.4", "0.14.3")
#: multipathd 0.9.4 without a map: all 64 bytes of its answer before the NUL
EMPTY = b'{\n   "major_version": 0,\n   "minor_version": 1,\n   "maps": []\n}\n'


def fixture(name: str) -> bytes:
    return (FOLDER / f"{name}.txt").read_bytes()


@pytest.mark.parametrize("name", [name for name in FIXTURES if not name.endswith("-names")])
def test_where_the_answer_is_json_the_lines_say_the_same(name: str) -> None:
    text = fixture(name).decode()
    assert _read_lines(text.strip()) == json.loads(text)


@pytest.mark.parametrize("name", [name for name in FIXTURES if name.endswith("-names")])
def test_names_with_quotes_are_no_json(name: str) -> None:
    with pytest.raises(ValueError):
        json.loads(fixture(name), strict=False)


@pytest.mark.parametrize("release", RELEASES)
def test_two_groups(release: str) -> None:
    one, other = parse_maps(fixture(f"{release}-failover"))
    assert (one.name, one.wwid, one.dm, one.state) == ("rbd0", "360014059ca317516a69465c883a29603", "dm-0", "active")
    assert (one.features, one.hwhandler, one.queueing, one.queues, one.read_only) == ("1 queue_if_no_path", "1 alua", "on", True, False)
    assert (one.vendor, one.product, one.revision, one.action, one.loads) == ("LIO-ORG", "d0", "4.0", None, 1)
    assert [(group.number, group.selector, group.priority, group.state) for group in one.groups] == [
        (1, "queue-length 0", 50, "active"), (2, "queue-length 0", 10, "enabled")]
    marginal = None if release == "0.6.2" else False
    assert one.groups[1].paths == (Path(
        name="sdc", numbers="8:32", state="active", checked="ready", online=True, checker="tur", priority=10, adapter="192.0.2.3",
        target="iqn.2003-01.org.linux-iscsi.rheln1", marginal=marginal),)
    assert (other.name, other.queueing, other.queues, other.failback) == ("mpathb", "off", False, "immediate")
    assert (other.path_faults, other.switch_groups, other.queueing_time, other.queueing_timeouts) == (3, 1, 0, 0)
    assert [(path.name, path.state, path.checked, path.online, path.usable) for path in other.paths] == [
        ("sdd", "active", "ready", True, True), ("sde", "failed", "faulty", False, False)]


@pytest.mark.parametrize("release, shown", [("0.6.2", None), ("0.8.3", None), ("0.9.4", None), ("0.14.3", "deferred:60")])
def test_failback_by_release(release: str, shown: t.Optional[str]) -> None:
    assert parse_maps(fixture(f"{release}-failover"))[0].failback == shown


@pytest.mark.parametrize("release", ["0.6.2", "0.14.3"])
def test_names_with_quotes_and_backslashes(release: str) -> None:
    one, two, three = parse_maps(fixture(f"{release}-names"))
    assert (one.name, one.wwid, one.vendor, one.product) == ('say "hi"', '1IET_"q"', 'I"T', "back\\slash\\")
    assert (two.name, two.wwid, two.vendor) == ("tail\\", "1IET_c:\\temp\\new", 'x","y":"')
    assert (two.product, two.revision, two.dm, [path.name for path in two.paths]) == ('"}],"name" : "', "}],{", "dm-1", ["sdc"])
    assert (three.name, three.wwid, three.groups) == ('",', "1IET_00030001", ())


@pytest.mark.parametrize("release", ["0.6.2", "0.14.3"])
def test_what_is_not_known_is_none(release: str) -> None:
    one, two = parse_maps(fixture(f"{release}-bare"))
    assert (one.dm, one.read_only, one.features, one.queueing, one.vendor, one.groups, one.queues) == (None, None, None, None, None, (), False)
    assert (two.queueing, two.failback) == ("7 sec", "XXXXX..... 30/60")
    assert [(group.state, group.priority, len(group.paths)) for group in two.groups] == [(None, 0, 0), ("disabled", -1, 2)]
    lost, ghost = two.paths
    assert (lost.name, lost.numbers, lost.state, lost.checked, lost.target, lost.usable) == (None, None, None, "i/o pending", None, False)
    assert (ghost.checked, ghost.usable) == ("ghost", False)  # no state in the kernel yet


def test_old_releases_cut_long_names() -> None:
    whole = "a-name-of-seventy-characters-0123456789-0123456789-0123456789-012345-70"
    assert [parse_maps(fixture(f"{release}-long"))[0].name for release in ("0.6.2", "0.9.4", "0.14.3")] == [whole[:63], whole, whole]


@pytest.mark.parametrize("reply", [EMPTY, EMPTY[:-1], EMPTY.replace(b"\n", b"")], ids=["as it is", "its last byte cut by a client", "in one line"])
def test_no_map(reply: bytes) -> None:
    assert parse_maps(reply) == ()


def test_an_alias_of_bytes_that_are_no_text() -> None:
    reply = fixture("0.14.3-failover").replace(b'"rbd0"', b'"caf\xe9\x01\t"')
    assert parse_maps(reply)[0].name == "caf\ufffd\x01\t"


def test_a_line_break_in_a_name() -> None:
    assert parse_maps(fixture("0.14.3-failover").replace(b"rbd0", b"rb\nd0"))[0].name == "rb\nd0"


def test_a_later_layout_may_escape() -> None:
    reply = fixture("0.14.3-failover").replace(b'"minor_version": 1', b'"minor_version": 2').replace(b'"rbd0"', b'"say \\"hi\\""')
    assert parse_maps(reply)[0].name == 'say "hi"'


def test_a_backslash_before_a_letter_is_no_escape() -> None:
    reply = fixture("0.14.3-failover").replace(b'"rbd0"', b'"c:\\new"')
    assert parse_maps(reply)[0].name == "c:\\new"
    assert json.loads(reply)["maps"][0]["name"] == "c:\new"  # what a JSON parser makes of it


def lines_without(name: str, start: bytes) -> bytes:
    return b"\n".join(line for line in fixture(name).split(b"\n") if not line.strip().startswith(start))


BROKEN: t.Dict[str, bytes] = {
    "cut in a value": fixture("0.14.3-failover")[:200],
    "cut behind a line": b"\n".join(fixture("0.14.3-failover").split(b"\n")[:30]),
    "more behind its end": EMPTY + b"{}",
    "a list": EMPTY.replace(b"[]", b"3"),
    "no maps": EMPTY.replace(b',\n   "maps": []', b""),
    "a map without a name": b"\n".join(line for line in lines_without("0.14.3-failover", b'"uuid"').split(b"\n") if b'"name"' not in line),
    "a line break and a quote in a name": fixture("0.14.3-failover").replace(b"rbd0", b'rb\nd"0'),
    "a line break and a backslash in a name": fixture("0.14.3-failover").replace(b"rbd0", b"rb\nd\\n0"),
    "not an object": b"{",
}


@pytest.mark.parametrize("reply", BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_understood_is_named(reply: bytes) -> None:
    with pytest.raises(DamagedError, match="show maps json"):
        parse_maps(reply)


def test_every_cut_answer_is_refused() -> None:
    whole = fixture("0.14.3-names").strip()
    for length in range(1, len(whole)):
        with pytest.raises(DamagedError):
            parse_maps(whole[:length])
    assert len(parse_maps(whole)) == 3


def test_a_release_without_json() -> None:
    with pytest.raises(HostError, match="since release 0.6.2") as caught:
        parse_maps(b"show: Unknown command\nmultipath-tools v0.6.0\n")
    assert "show: Unknown command" in caught.value.what


def test_values_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Map(name="a", wwid="b").name = "c"  # type: ignore[misc]
