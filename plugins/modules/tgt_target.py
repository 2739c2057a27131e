# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module tgt_target; the work is in module_utils/_targets."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tgt_target
short_description: Declare iSCSI targets of the Linux target driver (tgt)
version_added: 0.1.0
author:
  - The lunar.iscsi contributors (@lunar-iscsi)
description:
  - Takes one target, or a list of them, with LUNs, accounts and who may log in, and brings C(tgtd) there in one plan.
    Nobody can log in to a new target before it is whole.
  - A target that differs is changed in place. Sessions and their I/O go on while a LUN is added, an address is allowed, a secret is rotated or a parameter
    changes.
    What takes something away from a session is refused, unless O(force=true). The sessions are named.
  - Speaks with C(tgtd) over its own socket, so no secret is ever an argument of a command, and a task without changes asks two questions,
    a third where there are sessions, and one for each target with O(parameters).
  - Saves each target in a file of its own, from which C(tgt-admin) brings it back at boot. Other files are left alone.
  - A task that breaks off is completed by the next one that names the target, as far as that does not say otherwise.
  - What is behind a LUN is looked at first. A target never ends up empty because a file or a mount is missing.
extends_documentation_fragment:
  - lunar.iscsi.attributes
  - lunar.iscsi.attributes.full
requirements:
  - C(tgtd), running (package C(tgt) or C(scsi-target-utils), 1.0.19 or newer)
  - C(tgt-admin), so that targets return at boot. It hands secrets to C(tgtadm) as arguments when it does so.
