# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets in the option ``settings``: neither in the system's log nor in what a module prints, whether it ends well or not. And sentences for all else."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.lunar.iscsi.plugins.module_utils._module import CheckedModule, SettingsModule, settings_secrets

SECRET = "plain-secret-of-node"
SPEC = {"settings": {"type": "dict"}, "discovery_settings": {"type": "dict"}}
PASSWORD = "node.session.auth.password"


@pytest.mark.parametrize("settings", [
    pytest.param({PASSWORD: SECRET}, id="a secret"),
    pytest.param({"node.session.auth.password_in": SECRET}, id="of the way back"),
    pytest.param({"node.session.auth.Passwort": SECRET}, id="misspelt"),
    pytest.param({PASSWORD: [SECRET]}, id="of a wrong type, a list"),
    pytest.param({PASSWORD: {"is": {"it": SECRET}}}, id="of a wrong type, a mapping"),
])
@pytest.mark.parametrize("option", sorted(SPEC))
@pytest.mark.parametrize("leave", ["exit_json", "fail_json"])
def test_a_secret_in_settings_is_neither_logged_nor_printed(
    settings: t.Dict[str, t.Any], option: str, leave: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    logged: t.List[str] = []
    monkeypatch.setattr(SettingsModule, "log", lambda self, msg, log_args=None: logged.append(f"{msg} {log_args}"))
    with patch_module_args({option: dict(settings, **{"node.startup": "automatic"})}):
        module = SettingsModule(SPEC, supports_check_mode=True)
        with pytest.raises(SystemExit):
            getattr(module, leave)(msg="the end")
    printed = capsys.readouterr().out
    assert "automatic" in printed and "automatic" in logged[0]
    assert SECRET not in printed and SECRET not in "".join(logged)


def test_settings_in_the_entries_of_a_list_count_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    logged: t.List[str] = []
    monkeypatch.setattr(SettingsModule, "log", lambda self, msg, log_args=None: logged.append(f"{msg} {log_args}"))
    spec = {"flash_nodes": {"type": "list", "elements": "dict", "options": {"settings": {"type": "dict"}}}, "names": {"type": "list", "elements": "str"}}
    with patch_module_args({"flash_nodes": [{"settings": {"flashnode.session.password": SECRET}}, {}], "names": ["plain"]}):
        module = SettingsModule(spec, supports_check_mode=True)
        with pytest.raises(SystemExit):
            module.exit_json()
    printed = capsys.readouterr().out + "".join(logged)
    assert "plain" in printed and SECRET not in printed


def test_only_names_of_secrets_count() -> None:
    assert settings_secrets({"node.startup": "manual", PASSWORD: 12345678, "node.session.auth.username": "me", "node.password": None}) == {"12345678"}
    assert settings_secrets(None) == set() == settings_secrets("text")


NESTED = {"auth": {"type": "dict", "options": {"name": {"type": "str"}, "port": {"type": "int"}}}, "count": {"type": "int"},
          "nodes": {"type": "list", "elements": "dict", "options": {"auth": {"type": "dict", "options": {"name": {"type": "str"}}}}}}


@pytest.mark.usefixtures("as_on_a_managed_host")
@pytest.mark.parametrize("options", [
    pytest.param({"auth": 5}, id="a number"),
    pytest.param({"auth": True}, id="a boolean"),
    pytest.param({"nodes": [1.5]}, id="a number in a list"),
    pytest.param({"nodes": [{"auth": 5}]}, id="one that is deeper"),
    pytest.param({"count": "inf"}, id="an infinite number"),
    pytest.param({"auth": {"port": float("inf")}}, id="an infinite number inside"),
    pytest.param({"count": True}, id="a boolean for a number"),
    pytest.param({"count": [0, [7], 0]}, id="a list that it takes for 7"),
    pytest.param({"count": [2**63, None, None]}, id="a list that is too much for it"),
    pytest.param({"path": "\udc80"}, id="no Unicode"),
])
def test_what_ansible_core_breaks_off_at_is_refused_in_a_sentence(options: t.Dict[str, t.Any], capsys: pytest.CaptureFixture[str]) -> None:
    spec = {**NESTED, "path": {"type": "str"}}
    with patch_module_args(options), pytest.raises(SystemExit):
        CheckedModule(spec)
    done = json.loads(capsys.readouterr().out)
    assert done["failed"] and len(done["msg"]) > 10 and "Traceback" not in done["msg"]


def test_what_is_right_stays_as_it_is() -> None:
    options = {"auth": {"name": "5", "port": 5}, "count": "7", "nodes": [{"auth": {"name": "x"}}, {"auth": "name=y"}], "numbers": "7,8", "words": "a, b"}
    with patch_module_args(options):
        params = CheckedModule({**NESTED, "numbers": {"type": "list", "elements": "int"}, "words": {"type": "list", "elements": "str"}}).params
    assert params == {"auth": {"name": "5", "port": 5}, "count": 7, "nodes": [{"auth": {"name": "x"}}, {"auth": {"name": "y"}}], "numbers": [7, 8],
                      "words": ["a", " b"]}
