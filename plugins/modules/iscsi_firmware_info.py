# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: iscsi_firmware_info
short_description: Return what the boot firmware of a host says of iSCSI
version_added: 0.1.0
description:
  - Returns what C(iscsiadm -m fw) prints, as data - the initiator, the NICs and the targets that firmware or a boot loader told the
    operating system of. Nothing is changed, and no process is started.
  - It comes from the table C(iBFT), which the kernel shows in C(/sys/firmware/ibft) once its module C(iscsi_ibft) is loaded; from the firmware of
    offload adapters (C(/sys/firmware/iscsi_bootN)); or from Open Firmware (C(/proc/device-tree/chosen/bootpath)).
  - Entries that C(iscsiadm) leaves out without a word are returned, too, and RV(problems) says why it leaves them out. A table that the kernel refuses,
    or that is cut off, is told of in words.
author:
  - The lunar.iscsi contributors (@lunar-iscsi)
extends_documentation_fragment:
  - lunar.iscsi.attributes
  - lunar.iscsi.attributes.info
options:
  secrets:
    description:
      - Return the CHAP secrets that firmware holds, in RV(targets[].auth) and in RV(records). Without it, RV(targets[].auth) has none and
        they are stars in RV(records).
      - Ansible hides options that are secret, but not what a module returns. It would be printed with C(-v), kept by callbacks, and written to logs.
        The module therefore refuses V(true) unless the task says C(no_log) is true, which hides the whole result from all of these. (Where the setting
        C(DEFAULT_NO_TARGET_SYSLOG) of Ansible is on, the module cannot tell the two apart and does not refuse.)
      - What is registered still holds the secrets. A later task that prints them needs C(no_log), too; one that hands them to an option that
        is secret, such as O(lunar.iscsi.iscsi_node#module:auth.password), does not.
    type: bool
    default: false
notes:
  - The kernel shows the tables to root only.
  - A host without a table returns empty lists, which is no failure.
  - Reading Open Firmware and offload adapters was tested with trees of files alone, since there was no such hardware.
seealso:
  - module: lunar.iscsi.iscsi_discovery
    description: With O(lunar.iscsi.iscsi_discovery#module:type=firmware), records the targets of the table as nodes.
  - module: lunar.iscsi.iscsi_node
"""

EXAMPLES = r"""
- name: What did this host boot from?
  lunar.iscsi.iscsi_firmware_info:
  register: firmware

- name: Show the targets and the network interfaces they are reached through
  ansible.builtin.debug:
    msg: "{{ item.target }} at {{ item.portal }}, LUN {{ item.lun }}, through {{ item.nic }}"
  loop: "{{ firmware.targets }}"

- name: Which network interfaces does the root disk need?
  ansible.builtin.debug:
    msg: "{{ firmware.nics | selectattr('boot') | map(attribute='interface') | list }}"

- name: The secrets, for a node of the same array that firmware does not know
  lunar.iscsi.iscsi_firmware_info:
    secrets: true
  register: firmware_secrets
  no_log: true
"""

RETURN = r"""
initiators:
  description: Who booted; one for each table, and there is seldom more than one. What a table does not say is V(null), here and below.
  returned: success
  type: list
  elements: dict
  sample:
    - {boot: true, isid: null, isns_server: null, name: "iqn.2026-11.org.example:host1", radius_servers: [], slp_server: null, source: ibft, valid: true}
  contains:
    source:
      description: Where it comes from, V(ibft), V(open_firmware) or, of the adapter of SCSI host 7, V(iscsi_boot7).
      type: str
      returned: always
    name:
      description: The name of the initiator.
      type: str
      returned: always
    isid:
      description: The ISID of its session, where firmware tells it.
      type: str
      returned: always
    isns_server:
      description: The iSNS server it was told of.
      type: str
      returned: always
    slp_server:
      description: The SLP server it was told of.
      type: str
      returned: always
    radius_servers:
      description: The RADIUS servers it was told of.
      type: list
      elements: str
      returned: always
    valid:
      description: Whether the table marks this entry as valid.
      type: bool
      returned: always
    boot:
      description: Whether the table marks this entry as the one that was booted from.
      type: bool
      returned: always
nics:
  description: The NICs that firmware used.
  returned: success
  type: list
  elements: dict
  sample:
    - {address: 192.168.56.10, boot: true, dhcp: false, dhcp_server: null, dns: [192.168.56.53], gateway: 192.168.56.1, hostname: null, index: 0,
       interface: ens5, mac: "52:54:00:12:34:56", name: ethernet0, netmask: 255.255.255.0, origin: manual, prefix: 24, source: ibft,
       transport: tcp, valid: true, vlan: null}
  contains:
    source:
      description: As in RV(initiators).
      type: str
      returned: always
    name:
      description: Name of the entry, as the kernel calls it.
      type: str
      returned: always
    index:
      description: The number by which targets refer to it.
      type: int
      returned: always
    mac:
      description: Its hardware address.
      type: str
      returned: always
    interface:
      description: The network interface of this host that it is.
      type: str
      returned: always
    transport:
      description: V(tcp), or the transport of the offload adapter that it belongs to.
      type: str
      returned: always
    address:
      description: Its address.
      type: str
      returned: always
    prefix:
      description: The length of the prefix of its network.
      type: int
      returned: always
    netmask:
      description: The same as a mask, of IPv4.
      type: str
      returned: always
    gateway:
      description: Its gateway.
      type: str
      returned: always
    dns:
      description: Its DNS servers, at most two.
      type: list
      elements: str
      returned: always
    dhcp:
      description: Whether it has its address by DHCP.
      type: bool
      returned: always
    dhcp_server:
      description: The DHCP server it has it from.
      type: str
      returned: always
    vlan:
      description: The VLAN it is in; V(null) where it is in none.
      type: int
      returned: always
    origin:
      description: Where the address comes from, V(manual), V(dhcp), V(router_advertisement), V(well_known), V(unchanged) or V(other).
      type: str
      returned: always
    hostname:
      description: The host name it was given.
      type: str
      returned: always
    valid:
      description: As in RV(initiators).
      type: bool
      returned: always
    boot:
      description: As in RV(initiators).
      type: bool
      returned: always
targets:
  description: The targets that firmware was told of.
  returned: success
  type: list
  elements: dict
  sample:
    - auth: {method: CHAP, username: host1, username_in: null}
      boot: true
      boot_lun: "01000000"
      chap: one_way
      index: 0
      lun: 1
      name: target0
      nic: ethernet0
      portal: 192.168.56.101:3260
      source: ibft
      target: iqn.2026-11.org.example:disk1
      usable: true
      valid: true
  contains:
    source:
      description: As in RV(initiators).
      type: str
      returned: always
    name:
      description: Name of the entry, as the kernel calls it.
      type: str
      returned: always
    index:
      description: Its number.
      type: int
      returned: always
    target:
      description: The name of the target.
      type: str
      returned: always
    portal:
      description: Its address and port. Firmware knows no portal group tag.
      type: str
      returned: always
    lun:
      description: The number of the LUN to boot from; V(null) where it is no simple one.
      type: int
      returned: always
    boot_lun:
      description: The LUN as the kernel and C(iscsiadm) print it.
      type: str
      returned: always
    nic:
      description: The NIC in RV(nics) that it is reached through; V(null) of targets that are not usable.
      type: str
      returned: always
    chap:
      description: Whether there are CHAP names and secrets, V(none), V(one_way) or V(mutual).
      type: str
      returned: always
    auth:
      description: The same as O(lunar.iscsi.iscsi_node#module:auth) takes it. C(password) and C(password_in) are there with O(secrets=true) alone.
      type: dict
      returned: always
      contains:
        method:
          description: V(CHAP), or V(None) in quotes.
          type: str
          returned: always
        username:
          description: The name this host logs in with.
          type: str
          returned: always
        username_in:
          description: The name the target has to prove.
          type: str
          returned: always
        password:
          description: The secret to C(username).
          type: str
          returned: when O(secrets=true)
        password_in:
          description: The secret of the target.
          type: str
          returned: when O(secrets=true)
    valid:
      description: As in RV(initiators).
      type: bool
      returned: always
    boot:
      description: As in RV(initiators).
      type: bool
      returned: always
    usable:
      description: Whether C(iscsiadm) takes it; where it does not, RV(problems) says why, unless the entry is marked as not in use.
      type: bool
      returned: always
records:
  description: What C(iscsiadm -m fw) prints, one record a usable target, in the order of the table. A length of prefix that is not there, which C(iscsiadm)
    prints as -1, is left out.
  returned: success
  type: list
  elements: dict
  sample:
    - iface.initiatorname: iqn.2026-11.org.example:host1
      iface.transport_name: tcp
      iface.hwaddress: "52:54:00:12:34:56"
      iface.bootproto: STATIC
      iface.ipaddress: 192.168.56.10
      iface.prefix_len: "24"
      iface.subnet_mask: 255.255.255.0
      iface.vlan_id: "0"
      iface.net_ifacename: ens5
      node.name: iqn.2026-11.org.example:disk1
      node.conn[0].address: 192.168.56.101
      node.conn[0].port: "3260"
      node.session.auth.username: host1
      node.session.auth.password: "********"
      node.boot_lun: "01000000"
acpi:
  description: What the table says of itself; empty where there is none.
  returned: success
  type: dict
  sample: {oem_id: BOCHS, oem_table_id: BXPC, signature: iBFT}
problems:
  description: What is wrong with the table, or keeps an entry from being used. Each with the object, what is wrong and a remedy.
  returned: always
  type: list
  elements: dict
  sample:
    - object: target1 of ibft
      what: is to be reached through NIC 1, and the table has no such NIC
      remedy: Correct it in the set-up of the firmware (or of the boot loader that made the table) and boot again
  contains:
    object:
      description: What it is about.
      type: str
      returned: always
    what:
      description: What is wrong with it.
      type: str
      returned: always
    remedy:
      description: What to do.
      type: str
      returned: always
"""

import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import run_guarded
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._module import CheckedModule
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.firmware_read import read_firmware


def look(secrets: bool, hidden: bool, sys: str = "/sys", proc: str = "/proc") -> t.Dict[str, t.Any]:
    """What the module returns, or the ``IscsiError`` it fails with; ``hidden`` is whether the result is kept out of logs."""
    if secrets and not hidden:
        raise InputError("option secrets", "is true in a task without no_log: true, and the secrets would be printed and logged with its result",
                         "Add no_log: true to the task")
    found = read_firmware(sys, proc)
    return {
        "changed": False,
        "initiators": [one.as_fact() for one in found.initiators],
        "nics": [nic.as_fact() for nic in found.nics],
        "targets": [target.as_fact(secrets=secrets) for target in found.targets],
        "records": found.records(secrets=secrets),
        "acpi": dict(found.acpi),
        "problems": list(found.problems),
    }


def main() -> None:
    module = CheckedModule(argument_spec={"secrets": {"type": "bool", "default": False, "no_log": False}}, supports_check_mode=True)
    run_guarded(module, lambda: look(module.params["secrets"], module.no_log))


if __name__ == "__main__":
    main()
