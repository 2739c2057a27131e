# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept in saveconfig.json: the form that rtslib-fb reads, beside what others saved there."""

from __future__ import annotations

import inspect
import json
import os
import stat
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_saved import is_saved, locate_saved, merged, read_saved
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_configfs import Acl, Backstore, Kernel, Key, Lun, PortalGroup
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_wanted import parse_wanted

from .lio_builders import HOST1, NAME, SERIAL, Host, params


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


# what the constructors of rtslib-fb 2.1.75 (Debian 12) take; restore() hands them all of an entry but these words
_NOT_HANDED_ON = {"exists", "attributes", "plugin", "buffered_mode", "alua_tpgs"}
_TAKES = {
    "fileio": {"name", "dev", "size", "wwn", "write_back", "aio", "index"},
    "block": {"name", "dev", "wwn", "readonly", "write_back", "index"},
    "ramdisk": {"name", "size", "wwn", "nullio", "index"},
    "user": {"name", "config", "size", "wwn", "hw_max_sectors", "control", "index"},
}


def kernel(*stores: Backstore) -> Kernel:
    return Kernel(loaded=True, has_iscsi=True, backstores={one.key: one for one in stores}, targets={NAME: {1: PortalGroup(
        tag=1, enabled=True, portals={"[fd00::1]:3260": (True, False)}, luns={0: Lun(0, stores[0].key, "link", "ao")}, acls={HOST1: Acl(HOST1)})}})


STORES = [
    Backstore(Key("fileio", "f"), "fileio_0", path="/srv/f", size=2**20, serial=SERIAL),
    Backstore(Key("block", "b"), "iblock_1", path="/dev/vdb", serial=SERIAL, info="exclusive: 1"),
    Backstore(Key("ramdisk", "r"), "rd_mcp_2", size=2**20, serial=SERIAL, nullio=True),
    Backstore(Key("user", "u"), "user_3", size=2**20, serial=SERIAL, config="rbd/p/i", info="Config: rbd/p/i Size: 1048576 HwMaxSectors: 128 MaxDataAreaMB: 8"),
]  # fmt: skip


@pytest.mark.parametrize("store", STORES, ids=[str(one.key) for one in STORES])
def test_an_old_rtslib_takes_every_word_of_an_entry(store: Backstore) -> None:
    (entry,) = merged(parse_wanted(params()), kernel(store), None)["storage_objects"]
    assert set(entry) - _NOT_HANDED_ON <= _TAKES[store.key.plugin]


def test_a_target_whole(host: Host) -> None:
    host.run(host.two_groups())
    content = host.saved_content()
    (target,) = content["targets"]
    group = target["tpgs"][1]
    assert (target["wwn"], target["fabric"], group["tag"], group["enable"]) == (NAME, "iscsi", 2, True)
    assert group["portals"] == [{"ip_address": "[fd00:57::101]", "port": 3261, "iser": False, "offload": False}]
    assert group["luns"] == [{"index": 0, "storage_object": "/backstores/fileio/d0", "alias": "d0", "alua_tg_pt_gp_name": "ano"}]
    assert (group["attributes"]["authentication"], group["parameters"]["MaxBurstLength"]) == (1, "262144")
    (acl,) = group["node_acls"]
    assert (acl["node_wwn"], acl["chap_userid"], acl["chap_password"]) == (HOST1, "u", "a-secret-of-12")
    assert acl["mapped_luns"] == [{"index": 0, "tpg_lun": 0, "write_protect": False, "alias": "lun_0"}]
    (store,) = content["storage_objects"]
    assert {one["name"]: (one["tg_pt_gp_id"], one["alua_access_state"], one["alua_access_type"]) for one in store["alua_tpgs"]} == {
        "ano": (2, 1, 1), "ao": (1, 0, 1), "default_tg_pt_gp": (0, 0, 3)}
    assert "hw_block_size" not in store["attributes"]  # it can only be read


def test_the_file_is_for_root_alone_and_reads_as_rtslib_writes_it(host: Host) -> None:
    host.run(host.two_groups())
    text = host.saved.read_text(encoding="utf-8")
    assert stat.S_IMODE(os.stat(host.saved).st_mode) == 0o600
    assert text == json.dumps(json.loads(text), sort_keys=True, indent=2) + "\n"
    assert [one.name for one in host.saved.parent.iterdir()] == ["saveconfig.json"]


