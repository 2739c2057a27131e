# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest
from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import Plan, Step, converge, redact, render_diff, run_guarded
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InputError, InUseError

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


class Exit(Exception):
    """What a module ended with; ``failed`` tells exit_json from fail_json."""

    def __init__(self, failed: bool, result: t.Dict[str, t.Any]) -> None:
        self.failed, self.result = failed, result
        super().__init__(repr(result))


class FakeModule:
    """What the driver uses of a module."""

    def __init__(self, check_mode: bool = False, diff_mode: bool = True) -> None:
        self.check_mode, self._diff = check_mode, diff_mode

    def exit_json(self, **result: t.Any) -> t.NoReturn:
        raise Exit(False, result)

    def fail_json(self, **result: t.Any) -> t.NoReturn:
        raise Exit(True, result)


Settings = t.Dict[str, int]


class Host:
    """A task over a host whose whole state is a mapping; ``events`` records in what order the driver calls."""

    def __init__(self, wanted: Settings, state: t.Optional[Settings] = None, deaf: t.Container[str] = ()) -> None:
        self.wanted, self.state, self.deaf = wanted, dict(state or {}), deaf
        self.events: t.List[str] = []

    def read(self) -> Settings:
        self.events.append("read")
        return dict(self.state)

    def plan(self, found: Settings) -> Plan:
        self.events.append("plan")
        steps = [Step("set", key, f"{found[key]}" if key in found else None, f"{value}", work=(key, value))
                 for key, value in self.wanted.items() if found.get(key) != value]
        return Plan(steps, facts={"seen": sorted(found)})

    def apply(self, steps: t.Sequence[Step]) -> t.Dict[str, t.Any]:
        self.events.append("apply")
        for step in steps:
            key, value = step.work
            if key not in self.deaf:
                self.state[key] = value
        return {"done": len(steps)}

    def finish(self, found: Settings, done: bool) -> t.Dict[str, t.Any]:
        self.events.append("finish")
        return {"last_read": found, "done_in_earnest": done}

    def run(self, check_mode: bool = False, diff_mode: bool = True, **replaced: t.Any) -> Exit:
        for name, hand in replaced.items():
            setattr(self, name, hand)
        with pytest.raises(Exit) as caught:
            converge(t.cast("AnsibleModule", FakeModule(check_mode, diff_mode)), lambda params: self, {})
        return caught.value


def test_a_change_is_planned_applied_and_read_again() -> None:
    host = Host({"a": 1, "b": 2}, {"b": 3})
    ended = host.run()
    assert host.events == ["read", "plan", "apply", "read", "plan", "finish"]
    assert host.state == {"a": 1, "b": 2}
    assert (ended.failed, ended.result) == (False, {
        "changed": True, "steps": ["set a", "set b"], "problems": [], "seen": ["b"], "done": 2, "last_read": {"a": 1, "b": 2}, "done_in_earnest": True,
        "diff": [{"before_header": "a", "after_header": "a", "before": "", "after": "1\n"},
                 {"before_header": "b", "after_header": "b", "before": "3\n", "after": "2\n"}],
    })


def test_nothing_to_do_reads_once_and_applies_nothing() -> None:
    host = Host({"a": 1}, {"a": 1})
    ended = host.run()
    assert host.events == ["read", "plan", "finish"]
    assert (ended.failed, ended.result["changed"], ended.result["steps"], ended.result["diff"]) == (False, False, [], [])
    assert "done" not in ended.result


def test_a_second_run_after_a_change_changes_nothing() -> None:
    host = Host({"a": 1})
    assert host.run().result["changed"] is True
    assert host.run().result["changed"] is False


def test_check_mode_predicts_what_the_real_run_does_and_touches_nothing() -> None:
    host = Host({"a": 1, "b": 2}, {"b": 3})
    predicted = host.run(check_mode=True)
    assert host.state == {"b": 3}
    assert host.events == ["read", "plan", "finish"]
    assert predicted.result["done_in_earnest"] is False
    done = host.run()
    for key in ("changed", "steps", "diff", "problems"):
        assert predicted.result[key] == done.result[key]


def test_steps_that_are_left_after_applying_fail_the_task_and_are_named() -> None:
    ended = Host({"a": 1, "b": 2}, deaf={"b"}).run()
    assert ended.failed
    assert ended.result["remaining_steps"] == ["set b"]
    assert "set b" in ended.result["msg"]
    assert "set a" not in ended.result["msg"]
    assert ended.result["error"]["kind"] == "NotConvergedError"


@pytest.mark.parametrize("hand", ["read", "plan", "apply", "finish"])
def test_an_error_of_any_hand_fails_the_task_with_its_fields(hand: str) -> None:
    def broken(*_args: t.Any) -> t.NoReturn:
        raise InUseError("disk sda", ["mount /mnt"], "Unmount it first")

    host = Host({"a": 1})
    setattr(host, hand, broken)
    ended = host.run()
    assert ended.failed
    assert ended.result["msg"] == "disk sda: still in use by mount /mnt. Unmount it first"
    assert ended.result["users"] == ["mount /mnt"]


