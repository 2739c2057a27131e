# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.errors import LocalProtocolError, ProtocolError
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.text import KEY_RULES, agree, parse_binary, parse_number, parse_pairs, render_pairs


@pytest.mark.parametrize(("data", "pairs"), [
    pytest.param(b"", (), id="nothing"),
    pytest.param(b"A=b\0", (("A", "b"),), id="one"),
    pytest.param(b"A=b\0A=c\0", (("A", "b"), ("A", "c")), id="the same key again"),
    pytest.param(b"A=b=c\0", (("A", "b=c"),), id="equals sign in the value"),
    pytest.param(b"A=\0", (("A", ""),), id="empty value"),
    pytest.param(b"A=b", (("A", "b"),), id="last NUL missing"),
    pytest.param(b"A=b\0\0\0", (("A", "b"),), id="padding"),
    pytest.param("A=\u00e4\0".encode(), (("A", "\u00e4"),), id="UTF-8"),
    pytest.param(b"X-com.example.Do_it+@-1=b\0", (("X-com.example.Do_it+@-1", "b"),), id="all characters of a key"),
])
def test_parse_pairs(data: bytes, pairs: t.Tuple[t.Tuple[str, str], ...]) -> None:
    assert parse_pairs(data) == pairs


@pytest.mark.parametrize("data", [b"A\0", b"=b\0", b"A b=c\0", b"1A=b\0", b"A" * 64 + b"=b\0", b"A=\xff\0", b"A=" + b"b" * 2051, b"\xc3\xa4=b\0"])
def test_parse_pairs_refuses(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_pairs(data)


def test_the_longest_challenge_fits() -> None:
    assert parse_binary("CHAP_C", dict(parse_pairs(b"CHAP_C=0x" + b"ab" * 1024))["CHAP_C"], 1024) == b"\xab" * 1024


def test_render_pairs() -> None:
    assert render_pairs((("A", "b"), ("C", ""))) == b"A=b\0C=\0"
    with pytest.raises(LocalProtocolError):
        render_pairs((("A", "b\0C=d"),))


@pytest.mark.parametrize(("value", "number"), [("0", 0), ("65535", 65535), ("0x1F", 31), ("0XfF", 255), ("007", 7)])
def test_parse_number(value: str, number: int) -> None:
    assert parse_number("k", value, 0, 65535) == number


@pytest.mark.parametrize("value", ["", "-1", "65536", "0x10000", "1.5", " 1", "1 ", "0x", "\u0661", "1e3", "9" * 5000, "0xg"])
def test_parse_number_refuses(value: str) -> None:
    with pytest.raises(ProtocolError):
        parse_number("k", value, 0, 65535)


@pytest.mark.parametrize("value", ["", "00", "0x", "0b", "0xgg", "0b!", "0x" + "00" * 11, "0b\u00e4", "ff", "0b YQ==", "0bYQ"])
def test_parse_binary_refuses(value: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_binary("k", value, 10)
    assert not value[2:] or value[2:] not in str(caught.value)


def test_odd_number_of_hex_digits() -> None:
    assert parse_binary("k", "0xabc", 10) == b"\x0a\xbc"


@pytest.mark.parametrize(("key", "ours", "theirs", "result"), [  # RFC 7143 sections 6.2.1, 6.2.2 and 13
    ("HeaderDigest", "None,CRC32C", "None", "None"), ("HeaderDigest", "None,CRC32C", "CRC32C", "CRC32C"), ("DataDigest", "None", "CRC32C,None", "None"),
    ("InitialR2T", "No", "No", "No"), ("InitialR2T", "No", "Yes", "Yes"), ("InitialR2T", "Yes", "No", "Yes"),
    ("ImmediateData", "Yes", "Yes", "Yes"), ("ImmediateData", "Yes", "No", "No"), ("ImmediateData", "No", "Yes", "No"),
    ("MaxBurstLength", "65536", "1024", "1024"), ("MaxBurstLength", "1024", "65536", "1024"), ("DefaultTime2Wait", "2", "5", "5"),
    ("DefaultTime2Wait", "2", "0", "2"),
    ("MaxRecvDataSegmentLength", "1024", "0x2000", "8192"),
])
def test_agree(key: str, ours: str, theirs: str, result: str) -> None:
    assert agree(key, ours, theirs) == result


@pytest.mark.parametrize(("key", "theirs"), [
    ("HeaderDigest", "CRC64"), ("HeaderDigest", ""), ("InitialR2T", "yes"), ("MaxBurstLength", "511"), ("MaxBurstLength", "16777216"),
    ("DefaultTime2Wait", "3601"), ("ErrorRecoveryLevel", "3"), ("MaxConnections", "0"),
])
def test_agree_refuses(key: str, theirs: str) -> None:
    with pytest.raises(ProtocolError, match=key):
        agree(key, KEY_RULES[key].default, theirs)
