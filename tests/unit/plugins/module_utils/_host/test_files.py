# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files: whole or not at all, inside the root or not at all."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._host import files


def test_write_replaces_with_the_mode_asked_for_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "record"
    path.write_bytes(b"old")
    path.chmod(0o644)
    files.write_atomic(str(path), b"new")
    assert path.read_bytes() == b"new" and path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    files.write_atomic(str(path), b"newer", keep_mode=True)
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["record"]


def test_a_failed_rename_keeps_the_old_file_and_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record"
    path.write_bytes(b"old")

    def broken(_from: str, _to: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", broken)
    with pytest.raises(HostError, match="record: could not be put in place: No space left"):
        files.write_atomic(str(path), b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["record"]


def test_more_files_than_a_process_may_open(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
    try:
        for number in range(700):
            files.make_folder(str(tmp_path / str(number)))
        files.write_all_atomic({str(tmp_path / str(number) / "f"): b"x" for number in range(700)}, temp_folder=str(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(list(tmp_path.glob("*/f"))) == 700 and not list(tmp_path.glob(files.TEMP_PREFIX + "*"))


@pytest.mark.parametrize("links, path, expected", [
    ({}, "/etc/iscsi", "etc/iscsi"),
    ({"etc": "/usr/etc"}, "/etc/iscsi", "usr/etc/iscsi"),
    ({"etc": "../../../../outside"}, "/etc/iscsi", "outside/iscsi"),
    ({"etc": "/"}, "/etc/../../iscsi", "iscsi"),
])
def test_no_link_leads_out_of_the_root(tmp_path: Path, links: dict[str, str], path: str, expected: str) -> None:
    for name, to in links.items():
        (tmp_path / name).symlink_to(to)
    assert files.under_root(str(tmp_path), path) == str(tmp_path / expected)


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(HostError, match="circle"):
        files.under_root(str(tmp_path), "/a/x")


def test_empty_folders_go_up_to_the_one_named(tmp_path: Path) -> None:
    (tmp_path / "nodes/a/b").mkdir(parents=True)
    (tmp_path / "nodes/c").mkdir()
    files.remove_empty_folders_up_to(str(tmp_path / "nodes/a/b"), str(tmp_path / "nodes"))
    assert os.listdir(tmp_path / "nodes") == ["c"]
    assert files.read_bytes(str(tmp_path / "none")) is None and files.remove_file(str(tmp_path / "none")) is False
