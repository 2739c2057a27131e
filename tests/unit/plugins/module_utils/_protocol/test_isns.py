# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iSNS: bytes of the standard, fragments, an in-memory server, and servers that say anything at all."""

from __future__ import annotations

import struct
import typing as t

import pytest
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError, PeerError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import Portal
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol import isns
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.errors import DroppedError, IsnsRefusedError, LocalProtocolError, ProtocolError
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.exchanges import DiscoveredTarget
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.isns_wire import (
    DELIMITER, HEADER, RESPONSE, Attribute, Flag, Function, Limits, Message, MessageReader, NodeType, Tag, number_attribute, parse_attributes,
    render_attributes, render_message, text_attribute)
from hypothesis import given, settings
from hypothesis import strategies as st

ME = "iqn.2026-11.org.example:me"
DISK = "iqn.2026-11.org.example:disk"
V4 = bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 1])
V6 = bytes.fromhex("20010db8000000000000000000000001")


def group(name: str = DISK, address: bytes = V4, port: int = 3260, tag: t.Optional[int] = 1) -> t.List[Attribute]:
    return [text_attribute(Tag.GROUP_NODE_NAME, name), Attribute(Tag.GROUP_ADDRESS, address), number_attribute(Tag.GROUP_PORT, port),
            Attribute(Tag.GROUP_TAG) if tag is None else number_attribute(Tag.GROUP_TAG, tag)]


def node(name: str = DISK, kind: int = NodeType.TARGET) -> t.List[Attribute]:
    return [text_attribute(Tag.NODE_NAME, name), number_attribute(Tag.NODE_TYPE, kind)]


def portals(**changes: t.Any) -> t.List[str]:
    return [str(portal) for target in isns.parse_targets(group(**changes)) for portal in target.portals]


def read(data: bytes, limits: Limits = Limits(), step: int = 0) -> t.List[Message]:
    """All messages in ``data``, fed whole or in pieces."""
    reader, found = MessageReader(limits), []
    for start in range(0, len(data), step or len(data) or 1):
        reader.feed(data[start:start + (step or len(data))])
        while True:
            message = reader.next_message()
            if message is None:
                break
            found.append(message)
    return found


def pdus(message: Message, *cuts: int) -> t.List[bytes]:
    """A message in several PDUs (RFC 4171 section 5.1.5), cut at these places of its payload."""
    whole = render_message(message)
    _version, function, _length, flags, transaction, _sequence = HEADER.unpack_from(whole)
    payload, places = whole[HEADER.size:], [0, *cuts, len(whole) - HEADER.size]
    parts = [payload[start:end] for start, end in zip(places, places[1:])]
    made = []
    for number, part in enumerate(parts):
        marks = flags & ~(Flag.FIRST | Flag.LAST) | (Flag.FIRST if number == 0 else 0) | (Flag.LAST if number == len(parts) - 1 else 0)
        made.append(HEADER.pack(1, function, len(part), marks, transaction, number) + part)
    return made


class Server:
    """Answers as an iSNS server does, from what it is told to say to each function."""

    def __init__(self, **says: t.Any) -> None:
        self.says: t.Dict[str, t.List[t.Tuple[int, t.Sequence[Attribute]]]] = {name: list(answers) for name, answers in says.items()}
        self.heard: t.List[Message] = []

    def answer(self, data: bytes) -> bytes:
        replies = []
        for message in read(data):
            self.heard.append(message)
            status, operating = self.says[Function(message.function).name].pop(0)
            replies.append(render_message(Message(message.function, message.transaction, status, (DELIMITER, *operating), Flag.SERVER)))
        return b"".join(replies)

    def carry(self, exchange: isns.IsnsDiscoveryExchange, step: int = 0) -> t.Tuple[DiscoveredTarget, ...]:
        data = exchange.start()
        while data:
            said = self.answer(data)
            data = b"".join(exchange.receive(said[start:start + (step or len(said))]) for start in range(0, len(said), step or len(said)))
        exchange.closed()
        return exchange.result


