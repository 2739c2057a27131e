# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every role: the argument spec and defaults/main.yml say the same, and the README names every variable."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.nodes import PROFILES

yaml = pytest.importorskip("yaml")

ROLES = Path(__file__).resolve().parents[3] / "roles"
NAMES = sorted(entry.parent.parent.name for entry in ROLES.glob("*/tasks/main.yml"))
PYTHON_TYPES: t.Dict[str, t.Tuple[type, ...]] = {
    "bool": (bool,), "str": (str,), "path": (str,), "int": (int,), "float": (int, float), "list": (list,), "dict": (dict,),
}


def read(role: str, *parts: str) -> t.Any:
    return yaml.safe_load(ROLES.joinpath(role, *parts).read_text(encoding="utf-8"))


def options_of(role: str) -> t.Dict[str, t.Dict[str, t.Any]]:
    return dict(read(role, "meta", "argument_specs.yml")["argument_specs"]["main"]["options"])


def test_there_are_roles() -> None:
    assert "initiator" in NAMES


@pytest.mark.parametrize(("role", "none"), [("boot", [""]), ("initiator", [""]), ("multipath_failover", [])])
def test_every_profile_can_be_chosen(role: str, none: t.List[str]) -> None:
    assert sorted(options_of(role)[f"{role}_profile"]["choices"]) == sorted([*none, *PROFILES])


@pytest.mark.parametrize("role", NAMES)
def test_spec_equals_defaults(role: str) -> None:
    spec = {name: option["default"] for name, option in options_of(role).items() if not option.get("required")}
    assert spec == read(role, "defaults", "main.yml")


@pytest.mark.parametrize("role", NAMES)
def test_defaults_have_the_type_of_the_spec(role: str) -> None:
    for name, option in options_of(role).items():
        if "default" in option:
            assert isinstance(option["default"], PYTHON_TYPES[option["type"]]), name
            assert isinstance(option["default"], bool) == (option["type"] == "bool"), name
            assert option["default"] in option.get("choices", [option["default"]]), name


@pytest.mark.parametrize("role", NAMES)
def test_variables_are_prefixed_and_in_the_readme(role: str) -> None:
    readme = ROLES.joinpath(role, "README.md").read_text(encoding="utf-8")
    for name, option in options_of(role).items():
        assert name.startswith(f"{role}_"), name
        assert f"`{name}`" in readme, f"{name} is not in the README of role {role}"
        for suboption in option.get("options", {}):
            assert f"`{suboption}`" in readme, f"{name}.{suboption} is not in the README of role {role}"


@pytest.mark.parametrize("role", NAMES)
def test_secrets_are_marked(role: str) -> None:
    for name, option in options_of(role).items():
        for suboption, spec in option.get("options", {}).items():
            if "password" in suboption:
                assert spec.get("no_log") is True, f"{name}.{suboption}"
