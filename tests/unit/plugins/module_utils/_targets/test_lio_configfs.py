# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the kernel's target from configfs."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_apply import read_listening
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_configfs import Auth, Kernel, Key, plain_portal, read_kernel, wwid
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_steps import Op, same, taken_by_others

from .lio_builders import HOST1, NAME, Host


def test_no_module_no_target(tmp_path: Path) -> None:
    assert read_kernel(str(tmp_path / "none")) == Kernel()


@pytest.mark.parametrize("serial, company, expected", [
    ("9ca31751-6a69-465c-883a-29603abcdef0", 0x1405, "360014059ca317516a69465c883a29603"),
    ("9CA31751-6A69-465C-883A-29603ABCDEF0", 0x1405, "360014059ca317516a69465c883a29603"),
    ("9cz-a3", 0x1405, "360014059ca3" + "0" * 21),
    ("9ca31751-6a69-465c-883a-29603abcdef0", 0xABCDEF, "36abcdef9ca317516a69465c883a29603"),
], ids=["ceph-document", "upper", "short", "company"])  # fmt: skip
def test_wwid(serial: str, company: int, expected: str) -> None:
    assert wwid(serial, company) == expected
    assert len(expected) == 33


@pytest.mark.parametrize("name, plain", [
    ("[fd00:0::1]:3260", "[fd00::1]:3260"), ("192.0.2.1:860", "192.0.2.1:860"), ("[FD00::1]:1", "[fd00::1]:1"), ("odd", "odd"),
])  # fmt: skip
def test_plain_portal(name: str, plain: str) -> None:
    assert plain_portal(name) == plain


@pytest.mark.parametrize("old, new, expected", [
    ("1", "1", True), ("Yes", "yes", True), ("0x10", "16", True), ("None", "CHAP", False), ("", "0", False), (None, "0", False),
])  # fmt: skip
def test_same(old: t.Optional[str], new: str, expected: bool) -> None:
    assert same(old, new) is expected


def test_a_target_as_found(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.run(host.two_groups())
    host.kernel.log_in(NAME, 2, HOST1)
    kernel = read_kernel(host.kernel.root)
    group = kernel.targets[NAME][2]
    assert (group.enabled, list(group.portals), group.luns[0].backstore, group.luns[0].group) == (True, ["[fd00:57::101]:3261"], Key("fileio", "d0"), "ano")
    assert group.acls[HOST1].session == f"session 7 of {HOST1} from 192.168.56.20"
    assert kernel.targets[NAME][1].acls[HOST1].session == ""
    assert (group.acls[HOST1].mapped[0].lun, group.acls[HOST1].auth) == (0, Auth("u", "a-secret-of-12"))
    store = kernel.backstores[Key("fileio", "d0")]
    assert (store.folder, store.size, store.path, store.write_back, sorted(store.groups)) == (
        "core/fileio_0/d0", 2**20, str(tmp_path / "srv/d0"), False, ["ano", "ao", "default_tg_pt_gp"])
    assert "a-secret-of-12" not in repr(kernel)


def test_backstores_of_other_fabrics_and_kinds(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.run(host.two_groups())
    lun = tmp_path / "target/loopback/naa.5001405000000001/tpgt_1/lun/lun_0"
    lun.mkdir(parents=True)
    (lun / "link").symlink_to(tmp_path / "target/core/fileio_0/d0")
    tape = tmp_path / "target/core/pscsi_4/tape"
    (tape / "alua/default_tg_pt_gp").mkdir(parents=True)
    (tmp_path / "target/core/alua/lu_gps/default_lu_gp").mkdir(parents=True)
    kernel = read_kernel(host.kernel.root)
    assert kernel.others == {Key("fileio", "d0"): ["loopback naa.5001405000000001 tpgt_1 lun_0"]}
    assert sorted(map(str, kernel.backstores)) == ["fileio/d0", "pscsi/tape"]
    assert not kernel.backstores[Key("pscsi", "tape")].groups  # old kernels crash when these are read


def test_a_secret_op_does_not_show_it() -> None:
    assert repr(Op("write", "x/auth/password", "secret", True)) == "Op(write x/auth/password ********)"


def test_who_listens(tmp_path: Path) -> None:
    # as a little-endian kernel prints them
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text(
        "  sl  local_address rem_address   st tx_queue\n   0: 6538A8C0:0CBC 00000000:0000 0A 0:0\n   1: 0100007F:0CBD 0100007F:1234 01 0:0\n", encoding="ascii")
    (tmp_path / "net/tcp6").write_text("  sl\n   0: 00000000000000000000000000000000:0016 0:0 0A 0:0\n", encoding="ascii")
    assert read_listening(str(tmp_path)) == {("192.168.56.101", 3260), ("::", 22)}


@pytest.mark.parametrize("portal, ours, taken", [
    ("192.0.2.1:3260", (), True), ("192.0.2.2:3260", (), False), ("192.0.2.1:3260", ("192.0.2.1:3260",), False), ("192.0.2.9:22", (), True),
    ("[fd00::1]:22", (), True), ("[fd00::1]:22", ("[::]:22",), False),
])  # fmt: skip
def test_a_portal_that_another_program_has(portal: str, ours: t.Tuple[str, ...], taken: bool) -> None:
    assert taken_by_others(portal, {("192.0.2.1", 3260), ("::", 22)}, ours) is taken
