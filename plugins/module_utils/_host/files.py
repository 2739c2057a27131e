# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one room that writes files: whole or not at all, and on the disk before the next step counts on it."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError

#: how the names of our temporary files begin; what a killed process left behind is found by it
TEMP_PREFIX = ".lunar-iscsi-"
_FLUSHERS = 8  # flushes wait for the disk, and many waiting at once share one commit of the journal
_AT_ONCE = 200  # files open at one time; a process may often have no more than 1024
_MAX_LINKS = 40  # as many as Linux follows


def _failed(path: str, doing: str, error: OSError) -> HostError:
    remedy = "Run the task as root (become: true)" if error.errno in (errno.EACCES, errno.EPERM) else "Check the file system it is on"
    return HostError(path, f"could not be {doing}: {error.strerror or error}", remedy)


def under_root(root: str, path: str) -> str:
    """Where ``path`` of the system mounted at ``root`` is on this host, for example /mnt/etc/iscsi.

    Symbolic links on the way are followed as that system would follow them, so none of them leads out of ``root``. The last
    part may be missing. With root ``/`` it is ``path`` itself. Raises ``HostError`` where links go in a circle.
    """
    root = os.path.abspath(root)
    if root == "/":
        return path
    todo, done, links = [part for part in reversed(path.split("/")) if part], [], 0  # type: t.List[str], t.List[str], int
    while todo:
        part = todo.pop()
        if part == "..":
            del done[-1:]
        elif part != ".":
            here = os.path.join(root, *done, part)
            if not os.path.islink(here):
                done.append(part)
                continue
            links += 1
            if links > _MAX_LINKS:
                raise HostError(os.path.join(root, path.lstrip("/")), "goes through symbolic links in a circle", "Look at the links on this path")
            to = os.readlink(here)
            done = [] if to.startswith("/") else done
            todo.extend(one for one in reversed(to.split("/")) if one)
    return os.path.join(root, *done)


