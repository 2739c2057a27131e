# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records, configuration and the database on small trees: round trips, damage, problems."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey, Portal
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.conf import parse_iscsid_conf, read_initiator_name, settings_from_conf
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.database import open_writer
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.layout import locate
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.stored import read_database
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.new_records import new_node, new_send_targets
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.record import Record, parse_record, render_record
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import Kind, Type, check_settings, fields
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.version import parse_version

V = parse_version("2.1.8")
TARGET = "iqn.2026-11.org.example:d"
ASKED = Portal("192.0.2.1", 3260)


def node(tpgt: int | None = 1) -> Record:
    return new_node({}, target=TARGET, portal=Portal("192.0.2.1", 3260, tpgt), discovery=ASKED, version=V)


LONG_TEXTS = [key for key, one in fields(Kind.NODE, V).items() if one.type is Type.TEXT and not one.flags and one.shape.maximum > 99]


@given(st.dictionaries(st.sampled_from(LONG_TEXTS),
                       st.text(st.characters(blacklist_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), max_size=50)))
def test_any_text_survives_a_round_trip(settings: dict[str, str]) -> None:
    record = node().with_settings(check_settings(Kind.NODE, settings))
    assert parse_record(render_record(record), "x") == record


@pytest.mark.parametrize("change, words", [
    (lambda text: "", "is empty"), (lambda text: text[:500], "cut off"), (lambda text: text.split("\n", 1)[1], "does not begin"),
    (lambda text: text.replace("node.tpgt = 1", "rubbish"), "no setting in line 3"), (lambda text: "\0" * 100, "does not begin"),
], ids=["empty", "cut off", "no first line", "rubbish", "zeroes"])
def test_damage_is_named(change: object, words: str) -> None:
    with pytest.raises(DamagedError, match=words):
        parse_record(change(render_record(node())), "/etc/iscsi/nodes/x")  # type: ignore[operator]


def test_a_new_key_goes_where_iscsiadm_writes_it_and_a_secret_is_not_shown() -> None:
    record = node().with_settings({"node.session.auth.password": "hunter2"})
    keys = list(record.settings)
    assert keys.index("node.session.auth.password") == keys.index("node.session.auth.authmethod") + 1
    assert "hunter2" not in repr(record) and "hunter2" in render_record(record)
    with pytest.raises(InputError):
        record.with_settings({"discovery.sendtargets.auth.chap_algs": "MD5"})


def test_conf_is_read_as_iscsid_does() -> None:
    text = "node.startup = manual\nnode.startup=automatic\n# node.startup = onboot\n node.session.cmds_max = 64 # c\nnode.startup = never\nx = 1"
    assert parse_iscsid_conf(text) == {"node.startup": "manual", "node.session.cmds_max": "64 # c"}
    found = settings_from_conf(Kind.SEND_TARGETS, {"discovery.sendtargets.timeo.login_timeout": "7 s"})
    assert found["discovery.sendtargets.timeo.login_timeout"] == "7"


def test_initiator_name(tmp_path: Path) -> None:
    assert read_initiator_name(str(tmp_path)) is None
    path = tmp_path / "etc/iscsi/initiatorname.iscsi"
    path.parent.mkdir(parents=True)
    path.write_text("# InitiatorName=iqn.2000-01.no\nInitiatorName=iqn.2026-11.org.example:a \n")
    assert read_initiator_name(str(tmp_path)) == ("iqn.2026-11.org.example:a", "")
    path.write_text("GenerateName=yes\n")
    with pytest.raises(DamagedError, match="names no initiator"):
        read_initiator_name(str(tmp_path))


@pytest.mark.parametrize("folder", ["/etc/iscsi", "/var/lib/iscsi"])
def test_the_database_is_where_its_folders_are(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder[1:] / "nodes").mkdir(parents=True)
    assert locate(str(tmp_path)).folder == str(tmp_path) + folder
    assert locate(str(tmp_path), "/srv/db").folder == str(tmp_path / "srv/db")


def test_problems_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    location = locate(str(tmp_path))
    key = NodeKey(TARGET, Portal("192.0.2.1", 3260, 1))
    with open_writer(location) as writer:
        writer.write_send_targets(ASKED, new_send_targets({}, ASKED, version=V))
        writer.write_node(key, node(), ASKED)
        writer.write_node(key._replace(portal=key.portal._replace(tpgt=2)), node(2), ASKED)
        writer.write_node(key._replace(iface="gone"), node())
    assert not (tmp_path / "run").exists(), "the lock's folders of an image are removed again"
    (tmp_path / "etc/iscsi/nodes" / TARGET / "192.0.2.9,3260,1").mkdir()
    (tmp_path / "etc/iscsi/nodes" / TARGET / "192.0.2.9,3260,1/default").touch()
    os.symlink("x", tmp_path / f"etc/iscsi/send_targets/192.0.2.1,3260/{TARGET},192.0.2.7,3260,1,default")
    database = read_database(location)
    assert len(database.nodes) == 3 and len(database.links[ASKED.endpoint]) == 2
    words = " | ".join(f"{problem['object']} {problem['what']}" for problem in database.problems)
    for expected in ("192.0.2.9,3260,1/default is empty", "different portal group tags (1, 2)", "iface gone, which has no record", "leads to a node"):
        assert expected in words
    with open_writer(location) as writer:
        assert len(writer.delete_send_targets(ASKED)) == 2
    assert not list((tmp_path / "etc/iscsi/send_targets").iterdir())


def test_nothing_is_written_where_the_block_fails(tmp_path: Path) -> None:
    location = locate(str(tmp_path))
    with pytest.raises(ZeroDivisionError):
        with open_writer(location) as writer:
            writer.write_node(NodeKey(TARGET, Portal("192.0.2.1", 3260, 1)), node(), ASKED)
            raise ZeroDivisionError
    assert read_database(location).nodes == {} and not os.path.exists(location.lock)
