# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a tgt_target task wants: the options as values, with what tgtd or its files could not carry refused in words."""

from __future__ import annotations

import ipaddress
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import Portal, check_iscsi_name
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_live import NAME_FORMS
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_model import BS_TYPES, ELSEWHERE, PLAIN, Unit
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_portals import parse_portals
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.words import check_place, nearest, once, parse_size

Options = t.Mapping[str, t.Any]

_NAME = re.compile(r"[A-Za-z0-9.:-]+")  # target.c, tgt_target_create
_ACCOUNT = re.compile(r"[A-Za-z0-9._:@+-]{1,200}")
_SECRET = re.compile(r"[!-~]{1,255}")
_INQUIRY = re.compile(r"[A-Za-z0-9._+/:-]+")
_LENGTHS = {"vendor": 8, "product": 16, "revision": 4, "scsi_id": 36, "scsi_sn": 36}
#: usr/iscsi/param.c: what a parameter may be; those that targets.conf cannot carry are left out
_YES_NO = ("InitialR2T", "ImmediateData", "DataPDUInOrder", "DataSequenceInOrder", "IFMarker", "OFMarker")
_NUMBERS = {
    "MaxRecvDataSegmentLength": (512, 16777215), "MaxXmitDataSegmentLength": (512, 16777215), "MaxOutstandingR2T": (1, 65535),
    "FirstBurstLength": (512, 16777215), "MaxBurstLength": (512, 16777215), "ErrorRecoveryLevel": (0, 2), "DefaultTime2Wait": (0, 3600),
    "DefaultTime2Retain": (0, 3600), "MaxConnections": (1, 65535),
}  # fmt: skip
_DIGESTS = ("HeaderDigest", "DataDigest")
#: types whose backing store is always the same; they may be without a medium
_OWN_STORE = ("cd", "tape", "changer")
PARAMETERS = (*_NUMBERS, *_YES_NO, *_DIGESTS)


_OF_A_TARGET = ("driver", "enabled", "luns", "allow", "accounts", "parameters", "nop_interval", "nop_count")
#: tgtd writes higher numbers into REPORT LUNS in a form (flat addressing) that it does not understand itself
_MAX_LUN = 255


@dataclass(frozen=True)
class Backing:
    """What the file behind a LUN shall be; ``size`` in bytes."""

    size: t.Optional[int] = None
    create: bool = False
    sparse: bool = True


@dataclass(frozen=True)
class WantedTarget:
    """One target as wanted; what is None was not said."""

    name: str
    driver: t.Optional[str] = None
    enabled: bool = True
    units: t.Mapping[int, Unit] = field(default_factory=dict)
    #: whether the task says which LUNs there are, be it none
    names_luns: bool = False
    backings: t.Mapping[int, Backing] = field(default_factory=dict)
    #: addresses and initiators that may log in
    allow: t.Optional[t.Tuple[t.Tuple[str, ...], t.Tuple[str, ...]]] = None
    incoming: t.Optional[t.Mapping[str, str]] = field(default=None, repr=False)
    #: the account of the target itself; an empty name means none
    outgoing: t.Optional[t.Tuple[str, str]] = field(default=None, repr=False)
    parameters: t.Mapping[str, str] = field(default_factory=dict)
    nop_interval: t.Optional[int] = None
    nop_count: t.Optional[int] = None


@dataclass(frozen=True)
class Wanted:
    """All that a task says."""

    targets: t.Mapping[str, WantedTarget]
    present: bool = True
    purge: bool = False
    force: bool = False
    save: bool = True
    #: whether the host starts this tgtd at boot, which is the one with control port 0
    boots: bool = True
    portals: t.Optional[t.Sequence[Portal]] = None


def parse_wanted(params: Options) -> Wanted:
    """Check the options; raises ``InputError`` for what tgtd or its files could not carry."""
    _nothing_in_vain(params)
    entries = [_target(one) for one in (params.get("targets") or () if params.get("name") is None else [params])]
    once("option targets: name", [one.name for one in entries])
    _one_secret_each(entries)
    port = params.get("control_port") or 0
    if not 0 <= port <= 32767:
        raise InputError("option control_port", f"is {port}", "Give a number from 0 to 32767")
    check_place(params.get("save_folder"), "save_folder")
    save = params.get("save", True) is not False and (not port or bool(params.get("save_folder")))
    return Wanted({one.name: one for one in entries}, params.get("state", "present") == "present", bool(params.get("purge")),
                  bool(params.get("force")), save, not port, parse_portals(params.get("portals")))  # fmt: skip


