# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sessions of this host, read from sysfs without a fork.

The kernel lays them out in drivers/scsi/scsi_transport_iscsi.c: class folders ``iscsi_session/sessionN``,
``iscsi_connection/connectionN:0`` and ``iscsi_host/hostN``. What is read here is what ``iscsiadm -m session -P 3`` reads
(usr/iscsi_sysfs.c, usr/session_info.c), but for two lines that only the daemon knows: its own connection state and its
internal session state. The kernel's own state of the connection takes their place.
"""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.sysfs import list_dir, read_int, read_text, resolve
from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey, Portal, normalise_host
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.session_keys import (
    NOWHERE, connection_folders, read_iface_name, read_portals, read_sids, read_tpgt, same_node,
)

LOGGED_IN = "LOGGED_IN"
#: states of a session the kernel can be in; FREE is one whose recovery time is over: its disks answer with errors
STATES = (LOGGED_IN, "FAILED", "FREE")
SECTOR = 512  # what /sys/block/*/size counts in, whatever the device's own sector is
_SCSI_ADDRESS = re.compile(r"(\d+):(\d+):(\d+):(\d+)")


@dataclass(frozen=True)
class Iface:
    """What a session is bound to. ``name`` is the iface record's, ``default`` where the kernel was told none."""

    name: str = "default"
    transport: t.Optional[str] = None
    netdev: t.Optional[str] = None
    hwaddress: t.Optional[str] = None
    ipaddress: t.Optional[str] = None
    initiatorname: t.Optional[str] = None


@dataclass(frozen=True)
class Negotiated:
    """What initiator and target agreed upon (RFC 7143 section 13); None where the driver does not say."""

    header_digest: t.Optional[bool] = None
    data_digest: t.Optional[bool] = None
    max_recv_data_segment_length: t.Optional[int] = None
    max_xmit_data_segment_length: t.Optional[int] = None
    first_burst_length: t.Optional[int] = None
    max_burst_length: t.Optional[int] = None
    immediate_data: t.Optional[bool] = None
    initial_r2t: t.Optional[bool] = None
    max_outstanding_r2t: t.Optional[int] = None
    data_pdu_in_order: t.Optional[bool] = None
    data_sequence_in_order: t.Optional[bool] = None
    error_recovery_level: t.Optional[int] = None


@dataclass(frozen=True)
class Timeouts:
    """The kernel's timers of a session, in seconds; None where the driver has none."""

    recovery_tmo: t.Optional[int] = None
    abort_tmo: t.Optional[int] = None
    lu_reset_tmo: t.Optional[int] = None
    tgt_reset_tmo: t.Optional[int] = None
    ping_tmo: t.Optional[int] = None
    recv_tmo: t.Optional[int] = None


@dataclass(frozen=True)
class Chap:
    """The names CHAP was done with. The kernel shows the secrets too; they are not even read."""

    username: t.Optional[str] = None
    username_in: t.Optional[str] = None


@dataclass(frozen=True)
class Lun:
    """One SCSI device behind a session. ``address`` is H:C:T:L; ``name`` (sdb) is None for what is no block device."""

    lun: int
    address: str
    name: t.Optional[str] = None
    state: t.Optional[str] = None
    vendor: t.Optional[str] = None
    model: t.Optional[str] = None
    size: t.Optional[int] = None
    type: t.Optional[int] = None

    @property
    def device(self) -> t.Optional[str]:
        """``/dev/sdb``, or None."""
        return None if self.name is None else f"/dev/{self.name}"


@dataclass(frozen=True)
class Connection:
    """One TCP connection of a session. ``state`` is the kernel's: up, down, failed (None before kernel 5.7)."""

    cid: int
    portal: t.Optional[Portal] = None
    persistent_portal: t.Optional[Portal] = None
    state: t.Optional[str] = None
    local_address: t.Optional[str] = None


