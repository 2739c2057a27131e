# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.wwids import add, check_wwids, read_bindings, read_wwids, remove

HEADER = b"# Multipath wwids, Version : 1.0\n# NOTE: This file is automatically maintained by multipath and multipathd.\n#\n# Valid WWIDs:\n"


@pytest.mark.parametrize(("data", "expected"), [
    pytest.param(None, [], id="no file"),
    pytest.param(HEADER, [], id="nobody"),
    pytest.param(HEADER + b"/360014059ca317516a69465c883a29603/\n/3600 1/\n", ["360014059ca317516a69465c883a29603", "3600 1"], id="two"),
    pytest.param(HEADER + b"#/360014059ca317516a69465c883a29603/\n", [], id="one that was taken off by a comment"),
    pytest.param(b"3600\n/3601\n3602/\n//\n", [], id="lines that are none"),
    pytest.param(b"/\xe9/\n/3600/", ["\ufffd", "3600"], id="bytes, and no end of the last line"),
])
def test_read(tmp_path: Path, data: t.Optional[bytes], expected: t.List[str]) -> None:
    if data is not None:
        (tmp_path / "wwids").write_bytes(data)
    assert read_wwids(str(tmp_path / "wwids")) == expected


@pytest.mark.parametrize("wwid", ["", "a b", "a/b", "a\nb", "a\0", "x" * 128])
def test_refused(wwid: str) -> None:
    with pytest.raises(InputError, match="is no WWID"):
        check_wwids(["3600", wwid])


def test_add_and_remove() -> None:
    assert check_wwids(["a", "b", "a", "x" * 127]) == ["a", "b", "x" * 127]
    assert add(["a"], ["b", "a", "c"]) == ["b", "c"]
    assert remove(["a", "b"], ["b", "c"]) == ["b"]


@pytest.mark.parametrize(("data", "expected"), [
    pytest.param(None, {}, id="no file"),
    pytest.param(b"# Multipath bindings, Version : 1.0\n# Format:\n# alias wwid\n#\n", {}, id="nobody"),
    pytest.param(b"mpatha 3600\n\tmpathb\t3601 # old\n", {"mpatha": "3600", "mpathb": "3601"}, id="two"),
    pytest.param(b"mpatha 3600\nmpatha 3601\n", {"mpatha": "3600"}, id="the first counts"),
    pytest.param(b"mpatha\n#mpathb 3601\n\xe9 3602\n", {"\ufffd": "3602"}, id="lines that are none, and bytes"),
])
def test_bindings(tmp_path: Path, data: t.Optional[bytes], expected: t.Dict[str, str]) -> None:
    if data is not None:
        (tmp_path / "bindings").write_bytes(data)
    assert read_bindings(str(tmp_path / "bindings")) == expected
