# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for a kernel with an offload adapter: a sysfs tree, and answers to the netlink messages of the real iscsiadm.

Nobody here has such an adapter. Messages are laid out as in the kernel's include/scsi/iscsi_if.h, 64 bit, and answered as
drivers/scsi/scsi_transport_iscsi.c and drivers/scsi/qla4xxx/ql4_os.c do. What those refuse is refused here, with the same error numbers.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import shutil
import socket
import struct
import threading
import typing as t
from pathlib import Path

from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.sysfs_tree import Tree

HOST = 6
MAC = "00:0e:1e:04:8b:2e"
BASE = f"/sys/devices/pci0000:00/0000:00:02.0/host{HOST}"
_HEADER = struct.Struct("=IHHII")  # nlmsghdr
_EVENT = struct.Struct("=IIQ24s16s")  # iscsi_uevent: type, iferror, handle, question, answer
_RECORD = struct.Struct("=HxxI256s256sBxxx")  # iscsi_chap_rec
(_GET_CHAP, _DELETE_CHAP, _SET_FLASH_NODE, _NEW_FLASH_NODE, _DELETE_FLASH_NODE, _LOGIN, _LOGOUT, _LOGOUT_SID, _SET_CHAP, _GET_STATS) = range(33, 43)
_ERROR = 103
#: chap_type_e
LOCAL, BIDI = 0, 1
#: the driver keeps the first places for the targets it boots from
_FIRST_FREE_CHAP, CHAP_PLACES, _FIRST_FREE_NODE, NODE_PLACES = 4, 32, 2, 16
STATISTICS = 82
_NOBODY = 65535

#: enum iscsi_flashnode_param: the attribute in sysfs, and its number of bytes or its kind of text
PARAMETERS: t.List[t.Tuple[str, str]] = [(entry.split()[0], entry.split()[1]) for entry in """
conn.is_fw_assigned_ipv6 1; sess.portal_type text; sess.auto_snd_tgt_disable 1; sess.discovery_session 1; sess.entry_enable 1;
conn.header_digest 1; conn.data_digest 1; sess.immediate_data 1; sess.initial_r2t 1; sess.data_seq_in_order 1; sess.data_pdu_in_order 1;
sess.chap_auth 1; conn.snack_req 1; sess.discovery_logout 1; sess.bidi_chap 1; sess.discovery_auth_optional 1; sess.erl 1;
conn.tcp_timestamp_stat 1; conn.tcp_nagle_disable 1; conn.tcp_wsf_disable 1; conn.tcp_timer_scale 1; conn.tcp_timestamp_enable 1;
conn.fragment_disable 1; conn.max_recv_dlength 4; conn.max_xmit_dlength 4; sess.first_burst_len 4; sess.def_time2wait 2; sess.def_time2retain 2;
sess.max_outstanding_r2t 2; conn.keepalive_tmo 2; sess.isid isid; sess.tsid 2; conn.port 2; sess.max_burst_len 4; sess.def_taskmgmt_tmo 2;
conn.ipaddress address; sess.targetalias text; conn.redirect_ipaddr address; conn.max_segment_size 4; conn.local_port 2; conn.ipv4_tos 1;
conn.ipv6_traffic_class 1; conn.ipv6_flow_label 2; sess.targetname text; sess.tpgt 2; conn.link_local_ipv6 ipv6; sess.discovery_parent_idx 2;
sess.discovery_parent_type text; conn.tcp_xmit_wsf 4; conn.tcp_recv_wsf 4; sess.chap_in_idx 2; sess.chap_out_idx 2; sess.username text;
sess.username_in text; sess.password text; sess.password_in text; conn.statsn 4; conn.exp_statsn 4; sess.is_boot_target 1
""".replace("\n", " ").split(";")]

#: addresses of the port, as the driver shows them
IFACES: t.Dict[str, t.Dict[str, object]] = {
    f"ipv4-iface-{HOST}-0": {
        "ipaddress": "192.168.1.20", "gateway": "192.168.1.1", "subnet": "255.255.255.0", "bootproto": "static", "enabled": "enabled",
        "port": 3260, "mtu": 9000, "vlan_id": 56, "vlan_priority": 3, "vlan_enabled": "enabled"},
    f"ipv6-iface-{HOST}-1": {
        "ipaddress": "fd00:0056:0000:0000:0000:0000:0000:0020", "ipaddr_autocfg": "disabled",
        "link_local_addr": "fe80:0000:0000:0000:020e:1eff:fe04:8b2e", "link_local_autocfg": "auto",
        "router_addr": "fd00:0056:0000:0000:0000:0000:0000:0001", "enabled": "enabled", "port": 3260, "mtu": 1500, "vlan_id": 0, "vlan_priority": 0,
        "vlan_enabled": "disabled"},
}


