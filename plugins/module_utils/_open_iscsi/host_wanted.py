# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task wants of an offload adapter: the options ``chap`` and ``flash_nodes`` of ``iscsi_host`` as values that are known to make sense."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import Portal, check_iscsi_name, normalise_host, parse_portal
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.flash_nodes import ADDRESS, PORT, TARGET, TPGT, FlashNode, check_settings, is_address
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.iscsiadm_host import BIDI, LOCAL, ChapEntry

#: an adapter has fewer; iscsiadm takes an index beyond it for "the first free one", and deletes nothing there and succeeds
CHAP_ENTRIES = 2048
_MAX_BYTES = 255  # as in a record: open-iscsi's buffers hold 256
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_MAX_INDEX = 2**32 - 2  # the greatest is how iscsiadm writes "none"


@dataclass(frozen=True)
class WantedChap:
    """One entry of the CHAP table that shall be there or not; ``index`` None for whichever has this name."""

    present: bool
    index: t.Optional[int]
    kind: str
    username: t.Optional[str]
    password: t.Optional[str] = field(default=None, repr=False)

    def __str__(self) -> str:
        of_name = "" if self.username is None else f"{self.kind} {self.username}"
        return f"CHAP entry {of_name}" if self.index is None else f"CHAP entry {self.index}" + (f" ({of_name})" if of_name else "")

    def matches(self, entry: ChapEntry) -> bool:
        """Whether an entry of the table is the one that is meant."""
        if self.index is not None and (entry.index != self.index or self.present):
            return entry.index == self.index
        return self.username is None or (entry.kind, entry.username) == (self.kind, self.username)


@dataclass(frozen=True)
class WantedNode:
    """One flash node that shall be there or not, with or without a session. ``settings`` hold target and portal, too."""

    state: str
    index: t.Optional[int]
    target: t.Optional[str]
    portal: t.Optional[Portal]
    settings: t.Mapping[str, str]

    def __str__(self) -> str:
        where = f"{self.target} at {self.portal.address}" if self.target and self.portal else ""
        return f"flash node {where}" if self.index is None else f"flash node {self.index}" + (f" ({where})" if where else "")

    @property
    def portal_type(self) -> str:
        """How iscsiadm calls the family of the portal's address."""
        return "ipv6" if self.portal is not None and ":" in self.portal.host else "ipv4"

    def matches(self, node: FlashNode) -> bool:
        """Whether a flash node is the one that is meant."""
        if self.index is not None:
            return node.index == self.index
        return node.target == self.target and node.portal is not None and self.portal is not None and node.portal.endpoint == self.portal.endpoint


def parse_chap_option(entries: t.Sequence[t.Mapping[str, t.Any]]) -> t.List[WantedChap]:
    """Read the option ``chap``. Raises ``InputError``, in which no secret is."""
    found = [_chap(f"option chap[{number}]", entry) for number, entry in enumerate(entries)]
    for number, one in enumerate(found):
        for other in found[:number]:
            same_index = one.index is not None and one.index == other.index
            same_name = None in (one.index, other.index) and one.username is not None and (one.kind, one.username) == (other.kind, other.username)
            if same_index or same_name:
                raise InputError(f"option chap[{number}]", f"is {one}, which is in the list twice", "Say it once")
    return found


def _chap(subject: str, entry: t.Mapping[str, t.Any]) -> WantedChap:
    given = {word: entry.get(word) for word in ("username", "password", "username_in", "password_in")}
    kind = BIDI if given["username_in"] is not None or given["password_in"] is not None else LOCAL
    if kind == BIDI and (given["username"] is not None or given["password"] is not None):
        raise InputError(subject, "holds both directions", "An entry is for one: username and password, or username_in and password_in")
    username, password = (given["username_in"], given["password_in"]) if kind == BIDI else (given["username"], given["password"])
    present, index = entry.get("state", "present") == "present", entry.get("index")
    if index is not None and not 0 <= index < CHAP_ENTRIES:
        raise InputError(f"{subject}.index", f"is {index}", f"Give a number from 0 to {CHAP_ENTRIES - 1}")
    if present and (username is None or password is None):
        raise InputError(subject, "lacks a user name or its secret", "Give username and password, or username_in and password_in")
    if not present and index is None and username is None:
        raise InputError(subject, "names no entry", "Give its index or its user name")
    for word, value in given.items():
        _check_text(f"{subject}.{word}", value)
    return WantedChap(present, index, kind, username, password if present else None)


def _check_text(subject: str, value: t.Optional[str]) -> None:
    """Refuse what open-iscsi cannot carry, without saying what it is."""
    if value is None:
        return
    length = len(value.encode("utf-8", "replace"))
    if not 1 <= length <= _MAX_BYTES:
        raise InputError(subject, f"is {length} bytes long", f"Give 1 to {_MAX_BYTES} bytes")
    if value != value.strip() or _UNFIT.search(value):
        raise InputError(subject, "begins or ends with white space, or holds a line break or another control character", "Choose another")


def parse_nodes_option(entries: t.Sequence[t.Mapping[str, t.Any]]) -> t.List[WantedNode]:
    """Read the option ``flash_nodes``. Raises ``InputError``."""
    found = [_node(f"option flash_nodes[{number}]", entry) for number, entry in enumerate(entries)]
    for number, one in enumerate(found):
        for other in found[:number]:
            same_index = one.index is not None and one.index == other.index
            same_place = one.portal is not None and other.portal is not None and (
                (one.target, one.portal.endpoint) == (other.target, other.portal.endpoint))
            if same_index or same_place:
                raise InputError(f"option flash_nodes[{number}]", f"is {one}, which is in the list twice", "Say it once")
    return found


def _node(subject: str, entry: t.Mapping[str, t.Any]) -> WantedNode:
    index, target, text, state = entry.get("index"), entry.get("target"), entry.get("portal"), entry.get("state", "present")
    if (target is None) != (text is None) or (index is None and target is None):
        raise InputError(subject, "names no flash node", "Give its index, or target and portal, or all three")
    if index is not None and not 0 <= index <= _MAX_INDEX:
        raise InputError(f"{subject}.index", f"is {index}", f"Give a number from 0 to {_MAX_INDEX}")
    if index is not None and target is not None and state in ("absent", "logged_out"):
        raise InputError(subject, f"names a flash node twice, which makes no sense with state: {state}", "Give its index, or target and portal")
    settings = entry.get("settings") or {}
    if settings and state in ("absent", "logged_out"):
        raise InputError(f"{subject}.settings", f"makes no sense with state: {state}", "Leave it out, or say state: present")
    wanted = check_settings(settings, f"{subject}.settings")
    portal = None
    if target is not None:
        check_iscsi_name(target, f"{subject}.target")
        portal = _portal(f"{subject}.portal", text or "")
        if portal.tpgt is not None and wanted.setdefault(TPGT, str(portal.tpgt)) != str(portal.tpgt):
            raise InputError(f"{subject}.portal", f"has the portal group tag {portal.tpgt}, and {TPGT} is {wanted[TPGT]}", "Say it once")
        wanted = {ADDRESS: portal.host, PORT: str(portal.port), TARGET: target, **wanted}
    return WantedNode(state, index, target, portal, wanted)


def _portal(subject: str, text: str) -> Portal:
    portal = parse_portal(text)
    if not is_address(portal.host):
        raise InputError(subject, f"is {text!r}", "Give an IP address: adapters look up no names, and know no interface of this host")
    return portal._replace(host=normalise_host(portal.host))
