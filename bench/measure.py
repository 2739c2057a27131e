# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pairs of runs, their ratio, and the bound that the ratio has to keep."""

from __future__ import annotations

import statistics
import time
import typing as t
from dataclasses import dataclass

#: something that is timed; it raises where it does not do what it should
Action = t.Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One comparison: medians in seconds, the median of the pairs' ratios, its smallest and largest, and the bound."""

    what: str
    ours: float
    other: float
    ratio: float
    low: float
    high: float
    pairs: int
    bound: t.Optional[float]
    at_least: bool = False

    @property
    def kept(self) -> bool:
        """Whether the bound was kept; a row without one only informs."""
        if self.bound is None:
            return True
        return self.ratio >= self.bound if self.at_least else self.ratio <= self.bound

    def cells(self) -> t.List[str]:
        """The row of the table."""
        bound = "none" if self.bound is None else f"{'at least' if self.at_least else 'at most'} {self.bound:g}"
        kept = "-" if self.bound is None else "yes" if self.kept else "NO"
        return [self.what, seconds(self.ours), seconds(self.other), f"{self.ratio:.2f}", f"{self.low:.2f} to {self.high:.2f}", str(self.pairs),
                bound, kept]


TITLES = ["what", "ours", "the other", "ratio", "spread", "pairs", "bound", "kept"]


def seconds(value: float) -> str:
    """A time with three digits that mean something."""
    return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"


def timed(action: Action) -> float:
    """How long an action takes, in seconds."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def compare(what: str, ours: Action, other: Action, *, pairs: int, bound: t.Optional[float], before: Action = lambda: None) -> Row:
    """Ours divided by the other, in turns after one pair that does not count; ``before`` prepares each of ours, untimed."""
    taken: t.List[t.Tuple[float, float]] = []
    for number in range(pairs + 1):
        second = timed(other)
        before()
        first = timed(ours)
        if number:
            taken.append((first, second))
    ratios = [first / second for first, second in taken]
    return Row(what, statistics.median(pair[0] for pair in taken), statistics.median(pair[1] for pair in taken), statistics.median(ratios),
               min(ratios), max(ratios), pairs, bound)
