# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: multipath_conf
short_description: Edit the configuration of multipath as a document
version_added: 0.1.0
description:
  - Sets and removes keywords in C(/etc/multipath.conf) or in one of its drop-ins. Comments, order, blank lines and everything that the task
    does not name stay as they are.
  - A keyword that the installed multipath-tools does not know, a value that it would misread, a brace that is missing are refused before
    anything is written, in words. multipath-tools itself accepts nearly anything and ends with success. That holds for the whole file, whoever
    wrote it. Where the task finds nothing to change, what is wrong is told in RV(problems) and nothing fails.
  - Then C(multipath -t) of the host is asked what it makes of the file, in a mount namespace of its own. Where it complains about anything that
    it did not complain about before, nothing is written.
  - C(multipathd) is told to reconfigure only where the configuration in effect changes. Where it will not, the old file is put back.
  - A map that is mounted or used as swap, or a partition of which is, is not renamed under its users, see O(reconfigure).
  - A task that broke off after it wrote a file is made good by the next one on the host, which tells C(multipathd) even where it has nothing to write.
author:
  - The lunar.iscsi contributors (@lunar-iscsi)
extends_documentation_fragment:
  - lunar.iscsi.attributes
attributes:
  check_mode:
    support: full
    details: C(multipath -t) is asked in check mode too. It changes nothing.
  diff_mode:
    support: full
    details: Beside the file it shows what changes in the configuration in effect, where C(multipathd) is told.
  idempotent:
    support: full
  platform:
    platforms: linux
requirements:
  - C(multipath) (package C(multipath-tools) or C(device-mapper-multipath))
