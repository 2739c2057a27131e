# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
import subprocess
import threading
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import PeerError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result, Runner
from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey, Portal
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.iscsiadm import (
    Exit,
    Iscsiadm,
    IscsiadmError,
    discover_arguments,
    explain,
    login_arguments,
    logout_arguments,
    parse_discovered,
    rescan_arguments,
)

TARGET = "iqn.2026-11.org.example:disk1"


def key(host: str, tpgt: t.Optional[int] = 1, iface: str = "default") -> NodeKey:
    return NodeKey(TARGET, Portal(host, 3260, tpgt), iface)


@pytest.mark.parametrize(("arguments", "line"), [
    (login_arguments(key("192.0.2.1")), f"-m node -T {TARGET} -p 192.0.2.1:3260,1 -I default --login"),
    (login_arguments(key("192.0.2.1", None)), f"-m node -T {TARGET} -p 192.0.2.1:3260 -I default --login"),
    (login_arguments(key("fd00::1", 0, "san0")), f"-m node -T {TARGET} -p [fd00::1]:3260,0 -I san0 --login"),
    (logout_arguments(7), "-m session -r 7 --logout"),
    (rescan_arguments(7), "-m session -r 7 --rescan"),
    (discover_arguments(Portal("fd00::1", 3261)), "-m discoverydb -t sendtargets -p [fd00::1]:3261 -o nonpersistent --discover"),
])
def test_arguments(arguments: t.List[str], line: str) -> None:
    assert " ".join(arguments) == line


class Answers(Runner):
    """A runner that answers by the portal or sid in the command line: an exit code, or seconds to hang."""

    def __init__(self, answers: t.Mapping[str, t.Union[int, float]]) -> None:
        super().__init__()
        self.answers = answers
        self.running = self.most = 0
        self.lock = threading.Lock()

    def run(self, argv: t.Sequence[str], *, timeout: float = 60.0, **_kwargs: t.Any) -> Result:
        with self.lock:
            self.count += 1
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            time.sleep(0.02)
            return Result(tuple(argv), int(self.answers.get(argv[argv.index("-p" if "-p" in argv else "-r") + 1], 0)), "", "iscsiadm: said\n")
        finally:
            with self.lock:
                self.running -= 1


def test_each_login_has_its_own_verdict() -> None:
    runner = Answers({"192.0.2.2:3260,1": Exit.SESSION_EXISTS, "192.0.2.3:3260,1": Exit.TRANSPORT_TIMEOUT, "192.0.2.4:3260,1": Exit.LOGIN_AUTH_FAILED})
    keys = [key(f"192.0.2.{number}") for number in range(1, 5)]
    found = Iscsiadm(runner).login(keys)
    assert [(found[one].done, found[one].changed, found[one].code) for one in keys] == [
        (True, True, 0), (True, False, 15), (False, False, 8), (False, False, 24)]
    assert found[keys[2]].what == "the portal did not answer in time (iscsiadm exit code 8)"
    assert found[keys[3]].as_problem("x")["what"] == "authentication failed (iscsiadm exit code 24)"
    assert all(found[one].remedy for one in keys[2:])
    assert runner.count == 4


@pytest.mark.parametrize(("parallel", "most"), [(1, 1), (3, 3), (100, 8)])
def test_processes_at_once_are_bounded(parallel: int, most: int) -> None:
    runner = Answers({})
    Iscsiadm(runner).login([key(f"192.0.2.{number}") for number in range(8)], parallel=parallel)
    assert 1 <= runner.most <= most
    assert parallel == 1 or runner.most > 1


@pytest.mark.parametrize("code", [Exit.NO_OBJECTS_FOUND, Exit.SESSION_NOT_FOUND, Exit.SYSFS_LOOKUP])
def test_a_session_that_is_gone_is_logged_out(code: int) -> None:
    found = Iscsiadm(Answers({"7": code})).logout([7, 8])
    assert [(found[sid].done, found[sid].changed) for sid in (7, 8)] == [(True, False), (True, True)]


def test_nothing_to_do_starts_nothing() -> None:
    runner = Answers({})
    assert Iscsiadm(runner).login([]) == {} == Iscsiadm(runner).logout([])
    assert runner.count == 0


def test_a_daemon_that_is_down_is_one_error() -> None:
    with pytest.raises(IscsiadmError, match=r"iscsid is not running \(iscsiadm: said\)\. Start the daemon"):
        Iscsiadm(Answers({"192.0.2.1:3260,1": Exit.ISCSID_NOT_CONNECTED})).login([key("192.0.2.1"), key("192.0.2.2")])


def tool(tmp_path: Path, body: str) -> str:
    file = tmp_path / "iscsiadm"
    file.write_text("#!/bin/sh\n" + body)
    file.chmod(0o755)
    return str(file)


