# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role boot tells the initramfs: which target to log in to, and how to reach it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: boot_initramfs
short_description: Say nodes and network interfaces the way initramfs-tools and dracut take them
version_added: 0.1.0
author:
  - The lunar.iscsi contributors (@lunar-iscsi)
description:
  - Makes the files from which an initramfs learns what to log in to before the root file system is there, and words for a kernel command line.
  - What the tool cannot do is refused in words.
positional: _input
options:
  _input:
    description: The nodes, as M(lunar.iscsi.iscsi_boot_info) returns them. With O(firmware=true), they may be empty.
    type: list
    elements: dict
    required: true
  generator:
    description: The tool that makes the initramfs.
    type: str
    choices: [initramfs-tools, dracut]
    required: true
  firmware:
    description: Whether the table of the boot firmware says what to log in to.
    type: bool
    default: false
  nics:
    description:
      - The network interfaces to set up, as M(lunar.iscsi.iscsi_boot_info) returns them. An C(address) of V(dhcp) means that it is asked for.
    type: list
    elements: dict
    default: []
  initiator_name:
    description: The InitiatorName.
    type: str
    default: ""
  auth:
    description: CHAP, as O(lunar.iscsi.iscsi_node#module:auth).
    type: dict
    default: {}
  lun:
    description: The LUN of the disk. dracut alone wants to know.
    type: int
    default: 0
  settings:
    description: Settings of the record for the session that the initramfs makes. dracut alone can be told.
    type: dict
    default: {}
  more:
    description: More words of a kernel command line for the initramfs. For dracut alone.
    type: list
    elements: str
    default: []
seealso:
  - module: lunar.iscsi.iscsi_boot_info
  - module: lunar.iscsi.iscsi_initramfs
"""

EXAMPLES = r"""
- name: What would the initramfs be told?
  ansible.builtin.debug:
    msg: "{{ nodes | lunar.iscsi.boot_initramfs(generator='initramfs-tools', nics=nics, initiator_name='iqn.1993-08.org.debian:01:host1') }}"
  vars:
    nodes: [{target: iqn.2003-01.org.linux-iscsi.rheln1, portals: ["192.168.56.101:3260,1"]}]
    nics: [{interface: ens17, address: 192.168.56.10, netmask: 255.255.255.0}]
"""

RETURN = r"""
_value:
  description:
    - C(target_file) is the content of C(/etc/iscsi/iscsi.initramfs), C(conf_file) that of a file in C(/etc/initramfs-tools/conf.d). Both are empty for dracut.
    - C(words) are what dracut has to have on a kernel command line. Empty for initramfs-tools.
    - C(secret) says whether there is a secret in any of them.
  type: dict
  sample:
    target_file: "ISCSI_INITIATOR=iqn.1993-08.org.debian:01:host1\nISCSI_TARGET_NAME=iqn.2003-01.org.linux-iscsi.rheln1\n"
    conf_file: "IP=192.168.56.10:::255.255.255.0::ens17:off\n"
    words: []
    secret: false
"""

import ipaddress
import re
import shlex
import typing as t

from ansible.errors import AnsibleFilterError

DHCP = "dhcp"
#: name in auth, in iscsi.initramfs, and as a word for dracut
SECRETS = (("username", "ISCSI_USERNAME", "rd.iscsi.username"), ("password", "ISCSI_PASSWORD", "rd.iscsi.password"),
           ("username_in", "ISCSI_IN_USERNAME", "rd.iscsi.in.username"), ("password_in", "ISCSI_IN_PASSWORD", "rd.iscsi.in.password"))

Options = t.Mapping[str, t.Any]


class Portal(t.NamedTuple):
    host: str
    port: int
    tag: t.Optional[int]


def boot_initramfs(
    nodes: t.Sequence[Options], *, generator: str, firmware: bool = False, nics: t.Sequence[Options] = (), initiator_name: str = "",
    auth: t.Optional[Options] = None, lun: int = 0, settings: t.Optional[Options] = None, more: t.Sequence[str] = (),
) -> t.Dict[str, t.Any]:
    """The files and the words; see above. Raises ``AnsibleFilterError``."""
    if generator not in ("initramfs-tools", "dracut"):
        raise AnsibleFilterError(f"generator is {generator!r}. It is initramfs-tools or dracut.")
    chap = auth if auth and auth.get("method", "CHAP") == "CHAP" and not firmware else {}
    paths = [(str(node["target"]), _portal(portal)) for node in nodes for portal in node.get("portals") or ()]
    if not firmware:
        _check_paths(paths, nics, generator)
    secret = bool(chap.get("password"))
    if generator == "initramfs-tools":
        for nic in nics:
            if ":" in str(nic.get("address") or ""):
                raise AnsibleFilterError(f"{nic.get('interface')}: initramfs-tools sets up no IPv6 address ({nic['address']}). Use IPv4 or dracut.")
        if more:
            raise AnsibleFilterError("initramfs-tools reads no command line but that of the kernel. Put the words for it into your boot loader.")
        lines = [f"IP={_quoted(_ip(nic, 'off'))}" for nic in nics[:1]] + (["UMASK=0077"] if secret else [])
        return {"target_file": "ISCSI_AUTO=true\n" if firmware else _target_file(paths[0], initiator_name, chap), "conf_file": _lines(lines), "words": [],
                "secret": secret}
    words = _words(paths, firmware, nics, initiator_name, chap, int(lun), dict(settings or {})) + [str(word) for word in more]
    bad = next((word for word in words if re.search(r"[\s\"$`\\]", word)), None)
    if bad is not None:
        raise AnsibleFilterError(f"A word for the command line of the initramfs has white space, a quotation mark, $, ` or \\ in it: {_shown(bad)}. "
                                 "It cannot be said there. Choose another name or secret.")
    return {"target_file": "", "conf_file": "", "words": words, "secret": secret}


def _check_paths(paths: t.Sequence[t.Tuple[str, Portal]], nics: t.Sequence[Options], generator: str) -> None:
    if not paths:
        raise AnsibleFilterError("There is nothing to log in to: no node with a portal is given or found. Set boot_nodes, or boot_firmware.")
    if not nics:
        raise AnsibleFilterError("No network interface is given or found that leads to the target. Set boot_nics, or boot_firmware.")
    if generator == "initramfs-tools" and len({target for target, _portal in paths}) > 1:
        names = ", ".join(sorted({target for target, _portal in paths}))
        raise AnsibleFilterError(f"initramfs-tools logs in to one target alone, and these are {names}. Name one in boot_nodes, or use the firmware or dracut.")


def _portal(text: str) -> Portal:
    """``address``, ``address:port``, ``address:port,tpgt``, with brackets around IPv6, as iscsi_boot_info says them."""
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:,\[\]]+))(?::([0-9]{1,5}))?(?:,([0-9]{1,5}))?", str(text))
    if not found:
        raise AnsibleFilterError(f"portal {text!r} is no address:port,tpgt.")
    return Portal(found.group(1) or found.group(2), int(found.group(3) or 3260), None if found.group(4) is None else int(found.group(4)))


def _target_file(path: t.Tuple[str, Portal], initiator_name: str, chap: Options) -> str:
    """Settings for a shell, which scripts/local-top/iscsi of Debian's open-iscsi reads."""
    target, portal = path
    values = [("ISCSI_INITIATOR", initiator_name), ("ISCSI_TARGET_NAME", target), ("ISCSI_TARGET_IP", portal.host), ("ISCSI_TARGET_PORT", str(portal.port)),
              ("ISCSI_TARGET_GROUP", str(1 if portal.tag is None else portal.tag))]
    values += [(variable, str(chap.get(word) or "")) for word, variable, _name in SECRETS]
    return _lines(f"{variable}={_quoted(value)}" for variable, value in values if value)


def _words(
    paths: t.Sequence[t.Tuple[str, Portal]], firmware: bool, nics: t.Sequence[Options], initiator_name: str, chap: Options, lun: int,
    settings: t.Mapping[str, t.Any],
) -> t.List[str]:
    words = ["rd.neednet=1", *(f"ip={_ip(nic, 'none')}" for nic in nics)]
    if firmware:
        return [*([] if nics else ["rd.iscsi.ibft=1"]), "rd.iscsi.firmware=1", *words]
    words += [f"rd.iscsi.initiator={initiator_name}"] if initiator_name else []
    words += [f"{name}={chap[word]}" for word, _variable, name in SECRETS if chap.get(word)]
    words += [f"rd.iscsi.param={key}={value}" for key, value in settings.items()]
    for target, portal in paths:
        host = f"[{portal.host}]" if ":" in portal.host else portal.host
        words.append(f"netroot=iscsi:{host}::{portal.port}:{lun}:{target}")
    return words


def _ip(nic: Options, static: str) -> str:
    """The word ``ip=`` of both tools: address, (server), gateway, mask, (host name), network interface, how."""
    name, address = str(nic.get("interface") or ""), str(nic.get("address") or "")
    if not name or not address:
        raise AnsibleFilterError(f"network interface {name or dict(nic)}: its {'address' if name else 'name'} is not known. Say it in boot_nics, or say dhcp.")
    if address == DHCP:
        return f":::::{name}:dhcp" if static == "off" else f"{name}:dhcp"
    try:
        six = ipaddress.ip_address(address).version == 6
        mask = str(nic.get("prefix") if six else nic.get("netmask") or ipaddress.ip_network(f"{address}/{nic['prefix']}", strict=False).netmask)
    except (ValueError, KeyError):
        raise AnsibleFilterError(f"network interface {name}: address {address!r} with netmask {nic.get('netmask')!r} or prefix {nic.get('prefix')!r} is none "
                                 "that can be set.") from None
    gateway = str(nic.get("gateway") or "")
    if six:
        address, gateway = f"[{address}]", f"[{gateway}]" if gateway else ""
    return f"{address}::{gateway}:{mask}::{name}:{static}"


def _quoted(text: str) -> str:
    return shlex.quote(text)


def _shown(word: str) -> str:
    name, _equals, _value = word.partition("=")
    return f"{name}=********" if "password" in name else word


def _lines(lines: t.Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"boot_initramfs": boot_initramfs}
