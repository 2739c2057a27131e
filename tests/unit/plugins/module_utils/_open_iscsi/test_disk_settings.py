# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of disks: what the task plans, what it writes to a fake sysfs, and the rules that keep it. udev itself reads them in the integration tests."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import bring_about
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, HostError, InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._host import scsi
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result, Runner
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi import disk_settings, rescan
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.disk_rules import Rule, parse_rules, render_rules, rule_targets
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.sysfs_tree import Tree

from .builders import session_params

ONE, TWO = "iqn.2026-11.org.example:one", "iqn.2026-11.org.example:two"
ALL = {"timeout": 60, "queue_depth": 64, "max_retries": 3}


class World:
    """A session to each of two targets, a disk behind each; the rules are in a folder that is not there yet."""

    def __init__(self, root: Path) -> None:
        self.tree = Tree(root)
        self.rules = root / "etc/udev/rules.d/99-lunar-iscsi-disks.rules"
        self.ran: t.List[t.Tuple[str, ...]] = []
        self.code = 0
        for sid, host, target, name in ((1, 2, ONE, "sda"), (2, 3, TWO, "sdb")):
            self.tree.session(sid, host, target)
            self.tree.attributes(f"/sys/class/scsi_host/host{host}", can_queue=113)
            self.disk(sid, host, 0, name)

    def disk(self, sid: int, host: int, lun: int, name: str) -> None:
        folder = self.tree.lun(sid, host, lun, name, f"8:{16 * len(name) + lun}")
        self.tree.attributes(folder, timeout=30, queue_depth=32)
        self.tree.attributes(f"{folder}/scsi_disk/{host}:0:0:{lun}", max_retries=5)

    def has(self, name: str) -> t.Dict[str, int]:
        device = Path(self.tree.sys, "class/block", name, "device")
        (scsi_disk,) = (device / "scsi_disk").iterdir()
        return {"timeout": int((device / "timeout").read_text()), "queue_depth": int((device / "queue_depth").read_text()),
                "max_retries": int((scsi_disk / "max_retries").read_text())}

    def run(self, settings: t.Optional[t.Mapping[str, t.Optional[int]]], check_mode: bool = False, **options: t.Any) -> t.Dict[str, t.Any]:
        params = session_params(**{"state": "present", "disk_settings": settings, **options})
        task = rescan.RescanTask(params, check_mode=check_mode, resize=lambda device: None, sys=self.tree.sys)
        return bring_about(task, check_mode, diff_mode=True)

    def twice(self, settings: t.Mapping[str, t.Optional[int]], **options: t.Any) -> t.List[str]:
        """Check mode, which changes nothing; a run that does what was predicted; a second run with nothing to do and no process started; the steps."""
        before = (self.has("sda"), self.has("sdb"), self.rules.read_text() if self.rules.exists() else None, list(self.ran))
        predicted = self.run(settings, check_mode=True, **options)
        assert before == (self.has("sda"), self.has("sdb"), self.rules.read_text() if self.rules.exists() else None, self.ran)
        done = self.run(settings, **options)
        ran = list(self.ran)
        again = self.run(settings, **options)
        assert (predicted["changed"], predicted["steps"], predicted["diff"]) == (done["changed"], done["steps"], done["diff"])
        assert not again["changed"] and again["steps"] == [] and self.ran == ran
        return list(done["steps"])


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    one = World(tmp_path)

    def run(_self: Runner, argv: t.Sequence[str], **_more: t.Any) -> Result:
        one.ran.append(tuple(argv))
        return Result(tuple(argv), one.code, "", "Failed to send reload request: No such file or directory\n" if one.code else "")

    monkeypatch.setattr(Runner, "run", run)
    made = disk_settings.DiskSettings
    monkeypatch.setattr(rescan, "DiskSettings", lambda given, **more: made(given, rules=str(one.rules), **more))
    return one


def test_set_now_and_kept(world: World) -> None:
    names = "max_retries, queue_depth, timeout"
    assert world.twice(ALL) == [f"write rules {world.rules}", f"set {names} of /dev/sda", f"set {names} of /dev/sdb"]
    assert world.has("sda") == world.has("sdb") == ALL
    assert world.ran == [("udevadm", "control", "--reload")]
    assert os.stat(world.rules).st_mode & 0o777 == 0o644
    assert parse_rules(world.rules.read_text()) == [Rule(("*",), ALL)]


def test_the_diff_has_what_was_and_what_will_be(world: World) -> None:
    diff = world.run({"timeout": 60}, check_mode=True, targets=[ONE])["diff"]
    assert diff[0]["before"] == "" and 'ATTR{device/timeout}="60"' in diff[0]["after"]
    assert diff[1] == {"before_header": "timeout of /dev/sda", "after_header": "timeout of /dev/sda", "before": "timeout = 30\n", "after": "timeout = 60\n"}


