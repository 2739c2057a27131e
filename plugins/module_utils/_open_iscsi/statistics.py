# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The counters of sessions, as ``iscsiadm -m session --stats`` prints them (usr/iscsiadm.c, session_stats).

The kernel gives them over netlink to a group in which iscsid listens too, so they are asked of iscsid, which was made for that, and by its own tool.
"""

from __future__ import annotations

import re
import time
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Runner, TimedOutError
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.iscsiadm import Exit, IscsiadmError, explain, statistics_arguments

Counters = t.Dict[str, int]
_HEAD = re.compile(r"Stats for session \[sid: (\d+), ")
_COUNTER = re.compile(r"\s+(\S.*): (-?\d+)")
#: nobody answers then, whatever is asked
_HOPELESS = (Exit.ISCSID_NOT_CONNECTED, Exit.ACCESS)


def parse_statistics(text: str) -> t.Dict[int, Counters]:
    """Session id -> counters, by iscsiadm's names; those of the transport beside those of all."""
    found: t.Dict[int, Counters] = {}
    counters: Counters = {}
    for line in text.splitlines():
        head, counter = _HEAD.match(line), _COUNTER.fullmatch(line)
        if head:
            counters = found.setdefault(int(head.group(1)), {})
        elif counter:
            counters[counter.group(1)] = int(counter.group(2)) % 2 ** 64  # bytes are printed with a sign, and have none
    return found


def read_statistics(sids: t.Sequence[int], runner: Runner, timeout: float = 30.0) -> t.Tuple[t.Dict[int, Counters], t.List[t.Dict[str, str]]]:
    """The counters of these sessions, and a problem for each that has given none. One process, none without a session.

    iscsiadm ends at the first session that gives no answer; those behind it are asked one by one then. Raises ``IscsiadmError`` where iscsid answers nobody.
    """
    found: t.Dict[int, Counters] = {}
    problems: t.List[t.Dict[str, str]] = []
    deadline = time.monotonic() + timeout
    for sid in (None, *sids) if len(sids) > 1 else sids:
        if sid in found:
            continue
        try:
            result = runner.run(["iscsiadm", *statistics_arguments(sid)], timeout=max(deadline - time.monotonic(), 1.0))
        except TimedOutError as error:
            what, remedy = error.what, error.remedy
        else:
            if result.code in _HOPELESS:
                raise IscsiadmError(result)
            found.update((number, counters) for number, counters in parse_statistics(result.stdout).items() if number in sids)
            what, remedy = explain(result.code)
        if sid is not None and sid not in found:
            problems.append({"object": f"session {sid}", "what": f"gave no counters: {what}", "remedy": remedy})
    return found, problems
