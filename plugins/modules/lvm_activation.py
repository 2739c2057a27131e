# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module lvm_activation; the work is in module_utils/_lvm/activation.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lvm_activation
short_description: Activate and deactivate LVM volumes on attached disks
version_added: 0.1.0
author:
  - The lunar.iscsi contributors (@lunar-iscsi)
description:
  - Makes volume groups, or single logical volumes, active or inactive on this host. It makes, changes and removes none; what is on disks stays as it is.
  - Before it activates, it waits for disks and multipath maps that are on their way, lists disks that are new in LVM's devices file, where that is used,
    and has LVM look at all disks anew (C(pvscan --cache)).
  - A group is refused, in words and with nothing changed, when it is partial, exported, of another host (system ID) or of C(lvmlockd) that does not run,
    when its name is there twice, when a disk of it is used over one path of several, is there as a copy too, or is another LUN than this host knows it as.
  - Before it deactivates, it looks who uses any of the volumes, and what stands on them. Where somebody does, nothing is deactivated, and the task says
    which volume it is and where it is mounted, or who holds it.
  - C(lvm fullreport) is called once. Where all is as it should be, that is all. More is asked only where something is to be done, is not there or not ready.
extends_documentation_fragment:
  - lunar.iscsi.attributes
attributes:
  check_mode:
    support: full
    details: The plan of check mode is the plan that is carried out otherwise; it is made by the same code. Nothing is waited for, and nothing is scanned.
  diff_mode:
    support: full
  idempotent:
    support: full
  platform:
    platforms: linux
requirements:
  - C(lvm) of lvm2 2.03 or newer
options:
  volumes:
    description:
      - The groups and volumes that are meant, as V(GROUP), V(GROUP/VOLUME), or the path of a volume in V(/dev).
      - The UUID of a group does instead of its name. Where a name is there twice, it is the only way to say which is meant.
      - Of a group that is to be active, those volumes are meant that C(vgchange -ay) activates. One that is marked to be left out of that (C(-k y), as
        snapshots of thin volumes are) is activated when it is named.
      - Without any, nothing is changed, and RV(groups) says what there is.
    type: list
    elements: str
    default: []
  state:
    description:
      - V(active) activates on this host.
      - V(inactive) deactivates on this host. A group that no disk carries (any more) is inactive, which RV(problems) tells. Where volumes of it were left
        in the kernel, the task fails and names them.
    type: str
    choices: [active, inactive]
    default: active
  devices:
    description:
      - The disks on which the groups are, such as C(device) of the disks that M(lunar.iscsi.iscsi_node) returns. Each has to belong to one of the groups that
        O(volumes) names; what is wrong with one is said of it, such as that it has no label of LVM.
      - A path of a multipath map stands for the map. Only with O(state=active).
    type: list
    elements: path
    default: []
  elsewhere:
    description:
      - What other hosts have active; a mapping of their names to what this module returned there as RV(groups). This host is not to be in it. Where
        a task on host2 registered its result as C(lvm), C(hostvars.host2.lvm.groups) is what host2 has active.
      - A group that is active on one of them and that nothing locks is refused (see O(shared)). Where it is active here already, that is told
        in RV(problems).
    type: dict
  shared:
    description:
      - Activate though O(elsewhere) says that another host has the group active. That is safe only as long as each volume is used by one host at a time, or
        by a file system made for several, and as long as the group itself is changed (volumes made, resized, removed) on one host at a time.
      - A group of C(lvmlockd) is activated in shared mode (C(-asy)) then, and for this host alone (C(-aey)) otherwise.
    type: bool
    default: false
  devices_file:
    description:
      - List the disks of the groups in LVM's devices file (C(/etc/lvm/devices/system.devices)), where it is used and they are not in it; LVM passes over
        them otherwise.
      - With V(false), such a group is refused.
    type: bool
    default: true
  rescan:
    description: Have LVM look at all disks anew (C(pvscan --cache)) also where nothing is to be activated. That does not count as a change.
    type: bool
    default: false
  timeout:
    description:
      - How long to wait for groups, disks and multipath maps that are to be active and are not there yet, in seconds, and how long one command of LVM may take.
      - Where something is wrong with one of O(devices) that waiting does not mend, such as that it has no label of LVM, nothing is waited for.
    type: float
    default: 60
notes:
  - Most distributions activate each group that is complete as soon as its disks are there, on every host that sees them. For a group that several hosts see,
    turn that off (C(vgchange --setautoactivation n), or C(auto_activation_volume_list) in C(lvm.conf)).
  - Two hosts that look at the same time both find the group inactive elsewhere. Look and activate on one host after the other, or use C(lvmlockd).
seealso:
  - module: lunar.iscsi.iscsi_node
  - module: lunar.iscsi.multipath_info
  - name: lvmsystemid(7)
    description: Groups that belong to one host.
    link: https://manpages.debian.org/lvmsystemid.7
  - name: lvmlockd(8)
    description: Groups that several hosts use.
    link: https://manpages.debian.org/lvmlockd.8
"""

EXAMPLES = r"""
- name: Log in
  lunar.iscsi.iscsi_node:
    nodes:
      - {target: "iqn.2003-01.org.linux-iscsi.rheln1", portals: [192.168.56.101, 192.168.57.101]}
    state: logged_in
  register: attached

