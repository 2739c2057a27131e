# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses
import typing as t
from pathlib import Path as File

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.daemon import BrokenOffError, Daemon, NotRunningError, RefusedError
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.info import NotReachedError, Wait, check_wait, find_missing, gather
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.maps import Map, parse_maps
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.sysfs_maps import read_kernel_maps
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.sysfs_tree import Tree

FOLDER = File(__file__).parent / "fixtures" / "maps"
FAILOVER = (FOLDER / "0.14.3-failover.txt").read_bytes()
NAMES = (FOLDER / "0.14.3-names.txt").read_bytes()
BOTH = ["rbd0", "mpathb"]

Answer = t.Union[bytes, HostError]


def add_map(tree: Tree, dm: str, size: int, name: str, uuid: str) -> None:
    """A device-mapper device; ``size`` is in sectors."""
    tree.block(dm, f"254:{dm[3:]}", "", size, name=name, uuid=uuid)


class Scripted(Daemon):
    """Answers one thing after the other, the last one for ever, and moves a clock of its own by a second at each question."""

    def __init__(self, *answers: Answer) -> None:
        super().__init__()
        self.asked: t.List[str] = []
        self.now = 0.0
        self._script = list(answers)

    def ask(self, command: str, timeout: float = 10.0) -> bytes:
        self.asked.append(command)
        self.now += 1.0
        answer = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if isinstance(answer, HostError):
            raise answer
        return answer

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def tree(tmp_path: File) -> Tree:
    tree = Tree(tmp_path)
    tree.session(1, 2, "iqn.2003-01.org.linux-iscsi.rheln1")
    tree.lun(1, 2, 1, "sdb", "8:16")
    for name, numbers in (("sdc", "8:32"), ("sdd", "8:48"), ("sde", "8:64")):
        tree.block(name, numbers)
    add_map(tree, "dm-0", 4096, "rbd0", "mpath-360014059ca317516a69465c883a29603")
    add_map(tree, "dm-1", 2048, "mpathb", "mpath-360000000000000000e00000000020001")
    add_map(tree, "dm-7", 1024, "vg-lv", "LVM-abc")
    for link, to in (("mapper/rbd0", "dm-0"), ("disk/by-id/wwn-0x6001405", "dm-0"), ("disk/by-path/ip-192.0.2.4", "sdd")):
        tree.write(f"/dev/{to}", "") if not (tmp_path / "dev" / to).exists() else None
        tree.link(f"/dev/{link}", f"/dev/{to}")
    return tree


def run(tree: Tree, daemon: Scripted, names: t.Sequence[str] = (), wait: t.Optional[Wait] = None, timeout: float = 10.0) -> t.Dict[str, t.Any]:
    return gather(daemon, names, wait, timeout, lambda: {"sdb": {"sid": 1}}, sys=tree.sys, dev=tree.dev, clock=lambda: daemon.now, sleep=daemon.sleep)


def names_of(result: t.Mapping[str, t.Any]) -> t.List[str]:
    return [one["name"] for one in result["maps"]]


def test_one_question_and_the_rest_from_sysfs(tree: Tree) -> None:
    daemon = Scripted(FAILOVER)
    result = run(tree, daemon)
    one, other = result["maps"]
    assert daemon.asked == ["show maps json"]
    assert (one["device"], one["dm"], one["size"], one["wwid"], one["usable_paths"]) == (
        "/dev/mapper/rbd0", "dm-0", 4096 * 512, "360014059ca317516a69465c883a29603", 2)
    first = one["groups"][0]["paths"][0]
    assert (first["device"], first["address"], first["session"], first["checker_state"]) == ("/dev/sdb", "2:0:0:1", {"sid": 1}, "ready")
    assert [group["paths"][0]["session"] for group in one["groups"]] == [{"sid": 1}, None]
    assert (other["usable_paths"], result["changed"], result["problems"]) == (1, False, [])


@pytest.mark.parametrize("names, found, unknown", [
    ([], BOTH, []),
    (["rbd0"], ["rbd0"], []),
    (["360000000000000000e00000000020001"], ["mpathb"], []),
    (["dm-1", "rbd0"], BOTH, []),
    (["/dev/mapper/rbd0"], ["rbd0"], []),
    (["/dev/dm-1"], ["mpathb"], []),
    (["/dev/sdc"], ["rbd0"], []),
    (["/dev/disk/by-id/wwn-0x6001405"], ["rbd0"], []),
    (["/dev/disk/by-path/ip-192.0.2.4"], ["mpathb"], []),
    (["rbd"], [], ["rbd"]),
    (["sdb"], [], ["sdb"]),
    (["rbd0", "RBD0", "/dev/sdz", ""], ["rbd0"], ["RBD0", "/dev/sdz", ""]),
])
def test_selection(tree: Tree, names: t.Sequence[str], found: t.Sequence[str], unknown: t.Sequence[str]) -> None:
    result = run(tree, Scripted(FAILOVER), names)
    assert names_of(result) == found
    assert [entry["object"] for entry in result["problems"]] == [f"map {name}" for name in unknown]


