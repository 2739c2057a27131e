# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the attributes that the modules have in common."""

from __future__ import annotations


class ModuleDocFragment:
    # What every module has; a module says in its own attributes how far it supports check_mode, diff_mode and idempotent,
    # or takes FULL or INFO below in addition.
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
  idempotent:
    description:
      - When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
      - This assumes that the system controlled or queried by the module has not changed in a relevant way.
  platform:
    description: Target OS or families that can be operated against.
    support: full
    platforms: linux
"""

    # In addition to the standard fragment: a module that changes something and keeps all three promises
    FULL = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - The plan of check mode is the plan that is carried out otherwise; it is made by the same code.
  diff_mode:
    support: full
    details:
      - Secrets are shown as stars.
  idempotent:
    support: full
"""

    # In addition to the standard fragment: a module that only looks
    INFO = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - This action does not modify state.
  diff_mode:
    support: N/A
    details:
      - This action does not modify state.
  idempotent:
    support: full
    details:
      - This action does not modify state.
"""

    ACTIONGROUP_ISCSI = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/lunar.iscsi.iscsi) in C(module_defaults) to set options that the modules of open-iscsi's records have in common, such as O(root).
    support: full
    membership:
      - lunar.iscsi.iscsi
"""
