# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iscsiadm's mode host: command lines as open-iscsi's document shows them, and what becomes of recorded answers."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import CommandError, HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.iscsiadm import Exit, IscsiadmError
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.iscsiadm_host import (
    BIDI,
    LOCAL,
    ChapEntry,
    HostAdm,
    chap_arguments,
    flash_node_arguments,
    parse_chap,
    parse_stats,
    stats_arguments,
)

from .iscsiadm_player import DIALOGUES, Player

TARGET = "iqn.2002-03.com.compellent:5000d310004b0716"
SECRET = "secret-of-host"


# the examples of section 5 of the document, where only the names of CHAP settings are not those that iscsiadm takes
@pytest.mark.parametrize(("arguments", "line"), [
    (flash_node_arguments(6, "new", portal_type="ipv4"), "-m host -H 6 -C flashnode -o new -A ipv4"),
    (flash_node_arguments(6, "update", 1, settings={"flashnode.conn[0].ipaddress": "192.168.1.12", "flashnode.session.targetname": TARGET}),
     f"-m host -H 6 -C flashnode -x 1 -o update -n flashnode.conn[0].ipaddress -v 192.168.1.12 -n flashnode.session.targetname -v {TARGET}"),
    (flash_node_arguments(6, "login", 1), "-m host -H 6 -C flashnode -x 1 -o login"),
    (flash_node_arguments(6, "logout", 1), "-m host -H 6 -C flashnode -x 1 -o logout"),
    (flash_node_arguments(6, "delete", 1), "-m host -H 6 -C flashnode -x 1 -o delete"),
    (chap_arguments(6, "show"), "-m host -H 6 -C chap -o show"),
    (chap_arguments(6, "delete", 5), "-m host -H 6 -C chap -o delete -x 5"),
    (chap_arguments(6, "update", 4, LOCAL, "value", "value"),
     "-m host -H 6 -C chap -o update -x 4 -n host.auth.username -v value -n host.auth.password -v value"),
    (chap_arguments(6, "update", 5, BIDI, "value", "value"),
     "-m host -H 6 -C chap -o update -x 5 -n host.auth.username_in -v value -n host.auth.password_in -v value"),
    (stats_arguments(6), "-m host -H 6 -C stats"),
])
def test_arguments(arguments: t.List[str], line: str) -> None:
    assert " ".join(arguments) == line


#: name of a recorded dialogue, what is asked for in it, and what comes of it
SPOKEN: t.List[t.Tuple[str, t.Callable[[HostAdm], t.Any], t.Any]] = [
    ("empty table", lambda adm: adm.chap(6), []),
    ("table", lambda adm: adm.chap(6), [ChapEntry(4, LOCAL, "host1", SECRET), ChapEntry(5, BIDI, "target1", "secret-of-target")]),
    ("add entry", lambda adm: adm.set_chap(6, 4, LOCAL, "host1", SECRET), None),
    ("add entry anywhere", lambda adm: adm.set_chap(6, None, BIDI, "target1", "secret-of-target"), None),
    ("change kind of entry", lambda adm: adm.set_chap(6, 4, BIDI, "host1", SECRET), (Exit.ERR, "CHAP setting failed")),
    ("change used entry", lambda adm: adm.set_chap(6, 4, LOCAL, "host1", "another-secret"), (Exit.BUSY, "CHAP index 4 is in use.")),
    ("delete entry", lambda adm: adm.delete_chap(6, 4), None),
    ("delete used entry", lambda adm: adm.delete_chap(6, 4), (Exit.BUSY, "CHAP index 4 is in use.")),
    ("new flash node", lambda adm: adm.new_flash_node(6, "ipv4"), 2),
    ("new while one is unfinished", lambda adm: adm.new_flash_node(6, "ipv6"), (Exit.ERR, "Creation of flashnode for host 6 failed.")),
    ("use entry", lambda adm: adm.update_flash_node(6, 2, {"flashnode.session.chap_out_idx": "4"}), None),
    ("log in", lambda adm: adm.login_flash_node(6, 2), None),
    ("log in again", lambda adm: adm.login_flash_node(6, 2), None),
    ("log in unfinished", lambda adm: adm.login_flash_node(6, 2), (Exit.LOGIN, "Login to flashnode 2 of host 6 failed.")),
    ("log out", lambda adm: adm.logout_flash_node(6, 2), None),
    ("log out again", lambda adm: adm.logout_flash_node(6, 2), None),
    ("delete flash node", lambda adm: adm.delete_flash_node(6, 2), None),
    ("delete flash node that is gone", lambda adm: adm.delete_flash_node(6, 2), (Exit.ERR, "Deletion of flashnode 2 of host 6 failed.")),
    ("statistics of a host that is not there", lambda adm: adm.stats(7), (Exit.TRANSPORT_NOT_FOUND, "Could not match hostno 7 to transport.")),
]


