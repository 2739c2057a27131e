# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long I/O stood still, from what fio logs: the host's part of the playbook failover_drill."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml

PLAYBOOKS = Path(__file__).resolve().parents[3] / "playbooks"
#: as fio 3.33 logs: the moment at which a request ended in ms, ns that it took, direction, size, offset
BEGIN = 1795257091000
QUICK = [(BEGIN + 10 * number, 0.005) for number in range(3000)]
BEFORE, CUT, RESTORED = BEGIN + 3000, BEGIN + 5000, BEGIN + 25000


def result(folder: Path, requests: t.Sequence[t.Tuple[int, float]], *, errors: int = 0, job: int = 0, moments: t.Sequence[int] = (BEFORE, CUT, RESTORED),
           more: str = "", lost: t.Sequence[int] = (1, 2)) -> t.Dict[str, t.Any]:
    shutil.copy(PLAYBOOKS / "files" / "failover_drill.sh", folder)
    (folder / "load_lat.1.log").write_text("".join(f"{ended}, {int(took * 1e9)}, 1, 4096, 0{more}\n" for ended, took in sorted(requests)), "ascii")
    report = {"jobs": [{"jobname": "load", "error": job, "total_err": errors, "first_error": job}]}
    (folder / "fio.json").write_text("verify: bad magic header 0\n" * errors + re.sub('":', '" :', json.dumps(report, indent=2)), "ascii")
    for sid in lost:
        (folder / f"lost_{sid}").touch()
    done = subprocess.run(["sh", str(folder / "failover_drill.sh"), "result", *map(str, moments), "1", "2"], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize(("stall", "stood_still", "after"), [
    pytest.param([], 0.01, 0.01, id="none"),
    pytest.param([(CUT + 11300, 11.32)], 11.32, 0.01, id="within the cut"),
    pytest.param([(RESTORED + 500, 21.5)], 21.5, 0.01, id="from before the cut until after the restore"),
    pytest.param([(RESTORED + 900, 0.95)], 0.95, 0.01, id="began just before the restore"),
    pytest.param([(RESTORED + 2000, 1.5)], 0.01, 1.5, id="at the failback"),
    pytest.param([(CUT + 9000, 4.0), (RESTORED + 3000, 2.0), (CUT + 1000, 1.0)], 4.0, 2.0, id="the longest of each"),
])
def test_the_longest_stall(stall: t.Sequence[t.Tuple[int, float]], stood_still: float, after: float, tmp_path: Path) -> None:
    found = result(tmp_path, [*QUICK, *stall])
    assert (found["stood_still"], found["stood_still_after"]) == (stood_still, after)
    assert (found["errors"], found["load_covers_cut"]) == (0, True)


@pytest.mark.parametrize(("errors", "job", "wanted"), [
    pytest.param(0, 0, 0, id="none"), pytest.param(508, 84, 508, id="checksums"), pytest.param(1, 5, 1, id="one failed write"),
    pytest.param(0, 5, 1, id="an error that fio does not count"),
])
def test_errors_are_counted(errors: int, job: int, wanted: int, tmp_path: Path) -> None:
    assert result(tmp_path, QUICK, errors=errors, job=job)["errors"] == wanted


@pytest.mark.parametrize(("requests", "covers", "after"), [
    pytest.param(QUICK[:800], True, None, id="ended before the restore"),
    pytest.param(QUICK[:400], False, None, id="ended before the cut"),
    pytest.param(QUICK[400:], False, 0.01, id="began after BEFORE"),
    pytest.param([], False, None, id="no request at all"),
])
def test_a_load_that_was_too_short_is_seen(requests: t.Sequence[t.Tuple[int, float]], covers: bool, after: t.Optional[float], tmp_path: Path) -> None:
    found = result(tmp_path, requests)
    assert (found["load_covers_cut"], found["stood_still_after"]) == (covers, after)


@pytest.mark.parametrize(("lost", "noticed"), [
    pytest.param([1, 2], True, id="both"), pytest.param([12, 2], False, id="one"), pytest.param([], False, id="none"),
])
def test_a_cut_that_no_session_noticed_is_seen(lost: t.Sequence[int], noticed: bool, tmp_path: Path) -> None:
    assert result(tmp_path, QUICK, lost=lost)["noticed"] == noticed


def test_newer_fio_logs_more_columns(tmp_path: Path) -> None:
    assert result(tmp_path, [*QUICK, (CUT + 12000, 12.0)], more=", 0x0, 0")["stood_still"] == 12.0


def test_every_variable_is_documented() -> None:
    """At the head of the playbook and in the page: each variable that is used, and no other."""
    files = [PLAYBOOKS / "failover_drill.yml", *sorted((PLAYBOOKS / "tasks").glob("failover_drill_*.yml"))]
    plays = "\n".join(line for path in files for line in path.read_text("utf-8").splitlines() if not line.lstrip().startswith("#"))
    used = set(re.findall(r"(?<!_)\bfailover_drill_[a-z_]+\b(?!\.)", plays)) - {"failover_drill_rows"}
    head = set(re.findall(r"^# (failover_drill_[a-z_]+) ", files[0].read_text("utf-8"), re.MULTILINE))
    page = set(re.findall(r"^\| `(failover_drill_[a-z_]+)` ", (PLAYBOOKS.parent / "docs" / "failover_drill.md").read_text("utf-8"), re.MULTILINE))
    assert used == head == page
    assert all(yaml.safe_load(path.read_text("utf-8")) for path in files)
