# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where tgtd listens: the order of requests, against what a kernel allows."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import Portal, parse_portal
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_portals import parse_portals, portal_steps, read_service
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_steps import Service

ADDRESSES = [f"{host}:{port}" for host in ("0.0.0.0", "192.0.2.1", "192.0.2.2", "[::]", "[fd00::1]") for port in (3260, 3261)]


@pytest.mark.parametrize("portals, what", [
    ([], "is empty"), (["gateway1"], "is no IP address"), (["192.0.2.1,2"], "portal group tag"), (["192.0.2.1", "192.0.2.1:3260"], "given twice"),
    (["fe80::1%eth0"], "names an interface"), (["192.0.2.1", "0.0.0.0"], "is every address, beside 192.0.2.1:3260"),
    (["[::]:3261", "[fd00::1]:3261"], "is every address, beside .fd00::1.:3261"),
])  # fmt: skip
def test_refused_in_words(portals: t.List[str], what: str) -> None:
    with pytest.raises(InputError, match=what):
        parse_portals(portals)


def test_addresses_in_every_form() -> None:
    assert parse_portals(["192.0.2.1,1", "FD00:0::1", "0.0.0.0:3261", "[::]:3261"]) == (
        Portal("192.0.2.1"), Portal("fd00::1"), Portal("0.0.0.0", 3261), Portal("::", 3261))


def one_socket_each(portals: t.Collection[Portal]) -> bool:
    """Whether a kernel lets one program listen on all of them: on every address of a port, or on some."""
    return all(not (one.port == other.port and (":" in one.host) == (":" in other.host) and one.host in ("0.0.0.0", "::") and other != one)
               for one in portals for other in portals)


def listening() -> st.SearchStrategy[t.FrozenSet[Portal]]:
    return st.frozensets(st.sampled_from(ADDRESSES), min_size=1).map(lambda some: frozenset(map(parse_portal, some))).filter(one_socket_each)


@given(listening(), listening())
def test_it_never_listens_nowhere_if_it_can_be_helped(live: t.FrozenSet[Portal], wanted: t.FrozenSet[Portal]) -> None:
    assert parse_portals([one.address for one in wanted]) is not None
    now = set(live)
    steps = portal_steps(sorted(wanted), sorted(live), None)
    for step in steps:
        for request in step.work:
            one = parse_portal(request.text[len("portalOps portal="):-1])
            if request.op == "delete":
                now.remove(one)
                # what goes before there is another does so because nothing else can be had
                assert now or not any(one_socket_each({one, new}) for new in wanted)
            else:
                assert one not in now
                now.add(one)
                assert one_socket_each(now), f"the kernel refuses {one.address}"
    assert now == wanted and bool(steps) == (live != wanted)


def unit_file(host: Path, name: str, command: str = "/usr/sbin/tgtd -f") -> None:
    path = host / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"[Service]\nType=notify\nExecStart={command}\nExecStartPost=/usr/sbin/tgt-admin -e\n", encoding="utf-8")


@pytest.mark.parametrize("names, command", [
    (["lib/systemd/system/tgt.service"], "tgt 0"), (["usr/lib/systemd/system/tgtd.service"], "tgtd 0"), ([], ""),
    (["lib/systemd/system/tgt.service", "etc/systemd/system/tgt.service"], "tgt 1"),
    (["lib/systemd/system/tgt.service", "etc/systemd/system/tgtd.service"], "tgt 0"),
], ids=["Debian", "RHEL", "none", "the host's own", "a second name"])  # fmt: skip
def test_the_service(tmp_path: Path, names: t.List[str], command: str) -> None:
    for number, name in enumerate(names):
        unit_file(tmp_path, name, f"{os.path.basename(name).partition('.')[0]} {number}")
    service = read_service(str(tmp_path))
    assert (service.command, service.text) == (command, "")
    if command:
        assert service.drop_in == str(tmp_path / f"etc/systemd/system/{command.partition(' ')[0]}.service.d/lunar-iscsi-portals.conf")


def test_saved_once() -> None:
    service = Service("/usr/sbin/tgtd -f", "/drop-in")
    wanted = [Portal("192.0.2.2"), Portal("192.0.2.1")]
    (step,) = portal_steps(wanted, wanted, service)
    assert "ExecStart=/usr/sbin/tgtd -f --iscsi portal=192.0.2.1:3260,portal=192.0.2.2:3260\n" in str(step.after)
    assert "After=network-online.target\n" in str(step.after)
    assert portal_steps(wanted[::-1], wanted, Service(service.command, service.drop_in, str(step.after))) == []
    for command in ("", "/usr/sbin/tgtd -f --iscsi nop_interval=5"):
        with pytest.raises(HostError):
            portal_steps(wanted, wanted, Service(command, "/drop-in"))


@pytest.mark.parametrize("portals, closed", [
    (["192.0.2.1"], ["0.0.0.0:3260", "[::]:3260"]), (["0.0.0.0"], ["[::]:3260"]), (["0.0.0.0", "[::]"], []),
    (["0.0.0.0:3261"], ["0.0.0.0:3260", "[::]:3260"]),
])  # fmt: skip
def test_what_tgtd_may_open_by_itself_is_closed(portals: t.List[str], closed: t.List[str]) -> None:
    (step,) = portal_steps(parse_portals(portals), parse_portals(portals) or (), Service("tgtd", "/drop-in"))
    lines = str(step.after).splitlines()
    assert [line.rpartition("--op delete --param portal=")[2].partition(";")[0] for line in lines if "--op delete" in line] == closed
