# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libiscsi's conformance suite ``iscsi-test-cu``, and its verdicts on a declared LUN beside those on one set up by hand."""

from __future__ import annotations

import re
import shlex
import sys
import typing as t
from pathlib import Path

#: from worst to best
VERDICTS = ("no result", "failed", "skipped", "passed")
#: tests that pass or fail by chance, seen both ways on one target: they ask for the reservation of a session that they have just ended, three times
#: within 0.2 s, and the kernel ends sessions behind the scenes; the slower the hosts, the more often it is done in time
RACES = ("Reserve6.Logout",)


def command(*urls: str) -> t.List[str]:
    """Every test of the suite on one LUN, over one portal or two."""
    return ["iscsi-test-cu", "--dataloss", "--allow-sanitize", "--ignore", "--verbose", "--test=ALL", "--initiator-name=iqn.2026-11.org.example:one",
            "--initiator-name-2=iqn.2026-11.org.example:two", *urls]


def verdicts(printed: str) -> t.Dict[str, str]:
    """``Suite.Test`` -> verdict, from what CUnit prints in its verbose mode. A test that says SKIPPED passes as far as CUnit knows."""
    found: t.Dict[str, str] = {}
    suite = name = ""
    for line in printed.splitlines():
        begins = re.match(r"Suite: (\S+)", line.strip())
        test = re.match(r"\s*Test: (\S+) \.\.\.", line)
        suite = begins.group(1) if begins else suite
        if test:
            name = f"{suite}.{test.group(1)}"
            found[name] = VERDICTS[0]
        if name and "[SKIPPED]" in line:
            found[name] = "skipped"
        # the verdict is a word of its own on standard output; what a test has to say stands around it
        verdict = re.search(r"(?:^|\.\.\.)(passed|FAILED)\b", line)
        if name and verdict and (verdict.group(1) == "FAILED" or found[name] != "skipped"):
            found[name] = verdict.group(1).lower()
    return found


def worse(by_hand: t.Mapping[str, str], declared: t.Mapping[str, str]) -> t.Dict[str, t.Tuple[str, str]]:
    """The tests that went worse on the declared LUN: by hand, declared."""
    pairs = {name: (verdict, declared.get(name, VERDICTS[0])) for name, verdict in by_hand.items()}
    return {name: pair for name, pair in pairs.items() if name not in RACES and VERDICTS.index(pair[1]) < VERDICTS.index(pair[0])}


def compare(by_hand: t.Mapping[str, str], declared: t.Mapping[str, str]) -> t.List[str]:
    """What speaks against the declared LUN, in words."""
    found = [f"{name}: {first} by hand, {second} declared" for name, (first, second) in worse(by_hand, declared).items()]
    if len(declared) <= 200 or list(declared.values()).count("passed") <= 100:
        found.append(f"of {len(declared)} tests, {list(declared.values()).count('passed')} passed; more than 200 and 100 are expected")
    return found


def table(by_hand: t.Mapping[str, str], declared: t.Mapping[str, str]) -> str:
    """How many of each verdict, then every test by its suite and verdict on the declared LUN, in Markdown."""
    rows = ["| verdict | by hand | declared |", "| --- | --- | --- |"]
    rows += [f"| {verdict} | {list(by_hand.values()).count(verdict)} | {list(declared.values()).count(verdict)} |" for verdict in reversed(VERDICTS)]
    rows += ["", "| suite | passed | skipped | failed | otherwise by hand |", "| --- | --- | --- | --- | --- |"]
    for suite in dict.fromkeys(name.split(".")[0] for name in [*by_hand, *declared]):
        names = [name for name in dict.fromkeys([*by_hand, *declared]) if name.split(".")[0] == suite]
        cells = [", ".join(name.split(".")[1] for name in names if declared.get(name, VERDICTS[0]) in wanted)
                 for wanted in (("passed",), ("skipped",), ("failed", VERDICTS[0]))]
        cells.append(", ".join(f"{name.split('.')[1]} {by_hand.get(name)}" for name in names if by_hand.get(name) != declared.get(name)))
        rows.append(f"| {suite} | " + " | ".join(cells) + " |")
    return "\n".join([*rows, ""])


def main(what: str, *given: str) -> int:
    """``command URL...`` prints how the suite is called; ``compare BY_HAND DECLARED`` holds two logs against each other."""
    if what == "command":
        sys.stdout.write(shlex.join(command(*given)) + "\n")
        return 0
    by_hand, declared = (verdicts(Path(log).read_text("utf-8", errors="replace")) for log in given)
    sys.stdout.write(table(by_hand, declared))
    against = compare(by_hand, declared)
    sys.stderr.write("".join(f"{line}\n" for line in against))
    return 1 if against else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
