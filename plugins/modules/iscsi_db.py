# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module iscsi_db; the work is in module_utils/_open_iscsi/doctor.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: iscsi_db
short_description: Look for damage in the record database of open-iscsi, and mend it; return the records
version_added: 0.1.0
author:
  - The lunar.iscsi contributors (@lunar-iscsi)
description:
  - Reads the whole database of a host, or of a mounted image, and says what is wrong with it. One record that C(iscsiadm) cannot read may keep it
    from listing any, and an empty file makes it list a node that is none.
  - With O(repair=true), it mends what can be mended without asking a target. Of each file that is changed or removed, a copy is kept.
  - With O(show=true), it returns all records as data, as C(iscsiadm) lists and shows them in its modes C(node), C(discoverydb) and C(iface).
  - No process is started.
extends_documentation_fragment:
  - lunar.iscsi.attributes
  - lunar.iscsi.attributes.full
  - lunar.iscsi.options.root
options:
  repair:
    description:
      - With V(false), nothing is changed.
      - With V(true), what is listed here is done. RV(problems) then has what is left.
      - A damaged record (empty, cut off, overwritten) is written anew. Settings in it that are whole and valid are kept, the rest is as in a new record.
        An iface comes back from the nodes that are bound to it; where nothing is known of it and nothing uses it, its file is removed.
      - Settings that this open-iscsi does not know are taken out. Values that it takes for something else, or that are out of range, are replaced by
        those of a new record.
      - Of several records of one portal with different portal group tags, those without a session are removed if one of them has a session, and one
        without tag if another one has a tag. Otherwise only the target knows which is right, and they are left.
      - An iface without record, to which nodes are bound, is recorded as these nodes hold it, if they agree.
      - Links to nodes that are not recorded are removed, missing ones are made. Files that are no records of the node they are named for are removed.
      - Modes and owners of files are set as C(iscsiadm) makes them. A stale lock is removed.
    type: bool
    default: false
  show:
    description:
      - Return every record that can be read, in RV(nodes), RV(node_records), RV(iface_records) and RV(discovery_records). Secrets are stars.
    type: bool
    default: false
notes:
  - What is done to records of nodes has no effect on sessions that are up.
  - M(lunar.iscsi.iscsi_node), M(lunar.iscsi.iscsi_discovery) and M(lunar.iscsi.iscsi_iface) have an option C(repair) too, which mends only the objects
    of their task.
seealso:
  - module: lunar.iscsi.iscsi_node
  - module: lunar.iscsi.iscsi_discovery
  - module: lunar.iscsi.iscsi_iface
"""

EXAMPLES = r"""
- name: Is the database whole?
  lunar.iscsi.iscsi_db:
  register: db
  failed_when: db.findings | length > 0

- name: After a crash of the host, mend what can be mended
  lunar.iscsi.iscsi_db:
    repair: true
  register: db

- name: Which nodes are recorded, and when is each logged in?
  lunar.iscsi.iscsi_db:
    show: true
  register: db

- name: Say it
  ansible.builtin.debug:
    msg: "{{ item.target }} {{ item.portal }} {{ item.iface }} {{ item.settings['node.startup'] }}"
  loop: "{{ db.node_records }}"
  loop_control: {label: "{{ item.target }}"}

- name: Show what is left to do
  ansible.builtin.debug:
    msg: "{{ item.object }} {{ item.what }}. {{ item.remedy }}"
  loop: "{{ db.problems }}"
  loop_control: {label: "{{ item.object }}"}
"""

RETURN = r"""
findings:
  description: Everything that was wrong before the task changed anything.
  returned: success
  type: list
  elements: dict
  contains:
    check:
      description:
        - V(damaged), a file that is no record (empty, cut off).
        - V(unknown_key), settings that this open-iscsi does not know.
        - V(bad_value), values that it takes for something else or that are out of range, or by which a node says to be another one.
        - V(duplicate_tpgt), records of one portal with different portal group tags.
        - V(missing_iface), a node whose iface has no record.
        - V(orphan_link), V(strange_link), V(no_link), links that lead to no node, are not named for one, or are missing.
        - V(no_record), the folder of a discovery without its record.
        - V(misplaced), a file that is named for another node than it says to be.
        - V(permissions), files and folders that others may write, and files with secrets that others may read, C(iscsid.conf) among them.
        - V(stale_lock), the lock of the database, held by nobody.
        - V(next_version), records that another version of open-iscsi takes for something else.
        - V(family), an iface whose name and address are of different address families.
        - V(not_installed), no open-iscsi is there that would read the records.
      type: str
      returned: always
    path:
      description: The file or folder, if it is one.
      type: str
      returned: always
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
  sample:
    - check: damaged
      object: /etc/iscsi/nodes/iqn.2003-01.org.linux-iscsi.rheln1/192.168.56.101,3260,1/default
      path: /etc/iscsi/nodes/iqn.2003-01.org.linux-iscsi.rheln1/192.168.56.101,3260,1/default
      remedy: Say repair in a task that names the node (iscsi_node or iscsi_discovery), or restore the file from a backup
      what: is empty
