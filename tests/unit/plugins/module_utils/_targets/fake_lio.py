# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder that behaves as the kernel's target in configfs, as far as the tests need it.

It knows which files a directory is made with, how they are shown, and the order that the kernel insists on: a backstore before its
groups, an id before a state, no serial while exported, no removal of what is linked to or has children. It does not check values,
does no I/O and has no sessions but those a test writes into ``info``. What it refuses was seen refused by Linux 6.1 (scenario ``lio``).
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import typing as t
from pathlib import Path

from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_apply import Hands

_ATTRIB = {"block_size": "512", "emulate_3pc": "1", "emulate_tpu": "0", "emulate_write_cache": "0", "is_nonrot": "0", "queue_depth": "128"}
_USER_ATTRIB = {"cmd_time_out": "30", "dev_config": "", "dev_size": "0", "emulate_write_cache": "0", "nl_reply_supported": "1", "qfull_time_out": "-1"}
#: handlers of tcmu-runner, and whether they can change the size of an image in use
_HANDLERS = {"rbd": True, "qcow": False}
_ALUA = {
    "alua_access_state": "0", "alua_access_status": "None", "alua_access_type": "Implicit and Explicit", "alua_support_active_nonoptimized": "1",
    "alua_support_active_optimized": "1", "alua_support_offline": "1", "alua_support_standby": "1", "alua_support_transitioning": "1",
    "alua_support_unavailable": "1", "alua_write_metadata": "0", "implicit_trans_secs": "0", "nonop_delay_msecs": "100", "preferred": "0",
    "trans_delay_msecs": "0",
}  # fmt: skip
_TYPES = ("None", "Implicit", "Explicit", "Implicit and Explicit")
_TPG = {"authentication": "1", "cache_dynamic_acls": "0", "default_cmdsn_depth": "64", "demo_mode_write_protect": "1", "generate_node_acls": "0"}
_PARAM = {"AuthMethod": "CHAP,None", "InitialR2T": "Yes", "MaxConnections": "1", "MaxBurstLength": "262144"}
_AUTH = {"userid": "", "password": "", "userid_mutual": "", "password_mutual": ""}


