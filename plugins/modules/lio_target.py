# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module lio_target; the work is in module_utils/_targets."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lio_target
short_description: Declare a whole iSCSI target of the Linux kernel (LIO)
version_added: 0.1.0
author:
  - The lunar.iscsi contributors (@lunar-iscsi)
description:
  - Takes one target with its backstores, ALUA groups, portal groups, portals, LUNs and ACLs, and brings the kernel there in one plan,
    in an order that the kernel accepts. A portal group is opened last.
  - Reads and writes configfs itself, without C(targetcli) and C(rtslib-fb), and saves the target for the next boot in the file that these tools restore.
    The folder where the kernel keeps persistent reservations, which some distributions forget, is made with it.
    Whatever else is configured stays as it is, in the kernel and in the file.
  - Nothing that a session uses is taken away or made anew, unless O(force=true). The sessions are named.
  - Files and devices behind backstores are never removed and never made smaller.
extends_documentation_fragment:
  - lunar.iscsi.attributes
  - lunar.iscsi.attributes.full
requirements:
  - A kernel with the modules C(target_core_mod) and C(iscsi_target_mod). The module loads them.
  - C(targetctl) and its service (package C(targetcli), C(targetcli-fb) or C(python3-rtslib-fb)), so that the target returns at boot.
options:
  name:
    description: The iSCSI name of the target, in lower case.
    type: str
    required: true
  backstores:
    description:
      - What LUNs are made of. Backstores that exist and are not named stay as they are, and LUNs may be made of them.
      - With O(state=absent), those that are removed with the target. Then O(backstores[].name) and O(backstores[].type) are enough.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the backstore, unique within its type.
        type: str
        required: true
      type:
        description:
          - V(fileio) for a file, V(block) for a block device, V(ramdisk) for memory that is lost with the backstore,
            V(user:HANDLER) for a handler of C(tcmu-runner), such as V(user:rbd).
        type: str
        default: fileio
      path:
        description: Absolute path of the file or the block device.
        type: str
      size:
        description:
          - Size as V(1GiB), V(500MB) or in bytes, cut to whole sectors of 512 bytes. Needed for V(ramdisk), V(user:HANDLER), and for a file that is missing.
          - A larger size lets the file and the backstore grow under its sessions. The kernel tells nobody, so initiators see it after a rescan.
            A smaller one is refused, forced or not.
        type: str
      create:
        description: Make a file that is missing, without taking up its space.
        type: bool
        default: true
      write_back:
        description: Let the host's memory be the write cache of a file (C(fd_buffered_io)). Without it, every write is on the disk before it is answered.
        type: bool
      readonly:
        description: Export a block device for reading only.
        type: bool
      nullio:
        description: A ramdisk that throws away what is written, for measurements.
        type: bool
      config:
        description: What the handler of V(user:HANDLER) is told, such as C(pool/image) for V(user:rbd) or C(/srv/image) for V(user:qcow).
        type: str
      wwn:
        description:
          - The unit serial, or the WWID as an initiator shows it (RV(luns[].wwid)).
          - The WWID is made of the first 25 hexadecimal digits of the serial. Two gateways that export the same image must give it
            the same O(backstores[].wwn), so that initiators see one disk. Two images must never share one. Within one host that is refused.
          - Without it, a backstore keeps the serial that it has or that is saved for it, and a new one gets a serial of its own.
        type: str
      attributes:
        description:
          - Any attribute of the backstore, by its name in configfs, such as C(emulate_tpu). Those that are not named stay.
          - C(emulate_write_cache) is refused. For a file there is O(backstores[].write_back), a block device has its own.
        type: dict
      alua_groups:
        description:
          - ALUA groups (target port groups). LUNs are put into them with O(portal_groups[].luns[].alua_group).
          - The kernel's own group C(default_tg_pt_gp) can be named too, without an id.
        type: list
        elements: dict
        suboptions:
          name:
            description: Name of the group.
            type: str
            required: true
          id:
            description:
              - Number of the group, 1 to 65535. The kernel sets it once, so another id takes a new group.
              - Two gateways that serve the same LUN must use different ids for their groups.
            type: int
          state:
            description: How well the LUN can be accessed through the portal groups in this group.
            type: str
            choices: [active_optimized, active_nonoptimized, standby, unavailable]
          access_type:
            description:
              - Who may change the state. V(implicit), only the target. V(explicit), only initiators. V(both), or V(none).
              - A new group is V(implicit) unless said otherwise. With V(explicit) and V(both), an initiator may set the states itself,
                as multipath on Linux does, and the priorities are not those declared any more.
            type: str
            choices: [none, implicit, explicit, both]
          preferred:
            description: Set the preferred bit.
            type: bool
          nonop_delay_msecs:
            description: Delay of commands through a group that is V(active_nonoptimized), in milliseconds. The kernel's default is 100.
            type: int
          trans_delay_msecs:
            description: Delay of a change of the state, in milliseconds, for tests of initiators.
            type: int
          implicit_trans_secs:
            description: How long initiators should wait for a change of the state, in seconds.
            type: int
          supported_states:
            description: The states that are reported as supported. Without it, all of them.
            type: list
            elements: str
            choices: [active_optimized, active_nonoptimized, standby, unavailable, offline, transitioning]
  portal_groups:
    description: The portal groups of the target.
    type: list
    elements: dict
    suboptions:
      tag:
        description: The portal group tag.
        type: int
        required: true
      portals:
        description: Addresses of this host to listen on, as C(address), C(address:port) or C([IPv6]:port). Without a port, 3260.
        type: list
        elements: str
      iser:
        description: Whether the portals of this group speak iSER.
        type: bool
      enabled:
        description: Whether initiators may log in. It is set last.
        type: bool
        default: true
      luns:
        description: The LUNs of the portal group.
        type: list
        elements: dict
        suboptions:
          lun:
            description: The number.
            type: int
            required: true
          backstore:
            description: Name of a backstore, as C(name), or as C(type/name) where two types have one of that name.
            type: str
            required: true
          alua_group:
            description: The ALUA group of the backstore that this LUN is in. A LUN that is not told stays where it is, new ones are in C(default_tg_pt_gp).
            type: str
      auth:
        description:
          - Names and secrets for initiators that have no ACL (attribute C(generate_node_acls)). ACLs have their own, O(acls[].auth).
        type: dict
        suboptions: &auth
          method:
            description: V(CHAP) to ask for the names and secrets below, V(None) to ask for nothing and take away what is set.
            type: str
            choices: [CHAP, None]
            default: CHAP
          username:
            description: Name that the initiator shows. Required for CHAP.
            type: str
          password:
            description: Secret of the initiator. Required for CHAP. Use at least 12 bytes.
            type: str
          username_in:
            description: Name that the target shows. Together with the secret it makes CHAP mutual.
            type: str
          password_in:
            description: Secret of the target. It must differ from that of the initiator.
            type: str
          algorithms:
            description: Is refused. LIO takes the first algorithm of the initiator's list that it knows.
            type: list
            elements: str
            choices: [SHA3-256, SHA256, SHA1, MD5]
      attributes:
        description:
          - Any attribute of the portal group, by its name in configfs. Those that are not named stay.
          - C(authentication) is set as O(acls[].auth) and O(portal_groups[].auth) need it. It is V(1) as soon as one of them has a secret.
        type: dict
      parameters:
        description: Any iSCSI parameter of the portal group, by its name, such as C(MaxBurstLength). Those that are not named stay.
        type: dict
  acls:
    description: Which initiators may log in. Nobody else can, unless the attribute C(generate_node_acls) says so.
    type: list
    elements: dict
    suboptions:
      initiator:
        description: The name of the initiator.
        type: str
        required: true
      tags:
        description: The portal groups in which this is so. Without it, all portal groups of the target.
        type: list
        elements: int
      auth:
        description: Names and secrets of this initiator. Without it, nothing is said about them and what is set stays.
        type: dict
        suboptions: *auth
      luns:
        description: The LUNs that this initiator sees. Without it, all LUNs of the portal group.
        type: list
        elements: dict
        suboptions:
          lun:
            description: The number in the portal group.
            type: int
            required: true
          mapped_lun:
            description: The number that the initiator sees. Without it, the same.
            type: int
          write_protect:
            description: Whether the initiator may only read. New mappings may write, unless this is V(true).
            type: bool
      attributes:
        description: Any attribute of the ACL, by its name in configfs, such as C(nopin_timeout).
        type: dict
  discovery_auth:
    description: Names and secrets for discovery. They are those of the host, for all its targets. Without it, nothing is said about them.
    type: dict
    suboptions: *auth
  state:
    description: With V(absent), the target is removed, and the O(backstores) that are named. O(discovery_auth) is set all the same.
    type: str
    choices: [present, absent]
    default: present
  purge:
    description:
      - Remove what this target has and the task does not name. Portal groups, portals, LUNs, ACLs, mapped LUNs of an ACL with O(acls[].luns),
        ALUA groups of the named backstores, and backstores of removed LUNs that nothing else uses.
      - With V(false), all that stays.
    type: bool
    default: false
  force:
    description:
      - Take away and make anew what sessions use. Their initiators lose it, or are logged out.
      - Allow a ramdisk to be made anew, and what is on it to be lost.
    type: bool
    default: false
  save:
    description: Save the target and its backstores for the next boot.
    type: bool
    default: true
  save_file:
    description:
      - The file to save in. Without it, C(/etc/rtslib-fb-target/saveconfig.json) where Debian's C(rtslib-fb-targetctl.service) is installed,
        and C(/etc/target/saveconfig.json) elsewhere.
    type: path
