# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module iscsi_node; the work is in module_utils/_open_iscsi/nodes.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: iscsi_node
short_description: Record, log in and log out iSCSI nodes
version_added: 0.1.0
author:
  - The lunar.iscsi contributors (@lunar-iscsi)
description:
  - Takes the iSCSI nodes of a host as a list and brings all of them to one state in one go, recorded, logged in, logged out or gone.
  - A node is known by target, portal, portal group tag and iface. The module logs in to exactly the portals asked for, all at once,
    and ends when the disks are there, with their sizes, WWIDs and stable names.
  - Before it asks C(iscsid) for a session, the module logs in and out once itself. A dead portal or a wrong secret is therefore found within seconds,
    reported in the words of the target, and known in check mode already.
  - A disk that is in use is never pulled away. Logging out names who uses it, and refuses.
extends_documentation_fragment:
  - lunar.iscsi.attributes
  - lunar.iscsi.attributes.actiongroup_iscsi
  - lunar.iscsi.options.auth
  - lunar.iscsi.options.root
attributes:
  check_mode:
    support: full
    details: Portals that would be logged in to are asked in check mode too, unless O(probe=none).
  diff_mode:
    support: full
    details: Secrets are shown as stars.
  idempotent:
    support: full
  platform:
    platforms: linux
requirements:
  - C(iscsiadm) and C(iscsid) (package C(open-iscsi) or C(iscsi-initiator-utils)) for O(state=logged_in) and O(state=logged_out)
