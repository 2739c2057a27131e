# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole test run: python tools/suite.py test | test-all [STAGES] | e2e. Every stage runs, whatever fails before it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
import typing as t
from dataclasses import dataclass, field

import tested
from checks import FAILURE, ROOT, Count, end_group, end_tidily_on_signals, say
from stages import LONG_SCENARIOS

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


def everything() -> t.List[t.Sequence[t.Sequence[Stage]]]:
    """The stages of ``make test-all``: groups of lanes, the lanes of a group side by side. What measures has the machine for itself."""
    alone = (Stage("unit, every Python", "unit-all"), *ALONE[1:-1], Stage("integration", "integration", {"E2E_LONG": "1"}))
    groups: t.List[t.Sequence[t.Sequence[Stage]]] = [(alone, (IMAGE, IMAGE_TRIXIE))]
    for distribution in ("bookworm", "trixie"):
        groups.append(halves(distribution, E2E_LONG="1"))
        groups += [((Stage(f"{name} {distribution}", "e2e-long", {"LAB_DISTRIBUTION": distribution, "LONG": name}),),) for name in LONG_SCENARIOS]
    return [*groups, ((DEMO,),)]


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


def row(outcome: Outcome) -> t.Tuple[str, ...]:
    """How a stage ended, as the columns of the summary after its name."""
    count = outcome.count
    return ("FAILED" if count.failed else "ok", str(count.passed), str(count.failed), str(count.skipped), clock(outcome.seconds))


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def run_stages(suite: Suite, name: str, wanted: str) -> None:
    """Run what a make target stands for; of ``make test-all`` the stages whose names match ``wanted``."""
    if name == "e2e":
        suite.side_by_side(*halves(os.environ.get("LAB_DISTRIBUTION") or "bookworm"))
    elif name == "test":
        suite.side_by_side(ALONE, (IMAGE,))
        suite.side_by_side(*halves("bookworm"))
    else:
        for group in everything():
            suite.side_by_side(*([stage for stage in lane if re.search(wanted, stage.name)] for lane in group))


def main(name: str, wanted: str = "") -> int:
    suite = Suite()
    began = time.monotonic()
    end_tidily_on_signals()
    try:
        run_stages(suite, name, wanted)
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    finally:
        suite.stop()
        if suite.used_lab:
            lab_down()
    say("")
    say("\n".join(tested.table(tested.COLUMNS, [(outcome.stage.name, *row(outcome)) for outcome in suite.outcomes])))
    say(f"\n{clock(time.monotonic() - began)} minutes in all; the logs are in .cache/logs")
    for outcome in suite.outcomes:
        for failure in outcome.failures:
            say(f"failed: [{outcome.stage.name}] {failure}")
    if name == "test-all":
        stages = [stage.name for group in everything() for lane in group for stage in lane if not stage.silent]
        tested.write(stages, {outcome.stage.name: row(outcome) for outcome in suite.outcomes})
        say(f"written to {tested.TESTED.relative_to(ROOT)}")
    total = Count()
    for outcome in suite.outcomes:
        total = total.plus(outcome.count)
    say(str(total))
    return 1 if total.failed or not suite.outcomes else 0


if __name__ == "__main__":
    if sys.argv[1:] not in (["test"], ["test-all"], ["e2e"]) and (sys.argv[1:2] != ["test-all"] or len(sys.argv) != 3):
        sys.exit("usage: python tools/suite.py test | test-all [STAGES] | e2e, where STAGES is a pattern that the names of the stages are searched for")
    sys.exit(main(*sys.argv[1:]))
