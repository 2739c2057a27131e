# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking the host's own ``multipath -t`` what it makes of files that are not in place yet.

The paths of its files are fixed when it is compiled. So it is run in a mount namespace of its own, where /etc holds the candidate and
nothing else; the host sees nothing of it, and nothing has to be put back.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import CommandError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Runner, last_words

#: what is copied over an empty /etc before the tool starts; the folder is the first argument
_SCRIPT = 'mount -t tmpfs -o mode=0755 tmpfs /etc && cp -R "$1/." /etc/ && exec multipath -t'
_STAMP = re.compile(r"^[0-9]+\.[0-9]+ \| ")
_NAMESPACE_REMEDY = "Run the task as root of the host itself, not of a container; or say validate: false to write without asking multipath"


class Verdict(t.NamedTuple):
    """What ``multipath -t`` said: the configuration in effect, and its complaints without their time stamps."""

    effective: str
    complaints: t.Tuple[str, ...]


def ask_multipath(files: t.Mapping[str, bytes], runner: Runner, *, timeout: float = 60.0) -> Verdict:
    """What multipath makes of ``files`` (absolute paths below /etc, and their bytes) if they were all there is of its configuration.

    Raises ``CommandError`` where it cannot be asked, ``HostError`` where a tool is missing.
    """
    folder = tempfile.mkdtemp(prefix="lunar-iscsi-", dir="/run" if os.path.isdir("/run") else None)
    try:
        for path, data in files.items():
            place = os.path.join(folder, os.path.relpath(path, "/etc"))
            os.makedirs(os.path.dirname(place), exist_ok=True)
            with open(place, "wb") as handle:
                handle.write(data)
        argv = ["unshare", "--mount", "--", "sh", "-c", _SCRIPT, "sh", folder]
        done = runner.run(argv, timeout=timeout)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if done.code != 0:
        said = last_words(done.stderr)
        raise CommandError(argv, done.code, done.stderr, f"multipath -t could not be asked in a mount namespace of its own: {said}", _NAMESPACE_REMEDY)
    return Verdict(done.stdout, tuple(_STAMP.sub("", line.strip()) for line in done.stderr.splitlines() if line.strip()))