options:
  nodes:
    description:
      - The nodes, one entry a target. RV(lunar.iscsi.iscsi_discovery#module:nodes) can be given as it is.
      - Either this or O(recorded) has to be given.
    type: list
    elements: dict
    suboptions:
      target:
        description: The name of the target, in the iqn, eui or naa form.
        type: str
        required: true
      portals:
        description:
          - The portals, as C(address), C(address:port), C(address:port,tpgt) or C([IPv6]:port,tpgt).
          - Without it, all portals that are recorded for the target.
          - A portal that is not recorded is recorded as a static node (O(state=present) and O(state=logged_in)).
        type: list
        elements: str
      ifaces:
        description:
          - The ifaces to go through. Without it, those the portal is recorded with, and V(default) for a new record.
        type: list
        elements: str
  recorded:
    description:
      - The nodes that are recorded with this C(node.startup), or V(all) that are recorded, instead of O(nodes).
      - With O(state=logged_in) and O(state=logged_out), it is what C(iscsiadm -m node --loginall) and C(--logoutall) do, as a state. What is
        logged in already, or out, is left as it is, and nothing recorded is nothing to do.
      - Where O(state=logged_out) or O(state=absent) would end sessions, nodes that the host may have booted from are never meant, which are those
        with startup V(onboot) and those that were found in firmware. Name them in O(nodes).
      - A session without a record has no startup, so it stays. See O(lunar.iscsi.iscsi_session#module:state).
      - Of nodes with C(node.leading_login), one session for each target is enough. Their portals are tried in the order they are recorded in.
      - Unlike C(iscsiadm), the module does not look at C(node.conn[0].startup), which is V(manual) in nearly every record.
    type: str
    choices: [all, manual, automatic, onboot]
  state:
    description:
      - V(present), recorded with the given settings. Sessions are left as they are.
      - V(logged_in), recorded, and a session is up for each of them.
      - V(logged_out), no session. The record stays.
      - V(absent), no session and no record.
      - V(logged_out) and V(absent) refuse while a disk of the session is in use and say by what, unless O(force=true).
    type: str
    choices: [present, absent, logged_in, logged_out]
    default: present
  startup:
    description:
      - When the session is made at boot. V(onboot) is for disks that the initramfs needs.
    type: str
    choices: [manual, automatic, onboot]
  leading_login:
    description: With V(true), one working portal of the target is enough at boot (C(node.leading_login)).
    type: bool
  nr_sessions:
    description: How many sessions to make for each node (C(node.session.nr_sessions)).
    type: int
  scan:
    description:
      - With V(manual), logging in does not add disks by itself (C(node.session.scan)), for hosts that share a target with many LUNs.
    type: str
    choices: [auto, manual]
  profile:
    description:
      - A set of timers that belong together. O(settings) wins over it.
      - V(multipath) fails a dead path quickly, so that multipath can go on with another one
        (C(replacement_timeout) 15, C(noop_out_interval) 5, C(noop_out_timeout) 5).
      - V(root) is for a disk with the root file system and no multipath (C(replacement_timeout) 86400 and no pings).
      - V(tape) sends no pings, which tape drives handle badly. It leaves C(replacement_timeout) as it is.
      - V(default) is what open-iscsi has without any configuration, whatever C(iscsid.conf) says (C(replacement_timeout) 120,
        C(noop_out_interval) 5, C(noop_out_timeout) 5). It takes back what another profile set.
      - The values of V(multipath), V(root) and V(tape) are those of the open-iscsi README, sections 8.1, 8.2 and 8.3.
    type: str
    choices: [default, multipath, root, tape]
  settings:
    description:
      - Any C(node.*) setting, by its name in the record. Values are checked against what open-iscsi understands;
        an unknown name, a wrong type or a number out of range is refused before anything is changed.
      - Settings that are not named stay as they are.
    type: dict
  require:
    description:
      - With V(any), the task succeeds if each target has at least one session; portals that failed are in RV(problems) and RV(paths).
      - With V(all), one portal that fails makes the task fail, after the others were logged in.
    type: str
    choices: [any, all]
    default: all
  probe:
    description:
      - V(login) logs in and out once from the module before C(iscsid) is asked, which tells dead portals and wrong secrets apart, quickly and in words.
      - V(none) leaves it to C(iscsid). Use it for targets that count logins. Nodes on offload ifaces are never probed.
    type: str
    choices: [login, none]
    default: login
  relogin:
    description:
      - A live session keeps the secrets and timers that it was made with. With V(false), sessions that differ from their record are only reported in
        RV(pending_relogin). With V(true), they are logged out and in again, one after the other, each under the same protection as O(state=logged_out).
        Paths that are down come first, and a path that a multipath map stands on alone waits until another is back, at most for O(timeout).
      - After a secret was rotated, this is for the day on which a connection breaks. C(iscsid) keeps the old secret for as long as a session lives, and
        tries to come back with it.
      - Unless O(probe=none), the new login is tried first. Where it would fail, the session stays as it is, and the task fails as O(require) says.
    type: bool
    default: false
  force:
    description:
      - Log out although disks are in use. Whoever uses them gets I/O errors.
    type: bool
    default: false
  repair:
    description:
      - Damaged records are named in RV(problems) and left as they are, and a task that needs one of them fails. With V(true), those that concern
        the nodes of this task are set right, and no others.
      - An empty or damaged record is written anew. Settings in it that are whole and valid are kept, the rest comes from C(iscsid.conf) as for a new
        record, and the options of the task win. What the file held is kept in the folder C(damaged) of the database, where open-iscsi looks for no records.
      - Of several records for one portal with different portal group tags, those that the task does not name are removed, if it names one
        (C(address:port,tpgt)).
      - A record that is bound to an iface that is gone is removed; without O(nodes[].ifaces), the portal is recorded again with V(default).
      - A record with a live session is never removed; the task is refused and names the session.
      - With O(state=absent), damaged records of the nodes are removed, too.
    type: bool
    default: false
  timeout:
    description: Seconds that logging in, logging out and waiting for the disks may take together.
    type: float
    default: 30
seealso:
  - module: lunar.iscsi.iscsi_discovery
  - module: lunar.iscsi.iscsi_session
  - module: lunar.iscsi.iscsi_session_info
"""

EXAMPLES = r"""
- name: Log in to what was discovered, on every path, and wait for the disks
  lunar.iscsi.iscsi_node:
    nodes: "{{ found.nodes }}"
    state: logged_in
    startup: automatic
    profile: multipath
    settings: {node.session.timeo.replacement_timeout: 10}
    require: any
    timeout: 30
  register: attached

- name: Static nodes, two portals, mutual CHAP
  lunar.iscsi.iscsi_node:
    nodes:
      - target: iqn.2003-01.org.linux-iscsi.rheln1
        portals: ["192.168.56.101:3260,1", "192.168.57.101:3260,1"]
    state: logged_in
    startup: automatic
    auth:
      method: CHAP
      username: host1
      password: "{{ vault_chap }}"
      username_in: array
      password_in: "{{ vault_chap_in }}"

- name: Prepare an installed system before its first boot
  lunar.iscsi.iscsi_node:
    root: /mnt/sysimage
    nodes:
      - target: iqn.2003-01.org.linux-iscsi.rheln1
        portals: ["192.168.56.101:3260,1"]
    startup: automatic

- name: After a crash of the host, make its damaged records whole
  lunar.iscsi.iscsi_node:
    nodes:
      - target: iqn.2003-01.org.linux-iscsi.rheln1
        portals: ["192.168.56.101:3260,1"]
    repair: true

- name: Log in to all that is to be logged in at boot
  lunar.iscsi.iscsi_node:
    recorded: automatic
    state: logged_in
    require: any

- name: Before work on the network, log out of everything but what the host runs on
  lunar.iscsi.iscsi_node:
    recorded: all
    state: logged_out

- name: One timer for every node that is recorded
  lunar.iscsi.iscsi_node:
    recorded: all
    settings: {node.session.timeo.replacement_timeout: 30}

- name: Take the disk away, safely
  lunar.iscsi.iscsi_node:
    nodes: [{target: "iqn.2003-01.org.linux-iscsi.rheln1"}]
    state: absent
"""

RETURN = r"""
paths:
  description: One entry for each node that was asked for, with what became of it.
  returned: when O(state=logged_in)
  type: list
  elements: dict
  contains:
    target:
      description: The name of the target.
      type: str
      returned: always
    portal:
      description: The portal, with port and portal group tag if known.
      type: str
      returned: always
    iface:
      description: The iface.
      type: str
      returned: always
    verdict:
      description:
        - V(session exists) if it was logged in before, V(logged in) if the module did it, V(would log in) in check mode, V(failed) if it could not be.
        - V(not needed) for a node with C(node.leading_login) that O(recorded) means, and whose target has a session through another one.
      type: str
      returned: always
    sids:
      description: The session numbers.
      type: list
      elements: int
      returned: always
    reason:
      description: Why it failed, in words.
      type: str
      returned: when it failed
  sample:
    - {target: iqn.2003-01.org.linux-iscsi.rheln1, portal: "192.168.56.101:3260,1", iface: default, verdict: logged in, sids: [1]}
disks:
  description: The disks behind the sessions. Several paths to one disk are one entry.
  returned: when O(state=logged_in)
  type: list
  elements: dict
  contains:
    target:
      description: The target of the first path.
      type: str
      returned: always
    lun:
      description: The logical unit number.
      type: int
      returned: always
    wwid:
      description: The identifier that multipath uses, such as V(360014059ca317516a69465c883a29603).
      type: str
      returned: always
    size:
      description: Bytes.
      type: int
      returned: always
    device:
      description: The device of the first path.
      type: str
      returned: always
    by_id:
      description: Names in C(/dev/disk/by-id).
      type: list
      elements: str
      returned: always
    by_path:
      description: Names in C(/dev/disk/by-path), of all paths.
      type: list
      elements: str
      returned: always
    map:
      description: The multipath map, if there is one.
      type: str
      returned: always
    paths:
      description: The devices of all paths.
      type: list
      elements: str
      returned: always
  sample:
    - target: iqn.2003-01.org.linux-iscsi.rheln1
      lun: 1
      wwid: 360014059ca317516a69465c883a29603
      size: 1073741824
      device: /dev/sda
      by_id: [/dev/disk/by-id/scsi-360014059ca317516a69465c883a29603]
      by_path: ["/dev/disk/by-path/ip-192.168.56.101:3260-iscsi-iqn.2003-01.org.linux-iscsi.rheln1-lun-1"]
      map: /dev/mapper/mpatha
      paths: [/dev/sda, /dev/sdb]
pending_relogin:
  description:
    - Live sessions that were made with other settings than their record has now, and were not made anew.
    - The kernel tells the secrets and timers of a session. Other settings are reported in the run that changes them, and not again.
      So is the replacement timeout where multipath maps the disks of the session, since C(multipathd) sets it (C(fast_io_fail_tmo)).
  returned: when O(state=present) or O(state=logged_in)
  type: list
  elements: dict
  sample: [{target: iqn.2003-01.org.linux-iscsi.rheln1, portal: "192.168.56.101:3260,1", iface: default, sid: 1, differs: [node.session.auth.password]}]
steps:
  description: What was done (or would be, in check mode), in words.
  returned: always
  type: list
  elements: str
problems:
  description: What is wrong around it. Each with the object, what is wrong and a remedy.
  returned: always
  type: list
  elements: dict
  sample:
    - object: iqn.2003-01.org.linux-iscsi.rheln1 at 192.168.57.101:3260,1
      what: "authentication failure (0x0201): the target refused name or secret"
      remedy: Check auth.username and auth.password against the target
"""

from ansible_collections.lunar.iscsi.plugins.module_utils._argspec import auth_option, root_option
from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import converge
from ansible_collections.lunar.iscsi.plugins.module_utils._module import SettingsModule
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.nodes import PROFILES, NodeTask


def main() -> None:
    """Read, probe, plan, apply, wait for the disks, read again."""
    module = SettingsModule(
        argument_spec={
            "nodes": {
                "type": "list", "elements": "dict",
                "options": {
                    "target": {"type": "str", "required": True},
                    "portals": {"type": "list", "elements": "str"},
                    "ifaces": {"type": "list", "elements": "str"},
                },
            },
            "recorded": {"type": "str", "choices": ["all", "manual", "automatic", "onboot"]},
            "state": {"type": "str", "choices": ["present", "absent", "logged_in", "logged_out"], "default": "present"},
            "startup": {"type": "str", "choices": ["manual", "automatic", "onboot"]},
            "leading_login": {"type": "bool"},
            "nr_sessions": {"type": "int"},
            "scan": {"type": "str", "choices": ["auto", "manual"]},
            "profile": {"type": "str", "choices": sorted(PROFILES)},
            "settings": {"type": "dict"},
            "require": {"type": "str", "choices": ["any", "all"], "default": "all"},
            "probe": {"type": "str", "choices": ["login", "none"], "default": "login"},
            "relogin": {"type": "bool", "default": False},
            "force": {"type": "bool", "default": False},
            "repair": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 30},
            **auth_option(),
            **root_option(),
        },
        supports_check_mode=True,
    )
    converge(module, NodeTask, module.params)


if __name__ == "__main__":
    main()
