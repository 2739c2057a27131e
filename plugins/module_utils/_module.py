# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An AnsibleModule that also keeps the secrets of options such as ``settings`` to itself."""

from __future__ import annotations

import re
import typing as t

from ansible.module_utils.basic import AnsibleModule

# also what was meant as the name of a secret and is misspelt; the length of a secret is none
_SECRET_NAME = re.compile(r"pass|secret", re.IGNORECASE)


class SettingsModule(AnsibleModule):
    """For modules with the option ``settings``, or others whose names end so, also in the entries of a list.

    Ansible hides the values of options that are secret as a whole (``no_log``). These options are not, but may hold secrets
    under some of their names: they are added to what Ansible keeps out of the system's log and out of the result, ``invocation`` included.
    """

    def __init__(self, argument_spec: t.Mapping[str, t.Any], *, supports_check_mode: bool,
                 required_if: t.Optional[t.Sequence[t.Tuple[str, t.Any, t.Sequence[str]]]] = None) -> None:
        AnsibleModule.__init__(self, argument_spec, supports_check_mode=supports_check_mode, required_if=required_if)

    def _log_invocation(self) -> None:
        for option, value in self.params.items():
            if option.endswith("settings"):
                self.no_log_values.update(settings_secrets(value))
            for entry in value if isinstance(value, list) else ():
                if isinstance(entry, dict):
                    self.no_log_values.update(settings_secrets(entry.get("settings")))
        AnsibleModule._log_invocation(self)


def settings_secrets(settings: t.Any) -> t.Set[str]:
    """Every text under a name in ``settings`` that is, or looks like, the name of a secret."""
    if not isinstance(settings, dict):
        return set()
    return {text for key, value in settings.items() if _SECRET_NAME.search(str(key)) for text in _texts(value)}


def _texts(value: t.Any) -> t.Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from _texts(one)
    elif value is not None and not isinstance(value, bool) and str(value):
        yield str(value)
