# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hosts of a fleet see, as rows and sentences."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.lunar.iscsi.plugins.filter.fleet_summary import FilterModule, fleet_summary


def group(name: str = "xenGuests", volumes: t.Sequence[str] = ("noc1",), active: t.Sequence[str] = (), **more: t.Any) -> t.Dict[str, t.Any]:
    return dict({"name": name, "uuid": f"uuid of {name}", "free": 4096, "lock_type": "", "volumes": list(volumes), "active": list(active)}, **more)


def host(name: str, *groups: t.Mapping[str, t.Any], steps: t.Sequence[str] = (), **more: t.Any) -> t.Dict[str, t.Any]:
    return dict({"host": name, "disks": {"steps": list(steps), "problems": []}, "lvm": {"groups": list(groups), "problems": []}}, **more)


def test_a_row_for_each_host_and_group() -> None:
    steps = ["add LUN 1 of session 2", "resize /dev/sda", "add LUN 1 of session 3"]
    summary = fleet_summary([host("xen1", group(active=["noc1"]), group("root"), steps=steps), host("xen2", group()), host("xen3", group("root3"))])
    assert summary["rows"][:2] == [
        {"host": "xen1", "disks": "add 2, resize 1", "group": "xenGuests", "free": 4096, "volumes": ["noc1"], "active": ["noc1"]},
        {"host": "xen1", "disks": "add 2, resize 1", "group": "root", "free": 4096, "volumes": ["noc1"], "active": []},
    ]
    assert [(row["host"], row["disks"], row["group"]) for row in summary["rows"][2:]] == [("xen2", "", "xenGuests"), ("xen3", "", "root3")]
    assert summary["notes"] == ["xenGuests is seen by xen1 and xen2, and not by xen3."] and summary["failed"] == []


@pytest.mark.parametrize(("second", "note"), [
    pytest.param(group(active=["noc1"]), "xenGuests is active on xen1 and xen2, and nothing keeps them from each other.", id="active twice"),
    pytest.param(group(volumes=["noc1", "noc2"]), "xen2 sees other volumes in xenGuests than xen1: look again.", id="another list"),
    pytest.param(group(), None, id="inactive"),
    pytest.param(group(uuid="another", active=["noc1"]), None, id="another group of this name"),
])
def test_what_no_host_knows_alone(second: t.Dict[str, t.Any], note: t.Optional[str]) -> None:
    assert fleet_summary([host("xen1", group(active=["noc1"])), host("xen2", second)])["notes"] == ([note] if note else [])


def test_locks_keep_hosts_from_each_other() -> None:
    locked = group(active=["noc1"], lock_type="sanlock")
    assert fleet_summary([host("xen1", locked), host("xen2", locked)])["notes"] == []


def test_problems_are_told_once() -> None:
    problem = {"object": "logical volume a/b", "what": "has 1 bytes in this kernel and 2 in the group", "remedy": "lvchange --refresh a/b"}
    seen = host("xen1", active={"problems": [problem]}, lvm={"groups": [], "problems": [problem]})
    assert fleet_summary([seen])["notes"] == ["xen1: logical volume a/b has 1 bytes in this kernel and 2 in the group. lvchange --refresh a/b."]


@pytest.mark.parametrize(("seen", "why"), [
    pytest.param({"host": "xen1", "disks": {"unreachable": True, "msg": "no route"}}, "no route", id="unreachable"),
    pytest.param({"host": "xen1", "disks": {"steps": []}, "lvm": {"msg": "lvm: not found", "error": {}}}, "lvm: not found", id="no LVM"),
    pytest.param({"host": "xen1"}, "it gave no answer.", id="nothing"),
    pytest.param(host("xen1", disks={"msg": "not root", "error": {"kind": "HostError"}, "steps": []}), "not root", id="failed half-way"),
])
def test_hosts_that_fail_are_named(seen: t.Dict[str, t.Any], why: str) -> None:
    summary = fleet_summary([seen, host("xen2", group())])
    assert summary["failed"] == ["xen1"] and summary["notes"] == [f"xen1 could not be looked at: {why}"]
    assert [row["host"] for row in summary["rows"]] == ["xen1", "xen2"]


def test_wrong_input_is_refused_in_words() -> None:
    with pytest.raises(AnsibleFilterError, match="one has no host"):
        FilterModule().filters()["fleet_summary"]([{"disks": {}}])
