# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which accelerator QEMU shall use: TCG always works; KVM only after one guest was seen to boot with it on this boot of the machine."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

from lunarlab import image as images
from lunarlab.common import LabError, cache_dir, lock, make_private, say, socket_dir
from lunarlab.hosts import HOSTS, make_keys
from lunarlab.machine import Machine, Switch, wait_for_banner

# The plainest CPU boots a third faster under emulation than "max" does.
TCG = "-accel tcg,thread=multi -cpu qemu64"
KVM = "-accel kvm -cpu host"
TRIAL_SECONDS = 40.0


def choose() -> str:
    """QEMU's words for the accelerator: LAB_ACCEL (tcg, kvm, auto); auto tries KVM once with a deadline and remembers.

    :raises LabError: LAB_ACCEL has another value, or asks for KVM on a machine without it.
    """
    wish = os.environ.get("LAB_ACCEL") or "auto"
    device = Path("/dev/kvm")
    usable = device.exists() and os.access(device, os.R_OK | os.W_OK)
    if wish not in ("auto", "tcg", "kvm"):
        raise LabError(f"LAB_ACCEL={wish} is unknown: use auto, tcg or kvm.")
    if wish == "kvm":
        if not usable:
            raise LabError("LAB_ACCEL=kvm, but /dev/kvm is missing or not yours: join the group kvm or use LAB_ACCEL=tcg.")
        return KVM
    if wish == "tcg" or not usable:
        return TCG
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    verdict = cache_dir() / f"kvm-{boot_id}"
    with lock(cache_dir() / "kvm.lock", "trying KVM"):
        if not verdict.exists():
            for old in cache_dir().glob("kvm-*"):
                old.unlink()
            verdict.write_text("yes\n" if _trial() else "no\n")
        return KVM if verdict.read_text().strip() == "yes" else TCG


def _trial() -> bool:
    """Boot one guest with KVM and see whether its ssh server answers in time."""
    say(f"/dev/kvm exists: trying whether a guest really boots with it (at most {TRIAL_SECONDS:.0f} s, once)")
    image = images.ensure()
    folder = Path(tempfile.mkdtemp(prefix=".kvm-", dir=cache_dir()))
    sockets = socket_dir(folder)
    switches = [Switch(sockets, network) for network in ("san1", "san2")]
    machine = Machine(folder, sockets, HOSTS["initiator"])
    try:
        make_private(sockets)
        make_keys(folder)
        for switch in switches:
            switch.start()
        machine.new_disk(image)
        port = machine.start(image, KVM, "512M")
        booted = wait_for_banner(port, time.monotonic() + TRIAL_SECONDS, machine.running)
    except LabError as error:
        say(str(error))
        booted = False
    finally:
        machine.end()
        for switch in switches:
            switch.end()
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(sockets, ignore_errors=True)
    say("KVM works here" if booted else "KVM does not boot a guest here: going on without it")
    return booted
