# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keywords of multipath.conf by section and release, and which release a host has."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.check import Checker
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.schema import NEWEST, SECTIONS, all_keywords, keywords, release
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.version import Installed, find_library, parse_release, read_installed

DEFAULTS, DEVICE, MULTIPATH = ("defaults",), ("devices", "device"), ("multipaths", "multipath")
OVERRIDES, PROTOCOL, BLACKLIST = ("overrides",), ("overrides", "protocol"), ("blacklist",)


@pytest.mark.parametrize("section, word, text, known", [
    (DEFAULTS, "polling_interval", "0.4.9", True), (DEFAULTS, "max_polling_interval", "0.5.0", True), (DEFAULTS, "path_selector", "0.5.0", True),
    (DEVICE, "path_selector", "0.4.9", True), (DEFAULTS, "auto_resize", "0.9.6", False), (DEFAULTS, "auto_resize", "0.9.7", True),
    (DEVICE, "auto_resize", "0.14.3", False), (OVERRIDES, "features", "0.5.0", False), (OVERRIDES, "features", "0.6.0", True),
    (PROTOCOL, "eh_deadline", "0.8.9", False), (PROTOCOL, "eh_deadline", "0.9.0", True), (MULTIPATH, "eh_deadline", "0.14.3", False),
    (DEVICE, "san_path_err_threshold", "0.7.3", True), (DEVICE, "san_path_err_threshold", "0.7.4", False), (DEVICE, "san_path_err_threshold", "0.8.0", True),
    (DEFAULTS, "default_selector", "0.8.9", True), (DEFAULTS, "default_selector", "0.9.0", False), (BLACKLIST, "protocol", "0.7.7", False),
    (BLACKLIST, "protocol", "0.7.8", True), (("devnode_blacklist",), "devnode", "0.4.9", True), (MULTIPATH, "purge_disconnected", "0.14.0", True),
    (MULTIPATH, "user_friendly_names", "0.5.0", True), (DEFAULTS, "hw_str_match", "0.4.9", True), (DEFAULTS, "hw_str_match", "0.5.0", False),
    (DEFAULTS, "deferred_remove", "0.4.9", True), (DEFAULTS, "deferred_remove", "0.5.0", False),
])
def test_known(section: t.Tuple[str, ...], word: str, text: str, known: bool) -> None:
    assert (word in keywords(section, release(text))) is known


def test_newest_knows_what_no_one_took_away() -> None:
    for section, _since in SECTIONS.values():
        for name, one in all_keywords(section).items():
            assert one.known_to(NEWEST) is (one.known_to(None) and not one.red_hat), name


@pytest.mark.parametrize("section, word, text, sentence, harmful", [
    (DEVICE, "fast_oi_fail_tmo", "0.9.4", "'fast_oi_fail_tmo' is not a keyword of 'device' of 'devices'. Did you mean 'fast_io_fail_tmo'?", True),
    (DEFAULTS, "purge_disconnected", "0.9.4", "not known to multipath-tools 0.9.4 of this host. It came with 0.14.0", True),
    (DEFAULTS, "default_selector", "0.9.4", "was removed from multipath-tools with 0.9.0. Use 'path_selector' instead", True),
    (DEVICE, "san_path_err_threshold", "0.7.6", "removed from multipath-tools with 0.7.4; 0.8.0 brought it back", True),
    (DEFAULTS, "prio_callout", "0.9.4", "Use 'prio' instead", True),
    (DEFAULTS, "alias", "0.9.4", "'alias' is not a keyword of 'defaults'. It belongs in 'multipath' of 'multipaths'", True),
    (MULTIPATH, "poling_interval", "0.9.4", "Did you mean 'polling_interval', which belongs in 'defaults'?", True),
    ((), "polling_interval", "0.9.4", "'polling_interval' stands outside of any section. It belongs in 'defaults'", True),
    (DEFAULTS, "getuid_callout", "0.9.4", "its value ignored. Use 'uid_attribute' instead", False),
    (DEFAULTS, "delay_wait_checks", "0.9.4", "is deprecated. Use 'san_path_err_recovery_time' instead", False),
    (DEFAULTS, "hw_str_match", "0.9.4", "Red Hat's multipath-tools 0.4.9 alone", True),
    (DEFAULTS, "quux", "0.9.4", "See multipath.conf(5)", True), (DEFAULTS, "quux", "0.15.0", "as far as it is known here", False),
    (("devices",), "quux", "0.9.4", "Only other sections may stand there", True),
])
def test_wrong_keyword(section: t.Tuple[str, ...], word: str, text: str, sentence: str, harmful: bool) -> None:
    verdict = Checker(release(text)).keyword(section, word)
    assert verdict is not None and verdict.harmful is harmful
    assert sentence in f"{verdict.what}. {verdict.remedy}"


