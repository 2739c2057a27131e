# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hosts of a fleet see of disks and volume groups, for the table of the playbook rescan_fleet."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_summary
short_description: Sum up what the hosts of a fleet see of disks and volume groups
version_added: 0.1.0
author:
  - The lunar.iscsi contributors (@lunar-iscsi)
description:
  - One row for each host and volume group, and what is wrong with them - on one host, or seen beside the others. A group belongs together by its UUID.
positional: _input
options:
  _input:
    description:
      - One entry for each host, with C(host), its name, and what M(lunar.iscsi.iscsi_session) returned as C(disks), M(lunar.iscsi.lvm_activation) as
        C(lvm), and as C(active) when it was asked for the volumes that are active. What is missing was not looked at.
    type: list
    elements: dict
    required: true
seealso:
  - module: lunar.iscsi.iscsi_session
  - module: lunar.iscsi.lvm_activation
"""

EXAMPLES = r"""
- name: What do two hosts see?
  ansible.builtin.debug:
    msg: "{{ seen | lunar.iscsi.fleet_summary }}"
  vars:
    seen:
      - {host: xen1, disks: {steps: []}, lvm: {groups: []}}
      - {host: xen2, disks: {unreachable: true, msg: no route to host}}
"""

RETURN = r"""
_value:
  description:
    - C(rows), each with C(host), C(disks) (what was done to its disks, such as V(add 2)), C(group), C(free) in bytes, C(volumes) and C(active).
    - C(notes), sentences about what is wrong; C(failed), the names of hosts that could not be looked at.
  type: dict
  sample:
    rows: [{host: xen1, disks: add 1, group: xenGuests, free: 532676608, volumes: [noc1, noc2], active: [noc1]}]
    notes: ["xenGuests is active on xen1 and xen2, and nothing keeps them from each other."]
    failed: []
"""

import typing as t

from ansible.errors import AnsibleFilterError

Seen = t.Mapping[str, t.Any]


def fleet_summary(fleet: t.Sequence[Seen]) -> t.Dict[str, t.Any]:
    """Rows, notes and failed hosts; see above. Raises ``AnsibleFilterError``."""
    rows: t.List[t.Dict[str, t.Any]] = []
    notes: t.List[str] = []
    failed: t.List[str] = []
    for seen in fleet:
        if not isinstance(seen.get("host"), str):
            raise AnsibleFilterError("fleet_summary takes entries with host, disks, lvm and active, and one has no host.")
        wrong = _why_failed(seen)
        if wrong:
            failed.append(seen["host"])
            notes.append(f"{seen['host']} could not be looked at: {wrong}")
        rows += _rows(seen)
        notes += [f"{seen['host']}: {problem['object']} {problem['what']}. {problem['remedy']}".rstrip(". ") + "." for problem in _problems(seen)]
    return {"rows": rows, "notes": notes + _beside_each_other([seen for seen in fleet if _groups(seen) is not None]), "failed": failed}


def _why_failed(seen: Seen) -> str:
    results = [seen.get(part) or {} for part in ("disks", "lvm", "active")]
    if "steps" in results[0] and "groups" in results[1] and not any(result.get("error") for result in results):
        return ""
    return next((str(result["msg"]) for result in results if result.get("msg")), "it gave no answer.")


def _groups(seen: Seen) -> t.Optional[t.Sequence[Seen]]:
    return t.cast(t.Optional[t.Sequence[Seen]], (seen.get("lvm") or {}).get("groups"))


def _rows(seen: Seen) -> t.List[t.Dict[str, t.Any]]:
    done: t.Dict[str, int] = {}
    for step in (seen.get("disks") or {}).get("steps") or ():
        done[step.split()[0]] = done.get(step.split()[0], 0) + 1
    row = {"host": seen["host"], "disks": ", ".join(f"{word} {count}" for word, count in done.items()), "group": "", "free": 0, "volumes": [], "active": []}
    return [dict(row, group=group["name"], **{key: group[key] for key in ("free", "volumes", "active")}) for group in _groups(seen) or ()] or [row]


def _problems(seen: Seen) -> t.List[t.Mapping[str, str]]:
    found: t.List[t.Mapping[str, str]] = []
    for part in ("disks", "lvm", "active"):
        found += [problem for problem in (seen.get(part) or {}).get("problems") or () if problem not in found]
    return found


def _beside_each_other(fleet: t.Sequence[Seen]) -> t.List[str]:
    """What no host knows alone. A group that one host alone sees is that host's."""
    groups: t.Dict[str, t.Dict[str, Seen]] = {}
    for seen in fleet:
        for group in _groups(seen) or ():
            groups.setdefault(group["uuid"], {})[seen["host"]] = group
    notes = []
    for hosts in groups.values():
        first, group = next(iter(hosts.items()))
        active = [host for host, one in hosts.items() if one["active"]]
        if len(active) > 1 and group["lock_type"] in ("", "none"):
            notes.append(f"{group['name']} is active on {' and '.join(active)}, and nothing keeps them from each other.")
        blind = [seen["host"] for seen in fleet if seen["host"] not in hosts]
        if len(hosts) > 1 and blind:
            notes.append(f"{group['name']} is seen by {' and '.join(hosts)}, and not by {' and '.join(blind)}.")
        notes += [f"{host} sees other volumes in {group['name']} than {first}: look again." for host, one in hosts.items()
                  if sorted(one["volumes"]) != sorted(group["volumes"])]
    return notes


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        """The one filter of this file."""
        return {"fleet_summary": fleet_summary}
