# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a portal is asked: what iscsid.conf and the record of the portal say of a discovery session."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.ask import discovery_options

from . import builders

NAME = "iqn.2026-11.org.example:host"
SEGMENT = "discovery.sendtargets.iscsi.MaxRecvDataSegmentLength"
CHAP = {"authmethod": "CHAP", "username": "host1", "password": "plain-secret-1"}


@pytest.mark.parametrize(("settings", "expected"), [
    pytest.param({}, 32768, id="open-iscsi's own"),
    pytest.param({SEGMENT: "65536"}, 65536, id="as set"),
    pytest.param({SEGMENT: "1"}, 512, id="less than the protocol allows"),
    pytest.param({SEGMENT: "16777215"}, 262144, id="more than is ever taken"),
    pytest.param({SEGMENT: "much"}, 512, id="no number, which open-iscsi reads as 0"),
])
def test_the_longest_segment_asked_for(settings: t.Dict[str, str], expected: int) -> None:
    assert discovery_options(NAME, builders.conf(), settings).max_recv_data_segment_length == expected


@pytest.mark.parametrize(("change", "used"), [
    pytest.param({}, True, id="CHAP"),
    pytest.param({"authmethod": "None"}, False, id="credentials that are switched off"),
])
def test_the_credentials_of_a_discovery_session(change: t.Dict[str, str], used: bool) -> None:
    settings = {f"discovery.sendtargets.auth.{word}": value for word, value in {**CHAP, **change}.items()}
    auth = discovery_options(NAME, builders.conf(), settings).auth
    assert (auth is not None) == used
    assert auth is None or (auth.username, auth.password, auth.algorithms) == ("host1", "plain-secret-1", ("MD5",))
