# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text keys: ``key=value`` data and how values are negotiated (RFC 7143 sections 6.1, 6.2 and 13)."""

from __future__ import annotations

import base64
import binascii
import re
import typing as t
from enum import Enum

from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.errors import LocalProtocolError, ProtocolError

Pairs = t.Tuple[t.Tuple[str, str], ...]

#: RFC 7143 section 6.1: a key name has at most 63 bytes; the longest value any key may have is CHAP_C or CHAP_R,
#: 1024 bytes written in hex (section 12.1.3). Everything longer is refused.
MAX_KEY_BYTES = 63
MAX_VALUE_BYTES = 2 + 2 * 1024
_KEY = re.compile(rb"[A-Za-z][A-Za-z0-9.\-+@_]{0,62}")

# constants that stand in place of a value (section 6.2)
NONE = "None"
REJECT = "Reject"
IRRELEVANT = "Irrelevant"
NOT_UNDERSTOOD = "NotUnderstood"


def render_pairs(pairs: Pairs) -> bytes:
    """Pairs as they go over the wire, each ended by a NUL byte. Raises ``LocalProtocolError`` for what cannot be sent."""
    parts = []
    for key, value in pairs:
        if "\0" in value or len(value.encode("utf-8")) > MAX_VALUE_BYTES:
            raise LocalProtocolError(f"text key {key}", f"has a value that holds a NUL or is longer than {MAX_VALUE_BYTES} bytes")
        parts.append(f"{key}={value}\0".encode())
    return b"".join(parts)


def parse_pairs(data: bytes) -> Pairs:
    """Read ``key=value`` data; a missing last NUL and padding NULs are forgiven. Raises ``ProtocolError``.

    The same key may stand there more than once: SendTargets answers are such lists.
    """
    pairs = []
    for item in data.split(b"\0"):
        if not item:
            continue
        key, equals, value = item.partition(b"=")
        if not _KEY.fullmatch(key):
            raise ProtocolError(f"sent text data with {_show(key)} where a key name is expected")
        if not equals:
            raise ProtocolError(f"sent the text key {_show(key)} without a value")
        if len(value) > MAX_VALUE_BYTES:
            raise ProtocolError(f"sent a value of {len(value)} bytes for the text key {_show(key)}; at most {MAX_VALUE_BYTES} are accepted")
        try:
            pairs.append((key.decode("ascii"), value.decode("utf-8")))
        except UnicodeDecodeError:
            raise ProtocolError(f"sent a value for the text key {_show(key)} that is not UTF-8") from None
    return tuple(pairs)


def as_mapping(pairs: Pairs) -> t.Dict[str, str]:
    """Pairs of a negotiation, where a key may stand once only. Raises ``ProtocolError``."""
    found: t.Dict[str, str] = {}
    for key, value in pairs:
        if key in found:
            raise ProtocolError(f"sent the text key {key} twice in one answer")
        found[key] = value
    return found


def _show(key: bytes) -> str:
    text = ascii(key[:40].decode("latin-1"))
    return text + "..." if len(key) > 40 else text


def parse_number(key: str, value: str, low: int, high: int) -> int:
    """A decimal or 0x hexadecimal constant within ``low`` to ``high``. Raises ``ProtocolError``."""
    if re.fullmatch(r"[0-9]{1,20}", value, re.ASCII):
        number = int(value)
    elif re.fullmatch(r"0[xX][0-9A-Fa-f]{1,16}", value):
        number = int(value, 16)
    else:
        raise ProtocolError(f"sent {value[:40]!a} for {key} where a number is expected")
    if not low <= number <= high:
        raise ProtocolError(f"sent {number} for {key}; {low} to {high} is allowed")
    return number


def parse_binary(key: str, value: str, longest: int) -> bytes:
    """A binary value: 0x and hex digits, or 0b and base64 (section 6.1). The value itself is never shown in an error."""
    digits = value[2:]
    try:
        if value[:2] in ("0x", "0X"):
            data = binascii.unhexlify(digits if len(digits) % 2 == 0 else "0" + digits)
        elif value[:2] in ("0b", "0B"):
            data = base64.b64decode(digits.encode("ascii"), validate=True)
        else:
            raise ValueError
    except ValueError:  # binascii.Error and UnicodeEncodeError are ValueErrors
        raise ProtocolError(f"sent something for {key} that is neither hexadecimal (0x) nor base64 (0b)") from None
    if not 1 <= len(data) <= longest:
        raise ProtocolError(f"sent {len(data)} bytes for {key}; 1 to {longest} are allowed")
    return data


