# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to a SCSI device itself, past what the kernel remembers of it: which LUNs are there, how large is this one, and which is it.

They go through the ioctl SG_IO (include/scsi/sg.h, struct sg_io_hdr), which disks take as well as sg devices. Commands: SPC-4 6.33
REPORT LUNS, 6.6 INQUIRY, SBC-3 5.15 READ CAPACITY (16) and 5.14 READ CAPACITY (10).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError

_SG_IO = 0x2285
_FROM_DEVICE = -3
_REPORT_LUNS_LENGTH = 8 + 8 * 16384  # the most LUNs one iSCSI target of open-iscsi is asked for
_PAGE_LENGTH = 1024  # of a VPD page; the longest designators of a disk take some 300 bytes
_ILLEGAL_REQUEST = 5
_NAME_KINDS: t.Mapping[int, str] = {1: "t10", 2: "eui", 3: "naa"}
_UNIT_ATTENTION = 6
_NO_SUCH_LUN = 0x25  # additional sense code LOGICAL UNIT NOT SUPPORTED (SPC-4 table 53)
_ATTEMPTS = 5  # a device may have several unit attentions to tell first, one a command


class _Header(ctypes.Structure):
    """struct sg_io_hdr."""

    _fields_ = [
        ("interface_id", ctypes.c_int), ("dxfer_direction", ctypes.c_int), ("cmd_len", ctypes.c_ubyte), ("mx_sb_len", ctypes.c_ubyte),
        ("iovec_count", ctypes.c_ushort), ("dxfer_len", ctypes.c_uint), ("dxferp", ctypes.c_void_p), ("cmdp", ctypes.c_void_p),
        ("sbp", ctypes.c_void_p), ("timeout", ctypes.c_uint), ("flags", ctypes.c_uint), ("pack_id", ctypes.c_int), ("usr_ptr", ctypes.c_void_p),
        ("status", ctypes.c_ubyte), ("masked_status", ctypes.c_ubyte), ("msg_status", ctypes.c_ubyte), ("sb_len_wr", ctypes.c_ubyte),
        ("host_status", ctypes.c_ushort), ("driver_status", ctypes.c_ushort), ("resid", ctypes.c_int), ("duration", ctypes.c_uint), ("info", ctypes.c_uint),
    ]


def report_luns(device: str, timeout: float = 10.0) -> t.List[int]:
    """The LUNs of the target that ``device`` (``/dev/sdb``) belongs to, as the kernel numbers them. Raises ``HostError``.

    Well-known logical units (SAM-5 4.7.7.5.1: addressing method 3) are left out.
    """
    data = _ask(device, struct.pack(">BxBxxxLxx", 0xA0, 0, _REPORT_LUNS_LENGTH), _REPORT_LUNS_LENGTH, timeout)
    return parse_luns(data)


def parse_luns(data: bytes) -> t.List[int]:
    """What REPORT LUNS returned, as numbers: those of Linux (``scsilun_to_int``), which are in the names of its devices."""
    length = struct.unpack_from(">L", data)[0] if len(data) >= 8 else 0
    entries = [data[at:at + 8] for at in range(8, min(8 + length, len(data)) - 7, 8)]
    return sorted({_number(entry) for entry in entries if entry[0] >> 6 != 3})


def _number(entry: bytes) -> int:
    first, second, third, fourth = struct.unpack(">4H", entry)
    return int(first | second << 16 | third << 32 | fourth << 48)


def read_capacity(device: str, timeout: float = 10.0) -> int:
    """The size of a disk in bytes, as the disk says. Raises ``HostError``."""
    try:
        last, block = struct.unpack_from(">QL", _ask(device, struct.pack(">BBQLxx", 0x9E, 0x10, 0, 32), 32, timeout))
    except _Unsupported:
        last, block = struct.unpack_from(">LL", _ask(device, struct.pack(">Bxxxxxxxxx", 0x25), 8, timeout))
    return int((last + 1) * block)


def device_identification(device: str, timeout: float = 10.0) -> t.Optional[bytes]:
    """VPD page 83h (SPC-4 7.8.6) as the device says it now, None where it has none.

    Raises ``HostError``; ``NoLunError`` also where the peripheral qualifier (SPC-4 table 175) says that nothing is connected there: so LIO answers for
    LUN 0 of a target that has no LUN for this host, and reports it all the same.
    """
    try:
        page = _ask(device, struct.pack(">BBBHx", 0x12, 1, 0x83, _PAGE_LENGTH), _PAGE_LENGTH, timeout)
    except _Unsupported:
        return None
    if page[:1] and page[0] >> 5:
        raise _no_lun(device)
    return page


