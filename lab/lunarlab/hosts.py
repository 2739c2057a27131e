# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is in the lab and where: hosts, networks, addresses, and the files that tell ssh, Ansible and the guests about them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import typing as t
from pathlib import Path

from lunarlab.common import LabError, run

NETWORKS = {"san1": 56, "san2": 57}


class Host(t.NamedTuple):
    """One guest; ``number`` is the last byte of all its addresses."""

    name: str
    number: int
    group: str

    def ipv4(self, network: str) -> str:
        """Address on a storage network."""
        return f"192.168.{NETWORKS[network]}.{self.number}"

    def ipv6(self, network: str) -> str:
        """Address on a storage network; the digits of the number are kept, so .101 is ::101."""
        return f"fd00:{NETWORKS[network]}::{self.number}"

    def mac(self, network: str) -> str:
        """Hardware address of the NIC on a network (``mgmt`` included)."""
        return f"52:54:00:6c:{['mgmt', *NETWORKS].index(network):02x}:{self.number:02x}"


#: a host without a disk boots with what lab.py boot gives it; it is in a group of its own, so that no play for initiators means it
DISKLESS, NETBOOTED = "diskless", "netbooted"
HOSTS = {host.name: host for host in (Host("target", 101, "targets"), Host("initiator", 10, "initiators"), Host("gateway2", 102, "targets"),
                                      Host(DISKLESS, 20, NETBOOTED))}
DEFAULT_HOSTS = ("target", "initiator")


def parse_hosts(text: t.Optional[str]) -> t.List[Host]:
    """Hosts from a comma-separated list, the default ones for None.

    :raises LabError: a name is unknown.
    """
    names = [name.strip() for name in text.split(",")] if text else list(DEFAULT_HOSTS)
    for name in names:
        if name not in HOSTS:
            raise LabError(f"{name} is no host of the lab: choose from {', '.join(HOSTS)}.")
    return [HOSTS[name] for name in dict.fromkeys(names)]


def make_keys(folder: Path) -> None:
    """The run's own ssh key and a host key for every possible guest, made once."""
    for path in [folder / "id_ed25519", *(folder / name / "ssh_host_key" for name in HOSTS)]:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lunar-iscsi-lab", "-f", path)


def machine_id(folder: Path, host: Host) -> str:
    """A machine-id that differs between hosts and between checkouts."""
    return hashlib.sha256(f"{folder}\0{host.name}".encode()).hexdigest()[:32]


def _network_file(host: Host, network: str) -> str:
    """systemd-networkd's file for one NIC; addresses stay when the cable is pulled, as on most servers."""
    lines = [f"[Match]\nName={network}\n\n[Network]\nIPv6AcceptRA=no\nConfigureWithoutCarrier=yes\nIgnoreCarrierLoss=yes"]
    if network == "mgmt":
        lines.append("Address=10.0.2.15/24\nLinkLocalAddressing=no\n\n[Link]\nRequiredForOnline=no")
    else:
        lines.append(f"Address={host.ipv4(network)}/24\nLinkLocalAddressing=ipv6\n")
        lines.append(f"[Address]\nAddress={host.ipv6(network)}/64\nDuplicateAddressDetection=none")
    return "\n".join([*lines, ""])


def write_seed(folder: Path, host: Host) -> Path:
    """The tar file that a guest unpacks at its first boot; returns its path."""
    names = "".join(f"{each.ipv4('san1')} {each.name}\n" for each in HOSTS.values())
    files = {
        "etc/hostname": (f"{host.name}\n".encode(), 0o644),
        "etc/hosts": (f"127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n{names}".encode(), 0o644),
        "etc/ssh/ssh_host_ed25519_key": ((folder / host.name / "ssh_host_key").read_bytes(), 0o600),
        "etc/ssh/ssh_host_ed25519_key.pub": ((folder / host.name / "ssh_host_key.pub").read_bytes(), 0o644),
        "root/.ssh/authorized_keys": ((folder / "id_ed25519.pub").read_bytes(), 0o600),
    }
    for network in ("mgmt", *NETWORKS):
        files[f"etc/systemd/network/20-{network}.network"] = (_network_file(host, network).encode(), 0o644)
    path = folder / host.name / "seed.tar"
    with tarfile.open(path, "w") as archive:
        for name, (content, mode) in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), mode
            archive.addfile(info, io.BytesIO(content))
    return path


def write_access(folder: Path, sockets: Path, ports: t.Mapping[str, int]) -> None:
    """Write ssh_config, known_hosts and the Ansible inventory hosts.yml for the hosts whose ssh ports are given."""
    common = {
        "HostName": "127.0.0.1",
        "User": "root",
        "IdentityFile": folder / "id_ed25519",
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": folder / "known_hosts",
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "ControlMaster": "auto",
        "ControlPersist": "120",
        "ControlPath": sockets / "ssh-%n",
        "ConnectTimeout": "60",
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "6",
        "LogLevel": "ERROR",
    }
    known = "".join(f"{name} {(folder / name / 'ssh_host_key.pub').read_text()}" for name in ports)
    (folder / "known_hosts").write_text(known)
    lines = [f"Host {name}\n  HostKeyAlias {name}\n  Port {port}\n" for name, port in ports.items()]
    lines.append("Host *\n" + "".join(f"  {key} {value}\n" for key, value in common.items()))
    (folder / "ssh_config").write_text("\n".join(lines))
    groups: t.Dict[str, t.Any] = {group: {"hosts": {}} for group in ("initiators", "targets", NETBOOTED)}
    for name in ports:
        groups[HOSTS[name].group]["hosts"][name] = host_variables(HOSTS[name])
    shared = {
        "ansible_user": "root",
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_pipelining": True,
        # All that ssh needs to know stands in this file, control sockets included.
        "ansible_ssh_args": f"-F {folder / 'ssh_config'}",
        # seen once on a busy machine: a connection to an emulated host dropped before its command was through
        "ansible_ssh_retries": 3,
        "lab_run_dir": str(folder),
    }
    (folder / "hosts.yml").write_text(json.dumps({"all": {"vars": shared, "children": {"lab": {"children": groups}}}}, indent=2) + "\n")


def host_variables(host: Host) -> t.Dict[str, t.Any]:
    """What a playbook knows of a host: its addresses on the storage networks."""
    addresses = {network: {"ipv4": host.ipv4(network), "ipv6": host.ipv6(network)} for network in NETWORKS}
    return {"lab_addresses": addresses}
