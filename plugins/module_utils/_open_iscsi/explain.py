# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What befell a session, in words: from its state in sysfs and from what the kernel wrote into its log.

``enum iscsi_err`` of include/scsi/iscsi_if.h has the numbers, section 8.1.3 of open-iscsi's README tells of them. The messages are those of
drivers/scsi/scsi_transport_iscsi.c and libiscsi.c: every one that concerns a session begins with ``connectionSID:CID:`` or ``sessionSID:``.
"""

from __future__ import annotations

import re
import time
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.kernel_log import KMSG, Line, read_kernel_log
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.sessions import LOGGED_IN, Session

#: what a line of the log that is of use here holds
WORDS = (b"connection", b"session", b"iSCSI transport class")
#: how many events of one session are kept, the newest
KEPT = 20
_BASE = 1000
_PREFIX = "ISCSI_ERR_"
_ERRORS = """\
DATASN the target sent data out of sequence: its number was not the one that was due
DATA_OFFSET the target sent or asked for data beyond the buffer of the command
MAX_CMDSN the target sent a window of command numbers (MaxCmdSN) that cannot be
EXP_CMDSN the target waits for a command number (ExpCmdSN) that cannot be
BAD_OPCODE the target sent a PDU of a kind that does not exist or does not belong here
DATALEN the target sent a PDU whose data are longer than agreed, or too short
AHSLEN the target sent a PDU with an additional header of a wrong length
PROTO the target did what the protocol (RFC 7143) forbids
LUN the target named a LUN that is not the one of the command
BAD_ITT the target answered with a task tag that this host never gives
CONN_FAILED the connection failed: the network went down or gave an error, an answer did not come in time, or something without a number of its own
R2TSN the target asked for data out of sequence: the number of its request was not the one that was due
SESSION_FAILED the session failed (no kernel is known to report it)
HDR_DGST the digest of a PDU's header was wrong: it was changed on its way
DATA_DGST the digest of a PDU's data was wrong: they were changed on their way
PARAM_NOT_FOUND iscsid gave the kernel a setting that it does not know
NO_SCSI_CMD the target answered a command that is not open any more, or never was
INVALID_HOST the SCSI host of the session is gone or going
XMIT_FAILED the network did not take a PDU that was to be sent
TCP_CONN_CLOSE the target closed the connection
SCSI_EH_SESSION_RST a command was not done in time, nothing came of aborting it or resetting the LUN, and the SCSI error handler dropped the session
NOP_TIMEDOUT the target did not answer a ping within noop_out_timeout: it or the network is gone or slow, or the timer is too short"""
#: number without 1000 -> (name, meaning)
ERRORS = {number: (f"{_PREFIX}{name}", meaning) for number, (name, meaning) in enumerate((line.split(" ", 1) for line in _ERRORS.splitlines()), 1)}

_LINE = re.compile(r"(?:\w* )?(?:connection(?P<sid>\d+):(?P<cid>\d+)|session(?P<alone>\d+)): (?P<message>.*)")
_ERROR = re.compile(r"detected conn error \((\d+)\)")
_LOADED = "Loading iSCSI transport class"
_GIVEN_UP = "session recovery timed out"
_GIVEN_UP_MEANS = "the time for making the session again (recovery_tmo) was over: its disks answer with errors until a login succeeds"
_PING = "ping timeout of"


class Event(t.NamedTuple):
    """One message of the kernel about one session; ``number`` is that of a connection error, with 1000."""

    sid: int
    cid: t.Optional[int]
    seconds: float
    message: str
    number: t.Optional[int] = None

    @property
    def name(self) -> t.Optional[str]:
        """The kernel's name of the error."""
        return ERRORS[self.number - _BASE][0] if self.number is not None and self.number - _BASE in ERRORS else None

    @property
    def meaning(self) -> t.Optional[str]:
        """The message in words, where there are any."""
        if self.number is not None:
            return ERRORS.get(self.number - _BASE, ("", "an error that this collection has no words for"))[1]
        if self.given_up:
            return _GIVEN_UP_MEANS
        return ERRORS[22][1] if self.message.startswith(_PING) else None

    @property
    def given_up(self) -> bool:
        """Whether this is the end of waiting for the session."""
        return self.message.startswith(_GIVEN_UP)


class Clock(t.NamedTuple):
    """One moment: in seconds since the host was started, as the log counts, and in seconds since 1970."""

    boot: float
    wall: float


def read_clock() -> Clock:
    """Now."""
    return Clock(time.monotonic(), time.time())


def explain_sessions(sessions: t.Sequence[Session], kmsg: str = KMSG) -> t.Tuple[t.Dict[int, t.Dict[str, t.Any]], t.List[t.Dict[str, str]]]:
    """By sid what each fact of a session has in addition, and the problems; the log is read after the sessions were, so that it is not older."""
    problems: t.List[t.Dict[str, str]] = []
    events: t.Dict[int, t.List[Event]] = {}
    if sessions:
        try:
            log = read_kernel_log(WORDS, kmsg)
        except HostError as error:
            problems.append(error.as_problem())
        else:
            events = parse_events(log.lines)
            if not log.complete:
                problems.append(HostError(f"the kernel's log {kmsg}", "is so long, or grows so fast, that its newest messages were not read",
                                          "Find out what fills it: dmesg --follow").as_problem())
    now = read_clock()
    return {session.sid: {"explanation": explain(session, events.get(session.sid, ()), now)} for session in sessions}, problems


