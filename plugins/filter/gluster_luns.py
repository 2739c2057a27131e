# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The targets of the role gluster_target as the module tgt_target takes them."""

from __future__ import annotations

DOCUMENTATION = r"""
name: gluster_luns
short_description: Say targets whose LUNs are files in a Gluster volume the way tgt_target takes them
version_added: 0.1.0
author:
  - The lunar.iscsi contributors (@lunar-iscsi)
description:
  - Each LUN names a file in the volume, and this makes the path below the mount of it, or what C(tgtd) calls it without a mount.
  - Combinations that lose data are refused.
positional: _input
options:
  _input:
    description: The targets, with the options of M(lunar.iscsi.tgt_target), but with C(file) in place of C(backing_store) and C(bs_type) in their LUNs.
    type: list
    elements: dict
    required: true
  volume:
    description: The name of the volume.
    type: str
    required: true
  access:
    description: How C(tgtd) gets at the files.
    type: str
    choices: [fuse, glfs]
    required: true
  server:
    description: The server that C(tgtd) asks for the volume, with V(glfs).
    type: str
    default: 127.0.0.1
  mount:
    description: Where the volume is mounted, with V(fuse).
    type: str
    default: ""
  gateways:
    description: How many hosts serve these files.
    type: int
    default: 2
seealso:
  - module: lunar.iscsi.tgt_target
"""

EXAMPLES = r"""
- name: What would a gateway serve?
  ansible.builtin.debug:
    msg: "{{ wanted | lunar.iscsi.gluster_luns(volume='gv0', access='glfs') }}"
  vars:
    wanted: [{name: "iqn.2013-10.com.example:disk3", luns: [{lun: 1, file: disk3}]}]
"""

RETURN = r"""
_value:
  description: The targets for M(lunar.iscsi.tgt_target).
  type: list
  elements: dict
  sample:
    - name: iqn.2013-10.com.example:disk3
      luns: [{lun: 1, backing_store: "gv0@127.0.0.1:disk3", bs_type: glfs, write_cache: false}]
"""

import re
import typing as t

from ansible.errors import AnsibleFilterError

#: what both tgtd's configuration and Gluster carry
FILE = re.compile(r"[A-Za-z0-9._+%=~@-]+(/[A-Za-z0-9._+%=~@-]+)*")
#: options of a LUN for the file behind it, which tgt_target makes below a mount only
OF_THE_FILE = ("size", "create", "sparse")

Options = t.Mapping[str, t.Any]


def gluster_luns(targets: t.Sequence[Options], *, volume: str, access: str, server: str = "127.0.0.1", mount: str = "",
                 gateways: int = 2) -> t.List[t.Dict[str, t.Any]]:
    """The targets for tgt_target; see above. Raises ``AnsibleFilterError``."""
    served: t.Dict[str, str] = {}
    made = []
    for target in targets:
        luns = []
        for lun in target.get("luns") or ():
            subject = f"LUN {lun.get('lun')} of target {target['name']}"
            _check(lun, subject, access, int(gateways))
            if served.setdefault(lun["file"], subject) != subject:
                raise AnsibleFilterError(f"The file {lun['file']} is {served[lun['file']]} and {subject}. Initiators take it for two disks; name it once.")
            rest = {key: value for key, value in lun.items() if key != "file" and not (access == "glfs" and key in OF_THE_FILE)}
            where = f"{volume}@{server}:{lun['file']}" if access == "glfs" else f"{mount.rstrip('/')}/{lun['file']}"
            luns.append({"write_cache": False, **rest, "backing_store": where, "bs_type": "glfs" if access == "glfs" else "rdwr"})
        said = {key: value for key, value in target.items() if key != "state"}
        made.append({**said, **({"luns": luns} if "luns" in target else {})})
    return made


def _check(lun: Options, subject: str, access: str, gateways: int) -> None:
    file = lun.get("file")
    if not isinstance(file, str) or not FILE.fullmatch(file) or {".", ".."} & set(file.split("/")):
        raise AnsibleFilterError(f"{subject}: file is {file!r}. Name a file in the volume, without a / in front, of letters, digits and / . _ - + % = ~ @.")
    for key in ("backing_store", "bs_type"):
        if key in lun:
            raise AnsibleFilterError(f"{subject}: {key} follows from file and gluster_target_access. Leave it out.")
    if access == "glfs" and ("@" in file or lun.get("flags")):
        what = "a file with an @ in its name cannot be named" if "@" in file else "tgtd opens a file for which flags are given for reading only"
        raise AnsibleFilterError(f"{subject}: through glfs, {what}. Use fuse, or do without.")
    if access == "glfs" and lun.get("sparse") is False:
        raise AnsibleFilterError(f"{subject}: through glfs, files are made sparse. Use fuse, or leave sparse out.")
    if lun.get("write_cache") and gateways != 1:
        raise AnsibleFilterError(
            f"{subject}: write_cache loses data on {gateways} gateways: a write that one has answered and not written yet is gone with it, and the other"
            " serves what was there before. Leave it out. If no other host serves this file and none shall, say gluster_target_gateways: 1.")


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"gluster_luns": gluster_luns}
