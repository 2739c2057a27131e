# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iscsid, and what it has not read yet: it looks at its own settings and at the initiator's name only when it starts.

What was written since then is noted in ``/run``, with the process that does not know of it, so that a later task can tell, too. A daemon that was
started since has read the files.
"""

from __future__ import annotations

import os
import time
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.block import users_of
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Runner, check
from ansible_collections.lunar.iscsi.plugins.module_utils._host.files import read_bytes, remove_file, write_atomic
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.carriers import system_users
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.sessions import Session, read_sessions

NOTE = "/run/lunar-iscsi.iscsid"
UNIT = "iscsid.service"
_PID_FILES = ("/run/iscsid.pid", "/run/initramfs/run/iscsid.pid")
_PAUSE = 0.1


def running_daemon(proc: str = "/proc", pid_files: t.Sequence[str] = _PID_FILES) -> str:
    """The iscsid that runs: its number and when it began, in the kernel's clock ticks; empty where none runs."""
    named = [(read_bytes(path) or b"").strip() for path in pid_files]
    others = sorted((name for name in os.listdir(proc) if name.isdigit()), key=int)
    for pid in [text.decode("ascii") for text in named if text.isdigit()] + others:
        if (read_bytes(f"{proc}/{pid}/comm") or b"").strip() == b"iscsid":
            # proc(5): the 22nd field, counted behind the name in parentheses, which may hold blanks
            fields = (read_bytes(f"{proc}/{pid}/stat") or b"").rpartition(b")")[2].split()
            if len(fields) > 19 and fields[0] not in (b"Z", b"X"):  # one that has ended may still be listed
                return f"{int(pid)} {fields[19].decode('ascii')}"
    return ""


def owed(daemon: str, path: str = NOTE) -> t.Tuple[str, ...]:
    """What this very daemon has not read: names of settings."""
    lines = (read_bytes(path) or b"").decode("utf-8", "replace").splitlines()
    return tuple(lines[1:]) if daemon and lines[:1] == [daemon] else ()


def note(daemon: str, names: t.Sequence[str], path: str = NOTE) -> None:
    """These settings are about to be written, and this daemon does not know of it."""
    everything = dict.fromkeys([*owed(daemon, path), *names])
    write_atomic(path, "".join(f"{line}\n" for line in (daemon, *everything)).encode("utf-8"), 0o600)


def find_risks(sessions: t.Optional[t.Sequence[Session]] = None) -> t.List[str]:
    """Why a restart of iscsid would not be safe now, in words; nothing where it is.

    The kernel goes on with its sessions meanwhile. What is missing for that moment is who sets up a connection again that breaks.
    """
    found = []
    sessions = read_sessions() if sessions is None else sessions
    disks = [lun.name for session in sessions for lun in session.luns if lun.name is not None]
    for user in system_users(users_of(disks, opened=False)) if disks else ():
        found.append(f"{user}: should a connection break while iscsid is away, nobody can set it up again, since iscsid would be read from there")
    for session in sessions:
        if not session.logged_in:
            found.append(f"session {session.sid} of {session.key} is not logged in: iscsid is setting it up again just now")
    return found


def restart(runner: Runner, before: str, timeout: float) -> None:
    """Let systemd start iscsid anew, and wait until another one runs than ``before``. The sessions stay: that is not open-iscsi.service."""
    deadline = time.monotonic() + timeout
    check(runner.run(["systemctl", "restart", UNIT], timeout=timeout), f"could not restart {UNIT}", f"Look at systemctl status {UNIT}")
    while running_daemon() in ("", before):
        if time.monotonic() > deadline:
            raise HostError(UNIT, f"did not run anew within {timeout:g} s", f"Look at systemctl status {UNIT}")
        time.sleep(_PAUSE)
    remove_file(NOTE)
