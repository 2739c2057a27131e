# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may stand in iscsid.conf: the settings that new records begin with, by the schema of those records, and those of iscsid itself."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.conf import as_read
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import SECRET_KEYS, Field, Kind, check_settings, field, fields
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.version import Version

#: a key of several kinds is checked as one of the first
_KINDS = (Kind.NODE, Kind.SEND_TARGETS, Kind.ISNS, Kind.DAEMON)
#: what iscsid and iscsiadm look for by themselves, the first line of each counts
DAEMON_KEYS = tuple(fields(Kind.DAEMON))
#: when a setting comes into effect (usr/idbm.c, usr/iscsid.c, usr/iscsid_req.c)
NEW_RECORDS, AT_ONCE, RESTART = "new_records", "at_once", "iscsid_restart"
_SECRET_NAME = re.compile(r"pass|secret", re.IGNORECASE)


def is_secret(key: str) -> bool:
    """Whether the value under this name is a secret, or looks like one that is misspelt."""
    return key in SECRET_KEYS or (_SECRET_NAME.search(key) is not None and not key.endswith("_length"))


def takes_effect(key: str) -> str:
    """When a change of ``key`` shows: ``NEW_RECORDS``, ``AT_ONCE`` or ``RESTART`` (of iscsid)."""
    if key not in DAEMON_KEYS:
        return NEW_RECORDS
    return AT_ONCE if key == "iscsid.startup" else RESTART


def _conf_field(key: str, version: t.Optional[Version]) -> t.Tuple[Kind, Field]:
    for known in (version, None):
        for kind in _KINDS:
            one = fields(kind, known).get(key)
            if one is not None and "h" not in one.flags:
                if one.read_only:
                    raise InputError(f"setting {key!r}", "belongs to one record and has no place in iscsid.conf", "Set it on the record it is for")
                return kind, field(kind, key, version)  # says so where this version does not know it yet
    import difflib  # seldom needed, and every import costs the host at every task

    names = [name for kind in _KINDS for name, one in fields(kind, version).items() if not one.read_only and "h" not in one.flags]
    near = difflib.get_close_matches(key, names, 1, 0.5)
    raise InputError(f"setting {key!r}", "is not a setting of iscsid.conf", f"Did you mean {near[0]!r}?" if near else "See iscsid.conf as it was installed")


def check_conf_settings(settings: t.Mapping[str, t.Any], version: t.Optional[Version] = None) -> t.Dict[str, str]:
    """``settings`` as text for iscsid.conf, in their order; empty text means that the setting is taken out.

    Raises ``InputError`` as ``check_settings`` of records does: unknown keys with the nearest right one, wrong values, two that cannot go together.
    """
    kinds = {key: _conf_field(key, version)[0] for key in settings}
    checked: t.Dict[str, str] = {}
    for kind in _KINDS:
        checked.update(check_settings(kind, {key: value for key, value in settings.items() if kinds[key] is kind}, version=version))
    return {key: checked[key] for key in settings}


def read_value(key: str, text: t.Optional[str]) -> t.Optional[str]:
    """What open-iscsi holds after it has read ``text`` for a known key; None where it takes nothing from it."""
    return None if text is None else as_read(_conf_field(key, None)[1], text)


def check_conf_keys(keys: t.Iterable[str], version: t.Optional[Version] = None) -> None:
    """Raise ``InputError`` where a key is none of iscsid.conf."""
    for key in keys:
        _conf_field(key, version)


_PAIRS = (("node.conn[0].timeo.noop_out_interval", "node.conn[0].timeo.noop_out_timeout"),
          ("node.session.iscsi.FirstBurstLength", "node.session.iscsi.MaxBurstLength"))


def check_pairs(wanted: t.Container[str], effective: t.Mapping[str, str]) -> None:
    """Raise ``InputError`` where a setting of the task cannot go together with one that the file holds already."""
    for pair in _PAIRS:
        if any(key in wanted for key in pair) and all(key in effective for key in pair):
            check_settings(Kind.NODE, {key: effective[key] for key in pair})
