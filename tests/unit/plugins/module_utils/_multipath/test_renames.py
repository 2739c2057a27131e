# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names that multipathd gives to maps that are there, and who uses a map."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._multipath import renames
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.document import parse
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.renames import find_renamed
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.sysfs_maps import KernelMap
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.sysfs_tree import Tree

A, B = "36001405a", "36001405b"
LIO: renames.Device = {"vendor": "LIO-ORG", "product": "disk0", "revision": "4.0"}
NETAPP: renames.Device = {"vendor": "NETAPP", "product": "LUN C-Mode", "revision": "9"}
UNKNOWN: renames.Device = {"vendor": None, "product": None, "revision": None}
ON = "defaults {\n user_friendly_names yes\n}\n"
NEW = "a new name that begins with mpath"


def alias(wwid: str, name: str) -> str:
    return f"multipaths {{\n multipath {{\n  wwid {wwid}\n  alias {name}\n }}\n}}\n"


def section(*lines: str) -> str:
    return "devices {\n device {\n" + "".join(f"  {line}\n" for line in lines) + " }\n}\n"


def renamed(
    maps: t.Mapping[str, str], *texts: str, bindings: t.Optional[t.Mapping[str, str]] = None, release: t.Tuple[int, ...] = (0, 9, 4),
    device: t.Optional[renames.Device] = None,
) -> t.Dict[str, t.List[str]]:
    """``maps`` are WWIDs by names; each old name with what may become of it."""
    documents = [parse(text.encode("utf-8", "surrogateescape"), f"/etc/{number}", release) for number, text in enumerate(texts)]
    kernel = [KernelMap(f"dm-{number}", name, wwid) for number, (name, wwid) in enumerate(maps.items())]
    return {one.alias: names for one, names in find_renamed(kernel, documents, bindings or {}, release, lambda _one: LIO if device is None else device)}


@pytest.mark.parametrize(("maps", "texts", "bindings", "expected"), [
    pytest.param({"mpatha": A}, [ON, alias(A, "array")], {"mpatha": A}, {"mpatha": ["array"]}, id="an alias"),
    pytest.param({"array": A}, [ON, alias(A, "array")], {"mpatha": A}, {}, id="an alias that it has"),
    pytest.param({"array": A}, [ON], {"mpatha": A}, {"array": ["mpatha"]}, id="an alias that is gone"),
    pytest.param({"array": A}, [ON], {}, {"array": [NEW]}, id="an alias that is gone, and no binding"),
    pytest.param({"array": A}, [""], {"mpatha": A}, {"array": [A]}, id="an alias that is gone, and no friendly names"),
    pytest.param({"mpatha": A}, [ON, alias(B, "array")], {"mpatha": A}, {}, id="an alias of another map"),
    pytest.param({"mpatha": A}, [alias(A, "one"), alias(A, "two")], {}, {"mpatha": ["two"]}, id="the file that is read last"),
    pytest.param({A: A}, [""], {}, {}, id="no friendly names by default"),
    pytest.param({A: A}, [ON], {"mpathc": A}, {A: ["mpathc"]}, id="friendly names now, with a binding"),
    pytest.param({A: A}, [ON], {}, {A: [NEW]}, id="friendly names now"),
    pytest.param({"mpatha": A}, ["defaults {\n user_friendly_names no\n}\n"], {"mpatha": A}, {"mpatha": [A]}, id="friendly names no more"),
    pytest.param({"mpatha": A}, [ON], {}, {}, id="keeps a name that nobody else has"),
    pytest.param({"mpatha": A}, [ON], {"mpathb": A}, {"mpatha": ["mpathb"]}, id="the binding goes before the name"),
    pytest.param({"mpatha": A}, [ON], {"mpatha": B}, {"mpatha": [NEW]}, id="the name is bound to another"),
    pytest.param({"mpatha": A}, [ON], {"mpathb": A, "mpatha": A}, {}, id="two bindings, and the name is one of them"),
    pytest.param({"mpatha": A}, ["defaults {\n user_friendly_names yes\n alias_prefix disk\n}\n"], {}, {"mpatha": ["a new name that begins with disk"]},
                 id="another prefix"),
    pytest.param({"mpatha": A}, ["defaults {\n user_friendly_names yes\n alias_prefix disk\n}\n"], {"mpatha": A}, {}, id="another prefix, but bound"),
    pytest.param({"diska": A}, [ON, "overrides {\n alias_prefix disk\n}\n"], {}, {}, id="the prefix of overrides"),
    pytest.param({A: A}, ["overrides {\n user_friendly_names yes\n}\ndefaults {\n user_friendly_names no\n}\n"], {"mpatha": A}, {A: ["mpatha"]},
                 id="overrides go before defaults"),
    pytest.param({"mpatha": A}, [f"multipaths {{\n multipath {{\n wwid {A}\n user_friendly_names no\n }}\n}}\noverrides {{\n user_friendly_names yes\n}}\n"],
                 {"mpatha": A}, {"mpatha": [A]}, id="the map's own section goes before overrides"),
    pytest.param({"mpatha": A, "array": B}, [ON, alias(A, "array"), alias(B, "array")], {"mpatha": A}, {}, id="a name that another map keeps"),
    pytest.param({"one": A, "two": B}, [alias(A, "two"), alias(B, "one")], {}, {"one": ["two"], "two": ["one"]}, id="names that are exchanged"),
    pytest.param({"say\\x20hi": A}, [alias(A, '"say hi"')], {}, {}, id="a name that libdevmapper escapes"),
    pytest.param({"mpatha": "1VBOX\\x20DISK"}, [alias('"1VBOX DISK"', "array")], {}, {"mpatha": ["array"]}, id="a WWID that libdevmapper escapes"),
])
def test_names(maps: t.Dict[str, str], texts: t.List[str], bindings: t.Dict[str, str], expected: t.Dict[str, t.List[str]]) -> None:
    assert renamed(maps, *texts, bindings=bindings) == expected


