# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a live session was made with, against what its record says now."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lunar.iscsi.plugins.module_utils._host.sysfs import read_text
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.record import Record

_AUTH = "node.session.auth"
#: setting of a record -> attribute of the session in sysfs (drivers/scsi/scsi_transport_iscsi.c), plain numbers on both sides
_TIMERS: t.Mapping[str, str] = {
    "node.session.timeo.replacement_timeout": "recovery_tmo",
    "node.session.err_timeo.abort_timeout": "abort_tmo",
    "node.session.err_timeo.lu_reset_timeout": "lu_reset_tmo",
    "node.session.err_timeo.tgt_reset_timeout": "tgt_reset_tmo",
    "node.conn[0].timeo.noop_out_interval": "recv_tmo",
    "node.conn[0].timeo.noop_out_timeout": "ping_tmo",
}
#: multipathd writes its fast_io_fail_tmo there for every path of a map, 5 s unless configured (libmultipath/discovery.c)
_OF_MULTIPATH = "recovery_tmo"
_OF_THE_CONNECTION = ("recv_tmo", "ping_tmo")
_SECRETS = ("username", "password", "username_in", "password_in")
#: settings that a session takes no notice of once it is there
_NOT_OF_A_SESSION = frozenset({
    "node.startup", "node.leading_login", "node.conn[0].startup", "node.session.scan", "node.session.nr_sessions",
    "node.session.initial_login_retry_max", "node.session.reopen_max",
})


@dataclass(frozen=True)
class Live:
    """The attributes of one session that records are compared with. Holds secrets; never shown."""

    attributes: t.Mapping[str, t.Optional[str]] = field(repr=False)


def read_live(sid: int, sys: str = "/sys", *, mapped: bool = False) -> Live:
    """Read them; what cannot be read (another user than root, another driver) is None and counts as no difference.

    So does what no longer says how the session was made: of one whose disks are ``mapped`` by multipath, the replacement timeout.
    """
    session, connection = os.path.join(sys, f"class/iscsi_session/session{sid}"), os.path.join(sys, f"class/iscsi_connection/connection{sid}:0")
    names = [name for name in (*_TIMERS.values(), *_SECRETS) if not (mapped and name == _OF_MULTIPATH)]
    return Live({name: read_text(os.path.join(connection if name in _OF_THE_CONNECTION else session, name)) for name in names})


def differences(record: Record, live: Live) -> t.List[str]:
    """The settings of ``record`` that the session was not made with, by name."""
    found = []
    for setting, attribute in _TIMERS.items():
        wanted, has = record.get(setting), live.attributes.get(attribute)
        if wanted is not None and has is not None and _number(wanted) != _number(has):
            found.append(setting)
    chap = record.get(f"{_AUTH}.authmethod") == "CHAP"
    for word in _SECRETS:
        secret = record.get(f"{_AUTH}.{word}") if chap else ""
        if (live.attributes.get(word) or "") != secret:
            found.append(f"{_AUTH}.{word}")
    return found


def changes_a_session(key: str) -> bool:
    """Whether a session has to be made anew for a changed setting to be in force."""
    return key.startswith("node.") and key not in _NOT_OF_A_SESSION


def _number(text: str) -> t.Union[int, str]:
    try:
        return int(text)
    except ValueError:
        return text
