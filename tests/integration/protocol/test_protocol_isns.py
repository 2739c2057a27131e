# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The iSNS core against a real isnsd; isnsadm, the tool of that server, is the witness of what is registered."""

from __future__ import annotations

import socket
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._host.sockets import Job, Outcome, run_jobs
from ansible_collections.lunar.iscsi.plugins.module_utils._names import parse_portal
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol import isns as requests
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.errors import DroppedError, ProtocolError
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.exchanges import DiscoveredTarget
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.isns_wire import Function, Message, MessageReader, Tag, render_message

ME = "iqn.2026-11.org.example:me"
DISK = "iqn.2026-11.org.example:disk"


class Isns(t.Protocol):
    """The part of the fixture that is used here; see conftest.py."""

    portal: str
    port: int

    def adm(self, *args: str) -> str: ...

    def register(self, targets: t.Mapping[str, t.Sequence[str]], entity: str = ...) -> None: ...

    def nodes(self) -> t.Set[str]: ...


def discover(portal: str, name: str = ME, target: t.Optional[str] = None) -> Outcome:
    job = Job(parse_portal(portal), lambda: requests.IsnsDiscoveryExchange(name, target=target))
    return run_jobs([job], connect_timeout=3, timeout=20)[0]


def found(outcome: Outcome) -> t.Dict[str, t.List[str]]:
    assert outcome.error is None, outcome.error
    assert isinstance(outcome.exchange, requests.IsnsDiscoveryExchange)
    result: t.Tuple[DiscoveredTarget, ...] = outcome.exchange.result
    return {target.name: [str(portal) for portal in target.portals] for target in result}


def say(port: int, *messages: Message) -> t.List[Message]:
    """One message after the other over one connection; the answers."""
    answers = []
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        reader = MessageReader()
        for message in messages:
            connection.sendall(render_message(message))
            answer = None
            while answer is None:
                reader.feed(connection.recv(65536))
                answer = reader.next_message()
            answers.append(answer)
    return answers


def test_targets_with_their_portals_and_tags(isns: Isns) -> None:
    isns.register({DISK: ["192.0.2.1:3260,1", "[2001:db8::1]:3261,2"]})
    isns.register({f"{DISK}2": ["192.0.2.7:860,65535"]}, entity="other")
    assert found(discover(isns.portal)) == {DISK: ["192.0.2.1:3260,1", "[2001:db8::1]:3261,2"], f"{DISK}2": ["192.0.2.7:860,65535"]}
    assert found(discover(isns.portal, target=f"{DISK}2")) == {f"{DISK}2": ["192.0.2.7:860,65535"]}
    # who was registered for the question alone is not afterwards
    assert isns.nodes() == {DISK, f"{DISK}2"}


def test_a_registration_that_was_there_stays(isns: Isns) -> None:
    isns.register({DISK: ["192.0.2.1:3260,1"]})
    isns.adm("--register", f"initiator={ME}")
    assert set(found(discover(isns.portal))) == {DISK}
    assert isns.nodes() == {DISK, ME}


def test_what_another_discovery_domain_hides(isns: Isns) -> None:
    isns.register({DISK: ["192.0.2.1:3260,1"]})
    isns.adm("--register", f"initiator={ME}")
    assert set(found(discover(isns.portal))) == {DISK}
    isns.adm("--local", "--dd-register", "dd-name=theirs", f"dd-member-name={DISK}")
    isns.adm("--local", "--dd-register", "dd-name=ours", f"dd-member-name={ME}")
    assert found(discover(isns.portal)) == {}


def test_a_server_that_knows_nobody(isns: Isns) -> None:
    assert found(discover(isns.portal)) == {}
    assert isns.nodes() == set()


def test_more_than_the_server_can_say_at_once(isns: Isns) -> None:
    for entity in range(2):
        isns.register({f"{DISK}-{entity}-{count}": [f"192.0.2.{entity + 1}:3260,1"] for count in range(40)}, entity=f"array{entity}")
    result = found(discover(isns.portal))
    assert result == {f"{DISK}-{entity}-{count}": [f"192.0.2.{entity + 1}:3260,1"] for entity in range(2) for count in range(40)}
    # the way round would not have been needed otherwise: the server fails at the whole
    answers = say(isns.port, requests.register_initiator(ME, 1), requests.query_targets(ME, 2))
    assert [answer.status for answer in answers] == [requests.SUCCESS, requests.INTERNAL_ERROR]


def test_from_one_node_to_the_next(isns: Isns) -> None:
    isns.register({f"{DISK}{count}": ["192.0.2.1:3260,1"] for count in range(3)})
    say(isns.port, requests.register_initiator(ME, 1))
    met = [""]
    while True:
        answer, = say(isns.port, requests.get_next(ME, 7, met[-1]))
        if answer.status == requests.NO_SUCH_ENTRY:
            break
        assert answer.status == requests.SUCCESS and len(met) < 10
        met.append(next(attribute.text for attribute in answer.attributes if attribute.tag == Tag.NODE_NAME))
    assert set(met[1:]) == isns.nodes() == {ME, *(f"{DISK}{count}" for count in range(3))}


def test_registering_for_changes_and_leaving(isns: Isns) -> None:
    isns.adm("--register", f"initiator={ME}", "portal=127.0.0.1:3260/tcp,scn-port=3205/udp")
    answers = say(isns.port, requests.register_for_changes(ME, 1), requests.deregister_initiator(ME, 2), requests.register_for_changes(ME, 3))
    assert [answer.status for answer in answers] == [requests.SUCCESS, requests.SUCCESS, 17]
    assert "refuses to send state change notifications" in str(requests.refused(17, "it"))
    assert isns.nodes() == set()


def test_the_server_tells_of_a_new_target(isns: Isns) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ears:
        ears.bind(("127.0.0.1", 0))
        ears.settimeout(20)
        port = ears.getsockname()[1]
        isns.adm("--register", f"initiator={ME}", f"portal=127.0.0.1:{port}/udp,scn-port={port}/udp")
        answer, = say(isns.port, requests.register_for_changes(ME, 1))
        assert answer.status == requests.SUCCESS
        isns.register({DISK: ["192.0.2.1:3260,1"]})
        reader = MessageReader()
        reader.feed(ears.recv(65536))
    told = reader.next_message()
    assert told is not None and told.function == Function.STATE_CHANGE and told.status is None
    assert {attribute.text for attribute in told.attributes if attribute.tag == Tag.NODE_NAME} == {ME, DISK}


def test_the_longest_name(isns: Isns) -> None:
    name = "iqn.2026-11.org.example:".ljust(223, "x")
    isns.register({name: ["192.0.2.1:3260,1"]})
    assert found(discover(isns.portal, name[:-1] + "y")) == {name: ["192.0.2.1:3260,1"]}


def test_the_wrong_service(isns: Isns, tgt: t.Any) -> None:
    error = discover(tgt.portal).error
    assert isinstance(error, (DroppedError, ProtocolError)) and f"portal {tgt.portal}" in str(error)
    assert isns.nodes() == set()
