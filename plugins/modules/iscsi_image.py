# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module iscsi_image; the work is in module_utils/_open_iscsi/image_task.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: iscsi_image
short_description: Carry the records of open-iscsi over into an installed system
version_added: 0.1.0
author:
  - The lunar.iscsi contributors (@lunar-iscsi)
description:
  - Merges the database of the running system, such as an installer, into that of a system that is mounted and does not run yet. Nodes, ifaces and the
    discoveries that nodes were found by are recorded there as its own C(iscsiadm) would have them, whatever versions of open-iscsi the two systems have.
  - What the installed system has already stays as it is. Nothing of it is replaced or removed. Where a record of it says something else than that of
    the running system, RV(kept) names the settings.
  - Nodes that the root file system of the installed system is on, or another file system that it cannot be without, get startup V(onboot). The
    initramfs logs in to them, and the start scripts leave them alone. Other portals of their targets get startup V(manual), since without multipath
    they would bring the same disk a second time. All other nodes get startup V(automatic).
  - The InitiatorName becomes that of the running system, since that is the one by which the targets know this host.
  - No process is started, and no daemon has to run.
extends_documentation_fragment:
  - lunar.iscsi.attributes
  - lunar.iscsi.attributes.full
options:
  root:
    description:
      - Where the installed system is mounted.
    type: path
    required: true
  source:
    description:
      - The system whose records are carried over. Give it where the task itself runs inside of the installed system (in a chroot, with O(root=/)).
    type: path
    default: /
  boot_nodes:
    description:
      - The nodes that the installed system has to have before it can start. An empty list means that there are none.
      - Without it, those are found out. They have a session with a disk under what is mounted at O(root), or below it at V(/usr), V(/var) or another
        place that a system cannot be without. Partitions, volume groups, encryption, RAID and multipath in between are seen through.
      - A node that has a session and no record, as after a boot by C(iscsistart), is recorded with the settings of C(iscsid.conf) in O(root).
        Where its target asks for CHAP, set that with M(lunar.iscsi.iscsi_node).
    type: list
    elements: dict
    suboptions:
      target:
        description: The name of the target.
        type: str
        required: true
      portals:
        description: Its portals. Without it, all that are recorded in O(source).
        type: list
        elements: str
      ifaces:
        description: The ifaces. Without it, those the portals are recorded with.
        type: list
        elements: str
notes:
  - Timers for a root file system, and everything else that boot from iSCSI takes, are set by the role P(lunar.iscsi.boot#role), which uses this module.
seealso:
  - module: lunar.iscsi.iscsi_initramfs
  - module: lunar.iscsi.iscsi_node
  - module: lunar.iscsi.iscsi_boot_info
"""

EXAMPLES = r"""
- name: At the end of an installation, let the new system find its disks
  lunar.iscsi.iscsi_image:
    root: /mnt/sysimage
  register: image

- name: The timers of what it boots from
  lunar.iscsi.iscsi_node:
    root: /mnt/sysimage
    nodes: "{{ image.boot_nodes }}"
    startup: onboot
    profile: root
  when: image.boot_nodes | length > 0

- name: Prepare an image that is not on iSCSI now, but will be
  lunar.iscsi.iscsi_image:
    root: /mnt/image
    boot_nodes:
      - target: iqn.2003-01.org.linux-iscsi.rheln1
        portals: ["192.168.56.101:3260,1"]
"""

RETURN = r"""
boot_nodes:
  description: The nodes that the installed system is on, as O(lunar.iscsi.iscsi_node#module:nodes) takes them.
  returned: success
  type: list
  elements: dict
  sample: [{target: iqn.2003-01.org.linux-iscsi.rheln1, portals: ["192.168.56.101:3260,1"], ifaces: [default]}]
initiator_name:
  description: The InitiatorName of both systems.
  returned: success
  type: str
  sample: iqn.1994-05.com.redhat:installer
folder:
  description: The folder of the database into which the records went.
  returned: success
  type: str
  sample: /mnt/sysimage/etc/iscsi
kept:
  description: Records of the installed system that say something else than those of the running system, and the names of the settings. They stay as they are.
  returned: success
  type: list
  elements: dict
  contains:
    object:
      description: The node, iface or discovery.
      type: str
      returned: always
    differs:
      description: The settings that differ.
      type: list
      elements: str
      returned: always
  sample:
    - object: iqn.2003-01.org.linux-iscsi.rheln1 at 192.168.56.101:3260,1
      differs: [node.session.timeo.replacement_timeout]
steps:
  description: What was done (or would be, in check mode), in words.
  returned: success
  type: list
  elements: str
  sample: ["record node iqn.2003-01.org.linux-iscsi.rheln1 at 192.168.56.101:3260,1"]
problems:
  description: What is wrong in the installed system's database, and what could not be carried over. Each with the object, what is wrong and a remedy.
  returned: success
  type: list
  elements: dict
  sample:
    - object: /etc/iscsi/nodes/iqn.2003-01.org.linux-iscsi.rheln1/192.168.57.101,3260,1/default
      what: is empty, so it was not carried over
      remedy: "Mend it with iscsi_db (repair: true), and run again"
"""

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import converge
from ansible_collections.lunar.iscsi.plugins.module_utils._module import CheckedModule
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.image_task import ImageTask


def main() -> None:
    """Read both, see what is missing, write it, read again."""
    module = CheckedModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "source": {"type": "path", "default": "/"},
            "boot_nodes": {
                "type": "list", "elements": "dict",
                "options": {
                    "target": {"type": "str", "required": True},
                    "portals": {"type": "list", "elements": "str"},
                    "ifaces": {"type": "list", "elements": "str"},
                },
            },
        },
        supports_check_mode=True,
    )
    converge(module, ImageTask, module.params)


if __name__ == "__main__":
    main()
