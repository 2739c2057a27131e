# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a target says when it ends a login, rejects a PDU or answers a logout, in words."""

from __future__ import annotations

import typing as t
from enum import IntEnum

from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.errors import LoginRefusedError, RejectedError


class StatusClass(IntEnum):
    """RFC 7143 section 11.13.5."""

    SUCCESS = 0
    REDIRECTION = 1
    INITIATOR_ERROR = 2
    TARGET_ERROR = 3


MOVED_TEMPORARILY = 0x01
MOVED_PERMANENTLY = 0x02

_ACCESS = "Check the name of the target and whether it lets this initiator name and address in (ACL)"
#: (class, detail) → what it is called, what to do about it (RFC 7143 section 11.13.5, the table of statuses)
LOGIN_STATUS: t.Mapping[t.Tuple[int, int], t.Tuple[str, str]] = {
    (0x02, 0x00): ("initiator error, not further specified", "The log of the target says more"),
    (0x02, 0x01): ("authentication failure", "Check user names and secrets on both sides, and whether the target wants CHAP, one-way or mutual"),
    (0x02, 0x02): ("authorization failure", _ACCESS),
    (0x02, 0x03): ("target not found", _ACCESS),
    (0x02, 0x04): ("target removed; no new address was given", "Discover the targets again"),
    (0x02, 0x05): ("unsupported protocol version", "The target does not speak version 0 of the protocol (RFC 7143)"),
    (0x02, 0x06): ("too many connections", "The target allows no further connection for this session"),
    (0x02, 0x07): ("missing parameter", "The target wants a key that was not sent; its log says which"),
    (0x02, 0x08): ("cannot be included in the session", "The target does not support a session that spans this portal"),
    (0x02, 0x09): ("session type not supported", "Discover at a portal that offers discovery sessions"),
    (0x02, 0x0A): ("session does not exist", "Try again; the target has lost the session"),
    (0x02, 0x0B): ("invalid request during login", "The log of the target says more"),
    (0x03, 0x00): ("target error, not further specified", "The log of the target says more"),
    (0x03, 0x01): ("service unavailable", "The target is there but not ready; try again later or look at its state"),
    (0x03, 0x02): ("out of resources", "The target has no room for another session; close some, or raise its limit"),
}
_CLASS_NAME: t.Mapping[int, str] = {
    StatusClass.REDIRECTION: "redirection", StatusClass.INITIATOR_ERROR: "initiator error", StatusClass.TARGET_ERROR: "target error"}

#: RFC 7143 section 11.17.1
REJECT_REASON: t.Mapping[int, str] = {
    0x02: "data digest error",
    0x03: "SNACK rejected",
    0x04: "protocol error",
    0x05: "command not supported",
    0x06: "immediate command rejected, too many immediate commands",
    0x07: "task in progress",
    0x08: "invalid data acknowledgement",
    0x09: "invalid PDU field",
    0x0A: "long operation rejected, out of resources",
    0x0B: "deprecated reason (negotiation reset)",
    0x0C: "waiting for logout",
}


def login_refused(status_class: int, status_detail: int) -> LoginRefusedError:
    """The error for a login status other than success and a followed redirection: name, number, remedy."""
    known = LOGIN_STATUS.get((status_class, status_detail))
    if known is None:
        name = f"{_CLASS_NAME[status_class]} of an unknown kind" if status_class in _CLASS_NAME else "unknown login status"
        known = (name, "The log of the target says more")
    return LoginRefusedError(status_class, status_detail, f"{known[0]} (0x{status_class:02x}{status_detail:02x}): the target refused the login", known[1])


def rejected(reason: int) -> RejectedError:
    """The error for a Reject PDU."""
    return RejectedError(reason, f"rejected what was sent: {REJECT_REASON.get(reason, 'reserved reason')} (0x{reason:02x})")
