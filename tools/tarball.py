# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look into the built tarball: what must be there is, and nothing of a developer's machine came along."""

from __future__ import annotations

import sys
import tarfile

NEEDED = ("MANIFEST.json", "FILES.json", "README.md", "COPYING", "meta/runtime.yml", "plugins/module_utils/_errors.py", "changelogs/config.yaml")
FOREIGN = (".venv", ".build", ".cache", ".git", "tests/output", "__pycache__", ".ansible/")


def main(path: str) -> int:
    """Print what is wrong, one line each; 1 if anything is."""
    with tarfile.open(path) as tarball:
        names = tarball.getnames()
    wrong = [f"missing: {name}" for name in NEEDED if name not in names]
    wrong += [f"does not belong here: {name}" for name in names if any(part in name + "/" for part in FOREIGN)]
    if not any(name.startswith("plugins/modules/") and name.endswith(".py") for name in names):
        wrong.append("missing: any module under plugins/modules")
    print("\n".join(wrong) or f"{len(names)} files and folders, all in order")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
