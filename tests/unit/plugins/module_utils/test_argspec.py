# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that several modules share: what is refused, in words and without the secret."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._argspec import check_auth, check_root
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError

GOOD: t.Mapping[str, t.Any] = {"method": "CHAP", "username": "host1", "password": "plain-secret-1", "username_in": "array", "password_in": "plain-secret-2"}


@pytest.mark.parametrize("word", ["username", "password", "username_in", "password_in"])
@pytest.mark.parametrize(("form", "says"), [
    pytest.param(" {}", "white space", id="a space before"),
    pytest.param("{} ", "white space", id="a space behind"),
    pytest.param("{}\t", "white space", id="a tab behind"),
    pytest.param("{}\nnode.startup = automatic", "line break", id="a second line"),
    pytest.param("{}\0", "control character", id="NUL"),
    pytest.param("{}\x0b.", "control character", id="vertical tab"),
    pytest.param("{}\x7f", "control character", id="DEL"),
    pytest.param("{}\ud800", "control character", id="half a character"),
    pytest.param("{}" + "ü" * 128, "bytes long", id="over 255 bytes"),
])
def test_names_and_secrets_that_no_record_can_hold(word: str, form: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        check_auth(dict(GOOD, **{word: form.format(GOOD[word])}))
    assert f"option auth.{word}:" in caught.value.sentence() and "secret-" not in caught.value.sentence() and caught.value.remedy


@pytest.mark.parametrize("password", ["plain secret 1", "plain-secret#1", "plaïn-secret-€", 'plain="secret"'])
def test_secrets_that_a_record_can_hold(password: str) -> None:
    assert check_auth(dict(GOOD, password=password)) == dict(GOOD, password=password)


@pytest.mark.parametrize("root", ["", "mnt/sysimage", ".", "~nobody-of-that-name/x"])
def test_a_root_that_depends_on_the_folder_of_the_process_is_refused(root: str) -> None:
    with pytest.raises(InputError, match="absolute"):
        check_root(root)


@pytest.mark.parametrize("root", ["/", "//", "///", "/.", "/usr/..", "/proc/self/root"])
def test_every_name_of_the_running_system_is_the_running_system(root: str) -> None:
    assert check_root(root) == "/"


def test_another_root_stays_what_it_is(tmp_path: Path) -> None:
    assert check_root(f"{tmp_path}//x/../") == str(tmp_path)
    assert check_root("/no/such/folder/") == "/no/such/folder"
