# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flash nodes: the targets in the flash of an offload adapter, which it logs in to by itself.

The kernel shows them on the bus ``iscsi_flashnode`` (drivers/scsi/scsi_transport_iscsi.c), each in two folders. Names and types of their settings are
those of iscsiadm (usr/idbm_fields.h, idbm_recinfo_flashnode), and so is what of them can be set (usr/flashnode.c, flashnode_build_config).
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.sysfs import list_dir, read_text
from ansible_collections.lunar.iscsi.plugins.module_utils._names import Portal, normalise_host

TARGET, TPGT = "flashnode.session.targetname", "flashnode.session.tpgt"
ADDRESS, PORT = "flashnode.conn[0].ipaddress", "flashnode.conn[0].port"
PORTAL_TYPE, BOOT = "flashnode.session.portal_type", "flashnode.session.is_boot_target"
CHAP, CHAP_INDEX = "flashnode.session.chap_auth_en", "flashnode.session.chap_out_idx"
MAX_TEXT = 223  # bytes, as long as the name of a target

#: name, bits of a number or kind of text, attribute in sysfs where that has another name; a minus where iscsiadm does not send it
_SESSION = """
auto_snd_tgt_disable 8; discovery_session 8; portal_type text; entry_enable 8; immediate_data 8; initial_r2t 8; data_seq_in_order 8;
data_pdu_in_order 8; chap_auth_en 8 chap_auth; discovery_logout_en 8 discovery_logout; bidi_chap_en 8 bidi_chap; discovery_auth_optional 8;
erl 8; first_burst_len 32; def_time2wait 16; def_time2retain 16; max_outstanding_r2t 16; isid isid; tsid 16; max_burst_len 32;
def_taskmgmt_tmo 16; targetalias text; targetname text; discovery_parent_idx 16; discovery_parent_type text; tpgt 16; chap_out_idx 16;
-chap_in_idx 16; -username text; -username_in text; -password text; -password_in text; -is_boot_target 8
"""
_CONNECTION = """
is_fw_assigned_ipv6 8; header_digest_en 8 header_digest; data_digest_en 8 data_digest; snack_req_en 8 snack_req; tcp_timestamp_stat 8;
tcp_nagle_disable 8; tcp_wsf_disable 8; tcp_timer_scale 8; tcp_timestamp_en 8 tcp_timestamp_enable; fragment_disable 8; max_xmit_dlength 32;
max_recv_dlength 32; keepalive_tmo 16; port 16; ipaddress address; redirect_ipaddr address; max_segment_size 32; local_port 16; ipv4_tos 8;
ipv6_traffic_class 8; ipv6_flow_label 16; link_local_ipv6 ipv6; tcp_xmit_wsf 32; tcp_recv_wsf 32; statsn 32; exp_statsn 32
"""
#: the kernel shows them to whoever reads sysfs; they are not even read
SECRETS = ("flashnode.session.password", "flashnode.session.password_in")
#: what has an option of its own
IDENTITY = (TARGET, ADDRESS, PORT, PORTAL_TYPE)
#: addresses, of the family of the portal or of IPv6
_ADDRESSES = ("address", "ipv6")
_TRUE, _FALSE = ("true", "yes", "on", "enable"), ("false", "no", "off", "disable")


class _Field(t.NamedTuple):
    kind: str
    attribute: str
    settable: bool


def _fields(prefix: str, text: str) -> t.Iterator[t.Tuple[str, _Field]]:
    for entry in text.replace("\n", " ").split(";"):
        name, kind, *attribute = entry.split()
        plain = name.lstrip("-")
        yield prefix + plain, _Field(kind, attribute[0] if attribute else plain, plain == name)


_FIELDS_OF_SESSION = dict(_fields("flashnode.session.", _SESSION))
_FIELDS_OF_CONNECTION = dict(_fields("flashnode.conn[0].", _CONNECTION))
FIELDS: t.Mapping[str, _Field] = {**_FIELDS_OF_SESSION, **_FIELDS_OF_CONNECTION}


@dataclass(frozen=True)
class FlashNode:
    """One flash node. ``settings`` are all of its settings but secrets, as text; what is not set is empty."""

    host: int
    index: int
    settings: t.Mapping[str, str]

    @property
    def target(self) -> str:
        """Name of the target; empty for an entry that is asked for targets, and for one that is not finished."""
        return self.settings[TARGET]

    @property
    def portal(self) -> t.Optional[Portal]:
        """Where the target listens, without tpgt; None where no address is set."""
        address, port = self.settings[ADDRESS], self.settings[PORT]
        return Portal(address, int(port)) if address and port.isdigit() else None

    @property
    def boots(self) -> bool:
        """Whether the adapter boots from it; the driver then refuses to log it out and to delete it."""
        return self.settings[BOOT] not in ("", "0")

    def __str__(self) -> str:
        return f"flash node {self.index} of host {self.host}" + (f" ({self.target} at {self.portal})" if self.target and self.portal else "")


