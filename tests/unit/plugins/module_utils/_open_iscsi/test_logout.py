# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iscsi_session with state logged_out: which sessions end, who is asked first, what is told."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import bring_about
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InputError, InUseError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.block import User
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result, Runner
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi import detach as detaching
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi import logout
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.iscsiadm import Iscsiadm
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.sysfs_tree import Tree

from .builders import session_params

ONE, TWO = "iqn.2026-11.org.example:one", "iqn.2026-11.org.example:two"


class Kernel(Runner):
    """Three sessions: two to ONE, one to TWO. iscsiadm --logout takes a session out of the tree, or fails with ``codes[sid]``."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.tree = Tree(root)
        self.ran: t.List[t.Tuple[str, ...]] = []
        self.codes: t.Dict[str, int] = {}
        for sid, target in ((1, ONE), (2, ONE), (12, TWO)):
            self.tree.session(sid, sid + 1, target)
            self.tree.lun(sid, sid + 1, 0, f"sd{chr(96 + sid)}", f"8:{16 * sid}")

    def run(self, argv: t.Sequence[str], **_more: t.Any) -> Result:
        self.ran.append(tuple(argv))
        sid = argv[4]
        code = self.codes.get(sid, 0)
        if not code:
            (Path(self.tree.sys) / f"class/iscsi_session/session{sid}").unlink()
        return Result(tuple(argv), code, "", "")


Run = t.Callable[..., t.Dict[str, t.Any]]


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


@pytest.fixture
def users() -> t.List[User]:
    return []


@pytest.fixture
def run(kernel: Kernel, users: t.List[User], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(logout, "disk_users", lambda sessions: users if sessions else [])
    monkeypatch.setattr(detaching, "flush_and_remove", lambda names, **_more: [])

    def once(check_mode: bool = False, **options: t.Any) -> t.Dict[str, t.Any]:
        task = logout.LogoutTask(session_params(state="logged_out", **options), iscsiadm=Iscsiadm(kernel), sys=kernel.tree.sys)
        return bring_about(task, check_mode, diff_mode=True)

    return once


@pytest.mark.parametrize(("options", "sids"), [
    ({"sids": [1]}, ["1"]), ({"sids": [12, 2]}, ["2", "12"]), ({"targets": [ONE]}, ["1", "2"]), ({"targets": ["*:two"]}, ["12"]),
    ({"targets": [ONE], "sids": [2, 12]}, ["2"]), ({"targets": ["*"]}, ["1", "2", "12"]),
])
def test_exactly_the_sessions_that_are_named(kernel: Kernel, run: Run, options: t.Dict[str, t.Any], sids: t.List[str]) -> None:
    predicted = run(check_mode=True, **options)
    assert kernel.ran == []
    done = run(**options)
    assert sorted(kernel.ran) == sorted(("iscsiadm", "-m", "session", "-r", sid, "--logout") for sid in sids)
    assert predicted["steps"] == done["steps"] and len(done["steps"]) == len(sids) and predicted["diff"] == done["diff"]
    again = run(**options)
    assert not again["changed"] and len(kernel.ran) == len(sids)


def test_the_step_names_the_session(run: Run) -> None:
    assert run(check_mode=True, sids=[12])["steps"] == [f"log out of {TWO} at 192.0.2.1:3260,1 (session 12)"]


def test_a_session_that_is_gone_already_is_no_error_and_starts_nothing(kernel: Kernel, run: Run) -> None:
    assert not run(sids=[3])["changed"] and kernel.ran == []


def test_a_disk_in_use_is_refused_in_check_mode_too_unless_forced(kernel: Kernel, run: Run, users: t.List[User]) -> None:
    users.append(User("/dev/sda", "mount", "/srv/data"))
    for check_mode in (True, False):
        with pytest.raises(InUseError, match=f"disks of {ONE} at .*: still in use by /dev/sda mounted on /srv/data"):
            run(check_mode=check_mode, sids=[1])
    assert kernel.ran == []
    assert run(sids=[1], force=True)["changed"] and len(kernel.ran) == 1


def test_a_session_that_stays_fails_the_task_by_name(kernel: Kernel, run: Run) -> None:
    kernel.codes["2"] = 10
    with pytest.raises(HostError, match=f"session 2 of {ONE} at .*: could not be logged out: the log-out failed"):
        run(targets=[ONE])


@pytest.mark.parametrize(("options", "words"), [
    ({}, r'neither targets nor sids.*targets: \["\*"\] means all'), ({"sids": [-1]}, "option sids"), ({"sids": [1], "timeout": 0}, "option timeout"),
    ({"sids": [1], "prune": True}, "option prune"), ({"sids": [1], "disk_settings": {"timeout": 5}}, "option disk_settings"),
])
def test_what_cannot_be_meant_is_refused(kernel: Kernel, run: Run, options: t.Dict[str, t.Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        run(**options)
    assert kernel.ran == []
