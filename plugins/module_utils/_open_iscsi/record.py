# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One record of open-iscsi as a value: text in, the same text out."""

from __future__ import annotations

import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import redact
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import SECRET_KEYS, Kind, fields
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.version import NEWEST, Version, parse_version

BEGIN = "# BEGIN RECORD "
END = "# END RECORD"
_DAMAGED = "Restore it from a backup, or remove it and discover or write the object again"


class Record:
    """The settings of a record in their order, and the version of open-iscsi its first line names. Never changed, only copied.

    A setting without a value is not in the record, as in open-iscsi's files. Keys this collection does not know are kept.
    """

    __slots__ = ("_settings", "kind", "version")

    def __init__(self, kind: Kind, settings: t.Mapping[str, str], version: t.Optional[Version] = None) -> None:
        self.kind = kind
        self.version = version or NEWEST
        self._settings: t.Dict[str, str] = {key: value for key, value in settings.items() if value != ""}

    @property
    def settings(self) -> t.Mapping[str, str]:
        return dict(self._settings)

    def get(self, key: str, default: str = "") -> str:
        """The text of a setting, or ``default`` where the record does not hold it."""
        return self._settings.get(key, default)

    def unknown_keys(self, version: t.Optional[Version] = None) -> t.List[str]:
        """Keys that ``version`` of open-iscsi does not know."""
        known = fields(self.kind, version)
        return [key for key in self._settings if key not in known]

    def with_settings(self, settings: t.Mapping[str, str]) -> Record:
        """A copy with these settings (text as ``check_settings`` returns it); a new key goes where iscsiadm would write it."""
        known = fields(self.kind, max(self.version, NEWEST))
        for key in settings:
            if key not in known and key not in self._settings:
                raise InputError(f"setting {key!r}", f"is not a setting of {self.kind.value} records", "open-iscsi could not read the record with it")
        changed = dict(self._settings)
        added = [key for key, value in settings.items() if key not in changed and value != ""]
        changed.update(settings)
        if added:
            changed = self._ordered(changed, added, list(known))
        return Record(self.kind, changed, self.version)

    @staticmethod
    def _ordered(changed: t.Dict[str, str], added: t.Sequence[str], order: t.Sequence[str]) -> t.Dict[str, str]:
        rank = {key: place for place, key in enumerate(order)}
        keys = [key for key in changed if key not in added]
        for key in added:
            after = [place for place, other in enumerate(keys) if rank.get(other, -1) > rank.get(key, len(rank))]
            keys.insert(after[0] if after else len(keys), key)
        return {key: changed[key] for key in keys}

    def differing(self, settings: t.Mapping[str, str]) -> t.Dict[str, str]:
        """Those of ``settings`` that this record does not already hold."""
        return {key: value for key, value in settings.items() if self.get(key) != value}

    def redacted(self) -> t.Dict[str, str]:
        """The settings with stars for secrets: what may be shown."""
        return redact(self._settings, SECRET_KEYS)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and self.kind is other.kind and self._settings == other._settings

    def __hash__(self) -> int:
        return hash((self.kind, frozenset(self._settings.items())))

    def __repr__(self) -> str:
        return f"Record({self.kind}, {self.redacted()!r}, {self.version.text!r})"


def parse_line(line: str) -> t.Optional[t.Tuple[str, str]]:
    """Key and value of one line as open-iscsi reads it (usr/idbm.c, idbm_recinfo_config), or None for what it passes over.

    There must be white space between key and equals sign: ``key=value`` is passed over. A value reaches to the end of the line.
    """
    line = line.strip(" \t\n\v\f\r")
    if not line or line.startswith("#"):
        return None
    end = next((place for place, char in enumerate(line) if char in "= \t\v\f\r"), len(line))
    rest = line[end + 1:].lstrip(" \t\v\f\r")
    value = rest[1:].lstrip(" \t\v\f\r")
    return (line[:end], value) if rest.startswith("=") and value else None


def parse_record(text: str, path: str, kind: Kind = Kind.NODE) -> Record:
    """Read a record; ``DamagedError`` naming ``path`` where it is empty, cut off, or holds a line that is no setting.

    Iface records may be written by hand, without first and last line; all others have them.
    """
    lines = text.split("\n")
    if not text.strip():
        raise DamagedError(path, "is empty" if not text else "holds nothing but white space", _DAMAGED)
    version = _header(lines, path, kind)
    settings: t.Dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line or line[0] == "#":
            continue
        key, found, value = line.partition(" = ")
        if not found or " " in key or "\t" in key or "=" in key or value != value.strip():
            pair = parse_line(line)
            if pair is None:
                if not line.strip() or line.lstrip().startswith("#"):
                    continue
                raise DamagedError(path, f"has no setting in line {number}", _DAMAGED)
            key, value = pair
        settings[key] = value
    return Record(kind, settings, version)


def _header(lines: t.Sequence[str], path: str, kind: Kind) -> t.Optional[Version]:
    first = next((line for line in lines if line.startswith(BEGIN)), None)
    ended = any(line.rstrip() == END for line in lines)
    if kind is not Kind.IFACE and first is None:
        raise DamagedError(path, f"does not begin with {BEGIN!r}", _DAMAGED)
    if ended is not (first is not None):
        raise DamagedError(path, f"does not end with {END!r}; it was cut off" if first else f"does not begin with {BEGIN!r}", _DAMAGED)
    if first is None:
        return None
    try:
        return parse_version(first[len(BEGIN):].strip())
    except InputError:
        raise DamagedError(path, f"names no version of open-iscsi in {first!r}", _DAMAGED) from None


def render_record(record: Record) -> str:
    """The record as a file, byte for byte as iscsiadm of the record's version writes it."""
    body = "".join([f"{key} = {value}\n" for key, value in record.settings.items()])
    return f"{BEGIN}{record.version.text}\n{body}{END}\n"


def record_sides(old: t.Optional[Record], new: t.Optional[Record]) -> t.Tuple[t.Optional[t.Dict[str, str]], t.Optional[t.Dict[str, str]]]:
    """Both sides of a diff of records, secrets as stars; a secret that changes shows that it does, not what it is."""
    before = None if old is None else redact(old.settings, SECRET_KEYS)
    after = None if new is None else redact(new.settings, SECRET_KEYS)
    if old is not None and new is not None and before is not None and after is not None:
        for key in SECRET_KEYS:
            if key in before and key in after and old.get(key) and new.get(key) and old.get(key) != new.get(key):
                after[key] += " (changed)"
    return before, after
