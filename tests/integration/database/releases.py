# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""open-iscsi of several releases of Debian on one machine: its own, and those of other releases unpacked beside it, with their own libraries.

They come by the machine's own apt, from its own mirrors, and stay in the user's cache (remove the folder to have them fetched again).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

from ansible_collections.lunar.iscsi.tests.integration.database.conftest import Host

RELEASES = ("bookworm", "trixie")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lunar.iscsi" / "open-iscsi"
LAB = Path(__file__).resolve().parents[3] / "lab"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class Release(t.NamedTuple):
    """What was installed of a release at ``root``; ``loader`` are the words in front of a program of it."""

    name: str
    root: Path
    loader: t.Tuple[str, ...]
    #: the entry of open-iscsi in dpkg's status
    status: str

    @property
    def program(self) -> str:
        return str(self.root / "usr/sbin/iscsiadm")

    @property
    def conf(self) -> str:
        return (self.root / "etc/iscsi/iscsid.conf").read_text("utf-8")


def find_release(name: str) -> Release:
    """A release: the machine's own, or unpacked. Raises ``RuntimeError`` where it cannot be had."""
    own = re.search(r"^VERSION_CODENAME=(\S+)", Path("/etc/os-release").read_text("utf-8"), re.MULTILINE)
    if own is not None and own.group(1) == name:
        found = re.search(r"^Package: open-iscsi\n(?:.+\n)+", Path("/var/lib/dpkg/status").read_text("utf-8"), re.MULTILINE)
        return Release(name, Path("/"), (), found.group(0) if found else "")
    root = CACHE / name
    if not root.is_dir():
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=root.parent) as folder:
            _unpack(name, Path(folder))
            if not root.is_dir():  # else somebody was faster
                (Path(folder) / "root").rename(root)
    loader = next(root.glob("usr/lib/*/ld-linux-*.so.*"))
    folders = (loader.parent, loader.parent / "systemd")
    return Release(name, root, (str(loader), "--library-path", ":".join(map(str, folders))), (root / "status").read_text("utf-8"))


def _unpack(release: str, folder: Path) -> None:
    """Fetch open-iscsi of a release with the libraries it needs, and unpack all that. apt gets folders of its own and thinks that nothing is installed."""
    for part in ("state/lists/partial", "cache/archives/partial", "etc", "root"):
        (folder / part).mkdir(parents=True)
    (folder / "status").write_text("")
    (folder / "etc/sources.list").write_text("".join(f"deb [signed-by={KEYRING}] {uri} {suite} {component}\n" for uri, suite, component in _sources(release)))
    settings = {"Dir::State": folder / "state", "Dir::State::status": folder / "status", "Dir::Cache": folder / "cache",
                "Dir::Etc::sourcelist": folder / "etc/sources.list", "Dir::Etc::sourceparts": "/dev/null", "Dir::Etc::preferencesparts": "/dev/null",
                "Acquire::Languages": "none", "APT::Install-Recommends": "false", "APT::Sandbox::User": "root"}
    apt = ["apt-get", "--quiet", *(word for key, value in settings.items() for word in ("-o", f"{key}={value}"))]
    _run([*apt, "update"], folder)
    listed = _run([*apt, "--print-uris", "install", "open-iscsi"], folder)
    packages = [package for package in re.findall(r"^'\S+' ([^_\s]+)_\S+\.deb ", listed, re.MULTILINE) if package == "open-iscsi" or package.startswith("lib")]
    _run([*apt, "download", *packages], folder)
    for name in ("bin", "sbin", "lib", "lib64"):  # as every Debian has them, wherever its packages say
        (folder / "root/usr" / name).mkdir(parents=True)
        (folder / "root" / name).symlink_to(f"usr/{name}")
    for package in folder.glob("*.deb"):
        _run(["sh", "-ec", 'dpkg-deb --fsys-tarfile "$1" | tar --extract --keep-directory-symlink --directory root', "sh", str(package)], folder)
    control = _run(["dpkg-deb", "--field", str(next(folder.glob("open-iscsi_*.deb"))), "Package", "Version"], folder)
    (folder / "root/status").write_text(control + "\n")


def _run(argv: t.Sequence[str], folder: Path) -> str:
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, env=dict(os.environ, LC_ALL="C"))
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    return done.stdout


def _sources(name: str) -> t.Sequence[t.Tuple[str, str, str]]:
    """The mirrors that the lab takes a release from."""
    sys.path.append(str(LAB))
    try:
        from lunarlab.image import find_sources
    finally:
        sys.path.remove(str(LAB))
    return find_sources(name)


class ReleasedHost(Host):
    """A host of a release: its iscsiadm stands where modules look for it, and what they write it reads."""

    def __init__(self, root: Path, release: Release) -> None:
        super().__init__(root, release.program)
        self._argv = (*release.loader, release.program)
        self.conf = release.conf
        var = root / "var/lib"
        for name in ("dpkg", "iscsi", "open-iscsi"):
            (var / name).mkdir(parents=True)
        (var / "dpkg/status").write_text(release.status)
        self.run("mount", "--bind", str(var), "/var/lib")
        self.run("mount", "--bind", release.program, "/usr/sbin/iscsiadm")
        #: the database, as it is seen from outside
        self.records = root / self.database.lstrip("/")
        self.configure(self.conf)

    def iscsiadm(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(*self._argv, *arguments, check=check)

    def clear(self) -> None:
        for path in self.records.iterdir():
            if path.is_dir():
                subprocess.run(["rm", "-r", str(path)], check=True)

    def settings(self) -> t.Dict[str, t.Dict[str, str]]:
        """Every record, by its place in the database: the lines of its file as pairs."""
        found: t.Dict[str, t.Dict[str, str]] = {}
        for kind in ("nodes", "ifaces", "send_targets", "isns"):
            for folder, _folders, names in os.walk(self.records / kind):
                files = [path for path in (Path(folder, name) for name in names) if not path.is_symlink()]
                found.update((str(path.relative_to(self.records)), pairs(path.read_text("utf-8"))) for path in files)
        return found


def pairs(text: str) -> t.Dict[str, str]:
    """Lines such as ``node.startup = manual``."""
    return dict(line.split(" = ", 1) for line in text.split("\n") if " = " in line)
