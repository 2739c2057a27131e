# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image all guests start from: debootstrap, an archive of packages for later, ext4, qcow2; kept by a hash of its recipe."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

from lunarlab.common import LAB, LabError, cache_dir, distribution, lock, progress, require, run, say

RECIPE = LAB / "recipe"
DISK_SIZE = "8G"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# Settings of the machine's apt that decide whether it can reach its mirror; the guest's apt gets them while the image is built.
_APT_SETTINGS = re.compile(r"^Acquire::(?:http|https|Retries|ForceIPv4|ForceIPv6|Check-Valid-Until|Check-Date|Max-FutureTime)\b")
_HOST_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt")


class Image(t.NamedTuple):
    """Files of a finished image; the root disk is a backing file and never written."""

    disk: Path
    kernel: Path
    initrd: Path


class Source(t.NamedTuple):
    """One line of apt sources: a mirror, a release and its component."""

    uri: str
    release: str
    component: str


def read_packages(name: str) -> t.List[t.List[str]]:
    """Read one package list of the recipe: a list of sets, each a list of words."""
    lines = (RECIPE / name).read_text().splitlines()
    return [line.split() for line in lines if line.strip() and not line.startswith("#")]


def recipe_hash(name: str) -> str:
    """Hash of everything that decides what is in the image of distribution ``name``."""
    digest = hashlib.sha256(f"{name} {DISK_SIZE}".encode())
    for path in sorted(path for path in [*RECIPE.rglob("*"), Path(__file__)] if path.is_file()):
        digest.update(f"{path.relative_to(LAB)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def find_sources(name: str) -> t.List[Source]:
    """The machine's own Debian mirrors, with the wanted release in place of the machine's.

    :raises LabError: the machine's apt knows no Debian mirror.
    """
    given = os.environ.get("LAB_MIRROR")
    if given:
        return [Source(given, name, "main")]
    host = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    codename = host.get("VERSION_CODENAME", "").strip('"')
    listing = run("apt-get", "indextargets", "--format", "$(REPO_URI)|$(RELEASE)|$(COMPONENT)", "Created-By: Packages")
    found = []
    for line in listing.splitlines():
        uri, release, component = line.split("|")
        base, _dash, pocket = release.partition("-")
        if host.get("ID") == "debian" and component == "main" and base in (codename, "stable") and pocket in ("", "updates", "security"):
            source = Source(uri, f"{name}-{pocket}" if pocket else name, component)
            if source not in found:
                found.append(source)
    if not any(source.release == name for source in found):
        raise LabError("this machine's apt knows no Debian mirror: set LAB_MIRROR to the address of one that carries " + name + ".")
    return sorted(found, key=lambda source: len(source.release))


def ensure(name: t.Optional[str] = None) -> Image:
    """The image of a distribution, built first if the cache has none of this recipe.

    :raises LabError: it cannot be built.
    """
    name = name or distribution()
    folder = cache_dir() / f"{name}-{recipe_hash(name)}"
    if not folder.is_dir():
        with lock(cache_dir() / f"{name}.lock", f"building the {name} image"):
            if not folder.is_dir():
                _build_as_root(name, folder)
    return _image_in(folder)


def _image_in(folder: Path) -> Image:
    return Image(folder / "root.qcow2", folder / "vmlinuz", folder / "initrd.img")


def _build_as_root(name: str, folder: Path) -> None:
    """Build here when root, through sudo otherwise."""
    if os.geteuid() == 0:
        build_into(name, folder)
        return
    if shutil.which("sudo") is None:
        raise LabError("building the image needs root: run 'python3 lab/lab.py image' as root once with LAB_CACHE set to a folder both can read.")
    say("building the image needs root, asking sudo")
    keep = [f"{key}={value}" for key, value in os.environ.items() if key.startswith("LAB_") or key.lower().endswith("_proxy")]
    again = ["sudo", "env", *keep, f"LAB_CACHE={cache_dir()}", sys.executable, str(LAB / "lab.py"), "image", "--into", str(folder), "--distribution", name]
    if subprocess.run(again, check=False).returncode != 0 or not folder.is_dir():
        raise LabError("the image was not built: see above.")


def build_into(name: str, folder: Path) -> Image:
    """Build the image in a temporary folder beside ``folder`` and rename it when it is whole; needs root.

    :raises LabError: something is missing on this machine, or a step failed.
    """
    require("debootstrap", "dpkg-scanpackages", "mke2fs", "qemu-img", "unshare")
    if not KEYRING.is_file():
        raise LabError("this machine lacks debian-archive-keyring: run 'apt-get install debian-archive-keyring' as root.")
    sources = find_sources(name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    os.umask(0o022)
    start = time.monotonic()
    say(f"building the {name} image into {folder} (some three minutes, once)")
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder.parent) as temporary:
        work = Path(temporary)
        root, out, log = work / "root", work / "out", folder.parent / f"{name}-build.log"
        log.write_text("")
        out.mkdir()
        with progress(f"debootstrap {name}"):
            run("debootstrap", "--variant=minbase", f"--keyring={KEYRING}", name, root, sources[0].uri, log=log)
        with progress("packages of every guest"):
            _prepare(root, sources)
            _in_root(root, log, "apt-get -q update && apt-get -qy upgrade && apt-get -qy install " + " ".join(sum(read_packages("base-packages"), [])))
        with progress("archive of packages for later"):
            _fill_archive(root, log)
        with progress("configuration"):
            _copy_tree(RECIPE / "rootfs", root)
            shutil.copy(RECIPE / "customize.sh", root / "tmp/customize.sh")
            _in_root(root, log, "sh /tmp/customize.sh")
            _clean(root)
        with progress("disk"):
            kernel = sorted((root / "boot").glob("vmlinuz-*"))[-1]
            shutil.copy(kernel, out / "vmlinuz")
            shutil.copy(root / "boot" / kernel.name.replace("vmlinuz", "initrd.img"), out / "initrd.img")
            raw = work / "root.raw"
            run("mke2fs", "-q", "-t", "ext4", "-L", "lab-root", "-N", "262144", "-J", "size=64", "-d", root, raw, DISK_SIZE, log=log)
            run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, out / "root.qcow2", log=log)
        seconds = round(time.monotonic() - start)
        (out / "image.json").write_text(json.dumps({"distribution": name, "kernel": kernel.name, "build_seconds": seconds}) + "\n")
        for path in out.iterdir():
            path.chmod(0o644)
        out.chmod(0o755)
        if "SUDO_UID" in os.environ:
            for path in [out, *out.iterdir()]:
                os.chown(path, int(os.environ["SUDO_UID"]), int(os.environ.get("SUDO_GID", "-1")))
        out.rename(folder)
    say(f"the {name} image is ready after {seconds} s")
    return _image_in(folder)


