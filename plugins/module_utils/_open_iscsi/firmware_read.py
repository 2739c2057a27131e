# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading what boot firmware says of iSCSI, without a process.

The kernel shows it in ``/sys/firmware/ibft`` (drivers/firmware/iscsi_ibft.c) and, for offload adapters, in ``/sys/firmware/iscsi_bootN``
(drivers/scsi/iscsi_boot_sysfs.c): folders ``initiator``, ``ethernetN`` and ``targetN``. The ACPI table itself is looked over, too, where it is there.
"""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._host.sysfs import list_dir, read_for_root, read_int, read_text
from ansible_collections.lunar.iscsi.plugins.module_utils._names import DEFAULT_PORT
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.firmware import BootTarget, Firmware, Initiator, Nic, Problem
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.ibft_table import look_over
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.open_firmware import read_open_firmware

#: drivers of network interfaces that belong to offload adapters (usr/iscsi_net_util.c)
_OFFLOAD = {"cxgb3": "cxgb3i", "cxgb4": "cxgb4i", "bnx2": "bnx2i", "bnx2x": "bnx2i"}
_ETHERNET = 1  # ARPHRD_ETHER
_ACPI_NAMES = ("IBFT", "iBFT", "BIFT")
_REPORT = "Correct it in the set-up of the firmware (or of the boot loader that made the table) and boot again"


def read_firmware(sys: str = "/sys", proc: str = "/proc") -> Firmware:
    """Everything; values without targets where there is no table. ``HostError`` where only root may read."""
    opened = read_open_firmware(proc, lambda mac: interface_of(mac, sys))
    if opened is not None:  # iscsiadm does not look further either
        return opened
    base = os.path.join(sys, "firmware")
    tables = [name for name in list_dir(base) if name == "ibft" or re.fullmatch(r"iscsi_boot\d+", name)]
    readers = [_Table(sys, name) for name in tables if os.path.isdir(os.path.join(base, name, "initiator"))]
    for reader in readers:
        reader.read()
    faults, damage = _look_at_acpi(sys, "ibft" in tables)
    return Firmware(
        initiators=[reader.initiator for reader in readers],
        nics=[nic for reader in readers for nic in reader.nics],
        targets=[target for reader in readers for target in reader.targets],
        acpi={word: text for reader in readers for word, text in reader.acpi.items()},
        problems=[*faults, *damage, *(problem for reader in readers for problem in reader.problems)],
        damage=damage,
    )


def _look_at_acpi(sys: str, shown: bool) -> t.Tuple[t.List[Problem], t.List[Problem]]:
    """What is wrong with the table itself, of which the kernel's log says little and sysfs nothing: what can be lived with, and what cannot."""
    faults: t.List[Problem] = []
    damage: t.List[Problem] = []
    for name in _ACPI_NAMES:
        raw = read_for_root(os.path.join(sys, "firmware/acpi/tables", name))
        if raw is None:
            continue
        found = look_over(raw)
        for fault in found:
            (damage if fault.refused or fault.cut else faults).append({"object": f"ACPI table {name}", "what": fault.what, "remedy": _REPORT})
        if not shown and not any(fault.refused for fault in found):
            damage.append({"object": f"ACPI table {name}", "what": "is there, but the kernel does not show it",
                           "remedy": "Load the module that does: modprobe iscsi_ibft"})
        elif not shown:
            damage.append({"object": f"ACPI table {name}", "what": "is refused by the kernel because of that", "remedy": _REPORT})
    return faults, damage


def vlan_interface(interface: str, vlan: int, proc: str = "/proc") -> str:
    """The network interface for a VLAN over another one; empty where there is none (net/8021q/vlanproc.c)."""
    for line in (read_text(os.path.join(proc, "net/vlan/config")) or "").splitlines():
        name, _bar, rest = line.partition("|")
        if [word.strip() for word in rest.split("|")] == [str(vlan), interface]:
            return name.strip()
    return ""


def interface_of(mac: str, sys: str = "/sys") -> str:
    """The network interface with this hardware address, the oldest of several as iscsiadm takes it; empty where there is none."""
    base = os.path.join(sys, "class/net")
    numbered = sorted((read_int(f"{base}/{name}/ifindex") or 0, name) for name in list_dir(base) if read_int(f"{base}/{name}/type") == _ETHERNET)
    return next((name for _number, name in numbered if (read_text(f"{base}/{name}/address") or "").lower() == mac.lower()), "")


