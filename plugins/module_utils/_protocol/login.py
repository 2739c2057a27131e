# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The login phase as a conversation: security negotiation, then operational negotiation (RFC 7143 sections 6.3 and 13)."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import check_iscsi_name
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol import text
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.auth import Auth
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.connection import Limits, LoginAnswer, SendLogin
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.errors import AuthenticationError, ProtocolError
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.text import Pairs
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.wire import Stage

if t.TYPE_CHECKING:
    from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.chap import Chap

DIGESTS = ("None", "CRC32C")
#: the byte that says "the next three bytes are random" (RFC 7143 section 11.12.5, T = 10b)
_ISID_RANDOM = b"\x80"


def make_isid() -> bytes:
    """A random ISID. Never the one the kernel uses, so that a look at a target does not end a session that carries disks."""
    return _ISID_RANDOM + os.urandom(5)


@dataclass(frozen=True)
class LoginOptions:
    """What a login says. Raises ``InputError``.

    Digests are lists in order of preference out of ``DIGESTS``; the default takes CRC32C only where the target insists.
    """

    initiator_name: str
    target: t.Optional[str] = None
    auth: t.Optional[Auth] = None
    header_digest: t.Tuple[str, ...] = DIGESTS
    data_digest: t.Tuple[str, ...] = DIGESTS
    isid: bytes = field(default_factory=make_isid)
    initiator_alias: t.Optional[str] = None
    max_recv_data_segment_length: int = 32768
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        check_iscsi_name(self.initiator_name, "initiator name")
        if self.target is not None:
            check_iscsi_name(self.target)
        for name in ("header_digest", "data_digest"):
            value = getattr(self, name)
            if not value or isinstance(value, str) or any(digest not in DIGESTS for digest in value):
                raise InputError(name, f"is {value!r}", f"Give a list of {' and '.join(DIGESTS)}, the preferred one first")
        if len(self.isid) != 6:
            raise InputError("isid", f"has {len(self.isid)} bytes", "An ISID has 6 bytes")
        if "\0" in (self.initiator_alias or "") or len((self.initiator_alias or "").encode("utf-8", "surrogatepass")) > 255:
            raise InputError("initiator alias", "holds a NUL or is longer than 255 bytes")
        if not 512 <= self.max_recv_data_segment_length <= self.limits.pdu_bytes:
            raise InputError(
                "MaxRecvDataSegmentLength", f"is {self.max_recv_data_segment_length}", f"Give a number from 512 to {self.limits.pdu_bytes}")


def _chap(auth: Auth) -> Chap:
    # not always needed, and every import costs the host at every task
    from ansible_collections.lunar.iscsi.plugins.module_utils._protocol import chap

    return chap.Chap(auth)


