# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tgtd that answers requests as the real one does (tgt 1.0.85: usr/target.c, usr/mgmt.c, usr/iscsi/target.c), its faults included.

A list of accounts has slots, and taking one off leaves a hole; a look at a target with a hole in front ends it (``Crash``). Without
accounts a target asks for none. A secret cannot be changed. A session that is ended is there for a moment longer, and a LUN with
commands is not removed. It makes no sessions by itself; a test calls ``log_in``.
"""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_control import Control, RefusedError, Request
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_model import Target
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_steps import allow, bind, new_lun, set_state, set_target

NO_TARGET, NO_LUN, NO_SESSION, NO_CONNECTION, TARGET_EXIST, LUN_EXIST = 4, 5, 6, 7, 9, 10
ACL_EXIST, ACL_NOEXIST, USER_EXIST, NO_USER, INVALID, OUT_EXIST, TARGET_ACTIVE, LUN_ACTIVE = 12, 13, 14, 15, 17, 18, 19, 20
_SLOTS = 16
_TYPES = {"disk": "disk", "cd": "cd/dvd", "tape": "tape", "changer": "changer", "osd": "osd", "pt": "passthrough"}
_STORES = {"rdwr": "sync:direct", "aio": "sync:direct", "mmc": "", "ssc": "", "smc": "", "null": "", "sg": "sync:direct"}
PARAMETERS = {"MaxBurstLength": "262144", "InitialR2T": "Yes", "HeaderDigest": "None", "MaxConnections": "1"}


class Crash(BaseException):
    """The real one would have ended with a segmentation fault."""


@dataclass
class Lun:
    kind: str
    params: t.Dict[str, str]
    size: int
    scsi_id: str
    scsi_sn: str
    #: vendor_id and such, which are never shown
    config: t.Dict[str, str] = field(default_factory=dict)
    active: int = 0

    @property
    def write_cache(self) -> bool:
        return self.config.get("mode_page", "8:0:18:0x14").startswith("8:0:18:0x14")


@dataclass
class Served:
    name: str
    lld: str
    ready: bool = True
    nop: t.Dict[str, int] = field(default_factory=lambda: {"nop_interval": 0, "nop_count": 0})
    params: t.Dict[str, str] = field(default_factory=lambda: dict(PARAMETERS))
    luns: t.Dict[int, Lun] = field(default_factory=dict)
    slots: t.List[int] = field(default_factory=lambda: [0] * _SLOTS)
    outgoing: int = 0
    addresses: t.List[str] = field(default_factory=list)
    initiators: t.List[str] = field(default_factory=list)
    #: sid: initiator and address
    sessions: t.Dict[int, t.Tuple[str, str]] = field(default_factory=dict)
    ending: t.Dict[int, int] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Whether anybody may log in."""
        return self.ready and bool(self.addresses or self.initiators)

    @property
    def paths(self) -> t.Set[str]:
        return {lun.params.get("path", "") for lun in self.luns.values()}

    def sights(self) -> t.Set[t.Tuple[str, int, str, bool]]:
        """Who sees which LUN of which image, and whether with a secret alone."""
        who = (*self.addresses, *self.initiators) if self.ready else ()
        return {(one, number, lun.params.get("path", ""), bool(self.accounts)) for one in who for number, lun in self.luns.items()}

    @property
    def accounts(self) -> int:
        return sum(1 for aid in self.slots if aid)


