# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/coverage.md names nothing that is not there: modules, roles, their options, what they return, and tests. No row is empty."""

from __future__ import annotations

import ast
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

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "coverage.md"
MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("[a-z]*.py"))
ROLES = sorted(path.parent.parent.name for path in (ROOT / "roles").glob("*/meta/argument_specs.yml"))
NONE, TODO = "–", "TODO"
#: sections and modes of the document; each has rows
PARTS = ("discoverydb", "node", "session", "iface", "fw", "host", "5.1", "Discovery mode", "Node mode", "Session mode", "flashnode", "chap", "stats", "6.",
         "7.", "8.", "9.")


class Row(t.NamedTuple):
    part: str
    document: str
    task: str
    test: str


def read_rows() -> t.List[Row]:
    """The rows of all tables, each with the heading above it."""
    part, rows = "", []
    for line in PAGE.read_text("utf-8").splitlines():
        if line.startswith("#"):
            part = line.lstrip("# ")
        elif line.startswith("|") and not line.startswith(("| of the document |", "| --- |")):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert len(cells) == 3, line
            rows.append(Row(part, *cells))
    return rows


ROWS = read_rows()


def each() -> t.List[t.Any]:
    return [pytest.param(row, id=f"{row.part}: {row.document}") for row in ROWS]


@functools.lru_cache(maxsize=None)
def documented() -> t.Dict[str, t.Any]:
    """What ansible-doc says of all modules."""
    names = [f"lunar.iscsi.{name}" for name in MODULES]
    answer = subprocess.run([str(Path(sys.executable).with_name("ansible-doc")), "--json", "--type", "module", *names], capture_output=True, text=True,
                            check=False, env=dict(os.environ, NO_COLOR="1"))
    assert answer.returncode == 0, answer.stderr
    return {name: json.loads(answer.stdout)[f"lunar.iscsi.{name}"] for name in MODULES}


def fault_of_option(options: t.Mapping[str, t.Any], words: str) -> str:
    """What is wrong with ``name``, ``name.inside`` or either with ``: value``; nothing where it is there."""
    path, _colon, value = words.partition(": ")
    entry: t.Mapping[str, t.Any] = {"suboptions": options}
    for name in path.split("."):
        inside = entry.get("suboptions") or entry.get("options") or {}
        if name not in inside:
            return f"no option {words}"
        entry = inside[name]
    return f"no value {words}" if value and "choices" in entry and value not in map(str, entry["choices"]) else ""


def fault_of_return(returned: t.Mapping[str, t.Any], words: str) -> str:
    entry: t.Mapping[str, t.Any] = {"contains": returned}
    for name in words.replace("[]", "").split("."):
        if name not in entry.get("contains", {}):
            return f"returns no {words}"
        entry = entry["contains"][name]
    return ""


def faults_of_task(task: str) -> t.Iterator[str]:
    """Everything in backquotes: a module, or a role after that word; then its options, and after ``returns`` what it returns."""
    module = role = ""
    returns = False
    for before, words in re.findall(r"([^`]*)`([^`]+)`", task):
        if before.endswith("role ") or words in MODULES:
            module, role = ("", words) if before.endswith("role ") else (words, "")
            returns = False
            if role and role not in ROLES:
                yield f"no role {role}"
            continue
        returns = returns or before.endswith("returns ")
        if not module and role not in ROLES:
            yield f"{words}: of which module?"
        elif returns:
            yield fault_of_return(documented()[module]["return"], words)
        elif role:
            spec = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text("utf-8"))
            yield fault_of_option(spec["argument_specs"]["main"]["options"], words)
        else:
            yield fault_of_option(documented()[module]["doc"]["options"], words)
    if not module and not role:
        yield "names no module and no role"