def test_only_what_is_said_of_the_targets_that_are_meant(world: World) -> None:
    settings = {"queue_depth": 16, "timeout": None, "max_retries": None}
    assert world.twice(settings, targets=["*:two"]) == [f"write rules {world.rules}", "set queue_depth of /dev/sdb"]
    assert world.has("sda") == {"timeout": 30, "queue_depth": 32, "max_retries": 5} and world.has("sdb") == {"timeout": 30, "queue_depth": 16, "max_retries": 5}


def test_a_value_that_somebody_changed_is_set_again_and_the_rule_stays(world: World) -> None:
    world.run(ALL)
    world.tree.attributes("/sys/devices/platform/host2/session1/target2:0:0/2:0:0:0", timeout=180)
    assert world.twice(ALL) == ["set timeout of /dev/sda"] and len(world.ran) == 1


def test_a_rule_that_somebody_changed_is_written_again(world: World) -> None:
    world.run(ALL)
    world.rules.write_text(world.rules.read_text().replace('"60"', '"61"'))
    assert world.twice(ALL) == [f"change rules {world.rules}"]


def test_two_tasks_keep_a_rule_each_and_settings_add_up(world: World) -> None:
    world.run({"timeout": 60}, targets=[ONE])
    world.run({"timeout": 90}, targets=[TWO])
    assert world.twice({"queue_depth": 8}, targets=[ONE]) == [f"change rules {world.rules}", "set queue_depth of /dev/sda"]
    assert parse_rules(world.rules.read_text()) == [Rule((ONE,), {"timeout": 60, "queue_depth": 8}), Rule((TWO,), {"timeout": 90})]
    assert world.has("sda")["timeout"] == 60 and world.has("sdb")["timeout"] == 90


def test_a_target_with_two_values_is_told(world: World) -> None:
    world.run({"timeout": 60}, targets=[ONE])
    problems = world.run({"timeout": 90}, targets=["*"], check_mode=True)["problems"]
    assert [problem["object"] for problem in problems] == [f"target {ONE}"] and "timeout" in problems[0]["what"] and ONE in problems[0]["what"]
    assert world.run({"timeout": 60}, targets=["*"], check_mode=True)["problems"] == []


def test_for_this_boot_alone(world: World) -> None:
    assert world.twice(ALL, persistent=False, sids=[2]) == ["set max_retries, queue_depth, timeout of /dev/sdb"]
    assert not world.rules.exists() and world.ran == [] and world.has("sda")["timeout"] == 30


def test_what_shall_not_be_kept_loses_its_rule(world: World) -> None:
    world.run({"timeout": 60}, targets=[ONE])
    world.run({"timeout": 90}, targets=[TWO])
    assert world.twice({"timeout": 60}, targets=[ONE], persistent=False) == [f"change rules {world.rules}"]
    assert world.twice({"timeout": 90}, targets=[TWO], persistent=False) == [f"remove rules {world.rules}"]
    assert not world.rules.exists() and len(world.ran) == 4


def test_sessions_by_id_leave_the_rules_of_targets_alone(world: World) -> None:
    world.run({"timeout": 60})
    assert world.twice({"timeout": 90}, persistent=False, sids=[2]) == ["set timeout of /dev/sdb"]
    assert parse_rules(world.rules.read_text()) == [Rule(("*",), {"timeout": 60})]


def test_a_udev_that_does_not_run_is_told(world: World) -> None:
    world.code = 1
    problems = world.run({"timeout": 60})["problems"]
    assert [problem["object"] for problem in problems] == [str(world.rules)] and "Failed to send reload request" in problems[0]["what"]
    assert world.rules.exists()


def test_a_disk_that_comes_in_the_same_task_is_set_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    luns = {"/dev/sda": [0, 4], "/dev/sdb": [0], "/dev/sdc": [0, 4]}
    monkeypatch.setattr(scsi, "report_luns", lambda device, timeout: luns[device])
    monkeypatch.setattr(scsi, "read_capacity", lambda device, timeout: 2097152 * 512)
    monkeypatch.setattr(rescan.RescanTask, "_write", lambda task, path, text: world.disk(1, 2, 4, "sdc"))
    monkeypatch.setattr(rescan, "wait_for_disks", lambda read, **_more: read())
    done = world.run(ALL, state="rescanned")
    assert f"add LUN 4 of session 1 of {ONE} at 192.0.2.1:3260,1" in done["steps"] and world.has("sdc") == ALL
    assert not world.run(ALL, state="rescanned")["changed"]


