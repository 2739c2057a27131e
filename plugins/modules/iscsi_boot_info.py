# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module iscsi_boot_info; the work is in module_utils/_open_iscsi/boot_info.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: iscsi_boot_info
short_description: Return which iSCSI sessions and network interfaces a system stands on
version_added: 0.1.0
description:
  - Says which sessions carry the root file system of the running system, or another file system that it cannot be without (V(/usr), V(/var),
    V(/etc) and what is like them). Partitions, volume groups, encryption, RAID, multipath and btrfs in between are seen through.
  - With O(root), the same of a system that is mounted there, for an installer that is about to boot from it.
  - It reads sysfs and procfs and asks the kernel for its addresses. Nothing is changed, and no process is started.
author:
  - The lunar.iscsi contributors (@lunar-iscsi)
extends_documentation_fragment:
  - lunar.iscsi.attributes
  - lunar.iscsi.attributes.info
options:
  root:
    description:
      - The mount point of the system that is meant. A folder that is no mount point stands on nothing of its own.
    type: path
    default: /
notes:
  - The role P(lunar.iscsi.boot#role) uses it to find out what the initramfs has to log in to, and which network interfaces are to be left alone.
  - What firmware says of the disk to boot from is returned by M(lunar.iscsi.iscsi_firmware_info).
seealso:
  - module: lunar.iscsi.iscsi_initramfs
  - module: lunar.iscsi.iscsi_firmware_info
  - module: lunar.iscsi.iscsi_image
"""

EXAMPLES = r"""
- name: What does this host run from?
  lunar.iscsi.iscsi_boot_info:
  register: boot

- name: Record it for the initramfs, with the timers of a root file system
  lunar.iscsi.iscsi_node:
    nodes: "{{ boot.nodes }}"
    startup: onboot
    profile: root
  when: boot.nodes | length > 0
"""

RETURN = r"""
sessions:
  description: The sessions that the system stands on.
  returned: success
  type: list
  elements: dict
  contains:
    sid:
      description: Number of the session.
      type: int
      returned: always
    target:
      description: Name of the target.
      type: str
      returned: always
    portal:
      description: The portal, with port and portal group tag.
      type: str
      returned: always
    iface:
      description: The iface.
      type: str
      returned: always
    state:
      description: State of the session.
      type: str
      returned: always
    mount_points:
      description: What it carries, as the system at O(root) names it.
      type: list
      elements: str
      returned: always
    devices:
      description: The disks that this is on.
      type: list
      elements: str
      returned: always
    interface:
      description: The network interface that the session goes through. V(null) where that is not known.
      type: str
      returned: always
    initiator_name:
      description: The InitiatorName that the session was made with.
      type: str
      returned: always
  sample:
    - sid: 1
      target: iqn.2003-01.org.linux-iscsi.rheln1
      portal: 192.168.56.101:3260,1
      iface: default
      state: LOGGED_IN
      mount_points: [/]
      devices: [/dev/sda]
      interface: ens17
      initiator_name: iqn.1994-05.com.redhat:host1
nodes:
  description: Their nodes, as O(lunar.iscsi.iscsi_node#module:nodes) takes them.
  returned: success
  type: list
  elements: dict
  sample: [{target: iqn.2003-01.org.linux-iscsi.rheln1, portals: ["192.168.56.101:3260,1"], ifaces: [default]}]
nics:
  description: The network interfaces that these sessions go through.
  returned: success
  type: list
  elements: dict
  contains:
    interface:
      description: Its name.
      type: str
      returned: always
    mac:
      description: Its hardware address.
      type: str
      returned: always
    drivers:
      description: The kernel modules it needs. Of a bond, a bridge or a VLAN, also those of the network interfaces below it. A driver that is built into
        the kernel may be missing.
      type: list
      elements: str
      returned: always
    address:
      description: The address that the session goes out from.
      type: str
      returned: always
    prefix:
      description: The length of its prefix.
      type: int
      returned: always
    netmask:
      description: The same as a mask. V(null) for IPv6.
      type: str
      returned: always
    gateway:
      description: The default gateway behind this network interface. V(null) where there is none.
      type: str
      returned: always
  sample:
    - {interface: ens17, mac: "52:54:00:6c:01:0a", drivers: [virtio_net], address: 192.168.56.10, prefix: 24, netmask: 255.255.255.0, gateway: null}
multipath:
  description: Whether multipath stands between these disks and the file systems.
  returned: success
  type: bool
"""

import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._argspec import check_root, root_option
from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import run_guarded
from ansible_collections.lunar.iscsi.plugins.module_utils._host.addresses import read_addresses, read_gateways
from ansible_collections.lunar.iscsi.plugins.module_utils._module import CheckedModule
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.boot_info import describe
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.carriers import find_carriers
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.sessions import read_sessions


def main() -> None:
    """Find the sessions, and say what they are."""
    module = CheckedModule(argument_spec=root_option(), supports_check_mode=True)

    def look() -> t.Dict[str, t.Any]:
        carriers = find_carriers(read_sessions(), check_root(module.params["root"]))
        return dict(describe(carriers, read_addresses() if carriers else [], read_gateways() if carriers else []), changed=False)

    run_guarded(module, look)


if __name__ == "__main__":
    main()