def read_bytes(path: str) -> t.Optional[bytes]:
    """The whole file, or None where there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        return None
    except OSError as error:
        raise _failed(path, "read", error) from error


def write_atomic(path: str, data: bytes, mode: int = 0o600, *, keep_mode: bool = False, temp_folder: t.Optional[str] = None) -> None:
    """Replace or create one file so that a crash leaves the old one or the new one: temporary file, flush, rename, flush of the folder.

    ``keep_mode`` keeps mode and owner of a file that exists. ``temp_folder`` is another folder of the same file system, for folders in
    which every file has a meaning.
    """
    write_all_atomic({path: data}, mode, keep_mode=keep_mode, temp_folder=temp_folder)


def write_all_atomic(
    files: t.Mapping[str, bytes], mode: int = 0o600, *, keep_mode: bool = False, temp_folder: t.Optional[str] = None,
) -> None:
    """``write_atomic`` for many files: each of them is old or new, whole, at any moment; they are flushed side by side."""
    everything = list(files.items())
    for start in range(0, len(everything), _AT_ONCE):
        _write_some(everything[start:start + _AT_ONCE], mode, keep_mode, temp_folder)
    flush_folders({os.path.dirname(path) for path in files})


def _write_some(some: t.Sequence[t.Tuple[str, bytes]], mode: int, keep_mode: bool, temp_folder: t.Optional[str]) -> None:
    pending: t.List[t.Tuple[str, str, int]] = []
    try:
        for path, data in some:
            pending.append(_stage(path, data, mode, keep_mode, temp_folder))
        _flush([descriptor for _path, _temp, descriptor in pending])
        while pending:
            path, temp, descriptor = pending[-1]
            _put_in_place(temp, path)
            pending.pop()
            os.close(descriptor)
    finally:
        for _path, temp, descriptor in pending:
            os.close(descriptor)
            try:
                os.unlink(temp)
            except OSError:
                pass  # the error that brought us here is the one to tell


def _stage(path: str, data: bytes, mode: int, keep_mode: bool, temp_folder: t.Optional[str]) -> t.Tuple[str, str, int]:
    """Write a temporary file beside ``path`` and leave it open; returns (path, temporary path, descriptor)."""
    temp = ""
    descriptor = -1
    try:
        descriptor, temp = tempfile.mkstemp(prefix=TEMP_PREFIX, dir=temp_folder or os.path.dirname(path))
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left):]
        os.fchmod(descriptor, mode)
        if keep_mode:
            _keep(path, descriptor)
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
            os.unlink(temp)
        raise _failed(path, "written", error) from error
    return path, temp, descriptor


def _keep(path: str, descriptor: int) -> None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return
    os.fchown(descriptor, found.st_uid, found.st_gid)
    os.fchmod(descriptor, found.st_mode & 0o7777)


def _put_in_place(temp: str, path: str) -> None:
    try:
        os.rename(temp, path)
    except OSError as error:
        raise _failed(path, "put in place", error) from error


def _flush(descriptors: t.Sequence[int]) -> None:
    """Flush files side by side: a share of them for each of a few threads."""
    errors: t.List[OSError] = []

    def flush_share(share: t.Sequence[int]) -> None:
        try:
            for descriptor in share:
                os.fsync(descriptor)
        except OSError as error:
            errors.append(error)

    flushers = min(_FLUSHERS, len(descriptors))
    threads = [threading.Thread(target=flush_share, args=(descriptors[number::flushers],)) for number in range(1, flushers)]
    for thread in threads:
        thread.start()
    flush_share(descriptors[::flushers or 1])
    for thread in threads:
        thread.join()
    if errors:
        raise _failed("a file just written", "flushed to the disk", errors[0]) from errors[0]


def flush_folders(folders: t.Iterable[str]) -> None:
    """Make renames, new names and removals in these folders survive a crash; a folder that is gone is passed over."""
    everything = sorted(folders)
    for start in range(0, len(everything), _AT_ONCE):
        _flush_some(everything[start:start + _AT_ONCE])


def _flush_some(folders: t.Sequence[str]) -> None:
    opened: t.List[int] = []
    try:
        for folder in folders:
            try:
                opened.append(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise _failed(folder, "opened", error) from error
        _flush(opened)
    finally:
        for descriptor in opened:
            os.close(descriptor)


def make_folder(path: str, mode: int = 0o700) -> t.List[str]:
    """Make a folder and those above it where they are missing; returns the folders in which something new stands."""
    missing: t.List[str] = []
    here = path
    while here and not os.path.isdir(here):
        missing.append(here)
        here = os.path.dirname(here)
    for folder in reversed(missing):
        try:
            os.mkdir(folder, mode)
            os.chmod(folder, mode)
        except FileExistsError:
            if not os.path.isdir(folder):
                raise HostError(folder, "is needed as a folder and is something else", "Move it out of the way") from None
        except OSError as error:
            raise _failed(folder, "made", error) from error
    return [os.path.dirname(folder) for folder in missing]


def make_link(to: str, path: str) -> bool:
    """Make the symbolic link ``path`` to ``to``, replacing a link that leads elsewhere; whether anything changed."""
    try:
        if os.path.islink(path):
            if os.readlink(path) == to:
                return False
            os.unlink(path)
        os.symlink(to, path)
    except OSError as error:
        raise _failed(path, "made a link", error) from error
    return True


def set_mode(path: str, mode: int, owner: int) -> None:
    """Give a file or folder its mode and its owner; it must not be a symbolic link."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _failed(path, "opened", error) from error
    try:
        os.fchown(descriptor, owner, -1)
        os.fchmod(descriptor, mode)
    except OSError as error:
        raise _failed(path, "given its mode", error) from error
    finally:
        os.close(descriptor)


def remove_file(path: str) -> bool:
    """Remove a file or a link; whether there was one."""
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _failed(path, "removed", error) from error
    return True


def remove_empty_folders_up_to(path: str, stop: str) -> None:
    """Remove ``path`` and the folders above it as far as they are empty, but never ``stop`` or what is above it."""
    stop = os.path.abspath(stop)
    here = os.path.abspath(path)
    while here.startswith(stop + "/"):
        try:
            os.rmdir(here)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return
            raise _failed(here, "removed", error) from error
        here = os.path.dirname(here)


def remove_leftovers(folder: str) -> t.List[str]:
    """Remove temporary files that a killed process left in ``folder``; call it only where no other writer can be at work."""
    try:
        names = [name for name in os.listdir(folder) if name.startswith(TEMP_PREFIX)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _failed(folder, "read", error) from error
    return [name for name in names if remove_file(os.path.join(folder, name))]
