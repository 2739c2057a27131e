# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The udev rules that keep settings of disks: which targets, which values, as a file of ours.

A rule knows a disk's target by udev's own name for its path, ``ip-192.0.2.1:3260-iscsi-iqn.2026-11.org.example:disk1-lun-0`` (systemd:
src/udev/udev-builtin-path_id.c), since the name of the target is in no parent of the disk in sysfs. What a rule says stands above it as JSON, so
that the file can be read again.
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, InputError

#: behind the rules of vendors, so that what a task says holds
RULES = "/etc/udev/rules.d/99-lunar-iscsi-disks.rules"
#: setting -> its file, seen from the folder of the block device; udev puts the one folder there is in the place of the star
ATTRIBUTES: t.Mapping[str, str] = {
    "timeout": "device/timeout", "queue_depth": "device/queue_depth", "max_retries": "device/scsi_disk/*/max_retries",
}
_FIRST = "# Written by lunar.iscsi.iscsi_session, option disk_settings. Changes by hand are taken back."
_BEFORE = (
    'ACTION!="add", GOTO="lunar_iscsi_disks_end"',
    'SUBSYSTEM!="block", GOTO="lunar_iscsi_disks_end"',
    'ENV{DEVTYPE}!="disk", GOTO="lunar_iscsi_disks_end"',
    'KERNEL!="sd*", GOTO="lunar_iscsi_disks_end"',
    'ENV{ID_PATH}!="?*", IMPORT{builtin}="path_id"',
)
_AFTER = 'LABEL="lunar_iscsi_disks_end"'
#: how path_id ends a name: the number of the LUN, or its eight bytes. No star, or the target ``disk1-lun-7`` would pass for ``disk1``
_LUNS = ("[0-9]", "[0-9][0-9]", "[0-9][0-9][0-9]", "0x????????00000000")
_LONGEST = 8000  # characters; udev gives up a file with a line of 16 KiB (UDEV_LINE_SIZE)


@dataclass(frozen=True)
class Rule:
    """Settings of all disks of the targets that match one of these globs."""

    targets: t.Tuple[str, ...]
    settings: t.Mapping[str, int]

    def covers(self, target: str) -> bool:
        """Whether the rule is about a target."""
        return any(fnmatchcase(target, glob) for glob in self.targets)


def rule_targets(globs: t.Sequence[str]) -> t.Tuple[str, ...]:
    """The option ``targets`` as the targets of a rule, ``*`` where it is empty. Raises ``InputError`` where udev would read a glob otherwise."""
    for glob in globs:
        if not glob or re.search(r'["|\\\s\x00-\x1f\x7f]|\[\^|\[\[', glob):
            raise InputError("option targets", f"holds {glob!r}, which udev cannot match as a glob", "Write the target's name, with *, ? or [...] in it")
        if len(glob) > 1000:
            raise InputError("option targets", f"holds a glob of {len(glob)} characters", "A target's name has at most 223")
    return tuple(sorted(set(globs))) or ("*",)


def is_ours(text: str) -> bool:
    """Whether the file was written here, or is empty."""
    return not text or text.startswith(_FIRST.partition(",")[0])


def parse_rules(text: str, path: str = RULES) -> t.List[Rule]:
    """The rules in the file; raises ``DamagedError`` where it is not one of ours."""
    if not is_ours(text):
        raise DamagedError(path, "is not a file that iscsi_session wrote", "Move it away, or say persistent: false")
    rules = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("# {"):
            try:
                said = json.loads(line[2:])
                settings = {str(name): value for name, value in said["settings"].items()}
                rule = Rule(tuple(map(str, said["targets"])), settings)
            except (ValueError, KeyError, TypeError, AttributeError):
                raise _damaged(path, number)
            if not rule.targets or not all(name in ATTRIBUTES and isinstance(value, int) and not isinstance(value, bool) for name, value in settings.items()):
                raise _damaged(path, number)
            rules.append(rule)
    return rules


def _damaged(path: str, number: int) -> DamagedError:
    return DamagedError(f"{path}, line {number}", "was changed and cannot be read any more", "Remove the file; a task with disk_settings writes it anew")


def render_rules(rules: t.Sequence[Rule]) -> str:
    """The file; empty where there is no rule. Raises ``InputError`` where a rule names more targets than udev could read."""
    if not rules:
        return ""
    lines = [_FIRST, *_BEFORE]
    for rule in rules:
        said = "# " + json.dumps({"settings": rule.settings, "targets": rule.targets}, sort_keys=True)
        if len(said) > _LONGEST:
            raise InputError("option targets", f"names {len(rule.targets)} targets, too many for a rule of udev", "Name them with a glob, or in several tasks")
        assignments = ", ".join(f'ATTR{{{ATTRIBUTES[name]}}}="{value}"' for name, value in sorted(rule.settings.items()))
        lines.append(said)
        for target in rule.targets:
            paths = "|".join(f"ip-*-iscsi-{target}-lun-{lun}" for lun in _LUNS)
            lines.append(f'ENV{{ID_PATH}}=="{paths}", {assignments}')
    return "\n".join([*lines, _AFTER, ""])


def with_rule(rules: t.Sequence[Rule], targets: t.Tuple[str, ...], settings: t.Mapping[str, int]) -> t.List[Rule]:
    """``rules`` with these settings for these targets; other settings of the same targets stay. A rule that is new comes last, where it wins."""
    if any(rule.targets == targets for rule in rules):
        return [Rule(targets, {**rule.settings, **settings}) if rule.targets == targets else rule for rule in rules]
    return [*rules, Rule(targets, dict(settings))]


def without_rule(rules: t.Sequence[Rule], targets: t.Tuple[str, ...]) -> t.List[Rule]:
    """``rules`` but for that of these targets."""
    return [rule for rule in rules if rule.targets != targets]
