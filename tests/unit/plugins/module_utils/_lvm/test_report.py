# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports that lvm2 of Debian 12 and 13 printed (fixtures/record.sh)."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import CommandError, DamagedError, HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result, Runner, TimedOutError
from ansible_collections.lunar.iscsi.plugins.module_utils._lvm.report import FULLREPORT, Group, Report, ask, parse_report

from .fake_lvm import RELEASES, recorded

A, B = "XeNaaa-1111-1111-1111-1111-1111-111111", "XeNaaa-2222-2222-2222-2222-2222-222222"


@pytest.fixture(params=RELEASES)
def report(request: pytest.FixtureRequest) -> t.Callable[[str], Report]:
    return lambda name: parse_report(recorded(request.param, name))


def group(report: Report, name: str) -> Group:
    return next(group for group in report.groups if group.name == name)


def test_groups_disks_volumes_and_the_disk_of_no_group(report: t.Callable[[str], Report]) -> None:
    whole = report("whole")
    assert [one.name for one in whole.groups] == ["data", "xenGuests"]
    xen = group(whole, "xenGuests")
    assert (xen.size, xen.free, xen.exported, xen.system_id, xen.lock_type, xen.missing) == (125829120, 83886080, False, "", "", ())
    assert [(disk.uuid, disk.device, disk.size) for disk in xen.disks] == [(A, "/dev/loop1", 67108864), (B, "/dev/loop2", 67108864)]
    assert [(volume.name, volume.mapper, volume.size) for volume in xen.volumes] == [
        ("noc-2", "/dev/mapper/xenGuests-noc--2", 25165824), ("noc1", "/dev/mapper/xenGuests-noc1", 16777216)]
    assert [disk.device for disk in whole.orphans] == ["/dev/loop4"]


def test_which_volumes_go_along_with_their_group(report: t.Callable[[str], Report]) -> None:
    volumes = group(report("whole"), "data").volumes
    assert {volume.name: volume.goes_along for volume in volumes} == {"db-1": False, "nightly": True, "tp": False, "www": True}
    assert not any("tdata" in volume.name for volume in volumes), "what is internal to a pool is no volume"


@pytest.mark.parametrize("name", ["whole", "plain"], ids=["unknown where LVM was told so", "where the kernel has no device-mapper"])
def test_nothing_is_active_or_open_without_a_device_mapper(report: t.Callable[[str], Report], name: str) -> None:
    assert not any(volume.active or volume.opened for one in report(name).groups for volume in one.volumes)


@pytest.mark.parametrize("active, opened, seen", [("active", "open", (True, True)), ("active", "", (True, False)), ("", "unknown", (False, False)),
                                                  ("1", "1", (True, True)), ("0", "-1", (False, False))])
def test_states_as_the_source_of_lvm_writes_them(active: str, opened: str, seen: t.Tuple[bool, bool]) -> None:
    given = recorded("2.03.31", "whole")
    text = given.stdout.replace('"lv_active":"unknown"', f'"lv_active":"{active}"').replace('"lv_device_open":"unknown"', f'"lv_device_open":"{opened}"')
    assert {(volume.active, volume.opened) for one in parse_report(given._replace(stdout=text)).groups for volume in one.volumes} == {seen}


@pytest.mark.parametrize("name, disks", [
    ("partial", [(A, "/dev/loop1", False), (B, "", True)]),
    ("returned", [(A, "/dev/loop1", False), (B, "/dev/loop2", True)]),
])
def test_disks_that_are_missing_or_were(report: t.Callable[[str], Report], name: str, disks: t.List[t.Tuple[str, str, bool]]) -> None:
    assert [(disk.uuid, disk.device, disk.missing) for disk in group(report(name), "xenGuests").disks] == disks


@pytest.mark.parametrize("name, group_name, field, value", [
    ("exported", "xenGuests", "exported", True),
    ("foreign", "xenGuests", "system_id", "otherhost"),
    ("locked", "data", "lock_type", "sanlock"),
    ("locked", "data", "locked", True),
    ("locked", "xenGuests", "locked", False),
])
def test_groups_that_are_not_for_everybody_are_seen(report: t.Callable[[str], Report], name: str, group_name: str, field: str, value: t.Any) -> None:
    assert getattr(group(report(name), group_name), field) == value


def test_one_name_twice(report: t.Callable[[str], Report]) -> None:
    groups = [one for one in report("twice").groups if one.name == "xenGuests"]
    assert len({one.uuid for one in groups}) == 2


