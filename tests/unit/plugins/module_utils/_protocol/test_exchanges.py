# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError, PeerError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import Portal
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.errors import (
    AuthenticationError, DroppedError, LoginRefusedError, ProtocolError, RejectedError)
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.exchanges import (
    Auth, DiscoveredTarget, DiscoveryExchange, Limits, LoginCheckExchange, LoginOptions, parse_targets)
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils._protocol.helpers.target import (
    NO_TAG, Target, async_message, carry, login_response, logout_response, nop_in, pdu, reject, text, text_response)

ME = "iqn.2026-11.org.example:me"
DISK = "iqn.2026-11.org.example:disk"
ONE_WAY = Auth("the-user", "initiator-secret")
MUTUAL = Auth("the-user", "initiator-secret", "the-target", "target-secret")
PORTALS = ["192.0.2.1:3260,1", "[2001:db8::1]:3261,2", "Storage.Example.org,3", "192.0.2.9"]
READ_PORTALS = (Portal("192.0.2.1", 3260, 1), Portal("2001:db8::1", 3261, 2), Portal("storage.example.org", 3260, 3), Portal("192.0.2.9", 3260, None))
MANY = [(f"iqn.2026-11.org.example:disk{number}", [f"192.0.2.{number % 250}:3260,1"]) for number in range(500)]
ALGORITHMS = [pytest.param("MD5", 5, id="MD5"), pytest.param("SHA1", 6, id="SHA1"), pytest.param("SHA256", 7, id="SHA256")]
ALGORITHMS.append(pytest.param("SHA3-256", 8, id="SHA3-256"))


def options(**fields: t.Any) -> LoginOptions:
    return LoginOptions(ME, **fields)


def discover(target: Target, *, piece: int = 0, send_targets: str = "All", **fields: t.Any) -> DiscoveryExchange:
    exchange = DiscoveryExchange(options(**fields), send_targets=send_targets)
    carry(exchange, target, piece)
    return exchange


def log_in(target: Target, **fields: t.Any) -> LoginCheckExchange:
    exchange = LoginCheckExchange(options(target=DISK, **fields))
    carry(exchange, target)
    return exchange


# -- what targets there are --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "fields"), [
    pytest.param(Target(), {}, id="plain"),
    pytest.param(Target(ping=True), {}, id="NOP-In in between"),
    pytest.param(Target(piece=50), {}, id="text in pieces with F=0"),
    pytest.param(Target(piece=50, continue_bit=True, ping=True), {}, id="text in pieces with C=1"),
    pytest.param(Target(login_piece=7), {}, id="login answers in pieces"),
    pytest.param(Target(stays=3), {}, id="target stays in a stage at first"),
    pytest.param(Target(digests=(True, False)), {}, id="header digest demanded"),
    pytest.param(Target(digests=(False, True), piece=51), {}, id="data digest demanded"),
    pytest.param(Target(digests=(True, True), ping=True, piece=51), {}, id="both digests demanded"),
    pytest.param(Target(digests=(True, True)), {"header_digest": ("CRC32C",), "data_digest": ("CRC32C", "None")}, id="both sides want digests"),
    pytest.param(Target(silent_logout=True), {}, id="target closes instead of answering the logout"),
    pytest.param(Target(before_text=[async_message(0), async_message(255), nop_in(ttt=NO_TAG)]), {}, id="messages that want nothing"),
    pytest.param(Target(offers=(("X-org.example.key", "7"), ("MaxBurstLength", "65536"), ("IFMarker", "No"), ("DefaultTime2Wait", "5"))), {},
                 id="target begins with keys"),
    pytest.param(Target(answers={"DefaultTime2Retain": "Reject", "ErrorRecoveryLevel": "Irrelevant", "DefaultTime2Wait": "NotUnderstood"}), {},
                 id="keys refused"),
    pytest.param(Target(), {"auth": ONE_WAY}, id="CHAP offered, not wanted"),
    pytest.param(Target(algorithm=5), {"auth": ONE_WAY}, id="one-way CHAP"),
    pytest.param(Target(algorithm=8, secret_out="target-secret"), {"auth": MUTUAL}, id="mutual CHAP"),
    pytest.param(Target(), {"initiator_alias": "a" * 255}, id="alias"),
])
@pytest.mark.parametrize("piece", [pytest.param(0, id="whole"), pytest.param(1, id="byte by byte"), pytest.param(47, id="47 bytes")])
def test_discovery(target: Target, fields: t.Dict[str, t.Any], piece: int) -> None:
    fresh = Target(**{name: getattr(target, name) for name in target.__dataclass_fields__ if name != "seen"})
    fresh.targets = [(DISK, PORTALS), ("naa.52004567BA64678D", [])]
    exchange = discover(fresh, piece=piece, **fields)
    assert exchange.finished and exchange.redirect is None
    assert exchange.result == (DiscoveredTarget(DISK, READ_PORTALS), DiscoveredTarget("naa.52004567BA64678D", ()))
    assert fresh.seen[-1].opcode == 0x06, "no logout at the end"
    assert fresh.seen[-1].flags == 0x80, "the logout does not close the session"
    if fresh.ping:
        assert fresh.pings_answered > 0


