# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module tgt_target on a real tgtd: what it makes, what it changes while sessions go on, what it refuses, and what returns at boot."""

from __future__ import annotations

import os
import re
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InputError, InUseError, IscsiError
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_wanted import PARAMETERS

if t.TYPE_CHECKING:
    from .conftest import Gateway

NAME = "iqn.2013-10.com.example:disk3"
HOST1, HOST2 = "iqn.2026-11.org.example:host1", "iqn.2026-11.org.example:host2"
LOCAL = {"addresses": ["127.0.0.1"]}
OLD, NEW, BACK = "old-secret-of-anna", "new-secret-of-anna", "secret-of-the-array"
Options = t.Dict[str, t.Any]


def chap(secret: str = OLD, *others: str, outgoing: bool = False) -> Options:
    users = [{"username": "anna", "password": secret}, *({"username": user, "password": f"secret-of-{user}"} for user in others)]
    return {"incoming": users, **({"outgoing": {"username": "array", "password": BACK}} if outgoing else {})}


def raw_naa(wwid: str) -> bytes:
    """How libiscsi prints the binary NAA name of a WWID: raw, as a C string."""
    return b"Designator:[" + bytes.fromhex(wwid[1:]).partition(b"\0")[0] + b"]"


def test_from_nothing_to_a_disk_and_again(gateway: Gateway) -> None:
    image = gateway.images / "disk3"
    options: Options = {"luns": [{"lun": 1, "backing_store": str(image), "size": "50MiB", "create": True, "vendor": "LUNAR", "write_cache": False}],
                        "allow": LOCAL, "accounts": chap(outgoing=True), "parameters": {"MaxBurstLength": 1048576}}
    foretold = gateway.run(check=True, **options)
    assert foretold["changed"] and not image.exists() and "Target" not in gateway.show()
    result, text = gateway.module("strace", "-f", "-qq", "-o", str(gateway.folder / "strace"), "-e", "trace=execve", **options)
    assert result["changed"] and (result["steps"], result["diff"]) == (foretold["steps"], foretold["diff"])
    executed = [line for line in (gateway.folder / "strace").read_text().splitlines() if "execve(" in line]
    assert len(executed) == 1 and "python" in executed[0], "a process was started"
    assert (image.stat().st_size, image.stat().st_blocks) == (50 << 20, 0)
    assert gateway.lets_in(account=f"anna%{OLD}") and not gateway.lets_in() and not gateway.lets_in(account=f"anna%{NEW}")
    assert gateway.accounts() == ["anna", "array (outgoing)"] and gateway.acl() == ["127.0.0.1"]
    assert "MaxBurstLength=1048576" in gateway.tgt.adm("--op", "show", "--mode", "target", "--tid", "1")
    (file,) = gateway.conf.iterdir()
    assert (file.stat().st_mode & 0o777, file.name) == (0o600, f"{NAME}.conf")
    log = gateway.tgt.log.read_text(errors="replace")
    for secret in (OLD, BACK):
        assert secret not in text and secret not in log and secret in file.read_text()

    before = gateway.state()
    again, _text = gateway.module("strace", "-f", "-qq", "-o", str(gateway.folder / "strace"), "-e", "trace=execve", **options)
    assert not again["changed"] and again["steps"] == [] and gateway.state() == before
    assert (gateway.folder / "strace").read_text().count("execve(") == 1
    gateway.run(**{key: value for key, value in options.items() if key != "parameters"})
    assert gateway.requests == 3 and gateway.state() == before  # two, and one for the parameters that are saved
    gateway.boot()
    after = gateway.run(**options)
    assert not after["changed"], after["steps"]
    assert gateway.state() == before
    assert gateway.lets_in(account=f"anna%{OLD}") and not gateway.lets_in()


def test_an_unchanged_task_asks_twice(gateway: Gateway) -> None:
    options: Options = {"luns": [{"lun": 1, "backing_store": gateway.image()}], "allow": LOCAL}
    assert gateway.run(**options)["changed"]
    assert not gateway.run(**options)["changed"]
    assert gateway.requests == 2


