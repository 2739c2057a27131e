# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count the checks of a verify playbook, and keep which tasks changed something, so that check mode can be held against the run."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

from ansible import context
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: witness
type: aggregate
short_description: Counts passed assertions and keeps the names of tasks that changed something
description:
  - Prints how many conditions of C(ansible.builtin.assert) held in C(verify.yml).
  - Writes the names of tasks that changed something (or would) to E2E_CHANGES/PLAYBOOK.check.json or PLAYBOOK.run.json, the first run of each kind only.
"""


class CallbackModule(CallbackBase):
    """One playbook run."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "witness"

    def __init__(self) -> None:
        super().__init__()
        self._playbook = ""
        self._checks = 0
        self._changed: t.List[str] = []

    def v2_playbook_on_start(self, playbook: t.Any) -> None:
        """Remember which playbook this is."""
        self._playbook = Path(playbook._file_name).stem

    def v2_runner_on_ok(self, result: t.Any) -> None:
        """Count conditions that held; note what changed something."""
        task = result._task
        if task.resolved_action == "ansible.builtin.assert" and task._role is None:
            that = task.args.get("that", [])
            self._checks += len(that) if isinstance(that, list) else 1
        if result._result.get("changed"):
            self._changed.append(task.name or task.action)

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        """Say it, write it."""
        failed = any(stats.failures.values()) or any(stats.dark.values())
        if self._playbook == "verify" and not failed:
            self._display.display(f"{self._checks} checks passed")
        folder = os.environ.get("E2E_CHANGES")
        if folder and not failed:
            path = Path(folder, f"{self._playbook}.{'check' if context.CLIARGS.get('check') else 'run'}.json")
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_text(json.dumps(self._changed, indent=2) + "\n", encoding="utf-8")
