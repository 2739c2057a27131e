# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of the protocol room: what the peer did wrong, and what our own code did wrong, are never the same class."""

from __future__ import annotations

import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError, PeerError


class LocalProtocolError(InputError):
    """Our side asked for something the state of the connection does not allow; nothing was sent."""


class ProtocolError(PeerError):
    """The target sent something that RFC 7143 does not allow, or more than the limits allow."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__("", what, remedy)


class LoginRefusedError(PeerError):
    """The target ended the login with a status class and detail (RFC 7143 section 11.13.5)."""

    def __init__(self, status_class: int, status_detail: int, what: str, remedy: str = "") -> None:
        self.status_class = status_class
        self.status_detail = status_detail
        super().__init__("", what, remedy)

    @property
    def status(self) -> int:
        """Class and detail as one number, as tools print it: 0x0201."""
        return self.status_class << 8 | self.status_detail

    def fields(self) -> dict[str, t.Any]:
        return dict(super().fields(), login_status=f"0x{self.status:04x}")


class AuthenticationError(PeerError):
    """Authentication cannot succeed, or the target failed to prove who it is; found out on our side."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__("", what, remedy)


class IsnsRefusedError(PeerError):
    """An iSNS server answered with a status other than success (RFC 4171 section 5.4)."""

    def __init__(self, status: int, what: str, remedy: str = "") -> None:
        self.status = status
        super().__init__("", what, remedy)

    def fields(self) -> dict[str, t.Any]:
        return dict(super().fields(), isns_status=self.status)


class RejectedError(PeerError):
    """The target answered with a Reject PDU (RFC 7143 section 11.17)."""

    def __init__(self, reason: int, what: str) -> None:
        self.reason = reason
        super().__init__("", what)


class DroppedError(PeerError):
    """The target closed the connection, or said that it will, before it had answered."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__("", what, remedy)
