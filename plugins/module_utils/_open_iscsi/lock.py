# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""open-iscsi's own lock on its records (usr/idbm.c, idbm_lock): whoever makes the hard link lock.write holds it."""

from __future__ import annotations

import errno
import fcntl
import os
import time
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, LockedError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.files import make_folder, remove_empty_folders_up_to, remove_file
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.layout import Location

_OURS = "lock.lunar"
_PAUSE = 0.01  # seconds, as iscsiadm does
DEFAULT_WAIT = 30.0
#: seconds after which a lock is looked at; iscsiadm itself gives up after 30
_STALE_AFTER = 60.0
_CLOCK_STEP = 1.0


class DatabaseLock:
    """Holds the lock between ``__enter__`` and ``__exit__``.

    open-iscsi links ``lock`` to ``lock.write``; we link a file of our own to the same name, which excludes iscsiadm and iscsid just as
    well. Our file is also locked with flock, which ends with its process. So a ``lock.write`` that is a link to our file while nobody
    holds the flock was left by a killed task of this collection, and is removed; one that open-iscsi left is only named.
    """

    def __init__(self, location: Location, wait: float = DEFAULT_WAIT) -> None:
        self._location = location
        self._wait = wait
        self._ours = os.path.join(location.lock_folder, _OURS)
        self._descriptor = -1
        self._made: t.List[str] = []

    def __enter__(self) -> DatabaseLock:
        deadline = time.monotonic() + self._wait
        self._made = make_folder(self._location.lock_folder, 0o770)
        try:
            self._take(deadline)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        try:
            if self._is_ours():
                os.unlink(self._location.lock)
            if self._location.root != "/":  # leave an image as it was
                os.unlink(self._ours)
                if self._made:
                    remove_empty_folders_up_to(self._location.lock_folder, self._made[-1])
        finally:
            self._close()

    def _open(self) -> None:
        try:
            self._descriptor = os.open(self._ours, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise HostError(self._ours, f"could not be opened: {error.strerror}", "Run the task as root (become: true)") from error

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _take(self, deadline: float) -> None:
        while not self._flock():
            self._pause(deadline)
        if self._is_ours():
            os.unlink(self._location.lock)
        while not self._link():
            self._pause(deadline)

    def _flock(self) -> bool:
        if self._descriptor < 0:
            self._open()
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.exists(self._ours) and os.path.samestat(os.stat(self._ours), os.fstat(self._descriptor)):
                return True
            self._close()  # the one before us removed the file it was
            return False
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise HostError(self._ours, f"could not be locked: {error.strerror}", "Check the file system it is on") from error

    def _link(self) -> bool:
        try:
            os.link(self._ours, self._location.lock)
            return True
        except FileExistsError:
            return False
        except OSError as error:
            raise HostError(self._location.lock, f"could not be made: {error.strerror}", "Check the file system it is on") from error

    def _is_ours(self) -> bool:
        try:
            return os.path.samestat(os.stat(self._location.lock), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def _pause(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise self._locked()
        time.sleep(min(_PAUSE, left))

    def _locked(self) -> LockedError:
        path = self._location.lock
        try:
            # the number of links of a file changes when the lock is taken, and with it the time of its last change
            age = max(0, int(time.time() - os.stat(path).st_ctime))
        except OSError:
            age = 0
        holders = running_programs(("iscsiadm", "iscsid", "iscsistart")) if self._location.root == "/" else []
        held = f"is held since {age} s and was waited for {self._wait:g} s"
        if self._is_ours():
            return LockedError(path, held + " (by another task of this collection)", "Wait for that task, or run the tasks one after the other")
        if holders:
            return LockedError(path, held + "; running are " + ", ".join(holders), "Wait for it to end; if it hangs, end it, then remove the lock file")
        return LockedError(path, held + ", but neither iscsiadm nor iscsid is running", "It is stale, left by a process that was killed: remove the file")


def stale_lock(location: Location) -> t.Optional[str]:
    """What is wrong with the lock, where it is there and nobody can be holding it; None otherwise.

    iscsid takes it for moments only. Of the other programs, the holder is one that ran already when it was taken.
    """
    path = location.lock
    ours = os.path.join(location.lock_folder, _OURS)
    try:
        taken = os.stat(path).st_ctime
        is_ours = os.path.exists(ours) and os.path.samefile(ours, path)
    except OSError:
        return None
    if is_ours:
        return None if _is_flocked(ours) else "was left by a task of this collection that was killed"
    age = time.time() - taken
    if age < _STALE_AFTER or (location.root == "/" and running_programs(("iscsiadm", "iscsistart"), before=taken)):
        return None
    return f"is held since {int(age)} s, and nobody who could hold it is running: it was left by a process that was killed"


def remove_stale_lock(location: Location) -> None:
    """Remove it if it is (still) stale."""
    if stale_lock(location) is not None:
        remove_file(location.lock)


def _is_flocked(path: str) -> bool:
    """Whether a task has our file locked."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return True  # nothing is known then
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(descriptor)


def running_programs(names: t.Sequence[str], before: t.Optional[float] = None) -> t.List[str]:
    """Which of these programs run now, each as ``name (pid 12)``; from /proc, without a process of our own.

    ``before`` leaves out those that were started later than this time.
    """
    found: t.List[str] = []
    for pid in sorted((name for name in os.listdir("/proc") if name.isdigit()), key=int):
        try:
            with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                name = file.read().strip()
            started = os.stat(f"/proc/{pid}").st_ctime
        except OSError:
            continue
        if name in names and (before is None or started <= before + _CLOCK_STEP):
            found.append(f"{name} (pid {pid})")
    return found