class Refused(Exception):
    """The kernel says no; ``number`` as in errno.h."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(os.strerror(number))


class Adapter:
    """One port of an adapter: its flash, its sessions, its place in ``tree``; ``transport`` may be one that can do less."""

    def __init__(self, tree: Tree, path: Path, transport: str = "qla4xxx") -> None:
        self.tree = tree
        self.transport = transport
        #: index -> (kind, name, secret)
        self.chap: t.Dict[int, t.Tuple[int, str, str]] = {}
        #: flash nodes that nobody wrote yet
        self.unfinished: t.Set[int] = set()
        #: how sessions begin, before the adapter is through with its login
        self.first_state = "LOGGED_IN"
        #: kinds of messages that are refused whatever they say
        self.broken: t.Set[int] = set()
        self._sids = iter(range(1, 1000))
        tree.attributes(f"/sys/class/iscsi_transport/{transport}", handle="18446744072637906944", caps="0x4a9")
        tree.attributes(f"{BASE}/scsi_host/host{HOST}", proc_name=transport, state="running")
        tree.attributes(f"{BASE}/iscsi_host/host{HOST}", hwaddress=MAC, ipaddress="192.168.1.20", initiatorname="iqn.2000-04.com.qlogic:isp8214.4",
                        port_state="Link Up", port_speed="10 Gbps")
        for kind in ("scsi_host", "iscsi_host"):
            tree.link(f"/sys/class/{kind}/host{HOST}", f"{BASE}/{kind}/host{HOST}")
        tree.link(f"/sys/bus/scsi/devices/host{HOST}", BASE)
        for name, values in IFACES.items():
            tree.attributes(f"{BASE}/iscsi_iface/{name}", **values)
            tree.link(f"/sys/class/iscsi_iface/{name}", f"{BASE}/iscsi_iface/{name}")
        tree.attributes("/sys/module/scsi_transport_iscsi", version="2.0-870")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(path))
        self._listener.listen(8)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    # the wire

    def _serve(self) -> None:
        while True:
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            with connection:
                while True:
                    question = connection.recv(65536)
                    if not question:
                        break
                    connection.sendall(self._message(question))

    def _message(self, question: bytes) -> bytes:
        kind, _error, handle, asked, _nothing = _EVENT.unpack_from(question, _HEADER.size)
        try:
            asked, answered, data = self._answer(kind, asked, question[_HEADER.size + _EVENT.size:])
            content = _EVENT.pack(kind, 0, handle, asked, answered) + data
        except Refused as refusal:
            content = _EVENT.pack(_ERROR, 2**32 - refusal.number, handle, asked, b"")
        return _HEADER.pack(_HEADER.size + len(content), kind, 0, 0, 0) + content

    def _answer(self, kind: int, asked: bytes, data: bytes) -> t.Tuple[bytes, bytes, bytes]:
        host, second, third = struct.unpack_from("=III", asked)
        if host != HOST:
            raise Refused(errno.ENODEV)
        if kind in self.broken:
            raise Refused(errno.EIO)
        if self.transport != "qla4xxx":
            raise Refused(errno.EINVAL if kind in (_GET_CHAP, _SET_CHAP, _DELETE_CHAP) else errno.ENOSYS)
        if kind == _GET_CHAP:
            found = [(index, *entry) for index, entry in sorted(self.chap.items()) if index >= third & 0xFFFF][:second]
            records = b"".join(_RECORD.pack(index, type_, name.encode(), secret.encode(), len(secret.encode())) for index, type_, name, secret in found)
            return struct.pack("=III", host, len(found), third), b"", records.ljust(second * _RECORD.size, b"\0")
        if kind == _GET_STATS:
            return asked, b"", b"".join(struct.pack("=Q", number * number) for number in range(1, STATISTICS + 1)) + struct.pack("=Q", 0)
        if kind == _NEW_FLASH_NODE:
            return asked, struct.pack("=I", self._new(data.rstrip(b"\0").decode())), b""
        doers: t.Dict[int, t.Callable[[int, bytes], None]] = {
            _DELETE_CHAP: self._delete_chap, _SET_CHAP: self._set_chap, _SET_FLASH_NODE: self._set, _DELETE_FLASH_NODE: self._delete,
            _LOGIN: self._login, _LOGOUT: self._logout, _LOGOUT_SID: lambda sid, _data: self.end(sid)}
        doers[kind](second, data)
        return asked, b"", b""

    # the CHAP table

    def _active(self, index: int) -> bool:
        return any(self.get(node, "sess.chap_out_idx") == str(index) and self.sids(node) for node in self.nodes())

    def _delete_chap(self, index: int, _data: bytes) -> None:
        if self._active(index & 0xFFFF):
            raise Refused(errno.EBUSY)
        self.chap.pop(index & 0xFFFF, None)

    def _set_chap(self, _nothing: int, data: bytes) -> None:
        values = dict(_attributes(data))
        index, kind = int.from_bytes(values[0], "little"), values[1][0]
        if index < CHAP_PLACES:
            if index in self.chap and self.chap[index][0] != kind:
                raise Refused(errno.EINVAL)
            if index in self.chap and self._active(index):
                raise Refused(errno.EBUSY)
        else:
            index = next((place for place in range(_FIRST_FREE_CHAP, CHAP_PLACES) if place not in self.chap), -1)
            if index < 0:
                raise Refused(errno.EBUSY)
        self.chap[index] = (kind, values[2].decode(), values[3].decode())

    # flash nodes

    def nodes(self) -> t.List[int]:
        folder = Path(self.tree.sys) / "bus/iscsi_flashnode/devices"
        return sorted(int(path.name.rpartition(":")[2]) for path in folder.glob("flashnode_sess-*"))

    def get(self, index: int, name: str) -> str:
        """An attribute in sysfs, such as sess.targetname."""
        return (self._place(index, name) / name.partition(".")[2]).read_text().strip()

    def put(self, index: int, name: str, value: object) -> None:
        self._place(index, name).mkdir(parents=True, exist_ok=True)
        (self._place(index, name) / name.partition(".")[2]).write_text(f"{value}\n")

    def _place(self, index: int, name: str) -> Path:
        folder = Path(self.tree.sys) / "bus/iscsi_flashnode/devices"
        return folder / (f"flashnode_sess-{HOST}:{index}" if name.startswith("sess.") else f"flashnode_conn-{HOST}:{index}:0")

    def add(self, index: int, portal_type: str = "ipv4", **values: object) -> None:
        """A flash node as the adapter makes it by default, with attributes ``sess__name`` and ``conn__name`` over it."""
        unset = {"isid": "00023d000001", "address": _address(b"", portal_type), "ipv6": _only_ipv6(b"", portal_type), "text": ""}
        for name, kind in PARAMETERS:
            self.put(index, name, unset.get(kind, "0"))
        self.put(index, "sess.portal_type", portal_type)
        self.put(index, "sess.chap_out_idx", _NOBODY)
        self.put(index, "conn.port", 3260)
        for name, value in values.items():
            self.put(index, name.replace("__", "."), value)
        self._show_names(index)

    def _show_names(self, index: int) -> None:
        """The driver shows name and secret of the entry that is used to whoever may read sysfs."""
        entry = self.chap.get(int(self.get(index, "sess.chap_out_idx"))) if self.get(index, "sess.chap_auth") == "1" else None
        self.put(index, "sess.username", entry[1] if entry else "")
        self.put(index, "sess.password", entry[2] if entry else "")

    def _new(self, portal_type: str) -> int:
        index = next((place for place in range(_FIRST_FREE_NODE, NODE_PLACES) if place not in self.nodes()), -1)
        if self.unfinished or index < 0 or portal_type not in ("ipv4", "ipv6"):
            raise Refused(errno.EIO)
        self.unfinished.add(index)
        self.add(index, portal_type)
        return index

    def _known(self, index: int) -> None:
        if index not in self.nodes():
            raise Refused(errno.ENODEV)

    def _set(self, index: int, data: bytes) -> None:
        self._known(index)
        for number, value in _attributes(data):
            name, kind = PARAMETERS[number]
            if name == "sess.discovery_parent_type":
                raise Refused(errno.ENOSYS)
            if name == "sess.chap_out_idx":
                place = int.from_bytes(value[:2], "little")
                if self.chap.get(place, (BIDI,))[0] == LOCAL:  # otherwise nothing happens
                    self.put(index, name, place)
                    self.put(index, "sess.chap_auth", 1)
                continue
            if name == "sess.chap_auth" and not value[0]:
                self.put(index, "sess.chap_out_idx", _NOBODY)
            self.put(index, name, _text(kind, value, self.get(index, "sess.portal_type")))
        self._show_names(index)
        self.unfinished.discard(index)

    def _delete(self, index: int, _data: bytes) -> None:
        self._known(index)
        if self.get(index, "sess.is_boot_target") == "1":
            raise Refused(errno.EPERM)
        for name in ("sess.", "conn."):
            shutil.rmtree(self._place(index, name))
        self.unfinished.discard(index)

    # sessions

    def sids(self, index: int) -> t.List[int]:
        """The sessions of a flash node."""
        place = (self.get(index, "sess.targetname"), self.get(index, "conn.ipaddress"), self.get(index, "conn.port"))
        return [sid for sid, other in self.sessions().items() if other == place]

    def sessions(self) -> t.Dict[int, t.Tuple[str, str, str]]:
        """Where each session goes: target, address, port."""
        found = {}
        for path in (Path(self.tree.sys) / "class/iscsi_session").glob("session*"):
            sid = int(path.name[len("session"):])
            connection = Path(self.tree.sys) / f"class/iscsi_connection/connection{sid}:0"
            texts = [file.read_text().strip() for file in (path / "targetname", connection / "persistent_address", connection / "persistent_port")]
            found[sid] = (texts[0], texts[1], texts[2])
        return found

    def _login(self, index: int, _data: bytes) -> None:
        self._known(index)
        if index in self.unfinished:
            raise Refused(errno.EIO)
        if self.sids(index):
            raise Refused(errno.EPERM)
        self.begin(self.get(index, "sess.targetname"), self.get(index, "conn.ipaddress"), self.get(index, "conn.port"))

    def begin(self, target: str, address: str, port: str = "3260") -> int:
        """A session to this target."""
        sid = next(self._sids)
        device = f"{BASE}/session{sid}"
        self.tree.attributes(f"{device}/iscsi_session/session{sid}", targetname=target, tpgt=1, state=self.first_state, ifacename="", targetalias="")
        self.tree.link(f"{device}/iscsi_session/session{sid}/device", device)
        connection = f"{device}/connection{sid}:0/iscsi_connection/connection{sid}:0"
        self.tree.attributes(connection, address=address, port=port, persistent_address=address, persistent_port=port)
        self.tree.link(f"/sys/class/iscsi_connection/connection{sid}:0", connection)
        self.tree.link(f"/sys/class/iscsi_session/session{sid}", f"{device}/iscsi_session/session{sid}")
        return sid

    def set_state(self, sid: int, state: str) -> None:
        self.tree.attributes(f"{BASE}/session{sid}/iscsi_session/session{sid}", state=state)

    def _logout(self, index: int, _data: bytes) -> None:
        self._known(index)
        if self.get(index, "sess.is_boot_target") == "1":
            raise Refused(errno.EPERM)
        sids = self.sids(index)
        if not sids:
            raise Refused(errno.ESRCH)
        self.end(sids[0])

    def end(self, sid: int) -> None:
        """End a session."""
        for link in (f"iscsi_session/session{sid}", f"iscsi_connection/connection{sid}:0"):
            (Path(self.tree.sys) / "class" / link).unlink()
        shutil.rmtree(Path(str(self.tree.root) + f"{BASE}/session{sid}"))


def _attributes(data: bytes) -> t.Iterator[t.Tuple[int, bytes]]:
    """The nlattr of a message, each with a length and a number of its own in front of its value (packed)."""
    while len(data) >= 10:
        whole, _kind, length, number = struct.unpack_from("=HHIH", data)
        yield number, data[10:10 + length]
        data = data[(whole + 3) & ~3:]


def _text(kind: str, value: bytes, portal_type: str) -> str:
    """A value as the driver prints it."""
    if kind == "isid":
        return value[:6].hex()
    if kind == "address":
        return _address(value, portal_type)
    if kind == "ipv6":
        return _only_ipv6(value, portal_type)
    if kind == "text":
        return value.partition(b"\0")[0].decode()
    return str(int.from_bytes(value[:int(kind)], "little"))


def _only_ipv6(value: bytes, portal_type: str) -> str:
    return _address(value, portal_type) if portal_type == "ipv6" else ""


def _address(value: bytes, portal_type: str) -> str:
    if portal_type == "ipv6":
        return ipaddress.IPv6Address(value[:16].ljust(16, b"\0")).exploded
    return str(ipaddress.IPv4Address(value[:4].ljust(4, b"\0")))
