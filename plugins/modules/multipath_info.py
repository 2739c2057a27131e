# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: multipath_info
short_description: Return the multipath maps of a host, or wait until they are as they should be
version_added: 0.1.0
description:
  - Returns what C(multipath -ll) prints, as data - maps, path groups, paths, priorities, states, and the iSCSI session behind each path.
  - C(multipathd) is asked once, over its socket, without starting a process. Sizes, device names and sessions come from C(/sys).
    Where no socket is found, the command C(multipathd) is asked instead.
  - Aliases, products and WWIDs with quotes and backslashes are understood, though no release of C(multipathd) escapes them in its JSON.
  - With O(wait_for), C(multipathd) is asked until every selected map fulfils the condition.
author:
  - The lunar.iscsi contributors (@lunar-iscsi)
extends_documentation_fragment:
  - lunar.iscsi.attributes
  - lunar.iscsi.attributes.info
options:
  maps:
    description:
      - Only these maps. Each is an alias, a WWID, a name in C(/dev/mapper), the kernel's name (V(dm-0)), or a device file - the map's
        own, that of one of its paths, or a link to one of these.
      - Without it, all maps are meant.
    type: list
    elements: str
    default: []
  wait_for:
    description:
      - Wait until every map that is meant is there and fulfils all of this at once. There has to be at least one.
      - When it does not come true within O(timeout) seconds the task fails, names what is missing for each map, and returns the maps
        as they were last seen.
      - Without it, nothing is waited for.
    type: dict
    suboptions:
      paths:
        description: At least so many paths are usable, that is active to the kernel, and ready (or ghost) to the checker.
        type: int
      groups:
        description: There are exactly so many path groups.
        type: int
      all_ready:
        description: Every path is usable, and there is one.
        type: bool
        default: false
      group_active:
        description:
          - One of the path groups is active. The kernel calls a group active from the first I/O on; on a map that nobody has read from
            yet all of them are enabled.
        type: bool
        default: false
      active_priority:
        description: One of the path groups is active, and it has this priority. So one waits for a failback.
        type: int
  timeout:
    description:
      - How long to wait for O(wait_for), in seconds.
      - Without O(wait_for), how long C(multipathd) may take for its answer. It is asked again while it is busy.
    type: float
    default: 30
notes:
  - Listing needs no root. The answer is taken only from a daemon that runs as root.
  - On systems where C(multipathd.socket) is enabled, asking starts the daemon, as C(multipathd show maps) does.
  - A host without multipath (not installed, or not running, and no map in the kernel) has no maps, which is told in RV(problems) and is no
    failure unless O(wait_for) is set. Where there are maps, a daemon that does not answer is a failure.
  - Releases before 0.6.2 cannot answer.
seealso:
  - module: lunar.iscsi.iscsi_session_info
  - module: lunar.iscsi.iscsi_node
"""

EXAMPLES = r"""
- name: Which maps are there, and over how many paths?
  lunar.iscsi.multipath_info:
  register: multipath

- name: Show them
  ansible.builtin.debug:
    msg: "{{ item.name }} {{ item.wwid }} {{ item.usable_paths }} usable path(s), {{ item.groups | length }} group(s)"
  loop: "{{ multipath.maps }}"

- name: Two groups, every path ready, I/O on the better one
  lunar.iscsi.multipath_info:
    maps: [rbd0]
    wait_for: {paths: 2, groups: 2, all_ready: true, active_priority: 50}
    timeout: 60

- name: Wait until each disk that lunar.iscsi.iscsi_node has returned has its map
  lunar.iscsi.multipath_info:
    maps: "{{ attached.disks | map(attribute='wwid') | list }}"
    wait_for: {paths: 1}

- name: Which sessions carry the disk that holds the data?
  lunar.iscsi.multipath_info:
    maps: [/dev/mapper/rbd0]
  register: data
  failed_when: data.maps | map(attribute='groups') | flatten | map(attribute='paths') | flatten | rejectattr('session') | list | length > 0