def _prepare(root: Path, sources: t.Sequence[Source]) -> None:
    """Let apt in the new root reach the machine's mirrors, start no service, and leave out what no guest reads."""
    lines = [f"deb {source.uri} {source.release} {source.component}\n" for source in sources]
    (root / "etc/apt/sources.list").write_text("".join(lines))
    settings = [line for line in run("apt-config", "dump").splitlines() if _APT_SETTINGS.match(line)]
    (root / "etc/apt/apt.conf.d/99build").write_text("\n".join([*settings, 'APT::Install-Recommends "false";', 'Acquire::Languages "none";', ""]))
    for name in ("etc/dpkg", "etc/initramfs-tools"):
        _copy_tree(RECIPE / "rootfs" / name, root / name)
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    for name in _HOST_FILES:
        if Path(name).exists():
            (root / name[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, root / name[1:])


def _copy_tree(source: Path, into: Path) -> None:
    """Copy files with the modes a host has, whatever the umask of the checkout was."""
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        copy = into / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        copy.chmod(0o755 if copy.parent.name == "sbin" else 0o644)


def _clean(root: Path) -> None:
    """Take away what only the build needed."""
    for name in ("usr/sbin/policy-rc.d", "etc/apt/apt.conf.d/99build", "tmp/customize.sh", *(name[1:] for name in _HOST_FILES)):
        (root / name).unlink(missing_ok=True)
    for path in (root / "var/cache/apt").rglob("*"):
        if path.is_file():
            path.unlink()


def _in_root(root: Path, log: Path, script: str) -> None:
    """Run a shell script inside ``root``, in its own mount namespace so that no mount is ever left behind."""
    inside = 'mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && exec chroot "$1" /bin/sh -ec "$2"'
    environment = {"DEBIAN_FRONTEND": "noninteractive", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    run("unshare", "--mount", "--propagation", "private", "sh", "-ec", inside, "sh", root, script, log=log, env=environment)


def _fill_archive(root: Path, log: Path) -> None:
    """Download every set of archive-packages with all it depends on into /srv/lab-archive, and index it for apt."""
    archive = root / "srv/lab-archive"
    archive.mkdir(parents=True)
    for words in read_packages("archive-packages"):
        optional = words[0].startswith("?")
        names = " ".join(word.lstrip("?") for word in words)
        try:
            _in_root(root, log, f"apt-get -qy install --download-only {names}")
        except LabError:
            if not optional:
                raise
            say(f"this distribution does not have: {names}")
    for path in (root / "var/cache/apt/archives").glob("*.deb"):
        path.rename(archive / path.name)
    index = run("sh", "-ec", 'cd "$1" && dpkg-scanpackages --multiversion . 2>/dev/null', "sh", archive)
    (archive / "Packages").write_text(index)
    say(f"{index.count('Package: ')} packages are in the archive")
