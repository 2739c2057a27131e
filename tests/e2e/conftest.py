# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts of the lab and modules run on them: the one place that knows pytest-ansible."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

LAB = [sys.executable, str(Path(__file__).resolve().parents[2] / "lab" / "lab.py")]

#: run a module on the initiator: name and options in, result out
RunModule = t.Callable[..., t.Dict[str, t.Any]]
#: take the hosts back to fresh state
Reset = t.Callable[[], None]
#: run a command on a host, by its own shell: host and command in, standard output out
Shell = t.Callable[[str, str], str]


@pytest.fixture(scope="session")
def lab() -> t.Iterator[t.Dict[str, t.Any]]:
    """Fresh hosts; what ``lab.py status`` says of them."""
    up = subprocess.run([*LAB, "up", "--fresh"], stdout=subprocess.PIPE, check=True)
    yield json.loads(up.stdout)
    if not os.environ.get("LAB_KEEP"):
        subprocess.run([*LAB, "down"], stdout=subprocess.DEVNULL, check=True)


@pytest.fixture(scope="session")
def shell(lab: t.Dict[str, t.Any]) -> Shell:
    """The witness: a plain ssh to a host. Fails where the command fails."""

    def run(host: str, command: str) -> str:
        done = subprocess.run(["ssh", "-F", lab["ssh_config"], host, command], capture_output=True, text=True, timeout=400, check=False)
        assert done.returncode == 0, f"{command} on {host}: rc {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    return run


@pytest.fixture(scope="session")
def reset(lab: t.Dict[str, t.Any]) -> Reset:
    """Fresh state of all hosts, in a few seconds."""
    def run() -> None:
        subprocess.run([*LAB, "up", "--fresh"], stdout=subprocess.DEVNULL, check=True)
    return run


@pytest.fixture
def run_module(lab: t.Dict[str, t.Any], ansible_adhoc: t.Callable[..., t.Any]) -> RunModule:
    """Run a module of the collection on the initiator through pytest-ansible."""

    def run(name: str, /, **options: t.Any) -> t.Dict[str, t.Any]:
        hosts = ansible_adhoc(inventory=lab["inventory"], host_pattern="initiator")
        return dict(getattr(hosts.all, f"lunar.iscsi.{name}")(**options)["initiator"])

    return run
