# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What open-iscsi's configuration says: iscsid.conf as iscsid reads it, and the name of the initiator."""

from __future__ import annotations

import functools
import re
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import redact
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, HostError, InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.files import read_bytes, under_root
from ansible_collections.lunar.iscsi.plugins.module_utils._names import check_iscsi_name
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.layout import locate
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.record import parse_line
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import SECRET_KEYS, Field, Kind, Type, fields
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.version import NEWEST, Version

CONF = "/etc/iscsi/iscsid.conf"
INITIATOR_NAME = "/etc/iscsi/initiatorname.iscsi"
_NAME_REMEDY = "Write a line InitiatorName=iqn.YYYY-MM.reversed.domain:name, or let the role lunar.iscsi.initiator write it"
LONGEST_LINE = 2047  # of a buffer of 2048 bytes, in usr/idbm.c


def parse_iscsid_conf(text: str) -> t.Dict[str, str]:
    """The settings as open-iscsi reads them (usr/idbm.c): the last line for a key wins.

    Passed over, as there: comments (a line that begins with #), ``key=value`` without white space before the equals sign, keys without
    a value, a last line without an end, and a word where only certain words are allowed. Text after a value belongs to the value.
    """
    choices = {key: one for kind in (Kind.NODE, Kind.SEND_TARGETS, Kind.ISNS) for key, one in fields(kind).items() if one.type is Type.CHOICE}
    found: t.Dict[str, str] = {}
    for line in text.split("\n")[:-1]:
        pair = parse_line(last_piece(line))
        if pair is not None and (pair[0] not in choices or pair[1] in choices[pair[0]].choices):
            found[pair[0]] = pair[1]
    return found


def last_piece(line: str) -> str:
    """A line longer than the reader's buffer comes in pieces, of which only the last has the line's end and is read."""
    return line if len(line) < LONGEST_LINE else line[len(line) // LONGEST_LINE * LONGEST_LINE:]


def read_iscsid_conf(root: str = "/") -> t.Dict[str, str]:
    """The settings of /etc/iscsi/iscsid.conf; empty where there is none (open-iscsi then uses what it was built with)."""
    data = read_bytes(under_root(root, CONF))
    return parse_iscsid_conf(data.decode("utf-8", "surrogateescape")) if data else {}


class InitiatorName(t.NamedTuple):
    name: str
    alias: str


def read_initiator_name(root: str = "/") -> t.Optional[InitiatorName]:
    """InitiatorName and InitiatorAlias of initiatorname.iscsi, read as iscsid does (the first line that has one); None without a file.

    Raises ``DamagedError`` where the file names no initiator, or one that is no iSCSI name.
    """
    path = under_root(root, INITIATOR_NAME)
    data = read_bytes(path)
    if data is None:
        return None
    text = data.decode("utf-8", "surrogateescape")
    name = config_value(text, "InitiatorName")
    if not name:
        raise DamagedError(path, "names no initiator", _NAME_REMEDY)
    try:
        return InitiatorName(check_iscsi_name(name, "initiator"), config_value(text, "InitiatorAlias"))
    except InputError as error:
        raise DamagedError(path, error.what, _NAME_REMEDY) from None


def config_value(text: str, key: str) -> str:
    """The value of a key that iscsid looks for by itself (usr/iscsi_util.c): that of the first line that has one, with or without white space."""
    for line in text.split("\n"):
        before, found, after = line.partition(key)
        _name, equals, value = after.partition("=")
        if found and "#" not in before and equals and value.strip():
            return value.strip()
    return ""


class HostConf(t.NamedTuple):
    """What a host brings along: iscsid.conf, its initiator's name, its version of open-iscsi."""

    iscsid: t.Mapping[str, str]
    version: Version
    initiator_name: t.Optional[str]
    initiator_alias: str
    #: why there is no name, where the file is there and damaged
    name_error: t.Optional[DamagedError]
    name_file: str = INITIATOR_NAME

    def require_initiator_name(self) -> str:
        """The name; ``DamagedError`` or ``HostError`` where there is none."""
        if self.name_error is not None:
            raise self.name_error
        if self.initiator_name is None:
            raise HostError(self.name_file, "is missing, so this host has no initiator name", _NAME_REMEDY)
        return self.initiator_name

    def __repr__(self) -> str:
        return f"HostConf({redact(self.iscsid, SECRET_KEYS)!r}, {self.version.text!r}, {self.initiator_name!r})"


def read_host_conf(root: str = "/") -> HostConf:
    """All of it, without running anything."""
    error: t.Optional[DamagedError] = None
    named: t.Optional[InitiatorName] = None
    try:
        named = read_initiator_name(root)
    except DamagedError as damaged:
        error = damaged
    # without an open-iscsi a plan assumes the newest that is known
    version = locate(root).version or NEWEST
    return HostConf(read_iscsid_conf(root), version, named.name if named else None, named.alias if named else "", error, under_root(root, INITIATOR_NAME))


def settings_from_conf(kind: Kind, conf: t.Mapping[str, str], version: t.Optional[Version] = None) -> t.Dict[str, str]:
    """Every setting of a kind of record: the built-in default, or what open-iscsi makes of the text in ``conf``."""
    return dict(_settings_from_conf(kind, tuple(conf.items()), version))


@functools.lru_cache(maxsize=8)
def _settings_from_conf(kind: Kind, conf: t.Tuple[t.Tuple[str, str], ...], version: t.Optional[Version]) -> t.Mapping[str, str]:
    """The same for a thousand records in one task is worked out once."""
    given = dict(conf)
    settings: t.Dict[str, str] = {}
    for key, one in fields(kind, version).items():
        if "h" in one.flags:
            continue
        # iscsid.conf is read as for the default iface, which has no IPv6 settings
        text = given.get(key) if one.family != 6 else None
        value = as_read(one, text) if text is not None else None
        settings[key] = one.default if value is None else value
    return settings


def as_read(one: Field, text: str) -> t.Optional[str]:
    """What open-iscsi holds, and writes again, after it has read ``text`` for this field; None where it ignores the line (usr/idbm.c)."""
    shape = one.shape
    if shape.type is Type.CHOICE:
        return text if text in shape.choices else None
    if shape.type is Type.INT:
        return str(_wrap(_strtoul(text), shape.bits))
    if shape.type is Type.LIST:
        kept: t.List[str] = []
        for part in re.split(r"[, \n]", text):
            if part in shape.choices and part not in kept:
                kept.append(part)
        return ",".join(kept)
    return text.encode("utf-8", "surrogateescape")[:shape.maximum].decode("utf-8", "surrogateescape")


def _strtoul(text: str) -> int:
    """C's strtoul(text, NULL, 10) on a 64 bit machine: leading white space, a sign, digits; 0 where there are none."""
    found = re.match(r"[ \t\n\v\f\r]*([+-]?)([0-9]+)", text)
    if not found:
        return 0
    number = min(int(found.group(2)), 2**64 - 1)
    if number == 2**64 - 1:
        return number
    return -number % 2**64 if found.group(1) == "-" else number


def _wrap(number: int, bits: int) -> int:
    """Cut to the width of the C variable: 32 is signed, 8, 16 and -32 are not."""
    number &= (1 << abs(bits)) - 1
    return number - 2**32 if bits == 32 and number >= 2**31 else number
