# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.digest import crc32c, render_digest


@pytest.mark.parametrize(("data", "on_the_wire"), [  # RFC 7143 appendix A.4
    pytest.param(bytes(32), "aa36918a", id="zeros"),
    pytest.param(b"\xff" * 32, "43aba862", id="ones"),
    pytest.param(bytes(range(32)), "4e79dd46", id="up"),
    pytest.param(bytes(range(31, -1, -1)), "5cdb3f11", id="down"),
    pytest.param(bytes.fromhex("01c000000000000000000000000000001400000000000400000000140000001828000000000000000200000000000000"), "563a96d9",
                 id="a SCSI read"),
])
def test_vectors_of_the_rfc(data: bytes, on_the_wire: str) -> None:
    assert render_digest(data).hex() == on_the_wire


def test_check_value() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(memoryview(b"")) == 0
