# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the kernel throws away what comes in by another network interface than it would answer by (Linux: networking/ip-sysctl, rp_filter)."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.files import under_root
from ansible_collections.lunar.iscsi.plugins.module_utils._host.sysfs import read_int

STRICT = 1
#: only that the source can be reached at all is asked for; as the greater of two values it wins over whatever is set for all
LOOSE = 2
_SIOCGIFHWADDR = 0x8927  # include/uapi/linux/sockios.h


class RpFilter(t.NamedTuple):
    """What is set for all network interfaces and for one; None where the kernel does not say (no such interface)."""

    interface: str
    of_all: t.Optional[int]
    own: t.Optional[int]

    @property
    def effective(self) -> t.Optional[int]:
        """The value that counts: the greater of both."""
        return None if self.own is None else max(self.own, self.of_all or 0)


def _path(interface: str, proc: str) -> str:
    return os.path.join(proc, "sys/net/ipv4/conf", interface, "rp_filter")


def read_rp_filter(interface: str, proc: str = "/proc") -> RpFilter:
    """The values in force."""
    return RpFilter(interface, read_int(_path("all", proc)), read_int(_path(interface, proc)))


def loosen(interface: str, proc: str = "/proc") -> None:
    """Set it to 2 for one network interface, from now on until it goes away."""
    path = _path(interface, proc)
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(f"{LOOSE}\n")
    except OSError as error:
        raise HostError(path, f"could not be set: {error.strerror}", "Run the task as root (become: true), outside containers that may not set it") from error


def lasting_path(interface: str, root: str = "/") -> str:
    """The file that sets it when the interface comes up; systemd and procps read it, interfaces with dots in their names included."""
    return under_root(root, f"/etc/sysctl.d/90-lunar-iscsi-rp_filter-{interface}.conf")


def lasting_text(interface: str) -> str:
    """What that file says. With slashes as separators, a dot belongs to the name."""
    return f"# iSCSI sessions are bound to this network interface\nnet/ipv4/conf/{interface}/rp_filter = {LOOSE}\n"


def interface_of(address: str) -> t.Optional[str]:
    """The network interface with this hardware address, the first of several as open-iscsi takes it; None where there is none."""
    wanted = bytes(int(part, 16) for part in address.split(":"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _number, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(asking.fileno(), _SIOCGIFHWADDR, struct.pack("256s", name.encode()))
            except OSError:
                continue  # it went away meanwhile
            if answer[18:18 + len(wanted)] == wanted:  # behind the name and the kind of address
                return name
    return None


def has_interface(name: str) -> bool:
    """Whether there is a network interface of that name."""
    try:
        return socket.if_nametoindex(name) > 0
    except OSError:
        return False