@pytest.mark.parametrize("number", [0, 1, 500])
def test_discovery_finds_as_many_as_there_are(number: int) -> None:
    result = discover(Target(targets=MANY[:number], piece=1000)).result
    assert [target.name for target in result] == [name for name, _portals in MANY[:number]]


def test_discovery_of_one_target_asks_for_it() -> None:
    target = Target(targets=MANY)
    assert len(discover(target, send_targets=MANY[7][0]).result) == 1
    assert ("SendTargets", MANY[7][0]) in [pair for seen in target.seen for pair in seen.pairs]


def test_a_discovery_session_offers_only_keys_that_it_may_hold() -> None:
    target = Target()
    discover(target)
    keys = {key for seen in target.seen for key, _value in seen.pairs}
    # "Irrelevant when: SessionType=Discovery", RFC 7143 section 13
    assert not keys & {"MaxConnections", "InitialR2T", "ImmediateData", "MaxBurstLength", "FirstBurstLength", "MaxOutstandingR2T",
                       "DataPDUInOrder", "DataSequenceInOrder", "TargetName", "TaskReporting"}
    assert ("SessionType", "Discovery") in target.seen[0].pairs


def test_keys_the_target_begins_with_are_answered() -> None:
    target = Target(offers=(("X-org.example.key", "7"), ("MaxBurstLength", "65536"), ("OFMarkInt", "1")))
    discover(target)
    replies = dict(target.seen[2].pairs)
    assert replies["X-org.example.key"] == "NotUnderstood"
    assert replies["MaxBurstLength"] == "Irrelevant"
    assert replies["OFMarkInt"] == "Reject"


def test_long_text_of_ours_is_cut_and_continued() -> None:
    from ansible_collections.lunar.iscsi.plugins.module_utils._protocol import connection as c
    from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.wire import Stage

    pairs = (("InitiatorName", ME), ("SessionType", "Discovery"), ("AuthMethod", "None"), *((f"X-org.example.{n}", "x" * 2000) for n in range(12)))
    target, connection = Target(), c.Connection(isid=bytes(6))
    sent = connection.send(c.SendLogin(Stage.SECURITY, pairs, Stage.OPERATIONAL))
    events: t.List[t.Optional[c.Event]] = []
    while not events or isinstance(events[-1], c.MoreToCome):
        connection.receive_data(target.receive(sent))
        events.append(connection.next_event())
        if isinstance(events[-1], c.MoreToCome):
            sent = connection.send(c.SendContinue())
    assert len(events) == 3, "24 KB go in three PDUs of at most 8 KB"
    assert target.seen[-1].pairs == pairs
    assert [bool(seen.flags & 0x40) for seen in target.seen] == [True] * (len(target.seen) - 1) + [False]
    assert isinstance(events[-1], c.LoginAnswer) and events[-1].next_stage == 1


