# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: iscsi_session
short_description: Bring the disks of iSCSI sessions up to what the targets have
version_added: 0.1.0
description:
  - Adds LUNs that are new on a target, and lets disks and multipath maps grow whose LUNs have grown.
  - The targets are asked first (C(REPORT LUNS), C(READ CAPACITY)). Only what differs is scanned, single LUNs and single disks, so a second run
    changes nothing, and check mode says exactly what would be done.
  - LUNs that the target does not have any more, and disks that became smaller, are reported in RV(problems) and left alone.
  - No process is started unless LUNs are added. Then C(udevadm settle) is.
author:
  - The lunar.iscsi contributors (@lunar-iscsi)
extends_documentation_fragment:
  - lunar.iscsi.attributes
  - lunar.iscsi.attributes.full
attributes:
  check_mode:
    details:
      - A session whose target had no LUN at all when it was made can only be scanned, so check mode reports a problem and predicts nothing for it.
options:
  state:
    description: V(rescanned) to have the LUNs and sizes that the targets report.
    type: str
    choices: [rescanned]
    default: rescanned
  targets:
    description: Only sessions with targets that match one of these globs. Upper and lower case differ. Without it, all sessions.
    type: list
    elements: str
    default: []
  sids:
    description: Only sessions with one of these session ids.
    type: list
    elements: int
    default: []
  timeout:
    description: How long to wait for the answer to each question, and for new disks, in seconds.
    type: float
    default: 30
notes:
  - Run it as root. The targets are asked through the disks themselves.
  - Sessions that are not logged in are reported in RV(problems). They are not asked, since an answer would wait for the session to come back.
  - A file system does not grow with its disk. C(resize2fs), C(xfs_growfs) and their like let it.
seealso:
  - module: lunar.iscsi.iscsi_session_info
  - module: lunar.iscsi.iscsi_node
  - module: lunar.iscsi.multipath_info
"""

EXAMPLES = r"""
- name: Have the LUNs and the sizes that the targets have now
  lunar.iscsi.iscsi_session:

- name: Of one array only
  lunar.iscsi.iscsi_session:
    targets: ["iqn.2003-01.org.linux-iscsi.*"]
  register: array

- name: Show what is there
  ansible.builtin.debug:
    msg: "{{ item.wwid }} {{ item.map or item.device }} {{ item.size | human_readable }}"
  loop: "{{ array.disks }}"
"""

RETURN = r"""
disks:
  description: The disks behind these sessions. Several paths to one disk are one entry.
  returned: success
  type: list
  elements: dict
  sample:
    - by_id: [/dev/disk/by-id/scsi-360000000000000000e00000000010001]
      by_path: ["/dev/disk/by-path/ip-192.168.56.101:3260-iscsi-iqn.2026-11.org.example:disk1-lun-1"]
      device: /dev/sda
      lun: 1
      map: null
      paths: [/dev/sda]
      size: 1073741824
      target: "iqn.2026-11.org.example:disk1"
      wwid: "360000000000000000e00000000010001"
  contains:
    target:
      description: Name of the target.
      type: str
      returned: always
    lun:
      description: Number of the LUN.
      type: int
      returned: always
    wwid:
      description: The WWID as C(scsi_id) and C(multipath) write it.
      type: str
      returned: always
    size:
      description: Size in bytes.
      type: int
      returned: always
    device:
      description: The block device of the first path.
      type: str
      returned: always
    by_id:
      description: Names in C(/dev/disk/by-id).
      type: list
      elements: str
      returned: always
    by_path:
      description: Names in C(/dev/disk/by-path).
      type: list
      elements: str
      returned: always
    map:
      description: The multipath map.
      type: str
      returned: always
    paths:
      description: The block devices of all paths.
      type: list
      elements: str
      returned: always
steps:
  description: What was done, or would be in check mode, in order.
  returned: success
  type: list
  elements: str
  sample: ["add LUN 1 of session 3 of iqn.2026-11.org.example:array at 192.168.56.101:3260,1", resize /dev/sdb, resize map mpatha]
problems:
  description: Sessions that could not be asked, LUNs that are gone, disks that became smaller.
  returned: success
  type: list
  elements: dict
  sample:
    - object: "LUN 2 of session 3 of iqn.2026-11.org.example:array at 192.168.56.101:3260,1 (/dev/sdd)"
      remedy: Unmount what is on it and log out, or let the target have it again
      what: is not there any more, says the target
  contains:
    object:
      description: What is wrong.
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

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import converge
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, IscsiError
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.daemon import Daemon
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.rescan import RescanTask


def resize_map(device: str) -> None:
    """Ask multipathd to take the size of a map (``dm-0``) from its paths. multipathd is only needed where a map has grown."""
    try:
        Daemon().ask(f"resize map {device}")
    except IscsiError as error:
        raise HostError(f"map {device}", f"did not grow: {error.sentence()}", f"Its paths have grown; multipathd resize map {device} does the rest")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["rescanned"], "default": "rescanned"},
            "targets": {"type": "list", "elements": "str", "default": []},
            "sids": {"type": "list", "elements": "int", "default": []},
            "timeout": {"type": "float", "default": 30},
        },
        supports_check_mode=True,
    )
    converge(module, lambda params: RescanTask(params, check_mode=module.check_mode, resize=resize_map), module.params)


if __name__ == "__main__":
    main()
