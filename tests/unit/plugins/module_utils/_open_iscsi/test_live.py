# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel says a session was made with, beside its record."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.live import differences, read_live

from .builders import A, ONE, node

REPLACEMENT = "node.session.timeo.replacement_timeout"
INTERVAL = "node.conn[0].timeo.noop_out_interval"


@pytest.mark.parametrize(("mapped", "recovery", "interval", "found"), [
    pytest.param(False, "120", "5", [], id="as the record says"),
    pytest.param(False, "5", "5", [REPLACEMENT], id="another replacement timeout"),
    pytest.param(True, "5", "5", [], id="the one that multipathd sets"),
    pytest.param(True, "5", "9", [INTERVAL], id="what multipathd does not set"),
])
def test_differences(tmp_path: Path, mapped: bool, recovery: str, interval: str, found: t.List[str]) -> None:
    for path, text in (("iscsi_session/session3/recovery_tmo", recovery), ("iscsi_connection/connection3:0/recv_tmo", interval)):
        (tmp_path / "class" / path).parent.mkdir(parents=True)
        (tmp_path / "class" / path).write_text(text + "\n")
    record = node(ONE, A)[1]
    assert differences(record, read_live(3, str(tmp_path), mapped=mapped)) == found
