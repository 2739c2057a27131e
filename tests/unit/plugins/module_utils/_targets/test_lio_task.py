# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""lio_target against a folder that behaves as configfs (fake_lio says how far); what it leaves is looked at as files."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InputError, InUseError, IscsiError
from ansible_collections.lunar.iscsi.plugins.module_utils._targets import lio_apply, lio_task
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_steps import File
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_task import TargetTask

from .lio_builders import ANO, AO, CHAP, HOST1, MUTUAL, NAME, NONE, SERIAL, Host, params

TPG = f"iscsi/{NAME}/tpgt_1"
ALUA = "core/fileio_0/d0/alua"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def one_group(host: Host, **given: t.Any) -> t.Dict[str, t.Any]:
    """One image, one portal group, one initiator without a secret."""
    return params(**dict({
        "backstores": [host.image()],
        "portal_groups": [{"tag": 1, "portals": ["192.168.56.101"], "luns": [{"lun": 0, "backstore": "d0"}]}],
        "acls": [{"initiator": HOST1}],
    }, **given))  # fmt: skip


class TestAWholeTarget:
    def test_everything_is_made(self, host: Host) -> None:
        result = host.run(host.two_groups())
        assert result["changed"]
        assert host.get("core/fileio_0/d0/wwn/vpd_unit_serial").endswith(SERIAL)
        assert os.stat(host.root / "srv/d0").st_size == 2**20
        assert (host.get(f"{ALUA}/ao/tg_pt_gp_id"), host.get(f"{ALUA}/ao/alua_access_state"), host.get(f"{ALUA}/ao/alua_access_type")) == ("1", "0", "Implicit")
        assert (host.get(f"{ALUA}/ano/tg_pt_gp_id"), host.get(f"{ALUA}/ano/alua_access_state")) == ("2", "1")
        assert "Alias: ano" in host.get(f"iscsi/{NAME}/tpgt_2/lun/lun_0/alua_tg_pt_gp")
        assert host.has(f"{TPG}/np/192.168.56.101:3260")
        assert host.has(f"iscsi/{NAME}/tpgt_2/np/[fd00:57::101]:3261")
        assert (host.get(f"{TPG}/enable"), host.get(f"{TPG}/attrib/authentication")) == ("1", "1")
        assert (host.get(f"{TPG}/acls/{HOST1}/auth/userid"), host.get(f"{TPG}/acls/{HOST1}/auth/password")) == ("u", "a-secret-of-12")
        link = host.root / "target" / TPG / "acls" / HOST1 / "lun_0" / "lun_0"
        assert os.path.realpath(link) == str((host.root / "target" / TPG / "lun" / "lun_0").resolve())

    def test_the_kernel_can_keep_persistent_reservations(self, host: Host) -> None:
        """It makes a file for each disk in a folder that must be there; without it PERSISTENT RESERVE OUT with APTPL fails (seen on Debian 12)."""
        host.run(host.two_groups())
        folder = host.root / host.get("dbroot").lstrip("/") / "pr"
        assert folder.is_dir() and folder.stat().st_mode & 0o777 == 0o700
        folder.rmdir()
        assert host.run(host.two_groups())["steps"] == [f"save target {NAME} in {host.root / 'etc/target/saveconfig.json'}"]
        assert folder.is_dir()
        assert not host.run(host.two_groups())["changed"]

    def test_the_wwid_of_the_ceph_document(self, host: Host) -> None:
        luns = host.run(host.two_groups())["luns"]
        assert [(one["tag"], one["lun"], one["wwid"], one["size"], one["alua_group"]) for one in luns] == [
            (1, 0, "360014059ca317516a69465c883a29603", 2**20, "ao"), (2, 0, "360014059ca317516a69465c883a29603", 2**20, "ano"),
        ]  # fmt: skip

    def test_a_second_run_changes_nothing(self, host: Host) -> None:
        host.run(host.two_groups())
        host.kernel.moves.clear()
        result = host.run(host.two_groups())
        assert (result["changed"], result["steps"], host.kernel.moves) == (False, [], [])

    def test_check_mode_says_what_is_done_then_and_touches_nothing(self, host: Host) -> None:
        foretold = host.run(host.two_groups(), check=True)
        assert host.kernel.moves == [] and not host.saved.exists() and not (host.root / "srv/d0").exists()
        done = host.run(host.two_groups())
        assert (foretold["steps"], foretold["luns"], foretold["diff"]) == (done["steps"], done["luns"], done["diff"])

    def test_a_fresh_host_without_the_module(self, tmp_path: Path) -> None:
        host = Host(tmp_path, loaded=False)
        assert host.run(host.two_groups(), check=True)["steps"][0] == "load kernel module target_core_mod"
        host.run(host.two_groups())
        assert host.get(f"{TPG}/enable") == "1"
        assert host.get("dbroot") == str(tmp_path / "etc/target")

    def test_opened_last_and_state_before_the_type_forbids_it(self, host: Host) -> None:
        host.run(host.two_groups(backstores=[host.image(alua_groups=[dict(AO, access_type="explicit", state="standby"), ANO])]))
        at = [host.kernel.moves.index(f"write {ALUA}/ao/{move}") for move in ("tg_pt_gp_id 1", "alua_access_state 2", "alua_access_type 2")]
        assert at == sorted(at)
        opened = host.kernel.moves.index(f"write {TPG}/enable 1")
        assert all(TPG + "/" not in move for move in host.kernel.moves[opened + 1:])
        assert not host.run(host.two_groups(backstores=[host.image(alua_groups=[dict(AO, access_type="explicit", state="standby"), ANO])]))["changed"]

    def test_no_secret_in_anything_that_is_shown(self, host: Host) -> None:
        options = host.two_groups(acls=[{"initiator": HOST1, "auth": MUTUAL}], discovery_auth=dict(CHAP, password="discovery-secret"))
        shown = json.dumps([host.run(options, check=True), host.run(options)])
        for secret in ("a-secret-of-12", "another-secret", "discovery-secret"):
            assert secret not in shown
        assert "********" in shown

    def test_no_secret_in_an_error(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(path: str, value: str) -> None:
            if path.endswith("/password"):
                raise OSError(22, f"Invalid argument {value}"[:16])
            write(path, value)

        write = host.kernel.write
        monkeypatch.setattr(host.kernel, "write", refuse)
        with pytest.raises(HostError) as caught:
            host.run(host.two_groups())
        assert "a-secret-of-12" not in json.dumps([caught.value.sentence(), caught.value.fields()])
        assert f"create ACL of {HOST1}" in caught.value.sentence()
        assert caught.value.facts["done"][0] == "create backstore fileio/d0"
        assert not host.saved.exists()

    def test_mutual_chap_and_taking_it_away(self, host: Host) -> None:
        host.run(host.two_groups(acls=[{"initiator": HOST1, "auth": MUTUAL}]))
        assert host.get(f"{TPG}/acls/{HOST1}/auth/password_mutual") == "another-secret"
        host.run(host.two_groups(acls=[{"initiator": HOST1, "auth": CHAP}]))
        assert host.get(f"{TPG}/acls/{HOST1}/auth/password_mutual") == "NULL"
        host.run(host.two_groups(acls=[{"initiator": HOST1, "auth": NONE}]))
        assert (host.get(f"{TPG}/acls/{HOST1}/auth/password"), host.get(f"{TPG}/attrib/authentication")) == ("NULL", "0")
        assert not host.run(host.two_groups(acls=[{"initiator": HOST1, "auth": NONE}]))["changed"]

    def test_discovery_authentication_is_demanded_last_and_given_up_first(self, host: Host) -> None:
        host.run(params(discovery_auth=CHAP))
        assert (host.get("iscsi/discovery_auth/userid"), host.get("iscsi/discovery_auth/enforce_discovery_auth")) == ("u", "1")
        assert host.saved_content()["fabric_modules"] == [
            {"name": "iscsi", "discovery_enable_auth": True, "discovery_userid": "u", "discovery_password": "a-secret-of-12"}]
        host.kernel.moves.clear()
        host.run(params(discovery_auth=NONE))
        assert host.kernel.moves[0] == "write iscsi/discovery_auth/enforce_discovery_auth 0"
        assert host.saved_content()["fabric_modules"] == []

    def test_an_initiator_without_a_secret_beside_one_with(self, host: Host) -> None:
        other = "iqn.2026-11.org.example:host2"
        assert any(other in one["object"] for one in host.run(host.two_groups(acls=[{"initiator": HOST1, "auth": CHAP}, {"initiator": other}]))["problems"])
        host.run(host.two_groups(acls=[{"initiator": HOST1, "auth": CHAP}, {"initiator": other, "auth": NONE}]))
        assert host.get(f"{TPG}/acls/{other}/attrib/authentication") == "0"

    def test_masking(self, host: Host) -> None:
        masked = {"initiator": HOST1, "luns": [{"lun": 1, "mapped_lun": 0, "write_protect": True}], "tags": [1]}
        options = one_group(host, backstores=[host.image(), host.image("d1")], acls=[masked], portal_groups=[
            {"tag": 1, "luns": [{"lun": 0, "backstore": "d0"}, {"lun": 1, "backstore": "fileio/d1"}]}, {"tag": 2}])
        host.run(options)
        assert os.listdir(host.root / "target" / TPG / "acls" / HOST1 / "lun_0") and host.get(f"{TPG}/acls/{HOST1}/lun_0/write_protect") == "1"
        assert os.path.realpath(host.root / "target" / TPG / "acls" / HOST1 / "lun_0" / "lun_1").endswith("/lun/lun_1")
        assert not host.has(f"{TPG}/acls/{HOST1}/lun_1") and not host.has(f"iscsi/{NAME}/tpgt_2/acls/{HOST1}")
        assert not host.run(options)["changed"]

    @pytest.mark.parametrize("store, control", [
        ({"type": "ramdisk", "size": "1MiB", "nullio": True}, "rd_pages={pages},rd_nullio=1"),
        ({"type": "user:rbd", "size": "1MiB", "config": "pool/image"}, "dev_config=rbd/pool/image,dev_size=1048576"),
        ({"type": "fileio", "size": "1MiB", "write_back": True, "path": "{srv}/x"}, "fd_dev_name={srv}/x,fd_dev_size=1048576,fd_buffered_io=1"),
    ], ids=["ramdisk", "user", "write-back"])  # fmt: skip
    def test_kinds_of_backstores(self, host: Host, store: t.Dict[str, t.Any], control: str) -> None:
        words = {"srv": str(host.root / "srv"), "pages": 2**20 // os.sysconf("SC_PAGE_SIZE")}
        if "path" in store:
            store = dict(store, path=store["path"].format(**words))
        attribute = "cmd_time_out" if store["type"].startswith("user") else "emulate_tpu"
        options = one_group(host, backstores=[dict(store, name="x", attributes={attribute: True})],
                            portal_groups=[{"tag": 1, "luns": [{"lun": 0, "backstore": "x"}]}])
        host.run(options)
        (made,) = (host.root / "target/core").glob("*/x")
        assert (made / "control").read_text(encoding="utf-8").strip() == control.format(**words)
        assert (made / "attrib" / attribute).read_text(encoding="utf-8").strip() == "1"
        assert not host.run(options)["changed"]

    def test_attributes_and_parameters_of_a_portal_group(self, host: Host) -> None:
        group = {"tag": 1, "attributes": {"generate_node_acls": 1, "demo_mode_write_protect": False},
                 "parameters": {"InitialR2T": False, "MaxBurstLength": 16776192}, "auth": CHAP, "iser": True, "portals": ["192.168.56.101"]}
        options = params(portal_groups=[group])
        host.run(options)
        for name, value in (("attrib/generate_node_acls", "1"), ("attrib/demo_mode_write_protect", "0"), ("param/InitialR2T", "No"),
                            ("param/MaxBurstLength", "16776192"), ("auth/userid", "u"), ("np/192.168.56.101:3260/iser", "1")):
            assert host.get(f"{TPG}/{name}") == value
        assert not host.run(options)["changed"]


class TestChanges:
    def test_growing(self, host: Host) -> None:
        host.run(one_group(host))
        result = host.run(one_group(host, backstores=[host.image(size="2MiB")]))
        assert [step for step in result["steps"] if step.startswith("grow")] == ["grow backstore fileio/d0 (initiators see it after a rescan)"]
        assert os.stat(host.root / "srv/d0").st_size == 2**21 and "Size: 2097152" in host.get("core/fileio_0/d0/info")
        assert host.saved_content()["storage_objects"][0]["size"] == 2**21

    @pytest.mark.parametrize("force", [False, True])
    def test_shrinking_is_refused(self, host: Host, force: bool) -> None:
        host.run(one_group(host))
        with pytest.raises(InputError, match="Shrinking"):
            host.run(one_group(host, backstores=[host.image(size="512KiB")], force=force))

    def test_swapping_the_alua_states(self, host: Host) -> None:
        host.run(host.two_groups())
        swapped = host.two_groups(backstores=[host.image(alua_groups=[dict(AO, state="active_nonoptimized"), dict(ANO, state="active_optimized")])])
        host.kernel.log_in(NAME, 1, HOST1)
        assert host.run(swapped)["steps"][:2] == ["change ALUA group ao of backstore fileio/d0", "change ALUA group ano of backstore fileio/d0"]
        assert (host.get(f"{ALUA}/ao/alua_access_state"), host.get(f"{ALUA}/ano/alua_access_state")) == ("1", "0")
        assert {one["name"]: one["alua_access_state"] for one in host.saved_content()["storage_objects"][0]["alua_tpgs"]}["ano"] == 0

    def test_a_lun_moves_to_another_group_under_a_session(self, host: Host) -> None:
        host.run(host.two_groups())
        host.kernel.log_in(NAME, 1, HOST1)
        options = host.two_groups()
        options["portal_groups"][0]["luns"][0]["alua_group"] = "ano"
        host.run(options)
        assert "Alias: ano" in host.get(f"{TPG}/lun/lun_0/alua_tg_pt_gp")

    def test_the_id_of_a_group_takes_a_new_group(self, host: Host) -> None:
        host.run(host.two_groups())
        options = host.two_groups(backstores=[host.image(alua_groups=[dict(AO, id=7), ANO])])
        host.kernel.log_in(NAME, 1, HOST1)
        with pytest.raises(InUseError):
            host.run(options)
        host.run(dict(options, force=True))
        assert host.get(f"{ALUA}/ao/tg_pt_gp_id") == "7" and "Alias: ao" in host.get(f"{TPG}/lun/lun_0/alua_tg_pt_gp")

    def test_the_luns_of_another_target_follow_a_group_made_anew(self, host: Host) -> None:
        host.run(host.two_groups())
        other = NAME + ":two"
        host.run(params(name=other, portal_groups=[{"tag": 1, "luns": [{"lun": 5, "backstore": "d0", "alua_group": "ano"}]}]))
        host.run(params(name=NAME, backstores=[host.image(alua_groups=[AO, dict(ANO, id=9)])]))
        assert "Alias: ano" in host.get(f"iscsi/{other}/tpgt_1/lun/lun_5/alua_tg_pt_gp")
        assert "Alias: ano" in host.get(f"iscsi/{NAME}/tpgt_2/lun/lun_0/alua_tg_pt_gp")

    def test_a_state_that_a_group_does_not_support(self, host: Host) -> None:
        host.run(host.two_groups(backstores=[host.image(alua_groups=[dict(AO, supported_states=["active_optimized"]), ANO])]))
        with pytest.raises(InputError, match="shall be standby, which it does not support"):
            host.run(host.two_groups(backstores=[host.image(alua_groups=[dict(AO, state="standby"), ANO])]))

    def test_the_default_group_can_be_set_and_is_saved_where_it_is_restored(self, host: Host) -> None:
        default = {"name": "default_tg_pt_gp", "state": "standby", "nonop_delay_msecs": 50}
        result = host.run(one_group(host, backstores=[host.image(alua_groups=[default])]))
        assert host.get(f"{ALUA}/default_tg_pt_gp/alua_access_state") == "2" and result["problems"] == []
        beside = "../alua/default_tg_pt_gp"
        saved = host.saved_content()["storage_objects"][0]["attributes"]
        assert {name: value for name, value in saved.items() if name.startswith("..")} == {
            f"{beside}/alua_access_state": 2, f"{beside}/nonop_delay_msecs": 50}
        # back to what the kernel makes it with: nothing of it is left in the file
        host.run(one_group(host, backstores=[host.image(alua_groups=[dict(default, state="active_optimized", nonop_delay_msecs=100)])]))
        assert not [name for name in host.saved_content()["storage_objects"][0]["attributes"] if name.startswith("..")]

    def test_a_company_that_was_set_by_hand_is_saved_where_it_is_restored(self, host: Host) -> None:
        host.run(params(backstores=[host.image(wwn=SERIAL)]))
        host.kernel.write("core/fileio_0/d0/wwn/company_id", "0x123456")
        assert host.run(one_group(host))["luns"][0]["wwid"] == "361234569ca317516a69465c883a29603"
        assert host.saved_content()["storage_objects"][0]["attributes"]["../wwn/company_id"] == "0x123456"

    def test_a_secret_that_is_still_in_the_file_is_taken_out(self, host: Host) -> None:
        host.run(one_group(host, acls=[{"initiator": HOST1, "auth": MUTUAL}]))
        host.run(one_group(host, acls=[{"initiator": HOST1, "auth": NONE}], save=False))
        assert "another-secret" in host.saved.read_text(encoding="utf-8")
        host.run(one_group(host))
        assert "another-secret" not in host.saved.read_text(encoding="utf-8")

    def test_a_handler_that_is_not_there_and_one_that_cannot_grow(self, host: Host) -> None:
        image = {"name": "x", "type": "user:rbd", "config": "pool/image", "size": "1MiB"}
        with pytest.raises(HostError, match="tcmu-runner runs and has this handler"):
            host.run(params(backstores=[dict(image, type="user:file")]))
        host.run(params(backstores=[image]))
        assert host.run(params(backstores=[dict(image, size="2MiB")]))["changed"]
        host.run(params(backstores=[dict(image, name="y", type="user:qcow")]))
        with pytest.raises(HostError, match="does not support this change"):
            host.run(params(backstores=[dict(image, name="y", type="user:qcow", size="2MiB")]))
        assert set(host.saved_content()["storage_objects"][1]["attributes"]) == {"cmd_time_out", "nl_reply_supported", "qfull_time_out"}

    def test_a_new_lun_is_mapped_to_the_initiators_of_the_task(self, host: Host) -> None:
        host.run(one_group(host))
        group = {"tag": 1, "luns": [{"lun": 0, "backstore": "d0"}, {"lun": 1, "backstore": "d1"}]}
        host.kernel.log_in(NAME, 1, HOST1)
        host.run(one_group(host, backstores=[host.image(), host.image("d1")], portal_groups=[group]))
        assert host.has(f"{TPG}/acls/{HOST1}/lun_1") and host.has("core/fileio_1/d1")

    def test_a_serial_that_was_saved_comes_back(self, host: Host) -> None:
        host.run(one_group(host, backstores=[host.image(wwn=SERIAL)]))
        again = Host(host.root / "again")
        again.saved.parent.mkdir(parents=True)
        again.saved.write_text(host.saved.read_text(encoding="utf-8"), encoding="utf-8")
        assert again.run(one_group(host))["luns"][0]["serial"] == SERIAL

    def test_serials_of_hosts_differ(self, tmp_path: Path) -> None:
        hosts = [Host(tmp_path / "a"), Host(tmp_path / "b")]
        (hosts[1].root / "etc/machine-id").write_text("other\n", encoding="utf-8")
        store = hosts[0].image()
        assert len({one.run(one_group(one, backstores=[store]), check=True)["luns"][0]["wwid"] for one in hosts}) == 2


class TestWhatGoes:
    def test_nothing_unnamed_goes_without_purge(self, host: Host) -> None:
        host.run(host.two_groups())
        result = host.run(one_group(host, backstores=[host.image()], acls=[]))
        assert not result["changed"]
        assert {one["tag"] for one in result["luns"]} == {1, 2}

    def test_purge(self, host: Host) -> None:
        host.run(host.two_groups(backstores=[host.image(alua_groups=[AO, ANO]), host.image("d1")]))
        options = one_group(host, purge=True)
        result = host.run(options)
        assert f"remove portal group 2 of {NAME}" in result["steps"] and "remove ALUA group ano of backstore fileio/d0" in result["steps"]
        assert not host.has(f"iscsi/{NAME}/tpgt_2") and not host.has(f"{ALUA}/ano")
        assert host.has("core/fileio_1/d1")  # no LUN of this target was made of it
        assert not host.run(options)["changed"]

    def test_purge_takes_the_backstore_of_a_lun_that_goes(self, host: Host) -> None:
        host.run(one_group(host, backstores=[host.image(), host.image("d1")],
                           portal_groups=[{"tag": 1, "portals": ["192.168.56.101"], "luns": [{"lun": 0, "backstore": "d0"}, {"lun": 1, "backstore": "d1"}]}]))
        host.run(one_group(host, purge=True))
        assert not host.has(f"{TPG}/lun/lun_1") and not host.has(f"{TPG}/acls/{HOST1}/lun_1") and not host.has("core/fileio_1")
        assert (host.root / "srv/d1").exists()
        assert [one["name"] for one in host.saved_content()["storage_objects"]] == ["d0"]

    @pytest.mark.parametrize("change, what", [
        ({"portal_groups": [{"tag": 1, "portals": ["192.168.56.101"]}], "purge": True}, "LUN 0 of portal group 1 of"),
        ({"portal_groups": [{"tag": 1, "luns": [{"lun": 0, "backstore": "d0"}]}], "purge": True}, "portal 192.168.56.101:3260 of portal group 1 of"),
        ({"acls": [], "purge": True}, f"ACL of {HOST1} in portal group 1 of"),
        ({"portal_groups": [], "purge": True}, "portal group 1 of"),
        ({"portal_groups": [{"tag": 1, "enabled": False}]}, "portal group 1 of"),
        ({"acls": [{"initiator": HOST1, "luns": []}], "purge": True}, f"mapped LUN 0 of {HOST1} in portal group 1 of"),
        ({"state": "absent"}, "portal group 1 of"),
    ], ids=["lun", "portal", "acl", "portal-group", "closed", "mapping", "target"])  # fmt: skip
    def test_a_session_is_named_and_refused_unless_forced(self, host: Host, change: t.Dict[str, t.Any], what: str) -> None:
        host.run(one_group(host))
        host.kernel.log_in(NAME, 1, HOST1)
        host.kernel.moves.clear()
        with pytest.raises(InUseError, match=f"^{what} {NAME}: still in use by session 7 of {HOST1} from 192.168.56.20"):
            host.run(one_group(host, **change))
        assert host.kernel.moves == []
        assert host.run(one_group(host, **dict(change, force=True)))["changed"]

    def test_a_dynamic_session_counts(self, host: Host) -> None:
        host.run(one_group(host))
        (host.root / "target" / TPG / "dynamic_sessions").write_bytes(b"iqn.2026-11.org.example:guest\n\0")
        with pytest.raises(InUseError, match="iqn.2026-11.org.example:guest .no ACL"):
            host.run(one_group(host, portal_groups=[{"tag": 1, "portals": ["192.168.56.101"]}], purge=True))

    def test_absent_and_absent_again(self, host: Host) -> None:
        host.run(host.two_groups())
        options = params(state="absent", backstores=[{"name": "d0", "type": "fileio"}])
        host.run(options)
        assert os.listdir(host.root / "target/core") == [] and not host.has(f"iscsi/{NAME}")
        assert host.saved_content() == {"storage_objects": [], "targets": []}
        assert (host.root / "srv/d0").exists()
        assert not host.run(options)["changed"]

    def test_absent_takes_the_secrets_of_discovery_too_where_told(self, host: Host) -> None:
        host.run(host.two_groups(discovery_auth=CHAP))
        host.run(params(state="absent", discovery_auth=NONE))
        assert host.get("iscsi/discovery_auth/enforce_discovery_auth") == "0" and host.saved_content()["fabric_modules"] == []
        assert not host.run(params(state="absent", discovery_auth=NONE))["changed"]

    def test_absent_on_a_host_that_never_had_one(self, tmp_path: Path) -> None:
        assert not Host(tmp_path, loaded=False).run(params(state="absent"))["changed"]

    def test_a_backstore_of_another_target_stays(self, host: Host) -> None:
        host.run(one_group(host))
        host.run(dict(one_group(host), name=NAME + ":two"))
        with pytest.raises(InUseError, match="LUN 0 of portal group 1 of .*:two"):
            host.run(params(state="absent", backstores=[{"name": "d0", "type": "fileio"}]))
        host.run(params(state="absent", purge=True))
        assert host.has("core/fileio_0/d0")
        assert [one["wwn"] for one in host.saved_content()["targets"]] == [NAME + ":two"]

    def test_made_anew(self, host: Host) -> None:
        host.run(one_group(host))
        before = host.run(one_group(host))["luns"][0]["serial"]
        options = one_group(host, backstores=[host.image(write_back=True)])
        host.kernel.log_in(NAME, 1, HOST1)
        with pytest.raises(InUseError):
            host.run(options)
        result = host.run(dict(options, force=True))
        assert "remove backstore fileio/d0 (to be made anew: its write_back is false)" in result["steps"]
        assert host.has(f"{TPG}/acls/{HOST1}/lun_0/lun_0") and result["luns"][0]["serial"] == before

    def test_another_image_gets_another_wwid(self, host: Host) -> None:
        before = host.run(one_group(host))["luns"][0]["wwid"]
        assert host.run(one_group(host, backstores=[host.image(path=str(host.root / "srv/other"))]))["luns"][0]["wwid"] != before

    @pytest.mark.parametrize("change, what", [
        ({"acls": []}, "mapped to iqn.2026-11.org.example:host1"),
        ({"portal_groups": []}, "which this task does not name"),
    ], ids=["acl", "lun"])  # fmt: skip
    def test_made_anew_needs_all_that_hangs_on_it(self, host: Host, change: t.Dict[str, t.Any], what: str) -> None:
        host.run(one_group(host))
        with pytest.raises(InputError, match=what):
            host.run(one_group(host, **dict({"backstores": [host.image(write_back=True)]}, **change)))

    def test_a_ramdisk_is_not_made_anew_by_the_way(self, host: Host) -> None:
        ram = {"name": "r", "type": "ramdisk", "size": "1MiB"}
        host.run(params(backstores=[ram]))
        with pytest.raises(InputError, match="would be lost"):
            host.run(params(backstores=[dict(ram, size="2MiB")]))
        host.run(params(backstores=[dict(ram, size="2MiB")], force=True))


class TestRefusedOnceTheHostIsKnown:
    @pytest.mark.parametrize("change, what", [
        ({"backstores": [{"name": "d0", "type": "fileio", "path": "{srv}/none"}]}, "is missing"),
        ({"backstores": [{"name": "d0", "type": "fileio", "path": "{srv}"}]}, "is no file"),
        ({"backstores": [{"name": "d0", "type": "block", "path": "{srv}"}]}, "no block device"),
        ({"backstores": [{"name": "d0", "type": "block", "path": "{srv}/none"}]}, "is missing"),
        ({"backstores": [{"name": "d0", "type": "fileio", "path": "{srv}/big", "size": 512}]}, "has 1024 bytes"),
        ({"portal_groups": [{"tag": 1, "luns": [{"lun": 0, "backstore": "do"}]}]}, "did you mean 'd0'"),
        ({"portal_groups": [{"tag": 1, "luns": [{"lun": 0, "backstore": "d0", "alua_group": "oa"}]}]}, "does not have"),
        ({"acls": [{"initiator": HOST1, "tags": [9]}]}, "neither there nor named"),
        ({"acls": [{"initiator": HOST1, "luns": [{"lun": 3}]}]}, "which portal group 1"),
    ], ids=["no-file", "folder", "no-device", "missing-device", "longer-file", "no-backstore", "no-group", "no-tag", "no-lun"])  # fmt: skip
    def test_in_words(self, host: Host, change: t.Dict[str, t.Any], what: str) -> None:
        (host.root / "srv/big").write_bytes(b"x" * 1024)
        text = json.dumps(change).replace("{srv}", str(host.root / "srv"))
        with pytest.raises(IscsiError, match=what):
            host.run(one_group(host, **json.loads(text)))
        assert host.kernel.moves == []

    def test_two_images_with_one_wwid(self, host: Host) -> None:
        host.run(one_group(host, backstores=[host.image(wwn=SERIAL)]))
        with pytest.raises(InputError, match="would have the WWID 360014059ca31"):
            host.run(one_group(host, backstores=[host.image(), host.image("d1", wwn="9CA317516A69465C883A29603ffff")]))
        host.run(one_group(host, backstores=[host.image(), dict(host.image("d1", wwn=SERIAL), path=str(host.root / "srv/d0"))]))

    def test_a_taken_id(self, host: Host) -> None:
        host.run(host.two_groups())
        with pytest.raises(InputError, match="has the id 1, which group 'ao' has"):
            host.run(host.two_groups(backstores=[host.image(alua_groups=[{"name": "new", "id": 1}])], portal_groups=[]))

    def test_an_attribute_that_this_kernel_lacks(self, host: Host) -> None:
        host.run(one_group(host))
        with pytest.raises(HostError, match="is not in this kernel"):
            host.run(one_group(host, portal_groups=[{"tag": 1, "attributes": {"login_keys_workaround": 1}}]))

    def test_a_program_on_the_port_is_named_in_check_mode_already(self, host: Host) -> None:
        (host.root / "proc/net").mkdir(parents=True)
        (host.root / "proc/net/tcp").write_text("  sl\n   0: 00000000:0CBC 00000000:0000 0A 0:0\n", encoding="ascii")
        assert "listens there" in host.run(one_group(host), check=True)["problems"][0]["what"]

    def test_a_block_device(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        users: t.List[str] = ["/dev/vdb mounted on /srv"]
        monkeypatch.setattr(lio_task, "_look_at", lambda path: File("block", 2**30))
        monkeypatch.setattr(lio_task, "_users", lambda path: users)
        options = one_group(host, backstores=[{"name": "d0", "type": "block", "path": "/dev/vdb", "readonly": True}])
        with pytest.raises(InUseError, match="mounted on /srv"):
            host.run(options)
        users.clear()
        assert host.run(options)["luns"][0]["size"] == 2**30
        assert host.get("core/iblock_0/d0/control") == "udev_path=/dev/vdb,readonly=1"
        assert not host.run(options)["changed"]

    def test_the_lock_is_held(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lio_task, "Lock", lambda path: lio_apply.Lock(path, wait=0.1))
        with lio_apply.Lock(str(host.root / "run" / "lock")), pytest.raises(HostError, match="is held by another process"):
            TargetTask(one_group(host), host.kernel, str(host.root), str(host.root / "run" / "lock")).apply([])
