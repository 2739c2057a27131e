# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every part of the lab needs: saying things, failing in one sentence, running commands, locks and places."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

LAB = Path(__file__).resolve().parents[1]
CHECKOUT = LAB.parent
DISTRIBUTIONS = ("bookworm", "trixie")
_PACKAGE_OF = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "debootstrap": "debootstrap",
    "vde_switch": "vde2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "dpkg-scanpackages": "dpkg-dev",
    "mke2fs": "e2fsprogs",
}


class LabError(Exception):
    """Something the user has to know, as one sentence that says what to do."""


def say(text: str) -> None:
    """Tell the user what goes on; standard output is kept for results."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


def require(*tools: str) -> None:
    """Refuse with the names of the packages when a tool is missing.

    :raises LabError: at least one tool is not installed.
    """
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = sorted({_PACKAGE_OF.get(tool, tool) for tool in tools if shutil.which(tool, path=path) is None})
    if missing:
        raise LabError(f"this machine lacks {', '.join(missing)}: run 'apt-get install {' '.join(missing)}' as root.")


def run(*argv: t.Union[str, Path], log: t.Optional[Path] = None, env: t.Optional[t.Dict[str, str]] = None) -> str:
    """Run one command to its end and return its standard output; with ``log``, both streams go to that file.

    :raises LabError: the command is missing or failed; the end of what it said is in the message.
    """
    words = [str(word) for word in argv]
    environment = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin", "LC_ALL": "C.UTF-8", **(env or {})}
    try:
        if log is None:
            done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment)
            code, output, heard = done.returncode, done.stdout, done.stderr or done.stdout
        else:
            with log.open("a") as stream:
                code = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, check=False, env=environment).returncode
            output, heard = "", log.read_text(errors="replace")
    except FileNotFoundError as error:
        raise LabError(f"{words[0]} is not installed: run 'apt-get install {_PACKAGE_OF.get(words[0], words[0])}' as root.") from error
    if code != 0:
        where = f" The whole log is {log}." if log else ""
        raise LabError(f"'{' '.join(words)[:200]}' failed with code {code}: {' / '.join(heard.strip().splitlines()[-4:])}.{where}")
    return output


@contextlib.contextmanager
def progress(what: str) -> t.Iterator[None]:
    """Say what starts and how long it took."""
    say(f"{what} ...")
    start = time.monotonic()
    yield
    say(f"{what}: done in {time.monotonic() - start:.0f} s")


@contextlib.contextmanager
def lock(path: Path, why: str) -> t.Iterator[None]:
    """Hold an exclusive lock on ``path``; say so when somebody else has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that is {why}")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def cache_dir() -> Path:
    """Where images are kept: LAB_CACHE, or lunar-iscsi-lab under the user's cache folder."""
    given = os.environ.get("LAB_CACHE")
    if given:
        return Path(given).expanduser().resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lunar-iscsi-lab"


def distribution() -> str:
    """LAB_DISTRIBUTION, or bookworm.

    :raises LabError: the lab has no recipe for it.
    """
    name = os.environ.get("LAB_DISTRIBUTION") or DISTRIBUTIONS[0]
    if name not in DISTRIBUTIONS:
        raise LabError(f"LAB_DISTRIBUTION={name} is unknown: use one of {', '.join(DISTRIBUTIONS)}.")
    return name


def run_dir() -> Path:
    """The folder of one set of hosts: ``.cache/lab/<LAB_NAME or distribution>`` in this checkout."""
    return CHECKOUT / ".cache" / "lab" / (os.environ.get("LAB_NAME") or distribution())


def socket_dir(folder: Path) -> Path:
    """A short name for a folder of unix sockets (their names end at 107 bytes), one for every run folder and user."""
    key = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"lunar-lab-{os.getuid()}-{key}"


def make_private(path: Path) -> None:
    """Make a folder that only this user can enter.

    :raises LabError: somebody else owns that name.
    """
    path.mkdir(mode=0o700, exist_ok=True)
    state = path.lstat()
    if state.st_uid != os.getuid() or path.is_symlink():
        raise LabError(f"{path} belongs to somebody else: remove it, or set TMPDIR to a folder of your own.")
    path.chmod(0o700)
