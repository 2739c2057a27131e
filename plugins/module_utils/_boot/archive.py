# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading an initramfs as the kernel does: cpio archives one after the other, each as it is or compressed as a whole.

Source: Documentation/driver-api/early-userspace/buffer-format.rst of Linux. Only names and the content of a few files are kept, so that an archive of
any size takes little memory.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, HostError

_HEADER = 110
_MAGIC = (b"070701", b"070702")
_END = "TRAILER!!!"
_LARGEST_KEPT = 4 << 20
_PIECE = 1 << 20
#: what Python cannot undo by itself: how it begins, and the command that does
_TOOLS: t.Mapping[bytes, t.Sequence[str]] = {
    b"\x28\xb5\x2f\xfd": ("zstd", "-dcq"), b"\x02\x21\x4c\x18": ("lz4", "-dcq"), b"\x04\x22\x4d\x18": ("lz4", "-dcq"), b"\x89LZO": ("lzop", "-dcq"),
}
_REMEDY = "Build it anew"


@dataclass
class Archive:
    """What is in an initramfs: every name (without ``./``, ``/`` and ``usr/`` in front), and the content of the files that were asked for."""

    names: t.Set[str] = field(default_factory=set)
    contents: t.Dict[str, bytes] = field(default_factory=dict)


Keep = t.Callable[[str], bool]


def read_archive(path: str, keep: Keep, prefix: t.Sequence[str] = ()) -> Archive:
    """All of it. ``keep`` says of which files the content is wanted, ``prefix`` is put before a command that is needed to undo the compression.

    Raises ``DamagedError`` where it is cut off or no initramfs at all, ``HostError`` where it cannot be read or the command is missing.
    """
    found = Archive()
    try:
        with open(path, "rb") as file:
            _read_all(file, path, found, keep, prefix)
    except _errors() as error:
        if isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError)):
            raise HostError(path, f"could not be read: {error.strerror}", "Run the task as root (become: true)") from error
        raise DamagedError(path, f"is damaged: {error}", _REMEDY) from error
    if not found.names:
        raise DamagedError(path, "holds no file", _REMEDY)
    return found


def _errors() -> t.Tuple[t.Type[BaseException], ...]:
    """What reading can raise where the file is damaged, by the modules that were needed so far."""
    own = (("zlib", "error"), ("lzma", "LZMAError"))
    return (OSError, EOFError, *(getattr(sys.modules[module], name) for module, name in own if module in sys.modules))


def _read_all(file: t.BinaryIO, path: str, found: Archive, keep: Keep, prefix: t.Sequence[str]) -> None:
    while True:
        start = _skip_zeros(file)
        file.seek(start)
        magic = file.read(6)
        file.seek(start)
        if not magic:
            return
        if magic in _MAGIC:
            _read_cpio(file, path, found, keep)
            continue
        with _opened(file, magic, path, prefix) as stream:
            inner = t.cast(t.BinaryIO, stream)
            while _at_archive(inner, path):
                _read_cpio(inner, path, found, keep, begun=True)
        return


def _skip_zeros(file: t.BinaryIO) -> int:
    """The place of the next byte that is not zero: archives are padded with them."""
    while True:
        start, piece = file.tell(), file.read(4096)
        left = piece.lstrip(b"\0")
        if left or not piece:
            return start + len(piece) - len(left)


def _at_archive(stream: t.BinaryIO, path: str) -> bool:
    """Whether another archive follows inside of what was compressed; its magic is read."""
    while True:
        byte = stream.read(1)
        if not byte:
            return False
        if byte != b"\0":
            if byte + stream.read(5) not in _MAGIC:
                raise DamagedError(path, "holds something that is no cpio archive", _REMEDY)
            return True


@contextlib.contextmanager
def _opened(file: t.BinaryIO, magic: bytes, path: str, prefix: t.Sequence[str]) -> t.Iterator[t.Any]:
    """What is compressed, as a stream of what it was. Not every Python has all of these modules."""
    if magic[:2] == b"\x1f\x8b":
        import gzip

        yield gzip.GzipFile(fileobj=file)
    elif magic[:3] == b"BZh":
        import bz2

        yield bz2.BZ2File(file)
    elif magic == b"\xfd7zXZ\0" or magic[:3] == b"]\0\0":
        import lzma

        yield lzma.LZMAFile(file)
    else:
        tool = next((tool for begins, tool in _TOOLS.items() if magic.startswith(begins)), None)
        if tool is None:
            raise DamagedError(path, f"begins with {magic!r}, which is neither a cpio archive nor compressed in a way that the kernel knows", _REMEDY)
        with _piped(file, [*prefix, *tool], path) as stream:
            yield stream


@contextlib.contextmanager
def _piped(file: t.BinaryIO, argv: t.Sequence[str], path: str) -> t.Iterator[t.Any]:
    os.lseek(file.fileno(), file.tell(), os.SEEK_SET)  # where the command begins to read
    try:
        # run_command takes no open file
        process = subprocess.Popen(list(argv), stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # pylint: disable=ansible-bad-function
    except OSError as error:
        raise HostError(argv[-2], f"is needed to read {path}, and cannot be started: {error.strerror}", f"Install the package {argv[-2]}") from error
    try:
        yield process.stdout
        if process.wait() != 0:
            raise DamagedError(path, f"is cut off or damaged ({argv[-2]} ended with exit code {process.returncode})", _REMEDY)
    finally:
        if process.stdout is not None:
            process.stdout.close()
        process.kill()
        process.wait()


def _read_cpio(stream: t.BinaryIO, path: str, found: Archive, keep: Keep, begun: bool = False) -> None:
    """One archive, up to its end; ``begun`` where the magic of the first file was read."""
    while True:
        header = (_MAGIC[0] + _exactly(stream, _HEADER - 6, path)) if begun else _exactly(stream, _HEADER, path)
        begun = False
        if header[:6] not in _MAGIC:
            raise DamagedError(path, "holds a file that does not begin as one of a cpio archive does", _REMEDY)
        try:
            size, length = int(header[54:62], 16), int(header[94:102], 16)
        except ValueError:
            raise DamagedError(path, "holds a file of which no size can be read", _REMEDY) from None
        name = _exactly(stream, length + -(_HEADER + length) % 4, path)[:length - 1].decode("utf-8", "surrogateescape")
        if name == _END:
            return
        _take(stream, path, found, _plain(name), size, keep)


def _take(stream: t.BinaryIO, path: str, found: Archive, name: str, size: int, keep: Keep) -> None:
    found.names.add(name)
    padded = size + -size % 4
    if keep(name) and size <= _LARGEST_KEPT:
        data = _exactly(stream, padded, path)[:size]
        if data or name not in found.contents:  # of hard links, the last has the content
            found.contents[name] = data
        return
    while padded:
        padded -= len(_exactly(stream, min(padded, _PIECE), path))


def _exactly(stream: t.BinaryIO, size: int, path: str) -> bytes:
    data = stream.read(size)
    while len(data) < size:
        more = stream.read(size - len(data))
        if not more:
            raise DamagedError(path, "is cut off", _REMEDY)
        data += more
    return data


def _plain(name: str) -> str:
    """``usr/`` goes: where it is merged, ``/sbin`` is a link to ``/usr/sbin``, and what is there has the longer name."""
    for start in ("./", "/", "usr/"):
        if name.startswith(start):
            name = name[len(start):]
    return name
