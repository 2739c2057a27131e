# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Role initiator: which InitiatorName a host ends with, from the variables that decide it, for what is found on the host."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

pytest.importorskip("ansible.cli.playbook")

VARS = Path(__file__).resolve().parents[3] / "roles" / "initiator" / "vars"
NAME_FILE, MACHINE, NODES, SESSIONS = "/etc/iscsi/initiatorname.iscsi", "/etc/machine-id", "/etc/iscsi/nodes", "/sys/class/iscsi_session"
ONE, OTHER = "3208d4de1f9fb0f454627f3a38287a4d", "21ec85381601afd52e12a1886750eae3"
IMAGE = "iqn.2026-11.org.example:image"
OLDER = [f"{NAME_FILE} 1000000000.5", f"{MACHINE} 1000000001.5"]
NEWER = [f"{NAME_FILE} 1000000002.5", f"{MACHINE} 1000000001.5"]


class Case(t.NamedTuple):
    """What is found, and what shall come of it; ``name`` None stands for the one made for this machine."""

    id: str
    text: t.Optional[str]
    seen: t.List[str]
    name: t.Optional[str]
    given: str = ""
    regenerate: bool = False
    mark_of: t.Optional[str] = None


CASES = [
    Case("fresh host", None, [f"{MACHINE} 1.0"], None),
    Case("given, on a fresh host", None, [f"{MACHINE} 1.0"], "iqn.2026-11.org.example:given", given="iqn.2026-11.org.example:given"),
    Case("given, over another", f"InitiatorName={IMAGE}\n", NEWER, "iqn.2026-11.org.example:given", given="iqn.2026-11.org.example:given"),
    Case("no name in the file", "# nothing\n", NEWER, None),
    Case("to be generated at the first start", "GenerateName=yes\n", NEWER, None),
    Case("a comment is no name", f"#InitiatorName={IMAGE}\n", NEWER, None),
    Case("made on this machine by the package", f"## DO NOT EDIT\nInitiatorName={IMAGE}\n", NEWER, IMAGE),
    Case("spaces and a comment around the name", f"InitiatorName = {IMAGE} # mine\n", NEWER, IMAGE),
    Case("came with the image", f"InitiatorName={IMAGE}\n", OLDER, None),
    Case("older than the machine, but nodes are recorded", f"InitiatorName={IMAGE}\n", [*OLDER, NODES + " 1.0", NODES + "/iqn.x 1.0"], IMAGE),
    Case("older than the machine, but a session is live", f"InitiatorName={IMAGE}\n", [*OLDER, SESSIONS + " 1.0", SESSIONS + "/session1 1.0"], IMAGE),
    Case("older, with an empty folder of nodes", f"InitiatorName={IMAGE}\n", [*OLDER, NODES + " 1.0", SESSIONS + " 1.0"], None),
    Case("settled here", f"InitiatorName={IMAGE}\n", OLDER, IMAGE, mark_of=ONE),
    Case("settled on another machine", f"InitiatorName={IMAGE}\n", NEWER, None, mark_of=OTHER),
    Case("settled on another machine, nodes came along", f"InitiatorName={IMAGE}\n", [*NEWER, NODES + "/iqn.x 1.0"], None, mark_of=OTHER),
    Case("to be made anew", f"InitiatorName={IMAGE}\n", NEWER, None, regenerate=True),
    Case("settled here, to be made anew", f"InitiatorName={IMAGE}\n", NEWER, None, regenerate=True, mark_of=ONE),
]


def host(machine_id: str, seen: t.Sequence[str], text: t.Optional[str], given: str = "", regenerate: bool = False) -> t.Dict[str, t.Any]:
    """The variables of a host for which the role has looked at what is there."""
    return {
        "here": machine_id, "initiator_name": given, "initiator_name_regenerate": regenerate,
        "__initiator_look": {"stdout_lines": list(seen)},
        "__initiator_name_slurp": {} if text is None else {"content": base64.b64encode(text.encode()).decode()},
    }


def decide(folder: Path, hosts: t.Sequence[t.Mapping[str, t.Any]]) -> t.List[t.Dict[str, str]]:
    """Let Ansible decide for all hosts in one play; name, mark and file of each."""
    facts = {"ansible.builtin.set_fact": {"machine_id": "{{ here }}", "cacheable": True}}
    task = {
        "ansible.builtin.copy": {"dest": str(folder / "{{ inventory_hostname }}"), "mode": "0600", "content": "{{ made | to_json }}"},
        "vars": {"__initiator_name": "{{ __initiator_name_wanted | trim }}", "ansible_connection": "local", "made": {
            "name": "{{ __initiator_name }}", "mark": "{{ __initiator_mark }}", "file": "{{ __initiator_name_content }}"}},
    }
    play = {"hosts": "all", "gather_facts": False, "vars_files": [str(VARS / "main.yml"), str(VARS / "Debian.yml")], "tasks": [facts, task]}
    (folder / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    inventory = {"all": {"vars": {"ansible_python_interpreter": sys.executable}, "hosts": {f"host{number}": dict(each) for number, each in enumerate(hosts)}}}
    (folder / "hosts.yml").write_text(json.dumps(inventory), encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "ansible", "playbook", "-f", "2", "-i", str(folder / "hosts.yml"), str(folder / "play.yml")],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads((folder / f"host{number}").read_text(encoding="utf-8")) for number in range(len(hosts))]


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> t.Dict[str, t.Dict[str, str]]:
    """What a fresh host of each machine-id is given."""
    return dict(zip((ONE, OTHER), decide(tmp_path_factory.mktemp("fresh"), [host(machine, [], None) for machine in (ONE, OTHER)])))


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory, marks: t.Dict[str, t.Dict[str, str]]) -> t.Dict[str, t.Dict[str, str]]:
    """What comes of every case."""
    hosts = []
    for case in CASES:
        mark = f"# settled for machine {marks[case.mark_of]['mark']}\n" if case.mark_of else ""
        hosts.append(host(ONE, case.seen, None if case.text is None else mark + case.text, case.given, case.regenerate))
    return dict(zip([case.id for case in CASES], decide(tmp_path_factory.mktemp("cases"), hosts)))


def test_two_machines_have_two_names_and_keep_their_machine_id_to_themselves(marks: t.Dict[str, t.Dict[str, str]]) -> None:
    assert marks[ONE]["name"] != marks[OTHER]["name"]
    assert marks[ONE]["mark"] != marks[OTHER]["mark"]
    for machine, made in marks.items():
        assert len(made["mark"]) == 16
        assert len(made["name"]) == len("iqn.1993-08.org.debian:01:") + 12
        assert made["mark"] not in machine
        assert made["name"][-12:] not in machine


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_name(case: Case, decided: t.Dict[str, t.Dict[str, str]], marks: t.Dict[str, t.Dict[str, str]]) -> None:
    made = decided[case.id]
    assert made["name"] == (case.name or marks[ONE]["name"])
    lines = made["file"].splitlines()
    assert lines[-2:] == [f"# settled for machine {marks[ONE]['mark']}", f"InitiatorName={made['name']}"]
    kept = [line for line in (case.text or "").splitlines() if not line.startswith(("InitiatorName", "GenerateName"))]
    assert lines[:-2] == kept


def test_the_file_that_was_written_is_left_as_it_is(tmp_path: Path, decided: t.Dict[str, t.Dict[str, str]]) -> None:
    files = [made["file"] for made in decided.values()]
    again = decide(tmp_path, [host(ONE, NEWER, text) for text in files])
    assert [made["file"] for made in again] == files
