# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole test run: python tools/suite.py test | test-all | e2e. Every stage runs, whatever fails before it."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
import sys
import threading
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from checks import FAILURE, ROOT, Count, end_group, end_tidily_on_signals, say

TESTED = ROOT / "docs" / "tested.md"
HEADER = """<!--
Copyright (c) 2026, the lunar.iscsi contributors
GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
SPDX-License-Identifier: GPL-3.0-or-later
-->"""
_COUNT = re.compile(r"(\d+) passed, (\d+) failed(?:, (\d+) skipped)?")


@dataclass(frozen=True)
class Stage:
    """A make target that ends with its plain count; a ``silent`` one only prepares and counts nothing."""

    name: str
    target: str
    settings: t.Mapping[str, str] = field(default_factory=dict)
    silent: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a stage went."""

    stage: Stage
    count: Count
    seconds: float
    failures: t.Sequence[str] = ()


# the hosts' images are built beside the stages that need no hosts
ALONE = (Stage("unit", "unit"), Stage("lint", "lint"), Stage("docs-lint", "docs-lint"), Stage("sanity", "sanity"), Stage("dist-test", "dist-test"),
         Stage("integration", "integration"))
IMAGE = Stage("lab image", "lab-image", silent=True)
IMAGE_TRIXIE = Stage("lab image trixie", "lab-image", {"LAB_DISTRIBUTION": "trixie"}, silent=True)
DEMO = Stage("demo", "demo")


def lab_name(distribution: str) -> str:
    """The second set of hosts; the first has the distribution's name."""
    return f"{distribution}-two"


def halves(distribution: str, **settings: str) -> t.Tuple[t.Sequence[Stage], t.Sequence[Stage]]:
    """The scenarios and tests on the lab's hosts, in two lanes."""
    one = {"LAB_DISTRIBUTION": distribution, **settings}
    return ((Stage(f"e2e {distribution}, one", "e2e-one", one),),
            (Stage(f"e2e {distribution}, two", "e2e-two", {**one, "LAB_NAME": lab_name(distribution)}),))


def drill(distribution: str) -> Stage:
    """What measures, and so has the machine for itself."""
    return Stage(f"drill {distribution}", "e2e-long", {"LAB_DISTRIBUTION": distribution})


class Suite:
    """Runs stages and remembers how they went."""

    def __init__(self) -> None:
        self.outcomes: t.List[Outcome] = []
        self.children: t.List[subprocess.Popen[str]] = []
        self.used_lab = False
        self._stopped = False
        self._starting = threading.Lock()

    def run(self, stage: Stage) -> Outcome:
        """Run one stage as its make target, its lines marked with its name."""
        began = time.monotonic()
        child = self._start(stage)
        found: t.Optional[Count] = None
        failures = []
        for line in (child.stdout or ()) if child else ():
            counted = _COUNT.fullmatch(line.strip())
            if counted:
                found = Count(int(counted.group(1)), int(counted.group(2)), int(counted.group(3) or 0))
            if line.startswith(FAILURE):
                failures.append(line.rstrip()[len(FAILURE):])
            say(f"[{stage.name}] {line.rstrip()}")
        code = child.wait() if child else 130
        count = (Count() if stage.silent else found) or Count()
        if code and not count.failed:
            count = count.plus(Count(failed=1))
        elif not stage.silent and not count.passed and not count.failed:
            say(f"[{stage.name}] ended without running a test")
            count = Count(failed=1)
        outcome = Outcome(stage, count, time.monotonic() - began, failures)
        self.outcomes.append(outcome)
        return outcome

    def _start(self, stage: Stage) -> t.Optional[subprocess.Popen[str]]:
        """Start a stage in a process group of its own, unless the run was stopped meanwhile."""
        with self._starting:
            if self._stopped:
                return None
            say(f"[{stage.name}] begins")
            self.used_lab = self.used_lab or stage.target.startswith(("e2e", "demo"))
            environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
            child = subprocess.Popen(["make", "--no-print-directory", stage.target], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True, env=dict(environment, **stage.settings))
            self.children.append(child)
            return child

    def side_by_side(self, *lanes: t.Sequence[Stage]) -> None:
        """Run each lane's stages in order, the lanes at the same time."""
        def walk(lane: t.Sequence[Stage]) -> None:
            for stage in lane:
                self.run(stage)
        threads = [threading.Thread(target=walk, args=(lane,), daemon=True) for lane in lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def stop(self) -> None:
        """End every stage that still runs, and start no other."""
        with self._starting:
            self._stopped = True
        for child in self.children:
            end_group(child)


def lab_down() -> None:
    """Take the lab's hosts down, unless they are to stay."""
    if os.environ.get("LAB_KEEP"):
        say("LAB_KEEP is set: the lab's hosts stay up; make lab-down takes them down")
    elif (ROOT / "lab" / "lab.mk").exists():
        for name in {folder.name for folder in (ROOT / ".cache" / "lab").glob("*/") if folder.is_dir()}:
            subprocess.run(["make", "--no-print-directory", "-s", "lab-down"], cwd=ROOT, check=False, stdout=subprocess.DEVNULL,
                           env=dict(os.environ, LAB_NAME=name))


def table(outcomes: t.Sequence[Outcome]) -> t.List[str]:
    """The summary, as a Markdown table."""
    rows = [("stage", "result", "passed", "failed", "skipped", "time")]
    for stage, count, seconds in ((outcome.stage, outcome.count, outcome.seconds) for outcome in outcomes):
        rows.append((stage.name, "FAILED" if count.failed else "ok", str(count.passed), str(count.failed), str(count.skipped), clock(seconds)))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return lines


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def answer(*argv: str) -> str:
    """The first line of what a command says, or a dash."""
    try:
        lines = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False, cwd=ROOT).stdout.strip().splitlines()
    except (OSError, subprocess.TimeoutExpired):
        lines = []
    return lines[0] if lines else "-"


