# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which multipathd runs, and whether it still has to be told of files that were written: the next task has to know where one broke off in between.

To ask the daemon does not answer that: what ``multipathd show config`` prints is not what ``multipath -t`` prints of the very same files. The daemon has its
own values for verbosity (its command line), the polling intervals (systemd's watchdog), ``force_sync`` and ``retrigger_tries``. So a note is left before a file
is written, with the process that does not know of it, and taken away once that process has read its files again. A daemon that was started since has
read them, and one that is started after a reboot, too: the note lies in ``/run``.
"""

from __future__ import annotations

from ansible_collections.lunar.iscsi.plugins.module_utils._host.files import read_bytes, remove_file, write_atomic

NOTE = "/run/lunar-iscsi.multipathd"
PID_FILES = ("/run/multipathd.pid", "/run/multipathd/multipathd.pid", "/var/run/multipathd.pid")


def running_daemon() -> str:
    """The multipathd that runs: its number and when it began, in the kernel's clock ticks; empty where none runs."""
    for path in PID_FILES:
        pid = (read_bytes(path) or b"").strip()
        # a number that was given to another process since is not the daemon's
        if pid.isdigit() and (read_bytes(f"/proc/{int(pid)}/comm") or b"").strip() == b"multipathd":
            # proc(5): the 22nd field, counted behind the name in parentheses, which may hold blanks
            fields = (read_bytes(f"/proc/{int(pid)}/stat") or b"").rpartition(b")")[2].split()
            return f"{int(pid)} {fields[19].decode('ascii')}" if len(fields) > 19 else ""
    return ""


def note(daemon: str) -> None:
    """Files are about to be written that this daemon has not read."""
    write_atomic(NOTE, f"{daemon}\n".encode("ascii"), 0o600)


def settle() -> None:
    """The daemon has read its files, or there is none to read them."""
    remove_file(NOTE)


def is_owed(daemon: str) -> bool:
    """Whether this very daemon was not told of what was written."""
    return bool(daemon) and read_bytes(NOTE) == f"{daemon}\n".encode("ascii")
