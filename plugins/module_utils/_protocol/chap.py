# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CHAP as iSCSI uses it (RFC 7143 section 12.1, RFC 1994): one-way and mutual, with the algorithms open-iscsi knows."""

from __future__ import annotations

import hashlib
import hmac
import os
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.auth import ALGORITHMS, Algorithm, Auth
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.errors import AuthenticationError, ProtocolError
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.text import (
    NONE, NOT_UNDERSTOOD, REJECT, Pairs, as_mapping, parse_binary, parse_number)

MAX_CHALLENGE_BYTES = 1024  # section 12.1.3


def available_algorithms(names: t.Sequence[str]) -> t.List[Algorithm]:
    """Those of ``names`` that this Python can compute; a host in FIPS mode has no MD5."""
    found = []
    for name in names:
        try:
            hashlib.new(ALGORITHMS[name].digest)
        except ValueError:
            continue
        found.append(ALGORITHMS[name])
    return found


def chap_response(algorithm: Algorithm, identifier: int, secret: str, challenge: bytes) -> bytes:
    """Hash of identifier, secret and challenge (RFC 1994 section 4.1)."""
    return hashlib.new(algorithm.digest, bytes([identifier]) + secret.encode("utf-8") + challenge).digest()


class Chap:
    """Our side of one CHAP conversation, a step a call; each takes the target's pairs and returns ours.

    ``entropy`` makes random bytes. It is only given by tests.
    """

    def __init__(self, auth: Auth, entropy: t.Callable[[int], bytes] = os.urandom) -> None:
        self._auth = auth
        self._entropy = entropy
        self._offered = available_algorithms(auth.algorithms)
        if not self._offered:
            raise InputError("auth", f"this host can compute none of the CHAP algorithms {', '.join(auth.algorithms)}", "Allow another algorithm")
        self._algorithm = self._offered[0]
        self._identifier = 0
        self._challenge = b""
        self._response = b""

    def offer(self) -> Pairs:
        """CHAP_A: the algorithms, best first."""
        return (("CHAP_A", ",".join(str(algorithm.code) for algorithm in self._offered)),)

    def answer_challenge(self, pairs: Pairs) -> Pairs:
        """Take CHAP_A, CHAP_I and CHAP_C; give CHAP_N and CHAP_R, and for mutual CHAP our own CHAP_I and CHAP_C."""
        if as_mapping(pairs).get("CHAP_A") in (REJECT, NOT_UNDERSTOOD, NONE):
            raise AuthenticationError(
                f"accepts none of the CHAP algorithms {', '.join(algorithm.name for algorithm in self._offered)}", "Allow an algorithm that the target knows")
        keys = self._keys(pairs, "CHAP_A", "CHAP_I", "CHAP_C")
        code = parse_number("CHAP_A", keys["CHAP_A"], 0, 255)
        chosen = [algorithm for algorithm in self._offered if algorithm.code == code]
        if not chosen:
            raise AuthenticationError(
                f"chose the CHAP algorithm {code}, which was not offered", "Add it to the algorithms if it is one that may be used")
        self._algorithm = chosen[0]
        identifier = parse_number("CHAP_I", keys["CHAP_I"], 0, 255)
        challenge = parse_binary("CHAP_C", keys["CHAP_C"], MAX_CHALLENGE_BYTES)
        if len(challenge) < self._auth.min_challenge_bytes:
            raise AuthenticationError(
                f"sent a CHAP challenge of {len(challenge)} bytes; at least {self._auth.min_challenge_bytes} are wanted",
                "A short challenge lets an eavesdropper collect answers; fix the target")
        self._response = chap_response(self._algorithm, identifier, self._auth.password, challenge)
        answer: Pairs = (("CHAP_N", self._auth.username), ("CHAP_R", "0x" + self._response.hex()))
        if not self._auth.mutual:
            return answer
        self._identifier = self._entropy(1)[0]
        self._challenge = self._entropy(self._algorithm.length)
        if self._challenge == challenge:
            raise AuthenticationError("sent our own CHAP challenge back to us", "Something on the path reflects the authentication")
        return answer + (("CHAP_I", str(self._identifier)), ("CHAP_C", "0x" + self._challenge.hex()))

    def check_proof(self, pairs: Pairs) -> None:
        """Take the target's CHAP_N and CHAP_R (mutual CHAP) and raise ``AuthenticationError`` unless they are right."""
        if not self._auth.mutual:
            return
        if "CHAP_C" in dict(pairs):
            raise AuthenticationError("answered our CHAP challenge with a challenge", "Something on the path reflects the authentication")
        if "CHAP_R" not in dict(pairs):
            raise AuthenticationError(
                "did not prove who it is, though mutual CHAP is asked for", "Set the outgoing account of the target, or leave username_in out")
        keys = self._keys(pairs, "CHAP_N", "CHAP_R")
        response = parse_binary("CHAP_R", keys["CHAP_R"], MAX_CHALLENGE_BYTES)
        if hmac.compare_digest(response, self._response):
            raise AuthenticationError("sent our own CHAP response back to us", "Something on the path reflects the authentication")
        expected = chap_response(self._algorithm, self._identifier, self._auth.password_in or "", self._challenge)
        right = hmac.compare_digest(response, expected)
        if not hmac.compare_digest(keys["CHAP_N"].encode("utf-8"), (self._auth.username_in or "").encode("utf-8")) or not right:
            raise AuthenticationError(
                "authentication failure: the target did not prove to know username_in and password_in",
                "Check the outgoing account of the target; if it is right, this is not the target it claims to be")

    @staticmethod
    def _keys(pairs: Pairs, *wanted: str) -> t.Mapping[str, str]:
        keys = as_mapping(pairs)
        missing = [key for key in wanted if key not in keys]
        if missing:
            raise ProtocolError(f"left out {', '.join(missing)} in its CHAP answer")
        return keys
