# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every variable of a playbook is at its head and in its page, and no other; README.md has a row for each playbook."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = {"attach": "attach_and_detach.md", "detach": "attach_and_detach.md", "rescan_fleet": "rescan_fleet.md"}


def test_every_playbook_is_in_the_readme() -> None:
    rows = re.findall(r"^\| \[`lunar\.iscsi\.(\w+)`\]\((docs/\w+\.md)\)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(name for name, _page in rows) == sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))
    assert all((ROOT / page).exists() for _name, page in rows)


@pytest.mark.parametrize("name", sorted(PAGES))
def test_every_variable_is_documented(name: str) -> None:
    text = (ROOT / "playbooks" / f"{name}.yml").read_text("utf-8")
    plays = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    own = set(re.findall(rf"^ +(?:register: )?({name}_\w+)(?:$|:)", plays, re.MULTILINE))
    used = set(re.findall(rf"(?<![_.\w]){name}_[a-z]+\b", plays)) - own - {f"{name}_hostnames"}
    head = set(re.findall(rf"^# ({name}_\w+) ", text, re.MULTILINE))
    page = set(re.findall(rf"^\| `({name}_\w+)` ", (ROOT / "docs" / PAGES[name]).read_text("utf-8"), re.MULTILINE))
    assert used == head == page