# -- logging in --------------------------------------------------------------------------------------------------------


def test_login_check_negotiates_and_logs_out() -> None:
    target = Target(answers={"MaxBurstLength": "4096", "DefaultTime2Wait": "9", "InitialR2T": "Yes", "ImmediateData": "No",
                             "MaxRecvDataSegmentLength": "65536"})
    exchange = log_in(target)
    assert exchange.finished
    agreed = exchange.result
    assert (agreed["MaxBurstLength"], agreed["DefaultTime2Wait"], agreed["InitialR2T"], agreed["ImmediateData"]) == ("4096", "9", "Yes", "No")
    assert (agreed["MaxRecvDataSegmentLength"], agreed["HeaderDigest"], agreed["AuthMethod"], agreed["TargetPortalGroupTag"]) == ("65536", "None", "None", "1")
    assert ("TargetName", DISK) in target.seen[0].pairs and ("SessionType", "Normal") in target.seen[0].pairs
    assert [seen.opcode for seen in target.seen] == [0x03, 0x03, 0x06]


@pytest.mark.parametrize("base64", [False, True], ids=["hex", "base64"])
@pytest.mark.parametrize(("name", "code"), ALGORITHMS)
def test_chap(name: str, code: int, base64: bool) -> None:
    auth = Auth("the-user", "initiator-secret", "the-target", "target-secret", algorithms=(name,))
    target = Target(algorithm=code, secret_out="target-secret", base64=base64)
    assert log_in(target, auth=auth).result["AuthMethod"] == "CHAP"
    assert target.seen[0].pairs[-1] == ("AuthMethod", "CHAP")
    assert log_in(Target(algorithm=code, base64=base64), auth=Auth("the-user", "initiator-secret", algorithms=(name,))).finished


@pytest.mark.parametrize(("target", "auth", "says"), [
    pytest.param(Target(algorithm=5), None, "demands CHAP", id="CHAP demanded, none configured"),
    pytest.param(Target(answers={"AuthMethod": "Reject"}), None, "without authentication", id="no authentication refused"),
    pytest.param(Target(answers={"AuthMethod": "Reject"}), ONE_WAY, "refuses CHAP", id="CHAP refused"),
    pytest.param(Target(), Auth("the-user", "initiator-secret", required=True), "refuses CHAP", id="CHAP required and not there"),
    pytest.param(Target(answers={"AuthMethod": "None"}), MUTUAL, "does not authenticate itself", id="downgrade of mutual CHAP"),
    pytest.param(Target(algorithm=5), MUTUAL, "did not prove", id="one-way where mutual is asked for"),
    pytest.param(Target(algorithm=5, secret_out="another"), MUTUAL, "authentication failure", id="wrong secret of the target"),
    pytest.param(Target(algorithm=5, secret_out="target-secret", name_out="x"), MUTUAL, "authentication failure", id="wrong name of the target"),
    pytest.param(Target(algorithm=5, secret_out="x", answers={"CHAP_R": "OURS"}), MUTUAL, "our own CHAP response", id="response reflected"),
    pytest.param(Target(algorithm=5, challenge=b"short"), ONE_WAY, "challenge of 5 bytes", id="short challenge"),
    pytest.param(Target(algorithm=5), Auth("the-user", "initiator-secret", algorithms=("SHA256", "SHA1")), "none of the CHAP algorithms",
                 id="weak algorithm not allowed"),
    pytest.param(Target(algorithm=6, answers={"CHAP_A": "5"}), Auth("the-user", "initiator-secret", algorithms=("SHA1",)), "algorithm 5",
                 id="chose one not offered"),
])
def test_authentication_that_must_fail(target: Target, auth: t.Optional[Auth], says: str) -> None:
    with pytest.raises(AuthenticationError, match=says) as caught:
        log_in(target, auth=auth)
    for secret in ("initiator-secret", "target-secret", "another"):
        assert secret not in str(caught.value) + repr(caught.value.fields())