def record(outcomes: t.Sequence[Outcome], seconds: float) -> None:
    """Write the result of ``make test-all`` to docs/tested.md."""
    bin_dir = ROOT / ".venv" / "bin"
    pythons = sorted((path.name[len(".venv-py"):] for path in ROOT.glob(".venv-py*")), key=lambda version: int(version.split(".")[1]))
    changed = " with uncommitted changes" if answer("git", "status", "--porcelain", "--untracked-files=no") != "-" else ""
    facts = [
        ("commit", answer("git", "rev-parse", "--short", "HEAD") + changed),
        ("machine", f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, {Path('/etc/debian_version').read_text('ascii').strip()}"
         if Path("/etc/debian_version").exists() else platform.platform()),
        ("controller", answer(str(bin_dir / "ansible"), "--version")),
        ("molecule", answer(str(bin_dir / "python"), "-c", "from importlib.metadata import version; print(version('molecule'))")),
        ("Pythons of the unit tests", ", ".join(pythons)),
        ("open-iscsi here", answer("dpkg-query", "-W", "-f", "${Version}", "open-iscsi")),
        ("tgt here", answer("dpkg-query", "-W", "-f", "${Version}", "tgt")),
    ]
    text = [HEADER, "# What was tested", "", "Written by `make test-all`: its last result, whatever it was.", "",
            f"Run of {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC, {clock(seconds)} minutes.", ""]
    text += [f"- {name}: {value}" for name, value in facts] + ["", *table(outcomes), ""]
    TESTED.write_text("\n".join(text), "utf-8")
    say(f"written to {TESTED.relative_to(ROOT)}")


def main(name: str) -> int:
    suite = Suite()
    began = time.monotonic()

    end_tidily_on_signals()
    try:
        if name == "e2e":
            suite.side_by_side(*halves(os.environ.get("LAB_DISTRIBUTION") or "bookworm"))
        elif name == "test":
            suite.side_by_side(ALONE, (IMAGE,))
            suite.side_by_side(*halves("bookworm"))
        else:
            alone = (Stage("unit, every Python", "unit-all"), *ALONE[1:-1], Stage("integration", "integration", {"E2E_LONG": "1"}))
            suite.side_by_side(alone, (IMAGE, IMAGE_TRIXIE))
            for distribution in ("bookworm", "trixie"):
                suite.side_by_side(*halves(distribution, E2E_LONG="1"))
                suite.run(drill(distribution))
            suite.run(DEMO)
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    finally:
        suite.stop()
        if suite.used_lab:
            lab_down()
    spent = time.monotonic() - began
    say("")
    say("\n".join(table(suite.outcomes)))
    say(f"\n{clock(spent)} minutes in all; the logs are in .cache/logs")
    for outcome in suite.outcomes:
        for failure in outcome.failures:
            say(f"failed: [{outcome.stage.name}] {failure}")
    if name == "test-all":
        record(suite.outcomes, spent)
    total = Count()
    for outcome in suite.outcomes:
        total = total.plus(outcome.count)
    say(str(total))
    return 1 if total.failed else 0


if __name__ == "__main__":
    if sys.argv[1:] not in (["test"], ["test-all"], ["e2e"]):
        sys.exit("usage: python tools/suite.py test | test-all | e2e")
    sys.exit(main(sys.argv[1]))
