# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of a Gluster volume as LUNs, and which combinations are refused."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.lunar.iscsi.plugins.filter.gluster_luns import FilterModule, gluster_luns

NAME = "iqn.2013-10.com.example:disk3"


def made(lun: t.Mapping[str, t.Any], access: str = "fuse", gateways: int = 2) -> t.Any:
    targets = [{"name": NAME, "luns": [{"lun": 1, **lun}], "allow": {"addresses": ["ALL"]}}]
    (target,) = gluster_luns(targets, volume="gv0", access=access, server="g1", mount="/srv/gluster/gv0/", gateways=gateways)
    assert (target["name"], target["allow"]) == (NAME, {"addresses": ["ALL"]})
    (only,) = target["luns"]
    return only


@pytest.mark.parametrize(("access", "wanted"), [
    pytest.param("fuse", {"backing_store": "/srv/gluster/gv0/a/disk3", "bs_type": "rdwr", "size": "1GiB", "create": True}, id="fuse"),
    pytest.param("glfs", {"backing_store": "gv0@g1:a/disk3", "bs_type": "glfs"}, id="glfs, where the role makes the file"),
])
def test_a_file_is_named_as_tgtd_names_it(access: str, wanted: t.Mapping[str, t.Any]) -> None:
    assert made({"file": "a/disk3", "size": "1GiB", "create": True}, access) == {"lun": 1, "write_cache": False, **wanted}


def test_one_gateway_may_have_a_write_cache() -> None:
    assert made({"file": "d", "write_cache": True}, gateways=1)["write_cache"] is True


def test_a_target_that_says_nothing_of_luns_keeps_them() -> None:
    assert gluster_luns([{"name": NAME, "state": "present"}], volume="gv0", access="fuse") == [{"name": NAME}]


@pytest.mark.parametrize(("lun", "access", "said"), [
    pytest.param({}, "fuse", "file is None", id="no file"),
    pytest.param({"file": "/srv/x"}, "fuse", "without a / in front", id="absolute"),
    pytest.param({"file": "../x"}, "fuse", "'../x'", id="out of the volume"),
    pytest.param({"file": "x y"}, "fuse", "'x y'", id="white space"),
    pytest.param({"file": "x", "backing_store": "/srv/x"}, "fuse", "backing_store follows", id="backing store"),
    pytest.param({"file": "x", "bs_type": "aio"}, "fuse", "bs_type follows", id="backing store type"),
    pytest.param({"file": "x@y"}, "glfs", "an @ in its name", id="@ through glfs"),
    pytest.param({"file": "x", "flags": ["sync"]}, "glfs", "for reading only", id="flags through glfs"),
    pytest.param({"file": "x", "sparse": False}, "glfs", "files are made sparse", id="not sparse through glfs"),
    pytest.param({"file": "x", "write_cache": True}, "fuse", "write_cache loses data on 2 gateways", id="write cache"),
    pytest.param({"file": "x", "write_cache": True}, "glfs", "write_cache loses data on 2 gateways", id="write cache through glfs"),
])
def test_refused(lun: t.Mapping[str, t.Any], access: str, said: str) -> None:
    with pytest.raises(AnsibleFilterError, match=f"^LUN 1 of target {NAME}: .*{said}"):
        made(lun, access)


def test_one_file_is_one_disk() -> None:
    with pytest.raises(AnsibleFilterError, match=f"^The file d is LUN 1 of target {NAME} and LUN 2 of target {NAME}0"):
        gluster_luns([{"name": NAME, "luns": [{"lun": 1, "file": "d"}]}, {"name": f"{NAME}0", "luns": [{"lun": 2, "file": "d"}]}], volume="v", access="fuse")


def test_the_filter_has_its_name() -> None:
    assert FilterModule().filters() == {"gluster_luns": gluster_luns}