def read_flash_nodes(host: int, sys: str = "/sys") -> t.List[FlashNode]:
    """The flash nodes of one host, by index; empty where its driver has none. Secrets are not read."""
    folder = os.path.join(sys, "bus/iscsi_flashnode/devices")
    found = (re.fullmatch(rf"flashnode_sess-{host}:(\d+)", name) for name in list_dir(folder))
    return [_read(folder, host, int(match.group(1))) for match in found if match]


def _read(folder: str, host: int, index: int) -> FlashNode:
    settings: t.Dict[str, str] = {}
    session, connection = f"{folder}/flashnode_sess-{host}:{index}", f"{folder}/flashnode_conn-{host}:{index}:0"
    for fields, place in ((_FIELDS_OF_SESSION, session), (_FIELDS_OF_CONNECTION, connection)):
        for name, field in fields.items():
            if name not in SECRETS:
                value = read_text(f"{place}/{field.attribute}") or ""
                settings[name] = normalise_host(value) if value and field.kind in _ADDRESSES else value
    return FlashNode(host, index, settings)


def is_address(text: str) -> bool:
    """Whether this is an IP address that an adapter can have: one without the name of an interface of this host."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text  # Python 3.9 and newer take that


def check_settings(settings: t.Mapping[str, t.Any], subject: str) -> t.Dict[str, str]:
    """Settings as the kernel will show them. Raises ``InputError`` for what is unknown, has another type or cannot be set."""
    return {name: _check_setting(f"{subject}.{name}", name, value) for name, value in settings.items()}


def check_families(settings: t.Mapping[str, str], portal_type: str, subject: str) -> None:
    """Refuse addresses of a family that a flash node for ``ipv4`` or ``ipv6`` does not have: iscsiadm leaves them out and says nothing."""
    for name, value in settings.items():
        kind = FIELDS[name].kind
        if kind in _ADDRESSES and (("ipv6" if ":" in value else "ipv4") != portal_type or (kind == "ipv6" and portal_type != "ipv6")):
            raise InputError(subject, f"is for {portal_type} and cannot have {name}: {value}", "Give an address that fits, or another portal")


def _check_setting(subject: str, name: str, value: t.Any) -> str:
    field = FIELDS.get(name)
    if field is None:
        near = difflib.get_close_matches(str(name), list(FIELDS), 1)
        remedy = f"Did you mean {near[0]}?" if near else "iscsiadm -m host -H HOST -C flashnode -x INDEX shows them all"
        raise InputError(subject, "is no setting of a flash node", remedy)
    if name in IDENTITY:
        raise InputError(subject, "is no setting here", "Say target and portal, which tell flash nodes apart; the kind of address is that of the portal")
    if not field.settable:
        if "name" in name or "pass" in name:
            raise InputError(subject, "cannot be set: open-iscsi does not send it, since the adapter takes it from its CHAP table",
                             f"Put it into the table (option chap) and name its index as {CHAP_INDEX}")
        raise InputError(subject, "cannot be set: open-iscsi does not send it to the adapter", "Leave it out")
    text = "" if value is None else str(value).strip()
    if field.kind.isdigit():
        return _number(subject, text, 2 ** int(field.kind) - 1)
    return _text(subject, text, field.kind)


def _number(subject: str, text: str, most: int) -> str:
    low = text.lower()
    number = "1" if low in _TRUE else "0" if low in _FALSE else text
    if not re.fullmatch(r"[0-9]{1,10}", number) or int(number) > most:
        raise InputError(subject, f"is {text!r}", f"Give a number from 0 to {most}; true is 1 and false is 0")
    return str(int(number))


def _text(subject: str, text: str, kind: str) -> str:
    if kind == "isid" and not re.fullmatch(r"[0-9a-fA-F]{12}", text):
        raise InputError(subject, f"is {text!r}", "Give 12 hex digits (6 bytes)")
    if kind == "isid":
        return text.lower()
    if kind in _ADDRESSES:
        if not is_address(text):
            raise InputError(subject, f"is {text!r}, which is no IP address", "Give one")
        return normalise_host(text)
    if re.search("[\x00-\x1f\x7f\ud800-\udfff]", text) or len(text.encode("utf-8", "replace")) > MAX_TEXT:
        raise InputError(subject, f"holds a control character or more than {MAX_TEXT} bytes", "Give a shorter text on one line")
    return text
