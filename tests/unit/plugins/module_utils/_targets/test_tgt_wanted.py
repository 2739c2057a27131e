# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of tgt_target: what is refused, in words, and what becomes of the rest."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_wanted import PARAMETERS, Backing, default_bs_type, parse_wanted

NAME = "iqn.2013-10.com.example:disk3"
SECRET, OTHER = "a-secret-of-twelve", "another-secret-of-it"
Options = t.Dict[str, t.Any]


def target(**given: t.Any) -> Options:
    return {"name": NAME, **given}


def lun(**given: t.Any) -> Options:
    return target(luns=[{"lun": 1, "backing_store": "/srv/d", **given}])


def user(name: str = "anna", secret: str = SECRET) -> Options:
    return {"username": name, "password": secret}


def incoming(*users: Options, **given: t.Any) -> Options:
    return target(accounts={"incoming": list(users), **given})


def address(text: str) -> Options:
    return target(allow={"addresses": [text]})


OWN = {"cd": "mmc", "tape": "ssc", "changer": "smc"}
REFUSED: t.List[t.Tuple[str, Options, str]] = [
    ("cookbook-name", {"name": "iqn.20013-10.com.redhat"}, "where a date YYYY-MM is expected"),
    ("no-name", {"name": ""}, "is empty"),
    ("underscore", {"name": "iqn.2013-10.com.example:disk_3"}, "a character that tgtd refuses"),
    ("twice", {"targets": [{"name": NAME}, {"name": NAME}]}, "given twice"),
    ("port", target(control_port=40000), "is 40000"),
    ("lun-0", lun(lun=0), "LUN 0 is the controller"),
    ("lun-high", lun(lun=256), "out of range"),
    ("lun-twice", target(luns=[{"lun": 1, "backing_store": "/a"}, {"lun": 1, "backing_store": "/b"}]), "1 is given twice"),
    ("path-twice", target(luns=[{"lun": 1, "backing_store": "/a"}, {"lun": 2, "backing_store": "/a"}]), "/a is given twice"),
    ("no-path", target(luns=[{"lun": 1}]), "is missing"),
    ("no-word-for-null", target(luns=[{"lun": 1, "bs_type": "null"}]), "is missing"),
    ("relative", lun(backing_store="srv/d"), "no absolute path"),
    ("comma", lun(backing_store="/srv/a,b"), "cannot carry"),
    ("blank", lun(backing_store="/srv/a b"), "cannot carry"),
    ("dollar", lun(backing_store="/srv/$HOME"), "cannot carry"),
    ("slash-at-the-end", lun(backing_store="/srv/d/"), "ends with a slash"),
    ("line-separator", lun(backing_store="/srv/a\u2028b"), "cannot carry"),
    ("glfs", lun(backing_store="/vol/disk", bs_type="glfs"), "no file in a Gluster volume"),
    ("sg-for-a-disk", lun(bs_type="sg"), "is sg for a disk"),
    ("pt-without-sg", lun(type="pt", bs_type="rdwr"), "is rdwr for a pt"),
    *((f"{kind}-by-{bs_type}", lun(type=kind, bs_type=bs_type), f"always takes {own} for a {kind}") for kind, own in OWN.items()
      for bs_type in ("rdwr", "aio", "null", "ssc", "smc", "mmc") if bs_type != own),
    *((f"{kind}-by-{bs_type}", lun(type=kind, bs_type=bs_type), f"is {bs_type} for a {kind}.*ssc for tape")
      for kind in ("disk", "osd") for bs_type in OWN.values()),
    ("ssc-for-what-is-not-said", lun(bs_type="ssc"), "is ssc for a disk"),
    ("block-size", lun(block_size=1000), "a power of two"),
    ("vendor-long", lun(vendor="LUNAR-ISC"), "1 to 8 letters"),
    ("product-empty", lun(product=""), "1 to 16 letters"),
    ("revision-comma", lun(revision="1,2"), "1 to 4 letters"),
    ("scsi-id-blank", lun(scsi_id="IET 1"), "1 to 36 letters"),
    ("bs-options", lun(bs_options="conf=/a'"), "Write key=value"),
    ("bs-options-empty", lun(bs_options=""), "Write key=value"),
    ("size-word", lun(size="large"), "no size"),
    ("size-without-a-unit", lun(size="1000"), "'1000', a number without a unit. Write 1000GiB"),
    ("size-less-than-a-block", lun(size="4095B", block_size=4096), "multiple of 4096"),
    ("size-of-no-file", lun(size="8192PiB"), "more than a file can have"),
    ("size-of-no-file-at-all", lun(size="999999999999PiB"), "more than a file can have"),
    ("create-without-size", lun(create=True), "how large the file shall be"),
    ("glfs-flags", lun(backing_store="v@s:d", bs_type="glfs", flags=["sync"]), "for files of this host"),
    ("size-elsewhere", lun(backing_store="v@s:d", bs_type="glfs", size="1GiB"), "cannot be had"),
    ("size-of-nothing", target(luns=[{"lun": 1, "type": "cd", "size": "1GiB"}]), "cannot be had"),
    ("all-and-more", target(allow={"addresses": ["ALL", "192.0.2.1"]}), "ALL beside others"),
    ("host-bits", address("192.0.2.5/24"), "Write 192.0.2.0/24, or 192.0.2.5"),
    ("host-bits-6", address("fd00::5/64"), "Write fd00::/64, or fd00::5"),
    ("every", address("0.0.0.0/0"), "Write ALL"),
    ("every-6", address("::/0"), "Write ALL"),
    ("from-zero", address("0.0.0.0/1"), "every address of the other IP version"),
    ("from-zero-6", address("::/16"), "every address of the other IP version"),
    ("host-name", address("gluster1"), "no IP address"),
    ("interface", address("fe80::1%eth0"), "names an interface.*Write fe80::1, "),
    ("interface-in-brackets", address("[fe80::1%eth0]/64"), "names an interface.*Write fe80::1, "),
    ("all-in-small", address("all"), "no IP address"),
    ("same-address", target(allow={"addresses": ["192.0.2.1", "192.0.2.1/32"]}), "given twice"),
    ("initiator", target(allow={"initiators": ["host1"]}), "does not begin with iqn"),
    ("initiator-capital", target(allow={"initiators": ["IQN.2026-11.org.example:a"]}), "small letters"),
    ("initiator-shell", target(allow={"initiators": ["iqn.2026-11.org.example:$(reboot)"]}), "cannot carry"),
    ("initiators", target(allow={"initiators": ["iqn.2026-11.org.example:a"] * 2}), "given twice"),
    ("user-blank", incoming(user("anna b")), "letters, digits"),
    ("user-comma", incoming(user("anna,b")), "letters, digits"),
    ("user-twice", incoming(user(), user(secret=OTHER)), "given twice"),
    ("secret-empty", incoming(user(secret="")), "1 to 255 printable"),
    ("secret-blank", incoming(user(secret="a b")), "1 to 255 printable"),
    ("secret-hash", incoming(user(secret="a#b")), "1 to 255 printable"),
    ("secret-quote", incoming(user(secret="a'b")), "1 to 255 printable"),
    ("secret-backslash", incoming(user(secret="a\\b")), "1 to 255 printable"),
    ("secret-here-document", incoming(user(secret="a=<<b")), "1 to 255 printable"),
    ("secret-comment", incoming(user(secret="a/*b*/c")), "1 to 255 printable"),
    ("secret-foreign", incoming(user(secret="gehëim")), "1 to 255 printable"),
    ("secret-long", incoming(user(secret="x" * 256)), "1 to 255 printable"),
    ("outgoing-alone", target(accounts={"outgoing": user()}), "Mutual CHAP begins"),
    ("outgoing-secret", incoming(user(), outgoing=user("array")), "one secret for both directions"),
    ("outgoing-name", incoming(user(), outgoing=user(secret=OTHER)), "has the name 'anna'"),
    *((f"{word}-of-nothing", {"portals": ["192.0.2.1"], word: value}, f"option {word}: says something of a target, and none is named") for word, value in (
        ("driver", "iscsi"), ("enabled", False), ("luns", []), ("allow", {}), ("accounts", {}), ("parameters", {}), ("nop_interval", 0), ("nop_count", 0))),
    ("portals-absent", target(state="absent", portals=["192.0.2.1"]), "with state: absent"),
    ("two-secrets", {"targets": [incoming(user()), dict(incoming(user(secret=OTHER)), name=NAME + "x")]}, "is given two secrets"),
    ("parameter-no-word", target(parameters={7: 1}), "parameter 7: is not known"),
    ("parameter", target(parameters={"MaxBurstlength": 1}), "did you mean 'MaxBurstLength'"),
    ("number-word", target(parameters={"MaxBurstLength": "many"}), "Give a number from 512"),
    ("number-low", target(parameters={"MaxBurstLength": 511}), "Give a number from 512"),
    ("number-bool", target(parameters={"MaxConnections": True}), "Give a number from 1"),
    ("yes-no", target(parameters={"InitialR2T": "maybe"}), "Give Yes or No"),
    ("digest", target(parameters={"HeaderDigest": "CRC32C,None"}), "Give None or CRC32C"),
    ("nop", target(nop_interval=-1), "Give a number from 0"),
    ("nop-count", target(nop_count=3601), "Give a number from 0"),
    ("nop-count-of-none", target(nop_count=3), "Give nop_interval"),
    ("nop-iser", target(nop_interval=1, driver="iser"), "for the driver iscsi"),
]  # fmt: skip