@pytest.mark.parametrize("word, text", [("polling_interval", "0.9.4"), ("getuid_callout", "0.8.9"), ("delay_wait_checks", "0.8.2"), ("hw_str_match", "0.4.9")])
def test_right_keyword(word: str, text: str) -> None:
    assert Checker(release(text)).keyword(DEFAULTS, word) is None


def test_words_that_a_distribution_carried_back() -> None:
    """0.8.7 of RHEL 9 has auto_resize, upstream's has not; a keyword that was removed does not come back that way."""
    host = Installed((0, 8, 7), b"\0auto_resize\0group_by_tpg\0default_selector\0")
    checker = Checker(host.release, has=host.has)
    assert checker.keyword(DEFAULTS, "auto_resize") is None and checker.value(DEFAULTS, "path_grouping_policy", "group_by_tpg") is None
    assert checker.keyword(DEFAULTS, "max_retries") is not None
    assert Checker((0, 8, 5), has=Installed((0, 8, 5), b"\0fast_io_fail_tmo\0").has).keyword(PROTOCOL, "fast_io_fail_tmo") is not None
    for words, taken in ((b"\0always\0", False), (b"\0always\0never\0unused\0", True)):  # always is a word of log_checker_err, too
        host = Installed((0, 8, 7), words)
        assert (Checker(host.release, has=host.has).value(DEFAULTS, "flush_on_last_del", "always") is None) is taken
    assert Checker((0, 9, 4), has=host.has).keyword(DEFAULTS, "default_selector") is not None


@pytest.mark.parametrize("text, numbers", [
    ("multipath-tools v0.9.4 (12/19, 2022)\nUsage:\n", (0, 9, 4)), ("multipath-tools v0.4.9 (05/33, 2016)\n", (0, 4, 9)), ("0.4.9-134.el7_9", (0, 4, 9)),
    ("0.9.4-3+deb12u2", (0, 9, 4)), ("1:0.11.1-2", (0, 11, 1)), ("0.14.3", (0, 14, 3)), ("", None), ("need to be root", None),
])
def test_release(text: str, numbers: t.Optional[t.Tuple[int, ...]]) -> None:
    assert parse_release(text) == numbers


def _says(stderr: str) -> t.Callable[[t.Sequence[str]], Result]:
    return lambda argv: Result(tuple(argv), 0, "", stderr)


def test_installed(tmp_path: pathlib.Path) -> None:
    place = tmp_path / "usr/lib64"
    (place / "multipath").mkdir(parents=True)
    (place / "libmultipath.so.0").write_bytes(b"\x7fELF\0polling_interval\0")
    for name in ("libprioalua.so", "libprioours.so", "libchecktur.so", "README"):
        (place / "multipath" / name).touch()
    found = read_installed(_says("multipath-tools v0.9.4 (12/19, 2022)\nUsage:\n"), str(tmp_path))
    assert (found.release, found.text) == ((0, 9, 4), "0.9.4")
    assert found.holds("polling_interval") and not found.holds("banana") and not found.holds("polling")
    assert found.plugins == {"prio": {"alua", "ours"}, "checker": {"tur"}}


def test_not_installed(tmp_path: pathlib.Path) -> None:
    assert find_library(str(tmp_path)) == "" and Installed((0, 4, 9)).has is None
    none: t.FrozenSet[str] = frozenset()
    assert read_installed(_says("multipath-tools v0.4.9 (05/33, 2016)\n"), str(tmp_path)) == Installed((0, 4, 9), b"", {"prio": none, "checker": none})
    with pytest.raises(HostError, match="does not say which release"):
        read_installed(_says("need to be root\n"), str(tmp_path))
