# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._host.sysfs import list_dir, read_bytes, read_int, read_text, resolve


@pytest.mark.parametrize(("content", "text"), [
    pytest.param(b"LOGGED_IN\n", "LOGGED_IN", id="line"),
    pytest.param(b"IET     \n", "IET", id="padded"),
    pytest.param(b"", None, id="empty"),
    pytest.param(b"\n", None, id="blank"),
    pytest.param(b"(null)\n", None, id="kernel's null"),
    pytest.param(b"<NULL>\n", None, id="older null"),
    pytest.param(b"NULL\n", "NULL", id="somebody's name"),
    pytest.param(b"a\x00b\n", "ab", id="zero byte"),
    pytest.param(b"\xff\n", "\ufffd", id="no text"),
])
def test_read_text(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "a").write_bytes(content)
    assert read_text(str(tmp_path / "a")) == text
    assert read_bytes(str(tmp_path / "a")) == content


@pytest.mark.parametrize(("content", "base", "number"), [
    ("12\n", 10, 12), ("-1\n", 10, -1), ("0x10\n", 16, 16), ("off\n", 10, None), ("", 10, None),
])
def test_read_int(tmp_path: Path, content: str, base: int, number: int) -> None:
    (tmp_path / "a").write_text(content)
    assert read_int(str(tmp_path / "a"), base) == number


def test_missing_and_unreadable_are_none_and_empty(tmp_path: Path) -> None:
    assert read_text(str(tmp_path / "a")) is None
    assert read_text(str(tmp_path)) is None
    assert list_dir(str(tmp_path / "a")) == []
    assert resolve(str(tmp_path / "a")) is None


def test_list_dir_is_in_natural_order(tmp_path: Path) -> None:
    for name in ("session10", "session2", "host1"):
        (tmp_path / name).mkdir()
    assert list_dir(str(tmp_path)) == ["host1", "session2", "session10"]


def test_resolve_follows_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert resolve(str(tmp_path / "link")) == str((tmp_path / "real").resolve())
