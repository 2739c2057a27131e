# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small sysfs trees for tests: written by hand with ``Tree``, or grown from a recording made on a real host."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path


class Tree:
    """A folder that looks like /sys, /proc, /dev and /run/udev/data of a host; paths are as on the host."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sys, self.proc, self.dev, self.udev = (str(root / part) for part in ("sys", "proc", "dev", "run/udev/data"))
        for part in (self.sys, self.proc, self.dev):
            os.makedirs(part, exist_ok=True)

    def write(self, path: str, content: t.Union[str, bytes]) -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())

    def attributes(self, folder: str, **values: object) -> None:
        """Write one file an attribute, with a line break at the end, as the kernel does."""
        for name, value in values.items():
            self.write(f"{folder}/{name}", f"{value}\n")

    def link(self, path: str, to: str) -> None:
        """A link, at ``path``, to ``to`` (both absolute on the host)."""
        link = self.root / path.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(self.root / to.lstrip("/"), link.parent))

    def block(self, kernel_name: str, numbers: str, device: str = "", size: int = 2097152, /, **dm: str) -> None:
        """A block device with its class link; ``device`` is the SCSI device it belongs to, ``dm`` are its dm attributes."""
        base = f"{device}/block/{kernel_name}" if device else f"/sys/devices/virtual/block/{kernel_name}"
        self.attributes(base, dev=numbers, size=size)
        (self.root / base.lstrip("/") / "holders").mkdir(exist_ok=True)
        self.link(f"/sys/class/block/{kernel_name}", base)
        self.link(f"/sys/block/{kernel_name}", base)
        if device:
            self.link(f"{base}/device", device)
        for key, value in dm.items():
            self.attributes(f"{base}/dm", **{key: value})

    def partition(self, disk: str, name: str, numbers: str) -> None:
        base = os.path.realpath(os.path.join(self.sys, "class/block", disk))[len(str(self.root)):] + f"/{name}"
        self.attributes(base, dev=numbers, size=1024, partition=name[-1])
        (self.root / base.lstrip("/") / "holders").mkdir()
        self.link(f"/sys/class/block/{name}", base)

    def stack(self, holder: str, *over: str) -> None:
        """``holder`` stands on the devices ``over``."""
        for name in over:
            self.link(f"/sys/class/block/{name}/holders/{holder}", f"/sys/class/block/{holder}")
            self.link(f"/sys/class/block/{holder}/slaves/{name}", f"/sys/class/block/{name}")

    def lun(self, sid: int, host: int, lun: int, name: str = "", numbers: str = "", **values: object) -> str:
        """A SCSI device of a session; returns its folder."""
        folder = f"/sys/devices/platform/host{host}/session{sid}/target{host}:0:0/{host}:0:0:{lun}"
        self.attributes(folder, **dict({"type": 0, "state": "running", "vendor": "IET     ", "model": "VIRTUAL-DISK    "}, **values))
        if name:
            self.block(name, numbers, folder)
        return folder

    def session(self, sid: int, host: int, target: str, address: str = "192.0.2.1", port: int = 3260, **values: object) -> None:
        """A session with one connection, as iscsi_tcp of Linux 6.1 shows it; ``values`` overrides and adds attributes of the session."""
        device = f"/sys/devices/platform/host{host}/session{sid}"
        base = f"{device}/iscsi_session/session{sid}"
        self.attributes(base, **dict({
            "targetname": target, "tpgt": 1, "state": "LOGGED_IN", "ifacename": "default", "initiatorname": "iqn.2026-11.org.example:host1",
            "recovery_tmo": 120, "abort_tmo": 15, "lu_reset_tmo": 30, "tgt_reset_tmo": 30, "username": "(null)", "username_in": "(null)",
            "password": "(null)", "password_in": "(null)", "first_burst_len": 65536, "max_burst_len": 262144, "immediate_data": 1,
            "initial_r2t": 0, "max_outstanding_r2t": 1, "data_pdu_in_order": 1, "data_seq_in_order": 1, "erl": 0, "targetalias": "(null)",
            "target_state": "SCANNED", "creator": 312, "target_id": 0,
        }, **values))
        self.link(f"/sys/class/iscsi_session/session{sid}", base)
        self.link(f"{base}/device", device)
        connection = f"{device}/connection{sid}:0/iscsi_connection/connection{sid}:0"
        self.attributes(
            connection, address=address, port=port, persistent_address=address, persistent_port=port, header_digest=0, data_digest=1,
            max_recv_dlength=262144, max_xmit_dlength=8192, ping_tmo=5, recv_tmo=5, state="up")
        self.link(f"/sys/class/iscsi_connection/connection{sid}:0", connection)
        self.attributes(f"/sys/class/scsi_host/host{host}", state="running", proc_name="iscsi_tcp")
        self.attributes(f"/sys/class/iscsi_host/host{host}", netdev="(null)", hwaddress="(null)", ipaddress="192.0.2.10", initiatorname="(null)")


def grow(recording: Path, root: Path) -> Tree:
    """Build the tree that ``recording`` describes: lines of kind (F text, X hex, L link, D folder), path and content, by tabs."""
    tree = Tree(root)
    for line in recording.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        kind, path, content = (line.split("\t") + ["", ""])[:3]
        if kind == "D":
            (root / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif kind == "L":
            tree.link(path, content)
        else:
            tree.write(path, bytes.fromhex(content) if kind == "X" else content.encode().decode("unicode_escape"))
    return tree
