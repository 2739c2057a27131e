# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real iscsiadm over a stand-in for a kernel with an adapter (adapter.py), as a program that the code under test runs."""

from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result, Runner
from ansible_collections.lunar.iscsi.tests.integration.hosts.adapter import Adapter
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.sysfs_tree import Tree

HERE = Path(__file__).parent
#: in a mount namespace of its own, iscsiadm sees the tree as /sys and the stand-in as the kernel
WRAPPER = """#!/bin/sh
echo "$*" >> {folder}/calls
exec unshare --mount --propagation private sh -c \\
    'mount --bind {sys} /sys && LD_PRELOAD={library} ISCSI_KERNEL={folder}/kernel exec /usr/sbin/iscsiadm "$@"' iscsiadm "$@"
"""


class Machine:
    """A machine with an adapter, as far as iscsiadm and the code under test see it."""

    def __init__(self, folder: Path, library: Path, transport: str = "qla4xxx") -> None:
        self.folder = folder
        self.tree = Tree(folder / "root")
        self.adapter = Adapter(self.tree, folder / "kernel", transport)
        self.tool = str(folder / "iscsiadm")
        Path(self.tool).write_text(WRAPPER.format(folder=folder, sys=self.tree.sys, library=library))
        Path(self.tool).chmod(0o755)

    def iscsiadm(self, *arguments: str) -> Result:
        """The witness: what the real iscsiadm says."""
        return Runner().run([self.tool, *arguments], timeout=30)

    def calls(self) -> t.List[str]:
        """The command lines that were run since this was asked last."""
        file = self.folder / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        file.write_text("")
        return lines


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("preloaded") / "kernel.so"
    subprocess.run(["gcc", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(made), str(HERE / "kernel.c"), "-ldl"], check=True)
    return made


@pytest.fixture
def make_machine(tmp_path: Path, library: Path) -> t.Iterator[t.Callable[..., Machine]]:
    made: t.List[Machine] = []

    def make(transport: str = "qla4xxx") -> Machine:
        made.append(Machine(tmp_path, library, transport))
        return made[-1]

    yield make
    for machine in made:
        machine.adapter.close()


@pytest.fixture
def machine(make_machine: t.Callable[..., Machine]) -> Machine:
    return make_machine()