def test_names_that_device_mapper_writes_differently(tmp_path: File) -> None:
    tree = Tree(tmp_path)
    add_map(tree, "dm-0", 8, r"say\x20\x22hi\x22", 'mpath-1IET_"q"')
    assert [(one.alias, one.device) for one in read_kernel_maps(tree.sys)] == [('say "hi"', r"/dev/mapper/say\x20\x22hi\x22")]
    for name in ('say "hi"', r"say\x20\x22hi\x22", r"/dev/mapper/say\x20\x22hi\x22", '1IET_"q"'):
        result = run(tree, Scripted(NAMES), [name])
        assert [(one["name"], one["device"]) for one in result["maps"]] == [('say "hi"', r"/dev/mapper/say\x20\x22hi\x22")], name


def test_what_an_old_release_cut_comes_from_the_kernel(tmp_path: File) -> None:
    tree, whole = Tree(tmp_path), "a-name-of-seventy-characters-0123456789-0123456789-0123456789-012345-70"
    add_map(tree, "dm-0", 8, whole, "mpath-3600140500000000000000000000000010" + "f" * 40)
    found = run(tree, Scripted((FOLDER / "0.6.2-long.txt").read_bytes()), [whole])["maps"][0]
    assert (found["name"], found["wwid"]) == (whole, "3600140500000000000000000000000010" + "f" * 40)


def test_a_map_that_is_about_to_be_renamed_has_the_name_that_multipathd_knows(tmp_path: File) -> None:
    tree = Tree(tmp_path)
    add_map(tree, "dm-0", 8, "rbd0-old", "mpath-360014059ca317516a69465c883a29603")
    found = run(tree, Scripted(FAILOVER), ["rbd0"])["maps"][0]
    assert (found["name"], found["device"]) == ("rbd0", "/dev/mapper/rbd0-old")


def test_without_a_map_the_daemon_is_not_asked_for_maps(tmp_path: File) -> None:
    daemon = Scripted(b"pid 7 idle\n")
    assert run(Tree(tmp_path), daemon) == {"changed": False, "maps": [], "problems": []}
    assert daemon.asked == ["show daemon"]


MISSING = HostError("multipathd", "is not installed on this host")


@pytest.mark.parametrize("error", [NotRunningError(), MISSING], ids=["not running", "not installed"])
def test_no_daemon_and_no_map(tmp_path: File, error: HostError) -> None:
    result = run(Tree(tmp_path), Scripted(error), ["rbd0"])
    assert [entry["object"] for entry in result["problems"]] == ["multipathd", "map rbd0"]
    assert result["problems"][0]["what"] == error.what


@pytest.mark.parametrize("wait", [None, Wait()], ids=["look", "wait"])
@pytest.mark.parametrize("error", [NotRunningError(), MISSING], ids=["not running", "not installed"])
def test_no_daemon_and_a_map_is_a_failure(tree: Tree, error: HostError, wait: t.Optional[Wait]) -> None:
    daemon = Scripted(error)
    with pytest.raises(type(error)):
        run(tree, daemon, wait=wait)
    # who waits, waits for the daemon too, but not for an installation
    assert (len(daemon.asked) > 1) == (wait is not None and isinstance(error, NotRunningError))


def test_a_busy_daemon_is_asked_again(tree: Tree) -> None:
    daemon = Scripted(RefusedError("show maps json", "timeout", True), FAILOVER)
    assert (names_of(run(tree, daemon)), len(daemon.asked)) == (BOTH, 2)


@pytest.mark.parametrize("busy, least", [(True, 6), (False, 1)])
def test_a_daemon_that_keeps_refusing(tree: Tree, busy: bool, least: int) -> None:
    daemon = Scripted(RefusedError("show maps json", "no", busy))
    with pytest.raises(RefusedError):
        run(tree, daemon)
    assert least <= len(daemon.asked) <= least + 1


def lost(reply: bytes, name: bytes) -> bytes:
    """The answer once the path ``name`` has failed."""
    head, mark, tail = reply.partition(b'"dev" : "' + name + b'"')
    return head + mark + tail.replace(b'"dm_st" : "active"', b'"dm_st" : "failed"', 1).replace(b'"chk_st" : "ready"', b'"chk_st" : "faulty"', 1)


def test_waiting_asks_until_it_is_so(tree: Tree) -> None:
    daemon = Scripted(NotRunningError(), BrokenOffError("ended"), lost(FAILOVER, b"sdc"), lost(FAILOVER, b"sdc"), FAILOVER)
    result = run(tree, daemon, ["rbd0"], Wait(paths=2))
    assert (names_of(result), result["maps"][0]["usable_paths"], len(daemon.asked)) == (["rbd0"], 2, 5)


def test_who_does_not_wait_is_told_that_the_daemon_ended_meanwhile(tree: Tree) -> None:
    daemon = Scripted(BrokenOffError("ended"), FAILOVER)
    with pytest.raises(BrokenOffError):
        run(tree, daemon)
    assert len(daemon.asked) == 1


