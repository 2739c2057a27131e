# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: iscsi_session_info
short_description: Return the iSCSI sessions of a host
version_added: 0.1.0
description:
  - Returns what C(iscsiadm -m session -P 3) prints, as data - portals, states, negotiated parameters, timers, disks.
  - Everything is read from C(/sys) and from udev's database, with O(explain) also from the kernel's log. No process is started, and no daemon
    is asked, but for O(statistics).
  - Two lines of C(iscsiadm) are missing, since only C(iscsid) knows them - its own state of the connection, and its internal
    state of the session. RV(sessions[].connections[].state) has the state of the connection in the kernel instead.
  - CHAP secrets are not read, not even where the kernel would show them.
  - With O(explain) each session is explained - what broke its connection, by the kernel's own log and in words, whether it is being made
    again, and how long I/O will wait.
author:
  - The lunar.iscsi contributors (@lunar-iscsi)
extends_documentation_fragment:
  - lunar.iscsi.attributes
  - lunar.iscsi.attributes.info
options:
  targets:
    description: Return only the sessions with targets that match one of these globs. Upper and lower case differ.
    type: list
    elements: str
    default: []
  sids:
    description: Return only the sessions with one of these session ids.
    type: list
    elements: int
    default: []
  explain:
    description:
      - Read the kernel's log (C(/dev/kmsg)) and return RV(sessions[].explanation). The log is of limited size, and what it does not hold
        any more cannot be told. It is read once from its beginning to its end, for three seconds at most.
      - Only what the kernel says is read, not what C(iscsid) writes into the system's log.
    type: bool
    default: false
  statistics:
    description:
      - Return the counters of each session, too, as C(iscsiadm -m session --stats) prints them. The kernel hands them to C(iscsid) alone, so C(iscsiadm) is
        started once, and once more for each session where one of them gives no answer. Without a session it is not started.
    type: bool
    default: false
notes:
  - CHAP user names, and the serial number page a WWID is made of, are for root only. Without C(become) they are V(null), or
    come from udev's database.
  - The kernel's log is mostly for root only. Where O(explain) cannot read it, RV(problems) says so, and what C(/sys) tells is explained.
seealso:
  - module: lunar.iscsi.iscsi_node
  - module: lunar.iscsi.iscsi_discovery
"""

EXAMPLES = r"""
- name: Which sessions are there?
  lunar.iscsi.iscsi_session_info:
  register: iscsi

- name: Is every session of this array up?
  lunar.iscsi.iscsi_session_info:
    targets: ["iqn.2003-01.org.linux-iscsi.*"]
  register: array
  failed_when: array.sessions | rejectattr('state', 'eq', 'LOGGED_IN') | list | length > 0

- name: Show the disks and over how many paths they are reached
  ansible.builtin.debug:
    msg: "{{ item.wwid }} {{ item.map or item.device }} {{ item.paths | length }} path(s)"
  loop: "{{ iscsi.disks }}"

- name: Why does I/O hang, and for how long?
  lunar.iscsi.iscsi_session_info:
    explain: true
  register: iscsi

- name: Say it in words
  ansible.builtin.debug:
    msg: "{{ item.target }} at {{ item.portal }}: {{ item.explanation.summary }}"
  loop: "{{ iscsi.sessions }}"

- name: How much went over each session, and did anything go wrong?
  lunar.iscsi.iscsi_session_info:
    statistics: true
  register: counted
  failed_when: counted.sessions | map(attribute='statistics') | select | selectattr('digest_err', 'gt', 0) | list | length > 0

- name: Log out of everything there is
  lunar.iscsi.iscsi_node:
    nodes: "{{ iscsi.nodes }}"
    state: logged_out