def parse_events(lines: t.Iterable[Line]) -> t.Dict[int, t.List[Event]]:
    """The newest events of each session, by sid, oldest first.

    The numbers of sessions begin anew when the kernel's module is loaded anew, so what was said before that is of others.
    """
    found: t.Dict[int, t.List[Event]] = {}
    for line in lines:
        if line.text.startswith(_LOADED):
            found.clear()
            continue
        match = _LINE.fullmatch(line.text)
        if match is None:
            continue
        sid, cid, message = int(match.group("sid") or match.group("alone")), match.group("cid"), match.group("message").strip()
        error = _ERROR.fullmatch(message)
        number = None if error is None else int(error.group(1))
        if number is not None and 0 < number < _BASE:
            number += _BASE
        events = found.setdefault(sid, [])
        events.append(Event(sid, None if cid is None else int(cid), line.seconds, message, number))
        del events[:-KEPT]
    return found


def explain(session: Session, events: t.Sequence[Event], now: Clock) -> t.Dict[str, t.Any]:
    """What ``explanation`` is in the facts of a session."""
    recovery = _recovery(session, events)
    timer = _timer(session, recovery, events, now)
    errors = [event for event in events if event.number is not None]
    scsi = session.host_state == "recovery"
    return {
        "summary": _summary(recovery, timer, errors[-1] if errors else None, scsi, session, now),
        "recovery": recovery,
        "scsi_error_handler": scsi,
        "timer": timer,
        "error": _as_fact(errors[-1], now) if errors else None,
        "events": [_as_fact(event, now) for event in events],
    }


def _recovery(session: Session, events: t.Sequence[Event]) -> t.Optional[str]:
    if session.state == LOGGED_IN:
        return "none"
    if session.state == "FAILED":
        return "waiting"
    if session.state == "FREE":
        # a session that was never logged in is FREE, too, but it has no LUNs yet
        return "over" if session.luns or any(event.given_up for event in events) else "none"
    return None


def _timer(session: Session, recovery: t.Optional[str], events: t.Sequence[Event], now: Clock) -> t.Optional[t.Dict[str, t.Any]]:
    times = session.timeouts
    if recovery == "waiting" and times.recovery_tmo is not None and times.recovery_tmo >= 0:
        return {"name": "recovery_tmo", "setting": "node.session.timeo.replacement_timeout", "seconds": times.recovery_tmo,
                "remaining": _remaining(times.recovery_tmo, events, now)}
    up = session.state == LOGGED_IN and all(one.state in (None, "up") for one in session.connections)
    if up and times.recv_tmo and times.ping_tmo:  # the kernel pings only where both are set
        return {"name": "recv_tmo", "setting": "node.conn[0].timeo.noop_out_interval", "seconds": times.recv_tmo, "remaining": None}
    return None


def _remaining(seconds: int, events: t.Sequence[Event], now: Clock) -> t.Optional[float]:
    """At least so much of the time for recovery is left; None where the log does not tell.

    The timer is started by the first error after a login, and a login leaves no message. So the oldest error counts that can have
    started a timer which has not ended: one within the time, and after the last time that recovery was over.
    """
    started = None
    for event in events:
        if event.given_up:
            started = None
        elif event.number is not None and started is None and now.boot - event.seconds <= seconds:
            started = event.seconds
    return None if started is None else round(max(0.0, seconds - max(0.0, now.boot - started)), 1)


def _as_fact(event: Event, now: Clock) -> t.Dict[str, t.Any]:
    age = _age(event, now)
    return {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now.wall - age)), "age": round(age, 1), "cid": event.cid, "message": event.message,
            "number": event.number, "name": event.name, "meaning": event.meaning}


def _age(event: Event, now: Clock) -> float:
    return max(0.0, now.boot - event.seconds)


def _summary(recovery: t.Optional[str], timer: t.Optional[t.Mapping[str, t.Any]], error: t.Optional[Event], scsi: bool, session: Session, now: Clock) -> str:
    if recovery == "waiting":
        said = "The connection is lost and being made again. I/O waits"
        if timer is None:
            said += " until the session is back or logged out" if session.timeouts.recovery_tmo is not None else ""
        elif timer["remaining"] is None:
            said += f", and fails {timer['seconds']} s after the loss"
        else:
            said += f", and fails in {timer['remaining']} s if nothing comes of it"
    elif recovery == "over":
        said = "The connection is lost, and the time for making it again is over. I/O fails until a login succeeds"
    elif session.state == LOGGED_IN:
        said = "The session is logged in"
    else:
        said = "The session is not logged in" if recovery else "The driver does not tell the state of the session"
    if scsi:
        said += ". The SCSI error handler is at work"
    if error is None:
        return said + "."
    label = f"{error.number} {error.name}" if error.name else str(error.number)
    return f"{said}. Last error, {round(_age(error, now))} s ago: {error.meaning} ({label})."
