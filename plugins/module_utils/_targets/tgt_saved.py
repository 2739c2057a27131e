# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file in /etc/tgt/conf.d that brings a target back at boot, as tgt-admin reads it (targets.conf(5), scripts/tgt-admin).

What tgt-admin makes of it, and what follows: without ``initiator-address`` it lets everybody in, so there is always one, which may be
``none``; it hands words to a shell, so a secret stands in quotes; a LUN whose file it finds open is left out unless ``allow-in-use`` is
said; a LUN whose path is no file is left out unless the ``bs-type`` of the target, not that of the LUN, is one of Gluster's or Ceph's; its
numbers of targets and LUNs follow the order of names, so LUNs say theirs.
"""

from __future__ import annotations

import glob
import os
import re
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.files import read_bytes
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_live import NOBODY
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_model import ELSEWHERE, PLAIN, Target, Unit

MAIN = "/etc/tgt/targets.conf"
FOLDER = "/etc/tgt/conf.d"
MARK = "# Written by the Ansible module lunar.iscsi.tgt_target. What is changed here by hand is lost with its next run."
#: stands below the mark in what a task has begun: what tgtd may have got, or not
_DOUBT = "# In doubt: "
_WRITE_CACHE_OFF = "off"
#: how a setting of a LUN is written; those of tgt-admin's own, then those that only "params" can carry
_WORDS = (("kind", "device-type"), ("bs_type", "bs-type"), ("bs_options", "bsopts"), ("flags", "bsoflags"), ("block_size", "block-size"),
          ("scsi_id", "scsi_id"), ("scsi_sn", "scsi_sn"), ("readonly", "readonly"), ("removable", "removable"), ("write_cache", "write-cache"),
          ("vendor", "vendor_id"), ("product", "product_id"), ("revision", "product_rev"), ("thin", "params thin_provisioning="))  # fmt: skip
_NAMES = {how.partition(" ")[0]: name for name, how in _WORDS}
_DEEP = 10


@dataclass(frozen=True)
class SavedFiles:
    """What is in tgt's configuration: our targets, by name, with their text; and where foreign files declare a target.

    ``doubts`` are of what a task has begun, by target: ``account NAME`` and ``LUN NUMBER``, which tgtd may have as it says, or not yet.
    """

    folder: str
    ours: t.Mapping[str, Target] = field(default_factory=dict)
    texts: t.Mapping[str, str] = field(default_factory=dict)
    foreign: t.Mapping[str, str] = field(default_factory=dict)
    doubts: t.Mapping[str, t.FrozenSet[str]] = field(default_factory=dict)
    #: whether the main file reads the folder
    included: bool = True


def path_of(folder: str, name: str) -> str:
    """The file of a target; the names that tgtd takes are names of files as well."""
    return os.path.join(folder, f"{name}.conf")


def render(target: Target) -> str:
    """The file of a target, secrets inside."""
    lines = [MARK, f"<target {target.name}>", f"    driver {target.driver}", "    allow-in-use yes"]
    lines += ["    bs-type glfs"] if _by_other_name(target) else []
    for number in sorted(target.units):
        lines += _render_unit(target.units[number])
    lines += [f"    incominguser {user} '{target.secrets.get(user, '')}'" for user in target.incoming]
    lines += [f"    outgoinguser {target.outgoing} '{target.secrets.get(target.outgoing, '')}'"] if target.outgoing else []
    lines += [f"    initiator-address {one}" for one in target.addresses or (NOBODY,)]
    lines += [f"    initiator-name {one}" for one in target.initiators]
    lines += [f"    {name} {value}" for name, value in sorted(target.parameters.items())]
    lines += [] if target.enabled else ["    state offline"]
    return "\n".join([*lines, "</target>", ""])


def doubted(text: str, doubts: t.Iterable[str]) -> str:
    """The text of a target with what of it is not believed, since tgtd may not have got it."""
    mark, _newline, rest = text.partition("\n")
    return "\n".join([mark, *(f"{_DOUBT}{one}" for one in sorted(doubts)), rest])


def check_savable(target: Target) -> None:
    """Raise ``HostError`` where tgt-admin could not bring back what is written down."""
    units = target.units.values()
    if any(";" in (unit.bs_options or "") for unit in units):
        raise HostError(f"target {target.name}", "has bs_options with a semicolon, which tgt-admin before 1.0.96 hands to a shell bare",
                        "Give one option, or say save: false and bring it back at boot yourself")
    if _by_other_name(target) and not all(unit.path for unit in units):
        raise HostError(f"target {target.name}", "has a LUN without a medium beside one whose backing store is no file, which tgt-admin cannot tell apart",
                        "Put them into two targets, or say save: false")
    # tgtd's own SCSI ids have blanks, and its addresses may have brackets, and neither does harm where it stands
    words = [word.replace(" ", "") for unit in units for word in (unit.scsi_id, unit.scsi_sn) if word]
    words += [word.replace("[", "").replace("]", "") for word in target.addresses]
    for word in (*words, *(unit.path for unit in units), *target.incoming, target.outgoing, *target.initiators):
        if word and not PLAIN.fullmatch(word):
            raise HostError(f"target {target.name}", f"has {word!r}, which tgtd's configuration cannot carry, so it cannot be saved",
                            "Give it another name where it was set, or say save: false")


def _by_other_name(target: Target) -> bool:
    """Whether a backing store is none that tgt-admin would find in the file system."""
    return any(unit.path and unit.bs_type in ELSEWHERE for unit in target.units.values())


def _render_unit(unit: Unit) -> t.List[str]:
    said = unit.said()
    lines = [f"    <backing-store {unit.path or f'NONE:{unit.number}'}>", f"        lun {unit.number}"]
    for name, word in _WORDS:
        if name not in said or said[name] in ("", ()):
            continue
        value = said[name]
        if name == "write_cache":
            text = "on" if value else _WRITE_CACHE_OFF
        elif name == "flags":
            text = ":".join(value)
        else:
            text = str(int(value)) if isinstance(value, bool) else str(value)
        lines.append(f"        {word}{'' if word.endswith('=') else ' '}{text}")
    return [*lines, "    </backing-store>"]


def parse(text: str, path: str) -> Target:
    """Read back what ``render`` wrote. Raises ``DamagedError`` where it was changed into something else."""
    target, unit = Target(""), None  # type: Target, t.Optional[Unit]
    secrets: t.Dict[str, str] = {}
    for line in text.splitlines():
        word, _blank, value = line.strip().partition(" ")
        if not word or word.startswith("#") or word in ("</target>", "allow-in-use") or (unit is None and word == "bs-type"):
            continue
        try:
            if word == "</backing-store>" and unit is not None:
                target, unit = replace(target, units={**target.units, unit.number: unit}), None
            elif unit is not None:
                unit = _parse_setting(unit, word, value)
            elif word == "<backing-store":
                unit = Unit(0, "" if value.startswith("NONE:") else value[:-1])
            else:
                target = _parse_word(target, word, value, secrets)
        except (ValueError, KeyError):
            raise DamagedError(path, f"has the line {word!r}, which this module does not write",
                               "Someone changed it by hand; rename it and the task takes the target as it runs, or remove what was added") from None
    return replace(target, secrets=secrets)


def _parse_word(target: Target, word: str, value: str, secrets: t.Dict[str, str]) -> Target:
    if word == "<target":
        return replace(target, name=value[:-1])
    if word == "driver":
        return replace(target, driver=value)
    if word in ("incominguser", "outgoinguser"):
        user, _blank, secret = value.partition(" ")
        if len(secret) > 2:
            secrets[user] = secret[1:-1]
        return replace(target, incoming=(*target.incoming, user)) if word == "incominguser" else replace(target, outgoing=user)
    if word == "initiator-address":
        return target if value == NOBODY else replace(target, addresses=(*target.addresses, value))
    if word == "initiator-name":
        return replace(target, initiators=(*target.initiators, value))
    if word == "state":
        return replace(target, enabled=value != "offline")
    if not word[:1].isupper():
        raise ValueError(word)
    return replace(target, parameters={**target.parameters, word: value})


def _parse_setting(unit: Unit, word: str, value: str) -> Unit:
    if word == "lun":
        return replace(unit, number=int(value))
    name = _NAMES[word]
    meant: t.Any = value
    if name in ("readonly", "removable", "thin"):
        meant = bool(int(value.rpartition("=")[2]))
    elif name == "write_cache":
        meant = value != _WRITE_CACHE_OFF
    elif name == "flags":
        meant = tuple(value.split(":"))
    elif name == "block_size":
        meant = int(value)
    return replace(unit, **{name: meant})


def read_saved(folder: str = FOLDER, main: t.Optional[str] = MAIN) -> SavedFiles:
    """Read all of tgt's configuration, or without ``main`` only what is in ``folder``.

    Raises ``DamagedError`` where a file of ours was changed into something else, and ``HostError``.
    """
    read: t.Dict[str, t.List[str]] = {}
    if main is not None:
        _follow(main, read, 0)
    included = main is None or any(os.path.dirname(path) == folder for path in read) or _reads_folder(read.get(main, ()), main, folder)
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), "*.conf"))):
        _follow(path, read, _DEEP)
    ours: t.Dict[str, Target] = {}
    texts: t.Dict[str, str] = {}
    foreign: t.Dict[str, str] = {}
    doubts: t.Dict[str, t.FrozenSet[str]] = {}
    for path, lines in read.items():
        declared = [found.group(1).strip("\"' ") for found in (re.match(r"\s*<target\s+(.*?)\s*>", line, re.IGNORECASE) for line in lines) if found]
        if MARK in lines[:1] and len(declared) == 1 and path == path_of(folder, declared[0]):
            texts[declared[0]] = "\n".join([*lines, ""])
            ours[declared[0]] = parse(texts[declared[0]], path)
            doubts[declared[0]] = frozenset(line[len(_DOUBT):] for line in lines if line.startswith(_DOUBT))
        else:
            foreign.update(dict.fromkeys(declared, path))
    return SavedFiles(folder, ours, texts, foreign, doubts, included)


def _follow(path: str, read: t.Dict[str, t.List[str]], depth: int) -> None:
    """The lines of a file and of all that it includes; what is not there is left out, as tgt-admin does."""
    if path in read:
        return
    content = read_bytes(path)
    if content is None:
        return
    read[path] = content.decode("utf-8", "surrogateescape").splitlines()
    for pattern in _includes(read[path], path) if depth < _DEEP else ():
        for found in sorted(glob.glob(pattern)):
            for one in sorted(glob.glob(os.path.join(glob.escape(found), "*"))) if os.path.isdir(found) else [found]:
                _follow(one, read, depth + 1)


def _includes(lines: t.Iterable[str], path: str) -> t.List[str]:
    found = (re.match(r"\s*(?:<<\s*)?include\s+(.+?)\s*(?:>>)?\s*$", line, re.IGNORECASE) for line in lines)
    return [os.path.join(os.path.dirname(path), one.group(1).strip("\"'")) for one in found if one]


def _reads_folder(lines: t.Iterable[str], main: str, folder: str) -> bool:
    """Whether a file that does not exist yet would be read from the folder."""
    patterns = _includes(lines, main)
    return any(os.path.dirname(pattern) == folder and pattern.endswith(("/*.conf", "/*")) or pattern.rstrip("/") == folder for pattern in patterns)
