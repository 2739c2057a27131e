# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/tested.md: how each stage of make test-all ended the last time it ran, and on which commit."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import typing as t
from pathlib import Path

from checks import ROOT

TESTED = ROOT / "docs" / "tested.md"
HEADER = """<!--
Copyright (c) 2026, the lunar.iscsi contributors
GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
SPDX-License-Identifier: GPL-3.0-or-later
-->"""
COLUMNS = ("stage", "result", "passed", "failed", "skipped", "time")
NEVER = ("not run yet", "-", "-", "-", "-", "-", "-")
Row = t.Tuple[str, ...]


def answer(*argv: str) -> str:
    """The first line of what a command says, or a dash."""
    try:
        lines = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False, cwd=ROOT).stdout.strip().splitlines()
    except (OSError, subprocess.TimeoutExpired):
        lines = []
    return lines[0] if lines else "-"


def table(columns: Row, rows: t.Sequence[Row]) -> t.List[str]:
    """Rows as a Markdown table whose columns line up."""
    widths = [max(len(row[column]) for row in (columns, *rows)) for column in range(len(columns))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in (columns, *rows)]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return lines


def rows_of(text: str) -> t.Dict[str, Row]:
    """What the file said of each stage, by the stage's name; nothing where the table has other columns."""
    rows = [tuple(cell.strip() for cell in line.strip().strip("|").split("|")) for line in text.splitlines() if line.startswith("| ")]
    return {row[0]: row[1:] for row in rows[1:] if len(row) == len(NEVER) + 1}


def facts() -> t.List[t.Tuple[str, str]]:
    """What the stages ran on."""
    bin_dir = ROOT / ".venv" / "bin"
    pythons = sorted((path.name[len(".venv-py"):] for path in ROOT.glob(".venv-py*")), key=lambda version: int(version.split(".")[1]))
    debian = Path("/etc/debian_version")
    return [
        ("machine", f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, {debian.read_text('ascii').strip()}" if debian.exists()
         else platform.platform()),
        ("controller", answer(str(bin_dir / "ansible"), "--version")),
        ("molecule", answer(str(bin_dir / "python"), "-c", "from importlib.metadata import version; print(version('molecule'))")),
        ("Pythons of the unit tests", ", ".join(pythons) or "-"),
        ("open-iscsi here", answer("dpkg-query", "-W", "-f", "${Version}", "open-iscsi")),
        ("tgt here", answer("dpkg-query", "-W", "-f", "${Version}", "tgt")),
    ]


def write(stages: t.Sequence[str], ran: t.Mapping[str, Row]) -> None:
    """Write how the stages that ``ran`` ended; of the other ``stages`` what is known stays, of a stage that is no more it goes."""
    changed = " and changes" if answer("git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/tested.md") != "-" else ""
    when = (answer("git", "rev-parse", "--short", "HEAD") + changed, f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC")
    known = rows_of(TESTED.read_text("utf-8")) if TESTED.exists() else {}
    rows = [(stage, *(ran[stage] + when if stage in ran else known.get(stage, NEVER))) for stage in stages]
    text = [HEADER, "# What was tested", "",
            "Written by `make test-all`: how each stage ended the last time it ran, whatever the end was. `make test-all STAGES=trixie` runs a part of them.",
            "",
            "The last of these runs was on:", ""]
    text += [f"- {name}: {value}" for name, value in facts()] + ["", *table((*COLUMNS, "commit", "ended"), rows), ""]
    TESTED.write_text("\n".join(text), "utf-8")