def test_own_challenge_reflected_is_refused() -> None:
    from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.chap import Chap

    challenge = bytes(range(16))
    chap = Chap(Auth("u", "one", "t", "two", algorithms=("MD5",)), entropy=lambda size: challenge[:size])
    with pytest.raises(AuthenticationError, match="own CHAP challenge"):
        chap.answer_challenge((("CHAP_A", "5"), ("CHAP_I", "1"), ("CHAP_C", "0x" + challenge.hex())))


@pytest.mark.parametrize(("status", "says"), [
    (0x0200, "initiator error"), (0x0201, r"authentication failure \(0x0201\)"), (0x0202, "authorization failure"), (0x0203, r"target not found \(0x0203\)"),
    (0x0204, "target removed"), (0x0205, "version"), (0x0206, "too many connections"), (0x0207, "missing parameter"), (0x0208, "session"),
    (0x0209, "session type"), (0x020A, "does not exist"), (0x020B, "invalid request"), (0x0300, "target error"), (0x0301, "service unavailable"),
    (0x0302, "out of resources"), (0x02EE, r"initiator error of an unknown kind \(0x02ee\)"), (0x0400, r"unknown login status \(0x0400\)"),
    (0x0109, "redirection"),
])
def test_every_status_is_a_named_error(status: int, says: str) -> None:
    with pytest.raises(LoginRefusedError, match=says) as caught:
        log_in(Target(status=status))
    assert caught.value.status == status
    assert caught.value.fields()["login_status"] == f"0x{status:04x}"
    assert caught.value.remedy


@pytest.mark.parametrize(("status", "permanent"), [(0x0101, False), (0x0102, True)], ids=["temporary", "permanent"])
@pytest.mark.parametrize(("address", "portal"), [
    ("192.0.2.7:3261", Portal("192.0.2.7", 3261)), ("[2001:db8::7]:3260,4", Portal("2001:db8::7", 3260, 4)), ("san.example.org", Portal("san.example.org"))])
def test_redirect(status: int, permanent: bool, address: str, portal: Portal) -> None:
    exchange = log_in(Target(status=status, redirect=address))
    assert (exchange.finished, exchange.redirect, exchange.redirect_permanent) == (True, portal, permanent)
    assert not exchange.answered


# -- targets that misbehave --------------------------------------------------------------------------------------------

OPERATIONAL = pdu(login_response(flags=0x81), data=text(("AuthMethod", "None")))
FULL = OPERATIONAL + pdu(login_response(flags=0x87, stat_sn=2))