def test_the_wwid_is_what_initiators_see(gateway: Gateway) -> None:
    gateway.image("a"), gateway.image("b")
    luns: t.List[Options] = [{"lun": 1, "backing_store": str(gateway.images / "a")},
                             {"lun": 2, "backing_store": str(gateway.images / "b"), "scsi_id": "6d4b1d1b4e5a6f1c3d2e1f1a9b8c7d6e", "scsi_sn": "serial-2"}]
    result = gateway.run(luns=luns, allow=LOCAL)
    for lun in result["targets"][0]["luns"]:
        page = gateway.inquiry(0x83, lun["lun"])
        assert raw_naa(lun["wwid"]) in page and f"Designator:[{lun['scsi_id']}".encode()[:40] in page
        assert lun["serial"].encode() in gateway.inquiry(0x80, lun["lun"])
    assert result["targets"][0]["luns"][1]["wwid"] == "36d4b1d1b4e5a6f1c3d2e1f1a9b8c7d6e"


def test_a_session_goes_on_through_changes(gateway: Gateway) -> None:
    luns = [{"lun": 1, "backing_store": gateway.image()}]
    gateway.run(luns=luns, allow=LOCAL, accounts=chap())
    with gateway.session(f"anna%{OLD}") as sid:
        changes: t.List[Options] = [
            {"allow": {"addresses": ["127.0.0.1", "192.0.2.0/24"], "initiators": [HOST2]}},
            {"luns": [*luns, {"lun": 2, "backing_store": gateway.image("second")}]},
            {"accounts": chap(NEW)},
            {"accounts": chap(NEW, "bert", outgoing=True)},
            {"parameters": {"MaxBurstLength": 524288}},
            {"nop_interval": 30, "nop_count": 3},
        ]
        for change in changes:
            assert gateway.run(**change)["changed"], change
            assert gateway.sids() == [sid], change
            assert gateway.served() > 1 << 16, f"the session stands still after {change}"
            assert not gateway.run(**change)["changed"], change
        busy = gateway.run()["targets"][0]["sessions"]
        assert busy == [{"sid": int(sid), "initiator": HOST1, "addresses": ["127.0.0.1"]}]
        assert not gateway.lets_in(HOST2, f"anna%{OLD}"), "the old secret is still good"
        assert gateway.lets_in(HOST2, f"anna%{NEW}") and gateway.lets_in(HOST2, "bert%secret-of-bert", lun=2)
        assert sorted(gateway.sids()) == [sid]
    assert gateway.accounts() == ["anna", "bert", "array (outgoing)"]
    assert "MaxBurstLength=524288" in gateway.tgt.adm("--op", "show", "--mode", "target", "--tid", "1")


@pytest.mark.parametrize("size", [4096, 1 << 20], ids=["4 KiB", "1 MiB"])
def test_writes_go_on_while_a_secret_rotates(gateway: Gateway, size: int) -> None:
    """Small ones are in the command itself, and large ones follow it, which tgtd treats otherwise while it refuses."""
    gateway.run(luns=[{"lun": 1, "backing_store": gateway.image()}], allow=LOCAL, accounts=chap())
    with gateway.writing(f"anna%{OLD}", size) as said:
        (sid,) = gateway.sids()
        for number in range(12):
            assert gateway.run(accounts=chap(f"{NEW}-{number}"))["changed"]
            assert gateway.sids() == [sid], number
            assert gateway.acl() == ["127.0.0.1"]
    writes, slowest = said
    assert writes > 12 and slowest < 10, said  # none was without an answer; libiscsi gives up after 20 s
    assert gateway.lets_in(account=f"anna%{NEW}-11") and not gateway.lets_in(account=f"anna%{OLD}")


def test_disabled_only_without_sessions(gateway: Gateway) -> None:
    gateway.run(luns=[{"lun": 1, "backing_store": gateway.image()}], allow=LOCAL)
    with gateway.session() as sid:
        before = gateway.state()
        with pytest.raises(InUseError, match=f"cannot be disabled.*{HOST1} from 127.0.0.1"):
            gateway.run(enabled=False)
        assert gateway.state() == before and gateway.sids() == [sid] and gateway.served() > 1 << 16
    gateway.gone()
    with gateway.session() as sid:
        assert gateway.run(enabled=False, force=True)["changed"]
        gateway.gone(sid)
        assert not gateway.lets_in() and not gateway.run(enabled=False)["changed"]
    gateway.run()
    assert gateway.lets_in()