@functools.lru_cache(maxsize=None)
def names_in(path: str) -> t.Set[str]:
    """The tests of a file: functions, methods as ``Class::method``, the witnesses of examples; or the tasks of a scenario by their names."""
    file = next((place for place in (ROOT / "tests" / path, ROOT / path) if place.is_file()), None)
    if file is None:
        return set()
    if file.suffix == ".yml":
        return set(re.findall(r"^ *- name: (.+)$", file.read_text("utf-8"), re.MULTILINE))
    found: t.Set[str] = set()
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{inside.name}" for inside in node.body if isinstance(inside, ast.FunctionDef) and inside.name.startswith("test_")}
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "WITNESSES" and isinstance(node.value, ast.Dict):
            found |= {value.id for value in node.value.values if isinstance(value, ast.Name)}
    return found


def faults_of_test(test: str) -> t.Iterator[str]:
    names = re.findall(r"`([^`]+)`", test)
    if TODO in test:
        yield "is to be done"
    if not names:
        yield "names no test"
    for name in names:
        path, _colons, function = name.partition("::")
        if function not in names_in(path):
            yield f"no test {name}"


def faults_of(row: Row) -> t.List[str]:
    if row.task.startswith("No task: "):
        return [] if len(row.task) > 60 and row.test == NONE else ["says too little about why, or names a test of nothing"]
    return [fault for fault in (*faults_of_task(row.task), *faults_of_test(row.test)) if fault]


@pytest.mark.parametrize("row", each())
def test_a_row_names_what_is_there(row: Row) -> None:
    assert row.document and not faults_of(row)


@pytest.mark.parametrize("part", PARTS)
def test_every_part_of_the_document_has_rows(part: str) -> None:
    assert [row for row in ROWS if part in row.part]


@pytest.mark.parametrize("row, fault", [
    (Row("", "x", "`iscsi_node`: `no_such_option`", "`unit/test_coverage.py::test_a_row_names_what_is_there`"), "no option no_such_option"),
    (Row("", "x", "`iscsi_node`: `nodes.no_such`", "`unit/test_coverage.py::test_a_row_names_what_is_there`"), "no option nodes.no_such"),
    (Row("", "x", "`iscsi_node`: `state: gone`", "`unit/test_coverage.py::test_a_row_names_what_is_there`"), "no value state: gone"),
    (Row("", "x", "`iscsi_node` returns `no_such`", "`unit/test_coverage.py::test_a_row_names_what_is_there`"), "returns no no_such"),
    (Row("", "x", "`iscsi_nodes`: `state`", "`unit/test_coverage.py::test_a_row_names_what_is_there`"), "iscsi_nodes: of which module?"),
    (Row("", "x", "role `initiators`", "`unit/test_coverage.py::test_a_row_names_what_is_there`"), "no role initiators"),
    (Row("", "x", "`iscsi_node`: `state`", "`unit/test_coverage.py::test_no_such`"), "no test unit/test_coverage.py::test_no_such"),
    (Row("", "x", "`iscsi_node`: `state`", "`unit/no_such.py::test_x`"), "no test unit/no_such.py::test_x"),
    (Row("", "x", "`iscsi_node`: `state`", ""), "names no test"),
    (Row("", "x", "`iscsi_node`: `state`", "TODO `unit/test_coverage.py::test_a_row_names_what_is_there`"), "is to be done"),
    (Row("", "x", "", "`unit/test_coverage.py::test_a_row_names_what_is_there`"), "names no module and no role"),
    (Row("", "x", "No task: why", NONE), "says too little about why, or names a test of nothing"),
])
def test_what_is_not_there_is_noticed(row: Row, fault: str) -> None:
    assert fault in faults_of(row)


def test_what_is_there_is_no_fault() -> None:
    assert faults_of(Row("", "x", "`iscsi_node`: `nodes.target`, `state: absent`; role `initiator`: `initiator_mounts`",
                         "`unit/test_coverage.py::test_a_row_names_what_is_there`, `e2e/test_readme.py::step_by_step`")) == []