@pytest.mark.parametrize(("name", "ask", "answer"), SPOKEN, ids=[name for name, _ask, _answer in SPOKEN])
def test_recorded_dialogues(name: str, ask: t.Callable[[HostAdm], t.Any], answer: t.Any) -> None:
    player = Player(name)
    if not isinstance(answer, tuple):
        assert ask(HostAdm(player)) == answer
    else:
        with pytest.raises(IscsiadmError) as caught:
            ask(HostAdm(player))
        assert (caught.value.exit, caught.value.what.endswith(f"(iscsiadm: {answer[1]})")) == (answer[0], True)
    assert player.through()


def test_statistics() -> None:
    found = HostAdm(Player("statistics")).stats(6)
    assert len(found) == 82
    assert (found["mactx_frames"], found["mactx_bytes"], found["tcprx_byte"], found["iscsi_sequence_error"]) == (1, 4, 60**2, 82**2)


def test_there_are_answers_with_a_length_for_an_exit_code() -> None:
    """Else the rule about them would be tested by nothing."""
    assert {DIALOGUES[name]["code"] for name in ("empty table", "table", "delete entry", "statistics")} == {156, 72, 224}


@pytest.mark.parametrize("name", ["change kind of entry", "change used entry"])
@pytest.mark.parametrize("late", [False, True])
def test_no_error_holds_a_secret(name: str, late: bool) -> None:
    secret, kind = (SECRET, BIDI) if name == "change kind of entry" else ("another-secret", LOCAL)
    with pytest.raises(CommandError) as caught:
        HostAdm(Player(name, late=[name] if late else [])).set_chap(6, 4, kind, "host1", secret)
    error = caught.value
    assert "********" in error.sentence()
    assert secret not in error.sentence() + json.dumps(error.fields()) + repr(error.args)
    assert error.__context__ is None and error.__cause__ is None


def test_entries_show_no_secret() -> None:
    entry = ChapEntry(4, LOCAL, "host1", SECRET)
    assert SECRET not in f"{entry!r} {entry} {entry.as_fact()}"


RECORD = "# BEGIN RECORD 2.1.8\nhost.auth.tbl_idx = {}\nhost.auth.username = {}\nhost.auth.password = {}\n# END RECORD\n"


@pytest.mark.parametrize("secret", ["a = b", " both ends ", "# not a comment", "\u2028line", "\x0bvertical", "\x85next", "host.auth.username = x"])
def test_secrets_that_are_hard_to_read(secret: str) -> None:
    assert [entry.password for entry in parse_chap(RECORD.format(4, "u", secret) + RECORD.format(2, "u", "x"))] == ["x", secret]


def test_what_is_empty_is_empty() -> None:
    assert parse_chap(RECORD.format(4, "<empty>", "<empty>")) == [ChapEntry(4, LOCAL, "", "")]


@pytest.mark.parametrize("text", [
    pytest.param("something else " + SECRET, id="no record"),
    pytest.param(RECORD.format("four", "u", SECRET), id="an index that is none"),
    pytest.param(RECORD.format(4, "u", SECRET).replace("# END RECORD\n", ""), id="cut off"),
    pytest.param(RECORD.format(4, "u", SECRET).replace("host.auth.username = u\n", ""), id="no user name"),
    pytest.param(RECORD.format(4, "u", SECRET + "\nmore of it"), id="a line too many"),
    pytest.param(RECORD.format(4, "u", SECRET + "\nhost.auth.new = x"), id="a setting too many"),
])
def test_a_table_that_cannot_be_read_is_not_quoted(text: str) -> None:
    with pytest.raises(HostError, match="printed a CHAP table in a form that is unknown here") as caught:
        parse_chap(text)
    assert SECRET not in json.dumps(caught.value.fields())


@pytest.mark.parametrize("text", ["", "Host Statistics:\n", "Statistics:\n\ta: 1\n", "Host Statistics:\n\ta: one\n", "Host Statistics:\n\ta b: 1\n"])
def test_statistics_that_cannot_be_read(text: str) -> None:
    with pytest.raises(HostError, match="printed statistics in a form that is unknown here"):
        parse_stats(text)


def test_a_counter_that_is_printed_with_a_sign() -> None:
    assert parse_stats("Host Statistics:\n\ta: -1\n\tb: 7\n") == {"a": 2**64 - 1, "b": 7}


def test_a_flash_node_without_a_number() -> None:
    class Silent(Player):
        def run(self, argv: t.Sequence[str], *, timeout: float = 60.0, **options: t.Any) -> t.Any:
            return super().run(argv, timeout=timeout, **options)._replace(stdout="Create new flashnode for host 6.\n")

    with pytest.raises(HostError, match="did not say which flash node it made"):
        HostAdm(Silent("new flash node")).new_flash_node(6, "ipv4")
