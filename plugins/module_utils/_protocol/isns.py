# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an initiator asks of an iSNS server (RFC 4171): which targets it may see, and to be told when that changes. No socket and no clock."""

from __future__ import annotations

import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError, IscsiError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import Portal, check_iscsi_name, normalise_host
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.errors import DroppedError, IsnsRefusedError, ProtocolError
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.exchanges import DiscoveredTarget
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.isns_wire import (
    DELIMITER, Attribute, Flag, Function, Limits, Message, MessageReader, NodeType, Scn, Tag, number_attribute, render_message, shown, text_attribute)

SUCCESS = 0
SOURCE_UNKNOWN = 6
NO_SUCH_ENTRY = 9
INTERNAL_ERROR = 11
_LOG = "The log of the server may say more"
_RIGHTS = "Look at what the server lets this initiator do (its policies, its discovery domains)"
#: status -> what it is called, what to do about it (RFC 4171 section 5.4, the table of statuses)
STATUS: t.Mapping[int, t.Tuple[str, str]] = {
    1: ("unknown error", _LOG),
    2: ("it could not understand the message", _LOG),
    3: ("it refuses the registration", _RIGHTS),
    5: ("it refuses the query", _RIGHTS),
    6: ("it does not know this initiator", "Register the initiator there, or let the server accept registrations of this host"),
    7: ("it misses the name of the one who asks", _LOG),
    8: ("this initiator is not authorised", _RIGHTS),
    9: ("it has no such entry", ""),
    10: ("it does not speak this version of iSNS", "Version 1 (RFC 4171) is spoken here"),
    11: ("it has an internal error", _LOG),
    12: ("it is busy", "Try again later"),
    13: ("it does not understand an option", _LOG),
    14: ("it refuses the update", _RIGHTS),
    15: ("it does not support this kind of message", "Another server, or another version of it, may"),
    16: ("it refuses the event", _LOG),
    17: ("it refuses to send state change notifications", "Poll it instead: discovery.isns.discoveryd_poll_inval"),
    18: ("it does not support an attribute", _LOG),
    21: ("it cannot watch whether this host is alive (ESI)", _LOG),
    22: ("it refuses the removal of the registration", _RIGHTS),
    23: ("it does not support a feature of the registration", _LOG),
}
#: what discovery asks for, in the order in which the server answers
_WANTED = (Tag.NODE_NAME, Tag.NODE_TYPE, Tag.PORTAL_ADDRESS, Tag.PORTAL_PORT, Tag.GROUP_NODE_NAME, Tag.GROUP_ADDRESS, Tag.GROUP_PORT, Tag.GROUP_TAG)
_GROUP = (Tag.GROUP_NODE_NAME, Tag.GROUP_ADDRESS, Tag.GROUP_PORT, Tag.GROUP_TAG)
#: what iscsid registers for
CHANGES = Scn.UPDATED | Scn.ADDED | Scn.REMOVED | Scn.TARGETS_ONLY


def refused(status: int, doing: str) -> IsnsRefusedError:
    """The error for a status other than success; ``doing`` is what was asked for, such as ``the query``."""
    what, remedy = STATUS.get(status, (f"it gives the status {status}, which RFC 4171 does not know", _LOG))
    return IsnsRefusedError(status, f"the iSNS server refused {doing}: {what} (status {status})", remedy)


# -- requests -----------------------------------------------------------------------------------------------------------


def _request(function: Function, source: str, key: t.Sequence[Attribute], operating: t.Sequence[Attribute], transaction: int) -> Message:
    """Source, message key, delimiter, operating attributes (RFC 4171 section 5.6)."""
    attributes = (text_attribute(Tag.NODE_NAME, source), *key, DELIMITER, *operating)
    return Message(function, transaction, None, attributes, Flag.CLIENT)


def query_targets(source: str, transaction: int, target: t.Optional[str] = None) -> Message:
    """DevAttrQry (section 5.6.5.2): every target that ``source`` may see, or one, with its portals and their groups."""
    key = number_attribute(Tag.NODE_TYPE, NodeType.TARGET) if target is None else text_attribute(Tag.NODE_NAME, target)
    return _request(Function.QUERY, source, (key,), [Attribute(tag) for tag in _WANTED], transaction)


