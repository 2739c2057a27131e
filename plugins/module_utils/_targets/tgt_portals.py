# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where tgtd listens: its portals are those of the daemon, for all its targets, and the command line of its service brings them back at boot."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import Step
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.files import read_bytes
from ansible_collections.lunar.iscsi.plugins.module_utils._names import Portal, parse_portal
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_control import Control, Request
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_steps import FileOp, Op, Service
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.words import once

#: unit files: the host's own instead of the distribution's, Debian's, then that of RHEL and of SUSE
UNITS = tuple(f"{folder}/systemd/system/{name}" for name in ("tgt.service", "tgtd.service") for folder in ("etc", "lib", "usr/lib"))
_EVERY = ("0.0.0.0", "::")  # noqa: S104 what tgtd listens on, not we
_DROP_IN = "lunar-iscsi-portals.conf"
_MARK = "# Written by the Ansible module lunar.iscsi.tgt_target."


def parse_portals(portals: t.Optional[t.Sequence[str]]) -> t.Optional[t.Tuple[Portal, ...]]:
    """The portals of the option, or None where it was not given. Raises ``InputError``."""
    if portals is None:
        return None
    if not portals:
        raise InputError("option portals", "is empty", "Without a portal nobody reaches tgtd; leave it out, and they stay as they are")
    parsed = [parse_portal(one) for one in portals]
    for one in parsed:
        if "%" in one.host:
            raise InputError(f"option portals {one.address!r}", "names an interface, which tgtd does not keep", "Give an address that needs none")
        try:
            ipaddress.ip_address(one.host)
        except ValueError:
            raise InputError(f"option portals {one.address!r}", "is no IP address", "Give an address of this host; tgtd keeps no names") from None
        if one.tpgt not in (None, 1):
            raise InputError(f"option portals {str(one)!r}", "has a portal group tag", "tgtd has one portal group, 1; leave it out")
        beside = next((other.address for other in parsed if other.host != one.host and _in_the_way(other, one)), "")
        if one.host in _EVERY and beside:
            raise InputError(f"option portals {one.address!r}", f"is every address, beside {beside}", "tgtd can listen on one of the two; leave the other out")
    once("option portals", [one.address for one in parsed])
    return tuple(one._replace(tpgt=None) for one in parsed)


def read_portals(control: Control, wanted: t.Iterable[Portal]) -> t.Tuple[Portal, ...]:
    """Where tgtd listens. Raises ``HostError`` where it could not listen as wanted: it would have let go of the others by then."""
    live = parse_shown(control.ask(Request("portal", "show")))
    for one in wanted:
        # while tgtd itself has the port, it cannot be tried, but nobody else has it either
        own = one in live or any(_in_the_way(there, one) for there in live)
        with socket.socket(socket.AF_INET6 if ":" in one.host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if probe.family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind((one.host, 0 if own else one.port))
            except OSError as error:
                remedy = (f"Look who listens there (ss -ltn sport = :{one.port}), or give another port" if error.errno == errno.EADDRINUSE else
                          "Give an address of this host (ip address), one that is configured by now")
                raise HostError(f"option portals {one.address!r}", f"cannot be listened on: {error.strerror or error}", remedy) from None
    return live


def _in_the_way(there: Portal, new: Portal) -> bool:
    """Whether tgtd has to let go of a portal before it can listen on another: both of one port, and one of them every address."""
    return there.port == new.port and (":" in there.host) == (":" in new.host) and (there.host in _EVERY or new.host in _EVERY)


def parse_shown(text: str) -> t.Tuple[Portal, ...]:
    """``tgtadm --op show --mode portal``."""
    return tuple(parse_portal(line.partition(": ")[2])._replace(tpgt=None) for line in text.splitlines() if line.startswith("Portal: "))


def read_service(host: str = "/") -> Service:
    """The service file of tgtd, if this host has one that systemd reads."""
    for name in UNITS:
        content = read_bytes(os.path.join(host, name))
        if content is None:
            continue
        command = re.search(r"^ExecStart=(.+)$", content.decode("utf-8", "replace"), re.MULTILINE)
        drop_in = os.path.join(host, "etc/systemd/system", os.path.basename(name) + ".d", _DROP_IN)
        return Service(command.group(1).strip() if command else "", drop_in, (read_bytes(drop_in) or b"").decode("utf-8", "replace"))
    return Service()


def portal_steps(wanted: t.Optional[t.Sequence[Portal]], live: t.Sequence[Portal], service: t.Optional[Service]) -> t.List[Step]:
    """Portals that go do so last, but for those beside which tgtd cannot listen on a new one. ``service``: None, nothing is saved."""
    if wanted is None:
        return []
    gone = [one for one in live if one not in wanted]
    new = [one for one in wanted if one not in live]
    steps: t.List[Step] = []
    if gone or new:
        blocked = [one for one in new if any(_in_the_way(there, one) for there in gone)]
        ops: t.List[Op] = [_portal("new", one) for one in new if one not in blocked]
        for one in blocked:
            ops += [_portal("delete", there) for there in gone if _in_the_way(there, one)]
            ops.append(_portal("new", one))
            gone = [there for there in gone if not _in_the_way(there, one)]
        ops += [_portal("delete", there) for there in gone]
        steps.append(Step("set portals of", "tgtd", _lines(live), _lines(wanted), ops))
    if service is None:
        return steps
    if not service.command:
        raise HostError("tgtd", "has no service of systemd whose command line could bring its portals back at boot",
                        "Say save: false, and start tgtd with --iscsi portal=ADDRESS:PORT yourself")
    if "--iscsi" in service.command:
        raise HostError(f"the service of tgtd ({service.command})", "names portals or pings itself", "Take --iscsi out of it, or say save: false")
    text = _drop_in(wanted, service.command)
    if text != service.text:
        steps.append(Step("save", f"portals of tgtd in {service.drop_in}", service.text or None, text, [
            FileOp("publish", service.drop_in, text=text), FileOp("reload", "systemd")]))
    return steps


def _drop_in(portals: t.Sequence[Portal], command: str) -> str:
    """A tgtd that is refused a portal at its start does without it (and from 1.0.97 on without those behind it), and without any it listens on
    every address.

    So it waits for addresses, and once it runs, what nobody asked for goes and what is missing is tried again.
    """
    listen = ",".join(f"portal={one.address}" for one in sorted(portals))
    lines = [_MARK, "[Unit]", "Wants=network-online.target", "After=network-online.target", "[Service]", "ExecStart=", f"ExecStart={command} --iscsi {listen}"]
    lines += [_afterwards("delete", Portal(host)) for host in _EVERY if Portal(host) not in portals]
    lines += [_afterwards("new", one) for one in sorted(portals)]
    return "\n".join([*lines, ""])


def _afterwards(op: str, one: Portal) -> str:
    """A command of systemd that deletes a portal if it is there, or makes it if it is not; tgtd does without one that cannot be made."""
    adm = "tgtadm --lld iscsi --mode portal --op"
    there = f"{adm} show | grep -qF 'Portal: {one.address},'"
    move = f"{adm} {op} --param portal={one.address}"
    return f'ExecStartPost=/bin/sh -c "if {there}; then {move}; fi"' if op == "delete" else f'ExecStartPost=-/bin/sh -c "{there} || {move}"'


def _portal(op: str, one: Portal) -> Request:
    return Request("portal", op, f"portalOps portal={one.address},")


def _lines(portals: t.Iterable[Portal]) -> str:
    return "".join(f"{one.address}\n" for one in sorted(portals))
