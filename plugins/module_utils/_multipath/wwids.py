# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What multipath remembers of maps: the whitelist of WWIDs, and the names that it gave them itself.

``/etc/multipath/wwids`` has a line ``/WWID/`` for each map that was ever made (libmultipath/wwids.c), ``/etc/multipath/bindings`` a line
``ALIAS WWID`` for each map that got a name by ``user_friendly_names`` (libmultipath/alias.c). Comments begin with ``#`` in both.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.files import read_bytes

WWIDS = "/etc/multipath/wwids"
BINDINGS = "/etc/multipath/bindings"
_LINE = re.compile(r"^/([^/\n]+)/$", re.MULTILINE)


def check_wwids(wwids: t.Sequence[str]) -> t.List[str]:
    """Each once; ``InputError`` for one that the file cannot hold."""
    for wwid in wwids:
        if not re.fullmatch(r"[^\s/\x00-\x1f]{1,127}", wwid):
            raise InputError("option wwids", f"{wwid!r} is no WWID", "Give it as iscsi_node, lio_target and multipath -ll show it, up to 127 characters")
    return list(dict.fromkeys(wwids))


def read_wwids(path: str = WWIDS) -> t.List[str]:
    """The WWIDs that are listed."""
    return _LINE.findall((read_bytes(path) or b"").decode("utf-8", "replace"))


def read_bindings(path: str = BINDINGS) -> t.Dict[str, str]:
    """WWIDs by the names that they have; the first line of a name counts."""
    found: t.Dict[str, str] = {}
    for line in (read_bytes(path) or b"").decode("utf-8", "replace").splitlines():
        alias, wwid = (line.partition("#")[0].split() + ["", ""])[:2]
        if wwid:
            found.setdefault(alias, wwid)
    return found


def add(listed: t.Sequence[str], wanted: t.Sequence[str]) -> t.List[str]:
    """Those of the wanted that are missing."""
    return [wwid for wwid in wanted if wwid not in listed]


def remove(listed: t.Sequence[str], unwanted: t.Sequence[str]) -> t.List[str]:
    """Those of the unwanted that are there."""
    return [wwid for wwid in unwanted if wwid in listed]
