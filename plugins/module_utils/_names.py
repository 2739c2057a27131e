# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iSCSI names and portals (RFC 7143 section 4.2.7, RFC 3722, RFC 3980; iscsiadm(8) for how portals are written)."""

from __future__ import annotations

import functools
import ipaddress
import re
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError

DEFAULT_PORT = 3260
ISNS_PORT = 3205  # RFC 4171 section 8
#: open-iscsi's "no portal group tag": PORTAL_GROUP_TAG_UNKNOWN (-1) as an unsigned number is what tools print.
TPGT_UNKNOWN = -1
MAX_NAME_BYTES = 223  # RFC 7143 section 4.2.7.1

_IQN = re.compile(r"iqn\.(?P<date>[0-9]{4}-[0-9]{2})\.(?P<authority>[a-z0-9][a-z0-9.\-]*)(?::(?P<rest>\S+))?")
_EUI = re.compile(r"eui\.[0-9A-Fa-f]{16}")
_NAA = re.compile(r"naa\.(?:[0-9A-Fa-f]{16}|[0-9A-Fa-f]{32})")
# RFC 3722 allows less (no upper case, no underscore), but arrays in the field announce such names and must be usable:
# refused is only what no tool can carry, white space, control characters, the comma and the slash of portals and paths.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\x9f,/\\]|\s")
# what Linux lets an interface be called, less what has a meaning in a portal or in the file name of a record
_SCOPE_ID = re.compile(r"(?:(?![/\\%,:\[\]])[!-~]){1,15}")
_HOST_NAME = re.compile(r"(?=.{1,253}\.?\Z)[A-Za-z0-9_](?:[A-Za-z0-9_\-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_\-]*[A-Za-z0-9_])?)*\.?")


def check_iscsi_name(name: str, subject: str = "target") -> str:
    """Return ``name`` if it is an iSCSI name (iqn, eui or naa form); raise ``InputError`` saying what is wrong in it."""

    def refuse(what: str) -> InputError:
        return InputError(
            f"{subject} {name!r}", what,
            "An iSCSI name is iqn.YYYY-MM.reversed.domain[:text], eui. and 16 hex digits, or naa. and 16 or 32 hex digits")

    if not name:
        raise refuse("is empty")
    try:
        length = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        raise refuse("is not UTF-8") from None
    if length > MAX_NAME_BYTES:
        raise refuse(f"is {length} bytes long; the longest allowed is {MAX_NAME_BYTES}")
    kind = name[:4].lower()
    if kind == "eui." or kind == "naa.":
        if not (_EUI if kind == "eui." else _NAA).fullmatch(kind + name[4:]):
            raise refuse(f"has the wrong number of hex digits after {kind!r}, or something that is not a hex digit")
        return name
    if kind != "iqn.":
        raise refuse("does not begin with iqn., eui. or naa.")
    return _check_iqn(name, refuse)


def _check_iqn(name: str, refuse: t.Callable[[str], InputError]) -> str:
    date, _dot, rest = name[4:].partition(".")
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}", date):
        raise refuse(f"has {date!r} where a date YYYY-MM is expected")
    if not 1 <= int(date[5:]) <= 12:
        raise refuse(f"has the month {date[5:]!r} in its date; a month is 01 to 12")
    if not rest:
        raise refuse("has no naming authority (a reversed domain name) after the date")
    if rest.partition(":")[1:] == (":", ""):
        raise refuse("has nothing after the colon")
    bad = _FORBIDDEN.search(name)
    if bad:
        raise refuse(f"holds the character {bad.group(0)!r}, which iSCSI names may not hold")
    if not _IQN.fullmatch(name.lower()):
        raise refuse(f"has {rest.partition(':')[0]!r} where a reversed domain name is expected")
    return name


