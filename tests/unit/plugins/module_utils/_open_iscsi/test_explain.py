# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions explained: by what the kernel wrote, as hosts have recorded it, and by states and timers."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._host.kernel_log import Line
from ansible_collections.lunar.iscsi.plugins.module_utils._names import Portal
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.explain import ERRORS, KEPT, Clock, Event, explain, parse_events
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.sessions import Connection, Lun, Session, Timeouts

PORTAL = Portal("192.0.2.1", 3260, 1)
#: of a host with Linux 5.4 whose target went away for good
GONE = [
    Line(59873.320290, " connection3:0: ping timeout of 5 secs expired, recv timeout 5, last rx 4354526811, last ping 4354531840, now 4354536960"),
    Line(59873.320781, " connection3:0: detected conn error (1022)"),
    Line(59994.670540, " session3: session recovery timed out after 120 secs"),
    Line(59994.679237, "sd 7:0:0:0: rejecting I/O to offline device"),
]
#: the table of section 8.1.3 of open-iscsi's README
DOCUMENTED = """1 DATASN 2 DATA_OFFSET 3 MAX_CMDSN 4 EXP_CMDSN 5 BAD_OPCODE 6 DATALEN 7 AHSLEN 8 PROTO 9 LUN 10 BAD_ITT 11 CONN_FAILED 12 R2TSN
    13 SESSION_FAILED 14 HDR_DGST 15 DATA_DGST 16 PARAM_NOT_FOUND 17 NO_SCSI_CMD 18 INVALID_HOST 19 XMIT_FAILED 20 TCP_CONN_CLOSE
    21 SCSI_EH_SESSION_RST 22 NOP_TIMEDOUT""".split()


def session(
    state: t.Optional[str] = "LOGGED_IN", *, host_state: str = "running", connection: str = "up", luns: int = 1, **timeouts: t.Optional[int],
) -> Session:
    times: t.Dict[str, t.Optional[int]] = {"recovery_tmo": 120, "ping_tmo": 5, "recv_tmo": 5, **timeouts}
    return Session(sid=3, target="iqn.2026-11.org.example:disk1", portal=PORTAL, persistent_portal=PORTAL, state=state, host_state=host_state,
                   timeouts=Timeouts(**times), connections=(Connection(0, PORTAL, PORTAL, connection),), luns=tuple(Lun(n, f"7:0:0:{n}") for n in range(luns)))


def errors(*seconds: float) -> t.List[Event]:
    return [Event(3, 0, each, "detected conn error (1020)", 1020) for each in seconds]


def at(boot: float) -> Clock:
    """A moment, and 1970-01-02T00:00:00Z at the start of the host."""
    return Clock(boot, 86400 + boot)


class TestLog:
    def test_what_a_host_recorded(self) -> None:
        found = parse_events(GONE)
        assert list(found) == [3]
        assert [(event.cid, event.number, event.name, event.given_up) for event in found[3]] == [
            (0, None, None, False), (0, 1022, "ISCSI_ERR_NOP_TIMEDOUT", False), (None, None, None, True)]
        assert [str(event.meaning).split(":", maxsplit=1)[0] for event in found[3]] == [
            "the target did not answer a ping within noop_out_timeout", "the target did not answer a ping within noop_out_timeout",
            "the time for making the session again (recovery_tmo) was over"]

    @pytest.mark.parametrize("text, sid", [
        (" connection13:0: detected conn error (1022)", 13),
        ("connection13:0: detected conn error (1022)", 13),
        ("iscsi_connection connection13:0: detected conn error (1022)", 13),
        (" session13: target reset succeeded", 13),
        ("sd 2:0:0:1: connection13:0: x", None),
        ("nvme connection13:0 x", None),
        ("systemd-logind: New session13: x of user", None),
        ("audit: session13: x", None),
    ])
    def test_only_what_iscsi_says(self, text: str, sid: t.Optional[int]) -> None:
        assert list(parse_events([Line(1.0, text)])) == ([] if sid is None else [sid])

    def test_numbers_of_sessions_begin_anew_with_the_module(self) -> None:
        loaded = Line(60000.0, "Loading iSCSI transport class v2.0-870.")
        assert parse_events([*GONE, loaded]) == {}
        assert [event.number for event in parse_events([*GONE, loaded, Line(60001.0, " connection3:0: detected conn error (1020)")])[3]] == [1020]

    def test_the_newest_are_kept(self) -> None:
        events = parse_events([Line(float(n), " connection3:0: detected conn error (1020)") for n in range(KEPT + 5)])[3]
        assert [event.seconds for event in events] == [float(n) for n in range(5, KEPT + 5)]

    @pytest.mark.parametrize("number, name", list(zip(DOCUMENTED[::2], DOCUMENTED[1::2])))
    def test_every_documented_number_has_its_name_and_words(self, number: str, name: str) -> None:
        for written in (number, str(1000 + int(number))):
            event = parse_events([Line(1.0, f" connection3:0: detected conn error ({written})")])[3][0]
            assert (event.number, event.name) == (1000 + int(number), f"ISCSI_ERR_{name}") and len(event.meaning or "") > 20
        assert len(ERRORS) == len(DOCUMENTED) // 2

    def test_a_number_of_a_newer_kernel(self) -> None:
        event = parse_events([Line(1.0, " connection3:0: detected conn error (1077)")])[3][0]
        assert (event.number, event.name) == (1077, None) and "no words" in (event.meaning or "")


