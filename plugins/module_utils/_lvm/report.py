# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
r"""What LVM says of this host: one call of ``lvm fullreport``, as values.

It is asked for all that it sees, other hosts' groups (``--foreign``) and those that need lvmlockd (``--shared``) too. Hints, which it keeps of
where groups were, are not used: another host may have made a group since, which they do not know. The options and fields are those of 2.03.00.

Fields that say yes or no are the name of the state or empty; ``unknown`` where the kernel has no device-mapper. Messages are on standard error,
and since 2.03.26 in a list of their own in the JSON (``log/report_command_log``).
"""

from __future__ import annotations

import json
import re
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result, Runner, TimedOutError, check

#: no messages about descriptors that were open before
ENVIRONMENT = {"LVM_SUPPRESS_FD_WARNINGS": "1"}
#: what PVs without a device are called
_UNKNOWN = "[unknown]"
_FIELDS = {
    "vg": "vg_uuid,vg_name,vg_size,vg_free,vg_exported,vg_systemid,vg_lock_type",
    "pv": "pv_uuid,pv_name,pv_missing,dev_size",
    "lv": "lv_uuid,lv_name,lv_dm_path,lv_size,lv_role,lv_active,lv_device_open,lv_skip_activation",
    "pvseg": "pvseg_start",
    "seg": "lv_uuid",
}
FULLREPORT = (
    "lvm", "fullreport", "--reportformat", "json", "--units", "b", "--nosuffix", "--foreign", "--shared", "--config", 'devices/hints="none"',
    *(word for report, fields in _FIELDS.items() for word in ("--configreport", report, "-o", fields)),
)
_NO_ROOT = "Running as a non-root user"
_DUPLICATE = re.compile(r"Not using device (?P<device>\S+) for PV (?P<uuid>[A-Za-z0-9-]+)")


class Disk(t.NamedTuple):
    """A physical volume. ``device`` is empty where no disk that LVM sees carries it; ``missing`` may be true though the disk is back."""

    uuid: str
    device: str
    size: int
    missing: bool = False


class Volume(t.NamedTuple):
    """A logical volume that is not internal to another; ``active`` and ``opened`` are as the kernel of this host has them."""

    uuid: str
    name: str
    #: /dev/mapper/NAME, whether it is there or not
    mapper: str
    size: int
    roles: t.Tuple[str, ...] = ("public",)
    active: bool = False
    opened: bool = False
    #: left out when the whole group is activated
    skipped: bool = False

    @property
    def goes_along(self) -> bool:
        """Whether it is one of those that activating the whole group makes active; pools are active as long as a volume needs them."""
        return "public" in self.roles and not self.skipped


class Group(t.NamedTuple):
    """A volume group with all that is in it."""

    uuid: str
    name: str
    size: int = 0
    free: int = 0
    exported: bool = False
    system_id: str = ""
    lock_type: str = ""
    disks: t.Tuple[Disk, ...] = ()
    volumes: t.Tuple[Volume, ...] = ()

    @property
    def missing(self) -> t.Tuple[Disk, ...]:
        """The disks that are not there, or were not there when the group was changed last."""
        return tuple(disk for disk in self.disks if disk.missing)

    @property
    def active(self) -> t.Tuple[Volume, ...]:
        return tuple(volume for volume in self.volumes if volume.active)

    @property
    def locked(self) -> bool:
        """Whether lvmlockd keeps hosts from each other's volumes."""
        return self.lock_type not in ("", "none")


