# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put in place what the other targets need: Debian packages, virtual environments, the collection's path."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pythons
from checks import BUILD, LOGS, ROOT, environment, execute, say

POLICY = Path("/usr/sbin/policy-rc.d")
DENY = b"#!/bin/sh\n# while the set-up of lunar.iscsi installs packages\nexit 101\n"
#: what runs the collection from a checkout of any name: ANSIBLE_COLLECTIONS_PATH and PYTHONPATH point here
COLLECTIONS = BUILD


@contextlib.contextmanager
def locked() -> t.Iterator[None]:
    """One set-up at a time in a checkout."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "setup.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def step(label: str, argv: t.Sequence[str], name: str, remedy: str, **extra: str) -> None:
    """Run one command of the set-up; end the program with its last lines and ``remedy`` if it fails."""
    say(f"  {label}")
    log = LOGS / f"setup-{name}.log"
    code = execute(label, argv, log, environment(extra), ROOT)
    if code:
        say("\n".join("    | " + line for line in log.read_text("utf-8", "replace").splitlines()[-20:]))
        sys.exit(f"{label} failed (exit code {code}). {remedy} Whole log: {log}")


def link_collection() -> None:
    """Make this checkout importable as ansible_collections.lunar.iscsi, whatever its folder is called."""
    link = COLLECTIONS / "ansible_collections" / "lunar" / "iscsi"
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to("../../..")


def read_packages(paths: t.Iterable[Path]) -> t.List[str]:
    """The packages listed in files: one a line, # begins a comment."""
    names: t.List[str] = []
    for path in paths:
        for line in path.read_text("utf-8").splitlines():
            name = line.partition("#")[0].strip()
            if name and name not in names:
                names.append(name)
    return names


def missing_packages(names: t.Sequence[str]) -> t.List[str]:
    """Which of ``names`` dpkg does not know as installed."""
    answer = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *names], capture_output=True, text=True, check=False)
    installed = {line.split()[0] for line in answer.stdout.splitlines() if line.endswith(" installed")}
    return [name for name in names if name not in installed]


def install_debian(*lists: str) -> None:
    """Install the packages that are missing, without letting their daemons start."""
    names = read_packages(ROOT / name for name in lists if (ROOT / name).exists())
    if not shutil.which("dpkg-query"):
        say(f"  This is no Debian system. These packages (by their Debian names) are taken to be here: {' '.join(names)}")
        return
    missing = missing_packages(names)
    if not missing:
        return
    say(f"  Debian packages missing: {' '.join(missing)}")
    become: t.List[str] = []
    if os.geteuid() != 0:
        if not shutil.which("sudo"):
            sys.exit(f"These Debian packages are missing and only root can install them: {' '.join(missing)}. "
                     f"Run as root: apt-get update && apt-get install {' '.join(missing)}")
        become = ["sudo"]
        if subprocess.run(["sudo", "-v"], check=False).returncode:  # the place for a password is here, not behind a log
            sys.exit(f"sudo does not let this user become root, and these Debian packages are missing: {' '.join(missing)}. "
                     f"Have root run: apt-get update && apt-get install {' '.join(missing)}")
    remedy = f"Try it by hand: apt-get update && apt-get install {' '.join(missing)}."
    step("apt-get update", [*become, "apt-get", "update"], "apt-update", "Look at the sources in /etc/apt and at the network.")
    with daemons_kept_down(become):
        step(f"apt-get install ({len(missing)} packages)",
             [*become, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "--no-install-recommends", *missing], "apt-install", remedy)
    # from the next boot on the packaged services would listen on every address, and take disks of this machine; the tests need neither
    for package, service in (("tgt", "tgt"), ("multipath-tools", "multipathd")):
        if package in missing and Path("/run/systemd/system").exists():
            step(f"systemctl disable {service}", [*become, "systemctl", "disable", service], f"disable-{service}", "Try it by hand.")


@contextlib.contextmanager
def daemons_kept_down(become: t.Sequence[str]) -> t.Iterator[None]:
    """While packages are installed, say no to their starting daemons (tgtd would listen on every address).

    A policy-rc.d that is there already is the administrator's word and stays as it is, unless it is our own, left by a run that was killed.
    """
    if POLICY.exists() and POLICY.read_bytes() != DENY:
        yield
        return
    draft = BUILD / "policy-rc.d"
    draft.write_bytes(DENY)
    subprocess.run([*become, "install", "-m", "0755", str(draft), str(POLICY)], check=True)
    try:
        yield
    finally:
        subprocess.run([*become, "rm", "-f", str(POLICY)], check=True)


