# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module iscsi_iface; the work is in module_utils/_open_iscsi/ifaces.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: iscsi_iface
short_description: Bind iSCSI sessions to network interfaces and adapter ports
version_added: 0.1.0
author:
  - The lunar.iscsi contributors (@lunar-iscsi)
description:
  - Brings one iface record of open-iscsi to a state. An iface says through which network interface of the host, or which port of an offload
    adapter, sessions go, and with which initiator name and network settings.
  - Settings that are not named stay as they are. A record that exists is never reset, as C(iscsiadm -o new) does it.
  - Nodes that are bound to the iface get the changed settings too, as C(iscsiadm -o update) does it.
  - The record of an iface with sessions on it is neither changed nor removed. The sessions are named.
  - For an iface that is bound to a network interface, the module looks whether the kernel lets the answers in (C(rp_filter)).
  - No process is started, except one C(iscsiadm) for O(apply) that has something to apply, and one for the O(ping) of an offload adapter.
extends_documentation_fragment:
  - lunar.iscsi.attributes
  - lunar.iscsi.attributes.full
  - lunar.iscsi.options.root
requirements:
  - C(iscsiadm) (package C(open-iscsi) or C(iscsi-initiator-utils)) for O(apply) and the O(ping) of an offload adapter
options:
  name:
    description:
      - The name of the iface, 1 to 64 bytes without slashes, commas and white space. V(default) and V(iser) are built into open-iscsi and are refused.
      - Where the name has C(ipv6) in it, open-iscsi takes the iface for one of IPv6, and reads the settings that only those have.
    type: str
    required: true
  state:
    description:
      - V(present), the record is there and holds the given settings, and so do the nodes that are bound to it.
      - V(absent), there is no record. This is refused while nodes are bound to it, unless O(force=true).
    type: str
    choices: [present, absent]
    default: present
  transport:
    description:
      - The kernel's driver, the setting C(iface.transport_name). A new record has V(tcp) unless another one is given.
    type: str
    choices: [tcp, iser, bnx2i, be2iscsi, cxgb3i, cxgb4i, ocs, qedi, qla4xxx]
  settings:
    description:
      - Any C(iface.*) setting, by its name in the record. Values are checked against what open-iscsi understands. An unknown name, a wrong type or
        a number out of range is refused before anything is changed. An empty value takes a setting out.
      - Sessions of V(tcp) are bound by C(iface.net_ifacename) or by C(iface.hwaddress), not by both. To change from one to the other, empty the first.
      - By C(iface.ipaddress) alone, open-iscsi binds no session of V(tcp), and every login fails. This is named in RV(problems).
    type: dict
  force:
    description:
      - With O(state=absent), remove the records of the nodes that are bound to the iface, too. Sessions on it are not ended by that; log them out first.
    type: bool
    default: false
  rp_filter:
    description:
      - What to do about a network interface with a strict C(rp_filter). The greater one of C(net.ipv4.conf.all.rp_filter) and that of the interface
        counts. It must be 0 or 2, or the kernel may throw away the answers to a session that is bound to the interface.
      - V(report), name it in RV(problems).
      - V(require), fail before anything is changed.
      - V(set), write C(/etc/sysctl.d/90-lunar-iscsi-rp_filter-INTERFACE.conf) with the value 2 for this interface, and set it now where the kernel is
        strict. O(state=absent) removes the file, unless another iface is bound to the same interface, and leaves the value that is in force.
    type: str
    choices: [report, require, set]
    default: report
  apply:
    description:
      - Give the port of an offload adapter the network settings of the record (C(iscsiadm -o apply)), if the record changes or the kernel
        says that the port has other settings. Drivers that do not tell their settings are applied to only when the record changes.
    type: bool
    default: false
  ping:
    description:
      - Ping an address through the iface, and return RV(ping). This changes nothing, and is done in check mode too if the iface is there.
      - Of an offload adapter, its port pings (C(iscsiadm -C ping)). For V(tcp) and V(iser), the module does it itself, through the network interface that
        the iface is bound to, as C(ping -I) does; an answer is waited for 2 seconds.
    type: dict
    suboptions:
      address:
        description: The IP address to ping.
        type: str
        required: true
      count:
        description: How many packets to send, 1 to 1000.
        type: int
        default: 1
      size:
        description: Their size in bytes.
        type: int
        default: 32
      interval:
        description: Seconds between two of them, 0 to 60.
        type: int
        default: 0
  repair:
    description:
      - A damaged record (empty, cut off) is named and left as it is, and the task fails. With V(true), it is written anew.
        Settings in it that are whole and valid are kept. Where none is left, they come from the nodes that are bound to the iface.
        What the file held is kept in the folder C(damaged) of the database.
    type: bool
    default: false
  timeout:
    description: Seconds that C(iscsiadm) may take for O(apply) and, in addition to the intervals, for O(ping).
    type: float
    default: 30
notes:
  - Discovery with iscsiadm binds what it finds to every iface of V(tcp) that is recorded. M(lunar.iscsi.iscsi_discovery) takes the ifaces as an option.
