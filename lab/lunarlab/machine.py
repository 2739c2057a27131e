# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One guest as a QEMU process: starting it, talking to its monitor, ending it for certain."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import typing as t
from pathlib import Path

from lunarlab.boot import Boot, read_boot
from lunarlab.common import LabError, run, say
from lunarlab.hosts import NETWORKS, Host, machine_id, write_seed
from lunarlab.image import Image

# Fixed PCI slots, so that the image's .link files can name the NICs.
_SLOTS = {"mgmt": "0x10", "san1": "0x11", "san2": "0x12"}
SNAPSHOT = "fresh"
# QEMU's time stamp counter leaps forward when a snapshot is restored; the kernel's other clocks do not, and it must not trust the leaping one.
_KERNEL_WORDS = "tsc=unstable {root} console=ttyS0 loglevel=4 mitigations=off audit=0 random.trust_cpu=on"
_ROOT_WORDS = "root=/dev/vda rw rootfstype=ext4 fsck.mode=skip"


def owned_pid(pidfile: Path, mark: str) -> t.Optional[int]:
    """The process of a pid file if it lives and its command line holds ``mark``; None for a stale file."""
    try:
        pid = int(pidfile.read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if mark.encode() in words else None


def _exists(pid: int) -> bool:
    """Does a process still hold anything? A zombie holds nothing, one that is being torn down may still hold a port."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def end_process(pidfile: Path, mark: str) -> None:
    """End the process of a pid file and see it gone.

    :raises LabError: it outlives SIGKILL.
    """
    pid = owned_pid(pidfile, mark)
    for number in (signal.SIGTERM, signal.SIGKILL):
        if pid is not None and owned_pid(pidfile, mark) == pid:
            os.kill(pid, number)
        deadline = time.monotonic() + 5
        while pid is not None and _exists(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
    if pid is not None and _exists(pid):
        raise LabError(f"process {pid} does not end: look at it with 'ps' and end it by hand.")
    pidfile.unlink(missing_ok=True)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Machine:
    """A guest of one run folder. ``sockets`` holds its monitor and console sockets and its pid file."""

    def __init__(self, folder: Path, sockets: Path, host: Host) -> None:
        self.host = host
        self.folder = folder
        self.files = folder / host.name
        self.sockets = sockets
        self.pidfile = sockets / f"{host.name}.pid"
        self.monitor = sockets / f"{host.name}.qmp"
        self.console = sockets / f"{host.name}.console"
        self.console_log = self.files / "console.log"
        self.disk = self.files / "disk.qcow2"
        self.boot_file = self.files / "boot.json"

    @property
    def boot(self) -> Boot:
        """What it boots with."""
        return read_boot(self.boot_file)

    def running(self) -> bool:
        """Is its QEMU alive?"""
        return owned_pid(self.pidfile, str(self.monitor)) is not None

    def new_disk(self, image: Image) -> None:
        """An empty overlay over the image: the state of a host that never booted."""
        self.files.mkdir(parents=True, exist_ok=True)
        self.disk.unlink(missing_ok=True)
        run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image.disk, self.disk)

    def start(self, image: Image, accel: str, memory: str) -> int:
        """Start QEMU in the background and return the port of 127.0.0.1 that leads to the guest's ssh.

        :raises LabError: QEMU does not start.
        """
        self.console_log.unlink(missing_ok=True)
        problem: t.Optional[LabError] = None
        for _attempt in range(5):
            port = free_port()
            log = self.files / "qemu.log"
            log.write_text("")
            try:
                run(*self._command(image, accel, memory, port), log=log)
            except LabError as error:
                problem = error
                if "hostfwd" not in log.read_text():
                    break
                continue
            return port
        raise LabError(f"{self.host.name} did not start. {problem}")

    def _command(self, image: Image, accel: str, memory: str, port: int) -> t.List[str]:
        """QEMU's command line."""
        boot = self.boot.check()
        words = f"{_KERNEL_WORDS.format(root=boot.words or _ROOT_WORDS)} systemd.machine_id={machine_id(self.folder, self.host)}"
        command = ["qemu-system-x86_64", "-name", f"lunar-lab-{self.host.name}", "-nodefaults", "-no-user-config", "-display", "none"]
        command += ["-daemonize", "-pidfile", str(self.pidfile), "-m", memory, "-smp", "1"]
        command += ["-machine", "pc,usb=off,vmport=off,hpet=off", *accel.split()]
        command += ["-kernel", str(boot.kernel or image.kernel), "-initrd", str(boot.initrd or image.initrd), "-append", words, *boot.arguments()]
        if boot.disk:
            command += ["-drive", f"file={self.disk},format=qcow2,if=none,id=root,cache=unsafe,discard=unmap", "-device", "virtio-blk-pci,drive=root"]
        command += ["-netdev", f"user,id=mgmt,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:22"]
        for network in NETWORKS:
            command += ["-netdev", f"vde,id={network},sock={self.sockets / network}"]
        for network, slot in _SLOTS.items():
            command += ["-device", f"virtio-net-pci,id=nic-{network},netdev={network},mac={self.host.mac(network)},addr={slot},romfile="]
        command += ["-device", "virtio-rng-pci", "-fw_cfg", f"name=opt/lab/seed,file={write_seed(self.folder, self.host)}"]
        command += ["-chardev", f"socket,id=console,path={self.console},server=on,wait=off,logfile={self.console_log}", "-serial", "chardev:console"]
        command += ["-qmp", f"unix:{self.monitor},server=on,wait=off"]
        return command

    def ask(self, command: str, **arguments: t.Any) -> t.Any:
        """Give the monitor (QMP) one command and return its answer.

        :raises LabError: the guest is not running or QEMU refuses.
        """
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(120)
                connection.connect(str(self.monitor))
                with connection.makefile("rw") as stream:
                    stream.readline()
                    for request in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                        stream.write(json.dumps(request) + "\n")
                        stream.flush()
                        answer = json.loads(stream.readline())
                        while "event" in answer:
                            answer = json.loads(stream.readline())
        except (OSError, ValueError) as error:
            raise LabError(f"{self.host.name} does not answer on its monitor ({error}): run 'make lab-up'.") from error
        if "error" in answer:
            raise LabError(f"{self.host.name}: QEMU refuses {command}: {answer['error'].get('desc')}.")
        return answer["return"]

    def command(self, line: str) -> str:
        """One command of the human monitor, for what QMP lacks.

        :raises LabError: it printed an error.
        """
        heard = str(self.ask("human-monitor-command", **{"command-line": line})).strip()
        if heard.startswith("Error"):
            raise LabError(f"{self.host.name}: {heard}.")
        return heard

    def set_link(self, network: str, up: bool) -> None:
        """Plug or pull the cable of one storage network."""
        self.ask("set_link", name=f"nic-{network}", up=up)

    def save(self) -> None:
        """Keep the running state as the one that ``restore`` goes back to."""
        self.command(f"savevm {SNAPSHOT}")

    def has_snapshot(self) -> bool:
        """Was ``save`` called for this disk?"""
        return SNAPSHOT in self.command("info snapshots").split()

    def restore(self) -> None:
        """Go back to the saved state, memory and disk, with every cable plugged."""
        for network in NETWORKS:
            self.set_link(network, True)
        self.command(f"loadvm {SNAPSHOT}")
        self.ask("cont")

    def end(self) -> None:
        """End QEMU at once, as pulling the plug would."""
        end_process(self.pidfile, str(self.monitor))
        for path in (self.monitor, self.console):
            path.unlink(missing_ok=True)


class Switch:
    """A storage network: a vde switch that the guests' NICs are plugged into."""

    def __init__(self, sockets: Path, network: str) -> None:
        self.network = network
        self.place = sockets / network
        self.pidfile = sockets / f"{network}.pid"
        self.log = sockets / f"{network}.log"

    def running(self) -> bool:
        """Is it alive?"""
        return owned_pid(self.pidfile, str(self.place)) is not None

    def start(self) -> None:
        """Start it in the background."""
        for left in self.place.glob("*") if self.place.is_dir() else ():
            left.unlink()
        if self.place.is_dir():
            self.place.rmdir()
        self.log.write_text("")
        run("vde_switch", "--sock", self.place, "--daemon", "--pidfile", self.pidfile, "--mode", "600", log=self.log)
        deadline = time.monotonic() + 5
        while not self.running():
            if time.monotonic() > deadline:
                raise LabError(f"the switch of {self.network} did not start: {self.log.read_text().strip() or 'no reason given'}.")
            time.sleep(0.05)

    def end(self) -> None:
        """End it."""
        end_process(self.pidfile, str(self.place))


def wait_for_banner(port: int, deadline: float, alive: t.Callable[[], bool]) -> bool:
    """Wait until an ssh server greets on a forwarded port; False when the time (monotonic) is over or the guest died."""
    while time.monotonic() < deadline and alive():
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.settimeout(5)
                if connection.recv(8).startswith(b"SSH-"):
                    return True
        except OSError:
            pass
        time.sleep(0.5)
    return False


def describe_boot(machine: Machine) -> str:
    """The last lines of a console, for an error message."""
    try:
        lines = machine.console_log.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    say(f"last lines of {machine.console_log}:")
    for line in lines[-5:]:
        say(f"  {line}")
    return str(machine.console_log)
