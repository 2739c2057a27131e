# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pieces of argument specs that several modules share; their documentation is in the doc fragment ``options``."""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError

CHAP_ALGORITHMS = ("SHA3-256", "SHA256", "SHA1", "MD5")

Spec = t.Dict[str, t.Dict[str, t.Any]]


def auth_option() -> Spec:
    """``auth``: how both sides prove who they are (doc fragment ``options.AUTH``)."""
    return {
        "auth": {
            "type": "dict",
            "options": {
                "method": {"type": "str", "choices": ["CHAP", "None"], "default": "CHAP"},
                "username": {"type": "str"},
                "password": {"type": "str", "no_log": True},
                "username_in": {"type": "str"},
                "password_in": {"type": "str", "no_log": True},
                "algorithms": {"type": "list", "elements": "str", "choices": list(CHAP_ALGORITHMS)},
            },
            "required_if": [("method", "CHAP", ("username", "password"))],
            "required_together": [("username_in", "password_in")],
        }
    }


def root_option() -> Spec:
    """``root``: the file system tree to work on (doc fragment ``options.ROOT``)."""
    return {"root": {"type": "path", "default": "/"}}


def check_root(root: str) -> str:
    """Return the path of a file system tree in its shortest form; ``/`` for every name of the running system, whose sessions count."""
    if not os.path.isabs(root):
        raise InputError("option root", f"is {root!r}, which is no absolute path", "Give the mount point of the system that is meant, or leave it out")
    path = "/" + os.path.normpath(root).lstrip("/")
    return "/" if os.path.isdir(path) and os.path.samefile(path, "/") else path


def check_timeout(timeout: float, option: str = "timeout") -> float:
    """Return a timeout in seconds; raise ``InputError`` if it is not more than 0 and at most 3600."""
    if not 0 < timeout <= 3600:
        raise InputError(f"option {option}", f"is {timeout}", "Give a number of seconds above 0 and up to 3600")
    return float(timeout)


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def check_auth(auth: t.Optional[t.Mapping[str, t.Any]]) -> t.Optional[t.Mapping[str, t.Any]]:
    """Refuse what no side accepts: a mutual secret equal to the own one (RFC 7143 section 12.1.3), secrets over 255 bytes."""
    if auth is None or auth["method"] != "CHAP":
        return auth
    for word in ("username", "password", "username_in", "password_in"):
        value = auth.get(word)
        if value is not None and not 1 <= _bytes(value) <= 255:
            raise InputError(f"option auth.{word}", f"is {_bytes(value)} bytes long", "Give 1 to 255 bytes")
        if value is not None and (value != value.strip() or re.search("[\x00-\x1f\x7f-\x9f\ud800-\udc7f\udd00-\udfff]", value)):
            raise InputError(f"option auth.{word}", "begins or ends with white space, or holds a line break or another control character",
                             "open-iscsi keeps it on one line of its record; choose another")
    if auth.get("password_in") is not None and auth["password_in"] == auth["password"]:
        raise InputError("option auth.password_in", "is the same secret as auth.password",
                         "RFC 7143 forbids one secret for both directions; give each its own")
    return auth
