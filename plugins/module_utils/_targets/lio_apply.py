# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one room that changes the kernel's target: directories, links and writes in configfs, under targetcli's lock."""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import os
import sys
import time
import types
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import Step
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, LockedError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Runner, check
from ansible_collections.lunar.iscsi.plugins.module_utils._host.files import make_folder
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_configfs import ROOT
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_steps import Op, taken_by_others

#: what targetcli and targetclid take before they do anything
LOCK = "/run/targetcli.lock"
_PAUSE = 0.05
DEFAULT_WAIT = 30.0


class Lock:
    """targetcli's lock between ``__enter__`` and ``__exit__``; raises ``LockedError`` where it cannot be had in time."""

    def __init__(self, path: str = LOCK, wait: float = DEFAULT_WAIT) -> None:
        self._path = path
        self._wait = wait
        self._descriptor = -1

    def __enter__(self) -> Lock:
        deadline = time.monotonic() + self._wait
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise HostError(self._path, f"could not be opened: {error.strerror}", "Run the task as root (become: true)") from error
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return self
            except OSError:
                if time.monotonic() >= deadline:
                    os.close(self._descriptor)
                    raise LockedError(
                        self._path, f"is held by another process for {self._wait:g} seconds", "Look for a targetcli that is still open"
                    ) from None
                time.sleep(_PAUSE)

    def __exit__(self, _kind: t.Optional[t.Type[BaseException]], _error: t.Optional[BaseException], _trace: t.Optional[types.TracebackType]) -> None:
        os.close(self._descriptor)


class Hands:
    """The moves themselves. ``root`` is the target's folder in configfs; tests give one with a kernel of their own."""

    def __init__(self, root: str = ROOT, runner: t.Optional[Runner] = None) -> None:
        self.root = root
        self._runner = runner or Runner()

    def path(self, path: str) -> str:
        return os.path.join(self.root, path)

    def mkdir(self, path: str) -> None:
        if os.path.dirname(path) or not os.path.isdir(self.path(path)):  # the fabric's folder itself may be there
            os.mkdir(self.path(path))

    def rmdir(self, path: str) -> None:
        os.rmdir(self.path(path))

    def link(self, path: str, to: str) -> None:
        os.symlink(self.path(to), self.path(path))

    def unlink(self, path: str) -> None:
        os.unlink(self.path(path))

    def write(self, path: str, value: str) -> None:
        """One write without a line break, which the kernel would take for a part of names and secrets."""
        descriptor = os.open(self.path(path), os.O_WRONLY | os.O_TRUNC)
        try:
            os.write(descriptor, value.encode("utf-8"))
        finally:
            os.close(descriptor)

    def grow(self, path: str, size: int) -> None:
        """Make a file, or make it longer; never shorter."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size < size:
                os.ftruncate(descriptor, size)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def module(self, name: str) -> None:
        check(
            self._runner.run(["modprobe", name], timeout=60),
            f"the kernel module {name} could not be loaded",
            "Install the kernel's modules for this kernel (a cloud kernel may lack them)",
        )


def apply_steps(steps: t.Sequence[Step], hands: Hands, save: t.Callable[[], None]) -> t.List[str]:
    """Do the steps in their order; returns them in words. Raises ``HostError`` with the step, what was refused and how far it came."""
    done: t.List[str] = []
    for step in steps:
        for op in step.work:
            try:
                _do(op, hands, save)
            except OSError as error:
                failed = _refused(step, op, error, hands)
                failed.facts["done"] = done
                raise failed from None  # the original could show what was written
            except HostError as failed:
                failed.facts["done"] = done
                raise
        done.append(str(step))
    return done


def _do(op: Op, hands: Hands, save: t.Callable[[], None]) -> None:
    if op.kind == "write":
        hands.write(op.path, op.value)
    elif op.kind == "mkdir":
        hands.mkdir(op.path)
    elif op.kind == "rmdir":
        hands.rmdir(op.path)
    elif op.kind == "link":
        hands.link(op.path, op.value)
    elif op.kind == "unlink":
        hands.unlink(op.path)
    elif op.kind == "grow":
        hands.grow(op.path, int(op.value))
    elif op.kind == "module":
        hands.module(op.path)
    elif op.kind == "dbroot":
        _set_dbroot(op, hands)
    else:
        save()


def _set_dbroot(op: Op, hands: Hands) -> None:
    """The folder must exist, and a kernel that is old or has had a backstore does not take it, which does no harm now."""
    make_folder(op.value, 0o755)
    try:
        hands.write(op.path, op.value)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBUSY, errno.ENOENT):
            raise


def _refused(step: Step, op: Op, error: OSError, hands: Hands) -> HostError:
    value = f" {op.value!r}" if op.kind == "write" and not op.secret else ""
    what = f"the kernel refused to {op.kind}{value}: {error.strerror or error}"
    return HostError(f"{step} ({op.path})", what, _remedy(op, error, hands))


def _remedy(op: Op, error: OSError, hands: Hands) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return "Run the task as root (become: true)"
    if "/np/" in op.path and op.kind == "mkdir":
        host, _colon, port = op.path.rpartition("/")[2].rpartition(":")
        if taken_by_others(f"{host}:{port}", read_listening(), ()):
            return f"Another program listens on TCP port {port} (tgtd does so on all addresses); stop it, or choose another port"
        return f"Check that {host} is an address of this host"
    if op.kind == "mkdir" and op.path.startswith(("iscsi", "core/")) and error.errno == errno.ENOENT:
        return "The kernel module for it is missing; install the kernel's modules for this kernel"
    if op.path.endswith("/enable") and op.path.startswith("core/user_"):
        return "Check that tcmu-runner runs and has this handler (its log is /var/log/tcmu-runner.log), and that the handler takes this config"
    if op.path.endswith("/enable") and op.path.startswith("core/"):
        return "Look in the kernel's log (dmesg); a device may be in use"
    if error.errno == errno.EOPNOTSUPP and op.path.startswith("core/user_"):
        return "The handler of tcmu-runner does not support this change; leave it out, or make a new backstore"
    if error.errno == errno.ENOENT and op.kind == "write":
        return "This kernel does not have this setting; leave it out"
    return "Look in the kernel's log (dmesg), where it says why"


def read_listening(proc: str = "/proc") -> t.FrozenSet[t.Tuple[str, int]]:
    """Address and port of every TCP socket that listens (proc(5), state 0A); LIO's own are among them."""
    found = set()
    for name in ("tcp", "tcp6"):
        try:
            with open(os.path.join(proc, "net", name), encoding="ascii") as file:
                lines = [line.split() for line in file]
        except OSError:
            continue
        for fields in lines:
            if len(fields) > 3 and fields[3] == "0A":
                address, _colon, port = fields[1].rpartition(":")
                found.add((_address(address), int(port, 16)))
    return frozenset(found)


def _address(text: str) -> str:
    """The kernel prints addresses as 32-bit words of the host's byte order."""
    words = [int(text[start:start + 8], 16).to_bytes(4, sys.byteorder) for start in range(0, len(text), 8)]
    return str(ipaddress.ip_address(b"".join(words)))
