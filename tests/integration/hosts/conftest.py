# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real iscsiadm over a stand-in for a kernel with an adapter (adapter.py), as a program that the code under test runs."""

from __future__ import annotations

import os
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.tests.integration.hosts.record import Machine, build_library


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if os.geteuid() != 0 or shutil.which("gcc") is None:
        pytest.fail("these tests run iscsiadm in a mount namespace: run them as root, with the packages gcc and libc6-dev installed")
    return build_library(tmp_path_factory.mktemp("preloaded"))


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