def _nothing_in_vain(params: Options) -> None:
    """Refuse what would be passed over in silence."""
    if params.get("name") is None:
        for word in _OF_A_TARGET:
            if params.get(word) is not None:
                raise InputError(f"option {word}", "says something of a target, and none is named", "Give its name, or write it into targets")
    if params.get("state") == "absent" and params.get("portals") is not None:
        raise InputError("option portals", "is given with state: absent, which is for targets", "Name all portals that shall stay, in a task without state")


def _one_secret_each(entries: t.Sequence[WantedTarget]) -> None:
    secrets: t.Dict[str, str] = {}
    for one in entries:
        for user, secret in (*(one.incoming or {}).items(), *([one.outgoing] if one.outgoing and one.outgoing[0] else [])):
            if secrets.setdefault(user, secret) != secret:
                raise InputError(f"account {user!r}", "is given two secrets", "tgtd has one secret for an account name, whatever targets use it")


def _target(option: Options) -> WantedTarget:
    name = check_iscsi_name(option["name"], "option name: target")
    if not _NAME.fullmatch(name):
        raise InputError(f"option name: target {name!r}", "holds a character that tgtd refuses", "Use letters, digits, dots, colons and hyphens")
    units = [_unit(one, f"target {name}: LUN {one.get('lun')}") for one in option.get("luns") or ()]
    once(f"target {name}: option luns: lun", [unit.number for unit in units])
    once(f"target {name}: option luns: backing_store", [unit.path for unit in units if unit.path])
    accounts = option.get("accounts")
    interval, count = option.get("nop_interval"), option.get("nop_count")
    for word, value in (("nop_interval", interval), ("nop_count", count)):
        if value is not None and not 0 <= value <= 3600:
            raise InputError(f"target {name}: option {word}", f"is {value}", "Give a number from 0 to 3600")
        if value is not None and option.get("driver") == "iser":
            raise InputError(f"target {name}: option {word}", "is for the driver iscsi", "Leave it out")
    if count and interval is None:
        raise InputError(f"target {name}: option nop_count", "counts pings, and it is not said how often there are any", "Give nop_interval beside it")
    return WantedTarget(
        name, option.get("driver"), option.get("enabled", True) is not False, {unit.number: unit for unit in units},
        option.get("luns") is not None,
        {unit.number: _backing(one, unit, name) for one, unit in zip(option.get("luns") or (), units)}, _allow(option.get("allow"), name),
        None if accounts is None else _incoming(accounts, name), None if accounts is None else _outgoing(accounts, name),
        _parameters(option.get("parameters"), name), interval, count if interval else None)  # fmt: skip


def _unit(option: Options, subject: str) -> Unit:
    number, path, kind = option["lun"], option.get("backing_store") or "", option.get("type")
    bs_type = option.get("bs_type")
    if not 1 <= number <= _MAX_LUN:
        raise InputError(f"{subject}: number", "is out of range",
                         f"Give 1 to {_MAX_LUN}; LUN 0 is the controller that tgtd makes itself, and initiators do not reach higher ones")
    if path and (not PLAIN.fullmatch(path) or path.endswith("/")):
        raise InputError(f"{subject}: backing_store {path!r}", "ends with a slash, or holds a character that tgtd's configuration cannot carry",
                         "Use letters, digits and / . _ - : @ % + = ~; a symbolic link can stand for another name")
    if path and bs_type not in ELSEWHERE and not path.startswith("/"):
        raise InputError(f"{subject}: backing_store {path!r}", "is no absolute path", "Give one, or the bs_type that knows such names (glfs, rbd)")
    if bs_type == "glfs" and not re.fullmatch(r"[^@:/]+@[^@:/]+:/?[^:@]+", path):
        raise InputError(f"{subject}: backing_store {path!r}", "is no file in a Gluster volume", "Write it as volume@server:path")
    if bs_type == "glfs" and option.get("flags"):
        raise InputError(f"{subject}: flags", "are for files of this host", "Leave them out; with them tgtd opens a file of Gluster for reading alone")
    check_kind(subject, kind or "disk", bs_type, path)
    block = option.get("block_size")
    if block is not None and (block < 512 or block > 65536 or block & (block - 1)):
        raise InputError(f"{subject}: block_size", f"is {block}", "Give a power of two from 512 to 65536")
    for word, length in _LENGTHS.items():
        value = option.get(word)
        if value is not None and not (_INQUIRY.fullmatch(value) and len(value) <= length):
            raise InputError(f"{subject}: {word}", f"is {value!r}", f"Give 1 to {length} letters, digits or . _ + / : -")
    return Unit(number, path, kind, bs_type, _bs_options(option, subject), _flags(option), block,
                *(option.get(word) for word in ("scsi_id", "scsi_sn", "readonly", "removable", "thin_provisioning", "write_cache", "vendor", "product",
                                                "revision")))  # fmt: skip