def test_a_copy_is_told_in_a_message_alone(report: t.Callable[[str], Report]) -> None:
    assert report("copied").duplicates() == {B: ["/dev/loop5"]}
    assert report("whole").duplicates() == {}


@pytest.mark.parametrize("name, word, said", [
    ("clustered", "data", "Skipping clustered VG data"),
    ("partial", "xenGuests", f"VG xenGuests is missing PV {B} (last written to /dev/loop2)"),
    ("twice", "xenGuests", "VG name xenGuests is used by VGs"),
])
def test_what_was_said_of_a_group(report: t.Callable[[str], Report], name: str, word: str, said: str) -> None:
    found = report(name)
    assert found.about(word)[0].startswith(said)
    assert found.about(word[:-1]) == found.about("x" + word) == []


@pytest.mark.parametrize("name", ["clustered", "damaged"])
def test_groups_that_lvm_cannot_read_are_not_there(report: t.Callable[[str], Report], name: str) -> None:
    assert [one.name for one in report(name).groups] == ["xenGuests"]


def test_no_group_at_all(report: t.Callable[[str], Report]) -> None:
    assert report("empty") == Report()


@pytest.mark.parametrize("result, error, words", [
    (Result(("lvm", "fullreport"), 3, "", "  Unrecognised option\n"), CommandError, "exit code 3: Unrecognised option"),
    (Result(("lvm", "fullreport"), 0, "no JSON", ""), DamagedError, "no report"),
    (Result(("lvm", "fullreport"), 0, '{"report": [{"vg": [{}]}]}', ""), DamagedError, "no report"),
    (Result(("lvm", "fullreport"), 0, "[]", ""), DamagedError, "no report"),
    # recorded: lvm2 2.03.16, run by nobody
    (Result(("lvm", "fullreport"), 5, '{"report": []}', "  WARNING: Running as a non-root user. Functionality may be unavailable.\n"
            "  /run/lock/lvm/P_global:aux: open failed: Permission denied\n"), HostError, "is not run by root, .*become: true"),
    (Result(("lvm", "fullreport"), 5, '{"report": []}', "  /run/lock/lvm/P_global:aux: open failed: No space left on device\n"), CommandError,
     "sees nothing: /run/lock/lvm/P_global:aux: open failed: No space left on device"),
])
def test_answers_that_are_none(result: Result, error: t.Type[HostError], words: str) -> None:
    with pytest.raises(error, match=words):
        parse_report(result)


def test_a_report_counts_although_some_disk_could_not_be_read() -> None:
    given = recorded("2.03.16", "whole")._replace(code=5, stderr="  /dev/sdx: read failed after 0 of 4096 at 0: Input/output error\n")
    assert parse_report(given).said == ("/dev/sdx: read failed after 0 of 4096 at 0: Input/output error",)


class Asked(Runner):
    def __init__(self, answer: t.Optional[Result]) -> None:
        super().__init__()
        self.answer = answer
        self.asked: t.List[t.Tuple[t.List[str], t.Mapping[str, str]]] = []

    def run(self, argv: t.Sequence[str], *, stdin: t.Optional[str] = None, timeout: float = 60.0, env: t.Optional[t.Mapping[str, str]] = None) -> Result:
        self.asked.append((list(argv), env or {}))
        if self.answer is None:
            raise TimedOutError(argv, timeout)
        return self.answer


def test_one_call_asks_for_everything() -> None:
    runner = Asked(recorded("2.03.31", "whole"))
    ask(runner, 10)
    ask(runner, 10, everywhere=True)
    assert [argv for argv, _env in runner.asked] == [list(FULLREPORT), [*FULLREPORT, "--devicesfile", ""]]
    assert all(env == {"LVM_SUPPRESS_FD_WARNINGS": "1"} for _argv, env in runner.asked)
    assert {"--foreign", "--shared", 'devices/hints="none"'} < set(FULLREPORT)


def test_lvm_that_hangs_names_what_to_look_at() -> None:
    with pytest.raises(HostError, match="did not end within 10 s. A disk that LVM looks at does not answer"):
        ask(Asked(None), 10)


@pytest.mark.parametrize("release", RELEASES)
def test_all_fields_that_are_asked_for_are_answered(release: str) -> None:
    asked = {FULLREPORT[at + 1]: FULLREPORT[at + 3].split(",") for at, word in enumerate(FULLREPORT) if word == "--configreport"}
    part = next(part for part in json.loads(recorded(release, "whole").stdout)["report"] if "vg" in part)
    assert {kind: list(part[kind][0]) for kind in asked} == asked
