# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking multipath -t: what it is shown, what its answers mean. The tool itself is asked in the integration tests."""

from __future__ import annotations

import os
import tempfile
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import CommandError, HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result, Runner
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.tool import Verdict, ask_multipath, new_complaints

PRINTED = "defaults {\n\tverbosity 2\n}\n"


class Shell(Runner):
    """Ends as it is told, and keeps what it was shown: file to content."""

    def __init__(self, code: int = 0, stdout: str = PRINTED, stderr: str = "", *, reached: bool = True) -> None:
        super().__init__()
        self.shown: t.Dict[str, bytes] = {}
        self.argv: t.Sequence[str] = ()
        self._ends, self._reached = (code, stdout, stderr), reached

    def run(self, argv: t.Sequence[str], *, stdin: t.Optional[str] = None, timeout: float = 60.0, env: t.Optional[t.Mapping[str, str]] = None) -> Result:
        self.argv, folder = argv, argv[argv.index("sh", 5) + 1]
        etc = os.path.join(folder, "etc")
        for here, _folders, names in os.walk(etc):
            for name in names:
                self.shown[os.path.relpath(os.path.join(here, name), etc)] = Path(here, name).read_bytes()
        if self._reached:
            Path(folder, "asked").touch()
        return Result(tuple(argv), *self._ends)


@pytest.fixture(autouse=True)
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """/run is root's alone."""
    def staged(prefix: str, dir: t.Optional[str]) -> str:
        (tmp_path / "staged").mkdir()
        return str(tmp_path / "staged")

    monkeypatch.setattr(tempfile, "mkdtemp", staged)
    return tmp_path


def test_it_sees_the_candidate_and_what_names_users(run_folder: Path) -> None:
    shell = Shell()
    files = {"/etc/multipath.conf": b"a\xff", "/etc/multipath/conf.d/x y.conf": b"b"}
    assert ask_multipath(files, shell) == Verdict(PRINTED)
    assert {path: data for path, data in shell.shown.items() if "multipath" in path} == {"multipath.conf": b"a\xff", "multipath/conf.d/x y.conf": b"b"}
    assert shell.shown["passwd"] == Path("/etc/passwd").read_bytes()
    assert shell.argv[:2] == ["unshare", "--mount"] and shell.argv[-2:] == ["multipath", "-t"]
    assert not (run_folder / "staged").exists(), "the folder is left behind"


@pytest.mark.parametrize(("code", "stdout", "stderr", "expected"), [
    pytest.param(0, PRINTED, "25659.867957 | /etc/multipath.conf line 2, invalid keyword: x\n\n1.1 | y\n",
                 Verdict(PRINTED, ("/etc/multipath.conf line 2, invalid keyword: x", "y")), id="complaints since 0.8.6"),
    pytest.param(0, PRINTED, "Nov  1 08:19:39 | x\n", Verdict(PRINTED, ("x",)), id="complaints until 0.8.5"),
    pytest.param(0, "Nov 21 08:19:39 | x\n" + PRINTED, "", Verdict(PRINTED, ("x",)), id="complaints until 0.7.6, among what is printed"),
    pytest.param(1, "", "1.1 | error parsing config file\n", Verdict("", ("error parsing config file", "multipath -t ended with exit code 1"), True),
                 id="refused"),
    pytest.param(0, PRINTED, "can't set open fds limit to 1048576 : Operation not permitted\n",
                 Verdict(PRINTED, ("can't set open fds limit to 1048576 : Operation not permitted",)), id="no time before it"),
])
def test_answers(code: int, stdout: str, stderr: str, expected: Verdict) -> None:
    assert ask_multipath({}, Shell(code, stdout, stderr)) == expected


def test_without_a_namespace_it_is_not_asked(run_folder: Path) -> None:
    with pytest.raises(CommandError, match="multipath -t could not be asked in a mount namespace of its own: unshare: no.*validate: false") as caught:
        ask_multipath({"/etc/multipath.conf": b""}, Shell(1, "", "unshare: no\n", reached=False))
    assert caught.value.stderr == "unshare: no\n"
    assert not (run_folder / "staged").exists()


def test_without_room_it_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(prefix: str, dir: str) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with pytest.raises(HostError, match="/run: could not be written: No space left"):
        ask_multipath({}, Shell())


@pytest.mark.parametrize(("after", "known", "expected"), [
    pytest.param(["a"], [], ["a"], id="new"),
    pytest.param(["a"], [["a"]], [], id="there before"),
    pytest.param(["/etc/multipath.conf line 12, invalid keyword: x"], [["/etc/multipath.conf line 2, invalid keyword: x"]], [], id="moved"),
    pytest.param(["invalid keyword '{' on line 12 of /etc/multipath.conf"], [["invalid keyword '{' on line 7 of /etc/multipath.conf"]], [],
                 id="moved, other words"),
    pytest.param(["c line 1, x", "c line 5, x"], [["c line 1, x"]], ["c line 5, x"], id="once more than before"),
    pytest.param(["c line 1, x"], [["d line 1, x"]], ["c line 1, x"], id="of another file"),
    pytest.param(["limit", "x"], [["x"], ["limit"]], [], id="of the file before and of the host"),
    pytest.param(["x", "x"], [["x"], ["x"]], ["x"], id="known twice is not allowed twice"),
])
def test_new_complaints(after: t.List[str], known: t.List[t.List[str]], expected: t.List[str]) -> None:
    assert new_complaints(Verdict("", tuple(after)), None, *(Verdict("", tuple(one)) for one in known)) == expected
