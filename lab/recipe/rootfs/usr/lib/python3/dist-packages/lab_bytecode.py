# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the bytecode of what Python imports from zip files, as it does by itself for other files.

Each task of Ansible brings its Python files in a new zip file, and compiling them is much of what a small task costs an emulated CPU.
"""

import _imp
import marshal
import os
import sys
import zipimport

FOLDER = f"/var/cache/lab-bytecode/{sys.hexversion:x}"
# Python's own, which compiles the text of a file
compile_source = zipimport._compile_source  # type: ignore[attr-defined]


def kept(pathname, source):  # type: ignore[no-untyped-def]
    """The code of a file, kept under the hash of its text."""
    place = os.path.join(FOLDER, _imp.source_hash(sys.hexversion, source).hex())
    try:
        with open(place, "rb") as file:
            return marshal.load(file)
    except (OSError, EOFError, ValueError, TypeError):
        pass
    code = compile_source(pathname, source)
    try:
        os.makedirs(FOLDER, mode=0o700, exist_ok=True)
        with open(f"{place}.{os.getpid()}", "wb") as new:
            marshal.dump(code, new)
        os.replace(new.name, place)
    except OSError:
        pass
    return code


zipimport._compile_source = kept  # type: ignore[attr-defined]
