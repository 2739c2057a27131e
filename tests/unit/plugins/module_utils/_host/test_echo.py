# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ICMP echo by bytes; that it goes out and comes back is tested against the kernel in tests/integration/database/test_iface.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lunar.iscsi.plugins.module_utils._host.echo import checksum, is_reply, request


def test_the_checksum_is_that_of_rfc_1071() -> None:
    # the example of section 3: the sum of the words is ddf2
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF ^ 0xDDF2


@given(number=st.integers(0, 65535), size=st.integers(0, 100))
def test_a_request_sums_up_to_nothing(number: int, size: int) -> None:
    assert checksum(request(4, 7, number, size)) == 0 and len(request(4, 7, number, size)) == 8 + size
    assert request(6, 7, number, size)[:4] == b"\x80\0\0\0"


IP = bytes([0x45]) + bytes(19)
OPTIONS = bytes([0x46]) + bytes(23)


@pytest.mark.parametrize(("version", "data", "ours"), [
    pytest.param(4, IP + b"\0\0\x12\x34\0\x07\0\x01", True, id="v4"),
    pytest.param(4, OPTIONS + b"\0\0\x12\x34\0\x07\0\x01more", True, id="v4-with-options"),
    pytest.param(4, IP + b"\0\0\x12\x34\0\x07\0\x02", False, id="another-number"),
    pytest.param(4, IP + b"\0\0\x12\x34\0\x08\0\x01", False, id="of-another-program"),
    pytest.param(4, IP + b"\x08\0\x12\x34\0\x07\0\x01", False, id="a-request"),
    pytest.param(4, IP + b"\x03\x01\x12\x34\0\x07\0\x01", False, id="unreachable"),
    pytest.param(4, IP + b"\0\0", False, id="cut-off"),
    pytest.param(4, b"", False, id="empty"),
    pytest.param(6, b"\x81\0\x12\x34\0\x07\0\x01", True, id="v6"),
    pytest.param(6, b"\x80\0\x12\x34\0\x07\0\x01", False, id="v6-request"),
])
def test_what_is_our_answer(version: int, data: bytes, ours: bool) -> None:
    assert is_reply(version, data, 7, 1) is ours