@pytest.mark.parametrize("change", [
    {"luns": [], "purge": True}, {"state": "absent"}, {"luns": [{"lun": 1, "block_size": 4096}]}, {"luns": [{"lun": 1, "size": "32MiB"}]},
    {"luns": [{"lun": 1, "scsi_id": "6abc"}]}, {"luns": [{"lun": 1, "readonly": True}]},
], ids=["lun", "target", "block-size", "grow", "identity", "readonly"])  # fmt: skip
def test_what_a_session_would_lose_is_refused_and_forced(gateway: Gateway, change: Options) -> None:
    path = gateway.image()
    gateway.run(luns=[{"lun": 1, "backing_store": path}, {"lun": 2, "backing_store": gateway.image("other")}], allow=LOCAL)
    change = dict(change, luns=[dict(one, backing_store=path) for one in change["luns"]]) if "luns" in change else change
    with gateway.session() as sid:
        before = gateway.state()
        with pytest.raises(InUseError, match=f"{HOST1} from 127.0.0.1"):
            gateway.run(**change)
        assert gateway.state() == before and gateway.sids() == [sid]
        result = gateway.run(force=True, **change)
        assert result["changed"] and not gateway.run(force=True, **change)["changed"]
    assert gateway.tgt.alive()
    if change.get("state") == "absent":
        assert "Target" not in gateway.show() and not list(gateway.conf.iterdir())
    elif change.get("purge"):
        assert gateway.paths() == []
    elif "size" in change["luns"][0]:
        assert gateway.capacity() == 32 << 20


def test_foreign_files_are_left_alone(gateway: Gateway) -> None:
    foreign = gateway.conf / "mine.conf"
    foreign.write_text(f"<target {NAME}>\n    backing-store {gateway.image()}\n</target>\n")
    gateway.boot()
    options: Options = {"luns": [{"lun": 1, "backing_store": gateway.image("b")}]}
    before = gateway.state()
    for task in (options, {"state": "absent"}):
        with pytest.raises(HostError, match="mine.conf, which this module did not write"):
            gateway.run(**task)
        assert gateway.state() == before
    gateway.run(**dict(options, name="iqn.2026-11.org.example:other"))
    assert foreign.read_text() == before[1][str(foreign)] and before[0] in gateway.show()


MISSING = "does not exist"


@pytest.mark.parametrize("lun, what", [
    ({"backing_store": "{srv}/none"}, MISSING),
    ({"backing_store": "{srv}/none/disk", "size": "1MiB", "create": True}, "its folder is missing"),
    ({"backing_store": "{srv}"}, "neither a file nor a block"),
    ({"backing_store": "{srv}/empty"}, "is empty"),
    ({"backing_store": "/dev/null"}, "neither a file nor a block"),
    ({"backing_store": "{srv}/disk", "bs_type": "aoi"}, "is none that this tgtd has"),
    ({"backing_store": "vol@server:disk", "bs_type": "glfs"}, "Install tgt-glusterfs"),
    ({"backing_store": "{srv}/disk", "bs_type": "aio", "flags": ["direct"]}, "is none that the backing store aio takes"),
    ({"backing_store": "{srv}/disk", "scsi_id": "IET     00010001"}, "scsi_id"),
    ({"backing_store": "{srv}/disk", "scsi_id": "10001"}, "Initiators would take the two for one disk"),
], ids=lambda value: value if isinstance(value, str) else "")  # fmt: skip
@pytest.mark.parametrize("there", [True, False], ids=["changed", "new"])
def test_refused_before_anything_changed(gateway: Gateway, there: bool, lun: Options, what: str) -> None:
    gateway.image("disk"), gateway.image("empty", 0)
    gateway.tgt.add_target("iqn.2026-11.org.example:byhand", luns=[Path(gateway.image("byhand"))])
    gateway.tgt.adm("--op", "update", "--mode", "logicalunit", "--tid", "1", "--lun", "1", "--params", "scsi_id=10001")
    if there:
        gateway.run(luns=[{"lun": 1, "backing_store": gateway.image("first")}], allow=LOCAL)
    before = gateway.state()
    lun = dict(lun, lun=2, backing_store=lun["backing_store"].format(srv=gateway.images))
    with pytest.raises(IscsiError, match=what) as caught:
        gateway.run(luns=[{"lun": 3, "backing_store": gateway.image("disk2")}, lun], allow={"addresses": ["ALL"]}, accounts=chap())
    assert isinstance(caught.value, (HostError, InputError)) and caught.value.remedy
    (gateway.images / "disk2").unlink()
    assert gateway.state() == before


