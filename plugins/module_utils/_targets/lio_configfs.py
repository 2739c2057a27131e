# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel's target is, read whole from configfs (drivers/target/target_core_configfs.c, iscsi/iscsi_target_configfs.c)."""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lunar.iscsi.plugins.module_utils._host.sysfs import list_dir, read_text
from ansible_collections.lunar.iscsi.plugins.module_utils._names import normalise_host

ROOT = "/sys/kernel/config/target"
#: the folder of an HBA in core/ -> the name that targetcli has for the plugin
PLUGINS = {"fileio": "fileio", "iblock": "block", "rd_mcp": "ramdisk", "user": "user", "pscsi": "pscsi"}
FOLDERS = {plugin: folder for folder, plugin in PLUGINS.items()}
DEFAULT_GROUP = "default_tg_pt_gp"
#: what the kernel makes an ALUA group with, the default one too
PLAIN_GROUP = {
    "alua_access_state": "0", "alua_access_type": "3", "alua_write_metadata": "0", "implicit_trans_secs": "0", "nonop_delay_msecs": "100",
    "preferred": "0", "trans_delay_msecs": "0", "alua_support_active_optimized": "1", "alua_support_active_nonoptimized": "1",
    "alua_support_standby": "1", "alua_support_unavailable": "1", "alua_support_offline": "1", "alua_support_transitioning": "1",
}  # fmt: skip
ACCESS_TYPES = ("None", "Implicit", "Explicit", "Implicit and Explicit")
ACCESS_STATUS = ("None", "Altered by Explicit STPG", "Altered by Implicit ALUA")
#: the company of the WWIDs that the kernel makes, unless wwn/company_id says otherwise (OpenFabrics)
COMPANY = 0x001405
NAA_DIGITS = 25
#: no entry of these names is a target or a portal group; they are the fabric's own
_NOT_TARGETS = ("discovery_auth", "lio_version", "version", "cpus_allowed_list")

Settings = t.Mapping[str, str]


class Key(t.NamedTuple):
    """What a backstore is known by."""

    plugin: str
    name: str

    def __str__(self) -> str:
        return f"{self.plugin}/{self.name}"


@dataclass(frozen=True)
class Auth:
    """CHAP names and secrets as the kernel keeps them; all empty where none are set."""

    userid: str = ""
    password: str = field(default="", repr=False)
    userid_mutual: str = ""
    password_mutual: str = field(default="", repr=False)

    def items(self) -> t.List[t.Tuple[str, str]]:
        """Name of the file and content."""
        return [
            ("userid", self.userid),
            ("password", self.password),
            ("userid_mutual", self.userid_mutual),
            ("password_mutual", self.password_mutual),
        ]


@dataclass(frozen=True)
class Backstore:
    """One backing store. ``size`` is in bytes, 0 where the kernel does not say (block). ``groups`` are its ALUA groups by name."""

    key: Key
    hba: str
    enabled: bool = True
    path: str = ""
    size: int = 0
    serial: str = ""
    company: int = COMPANY
    write_back: bool = False
    readonly: bool = False
    nullio: bool = False
    config: str = ""
    info: str = ""
    attributes: Settings = field(default_factory=dict)
    groups: t.Mapping[str, Settings] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        return f"core/{self.hba}/{self.key.name}"


@dataclass(frozen=True)
class Lun:
    """A LUN of a portal group; ``backstore`` is None where the link is missing, ``group`` the ALUA group it is in ("" where there are none)."""

    number: int
    backstore: t.Optional[Key] = None
    link: str = ""
    group: str = ""


@dataclass(frozen=True)
class Mapped:
    """A LUN as one initiator sees it."""

    number: int
    lun: t.Optional[int] = None
    link: str = ""
    write_protect: bool = False


@dataclass(frozen=True)
class Acl:
    """What one initiator may do; ``session`` says in words which session it has now."""

    initiator: str
    auth: Auth = Auth()
    attributes: Settings = field(default_factory=dict)
    mapped: t.Mapping[int, Mapped] = field(default_factory=dict)
    session: str = ""
    tag: str = ""


@dataclass(frozen=True)
class PortalGroup:
    """One portal group; ``portals`` maps address:port as the kernel has it to its iser and offload flags, ``dynamic`` are sessions without ACL."""

    tag: int
    enabled: bool = False
    portals: t.Mapping[str, t.Tuple[bool, bool]] = field(default_factory=dict)
    luns: t.Mapping[int, Lun] = field(default_factory=dict)
    acls: t.Mapping[str, Acl] = field(default_factory=dict)
    attributes: Settings = field(default_factory=dict)
    parameters: Settings = field(default_factory=dict)
    auth: Auth = Auth()
    dynamic: t.Sequence[str] = ()


@dataclass(frozen=True)
class Kernel:
    """All of it. ``hbas`` are the folders that backstores stand in, also where one is empty; ``others`` are users of backstores in fabrics other than iSCSI."""

    loaded: bool = False
    dbroot: str = ""
    has_iscsi: bool = False
    hbas: t.FrozenSet[str] = frozenset()
    backstores: t.Mapping[Key, Backstore] = field(default_factory=dict)
    targets: t.Mapping[str, t.Mapping[int, PortalGroup]] = field(default_factory=dict)
    discovery: Auth = Auth()
    enforce_discovery: bool = False
    others: t.Mapping[Key, t.Sequence[str]] = field(default_factory=dict)