"""

RETURN = r"""
maps:
  description: The maps that are meant, in C(multipathd)'s order. What is not known is V(null).
  returned: success, and when O(wait_for) was not reached
  type: list
  elements: dict
  sample:
    - action: null
      counters: {loads: 1, path_faults: 0, queueing_time: 0, queueing_timeouts: 0, switch_groups: 0}
      device: /dev/mapper/rbd0
      dm: dm-0
      failback: "deferred:60"
      features: "1 queue_if_no_path"
      groups:
        - group: 1
          marginal: false
          paths:
            - adapter: "192.168.56.10"
              address: "2:0:0:0"
              checker: tur
              checker_state: ready
              device: /dev/sdb
              host_wwnn: null
              host_wwpn: null
              marginal: false
              numbers: "8:16"
              online: true
              priority: 50
              session:
                iface: default
                portal: "192.168.56.101:3260,1"
                sid: 1
                state: LOGGED_IN
                target: "iqn.2003-01.org.linux-iscsi.rheln1"
              state: active
              target: "iqn.2003-01.org.linux-iscsi.rheln1"
              target_wwpn: null
              usable: true
          priority: 50
          selector: "queue-length 0"
          state: active
      hwhandler: "1 alua"
      name: rbd0
      product: d0
      queueing: "on"
      queues: true
      read_only: false
      revision: "4.0"
      size: 1073741824
      state: active
      usable_paths: 1
      vendor: LIO-ORG
      wwid: "360014059ca317516a69465c883a29603"
  contains:
    name:
      description: The alias, or the WWID where there is none.
      type: str
      returned: always
    wwid:
      description: The WWID.
      type: str
      returned: always
    device:
      description: The block device. Its name differs from the alias where that has characters that device-mapper writes as C(\x20).
      type: str
      returned: always
    dm:
      description: The kernel's name.
      type: str
      returned: always
    size:
      description: Size in bytes.
      type: int
      returned: always
    state:
      description: V(active), or V(suspend) while I/O to the map is held back.
      type: str
      returned: always
    read_only:
      description: Whether the map is write protected.
      type: bool
      returned: always
    vendor:
      description: Vendor of the disk.
      type: str
      returned: always
    product:
      description: Product name of the disk.
      type: str
      returned: always
    revision:
      description: Revision of the disk.
      type: str
      returned: always
    features:
      description: Features of the kernel's table - a count, and that many words.
      type: str
      returned: always
    hwhandler:
      description: Hardware handler of the kernel's table - a count, and that many words.
      type: str
      returned: always
    queueing:
      description: C(no_path_retry) at work - V(on) I/O waits without end, V(off) it fails at once, V(12 chk) it would wait for 12 checks,
        V(30 sec) no path is left, and it waits for so long still.
      type: str
      returned: always
    queues:
      description: Whether the kernel lets I/O wait when no path is left.
      type: bool
      returned: always
    failback:
      description: V(immediate), V(followover), V(manual), V(deferred:60), or a progress bar while it runs.
        Before release 0.9.9, V(null) for manual and deferred.
      type: str
      returned: always
    action:
      description: What C(multipathd) is about to do with the map.
      type: str
      returned: always
    usable_paths:
      description: The number of paths that are usable.
      type: int
      returned: always
    counters:
      description: What C(multipathd) has counted since it started.
      type: dict
      returned: always
      contains:
        path_faults:
          description: Paths that failed.
          type: int
          returned: always
        switch_groups:
          description: Switches between path groups.
          type: int
          returned: always
        loads:
          description: Tables loaded.
          type: int
          returned: always
        queueing_time:
          description: Seconds that I/O waited without a path.
          type: int
          returned: always
        queueing_timeouts:
          description: Times that waiting was given up.
          type: int
          returned: always
    groups:
      description: The path groups.
      type: list
      elements: dict
      returned: always
      contains:
        group:
          description: Number of the group, from 1.
          type: int
          returned: always
        priority:
          description: Priority of the group.
          type: int
          returned: always
        state:
          description: V(active) I/O goes here, V(enabled) it may, V(disabled) only if nothing else is left.
          type: str
          returned: always
        selector:
          description: How a path is selected within the group.
          type: str
          returned: always
        marginal:
          description: Whether it is a group of marginal paths. Since release 0.8.3.
          type: bool
          returned: always
        paths:
          description: The paths.
          type: list
          elements: dict
          returned: always
          contains:
            device:
              description: The block device.
              type: str
              returned: always
            numbers:
              description: Its device numbers.
              type: str
              returned: always
            address:
              description: Its SCSI address, host:channel:id:lun.
              type: str
              returned: always
            state:
              description: The kernel's view, V(active) or V(failed).
              type: str
              returned: always
            checker:
              description: The checker.
              type: str
              returned: always
            checker_state:
              description: The checker's view - V(ready), V(ghost), V(faulty), V(shaky), V(delayed), V(i/o pending), V(i/o timeout), V(disconnected).
              type: str
              returned: always
            online:
              description: Whether the SCSI layer holds the device for running.
              type: bool
              returned: always
            usable:
              description: Whether the path is active to the kernel, and ready or ghost to the checker.
              type: bool
              returned: always
            priority:
              description: Priority of the path.
              type: int
              returned: always
            marginal:
              description: Whether the path is marginal. Since release 0.8.3.
              type: bool
              returned: always
            target:
              description: As C(multipathd) knows it, the name of the target on iSCSI, a WWNN on Fibre Channel.
              type: str
              returned: always
            target_wwpn:
              description: WWPN of the target on Fibre Channel.
              type: str
              returned: always
            host_wwnn:
              description: WWNN of the host adapter on Fibre Channel.
              type: str
              returned: always
            host_wwpn:
              description: WWPN of the host adapter on Fibre Channel.
              type: str
              returned: always
            adapter:
              description: The host's own address on iSCSI, a PCI function otherwise.
              type: str
              returned: always
            session:
              description: The iSCSI session behind the path; V(null) for a path that is not iSCSI, or whose session has gone.
              type: dict
              returned: always
              contains:
                sid:
                  description: Session id.
                  type: int
                  returned: always
                target:
                  description: Name of the target.
                  type: str
                  returned: always
                portal:
                  description: The portal it is connected to, as C(address:port,tpgt).
                  type: str
                  returned: always
                iface:
                  description: Name of the iface.
                  type: str
                  returned: always
                state:
                  description: State of the session - V(LOGGED_IN), V(FAILED), V(FREE).
                  type: str
                  returned: always