class FakeTgtd(Control):
    """Stands where a ``Control`` is; ``boundary`` is called after each request that may change something."""

    def __init__(self, path: str) -> None:
        self.path, self.port, self.asked = path, 0, 0
        self.targets: t.Dict[int, Served] = {}
        #: number: name and secret
        self.accounts: t.Dict[int, t.Tuple[str, str]] = {}
        self.boundary: t.Callable[[Request], None] = lambda request: None
        self.moves: t.List[Request] = []
        self._sid = 0

    def restart(self) -> None:
        """All that it knew is gone, and its socket is another one."""
        self.targets.clear()
        self.accounts.clear()
        other = self.path + ".new"
        with open(other, "w", encoding="utf-8"):
            os.replace(other, self.path)

    def ask(self, request: Request, patience: float = 30.0) -> str:
        self.asked += 1
        if request.op == "show":
            return self._show(request)
        number = self._act(request)
        self.moves.append(request)
        for target in self.targets.values():
            for sid in [sid for sid, left in target.ending.items() if not left]:
                del target.sessions[sid], target.ending[sid]
            target.ending = {sid: left - 1 for sid, left in target.ending.items()}
        self.boundary(request)
        if number:
            raise RefusedError(request, number)
        return ""

    def named(self, name: str) -> t.Optional[Served]:
        return next((one for one in self.targets.values() if one.name == name), None)

    def log_in(self, name: str, initiator: str, address: str = "192.0.2.9") -> bool:
        """Let an initiator in that knows all secrets."""
        target = self.named(name)
        if target is None or not target.open or not (target.addresses or initiator in target.initiators):
            return False
        self._sid += 1
        target.sessions[self._sid] = (initiator, address)
        return True

    def bring_back(self, saved: Target) -> None:
        """As tgt-admin does at boot: LUNs whose files are missing are left out."""
        tid = next(number for number in range(1, 99) if number not in self.targets)
        requests = [Request("target", "new", f"targetname={saved.name}", tid)]
        for unit in saved.units.values():
            if os.path.exists(unit.path):
                requests += [op for op in new_lun(tid, "iscsi", unit) if isinstance(op, Request)]
        for user in (*saved.incoming, saved.outgoing):
            if user and not self._aid(user):
                requests.append(Request("account", "new", f"user={user},password={saved.secrets[user]}"))
        requests += [bind(tid, "iscsi", user) for user in saved.incoming]
        requests += [bind(tid, "iscsi", saved.outgoing, outgoing=True)] if saved.outgoing else []
        requests += [allow(tid, "iscsi", one) for one in (*saved.addresses, *saved.initiators)]
        requests += [set_target(tid, "iscsi", name, value) for name, value in saved.parameters.items()]
        requests += [] if saved.enabled else [set_state(tid, "iscsi", ready=False)]
        for request in requests:
            self._act(request)

    def secrets(self, target: Served) -> t.Dict[str, str]:
        """What initiators have to know, by account; empty where nothing is asked for."""
        return dict(self.accounts[aid] for aid in target.slots if aid)

    def _aid(self, user: str) -> int:
        return next((aid for aid, (name, _secret) in self.accounts.items() if name == user), 0)

    def _act(self, request: Request) -> int:
        if request.mode == "account" and request.op in ("new", "delete"):
            return self._account(request)
        if (request.mode, request.op) == ("target", "new"):
            return self._new_target(request)
        target = self.targets.get(request.tid)
        if target is None:
            return NO_TARGET
        if request.mode == "account":
            return self._bind(target, request)
        if request.mode == "device":
            return self._device(target, request)
        if request.mode == "connection":
            if request.sid not in target.sessions:
                return NO_SESSION
            target.ending[request.sid] = 1
            return 0
        if request.op == "delete":
            return self._delete_target(target, request)
        key, _equals, value = request.text.partition("=")
        if request.op == "update":
            return self._update(target, key, value)
        entries = {"initiator-address": target.addresses, "initiator-name": target.initiators}[key]
        if (value in entries) == (request.op == "bind"):
            return ACL_EXIST if request.op == "bind" else ACL_NOEXIST
        entries.append(value) if request.op == "bind" else entries.remove(value)
        return 0

    def _new_target(self, request: Request) -> int:
        name = request.text.partition("=")[2]
        if request.tid < 1 or request.tid in self.targets or self.named(name):
            return TARGET_EXIST
        self.targets[request.tid] = Served(name, request.lld)
        self.targets = dict(sorted(self.targets.items()))
        return 0

    def _delete_target(self, target: Served, request: Request) -> int:
        if target.sessions:
            return TARGET_ACTIVE
        for number in sorted(target.luns, reverse=True):
            if self._remove(target, number):
                return LUN_ACTIVE
        del self.targets[request.tid]
        return 0

    @staticmethod
    def _update(target: Served, key: str, value: str) -> int:
        if key == "state":
            target.ready = {"ready": True, "offline": False}[value]
        elif key in target.nop:
            target.nop[key] = int(value)
        elif key in target.params:
            target.params[key] = value
        else:
            return INVALID
        return 0

    def _account(self, request: Request) -> int:
        user, _comma, secret = request.text[len("user="):].partition(",password=")
        aid = self._aid(user)
        if request.op == "new":
            if aid:
                return USER_EXIST
            self.accounts[next(number for number in range(1, 99) if number not in self.accounts)] = (user, secret)
            return 0
        if not aid:
            return NO_USER
        for target in self.targets.values():
            target.slots = [0 if slot == aid else slot for slot in target.slots]
            target.outgoing = 0 if target.outgoing == aid else target.outgoing
        del self.accounts[aid]
        return 0

    def _bind(self, target: Served, request: Request) -> int:
        aid = self._aid(request.text[len("user="):])
        if not aid:
            return NO_USER
        if request.outgoing:
            if request.op == "bind":
                if target.outgoing:
                    return OUT_EXIST
                target.outgoing = aid
                return 0
            if target.outgoing != aid:
                return NO_USER
            target.outgoing = 0
            return 0
        if (aid in target.slots) == (request.op == "bind"):
            return USER_EXIST if request.op == "bind" else NO_USER
        if request.op == "bind":
            target.slots[target.slots.index(0)] = aid
        else:
            target.slots[target.slots.index(aid)] = 0
        return 0

    @staticmethod
    def _remove(target: Served, number: int) -> int:
        if target.luns[number].active:
            target.luns[number].active -= 1
            return LUN_ACTIVE
        del target.luns[number]
        return 0

    def _device(self, target: Served, request: Request) -> int:
        if request.op == "new":
            return self._new_device(target, request)
        if request.lun not in target.luns:
            return NO_LUN
        if request.op == "delete":
            return self._remove(target, request.lun)
        lun = target.luns[request.lun]
        for word in filter(None, request.text[len("targetOps "):].split(",")):
            key, _equals, value = word.partition("=")
            if key in ("scsi_id", "scsi_sn"):
                setattr(lun, key, value[:36])
            elif key in ("vendor_id", "product_id", "product_rev", "readonly", "removable", "thin_provisioning", "mode_page"):
                lun.config[key] = value
            else:
                return INVALID
        return 0

    @staticmethod
    def _new_device(target: Served, request: Request) -> int:
        if request.lun in target.luns:
            return LUN_EXIST
        params = dict(word.split("=", 1) for word in request.text.split(",") if word)
        stores = {"disk": "rdwr", "cd": "mmc", "tape": "ssc", "changer": "smc"}
        store = params.setdefault("bstype", stores.get(request.device, "rdwr"))
        if store not in _STORES or (store == "sg") != (request.device == "pt"):
            return INVALID
        path = params.get("path", "")
        if path and store != "null" and not os.path.isfile(path):
            return INVALID
        size = os.path.getsize(path) if path and store != "null" else 0
        target.luns[request.lun] = Lun(request.device, params, size, f"IET     {request.tid:04x}{request.lun:04x}", f"beaf{request.tid}{request.lun}")
        target.luns = dict(sorted(target.luns.items()))
        return 0

    def _show(self, request: Request) -> str:
        if request.mode == "system":
            stores = "".join(f"    {name}{f' (bsoflags {flags})' if flags else ''}\n" for name, flags in _STORES.items())
            head = "System:\n    State: ready\n    debug: off\nLLDs:\n    iscsi: ready\n    iser: error\n"
            return f"{head}Backing stores:\n{stores}Device types:\n    disk\niSNS:\n"
        if request.mode == "lld":
            return "LLDs:\n    iscsi: ready\n" + "".join(f"        Target {tid}: {target.name}\n" for tid, target in self.targets.items())
        if request.tid < 0:
            return "".join(self._show_target(tid, target) for tid, target in self.targets.items())
        if request.tid not in self.targets:
            raise RefusedError(request, NO_TARGET)
        target = self.targets[request.tid]
        return "".join(f"{name}={value}\n" for name, value in {**target.nop, **target.params}.items())

    def _show_target(self, tid: int, target: Served) -> str:
        shown = target.slots[:target.accounts]
        if not all(shown):
            raise Crash(f"target {target.name} has a hole among its accounts")
        lines = [f"Target {tid}: {target.name}", "    System information:", f"        Driver: {target.lld}",
                 f"        State: {'ready' if target.ready else 'offline'}"]
        lines += [f"        Nop interval: {target.nop['nop_interval']}", f"        Nop count: {target.nop['nop_count']}"] if target.nop["nop_interval"] else []
        lines.append("    I_T nexus information:")
        for sid, (initiator, address) in target.sessions.items():
            lines += [f"        I_T nexus: {sid}", f"            Initiator: {initiator} alias: host", "            Connection: 0",
                      f"                IP Address: {address}"]
        lines += ["    LUN information:", *_lun_lines(0, Lun("controller", {"bstype": "null"}, 0, f"IET     {tid:04x}0000", f"beaf{tid}0"))]
        for number, lun in target.luns.items():
            lines += _lun_lines(number, lun)
        lines += ["    Account information:", *(f"        {self.accounts[aid][0]}" for aid in shown)]
        lines += [f"        {self.accounts[target.outgoing][0]} (outgoing)"] if target.outgoing else []
        return "\n".join([*lines, "    ACL information:", *(f"        {one}" for one in (*target.addresses, *target.initiators)), ""])


def _lun_lines(number: int, lun: Lun) -> t.List[str]:
    sectors = lun.size // 512
    megabytes = ((sectors - (sectors // 625 - 974)) % 2**64) // 1950
    answer = {True: "Yes", False: "No"}
    path = lun.params.get("path")
    return [
        f"        LUN: {number}", f"            Type: {_TYPES.get(lun.kind, lun.kind)}", f"            SCSI ID: {lun.scsi_id}",
        f"            SCSI SN: {lun.scsi_sn}", f"            Size: {megabytes} MB, Block size: {lun.params.get('blocksize', 512)}",
        f"            Online: {answer[bool(path) or lun.kind == 'controller']}",
        f"            Removable media: {answer[lun.config.get('removable', '0') == '1']}",
        "            Prevent removal: No", f"            Readonly: {answer[lun.config.get('readonly', '0') == '1']}", "            SWP: No",
        f"            Thin-provisioning: {answer[lun.config.get('thin_provisioning', '0') == '1']}",
        f"            Backing store type: {lun.params['bstype']}", f"            Backing store path: {path}",
        f"            Backing store flags: {lun.params.get('bsoflags', '')}",
    ]
