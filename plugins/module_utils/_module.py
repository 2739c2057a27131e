# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An AnsibleModule that says a sentence to whatever it is given, and one that also keeps the secrets of options such as ``settings`` to itself."""

from __future__ import annotations

import re
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError

# also what was meant as the name of a secret and is misspelt; the length of a secret is none
_SECRET_NAME = re.compile(r"pass|secret", re.IGNORECASE)
_SURROGATE = re.compile("[\ud800-\udfff]")


class CheckedModule(AnsibleModule):
    """An AnsibleModule that says a sentence where ansible-core ends with a traceback.

    That is where it looks for options inside of a number or a boolean, and where it makes an integer of what is infinite or a list: here they
    become texts, and of those ansible-core says what is wrong. And it is where it logs a text that is no Unicode. Booleans and some lists, which
    it takes for integers, become texts, too.
    """

    def __init__(self, argument_spec: t.Mapping[str, t.Any], **more: t.Any) -> None:
        AnsibleModule.__init__(self, argument_spec, **more)

    def _load_params(self) -> None:
        AnsibleModule._load_params(self)
        _make_readable(self.argument_spec, self.params)

    def _log_invocation(self) -> None:
        for option, value in self.params.items():
            if isinstance(value, str) and _SURROGATE.search(value):
                error = InputError(f"option {option}", "holds what cannot be written as UTF-8", "Give text")
                self.fail_json(msg=error.sentence(), **error.fields())
        AnsibleModule._log_invocation(self)


def _make_readable(spec: t.Mapping[str, t.Any], params: t.Dict[str, t.Any]) -> None:
    for option, entry in spec.items():
        value, kind = params.get(option), entry.get("type")
        if kind == "list" and entry.get("elements") == "int" and isinstance(value, str):
            params[option] = value = value.split(",")  # as ansible-core does, which then looks at each
        if isinstance(value, list) and (kind == "list" or entry.get("options")):
            value[:] = [_readable(entry, one, entry.get("elements")) for one in value]
        elif value is not None:
            params[option] = _readable(entry, value, entry.get("elements") if kind == "list" else kind)


def _readable(entry: t.Mapping[str, t.Any], value: t.Any, kind: t.Optional[str]) -> t.Any:
    if entry.get("options"):
        if not isinstance(value, dict):
            return str(value)
        _make_readable(entry["options"], value)
    elif kind == "int" and not _may_be_number(value):
        return f"no number: {value}"
    return value


def _may_be_number(value: t.Any) -> bool:
    if isinstance(value, (bool, list, dict)):
        return False
    return str(value).strip().lower().lstrip("+-") not in ("inf", "infinity")


class SettingsModule(CheckedModule):
    """For modules with the option ``settings``, or others whose names end so, also in the entries of a list.

    Ansible hides the values of options that are secret as a whole (``no_log``). These options are not, but may hold secrets
    under some of their names: they are added to what Ansible keeps out of the system's log and out of the result, ``invocation`` included.
    """

    def __init__(self, argument_spec: t.Mapping[str, t.Any], *, supports_check_mode: bool,
                 required_if: t.Optional[t.Sequence[t.Tuple[str, t.Any, t.Sequence[str]]]] = None) -> None:
        CheckedModule.__init__(self, argument_spec, supports_check_mode=supports_check_mode, required_if=required_if)

    def _log_invocation(self) -> None:
        for option, value in self.params.items():
            if option.endswith("settings"):
                self.no_log_values.update(settings_secrets(value))
            for entry in value if isinstance(value, list) else ():
                if isinstance(entry, dict):
                    self.no_log_values.update(settings_secrets(entry.get("settings")))
        CheckedModule._log_invocation(self)


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
