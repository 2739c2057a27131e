# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where tgtd listens: the order of requests, against what a kernel allows."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import Portal, parse_portal
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_portals import parse_portals, portal_steps

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
