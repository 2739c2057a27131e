# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors as values: one root, few leaves, each carrying the fields a message is made of."""

from __future__ import annotations

import typing as t


class IscsiError(Exception):
    """Root of everything this collection raises on purpose.

    ``subject`` names the object that is wrong (a portal, a record, an option), ``what`` says what is wrong with it and
    ``remedy`` says what to do. Together they are the sentence a user reads. None of the three may hold a secret.
    """

    def __init__(self, subject: str, what: str, remedy: str = "") -> None:
        self.subject = subject
        self.what = what
        self.remedy = remedy
        #: what a task had found out or done before it failed; returned beside the message
        self.facts: t.Dict[str, t.Any] = {}
        super().__init__(self.sentence())

    def sentence(self) -> str:
        """The error in words: object, what is wrong, what to do."""
        text = f"{self.subject}: {self.what}" if self.subject else self.what
        return f"{text.rstrip('.')}. {self.remedy}" if self.remedy else text

    def as_problem(self) -> dict[str, str]:
        """The error as an entry of a module's ``problems``: ``{object, what, remedy}``."""
        return {"object": self.subject, "what": self.what, "remedy": self.remedy}

    def fields(self) -> dict[str, t.Any]:
        """What a failed task returns beside ``msg``."""
        return dict(self.facts, error=dict(self.as_problem(), kind=type(self).__name__))


class InputError(IscsiError):
    """An option, a setting or a name that cannot be accepted; raised before anything was changed."""


class PeerError(IscsiError):
    """The other side of a connection broke the protocol, refused us, or did not answer."""


class HostError(IscsiError):
    """This host cannot do what is asked: a missing tool, a file that cannot be written, a daemon that is down."""


class DamagedError(IscsiError):
    """Something stored on this host (a record, a configuration file) cannot be understood."""


class LockedError(HostError):
    """A lock could not be had within its bounded wait; the sentence names the lock and who may hold it."""


class CommandError(HostError):
    """A command of the host failed. ``argv`` never holds a secret: secrets travel in files and on standard input."""

    def __init__(self, argv: t.Sequence[str], code: int, stderr: str, what: str, remedy: str = "") -> None:
        self.argv = tuple(argv)
        self.code = code
        self.stderr = stderr
        super().__init__(" ".join(self.argv), what, remedy)

    def fields(self) -> dict[str, t.Any]:
        return dict(super().fields(), cmd=list(self.argv), rc=self.code, stderr=self.stderr)


class InUseError(IscsiError):
    """A destructive step was refused; ``users`` says who still uses the object."""

    def __init__(self, subject: str, users: t.Sequence[str], remedy: str) -> None:
        self.users = tuple(users)
        super().__init__(subject, "still in use by " + ", ".join(self.users), remedy)

    def fields(self) -> dict[str, t.Any]:
        return dict(super().fields(), users=list(self.users))


class NotConvergedError(IscsiError):
    """After a change the plan was made again and was not empty; ``steps`` is what is left to do."""

    def __init__(self, steps: t.Sequence[str]) -> None:
        self.steps = tuple(steps)
        super().__init__(
            "this host",
            "the change was applied, but reading again shows steps still to do: " + "; ".join(self.steps),
            "Something else may be changing the same objects; run the task again, and look for another manager of them",
        )

    def fields(self) -> dict[str, t.Any]:
        return dict(super().fields(), remaining_steps=list(self.steps))
