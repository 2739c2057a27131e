# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module iscsi_config; the work is in module_utils/_open_iscsi/config_task.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: iscsi_config
short_description: Configure open-iscsi, iscsid.conf and the initiator's name
version_added: 0.1.0
author:
  - The lunar.iscsi contributors (@lunar-iscsi)
description:
  - Sets and removes settings in C(/etc/iscsi/iscsid.conf), and InitiatorName and InitiatorAlias in C(/etc/iscsi/initiatorname.iscsi). Comments,
    the order of lines, and every line that is not concerned stay as they are.
  - Everything is checked before anything is written, with what the open-iscsi of the host knows. A word that it does not know is answered with the
    nearest that it does.
  - C(iscsid.conf) is what new records begin with. Nodes that are recorded keep what their records say; M(lunar.iscsi.iscsi_node) changes those.
  - C(iscsid) reads its own settings and the initiator's name only when it starts. The module says what it has to be started anew for, and whether that
    is safe, and does so only with O(restart=true).
extends_documentation_fragment:
  - lunar.iscsi.attributes
  - lunar.iscsi.options.root
attributes:
  check_mode:
    support: full
    details: The plan of check mode is the plan that is carried out otherwise; it is made by the same code.
  diff_mode:
    support: full
    details: Secrets are shown as stars, also those that are commented out.
  idempotent:
    support: full
  platform:
    platforms: linux