def wwid(serial: str, company: int = COMPANY) -> str:
    """The WWID that an initiator sees, as multipath writes it: 3 for NAA, then the identifier of VPD page 0x83.

    The kernel takes the first 25 hexadecimal digits of the unit serial, passing over anything else, and fills up with zeros
    (drivers/target/target_core_spc.c, spc_parse_naa_6h_vendor_specific).
    """
    digits = "".join(re.findall("[0-9a-fA-F]", serial))[:NAA_DIGITS].lower()
    return f"36{company:06x}{digits:0<{NAA_DIGITS}}"


def portal_name(host: str, port: int) -> str:
    """The name of a portal's folder, with IPv6 in brackets and in its short form."""
    host = normalise_host(host.strip("[]"))
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def plain_portal(name: str) -> str:
    """The name of a portal's folder in the one spelling that we write; the kernel keeps the one it was made with."""
    host, _colon, port = name.rpartition(":")
    return portal_name(host, int(port)) if port.isdigit() else name


def read_kernel(root: str = ROOT) -> Kernel:
    """Read everything in one pass; a kernel without the target module gives an empty ``Kernel``."""
    if not os.path.isdir(root):
        return Kernel()
    iscsi = os.path.join(root, "iscsi")
    backstores = {one.key: one for one in _read_backstores(os.path.join(root, "core"))}
    return Kernel(
        loaded=True,
        dbroot=read_text(os.path.join(root, "dbroot")) or "",
        has_iscsi=os.path.isdir(iscsi),
        hbas=frozenset(name for name in _folders(os.path.join(root, "core")) if re.search("_[0-9]+$", name)),
        backstores=backstores,
        targets={name: _read_target(os.path.join(iscsi, name), backstores) for name in _folders(iscsi) if name not in _NOT_TARGETS},
        discovery=_read_auth(os.path.join(iscsi, "discovery_auth")),
        enforce_discovery=read_text(os.path.join(iscsi, "discovery_auth", "enforce_discovery_auth")) == "1",
        others=_read_others(root),
    )


def _folders(path: str) -> t.List[str]:
    return [name for name in list_dir(path) if os.path.isdir(os.path.join(path, name)) and not os.path.islink(os.path.join(path, name))]


def _link(path: str) -> t.Tuple[str, str]:
    """The first symbolic link in a folder: its name and where it leads, both empty where there is none."""
    for name in list_dir(path):
        if os.path.islink(os.path.join(path, name)):
            return name, os.readlink(os.path.join(path, name))
    return "", ""


def _settings(path: str) -> t.Dict[str, str]:
    """The files of a folder that can be read and written."""
    found: t.Dict[str, str] = {}
    try:
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
    except OSError:
        return found
    for entry in entries:
        if entry.is_file(follow_symlinks=False) and entry.stat().st_mode & 0o600 == 0o600:
            found[entry.name] = _first(entry.path)
    return found


def _first(path: str) -> str:
    """The first line of a file, without white space around it; "" where there is none."""
    return (read_text(path) or "").partition("\n")[0].strip()


def _read_auth(path: str) -> Auth:
    """The kernel keeps NULL for what was taken away again."""
    values = {name: read_text(os.path.join(path, name)) or "" for name, _none in Auth().items()}
    return Auth(**{name: "" if value.startswith("NULL") else value for name, value in values.items()})


def _read_backstores(core: str) -> t.Iterator[Backstore]:
    for hba in _folders(core):
        plugin = PLUGINS.get(hba.rpartition("_")[0])
        for name in _folders(os.path.join(core, hba)) if plugin else ():
            yield _read_backstore(Key(str(plugin), name), hba, os.path.join(core, hba, name))


def _read_backstore(key: Key, hba: str, path: str) -> Backstore:
    info = " ".join((read_text(os.path.join(path, "info")) or "").split())
    attributes = _settings(os.path.join(path, "attrib"))
    serial = (read_text(os.path.join(path, "wwn", "vpd_unit_serial")) or "").partition(":")[2].strip()
    company = read_text(os.path.join(path, "wwn", "company_id"))
    pages = re.search(r"PAGES/PAGE_SIZE: (\d+)\*(\d+)", info)
    # older kernels crash when ALUA files of backstores that pass commands through are touched
    has_alua = key.plugin in ("fileio", "block", "ramdisk") or (
        key.plugin == "user" and read_text(os.path.join(path, "attrib", "alua_support")) == "1"
    )
    return Backstore(
        key=key,
        hba=hba,
        enabled=read_text(os.path.join(path, "enable")) != "0",
        path=read_text(os.path.join(path, "udev_path")) or _word(info, "File"),
        size=int(pages.group(1)) * int(pages.group(2)) if pages else int(_word(info, "Size") or 0),
        serial=serial,
        company=int(company, 0) if company else COMPANY,
        write_back="Buffered-WCE" in info,
        readonly=_word(info, "readonly") == "1",
        nullio=_word(info, "nullio") == "1",
        config=_word(info, "Config"),
        info=info,
        attributes=attributes,
        groups={name: _read_group(os.path.join(path, "alua", name)) for name in (_folders(os.path.join(path, "alua")) if has_alua else ())},
    )