"""

RETURN = r"""
sessions:
  description: The sessions, by session id. What the driver or the kernel does not tell is V(null).
  returned: success
  type: list
  elements: dict
  sample:
    - chap: {username: host1, username_in: null}
      connections:
        - {cid: 0, persistent_portal: "192.168.56.101:3260,1", portal: "192.168.56.101:3260,1", state: up}
      host: 2
      host_state: running
      iface:
        {hwaddress: null, initiatorname: "iqn.2026-11.org.example:host1", ipaddress: 192.168.56.10, name: default, netdev: null,
         transport: tcp}
      luns:
        - {address: "2:0:0:1", device: /dev/sda, lun: 1, model: VIRTUAL-DISK, size: 1073741824, state: running, type: 0, vendor: IET}
      negotiated:
        {data_digest: None, data_pdu_in_order: true, data_sequence_in_order: true, error_recovery_level: 0, first_burst_length: 65536,
         header_digest: None, immediate_data: true, initial_r2t: true, max_burst_length: 262144, max_outstanding_r2t: 1,
         max_recv_data_segment_length: 262144, max_xmit_data_segment_length: 8192}
      persistent_portal: "192.168.56.101:3260,1"
      portal: "192.168.56.101:3260,1"
      sid: 1
      state: LOGGED_IN
      statistics: {async_pdus: 0, datain_pdus: 24, digest_err: 0, rxdata_octets: 98304, scsicmd_pdus: 61, timeout_err: 0, txdata_octets: 3120}
      target: "iqn.2026-11.org.example:disk1"
      target_alias: null
      target_id: 0
      target_state: SCANNED
      timeouts: {abort_tmo: 15, lu_reset_tmo: 30, ping_tmo: 5, recovery_tmo: 120, recv_tmo: 5, tgt_reset_tmo: 30}
      tpgt: 1
  contains:
    sid:
      description: Session id. It is given anew at every login.
      type: int
      returned: always
    target:
      description: Name of the target.
      type: str
      returned: always
    target_alias:
      description: What the target calls itself beside its name.
      type: str
      returned: always
    portal:
      description: Where the session is connected now, as C(address:port,tpgt). It differs from RV(sessions[].persistent_portal) after a redirect.
      type: str
      returned: always
    persistent_portal:
      description: The portal that the login was asked for, which is the one of the node record.
      type: str
      returned: always
    tpgt:
      description: Portal group tag.
      type: int
      returned: always
    iface:
      description: What the session is bound to.
      type: dict
      returned: always
      contains:
        name: {description: "Name of the iface record, V(default) if none was given.", type: str, returned: always}
        transport: {description: "Driver of the session, such as V(tcp) or V(iser).", type: str, returned: always}
        netdev: {description: Network interface that the session is bound to., type: str, returned: always}
        hwaddress: {description: Hardware address that the session is bound to., type: str, returned: always}
        ipaddress: {description: Address of this host in the session., type: str, returned: always}
        initiatorname: {description: Initiator name that the login was done with., type: str, returned: always}
    state:
      description:
        - V(LOGGED_IN), V(FAILED) while the connection is lost and is being made again, V(FREE) once
          RV(sessions[].timeouts.recovery_tmo) is over and I/O fails.
      type: str
      returned: always
    target_state:
      description: What became of the SCSI target of the session, such as V(SCANNED). Kernels before 5.19 do not tell.
      type: str
      returned: always
    host:
      description: Number of the SCSI host.
      type: int
      returned: always
    host_state:
      description: State of the SCSI host, such as V(running).
      type: str
      returned: always
    target_id:
      description: Number of the target at its SCSI host.
      type: int
      returned: always
    connections:
      description: The TCP connections of the session.
      type: list
      elements: dict
      returned: always
      contains:
        cid: {description: Connection id., type: int, returned: always}
        portal: {description: Where it is connected now., type: str, returned: always}
        persistent_portal: {description: The portal that the login was asked for., type: str, returned: always}
        state: {description: "V(up), V(down) or V(failed). Kernels before 5.7 do not tell.", type: str, returned: always}
    negotiated:
      description: What initiator and target agreed upon. Lengths are in bytes.
      type: dict
      returned: always
      contains:
        header_digest: {description: V(CRC32C) or V(None)., type: str, returned: always}
        data_digest: {description: V(CRC32C) or V(None)., type: str, returned: always}
        max_recv_data_segment_length: {description: Longest data segment that this host takes., type: int, returned: always}
        max_xmit_data_segment_length: {description: Longest data segment that the target takes., type: int, returned: always}
        first_burst_length: {description: Most data that may be sent without being asked for., type: int, returned: always}
        max_burst_length: {description: Most data in one burst., type: int, returned: always}
        immediate_data: {description: Whether a command may carry data itself., type: bool, returned: always}
        initial_r2t: {description: "Whether data waits for the target's first request.", type: bool, returned: always}
        max_outstanding_r2t: {description: How many requests of the target may be open for one command., type: int, returned: always}
        data_pdu_in_order: {description: Whether the PDUs of a burst come in order., type: bool, returned: always}
        data_sequence_in_order: {description: Whether the bursts of a command come in order., type: bool, returned: always}
        error_recovery_level: {description: "Error recovery level, 0 to 2.", type: int, returned: always}
    timeouts:
      description: Timers, in seconds.
      type: dict
      returned: always
      contains:
        recovery_tmo:
          description: How long a lost session may take to come back before I/O fails (C(node.session.timeo.replacement_timeout)).
          type: int
          returned: always
        abort_tmo: {description: How long aborting a command may take., type: int, returned: always}
        lu_reset_tmo: {description: How long resetting a LUN may take., type: int, returned: always}
        tgt_reset_tmo: {description: How long resetting the target may take., type: int, returned: always}
        ping_tmo: {description: "How long a ping may take (C(node.conn[0].timeo.noop_out_timeout)).", type: int, returned: always}
        recv_tmo:
          description: How long the connection is silent before it is pinged (C(node.conn[0].timeo.noop_out_interval)).
          type: int
          returned: always
    chap:
      description: The names CHAP was done with. Secrets are never returned.
      type: dict
      returned: always
      contains:
        username: {description: Name of this initiator., type: str, returned: always}
        username_in: {description: Name the target showed., type: str, returned: always}
    luns:
      description: The SCSI devices of the session, disks and others.
      type: list
      elements: dict
      returned: always
      contains:
        lun: {description: Number of the LUN., type: int, returned: always}
        address: {description: "SCSI address, as C(host:channel:target:lun).", type: str, returned: always}
        type: {description: "SCSI peripheral device type, V(0) for a disk, V(12) for the controller that C(tgt) shows as LUN 0.", type: int, returned: always}
        device: {description: The block device., type: str, returned: always}
        state: {description: "State of the device, such as V(running), V(blocked) or V(transport-offline).", type: str, returned: always}
        vendor: {description: "Vendor, as the LUN tells it.", type: str, returned: always}
        model: {description: "Product, as the LUN tells it.", type: str, returned: always}
        size: {description: Size in bytes., type: int, returned: always}
    explanation:
      description: What befell the session, in words.
      type: dict
      returned: when O(explain=true)
      sample:
        summary: >-
          The connection is lost and being made again. I/O waits, and fails in 107.7 s if nothing comes of it.
          Last error, 12 s ago: the target closed the connection (1020 ISCSI_ERR_TCP_CONN_CLOSE).
        recovery: waiting
        scsi_error_handler: false
        timer: {name: recovery_tmo, setting: node.session.timeo.replacement_timeout, seconds: 120, remaining: 107.7}
        error:
          {age: 12.3, cid: 0, meaning: the target closed the connection, message: detected conn error (1020), name: ISCSI_ERR_TCP_CONN_CLOSE,
           number: 1020, time: "2026-11-21T17:40:30Z"}
        events:
          - {age: 12.3, cid: 0, meaning: the target closed the connection, message: detected conn error (1020), name: ISCSI_ERR_TCP_CONN_CLOSE,
             number: 1020, time: "2026-11-21T17:40:30Z"}
      contains:
        summary: {description: All of this in one or two sentences., type: str, returned: always}
        recovery:
          description:
            - V(none) for a session that has nothing to recover from, V(waiting) while the connection is being made again and I/O waits, V(over) once
              RV(sessions[].timeouts.recovery_tmo) is over and I/O fails. V(null) where the driver does not tell the state of the session.
          type: str
          returned: always
        scsi_error_handler:
          description:
            - Whether the SCSI error handler is at work, which is RV(sessions[].host_state=recovery). It aborts commands that took too long, and
              resets LUNs and sessions.
          type: bool
          returned: always
        timer:
          description:
            - The timer that decides what comes next, V(null) where none is known to run. While a session waits it is the one for its recovery, unless that
              may take for ever. While it works it is the one that has the target pinged.
          type: dict
          returned: always
          contains:
            name: {description: "V(recovery_tmo) or V(recv_tmo), as in RV(sessions[].timeouts).", type: str, returned: always}
            setting: {description: The setting of the record that it comes from., type: str, returned: always}
            seconds: {description: How long it runs., type: int, returned: always}
            remaining:
              description:
                - How many seconds of V(recovery_tmo) are left at least. It is counted from an error in the kernel's log. Where one error followed another,
                  the log does not tell which of them the timer began with, and the oldest that comes into question is taken.
                - V(null) where the log does not hold the error, and for V(recv_tmo), which begins anew whenever the target is heard.
              type: float
              returned: always
        error:
          description: The newest of RV(sessions[].explanation.events) that is a connection error, V(null) where the log holds none.
          type: dict
          returned: always
        events:
          description: What the kernel's log says about this session, oldest first, the last 20 messages.
          type: list
          elements: dict
          returned: always
          contains:
            time:
              description:
                - When, in UTC. The kernel's log has the time since the host was started, and not always with all that it slept. What is
                  long ago may be some seconds off.
              type: str
              returned: always
            age: {description: How many seconds ago., type: float, returned: always}
            cid: {description: Connection id. V(null) where the message is about the session., type: int, returned: always}
            message: {description: The words of the kernel., type: str, returned: always}
            number: {description: "Number of the connection error, such as V(1020). V(null) where the message is none.", type: int, returned: always}
            name: {description: "The kernel's name for that number. Open-iscsi's documentation counts them without the 1000.", type: str, returned: always}
            meaning: {description: "What the message means, V(null) where there is nothing to add to the words of the kernel.", type: str, returned: always}
    statistics:
      description:
        - The counters of the session by the names that C(iscsiadm) prints, those of the transport (such as C(eh_abort_cnt)) beside those that all have.
          They begin at the login. V(null) where the session gave none; RV(problems) says why.
      type: dict
      returned: when O(statistics=true)
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
nodes:
  description: The nodes these sessions belong to, as O(lunar.iscsi.iscsi_node#module:nodes) takes them.
  returned: success
  type: list
  elements: dict
  sample:
    - {ifaces: [default], portals: ["192.168.56.101:3260,1"], target: "iqn.2026-11.org.example:disk1"}
  contains:
    target:
      description: Name of the target.
      type: str
      returned: always
    portals:
      description: The portals, as C(address:port,tpgt).
      type: list
      elements: str
      returned: always
    ifaces:
      description: Name of the iface.
      type: list
      elements: str
      returned: always
problems:
  description: What kept something from being explained or counted. Empty without O(explain) and O(statistics).
  returned: success
  type: list
  elements: dict
  sample:
    - object: the kernel's log /dev/kmsg
      what: "cannot be read: Operation not permitted"
      remedy: Run the task as root, outside of a container
  contains:
    object:
      description: What it is about.
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

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import run_guarded
from ansible_collections.lunar.iscsi.plugins.module_utils._host.kernel_log import KMSG
from ansible_collections.lunar.iscsi.plugins.module_utils._module import CheckedModule
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.disks import read_disks
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.explain import explain_sessions
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.sessions import Session, nodes_of, read_sessions, select_sessions


def look(
    targets: t.Sequence[str], sids: t.Sequence[int], explain: bool = False, statistics: bool = False, sys: str = "/sys", dev: str = "/dev",
    udev_db: str = "/run/udev/data", kmsg: str = KMSG,
) -> t.Dict[str, t.Any]:
    """What the module returns: the selected sessions, their disks, their nodes."""
    sessions = select_sessions(read_sessions(sys), targets, sids)
    explanations, problems = explain_sessions(sessions, kmsg) if explain else ({}, [])
    facts = [dict(session.as_fact(), **explanations.get(session.sid, {})) for session in sessions]
    if statistics:
        problems += _count(sessions, facts)
    return {
        "changed": False,
        "sessions": facts,
        "disks": [disk.as_fact() for disk in read_disks(sessions, sys, dev, udev_db)],
        "nodes": nodes_of(sessions),
        "problems": problems,
    }


def _count(sessions: t.Sequence[Session], facts: t.Sequence[t.Dict[str, t.Any]]) -> t.List[t.Dict[str, str]]:
    """Add the counters to the facts of the sessions; returns problems."""
    # seldom asked for, and every import costs the host at every task
    from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Runner
    from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.statistics import read_statistics

    counters, problems = read_statistics([session.sid for session in sessions], Runner())
    for fact in facts:
        fact["statistics"] = counters.get(fact["sid"])
    return problems


def main() -> None:
    module = CheckedModule(
        argument_spec={
            "targets": {"type": "list", "elements": "str", "default": []},
            "sids": {"type": "list", "elements": "int", "default": []},
            "explain": {"type": "bool", "default": False},
            "statistics": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    run_guarded(module, lambda: look(**module.params))


if __name__ == "__main__":
    main()