def test_what_others_saved_stays(host: Host) -> None:
    others = {
        "storage_objects": [{"plugin": "pscsi", "name": "tape", "dev": "/dev/st0"}, {"plugin": "fileio", "name": "d0", "dev": "/srv/d0", "wwn": SERIAL}],
        "targets": [{"wwn": "naa.5001405000000001", "fabric": "loopback", "tpgs": []}, {"wwn": NAME, "fabric": "iscsi", "tpgs": [{"tag": 9}]}],
        "fabric_modules": [{"name": "iscsi", "discovery_enable_auth": True}], "of-a-later-version": 1,
    }
    host.saved.parent.mkdir(parents=True)
    host.saved.write_text(json.dumps(others), encoding="utf-8")
    host.run(host.two_groups())
    content = host.saved_content()
    assert content["storage_objects"][0] == others["storage_objects"][0] and content["targets"][0] == others["targets"][0]  # type: ignore[index]
    assert (content["fabric_modules"], content["of-a-later-version"]) == (others["fabric_modules"], 1)
    assert [one["tag"] for one in content["targets"][1]["tpgs"]] == [1, 2] and len(content["storage_objects"]) == 2


def test_lost_from_the_file_is_saved_again_and_nothing_else_is_done(host: Host) -> None:
    host.run(host.two_groups())
    host.saved.unlink()
    assert host.run(host.two_groups())["steps"] == [f"save target {NAME} in {host.saved}"]
    assert not host.run(host.two_groups(save=False))["changed"]


def test_what_targetcli_adds_is_no_difference(host: Host) -> None:
    host.run(host.two_groups())
    content = host.saved_content()
    content["storage_objects"][0]["aio"] = False
    content["targets"][0]["tpgs"].reverse()
    host.saved.write_text(json.dumps(content), encoding="utf-8")
    assert not host.run(host.two_groups())["changed"]


@pytest.mark.parametrize("change", [
    lambda content: content["targets"][0]["tpgs"][0].update(enable=False),
    lambda content: content["targets"][0]["tpgs"][0]["node_acls"][0].update(chap_password="an-old-secret-1"),
    lambda content: content["storage_objects"][0]["alua_tpgs"].pop(),
    lambda content: content["targets"][0]["tpgs"].append({"tag": 9}),
], ids=["closed", "secret", "alua", "one-more"])  # fmt: skip
def test_a_file_that_says_something_else_is_written_anew(host: Host, change: t.Callable[[t.Any], None]) -> None:
    host.run(host.two_groups())
    before, content = host.saved_content(), host.saved_content()
    change(content)
    host.saved.write_text(json.dumps(content), encoding="utf-8")
    assert host.run(host.two_groups())["steps"] == [f"save target {NAME} in {host.saved}"]
    assert host.saved_content() == before


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"targets": {}}', b'{"targets": ["x"]}', b"\xff\xfe"], ids=repr)
def test_a_damaged_file_is_named_before_anything_is_done(host: Host, data: bytes) -> None:
    host.saved.parent.mkdir(parents=True)
    host.saved.write_bytes(data)
    with pytest.raises(DamagedError, match="saveconfig.json"):
        host.run(host.two_groups())
    assert host.kernel.moves == [] and host.saved.read_bytes() == data


def test_a_state_that_cannot_be_restored_is_not_saved() -> None:
    store = Backstore(Key("fileio", "f"), "fileio_0", path="/srv/f", size=512, serial=SERIAL, groups={"ao": {"tg_pt_gp_id": "1", "alua_access_state": "15"}})
    (entry,) = merged(parse_wanted(params()), kernel(store), None)["storage_objects"]
    assert entry["alua_tpgs"] == [{"name": "ao", "tg_pt_gp_id": 1, "alua_access_state": 0}]


def test_alua_words_come_in_an_order_that_restores(host: Host) -> None:
    """rtslib sets them as they stand in the file: the state must be set while the group has implicit ALUA, as new ones have."""
    host.run(host.two_groups())
    words = list(host.saved_content()["storage_objects"][0]["alua_tpgs"][0])
    assert words.index("alua_access_state") < words.index("alua_access_type") < words.index("trans_delay_msecs")


def test_nothing_restores_it(host: Host) -> None:
    (host.root / "etc/systemd/system/multi-user.target.wants/target.service").unlink()
    assert [one["object"] for one in host.run(host.two_groups())["problems"]] == [str(host.saved)]


def test_where_it_is(tmp_path: Path) -> None:
    assert locate_saved(str(tmp_path)) == str(tmp_path / "etc/target/saveconfig.json")
    (tmp_path / "lib/systemd/system").mkdir(parents=True)
    (tmp_path / "lib/systemd/system/rtslib-fb-targetctl.service").touch()
    assert locate_saved(str(tmp_path)) == str(tmp_path / "etc/rtslib-fb-target/saveconfig.json")


def test_nothing_to_save_for_what_never_was() -> None:
    assert is_saved(parse_wanted(params(state="absent")), Kernel(), None)
    assert inspect.signature(read_saved).parameters["root"].default == "/"
