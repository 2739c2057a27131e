# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which nodes have a session, read from sysfs without a fork: all that a task has to know which makes no session itself.

The kernel lays sessions out in drivers/scsi/scsi_transport_iscsi.c: class folders ``iscsi_session/sessionN`` and
``iscsi_connection/connectionN:C``.
"""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._host.sysfs import list_dir, read_int, read_text
from ansible_collections.lunar.iscsi.plugins.module_utils._names import DEFAULT_PORT, NodeKey, Portal, normalise_host

#: the host of a portal that is not known: a session that has no connection (yet, or any more, stuck after a log-out)
NOWHERE = ""


class Live(t.Protocol):
    """A session, as far as its number and its node go."""

    @property
    def sid(self) -> int: ...

    def belongs_to(self, key: NodeKey) -> bool: ...


class SessionKey(t.NamedTuple):
    """The number of a session and the node it belongs to: target, the portal that was asked for with the target's tpgt, iface."""

    sid: int
    key: NodeKey

    def belongs_to(self, key: NodeKey) -> bool:
        """Whether this is a session of that node."""
        return same_node(self.key, key)


def same_node(live: NodeKey, key: NodeKey) -> bool:
    """Whether a session's node is that one; a tpgt that one of the two does not know is no difference."""
    return live.target == key.target and live.iface == key.iface and live.portal.matches(key.portal)


def read_session_keys(sys: str = "/sys") -> t.List[SessionKey]:
    """Every session of this host, by sid; empty where the kernel has no iSCSI. One that goes away meanwhile is left out."""
    found = []
    for sid in read_sids(sys):
        base = os.path.join(sys, f"class/iscsi_session/session{sid}")
        target = read_text(f"{base}/targetname")
        if target is not None:
            tpgt = read_tpgt(base)
            portals = [read_portals(folder, tpgt) for _cid, folder in connection_folders(sys, sid)]
            current, persistent = portals[0] if portals else (None, None)
            # iser tells no current address, old qla4xxx no persistent one
            found.append(SessionKey(sid, NodeKey(target, persistent or current or Portal(NOWHERE, 0, tpgt), read_iface_name(base))))
    return found


def read_sids(sys: str) -> t.List[int]:
    """The numbers of all sessions, sorted."""
    names = list_dir(os.path.join(sys, "class/iscsi_session"))
    return sorted(int(name[len("session"):]) for name in names if re.fullmatch(r"session\d+", name))


def read_tpgt(base: str) -> t.Optional[int]:
    """The portal group tag in the folder of a session, None where it has none."""
    tpgt = read_int(f"{base}/tpgt")
    return tpgt if tpgt is not None and 0 <= tpgt <= 65535 else None


def read_iface_name(base: str) -> str:
    """The name of the iface record of a session, ``default`` where the kernel was told none."""
    return read_text(f"{base}/ifacename") or "default"


def connection_folders(sys: str, sid: int) -> t.List[t.Tuple[int, str]]:
    """The connections of a session, by number: (cid, folder)."""
    folder = os.path.join(sys, "class/iscsi_connection")
    found = (re.fullmatch(rf"connection{sid}:(\d+)", name) for name in list_dir(folder))
    return sorted((int(match.group(1)), f"{folder}/{match.group(0)}") for match in found if match)


def read_portals(base: str, tpgt: t.Optional[int]) -> t.Tuple[t.Optional[Portal], t.Optional[Portal]]:
    """Where a connection is now, and where it was asked to go; each None where the driver does not say."""
    return _read_portal(f"{base}/address", f"{base}/port", tpgt), _read_portal(f"{base}/persistent_address", f"{base}/persistent_port", tpgt)


def _read_portal(address: str, port: str, tpgt: t.Optional[int]) -> t.Optional[Portal]:
    host = read_text(address)
    if host is None:
        return None
    number = read_int(port)
    return Portal(normalise_host(host.strip("[]")), number if number is not None and 0 < number <= 65535 else DEFAULT_PORT, tpgt)