def get_next(source: str, transaction: int, after: str = "") -> Message:
    """DevGetNext (section 5.6.5.3): the node whose name comes after that one, or the first."""
    key = text_attribute(Tag.NODE_NAME, after) if after else Attribute(Tag.NODE_NAME)
    return _request(Function.GET_NEXT, source, (key,), (Attribute(Tag.NODE_NAME), Attribute(Tag.NODE_TYPE)), transaction)


def register_initiator(source: str, transaction: int) -> Message:
    """DevAttrReg (section 5.6.5.1): just the name, so that the server answers a query."""
    operating = (text_attribute(Tag.NODE_NAME, source), number_attribute(Tag.NODE_TYPE, NodeType.INITIATOR))
    return _request(Function.REGISTER, source, (), operating, transaction)


def deregister_initiator(source: str, transaction: int) -> Message:
    """DevDereg (section 5.6.5.4)."""
    return _request(Function.DEREGISTER, source, (), (text_attribute(Tag.NODE_NAME, source),), transaction)


def register_for_changes(source: str, transaction: int, changes: int = CHANGES) -> Message:
    """SCNReg (section 5.6.5.5): tell ``source`` of these changes. It needs a registered portal that the notifications go to."""
    return _request(Function.SCN_REGISTER, source, (text_attribute(Tag.NODE_NAME, source),), (number_attribute(Tag.SCN_BITMAP, changes),), transaction)


# -- answers ------------------------------------------------------------------------------------------------------------


def parse_targets(operating: t.Sequence[Attribute], limits: Limits = Limits()) -> t.Tuple[DiscoveredTarget, ...]:
    """The answer to ``query_targets``: targets in order, each with the TCP portals of its portal groups; the rest gives no way to it.

    Raises ``ProtocolError`` for a name, an address or a number that is none, and too many of them.
    """
    found: t.Dict[str, t.Dict[Portal, None]] = {}
    name = ""
    group: t.Dict[int, Attribute] = {}

    def note(target: str) -> t.Dict[Portal, None]:
        portals = found.setdefault(target, {})
        if len(found) > limits.targets:
            raise ProtocolError(f"named more than {limits.targets} targets")
        return portals

    def end_group() -> None:
        portal = _portal_of(group)
        if portal is not None:
            portals = note(_checked_name(group[Tag.GROUP_NODE_NAME].text))
            portals[portal] = None
            if len(portals) > limits.portals_per_target:
                raise ProtocolError(f"named more than {limits.portals_per_target} portals for one target")
        group.clear()

    for attribute in operating:
        if attribute.tag not in _GROUP or attribute.tag in group:
            end_group()
        if attribute.tag in _GROUP:
            group[attribute.tag] = attribute
        elif attribute.tag == Tag.NODE_NAME:
            name = attribute.text
        elif attribute.tag == Tag.NODE_TYPE and attribute.value and attribute.number & NodeType.TARGET and name:
            note(_checked_name(name))
    end_group()
    return tuple(DiscoveredTarget(target, tuple(portals)) for target, portals in found.items())


def _portal_of(group: t.Mapping[int, Attribute]) -> t.Optional[Portal]:
    """The portal of a portal group; None where it is not whole. A group without a tag gives no access (RFC 4171 section 6.5.4)."""
    if any(tag not in group or not group[tag].value for tag in _GROUP):
        return None
    port, tag = group[Tag.GROUP_PORT].tcp_port, group[Tag.GROUP_TAG].number
    if tag > 65535:
        raise ProtocolError(f"sent the portal group tag {tag}; 0 to 65535 is allowed")
    return None if port is None else Portal(normalise_host(group[Tag.GROUP_ADDRESS].address), port, tag)


def _checked_name(name: str) -> str:
    try:
        return check_iscsi_name(name)
    except InputError as error:
        raise ProtocolError(f"sent a target name that is none: {shown(name)} {error.what[:200]}") from None


# -- the errand ---------------------------------------------------------------------------------------------------------