class Portal(t.NamedTuple):
    """Where a target listens: a host (IPv4, IPv6 without brackets, or a host name), a TCP port, a portal group tag.

    ``tpgt`` is 0 to 65535, or None where nobody said (RFC 7143 section 4.2.7; open-iscsi writes that as -1).
    """

    host: str
    port: int = DEFAULT_PORT
    tpgt: t.Optional[int] = None

    @property
    def address(self) -> str:
        """``host:port`` with brackets around IPv6, as iscsiadm prints and takes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return self.address if self.tpgt is None else f"{self.address},{self.tpgt}"

    @property
    def endpoint(self) -> tuple[str, int]:
        """Host and port alone: what two portals with different or unknown tpgt are compared by."""
        return (self.host, self.port)

    @property
    def is_link_local(self) -> bool:
        """Whether the host is an IPv4 or IPv6 link-local address, with or without a scope id."""
        try:
            return ipaddress.ip_address(self.host.partition("%")[0]).is_link_local
        except ValueError:
            return False

    def matches(self, other: Portal) -> bool:
        """Same endpoint, and same tpgt where both know one."""
        return self.endpoint == other.endpoint and (self.tpgt is None or other.tpgt is None or self.tpgt == other.tpgt)


class NodeKey(t.NamedTuple):
    """What a node is known by: target name, portal (with tpgt), iface. Never the target name alone."""

    target: str
    portal: Portal
    iface: str = "default"

    def __str__(self) -> str:
        return f"{self.target} at {self.portal}" + ("" if self.iface == "default" else f" via iface {self.iface}")


@functools.lru_cache(maxsize=1024)
def normalise_host(host: str) -> str:
    """IPv6 in its short lower-case form (scope id kept), IPv4 as it is, host names in lower case without a final dot."""
    text, percent, scope = host.partition("%")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return host.lower().rstrip(".")
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    # Python writes these as hexadecimal up to 3.12 and as inet_ntop(3) does, and with it open-iscsi, from 3.13 on
    return (f"::ffff:{mapped}" if mapped else str(address)) + percent + scope


def parse_portal(text: str, default_port: int = DEFAULT_PORT) -> Portal:
    """Read ``address``, ``address:port``, ``address:port,tpgt`` or ``[IPv6]:port,tpgt``; a bare IPv6 address is taken too.

    Raises ``InputError`` naming what is wrong: an address, a port outside 1 to 65535, a tpgt outside 0 to 65535.
    4294967295 and -1 are open-iscsi's way to write "no tpgt" and give None.
    """

    def refuse(what: str) -> InputError:
        return InputError(f"portal {text!r}", what, "Write it as address, address:port, address:port,tpgt or [IPv6]:port,tpgt")

    rest, comma, tag = text.strip().partition(",")
    host, port = _split_port(rest, refuse, default_port)
    if not _is_host(host):
        raise refuse(f"{host!r} is neither an IP address nor a host name")
    if not (_is_short_number(port) and 1 <= int(port) <= 65535):
        raise refuse(f"has the port {port!r}; a port is a number from 1 to 65535")
    if not comma or tag in ("-1", "4294967295"):
        return Portal(normalise_host(host), int(port))
    if not (_is_short_number(tag) and int(tag) <= 65535):
        raise refuse(f"has the portal group tag {tag!r}; a tpgt is a number from 0 to 65535")
    return Portal(normalise_host(host), int(port), int(tag))


def _split_port(rest: str, refuse: t.Callable[[str], InputError], default_port: int) -> tuple[str, str]:
    if rest.startswith("["):
        host, bracket, after = rest[1:].partition("]")
        if not bracket or (after and not after.startswith(":")):
            raise refuse("has a bracket that is not closed, or something other than :port after it")
        if ":" not in host:
            raise refuse(f"has brackets around {host!r}, which is not an IPv6 address")
        return host, after[1:] if after else str(default_port)
    if rest.count(":") > 1:  # a bare IPv6 address has no place for a port
        return rest, str(default_port)
    host, colon, port = rest.partition(":")
    return host, port if colon else str(default_port)


def _is_short_number(text: str) -> bool:
    """ASCII digits, few enough that int() takes them on every Python."""
    return re.fullmatch(r"[0-9]{1,10}", text) is not None


def _is_host(host: str) -> bool:
    address, percent, scope = host.partition("%")
    try:
        version = ipaddress.ip_address(address).version
        return not percent or (version == 6 and _SCOPE_ID.fullmatch(scope) is not None)
    except ValueError:
        # four numbers that are no IPv4 address are a typing mistake, not a host name
        numeric = re.fullmatch(r"[0-9.]+", host) is not None
        return "%" not in host and not numeric and ":" not in host and _HOST_NAME.fullmatch(host) is not None