options:
  name:
    description: The iSCSI name of the target. One of O(name), O(targets) and O(portals) is required.
    type: str
  targets:
    description: Several targets in one go. Each has the options of a single one, which cannot be given beside it.
    type: list
    elements: dict
    suboptions:
      name:
        description: The iSCSI name of the target.
        type: str
        required: true
      driver: &driver
        description: The transport. It cannot change while the target is there. A new target is V(iscsi) unless said otherwise.
        type: str
        choices: [iscsi, iser]
      enabled: &enabled
        description:
          - With V(false), logins are refused. C(tgtd) would not answer sessions any more either, so this is refused while there are any, unless
            O(force=true), which ends them. Without it, a target is enabled.
        type: bool
      luns: &luns
        description:
          - The LUNs. Those that are not named stay, unless O(purge=true). Those that are saved and did not come back at boot are made again;
            where that cannot be, they are named in RV(problems) and stay saved.
        type: list
        elements: dict
        suboptions:
          lun:
            description: The number, 1 to 255. LUN 0 is the controller that C(tgtd) makes itself, and higher numbers it announces as others.
            type: int
            required: true
          backing_store:
            description:
              - Absolute path of the file or device, or what O(targets[].luns[].bs_type) calls one, such as C(volume@server:path) for V(glfs).
              - One image in two targets has to have one O(targets[].luns[].scsi_id) in both, unless both only read it.
              - A cd, tape or changer without it has no medium. It returns at boot with tgt 1.0.96 or newer.
            type: str
          type:
            description: What initiators see. A new LUN is V(disk) unless said otherwise.
            type: str
            choices: [disk, cd, tape, changer, osd, pt]
          bs_type:
            description:
              - How C(tgtd) gets at it, such as V(rdwr), V(aio), V(sg), V(ssc), V(glfs), V(rbd) or V(null).
              - Without it, V(rdwr) for a disk, V(mmc) for a cd, V(ssc) for a tape, V(smc) for a changer and V(sg) for V(pt).
                A cd, tape or changer takes no other.
            type: str
          bs_options:
            description: Options of the backing store, as C(key=value;key=value). More than one need O(save=false).
            type: str
          flags:
            description: How the file is opened.
            type: list
            elements: str
            choices: [sync, direct]
          block_size:
            description: Bytes of a block, a power of two.
            type: int
          write_cache:
            description:
              - Whether C(tgtd) may answer a write before it is on the disk. It does unless this is V(false).
              - Two gateways to one image must both say V(false).
            type: bool
          readonly:
            description: Refuse writes.
            type: bool
          removable:
            description: Whether the medium can be taken out.
            type: bool
          thin_provisioning:
            description: Tell initiators that blocks can be unmapped.
            type: bool
          vendor:
            description: The vendor that initiators see, 8 characters at most.
            type: str
          product:
            description: The product that initiators see, 16 characters at most.
            type: str
          revision:
            description: The revision that initiators see, 4 characters at most.
            type: str
          scsi_id:
            description:
              - The SCSI id, of which initiators make the WWID. 32 hexadecimal digits that begin with 6 are the WWID but for the C(3) in front.
              - Without it, a LUN keeps what it has, and a new one gets one that follows from the name of the target and the number of the LUN.
                It is the same on every host that serves a target of this name, and the same after every boot.
            type: str
          scsi_sn:
            description: The serial number. Without it, as O(targets[].luns[].scsi_id).
            type: str
          size:
            description:
              - Size of the file, as V(50GiB), V(500MB) or V(1048576B), cut to whole blocks. A file that is larger stays as it is.
              - C(tgtd) shows a new size only after the LUN was made anew, so what sessions use grows with O(force=true) alone.
                A file that was grown by hand is told in RV(problems) until then.
            type: str
          create:
            description: Make a file that is missing, but none among the devices below C(/dev). Needs O(targets[].luns[].size).
            type: bool
            default: false
          sparse:
            description: With V(false), a new file takes up its space at once.
            type: bool
            default: true
      allow: &allow
        description:
          - Who may log in. One match of either kind is enough. A new target without this lets nobody in.
          - What is given here is all. Without it, what is set stays.
        type: dict
        suboptions:
          addresses:
            description: Addresses and networks, as C(192.168.1.5), C(192.168.1.0/24), C(fd00::/64), or C(ALL) for everybody.
            type: list
            elements: str
          initiators:
            description: Names of initiators.
            type: list
            elements: str
      accounts: &accounts
        description:
          - CHAP accounts. With an incoming one, nobody logs in without it. What is given here is all; an empty dictionary takes them away.
            Without it, what is set stays, and what is saved and was lost comes back.
          - C(tgtd) has one secret for an account name, whatever targets use it.
          - C(tgtd) does not tell secrets. The one in the saved file is taken for the one that it has.
        type: dict
        suboptions:
          incoming:
            description: Accounts that initiators show.
            type: list
            elements: dict
            suboptions: &account
              username:
                description: The name.
                type: str
                required: true
              password:
                description: The secret. Use at least 12 characters.
                type: str
                required: true
          outgoing:
            description: The account that the target shows, which makes CHAP mutual.
            type: dict
            suboptions: *account
      parameters: &parameters
        description: iSCSI parameters for the logins to come, by name, such as C(MaxBurstLength). Those that are not named stay.
        type: dict
      nop_interval: &nop_interval
        description: Seconds between pings to initiators, for the driver V(iscsi). 0 is none. It does not return at boot.
        type: int
      nop_count: &nop_count
        description: Unanswered pings after which a connection is ended. It needs O(nop_interval), and means nothing where that is 0.
        type: int
  driver: *driver
  enabled: *enabled
  luns: *luns
  allow: *allow
  accounts: *accounts
  parameters: *parameters
  nop_interval: *nop_interval
  nop_count: *nop_count
  state:
    description: With V(absent), the targets are removed, and unless O(save=false), what saves them. Files behind LUNs stay.
    type: str
    choices: [present, absent]
    default: present
  purge:
    description: Remove LUNs that a target with O(luns) has and the task does not name.
    type: bool
    default: false
  force:
    description: Take away and make anew what sessions use. Their initiators lose it, or are logged out.
    type: bool
    default: false
  save:
    description:
      - Save the targets for the next boot. With V(false), what is saved stays as it is, and what C(tgtd) does not tell (secrets, C(vendor) and such)
        is noted in C(/run) until it ends.
    type: bool
    default: true
  save_folder:
    description:
      - The folder to save in, which C(/etc/tgt/targets.conf) has to include. Without it, C(/etc/tgt/conf.d).
      - With another O(control_port) than 0, nothing is saved unless this is given. What is started at boot reads it for port 0 alone.
    type: path
  portals:
    description:
      - Where C(tgtd) listens, as C(address), C(address:port) or C([IPv6]:port). What is given here is all, and it is for all targets of this C(tgtd).
        Without it, what is set stays, which is every address and port 3260 after installation.
      - Sessions through a portal that goes stay up. It is saved as an addition to the service of systemd, not with another O(control_port) than 0.
      - At boot, C(tgtd) waits for the network. It does without an address that is missing even then, until the task runs again.
    type: list
    elements: str
  control_port:
    description: Which C(tgtd) of the host (C(tgtd --control-port)).
    type: int
    default: 0
seealso:
  - module: lunar.iscsi.lio_target
  - module: lunar.iscsi.iscsi_node
notes:
  - Parameters and accounts are agreed at login. Sessions that are there keep theirs.
  - While accounts change, nobody may log in to the target for some milliseconds. Initiators try again for a session that they had; a first login at that
    moment fails.
  - Characters that C(tgtd), its files or the shell of C(tgt-admin) would make something else of are refused.
"""

EXAMPLES = r"""
- name: A file in a Gluster volume as a disk
  lunar.iscsi.tgt_target:
    name: iqn.2013-10.com.example:disk3
    luns: [{lun: 1, backing_store: /mnt/gluster/disk3, size: 50GiB, create: true}]
    allow: {addresses: [192.168.1.0/24]}

- name: The same without a mount, for two initiators that know a secret
  lunar.iscsi.tgt_target:
    name: iqn.2013-10.com.example:disk4
    luns: [{lun: 1, backing_store: "vol1@gluster1:disk4", bs_type: glfs, write_cache: false}]
    allow: {initiators: ["iqn.2026-11.org.example:host1", "iqn.2026-11.org.example:host2"]}
    accounts:
      incoming: [{username: hosts, password: "{{ vault_chap }}"}]