def test_a_login_past_the_limit_is_killed_and_the_others_are_kept(tmp_path: Path) -> None:
    script = tool(tmp_path, 'case "$*" in *192.0.2.9*) sleep 30;; esac; exit 0\n')
    runner = Runner()
    start = time.monotonic()
    found = Iscsiadm(runner, script).login([key("192.0.2.1"), key("192.0.2.9"), key("192.0.2.2")], timeout=0.8)
    assert time.monotonic() - start < 5
    assert [found[key(host)].done for host in ("192.0.2.1", "192.0.2.9", "192.0.2.2")] == [True, False, True]
    late = found[key("192.0.2.9")]
    assert late.what == "did not end within the time limit of 0.8 s" and "background" in late.remedy
    assert late.code is None and late.seconds > 0.7
    assert runner.count == 3


def test_what_had_no_turn_says_so(tmp_path: Path) -> None:
    script = tool(tmp_path, "sleep 30\n")
    found = Iscsiadm(Runner(), script).login([key("192.0.2.1"), key("192.0.2.2")], timeout=0.5, parallel=1)
    assert sorted(verdict.what for verdict in found.values()) == [
        "did not end within the time limit of 0.5 s", "was not tried: the time limit of 0.5 s was over"]


def test_discover_reads_what_the_tool_prints(tmp_path: Path) -> None:
    script = tool(tmp_path, f'echo "192.0.2.1:3260,1 {TARGET}"; echo "[fd00::1]:3260,4294967295 {TARGET}"\n')
    assert Iscsiadm(Runner(), script).discover(Portal("192.0.2.1")) == [(TARGET, Portal("192.0.2.1", 3260, 1)), (TARGET, Portal("fd00::1", 3260))]


def test_discover_without_targets_is_empty_and_failures_are_named(tmp_path: Path) -> None:
    assert Iscsiadm(Runner(), tool(tmp_path, "exit 21\n")).discover(Portal("192.0.2.1")) == []
    with pytest.raises(IscsiadmError, match="authentication failed") as caught:
        Iscsiadm(Runner(), tool(tmp_path, "echo 'iscsiadm: no' >&2; exit 24\n")).discover(Portal("192.0.2.1"))
    assert (caught.value.exit, caught.value.code) == (Exit.LOGIN_AUTH_FAILED, 24)


@pytest.mark.parametrize(("line", "found"), [
    pytest.param(f"192.0.2.1:3260,1 {TARGET}", (TARGET, Portal("192.0.2.1", 3260, 1)), id="IPv4"),
    pytest.param(f"[fe80::1]:3260,1 {TARGET}", (TARGET, Portal("fe80::1", 3260, 1)), id="IPv6"),
    pytest.param(f"array.example.org:3260,1 {TARGET}", (TARGET, Portal("array.example.org", 3260, 1)), id="name"),
    pytest.param(f"[array]:3260,1 {TARGET}", (TARGET, Portal("array", 3260, 1)), id="name without dot, in brackets"),
    pytest.param(f"192.0.2.1:3260,-1 {TARGET}", (TARGET, Portal("192.0.2.1", 3260)), id="no tpgt"),
])
def test_parse_discovered(line: str, found: t.Tuple[str, Portal]) -> None:
    assert parse_discovered(f"{line}\n\n{line}\n") == [found]


@pytest.mark.parametrize("line", ["nonsense", "192.0.2.1:3260,1", "[fd00::1:3260,1 iqn.x", "192.0.2.1:99999,1 iqn.x"])
def test_parse_discovered_refuses_what_it_does_not_know(line: str) -> None:
    with pytest.raises(PeerError, match="discovery answer"):
        parse_discovered(line)


@pytest.mark.parametrize("code", [code for code in Exit if code not in (0, 17, 25, 26, 30)])
def test_every_code_of_a_session_has_words(code: Exit) -> None:
    what, _remedy = explain(code)
    assert "unknown" not in what


@pytest.mark.parametrize(("code", "words"), [(-9, "signal 9"), (99, "exit code 99"), (127, "exit code 127")])
def test_codes_that_are_not_iscsiadms(code: int, words: str) -> None:
    assert words in explain(code)[0]


def test_codes_are_those_of_the_installed_manual() -> None:
    """iscsiadm(8) lists its exit codes under EXIT STATUS; the witness is the manual, where one is installed."""
    try:
        env = {"MANWIDTH": "200", "LC_ALL": "C", "PATH": "/usr/bin:/bin"}
        text = subprocess.run(["man", "-P", "cat", "iscsiadm"], capture_output=True, text=True, check=False, env=env).stdout
    except OSError:
        text = ""
    listed = {name: int(number) for number, name in re.findall(r"^\s+(\d+)\s+ISCSI_(\w+)", text, re.MULTILINE)}
    if not listed:
        pytest.skip("no manual page of iscsiadm on this machine")
    ours = {"SUCCESS": 0, "ERR_SESS_NOT_FOUND": 2, "ERR_IDBM": 6, "ERR_TRANS_TIMEOUT": 8, "ERR_SESS_EXISTS": 15, "ERR_FATAL_LOGIN": 19,
            "ERR_ISCSID_NOTCONN": 20, "ERR_NO_OBJS_FOUND": 21, "ERR_LOGIN_AUTH_FAILED": 24}
    assert {name: listed[name] for name in ours if name in listed} == {name: number for name, number in ours.items() if name in listed}