class TestBytes:
    def test_a_query_as_the_standard_draws_it(self) -> None:
        name = ME.encode() + b"\0\0"
        assert len(name) == 28
        payload = struct.pack("!II", 32, 28) + name + struct.pack("!III", 33, 4, 1) + struct.pack("!II", 0, 0)
        payload += b"".join(struct.pack("!II", tag, 0) for tag in (32, 33, 16, 17, 48, 49, 50, 51))
        assert render_message(isns.query_targets(ME, 7)) == struct.pack("!HHHHHH", 1, 2, len(payload), 0x8C00, 7, 0) + payload

    @pytest.mark.parametrize(("text", "value"), [
        pytest.param("", b"\0\0\0\0", id="nothing"),
        pytest.param("abc", b"abc\0", id="room for its end"),
        pytest.param("abcd", b"abcd\0\0\0\0", id="none"),
    ])
    def test_text_is_ended_and_padded(self, text: str, value: bytes) -> None:
        assert text_attribute(Tag.NODE_NAME, text) == Attribute(32, value) and Attribute(32, value).text == text

    @pytest.mark.parametrize("text", [pytest.param("a\0b", id="NUL"), pytest.param("x" * 224, id="too long")])
    def test_what_cannot_be_sent(self, text: str) -> None:
        with pytest.raises(LocalProtocolError):
            text_attribute(Tag.NODE_NAME, text)

    def test_a_message_too_long_for_one_pdu(self) -> None:
        with pytest.raises(LocalProtocolError, match="65532"):
            render_message(Message(1, 1, None, (Attribute(1, bytes(65532)),)))

    @given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.binary(max_size=40).map(lambda data: data + bytes(-len(data) % 4))), max_size=20),
           st.sampled_from(Function), st.integers(0, 65535), st.one_of(st.none(), st.integers(0, 2**32 - 1)), st.data())
    @settings(max_examples=200, deadline=None)
    def test_round_trip_in_any_pieces(self, pairs: t.List[t.Tuple[int, bytes]], function: Function, transaction: int, status: t.Optional[int],
                                      data: st.DataObject) -> None:
        message = Message(int(function), transaction, status, tuple(Attribute(*pair) for pair in pairs), Flag.SERVER)
        whole = render_message(message)
        assert parse_attributes(render_attributes(message.attributes)) == message.attributes
        length = (len(whole) - HEADER.size) // 4
        cuts = sorted(data.draw(st.lists(st.integers(0, length).map(lambda place: place * 4), max_size=4)))
        step = data.draw(st.integers(1, 100))
        assert read(whole) == read(b"".join(pdus(message, *cuts))) == read(whole, step=step) == [message]


class TestFraming:
    MESSAGE = Message(Function.QUERY, 3, 0, (DELIMITER, *group(), *group(name=f"{DISK}2")), Flag.SERVER)

    def test_two_messages_in_turns(self) -> None:
        other = self.MESSAGE._replace(transaction=4)
        ours, theirs = pdus(self.MESSAGE, 40, 80), pdus(other, 60)
        mixed = [ours[0], theirs[0], ours[1], theirs[1], ours[2]]
        assert read(b"".join(mixed), step=7) == [other, self.MESSAGE]

    @pytest.mark.parametrize(("spoil", "says"), [
        pytest.param(lambda parts: parts[1:], "not next", id="the first is missing"),
        pytest.param(lambda parts: [parts[0], parts[2]], "not next", id="one is missing"),
        pytest.param(lambda parts: [parts[0], parts[0]], "in the middle", id="one comes twice"),
        pytest.param(lambda parts: [b"\0\2" + parts[0][2:]], "version 2", id="version"),
        pytest.param(lambda parts: [parts[0][:4] + b"\0\3" + parts[0][6:]], "multiple of 4", id="length"),
        pytest.param(lambda parts: [parts[0][:6] + b"\x64\0" + parts[0][8:]], "signs", id="signed"),
        pytest.param(lambda parts: [HEADER.pack(1, 2 | RESPONSE, 0, 0x4C00, 1, 0)], "without a status", id="no status"),
        pytest.param(lambda parts: [HEADER.pack(1, 2, 4, 0x4C00, 1, 0) + bytes(4)], "cut off", id="half an attribute"),
        pytest.param(lambda parts: [HEADER.pack(1, 2, 8, 0x4C00, 1, 0) + struct.pack("!II", 1, 8)], "of which 0 are there", id="attribute too long"),
        pytest.param(lambda parts: [HEADER.pack(1, 2, 12, 0x4C00, 1, 0) + struct.pack("!III", 1, 2, 0)], "multiple of 4", id="attribute with 2 bytes"),
    ])
    def test_broken_messages(self, spoil: t.Callable[[t.List[bytes]], t.List[bytes]], says: str) -> None:
        with pytest.raises(ProtocolError, match=says):
            read(b"".join(spoil(pdus(self.MESSAGE, 40, 80))))

    def test_what_is_kept_is_bounded(self) -> None:
        first = HEADER.pack(1, 2, 0, 0x4400, 1, 0)
        empty = b"".join(HEADER.pack(1, 2, 0, 0x4000, 1, number) for number in range(1, 20))
        with pytest.raises(ProtocolError, match="more than 100 bytes"):
            read(first + empty, Limits(message_bytes=100))
        with pytest.raises(ProtocolError, match="more than 2 messages at once"):
            read(b"".join(HEADER.pack(1, 2, 0, 0x4400, number, 0) for number in range(3)), Limits(open_messages=2))