class TestExplanation:
    def test_a_session_that_never_broke(self) -> None:
        assert explain(session(), (), at(100)) == {
            "summary": "The session is logged in.", "recovery": "none", "scsi_error_handler": False, "error": None, "events": [],
            "timer": {"name": "recv_tmo", "setting": "node.conn[0].timeo.noop_out_interval", "seconds": 5, "remaining": None}}

    def test_one_that_waits(self) -> None:
        made = explain(session("FAILED", connection="failed"), errors(88.0), at(100.25))
        assert (made["recovery"], made["timer"]) == (
            "waiting", {"name": "recovery_tmo", "setting": "node.session.timeo.replacement_timeout", "seconds": 120, "remaining": 107.8})
        assert made["error"] == made["events"][0] == {
            "time": "1970-01-02T00:01:28Z", "age": 12.2, "cid": 0, "message": "detected conn error (1020)", "number": 1020,
            "name": "ISCSI_ERR_TCP_CONN_CLOSE", "meaning": "the target closed the connection"}
        assert made["summary"] == ("The connection is lost and being made again. I/O waits, and fails in 107.8 s if nothing comes of it. "
                                   "Last error, 12 s ago: the target closed the connection (1020 ISCSI_ERR_TCP_CONN_CLOSE).")

    @pytest.mark.parametrize("events, now, remaining", [
        pytest.param(errors(90, 95, 99), 100, 110.0, id="of several errors the oldest"),
        pytest.param(errors(10, 990), 1000, 110.0, id="an older one has recovered, or the time would be over"),
        pytest.param([*errors(900), Event(3, None, 950, "session recovery timed out after 50 secs"), *errors(980)], 1000, 100.0,
                     id="what came before the time was over is of another loss"),
        pytest.param(errors(10), 1000, None, id="the log holds an older error only"),
        pytest.param([], 1000, None, id="the log holds none"),
        pytest.param(errors(1001), 1000, 120.0, id="the clocks differ"),
    ])
    def test_what_is_left_of_the_time(self, events: t.List[Event], now: float, remaining: t.Optional[float]) -> None:
        made = explain(session("FAILED"), events, at(now))
        assert made["timer"]["remaining"] == remaining
        assert ("fails 120 s after the loss" in made["summary"]) is (remaining is None)

    def test_one_that_waits_for_ever(self) -> None:
        made = explain(session("FAILED", recovery_tmo=-1), errors(88), at(100))
        assert made["timer"] is None and "I/O waits until the session is back or logged out." in made["summary"]

    def test_one_that_does_not_wait_at_all(self) -> None:
        assert explain(session("FAILED", recovery_tmo=0), errors(88), at(88))["timer"]["remaining"] == 0

    def test_one_whose_driver_has_no_timer(self) -> None:
        made = explain(session("FAILED", recovery_tmo=None), (), at(1))
        assert made["timer"] is None and made["summary"] == "The connection is lost and being made again. I/O waits."

    def test_one_whose_time_is_over(self) -> None:
        made = explain(session("FREE", connection="failed"), parse_events(GONE)[3], at(60000))
        assert (made["recovery"], made["timer"], made["error"]["number"]) == ("over", None, 1022)
        assert made["summary"].startswith(
            "The connection is lost, and the time for making it again is over. I/O fails until a login succeeds. Last error, 127 s ago: the target did")

    def test_over_is_seen_without_the_log(self) -> None:
        assert explain(session("FREE"), (), at(1))["recovery"] == "over"

    def test_a_session_that_is_being_made_has_lost_nothing(self) -> None:
        made = explain(session("FREE", luns=0), (), at(1))
        assert (made["recovery"], made["summary"]) == ("none", "The session is not logged in.")

    def test_a_driver_that_tells_no_state(self) -> None:
        made = explain(session(None), (), at(1))
        assert (made["recovery"], made["timer"], made["summary"]) == (None, None, "The driver does not tell the state of the session.")

    def test_the_error_handler_of_scsi(self) -> None:
        made = explain(session(host_state="recovery"), (), at(1))
        assert made["scsi_error_handler"] and made["summary"] == "The session is logged in. The SCSI error handler is at work."

    @pytest.mark.parametrize("timers", [{"recv_tmo": 0}, {"ping_tmo": 0}, {"recv_tmo": None, "ping_tmo": None}])
    def test_no_pings(self, timers: t.Dict[str, t.Any]) -> None:
        assert explain(session(**timers), (), at(1))["timer"] is None

    def test_a_connection_that_is_down_is_not_pinged(self) -> None:
        assert explain(session(connection="down"), (), at(1))["timer"] is None
