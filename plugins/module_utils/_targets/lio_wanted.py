# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lio_target task wants: the options as values, with what LIO could not do refused in words."""

from __future__ import annotations

import ipaddress
import os
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lunar.iscsi.plugins.module_utils._argspec import check_auth
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import check_iscsi_name, parse_portal
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_configfs import DEFAULT_GROUP, NAA_DIGITS, Auth, Key, portal_name
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.words import check_place, nearest, once, parse_size

Options = t.Mapping[str, t.Any]

#: what ALUA calls a state -> the number in alua_access_state; others cannot be set by hand
STATES = {"active_optimized": "0", "active_nonoptimized": "1", "standby": "2", "unavailable": "3"}
SUPPORTED = ("active_optimized", "active_nonoptimized", "standby", "unavailable", "offline", "transitioning")
TYPES = {"none": "0", "implicit": "1", "explicit": "2", "both": "3"}

# what can be set under attrib/ and param/, of kernels 4.18 to 6.12
_BACKSTORE_ATTRIBUTES = """
block_size emulate_3pc emulate_caw emulate_dpo emulate_fua_read emulate_fua_write emulate_model_alias emulate_pr emulate_rest_reord emulate_rsoc
emulate_tas emulate_tpu emulate_tpws emulate_ua_intlck_ctrl emulate_write_cache enforce_pr_isids force_pr_aptpl is_nonrot max_unmap_block_desc_count
max_unmap_lba_count max_write_same_len optimal_sectors pgr_support alua_support queue_depth submit_type unmap_granularity unmap_granularity_alignment
unmap_zeroes_data cmd_time_out qfull_time_out qfull_time_out
"""
_GROUP_ATTRIBUTES = """
authentication cache_dynamic_acls default_cmdsn_depth default_erl demo_mode_discovery demo_mode_write_protect fabric_prot_type generate_node_acls
login_keys_workaround login_timeout netif_timeout prod_mode_write_protect t10_pi tpg_enabled_sendtargets
"""
_GROUP_PARAMETERS = """
AuthMethod DataDigest DataPDUInOrder DataSequenceInOrder DefaultTime2Retain DefaultTime2Wait ErrorRecoveryLevel FirstBurstLength HeaderDigest IFMarkInt
IFMarker ImmediateData InitialR2T MaxBurstLength MaxConnections MaxOutstandingR2T MaxRecvDataSegmentLength MaxXmitDataSegmentLength OFMarkInt OFMarker
TargetAlias
"""
_ACL_ATTRIBUTES = """
authentication dataout_timeout dataout_timeout_retries default_erl nopin_response_timeout nopin_timeout random_datain_pdu_offsets
random_datain_seq_offsets random_r2t_offsets
"""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+@-]{0,127}")
_SERIAL = re.compile(r"[A-Za-z0-9_.-]{1,253}")


