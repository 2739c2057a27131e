# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gluster command says in XML, as values."""

from __future__ import annotations

DOCUMENTATION = r"""
name: gluster_volume
short_description: Read what gluster says of a volume and of its peers
version_added: 0.1.0
author:
  - The lunar.iscsi contributors (@lunar-iscsi)
description:
  - Takes what C(gluster --xml volume info NAME) or C(gluster --xml peer status) printed.
  - With O(wanted), says which options of the volume differ.
positional: _input
options:
  _input:
    description: The XML. Empty for a host that has no C(gluster) yet.
    type: str
    required: true
  wanted:
    description: Options of the volume as they shall be, by their full names. V(true) and V(false) are C(on) and C(off).
    type: dict
    default: {}
seealso:
  - plugin: lunar.iscsi.gluster_luns
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Ask for the volume
  ansible.builtin.command: gluster --mode=script --xml volume info gv0
  register: info
  changed_when: false

- name: Which options differ?
  ansible.builtin.debug:
    msg: "{{ (info.stdout | lunar.iscsi.gluster_volume(wanted={'performance.read-ahead': false})).differing }}"
"""

RETURN = r"""
_value:
  description: What was read.
  type: dict
  contains:
    exists:
      description: Whether there is such a volume.
      type: bool
    started:
      description: Whether it is started.
      type: bool
    error:
      description: What gluster said was wrong.
      type: str
      sample: Volume does not exist
    bricks:
      description: The bricks, arbiters among them.
      type: list
      elements: str
      sample: ["gluster1:/srv/brick"]
    replica:
      description: How many copies of each file there are, arbiters counted.
      type: int
    arbiter:
      description: How many of them are arbiters.
      type: int
    options:
      description: The options that were set.
      type: dict
      sample: {performance.read-ahead: "off"}
    differing:
      description: The options of O(wanted) that are not so, as words for C(gluster volume set).
      type: list
      elements: str
      sample: [performance.read-ahead, "off"]
    peers:
      description: The names and addresses by which other servers are known, and whether each is connected and belongs to the others.
      type: dict
      sample: {192.168.57.102: true}
    joined:
      description: How many other servers are connected and belong together with the one that was asked.
      type: int
"""

import typing as t
from xml.etree import ElementTree

from ansible.errors import AnsibleFilterError


def gluster_volume(text: str, wanted: t.Optional[t.Mapping[str, t.Any]] = None) -> t.Dict[str, t.Any]:
    """What was read; see above. Raises ``AnsibleFilterError`` for what is no XML of gluster's."""
    if "<!" in text:  # entities, which gluster never writes, could fill the controller's memory
        raise AnsibleFilterError(f"gluster did not print XML of its own: {text[:200]!r}")
    try:
        root = ElementTree.fromstring(text) if text.strip() else ElementTree.Element("cliOutput")  # noqa: S314  nothing is declared in it, see above
    except ElementTree.ParseError as error:
        raise AnsibleFilterError(f"gluster did not print XML ({error}): {text[:200]!r}") from error
    volume = root.find("volInfo/volumes/volume")
    # 3: Peer in Cluster, the last of the states that a new one goes through
    peers = [(peer, (peer.findtext("connected"), peer.findtext("state")) == ("1", "3")) for peer in root.iterfind("peerStatus/peer")]
    found = ElementTree.Element("volume") if volume is None else volume
    options = {one.findtext("name", ""): one.findtext("value", "") for one in found.iterfind("options/option")}
    said = {str(key): ("on" if value else "off") if isinstance(value, bool) else str(value) for key, value in (wanted or {}).items()}
    return {
        "exists": volume is not None,
        "started": found.findtext("statusStr") == "Started",
        "error": root.findtext("opErrstr") or "",
        "bricks": [one.findtext("name", "") for one in found.iterfind("bricks/brick")],
        "replica": int(found.findtext("replicaCount", "0")),
        "arbiter": int(found.findtext("arbiterCount", "0")),
        "options": options,
        "differing": [word for key, value in said.items() if options.get(key) != value for word in (key, value)],
        "peers": {name.text: joined for peer, joined in peers for name in peer.iterfind("hostnames/hostname")},
        "joined": sum(joined for _peer, joined in peers),
    }


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"gluster_volume": gluster_volume}
