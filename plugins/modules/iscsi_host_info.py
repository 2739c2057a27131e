# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module iscsi_host_info; the reading is in module_utils/_open_iscsi/hosts.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: iscsi_host_info
short_description: Return the iSCSI hosts of a machine
version_added: 0.1.0
author:
  - The lunar.iscsi contributors (@lunar-iscsi)
description:
  - Returns what C(iscsiadm -m host -P 4) prints, as data - the ports of offload adapters, their addresses, the sessions over them, and the targets
    in their flash. Software iSCSI has one host a session.
  - All this is read from C(/sys), without a process. On demand, C(iscsiadm) is asked for the CHAP table and the counters of adapters, once each.
  - CHAP secrets are not returned, though C(iscsiadm) prints them.
  - B(Nobody has run this with an adapter.) What needs one was tried with the real C(iscsiadm) of Debian over a stand-in for the kernel, which answers
    as the source of the driver C(qla4xxx) says. That driver is the only one in Linux with a CHAP table, flash nodes and counters.
extends_documentation_fragment:
  - lunar.iscsi.attributes
  - lunar.iscsi.attributes.info
requirements:
  - C(iscsiadm) (package C(open-iscsi) or C(iscsi-initiator-utils)) for O(chap) and O(stats)
options:
  hosts:
    description: Return only these hosts, each by its number or its hardware address. One that is not there is an error.
    type: list
    elements: str
    default: []
  chap:
    description: Return the CHAP tables of offload adapters, without secrets.
    type: bool
    default: false
  stats:
    description: Return the counters of offload adapters.
    type: bool
    default: false
notes:
  - An adapter that has no CHAP table, or no counters, is named in RV(problems). The task does not fail.
seealso:
  - module: lunar.iscsi.iscsi_host
  - module: lunar.iscsi.iscsi_iface
  - module: lunar.iscsi.iscsi_session_info
"""

EXAMPLES = r"""
- name: Which adapters are there, and what goes over them?
  lunar.iscsi.iscsi_host_info:
  register: adapters

- name: Look for errors on the wire
  lunar.iscsi.iscsi_host_info:
    hosts: ["00:0e:1e:04:8b:2e"]
    stats: true
  register: port
  failed_when: port.hosts[0].stats is none or port.hosts[0].stats.mac_crc_error > 0

- name: Show what each adapter logs in to by itself
  ansible.builtin.debug:
    msg: "host {{ item.0.host }}: {{ item.1.target }} at {{ item.1.portal }}, {{ item.1.sids | length }} session(s)"
  loop: "{{ adapters.hosts | subelements('flash_nodes') }}"
"""

RETURN = r"""
kernel_version:
  description: The version of the kernel's iSCSI transport class. Null where that is not loaded.
  returned: success
  type: str
  sample: 2.0-870
hosts:
  description: The hosts, by number. What the driver does not tell is V(null).
  returned: success
  type: list
  elements: dict
  sample:
    - chap: [{index: 4, type: local, username: host1}]
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
      stats: {iscsi_pdu_rx: 20480, iscsi_pdu_tx: 20481, mac_crc_error: 0, mactx_frames: 1048576}
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
      description: The CHAP table of the adapter. Null without O(chap), and where there is none.
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
    stats:
      description: The counters of the adapter by name. Null without O(stats), and where there are none.
      type: dict
      returned: always
problems:
  description: What could not be asked. Each with the object, what is wrong and a remedy.
  returned: success
  type: list
  elements: dict
  sample:
    - object: iscsiadm -m host -H 7 -C stats
      what: "iscsiadm failed without saying why (iscsiadm: get_host_stats failed. errno=0)"
      remedy: Look into the journal of iscsid
"""

import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import run_guarded
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import IscsiError
from ansible_collections.lunar.iscsi.plugins.module_utils._module import CheckedModule
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.hosts import SOFTWARE, IscsiHost, find_hosts, read_hosts, read_version
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.iscsiadm_host import HostAdm

Answer = t.TypeVar("Answer")


def look(params: t.Mapping[str, t.Any], sys: str = "/sys", adm: t.Optional[HostAdm] = None) -> t.Dict[str, t.Any]:
    """What the module returns: the selected hosts, and what iscsiadm says of those that are adapters."""
    tool = adm if adm is not None else HostAdm()
    problems: t.List[t.Dict[str, str]] = []

    def ask(question: t.Callable[[int], Answer], host: IscsiHost) -> t.Optional[Answer]:
        try:
            return question(host.number) if host.transport not in SOFTWARE else None
        except IscsiError as error:
            problems.append(error.as_problem())
            return None

    found = []
    for host in read_hosts(sys, find_hosts(params["hosts"], sys) if params["hosts"] else None):
        chap = ask(tool.chap, host) if params["chap"] else None
        stats = ask(tool.stats, host) if params["stats"] else None
        found.append(dict(host.as_fact(), chap=None if chap is None else [entry.as_fact() for entry in chap], stats=stats))
    return {"changed": False, "kernel_version": read_version(sys), "hosts": found, "problems": problems}


def main() -> None:
    """Read sysfs, ask iscsiadm where that was wanted."""
    module = CheckedModule(
        argument_spec={
            "hosts": {"type": "list", "elements": "str", "default": []},
            "chap": {"type": "bool", "default": False},
            "stats": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    run_guarded(module, lambda: look(module.params))


if __name__ == "__main__":
    main()