- name: Two targets at once, one of them for reading
  lunar.iscsi.tgt_target:
    targets:
      - name: iqn.2026-11.org.example:data
        luns: [{lun: 1, backing_store: /dev/vg0/data}, {lun: 2, backing_store: /dev/vg0/log}]
        allow: {addresses: [192.168.56.10, "fd00:56::10"]}
        parameters: {MaxBurstLength: 1048576}
      - name: iqn.2026-11.org.example:images
        luns: [{lun: 1, backing_store: /srv/debian.iso, type: cd, readonly: true}]
        allow: {addresses: [ALL]}
    purge: true

- name: Take a target away; the file stays
  lunar.iscsi.tgt_target:
    name: iqn.2013-10.com.example:disk3
    state: absent
"""

RETURN = r"""
targets:
  description: The targets as initiators see them.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The iSCSI name.
      type: str
      returned: always
    tid:
      description: The number that C(tgtd) knows it by until it is restarted.
      type: int
      returned: always
    luns:
      description:
        - The LUNs, each with RV(ignore:lun), RV(ignore:backing_store), RV(ignore:wwid), RV(ignore:scsi_id) and RV(ignore:serial).
        - A LUN of type V(pt) has no RV(ignore:wwid) here. Initiators see that of the device itself.
      type: list
      elements: dict
      returned: always
    sessions:
      description: Who is logged in, each with RV(ignore:sid), RV(ignore:initiator) and RV(ignore:addresses).
      type: list
      elements: dict
      returned: always
  sample:
    - name: iqn.2013-10.com.example:disk3
      tid: 1
      luns:
        - lun: 1
          backing_store: /mnt/gluster/disk3
          wwid: 36d4b1d1b4e5a6f0c3d2e1f0a9b8c7d6e
          scsi_id: 6d4b1d1b4e5a6f0c3d2e1f0a9b8c7d6e
          serial: d4b1d1b4e5a6f0c3
      sessions:
        - {sid: 1, initiator: "iqn.2026-11.org.example:host1", addresses: [192.168.1.10]}
steps:
  description: What was done (or would be, in check mode), in words.
  returned: always
  type: list
  elements: str
  sample: [create target iqn.2013-10.com.example:disk3]
problems:
  description: What is wrong around it. Each with the object, what is wrong and a remedy.
  returned: always
  type: list
  elements: dict
  sample: []
"""

import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import converge
from ansible_collections.lunar.iscsi.plugins.module_utils._module import CheckedModule
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_task import TgtTask


def _target() -> t.Dict[str, t.Any]:
    """What a target is told, in a list of targets or alone."""
    text, number, flag, words = {"type": "str"}, {"type": "int"}, {"type": "bool"}, {"type": "list", "elements": "str"}
    account = {"username": {"type": "str", "required": True}, "password": {"type": "str", "required": True, "no_log": True}}
    lun = {
        "lun": {"type": "int", "required": True}, "backing_store": text, "bs_type": text, "bs_options": text, "block_size": number,
        "type": {"type": "str", "choices": ["disk", "cd", "tape", "changer", "osd", "pt"]},
        "flags": {"type": "list", "elements": "str", "choices": ["sync", "direct"]}, "write_cache": flag, "readonly": flag, "removable": flag,
        "thin_provisioning": flag, "vendor": text, "product": text, "revision": text, "scsi_id": text, "scsi_sn": text, "size": text,
        "create": {"type": "bool", "default": False}, "sparse": {"type": "bool", "default": True},
    }  # fmt: skip
    return {
        "driver": {"type": "str", "choices": ["iscsi", "iser"]},
        "enabled": flag,
        "luns": {"type": "list", "elements": "dict", "options": lun},
        "allow": {"type": "dict", "options": {"addresses": words, "initiators": words}},
        "accounts": {"type": "dict", "options": {
            "incoming": {"type": "list", "elements": "dict", "options": account}, "outgoing": {"type": "dict", "options": account}}},
        "parameters": {"type": "dict"},
        "nop_interval": number,
        "nop_count": number,
    }  # fmt: skip


def main() -> None:
    """Ask, plan, apply, save, ask again."""
    single = _target()
    module = CheckedModule(
        argument_spec={
            "name": {"type": "str"},
            "targets": {"type": "list", "elements": "dict", "options": {"name": {"type": "str", "required": True}, **_target()}},
            **single,
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "purge": {"type": "bool", "default": False},
            "force": {"type": "bool", "default": False},
            "save": {"type": "bool", "default": True},
            "save_folder": {"type": "path"},
            "portals": {"type": "list", "elements": "str"},
            "control_port": {"type": "int", "default": 0},
        },
        required_one_of=[("name", "targets", "portals")],
        mutually_exclusive=[("targets", option) for option in ("name", *single)],
        supports_check_mode=True,
    )
    converge(module, TgtTask, module.params)


if __name__ == "__main__":
    main()