@pytest.mark.parametrize(("text", "device", "name", "expected"), [
    pytest.param(section('vendor "LIO-ORG"', 'product ".*"', "user_friendly_names yes"), LIO, A, {A: ["mpatha"]}, id="its device says yes"),
    pytest.param(ON + section('vendor "LIO-ORG"', 'product ".*"', "user_friendly_names no"), LIO, "mpatha", {"mpatha": [A]}, id="its device says no"),
    pytest.param(ON + section('vendor "IBM"', 'product ".*"', "user_friendly_names no"), LIO, "mpatha", {}, id="another device says no"),
    pytest.param(ON + section('vendor "LIO-ORG"', 'product ".*"', "user_friendly_names no"), UNKNOWN, "mpatha", {}, id="a device that is not known, one name"),
    pytest.param(ON + section('vendor "LIO-ORG"', 'product ".*"', "user_friendly_names no"), UNKNOWN, A, {}, id="a device that is not known, the other name"),
    pytest.param(ON + section('vendor "LIO-ORG"', 'product ".*"', "user_friendly_names no"), UNKNOWN, "old", {"old": ["mpatha", A]},
                 id="a device that is not known, and neither name"),
    pytest.param(ON + section('vendor "*"', 'product ".*"', "user_friendly_names no"), LIO, A, {}, id="a pattern that is not understood"),
    pytest.param(section('vendor "LIO"', 'product "disk"', "user_friendly_names no") + section('vendor "LIO"', 'product ".*"', "user_friendly_names yes"),
                 LIO, A, {}, id="two that say otherwise"),
    pytest.param(ON, NETAPP, A, {}, id="built in for its vendor"),
    pytest.param(ON + section('vendor "NETAPP"', 'product "LUN"', "user_friendly_names yes"), NETAPP, A, {A: ["mpatha"]}, id="built in and said otherwise"),
    pytest.param(ON, UNKNOWN, A, {A: ["mpatha"]}, id="no device section at all"),
])
def test_devices(text: str, device: renames.Device, name: str, expected: t.Dict[str, t.List[str]]) -> None:
    assert renamed({name: A}, text, bindings={"mpatha": A}, device=device) == expected


@pytest.mark.parametrize(("release", "expected"), [((0, 7, 7), "one"), ((0, 7, 8), "two")])
def test_of_two_sections_older_releases_read_the_first(release: t.Tuple[int, ...], expected: str) -> None:
    assert renamed({"mpatha": A}, alias(A, "one"), alias(A, "two"), release=release) == {"mpatha": [expected]}


