# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs modules in namespaces of its own, each in a process of its own: a line of JSON in (module, options), a line of JSON out (what it printed).

Runs as root (``unshare --mount --net``) with a folder whose ``etc`` and ``run`` are put over the machine's own, until its standard input ends.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import typing as t

from ansible.module_utils.testing import patch_module_args

PACKAGE = "ansible_collections.lunar.iscsi.plugins.modules."


def run(name: str, options: t.Dict[str, t.Any]) -> None:
    module = importlib.import_module(PACKAGE + name)
    with patch_module_args(options):
        module.main()


def run_apart(name: str, options: t.Dict[str, t.Any]) -> str:
    """What a module prints."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(write, 1)
        os.close(read)
        os.close(write)
        try:
            run(name, options)
        finally:
            sys.stdout.flush()
            os._exit(0)
    os.close(write)
    with open(read, encoding="utf-8", errors="surrogateescape") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return text


def main(root: str) -> None:
    for name in ("etc", "run"):
        subprocess.run(["mount", "--bind", os.path.join(root, name), "/" + name], check=True)
    importlib.import_module(PACKAGE + "multipath_conf")  # once, for all children
    print("ready", flush=True)
    usual = os.environ.get("PATH", os.defpath)
    for line in sys.stdin:
        name, options = json.loads(line)
        if name:
            print(json.dumps(run_apart(name, options)), flush=True)
        else:  # no module, but where tools are looked for first
            os.environ["PATH"] = os.pathsep.join(filter(None, [options["PATH"], usual]))
            print("null", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
