# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading an initramfs: archives in a row, compressed or not, cut off at every byte, and damaged in any way."""

from __future__ import annotations

import bz2
import gzip
import lzma
import typing as t
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.lunar.iscsi.plugins.module_utils._boot import archive
from ansible_collections.lunar.iscsi.plugins.module_utils._boot.archive import Archive, read_archive
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, HostError, IscsiError
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils._boot.cpio import cpio

EARLY = cpio({".": None, "kernel/x86/microcode/GenuineIntel.bin": b"m" * 100})
FILES: t.Mapping[str, t.Optional[bytes]] = {"./usr/sbin": None, "usr/sbin/iscsistart": b"program", "etc/x": b"12345", "/etc/y": b""}
MAIN = cpio(FILES)
NAMES = {"sbin", "sbin/iscsistart", "etc/x", "etc/y"}
WAYS: t.Mapping[str, t.Callable[[bytes], bytes]] = {
    "plain": bytes, "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32),
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
}


def read(path: Path, data: bytes) -> Archive:
    path.write_bytes(data)
    return read_archive(str(path), lambda name: name.startswith("etc/"))


@pytest.mark.parametrize("compress", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("early", [b"", EARLY, EARLY + bytes(4096)], ids=["alone", "after-microcode", "after-padding"])
def test_what_is_in_it(tmp_path: Path, compress: t.Callable[[bytes], bytes], early: bytes) -> None:
    found = read(tmp_path / "initrd", early + compress(MAIN))
    assert found.names == NAMES | ({".", "kernel/x86/microcode/GenuineIntel.bin"} if early else set())
    assert found.contents == {"etc/x": b"12345", "etc/y": b""}


def test_archives_after_each_other_inside_of_what_is_compressed(tmp_path: Path) -> None:
    found = read(tmp_path / "initrd", gzip.compress(MAIN + cpio({"etc/z": b"last"})))
    assert found.contents["etc/z"] == b"last" and found.contents["etc/x"] == b"12345"


def test_content_beyond_what_is_kept_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_LARGEST_KEPT", 4)
    assert read(tmp_path / "initrd", MAIN).contents == {"etc/y": b""}


@pytest.mark.parametrize("compress", [WAYS["plain"], WAYS["gzip"], WAYS["xz"]], ids=["plain", "gzip", "xz"])
def test_cut_off_anywhere_is_damage(tmp_path: Path, compress: t.Callable[[bytes], bytes]) -> None:
    whole = EARLY + compress(MAIN)
    last = len(whole) - (len(MAIN) - len(MAIN.rstrip(b"\0")) if compress is bytes else 0)
    for end in range(len(EARLY) + 1, last - 8):
        with pytest.raises(DamagedError):
            read(tmp_path / "initrd", whole[:end])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(data=st.binary(max_size=300), place=st.integers(0, len(MAIN)))
def test_whatever_stands_there_is_a_value_or_damage(tmp_path: Path, data: bytes, place: int) -> None:
    for text in (data, MAIN[:place] + data + MAIN[place:]):
        try:
            read(tmp_path / "initrd", text)
        except IscsiError as error:
            assert isinstance(error, DamagedError) or "is needed to read" in error.what


@pytest.mark.parametrize("compress", [WAYS[name] for name in WAYS if name != "plain"], ids=[name for name in WAYS if name != "plain"])
def test_a_wrong_byte_anywhere_in_what_is_compressed_is_a_value_or_damage(tmp_path: Path, compress: t.Callable[[bytes], bytes]) -> None:
    whole = compress(MAIN)
    damaged = 0
    for place in range(6, len(whole)):
        try:
            read(tmp_path / "initrd", whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1:])
        except DamagedError:
            damaged += 1
    assert damaged > len(whole) // 2


@pytest.mark.parametrize("data, words", [
    (b"", "holds no file"), (bytes(1024), "holds no file"), (b"#!/bin/sh\n", "neither a cpio archive nor compressed"),
    (gzip.compress(b"no archive at all"), "no cpio archive"), (b"070701" + b"G" * 104, "no size can be read"),
])
def test_what_is_none_is_said_in_words(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(DamagedError, match=words):
        read(tmp_path / "initrd", data)


def test_a_missing_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match="zstd: is needed to read"):
        read(tmp_path / "initrd", b"\x28\xb5\x2f\xfd" + bytes(20))


def test_a_command_that_fails_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "zstd"
    tool.write_text("#!/bin/sh\nexit 1\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(DamagedError, match="cut off or damaged"):
        read(tmp_path / "initrd", b"\x28\xb5\x2f\xfd" + bytes(20))


def test_one_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="could not be read"):
        read_archive(str(tmp_path / "none"), bool)
