# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module iscsi_host; the work is in module_utils/_open_iscsi/host_task.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: iscsi_host
short_description: Bring the CHAP table and the flash nodes of an offload adapter to a state
version_added: 0.1.0
author:
  - The lunar.iscsi contributors (@lunar-iscsi)
description:
  - Some offload adapters keep targets in their own flash (flash nodes), log in to them by themselves, and keep CHAP names and secrets in a table beside
    them. This module adds, updates and removes both, and logs flash nodes in and out.
  - The adapter is changed by C(iscsiadm -m host). What is there is read from C(/sys), the CHAP table by C(iscsiadm).
  - B(Nobody has run this with an adapter.) It was tried with the real C(iscsiadm) of Debian over a stand-in for the kernel, which answers
    as the source of the driver C(qla4xxx) says. That driver is the only one in Linux with a CHAP table and flash nodes.
  - Entries and flash nodes that are not named stay as they are. So do settings of a flash node.
  - An unchanged run starts no process, but one C(iscsiadm) for O(chap).
extends_documentation_fragment:
  - lunar.iscsi.attributes
  - lunar.iscsi.attributes.full
requirements:
  - C(iscsiadm) (package C(open-iscsi) or C(iscsi-initiator-utils))
options:
  host:
    description: The adapter, by the number of its SCSI host or by its hardware address. The numbers may change when the machine boots.
    type: str
    required: true
  chap:
    description:
      - Entries of the CHAP table. One entry is for one direction, either the initiator shows it (O(chap[].username) and O(chap[].password)), or the
        target has to (O(chap[].username_in) and O(chap[].password_in)).
      - Flash nodes use an entry by its index, as C(flashnode.session.chap_out_idx).
    type: list
    elements: dict
    suboptions:
      index:
        description:
          - Its index, 0 to 2047. Adapters have room for less.
          - Without it, the entry with this user name is meant, and a new one goes where the adapter has room.
        type: int
      state:
        description:
          - V(present), the entry is there and holds this name and secret.
          - V(absent), it is not there. Needs the index or a user name. Refused while a flash node refers to it.
        type: str
        choices: [present, absent]
        default: present
      username:
        description: The name that the initiator shows.
        type: str
      password:
        description: The secret of the initiator. What the table holds is compared with it, so an entry is only written if it differs.
        type: str
      username_in:
        description: The name that the target has to show.
        type: str
      password_in:
        description: The secret of the target.
        type: str
  secrets_in_arguments:
    description:
      - C(iscsiadm) takes CHAP secrets as arguments only, neither in a file nor in its input. While it runs, for a fraction of a second, every user of
        the host can read them in C(/proc), unless that is mounted with C(hidepid).
      - A task that has to write an entry fails, unless this is V(true). Nothing else of this collection puts a secret into an argument.
    type: bool
    default: false
  flash_nodes:
    description: Targets in the flash of the adapter.
    type: list
    elements: dict
    suboptions:
      target:
        description: The name of the target.
        type: str
      portal:
        description:
          - Where it listens, as C(address:port) or C([IPv6]:port). An address, not a name.
          - A portal group tag behind it is the setting C(flashnode.session.tpgt).
        type: str
      index:
        description:
          - The index of a flash node that is there. Together with O(flash_nodes[].target) and O(flash_nodes[].portal), it is given these.
          - Without it, the flash node with this target and portal is meant. If there is none, one is made. The adapter chooses its index.
        type: int
      state:
        description:
          - V(present), it is there and holds the given settings. A session that it has stays as it is.
          - V(logged_in), in addition, there is a session, and it is up within O(timeout).
          - V(logged_out), there is no session. The flash node may be there.
          - V(absent), there is neither the flash node nor a session of it.
        type: str
        choices: [present, absent, logged_in, logged_out]
        default: present
      settings:
        description:
          - Settings of the flash node, C(flashnode.session.*) and C(flashnode.conn[0].*), by the names that C(iscsiadm -m host -C flashnode -x INDEX)
            shows. Values are checked by type. An unknown name, a wrong type or a number out of range is refused before anything is changed.
          - Of a flash node with a session, they hold from its next login on. This is named in RV(problems).
        type: dict
  force:
    description:
      - Log out flash nodes whose disks are in use, and remove CHAP entries that flash nodes refer to, as long as these are logged out.
      - The users of a disk lose it, with all that was not written. A disk that the running system itself stands on is not taken away by that either.
    type: bool
    default: false
  timeout:
    description:
      - Seconds that one run of C(iscsiadm) may take, and that sessions may take to come up.
      - The driver C(qla4xxx) itself waits for up to 28 seconds for a target that does not answer a log-out.
    type: float
    default: 60
notes:
  - The network settings of the adapter's ports are the matter of M(lunar.iscsi.iscsi_iface), with O(lunar.iscsi.iscsi_iface#module:apply).
  - Adapters log in to their flash nodes when the machine boots. A flash node that was logged out is logged in again then.
  - A flash node that the adapter boots from is neither logged out nor removed. The driver refuses it.
seealso:
  - module: lunar.iscsi.iscsi_host_info
  - module: lunar.iscsi.iscsi_iface
"""

EXAMPLES = r"""
- name: A target in the adapter's flash, logged in
  lunar.iscsi.iscsi_host:
    host: "00:0e:1e:04:8b:2e"
    flash_nodes:
      - target: iqn.2002-03.com.compellent:5000d310004b0716
        portal: 192.168.1.12:3260
        state: logged_in
  register: adapter

