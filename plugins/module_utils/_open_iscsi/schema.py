# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the records of open-iscsi may hold: every key of every kind with type, range and default, and checking values against it.

Matched to open-iscsi 2.0.873 to 2.1.11: usr/idbm.c (which keys, in which order, how values are read), usr/idbm_fields.h (their names),
usr/iscsi_settings.h (defaults), usr/initiator_common.c and include/iscsi_proto.h (what iscsid accepts). The order of the keys is the
order in which that version of iscsiadm writes them.
"""

from __future__ import annotations

import enum
import functools
import re
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.version import NEWEST, Version


class Kind(enum.Enum):
    """The kinds of record. STATIC and FW are ways a node was found; they have links to nodes, but no record of their own.

    DAEMON stands for what iscsid.conf says of iscsid itself, which is in no record.
    """

    NODE = "node"
    IFACE = "iface"
    SEND_TARGETS = "sendtargets"
    ISNS = "isns"
    STATIC = "static"
    FW = "fw"
    DAEMON = "iscsid"


class Type(enum.Enum):
    TEXT = "text"
    INT = "int"
    CHOICE = "choice"
    LIST = "list"


class Shape(t.NamedTuple):
    """A type with its bounds. ``bits`` is 32 for a signed int and 8, 16, -32 for unsigned ones (-32: unsigned)."""

    type: Type
    minimum: int = 0
    maximum: int = 255
    choices: t.Tuple[str, ...] = ()
    also: t.Tuple[int, ...] = ()
    bits: int = 32


class Field(t.NamedTuple):
    """One key of one kind of record, as one version of open-iscsi knows it."""

    key: str
    shape: Shape
    default: str
    since: t.Tuple[int, ...]
    flags: str
    #: 4 or 6 where the key is only written for ifaces of that address family, else 0
    family: int

    @property
    def type(self) -> Type:
        return self.shape.type

    @property
    def choices(self) -> t.Tuple[str, ...]:
        return self.shape.choices

    @property
    def read_only(self) -> bool:
        """Part of what the record is looked up by."""
        return "r" in self.flags

    @property
    def secret(self) -> bool:
        return "s" in self.flags

    def allowed(self) -> str:
        """The values that are taken, in words."""
        shape = self.shape
        if shape.type is Type.INT:
            extra = "".join(f"{value}, or " for value in shape.also)
            return f"{extra}a number from {shape.minimum} to {shape.maximum}"
        if shape.type is Type.LIST:
            return "a list of " + ", ".join(shape.choices)
        if shape.choices:
            return " or ".join(repr(choice) for choice in shape.choices)
        return f"text of at most {shape.maximum} bytes in one line"


INT_MAX = 2**31 - 1


def _text(maximum: int = 255, *choices: str) -> Shape:
    return Shape(Type.TEXT, maximum=maximum, choices=choices)


def _int(minimum: int = 0, maximum: int = INT_MAX, *also: int) -> Shape:
    return Shape(Type.INT, minimum, maximum, also=also)


def _choice(*choices: str) -> Shape:
    return Shape(Type.CHOICE, choices=choices)


_ABLE = _text(79, "enable", "disable")
#: shapes that have a name in the tables below
_NAMED: t.Mapping[str, Shape] = {
    "startup": _choice("manual", "automatic", "onboot"),
    "found by": _choice("send_targets", "isns", "offload_send_targets", "slp", "static", "fw"),
    "discovery": _choice("sendtargets", "isns", "offload_send_targets", "slp", "static", "fw"),
    "bool": _choice("No", "Yes"),
    "auth": _choice("None", "CHAP"),
    "digest": _choice("None", "CRC32C", "CRC32C,None", "None,CRC32C"),
    "algorithms": Shape(Type.LIST, choices=("MD5", "SHA1", "SHA256", "SHA3-256")),
    "segment": _int(512, 16777215),
    "seconds": _int(),
    "u8": Shape(Type.INT, 0, 255, bits=8),
    "u16": Shape(Type.INT, 0, 65535, bits=16),
    "u32": Shape(Type.INT, 0, 2**32 - 1, bits=-32),
}


def _shape(words: str) -> Shape:
    """A shape as the tables write it: a name, ``int LOW HIGH [or ALSO]``, ``text BYTES`` or ``one of WORD ...``."""
    if words in _NAMED:
        return _NAMED[words]
    kind, *rest = words.split()
    if kind == "text":
        return _text(int(rest[0]))
    if kind == "one":
        return _choice(*rest[1:])
    return _int(int(rest[0]), INT_MAX if rest[1] == "max" else int(rest[1]), *map(int, rest[3:]))


# The tables are text: that is compiled in no time, and this file is sent to the host at every task.
# key | shape | default | since | flags (r: identity, s: secret, h: hidden, known but never written)
# Where "iface" stands alone, the keys of the iface stand that the node is bound to.
_NODE = """
name                                   | text 223                    |             |         | r
tpgt                                   | int -1 65535                | -1          |         | r
startup                                | startup                     | manual
leading_login                          | bool                        | No
iface
discovery_address                      | text 255                    |             |         | r
discovery_port                         | int 0 65535                 | 0           |         | r
discovery_type                         | found by                    | static      |         | r
session.initial_cmdsn                  | int 0 max                   | 0
session.initial_login_retry_max        | int 0 max                   | 4
session.xmit_thread_priority           | int -20 19                  | -20
session.cmds_max                       | int 2 2048                  | 128
session.queue_depth                    | int 1 1024                  | 32
session.nr_sessions                    | int 1 1024                  | 1
session.auth.authmethod                | auth                        | None
session.auth.username                  | text 255                    |
session.auth.password                  | text 255                    |             |         | s
session.auth.password_length           | u32                         | 0           |         | h
session.auth.username_in               | text 255                    |
session.auth.password_in               | text 255                    |             |         | s
session.auth.password_in_length        | u32                         | 0           |         | h
session.auth.chap_algs                 | algorithms                  | MD5         | 2.1.1
session.timeo.replacement_timeout      | int -1 max                  | 120
session.err_timeo.abort_timeout        | seconds                     | 15
session.err_timeo.lu_reset_timeout     | seconds                     | 30
session.err_timeo.tgt_reset_timeout    | seconds                     | 30
session.err_timeo.host_reset_timeout   | seconds                     | 60
session.iscsi.FastAbort                | bool                        | Yes
session.iscsi.InitialR2T               | bool                        | No
session.iscsi.ImmediateData            | bool                        | Yes
session.iscsi.FirstBurstLength         | segment                     | 262144
session.iscsi.MaxBurstLength           | segment                     | 16776192
session.iscsi.DefaultTime2Retain       | int 0 3600                  | 0
session.iscsi.DefaultTime2Wait         | int 0 3600                  | 2
session.iscsi.MaxConnections           | int 1 65535                 | 1
session.iscsi.MaxOutstandingR2T        | int 1 65535                 | 1
session.iscsi.ERL                      | int 0 2                     | 0
session.scan                           | one of manual auto          | auto        | 2.0.875
session.reopen_max                     | int 0 max                   | 0           | 2.0.877
session.conn_reopen_log_freq           | int 0 max                   | 1           | 2.1.11
conn[0].address                        | text 255                    |             |         | r
conn[0].port                           | int 1 65535                 | 3260        |         | r
conn[0].startup                        | startup                     | manual
conn[0].tcp.window_size                | int 0 max                   | 524288
conn[0].tcp.type_of_service            | int 0 255                   | 0
conn[0].timeo.logout_timeout           | int 1 max                   | 15
conn[0].timeo.login_timeout            | int 1 max                   | 30
conn[0].timeo.auth_timeout             | int 1 max                   | 45
conn[0].timeo.noop_out_interval        | seconds                     | 5
conn[0].timeo.noop_out_timeout         | seconds                     | 5
conn[0].iscsi.MaxXmitDataSegmentLength | int 512 16777215 or 0       | 0
conn[0].iscsi.MaxRecvDataSegmentLength | segment                     | 262144
conn[0].iscsi.HeaderDigest             | digest                      | None
conn[0].iscsi.DataDigest               | digest                      | None
conn[0].iscsi.IFMarker                 | bool                        | No
conn[0].iscsi.OFMarker                 | bool                        | No
"""
# open-iscsi uses the name of the node's key for the algorithms of the discovery record too
_SEND_TARGETS = """
discovery.startup                      | one of manual automatic     | manual
discovery.type                         | discovery                   | sendtargets |         | r
address                                | text 255                    |             |         | r
port                                   | int 1 65535                 | 0           |         | r
auth.authmethod                        | auth                        | None
auth.username                          | text 255                    |
auth.password                          | text 255                    |             |         | s
auth.password_length                   | u32                         | 0           |         | h
auth.username_in                       | text 255                    |
auth.password_in                       | text 255                    |             |         | s
auth.password_in_length                | u32                         | 0           |         | h
node.session.auth.chap_algs            | algorithms                  | MD5         | 2.1.1
timeo.login_timeout                    | int 1 max                   | 15
use_discoveryd                         | bool                        | No
discoveryd_poll_inval                  | seconds                     | 30
reopen_max                             | int 0 max                   | 5
timeo.auth_timeout                     | int 1 max                   | 45
timeo.active_timeout                   | int 1 max                   | 30
iscsi.MaxRecvDataSegmentLength         | segment                     | 32768
"""
# an isns record names its server by the keys of send_targets
_ISNS = """
discovery.startup                      | one of manual automatic     | manual
discovery.type                         | discovery                   | isns        |         | r
discovery.sendtargets.address          | text 255                    |             |         | r
discovery.sendtargets.port             | int 1 65535                 | 0           |         | r
discovery.isns.use_discoveryd          | bool                        | No
discovery.isns.discoveryd_poll_inval   | int -1 max                  | -1
"""
# read by other functions than the rest of the file (usr/iscsid.c, usr/iscsid_req.c)
_DAEMON = """
iscsid.startup                         | text 255                    |
iscsid.safe_logout                     | bool                        | No          | 2.0.874
iscsid.ipc_auth_uid                    | bool                        | Yes         | 2.1.8
"""

# names of iface keys by shape; everything without a number here is new in 2.0.874
_IFACE_SHAPES: t.Tuple[t.Tuple[Shape, str], ...] = (
    (_text(17), "hwaddress"),
    (_text(64), "iscsi_ifacename"),
    (_text(15), "net_ifacename transport_name"),
    (_text(223), "initiatorname"),
    (_text(), "ipaddress gateway subnet_mask ipv6_linklocal ipv6_router ipv6_autocfg linklocal_autocfg router_autocfg"),
    (_text(79), "dhcp_alt_client_id dhcp_vendor_id"),
    (_text(79, "static", "dhcp"), "bootproto"),
    (_NAMED["u8"], "prefix_len vlan_priority tos ttl dup_addr_detect_cnt hop_limit traffic_class tcp_wsf tcp_timer_scale erl"),
    (_NAMED["u16"], "vlan_id mtu port def_task_mgmt_timeout max_outstanding_r2t"),
    (_NAMED["u32"], "flow_label nd_reachable_tmo nd_rexmit_time nd_stale_tmo router_adv_link_mtu max_receive_data_len first_burst_len max_burst_len"),
    (_int(), "iface_num"),
)  # every other one is enable or disable
_IFACE_V4 = (
    "bootproto dhcp_alt_client_id_state dhcp_alt_client_id dhcp_dns dhcp_learn_iqn dhcp_req_vendor_id_state dhcp_vendor_id_state dhcp_vendor_id"
    " dhcp_slp_da fragmentation gratuitous_arp incoming_forwarding tos_state tos ttl"
)
_IFACE_V6 = (
    "ipv6_autocfg linklocal_autocfg router_autocfg ipv6_linklocal ipv6_router dup_addr_detect_cnt flow_label gratuitous_neighbor_adv hop_limit"
    " mld nd_reachable_tmo nd_rexmit_time nd_stale_tmo router_adv_link_mtu traffic_class"
)
_IFACE_TAIL = (
    "delayed_ack tcp_nagle tcp_wsf_state tcp_wsf tcp_timer_scale tcp_timestamp redirect def_task_mgmt_timeout header_digest data_digest"
    " immediate_data initial_r2t data_seq_inorder data_pdu_inorder erl max_receive_data_len first_burst_len max_outstanding_r2t max_burst_len"
    " chap_auth bidi_chap strict_login_compliance discovery_auth discovery_logout"
)
_IFACE_NET = "state vlan_id vlan_priority vlan_state iface_num mtu port"
_IFACE_OLD = (
    "transport_name initiatorname bootproto subnet_mask gateway ipv6_autocfg linklocal_autocfg router_autocfg ipv6_linklocal ipv6_router " + _IFACE_NET
)
_FIRST = (2, 0, 873)


def _iface_order(kind: Kind, numbers: t.Tuple[int, ...]) -> t.List[t.Tuple[str, int]]:
    """The iface keys of a record, without ``iface.``, in the order of that version, each with its address family or 0."""
    prefix_len = "prefix_len " if numbers >= (2, 0, 876) else ""
    v4, v6 = [(name, 4) for name in _IFACE_V4.split()], [(name, 6) for name in _IFACE_V6.split()]
    if numbers < (2, 0, 874):
        head = "hwaddress ipaddress iscsi_ifacename net_ifacename " if kind is Kind.NODE else "iscsi_ifacename net_ifacename ipaddress hwaddress "
        return [(name, 0) for name in (head + _IFACE_OLD).split()]
    if kind is Kind.NODE:
        head = f"hwaddress ipaddress iscsi_ifacename net_ifacename gateway subnet_mask {prefix_len}transport_name initiatorname {_IFACE_NET}"
    else:
        head = f"iscsi_ifacename net_ifacename ipaddress {prefix_len}hwaddress transport_name initiatorname {_IFACE_NET}"
        v4[1:1] = [("subnet_mask", 4), ("gateway", 4)]
    return [(name, 0) for name in head.split()] + v4 + v6 + [(name, 0) for name in _IFACE_TAIL.split()]


@functools.lru_cache(maxsize=None)
def _iface_shapes() -> t.Mapping[str, Shape]:
    return {name: shape for shape, names in _IFACE_SHAPES for name in names.split()}


def _iface_fields(kind: Kind, numbers: t.Tuple[int, ...]) -> t.Iterator[Field]:
    for name, family in _iface_order(kind, numbers):
        shape = _iface_shapes().get(name, _ABLE)
        default = {"transport_name": "tcp", "iscsi_ifacename": "default"}.get(name, "") if shape.type is Type.TEXT else "0"
        yield Field("iface." + name, shape, default, _FIRST, "r" if kind is Kind.NODE or name == "iscsi_ifacename" else "", family)


def _plain_fields(kind: Kind) -> t.Iterator[Field]:
    tables = {Kind.SEND_TARGETS: (_SEND_TARGETS, "discovery.sendtargets."), Kind.ISNS: (_ISNS, ""), Kind.DAEMON: (_DAEMON, "")}
    table, prefix = tables.get(kind, (_NODE, "node."))
    for line in table.strip().splitlines():
        key, shape, default, since, flags = ([cell.strip() for cell in line.split("|")] + [""] * 4)[:5]
        full = key if key.startswith(("node.", "discovery.")) and prefix != "node." else prefix + key
        numbers = tuple(map(int, since.split("."))) if since else _FIRST
        yield Field(full, _shape(shape or "text 255"), default, numbers, flags, 0)


@functools.lru_cache(maxsize=None)
def _fields(kind: Kind, numbers: t.Tuple[int, ...]) -> t.Mapping[str, Field]:
    if kind is Kind.IFACE:
        return {one.key: one for one in _iface_fields(kind, numbers)}
    found: t.Dict[str, Field] = {}
    for one in _plain_fields(kind):
        if one.key == "node.iface":
            found.update((each.key, each) for each in _iface_fields(Kind.NODE, numbers))
        elif one.since <= numbers:
            found[one.key] = _as_of(one, numbers)
    return found


def _as_of(one: Field, numbers: t.Tuple[int, ...]) -> Field:
    """The few keys whose default or choices changed over time."""
    if one.key == "node.session.xmit_thread_priority" and numbers >= (2, 1, 10):
        return one._replace(default="0")
    if one.key == "node.session.reopen_max" and numbers < (2, 0, 877):
        return one._replace(default="32")
    if one.key in ("node.discovery_type", "discovery.type") and numbers >= (2, 1, 9):
        return one._replace(shape=_choice(*(choice for choice in one.choices if choice != "slp")))
    return one


def fields(kind: Kind, version: t.Optional[Version] = None) -> t.Mapping[str, Field]:
    """All fields of ``kind`` in the order in which iscsiadm of ``version`` (default: the newest known) writes them."""
    return _fields(Kind.NODE if kind in (Kind.STATIC, Kind.FW) else kind, (version or NEWEST).numbers)


#: every key of every kind whose value is a secret
SECRET_KEYS: t.FrozenSet[str] = frozenset(one.key for kind in (Kind.NODE, Kind.SEND_TARGETS) for one in _plain_fields(kind) if one.secret)


def field(kind: Kind, key: str, version: t.Optional[Version] = None) -> Field:
    """The field of that name; ``InputError`` naming the nearest right one if there is none."""
    known = fields(kind, version)
    found = known.get(key)
    if found is not None and "h" not in found.flags:
        return found
    newer = fields(kind).get(key)
    if newer is not None and "h" not in newer.flags:
        since = ".".join(str(number) for number in newer.since)
        raise InputError(f"setting {key!r}", f"is not known to open-iscsi {version.text if version else ''} of this host",
                         f"It came with {since if newer.since > _FIRST else 'a later version'}; leave it out here")
    import difflib  # seldom needed, and every import costs the host at every task

    near = difflib.get_close_matches(key, [name for name, one in known.items() if not one.read_only and "h" not in one.flags], 1, 0.5)
    raise InputError(f"setting {key!r}", f"is not a setting of {kind.value} records",
                     f"Did you mean {near[0]!r}?" if near else "See iscsiadm -m node -o show for the names of all settings")


def discovery_text(how: Kind, version: Version, *, record: Kind = Kind.NODE) -> str:
    """How that version writes the way a node was found; empty where it writes nothing.

    Versions that mix up the types write ``fw`` for static nodes and nothing for firmware ones.
    """
    names = list(fields(record, version)["node.discovery_type" if record is Kind.NODE else "discovery.type"].choices)
    number = {Kind.SEND_TARGETS: 0, Kind.ISNS: 1, Kind.STATIC: 4, Kind.FW: 5}[how]
    if "slp" not in names and number > 2 and not version.mixes_discovery_types:
        number -= 1
    return names[number] if number < len(names) else ""


def discovery_kind(text: str, version: Version) -> Kind:
    """The reverse of ``discovery_text``, for a record written by ``version``."""
    broken = version.mixes_discovery_types
    if text in ("send_targets", "sendtargets", "offload_send_targets"):
        return Kind.SEND_TARGETS
    if text == "isns":
        return Kind.ISNS
    if text == "fw":
        return Kind.STATIC if broken else Kind.FW
    return Kind.FW if broken and not text else Kind.STATIC


_TRUE = ("yes", "true", "on", "enable", "enabled")
_FALSE = ("no", "false", "off", "disable", "disabled")


def check_settings(kind: Kind, settings: t.Mapping[str, t.Any], *, version: t.Optional[Version] = None) -> t.Dict[str, str]:
    """``settings`` as the text iscsiadm stores; empty text means that the setting is taken out of the record.

    Raises ``InputError`` naming the key, the value (never a secret one) and what is allowed: an unknown key, a key the record
    is looked up by, a value of the wrong type or out of range, two values that cannot go together.
    """
    checked = {key: _check(kind, field(kind, key, version), value) for key, value in settings.items()}
    _check_together(checked)
    return checked


def _check(kind: Kind, one: Field, value: t.Any) -> str:
    if one.read_only and kind is Kind.NODE and one.key.startswith("iface."):
        raise InputError(f"setting {one.key!r}", "belongs to the iface that the node is bound to",
                         "Set it with lunar.iscsi.iscsi_iface, which changes the nodes that are bound to it, too")
    if one.read_only:
        raise InputError(f"setting {one.key!r}", "is what the record is looked up by and cannot be set", "Name another object instead of renaming this one")
    if one.type is Type.INT:
        return _check_int(one, value)
    if one.type is Type.LIST:
        return _check_list(one, value)
    if one.choices:
        return _check_choice(one, value)
    return _check_text(one, value)


def _refuse(one: Field, value: t.Any, what: str = "is not allowed") -> InputError:
    shown = "the value given (not shown, as it is a secret)" if one.secret else repr(value)
    return InputError(f"setting {one.key!r}", f"{shown} {what}", f"Allowed is {one.allowed()}")


def _check_int(one: Field, value: t.Any) -> str:
    if isinstance(value, bool) or not re.fullmatch(r"[+-]?[0-9]{1,12}", str(value).strip()):
        raise _refuse(one, value, "is not a whole number")
    number = int(value)
    if number not in one.shape.also and not one.shape.minimum <= number <= one.shape.maximum:
        raise _refuse(one, value, "is out of range")
    if one.key == "node.session.cmds_max" and number & (number - 1):
        raise InputError(f"setting {one.key!r}", f"{number} is not a power of two", "Allowed are 2, 4, 8 and so on up to 2048")
    return str(number)


def _check_choice(one: Field, value: t.Any) -> str:
    if value is None or value == "":
        if one.type is Type.TEXT:
            return ""
        raise _refuse(one, value)
    text = ("yes" if value else "no") if isinstance(value, bool) else re.sub(r"[\s,]+", ",", str(value).strip())
    for choice in one.choices:
        if choice.lower() == text.lower():
            return choice
    pair = tuple(sorted(choice.lower() for choice in one.choices))
    if pair == ("no", "yes") or pair == ("disable", "enable"):
        meaning = {"yes": _TRUE, "enable": _TRUE, "no": _FALSE, "disable": _FALSE}
        for choice in one.choices:
            if text.lower() in meaning[choice.lower()]:
                return choice
    raise _refuse(one, value)


def _check_list(one: Field, value: t.Any) -> str:
    parts = re.split(r"[\s,]+", value.strip(" ,")) if isinstance(value, str) else [str(part) for part in value] if isinstance(value, (list, tuple)) else []
    names = {choice.lower(): choice for choice in one.choices}
    found: t.List[str] = []
    for part in parts:
        name = names.get(part.lower())
        if name is None or name in found:
            raise _refuse(one, value, "repeats a value" if name else f"holds {part!r}, which is not allowed")
        found.append(name)
    if not found:
        raise _refuse(one, value)
    return ",".join(found)


def _check_text(one: Field, value: t.Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        raise _refuse(one, value, "is not text")
    text = str(value)
    if re.search("[\ud800-\udc7f\udd00-\udfff]", text):  # those in between stand for bytes that are not UTF-8
        raise _refuse(one, value, "is no text that can be written")
    if len(text.encode("utf-8", "surrogateescape")) > one.shape.maximum:
        raise _refuse(one, value, "is too long")
    if text != text.strip() or re.search(r"[\x00-\x1f\x7f]", text):
        raise _refuse(one, value, "begins or ends with a space or holds a control character, which a record cannot hold")
    return text


def _check_together(checked: t.Mapping[str, str]) -> None:
    """Pairs that iscsid would change on its own, where a task gives both."""
    interval, timeout = (checked.get(f"node.conn[0].timeo.noop_out_{name}") for name in ("interval", "timeout"))
    if interval is not None and timeout is not None and (interval == "0") != (timeout == "0"):
        raise InputError("settings noop_out_interval and noop_out_timeout", f"are {interval} and {timeout}; iscsid takes 0 only for both",
                         "Set both to 0 to switch the pings off, or both to more than 0")
    first, burst = (checked.get(f"node.session.iscsi.{name}BurstLength") for name in ("First", "Max"))
    if first and burst and int(first) > int(burst):
        raise InputError("settings FirstBurstLength and MaxBurstLength", f"are {first} and {burst}; the first burst may not be the longer one",
                         "Lower FirstBurstLength or raise MaxBurstLength")
