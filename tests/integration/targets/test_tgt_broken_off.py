# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module tgt_target after what came to no end: a task that was killed, a boot at which an image was missing, tasks that saved nothing."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InUseError

if t.TYPE_CHECKING:
    from .conftest import Gateway

NAME = "iqn.2013-10.com.example:disk3"
HOST1, STRANGER = "iqn.2026-11.org.example:host1", "iqn.2026-11.org.example:stranger"
LOCAL, EVERYBODY = {"addresses": ["127.0.0.1"]}, {"addresses": ["ALL"]}
Options = t.Dict[str, t.Any]


def accounts(secret: str = "secret-of-anna") -> Options:
    return {"incoming": [{"username": "anna", "password": secret}]}


def lun(gateway: Gateway, number: int, **settings: t.Any) -> Options:
    path = gateway.images / f"disk{number}"
    return {"lun": number, "backing_store": str(path) if path.exists() else gateway.image(path.name), **settings}


def file_of(gateway: Gateway) -> str:
    return (gateway.conf / f"{NAME}.conf").read_text()


@pytest.mark.parametrize("before, task", [
    (None, {"luns": [{"vendor": "LUNAR", "write_cache": False}, {"scsi_id": "6abc"}], "allow": LOCAL, "accounts": accounts()}),
    ({"luns": [{}], "allow": LOCAL}, {"luns": [{}, {"vendor": "LUNAR", "write_cache": False}]}),
    ({"luns": [{"vendor": "LUNAR", "write_cache": False}], "allow": LOCAL}, {"luns": [{"block_size": 4096}]}),
    ({"luns": [{"vendor": "EARTH"}], "allow": LOCAL}, {"luns": [{"vendor": "LUNAR", "write_cache": False}], "allow": EVERYBODY}),
    ({"luns": [{}], "allow": EVERYBODY}, {"allow": LOCAL, "accounts": accounts(), "parameters": {"MaxBurstLength": 65536}}),
], ids=["from nothing", "another LUN", "made anew", "settings", "others"])  # fmt: skip
@pytest.mark.parametrize("after", ["the same", "something else", "a name"])
def test_the_next_task_completes_it(gateway: Gateway, before: t.Optional[Options], task: Options, after: str) -> None:
    """Killed after each request in turn, it ends where it would have ended in one go: in what tgtd serves, in what it says, and in the file."""
    def full(options: Options) -> Options:
        luns = [lun(gateway, number, **one) for number, one in enumerate(options.get("luns", ()), 1)]
        return dict(options, luns=luns) if luns else options

    def start() -> None:
        gateway.run(state="absent")
        if before is not None:
            gateway.run(**full(before))

    def seen() -> t.Tuple[object, ...]:
        account = "anna%secret-of-anna" if gateway.accounts() else ""
        return gateway.show(), file_of(gateway), [gateway.standard_inquiry(number, account) for number in range(1, len(gateway.paths()) + 1)]

    start()
    gateway.run(**full(task))
    expected = seen()
    left = 0
    while True:
        start()
        if not gateway.killed(left, **full(task)):
            break
        left += 1
        following: Options = {"the same": full(task), "something else": {"parameters": {"MaxOutstandingR2T": 2}}, "a name": {}}[after]
        gateway.run(**following)
        assert not gateway.run(**following)["changed"], left
        if "parameters" in following and "parameters" not in task:
            assert file_of(gateway).replace("    MaxOutstandingR2T 2\n", "") == expected[1], left
        elif "parameters" not in following:
            assert seen() == expected, left
    assert left >= 2, f"only {left} places to be killed at; the test proves little"
    assert not list((gateway.folder / "notes").rglob("*")), "what was begun is noted still"


def test_nobody_gets_in_without_a_secret_while_accounts_go(gateway: Gateway) -> None:
    """From everybody with a secret to one address without: a stranger has neither at any moment."""
    wide: Options = {"luns": [lun(gateway, 1)], "allow": EVERYBODY, "accounts": accounts()}
    narrow: Options = {"luns": [lun(gateway, 1), lun(gateway, 2)], "allow": {"initiators": [HOST1]}, "accounts": {}}
    left = 0
    while True:
        gateway.run(state="absent")
        gateway.run(**wide)
        killed = gateway.killed(left, **narrow)
        assert not gateway.lets_in(STRANGER), f"open after {left} requests"
        assert not gateway.lets_in(STRANGER, "anna%secret-of-anna", lun=2), f"the new LUN is seen by all after {left} requests"
        gateway.run()
        assert gateway.lets_in() and not gateway.lets_in(STRANGER) and gateway.accounts() == []
        if not killed:
            break
        left += 1
    assert left >= 5