def test_what_is_not_reached_is_named_map_by_map(tree: Tree) -> None:
    daemon = Scripted(lost(FAILOVER, b"sdb"))
    with pytest.raises(NotReachedError) as caught:
        run(tree, daemon, ["rbd0", "mpathb", "mpathz"], Wait(paths=2))
    assert caught.value.sentence().startswith(
        "wait_for: is not reached after 10 s: map mpathz is not there; map rbd0 has 1 of 2 usable paths (sdb is failed to the kernel and faulty to")
    fields = caught.value.fields()
    assert [entry["object"] for entry in fields["missing"]] == ["map mpathz", "map rbd0", "map mpathb"]
    assert [one["name"] for one in fields["maps"]] == BOTH
    assert 6 <= len(daemon.asked) <= 7  # 1 s for each answer and 0.5 s between, for 10 s


def test_waiting_for_maps_where_there_is_none(tmp_path: File) -> None:
    with pytest.raises(NotReachedError, match="multipath has no map"):
        run(Tree(tmp_path), Scripted(b"pid 7 idle\n"), wait=Wait())


def with_states(groups: t.Sequence[t.Tuple[str, int]], usable: t.Sequence[bool]) -> Map:
    """The map rbd0, with these states and priorities of its groups, and with these paths usable."""
    one = parse_maps(FAILOVER)[0]
    made = []
    for group, (state, priority), good in zip(one.groups, groups, usable):
        path = dataclasses.replace(group.paths[0], state="active" if good else "failed")
        made.append(dataclasses.replace(group, state=state, priority=priority, paths=(path,)))
    return dataclasses.replace(one, groups=tuple(made))


OPTIMIZED = [("active", 50), ("enabled", 10)]


@pytest.mark.parametrize("groups, usable, wait, missing", [
    (OPTIMIZED, [True, True], Wait(2, 2, True, True, 50), []),
    (OPTIMIZED, [True, True], Wait(paths=3), ["has 2 of 3 usable paths"]),
    (OPTIMIZED, [True, False], Wait(paths=1), []),
    (OPTIMIZED, [True, False], Wait(paths=1, all_ready=True), ["has paths that are not usable: sdc is failed to the kernel and ready to the checker"]),
    (OPTIMIZED, [True, True], Wait(groups=1), ["has 2 path groups, not 1"]),
    ([], [], Wait(all_ready=True), ["has no path"]),
    ([], [], Wait(group_active=True), ["has no active group"]),
    ([("enabled", 50), ("enabled", 10)], [True, True], Wait(group_active=True), ["has no active group (group 1 is enabled, group 2 is enabled)"]),
    ([("enabled", 50), ("active", 10)], [True, True], Wait(group_active=True), []),
    ([("enabled", 50), ("active", 10)], [True, True], Wait(active_priority=50), ["has an active group of priority 10, not 50"]),
    ([("enabled", 50), ("enabled", 10)], [True, True], Wait(active_priority=50), ["has no active group (group 1 is enabled, group 2 is enabled)"]),
    ([("enabled", 50), ("enabled", 10)], [False, False], Wait(), []),
])
def test_conditions(groups: t.Sequence[t.Tuple[str, int]], usable: t.Sequence[bool], wait: Wait, missing: t.Sequence[str]) -> None:
    assert find_missing(with_states(groups, usable), wait) == missing


@pytest.mark.parametrize("feature, what", [(b"1 queue_if_no_path", "waits"), (b"0", "fails")])
def test_a_map_without_a_usable_path_is_a_problem(tree: Tree, feature: bytes, what: str) -> None:
    reply = lost(lost(FAILOVER, b"sdb"), b"sdc").replace(b"1 queue_if_no_path", feature)
    assert [(entry["object"], entry["what"]) for entry in run(tree, Scripted(reply))["problems"]] == [
        ("map rbd0", f"has no usable path: its I/O {what}")]


def test_a_map_that_multipathd_does_not_know_is_a_problem(tree: Tree) -> None:
    add_map(tree, "dm-9", 8, "left", "mpath-3600000000000000")
    problems = run(tree, Scripted(FAILOVER))["problems"]
    assert [entry["object"] for entry in problems] == ["map left"]
    assert "multipathd does not know it" in problems[0]["what"]


@pytest.mark.parametrize("option, wait", [
    (None, None),
    ({}, Wait()),
    ({"paths": 2, "groups": None, "all_ready": True, "group_active": False, "active_priority": 0}, Wait(2, None, True, False, 0)),
])
def test_the_option(option: t.Optional[t.Dict[str, t.Any]], wait: t.Optional[Wait]) -> None:
    assert check_wait(option) == wait


@pytest.mark.parametrize("name", ["paths", "groups"])
def test_numbers_that_make_no_sense(name: str) -> None:
    with pytest.raises(InputError, match=f"option wait_for.{name}: is 0"):
        check_wait({name: 0})
