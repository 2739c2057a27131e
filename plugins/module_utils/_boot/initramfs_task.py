# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module iscsi_initramfs does: look into each initramfs, build those anew that lack something, and put in place only what lacks nothing."""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.lunar.iscsi.plugins.module_utils._argspec import check_root
from ansible_collections.lunar.iscsi.plugins.module_utils._boot.pieces import (
    DRACUT, INITRAMFS_TOOLS, MODULES, Wanted, find_generator, find_kernels, find_lacks, image_path,
)
from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import Plan, Step
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import CommandError, DamagedError, HostError, InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result, Runner, check, last_words
from ansible_collections.lunar.iscsi.plugins.module_utils._host.files import flush_folders, remove_file, under_root

#: of the new initramfs, until it is put in place; beside the old one, so that a rename is enough
_NEW = ".lunar-iscsi-new"
_LONGEST = 7200
_PATTERNS: t.Mapping[str, str] = {
    "modules": "[A-Za-z0-9_-]+", "words": r"[^\s\x00-\x1f\x7f\"\ud800-\udfff]+", "kernels": "[A-Za-z0-9][A-Za-z0-9._+~-]*",
}
#: what a system that does not run needs to run a program of its own; the mounts are gone when that ends
_INSIDE = ('root=$1; shift; mount -t proc proc "$root/proc"; for one in dev sys; do mount --rbind "/$one" "$root/$one"; done; '
           'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin exec chroot "$root" "$@"')


@dataclass(frozen=True)
class Image:
    """The initramfs of one kernel: where it is for its own system and for this one, and what it lacks."""

    kernel: str
    inside: str
    path: str
    lacks: t.Tuple[str, ...]