- name: Activate the group that is on these disks
  lunar.iscsi.lvm_activation:
    volumes: [xenGuests]
    devices: "{{ attached.disks | map(attribute='device') | list }}"

- name: One volume, and a whole group
  lunar.iscsi.lvm_activation:
    volumes: [data/www, backup]

- name: Deactivate before log-out; a volume that is mounted stops this, and nothing is deactivated then
  lunar.iscsi.lvm_activation:
    volumes: [xenGuests]
    state: inactive

- name: What groups are there, and what is active?
  lunar.iscsi.lvm_activation:
    rescan: true
  register: lvm

- name: Activate here, if the other host does not have the group active (after the task above on both)
  lunar.iscsi.lvm_activation:
    volumes: [xenGuests]
    elsewhere: "{{ {'host2': hostvars['host2'].lvm.groups} }}"
"""

RETURN = r"""
groups:
  description: All volume groups that this host sees, those of other hosts and those that were exported included.
  returned: success
  type: list
  elements: dict
  contains:
    name: {description: The name., type: str, returned: always, sample: xenGuests}
    uuid: {description: The UUID., type: str, returned: always, sample: sBfxKJ-s0I6-K0ER-u1jV-apJd-cJbf-L2gf7K}
    size: {description: The size in bytes., type: int, returned: always, sample: 1069547520}
    free: {description: 'What no volume takes up, in bytes.', type: int, returned: always, sample: 532676608}
    exported: {description: Whether it was exported to be taken to another host., type: bool, returned: always}
    system_id: {description: The system ID of the host that it belongs to; empty for none., type: str, returned: always}
    lock_type: {description: 'How C(lvmlockd) locks it, such as V(sanlock); empty where it does not.', type: str, returned: always}
    partial: {description: 'Whether a disk of it is missing, or was when it was changed last.', type: bool, returned: always}
    disks:
      description: 'Its physical volumes, each with V(uuid), V(device) (empty where it is not there), V(size) in bytes, and V(missing).'
      type: list
      elements: dict
      returned: always
    volumes: {description: The names of its volumes without internal ones., type: list, elements: str, returned: always, sample: [noc1, noc2]}
    active: {description: Those that are active on this host., type: list, elements: str, returned: always, sample: [noc1]}
    open: {description: Those that are open on this host., type: list, elements: str, returned: always, sample: [noc1]}
volumes:
  description: The volumes that O(volumes) means, as they are at the end (in check mode, as they are).
  returned: success
  type: list
  elements: dict
  contains:
    name: {description: Group and volume., type: str, returned: always, sample: xenGuests/noc1}
    group: {description: The name of the group., type: str, returned: always, sample: xenGuests}
    uuid: {description: The UUID of the volume., type: str, returned: always, sample: ncdGeF-75n9-9DWM-pzqF-lL8d-7OC5-xgqD7C}
    device: {description: Its device file while it is active., type: str, returned: always, sample: /dev/xenGuests/noc1}
    mapper: {description: 'Its device file in C(/dev/mapper).', type: str, returned: always, sample: /dev/mapper/xenGuests-noc1}
    kernel_device: {description: The device of the kernel; empty where it is inactive., type: str, returned: always, sample: /dev/dm-3}
    size: {description: The size in bytes., type: int, returned: always, sample: 536870912}
    active: {description: Whether it is active on this host., type: bool, returned: always}
    open: {description: Whether somebody has it open., type: bool, returned: always}
    users: {description: 'Who uses it, in words.', type: list, elements: str, returned: always, sample: [/dev/mapper/xenGuests-noc1 mounted on /srv/noc1]}
steps:
  description: What was done (or would be, in check mode), in words.
  returned: always
  type: list
  elements: str
  sample: [activate xenGuests/noc1, activate xenGuests/noc2]
problems:
  description:
    - What is wrong around the volumes and was not for this task to change; that a group is not there, is active elsewhere, or is active over one path of
      several; that a volume was resized on another host or is suspended. Each with the object, what is wrong and a remedy.
  returned: always
  type: list
  elements: dict
  sample:
    - object: logical volume xenGuests/noc1
      what: "has 536870912 bytes in this kernel and 1073741824 in the group: it was resized since it was activated here, on another host"
      remedy: lvchange --refresh xenGuests/noc1
"""

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import converge
from ansible_collections.lunar.iscsi.plugins.module_utils._lvm.activation import ActivationTask
from ansible_collections.lunar.iscsi.plugins.module_utils._module import CheckedModule


def main() -> None:
    """Read LVM's report, look who uses what, activate or deactivate, read again."""
    module = CheckedModule(
        argument_spec={
            "volumes": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["active", "inactive"], "default": "active"},
            "devices": {"type": "list", "elements": "path", "default": []},
            "elsewhere": {"type": "dict"},
            "shared": {"type": "bool", "default": False},
            "devices_file": {"type": "bool", "default": True},
            "rescan": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 60},
        },
        supports_check_mode=True,
    )
    converge(module, lambda params: ActivationTask(params, check_mode=module.check_mode), module.params)


if __name__ == "__main__":
    main()
