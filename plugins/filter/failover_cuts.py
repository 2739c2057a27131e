# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of the playbook failover_drill."""

from __future__ import annotations

DOCUMENTATION = r"""
name: failover_cuts
short_description: Plan the cuts of a failover drill
version_added: 0.1.0
author:
  - The lunar.iscsi contributors (@lunar-iscsi)
description:
  - What the playbook C(lunar.iscsi.failover_drill) cuts, where, and with which limit; and every reason not to begin.
  - Cuts that would be the same, such as two paths over one interface, are one.
positional: _input
options:
  _input:
    description: The paths of a map, as M(lunar.iscsi.multipath_info) returns them.
    type: list
    elements: dict
    required: true
  sessions:
    description: The sessions behind them, as M(lunar.iscsi.iscsi_session_info) returns them.
    type: list
    elements: dict
    required: true
  netdevs:
    description: The interface that leads to the portal of each of these sessions, in the same order.
    type: list
    elements: str
    required: true
  kinds:
    description: Kinds of cuts, in the order in which they are to be made.
    type: list
    elements: str
    required: true
    choices: [filter, interface, portal, service]
  host:
    description: The inventory name of the initiator.
    type: str
    required: true
  targets:
    description: The inventory name of the target behind each portal address. Wanted for V(portal) and V(service).
    type: dict
    default: {}
  service:
    description: The service to stop there. Without it, the target service that is active.
    type: str
    default: ""
  outage:
    description: Whether a cut may take every path.
    type: bool
    default: false
  carriers:
    description: Interfaces that carry the controller's own connection.
    type: list
    elements: str
    default: []
  limit:
    description: The longest stall that passes, in seconds. Without it, NOP interval + NOP timeout + 3 of the session, the detection limit.
    type: float
  seconds:
    description: How long each path is cut. Without it, the limit + 7.
    type: int
seealso:
  - module: lunar.iscsi.multipath_info
  - module: lunar.iscsi.iscsi_session_info
"""

EXAMPLES = r"""
- name: What would be cut, and why not?
  ansible.builtin.debug:
    msg: >-
      {{ map.groups | map(attribute='paths') | flatten
         | lunar.iscsi.failover_cuts(sessions=iscsi.sessions, netdevs=['san1', 'san2'], kinds=['filter', 'interface'], host='web1') }}
"""

RETURN = r"""
_value:
  description: The plan.
  type: dict
  contains:
    cuts:
      description: The cuts in order, each with its kind, the host to make it on, the arguments it takes there, and the paths it takes and leaves.
      type: list
      elements: dict
      sample:
        - arguments: ["192.168.56.101", "3260", "192.168.56.10"]
          cut: filter
          host: web1
          left: "192.168.57.101:3260,2"
          limit: 13.0
          path: "192.168.56.101:3260,1"
          seconds: 20
          sids: [1]
    problems:
      description: Reasons not to begin, in words.
      type: list
      elements: str
      sample: ["interface san1 takes every path. Say failover_drill_outage=true if I/O may wait until it is restored"]
"""

import math
import re
import typing as t

#: what is added to the time in which a silent path is noticed: for handing I/O over to another path
ALLOWANCE = 3.0
#: how much longer than the limit a path is cut, so that a stall that is too long is seen as such
MARGIN = 7
PORTAL = re.compile(r"\[?(?P<address>[^%\]]*?)(?:%[^\]]*)?\]?:(?P<port>\d+),(?P<tag>\d+)")

Fact = t.Mapping[str, t.Any]


def failover_cuts(paths: t.Sequence[Fact], sessions: t.Sequence[Fact], netdevs: t.Sequence[str], kinds: t.Sequence[str], host: str, *,
                  targets: t.Optional[t.Mapping[str, str]] = None, service: str = "", outage: bool = False, carriers: t.Sequence[str] = (),
                  limit: t.Optional[float] = None, seconds: t.Optional[int] = None) -> t.Dict[str, t.Any]:
    """The cuts in order, and every reason not to begin; see above."""
    behind = {session["sid"]: (session, netdev) for session, netdev in zip(sessions, netdevs)}
    taken: t.Dict[t.Tuple[str, ...], t.List[Fact]] = {}
    problems: t.List[str] = []
    for kind in kinds:
        for path in paths:
            session, netdev = behind[path["session"]["sid"]]
            where, arguments = _place(kind, session, netdev, host, targets or {}, service)
            taken.setdefault((kind, where, *arguments), []).append(session)
            if not where:
                problems.append(f"{kind} is made on the target, and failover_drill_targets does not say which host has {_parts(session)['address']}")
            elif kind == "interface" and not netdev:
                problems.append(f"no interface leads to {session['portal']}")
            elif kind == "interface" and netdev in carriers:
                problems.append(f"interface {netdev} carries the controller's own connection")
    cuts = []
    for (kind, where, *arguments), hit in taken.items():
        sids = [session["sid"] for session in hit]
        left = [behind[path["session"]["sid"]][0]["portal"] for path in paths if path["session"]["sid"] not in sids]
        limits = [_limit(session) if limit is None else float(limit) for session in hit]
        if not all(limits):
            problems.append(f"the session to {_portals(hit)} sends no pings, so that no limit follows from its timers. Say failover_drill_limit")
        longest = max(limits)
        held = math.ceil(longest) + MARGIN if seconds is None else int(seconds)
        if held <= longest:
            problems.append(f"a cut of {held} s shows no stall of more than {longest:g} s, which is the limit. Give failover_drill_seconds more")
        if not left and not outage:
            problems.append(f"{' '.join([kind, *arguments])} takes every path. Say failover_drill_outage=true if I/O may wait until it is restored")
        cuts.append({"cut": kind, "host": where, "arguments": arguments, "path": _portals(hit), "left": ", ".join(left), "sids": sids,
                     "limit": longest if left else None, "seconds": held})
    return {"cuts": cuts, "problems": list(dict.fromkeys(problems))}


def _place(kind: str, session: Fact, netdev: str, host: str, targets: t.Mapping[str, str], service: str) -> t.Tuple[str, t.List[str]]:
    """On which host a cut is made, and the arguments that it takes there. Two paths with the same are hit by the same cut."""
    parts = _parts(session)
    if kind == "filter":
        return host, [parts["address"], parts["port"], *filter(None, [session["iface"]["ipaddress"]])]
    if kind == "interface":
        return host, [netdev]
    where = targets.get(parts["address"], "")
    return where, [session["target"], parts["tag"]] if kind == "portal" else list(filter(None, [service]))


def _parts(session: Fact) -> t.Dict[str, str]:
    """Address, port and tag of the portal that a session is connected to."""
    match = PORTAL.fullmatch(session["portal"])
    return match.groupdict() if match else {"address": session["portal"], "port": "", "tag": ""}


def _portals(sessions: t.Iterable[Fact]) -> str:
    return ", ".join(session["portal"] for session in sessions)


def _limit(session: Fact) -> float:
    """The detection limit; 0 where nothing is detected, since one of the timers is off or unknown."""
    timeouts = session["timeouts"]
    interval, timeout = timeouts["recv_tmo"] or 0, timeouts["ping_tmo"] or 0
    return interval + timeout + ALLOWANCE if interval and timeout else 0.0


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"failover_cuts": failover_cuts}
