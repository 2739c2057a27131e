# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: iscsi_session
short_description: Bring the disks of iSCSI sessions up to what the targets have, set them, or log out
version_added: 0.1.0
description:
  - Adds LUNs that are new on a target, and lets disks and multipath maps grow whose LUNs have grown.
  - The targets are asked first (C(REPORT LUNS), C(READ CAPACITY)). Only what differs is scanned, single LUNs and single disks, so a second run
    changes nothing, and check mode says exactly what would be done.
  - Disks whose LUN the target does not have any more are removed with O(prune=true), and those that are another disk now are made known as
    what they are, but never one that is in use. Without it they are reported in RV(problems), as are disks that became smaller.
  - Sets what the kernel has for each disk, its timeout, retries and queue depth, now and for every time a disk appears (O(disk_settings)).
  - Logs out of sessions by their id, or by target (O(state=logged_out)).
  - A run that has nothing to do starts no process. C(udevadm settle) is started where LUNs are added, C(udevadm control --reload) where the rules of udev
    change, C(multipath) and C(multipathd) where disks of a map are removed, C(iscsiadm) where sessions are logged out.
author:
  - The lunar.iscsi contributors (@lunar-iscsi)
extends_documentation_fragment:
  - lunar.iscsi.attributes
  - lunar.iscsi.attributes.full
attributes:
  check_mode:
    details:
      - A session whose target had no LUN at all when it was made, or has none of those it had, can only be scanned. Check mode reports a problem and
        predicts no new LUN for it.
requirements:
  - C(iscsiadm) and C(iscsid) (package C(open-iscsi) or C(iscsi-initiator-utils)) for O(state=logged_out)
options:
  state:
    description:
      - V(rescanned) to have the LUNs and sizes that the targets report.
      - V(present) leaves LUNs and sizes as they are and asks no target, for O(disk_settings) alone.
      - V(logged_out), no session. Its record stays, and is what logs it in again at boot if C(node.startup) says so (M(lunar.iscsi.iscsi_node)).
        It refuses while a disk of the session is in use and says by what, unless O(force=true). O(targets) or O(sids) have to be given.
    type: str
    choices: [rescanned, present, logged_out]
    default: rescanned
  targets:
    description: Only sessions with targets that match one of these globs. Upper and lower case differ. Without it, all sessions.
    type: list
    elements: str
    default: []
  sids:
    description:
      - Only sessions with one of these session ids. A session that is not there any more is no error.
      - Take them from M(lunar.iscsi.iscsi_session_info) in the same play. At the next login the session has another id, and after a boot the same id is
        another session's.
    type: list
    elements: int
    default: []
  prune:
    description:
      - Remove disks whose LUN the target does not report any more. A LUN number that is another disk now, told by its WWID, is removed and added again.
      - A disk that is mounted, swap, held by LVM, md, crypt or anything else, or opened by a process is kept, and RV(problems) names who uses it.
        A path of a multipath map may go while another running path is left; the map goes with its last path, if nothing uses it.
      - The disk is taken offline first, so nothing is written to whatever is behind that number now.
    type: bool
    default: false
  disk_settings:
    description:
      - What the kernel shall have for each disk of these sessions. Settings that are not named stay as they are.
      - It is set now, and kept by a rule for udev in C(/etc/udev/rules.d/99-lunar-iscsi-disks.rules), which sets it whenever a disk of one of O(targets)
        appears, of all iSCSI targets where O(targets) is empty. Tasks with other O(targets) have rules of their own; see O(persistent) for how one goes.
    type: dict
    suboptions:
      timeout:
        description:
          - Seconds that the disk may take for one command until the kernel aborts it (section 8.1.4 of the open-iscsi README). The kernel has 30, a
            distribution may have set 60.
        type: int
      max_retries:
        description:
          - How often the kernel tries a command again, at most V(5), which is what it has by itself; V(-1) for without end (section 8.1.2).
          - Needs Linux 5.10 or newer.
        type: int
      queue_depth:
        description:
          - How many commands the disk may have at once. More than the session takes (C(node.session.cmds_max), less some that it needs itself) are refused.
          - C(node.session.queue_depth) in the record is what a disk has at login before this is set. The kernel has less for a while when the target says that
            its queue is full, and a run at that time sets it again.
        type: int
  persistent:
    description:
      - With V(false), O(disk_settings) are set now alone, and a rule that an earlier task with the same O(targets) wrote is removed.
      - O(sids) cannot be kept, since they are given anew at every login.
    type: bool
    default: true
  force:
    description:
      - Log out although disks are in use (O(state=logged_out)). Whoever uses them gets I/O errors. O(prune) never takes a disk that is in use.
      - Sessions that the running system itself stands on are not logged out by that either.
    type: bool
    default: false
  timeout:
    description:
      - How long to wait for the answer to each question, for new disks, for disks to be gone and for logging out, in seconds.
    type: float
    default: 30
