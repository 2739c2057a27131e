# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking the host's own ``multipath -t`` what it makes of files that are not in place yet.

The paths of its files are fixed when it is compiled. So it is run in a mount namespace of its own, where /etc holds the candidate and
hardly anything else; the host sees nothing of it, and nothing has to be put back.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import typing as t
from collections import Counter

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import CommandError, HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result, Runner, last_words

#: what is put over /etc before the tool starts; the folder is the first argument, and ``asked`` in it says that the tool was reached. What
#: unshare before util-linux 2.27 leaves shared with the host is made private first: the host must not see our /etc
_SCRIPT = ('mount --make-rprivate / && mount -t tmpfs -o mode=0755 tmpfs /etc && cp -R "$1/etc/." /etc/ && : > "$1/asked" && shift && exec "$@"')
#: what else of /etc is there: multipath looks up users and groups by name, and the loader its libraries
_KEPT = ("passwd", "group", "nsswitch.conf", "ld.so.cache")
#: what multipath puts before a line: seconds since 0.8.6; before that the date, and until 0.7.6 on standard output
_STAMP = re.compile(r"^(?:[0-9]+\.[0-9]+|[A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8}) \| ")
_LINE = re.compile(r"\bline [0-9]+")
_NAMESPACE_REMEDY = "Run the task as root of the host itself, not of a container; or say validate: false to write without asking multipath"


class Verdict(t.NamedTuple):
    """What ``multipath -t`` said: the configuration in effect, and its complaints without their time stamps."""

    effective: str
    complaints: t.Tuple[str, ...] = ()
    #: it ended without printing a configuration: one wrong pattern in a blacklist is enough for that
    refused: bool = False


def ask_multipath(files: t.Mapping[str, bytes], runner: Runner, *, timeout: float = 60.0) -> Verdict:
    """What multipath makes of ``files`` (absolute paths below /etc, and their bytes) if they were all there is of its configuration.

    Raises ``CommandError`` where it cannot be asked, ``HostError`` where a tool is missing.
    """
    done = run_beside(["multipath", "-t"], files, runner, timeout=timeout)
    printed: t.List[str] = []
    said = [line.strip() for line in done.stderr.splitlines()]
    for line in done.stdout.splitlines():
        (said if _STAMP.match(line) else printed).append(line)
    complaints = [_STAMP.sub("", line) for line in said if line]
    if done.code != 0:
        complaints.append(f"multipath -t ended with exit code {done.code}")
    return Verdict("" if done.code else "".join(line + "\n" for line in printed), tuple(complaints), done.code != 0)


def run_beside(argv: t.Sequence[str], files: t.Mapping[str, bytes], runner: Runner, *, timeout: float = 60.0) -> Result:
    """How a command ends that sees ``files`` in place of the host's /etc."""
    try:
        folder = tempfile.mkdtemp(prefix="lunar-iscsi-", dir="/run" if os.path.isdir("/run") else None)
    except OSError as error:
        raise HostError("/run", f"could not be written: {error.strerror or error}", "Run the task as root (become: true)")
    try:
        _stage(os.path.join(folder, "etc"), files)
        wrapped = ["unshare", "--mount", "--", "sh", "-c", _SCRIPT, "sh", folder, *argv]
        done = runner.run(wrapped, timeout=timeout)
        reached = os.path.exists(os.path.join(folder, "asked"))
    except OSError as error:
        raise HostError(folder, f"could not be written: {error.strerror or error}", "Check the file system it is on")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not reached:
        said = last_words(done.stderr)
        raise CommandError(wrapped, done.code, done.stderr, f"{' '.join(argv)} could not be asked in a mount namespace of its own: {said}", _NAMESPACE_REMEDY)
    return done


def _stage(etc: str, files: t.Mapping[str, bytes]) -> None:
    os.makedirs(etc)
    for name in _KEPT:
        try:
            shutil.copyfile(os.path.join("/etc", name), os.path.join(etc, name))
        except FileNotFoundError:
            pass  # not every host has them all
    for path, data in files.items():
        place = os.path.join(etc, os.path.relpath(path, "/etc"))
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "wb") as handle:
            handle.write(data)


def without_stamp(line: str) -> str:
    """A line of multipath's without the time before it."""
    return _STAMP.sub("", line)


def new_complaints(after: Verdict, *known: t.Optional[Verdict]) -> t.List[str]:
    """The complaints that no other verdict has, wherever in the file their line has moved to; one that comes more often now is new, too."""
    left: t.Counter[str] = Counter()
    for verdict in known:
        left |= Counter(_LINE.sub("line", complaint) for complaint in (verdict.complaints if verdict else ()))
    found: t.List[str] = []
    for complaint in after.complaints:
        plain = _LINE.sub("line", complaint)
        if left[plain] > 0:
            left[plain] -= 1
        else:
            found.append(complaint)
    return found