class TestTargets:
    @pytest.mark.parametrize(("changes", "found"), [
        pytest.param({}, ["192.0.2.1:3260,1"], id="IPv4"),
        pytest.param({"address": bytes(12) + V4[12:]}, ["192.0.2.1:3260,1"], id="IPv4 behind zeroes"),
        pytest.param({"address": V6, "port": 860, "tag": 65535}, ["[2001:db8::1]:860,65535"], id="IPv6"),
        pytest.param({"address": bytes(15) + b"\1"}, ["[::1]:3260,1"], id="IPv6 loopback"),
        pytest.param({"port": 3260 | 0x10000}, [], id="UDP"),
        pytest.param({"tag": None}, [], id="no access"),
        pytest.param({"address": b""}, [], id="no address"),
    ])
    def test_portals(self, changes: t.Dict[str, t.Any], found: t.List[str]) -> None:
        assert portals(**changes) == found

    @pytest.mark.parametrize(("changes", "says"), [
        pytest.param({"name": "disk"}, "target name that is none", id="name"),
        pytest.param({"address": V4[:12]}, "12 bytes where an IP address", id="address"),
        pytest.param({"port": 0}, "port number 0", id="port 0"),
        pytest.param({"port": 0x20001}, "port number 1", id="unknown bits of a port"),
        pytest.param({"tag": 65536}, "portal group tag 65536", id="tag"),
    ])
    def test_what_is_none(self, changes: t.Dict[str, t.Any], says: str) -> None:
        with pytest.raises(ProtocolError, match=says):
            portals(**changes)

    def test_targets_in_order_each_once(self) -> None:
        operating = [*node(f"{DISK}2"), *node(ME, NodeType.INITIATOR), Attribute(Tag.PORTAL_ADDRESS, V4), number_attribute(Tag.PORTAL_PORT, 3260),
                     *group(), *group(tag=1), *group(address=V6, tag=2), *node()]
        first, second = isns.parse_targets(operating)
        assert first == DiscoveredTarget(f"{DISK}2") and second.name == DISK
        assert second.portals == (Portal("192.0.2.1", 3260, 1), Portal("2001:db8::1", 3260, 2))

    def test_limits(self) -> None:
        with pytest.raises(ProtocolError, match="more than 1 targets"):
            isns.parse_targets([*group(), *group(name=f"{DISK}2")], Limits(targets=1))
        with pytest.raises(ProtocolError, match="more than 1 portals"):
            isns.parse_targets([*group(), *group(port=1)], Limits(portals_per_target=1))