seealso:
  - module: lunar.iscsi.iscsi_node
notes:
  - Parameters and authentication are agreed at login. Sessions that are there keep theirs.
  - rtslib-fb restores neither settings of C(default_tg_pt_gp) nor a C(company_id) other than the kernel's default. The module saves both among
    the attributes of the backstore, by the way to their files (C(../alua/default_tg_pt_gp/...)), which C(targetctl restore) follows.
    C(targetcli saveconfig) drops them again. The next run of the task saves them anew.
  - What is on a ramdisk is lost at boot, the ramdisk comes back empty.
"""

EXAMPLES = r"""
- name: A target with two portal groups, one preferred
  lunar.iscsi.lio_target:
    name: iqn.2003-01.org.linux-iscsi.rheln1
    backstores:
      - name: d0
        type: fileio
        path: /srv/d0
        size: 1GiB
        alua_groups:
          - {name: ao, id: 1, state: active_optimized}
          - {name: ano, id: 2, state: active_nonoptimized}
    portal_groups:
      - {tag: 1, portals: [192.168.56.101], luns: [{lun: 0, backstore: d0, alua_group: ao}]}
      - {tag: 2, portals: [192.168.57.101], luns: [{lun: 0, backstore: d0, alua_group: ano}]}
    acls:
      - initiator: iqn.2026-11.org.example:host1
        auth: {method: CHAP, username: host1, password: "{{ vault_chap }}"}
  register: target

