# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only hands on tgtd and on the files behind its LUNs."""

from __future__ import annotations

import errno
import fcntl
import os
import time
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import Step
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, IscsiError, LockedError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.files import (
    make_folder,
    remove_empty_folders_up_to,
    remove_file,
    remove_leftovers,
    write_atomic,
)
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_control import LUN_ACTIVE, TARGET_ACTIVE, Control, RefusedError, Request
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_steps import Attempt, FileOp, Op

LOCK = "/run/lock/lunar-iscsi-tgt.lock"
_PATIENCE = 60.0
#: seconds that commands which run on a LUN, and sessions that are ended, are given to be gone
_DRAIN = 10.0


class Lock:
    """One task at a time on a tgtd: numbers of targets are chosen, and accounts leave their lists for a moment."""

    def __init__(self, path: str = LOCK, patience: float = _PATIENCE) -> None:
        self._path, self._patience = path, patience
        self._descriptor = -1

    def __enter__(self) -> None:
        try:
            make_folder(os.path.dirname(self._path), 0o755)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise HostError(self._path, f"cannot be opened: {error.strerror}", "Run the task as root (become: true)") from None
        until = time.monotonic() + self._patience
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                if time.monotonic() > until:
                    os.close(self._descriptor)
                    raise LockedError(self._path, f"was not free within {self._patience:.0f} s; another task works on tgtd",
                                      f"Look who holds it: fuser -v {self._path}") from None
            time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def apply_steps(steps: t.Sequence[Step], control: Control) -> None:
    """Do the steps in their order. Where one fails, targets that this call made are taken away again, into which nobody could log in yet, and
    tgtd listens again where it did before that step."""
    made: t.Dict[int, Request] = {}
    moved: t.List[Request] = []
    begun: t.Set[str] = set()
    done: t.List[str] = []
    # what a task that was killed left there holds secrets; no other can be at work, this one has the lock
    for folder in {os.path.dirname(op.path) for step in steps for op in step.work if isinstance(op, FileOp) and op.kind in ("save", "remove", "begin")}:
        remove_leftovers(folder)
    try:
        for step in steps:
            moved.clear()
            for op in step.work:
                _do(op, control)
                if isinstance(op, Request) and op.mode == "portal":
                    moved.append(op)
                new = _new_target(op)
                if new is not None:
                    made[new.tid] = new
                    begun.add(new.text)
            if step.action == "set who may log in to":
                made = {tid: new for tid, new in made.items() if all(not isinstance(op, Request) or op.tid != tid for op in step.work)}
            done.append(str(step))
    except IscsiError as error:
        _listen_as_before(moved, control)
        gone = _take_back(made, control)
        error.facts.update(done=done, taken_back=sorted(gone))
        every = {new.text for step in steps for new in map(_new_target, step.work) if new is not None}
        _forget(every - begun | {made[tid].text for tid in gone}, steps)
        raise


def _new_target(op: Op) -> t.Optional[Request]:
    return op if isinstance(op, Request) and (op.mode, op.op) == ("target", "new") else None


def _take_back(made: t.Mapping[int, Request], control: Control) -> t.List[int]:
    gone = []
    for tid, new in made.items():
        try:
            control.ask(Request("target", "delete", "", tid, lld=new.lld))
            gone.append(tid)
        except IscsiError:
            continue  # the error that brought us here is the one to tell
    return gone


def _listen_as_before(moved: t.Sequence[Request], control: Control) -> None:
    for request in reversed(moved):
        try:
            control.ask(request._replace(op="delete" if request.op == "new" else "new"))
        except IscsiError:
            continue  # the next run comes back to it


def _forget(texts: t.Container[str], steps: t.Sequence[Step]) -> None:
    """Nothing was begun of targets that there are not."""
    for op in (op for step in steps for op in step.work if isinstance(op, FileOp) and op.kind == "begin"):
        if f"targetname={os.path.basename(op.path)[:-len('.conf')]}" in texts:
            _do_file(op._replace(kind="forget"))


def _do(op: Op, control: Control) -> None:
    if isinstance(op, FileOp):
        _do_file(op)
    elif isinstance(op, Attempt):
        try:
            control.ask(op.request)
        except RefusedError:
            pass
    else:
        _ask(op, control)


def _ask(request: Request, control: Control) -> None:
    until = time.monotonic() + _DRAIN
    while True:
        try:
            control.ask(request)
            return
        except RefusedError as refused:
            if request.mode == "connection":
                return  # it ended by itself meanwhile
            # never by force: with commands of a session still running, that ends tgtd itself (iscsi_target_destroy)
            if refused.number not in (LUN_ACTIVE, TARGET_ACTIVE) or time.monotonic() > until:
                raise
        time.sleep(0.05)


def _do_file(op: FileOp) -> None:
    folder = os.path.dirname(op.path)
    if op.kind in ("save", "begin", "publish"):
        make_folder(folder, 0o755)
        write_atomic(op.path, op.text.encode("utf-8", "surrogateescape"), 0o644 if op.kind == "publish" else 0o600)
    elif op.kind == "forget":
        remove_file(op.path)
        remove_empty_folders_up_to(folder, os.path.dirname(folder))
    elif op.kind == "reload":
        from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Runner, check  # seldom needed

        check(Runner().run(["systemctl", "daemon-reload"], timeout=60), "systemd did not read its files again", "Look at systemctl status")
    elif op.kind == "remove":
        remove_file(op.path)
    else:
        _size_file(op)


def _size_file(op: FileOp) -> None:
    """Make or grow a file; what cannot be finished is not left behind half made."""
    making = op.kind == "make"
    try:
        descriptor = os.open(op.path, os.O_WRONLY | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if making else 0), 0o600)
    except FileExistsError:  # another gateway of the same volume was faster
        _size_file(op._replace(kind="grow"))
        return
    except OSError as error:
        raise _failed(op, error) from None
    try:
        if op.sparse:
            os.ftruncate(descriptor, max(op.size, os.fstat(descriptor).st_size))
        else:
            os.posix_fallocate(descriptor, 0, op.size)
        os.fsync(descriptor)
    except OSError as error:
        if making:
            os.unlink(op.path)
        raise _failed(op, error) from None
    finally:
        os.close(descriptor)


def _failed(op: FileOp, error: OSError) -> HostError:
    full = error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
    return HostError(op.path, f"could not be {'made' if op.kind == 'make' else 'grown'} with {op.size} bytes: {error.strerror or error}",
                     "Ask for less, or give the file system more room" if full else "Look at its folder and the file system that it is on")