options:
  settings:
    description:
      - Settings by their name in C(iscsid.conf), such as C(node.session.timeo.replacement_timeout), C(discovery.sendtargets.auth.username),
        C(discovery.isns.use_discoveryd) or C(iscsid.safe_logout). Their values are checked as those of records are.
      - The line that counts is changed. A setting that is only there as a comment goes below that comment, one that is not there at all to the end.
        A line that open-iscsi passes over, since it has no white space before the equals sign, is mended.
      - An empty value removes the setting.
    type: dict
  state:
    description:
      - V(present) sets O(settings).
      - V(absent) removes them, whatever their values are, so that the defaults of open-iscsi hold.
    type: str
    choices: [present, absent]
    default: present
  initiator_name:
    description:
      - The InitiatorName of the host. It is never made up here; the role P(lunar.iscsi.initiator#role) does that for a host without one.
      - With a session up, another name makes the task fail, and the sessions are named. C(iscsid) uses it the next time that one of them has to log in
        again, and a target that knows the host by its old name refuses it then.
      - Debian's order to make up a name at the next start (C(GenerateName=yes)) is removed.
    type: str
  initiator_alias:
    description: The InitiatorAlias of the host. An empty one is removed, and C(iscsid) then uses the host name.
    type: str
  backup:
    description: Keep a copy of each file that is changed, with the time in its name, and the mode of the file.
    type: bool
    default: false
  restart:
    description:
      - Start C(iscsid) anew (C(systemctl restart iscsid.service)) where it runs and does not know of something that was written, by this task or
        an earlier one. Sessions stay up meanwhile.
      - Where that is not safe (see RV(restart_safe)) the task fails before anything is written.
      - With V(false), RV(restart_needed) says so, for a handler or for the next boot.
    type: bool
    default: false
  force:
    description: Change the name of the initiator though sessions are up, and start C(iscsid) anew though it is not safe.
    type: bool
    default: false
  timeout:
    description: How long a restart of C(iscsid) may take, in seconds.
    type: float
    default: 60
notes:
  - The mode of the files stays as it is; a new one gets V(0600). When a secret is set in a file that everybody can read, it gets V(0600), too.
seealso:
  - module: lunar.iscsi.iscsi_node
  - module: lunar.iscsi.iscsi_discovery
"""

EXAMPLES = r"""
- name: Timers for multipath, for all nodes that are recorded from now on
  lunar.iscsi.iscsi_config:
    settings:
      node.startup: automatic
      node.session.timeo.replacement_timeout: 15
      node.conn[0].timeo.noop_out_interval: 5
      node.conn[0].timeo.noop_out_timeout: 10

- name: CHAP for all new nodes and for discovery
  lunar.iscsi.iscsi_config:
    settings:
      node.session.auth.authmethod: CHAP
      node.session.auth.username: host1
      node.session.auth.password: "{{ vault_chap }}"
      discovery.sendtargets.auth.authmethod: CHAP
      discovery.sendtargets.auth.username: disc
      discovery.sendtargets.auth.password: "{{ vault_disc }}"
    backup: true

- name: New records of iSNS servers are followed by iscsid, with a question every 60 seconds
  lunar.iscsi.iscsi_config:
    settings:
      discovery.isns.use_discoveryd: true
      discovery.isns.discoveryd_poll_inval: 60

- name: No log-out from a disk that is mounted; iscsid is started anew if that is safe
  lunar.iscsi.iscsi_config:
    settings:
      iscsid.safe_logout: true
    restart: true

- name: The name that the arrays know, in an image that has not booted yet
  lunar.iscsi.iscsi_config:
    root: /mnt/image
    initiator_name: iqn.2026-11.org.example:host1
    initiator_alias: host1

- name: Back to the default
  lunar.iscsi.iscsi_config:
    settings:
      node.session.timeo.replacement_timeout:
    state: absent
"""

RETURN = r"""
path:
  description: The configuration file.
  returned: success
  type: str
  sample: /etc/iscsi/iscsid.conf
settings:
  description: What open-iscsi reads in it when the task is done (or would read, in check mode). Secrets are stars.
  returned: success
  type: dict
  sample: {node.startup: automatic, node.session.timeo.replacement_timeout: "15"}
initiator_name:
  description: The name of the initiator; empty where the host has none.
  returned: success
  type: str
  sample: iqn.2026-11.org.example:host1
initiator_alias:
  description: The alias of the initiator; empty where none is set.
  returned: success
  type: str
takes_effect:
  description:
    - Of everything that changed, C(InitiatorName) and C(InitiatorAlias) included, when it shows.
    - V(new_records) means in records that are made from now on, by C(iscsiadm), by C(iscsid) for itself, or by this collection; nothing has to be restarted.
    - V(at_once) means the next time C(iscsiadm) looks.
    - V(iscsid_restart) means after a restart of C(iscsid).
  returned: success
  type: dict
  sample: {node.startup: new_records, iscsid.safe_logout: iscsid_restart}
restart_needed:
  description: The daemons that run and do not know of something in the files, C(iscsid) or none. It is told by later tasks, too, until it was started anew.
  returned: success
  type: list
  elements: str
  sample: [iscsid]
restart_reasons:
  description: What it does not know of.
  returned: success
  type: list
  elements: str
  sample: [iscsid.safe_logout]
restart_safe:
  description:
    - Whether a restart of C(iscsid) is safe now. It is not while a session is down, which C(iscsid) is about to set up again, and it is not where
      the system runs from an iSCSI disk. Should that connection break in between, nobody could start C(iscsid) any more.
    - V(true) where nothing has to be restarted.
  returned: success
  type: bool
restart_risks:
  description: Why it is not safe, in words.
  returned: success
  type: list
  elements: str
backup_files:
  description: The copies of the old files.
  returned: with O(backup=true), when a file that was there was changed
  type: list
  elements: str
  sample: ["/etc/iscsi/iscsid.conf.1234.2026-11-21@10:15:00~"]
steps:
  description: What was done (or would be, in check mode), in words.
  returned: always
  type: list
  elements: str
  sample: [write /etc/iscsi/iscsid.conf]
problems:
  description: Lines of the file that open-iscsi reads otherwise than they are meant, and what else is wrong. Each with the object, what is wrong and a remedy.
  returned: always
  type: list
  elements: dict
  sample:
    - object: /etc/iscsi/iscsid.conf, line 12
      what: has no white space between node.startup and the equals sign, so open-iscsi passes over it
      remedy: Write it as node.startup = automatic
"""

from ansible_collections.lunar.iscsi.plugins.module_utils._argspec import root_option
from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import converge
from ansible_collections.lunar.iscsi.plugins.module_utils._module import SettingsModule
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.config_task import ConfigTask


def main() -> None:
    """Read, edit, write, say what has to be started anew."""
    module = SettingsModule(
        argument_spec={
            "settings": {"type": "dict"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "initiator_name": {"type": "str"},
            "initiator_alias": {"type": "str"},
            "backup": {"type": "bool", "default": False},
            "restart": {"type": "bool", "default": False},
            "force": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 60},
            **root_option(),
        },
        supports_check_mode=True,
    )
    converge(module, ConfigTask, module.params)


if __name__ == "__main__":
    main()