- name: The second gateway to the same image
  lunar.iscsi.lio_target:
    name: iqn.2003-01.org.linux-iscsi.rheln2
    backstores:
      - name: d0
        type: user:rbd
        config: rbd/d0
        size: 1GiB
        wwn: 9ca31751-6a69-465c-883a-29603abcdef0
        alua_groups: [{name: ano, id: 12, state: active_nonoptimized}]
    portal_groups:
      - {tag: 1, portals: ["[fd00:57::101]:3260"], luns: [{lun: 0, backstore: d0, alua_group: ano}]}
    acls:
      - {initiator: "iqn.2026-11.org.example:host1"}

- name: Two LUNs, of which a backup host may read one
  lunar.iscsi.lio_target:
    name: iqn.2003-01.org.linux-iscsi.rheln1
    backstores:
      - {name: data, type: block, path: /dev/vg0/data}
      - {name: log, type: block, path: /dev/vg0/log}
    portal_groups:
      - {tag: 1, portals: [192.168.56.101], luns: [{lun: 0, backstore: data}, {lun: 1, backstore: log}]}
    acls:
      - {initiator: "iqn.2026-11.org.example:host1"}
      - {initiator: "iqn.2026-11.org.example:backup", luns: [{lun: 0, write_protect: true}]}
    purge: true