notes:
  - Run it as root. The targets are asked through the disks themselves.
  - Sessions that are not logged in are reported in RV(problems). They are not asked, since an answer would wait for the session to come back.
  - A file system does not grow with its disk. C(resize2fs), C(xfs_growfs) and their like let it.
  - What C(iscsiadm -m node --loginall) and C(--logoutall) do is in M(lunar.iscsi.iscsi_node) (O(lunar.iscsi.iscsi_node#module:recorded)), since it goes
    by what the records say.
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

- name: The same, and let go of LUNs that the array took away
  lunar.iscsi.iscsi_session:
    targets: ["iqn.2003-01.org.linux-iscsi.*"]
    prune: true

- name: Patience for a slow array, now and after every boot, whatever LUNs it has
  lunar.iscsi.iscsi_session:
    state: present
    targets: ["iqn.2026-11.org.example:slow*"]
    disk_settings:
      timeout: 180
      max_retries: 5
      queue_depth: 16

- name: Back to what the kernel has by itself, without a rule
  lunar.iscsi.iscsi_session:
    state: present
    targets: ["iqn.2026-11.org.example:slow*"]
    disk_settings: {timeout: 30, max_retries: 5, queue_depth: 32}
    persistent: false

- name: Which sessions have lost their connection?
  lunar.iscsi.iscsi_session_info:
  register: iscsi

- name: Log out of exactly these
  lunar.iscsi.iscsi_session:
    sids: "{{ iscsi.sessions | rejectattr('state', 'eq', 'LOGGED_IN') | map(attribute='sid') | list }}"
    state: logged_out
  when: iscsi.sessions | rejectattr('state', 'eq', 'LOGGED_IN') | list | length > 0

- name: Show what is there
  ansible.builtin.debug:
    msg: "{{ item.wwid }} {{ item.map or item.device }} {{ item.size | human_readable }}"
  loop: "{{ array.disks }}"
"""

RETURN = r"""
disks:
  description: The disks behind these sessions, none where they are logged out. Several paths to one disk are one entry.
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
  sample:
    - write rules /etc/udev/rules.d/99-lunar-iscsi-disks.rules
    - "remove LUN 2 of session 3 of iqn.2026-11.org.example:array at 192.168.56.101:3260,1 (/dev/sdd)"
    - "add LUN 1 of session 3 of iqn.2026-11.org.example:array at 192.168.56.101:3260,1"
    - resize /dev/sdb
    - resize map mpatha
    - set queue_depth, timeout of /dev/sdb
problems:
  description: Sessions that could not be asked, LUNs that are gone or another disk now and are still here, disks that became smaller, rules that disagree.
  returned: success
  type: list
  elements: dict
  sample:
    - object: "LUN 2 of session 3 of iqn.2026-11.org.example:array at 192.168.56.101:3260,1 (/dev/sdd)"
      remedy: Unmount or stop what uses it and run this again; let the target have it again
      what: "is not there any more, says the target. It is kept, for it is in use: /dev/sdd mounted on /srv/data"
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

import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import Task, converge
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, IscsiError
from ansible_collections.lunar.iscsi.plugins.module_utils._module import CheckedModule
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.daemon import Daemon
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.logout import LogoutTask
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.rescan import RescanTask


def resize_map(device: str) -> None:
    """Ask multipathd to take the size of a map (``dm-0``) from its paths. multipathd is only needed where a map has grown."""
    try:
        Daemon().ask(f"resize map {device}")
    except IscsiError as error:
        raise HostError(f"map {device}", f"did not grow: {error.sentence()}", f"Its paths have grown; multipathd resize map {device} does the rest")


def main() -> None:
    module = CheckedModule(
        argument_spec={
            "state": {"type": "str", "choices": ["rescanned", "present", "logged_out"], "default": "rescanned"},
            "targets": {"type": "list", "elements": "str", "default": []},
            "sids": {"type": "list", "elements": "int", "default": []},
            "prune": {"type": "bool", "default": False},
            "disk_settings": {"type": "dict", "options": {"timeout": {"type": "int"}, "max_retries": {"type": "int"}, "queue_depth": {"type": "int"}}},
            "persistent": {"type": "bool", "default": True},
            "force": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 30},
        },
        supports_check_mode=True,
    )

    def make(params: t.Mapping[str, t.Any]) -> Task[t.Any]:
        return LogoutTask(params) if params["state"] == "logged_out" else RescanTask(params, check_mode=module.check_mode, resize=resize_map)

    converge(module, make, module.params)


if __name__ == "__main__":
    main()