seealso:
  - module: lunar.iscsi.iscsi_node
  - module: lunar.iscsi.iscsi_discovery
  - module: lunar.iscsi.iscsi_db
"""

EXAMPLES = r"""
- name: Bind sessions to a network interface, and let the kernel accept their answers, now and after the next boot
  lunar.iscsi.iscsi_iface:
    name: san0
    settings: {iface.net_ifacename: ens5}
    rp_filter: set

- name: Bind by hardware address, with an initiator name of its own
  lunar.iscsi.iscsi_iface:
    name: san1
    settings:
      iface.hwaddress: "00:0f:1f:92:6b:bf"
      iface.initiatorname: iqn.2026-11.org.example:host1.san1

- name: Log in through both
  lunar.iscsi.iscsi_node:
    nodes:
      - target: iqn.2003-01.org.linux-iscsi.rheln1
        portals: ["192.168.56.101:3260,1"]
        ifaces: [san0, san1]
    state: logged_in

- name: Set up the port of an offload adapter, and look whether the array answers it
  lunar.iscsi.iscsi_iface:
    name: qla4xxx.00:0e:1e:04:8b:2e
    transport: qla4xxx
    settings:
      iface.hwaddress: "00:0e:1e:04:8b:2e"
      iface.ipaddress: 192.168.56.20
      iface.subnet_mask: 255.255.255.0
      iface.vlan_id: 56
      iface.vlan_state: enable
    apply: true
    ping: {address: 192.168.56.101, count: 4}
  register: port

- name: Take an iface away, and the records of the nodes that are bound to it
  lunar.iscsi.iscsi_iface:
    name: san1
    state: absent
    force: true
"""

RETURN = r"""
iface:
  description: The record as it is in the end (or would be, in check mode). Null with O(state=absent).
  returned: success
  type: dict
  contains:
    name:
      description: Its name.
      type: str
      returned: always
    transport:
      description: The driver.
      type: str
      returned: always
    settings:
      description: All settings that the record holds, as text.
      type: dict
      returned: always
  sample: {name: san0, transport: tcp, settings: {iface.iscsi_ifacename: san0, iface.net_ifacename: ens5, iface.transport_name: tcp}}
bound:
  description: The nodes that are recorded with this iface.
  returned: success
  type: list
  elements: dict
  contains:
    target:
      description: The name of the target.
      type: str
      returned: always
    portal:
      description: The portal, with port and portal group tag if known.
      type: str
      returned: always
    iface:
      description: The iface.
      type: str
      returned: always
  sample: [{target: iqn.2003-01.org.linux-iscsi.rheln1, portal: "192.168.56.101:3260,1", iface: san0}]
sids:
  description: The numbers of the sessions over this iface.
  returned: success
  type: list
  elements: int
  sample: [3]
ping:
  description: What came of the pings.
  returned: when O(ping) was given and the iface is there
  type: dict
  contains:
    sent:
      description: How many packets were sent.
      type: int
      returned: always
    answered:
      description: How many of them were answered.
      type: int
      returned: always
    failed:
      description: The others, each with its number and a reason.
      type: list
      elements: dict
      returned: always
  sample: {sent: 4, answered: 3, failed: [{number: 2, reason: timed out}]}
steps:
  description: What was done (or would be, in check mode), in words.
  returned: success
  type: list
  elements: str
  sample: [record iface san0, write /etc/sysctl.d/90-lunar-iscsi-rp_filter-ens5.conf, loosen rp_filter of ens5]
problems:
  description: What is wrong around it. Each with the object, what is wrong and a remedy.
  returned: success
  type: list
  elements: dict
  sample:
    - object: network interface ens5
      what: >-
        has a strict rp_filter (it is 1 of its own and 0 for all, the greater one counts), with which the answers to a session that is bound to it
        may be thrown away
      remedy: "Set it to 0 or 2 (net.ipv4.conf), or say rp_filter: set"
"""

from ansible_collections.lunar.iscsi.plugins.module_utils._argspec import root_option
from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import converge
from ansible_collections.lunar.iscsi.plugins.module_utils._module import SettingsModule
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.iface_wanted import TRANSPORTS
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.ifaces import IfaceTask


def main() -> None:
    """Read, plan, write the record and those of its nodes, apply, read again, ping."""
    module = SettingsModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "transport": {"type": "str", "choices": list(TRANSPORTS)},
            "settings": {"type": "dict"},
            "force": {"type": "bool", "default": False},
            "rp_filter": {"type": "str", "choices": ["report", "require", "set"], "default": "report"},
            "apply": {"type": "bool", "default": False},
            "ping": {
                "type": "dict",
                "options": {
                    "address": {"type": "str", "required": True},
                    "count": {"type": "int", "default": 1},
                    "size": {"type": "int", "default": 32},
                    "interval": {"type": "int", "default": 0},
                },
            },
            "repair": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 30},
            **root_option(),
        },
        supports_check_mode=True,
    )
    converge(module, IfaceTask, module.params)


if __name__ == "__main__":
    main()
