# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's command: throw-away hosts under QEMU. ``python3 lab/lab.py --help`` lists what it can do."""

from __future__ import annotations

import argparse
import json
import os
import sys
import typing as t
from pathlib import Path

from lunarlab import image as images
from lunarlab.boot import Boot
from lunarlab.common import LabError, distribution, say
from lunarlab.console import attach
from lunarlab.hosts import parse_hosts
from lunarlab.operations import Lab


def _image(arguments: argparse.Namespace) -> int:
    name = arguments.distribution or distribution()
    image = images.build_into(name, Path(arguments.into)) if arguments.into else images.ensure(name)
    print(image.disk)
    return 0


def _up(arguments: argparse.Namespace) -> int:
    lab = Lab()
    with lab.locked():
        changed = lab.up(parse_hosts(arguments.hosts), fresh=arguments.fresh)
        print(json.dumps({"changed": changed, **lab.status()}, indent=2))
    return 0


def _down(_arguments: argparse.Namespace) -> int:
    lab = Lab()
    with lab.locked():
        changed = lab.down()
    say("the hosts are gone" if changed else "there were no hosts")
    print(json.dumps({"changed": changed}))
    return 0


def _status(_arguments: argparse.Namespace) -> int:
    print(json.dumps(Lab().status(), indent=2))
    return 0


def _reset(arguments: argparse.Namespace) -> int:
    lab = Lab()
    with lab.locked():
        lab.reset(arguments.host or [name for name in lab.ports() if lab.machine(name).boot.disk])
    return 0


def _power(arguments: argparse.Namespace) -> int:
    lab = Lab()
    with lab.locked():
        lab.power(arguments.host, arguments.action)
    return 0


def _boot(arguments: argparse.Namespace) -> int:
    lab = Lab()
    boot = Boot(arguments.kernel, arguments.initrd, arguments.append, arguments.firmware)
    with lab.locked():
        lab.boot(arguments.host, boot)
        print(json.dumps({"changed": True, **lab.status()}, indent=2))
    return 0


def _link(arguments: argparse.Namespace) -> int:
    Lab().link(arguments.host, arguments.network, arguments.state == "up")
    return 0


def _ssh(arguments: argparse.Namespace) -> int:
    lab = Lab()
    lab.machine(arguments.host)
    command = lab.ssh_command(arguments.host, arguments.command)
    os.execvp(command[0], command)


def _console(arguments: argparse.Namespace) -> int:
    machine = Lab().machine(arguments.host)
    if arguments.attach:
        return attach(machine.console)
    sys.stdout.write(machine.console_log.read_text(errors="replace"))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab.py", description="Throw-away hosts for the demo and the end-to-end scenarios; see lab/README.md.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, action: t.Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(handler=action)
        return command

    command = add("image", _image, "build the guests' image unless the cache has it")
    command.add_argument("--distribution", help=argparse.SUPPRESS)
    command.add_argument("--into", help=argparse.SUPPRESS)
    command = add("up", _up, "boot hosts, or leave them alone if they run")
    command.add_argument("--hosts", help="comma-separated: target,initiator,gateway2")
    command.add_argument("--fresh", action="store_true", help="hosts that already run go back to the state right after their first boot")
    add("down", _down, "end all hosts and throw their disks away")
    add("status", _status, "say what runs, as JSON")
    add("reset", _reset, "back to the state right after the first boot, in seconds").add_argument("host", nargs="*")
    command = add("power", _power, "off pulls the plug, on boots the same disk again, reset presses the button")
    command.add_argument("host")
    command.add_argument("action", choices=["off", "on", "reset"])
    command = add("boot", _boot, "start a host with another kernel, initramfs or firmware table; diskless has no disk and boots in no other way")
    command.add_argument("host")
    command.add_argument("--kernel", type=Path)
    command.add_argument("--initrd", type=Path)
    command.add_argument("--append", help="words for the kernel about its root file system")
    command.add_argument("--firmware", type=Path, help="a table iBFT without its ACPI header, as lab/ibft.py makes it")
    command = add("link", _link, "pull or plug the cable of a host on a storage network")
    command.add_argument("host")
    command.add_argument("network")
    command.add_argument("state", choices=["up", "down"])
    command = add("ssh", _ssh, "open a shell on a host, or run a command there")
    command.add_argument("host")
    command.add_argument("command", nargs=argparse.REMAINDER)
    command = add("console", _console, "print what a host wrote to its console, or use the console")
    command.add_argument("host")
    command.add_argument("--attach", action="store_true", help="type into it (root is logged in); Ctrl-] leaves")
    return parser


def main() -> int:
    """Run one command; an expected failure is one sentence and code 1."""
    arguments = _parser().parse_args()
    try:
        return int(arguments.handler(arguments))
    except LabError as error:
        say(f"error: {error}")
    except KeyboardInterrupt:
        say("interrupted; 'make lab-down' ends what was started")
    return 1


if __name__ == "__main__":
    sys.exit(main())