class Login:
    """Drives one login: ``first`` gives the first step, ``answer`` takes each whole answer and gives the next step.

    ``answer`` returns None in the full feature phase; ``parameters`` is then what both sides agreed on: operational keys and
    what the target declared about itself, and ``AuthMethod``.
    """

    def __init__(self, options: LoginOptions, *, discovery: bool) -> None:
        self._options = options
        self._discovery = discovery
        self._chap = _chap(options.auth) if options.auth else None
        self._security: t.Callable[[Pairs, t.Optional[int]], SendLogin] = self._after_auth_method
        self._offered: t.Dict[str, str] = {}
        self.parameters: t.Dict[str, str] = {
            key: rule.default for key, rule in text.KEY_RULES.items() if rule.discovery or not discovery}
        #: MaxRecvDataSegmentLength of the target: what it takes in one PDU
        self.peer_receive_bytes = int(text.KEY_RULES["MaxRecvDataSegmentLength"].default)

    def first(self) -> SendLogin:
        """Who we are, what kind of session this is, and how we can authenticate ourselves."""
        options, auth = self._options, self._options.auth
        pairs = [("InitiatorName", options.initiator_name)]
        if options.initiator_alias:
            pairs.append(("InitiatorAlias", options.initiator_alias))
        pairs.append(("SessionType", "Discovery" if self._discovery else "Normal"))
        if options.target is not None:
            pairs.append(("TargetName", options.target))
        if auth is None:
            return SendLogin(Stage.SECURITY, tuple(pairs) + (("AuthMethod", "None"),), Stage.OPERATIONAL)
        methods = "CHAP" if auth.mutual or auth.required else "CHAP,None"
        return SendLogin(Stage.SECURITY, tuple(pairs) + (("AuthMethod", methods),))

    def answer(self, answer: LoginAnswer) -> t.Optional[SendLogin]:
        """The next step, or None when the login is done. Raises ``ProtocolError`` or ``AuthenticationError``."""
        if answer.stage == Stage.OPERATIONAL:
            return self._take_operational(answer)
        step = self._security(self._take_declared(answer.pairs), answer.next_stage)
        return self._offer_operational() if answer.next_stage == Stage.OPERATIONAL else step

    # -- security ----------------------------------------------------------------------------------------------------

    def _take_declared(self, pairs: Pairs) -> Pairs:
        """Keep what the target says about itself, return the rest."""
        for key, value in pairs:
            if key in text.DECLARED_KEYS:
                self.parameters[key] = value
        return tuple(pair for pair in pairs if pair[0] not in text.DECLARED_KEYS)

    def _after_auth_method(self, pairs: Pairs, next_stage: t.Optional[int]) -> SendLogin:
        method = text.as_mapping(pairs).get("AuthMethod", "None" if next_stage is not None and self._chap is None else "")
        if method == "CHAP":
            if self._chap is None:
                raise AuthenticationError("demands CHAP authentication, and none is configured here", "Give auth with username and password")
            self.parameters["AuthMethod"] = "CHAP"
            self._security = self._after_algorithms
            return SendLogin(Stage.SECURITY, self._chap.offer())
        if method in (text.REJECT, text.NOT_UNDERSTOOD, ""):
            raise self._no_method(method)
        if method != "None":
            raise ProtocolError(f"chose the authentication method {method[:40]!a}, which was not offered")
        if self._options.auth is not None and (self._options.auth.mutual or self._options.auth.required):
            raise AuthenticationError("does not authenticate itself, though CHAP is asked for", "Configure CHAP on the target, or leave auth out")
        self.parameters["AuthMethod"] = "None"
        self._security = self._waiting_to_leave
        return SendLogin(Stage.SECURITY, (), Stage.OPERATIONAL)

    def _no_method(self, method: str) -> Exception:
        if method == "":
            return ProtocolError("did not answer the offer of an authentication method")
        if self._chap is None:
            return AuthenticationError("refuses a login without authentication", "Give auth with username and password")
        return AuthenticationError("refuses CHAP", "Configure CHAP on the target, or leave auth out")

    def _after_algorithms(self, pairs: Pairs, next_stage: t.Optional[int]) -> SendLogin:
        if self._chap is None or next_stage is not None:
            raise ProtocolError("left the security stage in the middle of the CHAP authentication")
        answer = self._chap.answer_challenge(pairs)
        self._security = self._after_response
        return SendLogin(Stage.SECURITY, answer, Stage.OPERATIONAL)

    def _after_response(self, pairs: Pairs, next_stage: t.Optional[int]) -> SendLogin:
        if self._chap is not None:
            self._chap.check_proof(pairs)
        self._security = self._waiting_to_leave
        return SendLogin(Stage.SECURITY, (), Stage.OPERATIONAL)

    def _waiting_to_leave(self, pairs: Pairs, next_stage: t.Optional[int]) -> SendLogin:
        return SendLogin(Stage.SECURITY, tuple((key, text.NOT_UNDERSTOOD) for key, _value in pairs), Stage.OPERATIONAL)

    # -- operational parameters --------------------------------------------------------------------------------------

    def _own_values(self) -> t.Dict[str, str]:
        options = self._options
        values = {
            "HeaderDigest": ",".join(options.header_digest),
            "DataDigest": ",".join(options.data_digest),
            "MaxRecvDataSegmentLength": str(options.max_recv_data_segment_length),
            "DefaultTime2Wait": "2",
            "DefaultTime2Retain": "0",
            "ErrorRecoveryLevel": "0",
        }
        if not self._discovery:
            values.update({
                "InitialR2T": "No", "ImmediateData": "Yes", "MaxBurstLength": "16776192", "FirstBurstLength": "262144",
                "MaxOutstandingR2T": "1", "MaxConnections": "1", "DataPDUInOrder": "Yes", "DataSequenceInOrder": "Yes"})
        return values

    def _offer_operational(self) -> SendLogin:
        self._offered = self._own_values()
        return SendLogin(Stage.OPERATIONAL, tuple(self._offered.items()), Stage.FULL_FEATURE)

    def _take_operational(self, answer: LoginAnswer) -> t.Optional[SendLogin]:
        replies: t.List[t.Tuple[str, str]] = []
        for key, value in text.as_mapping(self._take_declared(answer.pairs)).items():
            reply = self._take_key(key, value)
            if reply is not None:
                replies.append((key, reply))
        if answer.next_stage is None:
            return SendLogin(Stage.OPERATIONAL, tuple(replies), Stage.FULL_FEATURE)
        if any(reply != text.NOT_UNDERSTOOD for _key, reply in replies):
            raise ProtocolError(f"ended the login while {replies[0][0]} was still to be answered")
        self._check_digests()
        return None

    def _take_key(self, key: str, value: str) -> t.Optional[str]:
        """Take one key; return what is to be answered where the target began, None where it answered us or declared."""
        offered = self._offered.pop(key, None)
        if key == "MaxRecvDataSegmentLength":
            if value in (text.REJECT, text.IRRELEVANT, text.NOT_UNDERSTOOD):  # each side's own affair; ours was not taken
                return None
            self.peer_receive_bytes = int(text.agree(key, "0", value))
            self.parameters[key] = str(self.peer_receive_bytes)
            return None
        if offered is not None:
            if value == text.NONE and text.KEY_RULES[key].rule is text.Rule.LIST:
                self.parameters[key] = value  # whether we can live with that is seen at the end
            elif value not in (text.REJECT, text.IRRELEVANT, text.NOT_UNDERSTOOD):
                self.parameters[key] = text.agree(key, offered, value)
            return None
        return self._answer_offer(key, value)

    def _answer_offer(self, key: str, value: str) -> t.Optional[str]:
        if key in text.OBSOLETE_KEYS:
            return text.REJECT
        if key not in text.KEY_RULES:
            return None if value == text.NOT_UNDERSTOOD else text.NOT_UNDERSTOOD
        if key not in self.parameters:
            return text.IRRELEVANT
        ours = self._own_values()[key]
        try:
            self.parameters[key] = text.agree(key, ours, value)
        except ProtocolError:
            return text.REJECT
        return self.parameters[key]

    def _check_digests(self) -> None:
        options = self._options
        for key, wanted in (("HeaderDigest", options.header_digest), ("DataDigest", options.data_digest)):
            if self.parameters[key] not in wanted:
                raise ProtocolError(f"does not do {key}={','.join(wanted)}", f"Allow None for {key}, or switch the digest on at the target")
