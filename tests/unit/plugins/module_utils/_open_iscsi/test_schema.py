# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings: what is taken, what is refused and in which words; the texts that differ between versions."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import SECRET_KEYS, Kind, check_settings, discovery_kind, discovery_text, fields
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.version import parse_version

S = "node.session."


@pytest.mark.parametrize("key, value, text", [
    (S + "timeo.replacement_timeout", 15, "15"), (S + "timeo.replacement_timeout", "-1", "-1"), ("node.leading_login", True, "Yes"),
    ("node.leading_login", "no", "No"), ("node.conn[0].iscsi.HeaderDigest", "CRC32C, None", "CRC32C,None"),
    (S + "auth.chap_algs", ["sha256", "MD5"], "SHA256,MD5"), (S + "auth.password", None, ""), ("node.conn[0].iscsi.MaxXmitDataSegmentLength", 0, "0"),
])
def test_taken(key: str, value: t.Any, text: str) -> None:
    assert check_settings(Kind.NODE, {key: value}) == {key: text}


@pytest.mark.parametrize("key, value, words", [
    (S + "timeo.replacement_timeout", "abc", "'abc' is not a whole number. Allowed is a number from -1"),
    (S + "queue_depth", 0, "0 is out of range"), (S + "cmds_max", 100, "not a power of two"), (S + "queue_depth", True, "True is not a whole number"),
    ("node.startup", "sometimes", "'manual' or 'automatic' or 'onboot'"), (S + "auth.chap_algs", "MD4", "holds 'MD4'"),
    (S + "timeo.replacment_timeout", 5, "Did you mean 'node.session.timeo.replacement_timeout'"), ("node.name", "x", "looked up by"),
    ("iface.mtu", 9000, "belongs to the iface"), (S + "auth.username", "a\nb", "control character"), (S + "auth.username", "x" * 256, "too long"),
    (S + "auth.username", "a\ud800", "no text that can be written"),
])
def test_refused(key: str, value: t.Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        check_settings(Kind.NODE, {key: value})
    assert words in caught.value.sentence() and key in caught.value.sentence()


def test_a_refused_secret_is_not_shown() -> None:
    with pytest.raises(InputError) as caught:
        check_settings(Kind.NODE, {S + "auth.password": "hunter2\n"})
    assert "hunter2" not in caught.value.sentence()
    assert len(SECRET_KEYS) == 4


def test_values_that_cannot_go_together() -> None:
    with pytest.raises(InputError, match="noop_out"):
        check_settings(Kind.NODE, {"node.conn[0].timeo.noop_out_interval": 5, "node.conn[0].timeo.noop_out_timeout": 0})


def test_a_setting_of_a_later_version() -> None:
    with pytest.raises(InputError, match=r"2\.1\.11; leave it out"):
        check_settings(Kind.NODE, {S + "conn_reopen_log_freq": 1}, version=parse_version("2.1.8"))


# counted in usr/idbm.c of each tag, hidden keys among them
@pytest.mark.parametrize("version, kind, number", [
    ("2.0-873", Kind.IFACE, 21), ("2.1.8", Kind.SEND_TARGETS, 19), ("2.1.8", Kind.ISNS, 6), ("6.2.0.873-35", Kind.SEND_TARGETS, 18),
])
def test_number_of_keys(version: str, kind: Kind, number: int) -> None:
    assert len(fields(kind, parse_version(version))) == number


@pytest.mark.parametrize("version, static, firmware", [("2.0-873", "static", "fw"), ("2.1.8", "static", "fw"), ("2.1.9", "fw", ""), ("2.1.11", "fw", ""),
                                                       ("2.1.12", "static", "fw")])
def test_how_a_node_was_found_is_written_differently(version: str, static: str, firmware: str) -> None:
    parsed = parse_version(version)
    assert (discovery_text(Kind.STATIC, parsed), discovery_text(Kind.FW, parsed)) == (static, firmware)
    assert (discovery_kind(static, parsed), discovery_kind(firmware, parsed)) == (Kind.STATIC, Kind.FW)


def test_a_mended_version_writes_them_right() -> None:
    mended = parse_version("2.1.11")._replace(mended=True)
    assert (discovery_text(Kind.STATIC, mended), discovery_text(Kind.FW, mended)) == ("static", "fw")
    assert (discovery_kind("static", mended), discovery_kind("fw", mended)) == (Kind.STATIC, Kind.FW)
