# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an initramfs has to have in it for a root file system on iSCSI, by the tool that makes it; what one lacks, in words."""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.lunar.iscsi.plugins.module_utils._boot.archive import Archive, read_archive
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.files import read_bytes, under_root

INITRAMFS_TOOLS, DRACUT = "initramfs-tools", "dracut"
#: a file in the initramfs -> the file of the system that it has to be equal to; what the system does not have must not be there either
_COPIES: t.Mapping[str, t.Mapping[str, str]] = {
    # usr/share/initramfs-tools/hooks/iscsi of Debian's open-iscsi
    INITRAMFS_TOOLS: {
        "sbin/iscsistart": "/sbin/iscsistart", "etc/initiatorname.iscsi": "/etc/iscsi/initiatorname.iscsi", "etc/iscsi.initramfs": "/etc/iscsi/iscsi.initramfs",
    },
    # modules.d/95iscsi of dracut
    DRACUT: {},
}
_NEEDED: t.Mapping[str, t.Sequence[str]] = {INITRAMFS_TOOLS: ("scripts/local-top/iscsi", "sbin/iscsistart"), DRACUT: ("sbin/iscsiroot",)}
#: dracut takes what its version uses: the tools of a whole initiator, or the one made for the purpose
_EITHER: t.Mapping[str, t.Sequence[t.Sequence[str]]] = {INITRAMFS_TOOLS: (), DRACUT: (("sbin/iscsistart",), ("sbin/iscsiadm", "sbin/iscsid"))}
#: in this order: where dracut has taken the place of Debian's initramfs-tools, initramfs-tools-core with mkinitramfs may stay
_PROGRAMS: t.Sequence[t.Tuple[str, t.Sequence[str]]] = (
    (INITRAMFS_TOOLS, ("/usr/sbin/update-initramfs",)), (DRACUT, ("/usr/bin/dracut", "/usr/sbin/dracut", "/sbin/dracut")),
    (INITRAMFS_TOOLS, ("/usr/sbin/mkinitramfs",)),
)
_CMDLINE = re.compile(r"etc/(cmdline|cmdline\.d/.+\.conf)")
#: of dracut's module 40network; that of 059 asks awk for and(), which mawk does not have, and then sees no network interface of the firmware
_NETWORK = "lib/net-lib.sh"
#: what iscsid is started by in an initramfs with systemd, and what that runs first: Debian's has a script that dracut does not know of
_SERVICE = "lib/systemd/system/iscsid.service"
_RUNS = re.compile(r"^Exec(?:StartPre|Start)=[+!:|]*/(?:usr/)?(\S+)", re.MULTILINE)
_FROM_FIRMWARE = ("ip=ibft", "rd.iscsi.ibft", "rd.iscsi.ibft=1")
MODULES = ("iscsi_tcp",)


@dataclass(frozen=True)
class Wanted:
    """What shall be in: kernel modules, words of a kernel command line that the initramfs brings along (dracut alone reads such)."""

    modules: t.Tuple[str, ...] = MODULES
    words: t.Tuple[str, ...] = ()


def find_lacks(path: str, kernel: str, generator: str, wanted: Wanted, root: str = "/", prefix: t.Sequence[str] = ()) -> t.List[str]:
    """What an initramfs lacks, in words; nothing where it has all. One that is missing or damaged lacks everything, and says so."""
    if not os.path.exists(path):
        return ["it is not there"]
    copies = _COPIES[generator]
    read = (*copies, _NETWORK, _SERVICE)
    try:
        archive = read_archive(path, lambda name: name in read or bool(_CMDLINE.fullmatch(name)) or name.endswith("/modules.builtin"), prefix)
    except DamagedError as error:
        return [f"it {error.what}"]
    lacks = [f"{name} is not in it" for name in _NEEDED[generator] if name not in archive.names]
    if _EITHER[generator] and not any(all(name in archive.names for name in names) for names in _EITHER[generator]):
        lacks.append(" or ".join(" and ".join(names) for names in _EITHER[generator]) + " is not in it")
    lacks += _differing(archive, copies, root)
    lacks += [f"the kernel module {name} is not in it" for name in wanted.modules if not _has_module(archive, name, kernel, root)]
    said = {word for name, data in archive.contents.items() if _CMDLINE.fullmatch(name) for word in data.decode("utf-8", "surrogateescape").split()}
    lacks += [f"its command line does not say {shown(word)}" for word in wanted.words if word not in said]
    lacks += _would_not_start(archive, wanted)
    return list(dict.fromkeys(lacks))