@dataclass(frozen=True)
class Session:
    """One session. ``portal`` is where it is connected now (after a redirect), ``persistent_portal`` what was asked for."""

    sid: int
    target: str
    portal: Portal
    persistent_portal: Portal
    iface: Iface = field(default_factory=Iface)
    state: t.Optional[str] = None
    target_state: t.Optional[str] = None
    host: t.Optional[int] = None
    host_state: t.Optional[str] = None
    target_id: t.Optional[int] = None
    target_alias: t.Optional[str] = None
    creator: t.Optional[int] = None
    negotiated: Negotiated = field(default_factory=Negotiated)
    timeouts: Timeouts = field(default_factory=Timeouts)
    chap: Chap = field(default_factory=Chap)
    connections: t.Tuple[Connection, ...] = ()
    luns: t.Tuple[Lun, ...] = ()

    @property
    def key(self) -> NodeKey:
        """The node this session belongs to: target, the portal that was asked for with the target's tpgt, iface."""
        return NodeKey(self.target, self.persistent_portal, self.iface.name)

    @property
    def logged_in(self) -> bool:
        """Whether the kernel holds the session for working."""
        return self.state == LOGGED_IN

    def belongs_to(self, key: NodeKey) -> bool:
        """Whether this is a session of that node; a tpgt that one of the two does not know is no difference."""
        return same_node(self.key, key)

    def as_fact(self) -> t.Dict[str, t.Any]:
        """The session as a module returns it."""
        negotiated = asdict(self.negotiated)
        for name in ("header_digest", "data_digest"):
            negotiated[name] = None if negotiated[name] is None else "CRC32C" if negotiated[name] else "None"
        return {
            "sid": self.sid,
            "target": self.target,
            "target_alias": self.target_alias,
            "portal": _shown(self.portal),
            "persistent_portal": _shown(self.persistent_portal),
            "tpgt": self.persistent_portal.tpgt,
            "iface": asdict(self.iface),
            "state": self.state,
            "target_state": self.target_state,
            "host": self.host,
            "host_state": self.host_state,
            "target_id": self.target_id,
            "connections": [
                {"cid": one.cid, "portal": _shown(one.portal), "persistent_portal": _shown(one.persistent_portal), "state": one.state}
                for one in self.connections
            ],
            "negotiated": negotiated,
            "timeouts": asdict(self.timeouts),
            "chap": asdict(self.chap),
            "luns": [
                {"lun": lun.lun, "address": lun.address, "type": lun.type, "device": lun.device, "state": lun.state,
                 "vendor": lun.vendor, "model": lun.model, "size": lun.size}
                for lun in self.luns
            ],
        }


def _shown(portal: t.Optional[Portal]) -> t.Optional[str]:
    return None if portal is None or portal.host == NOWHERE else str(portal)


def select_sessions(sessions: t.Iterable[Session], targets: t.Sequence[str] = (), sids: t.Sequence[int] = ()) -> t.List[Session]:
    """The sessions whose target matches one of the globs and whose sid is one of ``sids``; an empty list selects all."""
    return [
        session for session in sessions
        if (not targets or any(fnmatchcase(session.target, glob) for glob in targets)) and (not sids or session.sid in sids)
    ]


def check_sids(sids: t.Sequence[int]) -> t.Sequence[int]:
    """Return the option ``sids``; raise ``InputError`` where one cannot be a session id."""
    if not all(isinstance(sid, int) and sid >= 0 for sid in sids):
        raise InputError("option sids", f"is {sids}", "Give session ids as iscsi_session_info returns them")
    return sids


def nodes_of(sessions: t.Iterable[Session]) -> t.List[t.Dict[str, t.Any]]:
    """The nodes that these sessions belong to, as ``iscsi_node`` takes them: ``{target, portals, ifaces}``."""
    found: t.Dict[t.Tuple[str, str], t.Dict[str, None]] = {}
    for session in sessions:
        if session.persistent_portal.host != NOWHERE:
            found.setdefault((session.target, session.iface.name), {})[str(session.persistent_portal)] = None
    return [{"target": target, "portals": list(portals), "ifaces": [iface]} for (target, iface), portals in found.items()]


def read_sessions(sys: str = "/sys") -> t.List[Session]:
    """Every session of this host, by sid; empty where the kernel has no iSCSI.

    A session that goes away while it is read is left out. Unreadable attributes (some need root) are None.
    """
    found = (read_session(sys, sid) for sid in read_sids(sys))
    return [session for session in found if session is not None]


def read_session(sys: str, sid: int) -> t.Optional[Session]:
    """One session, or None where there is none (any more)."""
    base = os.path.join(sys, f"class/iscsi_session/session{sid}")
    target = read_text(f"{base}/targetname")
    if target is None:
        return None
    tpgt = read_tpgt(base)
    connections = _read_connections(sys, sid, tpgt)
    first = connections[0] if connections else None
    current = first.portal if first is not None else None
    persistent = first.persistent_portal if first is not None else None
    device = resolve(f"{base}/device")
    host = _host_number(device)
    target_id, luns = _read_luns(device)
    shown = read_int(f"{base}/target_id")
    return Session(
        sid=sid,
        target=target,
        # iser tells no current address, old qla4xxx no persistent one
        portal=current or persistent or Portal(NOWHERE, 0, tpgt),
        persistent_portal=persistent or current or Portal(NOWHERE, 0, tpgt),
        iface=_read_iface(sys, base, host),
        state=read_text(f"{base}/state"),
        target_state=read_text(f"{base}/target_state"),
        host=host,
        host_state=None if host is None else read_text(os.path.join(sys, f"class/scsi_host/host{host}/state")),
        target_id=target_id if target_id is not None else shown if shown is not None and shown >= 0 else None,
        target_alias=read_text(f"{base}/targetalias"),
        creator=read_int(f"{base}/creator"),
        negotiated=_read_negotiated(base, os.path.join(sys, f"class/iscsi_connection/connection{sid}:0")),
        timeouts=_read_timeouts(base, os.path.join(sys, f"class/iscsi_connection/connection{sid}:0")),
        chap=Chap(read_text(f"{base}/username"), read_text(f"{base}/username_in")),
        connections=connections,
        luns=luns,
    )