class TestExchange:
    @pytest.mark.parametrize("step", [0, 1, 7])
    def test_known_to_the_server(self, step: int) -> None:
        server = Server(QUERY=[(0, group())])
        assert server.carry(isns.IsnsDiscoveryExchange(ME), step) == (DiscoveredTarget(DISK, (Portal("192.0.2.1", 3260, 1),)),)
        assert [message.function for message in server.heard] == [Function.QUERY]

    @pytest.mark.parametrize("step", [0, 1, 7])
    def test_unknown_to_the_server(self, step: int) -> None:
        server = Server(QUERY=[(6, ()), (0, group())], REGISTER=[(0, ())], DEREGISTER=[(0, ())])
        assert len(server.carry(isns.IsnsDiscoveryExchange(ME), step)) == 1
        assert [Function(message.function).name for message in server.heard] == ["QUERY", "REGISTER", "QUERY", "DEREGISTER"]
        assert [message.transaction for message in server.heard] == [1, 2, 3, 4]
        assert all(message.attributes[0].text == ME and message.flags == Flag.CLIENT for message in server.heard)

    def test_a_goodbye_that_is_refused_is_none_of_our_business(self) -> None:
        server = Server(QUERY=[(6, ()), (9, ())], REGISTER=[(0, ())], DEREGISTER=[(22, ())])
        assert server.carry(isns.IsnsDiscoveryExchange(ME)) == ()

    @pytest.mark.parametrize(("says", "status", "words"), [
        pytest.param({"QUERY": [(8, ())]}, 8, "not authorised", id="query"),
        pytest.param({"QUERY": [(6, ())], "REGISTER": [(3, ())]}, 3, "refused to register this initiator", id="registration"),
        pytest.param({"QUERY": [(6, ()), (6, ())], "REGISTER": [(0, ())], "DEREGISTER": [(0, ())]}, 6, "does not know this initiator", id="still unknown"),
        pytest.param({"QUERY": [(11, ())], "GET_NEXT": [(9, ())]}, 11, "internal error", id="no way round"),
        pytest.param({"QUERY": [(11, ())], "GET_NEXT": [(15, ())]}, 11, "internal error", id="way round not supported"),
        pytest.param({"QUERY": [(11, ()), (12, ())], "GET_NEXT": [(0, node())]}, 12, "busy", id="way round ends early"),
        pytest.param({"QUERY": [(99, ())]}, 99, "does not know", id="unknown status"),
    ])
    def test_refusals_in_words(self, says: t.Dict[str, t.Any], status: int, words: str) -> None:
        server = Server(**says)
        with pytest.raises(IsnsRefusedError, match=words) as caught:
            server.carry(isns.IsnsDiscoveryExchange(ME))
        assert caught.value.fields()["isns_status"] == status and not any(server.says.values())

    def test_one_after_the_other_where_all_at_once_is_too_much(self) -> None:
        server = Server(QUERY=[(11, ()), (0, group()), (9, ())], GET_NEXT=[(0, node()), (0, node(ME, NodeType.INITIATOR)), (0, node(f"{DISK}2")), (9, ())])
        assert [target.name for target in server.carry(isns.IsnsDiscoveryExchange(ME))] == [DISK]
        assert [message.attributes[1].text for message in server.heard if message.function == Function.GET_NEXT] == ["", DISK, ME, f"{DISK}2"]

    def test_a_walk_in_circles_ends(self) -> None:
        with pytest.raises(ProtocolError, match="without an end"):
            Server(QUERY=[(11, ()), (0, group())], GET_NEXT=[(0, node()), (0, node())]).carry(isns.IsnsDiscoveryExchange(ME))

    def test_what_comes_unasked(self) -> None:
        exchange = isns.IsnsDiscoveryExchange(ME)
        exchange.start()
        assert exchange.receive(render_message(Message(Function.ENTITY_STATUS, 9, None, (), Flag.SERVER))) == b"" and not exchange.finished
        with pytest.raises(ProtocolError, match="nobody asked for"):
            exchange.receive(render_message(Message(Function.QUERY, 9, 0, (), Flag.SERVER)))

    def test_closed_before_the_answer(self) -> None:
        exchange = isns.IsnsDiscoveryExchange(ME)
        exchange.start()
        with pytest.raises(DroppedError, match="no iSNS server"):
            exchange.closed()

    def test_a_name_that_is_none(self) -> None:
        with pytest.raises(InputError, match="initiator"):
            isns.IsnsDiscoveryExchange("me")


def _attributes() -> st.SearchStrategy[Attribute]:
    return st.builds(Attribute, st.sampled_from([*map(int, Tag), 4711]), st.one_of(
        st.sampled_from([b"", V4, V6, bytes(4), b"\0\0\x0c\xbc", b"\0\0\0\1", DISK.encode() + b"\0\0\0\0", b"\xff\xff\xff\xff"]),
        st.binary(max_size=8).map(lambda data: data + bytes(-len(data) % 4))))


class TestHostile:
    @given(st.binary(max_size=300))
    @settings(max_examples=300, deadline=None)
    def test_any_bytes(self, data: bytes) -> None:
        self._feed(data)

    @given(st.lists(st.tuples(st.sampled_from(Function), st.integers(0, 3), st.sampled_from([None, 0, 6, 9, 11, 77]), st.lists(_attributes(), max_size=8)),
                    max_size=6))
    @settings(max_examples=400, deadline=None)
    def test_any_messages(self, messages: t.List[t.Tuple[Function, int, t.Optional[int], t.List[Attribute]]]) -> None:
        self._feed(b"".join(render_message(Message(int(function), transaction, status, tuple(attributes), Flag.SERVER))
                            for function, transaction, status, attributes in messages))

    @staticmethod
    def _feed(data: bytes) -> None:
        ends = []
        for step in (len(data) or 1, 5):
            exchange = isns.IsnsDiscoveryExchange(ME)
            exchange.start()
            try:
                for start in range(0, len(data), step):
                    exchange.receive(data[start:start + step])
                exchange.closed()
                ends.append(repr(exchange.result))
            except PeerError as error:
                assert error.what and len(error.sentence()) < 900
                ends.append(error.sentence())
        assert ends[0] == ends[1], "it depends on how the bytes arrive"