class _Table:
    """One folder of tables under /sys/firmware."""

    def __init__(self, sys: str, source: str) -> None:
        self._sys = sys
        self._source = source
        self._base = os.path.join(sys, "firmware", source)
        self.initiator = Initiator(source)
        self.nics: t.List[Nic] = []
        self.targets: t.List[BootTarget] = []
        self.acpi: t.Dict[str, str] = {}
        self.problems: t.List[Problem] = []

    def read(self) -> None:
        """Read all of it; what is wrong goes to ``problems``."""
        self.initiator = self._initiator()
        names = list_dir(self._base)
        self.nics = [self._nic(name) for name in names if re.fullmatch(r"ethernet\d+", name)]
        self.targets = [self._target(name) for name in names if re.fullmatch(r"target\d+", name)]
        self.acpi = {word: self._text("acpi_header", word).strip() for word in ("signature", "oem_id", "oem_table_id") if self._text("acpi_header", word)}

    def _text(self, folder: str, attribute: str) -> str:
        """An attribute, empty where it is missing, unset, or no text: bytes of a damaged table are not passed on."""
        raw = read_for_root(os.path.join(self._base, folder, attribute))
        text = (raw or b"").decode("utf-8", "surrogateescape").rstrip("\n")
        if text.startswith(("(null)", "<NULL>")):
            return ""
        if re.search("[\x00-\x1f\x7f\ud800-\udfff]", text):
            self._complain(folder, f"has a {attribute} that is no text")
            return ""
        return text

    def _number(self, folder: str, attribute: str) -> t.Optional[int]:
        text = self._text(folder, attribute)
        return int(text) if re.fullmatch(r"-?[0-9]{1,10}", text) else None

    def _complain(self, folder: str, what: str, remedy: str = _REPORT) -> None:
        problem = {"object": f"{folder} of {self._source}", "what": what, "remedy": remedy}
        if problem not in self.problems:
            self.problems.append(problem)

    def _initiator(self) -> Initiator:
        found = Initiator(
            self._source, self._text("initiator", "initiator-name"), self._text("initiator", "isid"), self._text("initiator", "isns-server"),
            self._text("initiator", "slp-server"),
            tuple(filter(None, (self._text("initiator", f"{word}-radius-server") for word in ("pri", "sec")))), self._number("initiator", "flags") or 0)
        if not found.name:
            self._complain("initiator", "has no name", "Sessions then have the name in /etc/iscsi/initiatorname.iscsi; see that the targets let it in")
        return found

    def _nic(self, name: str) -> Nic:
        nic = Nic(
            self._source, name, self._number(name, "index"), self._number(name, "flags") or 0, self._text(name, "mac"), self._text(name, "ip-addr"),
            self._text(name, "subnet-mask"), self._number(name, "prefix-len"), self._text(name, "gateway"),
            (self._text(name, "primary-dns"), self._text(name, "secondary-dns")), self._text(name, "dhcp"), self._text(name, "vlan"),
            self._number(name, "origin"), self._text(name, "hostname"))
        if self._source != "ibft":
            return nic._replace(transport=self._adapter(int(self._source[len("iscsi_boot"):])) or "tcp")
        behind = os.path.join(self._base, name, "device")
        own = next(iter(list_dir(os.path.join(behind, "net"))), "") or interface_of(nic.mac, self._sys)
        return nic._replace(interface=own, linked=os.path.exists(behind), transport=self._offload(nic.mac, own) or "tcp")

    def _offload(self, mac: str, interface: str) -> t.Optional[str]:
        """The transport of the offload adapter with this hardware address; None where there is none."""
        base = os.path.join(self._sys, "class/iscsi_host")
        for host in list_dir(base):
            if mac and (read_text(f"{base}/{host}/hwaddress") or "").lower() == mac.lower():
                driver = os.path.basename(os.path.realpath(os.path.join(self._sys, "class/net", interface, "device/driver")))
                return _OFFLOAD.get(driver) or self._adapter(int(host[len("host"):]))
        return None

    def _adapter(self, host: int) -> t.Optional[str]:
        driver = read_text(os.path.join(self._sys, f"class/scsi_host/host{host}/proc_name"))
        return None if driver in (None, "iscsi_tcp", "iscsi_iser") else driver

    def _target(self, name: str) -> BootTarget:
        port = self._number(name, "port")
        found = BootTarget(
            self._source, name, self._number(name, "index"), self._number(name, "flags") or 0, self._text(name, "target-name"), self._text(name, "ip-addr"),
            DEFAULT_PORT if port is None else port, self._text(name, "lun"), self._number(name, "nic-assoc"), self._number(name, "chap-type"),
            self._text(name, "chap-name"), self._text(name, "chap-secret"), self._text(name, "rev-chap-name"), self._text(name, "rev-chap-name-secret"))
        if not found.flags:  # a structure that is not in use
            return found
        if not found.target or not found.address:
            self._complain(name, "names no target" if not found.target else "has no address")
            return found
        self._complain_of_chap(found)
        nic = next((nic for nic in self.nics if nic.number is not None and nic.number == found.nic_index), None)
        if nic is None:
            self._complain(name, "does not say which NIC it is reached through" if found.nic_index is None else
                           f"is to be reached through NIC {found.nic_index}, and the table has no such NIC")
        elif not nic.flags or not nic.mac:
            self._complain(name, f"is to be reached through {nic.name}, which {'has no hardware address' if nic.flags else 'the table marks as not in use'}")
        elif nic.linked and not nic.interface:
            self._complain(name, f"is to be reached through {nic.name}, and no network interface of this host has its hardware address {nic.mac}",
                           "See ip link; its driver may be missing, or the address was changed after the firmware ran")
        else:
            return found._replace(nic=nic)
        return found

    def _complain_of_chap(self, found: BootTarget) -> None:
        for user, secret, way in ((found.username, found.password, "CHAP"), (found.username_in, found.password_in, "reverse CHAP")):
            if user and not secret:
                self._complain(found.name, f"has a {way} name and no secret for it")
        if found.chap_type == 0 and found.username:
            self._complain(found.name, "says that CHAP is not used, but has a CHAP name, with which open-iscsi would log in")
        elif found.chap_type and not found.username:
            self._complain(found.name, "says that CHAP is used, but has no CHAP name")