def test_a_lun_that_was_missing_at_boot_stays_saved_and_comes_back(gateway: Gateway) -> None:
    options: Options = {"luns": [lun(gateway, 1, vendor="LUNAR", write_cache=False), lun(gateway, 2)], "allow": LOCAL, "accounts": accounts()}
    gateway.run(**options)
    before, saved = gateway.state(), file_of(gateway)
    image = gateway.images / "disk1"
    image.rename(gateway.folder / "away")
    gateway.boot()
    assert gateway.paths() == [str(gateway.images / "disk2")]
    result = gateway.run(parameters={"MaxBurstLength": 65536})
    assert [problem["object"] for problem in result["problems"]] == [f"LUN 1 of target {NAME}"] and "does not exist" in result["problems"][0]["what"]
    assert file_of(gateway).replace("    MaxBurstLength 65536\n", "") == saved
    assert gateway.paths() == [str(gateway.images / "disk2")] and [one["lun"] for one in result["targets"][0]["luns"]] == [2]
    again = gateway.run()
    assert not again["changed"] and again["problems"] == result["problems"]
    with pytest.raises(HostError, match="does not exist"):
        gateway.run(luns=options["luns"])
    (gateway.folder / "away").rename(image)
    assert gateway.run()["problems"] == []
    assert "LUNAR" in gateway.standard_inquiry(1, "anna%secret-of-anna")
    assert gateway.show() == before[0]
    assert gateway.lets_in(account="anna%secret-of-anna")


def test_a_target_that_came_back_empty(gateway: Gateway) -> None:
    """The only image was missing at boot; it is back before a task that is about something else."""
    gateway.run(luns=[lun(gateway, 1)], allow=LOCAL)
    before, saved = gateway.show(), file_of(gateway)
    image = gateway.images / "disk1"
    image.rename(gateway.folder / "away")
    gateway.boot()
    assert gateway.paths() == []
    (gateway.folder / "away").rename(image)
    gateway.run(nop_interval=0)
    assert (gateway.show(), file_of(gateway)) == (before, saved) and gateway.lets_in()


def test_a_lun_that_goes_with_purge_does_not_come_back(gateway: Gateway) -> None:
    gateway.run(luns=[lun(gateway, 1), lun(gateway, 2)], allow=LOCAL)
    gateway.tgt.adm("--op", "delete", "--mode", "logicalunit", "--tid", "1", "--lun", "2")
    gateway.run(luns=[lun(gateway, 1)], purge=True)
    assert gateway.paths() == [str(gateway.images / "disk1")] and "disk2" not in file_of(gateway)
    # and what is another LUN by now is not one twice
    gateway.tgt.adm("--op", "delete", "--mode", "logicalunit", "--tid", "1", "--lun", "1")
    gateway.run(luns=[dict(lun(gateway, 1), lun=5)])
    assert gateway.paths() == [str(gateway.images / "disk1")] and "lun 5\n" in file_of(gateway) and "lun 1\n" not in file_of(gateway)


def test_a_lun_that_was_made_anew_by_hand_gets_its_identity_back(gateway: Gateway) -> None:
    gateway.run(luns=[lun(gateway, 1, vendor="LUNAR", write_cache=False)], allow=LOCAL)
    before, inquiry = gateway.state(), gateway.standard_inquiry(1)

    def by_hand() -> None:
        gateway.tgt.adm("--op", "delete", "--mode", "logicalunit", "--tid", "1", "--lun", "1")
        gateway.tgt.adm("--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun", "1", "-b", str(gateway.images / "disk1"))

    by_hand()
    assert "LUNAR" not in gateway.standard_inquiry(1)
    gateway.run()
    assert gateway.state() == before and gateway.standard_inquiry(1) == inquiry
    by_hand()
    with gateway.session():
        with pytest.raises(InUseError, match="cannot become another disk"):
            gateway.run()
    assert gateway.run(force=True)["changed"]
    assert gateway.state() == before


