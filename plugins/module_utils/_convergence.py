# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read, plan, apply, read again, exit: the one driver of every module that changes something."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import IscsiError, NotConvergedError

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

Found = t.TypeVar("Found")
REDACTED = "********"


@dataclass(frozen=True)
class Step:
    """One thing to do to one object.

    ``before`` and ``after`` are what the diff shows: text, or a flat mapping of settings, or None where the object does
    not exist. They hold no secret (``redact`` first). ``work`` is whatever the module's apply needs; it is never shown.
    """

    action: str
    subject: str
    before: t.Union[None, str, t.Mapping[str, t.Any]] = None
    after: t.Union[None, str, t.Mapping[str, t.Any]] = None
    work: t.Any = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.action} {self.subject}"


@dataclass(frozen=True)
class Plan:
    """What a module will do, in order, and what it noticed on the way. Pure data."""

    steps: t.Sequence[Step] = ()
    problems: t.Sequence[t.Mapping[str, str]] = ()
    #: what the module returns about the objects it looked at, in addition to changed, diff, steps and problems
    facts: t.Mapping[str, t.Any] = field(default_factory=dict)


def redact(settings: t.Mapping[str, t.Any], secret_keys: t.Container[str]) -> dict[str, t.Any]:
    """A copy of ``settings`` in which the values of ``secret_keys`` are stars (an unset secret stays visibly unset)."""
    return {key: REDACTED if key in secret_keys and value not in (None, "") else value for key, value in settings.items()}


def render_diff(steps: t.Sequence[Step]) -> list[dict[str, str]]:
    """Ansible's diff: one entry an object, with a header, the text before and the text after."""
    return [
        {"before_header": step.subject, "after_header": step.subject, "before": _render(step.before), "after": _render(step.after)}
        for step in steps
    ]


def _render(side: t.Union[None, str, t.Mapping[str, t.Any]]) -> str:
    if side is None:
        return ""
    if isinstance(side, str):
        return side if side.endswith("\n") or not side else side + "\n"
    return "".join(f"{key} = {value}\n" for key, value in side.items())


class Task(t.Protocol[Found]):
    """What one task wants and how it gets there; made from the module's options.

    Making it checks the options and raises ``InputError``; it touches nothing.
    """

    def read(self) -> Found:
        """Look at the host; change nothing."""

    def plan(self, found: Found) -> Plan:
        """The steps from ``found`` to what is wanted. Pure."""

    def apply(self, steps: t.Sequence[Step]) -> t.Mapping[str, t.Any]:
        """Do the steps; return facts about how each went."""

    def finish(self, found: Found, done: bool) -> t.Mapping[str, t.Any]:
        """Facts that exist only at the end (disks), from what was read last; change nothing. ``done`` is false in check mode."""


def converge(module: AnsibleModule, make: t.Callable[[t.Mapping[str, t.Any]], Task[t.Any]], params: t.Mapping[str, t.Any]) -> t.NoReturn:
    """Run a module: read what is, plan, show or apply, read again, exit.

    After a change the plan is made once more over what was read again; it must be empty, else the task fails with what is left.
    """
    run_guarded(module, lambda: bring_about(make(params), module.check_mode, module._diff))


def bring_about(task: Task[t.Any], check_mode: bool, diff_mode: bool = False) -> t.Dict[str, t.Any]:
    """The flow of ``converge`` without a module: returns the result, raises ``IscsiError`` (with what was done so far in its facts)."""
    found = task.read()
    made = task.plan(found)
    result: t.Dict[str, t.Any] = dict(made.facts, changed=bool(made.steps), steps=[str(step) for step in made.steps])
    if diff_mode:
        result["diff"] = render_diff(made.steps)
    problems = list(made.problems)
    try:
        if made.steps and not check_mode:
            result.update(task.apply(made.steps))
            found = task.read()
            left = task.plan(found)
            if left.steps:
                raise NotConvergedError([str(step) for step in left.steps])
            problems = list(left.problems)
        last = dict(task.finish(found, not check_mode))
    except IscsiError as error:
        error.facts.update(result, problems=[dict(problem) for problem in problems])
        raise
    problems.extend(last.pop("problems", ()))
    result.update(last, problems=[dict(problem) for problem in problems])
    return result


def run_guarded(module: AnsibleModule, work: t.Callable[[], t.Mapping[str, t.Any]]) -> t.NoReturn:
    """Run ``work`` and exit with what it returns; the one place where an ``IscsiError`` becomes ``fail_json``."""
    try:
        result = dict(work())
    except IscsiError as error:
        module.fail_json(msg=error.sentence(), **error.fields())
    module.exit_json(**result)
