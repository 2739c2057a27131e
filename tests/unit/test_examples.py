# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every example in README files and in modules' EXAMPLES is accepted: tasks by the options of their modules, plays by ansible."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from jinja2 import StrictUndefined
from jinja2.nativetypes import NativeEnvironment

ROOT = Path(__file__).resolve().parents[2]
OURS = "lunar.iscsi."
BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "roles").glob("*/README.md"))]
MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("[a-z]*.py"))
ROLES = sorted(path.parent.parent.name for path in (ROOT / "roles").glob("*/meta/argument_specs.yml"))
#: what the examples take for given
NODES = [{"target": "iqn.2003-01.org.example:a", "portals": ["10.0.0.1:3260,1"], "ifaces": ["default"]}]
LUN = {"tag": 1, "lun": 0, "wwid": "360014059ca317516a69465c883a29603"}
GIVEN: t.Dict[str, t.Any] = {"vault_disc": "aaaaaaaaaaaa", "vault_disc_in": "bbbbbbbbbbbb", "vault_chap": "cccccccccccc", "vault_chap_in": "dddddddddddd",
                             "found": {"nodes": NODES}, "attached": {"disks": [], "paths": []}, "initiator_attached": {"disks": []},
                             "iscsi": {"nodes": NODES, "sessions": [], "disks": []},
                             "groups": {"arrays": ["array1"]}, "boot": {"nodes": NODES}, "image": {"boot_nodes": NODES},
                             "hostvars": {"host2": {"lvm": {"groups": []}},
                                          "array1": {"lio_target_luns": {"iqn.2026-11.org.example:array1": [LUN]},
                                                     "gluster_target_devices": [{"vendor": "IET", "product": "VIRTUAL-DISK"}]}}}
#: keys of a documented option that an argument specification has too
SPEC_KEYS = ("type", "elements", "required", "choices", "aliases")

Mapping = t.Dict[str, t.Any]


