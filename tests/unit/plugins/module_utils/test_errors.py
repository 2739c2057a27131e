# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import (
    CommandError,
    DamagedError,
    HostError,
    InputError,
    InUseError,
    IscsiError,
    LockedError,
    NotConvergedError,
    PeerError,
)


@pytest.mark.parametrize(("subject", "what", "remedy", "sentence"), [
    pytest.param("portal '10.0.0.1:x'", "has a bad port", "", "portal '10.0.0.1:x': has a bad port", id="without remedy"),
    pytest.param("portal 'p'", "has a bad port", "Write a number", "portal 'p': has a bad port. Write a number", id="with remedy"),
    pytest.param("lock", "is held.", "Wait", "lock: is held. Wait", id="one full stop, not two"),
    pytest.param("", "nothing was found", "Look again", "nothing was found. Look again", id="without subject"),
    pytest.param("", "nothing was found", "", "nothing was found", id="what alone"),
])
def test_sentence(subject: str, what: str, remedy: str, sentence: str) -> None:
    error = IscsiError(subject, what, remedy)
    assert error.sentence() == sentence
    assert str(error) == sentence


def test_problem_has_the_three_parts_under_their_public_names() -> None:
    assert InputError("option x", "is wrong", "Fix it").as_problem() == {"object": "option x", "what": "is wrong", "remedy": "Fix it"}


@pytest.mark.parametrize(("error", "kind", "extra"), [
    pytest.param(InputError("o", "w", "r"), "InputError", {}, id="input"),
    pytest.param(PeerError("o", "w", "r"), "PeerError", {}, id="peer"),
    pytest.param(HostError("o", "w", "r"), "HostError", {}, id="host"),
    pytest.param(DamagedError("o", "w", "r"), "DamagedError", {}, id="damaged"),
    pytest.param(LockedError("o", "w", "r"), "LockedError", {}, id="locked"),
    pytest.param(CommandError(["iscsiadm", "-m", "node"], 24, "login failed\n", "w", "r"), "CommandError",
                 {"cmd": ["iscsiadm", "-m", "node"], "rc": 24, "stderr": "login failed\n"}, id="command"),
    pytest.param(InUseError("disk sda", ["mount /mnt", "swap"], "Unmount it"), "InUseError", {"users": ["mount /mnt", "swap"]}, id="in use"),
    pytest.param(NotConvergedError(["add node n"]), "NotConvergedError", {"remaining_steps": ["add node n"]}, id="not converged"),
])
def test_fields_of_a_failed_task(error: IscsiError, kind: str, extra: t.Dict[str, t.Any]) -> None:
    fields = dict(error.fields())
    assert fields.pop("error") == dict(error.as_problem(), kind=kind)
    assert fields == extra
    assert isinstance(error, IscsiError)


def test_facts_known_when_the_task_failed_are_returned_beside_the_error() -> None:
    error = HostError("o", "w", "r")
    error.facts.update(changed=True, steps=["set a"])
    assert error.fields() == {"changed": True, "steps": ["set a"], "error": {"object": "o", "what": "w", "remedy": "r", "kind": "HostError"}}


@pytest.mark.parametrize(("leaf", "root"), [(LockedError, HostError), (CommandError, HostError)], ids=["locked", "command"])
def test_leaves_can_be_caught_as_host_errors(leaf: type, root: type) -> None:
    assert issubclass(leaf, root)


def test_a_command_is_the_subject_of_its_error() -> None:
    error = CommandError(["iscsiadm", "-m", "node"], 21, "", "found no node", "Discover first")
    assert error.sentence() == "iscsiadm -m node: found no node. Discover first"
    assert error.argv == ("iscsiadm", "-m", "node")


def test_all_users_are_named() -> None:
    assert str(InUseError("disk sda", ["mount /a", "mount /b"], "Unmount")) == "disk sda: still in use by mount /a, mount /b. Unmount"


def test_all_remaining_steps_are_named() -> None:
    assert "add a; set b" in str(NotConvergedError(["add a", "set b"]))


def test_later_changes_of_a_given_list_do_not_change_the_error() -> None:
    users = ["mount /a"]
    error = InUseError("disk", users, "r")
    users.append("mount /b")
    assert error.users == ("mount /a",)
    error.fields()["users"].append("mount /c")
    assert error.users == ("mount /a",)