kept:
  description: The copies of what was changed or removed, in the folder C(damaged) of the database, where open-iscsi looks for no records.
  returned: success
  type: list
  elements: str
  sample: ["/etc/iscsi/damaged/nodes/iqn.2003-01.org.linux-iscsi.rheln1/192.168.56.101,3260,1/default.1"]
records:
  description: How many records could be read, by kind.
  returned: success
  type: dict
  sample: {nodes: 4, ifaces: 2, send_targets: 1, isns: 0}
nodes:
  description: The nodes that are recorded, as O(lunar.iscsi.iscsi_node#module:nodes) takes them.
  returned: when O(show=true)
  type: list
  elements: dict
  contains:
    target:
      description: Name of the target.
      type: str
      returned: always
    portals:
      description: Its portals, with port and portal group tag.
      type: list
      elements: str
      returned: always
    ifaces:
      description: The ifaces that each of these portals is recorded with.
      type: list
      elements: str
      returned: always
  sample:
    - {target: "iqn.2003-01.org.linux-iscsi.rheln1", portals: ["192.168.56.101:3260,1"], ifaces: [default]}
node_records:
  description: The records of nodes, with all their settings. What is not set is not in them.
  returned: when O(show=true)
  type: list
  elements: dict
  contains:
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
    found_by:
      description: How it came to be recorded. V(null) where nothing is linked to it.
      type: dict
      returned: always
      contains:
        type:
          description: V(send_targets), V(isns), V(static) or V(firmware).
          type: str
          returned: always
        portal:
          description: The portal or server that was asked, V(null) where none was.
          type: str
          returned: always
    settings:
      description: The settings by their names in the record, as text. Secrets are stars.
      type: dict
      returned: always
  sample:
    - target: iqn.2003-01.org.linux-iscsi.rheln1
      portal: 192.168.56.101:3260,1
      iface: default
      found_by: {type: send_targets, portal: 192.168.56.101:3260}
      settings: {node.startup: automatic, node.session.timeo.replacement_timeout: "120"}
iface_records:
  description: The records of ifaces. V(default) and V(iser) are built in and have none.
  returned: when O(show=true)
  type: list
  elements: dict
  contains:
    name:
      description: Name of the iface.
      type: str
      returned: always
    settings:
      description: The settings by their names in the record, as text.
      type: dict
      returned: always
  sample:
    - {name: path1, settings: {iface.iscsi_ifacename: path1, iface.net_ifacename: san1, iface.transport_name: tcp}}
discovery_records:
  description: The records of discoveries, and what was found by each.
  returned: when O(show=true)
  type: list
  elements: dict
  contains:
    type:
      description: V(send_targets) or V(isns).
      type: str
      returned: always
    portal:
      description: The portal or server that is asked.
      type: str
      returned: always
    settings:
      description: The settings by their names in the record, as text. Secrets are stars.
      type: dict
      returned: always
    nodes:
      description: The nodes that were recorded through it, in the form of RV(nodes).
      type: list
      elements: dict
      returned: always
      contains:
        target:
          description: Name of the target.
          type: str
          returned: always
        portals:
          description: Its portals, with port and portal group tag.
          type: list
          elements: str
          returned: always
        ifaces:
          description: The ifaces that each of these portals is recorded with.
          type: list
          elements: str
          returned: always
  sample:
    - type: send_targets
      portal: 192.168.56.101:3260
      settings: {discovery.sendtargets.address: 192.168.56.101, discovery.sendtargets.use_discoveryd: "No"}
      nodes: [{target: "iqn.2003-01.org.linux-iscsi.rheln1", portals: ["192.168.56.101:3260,1"], ifaces: [default]}]
folder:
  description: The folder of the database.
  returned: success
  type: str
  sample: /etc/iscsi
steps:
  description: What was done (or would be, in check mode), in words.
  returned: success
  type: list
  elements: str
  sample: ["repair node iqn.2003-01.org.linux-iscsi.rheln1 at 192.168.56.101:3260,1 (its file is empty)"]
problems:
  description: What is wrong in the end, each with the object, what is wrong and a remedy. In check mode, and without O(repair), all that was found.
  returned: success
  type: list
  elements: dict
  sample:
    - object: iqn.2003-01.org.linux-iscsi.rheln1 at 192.168.56.101:3260
      what: has records with different portal group tags (1, 2)
      remedy: Discover to see which tag the target gives now
"""

from ansible_collections.lunar.iscsi.plugins.module_utils._argspec import root_option
from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import converge
from ansible_collections.lunar.iscsi.plugins.module_utils._module import CheckedModule
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.doctor import DoctorTask


def main() -> None:
    """Read everything, say what is wrong, mend it, read again."""
    module = CheckedModule(
        argument_spec={
            "repair": {"type": "bool", "default": False},
            "show": {"type": "bool", "default": False},
            **root_option(),
        },
        supports_check_mode=True,
    )
    converge(module, DoctorTask, module.params)


if __name__ == "__main__":
    main()
