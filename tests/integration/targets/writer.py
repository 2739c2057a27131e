# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An initiator that writes block 0 again and again until its standard input ends: ``PORTAL TARGET USER SECRET BYTES``.

It prints ``ready`` after the first write, and at the end the number of writes and the seconds of the slowest one; a write that fails ends it.
"""

from __future__ import annotations

import ctypes
import select
import sys
import time
import typing as t

#: libiscsi's enum iscsi_session_type
_NORMAL = 2
_BLOCK = 512


def _library() -> t.Any:
    library = ctypes.CDLL("libiscsi.so.7")
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    library.iscsi_create_context.restype = pointer
    library.iscsi_get_error.restype = text
    library.iscsi_write10_sync.restype = pointer
    for name, arguments in {
        "create_context": [text], "get_error": [pointer], "set_session_type": [pointer, number], "set_targetname": [pointer, text],
        "set_initiator_username_pwd": [pointer, text, text], "full_connect_sync": [pointer, text, number], "set_timeout": [pointer, number],
        "set_noautoreconnect": [pointer, number],
        "write10_sync": [pointer, number, ctypes.c_uint32, text, ctypes.c_uint32, number, number, number, number, number, number],
    }.items():
        getattr(library, f"iscsi_{name}").argtypes = arguments
    return library


def main(portal: str, target: str, user: str, secret: str, size: str) -> None:
    library = _library()
    context = library.iscsi_create_context(b"iqn.2026-11.org.example:writer")
    library.iscsi_set_session_type(context, _NORMAL)
    library.iscsi_set_targetname(context, target.encode())
    library.iscsi_set_initiator_username_pwd(context, user.encode(), secret.encode())
    library.iscsi_set_noautoreconnect(context, 1)
    if library.iscsi_full_connect_sync(context, portal.encode(), 1):
        sys.exit(f"no session: {library.iscsi_get_error(context)!r}")
    library.iscsi_set_timeout(context, 20)
    data, writes, slowest = b"x" * int(size), 0, 0.0
    while not select.select([sys.stdin], [], [], 0)[0]:
        begin = time.monotonic()
        task = library.iscsi_write10_sync(context, 1, 0, data, len(data), _BLOCK, 0, 0, 0, 0, 0)
        slowest = max(slowest, time.monotonic() - begin)
        # the status is the first member of struct scsi_task
        if not task or ctypes.cast(task, ctypes.POINTER(ctypes.c_int))[0]:
            sys.exit(f"write {writes} failed after {slowest:.1f} s: {library.iscsi_get_error(context)!r}")
        writes += 1
        if writes == 1:
            print("ready", flush=True)
    print(writes, f"{slowest:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