options:
  path:
    description: The file, V(/etc/multipath.conf) or a V(*.conf) in V(/etc/multipath/conf.d). It is made where it is missing.
    type: path
    default: /etc/multipath.conf
  state:
    description:
      - V(present) sets what the options name.
      - V(absent) removes the keywords that the options name, whatever their values are. An entry of O(devices), O(multipaths) or O(protocols)
        with nothing but what it is known by is removed as a whole.
    type: str
    choices: [present, absent]
    default: present
  replace:
    description: Let the options be the whole file. Everything else in it goes, comments too. This is also a way out of a file that is broken.
    type: bool
    default: false
  enable:
    description:
      - Do what C(mpathconf --enable) does on RHEL. A file that is missing (or replaced) begins with C(user_friendly_names yes) and
        C(find_multipaths yes), and the C(devnode) line of the blacklist that C(mpathconf --disable) writes, which covers every device, is removed.
      - What its option C(--with_multipathd y) adds, the kernel's module and the service, is left to other modules. The role
        P(lunar.iscsi.multipath_failover#role) does all of it on every distribution that it knows.
      - Only for V(/etc/multipath.conf), and only with O(state=present).
    type: bool
    default: false
  defaults:
    description: Keywords of the section C(defaults), with their values. V(true) and V(false) become the words that the keyword takes.
    type: dict
  overrides:
    description: Keywords of the section C(overrides), known since multipath-tools 0.6.0.
    type: dict
  protocols:
    description: Sections C(protocol) of C(overrides), each with its C(type) and keywords. Known since multipath-tools 0.9.0.
    type: list
    elements: dict
  devices:
    description:
      - Sections C(device), each with its C(vendor) and C(product), perhaps a C(revision), and keywords. Only a section with the very same
        ones is edited; what is built in for such a device, or matches it too, is not looked at.
    type: list
    elements: dict
  multipaths:
    description: Sections C(multipath), each with its C(wwid), and keywords such as C(alias).
    type: list
    elements: dict
  blacklist:
    description: What multipath leaves alone. Entries that are there already stay. With O(state=absent) those that are named go.
    type: dict
    suboptions: &blacklist
      devnode:
        description: Patterns of device names.
        type: list
        elements: str
      wwid:
        description: Patterns of WWIDs.
        type: list
        elements: str
      property:
        description: Patterns of udev properties.
        type: list
        elements: str
      protocol:
        description: Patterns of protocols, such as V(scsi:iscsi).
        type: list
        elements: str
      devices:
        description: Patterns of vendor and product.
        type: list
        elements: dict
        suboptions:
          vendor:
            description: Pattern of the vendor.
            type: str
          product:
            description: Pattern of the product.
            type: str
  blacklist_exceptions:
    description: What is no part of the blacklist after all.
    type: dict
    suboptions: *blacklist
  wwids:
    description:
      - WWIDs that multipath may make maps of (C(multipath -a)), or with O(state=absent) may not any more (C(multipath -w)). This is what
        V(find_multipaths) other than V(no) looks at.
    type: list
    elements: str
  validate:
    description: Ask C(multipath -t) before anything is written. It needs the right to make a mount namespace, which root in a container may lack.
    type: bool
    default: true
  reconfigure:
    description:
      - Tell C(multipathd), if it runs. Where it refuses, or is not done within O(timeout), the old file is put back and the task fails.
      - When it is told, it gives every map the name that the files say, and systemd unmounts what was mounted by the old one. So before anything
        is written the task fails where a map that is in use, or a partition on it, would get another name, whoever wrote that name into a file.
        It names the map, both names and the users. The way out is to unmount first.
      - With V(false), what the task writes is told by the next task with V(true), unless C(multipathd) was started anew in between. Where that task has
        nothing of its own to tell, a map in use that would be renamed does not make it fail. RV(problems) says so, and a later task tells C(multipathd).
      - Whoever starts C(multipathd) anew while such a map is in use has it renamed, too; a name that can wait is best left to the next boot.
    type: bool
    default: true
  backup:
    description:
      - Keep a copy of the old file, with the time in its name. That of a drop-in is kept in C(/etc/multipath), since multipath-tools before 0.8.4
        reads it as another drop-in otherwise.
    type: bool
    default: false
  timeout:
    description: How long C(multipath) may take for one answer, and C(multipathd) for getting done with its new configuration, in seconds.
    type: float
    default: 60
notes:
  - multipath-tools has to be installed, since its release decides what may be written. Releases 0.4.9 to 0.14 are known.
  - Where the name of a map hangs on what cannot be known (a section of O(devices) sets C(user_friendly_names) for patterns that may mean its device
    or not), it does not count as renamed.
seealso:
  - module: lunar.iscsi.multipath_info
  - module: lunar.iscsi.iscsi_node
  - name: multipath.conf(5)
    description: What each keyword means.
    link: https://manpages.debian.org/multipath.conf.5
"""

EXAMPLES = r"""
- name: The disks of an LIO target in two groups, as its vendor wants them
  lunar.iscsi.multipath_conf:
    enable: true
    devices:
      - vendor: LIO-ORG
        product: ".*"
        hardware_handler: 1 alua
        path_grouping_policy: failover
        path_selector: queue-length 0
        failback: 60
        path_checker: tur
        prio: alua
        prio_args: exclusive_pref_bit
        fast_io_fail_tmo: 25
        no_path_retry: queue

- name: A name for one map, in a drop-in
  lunar.iscsi.multipath_conf:
    path: /etc/multipath/conf.d/rbd.conf
    multipaths:
      - {wwid: 360014059ca317516a69465c883a29603, alias: rbd0}
    wwids: [360014059ca317516a69465c883a29603]

- name: Leave local disks alone
  lunar.iscsi.multipath_conf:
    blacklist:
      protocol: ["scsi:ata", "nvme:pcie"]
      devices:
        - {vendor: QEMU}

- name: Back to the default for one keyword
  lunar.iscsi.multipath_conf:
    state: absent
    defaults:
      polling_interval:
"""

RETURN = r"""
path:
  description: The file that was edited.
  returned: success
  type: str
  sample: /etc/multipath.conf
release:
  description: The release of multipath-tools on the host.
  returned: success
  type: str
  sample: 0.9.4
backup_file:
  description: The copy of the old file.
  returned: with O(backup=true), when there was an old file and it was changed
  type: str
  sample: /etc/multipath.conf.1234.2026-11-21@10:15:00~
steps:
  description: What was done (or would be, in check mode), in words.
  returned: always
  type: list
  elements: str
  sample: [write /etc/multipath.conf, whitelist 360014059ca317516a69465c883a29603, reconfigure multipathd]
problems:
  description:
    - What is wrong in any of the files and was not for this task to change, what is deprecated, and what of the task stays without effect, since
      a file that is read later or the section C(overrides) says otherwise, or C(detect_pgpolicy) of 0.9.6 and later chooses.
    - An alias that C(user_friendly_names) has given to another map is told, too,
      and a map in use because of which C(multipathd) was not told of what an earlier task wrote.
      Each with the object, what is wrong and a remedy.
  returned: always
  type: list
  elements: dict
  sample:
    - object: /etc/multipath/conf.d/old.conf, line 3
      what: "'fast_oi_fail_tmo' is not a keyword of 'device' of 'devices'"
      remedy: Did you mean 'fast_io_fail_tmo'?
"""

import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import converge
from ansible_collections.lunar.iscsi.plugins.module_utils._module import CheckedModule
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.conf_task import ConfTask


def _blacklist() -> t.Dict[str, t.Any]:
    words: t.Dict[str, t.Any] = {name: {"type": "list", "elements": "str"} for name in ("devnode", "wwid", "property", "protocol")}
    device = {"vendor": {"type": "str"}, "product": {"type": "str"}}
    return {"type": "dict", "options": dict(words, devices={"type": "list", "elements": "dict", "options": device})}


def main() -> None:
    """Read, edit, ask multipath, write, tell the daemon, read again."""
    module = CheckedModule(
        argument_spec={
            "path": {"type": "path", "default": "/etc/multipath.conf"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "replace": {"type": "bool", "default": False},
            "enable": {"type": "bool", "default": False},
            "defaults": {"type": "dict"},
            "overrides": {"type": "dict"},
            "protocols": {"type": "list", "elements": "dict"},
            "devices": {"type": "list", "elements": "dict"},
            "multipaths": {"type": "list", "elements": "dict"},
            "blacklist": _blacklist(),
            "blacklist_exceptions": _blacklist(),
            "wwids": {"type": "list", "elements": "str"},
            "validate": {"type": "bool", "default": True},
            "reconfigure": {"type": "bool", "default": True},
            "backup": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 60},
        },
        supports_check_mode=True,
    )
    converge(module, ConfTask, module.params)


if __name__ == "__main__":
    main()
