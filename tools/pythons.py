# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Pythons this machine offers: one for the controller side, and all that stand for the Pythons of managed hosts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

#: 3.11 first: its ansible-core (2.19) is the last one that manages hosts with Python 3.8, so it tests the most.
CONTROLLER_VERSIONS = ("3.11", "3.12", "3.13", "3.14")
TARGET_VERSIONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14")

#: in a virtual environment (activated, or first on PATH) the interpreter it was made from, since ours may be that very one
_ASK = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2]); print(sys._base_executable)"


class Python(t.NamedTuple):
    """An interpreter that starts, and can make virtual environments."""

    version: str
    path: str


def ask(command: str) -> t.Optional[Python]:
    """What ``command`` is, or None where it does not start (a shim without a version behind it) or cannot make venvs."""
    try:
        answer = subprocess.run([command, "-c", _ASK], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode:
        return None
    version, path = answer.stdout.split("\n")[:2]
    return Python(version, path)


def _candidates(version: str) -> t.Iterator[str]:
    on_path = shutil.which(f"python{version}")
    if on_path:
        yield on_path
    yield f"/usr/bin/python{version}"
    yield f"/usr/local/bin/python{version}"
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for home in sorted(root.glob(f"{version}.*"), key=_patch_level, reverse=True):
        yield str(home / "bin" / "python")
    plain = shutil.which("python3")
    if plain:
        yield plain


def _patch_level(home: Path) -> t.List[int]:
    return [int(part) if part.isdigit() else -1 for part in home.name.split(".")]


def find(version: str) -> t.Optional[Python]:
    """The first interpreter of ``version`` (such as ``3.11``): on PATH, in the system's folders, under pyenv."""
    for command in _candidates(version):
        found = ask(command) if os.access(command, os.X_OK) else None
        if found and found.version == version:
            return found
    return None


def controller(wanted: str = "") -> Python:
    """The Python of the controller side; ``wanted`` (a command or a path) wins. Ends the program with a sentence if none fits."""
    if wanted:
        found = ask(wanted)
        if not found:
            sys.exit(f"PYTHON={wanted} does not start, or lacks the modules venv and ensurepip. Give another, or install python3-venv.")
        if found.version not in CONTROLLER_VERSIONS:
            sys.exit(f"PYTHON={wanted} is Python {found.version}; the controller side needs one of {', '.join(CONTROLLER_VERSIONS)}.")
        return found
    for version in CONTROLLER_VERSIONS:
        found = find(version)
        if found:
            return found
    sys.exit(f"No Python fits the controller side: one of {', '.join(CONTROLLER_VERSIONS)} is needed, with venv and ensurepip. "
             "Install one (Debian: python3 and python3-venv) or name it: make PYTHON=/path/to/python3.11 …")


def targets() -> t.List[Python]:
    """Every Python from 3.8 up that this machine offers, oldest first."""
    return [found for found in map(find, TARGET_VERSIONS) if found]


if __name__ == "__main__":
    print(f"controller: Python {controller().version} ({controller().path})")
    for each in targets():
        print(f"target: Python {each.version} ({each.path})")
