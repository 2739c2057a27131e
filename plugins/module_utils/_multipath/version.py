# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which multipath-tools a host has, and what it knows beyond that release.

``multipath -h`` prints ``multipath-tools v0.9.4 (12/19, 2022)`` on standard error in every release (libmultipath/version.h), and touches nothing.
Distributions carry keywords back without changing that number, RHEL 7 (0.4.9) most of all. The words that a host's multipath knows stand in its
libmultipath as C strings, so that is where they are looked for.
"""

from __future__ import annotations

import glob
import os
import re
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.grammar import Release

_BANNER = re.compile(r"multipath-tools v(\d{1,4}(?:\.\d{1,4}){1,3})")
_NUMBER = re.compile(r"(?:\d+:)?v?(\d{1,4}(?:\.\d{1,4}){1,3})")
#: where distributions put libmultipath, and its plug-ins in a directory beside it
_LIBRARIES = ("lib/*/libmultipath.so.0", "lib64/libmultipath.so.0", "lib/libmultipath.so.0", "usr/lib/*/libmultipath.so.0",
              "usr/lib64/libmultipath.so.0", "usr/lib/libmultipath.so.0")
_PLUGINS = re.compile(r"lib(prio|check)(\w+)\.so")
#: a libmultipath has half a mebibyte
_LARGEST = 16 * 1024 * 1024


class Installed(t.NamedTuple):
    """The multipath-tools of a host. ``library`` is its libmultipath, or nothing where it was not found."""

    release: Release
    library: bytes = b""
    #: prioritizers (``prio``) and checkers (``checker``) that are installed as plug-ins
    plugins: t.Mapping[str, t.FrozenSet[str]] = {}

    @property
    def text(self) -> str:
        return ".".join(str(number) for number in self.release)

    def holds(self, word: str) -> bool:
        """Whether a word stands in libmultipath, at the end of a C string."""
        return word.encode("utf-8", "replace") + b"\0" in self.library

    @property
    def has(self) -> t.Optional[t.Callable[[str], bool]]:
        """``holds``, where there is a library to be asked."""
        return self.holds if self.library else None


def parse_release(text: str) -> t.Optional[Release]:
    """The release in what a binary prints (``multipath-tools v0.9.4 (12/19, 2022)``) or in a package's version (``0.4.9-134.el7``, ``0.9.4-3+deb12u2``)."""
    found = _BANNER.search(text) or _NUMBER.match(text.strip())
    return tuple(int(part) for part in found.group(1).split(".")) if found else None


def read_installed(run: t.Callable[[t.Sequence[str]], Result], root: str = "/") -> Installed:
    """Ask the host's multipath for its release and look at its library.

    Raises ``HostError`` where multipath is missing, or says something else than its release.
    """
    result = run(["multipath", "-h"])
    release = parse_release(result.stderr) if _BANNER.search(result.stderr) else parse_release(result.stdout) if _BANNER.search(result.stdout) else None
    if release is None:
        raise HostError("multipath -h", "does not say which release of multipath-tools it is of", "Look at what it prints; multipath has to run as root")
    path = find_library(root)
    return Installed(release, _read(path), _plugins(path))


def find_library(root: str = "/") -> str:
    """Where libmultipath is; empty where it is not found."""
    return next((found for pattern in _LIBRARIES for found in sorted(glob.glob(os.path.join(glob.escape(root), pattern)))), "")


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_LARGEST)
    except OSError:
        return b""


def _plugins(library: str) -> t.Dict[str, t.FrozenSet[str]]:
    try:
        names = os.listdir(os.path.join(os.path.dirname(library), "multipath")) if library else []
    except OSError:
        names = []
    found = [match.groups() for match in map(_PLUGINS.fullmatch, names) if match]
    return {kind: frozenset(name for prefix, name in found if prefix == kind[:5]) for kind in ("prio", "checker")}