- name: Take the target away, and the backstore with it; the file stays
  lunar.iscsi.lio_target:
    name: iqn.2003-01.org.linux-iscsi.rheln1
    backstores: [{name: d0, type: fileio}]
    state: absent
"""

RETURN = r"""
luns:
  description: The LUNs of the target as initiators see them.
  returned: when O(state=present)
  type: list
  elements: dict
  contains:
    tag:
      description: The portal group.
      type: int
      returned: always
    lun:
      description: The number.
      type: int
      returned: always
    backstore:
      description: Type and name of the backstore.
      type: str
      returned: always
    wwid:
      description: The WWID, as C(multipath) and RV(lunar.iscsi.iscsi_node#module:disks) have it.
      type: str
      returned: always
    serial:
      description: The unit serial, which O(backstores[].wwn) of another gateway may be given.
      type: str
      returned: always
    size:
      description: Bytes. 0 where neither the task nor the kernel tells the size of a device.
      type: int
      returned: always
    alua_group:
      description: The ALUA group.
      type: str
      returned: always
  sample:
    - tag: 1
      lun: 0
      backstore: fileio/d0
      wwid: 360014059ca317516a69465c883a29603
      serial: 9ca31751-6a69-465c-883a-29603abcdef0
      size: 1073741824
      alua_group: ao
steps:
  description: What was done (or would be, in check mode), in words.
  returned: always
  type: list
  elements: str
  sample:
    - create backstore fileio/d0
    - create target iqn.2003-01.org.linux-iscsi.rheln1
    - save target iqn.2003-01.org.linux-iscsi.rheln1 in /etc/target/saveconfig.json
problems:
  description: What is wrong around it. Each with the object, what is wrong and a remedy.
  returned: always
  type: list
  elements: dict
  sample:
    - object: /etc/target/saveconfig.json
      what: is restored at boot by no enabled service
      remedy: Install targetcli (targetcli-fb) and enable target.service (rtslib-fb-targetctl.service on Debian)
"""

import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._argspec import auth_option
from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import converge
from ansible_collections.lunar.iscsi.plugins.module_utils._module import CheckedModule
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_task import TargetTask


def _list(**options: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    return {"type": "list", "elements": "dict", "options": options}


def _spec() -> t.Dict[str, t.Any]:
    required, text, number, flag, table = ({"type": "str", "required": True}, {"type": "str"}, {"type": "int"}, {"type": "bool"}, {"type": "dict"})
    auth = auth_option()["auth"]
    states = ["active_optimized", "active_nonoptimized", "standby", "unavailable"]
    lun = {"type": "int", "required": True}
    return {
        "name": required,
        "backstores": _list(
            name=required, type={"type": "str", "default": "fileio"}, path=text, size=text, create={"type": "bool", "default": True}, write_back=flag,
            readonly=flag, nullio=flag, config=text, wwn=text, attributes=table,
            alua_groups=_list(
                name=required, id=number, state={"type": "str", "choices": states}, preferred=flag, nonop_delay_msecs=number, trans_delay_msecs=number,
                access_type={"type": "str", "choices": ["none", "implicit", "explicit", "both"]}, implicit_trans_secs=number,
                supported_states={"type": "list", "elements": "str", "choices": [*states, "offline", "transitioning"]},
            ),
        ),
        "portal_groups": _list(
            tag=lun, portals={"type": "list", "elements": "str"}, iser=flag, enabled={"type": "bool", "default": True}, auth=auth, attributes=table,
            parameters=table, luns=_list(lun=lun, backstore=required, alua_group=text),
        ),
        "acls": _list(
            initiator=required, tags={"type": "list", "elements": "int"}, auth=auth, attributes=table,
            luns=_list(lun=lun, mapped_lun=number, write_protect=flag),
        ),
        "discovery_auth": auth,
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "purge": {"type": "bool", "default": False},
        "force": {"type": "bool", "default": False},
        "save": {"type": "bool", "default": True},
        "save_file": {"type": "path"},
    }  # fmt: skip


def main() -> None:
    """Read, plan, apply, save, read again."""
    module = CheckedModule(argument_spec=_spec(), supports_check_mode=True)
    converge(module, TargetTask, module.params)


if __name__ == "__main__":
    main()