@dataclass(frozen=True)
class Store:
    """A backstore as wanted; what is None was not said."""

    key: Key
    path: str = ""
    size: t.Optional[int] = None
    create: bool = True
    write_back: t.Optional[bool] = None
    readonly: t.Optional[bool] = None
    nullio: t.Optional[bool] = None
    config: str = ""
    serial: str = ""
    attributes: t.Mapping[str, str] = field(default_factory=dict)
    #: by name, the files of its folder and what they shall say
    groups: t.Mapping[str, t.Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Unit:
    """A LUN as wanted."""

    number: int
    backstore: str
    group: t.Optional[str] = None


@dataclass(frozen=True)
class Mask:
    """One LUN for one initiator: the portal group's number, the number that the initiator sees."""

    lun: int
    mapped: int
    write_protect: t.Optional[bool] = None


@dataclass(frozen=True)
class Access:
    """What one initiator shall be allowed; ``masks`` None means every LUN, ``tags`` None every portal group."""

    initiator: str
    auth: t.Optional[Auth] = None
    masks: t.Optional[t.Sequence[Mask]] = None
    tags: t.Optional[t.FrozenSet[int]] = None
    attributes: t.Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """A portal group as wanted; ``portals`` are folder names."""

    tag: int
    enabled: bool = True
    portals: t.Sequence[str] = ()
    iser: t.Optional[bool] = None
    luns: t.Mapping[int, Unit] = field(default_factory=dict)
    auth: t.Optional[Auth] = None
    attributes: t.Mapping[str, str] = field(default_factory=dict)
    parameters: t.Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """All that a task says."""

    name: str
    present: bool = True
    stores: t.Mapping[Key, Store] = field(default_factory=dict)
    groups: t.Mapping[int, Group] = field(default_factory=dict)
    accesses: t.Sequence[Access] = ()
    discovery: t.Optional[Auth] = None
    purge: bool = False
    force: bool = False
    save: bool = True


def parse_wanted(params: Options) -> Wanted:
    """Check the options; raises ``InputError`` for what LIO or its tools could not carry."""
    name = check_iscsi_name(params["name"], "option name: target")
    if name != name.lower():
        raise InputError(
            f"option name: target {name!r}", "holds upper case letters", "LIO compares names byte by byte and initiators send lower case; write it so"
        )
    check_place(params.get("save_file"), "save_file")
    present = params.get("state", "present") == "present"
    stores = [_store(one, present) for one in params.get("backstores") or ()]
    groups = [_group(one) for one in params.get("portal_groups") or ()]
    accesses = [_access(one) for one in params.get("acls") or ()]
    once("option backstores", [str(one.key) for one in stores])
    once("option portal_groups: tag", [one.tag for one in groups])
    once("option portal_groups: portal", [portal for one in groups for portal in one.portals])
    once("option acls: initiator", [f"{one.initiator} in portal group {tag}" for one in accesses for tag in sorted(one.tags or ["*"], key=str)])
    wanted = Wanted(
        name=name,
        present=present,
        stores={one.key: one for one in stores},
        groups={one.tag: one for one in groups},
        accesses=accesses,
        discovery=_auth(params.get("discovery_auth"), "discovery_auth"),
        purge=bool(params.get("purge")),
        force=bool(params.get("force")),
        save=params.get("save", True) is not False,
    )
    for group in groups:
        for unit in group.luns.values():
            _check_unit(wanted, group, unit)
    return wanted


def _check_unit(wanted: Wanted, group: Group, unit: Unit) -> None:
    """What can be said of a LUN without looking at the host."""
    named = find_store(wanted.stores, unit.backstore)
    if named and unit.group and unit.group != DEFAULT_GROUP and wanted.stores[named].groups and unit.group not in wanted.stores[named].groups:
        raise InputError(
            f"LUN {unit.number} of portal group {group.tag}",
            f"shall be in the ALUA group {unit.group!r}, which {named} does not have" + nearest(unit.group, wanted.stores[named].groups),
            "List the group in alua_groups of the backstore",
        )


def find_store(keys: t.Iterable[Key], name: str) -> t.Optional[Key]:
    """The backstore that ``name`` or ``plugin/name`` means; raises ``InputError`` where two have that name."""
    found = [key for key in keys if name in (key.name, str(key))]
    if len(found) > 1:
        raise InputError(f"backstore {name!r}", "is the name of " + " and ".join(map(str, found)), f"Write it with its type, as {found[0]}")
    return found[0] if found else None


def _known(settings: t.Optional[Options], table: str, subject: str) -> t.Dict[str, str]:
    known = table.split()
    found: t.Dict[str, str] = {}
    for name, value in (settings or {}).items():
        if name not in known:
            raise InputError(f"{subject} {name!r}", f"is not known{nearest(name, known)}", "Known are " + ", ".join(sorted(set(known))))
        if isinstance(value, bool):
            found[name] = ("Yes" if value else "No") if name[0].isupper() else str(int(value))
        elif value is None or not re.fullmatch(r"[!-~](?:[ -~]{0,254}[!-~])?", str(value)):
            raise InputError(f"{subject} {name!r}", f"is {value!r}", "Give a number or a word")
        elif name[0].islower() and not re.fullmatch(r"-?[0-9]{1,10}", str(value)):
            raise InputError(f"{subject} {name!r}", f"is {value!r}, which is no number", "Give a number")
        else:
            found[name] = str(value)
    return found


def _auth(option: t.Optional[Options], subject: str) -> t.Optional[Auth]:
    """The kernel's four strings; username and password are the initiator's, username_in and password_in the target's, as on the initiator."""
    if option is None:
        return None
    check_auth(option)
    if option.get("method") == "None":
        return Auth()
    if option.get("algorithms"):
        raise InputError(
            f"option {subject}.algorithms",
            "cannot be set on a target",
            "LIO takes the first algorithm of the initiator's list that it knows; leave it out",
        )
    for word in ("username", "password", "username_in", "password_in"):
        if str(option.get(word) or "").startswith("NULL"):
            raise InputError(f"option {subject}.{word}", "begins with NULL, which tells the kernel that there is none", "Choose another")
    return Auth(
        userid=option["username"],
        password=option["password"],
        userid_mutual=option.get("username_in") or "",
        password_mutual=option.get("password_in") or "",
    )


def _store(option: Options, present: bool) -> Store:
    plugin, colon, handler = option["type"].partition(":")
    subject = f"backstore {option['name']!r}"
    if not _NAME.fullmatch(option["name"]):
        raise InputError(subject, "is no name that can be a folder and a LUN's label", "Use letters, digits and _.+@- only")
    if plugin not in ("fileio", "block", "ramdisk", "user") or (plugin == "user") != bool(colon and re.fullmatch("[A-Za-z0-9_-]+", handler)):
        raise InputError(subject, f"has the type {option['type']!r}", "Types are fileio, block, ramdisk and user:HANDLER, for example user:rbd")
    if not present:
        return Store(key=Key(plugin, option["name"]))
    path = option.get("path") or ""
    if (plugin in ("fileio", "block")) != bool(path):
        raise InputError(
            subject,
            "needs a path" if not path else f"has a path, which {plugin} has no use for",
            "fileio and block have a path, ramdisk and user have none",
        )
    if path and (not os.path.isabs(path) or re.search(r"[,\s\x00-\x1f]", path) or len(path) > 250):
        raise InputError(subject, f"has the path {path!r}", "The kernel takes an absolute path of up to 250 bytes without commas and white space")
    if bool(option.get("config")) != (plugin == "user"):
        raise InputError(
            subject,
            "needs config" if plugin == "user" else "has config, which is for user:HANDLER",
            "config is what the handler is told, for example pool/image",
        )
    if re.search(r"[:,\s]", option.get("config") or ""):
        raise InputError(subject, f"has the config {option['config']!r}", "rtslib-fb brings back none with colons, commas or white space")
    size = _size(option, plugin, subject)
    attributes = _known(option.get("attributes"), _BACKSTORE_ATTRIBUTES, f"{subject}: attribute")
    if plugin == "fileio" and "emulate_write_cache" in attributes:
        raise InputError(
            f"{subject}: attribute emulate_write_cache",
            "is not all there is to a write cache",
            "Say write_back, which sets it and opens the file accordingly",
        )
    if plugin == "block" and "emulate_write_cache" in attributes:
        raise InputError(
            f"{subject}: attribute emulate_write_cache", "is that of the device, and the kernel does not take another", "Leave it out"
        )
    path = os.path.normpath(path) if path else ""
    return Store(
        key=Key(plugin, option["name"]),
        path=path,
        size=size,
        create=option.get("create") is not False,
        write_back=option.get("write_back"),
        readonly=option.get("readonly"),
        nullio=option.get("nullio"),
        config=f"{handler}/{option['config']}" if plugin == "user" else "",
        serial=_serial(option.get("wwn"), subject),
        attributes=attributes,
        groups=_alua(option.get("alua_groups"), subject),
    )


def _size(option: Options, plugin: str, subject: str) -> t.Optional[int]:
    """The size of a backstore, for those that have one; and what else does not fit its type."""
    page = os.sysconf("SC_PAGE_SIZE") if plugin == "ramdisk" else 512
    size = parse_size(option.get("size"), f"{subject}: size", page)
    if size is None and plugin in ("ramdisk", "user"):
        raise InputError(subject, "needs a size", "Give it as 1GiB, 500MB or in bytes")
    if size is not None and plugin == "block":
        raise InputError(subject, "has a size, which a block device has by itself", "Leave it out")
    for word, plugins in (("write_back", ("fileio",)), ("readonly", ("block",)), ("nullio", ("ramdisk",))):
        if option.get(word) is not None and plugin not in plugins:
            raise InputError(subject, f"has {word}, which {plugin} does not know", "Leave it out")
    return size


def _serial(wwn: t.Optional[str], subject: str) -> str:
    """The unit serial; a WWID as an initiator shows it is taken too and gives the serial that makes it."""
    if not wwn:
        return ""
    as_wwid = re.fullmatch(rf"(?:3|naa\.|0x)6001405([0-9a-f]{{{NAA_DIGITS}}})", wwn.lower())
    if as_wwid:
        wwn = as_wwid.group(1)
    if not _SERIAL.fullmatch(wwn) or len(re.findall("[0-9a-fA-F]", wwn)) < NAA_DIGITS:
        raise InputError(
            f"{subject}: wwn",
            f"is {wwn!r}; the WWID is made of its first {NAA_DIGITS} hexadecimal digits, and it must have as many to be unique",
            "Give a UUID, or the WWID of another gateway to the same image",
        )
    return wwn


def _alua(options: t.Optional[t.Sequence[Options]], subject: str) -> t.Mapping[str, t.Mapping[str, str]]:
    groups: t.Dict[str, t.Mapping[str, str]] = {}
    for option in options or ():
        name = option["name"]
        here = f"{subject}: ALUA group {name!r}"
        if not _NAME.fullmatch(name):
            raise InputError(here, "is no name for a folder", "Use letters, digits and _.+@- only")
        if name in groups:
            raise InputError(here, "is given twice", "Give it once")
        groups[name] = _alua_settings(option, here)
    ids = [one["tg_pt_gp_id"] for one in groups.values() if "tg_pt_gp_id" in one]
    once(f"{subject}: ALUA group id", ids)
    return groups


def _alua_settings(option: Options, here: str) -> t.Mapping[str, str]:
    default = option["name"] == DEFAULT_GROUP
    number = option.get("id")
    if (number is None) != default or (number is not None and not 1 <= number <= 65535):
        raise InputError(here, f"has the id {number}", f"Give an id from 1 to 65535, and none to {DEFAULT_GROUP}, which is 0")
    settings: t.Dict[str, str] = {} if default else {"tg_pt_gp_id": str(number)}
    supported = option.get("supported_states")
    if supported is not None:
        settings.update({f"alua_support_{word}": str(int(word in supported)) for word in SUPPORTED})
        if option.get("state") and option["state"] not in supported:
            raise InputError(here, f"shall be {option['state']}, which is not among its supported_states", "Add it there")
    if option.get("state"):
        settings["alua_access_state"] = STATES[option["state"]]
    if option.get("access_type"):
        settings["alua_access_type"] = TYPES[option["access_type"]]
    if option.get("preferred") is not None:
        settings["preferred"] = str(int(option["preferred"]))
    for word, most in (("nonop_delay_msecs", 10000), ("trans_delay_msecs", 30000), ("implicit_trans_secs", 255)):
        if option.get(word) is not None:
            if not 0 <= option[word] <= most:
                raise InputError(here, f"has {word} {option[word]}", f"Give a number from 0 to {most}")
            settings[word] = str(option[word])
    return settings


def _group(option: Options) -> Group:
    tag = option["tag"]
    here = f"portal group {tag}"
    if not 0 <= tag <= 65535:
        raise InputError(here, "is no portal group tag", "Give a number from 0 to 65535")
    units = [_unit(one, here) for one in option.get("luns") or ()]
    once(f"{here}: lun", [one.number for one in units])
    return Group(
        tag=tag,
        enabled=option.get("enabled") is not False,
        portals=tuple(_portal(text, tag) for text in option.get("portals") or ()),
        iser=option.get("iser"),
        luns={one.number: one for one in units},
        auth=_auth(option.get("auth"), "portal_groups.auth"),
        attributes=_known(option.get("attributes"), _GROUP_ATTRIBUTES, f"{here}: attribute"),
        parameters=_known(option.get("parameters"), _GROUP_PARAMETERS, f"{here}: parameter"),
    )


def _portal(text: str, tag: int) -> str:
    portal = parse_portal(text)
    try:
        ipaddress.ip_address(portal.host.partition("%")[0])
    except ValueError:
        raise InputError(f"portal {text!r}", "is a host name", "The kernel listens on addresses; give an IPv4 or IPv6 address of this host") from None
    if portal.tpgt not in (None, tag):
        raise InputError(f"portal {text!r}", f"stands in portal group {tag}", "Leave the portal group tag out, or move it")
    return portal_name(portal.host, portal.port)


def _lun_number(number: int, here: str) -> int:
    if not 0 <= number <= 65535:
        raise InputError(here, f"has the LUN {number}", "Give a number from 0 to 65535")
    return number


def _unit(option: Options, here: str) -> Unit:
    return Unit(number=_lun_number(option["lun"], here), backstore=option["backstore"], group=option.get("alua_group"))


def _access(option: Options) -> Access:
    here = f"ACL of {option['initiator']}"
    check_iscsi_name(option["initiator"], "option acls: initiator")
    masks = option.get("luns")
    found = None
    if masks is not None:
        found = [
            Mask(
                lun=_lun_number(one["lun"], here),
                mapped=_lun_number(one["lun"] if one.get("mapped_lun") is None else one["mapped_lun"], here),
                write_protect=one.get("write_protect"),
            )
            for one in masks
        ]
        once(f"{here}: mapped_lun", [one.mapped for one in found])
        once(f"{here}: lun", [one.lun for one in found])
    tags = option.get("tags")
    return Access(
        initiator=option["initiator"],
        auth=_auth(option.get("auth"), "acls.auth"),
        masks=found,
        tags=None if tags is None else frozenset(tags),
        attributes=_known(option.get("attributes"), _ACL_ATTRIBUTES, f"{here}: attribute"),
    )