class Report(t.NamedTuple):
    """All groups, the disks that belong to none, and what LVM had to say beside."""

    groups: t.Tuple[Group, ...] = ()
    orphans: t.Tuple[Disk, ...] = ()
    said: t.Tuple[str, ...] = ()

    def duplicates(self) -> t.Dict[str, t.List[str]]:
        """The devices that LVM passed over, by the UUID that they share with a disk that it uses."""
        found: t.Dict[str, t.List[str]] = {}
        for match in filter(None, (_DUPLICATE.search(line) for line in self.said)):
            devices = found.setdefault(match.group("uuid"), [])
            if match.group("device") not in devices:
                devices.append(match.group("device"))
        return found

    def about(self, name: str) -> t.List[str]:
        """What LVM said about a group of this name."""
        word = re.compile(rf"(?<![\w.+-]){re.escape(name)}(?![\w+-])")
        return [line for line in self.said if word.search(line)]


def ask(runner: Runner, timeout: float, *, everywhere: bool = False) -> Report:
    """One report. ``everywhere`` looks at disks outside the devices file, too. Raises ``HostError``."""
    argv = [*FULLREPORT, *(["--devicesfile", ""] if everywhere else [])]
    try:
        result = runner.run(argv, timeout=timeout, env=ENVIRONMENT)
    except TimedOutError:
        raise HostError("lvm fullreport", f"did not end within {timeout:g} s",
                        "A disk that LVM looks at does not answer; look at iscsi_session_info, multipath_info and the kernel's log")
    return parse_report(result)


def parse_report(result: Result) -> Report:
    """The answer of ``FULLREPORT``. Its exit code alone does not make it a failure, unless nothing at all is seen. Raises ``HostError``, ``DamagedError``."""
    result = result._replace(argv=result.argv[:2])  # the rest is of no use in a message
    try:
        answer = json.loads(result.stdout)
        groups, orphans = [], []  # type: t.List[Group], t.List[Disk]
        for part in answer["report"]:
            disks = tuple(_disk(row) for row in part.get("pv", ()))
            if part.get("vg"):
                groups.append(_group(part["vg"][0], disks, tuple(_volume(row) for row in part.get("lv", ()))))
            else:
                orphans.extend(disks)
        said = [*result.stderr.splitlines(), *(str(row["log_message"]) for row in answer.get("log", ()))]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        check(result)
        raise DamagedError("lvm fullreport", "answers with what is no report", "lvm2 2.03 or newer is needed; try it by hand with --reportformat json")
    if result.code and any(_NO_ROOT in line for line in said):
        raise HostError("lvm fullreport", "is not run by root, and LVM shows nothing to others", "Run the task as root (become: true)")
    if not groups and not orphans:
        check(result, "sees nothing")
    plain = (line.strip().replace("WARNING: ", "", 1).rstrip(".") for line in said)
    return Report(tuple(groups), tuple(orphans), tuple(dict.fromkeys(line for line in plain if line)))


def _group(row: t.Mapping[str, str], disks: t.Tuple[Disk, ...], volumes: t.Tuple[Volume, ...]) -> Group:
    return Group(
        uuid=row["vg_uuid"], name=row["vg_name"], size=int(row["vg_size"]), free=int(row["vg_free"]), exported=_yes(row["vg_exported"]),
        system_id=row["vg_systemid"], lock_type=row["vg_lock_type"], disks=disks, volumes=volumes,
    )


def _disk(row: t.Mapping[str, str]) -> Disk:
    device = row["pv_name"]
    return Disk(row["pv_uuid"], "" if device == _UNKNOWN else device, int(row["dev_size"]), _yes(row["pv_missing"]) or device == _UNKNOWN)


def _volume(row: t.Mapping[str, str]) -> Volume:
    return Volume(
        uuid=row["lv_uuid"], name=row["lv_name"], mapper=row["lv_dm_path"], size=int(row["lv_size"]),
        roles=tuple(row["lv_role"].split(",")), active=_yes(row["lv_active"]), opened=_yes(row["lv_device_open"]), skipped=_yes(row["lv_skip_activation"]),
    )


def _yes(value: str) -> bool:
    """Whether a field of two states has the one that it is named for, however this lvm.conf has it written (``report/binary_values_as_numeric``)."""
    return value not in ("", "0", "-1", "unknown")
