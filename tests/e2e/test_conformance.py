# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libiscsi's conformance suite against a target of lio_target, beside the same target set up by hand with targetcli.

Minutes long, so it is run where E2E_LONG is set (``make test-all``). What came out is written to ``.cache/e2e``, and kept in README.md here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

if t.TYPE_CHECKING:
    from conftest import Reset, Shell

ROOT = Path(__file__).resolve().parents[2]
NAME = "iqn.2026-11.org.example:conformance"
DISTRIBUTION = os.environ.get("LAB_DISTRIBUTION") or "bookworm"

pytestmark = pytest.mark.skipif(not os.environ.get("E2E_LONG"), reason="minutes long: E2E_LONG=1, which make test-all sets")

BY_HAND = Path(__file__).with_name("lio_by_hand.sh").read_text("utf-8")
DECLARED = f"""
- name: The same target, declared
  hosts: target
  gather_facts: false
  tasks:
    - name: Declare it
      lunar.iscsi.lio_target:
        name: {NAME}
        backstores:
          - {{name: d0, path: /srv/d0, size: 64MiB, alua_groups: [{{name: first, id: 1}}, {{name: second, id: 2, state: active_nonoptimized}}]}}
        portal_groups:
          - tag: 1
            portals: [192.168.56.101]
            luns: [{{lun: 0, backstore: d0, alua_group: first}}]
            attributes: &open {{generate_node_acls: 1, demo_mode_write_protect: 0, cache_dynamic_acls: 1}}
          - tag: 2
            portals: [192.168.57.101]
            luns: [{{lun: 0, backstore: d0, alua_group: second}}]
            attributes: *open
"""
#: from worst to best
VERDICTS = ("no result", "failed", "skipped", "passed")
#: tests that pass or fail by chance, seen both ways on one target: they ask for the reservation of a session that they have just ended, three times
#: within 0.2 s, and the kernel ends sessions behind the scenes; the slower the hosts, the more often it is done in time
RACES = ("Reserve6.Logout",)


def run_suite(lab: t.Mapping[str, t.Any]) -> t.Tuple[t.Dict[str, str], str]:
    """Every test of the suite, on both portals: ``Suite.Test`` -> verdict, and all that it printed."""
    command = (f"iscsi-test-cu --dataloss --allow-sanitize --ignore --verbose --test=ALL --initiator-name=iqn.2026-11.org.example:one"
               f" --initiator-name-2=iqn.2026-11.org.example:two iscsi://192.168.56.101/{NAME}/0 iscsi://192.168.57.101/{NAME}/0 2>&1")
    done = subprocess.run(["ssh", "-F", lab["ssh_config"], "initiator", command], capture_output=True, text=True, errors="replace", timeout=2400, check=False)
    return verdicts(done.stdout), done.stdout


def verdicts(printed: str) -> t.Dict[str, str]:
    """What CUnit prints in its verbose mode. A test that says SKIPPED passes as far as CUnit knows."""
    found: t.Dict[str, str] = {}
    suite = name = ""
    for line in printed.splitlines():
        begins = re.match(r"Suite: (\S+)", line.strip())
        test = re.match(r"\s*Test: (\S+) \.\.\.", line)
        suite = begins.group(1) if begins else suite
        if test:
            name = f"{suite}.{test.group(1)}"
            found[name] = VERDICTS[0]
        if name and "[SKIPPED]" in line:
            found[name] = "skipped"
        # the verdict is a word of its own on standard output; what a test has to say stands around it
        verdict = re.search(r"(?:^|\.\.\.)(passed|FAILED)\b", line)
        if name and verdict and (verdict.group(1) == "FAILED" or found[name] != "skipped"):
            found[name] = verdict.group(1).lower()
    return found


@pytest.fixture(scope="module")
def results(lab: t.Dict[str, t.Any], reset: Reset, shell: Shell, tmp_path_factory: pytest.TempPathFactory) -> t.Dict[str, t.Dict[str, str]]:
    """Both targets, one after the other, on fresh hosts; the table is kept."""
    found, kept = {}, ROOT / ".cache" / "e2e"
    kept.mkdir(parents=True, exist_ok=True)
    for way in ("by hand", "declared"):
        reset()
        shell("target", "DEBIAN_FRONTEND=noninteractive apt-get install -qy targetcli-fb >/dev/null")
        shell("initiator", "DEBIAN_FRONTEND=noninteractive apt-get install -qy libiscsi-bin >/dev/null")
        if way == "by hand":
            shell("target", f"NAME={NAME}\n{BY_HAND}")
        else:
            playbook = tmp_path_factory.mktemp("play") / "declared.yml"
            playbook.write_text(DECLARED, "utf-8")
            subprocess.run([str(Path(sys.executable).with_name("ansible-playbook")), "-i", lab["inventory"], str(playbook)], timeout=300, check=True)
        found[way], printed = run_suite(lab)
        (kept / f"conformance-{DISTRIBUTION}-{way.replace(' ', '-')}.log").write_text(printed, "utf-8")
    (kept / f"conformance-{DISTRIBUTION}.md").write_text(table(found["by hand"], found["declared"]), "utf-8")
    return found


def worse(found: t.Mapping[str, t.Mapping[str, str]]) -> t.Dict[str, t.Tuple[str, str]]:
    """The tests that went worse against the declared target: by hand, declared."""
    pairs = {name: (verdict, found["declared"].get(name, VERDICTS[0])) for name, verdict in found["by hand"].items()}
    return {name: pair for name, pair in pairs.items() if name not in RACES and VERDICTS.index(pair[1]) < VERDICTS.index(pair[0])}


def table(by_hand: t.Mapping[str, str], declared: t.Mapping[str, str]) -> str:
    """How many of each verdict, then every test by its suite and verdict against the declared target, in Markdown."""
    rows = ["| verdict | by hand | declared |", "| --- | --- | --- |"]
    rows += [f"| {verdict} | {list(by_hand.values()).count(verdict)} | {list(declared.values()).count(verdict)} |" for verdict in reversed(VERDICTS)]
    rows += ["", "| suite | passed | skipped | failed | otherwise by hand |", "| --- | --- | --- | --- | --- |"]
    for suite in dict.fromkeys(name.split(".")[0] for name in [*by_hand, *declared]):
        names = [name for name in dict.fromkeys([*by_hand, *declared]) if name.split(".")[0] == suite]
        cells = [", ".join(name.split(".")[1] for name in names if declared.get(name, VERDICTS[0]) in verdicts)
                 for verdicts in (("passed",), ("skipped",), ("failed", VERDICTS[0]))]
        cells.append(", ".join(f"{name.split('.')[1]} {by_hand.get(name)}" for name in names if by_hand.get(name) != declared.get(name)))
        rows.append(f"| {suite} | " + " | ".join(cells) + " |")
    return "\n".join([*rows, ""])


def test_all_of_the_suite_is_run(results: t.Mapping[str, t.Mapping[str, str]]) -> None:
    assert list(results["by hand"]) == list(results["declared"])
    assert len(results["declared"]) > 200
    assert list(results["declared"].values()).count("passed") > 100


def test_same_or_better_than_by_hand(results: t.Mapping[str, t.Mapping[str, str]]) -> None:
    assert worse(results) == {}
