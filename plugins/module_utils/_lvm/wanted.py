# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which groups and volumes a task means, and what it says of other hosts."""

from __future__ import annotations

import difflib
import re
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._lvm.kernel import split_name
from ansible_collections.lunar.iscsi.plugins.module_utils._lvm.report import Group, Report, Volume

#: lvm(8), VALID NAMES
_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.+][A-Za-z0-9_.+-]{0,127}")
_UUID = re.compile(r"[A-Za-z0-9]{6}(-[A-Za-z0-9]{4}){5}-[A-Za-z0-9]{6}")


class Wanted(t.NamedTuple):
    """One entry of ``volumes``: a group, by name or UUID, and one volume of it or all."""

    group: str
    volume: str = ""


class Choice(t.NamedTuple):
    """What a task means of one group. ``whole`` where it names the group itself, ``by_uuid`` where its name would not do."""

    group: Group
    volumes: t.Tuple[Volume, ...]
    whole: bool
    by_uuid: bool = False


class Elsewhere(t.NamedTuple):
    """Volumes of a group that another host has active."""

    host: str
    group_uuid: str
    volumes: t.Tuple[str, ...]


def parse_volumes(given: t.Sequence[str]) -> t.List[Wanted]:
    """The option ``volumes``: GROUP, GROUP/VOLUME, or a path in /dev. Raises ``InputError``."""
    found: t.Dict[Wanted, None] = {}
    for text in given:
        words = text.strip()
        if words.startswith("/dev/mapper/"):
            parts = split_name(words[len("/dev/mapper/"):])
        else:
            parts = (words[len("/dev/"):] if words.startswith("/dev/") else words).split("/")
        if len(parts) > 2 or not all(_NAME.fullmatch(part) for part in parts):
            raise InputError("option volumes", f"has {text!r}, which names no volume group and no logical volume",
                             "Give GROUP or GROUP/VOLUME, where GROUP may be the UUID of a group, too")
        found[Wanted(*parts)] = None
    return list(found)


def parse_elsewhere(given: t.Optional[t.Mapping[str, t.Any]]) -> t.List[Elsewhere]:
    """The option ``elsewhere``: of each other host what this module returned there as ``groups``. Raises ``InputError``."""
    found = []
    for host, groups in (given or {}).items():
        if not isinstance(groups, (list, tuple)) or not all(
            isinstance(group, dict) and isinstance(group.get("uuid"), str) and isinstance(group.get("active"), (list, tuple)) for group in groups
        ):
            raise InputError("option elsewhere", f"has for {host} something other than what this module returns as groups",
                             "Give a mapping of other hosts to that; each group has at least uuid and active, a list of its volumes")
        found += [Elsewhere(str(host), group["uuid"], tuple(str(name) for name in group["active"])) for group in groups if group["active"]]
    return found


def choose(wanted: t.Sequence[Wanted], report: Report, active: bool) -> t.Tuple[t.List[Choice], t.List[Wanted]]:
    """The volumes of each group that are to change or to stay, and the entries whose group is not there. Raises ``InputError``.

    Of a whole group that is to be active those that LVM would leave alone are left out; one that is named is not.
    """
    named: t.Dict[str, t.List[str]] = {}
    groups: t.Dict[str, Group] = {}
    absent = []
    for entry in wanted:
        group = _find_group(entry.group, report)
        if group is None:
            absent.append(entry)
        else:
            groups[group.uuid] = group
            named.setdefault(group.uuid, []).append(entry.volume)
    return [_choice(groups[uuid], names, report, active) for uuid, names in named.items()], absent


def _choice(group: Group, names: t.Sequence[str], report: Report, active: bool) -> Choice:
    volumes = {volume.name: volume for volume in group.volumes}
    for name in names:
        if name and name not in volumes:
            near = difflib.get_close_matches(name, list(volumes), 1)
            there = f"The group has {', '.join(volumes)}" if volumes else "The group has no volume"
            raise InputError(f"logical volume {group.name}/{name}", "does not exist", (f"Did you mean {near[0]}? " if near else "") + there)
    whole = "" in names
    chosen = [volume for volume in group.volumes if volume.name in names or (whole and (volume.goes_along or not active))]
    return Choice(group, tuple(chosen), whole, by_uuid=sum(other.name == group.name for other in report.groups) > 1)


def _find_group(name: str, report: Report) -> t.Optional[Group]:
    found = [group for group in report.groups if group.name == name]
    if len(found) > 1:
        several = "; ".join(f"{group.uuid} on {_on_disks(group)}" for group in found)
        raise InputError(f"volume group {name}", f"exists {len(found)} times: {several}",
                         "Give the UUID of the one that is meant instead of the name, or rename one (vgrename UUID NEW_NAME)")
    if not found and _UUID.fullmatch(name):
        found = [group for group in report.groups if group.uuid == name]
    return found[0] if found else None


def _on_disks(group: Group) -> str:
    return ", ".join(disk.device or f"a disk that is missing ({disk.uuid})" for disk in group.disks) or "no disk"
