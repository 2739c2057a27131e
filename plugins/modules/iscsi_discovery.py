# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module iscsi_discovery; the work is in module_utils/_open_iscsi/discovery.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: iscsi_discovery
short_description: Ask iSCSI portals, iSNS servers or boot firmware for targets and record the nodes
version_added: 0.1.0
author:
  - The lunar.iscsi contributors (@lunar-iscsi)
description:
  - Asks one or many portals at once which targets they offer (SendTargets), or iSNS servers which targets this host may see, and records the answer
    in the open-iscsi database of the host. Or it reads which targets the host's firmware booted from, and records these.
  - The module speaks the protocol itself. It asks without a daemon and without a kernel module, and a dead portal costs no more than its
    own O(timeout). It presents the InitiatorName of the host, since targets filter their answer by it.
  - Records that exist are never reset. Discovery with C(iscsiadm) puts C(node.startup) and other settings of known nodes back to
    the defaults; this module leaves a known node as it is, unless O(update=true).
extends_documentation_fragment:
  - lunar.iscsi.attributes
  - lunar.iscsi.attributes.actiongroup_iscsi
  - lunar.iscsi.options.auth
  - lunar.iscsi.options.root
attributes:
  check_mode:
    support: full
    details: The portals are asked in check mode too, since asking changes nothing.
  diff_mode:
    support: full
    details: Secrets are shown as stars.
  idempotent:
    support: full
  platform:
    platforms: posix