- name: The same with CHAP, whose secret may be seen in the process list for a moment
  lunar.iscsi.iscsi_host:
    host: "6"
    chap:
      - {index: 4, username: host1, password: "{{ vault_chap }}"}
    secrets_in_arguments: true
    flash_nodes:
      - target: iqn.2002-03.com.compellent:5000d310004b0716
        portal: 192.168.1.12:3260
        settings: {flashnode.session.chap_out_idx: 4, flashnode.session.chap_auth_en: true}
        state: logged_in

- name: Take a target and its CHAP entry out of the adapter, safely
  lunar.iscsi.iscsi_host:
    host: "6"
    flash_nodes:
      - {index: 2, state: absent}
    chap:
      - {index: 4, state: absent}
"""

RETURN = r"""
host:
  description: The adapter in the end (in check mode, as it is). What the driver does not tell is V(null).
  returned: success
  type: dict
  sample:
    chap: [{index: 4, type: local, username: host1}]
    flash_nodes:
      - boot: false
        index: 2
        portal: "192.168.1.12:3260"
        settings: {flashnode.session.chap_auth_en: "1", flashnode.session.chap_out_idx: "4"}
        sids: [3]
        target: iqn.2002-03.com.compellent:5000d310004b0716
    host: 6
    hwaddress: "00:0e:1e:04:8b:2e"
    ifaces: [{bootproto: static, gateway: 0.0.0.0, ipaddress: 192.168.1.20, mtu: 1500, name: ipv4-iface-6-0, subnet: 255.255.255.0}]
    initiatorname: iqn.2000-04.com.qlogic:isp8214.000e1e048b2e.4
    ipaddress: 192.168.1.20
    netdev: null
    port_speed: 10 Gbps
    port_state: Link Up
    sessions: []
    state: running
    transport: qla4xxx
  contains:
    host:
      description: Its number, as in C(/sys/class/scsi_host/hostN).
      type: int
      returned: always
    state:
      description: The state of the SCSI host, such as V(running).
      type: str
      returned: always
    transport:
      description: The kernel's driver, such as V(qla4xxx), or V(tcp) for a session of software iSCSI.
      type: str
      returned: always
    initiatorname:
      description: The initiator name of the adapter, where it has one of its own.
      type: str
      returned: always
    ipaddress:
      description: Its address.
      type: str
      returned: always
    hwaddress:
      description: Its hardware address.
      type: str
      returned: always
    netdev:
      description: The network interface it belongs to.
      type: str
      returned: always
    port_state:
      description: Whether the link is up.
      type: str
      returned: always
    port_speed:
      description: The speed of the link.
      type: str
      returned: always
    ifaces:
      description: The addresses of the port, with their network settings.
      type: list
      elements: dict
      returned: always
    sessions:
      description: The sessions over this host, as M(lunar.iscsi.iscsi_session_info) returns them.
      type: list
      elements: dict
      returned: always
    flash_nodes:
      description: The targets in the flash of the adapter, with all their settings but secrets.
      type: list
      elements: dict
      returned: always
      contains:
        index:
          description: Its index.
          type: int
          returned: always
        target:
          description: The name of the target. Null for one that the adapter asks for targets.
          type: str
          returned: always
        portal:
          description: Where the target listens.
          type: str
          returned: always
        boot:
          description: Whether the adapter boots from it.
          type: bool
          returned: always
        sids:
          description: The numbers of the sessions to this target at this portal.
          type: list
          elements: int
          returned: always
        settings:
          description: Its settings, as C(iscsiadm) calls them, as text. What is not set is empty.
          type: dict
          returned: always
    chap:
      description: The CHAP table. Null without O(chap).
      type: list
      elements: dict
      returned: always
      contains:
        index:
          description: Its index.
          type: int
          returned: always
        type:
          description: V(local) for what the initiator shows to targets, V(bidi) for what a target has to show.
          type: str
          returned: always
        username:
          description: The user name.
          type: str
          returned: always
steps:
  description: What was done (or would be, in check mode), in words.
  returned: success
  type: list
  elements: str
  sample: [add CHAP entry 4 (local host1), "add flash node iqn.2002-03.com.compellent:5000d310004b0716 at 192.168.1.12:3260"]
unfinished:
  description: The index of a flash node that was made, could not be given its settings, and could not be deleted again.
  returned: when that happened
  type: int
  sample: 2
problems:
  description: What is wrong around it. Each with the object, what is wrong and a remedy.
  returned: success
  type: list
  elements: dict
  sample:
    - object: "flash node 2 of host 6 (iqn.2002-03.com.compellent:5000d310004b0716 at 192.168.1.12:3260)"
      what: is logged in with the settings that it had
      remedy: The new ones hold from its next login on
"""

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import converge
from ansible_collections.lunar.iscsi.plugins.module_utils._module import SettingsModule
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.host_task import HostTask


def main() -> None:
    """Read, plan, change the adapter by iscsiadm, read again, wait for sessions."""
    module = SettingsModule(
        argument_spec={
            "host": {"type": "str", "required": True},
            "chap": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "index": {"type": "int"},
                    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
                    "username": {"type": "str"},
                    "password": {"type": "str", "no_log": True},
                    "username_in": {"type": "str"},
                    "password_in": {"type": "str", "no_log": True},
                },
            },
            "secrets_in_arguments": {"type": "bool", "default": False, "no_log": False},
            "flash_nodes": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "target": {"type": "str"},
                    "portal": {"type": "str"},
                    "index": {"type": "int"},
                    "state": {"type": "str", "choices": ["present", "absent", "logged_in", "logged_out"], "default": "present"},
                    "settings": {"type": "dict"},
                },
            },
            "force": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 60},
        },
        supports_check_mode=True,
    )
    converge(module, HostTask, module.params)


if __name__ == "__main__":
    main()