def run_ansible(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One of ansible's programs, beside the Python that runs the tests."""
    env = dict(os.environ, NO_COLOR="1", ANSIBLE_LOCALHOST_WARNING="0", ANSIBLE_INVENTORY_UNPARSED_WARNING="0")
    return subprocess.run([str(Path(sys.executable).with_name(program)), *arguments], capture_output=True, text=True, check=False, env=env)


@functools.lru_cache(maxsize=None)
def module_spec(name: str) -> Mapping:
    """The argument specification of a module, from its documentation with all fragments (ansible-test proves that the two are one)."""
    answer = run_ansible("ansible-doc", "--json", "--type", "module", name)
    assert answer.returncode == 0, answer.stderr
    return spec_of(json.loads(answer.stdout)[name]["doc"].get("options", {}))


def spec_of(options: Mapping) -> Mapping:
    spec: Mapping = {}
    for name, option in options.items():
        spec[name] = {key: option[key] for key in SPEC_KEYS if key in option}
        if "suboptions" in option or "options" in option:
            spec[name]["options"] = spec_of(option.get("suboptions") or option["options"])
    return spec


def role_spec(name: str) -> Mapping:
    """The argument specification of a role's main entry point."""
    text = (ROOT / "roles" / name / "meta" / "argument_specs.yml").read_text("utf-8")
    return spec_of(yaml.safe_load(text)["argument_specs"]["main"].get("options", {}))


def filled_in(value: t.Any) -> t.Any:
    """Expressions replaced by what they give with the variables that the examples take for given; an unknown variable is an error."""
    if isinstance(value, dict):
        return {key: filled_in(each) for key, each in value.items()}
    if isinstance(value, list):
        return [filled_in(each) for each in value]
    if isinstance(value, str) and "{{" in value:
        return NativeEnvironment(undefined=StrictUndefined).from_string(value).render(GIVEN)
    return value


def check(spec: Mapping, arguments: Mapping, what: str) -> None:
    result = ArgumentSpecValidator(spec).validate(filled_in(arguments or {}))
    assert not result.error_messages, f"{what}: {result.error_messages}"


def tasks_of(node: t.Any) -> t.Iterator[t.Tuple[str, Mapping]]:
    """Every task of ours in a document, wherever it is nested, with its arguments."""
    if isinstance(node, list):
        for each in node:
            yield from tasks_of(each)
    elif isinstance(node, dict):
        for key, value in node.items():
            if isinstance(key, str) and key.startswith(OURS):
                yield key, value
            elif key in ("tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always"):
                yield from tasks_of(value)


def roles_of(node: t.Any) -> t.Iterator[t.Tuple[str, Mapping]]:
    """Every role of ours in a play, with its variables."""
    for play in node:
        for role in play.get("roles", ()):
            if isinstance(role, dict) and str(role.get("role", "")).startswith(OURS):
                yield from by_owner(role["role"][len(OURS):], dict(play.get("vars", {}), **role.get("vars", {})))


def by_owner(role: str, variables: Mapping) -> t.Iterator[t.Tuple[str, Mapping]]:
    """The variables of a role, and those of the roles that it brings in, which are known by how they begin."""
    tasks = "".join(path.read_text("utf-8") for path in (ROOT / "roles" / role / "tasks").glob("*.yml"))
    owners = [role, *(other for other in ROLES if other != role and re.search(rf"\b{OURS}{other}$", tasks, re.MULTILINE))]
    own = {name: next((one for one in owners if name.startswith(f"{one}_")), role) for name in variables}
    for one in owners:
        yield one, {name: value for name, value in variables.items() if own[name] == one}


def examples() -> t.Iterator[t.Any]:
    for page in PAGES:
        for number, text in enumerate(BLOCK.findall(page.read_text("utf-8")), 1):
            yield pytest.param(text, id=f"{page.relative_to(ROOT)} {number}")
    for module in MODULES:
        source = (ROOT / "plugins" / "modules" / f"{module}.py").read_text("utf-8")
        found = re.search(r'^EXAMPLES = r"""\n(.*?)^"""$', source, re.MULTILINE | re.DOTALL)
        yield pytest.param(found.group(1) if found else "", id=f"EXAMPLES of {module}")


@pytest.mark.parametrize("text", list(examples()))
def test_example_is_accepted(text: str, tmp_path: Path) -> None:
    document = yaml.safe_load(text)
    assert document, "an example without content"
    checked = 0
    for module, arguments in tasks_of(document):
        check(module_spec(module), arguments, module)
        checked += 1
    is_play = any("hosts" in entry for entry in document)
    if is_play:
        for role, variables in roles_of(document):
            check(role_spec(role), variables, f"role {role}")
            checked += 1
    playbook = tmp_path / "example.yml"
    playbook.write_text(text if is_play else yaml.safe_dump([{"name": "Example", "hosts": "all", "tasks": document}]), "utf-8")
    answer = run_ansible("ansible-playbook", "--syntax-check", "-i", "localhost,", str(playbook))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert checked, "an example without anything of this collection"


@pytest.mark.parametrize("module", MODULES)
def test_readme_shows_every_module(module: str) -> None:
    shown = {name for text in BLOCK.findall((ROOT / "README.md").read_text("utf-8")) for name, _arguments in tasks_of(yaml.safe_load(text))}
    assert OURS + module in shown


@pytest.mark.parametrize("module", MODULES)
def test_the_action_group_is_of_the_modules_that_take_its_options(module: str) -> None:
    """Defaults of a group are given to each of its modules, and one that lacks such an option fails every task."""
    groups = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text("utf-8"))["action_groups"]
    takes = set(module_spec(OURS + module))
    assert list(groups) == ["iscsi"] and (module in groups["iscsi"]) is (takes >= {"root", "auth", "settings", "repair", "timeout"})


def test_a_wrong_example_would_be_noticed() -> None:
    with pytest.raises(AssertionError, match="portal"):
        check(module_spec("lunar.iscsi.iscsi_discovery"), {"portal": ["192.168.56.101"]}, "iscsi_discovery")


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/failover_drill.md", "docs/attach_and_detach.md",
                                  "docs/rescan_fleet.md"])
def test_links_lead_somewhere(page: str) -> None:
    source = ROOT / page
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", source.read_text("utf-8")) if "://" not in link]
    assert not [link for link in links if not (source.parent / link).exists()]