def make_venv(name: str, python: pythons.Python, requirements: str) -> None:
    """A virtual environment ``name`` with ``requirements``; done anew only where the list or the interpreter changed."""
    venv, wanted = ROOT / name, ROOT / requirements
    mark = hashlib.sha256(wanted.read_bytes() + f"{python.version} {python.path} {ROOT}".encode()).hexdigest()
    stamp = venv / "made-from"
    if stamp.exists() and stamp.read_text("ascii") == mark and (venv / "bin" / "python").exists():
        return
    shutil.rmtree(venv, ignore_errors=True)
    remedy = "Look whether the package registry can be reached, and whether the ranges in " + requirements + " can still be met."
    step(f"{name}: a virtual environment with Python {python.version} ({python.path})", [python.path, "-m", "venv", str(venv)], f"venv-{name}", remedy)
    step(f"{name}: installing {requirements}",
         [str(venv / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "-r", str(wanted)], f"pip-{name}", remedy)
    stamp.write_text(mark, "ascii")


def setup_python() -> None:
    """The controller's virtual environment and the collection's path."""
    wanted = os.environ.get("PYTHON", "")
    if not wanted and not any(map(pythons.find, pythons.CONTROLLER_VERSIONS)):
        install_debian("requirements/debian-python.txt")
    python = pythons.controller(wanted)
    make_venv(".venv", python, "requirements/controller.txt")
    link_collection()


def module_utils_of_ansible() -> Path:
    """A folder with ``ansible.module_utils`` alone, of the ansible-core that still manages Python 3.8: what a target gets to see."""
    inside = "import ansible, ansible.release, os; print(ansible.release.__version__); print(os.path.dirname(ansible.__file__))"
    version, home = subprocess.run([str(ROOT / ".venv/bin/python"), "-c", inside], capture_output=True, text=True, check=True).stdout.split("\n")[:2]
    place = BUILD / "ansible-for-targets"
    package = place / "ansible"
    stamp = place / "made-from"
    if stamp.exists() and stamp.read_text("utf-8") == home + version:
        return place
    shutil.rmtree(place, ignore_errors=True)
    package.mkdir(parents=True)
    source = Path(home)
    if not version.startswith("2.19."):
        held = BUILD / "ansible-core-2.19"
        step("ansible-core 2.19, the last for Python 3.8, beside the newer one",
             [str(ROOT / ".venv/bin/python"), "-m", "pip", "install", "--no-deps", "--ignore-requires-python", "--target", str(held),
              "--upgrade", "ansible-core>=2.19,<2.20"], "ansible-for-targets", "Look whether the package registry can be reached.")
        source = held / "ansible"
    for name in ("module_utils", "_vendor"):  # the package's own __init__ imports _vendor
        shutil.copytree(source / name, package / name)
    for name in ("__init__.py", "release.py"):
        shutil.copy(source / name, package / name)
    stamp.write_text(home + version, "utf-8")
    return place


def setup_targets(*, every: bool) -> t.List[pythons.Python]:
    """Virtual environments for the oldest and the newest Python of managed hosts (or every one); what was made, oldest first."""
    offered = pythons.targets()
    chosen = offered if every or len(offered) < 3 else [offered[0], offered[-1]]
    if len(offered) == 1:
        say(f"  This machine offers one Python only ({offered[0].version}): the unit tests run on that one")
    for python in chosen:
        make_venv(f".venv-py{python.version}", python, "requirements/target.txt")
    module_utils_of_ansible()
    return chosen


def main(words: t.Sequence[str]) -> None:
    with locked():
        if "debian" in words:
            install_debian("requirements/debian-python.txt", "requirements/debian.txt", "lab/packages")
        if "bench" in words:
            install_debian("requirements/debian-bench.txt")
        if "python" in words:
            setup_python()
        if "targets" in words:
            setup_targets(every=False)
    if "report" in words:
        python = pythons.controller(os.environ.get("PYTHON", ""))
        say(f"Everything is in place: controller Python {python.version} in .venv, Debian packages of requirements/debian.txt and lab/packages")


if __name__ == "__main__":
    main(sys.argv[1:])
