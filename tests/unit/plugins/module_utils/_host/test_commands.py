# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import CommandError, HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result, Runner, TimedOutError, check, last_words, run


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_result_has_code_and_both_streams() -> None:
    argv = python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(21)")
    assert run(argv) == Result(tuple(argv), 21, "out\n", "err\n")


def test_stdin_reaches_the_command_and_is_empty_by_default() -> None:
    argv = python("import sys; print(repr(sys.stdin.read()))")
    assert run(argv, stdin="a secret").stdout == "'a secret'\n"
    assert run(argv).stdout == "''\n"


def test_locale_is_c_and_sbin_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("PATH", "/usr/bin")
    argv = python("import os; print(os.environ['LC_ALL'], os.environ['EXTRA'], os.environ['PATH'])")
    locale, extra, path = run(argv, env={"EXTRA": "1"}).stdout.split()
    assert (locale, extra) == ("C", "1")
    assert path.startswith("/usr/bin:") and "/usr/sbin" in path.split(":") and path.split(":").count("/usr/bin") == 1


def test_no_shell_sees_the_arguments(tmp_path: Path) -> None:
    run(["echo", f"$(touch {tmp_path}/made)", ";", "touch", f"{tmp_path}/made"])
    assert not (tmp_path / "made").exists()


def test_bytes_that_are_no_text_do_not_hurt() -> None:
    assert run(python("import os; os.write(1, b'a\\xffb')")).stdout == "a\ufffdb"


@pytest.mark.parametrize(("tool", "package"), [
    pytest.param("/nowhere/iscsiadm", "open-iscsi", id="known tool"),
    pytest.param("/nowhere/other", "package that brings it", id="unknown tool"),
])
def test_missing_tool_names_the_package(tool: str, package: str) -> None:
    with pytest.raises(HostError) as caught:
        run([tool])
    assert caught.value.subject == tool
    assert package in caught.value.remedy


def test_what_cannot_be_started_is_a_host_error(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot be started"):
        run([str(tmp_path)])


def test_time_limit_ends_the_command_and_what_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 60 & echo $! > {pids}; echo $$ >> {pids}; wait"
    start = time.monotonic()
    with pytest.raises(TimedOutError, match="did not end within 0.5 s") as caught:
        run(["sh", "-c", script], timeout=0.5)
    assert caught.value.seconds == 0.5
    assert time.monotonic() - start < 5
    for pid in pids.read_text().split():
        assert not alive(int(pid)), pid


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has reaped yet (the witness is /proc) is dead."""
    for _attempt in range(50):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state == "Z":
            return False
        time.sleep(0.02)
    return True


def test_runner_counts_what_it_started_and_what_failed_to() -> None:
    runner = Runner()
    runner.run(["true"])
    runner.run(["false"])
    with pytest.raises(HostError):
        runner.run(["/nowhere/iscsiadm"])
    assert runner.count == 3


def test_check_passes_success_and_raises_the_last_words() -> None:
    good = Result(("multipath", "-f", "m"), 0, "", "")
    assert check(good) is good
    with pytest.raises(CommandError) as caught:
        check(good._replace(code=1, stderr="first\nmap in use\n\n"), "the map cannot be removed", "Look at lsblk")
    assert caught.value.sentence() == "multipath -f m: the map cannot be removed: map in use. Look at lsblk"
    assert caught.value.fields()["rc"] == 1


@pytest.mark.parametrize(("text", "words"), [("", ""), ("\n \n", ""), ("a\nb \n\n", "b")])
def test_last_words(text: str, words: str) -> None:
    assert last_words(text) == words


def test_the_caller_keeps_its_own_process_group() -> None:
    group = int(run(python("import os; print(os.getpgid(0))")).stdout)
    assert group != os.getpgid(0)