class Rule(Enum):
    """How two sides come to one value (RFC 7143 sections 6.2.1 and 6.2.2)."""

    LIST = "the first of the offered list that both know"
    MINIMUM = "the smaller number"
    MAXIMUM = "the larger number"
    OR = "Yes if one side says Yes"
    AND = "Yes if both sides say Yes"
    DECLARE = "each side says its own number"


class KeyRule(t.NamedTuple):
    """One operational key: rule, range of numbers, the value where nobody speaks, and whether a discovery session knows it."""

    rule: Rule
    default: str
    low: int = 0
    high: int = 0
    discovery: bool = False


_BYTES = (512, 2**24 - 1)
#: the operational keys this initiator negotiates (RFC 7143 section 13)
KEY_RULES: t.Mapping[str, KeyRule] = {
    "HeaderDigest": KeyRule(Rule.LIST, NONE, discovery=True),  # 13.1
    "DataDigest": KeyRule(Rule.LIST, NONE, discovery=True),  # 13.1
    "MaxConnections": KeyRule(Rule.MINIMUM, "1", 1, 65535),  # 13.2
    "InitialR2T": KeyRule(Rule.OR, "Yes"),  # 13.10
    "ImmediateData": KeyRule(Rule.AND, "Yes"),  # 13.11
    "MaxRecvDataSegmentLength": KeyRule(Rule.DECLARE, "8192", *_BYTES, discovery=True),  # 13.12
    "MaxBurstLength": KeyRule(Rule.MINIMUM, "262144", *_BYTES),  # 13.13
    "FirstBurstLength": KeyRule(Rule.MINIMUM, "65536", *_BYTES),  # 13.14
    "DefaultTime2Wait": KeyRule(Rule.MAXIMUM, "2", 0, 3600, discovery=True),  # 13.15
    "DefaultTime2Retain": KeyRule(Rule.MINIMUM, "20", 0, 3600, discovery=True),  # 13.16
    "MaxOutstandingR2T": KeyRule(Rule.MINIMUM, "1", 1, 65535),  # 13.17
    "DataPDUInOrder": KeyRule(Rule.OR, "Yes"),  # 13.18
    "DataSequenceInOrder": KeyRule(Rule.OR, "Yes"),  # 13.19
    "ErrorRecoveryLevel": KeyRule(Rule.MINIMUM, "0", 0, 2, discovery=True),  # 13.20
}
#: keys of RFC 3720 that are no more: they must be rejected, not "not understood" (section 13.26)
OBSOLETE_KEYS = frozenset({"IFMarker", "OFMarker", "IFMarkInt", "OFMarkInt"})
#: what a target may say about itself at any time during a login, and which wants no answer (sections 13.4 to 13.9)
DECLARED_KEYS = frozenset({"TargetName", "TargetAlias", "TargetAddress", "TargetPortalGroupTag"})


def agree(key: str, ours: str, theirs: str) -> str:
    """The value both sides now hold for ``key``, where we said ``ours`` and the target says ``theirs``.

    For a list, one of ``ours`` must have been chosen where ``theirs`` is one value; where ``theirs`` is a list too, the
    target offers, and the first of its values that we know is it. Raises ``ProtocolError`` where nothing fits.
    """
    rule = KEY_RULES[key]
    if rule.rule is Rule.LIST:
        known = ours.split(",")
        for value in theirs.split(","):
            if value in known:
                return value
        raise ProtocolError(f"chose {theirs[:40]!a} for {key}, which was not offered ({ours})")
    if rule.rule in (Rule.OR, Rule.AND):
        if theirs not in ("Yes", "No"):
            raise ProtocolError(f"sent {theirs[:40]!a} for {key}; Yes or No is expected")
        one, both = "Yes" in (ours, theirs), ours == theirs == "Yes"
        return "Yes" if (one if rule.rule is Rule.OR else both) else "No"
    number = parse_number(key, theirs, rule.low, rule.high)
    if rule.rule is Rule.DECLARE:
        return str(number)
    return str(min(number, int(ours)) if rule.rule is Rule.MINIMUM else max(number, int(ours)))
