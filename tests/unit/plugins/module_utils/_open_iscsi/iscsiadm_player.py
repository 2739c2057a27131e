# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for iscsiadm that plays dialogues about an adapter. They were recorded with the real one (tests/integration/hosts/record.py)."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result, Runner, TimedOutError

DIALOGUES: t.Dict[str, t.Dict[str, t.Any]] = json.loads((Path(__file__).parent / "fixtures/iscsiadm_host.json").read_text(encoding="utf-8"))


class Player(Runner):
    """Plays the dialogues of these names, in this order; ``after`` is what the adapter does with each, ``late`` are those that never end."""

    def __init__(self, *names: str, after: t.Optional[t.Mapping[str, t.Callable[[], None]]] = None, late: t.Container[str] = ()) -> None:
        super().__init__()
        self._names = list(names)
        self._after = after or {}
        self._late = late

    def run(self, argv: t.Sequence[str], *, timeout: float = 60.0, **_options: t.Any) -> Result:
        self.count += 1
        if not self._names:
            raise AssertionError(f"nobody expected {argv}")
        name = self._names.pop(0)
        dialogue = DIALOGUES[name]
        if " ".join(argv) != "iscsiadm " + dialogue["arguments"]:
            raise AssertionError(f"{name}: expected {dialogue['arguments']}, got {argv}")
        if name in self._late:
            raise TimedOutError(argv, timeout)
        self._after.get(name, lambda: None)()
        return Result(tuple(argv), dialogue["code"], *("".join(line + "\n" for line in dialogue[word]) for word in ("stdout", "stderr")))

    def through(self) -> bool:
        """Whether all of it was played."""
        return not self._names