problems:
  description: What is wrong around the maps - no daemon, names that mean no map, maps without a usable path, maps that C(multipathd) does not know.
  returned: success, and when O(wait_for) was not reached
  type: list
  elements: dict
  sample:
    - {object: map rbd0, remedy: Look at the sessions behind its paths, what: "has no usable path: its I/O waits"}
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
missing:
  description: What O(wait_for) still lacks, map by map.
  returned: when O(wait_for) was not reached
  type: list
  elements: dict
  sample:
    - {object: map rbd0, remedy: "", what: "has 1 of 2 usable paths (sdc is failed to the kernel and faulty to the checker)"}
  contains:
    object:
      description: The map.
      type: str
      returned: always
    what:
      description: What it lacks.
      type: str
      returned: always
    remedy:
      description: What to do.
      type: str
      returned: always
"""

import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._argspec import check_timeout
from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import run_guarded
from ansible_collections.lunar.iscsi.plugins.module_utils._module import CheckedModule
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.daemon import Daemon
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.info import Sessions, check_wait, gather
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.sessions import read_sessions


def sessions_by_disk(sys: str = "/sys") -> Sessions:
    """The session behind each disk of this host: ``sdb`` -> ``{sid, target, portal, iface, state}``."""
    found: t.Dict[str, t.Dict[str, t.Any]] = {}
    for session in read_sessions(sys):
        fact = session.as_fact()
        shown = dict({name: fact[name] for name in ("sid", "target", "portal", "state")}, iface=session.iface.name)
        found.update({lun.name: shown for lun in session.luns if lun.name is not None})
    return found


def look(daemon: Daemon, options: t.Mapping[str, t.Any], sys: str = "/sys", dev: str = "/dev") -> t.Dict[str, t.Any]:
    """What the module returns, or the ``IscsiError`` it fails with."""
    timeout = check_timeout(options["timeout"])
    return gather(daemon, options["maps"], check_wait(options["wait_for"]), timeout, lambda: sessions_by_disk(sys), sys=sys, dev=dev)


def main() -> None:
    module = CheckedModule(
        argument_spec={
            "maps": {"type": "list", "elements": "str", "default": []},
            "wait_for": {
                "type": "dict",
                "options": {
                    "paths": {"type": "int"},
                    "groups": {"type": "int"},
                    "all_ready": {"type": "bool", "default": False},
                    "group_active": {"type": "bool", "default": False},
                    "active_priority": {"type": "int"},
                },
            },
            "timeout": {"type": "float", "default": 30},
        },
        supports_check_mode=True,
    )
    run_guarded(module, lambda: look(Daemon(), module.params))


if __name__ == "__main__":
    main()
