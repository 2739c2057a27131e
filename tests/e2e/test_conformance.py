# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libiscsi's conformance suite against a target of lio_target, beside the same target set up by hand with targetcli.

Minutes long, so it is run where E2E_LONG is set (``make test-all``). What came out is written to ``.cache/e2e``, and kept in README.md here.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.tests import conformance

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


def run_suite(lab: t.Mapping[str, t.Any]) -> t.Tuple[t.Dict[str, str], str]:
    """Every test of the suite, on both portals: ``Suite.Test`` -> verdict, and all that it printed."""
    command = shlex.join(conformance.command(f"iscsi://192.168.56.101/{NAME}/0", f"iscsi://192.168.57.101/{NAME}/0"))
    done = subprocess.run(["ssh", "-F", lab["ssh_config"], "initiator", f"{command} 2>&1"], capture_output=True, text=True, errors="replace", timeout=2400,
                          check=False)
    return conformance.verdicts(done.stdout), done.stdout


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
    (kept / f"conformance-{DISTRIBUTION}.md").write_text(conformance.table(found["by hand"], found["declared"]), "utf-8")
    return found


def test_same_or_better_than_by_hand(results: t.Mapping[str, t.Mapping[str, str]]) -> None:
    assert list(results["by hand"]) == list(results["declared"])
    assert conformance.compare(results["by hand"], results["declared"]) == []
