# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dialogues with the real iscsiadm about an adapter, which the unit tests play again: python record.py, as root, with the collection in PYTHONPATH."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import typing as t
from pathlib import Path

from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result, Runner
from ansible_collections.lunar.iscsi.tests.integration.hosts.adapter import HOST, Adapter
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.sysfs_tree import Tree

HERE = Path(__file__).parent
FIXTURE = HERE.parents[1] / "unit/plugins/module_utils/_open_iscsi/fixtures/iscsiadm_host.json"
TARGET = "iqn.2002-03.com.compellent:5000d310004b0716"
CHAP, NODE = f"-m host -H {HOST} -C chap", f"-m host -H {HOST} -C flashnode"
#: command lines, in an order in which the adapter has something to say
SCRIPT: t.Mapping[str, str] = {
    "empty table": f"{CHAP} -o show",
    "add entry": f"{CHAP} -o update -x 4 -n host.auth.username -v host1 -n host.auth.password -v secret-of-host",
    "add entry anywhere": f"{CHAP} -o new -n host.auth.username_in -v target1 -n host.auth.password_in -v secret-of-target",
    "change kind of entry": f"{CHAP} -o update -x 4 -n host.auth.username_in -v host1 -n host.auth.password_in -v secret-of-host",
    "table": f"{CHAP} -o show",
    "no flash nodes": NODE,
    "new flash node": f"{NODE} -o new -A ipv4",
    "new while one is unfinished": f"{NODE} -o new -A ipv6",
    "log in unfinished": f"{NODE} -x 2 -o login",
    "update flash node": f"{NODE} -x 2 -o update -n flashnode.conn[0].ipaddress -v 192.168.1.12 -n flashnode.conn[0].port -v 3260 "
                         f"-n flashnode.session.targetname -v {TARGET}",
    "use entry": f"{NODE} -x 2 -o update -n flashnode.session.chap_out_idx -v 4",
    "log in": f"{NODE} -x 2 -o login",
    "log in again": f"{NODE} -x 2 -o login",
    "change used entry": f"{CHAP} -o update -x 4 -n host.auth.username -v host1 -n host.auth.password -v another-secret",
    "delete used entry": f"{CHAP} -o delete -x 4",
    "list of flash nodes": NODE,
    "log out": f"{NODE} -x 2 -o logout",
    "log out again": f"{NODE} -x 2 -o logout",
    "delete flash node": f"{NODE} -x 2 -o delete",
    "delete flash node that is gone": f"{NODE} -x 2 -o delete",
    "delete entry": f"{CHAP} -o delete -x 4",
    "statistics": f"-m host -H {HOST} -C stats",
    "statistics of a host that is not there": "-m host -H 7 -C stats",
}

#: in namespaces of its own, iscsiadm sees the tree as /sys and the stand-in as the kernel; it neither finds an iscsid nor is told how to start one
_WRAPPER = """#!/bin/sh
echo "$*" >> {folder}/calls
exec unshare --mount --net --propagation private sh -c \\
    'mount --bind {sys} /sys && mount --bind {folder}/iscsid.conf /etc/iscsi/iscsid.conf &&
     LD_PRELOAD={library} ISCSI_KERNEL={folder}/kernel exec /usr/sbin/iscsiadm "$@"' iscsiadm "$@"
"""


def build_library(folder: Path) -> Path:
    """The library that is preloaded into iscsiadm."""
    library = folder / "kernel.so"
    subprocess.run(["gcc", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(HERE / "kernel.c"), "-ldl"], check=True)
    return library


class Machine:
    """A machine with an adapter, as far as iscsiadm and the code under test see it."""

    def __init__(self, folder: Path, library: Path, transport: str = "qla4xxx") -> None:
        self.tree = Tree(folder / "root")
        self.adapter = Adapter(self.tree, folder / "kernel", transport)
        self.tool = str(folder / "iscsiadm")
        self._calls = folder / "calls"
        (folder / "iscsid.conf").write_text("")
        Path(self.tool).write_text(_WRAPPER.format(folder=folder, sys=self.tree.sys, library=library))
        Path(self.tool).chmod(0o755)

    def iscsiadm(self, line: str) -> Result:
        """The witness: how the real iscsiadm ends, and what it says."""
        return Runner().run([self.tool, *line.split(" ")], timeout=30)

    def calls(self) -> t.List[str]:
        """The command lines that were run since this was asked last."""
        lines = self._calls.read_text().splitlines() if self._calls.exists() else []
        self._calls.write_text("")
        return lines


def dialogues(machine: Machine) -> t.Dict[str, t.Dict[str, t.Any]]:
    """What iscsiadm says to each command line."""
    found = {}
    for name, line in SCRIPT.items():
        result = machine.iscsiadm(line)
        found[name] = {"arguments": line, "code": result.code, "stdout": result.stdout.splitlines(), "stderr": result.stderr.splitlines()}
    return found


def main() -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        machine = Machine(folder, build_library(folder))
        FIXTURE.write_text(json.dumps(dialogues(machine), indent=1) + "\n")
        machine.adapter.close()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
