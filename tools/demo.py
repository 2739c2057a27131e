# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""make demo: two hosts, a disk from one to the other over two paths, a second run that has nothing to do, and each path cut while it is written to."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

from checks import BUILD, ROOT, end_tidily_on_signals, environment, say

PLAYBOOK = ROOT / "lab" / "demo.yml"
DRILL = ROOT / "playbooks" / "failover_drill.yml"
_RECAP = re.compile(r"^(?P<host>\S+)\s*:\s*ok=\d+\s+changed=(?P<changed>\d+)\s", re.MULTILINE)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def play(inventory: str, playbook: Path = PLAYBOOK, *options: str) -> t.Dict[str, int]:
    """Run a playbook in sight; return how many tasks changed something, by host. Ends the program if it fails."""
    env = environment({"ANSIBLE_COLLECTIONS_PATH": str(BUILD), "ANSIBLE_HOME": str(ROOT / ".cache/ansible"), "ANSIBLE_FORCE_COLOR": str(sys.stdout.isatty()),
                       "ANSIBLE_PIPELINING": "1", "ANSIBLE_LOCALHOST_WARNING": "0", "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml"})
    shown: t.List[str] = []
    with subprocess.Popen([str(ROOT / ".venv/bin/ansible-playbook"), "-i", inventory, *options, str(playbook)], cwd=ROOT, env=env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as child:
        for line in child.stdout or ():
            print(line, end="", flush=True)
            shown.append(_COLOUR.sub("", line))
    if child.returncode:
        sys.exit(f"The playbook failed (exit code {child.returncode}); its last task says why. "
                 "LAB_KEEP=1 make demo leaves the hosts up for a look; lab/README.md says how to open a shell on them.")
    return {found["host"]: int(found["changed"]) for found in _RECAP.finditer("".join(shown))}


def main() -> None:
    if not PLAYBOOK.exists():
        sys.exit(f"There is no {PLAYBOOK.relative_to(ROOT)}, so there is nothing to show.")
    end_tidily_on_signals()
    try:
        say("Booting the hosts (the image is built first where it is missing; that takes minutes) …")
        subprocess.run(["make", "--no-print-directory", "lab-up"], cwd=ROOT, check=True)
        status = json.loads(subprocess.run([sys.executable, str(ROOT / "lab" / "lab.py"), "status"], capture_output=True, check=True).stdout)
        say("\nFirst run: from nothing to a mounted disk")
        play(status["inventory"])
        say("\nSecond run: nothing is left to do")
        changed = play(status["inventory"])
        if not changed or any(changed.values()):
            sys.exit(f"The second run was to change nothing, but its recap says: {changed or 'nothing at all'}.")
        say("\nThe second run changed nothing on " + " and ".join(sorted(changed)) + ".")
        say("\nEach path is cut while the disk is written to")
        play(status["inventory"], DRILL, "--extra-vars", json.dumps(
            {"failover_drill_map": "demo", "failover_drill_file": "/srv/demo/drill", "failover_drill_mounted": True, "failover_drill_cuts": ["filter"],
             "failover_drill_failback": False}))
        say("1 passed, 0 failed")
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(error.cmd)} failed (exit code {error.returncode}); the lines above say why.")
    finally:
        if os.environ.get("LAB_KEEP"):
            say("LAB_KEEP is set: the hosts stay up; make lab-down takes them down")
        else:
            subprocess.run(["make", "--no-print-directory", "-s", "lab-down"], cwd=ROOT, check=False, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