@pytest.mark.parametrize(("said", "error", "says"), [
    pytest.param(pdu(login_response(itt=9)), ProtocolError, "task tag", id="wrong task tag"),
    pytest.param(pdu(login_response(flags=0x83)), ProtocolError, "login stage 3", id="jump to another stage"),
    pytest.param(pdu(login_response(flags=0x04)), ProtocolError, "login stage 1 while", id="answer for another stage"),
    pytest.param(pdu(login_response(flags=0xC1)), ProtocolError, "before the text is whole", id="T and C"),
    pytest.param(pdu(login_response(version_active=1)), ProtocolError, "version 1", id="version"),
    pytest.param(pdu(login_response(), data=b"AuthMethod\0"), ProtocolError, "without a value", id="no value"),
    pytest.param(pdu(login_response(), data=b"=x\0"), ProtocolError, "key name", id="no key"),
    pytest.param(pdu(login_response(), data=b"AuthMethod=\xff\xfe\0"), ProtocolError, "UTF-8", id="not UTF-8"),
    pytest.param(pdu(login_response(), data=b"AuthMethod=None\0AuthMethod=None\0"), ProtocolError, "twice", id="key twice"),
    pytest.param(pdu(login_response(), data=b"X=" + b"y" * 5000), ProtocolError, "value of 5000 bytes", id="long value"),
    pytest.param(pdu(login_response()), ProtocolError, "did not answer", id="no method"),
    pytest.param(pdu(login_response(), data=text(("AuthMethod", "KRB5"))), ProtocolError, "KRB5", id="method not offered"),
    pytest.param(pdu(login_response(status=0x0101)), ProtocolError, "0 addresses", id="redirect to nowhere"),
    pytest.param(pdu(login_response(status=0x0101), data=text(("TargetAddress", "..:x"))), ProtocolError, "TargetAddress", id="redirect to nonsense"),
    pytest.param(pdu(nop_in(ttt=1)), ProtocolError, "NOP_IN", id="NOP-In during login"),
    pytest.param(b"220 mail.example.org ESMTP", ProtocolError, "may not come during login", id="a mail server"),
    pytest.param(pdu(bytes([0x3E]) + bytes(47)), ProtocolError, "0x3e", id="unknown opcode"),
    pytest.param(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n" + bytes(40), ProtocolError, "no iSCSI PDU", id="an ssh server"),
    pytest.param(b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nContent-Type: text/html\r\n", ProtocolError, "another service", id="a web server"),
    pytest.param(pdu(reject(0x04)), RejectedError, r"protocol error \(0x04\)", id="reject"),
    pytest.param(bytes([0x23, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF]) + bytes(40), ProtocolError, "16777215 bytes", id="huge PDU"),
    pytest.param(OPERATIONAL + pdu(login_response(flags=0x87), data=text(("HeaderDigest", "CRC64"))), ProtocolError, "CRC64", id="digest not offered"),
    pytest.param(OPERATIONAL + pdu(login_response(flags=0x87), data=text(("MaxRecvDataSegmentLength", "1"))), ProtocolError, "512", id="number too small"),
    pytest.param(OPERATIONAL + pdu(login_response(flags=0x87), data=text(("DefaultTime2Wait", "soon"))), ProtocolError, "number", id="no number"),
    pytest.param(OPERATIONAL + pdu(login_response(flags=0x87), data=text(("ErrorRecoveryLevel", "1"), ("IFMarker", "No"))), ProtocolError,
                 "still to be answered", id="offer and end at once"),
    pytest.param(OPERATIONAL + OPERATIONAL, ProtocolError, "login stage 0 while", id="the same answer again"),
    pytest.param(FULL + FULL, ProtocolError, "may not come", id="login answer in the full feature phase"),
    pytest.param(FULL + pdu(logout_response(itt=2)), ProtocolError, "may not come", id="logout nobody asked for"),
    pytest.param(FULL + pdu(text_response(itt=2, flags=0)), ProtocolError, "without a tag", id="part without a tag"),
    pytest.param(FULL + pdu(text_response(itt=7)), ProtocolError, "task tag", id="text for another task"),
    pytest.param(FULL + pdu(nop_in(itt=5, ttt=NO_TAG)), ProtocolError, "NOP-Out that was never sent", id="answer to no ping"),
    pytest.param(FULL + pdu(reject(0x05)), RejectedError, "command not supported", id="text rejected"),
    pytest.param(FULL + pdu(reject(0xEE)), RejectedError, "reserved", id="rejected for no known reason"),
    pytest.param(FULL + pdu(async_message(2)), DroppedError, "dropped", id="connection dropped"),
    pytest.param(FULL + pdu(async_message(3)), DroppedError, "dropped", id="all connections dropped"),
    pytest.param(FULL + pdu(async_message(1)) + pdu(logout_response(itt=3)), DroppedError, "asked us to log out", id="logout asked for"),
    pytest.param(FULL + pdu(async_message(4)) + pdu(text_response(itt=2)) + pdu(logout_response(itt=3)), DroppedError, "log out", id="negotiation asked for"),
    pytest.param(FULL + pdu(text_response(itt=2), data=text(("TargetAddress", "192.0.2.1"))), ProtocolError, "before any TargetName",
                 id="address without target"),
    pytest.param(FULL + pdu(text_response(itt=2), data=text(("TargetName", "../../etc"))), ProtocolError, "target name", id="bad name"),
    pytest.param(FULL + pdu(text_response(itt=2), data=text(("TargetName", DISK), ("TargetAddress", "192.0.2.1:99999"))), ProtocolError, "TargetAddress",
                 id="bad address"),
    pytest.param(FULL + pdu(text_response(itt=2), data=text(("SendTargets", "Reject"))), ProtocolError, "does not offer discovery", id="SendTargets refused"),
])
def test_a_target_that_misbehaves_causes_a_named_error(said: bytes, error: t.Type[PeerError], says: str) -> None:
    exchange = DiscoveryExchange(options())
    exchange.start()
    with pytest.raises(error, match=says):
        for at in range(0, len(said), 48):
            exchange.receive(said[at:at + 48])
        exchange.closed()
    assert not exchange.finished


@pytest.mark.parametrize(("said", "says"), [
    pytest.param(b"", "during the login", id="at once"),
    pytest.param(OPERATIONAL[:50], "during the login", id="in the middle of a PDU"),
    pytest.param(FULL, "before it had answered", id="before the answer"),
    pytest.param(FULL + pdu(async_message(1)), "asked us to log out", id="after asking for a logout"),
])
def test_a_target_that_closes_too_early(said: bytes, says: str) -> None:
    exchange = DiscoveryExchange(options())
    exchange.start()
    exchange.receive(said)
    with pytest.raises(DroppedError, match=says):
        exchange.closed()


@pytest.mark.parametrize("goodbye", [logout_response(itt=3), logout_response(itt=3, response=2), reject(4), async_message(2)],
                         ids=["yes", "no", "reject", "drop"])
def test_what_was_found_is_kept_however_the_target_says_goodbye(goodbye: bytes) -> None:
    exchange = DiscoveryExchange(options())
    exchange.start()
    exchange.receive(FULL + pdu(text_response(itt=2), data=text(("TargetName", DISK))) + pdu(goodbye))
    assert exchange.finished and exchange.result == (DiscoveredTarget(DISK),)
    exchange.closed()
    assert exchange.receive(b"anything") == b""


def test_a_logout_request_is_answered_with_a_logout() -> None:
    exchange = DiscoveryExchange(options())
    exchange.start()
    exchange.receive(FULL)
    sent = exchange.receive(pdu(async_message(1)))
    assert sent[0] == 0x46 and sent[1] == 0x80


@pytest.mark.parametrize(("limits", "says"), [
    pytest.param(Limits(text_bytes=1000), "1000 bytes of text", id="text"),
    pytest.param(Limits(pdus=6), "6 PDUs", id="PDUs"),
    pytest.param(Limits(targets=100), "100 targets", id="targets"),
    pytest.param(Limits(pdu_bytes=512), "at most 512", id="PDU"),
])
def test_limits_hold(limits: Limits, says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        discover(Target(targets=MANY, piece=600), limits=limits, max_recv_data_segment_length=512)


def test_portals_of_a_target_are_limited() -> None:
    pairs = (("TargetName", DISK),) + tuple(("TargetAddress", f"192.0.2.1:{port}") for port in range(1, 20))
    assert len(parse_targets(pairs, Limits(portals_per_target=19))[0].portals) == 19
    with pytest.raises(ProtocolError, match="18 portals"):
        parse_targets(pairs, Limits(portals_per_target=18))


def test_damaged_digests_are_noticed() -> None:
    for which, wanted in ((0, "header"), (1, "data")):
        exchange = DiscoveryExchange(options())
        exchange.start()
        exchange.receive(OPERATIONAL)
        exchange.receive(pdu(login_response(flags=0x87, stat_sn=2), data=text(("HeaderDigest", "CRC32C"), ("DataDigest", "CRC32C"))))
        answer = bytearray(pdu(text_response(itt=2), data=text(("TargetName", DISK)), header_digest=True, data_digest=True))
        answer[(4, 60)[which]] ^= 1
        with pytest.raises(ProtocolError, match=f"{wanted}.*CRC32C"):
            exchange.receive(bytes(answer) + bytes(2000))


@pytest.mark.parametrize(("pairs", "expected"), [
    pytest.param((), (), id="none"),
    pytest.param((("TargetName", DISK), ("TargetAddress", "192.0.2.1,1"), ("TargetName", DISK), ("TargetAddress", "192.0.2.1:3260,1"),
                 ("TargetAddress", "192.0.2.2,1")),
                 (DiscoveredTarget(DISK, (Portal("192.0.2.1", 3260, 1), Portal("192.0.2.2", 3260, 1))),), id="duplicates merged"),
    pytest.param((("TargetName", DISK), ("TargetAddress", "192.0.2.1,1"), ("TargetAddress", "192.0.2.1,2")),
                 (DiscoveredTarget(DISK, (Portal("192.0.2.1", 3260, 1), Portal("192.0.2.1", 3260, 2))),), id="two tpgts are two portals"),
    pytest.param((("TargetName", DISK), ("TargetAlias", "x")), (DiscoveredTarget(DISK, ()),), id="other keys are left alone"),
    pytest.param((("TargetName", DISK), ("TargetAddress", "[fe80::1%eth0]:3260,1")), (DiscoveredTarget(DISK, (Portal("fe80::1%eth0", 3260, 1),)),),
                 id="link-local"),
])
def test_parse_targets(pairs: t.Tuple[t.Tuple[str, str], ...], expected: t.Tuple[DiscoveredTarget, ...]) -> None:
    assert parse_targets(pairs) == expected


# -- mistakes of our own -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [
    pytest.param(lambda: LoginOptions("me"), id="initiator name"),
    pytest.param(lambda: options(target="disk"), id="target name"),
    pytest.param(lambda: options(isid=b"12345"), id="isid"),
    pytest.param(lambda: options(header_digest=("CRC64",)), id="digest"),
    pytest.param(lambda: options(data_digest="None"), id="digest as text"),
    pytest.param(lambda: options(initiator_alias="a\0b"), id="alias"),
    pytest.param(lambda: options(max_recv_data_segment_length=511), id="segment"),
    pytest.param(lambda: LoginCheckExchange(options()), id="login without target"),
    pytest.param(lambda: DiscoveryExchange(options(), send_targets="Some"), id="send targets"),
    pytest.param(lambda: Auth("u", ""), id="no password"),
    pytest.param(lambda: Auth("", "p"), id="no user"),
    pytest.param(lambda: Auth("u", "p", "v"), id="half a mutual auth"),
    pytest.param(lambda: Auth("u", "p", None, "q"), id="the other half"),
    pytest.param(lambda: Auth("u", "same", "v", "same"), id="one secret for both"),
    pytest.param(lambda: Auth("u", "p", algorithms=("MD4",)), id="algorithm"),
    pytest.param(lambda: Auth("u", "p", algorithms=()), id="no algorithm"),
    pytest.param(lambda: Auth("u", "p\0"), id="NUL"),
    pytest.param(lambda: Auth("u", "p\udcff"), id="not UTF-8"),
])
def test_our_mistakes_are_input_errors(make: t.Callable[[], object]) -> None:
    with pytest.raises(InputError):
        make()


def test_secrets_are_not_shown() -> None:
    shown = repr(MUTUAL) + str(MUTUAL) + repr(options(auth=MUTUAL))
    assert "initiator-secret" not in shown and "target-secret" not in shown


def test_isid_is_random_and_says_so() -> None:
    one, two = options().isid, options().isid
    assert one != two and one[0] == two[0] == 0x80