def check_kind(subject: str, kind: str, bs_type: t.Optional[str], path: str) -> None:
    """Refuse a backing store that does not go with the type: tgtd takes another in silence, or ends, at once or when the LUN goes. ``InputError``."""
    what, own = f"is {bs_type} for a {kind}", BS_TYPES[kind] if kind in _OWN_STORE else ""
    if bs_type is not None and (bs_type in ("sg", "bsg")) != (kind == "pt"):
        raise InputError(f"{subject}: bs_type", what, "sg and bsg are for type pt, and type pt is for them")
    if own and bs_type not in (None, own):
        raise InputError(f"{subject}: bs_type", what, f"tgtd always takes {own} for a {kind}; leave it out")
    if not own and bs_type in map(BS_TYPES.get, _OWN_STORE):
        raise InputError(f"{subject}: bs_type", what, "mmc is for type cd, ssc for tape and smc for changer; leave it out, or say that type")
    if not path and not own:
        raise InputError(f"{subject}: backing_store", "is missing", "Give any word" if bs_type == "null" else f"Name the file or device behind the {kind}")


def _bs_options(option: Options, subject: str) -> t.Optional[str]:
    given: t.Optional[str] = option.get("bs_options")
    # ; separates them, and tgt-admin hands them to a shell in quotes
    if given is not None and not PLAIN.fullmatch(given.replace(";", "")):
        raise InputError(f"{subject}: bs_options {given!r}", "holds a character that tgtd's configuration cannot carry", "Write key=value;key=value")
    return given


def _flags(option: Options) -> t.Optional[t.Tuple[str, ...]]:
    return None if option.get("flags") is None else tuple(sorted(set(option["flags"])))


def _backing(option: Options, unit: Unit, name: str) -> Backing:
    subject = f"target {name}: LUN {unit.number}: size"
    size = parse_size(option.get("size"), subject, max(512, unit.block_size or 512), bare=False)
    create = bool(option.get("create"))
    if create and size is None:
        raise InputError(subject, "is missing", "create: true needs to know how large the file shall be")
    if size is not None and (unit.bs_type in ELSEWHERE or not unit.path):
        raise InputError(subject, f"cannot be had for the backing store {unit.path or 'none'}", "Leave it out; it is for files of this host")
    return Backing(size, create, option.get("sparse", True) is not False)


def _allow(option: t.Optional[Options], name: str) -> t.Optional[t.Tuple[t.Tuple[str, ...], t.Tuple[str, ...]]]:
    if option is None:
        return None
    addresses = tuple(_address(one, name) for one in option.get("addresses") or ())
    initiators = tuple(check_iscsi_name(one, f"target {name}: option allow.initiators") for one in option.get("initiators") or ())
    for one in initiators:
        if not one.startswith(NAME_FORMS):
            raise InputError(f"target {name}: option allow.initiators {one!r}", "is not in small letters",
                             "tgtd compares every letter; write iqn., eui. or naa.")
        if not PLAIN.fullmatch(one):
            raise InputError(f"target {name}: option allow.initiators {one!r}", "holds a character that tgtd's configuration cannot carry", "Leave it out")
    once(f"target {name}: option allow.addresses", addresses)
    once(f"target {name}: option allow.initiators", initiators)
    if "ALL" in addresses and len(addresses) > 1:
        raise InputError(f"target {name}: option allow.addresses", "has ALL beside others", "ALL lets everybody in; name it alone, or leave it out")
    return addresses, initiators


