# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one command with a log, a sign of life every 20 seconds, and a count of the tests it ran."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import typing as t
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / ".build"
LOGS = ROOT / ".cache" / "logs"
HEARTBEAT = 20.0
#: characters of a failed test's message that the end of the run repeats
MESSAGE = 800
TAIL = 60
#: how a line begins that names one failed test; the whole run says them again at its end
FAILURE = "  failed: "


class Count(t.NamedTuple):
    """How many tests ran, by outcome."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def plus(self, other: Count) -> Count:
        return Count(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed" + (f", {self.skipped} skipped" if self.skipped else "")


@dataclass(frozen=True)
class Check:
    """One command of a stage. ``junit`` is a glob for the result files it writes; without it the command is one test."""

    label: str
    argv: t.Sequence[str]
    env: t.Mapping[str, str] = field(default_factory=dict)
    cwd: Path = ROOT
    junit: str = ""
    #: which lines of a log say what is wrong, where that is not told by its end
    errors: str = ""
    #: seconds after which the command is taken for hung and stopped
    timeout: float = 3600.0


def say(text: str) -> None:
    """Print at once, in the order things happen."""
    print(text, flush=True)


def environment(extra: t.Mapping[str, str]) -> t.Dict[str, str]:
    """The environment of a check: no settings of the user's own ansible, our virtual environment first on PATH."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "MOLECULE_", "PYTEST_")) and key != "MAKEFLAGS"}
    kept["PATH"] = f"{ROOT / '.venv' / 'bin'}:{kept.get('PATH', os.defpath)}"
    kept["PYTHONUNBUFFERED"] = "1"
    kept.update(extra)
    return kept


def execute(label: str, argv: t.Sequence[str], log: Path, env: t.Mapping[str, str], cwd: Path, timeout: float = 3600.0) -> int:
    """Run ``argv`` in a process group of its own, its output in ``log``; report on it while it runs; return its exit code.

    The group is ended when this program is interrupted or the time is up, so nothing stays behind.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    verbose = bool(os.environ.get("V"))
    began = time.monotonic()
    with log.open("wb") as out:
        try:
            process = subprocess.Popen(list(argv), stdin=subprocess.DEVNULL, stdout=None if verbose else out,
                                       stderr=subprocess.STDOUT if not verbose else None, env=dict(env), cwd=cwd, start_new_session=True)
        except OSError as error:
            out.write(f"{argv[0]}: {error}\n".encode())
            return 127
        try:
            while True:
                try:
                    return process.wait(timeout=HEARTBEAT)
                except subprocess.TimeoutExpired:
                    spent = time.monotonic() - began
                    if spent > timeout:
                        out.write(f"\nstopped after {timeout:.0f} s\n".encode())
                        return 124
                    say(f"  ... {label}: {spent:.0f} s  {last_line(log)}")
        finally:
            end_group(process)


def end_tidily_on_signals() -> None:
    """Make the signals that end a program an exception, so that what it started is ended too."""
    def interrupted(number: int, _frame: t.Any) -> t.NoReturn:
        raise KeyboardInterrupt(f"signal {number}")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)


def end_group(process: t.Union[subprocess.Popen[bytes], subprocess.Popen[str]]) -> None:
    """End what is left of a command's process group: asked first, forced after ten seconds."""
    for number, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)):
        if process.poll() is not None:
            return
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=patience)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def last_line(log: Path) -> str:
    """The end of a log, short enough to stand beside a sign of life."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 4096))
        lines = [line.strip() for line in stream.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1][:100] if lines else ""


def read_junit(pattern: str) -> Count:
    """Add up the test cases of the JUnit files that ``pattern`` (relative to the checkout) names."""
    total = Count()
    for path in sorted(ROOT.glob(pattern)):
        for case in ET.parse(path).getroot().iter("testcase"):
            kinds = {child.tag for child in case}
            if kinds & {"failure", "error"}:
                total = total.plus(Count(failed=1))
            elif "skipped" in kinds:
                total = total.plus(Count(skipped=1))
            else:
                total = total.plus(Count(passed=1))
    return total


def failures(pattern: str) -> t.Iterator[str]:
    """The failed test cases of the JUnit files that ``pattern`` names, each with the beginning of its message, on one line."""
    for path in sorted(ROOT.glob(pattern)):
        for case in ET.parse(path).getroot().iter("testcase"):
            for child in case:
                if child.tag in ("failure", "error"):
                    yield f"{case.get('name', '')}: {' '.join((child.get('message') or child.text or '').split())[:MESSAGE]}"


def run(stage: str, check: Check) -> Count:
    """Run one check, say how it went, show the end of its log where it failed."""
    log = LOGS / f"{stage}-{check.label.replace(' ', '-').replace('/', '-')}.log"
    for old in ROOT.glob(check.junit) if check.junit else ():
        old.unlink()
    began = time.monotonic()
    code = execute(f"{stage}: {check.label}", check.argv, log, environment(check.env), check.cwd, check.timeout)
    count = read_junit(check.junit) if check.junit else (Count(failed=1) if code else Count(passed=1))
    why = ""
    if code and not count.failed:
        count, why = count.plus(Count(failed=1)), f" (exit code {code})"
    elif not count.passed and not count.failed:
        count, why = count.plus(Count(failed=1)), " (no test ran)"
    word = "FAILED" if count.failed else "ok"
    say(f"  {word:6} {stage}: {check.label}: {count}{why}, {time.monotonic() - began:.0f} s")
    if count.failed:
        lines = log.read_text("utf-8", "replace").splitlines()
        telling = [line for line in lines if check.errors and re.search(check.errors, line)]
        say("\n".join("    | " + line for line in (telling or lines)[-TAIL:]))
        say(f"    whole log: {log.relative_to(ROOT)}")
        for failure in (list(failures(check.junit)) if check.junit else []) or [f"see {log.relative_to(ROOT)}{why}"]:
            say(f"{FAILURE}{stage}: {check.label}: {failure}")
    return count


def run_all(stage: str, checks: t.Sequence[Check]) -> int:
    """Run the checks of a stage one after the other, whatever fails; end with the plain count; return an exit code."""
    total = Count()
    for check in checks:
        total = total.plus(run(stage, check))
    if not checks:
        say(f"  FAILED {stage}: nothing to run")
        total = Count(failed=1)
    say(str(total))
    return 1 if total.failed else 0


def need(paths: t.Iterable[str], stage: str) -> None:
    """End the program with a sentence where what a stage tests is not there: nothing to test is not a success."""
    for path in paths:
        if not any(ROOT.glob(path)):
            say(f"  FAILED {stage}: there is no {path}, so nothing ran")
            say("0 passed, 1 failed")
            sys.exit(1)
