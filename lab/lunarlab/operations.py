# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be done with the lab: up, down, fresh state, power, cables, status."""

from __future__ import annotations

import concurrent.futures
import json
import os
import shutil
import subprocess
import time
import typing as t

from lunarlab import accel
from lunarlab import image as images
from lunarlab.common import LabError, distribution, lock, make_private, require, run_dir, say, socket_dir
from lunarlab.hosts import HOSTS, NETWORKS, Host, host_variables, make_keys, write_access
from lunarlab.machine import Machine, Switch, describe_boot, wait_for_banner

BOOT_SECONDS = 300.0
#: what a host is asked once it lets in: to say when its boot has ended, or nothing, since after a power cut that may take another host
_BOOTED = "systemctl is-system-running --wait || true"
_AT_ONCE = "true"
_T = t.TypeVar("_T")


class Lab:
    """The hosts of one run folder."""

    def __init__(self) -> None:
        self.folder = run_dir()
        self.sockets = socket_dir(self.folder)
        self.state_file = self.folder / "state.json"
        self.inventory_link = self.folder.parent / f"inventory-{distribution()}-{os.environ.get('LAB_NAME') or 'main'}.yml"
        self.machines = {name: Machine(self.folder, self.sockets, host) for name, host in HOSTS.items()}
        self.switches = [Switch(self.sockets, network) for network in NETWORKS]

    # --- state ---------------------------------------------------------------------------------------------------------

    def locked(self) -> t.ContextManager[None]:
        """One process at a time changes this lab."""
        return lock(self.folder.parent / f".{self.folder.name}.lock", f"working on the lab {self.folder.name}")

    def _state(self) -> t.Dict[str, t.Any]:
        try:
            state = json.loads(self.state_file.read_text())
        except (OSError, ValueError):
            return {"ports": {}}
        return state if isinstance(state, dict) else {"ports": {}}

    def _write_state(self, ports: t.Mapping[str, int], accelerator: str) -> None:
        state = {"distribution": distribution(), "accel": accelerator, "ports": dict(ports)}
        self.state_file.write_text(json.dumps(state, indent=2) + "\n")
        write_access(self.folder, self.sockets, ports)

    def ports(self) -> t.Dict[str, int]:
        """The ssh port of every host that was brought up."""
        return {str(name): int(port) for name, port in self._state()["ports"].items()}

    def machine(self, name: str) -> Machine:
        """A host that is part of this lab.

        :raises LabError: there is none of that name.
        """
        if name not in HOSTS:
            raise LabError(f"{name} is no host of the lab: choose from {', '.join(HOSTS)}.")
        if name not in self.ports():
            raise LabError(f"{name} is not up: run 'make lab-up' or 'python3 lab/lab.py up --hosts {name}'.")
        return self.machines[name]

    def status(self) -> t.Dict[str, t.Any]:
        """Everything a playbook or a person wants to know, as data."""
        ports = self.ports()
        hosts = {
            name: {"port": port, "running": self.machines[name].running(), "console": str(self.machines[name].console_log), **host_variables(HOSTS[name])}
            for name, port in ports.items()
        }
        state = self._state()
        return {
            "run_dir": str(self.folder),
            "ssh_config": str(self.folder / "ssh_config"),
            "inventory": str(self.folder / "hosts.yml"),
            "distribution": state.get("distribution"),
            "accel": state.get("accel"),
            "hosts": hosts,
        }

    # --- up and down ---------------------------------------------------------------------------------------------------

    def up(self, wanted: t.Sequence[Host], fresh: bool = False) -> bool:
        """Bring hosts up, or leave them alone if they already answer; returns whether anything was done.

        With ``fresh``, those that already ran go back to the state right after their first boot.

        :raises LabError: a host does not start or does not answer in time.
        """
        require("qemu-system-x86_64", "qemu-img", "vde_switch", "ssh", "ssh-keygen")
        ports = self.ports()
        if ports and self._state().get("distribution") != distribution():
            raise LabError(f"the hosts of {self.folder} are {self._state().get('distribution')}: give the others another LAB_NAME, or run 'make lab-down'.")
        healthy = [host for host in wanted if host.name in ports and self.machines[host.name].running() and self._answers(host.name)]
        missing = [host for host in wanted if host not in healthy]
        if not missing and not fresh:
            say(f"{', '.join(host.name for host in wanted)} already up")
        if missing:
            self._start_missing(wanted, missing)
        if fresh:
            self.reset([host.name for host in healthy if host.name in self.ports()])
        # One name for the inventory that a configuration file can build from the two settings.
        self.inventory_link.unlink(missing_ok=True)
        self.inventory_link.symlink_to(self.folder / "hosts.yml")
        return bool(missing or fresh)

    def _start_missing(self, wanted: t.Sequence[Host], missing: t.Sequence[Host]) -> None:
        """Start what does not run; everything when a switch has to start."""
        ports = self.ports()
        image = images.ensure()
        accelerator = accel.choose()
        self.folder.mkdir(parents=True, exist_ok=True)
        make_private(self.sockets)
        make_keys(self.folder)
        if not all(switch.running() for switch in self.switches):
            # A guest does not find its way back to a switch that died: all start again.
            self._end(list(self.machines.values()))
            missing = [host for host in HOSTS.values() if host in wanted or host.name in ports]
            ports = {}
            for switch in self.switches:
                switch.end()
                switch.start()
        machines = [self.machines[host.name] for host in missing]
        self._end(machines)
        for machine in machines:
            machine.new_disk(image)
            ports[machine.host.name] = machine.start(image, accelerator, os.environ.get("LAB_MEMORY") or "1024M")
        self._write_state(ports, accelerator)
        self._wait(machines)
        self._on_all(lambda machine: machine.save(), machines)

    def down(self) -> bool:
        """End every process and throw the disks away; returns whether there was anything."""
        something = self.folder.exists() or any(machine.running() for machine in self.machines.values())
        self._end(list(self.machines.values()))
        for switch in self.switches:
            switch.end()
        self.inventory_link.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.sockets, ignore_errors=True)
        return something

    def reset(self, names: t.Sequence[str]) -> None:
        """Take hosts (all that are up for no names) back to the state right after their first boot."""
        machines = [self.machine(name) for name in names]
        start = time.monotonic()
        self._end_sessions(machines)
        stale = [machine for machine in machines if not machine.running() or not machine.has_snapshot()]
        fresh = [machine for machine in machines if machine not in stale]
        self._on_all(lambda machine: machine.restore(), fresh)
        self._on_all(lambda machine: self._greet(machine.host.name), fresh)
        if stale:
            self._start_again(stale, new_disk=True)
            self._on_all(lambda machine: machine.save(), stale)
        say(f"fresh state on {', '.join(machine.host.name for machine in machines)} after {time.monotonic() - start:.1f} s")

    # --- one host ------------------------------------------------------------------------------------------------------

    def power(self, name: str, action: str) -> None:
        """``off`` pulls the plug, ``on`` boots the same disk again, ``reset`` is the reset button; the last two wait for ssh, not for the boot to end."""
        machine = self.machine(name)
        self._end_sessions([machine])
        if action == "off":
            machine.end()
        elif action == "reset" and machine.running():
            machine.ask("system_reset")
            self._wait([machine], then=_AT_ONCE)
        elif not machine.running():
            self._start_again([machine], new_disk=False, then=_AT_ONCE)

    def link(self, name: str, network: str, up: bool) -> None:
        """Pull or plug the cable of a host on a storage network."""
        if network not in NETWORKS:
            raise LabError(f"{network} is no storage network: choose from {', '.join(NETWORKS)}.")
        self.machine(name).set_link(network, up)

    def ssh_command(self, name: str, words: t.Sequence[str]) -> t.List[str]:
        """The command that opens a shell on a host, or runs a command there."""
        return ["ssh", "-F", str(self.folder / "ssh_config"), name, *words]

    # --- helpers -------------------------------------------------------------------------------------------------------

    def _start_again(self, machines: t.Sequence[Machine], new_disk: bool, then: str = _BOOTED) -> None:
        image, ports = images.ensure(), self.ports()
        accelerator = accel.choose()
        self._end(machines)
        for machine in machines:
            if new_disk:
                machine.new_disk(image)
            ports[machine.host.name] = machine.start(image, accelerator, os.environ.get("LAB_MEMORY") or "1024M")
        self._write_state(ports, accelerator)
        self._wait(machines, then)

    def _wait(self, machines: t.Sequence[Machine], then: str = _BOOTED) -> None:
        """Wait until all answer over ssh, saying every ten seconds that it goes on.

        :raises LabError: one does not in time.
        """
        start = time.monotonic()
        names = ", ".join(machine.host.name for machine in machines)
        say(f"waiting for {names} to boot ...")
        with concurrent.futures.ThreadPoolExecutor(len(machines)) as pool:
            jobs = {pool.submit(self._wait_one, machine, start + BOOT_SECONDS, then): machine for machine in machines}
            waiting = set(jobs)
            while waiting:
                done, waiting = concurrent.futures.wait(waiting, timeout=10, return_when=concurrent.futures.FIRST_COMPLETED)
                for job in done:
                    job.result()
                    say(f"{jobs[job].host.name} answers after {time.monotonic() - start:.0f} s")
                if waiting and not done:
                    say(f"  still booting after {time.monotonic() - start:.0f} s: {', '.join(jobs[job].host.name for job in waiting)}")

    def _wait_one(self, machine: Machine, deadline: float, then: str) -> None:
        name = machine.host.name
        if not wait_for_banner(self.ports()[name], deadline, machine.running) or not self._greet(name, then):
            raise LabError(f"{name} does not answer over ssh: read its console in {describe_boot(machine)}, then run 'make lab-down' and try again.")

    def _answers(self, name: str) -> bool:
        """Does a host that should be up still answer?"""
        try:
            return self._greet(name)
        except LabError:
            return False

    def _greet(self, name: str, then: str = "true") -> bool:
        """Log in once, set the clock (a restored guest lives in the past), stir fresh entropy in, run one more command; True if that worked.

        :raises LabError: it took too long.
        """
        command = f"cat >/dev/urandom; date -u -s @{time.time():.3f} >/dev/null; {then}"
        try:
            alone = ["ssh", "-o", "ControlPath=none", *self.ssh_command(name, [command])[1:]]
            done = subprocess.run(alone, input=os.urandom(64), capture_output=True, check=False, timeout=120)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{name} accepts connections but does not answer: run 'make lab-down' and 'make lab-up'.") from error
        return done.returncode == 0

    def _end_sessions(self, machines: t.Iterable[Machine]) -> None:
        """Close shared ssh connections, which would hang over a restored or dead guest."""
        for machine in machines:
            if (self.sockets / f"ssh-{machine.host.name}").exists():
                words = ["ssh", "-F", str(self.folder / "ssh_config"), "-O", "exit", machine.host.name]
                subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=30)

    def _end(self, machines: t.Iterable[Machine]) -> None:
        machines = list(machines)
        self._end_sessions(machines)
        for machine in machines:
            machine.end()

    @staticmethod
    def _on_all(action: t.Callable[[Machine], _T], machines: t.Sequence[Machine]) -> t.List[_T]:
        """Do one thing on several hosts at once; the first error wins."""
        with concurrent.futures.ThreadPoolExecutor(max(1, len(machines))) as pool:
            return list(pool.map(action, machines))