def _address(text: str, name: str) -> str:
    """The form in which tgtd matches it: a network without host bits, and no mask where it is a single address, which tgtd never matches."""
    if text == "ALL":
        return text
    subject, how = f"target {name}: option allow.addresses {text!r}", "Write 192.168.1.5, 192.168.1.0/24, fd00::/64 or ALL"
    if "%" in text:
        raise InputError(subject, "names an interface, which tgtd does not compare", f"Write {text.partition('%')[0].lstrip('[')}, on whatever interface")
    try:
        network = ipaddress.ip_network(text.replace("[", "").replace("]", ""), strict=False)
        exact = ipaddress.ip_interface(text.replace("[", "").replace("]", "")).ip
    except ValueError:
        raise InputError(subject, "is no IP address and no network", how) from None
    if network.prefixlen == 0:
        raise InputError(subject, "is every address", "Write ALL for that")
    if int(network.network_address) == 0:
        raise InputError(subject, "begins at address 0, where tgtd takes every address of the other IP version for one of it", "Name other networks")
    if network.num_addresses == 1:
        return str(exact)
    if exact != network.network_address:
        raise InputError(subject, "has bits behind the mask, with which tgtd never matches it", f"Write {network}, or {exact} for that host alone")
    return f"{network}"


def _incoming(accounts: Options, name: str) -> t.Dict[str, str]:
    entries = accounts.get("incoming") or []
    once(f"target {name}: option accounts.incoming: username", [one["username"] for one in entries])
    return dict(_account(one, f"target {name}: option accounts.incoming") for one in entries)


def _outgoing(accounts: Options, name: str) -> t.Tuple[str, str]:
    if not accounts.get("outgoing"):
        return "", ""
    user, secret = _account(accounts["outgoing"], f"target {name}: option accounts.outgoing")
    if not accounts.get("incoming"):
        raise InputError(f"target {name}: option accounts.outgoing", "needs accounts.incoming", "Mutual CHAP begins with the initiator's own")
    for one in accounts["incoming"]:
        if one["password"] == secret:
            raise InputError(f"target {name}: option accounts.outgoing", "has the secret of an incoming account",
                             "RFC 7143 forbids one secret for both directions; give each its own")
        if one["username"] == user:
            raise InputError(f"target {name}: option accounts.outgoing", f"has the name {user!r} of an incoming account",
                             "tgtd has one secret for a name; give it another")
    return user, secret


def _account(option: Options, subject: str) -> t.Tuple[str, str]:
    user, secret = option["username"], option["password"]
    if not _ACCOUNT.fullmatch(user):
        raise InputError(f"{subject}: username {user!r}", "holds a character that tgtd's configuration cannot carry",
                         "Use letters, digits and . _ : @ + -, 200 at most")
    # << begins a text of many lines in tgt's configuration, and */ ends a comment
    if not _SECRET.fullmatch(secret) or any(one in secret for one in ("#", "'", "\\", "<<", "*/")):
        raise InputError(f"{subject}: the password of {user!r}", "holds a character that tgtd's configuration cannot carry, or is empty or too long",
                         "Use 1 to 255 printable ASCII characters, no white space and none of # ' \\ << */")
    return user, secret


def _parameters(option: t.Optional[Options], name: str) -> t.Dict[str, str]:
    return {key: _parameter(f"target {name}: parameter {key!r}", key, value) for key, value in (option or {}).items()}


def _parameter(subject: str, key: str, value: t.Any) -> str:
    if key not in PARAMETERS:
        raise InputError(subject, f"is not known{nearest(key, PARAMETERS)}", "Known are " + ", ".join(sorted(PARAMETERS)))
    text = ("Yes" if value else "No") if isinstance(value, bool) else str(value)
    if key in _NUMBERS:
        low, high = _NUMBERS[key]
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise InputError(subject, f"is {value!r}", f"Give a number from {low} to {high}")
        return str(int(text))
    if key in _YES_NO and text not in ("Yes", "No"):
        raise InputError(subject, f"is {value!r}", "Give Yes or No")
    if key in _DIGESTS and text not in ("None", "CRC32C"):
        raise InputError(subject, f"is {value!r}", "Give None or CRC32C; with CRC32C, tgtd still talks to initiators that want none")
    return text


def default_bs_type(kind: t.Optional[str]) -> str:
    """The backing store type of a LUN for which none was named."""
    return BS_TYPES[kind or "disk"]