def test_a_folder_that_is_to_be_mounted_is_not_served(gateway: Gateway) -> None:
    mount = gateway.folder / "gluster"
    mount.mkdir()
    (mount / "disk").write_bytes(bytes(1 << 20))
    fstab = gateway.folder / "its-fstab"
    fstab.write_text(f"127.0.0.1:/vol {mount} glusterfs defaults,_netdev 0 0\n")
    for lun in ({"lun": 1, "backing_store": f"{mount}/disk"}, {"lun": 1, "backing_store": f"{mount}/new", "size": "1MiB", "create": True}):
        inside = ["unshare", "--mount", "--propagation", "private", "sh", "-c", 'mount --bind "$0" /etc/fstab && exec "$@"', str(fstab)]
        result, _text = gateway.module(*inside, luns=[lun])
        assert result["failed"] and f"is below {mount}, which is to be mounted and is not" in result["msg"]
        assert "Target" not in gateway.show() and not list(gateway.conf.iterdir()) and os.listdir(mount) == ["disk"]
        mounted = [*inside[:-2], f'mount --bind "$0" /etc/fstab && mount -t tmpfs none {mount} && truncate -s 1M {mount}/disk && exec "$@"', str(fstab)]
    result, _text = gateway.module(*mounted, luns=[{"lun": 1, "backing_store": f"{mount}/disk"}], _ansible_check_mode=True)
    assert result["changed"], result


@pytest.mark.parametrize("boot", [False, True], ids=["live", "after a boot"])
@pytest.mark.parametrize("allow, lets_in", [
    (None, ()), ({}, ()), ({"initiators": [HOST1]}, (HOST1,)), ({"addresses": ["192.0.2.1"]}, ()), ({"addresses": ["ALL"]}, (HOST1, HOST2)),
    ({"addresses": ["192.0.2.1"], "initiators": [HOST2]}, (HOST2,)), ({"addresses": ["127.0.0.1/32"]}, (HOST1, HOST2)),
    ({"addresses": ["127.0.0.0/8"]}, (HOST1, HOST2)), ({"addresses": ["127.0.0.0/31"]}, (HOST1, HOST2)), ({"addresses": ["127.0.0.2/31"]}, ()),
], ids=["none", "empty", "one initiator", "elsewhere", "ALL", "either", "one as a network", "network", "small network", "other network"])  # fmt: skip
def test_who_gets_in(gateway: Gateway, allow: t.Optional[Options], lets_in: t.Sequence[str], boot: bool) -> None:
    options: Options = {"luns": [{"lun": 1, "backing_store": gateway.image()}], "allow": allow}
    gateway.run(**options)
    if boot:
        gateway.boot()
    assert tuple(host for host in (HOST1, HOST2) if gateway.lets_in(host)) == lets_in
    assert not gateway.run(**options)["changed"]


def test_host_bits_and_single_hosts(gateway: Gateway) -> None:
    gateway.tgt.add_target(NAME, luns=[Path(gateway.image())], allow="127.0.0.1/32")
    assert not gateway.lets_in(), "tgtd matches /32 after all; then the module need not write it otherwise"
    with pytest.raises(InputError, match="Write 127.0.0.0/8, or 127.0.0.1 for that host alone"):
        gateway.run(allow={"addresses": ["127.0.0.1/8"]})


#: what each may be at least and at most
RANGES = {"MaxRecvDataSegmentLength": ("512", "16777215"), "MaxXmitDataSegmentLength": ("512", "16777215"), "MaxOutstandingR2T": ("1", "65535"),
          "FirstBurstLength": ("512", "16777215"), "MaxBurstLength": ("512", "16777215"), "ErrorRecoveryLevel": ("0", "2"),
          "DefaultTime2Wait": ("0", "3600"), "DefaultTime2Retain": ("0", "3600"), "MaxConnections": ("1", "65535"),
          "HeaderDigest": ("None", "CRC32C"), "DataDigest": ("None", "CRC32C")}


@pytest.mark.parametrize("end", [0, 1], ids=["low", "high"])
def test_every_parameter_is_taken_shown_and_returns(gateway: Gateway, end: int) -> None:
    parameters = {name: RANGES.get(name, ("No", "Yes"))[end] for name in PARAMETERS}
    options: Options = {"luns": [{"lun": 1, "backing_store": gateway.image()}], "parameters": parameters}
    gateway.run(**options)
    shown = dict(re.findall(r"^(\w+)=(\S*)$", gateway.tgt.adm("--op", "show", "--mode", "target", "--tid", "1"), re.MULTILINE))
    assert {name: shown[name] for name in parameters} == parameters
    gateway.boot()
    assert not gateway.run(**options)["changed"]


