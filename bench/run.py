# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure, print the ratios, write bench/README.md; end with 1 where a bound is not kept: python bench/run.py [--write] [WORD in the name of a part ...].

Parts that are run alone are printed, and written to the page with ``--write``.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
import re
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / ".build"
sys.path[:0] = [str(BUILD), str(ROOT / "bench"), str(ROOT / "tests" / "integration" / "database")]

from ansible_collections.lunar.iscsi.tests.integration.modules.unchanged import CASES, COLUMNS, world  # noqa: E402
from conftest import Host  # noqa: E402
from measure import TITLES, Row  # noqa: E402
from rows import PORTALS, Bench, names  # noqa: E402
from targets import script_and_module, unchanged  # noqa: E402

ANSIBLE = "ansible>=12,<13"
PAGE = ROOT / "bench" / "README.md"
MARK = "<!-- what follows is written by make bench -->\n"


def community() -> Path:
    """A folder of collections with community.general, from the package ansible."""
    place = BUILD / "bench" / ANSIBLE
    if not (place / "ansible_collections" / "community" / "general").is_dir():
        print(f"installing {ANSIBLE} for the comparison", flush=True)
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target", str(place), ANSIBLE], check=True)
    return place


@contextlib.contextmanager
def bench(targets: int, place: str = "/dev/shm") -> t.Iterator[Bench]:
    """A host of its own with a tgtd that serves so many targets; its records are in memory, as the disk of the machine is not what is measured."""
    with tempfile.TemporaryDirectory(prefix="lunar-bench-", dir=place) as folder:
        (Path(folder) / "host").mkdir()
        host = Host(Path(folder) / "host")
        try:
            host.start_tgtd(names(targets), PORTALS)
            yield Bench(host, Path(folder), [BUILD, community()])
        finally:
            host.stop()


def discovery() -> t.Iterator[Row]:
    for count, bound in ((1, 1.3), (100, 1.3), (1000, 2.0)):
        with bench(count) as one:
            yield from one.discovery_and_ping(count, bound)


def elsewhere() -> t.Iterator[Row]:
    """What the bounds leave out: a connection that costs nothing, and records on the disk of this machine."""
    for count in (1, 100, 1000):
        with bench(count) as one:
            yield from one.local_discovery_and_ping(count, "local connection")
        with bench(count, "/var/tmp") as one:
            yield from one.local_discovery_and_ping(count, "local connection, records on disk")


def library() -> t.Iterator[Row]:
    with bench(500) as one:
        yield one.library_and_iscsi_ls(500, 10.0)


def nodes() -> t.Iterator[Row]:
    with bench(250) as one:
        yield from one.node_and_loop(500)


def processes() -> t.Iterator[Row]:
    """Not times but counts: the processes started for 500 records and for 10; their ratio has to be 1."""
    with bench(1) as one:
        for label, many, few in zip(("first run", "unchanged"), one.processes(500), one.processes(10)):
            print(f"  processes started by iscsi_node, {label}: {many} for 500 records, {few} for 10", flush=True)
            COUNTS.append(f"- `iscsi_node`, {label}: {many} processes started for 500 records, {few} for 10.")
            if many != few:
                MISSED.append(f"processes started by iscsi_node, {label}")
    yield from ()


def targets() -> t.Iterator[Row]:
    """``tgt_target`` beside a script of tgtadm; and what it asks and starts where nothing changes, which does not grow with the targets."""
    with tempfile.TemporaryDirectory(prefix="lunar-bench-", dir="/dev/shm") as folder:
        yield from script_and_module(Path(folder), 300)
        counts = [unchanged(Path(folder), count) for count in (300, 10)]
    (many, started), (few, other) = counts
    print(f"  tgt_target, unchanged: {many} requests and {started} processes for 300 targets, {few} and {other} for 10", flush=True)
    COUNTS.append(f"- `tgt_target`, unchanged: {many} requests to tgtd and {started} processes for 300 targets, {few} and {other} for 10.")
    if counts[0] != counts[1] or many != 2 or started:
        MISSED.append("requests of tgt_target, unchanged")


def forks() -> t.Iterator[Row]:
    """Counts again: what every module about open-iscsi executes where it changes nothing."""
    FORKS.extend(("| " + " | ".join(COLUMNS) + " |", "| --- | --- | --- | --- |"))
    with tempfile.TemporaryDirectory(prefix="lunar-bench-") as folder, world(Path(folder)) as host:
        for case in CASES:
            counted = host.count(case)
            FORKS.append(f"| `{case.module}` | {case.what} | {counted.iscsiadm} | {', '.join(counted.others) or 'none'} |")
            if counted.iscsiadm > 1 or counted.others:
                MISSED.append(f"programs that are run: {case}")
    yield from ()


PARTS: t.Mapping[str, t.Callable[[], t.Iterator[Row]]] = {
    "discovery": discovery, "elsewhere": elsewhere, "library": library, "nodes": nodes, "processes": processes, "targets": targets,
    "forks": forks}
COUNTS: t.List[str] = []
FORKS: t.List[str] = []
MISSED: t.List[str] = []


def table(rows: t.Sequence[Row]) -> t.List[str]:
    """The rows, as a Markdown table."""
    return ["| " + " | ".join(cells) + " |" for cells in (TITLES, ["---"] * len(TITLES), *(row.cells() for row in rows))]


def section(rows: t.Sequence[Row], words: t.Sequence[str]) -> str:
    """One run as it stands in the page."""
    facts = (f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}, "
             f"{first_line(str(Path(sys.executable).with_name('ansible')), '--version')}.")
    when = f"Run of {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC"
    parts = [[f"{when}{alone(words)}: {facts}"], table(rows) if rows else [], COUNTS, FORKS]
    return "\n\n".join("\n".join(part) for part in parts if part)


def alone(words: t.Sequence[str]) -> str:
    """How the page says that only some parts were run."""
    return f", `bench/run.py {' '.join(words)}` alone" if words else ""


def write_page(rows: t.Sequence[Row], words: t.Sequence[str]) -> None:
    """The result, under the text of bench/README.md: of a whole run in the place of all others, of some parts in the place of the last run of these."""
    head, _mark, rest = PAGE.read_text("utf-8").partition(MARK)
    kept = [part.strip() for part in re.split(r"^(?=Run of )", rest, flags=re.MULTILINE) if words and part.strip() and alone(words) not in part]
    PAGE.write_text(head + MARK + "\n" + "\n\n".join([*kept, section(rows, words)]) + "\n", "utf-8")
    print(f"written to {PAGE.relative_to(ROOT)}")


def first_line(*argv: str) -> str:
    """The first line of what a command prints."""
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def main(arguments: t.Sequence[str]) -> int:
    if os.geteuid() != 0:
        sys.exit("The measurements need namespaces of their own, so they need root: sudo make bench")
    words, rows = [word for word in arguments if word != "--write"], []
    for name, part in PARTS.items():
        if not words or any(word in name for word in words):
            print(f"measuring: {name}", flush=True)
            for row in part():
                rows.append(row)
                print("  " + ", ".join(f"{title} {cell}" for title, cell in zip(TITLES, row.cells())), flush=True)
    MISSED.extend(row.what for row in rows if not row.kept)
    print("\n" + section(rows, words))
    if not words or "--write" in arguments:
        write_page(rows, words)
    for missed in MISSED:
        print(f"bound not kept: {missed}")
    return 1 if MISSED else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