@pytest.mark.parametrize("options, what", [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refused_in_words(options: Options, what: str) -> None:
    with pytest.raises(InputError, match=what) as caught:
        parse_wanted(options)
    assert caught.value.remedy or what == "given twice"
    for secret in (SECRET, OTHER, "a=<<b", "a/*b*/c", "gehëim", "xxxx"):
        assert secret not in caught.value.sentence()


@pytest.mark.parametrize("given, told", [
    ("192.0.2.5", "192.0.2.5"), ("192.0.2.5/32", "192.0.2.5"), ("192.0.2.0/24", "192.0.2.0/24"), ("192.0.2.0/255.255.255.0", "192.0.2.0/24"),
    ("FD00:0::5", "fd00::5"), ("[fd00::5]", "fd00::5"), ("fd00::5/128", "fd00::5"), ("[fd00::]/64", "fd00::/64"), ("ALL", "ALL"),
])  # fmt: skip
def test_addresses(given: str, told: str) -> None:
    assert parse_wanted(address(given)).targets[NAME].allow == ((told,), ())


@pytest.mark.parametrize("name", PARAMETERS)
def test_values_of_parameters(name: str) -> None:
    accepted = []
    for value in (True, False, 512, "600", "None", "CRC32C"):
        try:
            accepted.append(parse_wanted(target(parameters={name: value})).targets[NAME].parameters[name])
        except InputError:
            continue
    assert accepted in (["Yes", "No"], ["512", "600"], ["None", "CRC32C"], [])
    assert accepted or name == "ErrorRecoveryLevel"


@pytest.mark.parametrize("interval, count, told", [(5, 3, (5, 3)), (5, None, (5, None)), (5, 0, (5, 0)), (0, 3, (0, None)), (None, 0, (None, None))])
def test_pings(interval: t.Optional[int], count: t.Optional[int], told: t.Tuple[t.Optional[int], t.Optional[int]]) -> None:
    """tgtd does not tell a count without pings."""
    one = parse_wanted(target(nop_interval=interval, nop_count=count)).targets[NAME]
    assert (one.nop_interval, one.nop_count) == told


def test_portals_alone() -> None:
    wanted = parse_wanted({"portals": ["192.0.2.1"], "state": "present", "targets": None, "luns": None})
    assert not wanted.targets and [one.address for one in wanted.portals or ()] == ["192.0.2.1:3260"]


def test_the_largest_file() -> None:
    assert parse_wanted(lun(size="8191PiB")).targets[NAME].backings[1].size == 8191 << 50


def test_what_is_not_said_is_none() -> None:
    one = parse_wanted(target()).targets[NAME]
    assert (one.driver, one.allow, one.incoming, one.outgoing, one.nop_interval, one.names_luns) == (None, None, None, None, None, False)
    assert one.enabled
    assert parse_wanted(target(luns=[])).targets[NAME].names_luns
    assert parse_wanted(target(allow={})).targets[NAME].allow == ((), ())
    assert parse_wanted(target(accounts={})).targets[NAME].incoming == {}


def test_a_lun_in_full() -> None:
    one = parse_wanted(lun(size="50GiB", create=True, sparse=False, flags=["sync", "direct", "sync"], thin_provisioning=True)).targets[NAME]
    assert one.backings == {1: Backing(50 << 30, True, False)}
    assert one.units[1].said() == {"path": "/srv/d", "flags": ("direct", "sync"), "thin": True}


def test_two_drives_without_a_medium() -> None:
    assert len(parse_wanted(target(luns=[{"lun": 1, "type": "cd"}, {"lun": 2, "type": "tape"}])).targets[NAME].units) == 2


@pytest.mark.parametrize("port, folder, save, saves, boots", [
    (0, None, True, True, True), (0, None, False, False, True), (5, None, True, False, False), (5, "/etc/tgt/five", True, True, False),
    (5, "/etc/tgt/five", False, False, False), (None, None, True, True, True),
])  # fmt: skip
def test_what_is_saved(port: t.Optional[int], folder: t.Optional[str], save: bool, saves: bool, boots: bool) -> None:
    wanted = parse_wanted(target(control_port=port, save_folder=folder, save=save))
    assert (wanted.save, wanted.boots) == (saves, boots)


@pytest.mark.parametrize("kind, bs_type", [*OWN.items(), *((kind, None) for kind in OWN), ("disk", "null"), ("pt", "bsg")])
def test_types_and_backing_stores_that_go_together(kind: str, bs_type: t.Optional[str]) -> None:
    assert parse_wanted(lun(type=kind, bs_type=bs_type)).targets[NAME].units[1].bs_type == bs_type


def test_backing_store_types() -> None:
    assert [default_bs_type(kind) for kind in (None, "disk", "cd", "tape", "changer", "pt")] == ["rdwr", "rdwr", "mmc", "ssc", "smc", "sg"]


def test_secrets_are_not_in_what_is_printed() -> None:
    assert SECRET not in repr(parse_wanted(incoming(user(), outgoing=user("array", OTHER))))