def test_a_task_that_failed_while_applying_says_that_it_changed_something() -> None:
    def half(steps: t.Sequence[Step]) -> t.NoReturn:
        raise HostError("record", "disk full", "Make room")

    assert Host({"a": 1}).run(apply=half).result["changed"] is True


def test_a_task_that_did_not_converge_says_that_it_changed_something() -> None:
    assert Host({"a": 1}, deaf={"a"}).run().result["changed"] is True


def test_a_task_that_failed_before_applying_does_not_claim_a_change() -> None:
    def broken() -> t.NoReturn:
        raise HostError("record", "cannot be read", "")

    assert Host({"a": 1}).run(read=broken).result.get("changed", False) is False


def test_options_that_are_refused_fail_the_task_before_anything_is_read() -> None:
    def refuse(params: t.Mapping[str, t.Any]) -> t.NoReturn:
        raise InputError(f"option timeout {params['timeout']}", "is below 1", "Give 1 or more")

    with pytest.raises(Exit) as caught:
        converge(t.cast("AnsibleModule", FakeModule()), refuse, {"timeout": 0})
    assert caught.value.failed
    assert caught.value.result["msg"] == "option timeout 0: is below 1. Give 1 or more"


def test_the_diff_is_there_only_where_it_was_asked_for() -> None:
    assert "diff" not in Host({"a": 1}).run(diff_mode=False).result
    assert len(Host({"a": 1}).run(diff_mode=True).result["diff"]) == 1


def test_what_was_done_before_an_error_is_returned_with_it() -> None:
    def half(found: Settings, done: bool) -> t.NoReturn:
        raise HostError("disk of node n", "did not appear", "Look at the target")

    ended = Host({"a": 1}).run(finish=half)
    assert ended.failed
    assert (ended.result["steps"], ended.result["done"], ended.result["seen"], ended.result["problems"]) == (["set a"], 1, [], [])


def test_an_error_that_is_not_ours_is_not_hidden() -> None:
    def bug() -> t.NoReturn:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        run_guarded(t.cast("AnsibleModule", FakeModule()), bug)


PROBLEM = {"object": "record x", "what": "is empty", "remedy": "Delete it"}
LATE = {"object": "disk y", "what": "is gone", "remedy": "Look at the cable"}


def test_problems_are_returned_and_are_no_change() -> None:
    ended = Host({}).run(plan=lambda found: Plan(problems=[PROBLEM]))
    assert (ended.result["changed"], ended.result["problems"]) == (False, [PROBLEM])


def test_a_problem_that_was_repaired_is_not_reported_any_more_but_check_mode_shows_it() -> None:
    def plan(found: Settings) -> Plan:
        return Plan() if found else Plan([Step("repair", "record x", work=("a", 1))], problems=[PROBLEM])

    assert Host({}).run(plan=plan).result["problems"] == []
    assert Host({}).run(plan=plan, check_mode=True).result["problems"] == [PROBLEM]


def test_problems_noticed_at_the_end_come_after_those_of_the_plan() -> None:
    ended = Host({}).run(plan=lambda found: Plan(problems=[PROBLEM]), finish=lambda found, done: {"problems": [LATE]})
    assert ended.result["problems"] == [PROBLEM, LATE]


@pytest.mark.parametrize(("before", "after", "shown_before", "shown_after"), [
    pytest.param(None, "new", "", "new\n", id="created"),
    pytest.param("old\n", None, "old\n", "", id="removed"),
    pytest.param("", "", "", "", id="empty text stays empty"),
    pytest.param("two\nlines", "two\nlines\n", "two\nlines\n", "two\nlines\n", id="one newline at the end"),
    pytest.param({"startup": "manual", "port": 3260}, {}, "startup = manual\nport = 3260\n", "", id="settings"),
])
def test_render_diff(before: t.Any, after: t.Any, shown_before: str, shown_after: str) -> None:
    assert render_diff([Step("set", "node n", before, after)]) == [
        {"before_header": "node n", "after_header": "node n", "before": shown_before, "after": shown_after}]


@pytest.mark.parametrize(("settings", "redacted"), [
    pytest.param({"user": "u", "password": "hunter2"}, {"user": "u", "password": "********"}, id="a secret is starred"),
    pytest.param({"password": ""}, {"password": ""}, id="an empty secret is visibly empty"),
    pytest.param({"password": None}, {"password": None}, id="an unset secret is visibly unset"),
    pytest.param({"password": 0}, {"password": "********"}, id="a secret that is false as a truth value"),
    pytest.param({"passwords": "x"}, {"passwords": "x"}, id="other keys stay"),
])
def test_redact(settings: t.Dict[str, t.Any], redacted: t.Dict[str, t.Any]) -> None:
    before = dict(settings)
    assert redact(settings, {"password"}) == redacted
    assert settings == before


def test_what_a_step_works_with_is_not_shown() -> None:
    step = Step("set", "node n", work={"password": "hunter2"})
    assert "hunter2" not in repr(step)
    assert "hunter2" not in repr(Plan([step]))
    assert str(step) == "set node n"