def _word(info: str, key: str) -> str:
    found = re.search(rf"(?:^|\s){re.escape(key)}: (\S+)", info)
    return "" if found is None or found.group(1) == "NULL" else found.group(1)


def info_word(backstore: Backstore, key: str) -> str:
    """One value of the line that the kernel shows about a backstore, such as HwMaxSectors."""
    return _word(backstore.info, key)


def _read_group(path: str) -> Settings:
    """The settings of an ALUA group; type and status as numbers, which is how they are written."""
    found = _settings(path)
    for name, words in (("alua_access_type", ACCESS_TYPES), ("alua_access_status", ACCESS_STATUS)):
        if found.get(name) in words:
            found[name] = str(words.index(found[name]))
    return found


def _read_target(path: str, backstores: t.Mapping[Key, Backstore]) -> t.Mapping[int, PortalGroup]:
    tags = {name: int(name[5:]) for name in _folders(path) if re.fullmatch(r"tpgt_[0-9]+", name)}
    return {tag: _read_portal_group(tag, os.path.join(path, name), backstores) for name, tag in tags.items()}


def _read_portal_group(tag: int, path: str, backstores: t.Mapping[Key, Backstore]) -> PortalGroup:
    luns = [_read_lun(os.path.join(path, "lun", name), int(name[4:]), backstores) for name in _folders(os.path.join(path, "lun"))]
    portals = os.path.join(path, "np")
    return PortalGroup(
        tag=tag,
        enabled=read_text(os.path.join(path, "enable")) == "1",
        portals={
            name: (read_text(os.path.join(portals, name, "iser")) == "1", read_text(os.path.join(portals, name, "cxgbit")) == "1")
            for name in _folders(portals)
        },
        luns={lun.number: lun for lun in luns},
        acls={name: _read_acl(name, os.path.join(path, "acls", name)) for name in _folders(os.path.join(path, "acls"))},
        attributes=_settings(os.path.join(path, "attrib")),
        parameters=_settings(os.path.join(path, "param")),
        auth=_read_auth(os.path.join(path, "auth")),
        dynamic=tuple((read_text(os.path.join(path, "dynamic_sessions")) or "").split()),
    )


def _read_lun(path: str, number: int, backstores: t.Mapping[Key, Backstore]) -> Lun:
    link, to = _link(path)
    key = _key_of(to)
    known = backstores.get(key) if key else None
    group = _first(os.path.join(path, "alua_tg_pt_gp")).partition(":")[2].strip() if known and known.groups else ""
    return Lun(number=number, backstore=key, link=link, group=group)


def _key_of(to: str) -> t.Optional[Key]:
    """The backstore that a link leads to: .../core/fileio_0/d0."""
    parts = to.split("/")
    plugin = PLUGINS.get(parts[-2].rpartition("_")[0]) if len(parts) > 1 else None
    return Key(plugin, parts[-1]) if plugin else None


def _read_acl(initiator: str, path: str) -> Acl:
    mapped = {}
    for name in _folders(path):
        if re.fullmatch(r"lun_[0-9]+", name):
            number = int(name[4:])
            link, to = _link(os.path.join(path, name))
            lun = re.search(r"lun_([0-9]+)$", to)
            mapped[number] = Mapped(
                number=number,
                lun=int(lun.group(1)) if lun else None,
                link=link,
                write_protect=read_text(os.path.join(path, name, "write_protect")) == "1",
            )
    return Acl(
        initiator=initiator,
        auth=_read_auth(os.path.join(path, "auth")),
        attributes=_settings(os.path.join(path, "attrib")),
        mapped=mapped,
        session=_session(initiator, read_text(os.path.join(path, "info")) or ""),
        tag=_first(os.path.join(path, "tag")),
    )


def _session(initiator: str, info: str) -> str:
    """The session in words; "" where the kernel says that there is none."""
    number = re.search(r"LIO Session ID: (\d+)", info)
    if number is None:
        return ""
    address = re.search(r"Address (\S+)", info)
    return f"session {number.group(1)} of {initiator}" + (f" from {address.group(1)}" if address else "")


def _read_others(root: str) -> t.Mapping[Key, t.Sequence[str]]:
    """Which backstores are exported by other fabrics (vhost, loopback, qla2xxx, ...)."""
    found: t.Dict[Key, t.List[str]] = {}
    for fabric in _folders(root):
        for target in _folders(os.path.join(root, fabric)) if fabric not in ("core", "iscsi") else ():
            for group in _folders(os.path.join(root, fabric, target)):
                luns = os.path.join(root, fabric, target, group, "lun")
                for lun in _folders(luns):
                    key = _key_of(_link(os.path.join(luns, lun))[1])
                    if key:
                        found.setdefault(key, []).append(f"{fabric} {target} {group} {lun}")
    return found