def test_what_tgtd_made_of_itself_by_hand_stays(gateway: Gateway) -> None:
    """Where nothing is known of it, the identity that tgtd gave is the one that initiators know."""
    gateway.tgt.add_target(NAME, luns=[Path(gateway.image())])
    gateway.run()
    assert re.search(r"SCSI ID: IET     00010001\n", gateway.show()) and "scsi_id IET     00010001\n" in file_of(gateway)


def test_saved_and_not_saved_in_turn(gateway: Gateway) -> None:
    """What tgtd has is what the last task said, whether it saved that or not."""
    options: Options = {"luns": [lun(gateway, 1)], "allow": LOCAL}

    def task(secret: str, name: str, *, save: bool) -> bool:
        luns = [lun(gateway, 1, vendor=name)]
        changed = bool(gateway.run(**dict(options, luns=luns), accounts=accounts(secret), save=save)["changed"])
        assert gateway.lets_in(account=f"anna%{secret}") and name in gateway.standard_inquiry(1, f"anna%{secret}")
        assert not any(gateway.lets_in(account=f"anna%{other}") for other in ("first-secret", "second-secret") if other != secret)
        assert not gateway.run(**dict(options, luns=luns), accounts=accounts(secret), save=save)["changed"]
        return changed

    assert task("first-secret", "LUNAR", save=True)
    saved = file_of(gateway)
    assert not task("first-secret", "LUNAR", save=False) and not list((gateway.folder / "notes").rglob("*.conf"))
    assert task("second-secret", "EARTH", save=False) and file_of(gateway) == saved
    assert task("first-secret", "LUNAR", save=True) and file_of(gateway) == saved
    assert task("second-secret", "EARTH", save=False)
    assert task("second-secret", "EARTH", save=True) and file_of(gateway) != saved
    assert not list((gateway.folder / "notes").rglob("*"))
    assert task("first-secret", "LUNAR", save=False)
    gateway.boot()
    assert not task("second-secret", "EARTH", save=True)


def test_foreign_files_count_where_nothing_is_saved(gateway: Gateway) -> None:
    (gateway.conf / "mine.conf").write_text(f"<target {NAME}>\n    backing-store {gateway.image()}\n</target>\n")
    gateway.boot()
    before = gateway.state()
    tasks: t.List[Options] = [{"state": "absent"}, {"allow": LOCAL}]
    for task in tasks:
        with pytest.raises(HostError, match="mine.conf, which this module did not write"):
            gateway.run(save=False, **task)
        assert gateway.state() == before


def test_absent_and_saved_all_the_same(gateway: Gateway) -> None:
    gateway.run(luns=[lun(gateway, 1)], allow=LOCAL)
    saved = file_of(gateway)
    result = gateway.run(state="absent", save=False)
    assert result["changed"] and "Target" not in gateway.show() and file_of(gateway) == saved
    again = gateway.run(state="absent", save=False)
    assert not again["changed"]
    for one in (result, again):
        assert [problem["object"] for problem in one["problems"]] == [str(gateway.conf / f"{NAME}.conf")]
    assert gateway.run(state="absent")["problems"] == [] and not list(gateway.conf.iterdir())


def test_a_new_lun_is_completed_under_a_session(gateway: Gateway) -> None:
    """Nobody was told that it is there, so that it becomes what it was to be takes nothing away."""
    gateway.run(luns=[lun(gateway, 1)], allow=LOCAL)
    with gateway.session() as sid:
        assert gateway.killed(0, luns=[lun(gateway, 2, vendor="LUNAR", readonly=True)])
        assert "SCSI ID: IET     00010002\n" in gateway.show() and "LUNAR" not in gateway.standard_inquiry(2)
        result = gateway.run(parameters={"MaxBurstLength": 65536})
        assert gateway.sids() == [sid] and gateway.served() > 1 << 16
    assert "LUNAR" in gateway.standard_inquiry(2) and result["targets"][0]["luns"][1]["wwid"].startswith("36") and "IET" not in file_of(gateway)
