# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running commands of the host: no shell, a C locale, a time limit that ends the whole process group."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import CommandError, HostError

#: which package brings a tool, as Debian, Red Hat and SUSE name it
PACKAGES: t.Mapping[str, str] = {
    "iscsiadm": "open-iscsi (Debian, SUSE) or iscsi-initiator-utils (Red Hat)",
    "iscsid": "open-iscsi (Debian, SUSE) or iscsi-initiator-utils (Red Hat)",
    "iscsi-iname": "open-iscsi (Debian, SUSE) or iscsi-initiator-utils (Red Hat)",
    "multipath": "multipath-tools (Debian, SUSE) or device-mapper-multipath (Red Hat)",
    "multipathd": "multipath-tools (Debian, SUSE) or device-mapper-multipath (Red Hat)",
    "lvm": "lvm2",
    "udevadm": "udev (Debian, SUSE) or systemd-udev (Red Hat)",
    "tgtadm": "tgt (Debian, SUSE) or scsi-target-utils (Red Hat)",
    "targetcli": "targetcli-fb (Debian), targetcli (Red Hat) or python3-targetcli-fb (SUSE)",
}
#: a user without a login shell often has no sbin in PATH, and that is where these tools live
_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin")
#: how long a killed process may take to be gone (it can hang in the kernel, waiting for a disk)
_REAP = 5.0


class Result(t.NamedTuple):
    """What a command that ran to its end left behind."""

    argv: t.Tuple[str, ...]
    code: int
    stdout: str
    stderr: str


class TimedOutError(CommandError):
    """A command did not end within its time limit and was killed; ``seconds`` is the limit."""

    def __init__(self, argv: t.Sequence[str], seconds: float) -> None:
        self.seconds = seconds
        super().__init__(argv, -signal.SIGKILL, "", f"did not end within {seconds:g} s and was killed")


class Runner:
    """Runs commands and keeps count of them, so that a module (and a test) can say how many processes it started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.count = 0

    def run(
        self,
        argv: t.Sequence[str],
        *,
        stdin: t.Optional[str] = None,
        timeout: float = 60.0,
        env: t.Optional[t.Mapping[str, str]] = None,
    ) -> Result:
        """Run ``argv`` and return how it ended, whatever its exit code; safe to call from several threads.

        ``timeout`` is in seconds. Raises ``HostError`` when the tool is missing or cannot be started, and
        ``TimedOutError`` when it was killed at the limit together with everything it had started.
        """
        with self._lock:
            self.count += 1
        try:
            # run_command has no time limit, and does not end what the command started
            process = subprocess.Popen(  # pylint: disable=ansible-bad-function
                list(argv),
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_environment(env),
                start_new_session=True,
                encoding="utf-8",
                errors="replace",
            )
        except FileNotFoundError:
            raise _missing(argv[0])
        except OSError as error:
            raise HostError(argv[0], f"cannot be started: {error.strerror or error}")
        try:
            stdout, stderr = process.communicate(stdin, timeout=max(timeout, 0.0))
        except subprocess.TimeoutExpired:
            _kill(process)
            raise TimedOutError(argv, timeout)
        except BaseException:
            _kill(process)
            raise
        return Result(tuple(argv), process.returncode, stdout, stderr)


def run(
    argv: t.Sequence[str],
    *,
    stdin: t.Optional[str] = None,
    timeout: float = 60.0,
    env: t.Optional[t.Mapping[str, str]] = None,
) -> Result:
    """One command by a runner of its own, where nobody counts; see ``Runner.run``."""
    return Runner().run(argv, stdin=stdin, timeout=timeout, env=env)


def check(result: Result, what: str = "", remedy: str = "") -> Result:
    """Return ``result`` if its code is 0; raise ``CommandError`` with the last words of its standard error otherwise."""
    if result.code == 0:
        return result
    said = last_words(result.stderr) or last_words(result.stdout)
    failed = what or f"ended with exit code {result.code}"
    raise CommandError(result.argv, result.code, result.stderr, f"{failed}: {said}" if said else failed, remedy)


def last_words(text: str) -> str:
    """The last line of ``text`` that holds anything, without the name a tool puts before it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _environment(extra: t.Optional[t.Mapping[str, str]]) -> t.Dict[str, str]:
    found = dict(os.environ, LC_ALL="C", LANGUAGE="C")
    known = found.get("PATH", "").split(os.pathsep)
    found["PATH"] = os.pathsep.join([part for part in known if part] + [part for part in _SBIN if part not in known])
    found.update(extra or {})
    return found


def _missing(tool: str) -> HostError:
    package = PACKAGES.get(os.path.basename(tool))
    return HostError(tool, "is not installed on this host", f"Install the package {package}" if package else "Install the package that brings it")


def _kill(process: subprocess.Popen[str]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    try:
        process.communicate(timeout=_REAP)
    except (subprocess.TimeoutExpired, ValueError):
        # unkillable for now: it waits in the kernel; init reaps it, our pipes must not wait for it
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
