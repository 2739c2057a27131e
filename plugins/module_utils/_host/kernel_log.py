# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's own log, read from /dev/kmsg without a fork (Documentation/ABI/testing/dev-kmsg of Linux)."""

from __future__ import annotations

import os
import time
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError

KMSG = "/dev/kmsg"
#: one read gives one record, which is never longer
_RECORD = 8192
_RECORDS = 200_000
_SECONDS = 3.0


class Line(t.NamedTuple):
    """One message of the kernel: when, in seconds since the host was started, and its words."""

    seconds: float
    text: str


class KernelLog(t.NamedTuple):
    """What was asked for, oldest first. ``complete`` is false where the reading was ended before the newest message."""

    lines: t.Sequence[Line]
    complete: bool


def read_kernel_log(about: t.Sequence[bytes], path: str = KMSG) -> KernelLog:
    """The kernel's messages that hold one of these words. Raises ``HostError`` where the log cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(f"the kernel's log {path}", f"cannot be read: {error.strerror}", "Run the task as root, outside of a container") from error
    try:
        return collect(lambda: os.read(descriptor, _RECORD), about)
    finally:
        os.close(descriptor)


def collect(read: t.Callable[[], bytes], about: t.Sequence[bytes], records: int = _RECORDS, seconds: float = _SECONDS) -> KernelLog:
    """What ``read_kernel_log`` returns, from a callable that gives one record at a time and raises ``BlockingIOError`` at the end.

    A log that grows as fast as it is read has no end: after so many records or seconds it is left as it is.
    """
    lines: t.List[Line] = []
    deadline = time.monotonic() + seconds
    for number in range(records):
        if number % 256 == 255 and time.monotonic() > deadline:
            break
        try:
            record = read()
        except BlockingIOError:
            return KernelLog(lines, True)
        except BrokenPipeError:
            continue  # what was to be read next has been overwritten; the next one is the oldest that is left
        except OSError:
            break
        if not record:  # a file, not the device
            return KernelLog(lines, True)
        if any(word in record for word in about):
            line = parse_record(record)
            if line is not None:
                lines.append(line)
    return KernelLog(lines, False)


def parse_record(record: bytes) -> t.Optional[Line]:
    """``priority,sequence,microseconds,flags[,more];text``, then lines of a dictionary; None for what the kernel did not say itself.

    Whoever is root may write into the log, but not in the kernel's name: the facility (priority without its three lowest bits) is 0
    for the kernel alone.
    """
    head, semicolon, rest = record.partition(b";")
    fields = head.split(b",")
    if not semicolon or len(fields) < 4 or not (fields[0].isdigit() and fields[2].isdigit()) or int(fields[0]) >> 3:
        return None
    return Line(int(fields[2]) / 1e6, rest.partition(b"\n")[0].decode("utf-8", "replace"))
