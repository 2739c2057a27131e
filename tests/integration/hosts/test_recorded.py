# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the unit tests play is still what iscsiadm says."""

from __future__ import annotations

import json
import re

from ansible_collections.lunar.iscsi.tests.integration.hosts.record import FIXTURE, Machine, dialogues


def test_the_recorded_dialogues_are_those_of_this_iscsiadm(machine: Machine) -> None:
    """Another version of it may have other words; then look at them, and record anew (record.py)."""
    heard, recorded = (re.sub(r"# BEGIN RECORD [0-9.]+", "# BEGIN RECORD", text) for text in (json.dumps(dialogues(machine)), FIXTURE.read_text()))
    assert json.loads(heard) == json.loads(recorded)
