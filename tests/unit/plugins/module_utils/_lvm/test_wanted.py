# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._lvm.report import parse_report
from ansible_collections.lunar.iscsi.plugins.module_utils._lvm.wanted import Elsewhere, Wanted, choose, parse_elsewhere, parse_volumes

from .fake_lvm import recorded

DATA = "Wd2Kx1-5mFZ-9sTq-LkQe-ZyUb-34dv-8HnPaR"
WHOLE = parse_report(recorded("2.03.31", "whole"))
TWICE = parse_report(recorded("2.03.31", "twice"))


@pytest.mark.parametrize("given, wanted", [
    (["data"], [Wanted("data")]),
    (["data/www", " data/www "], [Wanted("data", "www")]),
    (["/dev/data/www"], [Wanted("data", "www")]),
    (["/dev/mapper/my--data-db--1"], [Wanted("my-data", "db-1")]),
    ([f"{DATA}/www", DATA], [Wanted(DATA, "www"), Wanted(DATA)]),
    ([], []),
])
def test_groups_and_volumes(given: t.List[str], wanted: t.List[Wanted]) -> None:
    assert parse_volumes(given) == wanted


@pytest.mark.parametrize("given", ["", "/", "a/b/c", "data/", "-ay", "data/-an", "..", "data/.", "a b", "/dev/disk/by-id/x", "x" * 129, "dät", "data\n--force"])
def test_what_names_no_volume(given: str) -> None:
    with pytest.raises(InputError, match="option volumes: has .*, which names no volume group"):
        parse_volumes([given])


@pytest.mark.parametrize("wanted, active, volumes, whole", [
    (["data"], True, ["nightly", "www"], True),
    (["data"], False, ["db-1", "nightly", "tp", "www"], True),
    (["data/db-1"], True, ["db-1"], False),
    (["data/www", "data/tp"], True, ["tp", "www"], False),
    (["data", "data/db-1"], True, ["db-1", "nightly", "www"], True),
    ([DATA], True, ["nightly", "www"], True),
    ([f"{DATA}/www"], False, ["www"], False),
])
def test_the_volumes_that_are_meant(wanted: t.List[str], active: bool, volumes: t.List[str], whole: bool) -> None:
    [choice], absent = choose(parse_volumes(wanted), WHOLE, active)
    assert ([volume.name for volume in choice.volumes], choice.whole, choice.by_uuid, absent) == (volumes, whole, False, [])


def test_a_group_that_is_not_there_is_told() -> None:
    choices, absent = choose(parse_volumes(["nosuch/www", "xenGuests", "AAAAAA-5mFZ-9sTq-LkQe-ZyUb-34dv-8HnPaR"]), WHOLE, True)
    assert [choice.group.name for choice in choices] == ["xenGuests"]
    assert absent == [Wanted("nosuch", "www"), Wanted("AAAAAA-5mFZ-9sTq-LkQe-ZyUb-34dv-8HnPaR")]


@pytest.mark.parametrize("active", [True, False])
@pytest.mark.parametrize("volume, remedy", [("wwww", "Did you mean www. The group has db-1, nightly, tp, www"), ("zz", "The group has"),
                                            ("tp_tdata", "The group has db-1, nightly, tp, www")])
def test_a_volume_that_is_not_there_is_refused(volume: str, remedy: str, active: bool) -> None:
    with pytest.raises(InputError, match=f"logical volume data/{volume}: does not exist. {remedy}"):
        choose(parse_volumes([f"data/{volume}"]), WHOLE, active)


@pytest.mark.parametrize("active", [True, False])
def test_a_name_that_is_there_twice_needs_the_uuid(active: bool) -> None:
    with pytest.raises(InputError) as caught:
        choose(parse_volumes(["xenGuests"]), TWICE, active)
    groups = [group for group in TWICE.groups if group.name == "xenGuests"]
    assert caught.value.what == "exists 2 times: " + "; ".join(
        f"{group.uuid} on {', '.join(disk.device for disk in group.disks)}" for group in groups)
    [choice], _absent = choose(parse_volumes([groups[1].uuid]), TWICE, active)
    assert (choice.group, choice.by_uuid) == (groups[1], True)


def test_what_is_active_on_other_hosts() -> None:
    given = {"host2": [{"uuid": DATA, "name": "data", "active": ["www"]}, {"uuid": "x", "active": []}], "host3": []}
    assert parse_elsewhere(given) == [Elsewhere("host2", DATA, ("www",))]
    assert parse_elsewhere(None) == []


@pytest.mark.parametrize("groups", ["data", None, [DATA], [{"uuid": DATA}], [{"uuid": DATA, "active": "www"}], [{"uuid": 1, "active": []}], {"uuid": DATA}])
def test_something_else_of_other_hosts_is_refused(groups: t.Any) -> None:
    with pytest.raises(InputError, match="option elsewhere: has for host2 something other"):
        parse_elsewhere({"host2": groups})
