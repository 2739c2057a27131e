# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import struct
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._host import scsi

ILLEGAL = bytes([0x70, 0, 5]) + bytes(15)
ATTENTION = bytes([0x72, 6]) + bytes(6)


def report(*entries: bytes) -> bytes:
    return struct.pack(">LL", 8 * len(entries), 0) + b"".join(entries)


@pytest.mark.parametrize("entry, number", [
    ("0000000000000000", 0),
    ("0001000000000000", 1),
    ("00ff000000000000", 255),
    ("4100000000000000", 16640),  # flat space addressing, LUN 256: what tgt and LIO report above 255
    ("0001000200000000", 131073),
])
def test_luns_have_the_numbers_of_the_kernel(entry: str, number: int) -> None:
    assert scsi.parse_luns(report(bytes.fromhex(entry))) == [number]


def test_well_known_units_are_left_out() -> None:
    assert scsi.parse_luns(report(bytes.fromhex("c101000000000000"), bytes(8))) == [0]


@given(st.binary(max_size=64))
def test_any_bytes_are_a_list_of_luns(data: bytes) -> None:
    assert all(number >= 0 for number in scsi.parse_luns(data))


@given(st.lists(st.integers(0, 255), unique=True, max_size=20), st.integers(0, 30))
def test_an_answer_that_was_cut_off_has_its_first_luns(numbers: t.List[int], cut: int) -> None:
    whole = report(*(bytes([0, number]) + bytes(6) for number in numbers))
    assert scsi.parse_luns(whole[:8 + cut]) == sorted(numbers[:cut // 8])


@pytest.mark.parametrize("sense, key", [(ILLEGAL, 5), (ATTENTION, 6), (b"", 0), (bytes([0xF0, 0, 0x26]), 6)])
def test_sense_keys_of_both_formats(sense: bytes, key: int) -> None:
    assert scsi.sense_key(sense) == key


class Device:
    """Answers commands one after the other: data, or a sense key (with the additional sense code above it)."""

    def __init__(self, *answers: t.Union[bytes, int]) -> None:
        self.answers = list(answers)
        self.commands: t.List[bytes] = []

    def send(self, device: str, opened: int, command: bytes, length: int, timeout: float) -> t.Tuple[bytes, t.Optional[bytes]]:
        self.commands.append(command)
        answer = self.answers.pop(0)
        return (b"", bytes([0x72, answer & 0xF, answer >> 8]) + bytes(5)) if isinstance(answer, int) else (answer, None)


def ask(monkeypatch: pytest.MonkeyPatch, *answers: t.Union[bytes, int]) -> Device:
    device = Device(*answers)
    monkeypatch.setattr(scsi, "_send", device.send)
    return device


def test_the_size_past_unit_attentions(monkeypatch: pytest.MonkeyPatch) -> None:
    device = ask(monkeypatch, 6, 6, struct.pack(">QL", 2047, 512) + bytes(20))
    assert scsi.read_capacity("/dev/null") == 2048 * 512
    assert [len(command) for command in device.commands] == [16, 16, 16]


def test_a_disk_that_knows_only_the_short_command(monkeypatch: pytest.MonkeyPatch) -> None:
    device = ask(monkeypatch, 5, struct.pack(">LL", 99, 4096))
    assert scsi.read_capacity("/dev/null") == 100 * 4096
    assert [len(command) for command in device.commands] == [16, 10]


@pytest.mark.parametrize("answers, words", [([2], "sense key 0x2"), ([6] * 9, "unit attentions")])
def test_a_disk_that_gives_no_answer(monkeypatch: pytest.MonkeyPatch, answers: t.Sequence[int], words: str) -> None:
    ask(monkeypatch, *answers)
    with pytest.raises(HostError, match=words):
        scsi.report_luns("/dev/null")


@pytest.mark.parametrize("sense, code", [
    (ILLEGAL[:12] + bytes([0x25, 0]) + bytes(4), 0x25), (bytes([0x72, 5, 0x25, 0]) + bytes(4), 0x25), (bytes([0xF3, 5, 0x3F]), 0x3F), (ILLEGAL, 0),
    (ILLEGAL[:8], 0), (b"", 0),
])
def test_additional_sense_codes_of_both_formats(sense: bytes, code: int) -> None:
    assert scsi.sense_code(sense) == code


@pytest.mark.parametrize("question", [scsi.report_luns, scsi.read_capacity, scsi.device_identification])
def test_a_lun_that_is_gone_says_so_whatever_is_asked(monkeypatch: pytest.MonkeyPatch, question: t.Callable[[str], object]) -> None:
    device = ask(monkeypatch, 0x2505)
    with pytest.raises(scsi.NoLunError, match="no LUN of its target"):
        question("/dev/null")
    assert len(device.commands) == 1


def test_a_disk_says_which_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    device = ask(monkeypatch, 6, b"\x00\x83\x00\x00")
    assert scsi.device_identification("/dev/null") == b"\x00\x83\x00\x00"
    assert device.commands[-1] == bytes([0x12, 1, 0x83, 4, 0, 0])


@pytest.mark.parametrize("first", [0x3F, 0x7F, 0x20])
def test_nothing_is_connected_says_the_qualifier(monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    ask(monkeypatch, bytes([first, 0x83, 0, 0]))
    with pytest.raises(scsi.NoLunError):
        scsi.device_identification("/dev/null")


def test_a_disk_without_identification_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    ask(monkeypatch, 0x2405)
    assert scsi.device_identification("/dev/null") is None


@pytest.mark.parametrize("path", ["/dev/null", "/dev/no-such-disk"])
def test_what_is_no_scsi_device_is_named(path: str) -> None:
    with pytest.raises(HostError, match=f"{path}: did not answer"):
        scsi.report_luns(path)


def page(*designators: bytes) -> bytes:
    body = b"".join(designators)
    return b"\x00\x83" + struct.pack(">H", len(body)) + body


NAA = bytes.fromhex("01030010" + "6001405bbbbbbbbbbbbbbbbbbbbbbbb1")
PORT = bytes.fromhex("01140004" + "00000001")
T10 = bytes.fromhex("02010010") + b"LIO-ORG disk\x00\x00  "
EUI = bytes.fromhex("01020008" + "0011223344556677")


@pytest.mark.parametrize("given, names", [
    (page(NAA), ["naa.6001405bbbbbbbbbbbbbbbbbbbbbbbb1"]),
    (page(PORT, T10, NAA, EUI), ["t10.LIO-ORG disk", "naa.6001405bbbbbbbbbbbbbbbbbbbbbbbb1", "eui.0011223344556677"]),
    (page(NAA)[:-1], []),
    (page(), []),
    (b"\x00\x80\x00\x04abcd", []),
    (b"", []),
])
def test_the_names_of_a_lun(given: bytes, names: t.List[str]) -> None:
    assert scsi.parse_names(given) == names


@given(st.binary(max_size=64))
def test_any_bytes_are_names_or_none(data: bytes) -> None:
    assert all(name[:4] in ("naa.", "eui.", "t10.") for name in scsi.parse_names(b"\x00\x83" + data))


def test_the_names_that_a_disk_says_now(monkeypatch: pytest.MonkeyPatch) -> None:
    device = ask(monkeypatch, 6, page(NAA))
    assert scsi.read_names("/dev/null") == ["naa.6001405bbbbbbbbbbbbbbbbbbbbbbbb1"]
    assert device.commands == [bytes.fromhex("120183040000")] * 2