def _read_connections(sys: str, sid: int, tpgt: t.Optional[int]) -> t.Tuple[Connection, ...]:
    found = []
    for cid, base in connection_folders(sys, sid):
        portal, persistent = read_portals(base, tpgt)
        local = read_text(f"{base}/local_ipaddr") or read_text(f"{base}/local_address")
        found.append(Connection(cid, portal, persistent, read_text(f"{base}/state"), local))
    return tuple(found)


def _read_iface(sys: str, base: str, host: t.Optional[int]) -> Iface:
    def of_host(name: str) -> t.Optional[str]:
        return None if host is None else read_text(os.path.join(sys, f"class/iscsi_host/host{host}/{name}"))

    driver = None if host is None else read_text(os.path.join(sys, f"class/scsi_host/host{host}/proc_name"))
    if driver is not None and driver.startswith("iscsi_"):
        driver = driver[len("iscsi_"):]  # the modules are iscsi_tcp and iscsi_iser, the transports tcp and iser
    address = of_host("ipaddress")
    return Iface(
        name=read_iface_name(base),
        transport=driver,
        netdev=of_host("netdev"),
        hwaddress=of_host("hwaddress"),
        ipaddress=None if address is None else normalise_host(address),  # the kernel prints IPv6 in full
        initiatorname=read_text(f"{base}/initiatorname") or of_host("initiatorname"),
    )


def _read_negotiated(session: str, connection: str) -> Negotiated:
    return Negotiated(
        header_digest=_read_bool(f"{connection}/header_digest"),
        data_digest=_read_bool(f"{connection}/data_digest"),
        max_recv_data_segment_length=read_int(f"{connection}/max_recv_dlength"),
        max_xmit_data_segment_length=read_int(f"{connection}/max_xmit_dlength"),
        first_burst_length=read_int(f"{session}/first_burst_len"),
        max_burst_length=read_int(f"{session}/max_burst_len"),
        immediate_data=_read_bool(f"{session}/immediate_data"),
        initial_r2t=_read_bool(f"{session}/initial_r2t"),
        max_outstanding_r2t=read_int(f"{session}/max_outstanding_r2t"),
        data_pdu_in_order=_read_bool(f"{session}/data_pdu_in_order"),
        data_sequence_in_order=_read_bool(f"{session}/data_seq_in_order"),
        error_recovery_level=read_int(f"{session}/erl"),
    )


def _read_timeouts(session: str, connection: str) -> Timeouts:
    return Timeouts(
        recovery_tmo=read_int(f"{session}/recovery_tmo"),
        abort_tmo=read_int(f"{session}/abort_tmo"),
        lu_reset_tmo=read_int(f"{session}/lu_reset_tmo"),
        tgt_reset_tmo=read_int(f"{session}/tgt_reset_tmo"),
        ping_tmo=read_int(f"{connection}/ping_tmo"),
        recv_tmo=read_int(f"{connection}/recv_tmo"),
    )


def _read_bool(path: str) -> t.Optional[bool]:
    number = read_int(path)
    return None if number is None else number != 0


def _host_number(device: t.Optional[str]) -> t.Optional[int]:
    """The SCSI host above a session's device: .../platform/hostH/sessionS, or .../hostH/sessionS below a PCI function."""
    for part in reversed((device or "").split(os.sep)):
        if re.fullmatch(r"host\d+", part):
            return int(part[len("host"):])
    return None


def _read_luns(device: t.Optional[str]) -> t.Tuple[t.Optional[int], t.Tuple[Lun, ...]]:
    """The target id the SCSI layer gave and the devices of targetH:C:T below a session's device folder."""
    target_id: t.Optional[int] = None
    luns: t.List[Lun] = []
    if device is None:
        return None, ()
    for name in list_dir(device):
        target = re.fullmatch(r"target\d+:\d+:(\d+)", name)
        if not target:
            continue
        target_id = int(target.group(1))
        luns += [lun for lun in (read_lun(os.path.join(device, name, child)) for child in list_dir(os.path.join(device, name))) if lun]
    return target_id, tuple(sorted(luns, key=lambda lun: lun.lun))


def read_lun(folder: str) -> t.Optional[Lun]:
    """The SCSI device in ``folder`` (its name is H:C:T:L), or None where that is no SCSI device or it is gone."""
    address = os.path.basename(folder)
    match = _SCSI_ADDRESS.fullmatch(address)
    kind = read_int(f"{folder}/type")
    if not match or kind is None:
        return None
    names = list_dir(f"{folder}/block")
    sectors = read_int(f"{folder}/block/{names[0]}/size") if names else None
    return Lun(
        lun=int(match.group(4)),
        address=address,
        name=names[0] if names else None,
        state=read_text(f"{folder}/state"),
        vendor=read_text(f"{folder}/vendor"),
        model=read_text(f"{folder}/model"),
        size=None if sectors is None else sectors * SECTOR,
        type=kind,
    )