def _would_not_start(archive: Archive, wanted: Wanted) -> t.Iterator[str]:
    """What dracut leaves out without a word."""
    service = archive.contents.get(_SERVICE, b"") if "lib/systemd/systemd" in archive.names else b""
    for name in _RUNS.findall(service.decode("utf-8", "replace")):
        if name not in archive.names:
            yield f"{name}, which its iscsid.service runs, is not in it"
    if set(wanted.words) & set(_FROM_FIRMWARE) and "bin/mawk" in archive.names and b"!and(" in archive.contents.get(_NETWORK, b""):
        yield "its awk is mawk, with which dracut cannot set up the network interfaces that the firmware names: gawk can"


def _differing(archive: Archive, copies: t.Mapping[str, str], root: str) -> t.Iterator[str]:
    for name, source in copies.items():
        data = read_bytes(under_root(root, source))
        if data is None and name in archive.names:
            yield f"{name} is in it, and {source} is gone"
        elif data is not None and name not in archive.names:
            yield f"{name} is not in it"
        elif data is not None and archive.contents.get(name) != data:
            yield f"{name} is not what {source} is now"


def _has_module(archive: Archive, module: str, kernel: str, root: str) -> bool:
    wanted = _module_name(module)
    if any(name.startswith(f"lib/modules/{kernel}/") and _module_name(os.path.basename(name)) == wanted for name in archive.names if ".ko" in name):
        return True
    builtin = (read_bytes(under_root(root, f"/lib/modules/{kernel}/modules.builtin")) or b"").decode("utf-8", "replace")
    return any(_module_name(os.path.basename(line)) == wanted for line in builtin.split())


def _module_name(text: str) -> str:
    return text.partition(".ko")[0].replace("-", "_")


def shown(word: str) -> str:
    """A word of a command line without its secret, if it has one."""
    name, equals, _value = word.partition("=")
    return f"{name}=********" if equals and re.search("password|secret", name) else word


def find_generator(root: str, asked: str = "auto") -> str:
    """The tool that makes initramfs images in the system at ``root``, the one asked for or the first that is there; ``HostError`` where there is none."""
    for name, programs in _PROGRAMS:
        if asked in ("auto", name) and any(os.path.exists(under_root(root, program)) for program in programs):
            return name
    none = "neither initramfs-tools nor dracut" if asked == "auto" else f"no {asked}"
    raise HostError(f"the system at {root}", f"has {none}", "Install it there")


def find_kernels(root: str) -> t.List[str]:
    """The kernels that are installed with their modules, in order of their names; ``HostError`` where there is none."""
    boot = under_root(root, "/boot")
    names = sorted(os.listdir(boot)) if os.path.isdir(boot) else []
    versions = [match.group(1) for match in (re.fullmatch(r"vmlinu[xz]-(.+)", name) for name in names) if match]
    found = [version for version in versions if os.path.isdir(under_root(root, f"/lib/modules/{version}"))]
    if not found:
        raise HostError(boot, "has no kernel whose modules are installed", "Install a kernel there, or mount the file system that /boot is")
    return found


def image_path(root: str, kernel: str, generator: str) -> str:
    """Where the initramfs of a kernel is, as the system at ``root`` names it; where its distribution puts it, if there is none yet."""
    names = (f"/boot/initrd.img-{kernel}", f"/boot/initramfs-{kernel}.img", f"/boot/initrd-{kernel}")
    there = next((name for name in names if os.path.exists(under_root(root, name))), None)
    if there is not None:
        return there
    if generator == INITRAMFS_TOOLS or os.path.exists(under_root(root, "/etc/debian_version")):
        return names[0]
    release = (read_bytes(under_root(root, "/etc/os-release")) or b"").decode("utf-8", "replace")
    return names[2] if re.search(r"(?m)^ID(_LIKE)?=.*suse", release) else names[1]
