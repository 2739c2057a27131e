# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of lio_target that are refused, each in words, before the host is looked at."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_wanted import parse_wanted
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.words import parse_size

from .lio_builders import CHAP, HOST1, SERIAL, params

FILE = {"name": "d0", "type": "fileio", "path": "/srv/d0"}
RAM = {"name": "r", "type": "ramdisk", "size": "1MiB"}


def store(**given: t.Any) -> t.Dict[str, t.Any]:
    return params(backstores=[dict(FILE, **given)])


def group(**given: t.Any) -> t.Dict[str, t.Any]:
    return params(portal_groups=[dict({"tag": 1}, **given)])


def alua(**given: t.Any) -> t.Dict[str, t.Any]:
    return store(alua_groups=[dict({"name": "ao", "id": 1}, **given)])


def acl(**given: t.Any) -> t.Dict[str, t.Any]:
    return params(acls=[dict({"initiator": HOST1}, **given)])


REFUSED: t.Sequence[t.Tuple[str, t.Dict[str, t.Any], str]] = [
    ("name", params(name="disk1"), "does not begin with iqn"),
    ("upper-case", params(name="iqn.2026-11.org.example:Disk"), "upper case"),
    ("type", store(type="file"), "has the type 'file'"),
    ("handler", store(type="user"), "has the type 'user'"),
    ("store-name", store(name="a/b"), "can be a folder"),
    ("no-path", store(path=None), "needs a path"),
    ("ram-path", params(backstores=[dict(RAM, path="/x")]), "has a path"),
    ("relative", store(path="srv/d0"), "absolute path"),
    ("comma", store(path="/srv/a,fd_dev_size=1"), "without commas"),
    ("no-size", params(backstores=[dict(RAM, size=None)]), "needs a size"),
    ("pages", params(backstores=[dict(RAM, size=512)]), "Give a multiple of [0-9]{4}"),
    ("size-word", store(size="1 giga"), "is no size"),
    ("sector", store(size=513), "multiple of 512"),
    ("block-size", store(type="block", size="1GiB"), "block device has by itself"),
    ("no-config", store(type="user:rbd", path=None, size="1GiB"), "needs config"),
    ("config-colon", store(type="user:rbd", path=None, size="1GiB", config="a:b"), "colons"),
    ("stray-config", store(config="a/b"), "is for user"),
    ("write-back", params(backstores=[dict(RAM, write_back=True)]), "does not know"),
    ("write-cache", store(attributes={"emulate_write_cache": 1}), "Say write_back"),
    ("write-cache-of-a-device", store(type="block", path="/dev/vdb", size=None, attributes={"emulate_write_cache": 1}), "is that of the device"),
    ("attribute", store(attributes={"emulate_tup": 1}), "did you mean 'emulate_tpu'"),
    ("attribute-word", store(attributes={"emulate_tpu": "on"}), "is no number"),
    ("wwn-short", store(wwn="disk-1"), "25 hexadecimal digits"),
    ("wwn-space", store(wwn=SERIAL + " x"), "25 hexadecimal digits"),
    ("twice", params(backstores=[FILE, FILE]), "fileio/d0 is given twice"),
    ("alua-id", alua(id=0), "id from 1 to 65535"),
    ("alua-no-id", alua(id=None), "id from 1 to 65535"),
    ("alua-default-id", alua(name="default_tg_pt_gp"), "none to default_tg_pt_gp"),
    ("alua-delay", alua(nonop_delay_msecs=10001), "from 0 to 10000"),
    ("alua-unsupported", alua(state="standby", supported_states=["active_optimized"]), "not among its supported_states"),
    ("alua-ids", store(alua_groups=[{"name": "a", "id": 1}, {"name": "b", "id": 1}]), "is given twice"),
    ("alua-names", store(alua_groups=[{"name": "a", "id": 1}, {"name": "a", "id": 2}]), "is given twice"),
    ("tag", group(tag=65536), "no portal group tag"),
    ("tags", params(portal_groups=[{"tag": 1}, {"tag": 1}]), "1 is given twice"),
    ("host-name", group(portals=["target.example"]), "is a host name"),
    ("portal-tag", group(portals=["192.0.2.1:3260,2"]), "stands in portal group 1"),
    ("same-portal", params(portal_groups=[{"tag": 1, "portals": ["fd00::1"]}, {"tag": 2, "portals": ["[fd00:0::1]:3260"]}]), "given twice"),
    ("lun", group(luns=[{"lun": 65536, "backstore": "d0"}]), "LUN 65536"),
    ("luns", group(luns=[{"lun": 0, "backstore": "a"}, {"lun": 0, "backstore": "b"}]), "given twice"),
    ("parameter", group(parameters={"MaxBurstlength": 1}), "did you mean 'MaxBurstLength'"),
    ("group-attribute", group(attributes={"generate_node_acl": 1}), "did you mean 'generate_node_acls'"),
    ("initiator", acl(initiator="host1"), "does not begin with iqn"),
    ("acls", params(acls=[{"initiator": HOST1}, {"initiator": HOST1}]), "given twice"),
    ("masks", acl(luns=[{"lun": 0, "mapped_lun": 1}, {"lun": 1}]), "given twice"),
    ("algorithms", acl(auth=dict(CHAP, algorithms=["MD5"])), "cannot be set on a target"),
    ("null", acl(auth=dict(CHAP, password="NULLable-secret")), "begins with NULL"),
    ("same-secret", acl(auth=dict(CHAP, username_in="x", password_in=CHAP["password"])), "same secret"),
    ("group-of-lun", params(backstores=[dict(FILE, alua_groups=[{"name": "ano", "id": 1}])],
                            portal_groups=[{"tag": 1, "luns": [{"lun": 0, "backstore": "d0", "alua_group": "amo"}]}]), "did you mean 'ano'"),
    ("ambiguous", params(backstores=[FILE, dict(RAM, name="d0")], portal_groups=[{"tag": 1, "luns": [{"lun": 0, "backstore": "d0"}]}]),
     "Write it with its type"),
]  # fmt: skip


@pytest.mark.parametrize("options, what", [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refused_in_words(options: t.Dict[str, t.Any], what: str) -> None:
    with pytest.raises(InputError, match=what) as caught:
        parse_wanted(options)
    assert caught.value.remedy
    assert CHAP["password"] not in caught.value.sentence() and "NULLable" not in caught.value.sentence()


@pytest.mark.parametrize("text, size", [
    ("1GiB", 2**30), ("500MB", 499999744), ("1.5 GiB", 3 * 2**29), (1024, 1024), ("2048", 2048), ("1T", 2**40), ("10kib", 10240),
])  # fmt: skip
def test_sizes(text: t.Any, size: int) -> None:
    assert parse_size(text, "size") == size


@pytest.mark.parametrize("wwn, serial", [
    ("360014059ca317516a69465c883a29603", "9ca317516a69465c883a29603"),
    ("naa.60014059ca317516a69465c883a29603", "9ca317516a69465c883a29603"),
    (SERIAL, SERIAL),
])  # fmt: skip
def test_wwn_of_another_gateway(wwn: str, serial: str) -> None:
    (made,) = parse_wanted(store(wwn=wwn)).stores.values()
    assert made.serial == serial


def test_absent_needs_names_only() -> None:
    assert [str(key) for key in parse_wanted(params(state="absent", backstores=[{"name": "r", "type": "ramdisk"}])).stores] == ["ramdisk/r"]


def test_secrets_are_not_in_the_value_that_is_printed() -> None:
    assert CHAP["password"] not in repr(parse_wanted(acl(auth=CHAP)))
