# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a failover drill: which cuts, where, what they take and leave, and every reason not to begin."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.lunar.iscsi.plugins.filter.failover_cuts import FilterModule, failover_cuts

TARGET = "iqn.2026-11.org.example:array1"
IPV4 = ("192.168.56.101:3260,1", "192.168.57.101:3260,2")
IPV6 = ("[fd00:56::101]:3260,1", "[fe80::5054:ff:fe6c:101%san2]:3261,2")
ARRAY = {"192.168.56.101": "array1", "192.168.57.101": "array1", "fd00:56::101": "array1", "fe80::5054:ff:fe6c:101": "array2"}


def session(sid: int, portal: str, *, interval: t.Optional[int] = 5, timeout: t.Optional[int] = 5) -> t.Dict[str, t.Any]:
    return {"sid": sid, "portal": portal, "target": TARGET, "iface": {"ipaddress": f"10.0.0.{sid}"}, "timeouts": {"recv_tmo": interval, "ping_tmo": timeout}}


def plan(kinds: t.Sequence[str], portals: t.Sequence[str] = IPV4, netdevs: t.Sequence[str] = ("san1", "san2"), *, interval: t.Optional[int] = 5,
         timeout: t.Optional[int] = 5, **options: t.Any) -> t.Dict[str, t.Any]:
    sessions = [session(sid, portal, interval=interval, timeout=timeout) for sid, portal in enumerate(portals, 1)]
    paths = [{"device": f"/dev/sd{sid}", "session": {"sid": sid}} for sid in range(1, len(portals) + 1)]
    return failover_cuts(paths, sessions, netdevs, kinds, "web1", targets=ARRAY, **options)


@pytest.mark.parametrize(("kind", "portals", "wanted"), [
    pytest.param("filter", IPV4, [("web1", ["192.168.56.101", "3260", "10.0.0.1"]), ("web1", ["192.168.57.101", "3260", "10.0.0.2"])], id="filter"),
    pytest.param("filter", IPV6, [("web1", ["fd00:56::101", "3260", "10.0.0.1"]), ("web1", ["fe80::5054:ff:fe6c:101", "3261", "10.0.0.2"])], id="filter IPv6"),
    pytest.param("interface", IPV6, [("web1", ["san1"]), ("web1", ["san2"])], id="interface"),
    pytest.param("portal", IPV4, [("array1", [TARGET, "1"]), ("array1", [TARGET, "2"])], id="portal"),
    pytest.param("portal", IPV6, [("array1", [TARGET, "1"]), ("array2", [TARGET, "2"])], id="portal IPv6"),
    pytest.param("service", IPV6, [("array1", []), ("array2", [])], id="service of two targets"),
])
def test_where_and_what(kind: str, portals: t.Sequence[str], wanted: t.Sequence[t.Tuple[str, t.Sequence[str]]]) -> None:
    found = plan([kind], portals)
    assert found["problems"] == []
    assert [(cut["host"], cut["arguments"]) for cut in found["cuts"]] == wanted
    assert [(cut["path"], cut["left"], cut["sids"]) for cut in found["cuts"]] == [(portals[0], portals[1], [1]), (portals[1], portals[0], [2])]
    assert [(cut["limit"], cut["seconds"]) for cut in found["cuts"]] == [(13.0, 20), (13.0, 20)]


def test_cuts_come_in_the_order_in_which_they_are_named() -> None:
    assert [(cut["cut"], cut["sids"]) for cut in plan(["portal", "filter"])["cuts"]] == [("portal", [1]), ("portal", [2]), ("filter", [1]), ("filter", [2])]


@pytest.mark.parametrize(("kind", "netdevs", "said"), [
    pytest.param("interface", ("bond0", "bond0"), "interface bond0 takes every path", id="one interface"),
    pytest.param("service", ("san1", "san2"), "service tgt.service takes every path", id="one target"),
])
def test_a_cut_that_leaves_nothing(kind: str, netdevs: t.Sequence[str], said: str) -> None:
    refused = plan([kind], netdevs=netdevs, service="tgt.service")
    assert len(refused["problems"]) == 1 and said in refused["problems"][0] and "failover_drill_outage" in refused["problems"][0]
    wanted = plan([kind], netdevs=netdevs, service="tgt.service", outage=True)
    assert wanted["problems"] == []
    assert [(cut["left"], cut["limit"], cut["seconds"], cut["sids"]) for cut in wanted["cuts"]] == [("", None, 20, [1, 2])]


def test_three_paths_of_which_one_cut_takes_two() -> None:
    found = plan(["interface", "filter"], [*IPV4, "192.168.57.102:3260,3"], ["san1", "san2", "san2"])
    cuts = [(cut["cut"], cut["sids"]) for cut in found["cuts"]]
    assert cuts == [("interface", [1]), ("interface", [2, 3]), ("filter", [1]), ("filter", [2]), ("filter", [3])]
    assert found["cuts"][1]["path"] == "192.168.57.101:3260,2, 192.168.57.102:3260,3"


@pytest.mark.parametrize(("options", "limit", "seconds"), [
    pytest.param({"interval": 2, "timeout": 3}, 8.0, 15, id="of its timers"),
    pytest.param({"limit": 25}, 25.0, 32, id="as said"),
    pytest.param({"limit": 4.5}, 4.5, 12, id="not whole"),
    pytest.param({"seconds": 14}, 13.0, 14, id="seconds as said"),
    pytest.param({"interval": 0, "limit": "40"}, 40.0, 47, id="no pings, and a limit from the command line"),
])
def test_limit_and_seconds(options: t.Dict[str, t.Any], limit: float, seconds: int) -> None:
    found = plan(["filter"], **options)
    assert found["problems"] == []
    assert {(cut["limit"], cut["seconds"]) for cut in found["cuts"]} == {(limit, seconds)}


@pytest.mark.parametrize(("kinds", "options", "said"), [
    pytest.param(["filter"], {"interval": 0}, ["192.168.56.101:3260,1 sends no pings", "192.168.57.101:3260,2 sends no pings"], id="no pings"),
    pytest.param(["filter"], {"timeout": None}, ["192.168.56.101:3260,1 sends no pings", "192.168.57.101:3260,2 sends no pings"], id="timer unknown"),
    pytest.param(["filter"], {"seconds": 13}, ["a cut of 13 s shows no stall of more than 13 s"], id="too short to see it"),
    pytest.param(["interface"], {"carriers": ["mgmt", "san2"]}, ["interface san2 carries the controller's own connection"], id="controller"),
    pytest.param(["interface"], {"netdevs": ["san1", ""]}, ["no interface leads to 192.168.57.101:3260,2"], id="no route"),
    pytest.param(["portal"], {"portals": ["10.9.9.9:3260,1", IPV4[1]]}, ["does not say which host has 10.9.9.9"], id="unknown target"),
])
def test_reasons_not_to_begin(kinds: t.Sequence[str], options: t.Dict[str, t.Any], said: t.Sequence[str]) -> None:
    problems = plan(kinds, **options)["problems"]
    assert len(problems) == len(said)
    assert all(words in problem for words, problem in zip(said, problems))


def test_it_is_found_by_its_name() -> None:
    assert FilterModule().filters() == {"failover_cuts": failover_cuts}