def test_sizes(gateway: Gateway) -> None:
    path = gateway.images / "disk3"
    lun: Options = {"lun": 1, "backing_store": str(path), "create": True, "sparse": False, "size": "2MB"}
    gateway.run(luns=[lun], allow=LOCAL)
    assert path.stat().st_size == 2 * 10**6 // 512 * 512 == gateway.capacity()
    assert path.stat().st_blocks * 512 >= 2 * 10**6 // 512 * 512
    with path.open("r+b") as file:
        file.write(b"data")
    assert not gateway.run(luns=[dict(lun, size="1MiB")])["changed"], "a larger file stays"
    gateway.run(luns=[dict(lun, size="2300KiB")])  # less than what tgtd shows of a size
    assert gateway.capacity() == 2300 << 10 and path.read_bytes()[:4] == b"data"
    path.unlink()
    before = gateway.state()
    with pytest.raises(HostError, match="tgtd still has it open"):
        gateway.run(luns=[lun])
    assert gateway.state() == before


def test_kinds_of_luns(gateway: Gateway) -> None:
    gateway.image("iso"), gateway.image("aio")
    tape, srv = gateway.images / "tape", gateway.images
    subprocess.run(["tgtimg", "--op", "new", "--device-type", "tape", "--barcode", "T1", "--size", "10", "--type", "data", "--file", str(tape)],
                   check=True, capture_output=True)
    luns = [{"lun": 1, "backing_store": f"{srv}/iso", "type": "cd", "readonly": True}, {"lun": 4, "backing_store": str(tape), "type": "tape"},
            {"lun": 6, "backing_store": f"{srv}/aio", "bs_type": "aio", "block_size": 4096, "thin_provisioning": True},
            {"lun": 30, "backing_store": gateway.image("far"), "flags": ["direct", "sync"], "product": "DISK-300", "revision": "2"}]
    options: Options = {"luns": luns, "allow": LOCAL}
    gateway.run(**options)
    kinds = [line.partition(": ")[2] for line in gateway.part("LUN information") if line.startswith("Type: ")]
    assert kinds == ["controller", "cd/dvd", "tape", "disk", "disk"]
    assert not gateway.run(**options)["changed"]
    before = gateway.state()
    gateway.boot()
    again = gateway.run(**options)
    assert not again["changed"], (again["steps"], again["diff"])
    assert gateway.state() == before
    assert b"DISK-300" in subprocess.run(["iscsi-inq", gateway.url(lun=30)], check=True, capture_output=True, timeout=20).stdout


@pytest.mark.parametrize("kind", ["disk", "cd", "changer", "tape", "osd", None])
def test_every_pair_of_types_is_refused_or_works(gateway: Gateway, kind: t.Optional[str]) -> None:
    """tgtd takes some in silence and ends with them, now or when the LUN goes."""
    worked = []
    for bs_type in ("rdwr", "aio", "null", "ssc", "smc", "mmc", "sg", None):
        options: Options = {"luns": [{"lun": 1, "backing_store": gateway.image(size=1 << 20), "type": kind, "bs_type": bs_type}], "allow": LOCAL}
        try:
            gateway.run(**options)
        except (InputError, HostError) as error:
            assert "bs_type" in str(error), error
            assert "Target" not in gateway.show()
            continue
        assert not gateway.run(**options)["changed"] and gateway.lets_in()
        worked.append(bs_type)
        gateway.run(state="absent")
        assert "Target" not in gateway.show() and gateway.tgt.alive()
    own = {"cd": ["mmc", None], "tape": ["ssc", None], "changer": ["smc", None], "osd": ["rdwr", "aio", "null"]}
    assert worked == own.get(kind or "", ["rdwr", "aio", "null", None])


def test_luns_without_a_medium(gateway: Gateway) -> None:
    """The script of tgt 1.0.85 leaves them out at boot; the next run makes them again."""
    options: Options = {"luns": [{"lun": 1, "type": "cd"}, {"lun": 2, "type": "cd", "removable": True}, {"lun": 3, "backing_store": gateway.image()}]}
    gateway.run(**options)
    assert gateway.paths() == ["None", "None", str(gateway.images / "disk3")]
    assert not gateway.run(**options)["changed"]
    gateway.boot()
    gateway.run(**options)
    assert gateway.paths() == ["None", "None", str(gateway.images / "disk3")]


def test_paths_that_are_no_files_return_at_boot(gateway: Gateway) -> None:
    luns = [{"lun": 1, "backing_store": "vol1@server:disk", "bs_type": "null"}, {"lun": 2, "backing_store": gateway.image()}]
    options: Options = {"luns": luns, "allow": LOCAL}
    gateway.run(**options)
    before = gateway.show().splitlines()
    gateway.boot()
    assert gateway.show().splitlines() == before
    assert not gateway.run(**options)["changed"]