class IsnsDiscoveryExchange:
    """Ask which targets there are, as open-iscsi does (usr/discovery.c). Satisfies ``Exchange`` of ``_host/sockets.py``.

    An initiator that the server does not know is registered, asks again, and is taken out again. Unlike open-iscsi it goes on with one
    target after the other where the server fails at all of them at once: open-isns has no room for an answer of more than 8 KiB.
    ``result`` is valid once ``answered``.
    """

    redirect: t.Optional[Portal] = None
    redirect_permanent = False

    def __init__(self, initiator_name: str, *, target: t.Optional[str] = None, limits: Limits = Limits()) -> None:
        self.finished = False
        #: the answer is there, only the goodbye is missing
        self.answered = False
        self.result: t.Tuple[DiscoveredTarget, ...] = ()
        self._name = check_iscsi_name(initiator_name, "initiator")
        self._target = target
        self._limits = limits
        self._reader = MessageReader(limits)
        self._transaction = 0
        self._registered = False
        self._failure: t.Optional[IscsiError] = None
        #: the nodes that were met on the walk from one to the next, the last one last
        self._met: t.Dict[str, None] = {}
        self._answer: t.Callable[[Message], bytes] = self._queried
        self._asked = Function.QUERY

    def start(self) -> bytes:
        """The first bytes to send."""
        return self._send(query_targets(self._name, self._next(), self._target), self._queried)

    def receive(self, data: bytes) -> bytes:
        """Take what the server sent, return what is to be sent now. Raises ``PeerError``; the connection is over then."""
        self._reader.feed(data)
        replies = []
        while not self.finished:
            message = self._reader.next_message()
            if message is None:
                break
            replies.append(self._handle(message))
        return b"".join(replies)

    def closed(self) -> None:
        """The server closed the connection. Raises ``PeerError`` unless the errand was done."""
        if self._failure is not None:
            raise self._failure
        if not (self.finished or self.answered):
            raise DroppedError("closed the connection before it had answered", "The service there may be no iSNS server; " + _LOG.lower())
        self.finished = True

    def _next(self) -> int:
        self._transaction += 1
        return self._transaction

    def _send(self, message: Message, then: t.Callable[[Message], bytes]) -> bytes:
        self._answer, self._asked = then, Function(message.function)
        return render_message(message)

    def _handle(self, message: Message) -> bytes:
        if message.status is None:
            # the server may say of its own accord that something changed, or ask whether we live; we are about to leave
            return b""
        if (message.function, message.transaction) != (self._asked, self._transaction):
            raise ProtocolError(f"answered function {message.function} of the message {message.transaction}, which nobody asked for")
        return self._answer(message)

    def _queried(self, message: Message) -> bytes:
        if message.status == SOURCE_UNKNOWN and not self._registered:
            return self._send(register_initiator(self._name, self._next()), self._registration)
        if message.status == SUCCESS:
            self.result = parse_targets(message.operating, self._limits)
            self.answered = True
        elif message.status == NO_SUCH_ENTRY:
            self.answered = True
        else:
            self._failure = refused(message.status or 0, "the query")
            if message.status == INTERNAL_ERROR and self._target is None:
                return self._walk()
        return self._leave()

    def _walk(self) -> bytes:
        last = next(reversed(self._met)) if self._met else ""
        return self._send(get_next(self._name, self._next(), last), self._walked)

    def _walked(self, message: Message) -> bytes:
        if message.status == NO_SUCH_ENTRY and self._met:
            self.answered, self._failure = True, None
            return self._leave()
        if message.status != SUCCESS:
            return self._leave()  # with the failure of the query, of which this was the way round
        node = next((attribute.text for attribute in message.attributes if attribute.tag == Tag.NODE_NAME), "")
        kind = next((attribute.number for attribute in message.operating if attribute.tag == Tag.NODE_TYPE and attribute.value), 0)
        if not node or node in self._met or len(self._met) >= self._limits.targets:
            raise ProtocolError(f"leads from one node to the next without an end (at {shown(node)})")
        self._met[node] = None
        if not kind & NodeType.TARGET:
            return self._walk()
        return self._send(query_targets(self._name, self._next(), node), self._found)

    def _found(self, message: Message) -> bytes:
        if message.status == SUCCESS:
            self.result += parse_targets(message.operating, self._limits)
        elif message.status != NO_SUCH_ENTRY:  # it may have gone since
            self._failure = refused(message.status or 0, "the query")
            return self._leave()
        return self._walk()

    def _registration(self, message: Message) -> bytes:
        if message.status != SUCCESS:
            raise refused(message.status or 0, "to register this initiator")
        self._registered = True
        return self._send(query_targets(self._name, self._next(), self._target), self._queried)

    def _leave(self) -> bytes:
        if self._registered:
            return self._send(deregister_initiator(self._name, self._next()), self._deregistered)
        return self._end()

    def _deregistered(self, _message: Message) -> bytes:
        """What the server says to it changes nothing for us: a registration that stays ends with its period."""
        return self._end()

    def _end(self) -> bytes:
        if self._failure is not None:
            raise self._failure
        self.finished = True
        return b""
