# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a host, or a mounted image of one, keeps open-iscsi's records, and which version of open-iscsi it has."""

from __future__ import annotations

import functools
import os
import re
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.files import read_bytes, under_root
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.version import Version, parse_version

_PROGRAMS = ("/usr/sbin/iscsiadm", "/sbin/iscsiadm", "/usr/bin/iscsiadm")
#: upstream and Debian up to 12 and SUSE up to 15.4 use the first, RHEL, Fedora and newer SUSE the second
_DATABASES = ("/etc/iscsi", "/var/lib/iscsi")
_LOCK_FOLDER = "/run/lock/iscsi"
_FOLDERS = ("nodes", "send_targets", "ifaces", "isns", "static", "fw")


class Location(t.NamedTuple):
    """Where the records are. Paths are paths of this host, except ``inside``: the database's path as its own system names it."""

    root: str
    folder: str
    inside: str
    lock_folder: str
    version: t.Optional[Version]

    @property
    def nodes(self) -> str:
        return os.path.join(self.folder, "nodes")

    @property
    def ifaces(self) -> str:
        return os.path.join(self.folder, "ifaces")

    @property
    def send_targets(self) -> str:
        return os.path.join(self.folder, "send_targets")

    @property
    def isns(self) -> str:
        return os.path.join(self.folder, "isns")

    @property
    def static(self) -> str:
        return os.path.join(self.folder, "static")

    @property
    def fw(self) -> str:
        return os.path.join(self.folder, "fw")

    @property
    def lock(self) -> str:
        """The file that exists while somebody holds the database's lock."""
        return os.path.join(self.lock_folder, "lock.write")


class _Compiled(t.NamedTuple):
    """What is written in an iscsiadm program: its version, the database and the lock it was built for; None where it does not say."""

    version: t.Optional[str]
    database: t.Optional[str]
    lock_folder: t.Optional[str]


def locate(root: str = "/", dbroot: t.Optional[str] = None) -> Location:
    """Find the database of the system at ``root``; nothing is run for that.

    ``dbroot`` (a path of that system) wins. Then what its iscsiadm was compiled with: the paths and the version stand in the program.
    Without a program: the first of /etc/iscsi and /var/lib/iscsi that holds records, else /etc/iscsi.
    """
    if not os.path.isdir(root):
        raise HostError(root, "is not a folder", "Mount the image first, or leave root out for the running system")
    compiled = _compiled(root)
    inside = (dbroot or compiled.database or _by_existence(root)).rstrip("/")
    lock_folder = under_root(root, compiled.lock_folder or _LOCK_FOLDER)
    return Location(root, under_root(root, inside), inside, lock_folder, _version(compiled, root))


def _version(compiled: _Compiled, root: str) -> t.Optional[Version]:
    try:
        version = parse_version(compiled.version) if compiled.version else None
    except InputError:
        return None
    return version._replace(mended=_mended_by_debian(root)) if version is not None and version.mixes_discovery_types else version


def _mended_by_debian(root: str) -> bool:
    """Whether the Debian package has the mended discovery types: since 2.1.11-4, and since 2.1.11-1+deb13u2 in Debian 13 (its changelog)."""
    status = read_bytes(under_root(root, "/var/lib/dpkg/status")) or b""
    found = re.search(rb"(?m)^Package: open-iscsi\n(?:(?!Version: ).+\n)*Version: 2\.1\.11-(\d+)(?:\+deb13u(\d+))?", status)
    return found is not None and (int(found.group(1)) >= 4 or int(found.group(2) or 0) >= 2)


def _by_existence(root: str) -> str:
    for path in _DATABASES:
        folder = under_root(root, path)
        if any(os.path.isdir(os.path.join(folder, name)) for name in _FOLDERS):
            return path
    return _DATABASES[0]


def _compiled(root: str) -> _Compiled:
    for program in _PROGRAMS:
        path = under_root(root, program)
        try:
            found = os.stat(path)
        except OSError:
            continue
        return _read_program(path, found.st_mtime_ns, found.st_size)
    return _Compiled(None, None, None)


@functools.lru_cache(maxsize=4)
def _read_program(path: str, _changed: int, _size: int) -> _Compiled:
    data = read_bytes(path) or b""
    return _Compiled(
        _first(data, rb"# BEGIN RECORD ([0-9][0-9A-Za-z.+_-]*)\0"),
        _first(data, rb"\0(/[ -~]{1,200}?)/nodes\0"),
        _first(data, rb"\0(/[ -~]{1,200}?)/lock\.write\0"),
    )


def _first(data: bytes, pattern: bytes) -> t.Optional[str]:
    found = re.search(pattern, data)
    return found.group(1).decode("ascii") if found else None


def not_installed(location: Location) -> HostError:
    """What to say of a system without open-iscsi, where nobody would read a record."""
    return HostError("open-iscsi", f"is not installed under {location.root} (no iscsiadm that names its version)",
                     "Install it (Debian and SUSE: open-iscsi, RHEL: iscsi-initiator-utils)")


def installed_version(where: t.Union[str, Location] = "/") -> Version:
    """The version of open-iscsi that the system at a root (or location) has, read out of its iscsiadm; ``HostError`` where it has none."""
    location = locate(where) if isinstance(where, str) else where
    if location.version is None:
        raise not_installed(location)
    return location.version