def read_names(device: str, timeout: float = 10.0) -> t.List[str]:
    """The names of the LUN behind a disk, as it says them now. Raises ``HostError``."""
    return parse_names(device_identification(device, timeout) or b"")


def parse_names(page: bytes) -> t.List[str]:
    """The designators of the LUN in VPD page 0x83 (SPC-5 section 7.7.6): ``naa.6001405...``, ``eui....`` or ``t10....``, as the kernel writes them."""
    if len(page) < 4 or page[1] != 0x83:
        return []
    body, found = page[4:4 + int.from_bytes(page[2:4], "big")], []
    while len(body) >= 4:
        kind, association, length = body[1] & 0x0F, body[1] >> 4 & 0x03, body[3]
        value, body = body[4:4 + length], body[4 + length:]
        if association == 0 and kind in _NAME_KINDS and value and len(value) == length:
            text = " ".join(value.decode("utf-8", "replace").replace("\x00", " ").split()) if kind == 1 else value.hex()
            found.append(f"{_NAME_KINDS[kind]}.{text}")
    return found


class _Unsupported(HostError):
    """ILLEGAL REQUEST: a device that does not know the command."""


class NoLunError(HostError):
    """The target says that there is no LUN of this number (any more)."""


def _ask(device: str, command: bytes, length: int, timeout: float) -> bytes:
    """Send a command that returns up to ``length`` bytes; unit attentions, which are news for whoever comes first, are passed over."""
    try:
        opened = os.open(device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _failure(device, error.strerror or str(error))
    try:
        for _attempt in range(_ATTEMPTS):
            data, sense = _send(device, opened, command, length, timeout)
            if sense is None:
                return data
            key = sense_key(sense)
            if key == _ILLEGAL_REQUEST and sense_code(sense) == _NO_SUCH_LUN:
                raise _no_lun(device)
            if key == _ILLEGAL_REQUEST:
                raise _Unsupported(device, f"does not know the SCSI command {command[0]:#04x}")
            if key != _UNIT_ATTENTION:
                raise _failure(device, f"its answer is sense key {key:#x}")
        raise _failure(device, f"it had {_ATTEMPTS} unit attentions to tell")
    finally:
        os.close(opened)


def _send(device: str, opened: int, command: bytes, length: int, timeout: float) -> t.Tuple[bytes, t.Optional[bytes]]:
    """One SG_IO: the data, and the sense data if the command failed."""
    data, sense, raw = ctypes.create_string_buffer(length), ctypes.create_string_buffer(64), ctypes.create_string_buffer(command, len(command))
    header = _Header(interface_id=ord("S"), dxfer_direction=_FROM_DEVICE, cmd_len=len(command), mx_sb_len=len(sense), dxfer_len=length,
                     dxferp=ctypes.addressof(data), cmdp=ctypes.addressof(raw), sbp=ctypes.addressof(sense), timeout=int(timeout * 1000))
    try:
        fcntl.ioctl(opened, _SG_IO, header)
    except OSError as error:
        raise _failure(device, error.strerror or str(error))
    if header.host_status or header.status not in (0, 2):
        raise _failure(device, f"host status {header.host_status:#x}, SCSI status {header.status:#x}")
    if header.status == 2:
        return b"", sense.raw[:header.sb_len_wr]
    return data.raw[:length - max(header.resid, 0)], None


def sense_key(sense: bytes) -> int:
    """The sense key of fixed (70h, 71h) and descriptor (72h, 73h) format sense data; 0 where there is none."""
    if len(sense) < 3:
        return 0
    return (sense[1] if sense[0] & 0x7F in (0x72, 0x73) else sense[2]) & 0x0F


def sense_code(sense: bytes) -> int:
    """The additional sense code of sense data in either format; 0 where there is none."""
    at = 2 if sense[:1] and sense[0] & 0x7F in (0x72, 0x73) else 12
    return sense[at] if len(sense) > at else 0


def _no_lun(device: str) -> NoLunError:
    return NoLunError(device, "is no LUN of its target any more", "Have it removed: iscsi_session with prune: true")


def _failure(device: str, what: str) -> HostError:
    return HostError(device, f"did not answer a SCSI question: {what}", "Look at its session (iscsi_session_info) and at the kernel's log")