class FakeKernel(Hands):
    """Hands on a folder; ``moves`` is what was done, for tests that look at the order."""

    def __init__(self, root: Path, loaded: bool = True) -> None:
        super().__init__(str(root))
        self.moves: t.List[str] = []
        if loaded:
            self.module("target_core_mod")
            self.moves.clear()

    def _files(self, path: str, files: t.Mapping[str, str], read_only: t.Container[str] = ()) -> None:
        os.makedirs(self.path(path), exist_ok=True)
        for name, value in files.items():
            self._set(f"{path}/{name}", value)
            os.chmod(self.path(f"{path}/{name}"), 0o400 if name in read_only else 0o600)

    def _set(self, path: str, value: str) -> None:
        Path(self.path(path)).write_text(value + "\n", encoding="utf-8")

    def _get(self, path: str) -> str:
        return Path(self.path(path)).read_text(encoding="utf-8").strip()

    def module(self, name: str) -> None:
        self.moves.append(f"module {name}")
        os.makedirs(self.path("core"), exist_ok=True)
        self._set("dbroot", "/var/target")

    def mkdir(self, path: str) -> None:
        self.moves.append(f"mkdir {path}")
        if path == "iscsi":
            self._files("iscsi/discovery_auth", dict(_AUTH, enforce_discovery_auth="0"))
            return
        os.mkdir(self.path(path))
        if re.fullmatch(r"core/[^/]+/[^/]+", path):
            self._files(path, {"info": "Status: DEACTIVATED", "control": "", "enable": "0", "udev_path": ""})
            attrib = _USER_ATTRIB if path.startswith("core/user_") else _ATTRIB
            self._files(f"{path}/attrib", dict(attrib, hw_block_size="512", alua_support="1"), read_only=["hw_block_size", "alua_support"])
            self._files(f"{path}/wwn", {"vpd_unit_serial": "T10 VPD Unit Serial Number: ", "company_id": "0x001405"})
            self._files(f"{path}/alua/default_tg_pt_gp", dict(_ALUA, tg_pt_gp_id="0"))
        elif "/alua/" in path:
            self._files(path, dict(_ALUA, tg_pt_gp_id=""))
        elif re.fullmatch(r"iscsi/[^/]+/tpgt_\d+", path):
            self._files(path, {"enable": "0", "dynamic_sessions": ""})
            self._files(f"{path}/attrib", _TPG)
            self._files(f"{path}/param", _PARAM)
            self._files(f"{path}/auth", _AUTH)
            for folder in ("np", "lun", "acls"):
                os.mkdir(self.path(f"{path}/{folder}"))
        elif re.search(r"/lun/lun_\d+$", path):
            self._files(path, {"alua_tg_pt_gp": ""})
        elif re.search(r"/acls/[^/]+$", path):
            self._files(path, {"info": "No active iSCSI Session for Initiator Endpoint: x", "tag": ""})
            self._files(f"{path}/attrib", {"authentication": "-1", "nopin_timeout": "15"})
            self._files(f"{path}/auth", _AUTH)
        elif re.search(r"/acls/[^/]+/lun_\d+$", path):
            self._files(path, {"write_protect": "0"})
        elif "/np/" in path:
            self._files(path, {"iser": "0"})

    def rmdir(self, path: str) -> None:
        self.moves.append(f"rmdir {path}")
        here = Path(self.path(path))
        made = [one for one in here.rglob("*") if one.is_symlink() or (one.is_dir() and self._is_made(str(one.relative_to(self.root))))]
        if made:
            raise OSError(errno.ENOTEMPTY, "Directory not empty")
        if any(os.path.realpath(link) == str(here.resolve()) for link in self._links()):
            raise OSError(errno.EBUSY, "Device or resource busy")
        if "/alua/" in path:
            for member in Path(self.root).glob("iscsi/*/tpgt_*/lun/lun_*/alua_tg_pt_gp"):
                of_this = any(one.is_symlink() and one.resolve() == here.parent.parent.resolve() for one in member.parent.iterdir())
                if of_this and f"Alias: {here.name}\n" in member.read_text(encoding="utf-8"):
                    member.write_text("TG Port Alias: default_tg_pt_gp\nTG Port Group ID: 0\n", encoding="utf-8")
        shutil.rmtree(here)

    @staticmethod
    def _is_made(path: str) -> bool:
        """Whether a directory was made by somebody, not by the kernel with another one."""
        pattern = r"core/[^/]+(/[^/]+(/alua/(?!default_tg_pt_gp)[^/]+)?)?|iscsi/(?!discovery)[^/]+(/tpgt_\d+(/(lun/lun_\d+|np/[^/]+|acls/[^/]+(/lun_\d+)?))?)?"
        return re.fullmatch(pattern, path) is not None

    def _links(self) -> t.Iterator[str]:
        for folder, names, _files in os.walk(self.root):
            yield from (os.path.join(folder, name) for name in names if os.path.islink(os.path.join(folder, name)))

    def link(self, path: str, to: str) -> None:
        self.moves.append(f"link {path} {to}")
        if to.startswith("core/") and self._get(f"{to}/enable") != "1":
            raise OSError(errno.ENODEV, "No such device")
        if not os.path.isdir(self.path(to)):
            raise OSError(errno.ENOENT, "No such file or directory")
        super().link(path, to)
        if to.startswith("core/"):
            self._set(f"{os.path.dirname(path)}/alua_tg_pt_gp", "TG Port Alias: default_tg_pt_gp\nTG Port Group ID: 0")

    def unlink(self, path: str) -> None:
        self.moves.append(f"unlink {path}")
        number = re.search(r"(.*/tpgt_\d+)/lun/(lun_\d+)/", path)
        if number and any(os.path.realpath(link) == self.path(f"{number.group(1)}/lun/{number.group(2)}") for link in self._links()):
            raise OSError(errno.EBUSY, "Device or resource busy")
        super().unlink(path)

    def write(self, path: str, value: str) -> None:
        self.moves.append(f"write {path} {value}")
        if not os.path.exists(self.path(path)):
            raise OSError(errno.ENOENT, "No such file or directory")
        folder, _slash, name = path.rpartition("/")
        if name == "control":
            value = ",".join(filter(None, [self._get(path), value]))
            self._set(path, value)
            self._show(folder, dict(one.split("=", 1) for one in value.split(",")))
            return
        if "/alua/" in path:
            value = self._alua(folder, name, value)
        elif name in ("vpd_unit_serial", "company_id"):
            if any(os.path.realpath(link) == self.path(os.path.dirname(folder)) for link in self._links()):
                raise OSError(errno.EINVAL, "Invalid argument")
            value = f"T10 VPD Unit Serial Number: {value}" if name == "vpd_unit_serial" else f"0x{int(value, 0):06x}"
        elif name == "emulate_write_cache" and path.startswith("core/iblock_"):
            raise OSError(errno.EINVAL, "Invalid argument")
        elif path.startswith("core/user_"):
            self._user(folder, name, value)
        elif name == "alua_tg_pt_gp":
            link = next(os.path.join(self.path(folder), one) for one in os.listdir(self.path(folder)) if os.path.islink(os.path.join(self.path(folder), one)))
            if not os.path.isdir(os.path.join(link, "alua", value)):
                raise OSError(errno.ENODEV, "No such device")
            value = f"TG Port Alias: {value}\nTG Port Group ID: 1"
        self._set(path, value)

    def _user(self, folder: str, name: str, value: str) -> None:
        """What tcmu-runner has a word in."""
        backstore = folder[: -len("/attrib")] if folder.endswith("/attrib") else folder
        said = dict(one.split("=", 1) for one in self._get(f"{backstore}/control").split(","))
        handler = said["dev_config"].partition("/")[0]
        if name == "enable" and handler not in _HANDLERS:
            raise OSError(errno.ENOENT, "No such file or directory")
        if name in ("dev_config", "dev_size", "emulate_write_cache"):
            if not _HANDLERS[handler] or name != "dev_size":
                raise OSError(errno.EOPNOTSUPP, "Operation not supported")
            self._show(backstore, dict(said, dev_size=value))

    def _show(self, folder: str, said: t.Mapping[str, str]) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        if "fd_dev_name" in said:
            mode = "Buffered-WCE" if "fd_buffered_io" in said else "O_DSYNC"
            text = f"TCM FILEIO ID: 0        File: {said['fd_dev_name']}  Size: {said['fd_dev_size']}  Mode: {mode} Async: 0"
            if "fd_buffered_io" in said:
                self._set(f"{folder}/attrib/emulate_write_cache", "1")
        elif "rd_pages" in said:
            text = f"TCM RamDisk ID: 0  RamDisk Makeup: rd_mcp\n        PAGES/PAGE_SIZE: {said['rd_pages']}*{page}"
            text += f"  SG_table_count: 1  nullio: {said.get('rd_nullio', 0)}"
        elif "udev_path" in said:
            text = f"iBlock device: sdb  UDEV PATH: {said['udev_path']}  readonly: {said['readonly']}\n        Major: 8 Minor: 16  CLAIMED: IBLOCK"
        else:
            text = f"Config: {said['dev_config']} Size: {said['dev_size']} HwMaxSectors: 128 MaxDataAreaMB: 8"
        self._set(f"{folder}/info", f"Status: ACTIVATED  Max Queue Depth: 0  SectorSize: 512  HwMaxSectors: 16384\n        {text}")

    def _alua(self, folder: str, name: str, value: str) -> str:
        number = self._get(f"{folder}/tg_pt_gp_id")
        if name == "tg_pt_gp_id":
            others = Path(self.path(folder)).parent.glob("*/tg_pt_gp_id")
            if number or value in [one.read_text(encoding="utf-8").strip() for one in others]:
                raise OSError(errno.EINVAL, "Invalid argument")
        elif not number:
            raise OSError(errno.EINVAL, "Invalid argument")
        elif name == "alua_access_type":
            return _TYPES[int(value)]
        elif name == "alua_access_status":
            return ("None", "Altered by Explicit STPG", "Altered by Implicit ALUA")[int(value)]
        elif name == "alua_access_state":
            words = {"0": "active_optimized", "1": "active_nonoptimized", "2": "standby", "3": "unavailable"}
            enabled = self._get(f"{folder.partition('/alua/')[0]}/enable") == "1"
            if not enabled or "Implicit" not in self._get(f"{folder}/alua_access_type") or self._get(f"{folder}/alua_support_{words[value]}") != "1":
                raise OSError(errno.EINVAL, "Invalid argument")
            self._set(f"{folder}/alua_access_status", "Altered by Implicit ALUA")
        return value

    def log_in(self, target: str, tag: int, initiator: str) -> None:
        """Let an initiator with an ACL have a session, in the kernel's words."""
        self._set(f"iscsi/{target}/tpgt_{tag}/acls/{initiator}/info", (
            f"InitiatorName: {initiator}\nInitiatorAlias: host1\nLIO Session ID: 7   ISID: 0x00 02 3d 00 00 00  TSIH: 1  SessionType: Normal\n"
            "Session State: TARG_SESS_STATE_LOGGED_IN\n---------------------[iSCSI Session Values]-----------------------\n"
            "CID: 0  Connection State: TARG_CONN_STATE_LOGGED_IN\n   Address 192.168.56.20 TCP  StatSN: 0x00000000"))