@pytest.mark.parametrize(("release", "expected"), [((0, 4, 9), {}), ((0, 5, 0), {"old": [A]})])
def test_the_oldest_release_leaves_names_alone(release: t.Tuple[int, ...], expected: t.Dict[str, t.List[str]]) -> None:
    assert renamed({"old": A}, "", release=release) == expected


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """A map over one path of LIO's, with a partition that stands on it and a volume that stands on that."""
    tree = Tree(tmp_path)
    tree.lun(1, 2, 0, "sda", "8:0", vendor="LIO-ORG ", model="disk0           ")
    tree.block("dm-0", "253:0", uuid=f"mpath-{A}", name="mpatha")
    tree.block("dm-1", "253:1", uuid=f"part1-mpath-{A}", name="mpatha-part1")
    tree.block("dm-2", "253:2", uuid="LVM-x", name="vg-data")
    tree.stack("dm-0", "sda")
    tree.stack("dm-1", "dm-0")
    tree.stack("dm-2", "dm-1")
    monkeypatch.setattr(renames, "SYS", tree.sys)
    monkeypatch.setattr(renames, "PROC", tree.proc)
    return tree


@pytest.mark.parametrize(("mounted", "swaps", "expected"), [
    pytest.param("", "", None, id="nobody"),
    pytest.param("40 1 253:0 / /srv/data rw - ext4 /dev/mapper/mpatha rw", "", "/dev/mapper/mpatha mounted on /srv/data", id="mounted"),
    pytest.param("40 1 253:1 / /srv/data rw - ext4 /dev/mapper/mpatha-part1 rw", "", "/dev/mapper/mpatha-part1 mounted on /srv/data", id="a partition"),
    pytest.param("40 1 0:40 / /srv/data rw - btrfs /dev/mapper/mpatha rw", "", "/dev/mapper/mpatha mounted on /srv/data", id="btrfs"),
    pytest.param("", "/dev/dm-1 partition 1 0 -2", "/dev/mapper/mpatha-part1 used as swap", id="swap"),
    pytest.param("40 1 253:2 / /srv/data rw - ext4 /dev/mapper/vg-data rw", "", None, id="a volume above it has a name of its own"),
])
def test_users(tree: Tree, mounted: str, swaps: str, expected: t.Optional[str]) -> None:
    tree.write("/proc/self/mountinfo", f"22 1 254:0 / / rw - ext4 /dev/vda rw\n{mounted}\n")
    tree.write("/proc/swaps", f"Filename Type Size Used Priority\n{swaps}\n")
    found = renames.refusal([parse(alias(A, "array").encode())], {}, (0, 9, 4))
    assert (None if found is None else found.sentence()) == (expected and (
        f"map mpatha ({A}), which multipathd would rename to array: still in use by {expected}. systemd unmounts a file system whose map is renamed."
        " Nothing was changed. Take it out of use first (umount, swapoff), or say reconfigure: false; then the name comes with the next boot"))
    assert renames.refusal([parse(alias(A, "mpatha").encode())], {}, (0, 9, 4)) is None


def test_a_loop_device_over_it_keeps_it_open_by_itself(tree: Tree) -> None:
    tree.block("loop0", "7:0")
    tree.attributes("/sys/devices/virtual/block/loop0/loop", backing_file="/dev/mapper/mpatha")
    assert renames.refusal([parse(alias(A, "array").encode())], {}, (0, 9, 4)) is None


def test_two_maps_and_the_device_of_a_path(tree: Tree) -> None:
    tree.block("dm-3", "253:3", uuid=f"mpath-{B}", name="mpathb")
    tree.stack("dm-3", "sda")
    tree.write("/proc/self/mountinfo", "".join(f"{40 + number} 1 253:{number} / /srv/{number} rw - ext4 /dev/dm-{number} rw\n" for number in (0, 3)))
    found = renames.refusal([parse((ON + section('vendor "^LIO-ORG$"', 'product "^disk0$"', "user_friendly_names no")).encode())], {}, (0, 9, 4))
    assert found is not None and found.subject == (
        f"map mpatha ({A}), which multipathd would rename to {A}; map mpathb ({B}), which multipathd would rename to {B}")
    assert found.users == ("/dev/mapper/mpatha mounted on /srv/0", "/dev/mapper/mpathb mounted on /srv/3") and "Take them out of use" in found.remedy
