# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who we are to a target, and who it must be to us. Apart from ``chap.py``, which is imported only where CHAP is spoken."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError

MAX_USER_BYTES = 255


class Algorithm(t.NamedTuple):
    """``code`` is what CHAP_A carries (the PPP authentication algorithms of IANA), ``digest`` is hashlib's name."""

    name: str
    code: int
    digest: str
    length: int


ALGORITHMS: t.Mapping[str, Algorithm] = {
    algorithm.name: algorithm for algorithm in (
        Algorithm("MD5", 5, "md5", 16), Algorithm("SHA1", 6, "sha1", 20),
        Algorithm("SHA256", 7, "sha256", 32), Algorithm("SHA3-256", 8, "sha3_256", 32))
}
#: Strong first, yet SHA256 last: old releases of tgt take code 7 for SHA-1 and choose it over MD5 where it comes first.
DEFAULT_ALGORITHMS = ("SHA3-256", "SHA1", "MD5", "SHA256")


@dataclass(frozen=True)
class Auth:
    """Who we are to the target (``username``, ``password``) and, for mutual CHAP, who the target must be (``..._in``).

    ``algorithms`` are offered in this order; leaving one out refuses it. One-way CHAP lets a target that asks for no
    authentication go without, as iscsiadm does, unless ``required``; mutual CHAP never does. A challenge shorter
    than ``min_challenge_bytes`` is refused. Raises ``InputError``. The repr shows no secret.
    """

    username: str
    password: str = field(repr=False)
    username_in: t.Optional[str] = None
    password_in: t.Optional[str] = field(default=None, repr=False)
    algorithms: t.Tuple[str, ...] = DEFAULT_ALGORITHMS
    required: bool = False
    min_challenge_bytes: int = 8

    def __post_init__(self) -> None:
        if not self.username or not self.password:
            raise InputError("auth", "CHAP needs a user name and a password", "Give username and password")
        if bool(self.username_in) != bool(self.password_in):
            raise InputError("auth", "mutual CHAP needs both username_in and password_in", "Give both or neither")
        for name in ("username", "password", "username_in", "password_in"):
            value = getattr(self, name) or ""
            if "\0" in value or _is_not_text(value) or len(value.encode("utf-8")) > MAX_USER_BYTES:
                raise InputError("auth", f"{name} holds a NUL, is not UTF-8, or is longer than {MAX_USER_BYTES} bytes")
        if self.mutual and self.password == self.password_in:
            raise InputError("auth", "password and password_in are the same, which RFC 7143 section 12.1.4 forbids", "Use two secrets")
        unknown = [name for name in self.algorithms if name not in ALGORITHMS]
        if unknown or not self.algorithms:
            raise InputError("auth", f"unknown CHAP algorithm {', '.join(unknown) or '(none given)'}", f"Known are {', '.join(ALGORITHMS)}")

    @property
    def mutual(self) -> bool:
        """Whether the target must prove who it is, too."""
        return bool(self.username_in)


def _is_not_text(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