options:
  portals:
    description:
      - The portals to ask, as C(address), C(address:port) or C([IPv6]:port). The port is 3260 if not given, with O(type=isns) it is 3205.
      - A portal group tag after a comma is accepted and ignored, so that portals another task returned can be used.
      - Required unless O(type=firmware), with which it cannot be given.
    type: list
    elements: str
  type:
    description:
      - V(send_targets) asks the targets themselves, at O(portals).
      - V(isns) asks the iSNS servers (RFC 4171) at O(portals). A server that does not know this initiator is asked to register it for as long as the
        task asks. A target of which the server knows no portal group is in RV(problems).
      - A server may have no room for its answer, as open-isns, which fails at some 40 targets and lets C(iscsiadm) find none. The module then
        asks for one target after the other.
      - iSNS knows no CHAP, so O(auth) cannot be given with V(isns).
      - V(firmware) asks nobody. It reads what the firmware of the running host says (as M(lunar.iscsi.iscsi_firmware_info) returns it), and records the
        targets in it as C(iscsiadm -m discovery -t fw) does - C(node.startup) is C(onboot), the initiator's name and the CHAP names and secrets are
        those of the firmware. Unlike there, the record says that CHAP is used where there are secrets. Firmware knows no portal group tag; it is that of a
        record or of a session of the same portal, and 1 as with C(iscsiadm) where there is neither.
      - With V(firmware), NICs of offload adapters get an iface record as C(iscsiadm) makes it, if they have none, and nodes are bound to these.
        O(update=true) also sets what the firmware says in records that exist. O(discovery_settings), O(auth), O(initiator_name) and O(method=iscsiadm)
        cannot be given. A table that is cut off or that the kernel refuses fails the task before anything is written.
    type: str
    choices: [send_targets, isns, firmware]
    default: send_targets
  state:
    description:
      - V(present) asks the portals and records what they offer, as the options below say.
      - V(absent) asks nobody. It removes the discovery records of O(portals) with the nodes that were recorded through them.
        A node with a live session is not removed; the task then fails and names the session.
      - With O(type=firmware), V(absent) removes the nodes that were recorded from firmware. Ifaces stay (M(lunar.iscsi.iscsi_iface) removes them).
    type: str
    choices: [present, absent]
    default: present
  targets:
    description:
      - Keep only targets whose name matches one of these patterns, with C(*), C(?) and C([...]) as in file names.
    type: list
    elements: str
  networks:
    description:
      - Keep only portals with an address in one of these networks, such as V(192.168.56.0/23) or V(fd00:56::/64).
      - Portals announced by host name are left out when this option is given, since nothing is known of their address.
    type: list
    elements: str
  link_local:
    description:
      - Keep portals with a link-local address. Targets announce them, but without a scope they cannot be used.
    type: bool
    default: false
  ifaces:
    description:
      - The ifaces through which each portal is recorded; one node for each.
      - Without this option, all software ifaces of the host that were created (any but V(default)), and V(default) if there are none,
        as C(iscsiadm) does.
    type: list
    elements: str
  bind_nics:
    description:
      - With O(type=firmware), bind each node to the NIC that the firmware reached its target through. A NIC without offload gets an iface record
        named V(tcp.MAC.ipv4.0) (or C(ipv6)) with its hardware address; one in a VLAN is bound to the network interface of that VLAN.
      - C(iscsiadm) does not do so, and the kernel then takes the way that its routes say. See O(lunar.iscsi.iscsi_iface#module:rp_filter) for what the kernel
        has to let through. The session that the host booted with is not bound; to log in to a bound node makes another one beside it, which
        is right only where multipath takes both together.
    type: bool
    default: false
  settings:
    description:
      - Settings for new node records, by their name in the record, such as C(node.startup). They win over those of C(iscsid.conf).
      - With O(update=true) they are also applied to records that exist.
    type: dict
  discovery_settings:
    description:
      - Settings of the discovery record itself, new or not, such as C(discovery.sendtargets.use_discoveryd) or, with O(type=isns),
        C(discovery.isns.discoveryd_poll_inval). What is not named stays as it is, and in a new record it is as C(iscsid.conf) says.
      - C(iscsid) asks by itself where C(use_discoveryd) says so. It looks for such records only when it starts, and records no nodes.
      - With an iSNS server, C(iscsid) registers under the name of the host's first address. Where no name server answers, it registers only if
        C(/etc/hosts) has a name for that address as it writes it, such as C(::192.0.2.10).
      - Credentials may stand here or in O(auth), not in both.
    type: dict
  add:
    description: Record nodes that are not recorded yet.
    type: bool
    default: true
  update:
    description: Apply O(settings) to nodes that are recorded already. Settings that are not named stay as they are.
    type: bool
    default: false
  prune:
    description:
      - Remove nodes that were recorded through one of O(portals) (or from firmware) and are offered by none of them any more.
      - Only portals that answered are considered; nodes that were merely filtered out, and nodes with a live session, are kept.
    type: bool
    default: false
  persistent:
    description: With V(false), nothing is written; the module only looks. O(state=absent) cannot be given then.
    type: bool
    default: true
  method:
    description:
      - V(native) speaks the protocol from the module.
      - V(iscsiadm) lets C(iscsiadm) ask, which it does with the credentials of the recorded discovery or of C(iscsid.conf);
        O(auth), O(initiator_name) and O(root) cannot be given then, and portals are asked one after the other. Recording is done by this module either way.
    type: str
    choices: [native, iscsiadm]
    default: native
  initiator_name:
    description:
      - The name to present, instead of the one in C(/etc/iscsi/initiatorname.iscsi).
    type: str
  require:
    description:
      - With V(any), the task succeeds if at least one portal answered; the others are in RV(problems).
      - With V(all), every portal has to answer, or the task fails before anything is written.
    type: str
    choices: [any, all]
    default: any
  repair:
    description:
      - Damaged records are named in RV(problems) and left as they are. With V(true), those of the discovery at O(portals) and of the nodes
        that were found and kept by the filters are set right.
      - An empty or damaged record is written anew. Settings in it that are whole and valid are kept, the rest is as in a new record, and what the
        file held is kept in the folder C(damaged) of the database, where open-iscsi looks for no records.
      - Records of a found portal with another portal group tag than the one the target gives, and records bound to an iface that is gone, are removed
        (and listed in RV(pruned)). A record with a live session is never removed; the task is refused and names the session.
      - With O(state=absent), the damaged record of the discovery and damaged nodes that are linked to it are removed, too.
    type: bool
    default: false
  timeout:
    description: Seconds that the whole exchange with one portal may take, connecting included. All portals are asked at once.
    type: float
    default: 10
seealso:
  - module: lunar.iscsi.iscsi_firmware_info
  - module: lunar.iscsi.iscsi_node
  - module: lunar.iscsi.iscsi_session_info
"""

EXAMPLES = r"""
- name: What do the arrays offer? Record it, touch nothing that is set
  lunar.iscsi.iscsi_discovery:
    portals: [192.168.56.101, "[fd00:56::101]:3260"]
    targets: ["iqn.2003-01.org.linux-iscsi.*"]
    networks: [192.168.56.0/23, "fd00:56::/64"]
  register: found

- name: Log in to all of it
  lunar.iscsi.iscsi_node:
    nodes: "{{ found.nodes }}"
    state: logged_in

- name: Only look
  lunar.iscsi.iscsi_discovery:
    portals: [192.168.56.101]
    persistent: false

- name: Discovery that wants CHAP, from both sides
  lunar.iscsi.iscsi_discovery:
    portals: [192.168.56.101]
    auth:
      method: CHAP
      username: disc
      password: "{{ vault_disc }}"
      username_in: array
      password_in: "{{ vault_disc_in }}"

- name: Follow the array, new nodes log in at boot, nodes that are gone are forgotten
  lunar.iscsi.iscsi_discovery:
    portals: [192.168.56.101]
    settings: {node.startup: automatic}
    prune: true

- name: All that an iSNS server lets this host see
  lunar.iscsi.iscsi_discovery:
    type: isns
    portals: [192.168.56.5]

- name: Let iscsid ask an iSNS server by itself, from its next start on
  lunar.iscsi.iscsi_discovery:
    type: isns
    portals: [192.168.56.5]
    discovery_settings:
      discovery.isns.use_discoveryd: true
      discovery.isns.discoveryd_poll_inval: 60

- name: Record what this host booted from, as iscsiadm -m discovery -t fw does
  lunar.iscsi.iscsi_discovery:
    type: firmware
  register: booted

- name: Carry it over into a system that is being installed, with the timers of a root disk
  lunar.iscsi.iscsi_discovery:
    type: firmware
    root: /mnt/sysimage
    settings:
      node.session.timeo.replacement_timeout: 86400
      node.conn[0].timeo.noop_out_interval: 0
      node.conn[0].timeo.noop_out_timeout: 0

- name: Forget an array
  lunar.iscsi.iscsi_discovery:
    portals: [192.168.56.101]
    state: absent
"""

RETURN = r"""
nodes:
  description: What was found and kept by the filters, one entry a target, as O(lunar.iscsi.iscsi_node#module:nodes) takes it.
  returned: when O(state=present)
  type: list
  elements: dict
  contains:
    target:
      description: The name of the target.
      type: str
      returned: always
    portals:
      description: Its portals, with port and portal group tag.
      type: list
      elements: str
      returned: always
    ifaces:
      description: The ifaces it is recorded through.
      type: list
      elements: str
      returned: always
  sample:
    - target: iqn.2003-01.org.linux-iscsi.rheln1
      portals: ["192.168.56.101:3260,1", "192.168.56.102:3260,2"]
      ifaces: [default]
targets:
  description: Everything the portals (or the firmware) offered, filtered or not. Target names, each with its portals.
  returned: when O(state=present)
  type: dict
  sample:
    iqn.2003-01.org.linux-iscsi.rheln1: ["192.168.56.101:3260,1", "192.168.56.102:3260,2"]
added:
  description: Nodes that were recorded (or would be, in check mode).
  returned: always
  type: list
  elements: dict
  sample: [{target: iqn.2003-01.org.linux-iscsi.rheln1, portal: "192.168.56.101:3260,1", iface: default}]
updated:
  description: Nodes whose settings were changed, in the same form as RV(added).
  returned: always
  type: list
  elements: dict
pruned:
  description: Nodes that were removed, in the same form as RV(added).
  returned: always
  type: list
  elements: dict
kept:
  description: Nodes that were recorded already and stay as they are, in the same form as RV(added).
  returned: always
  type: list
  elements: dict
filtered:
  description: Portals of targets that were left out, and why.
  returned: when O(state=present)
  type: list
  elements: dict
  sample: [{target: iqn.2003-01.org.linux-iscsi.rheln1, portal: "[fe80::1]:3260,1", reason: link-local address}]
steps:
  description: What was done (or would be, in check mode), in words.
  returned: always
  type: list
  elements: str
problems:
  description: What is wrong around it, a portal that did not answer or a damaged record. Each with the object, what is wrong and a remedy.
  returned: always
  type: list
  elements: dict
  sample:
    - object: portal 192.168.56.103:3260
      what: did not answer within 10 s
      remedy: Check that the target is up and that no filter drops port 3260
"""

from ansible_collections.lunar.iscsi.plugins.module_utils._argspec import auth_option, root_option
from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import converge
from ansible_collections.lunar.iscsi.plugins.module_utils._module import SettingsModule
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.discovery import DiscoveryTask


def main() -> None:
    """Ask, plan, record, read again."""
    module = SettingsModule(
        argument_spec={
            "portals": {"type": "list", "elements": "str"},
            "type": {"type": "str", "choices": ["send_targets", "isns", "firmware"], "default": "send_targets"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "targets": {"type": "list", "elements": "str"},
            "networks": {"type": "list", "elements": "str"},
            "link_local": {"type": "bool", "default": False},
            "ifaces": {"type": "list", "elements": "str"},
            "bind_nics": {"type": "bool", "default": False},
            "settings": {"type": "dict"},
            "discovery_settings": {"type": "dict"},
            "add": {"type": "bool", "default": True},
            "update": {"type": "bool", "default": False},
            "prune": {"type": "bool", "default": False},
            "persistent": {"type": "bool", "default": True},
            "method": {"type": "str", "choices": ["native", "iscsiadm"], "default": "native"},
            "initiator_name": {"type": "str"},
            "require": {"type": "str", "choices": ["any", "all"], "default": "any"},
            "repair": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 10},
            **auth_option(),
            **root_option(),
        },
        required_if=[("type", "send_targets", ["portals"]), ("type", "isns", ["portals"])],
        supports_check_mode=True,
    )
    if module.params["type"] == "firmware":
        # seldom needed, and every import costs the host at every task
        from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.firmware_discovery import FirmwareTask

        converge(module, FirmwareTask, module.params)
    converge(module, DiscoveryTask, module.params)


if __name__ == "__main__":
    main()
