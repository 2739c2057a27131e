# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A power cut in the middle of a playbook: after so many changes on a host, a command is run, and the playbook is over."""

from __future__ import annotations

import os
import shlex
import subprocess
import typing as t
from pathlib import Path

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: power_cut
type: aggregate
short_description: Cuts the power after so many changes
description:
  - After E2E_CUT_AFTER changes on the host E2E_CUT_HOST, runs the command E2E_CUT_COMMAND (split as a shell would), and ends the playbook at once with code 75.
  - The name of each task that changed something there is written to the file E2E_CUT_CHANGES, one a line. Items of loops count one by one.
"""
#: sysexits.h, EX_TEMPFAIL: to be run again
OVER = 75


class CallbackModule(CallbackBase):
    """One playbook run."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "power_cut"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._after = int(os.environ.get("E2E_CUT_AFTER") or 0)
        self._command = shlex.split(os.environ.get("E2E_CUT_COMMAND", ""))
        self._host = os.environ.get("E2E_CUT_HOST", "")
        self._changes = 0

    def v2_runner_on_ok(self, result: t.Any) -> None:
        """A task, or all items of a loop."""
        if "results" not in result._result or not result._task.loop:
            self._count(result)

    def v2_runner_item_on_ok(self, result: t.Any) -> None:
        """One item of a loop."""
        self._count(result)

    def _count(self, result: t.Any) -> None:
        if result._host.get_name() != self._host or not result._result.get("changed"):
            return
        self._changes += 1
        kept = os.environ.get("E2E_CUT_CHANGES")
        if kept:
            Path(kept).parent.mkdir(parents=True, exist_ok=True)
            with Path(kept).open("a", encoding="utf-8") as file:
                file.write(f"{result._task.name or result._task.action}\n")
        if self._changes == self._after:
            subprocess.run(self._command, check=True, stdout=subprocess.DEVNULL)
            os._exit(OVER)