class InitramfsTask:
    """One iscsi_initramfs task; see ``_convergence.Task``."""

    def __init__(self, params: t.Mapping[str, t.Any], runner: t.Optional[Runner] = None) -> None:
        self._root = check_root(params["root"])
        if not os.path.isdir(self._root):
            raise HostError(self._root, "is not a folder", "Mount the system first, or leave root out for the running one")
        for option, pattern in _PATTERNS.items():
            if not all(re.fullmatch(pattern, text) for text in params[option]):
                raise InputError(f"option {option}", "has an entry that is empty, or has white space or a character in it that none can have",
                                 "Give one name or word an entry")
        if not 1 <= params["timeout"] <= _LONGEST:
            raise InputError("option timeout", f"is {params['timeout']}", f"Give a number of seconds from 1 to {_LONGEST}")
        self._timeout = float(params["timeout"])
        self._wanted = Wanted(tuple(dict.fromkeys([*MODULES, *params["modules"]])), tuple(params["words"]))
        self._asked: str = params["generator"]
        self._kernels = tuple(params["kernels"])
        self._runner = runner or Runner()
        self._looked: t.Dict[t.Tuple[int, int, int], t.List[str]] = {}

    # read

    def read(self) -> t.List[Image]:
        """Look into the initramfs of each kernel."""
        self._generator = find_generator(self._root, self._asked)
        if self._wanted.words and self._generator != DRACUT:
            raise InputError("option words", f"is given, and the system has {self._generator}, which reads no command line but that of the kernel",
                             "Leave it out, and say it in /etc/iscsi/iscsi.initramfs")
        there = find_kernels(self._root)
        unknown = [kernel for kernel in self._kernels if kernel not in there]
        if unknown:
            raise InputError("option kernels", f"names {', '.join(unknown)}, which is not installed (there are: {', '.join(there)})", "Leave it out for all")
        return [self._look(kernel) for kernel in self._kernels or there]

    def _look(self, kernel: str) -> Image:
        inside = image_path(self._root, kernel, self._generator)
        path = under_root(self._root, inside)
        return Image(kernel, inside, path, tuple(self._lacks(path, kernel)))

    def _lacks(self, path: str, kernel: str) -> t.List[str]:
        """Read once, as long as it is the same file."""
        found = os.stat(path) if os.path.exists(path) else None
        key = (found.st_ino, found.st_size, found.st_mtime_ns) if found else (0, 0, 0)
        if key not in self._looked or found is None:
            self._looked[key] = find_lacks(path, kernel, self._generator, self._wanted, self._root, () if self._root == "/" else ("chroot", self._root))
        return self._looked[key]

    # plan

    def plan(self, found: t.Sequence[Image]) -> Plan:
        """Build what lacks something."""
        steps = [Step("build", image.path, "".join(f"{lack}\n" for lack in image.lacks), "it has everything\n", work=image) for image in found if image.lacks]
        facts = {"generator": self._generator, "images": [{"kernel": one.kernel, "path": one.path, "lacks": list(one.lacks)} for one in found]}
        return Plan(steps, (), facts)

    # apply

    def apply(self, steps: t.Sequence[Step]) -> t.Mapping[str, t.Any]:
        """One after the other; the old one stays until the new one was looked into."""
        for step in steps:
            self._build(step.work)
        return {}

    def finish(self, found: t.Sequence[Image], done: bool) -> t.Mapping[str, t.Any]:
        """What each of them lacks in the end."""
        return dict(self.plan(found).facts) if done else {}

    def _build(self, image: Image) -> None:
        new = image.path + _NEW
        stays = "The old one is in place as it was" if os.path.exists(image.path) else "Nothing was put in place"
        remove_file(new)
        try:
            self._close_to_others(new)
            result = self._run(self._command(image.inside + _NEW, image.kernel))
            if result.code != 0:
                raise _failed(image, result, self._generator, stays)
            lacks = self._lacks(new, image.kernel)
            if lacks:
                raise DamagedError(f"the new initramfs for {image.path}", "was built, but " + "; ".join(lacks), stays + ". " + _why(self._generator))
            self._put_in_place(new, image)
        finally:
            remove_file(new)
        self._tell_boot_loader(image)

    def _command(self, output: str, kernel: str) -> t.List[str]:
        if self._generator == INITRAMFS_TOOLS:
            return ["mkinitramfs", "-o", output, kernel]
        # what is under the tree says nothing of the machine that will boot from it
        return ["dracut", "--force", *([] if self._root == "/" else ["--no-hostonly"]), output, kernel]

    def _put_in_place(self, new: str, image: Image) -> None:
        try:
            descriptor = os.open(new, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(new, image.path)
        except OSError as error:
            raise HostError(image.path, f"could not be put in place: {error.strerror}", "Check the file system it is on") from error
        flush_folders([os.path.dirname(image.path)])

    def _close_to_others(self, new: str) -> None:
        """Make the file before the tool does, which leaves the mode of one that is there: at no time can others read a secret in it."""
        if self._is_secret():
            try:
                os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            except OSError as error:
                raise HostError(new, f"could not be made: {error.strerror}", "Check the file system it is on") from error

    def _is_secret(self) -> bool:
        """Whether the file with the target's name, which may hold secrets, is for root alone."""
        path = under_root(self._root, "/etc/iscsi/iscsi.initramfs")
        return any("password" in word for word in self._wanted.words) or (os.path.exists(path) and not os.stat(path).st_mode & 0o044)

    def _tell_boot_loader(self, image: Image) -> None:
        """As update-initramfs does."""
        folder = "/etc/initramfs/post-update.d"
        if self._generator == INITRAMFS_TOOLS and os.path.isdir(under_root(self._root, folder)):
            check(self._run(["run-parts", f"--arg={image.kernel}", f"--arg={image.inside}", folder]), f"the boot loader was not told of {image.path}",
                  f"Look at what is in {folder}")

    def _run(self, argv: t.Sequence[str]) -> Result:
        called = " ".join(argv)
        if self._root != "/":
            argv = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", _INSIDE, "sh", self._root, *argv]
        try:
            return self._runner.run(argv, timeout=self._timeout)
        except CommandError as error:
            raise HostError(called, error.what, "Give it more time with the option timeout; the old initramfs is in place as it was") from error


def _failed(image: Image, result: Result, generator: str, stays: str) -> HostError:
    """The reason, which is seldom the last thing that is said."""
    full = next((line.strip() for line in (result.stderr + result.stdout).splitlines() if "No space left on device" in line), "")
    said = full or last_words(result.stderr) or last_words(result.stdout)
    remedy = "Make room where it is, and in /var/tmp" if full else "Look at all that was said (stderr), and run the command by hand"
    error = HostError(image.path, f"could not be built, {generator} ended with exit code {result.code}: {said}", f"{stays}. {remedy}")
    error.facts.update(cmd=list(result.argv), rc=result.code, stderr=result.stderr)
    return error


def _why(generator: str) -> str:
    if generator == INITRAMFS_TOOLS:
        return "See that open-iscsi with its hook is installed, and name kernel modules that are missing in /etc/initramfs-tools/modules"
    return "See that dracut has its module iscsi (package dracut-network), on Debian gawk, and name what is missing in a file in /etc/dracut.conf.d"
