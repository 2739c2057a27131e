# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a target says: a result, more bytes wanted, or a ``PeerError``; nothing else, and nothing that depends on how bytes arrive."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import PeerError
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.errors import ProtocolError
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.exchanges import (
    Auth, DiscoveryExchange, Limits, LoginCheckExchange, LoginOptions, parse_targets)
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.text import parse_binary, parse_number, parse_pairs, render_pairs
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils._protocol.helpers.target import NO_TAG, Target, async_message, carry, nop_in, pdu
from hypothesis import given
from hypothesis import strategies as st

ME = "iqn.2026-11.org.example:me"
DISK = "iqn.2026-11.org.example:disk"
AUTH = Auth("the-user", "initiator-secret")
MUTUAL = Auth("the-user", "initiator-secret", "the-target", "target-secret")
TARGETS = [(f"iqn.2026-11.org.example:disk{number}", ["192.0.2.1:3260,1", "[2001:db8::1]:3260,2"]) for number in range(5)]
LIMITS = Limits(pdu_bytes=65536, text_bytes=65536, pdus=200)


def discovery(auth: t.Optional[Auth] = None) -> DiscoveryExchange:
    return DiscoveryExchange(LoginOptions(ME, auth=auth, limits=LIMITS, isid=b"\x80abcde"))


def login(auth: t.Optional[Auth] = None) -> LoginCheckExchange:
    return LoginCheckExchange(LoginOptions(ME, target=DISK, auth=auth, limits=LIMITS, isid=b"\x80abcde"))


Make = t.Callable[[], t.Union[DiscoveryExchange, LoginCheckExchange]]
#: what makes the exchange, and what an honest target says to it
PARTNERS: t.List[t.Tuple[Make, Target]] = [
    (discovery, Target(targets=TARGETS)),
    (discovery, Target(targets=TARGETS, piece=60, continue_bit=True, ping=True, login_piece=9)),
    (discovery, Target(targets=TARGETS, digests=(True, True), before_text=[async_message(0), nop_in(ttt=NO_TAG)])),
    (lambda: discovery(AUTH), Target(targets=TARGETS, algorithm=5, stays=1)),
    (login, Target(offers=(("X-org.example.key", "7"), ("IFMarker", "No")))),
    (lambda: login(AUTH), Target(algorithm=8)),
    (lambda: login(MUTUAL), Target(algorithm=8, secret_out="target-secret")),
    (login, Target(status=0x0101, redirect="192.0.2.7:3260,1")),
]
TALKS = [(make, carry(make(), target)) for make, target in PARTNERS]
REPEATABLE = [talk for number, talk in enumerate(TALKS) if number != 6]  # our challenge is another one each time


def feed(make: Make, pieces: t.Iterable[bytes]) -> t.Tuple[object, ...]:
    """What became of it, in a form that can be compared."""
    exchange = make()
    sent = [exchange.start()]
    try:
        for piece in pieces:
            sent.append(exchange.receive(piece))
        exchange.closed()
    except PeerError as error:
        return (type(error), str(error), error.remedy)
    return (exchange.finished, exchange.redirect, exchange.result, b"".join(sent))


@st.composite
def cut(draw: st.DrawFn, data: bytes) -> t.List[bytes]:
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return [data[low:high] for low, high in zip([0] + places, places + [len(data)])]


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Some bytes changed, put in, left out or said twice; perhaps cut off."""
    out = bytearray(data)
    for _change in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(out) - 1, 0)))
        kind = draw(st.sampled_from(["change", "flip", "insert", "delete", "repeat", "cut", "length"]))
        if kind == "change" and out:
            out[at] = draw(st.integers(0, 255))
        elif kind == "flip" and out:
            out[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "insert":
            out[at:at] = draw(st.binary(max_size=60))
        elif kind == "delete":
            del out[at:at + draw(st.integers(1, 60))]
        elif kind == "repeat":
            out[at:at] = out[at:at + draw(st.integers(1, 200))]
        elif kind == "cut":
            del out[at:]
        elif len(out) >= 8:
            out[5:8] = draw(st.integers(0, 2**24 - 1)).to_bytes(3, "big")
    return bytes(out)


@given(data=st.data(), said=st.binary(max_size=600))
def test_arbitrary_bytes(data: st.DataObject, said: bytes) -> None:
    make, _honest = data.draw(st.sampled_from(TALKS))
    assert feed(make, data.draw(cut(said)))


@given(data=st.data())
def test_bytes_that_look_like_pdus(data: st.DataObject) -> None:
    make, honest = data.draw(st.sampled_from(TALKS))
    opcodes = st.sampled_from([0x20, 0x23, 0x24, 0x26, 0x32, 0x3F, 0x25])
    headers = st.tuples(opcodes, st.binary(min_size=47, max_size=47)).map(lambda parts: bytes([parts[0]]) + parts[1][:3] + bytes(4) + parts[1][7:])
    pdus = data.draw(st.lists(st.tuples(headers, st.binary(max_size=80)), max_size=5))
    begin = data.draw(st.integers(0, len(honest)))
    assert feed(make, [honest[:begin]] + [pdu(header, data=text) for header, text in pdus])


@given(data=st.data())
def test_honest_talk_that_was_damaged(data: st.DataObject) -> None:
    make, honest = data.draw(st.sampled_from(TALKS))
    assert feed(make, data.draw(cut(data.draw(damaged(honest)))))


@given(data=st.data())
def test_it_does_not_matter_how_bytes_arrive(data: st.DataObject) -> None:
    make, honest = data.draw(st.sampled_from(REPEATABLE))
    said = data.draw(st.one_of(st.just(honest), damaged(honest)))
    whole = feed(make, [said])
    assert feed(make, data.draw(cut(said))) == whole
    assert feed(make, [said[at:at + 1] for at in range(len(said))]) == whole


@pytest.mark.parametrize(("make", "honest"), REPEATABLE)
def test_honest_talk_comes_to_an_end(make: Make, honest: bytes) -> None:
    assert feed(make, [honest])[0] is True


@given(st.lists(st.tuples(st.sampled_from(["TargetName", "TargetAddress", "TargetAlias"]), st.text(max_size=40)), max_size=8))
def test_any_answer_to_send_targets(pairs: t.List[t.Tuple[str, str]]) -> None:
    try:
        parse_targets(tuple(pairs))
    except ProtocolError:
        pass


@given(st.binary(max_size=200))
def test_any_text_data(data: bytes) -> None:
    try:
        pairs = parse_pairs(data)
    except ProtocolError:
        return
    assert parse_pairs(render_pairs(pairs)) == pairs


@given(st.text(max_size=30))
def test_any_number_and_binary_value(value: str) -> None:
    for parse in (lambda: parse_number("k", value, 0, 65535), lambda: parse_binary("k", value, 10)):
        try:
            parse()
        except ProtocolError:
            pass


@given(st.binary(min_size=1, max_size=64))
def test_binary_values_both_ways(value: bytes) -> None:
    import base64

    assert parse_binary("k", "0x" + value.hex(), 64) == value
    assert parse_binary("k", "0X" + value.hex().upper(), 64) == value
    assert parse_binary("k", "0b" + base64.b64encode(value).decode(), 64) == value
