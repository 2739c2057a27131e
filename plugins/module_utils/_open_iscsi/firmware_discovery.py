# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module iscsi_discovery does with type firmware: the targets of the boot firmware become nodes.

The records are those of ``iscsiadm -m discovery -t fw`` (usr/iscsiadm.c, usr/discovery.c, usr/idbm.c), but for two things. A portal group tag, which
firmware does not know and iscsiadm takes for 1, is that of the record or of the session that is there already. And where there are CHAP
names and secrets, the record says that they are used.
"""

from __future__ import annotations

import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import Step
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, HostError, InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey, Portal, check_iscsi_name
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.ask import Answer, auth_settings, check_chap_complete
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.conf import HostConf
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.discovery import DiscoveryTask, Found, PresentPlan, record_step
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.firmware import BootTarget, Firmware, Nic
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.firmware_read import read_firmware, vlan_interface
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.new_records import new_iface, updated_iface
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.record import Record
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import Kind, check_settings
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.session_keys import SessionKey, read_session_keys
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.stored import Database, Problem

#: who was asked; made into a discovery, it is the one that all nodes of the firmware are linked to (``stored.FW``)
HERE = Portal("", 0)
_ASSUMED_TPGT = 1
_AUTH = "node.session.auth"
_INITIATOR = "iface.initiatorname"


class Boot(t.NamedTuple):
    """A target of the firmware as a node: where it is, what its record holds beyond that, and through which NIC it is reached."""

    target: str
    portal: Portal
    settings: t.Mapping[str, str]
    initiator: str
    nic: Nic


class FirmwareTask(DiscoveryTask):
    """One iscsi_discovery task with type firmware; see ``_convergence.Task``."""

    def __init__(self, params: t.Mapping[str, t.Any], firmware: t.Callable[[], Firmware] = read_firmware,
                 live: t.Callable[[], t.Sequence[SessionKey]] = read_session_keys, vlan: t.Callable[[str, int], str] = vlan_interface) -> None:
        self._read_firmware = firmware
        self._read_live = live
        self._vlan = vlan
        self._boots: t.List[Boot] = []
        self._trouble: t.List[Problem] = []
        self._whole = True
        super().__init__(params)

    def _asked(self) -> t.List[Portal]:
        for option, nothing in (("portals", None), ("auth", None), ("initiator_name", None), ("method", "native")):
            if self._params[option] != nothing:
                raise InputError(f"option {option}", "is given together with type firmware, with which nobody is asked", "Leave it out")
        if self._params["bind_nics"] and self._params["ifaces"] is not None:
            raise InputError("option bind_nics", "is true, and ifaces are given, too", "Say one of the two")
        return [HERE]

    def _of_the_record(self) -> t.Dict[str, str]:
        if self._params["discovery_settings"]:
            raise InputError("option discovery_settings", "is given together with type firmware, of which there is no discovery record", "Leave it out")
        return {}

    def _ask(self, database: Database, conf: HostConf) -> t.Sequence[Answer]:
        firmware = self._read_firmware()
        if firmware.damage:
            raise DamagedError(firmware.damage[0]["object"], "; ".join(problem["what"] for problem in firmware.damage), firmware.damage[-1]["remedy"])
        self._trouble = list(firmware.problems)
        self._whole = all(target.usable or not target.flags for target in firmware.targets)
        live = self._read_live()
        for target in firmware.usable:
            try:
                self._boots.append(self._boot(target, firmware.initiator_of(target.source).name, database, live))
            except InputError as error:
                self._whole = False
                self._trouble.append({"object": f"{target.name} of {target.source}", "what": f"cannot be recorded: {error.subject} {error.what}",
                                      "remedy": error.remedy})
        if not self._boots:
            said = "; ".join(f"{problem['object']} {problem['what']}" for problem in self._trouble)
            raise HostError("boot firmware", f"names no target that can be recorded{f' ({said})' if said else ''}",
                            "Nothing was recorded. Only a host that booted from iSCSI has such a table; the kernel module iscsi_ibft shows it")
        return [Answer(HERE, [(boot.target, (boot.portal,)) for boot in self._boots])]

    def _boot(self, target: BootTarget, initiator: str, database: Database, live: t.Sequence[SessionKey]) -> Boot:
        name, portal, nic = check_iscsi_name(target.target), target.portal, target.nic
        if portal is None or nic is None:
            raise InputError("its address", f"is {target.address!r}, port {target.port}", "See what the target is called in the set-up of the firmware")
        if initiator:
            check_iscsi_name(initiator, "initiator")
        settings = {"node.startup": "onboot", "node.conn[0].startup": "onboot"}
        if target.chap != "none":
            settings.update(auth_settings(_AUTH, dict(target.as_fact(secrets=True)["auth"])))
        settings = check_settings(Kind.NODE, settings, version=self._location.version)
        check_chap_complete(name, settings)
        if self._params["bind_nics"] and nic.transport == "tcp" and nic.vlan_id:
            behind = self._vlan(nic.interface, nic.vlan_id)
            if not behind:
                raise HostError(f"{nic.name} of {nic.source}", f"is in VLAN {nic.vlan_id}, for which this host has no network interface",
                                "Make one over the network interface with its hardware address, or leave bind_nics out")
            nic = nic._replace(interface=behind)
        return Boot(name, portal._replace(tpgt=_tag(name, portal, database, live)), settings, initiator, nic)

    def _present(self, found: Found) -> PresentPlan:
        return FirmwarePlan(self._kind, self._params, self._filters, self._settings, {}, None, found, boots=self._boots, trouble=self._trouble,
                            whole=self._whole)


def _tag(target: str, portal: Portal, database: Database, live: t.Sequence[SessionKey]) -> int:
    """The portal group tag that is recorded, or that a session has learned from the target; what iscsiadm assumes where there is neither."""
    keys = [*database.nodes_of(target, portal.endpoint), *(key for key in database.damaged if (key.target, key.portal.endpoint) == (target, portal.endpoint))]
    recorded = {key.portal.tpgt for key in keys if key.portal.tpgt is not None}
    learned = {session.key.portal.tpgt for session in live
               if (session.key.target, session.key.portal.endpoint) == (target, portal.endpoint) and session.key.portal.tpgt is not None}
    return min(recorded & learned or recorded or learned or {_ASSUMED_TPGT})


class FirmwarePlan(PresentPlan):
    """The plan of ``state: present``, made of what firmware says."""

    def __init__(self, *args: t.Any, boots: t.Sequence[Boot], trouble: t.Sequence[Problem], whole: bool) -> None:
        super().__init__(*args)
        self._problems.extend(trouble)
        self._boots = boots
        self._whole = whole
        #: records of ifaces that firmware calls for, and what they are made of
        self._wanted: t.Dict[str, t.Dict[str, str]] = {}

    def _ifaces(self) -> t.List[str]:
        if self._params["ifaces"] is not None:
            return super()._ifaces()
        for boot in self._boots:
            # as iscsiadm: all targets through all offload adapters; sessions of the kernel are bound only when that is asked for
            if boot.nic.transport != "tcp" or self._params["bind_nics"]:
                self._wanted[_iface_name(boot)] = _iface_settings(boot)
        return list(self._wanted) or super()._ifaces()

    def _through(self, target: str, portal: Portal) -> t.Sequence[str]:
        if not self._params["bind_nics"]:
            return self._all_ifaces
        return list(dict.fromkeys(_iface_name(boot) for boot in self._boots if (boot.target, boot.portal) == (target, portal)))

    def _iface_record(self, name: str) -> t.Optional[Record]:
        if name in self._wanted and name not in self._database.ifaces:
            return new_iface(name, self._wanted[name], version=self._found.conf.version)
        return super()._iface_record(name)

    def _told(self, key: NodeKey) -> t.Mapping[str, str]:
        fitting = [boot for boot in self._boots if boot.target == key.target and boot.portal.matches(key.portal)]
        boot = next((boot for boot in fitting if _iface_name(boot) == key.iface), fitting[0])
        iface = self._iface_record(key.iface) if key.iface in self._wanted or self._database.has_iface(key.iface) else None
        named = iface is not None and iface.get(_INITIATOR)
        return {**boot.settings, **({} if named or not boot.initiator else {_INITIATOR: boot.initiator})}

    def _discovery_steps(self) -> t.Iterator[Step]:
        """Firmware has no record of its own; the ifaces stand in its place."""
        version = self._found.conf.version
        for name, settings in self._wanted.items():
            damaged = self._database.damaged_ifaces.get(name)
            stored = self._database.ifaces.get(name)
            fresh = new_iface(name, settings, version=version)
            if damaged is not None:
                if not self._params["repair"]:
                    raise DamagedError(damaged.path, damaged.what, "Say repair: true in this task, or restore the file from a backup")
                from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.repair import repair_step

                yield repair_step(f"iface {name}", damaged, fresh, ("write_iface", name, fresh))
            elif stored is None:
                yield record_step("record iface", name, None, fresh, "write_iface", name, fresh)
            elif self._params["update"] and stored.record.differing(settings):
                changed = updated_iface(name, stored.record, settings, version=version)
                yield record_step("update iface", name, stored.record, changed, "write_iface", name, changed)

    def _prune_steps(self, leaving: t.Container[NodeKey]) -> t.Iterator[Step]:
        if self._whole:
            yield from super()._prune_steps(leaving)
        else:
            self._problems.append({"object": "option prune", "what": "has no effect, since not all targets of the firmware can be recorded",
                                   "remedy": "Mend what the other problems name first"})


def _iface_name(boot: Boot) -> str:
    """How iscsiadm calls the iface of an adapter, and how one of a NIC is called here (usr/iface.c, iface_setup_from_boot_context)."""
    address = boot.nic.address or (boot.portal.host if boot.nic.transport == "tcp" else "")
    return f"{boot.nic.transport}.{boot.nic.mac}.ipv{6 if address.count(':') > 1 else 4}.0"


def _iface_settings(boot: Boot) -> t.Dict[str, str]:
    nic = boot.nic
    settings = {"iface.transport_name": nic.transport, _INITIATOR: boot.initiator}
    if nic.transport == "tcp":
        # the kernel has the address of its network interfaces from elsewhere; one of a VLAN has the hardware address of the one below it
        bound = {"iface.net_ifacename": nic.interface} if nic.vlan_id else {"iface.hwaddress": nic.mac}
        return {**settings, **bound}
    settings.update({"iface.hwaddress": nic.mac, "iface.net_ifacename": nic.interface, "iface.ipaddress": nic.as_fact()["address"] or "",
                     "iface.vlan_id": str(nic.vlan_id or "")})
    if ":" not in nic.address:
        settings.update({"iface.subnet_mask": nic.netmask, "iface.gateway": nic.gateway})
    return {key: value for key, value in settings.items() if value}
