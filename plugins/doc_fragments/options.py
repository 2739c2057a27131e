# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the options that several modules share; their argument specs are in module_utils/_argspec.py."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
"""

    AUTH = r"""
options:
  auth:
    description:
      - How both sides prove who they are. Without this option, nothing is said about it and what is set stays.
      - Secrets go into the record (a file only root can read) and over the wire as CHAP responses; they are never part
        of a command line, a log, the diff or the return value.
    type: dict
    suboptions:
      method:
        description:
          - V(CHAP) to use the names and secrets below.
          - V(None) to use no authentication; names and secrets that are recorded are removed.
        type: str
        choices: [CHAP, None]
        default: CHAP
      username:
        description: Name of this initiator. Required for CHAP.
        type: str
      password:
        description: Secret of this initiator. Required for CHAP. RFC 7143 wants at least 12 bytes; many targets insist on 12 to 16.
        type: str
      username_in:
        description: Name that the target must show. Together with O(auth.password_in) this makes CHAP mutual.
        type: str
      password_in:
        description: Secret that the target must know. It must differ from O(auth.password).
        type: str
      algorithms:
        description:
          - CHAP algorithms to offer, best first. Some old targets fail the login when they are offered one they do not know;
            then give only V(MD5).
          - Without it, the list of C(iscsid.conf) is used, and without one there, V(MD5), as C(iscsid) does.
        type: list
        elements: str
        choices: [SHA3-256, SHA256, SHA1, MD5]
"""

    ROOT = r"""
options:
  root:
    description:
      - The file system tree whose open-iscsi database and configuration are meant. Give the mount point of an installed system
        to prepare it before its first boot; no daemon is needed and none is asked.
    type: path
    default: /
"""
