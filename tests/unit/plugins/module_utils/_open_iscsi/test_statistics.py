# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counters out of what iscsiadm prints. That it prints so is seen with the real one in tests/integration/sessions."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result, Runner, TimedOutError
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.iscsiadm import IscsiadmError
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.statistics import parse_statistics, read_statistics


def printed(sid: int, octets: int = 100, **more: int) -> str:
    lines = [f"Stats for session [sid: {sid}, target: iqn.2026-11.org.example:disk1, portal: 192.0.2.1,3260]", "iSCSI SNMP:",
             f"\ttxdata_octets: {octets}", "\tdigest_err: 0"]
    return "\n".join([*lines, *(["iSCSI Extended:"] if more else []), *(f"\t{name}: {value}" for name, value in more.items()), ""])


@pytest.mark.parametrize(("text", "counters"), [
    ("", {}),
    ("iscsiadm: No active sessions.\n", {}),
    (printed(3), {3: {"txdata_octets": 100, "digest_err": 0}}),
    (printed(3, eh_abort_cnt=2), {3: {"txdata_octets": 100, "digest_err": 0, "eh_abort_cnt": 2}}),
    (printed(3) + printed(12, 7), {3: {"txdata_octets": 100, "digest_err": 0}, 12: {"txdata_octets": 7, "digest_err": 0}}),
    (printed(3, -1), {3: {"txdata_octets": 2 ** 64 - 1, "digest_err": 0}}),
], ids=["nothing", "words", "one", "of the transport too", "two", "past the sign"])
def test_parsing(text: str, counters: t.Dict[int, t.Dict[str, int]]) -> None:
    assert parse_statistics(text) == counters


class Iscsiadm(Runner):
    """Answers each command line once, in this order: (exit code, text), or seconds after which it was killed."""

    def __init__(self, *answers: t.Union[t.Tuple[int, str], float]) -> None:
        super().__init__()
        self.answers = list(answers)
        self.ran: t.List[str] = []

    def run(self, argv: t.Sequence[str], **_more: t.Any) -> Result:
        self.ran.append(" ".join(argv[1:]))
        answer = self.answers.pop(0)
        if isinstance(answer, float):
            raise TimedOutError(argv, answer)
        return Result(tuple(argv), answer[0], answer[1], "")


def test_one_process_for_all_sessions() -> None:
    tool = Iscsiadm((0, printed(1) + printed(2)))
    found, problems = read_statistics([1, 2], tool)
    assert sorted(found) == [1, 2] and problems == [] and tool.ran == ["-m session --stats"]


def test_no_process_without_a_session() -> None:
    assert read_statistics([], Iscsiadm()) == ({}, [])


def test_only_the_session_that_is_meant() -> None:
    tool = Iscsiadm((0, printed(7)))
    assert sorted(read_statistics([7], tool)[0]) == [7] and tool.ran == ["-m session -r 7 --stats"]


def test_others_are_not_returned() -> None:
    assert sorted(read_statistics([1, 3], Iscsiadm((0, printed(1) + printed(2) + printed(3))))[0]) == [1, 3]


def test_sessions_behind_one_that_fails_are_asked_one_by_one() -> None:
    tool = Iscsiadm((2, printed(1)), (2, ""), (0, printed(3)), 30.0)
    found, problems = read_statistics([1, 2, 3, 4], tool)
    assert sorted(found) == [1, 3] and tool.ran == ["-m session --stats", *(f"-m session -r {sid} --stats" for sid in (2, 3, 4))]
    assert [(problem["object"], problem["what"]) for problem in problems] == [
        ("session 2", "gave no counters: there is no such session"), ("session 4", "gave no counters: did not end within 30 s and was killed")]


@pytest.mark.parametrize("code", [20, 13])
def test_an_iscsid_that_answers_nobody_is_asked_once(code: int) -> None:
    tool = Iscsiadm((code, ""))
    with pytest.raises(IscsiadmError):
        read_statistics([1, 2], tool)
    assert len(tool.ran) == 1


def test_a_missing_iscsiadm_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_self: Runner, argv: t.Sequence[str], **_more: t.Any) -> Result:
        raise HostError(argv[0], "is not installed on this host")

    monkeypatch.setattr(Runner, "run", missing)
    with pytest.raises(HostError, match="iscsiadm: is not installed"):
        read_statistics([1], Runner())
