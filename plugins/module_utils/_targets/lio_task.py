# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module lio_target does: read the kernel and the saved file, plan, apply under the lock, save."""

from __future__ import annotations

import os
import stat
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import Plan, Step
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.block import users_of
from ansible_collections.lunar.iscsi.plugins.module_utils._host.files import make_folder
from ansible_collections.lunar.iscsi.plugins.module_utils._host.sysfs import read_text
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_apply import LOCK, Hands, Lock, apply_steps, read_listening
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_configfs import ROOT, Kernel, read_kernel
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_plan import make_plan
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_saved import locate_saved, read_saved, write_saved
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_steps import File, Found, Saved
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_wanted import Wanted, parse_wanted

_TCMU = ("/usr/bin/tcmu-runner", "/usr/sbin/tcmu-runner", "/usr/local/bin/tcmu-runner")


class TargetTask:
    """One lio_target task; see ``_convergence.Task``. ``hands`` and ``host`` (where /etc is) are given by tests."""

    def __init__(self, params: t.Mapping[str, t.Any], hands: t.Optional[Hands] = None, host: str = "/", lock: str = LOCK) -> None:
        self.wanted: Wanted = parse_wanted(params)
        self._hands = hands or Hands()
        self._host = host
        self._lock = lock
        self._saved = params.get("save_file") or locate_saved(host)

    def read(self) -> Found:
        if self._hands.root == ROOT and os.path.isdir(ROOT) and os.geteuid() != 0:
            raise HostError(ROOT, "shows names and secrets to root alone", "Run the task as root (become: true)")
        kernel = read_kernel(self._hands.root)
        paths = {store.path for store in self.wanted.stores.values() if store.path}
        known = {store.path for store in kernel.backstores.values()}
        return Found(
            kernel=kernel,
            saved=read_saved(self._saved, self._host) if self.wanted.save else Saved(path=self._saved),
            files={path: _look_at(path) for path in sorted(paths)},
            users={
                store.path: _users(store.path)
                for key, store in self.wanted.stores.items()
                if key.plugin == "block" and store.path and store.path not in known
            },
            seed=_seed(self._host),
            listening=read_listening(os.path.join(self._host, "proc")),
            tcmu=any(map(os.path.exists, _TCMU)),
            reservations=not self.wanted.save or os.path.isdir(self._reservations(kernel)),
        )

    def plan(self, found: Found) -> Plan:
        return make_plan(self.wanted, found)

    def apply(self, steps: t.Sequence[Step]) -> t.Mapping[str, t.Any]:
        with Lock(self._lock):
            apply_steps(steps, self._hands, self._save)
        return {}

    def finish(self, found: Found, done: bool) -> t.Mapping[str, t.Any]:
        return {"luns": make_plan(self.wanted, found).facts["luns"]} if done and self.wanted.present else {}

    def _save(self) -> None:
        kernel: Kernel = read_kernel(self._hands.root)
        write_saved(self.wanted, kernel, read_saved(self._saved, self._host))
        make_folder(self._reservations(kernel), 0o700)

    def _reservations(self, kernel: Kernel) -> str:
        """Where the kernel writes persistent reservations that outlive a loss of power (target_core_pr.c): it makes the files, but not the folder."""
        return os.path.join(self._host, (kernel.dbroot or "/var/target").lstrip("/"), "pr")


def _look_at(path: str) -> File:
    has_folder = os.path.isdir(os.path.dirname(path))
    try:
        found = os.stat(path)
    except OSError:
        return File(has_folder=has_folder)
    if stat.S_ISBLK(found.st_mode):
        return File("block", _block_size(path), has_folder)
    return File("file" if stat.S_ISREG(found.st_mode) else "other", found.st_size, has_folder)


def _block_size(path: str) -> int:
    """Bytes of a block device, from sysfs; 0 where it does not say."""
    sectors = read_text(f"/sys/class/block/{os.path.basename(os.path.realpath(path))}/size")
    return int(sectors) * 512 if sectors and sectors.isdigit() else 0


def _users(path: str) -> t.Sequence[str]:
    if not os.path.exists(path):
        return ()
    return tuple(str(user) for user in users_of([os.path.realpath(path)]))


def _seed(host: str) -> str:
    """What no other host has: also a clone of this one's disk differs in its boot, which is drawn at random."""
    names = ("etc/machine-id", "proc/sys/kernel/random/boot_id", "sys/class/dmi/id/product_uuid")
    return "\n".join(read_text(os.path.join(host, name)) or "" for name in names)