def test_a_disk_that_goes_in_the_same_task_is_not_set(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    luns: t.Dict[str, t.List[int]] = {"/dev/sda": [], "/dev/sdb": [0]}
    monkeypatch.setattr(scsi, "report_luns", lambda device, timeout: luns[device])
    monkeypatch.setattr(scsi, "device_identification", lambda device, timeout: None)
    monkeypatch.setattr(scsi, "read_capacity", lambda device, timeout: 2097152 * 512)
    monkeypatch.setattr(rescan, "users_of", lambda names, sys: [])
    predicted = world.run({"timeout": 60}, check_mode=True, state="rescanned", prune=True, persistent=False)
    assert predicted["steps"] == [f"remove LUN 0 of session 1 of {ONE} at 192.0.2.1:3260,1 (/dev/sda)", "set timeout of /dev/sdb"]


def test_a_kernel_without_the_setting_is_named(world: World) -> None:
    folder = Path(world.tree.sys, "class/block/sdb/device/scsi_disk/3:0:0:0")
    (folder / "max_retries").unlink()
    with pytest.raises(HostError, match=r"/dev/sdb: has no setting max_retries in this kernel\. .*Linux 5\.10"):
        world.run(ALL)
    assert not world.rules.exists() and world.has("sda")["timeout"] == 30


def test_more_commands_than_the_session_takes_are_refused(world: World) -> None:
    with pytest.raises(InputError, match=r"is 114, and session 1 of .* no more than 113 commands .*node\.session\.cmds_max"):
        world.run({"queue_depth": 114})
    assert world.twice({"queue_depth": 113}) and world.has("sda")["queue_depth"] == 113


@pytest.mark.parametrize(("settings", "options", "words"), [
    ({}, {}, "names no setting"),
    ({"timeout": None}, {}, "names no setting"),
    ({"timeout": 0}, {}, r"disk_settings\.timeout: is 0\. Give a number from 1 to 86400"),
    ({"max_retries": 6}, {}, "from -1 to 5"),
    ({"max_retries": -2}, {}, "from -1 to 5"),
    ({"queue_depth": 0}, {}, "from 1 to 65535"),
    ({"timeout": 60}, {"sids": [1]}, "persistent: false"),
    ({"timeout": 60}, {"targets": ['a"b']}, "cannot match"),
    ({"timeout": 60}, {"targets": ["a|b"]}, "cannot match"),
    ({"timeout": 60}, {"targets": ["a b"]}, "cannot match"),
    ({"timeout": 60}, {"targets": ["[^a]"]}, "cannot match"),
    ({"timeout": 60}, {"targets": [""]}, "cannot match"),
    ({"timeout": 60}, {"targets": ["x" * 1001]}, "1001 characters"),
    ({"timeout": 60}, {"targets": [f"iqn.2026-11.org.example:{number}" for number in range(400)]}, "400 targets"),
])
def test_what_makes_no_rule_is_refused(world: World, settings: t.Any, options: t.Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        world.run(settings, **options)
    assert not world.rules.exists() and world.ran == []


@pytest.mark.parametrize(("text", "words"), [
    ("# somebody else's\n", "is not a file that iscsi_session wrote"),
    ("# Written by lunar.iscsi.iscsi_session, option\n# {\n", "line 2: was changed and cannot be read"),
    ('# Written by lunar.iscsi.iscsi_session, option\n# {"settings": {"timeout": "60"}, "targets": ["*"]}\n', "line 2"),
    ('# Written by lunar.iscsi.iscsi_session, option\n# {"settings": {"reboot": 1}, "targets": ["*"]}\n', "line 2"),
    ('# Written by lunar.iscsi.iscsi_session, option\n# {"settings": {"timeout": 1}, "targets": []}\n', "line 2"),
])
def test_a_file_that_cannot_be_read_is_left_alone(world: World, text: str, words: str) -> None:
    world.rules.parent.mkdir(parents=True)
    world.rules.write_text(text)
    with pytest.raises(DamagedError, match=words):
        world.run({"timeout": 60})
    assert world.rules.read_text() == text and world.has("sda")["timeout"] == 30


def test_a_file_of_somebody_else_is_no_matter_where_nothing_is_kept(world: World) -> None:
    world.rules.parent.mkdir(parents=True)
    world.rules.write_text("# somebody else's\n")
    assert world.twice({"timeout": 60}, persistent=False) == ["set timeout of /dev/sda", "set timeout of /dev/sdb"]
    assert world.rules.read_text() == "# somebody else's\n"


_SETTINGS = st.fixed_dictionaries({}, optional={"timeout": st.integers(1, 86400), "queue_depth": st.integers(1, 65535), "max_retries": st.integers(-1, 5)})
_GLOBS = st.lists(st.text("abc019.:-*?", min_size=1, max_size=20), max_size=4).map(rule_targets)


@given(st.lists(st.builds(Rule, _GLOBS, _SETTINGS.filter(bool)), max_size=5))
def test_every_file_reads_back_as_it_was_meant(rules: t.List[Rule]) -> None:
    text = render_rules(rules)
    assert parse_rules(text) == rules and render_rules(parse_rules(text)) == text
    assert all(len(line) < 16384 for line in text.splitlines())
