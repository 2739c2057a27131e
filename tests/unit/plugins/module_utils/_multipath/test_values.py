# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of multipath.conf: what each release takes, what means the same, and options of a task as words of the file.

What is taken was compared with multipath -t of 0.9.4 and 0.11.1: it complains about each value that is refused here, but for those of ``STRICTER``.
"""

from __future__ import annotations

import grp
import pwd
import typing as t

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.schema import Keyword, all_keywords, release
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.values import check_value, render_value, same


def keyword(name: str, *, blacklist: bool = False) -> Keyword:
    paths = [("blacklist",)] if blacklist else [("devices", "device"), ("defaults",), ("multipaths", "multipath"), ("overrides", "protocol")]
    return next(all_keywords(path)[name] for path in paths if name in all_keywords(path))


@pytest.mark.parametrize("name, text, values", [
    ("polling_interval", "0.9.4", ["1", "5", " 5 ", "4294967294"]), ("fast_io_fail_tmo", "0.9.4", ["off", "0", "25", "+5"]),
    ("dev_loss_tmo", "0.9.4", ["infinity", "0", "2147483647", "4294967295"]), ("no_path_retry", "0.9.4", ["queue", "fail", "0", "18"]),
    ("failback", "0.9.4", ["immediate", "manual", "followover", "0", "60"]), ("find_multipaths", "0.9.4", ["yes", "0", "on", "off", "strict", "greedy"]),
    ("find_multipaths", "0.7.6", ["yes", "no", "1", "0"]), ("find_multipaths_timeout", "0.9.4", ["-10", "10"]), ("max_fds", "0.9.4", ["max", "8192"]),
    ("path_selector", "0.9.4", ["service-time 0", "round-robin 0", "queue-length  0", "historical-service-time 2 --arg value"]),
    ("features", "0.9.4", ["0", "1 queue_if_no_path", "3 queue_if_no_path pg_init_retries 50", "1 something_new"]),
    ("hardware_handler", "0.9.4", ["0", "1 alua", "1 emc"]), ("path_grouping_policy", "0.9.6", ["group_by_tpg", "failover"]),
    ("reservation_key", "0.9.4", ["file", "0x123abc", "123abc", "0123456789abcdef", "01", "1:aptpl"]), ("mode", "0.9.4", ["0660", "660", "0"]),
    ("uid", "0.9.4", ["0", "root", "4294967295"]), ("prio", "0.9.4", ["alua", "ana", "sysfs"]), ("path_checker", "0.9.4", ["tur", "none"]),
    ("prio_args", "0.9.4", ["", "exclusive_pref_bit", "preferredip=10.0.0.1"]), ("alias", "0.9.4", ["rbd0", "a b", "x" * 127, "control0", "\u00e9" * 63]),
    ("wwid", "0.9.4", ["360014059ca317516a69465c883a29603", "x" * 127]), ("gid", "0.9.4", ["0", "root"]), ("alias_prefix", "0.9.4", ["", "mpath"]),
    ("type", "0.9.4", ["scsi:iscsi", "nvme:tcp"]),
    ("type", "0.9.0", ["nvme"]), ("uid_attrs", "0.9.4", ["sd:ID_SERIAL dasd:ID_UID"]), ("flush_on_last_del", "0.9.8", ["yes", "no"]),
    ("flush_on_last_del", "0.9.9", ["always", "never", "unused"]), ("uxsock_timeout", "0.6.4", ["1000"]), ("verbosity", "0.8.7", ["6"]),
    ("vendor", "0.9.4", ["LIO-ORG", ".*", "(COMPAQ|HP)", "^1745|^1746", "a{1,2}", ")", "NVM[eE]"]), ("disable_changed_wwids", "0.9.4", ["ignored", "yes"]),
])
def test_taken(name: str, text: str, values: t.Sequence[str]) -> None:
    assert [(value, check_value(keyword(name), value, release(text))) for value in values] == [(value, None) for value in values]


@pytest.mark.parametrize("name, text, value, words", [
    ("polling_interval", "0.9.4", "banana", "is not allowed. Allowed is a number from 1 to 4294967294"), ("polling_interval", "0.9.4", "-5", "not allowed"),
    ("fast_io_fail_tmo", "0.9.4", "-1", "is out of range"), ("user_friendly_names", "0.9.4", "Yes", "Did you mean 'yes'?"),
    ("user_friendly_names", "0.9.4", "on", "Allowed is 'yes', 'no'"),
    ("find_multipaths", "0.7.6", "strict", "not known to multipath-tools 0.7.6. It came with 0.7.7"),
    ("path_grouping_policy", "0.9.4", "group_by_tpg", "It came with 0.9.6"),
    ("path_grouping_policy", "0.9.4", "group-by-prio", "Did you mean 'group_by_prio'?"),
    ("no_path_retry", "0.9.4", "que", "Did you mean 'queue'?"), ("dev_loss_tmo", "0.9.4", "infinite", "Did you mean 'infinity'?"),
    ("path_selector", "0.9.4", "round-robin", "has no count of arguments. Write it as 'service-time 0'"),
    ("path_selector", "0.9.4", "servicetime 0", "'service-time'?"),
    ("features", "0.9.4", "queue_if_no_path", "has no count"), ("features", "0.9.4", "2 queue_if_no_path", "says 2 arguments, and 1 follow"),
    ("hardware_handler", "0.9.4", "1 aula", "Did you mean 'alua'?"), ("hardware_handler", "0.9.4", "alua", "has no count"),
    ("prio", "0.9.4", "aula", "Did you mean 'alua'?"), ("prio", "0.7.9", "ana", "It came with 0.8.0"), ("prio", "0.9.4", "netapp", "since 0.5.0"),
    ("type", "0.9.4", "nvme", "since 0.9.2"), ("reservation_key", "0.9.4", "0", "is not a reservation key"),
    ("reservation_key", "0.9.4", "0x12345678901234567", "16"),
    ("reservation_key", "0.7.2", "file", "0.7.3"), ("verbosity", "0.9.4", "6", "out of range"), ("max_retries", "0.9.7", "6", "'off' or a number from 0 to 5"),
    ("alias", "0.9.4", "mpath/a", "holds a slash"), ("vendor", "0.9.4", "*", "To match everything write '.*'"),
    ("vendor", "0.9.4", "(a", "is not a regular expression"),
    ("queue_without_daemon", "0.9.4", "off", "not known to multipath-tools since 0.6.0"), ("uxsock_timeout", "0.9.4", "100", "from 4000"),
    ("mode", "0.9.4", "0888", "octal"), ("uid", "0.9.4", "12x", "neither a number nor the name"), ("gid", "0.9.4", "-1", "neither a number nor the name"),
    ("alias", "0.9.4", "", "is no name"), ("alias", "0.9.4", "..", "cannot be the name of a map"), ("alias", "0.9.4", "control", "cannot be the name of a map"),
    ("alias", "0.9.4", "x" * 128, "has 128 bytes, and the name of a map at most 127"), ("alias", "0.9.4", "\u00e9" * 64, "has 128 bytes"),
    ("wwid", "0.9.4", "", "is that of no map"), ("wwid", "0.9.4", "3" * 128, "has 128 bytes, and a WWID at most 127"),
])
def test_refused(name: str, text: str, value: str, words: str) -> None:
    wrong = check_value(keyword(name), value, release(text))
    assert wrong is not None and wrong.harmful and words in f"{wrong.what}. {wrong.remedy}"


#: taken by multipath-tools as something else than what is written, or for no good: "60s" as 60, "1777" as a mode; a poll of 0 s ends 0.11.1 with SIGFPE
STRICTER = [("dev_loss_tmo", "60s"), ("dev_loss_tmo", "-1"), ("mode", "60s"), ("polling_interval", "0"), ("reservation_key", "123:foo")]


@pytest.mark.parametrize("name, value", STRICTER)
def test_stricter(name: str, value: str) -> None:
    wrong = check_value(keyword(name), value, (0, 11, 1))
    assert wrong is not None and wrong.harmful


@pytest.mark.parametrize("name, text, value, words", [
    ("flush_on_last_del", "0.9.9", "yes", "Write 'always'"), ("flush_on_last_del", "0.9.9", "0", "Write 'unused'"),
    ("path_grouping_policy", "0.9.4", "failoverX", "is read as 'failover'"), ("path_selector", "0.9.4", "vendor-thing 0", "unknown here"),
    ("dev_loss_tmo", "0.4.9", "infinity", "came with 0.5.0"), ("uid", "0.9.4", "nobody-at-all", "is the name of no user of this host, so the line is dropped"),
    ("gid", "0.9.4", "nobody-at-all", "Make the user first, or write a number"),
])
def test_warned(name: str, text: str, value: str, words: str) -> None:
    wrong = check_value(keyword(name), value, release(text))
    assert wrong is not None and not wrong.harmful and words in f"{wrong.what}. {wrong.remedy}"


def test_a_group_is_told_by_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """multipath-tools gives ``gid`` to getpwnam(3), so that the names of groups mean nothing to it."""
    def getpwnam(name: str) -> pwd.struct_passwd:
        if name == "games":
            return pwd.struct_passwd(("games", "x", 5, 60, "", "", ""))
        raise KeyError(name)

    monkeypatch.setattr(pwd, "getpwnam", getpwnam)
    monkeypatch.setattr(grp, "getgrnam", {"games": grp.struct_group(("games", "x", 60, [])), "disk": grp.struct_group(("disk", "x", 6, []))}.__getitem__)
    assert check_value(keyword("gid"), "games", (0, 9, 4)) is None
    wrong = check_value(keyword("gid"), "disk", (0, 9, 4))
    assert wrong is not None and wrong.harmful and "is the name of a group" in wrong.what and wrong.remedy == "Write its number, 6"
    wrong = check_value(keyword("uid"), "disk", (0, 9, 4))
    assert wrong is not None and not wrong.harmful and "no user of this host" in wrong.what


@pytest.mark.parametrize("value, text, words", [
    ("", "0.9.4", "is an empty pattern, which matches everything"), ("!", "0.9.4", "is an empty pattern, which matches nothing"),
    ("", "0.4.9", "is an empty pattern, which matches everything"),
])
def test_an_empty_pattern_of_a_blacklist(value: str, text: str, words: str) -> None:
    wrong = check_value(keyword("devnode", blacklist=True), value, release(text))
    assert wrong is not None and words in wrong.what and not wrong.harmful
    assert check_value(keyword("vendor"), value, release(text)) is None


def test_plugins_of_the_host() -> None:
    assert check_value(keyword("prio"), "ours", (0, 9, 4), plugins={"prio": ["ours"]}) is None
    assert check_value(keyword("path_checker"), "ours", (0, 9, 4), plugins={"prio": ["ours"]}) is not None


@pytest.mark.parametrize("value, text, good", [
    ("!^(sd[a-z]|nvme[0-9])", "0.9.4", True), ("!*", "0.9.4", False), ("!*", "0.8.4", True), ("\\!*", "0.9.4", True), ("*", "0.9.4", False),
    ("^sd[a-z]", "0.9.4", True),
])
def test_inverted_pattern(value: str, text: str, good: bool) -> None:
    """Since 0.8.5 a mark before a pattern of a blacklist inverts it; nowhere else does it."""
    assert (check_value(keyword("devnode", blacklist=True), value, release(text)) is None) is good
    assert value != "!*" or check_value(keyword("vendor"), value, release(text)) is None


@pytest.mark.parametrize("name, text, left, right, equal", [
    ("user_friendly_names", "0.9.4", "yes", "1", True), ("user_friendly_names", "0.9.4", "yes", "no", False), ("prio", "0.9.4", "1", "yes", False),
    ("rr_min_io", "0.9.4", "1", "yes", False), ("no_path_retry", "0.9.4", "fail", "0", True), ("no_path_retry", "0.9.4", "queue", "0", False),
    ("find_multipaths", "0.9.4", "on", "yes", True), ("find_multipaths", "0.9.4", "strict", "yes", False), ("flush_on_last_del", "0.9.9", "no", "unused", True),
    ("flush_on_last_del", "0.9.8", "no", "0", True), ("dev_loss_tmo", "0.9.4", "infinity", "4294967295", True),
    ("dev_loss_tmo", "0.9.4", "infinity", "2147483647", False),
    ("dev_loss_tmo", "0.8.3", "infinity", "2147483647", True), ("failback", "0.9.4", "060", "60", True), ("fast_io_fail_tmo", "0.9.4", "off", "0", False),
    ("features", "0.9.4", "1  queue_if_no_path", "1 queue_if_no_path", True), ("mode", "0.9.4", "660", "0660", True),
    ("reservation_key", "0.9.4", "0x0ABC", "abc", True), ("reservation_key", "0.9.4", "abc", "abc:aptpl", False), ("alias", "0.9.4", "a", "A", False),
    ("delay_wait_checks", "0.9.4", "no", "0", True), ("marginal_pathgroups", "0.8.8", "no", "0", True),
])
def test_same(name: str, text: str, left: str, right: str, equal: bool) -> None:
    assert same(keyword(name), left, right, release(text)) is equal


@pytest.mark.parametrize("name, text, value, word", [
    ("user_friendly_names", "0.9.4", True, "yes"), ("user_friendly_names", "0.9.4", False, "no"), ("failback", "0.9.4", 60, "60"),
    ("fast_io_fail_tmo", "0.9.4", False, "off"),
    ("delay_wait_checks", "0.9.4", False, "no"), ("flush_on_last_del", "0.9.9", True, "always"), ("flush_on_last_del", "0.9.4", True, "yes"),
    ("flush_on_last_del", "0.9.9", False, "unused"), ("find_multipaths", "0.9.4", True, "yes"), ("find_multipaths", "0.7.6", False, "no"),
    ("marginal_pathgroups", "0.9.4", False, "off"), ("marginal_pathgroups", "0.8.5", False, "no"), ("hardware_handler", "0.9.4", "1 alua", "1 alua"),
    ("hardware_handler", "0.9.4", ["alua"], "1 alua"), ("features", "0.9.4", [], "0"),
    ("features", "0.9.4", ["queue_if_no_path", "pg_init_retries 50"], "3 queue_if_no_path pg_init_retries 50"),
    ("uid_attrs", "0.9.4", ["sd:ID_SERIAL", "dasd:ID_UID"], "sd:ID_SERIAL dasd:ID_UID"), ("vendor", "0.9.4", "LIO-ORG", "LIO-ORG"),
    ("prio_args", "0.9.4", "", ""),
    ("wwid", "0.9.4", 3600140, "3600140"),
])
def test_rendered(name: str, text: str, value: t.Any, word: str) -> None:
    assert render_value(keyword(name), value, release(text)) == word
    assert check_value(keyword(name), word, release(text)) is None


@pytest.mark.parametrize("name, value, words", [
    ("mode", 432, "Put it in quotes"), ("reservation_key", 0x123ABC, "Put it in quotes"), ("path_grouping_policy", True, "Put the word in quotes"),
    ("alias", False, "Put the word in quotes"), ("failback", 1.5, "is a float"), ("failback", None, "is a NoneType"), ("alias", "a\nb", "the end of a line"),
    ("path_selector", ["round-robin"], "is a list"),
])
def test_not_rendered(name: str, value: t.Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        render_value(keyword(name), value)
    assert words in caught.value.sentence() and name in caught.value.sentence()
