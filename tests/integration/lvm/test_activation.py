# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Activation and deactivation with the real lvm, over a device-mapper in a folder (device_mapper.c). The witness is lvs."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import bring_about
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InUseError, IscsiError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result, Runner
from ansible_collections.lunar.iscsi.plugins.module_utils._lvm.activation import ActivationTask
from ansible_collections.lunar.iscsi.plugins.module_utils._lvm.paths import Host

from .conftest import NAME, Kernel

ONE, TWO = f"{NAME}/one", f"{NAME}/two"


class OverKernel(Runner):
    """Runs the real lvm over a device-mapper in a folder."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        self.kernel = kernel

    def run(self, argv: t.Sequence[str], *, stdin: t.Optional[str] = None, timeout: float = 60.0, env: t.Optional[t.Mapping[str, str]] = None) -> Result:
        return super().run(argv, stdin=stdin, timeout=timeout, env=dict(env or {}, **self.kernel.env))


def run(kernel: Kernel, *volumes: str, check: bool = False, **options: t.Any) -> t.Dict[str, t.Any]:
    """One task; ``processes`` in its result says how many it started."""
    params: t.Dict[str, t.Any] = dict(
        {"volumes": list(volumes), "state": "active", "devices": [], "elsewhere": None, "shared": False, "devices_file": True, "rescan": False,
         "timeout": 30.0}, **options)
    runner = OverKernel(kernel)
    host = Host(str(kernel.dm / "sys"), str(kernel.dm / "proc"), str(kernel.dev), str(kernel.dm / "udev"))
    task = ActivationTask(params, check_mode=check, runner=runner, host=host, devices_file=str(kernel.folder / "devices/system.devices"))
    return dict(bring_about(task, check), processes=runner.count)


@pytest.fixture
def group(kernel: Kernel) -> Kernel:
    """A group on two disks with two volumes, made on another host."""
    kernel.lvm("vgcreate", "--setautoactivation", "n", NAME, kernel.attach("a"), kernel.attach("b"))
    for name in ("one", "two"):
        kernel.lvm("lvcreate", "-an", "-Zn", "-Wn", "-L", "8M", "-n", name, NAME)
    return kernel


def mount(kernel: Kernel, mapper: str, point: str) -> None:
    numbers = (kernel.dm / f"sys/block/dm-{kernel.minor(mapper)}/dev").read_text()
    info = kernel.dm / "proc/self/mountinfo"
    info.parent.mkdir(parents=True, exist_ok=True)
    info.write_text(f"30 1 {numbers} / {point} rw,relatime shared:1 - ext4 /dev/mapper/{mapper} rw\n")
    kernel.open(mapper)


def test_a_group_there_and_back(group: Kernel) -> None:
    planned = run(group, NAME, check=True)
    assert (planned["steps"], group.active()) == ([f"activate {ONE}", f"activate {TWO}"], [])
    done = run(group, NAME)
    assert (done["steps"], group.active()) == (planned["steps"], [ONE, TWO])
    assert [(volume["active"], volume["kernel_device"], volume["mapper"]) for volume in done["volumes"]] == [
        (True, "/dev/dm-0", f"{group.dev}/mapper/lunar_test-one"), (True, "/dev/dm-1", f"{group.dev}/mapper/lunar_test-two")]
    again = run(group, NAME)
    assert (again["changed"], again["processes"], again["problems"]) == (False, 1, [])
    planned = run(group, NAME, state="inactive", check=True)
    assert group.active() == [ONE, TWO]
    done = run(group, NAME, state="inactive")
    assert done["steps"] == planned["steps"] == [f"deactivate {ONE}", f"deactivate {TWO}"] and group.active() == []
    again = run(group, NAME, state="inactive")
    assert (again["changed"], again["processes"]) == (False, 1)


def test_one_volume_and_one_that_is_left_out_of_activation(group: Kernel) -> None:
    group.lvm("lvchange", "--setactivationskip", "y", ONE)
    assert run(group, NAME)["steps"] == [f"activate {TWO}"]
    assert group.active() == [TWO]
    assert not run(group, NAME)["changed"]
    assert run(group, ONE)["steps"] == [f"activate {ONE}"]
    assert group.active() == [ONE, TWO]
    run(group, TWO, state="inactive")
    assert group.active() == [ONE]


def test_a_mounted_volume_is_named_and_all_stay_active(group: Kernel) -> None:
    run(group, NAME)
    mount(group, "lunar_test-one", "/srv/noc1")
    assert run(group, NAME)["groups"][0]["open"] == ["one"]
    with pytest.raises(InUseError) as caught:
        run(group, NAME, state="inactive")
    assert caught.value.users == ("/dev/mapper/lunar_test-one mounted on /srv/noc1",)
    assert group.active() == [ONE, TWO]
    run(group, TWO, state="inactive")
    assert group.active() == [ONE]
    (group.dm / "proc/self/mountinfo").unlink()
    group.open("lunar_test-one", 0)
    run(group, NAME, state="inactive")
    assert group.active() == []


def test_an_opener_of_whom_nothing_is_known(group: Kernel) -> None:
    run(group, NAME)
    group.open("lunar_test-two")
    with pytest.raises(InUseError, match=f"which has {TWO} open"):
        run(group, NAME, state="inactive", timeout=1.0)
    assert group.active() == [ONE, TWO]


def test_a_volume_that_another_host_resized(group: Kernel) -> None:
    run(group, NAME)
    group.lvm("lvextend", "-L", "16M", ONE)
    [problem] = run(group, NAME)["problems"]
    assert problem["what"].startswith("has 8388608 bytes in this kernel and 16777216 in the group")
    group.here(*problem["remedy"].split())
    assert run(group, NAME)["problems"] == []


def test_a_volume_that_another_host_made_anew(group: Kernel) -> None:
    run(group, NAME)
    group.lvm("lvremove", "--yes", ONE)
    group.lvm("lvcreate", "-an", "-Zn", "-Wn", "-L", "8M", "-n", "one", NAME)
    with pytest.raises(HostError, match="since another volume is active under this name"):
        run(group, NAME)


def test_disks_that_go_while_volumes_are_active(group: Kernel) -> None:
    run(group, NAME)
    group.look_at()
    with pytest.raises(HostError) as caught:
        run(group, NAME, state="inactive")
    assert caught.value.remedy.endswith("dmsetup remove lunar_test-one lunar_test-two")
    group.look_at(*group.nodes("a"))
    with pytest.raises(IscsiError, match="lunar_test/three: does not exist"):
        run(group, f"{NAME}/three", state="inactive")
    run(group, NAME, state="inactive")  # of a partial group, what is active can still be deactivated
    group.look_at(*group.nodes())
    assert group.active() == []


def test_two_groups_of_one_name(group: Kernel) -> None:
    second = group.attach("c")
    group.look_at(second)
    group.lvm("vgcreate", "--setautoactivation", "n", NAME, second)
    for name in ("one", "three"):
        group.lvm("lvcreate", "-an", "-Zn", "-Wn", "-L", "8M", "-n", name, NAME)
    group.look_at(*group.nodes())
    uuid = group.report("pvs", "-o", "vg_uuid", second)[0]["vg_uuid"]
    assert run(group, uuid)["steps"] == [f"activate {ONE}", f"activate {NAME}/three"]
    assert group.active() == [ONE, f"{NAME}/three"]
    other = next(row["vg_uuid"] for row in group.report("vgs", "-o", "vg_uuid") if row["vg_uuid"] != uuid)
    with pytest.raises(HostError, match="lunar_test/one: cannot be activated as /dev/mapper/lunar_test-one, since another"):
        run(group, other)
    assert run(group, f"{other}/two")["steps"] == [f"activate {TWO}"]
    assert run(group, uuid, state="inactive")["steps"] == [f"deactivate {ONE}", f"deactivate {NAME}/three"]
    assert group.active() == [TWO]


def test_disks_that_are_not_in_the_devices_file(group: Kernel) -> None:
    other = group.attach("other")
    group.look_at(*group.nodes(), more="use_devicesfile=1")
    group.lvm("lvmdevices", "--yes", "--adddev", other)
    assert group.report("vgs") == []
    done = run(group, NAME)
    assert done["steps"] == [f"list in the devices file the disks of {NAME}", f"activate {ONE}", f"activate {TWO}"]
    assert group.active() == [ONE, TWO]
    assert run(group, NAME)["processes"] == 1


def test_hints_that_are_out_of_date_do_not_matter(group: Kernel) -> None:
    """LVM remembers which disks carry nothing of it; a group that another host makes on one of them is seen all the same."""
    fresh = group.attach("fresh")
    assert group.active() == []
    group.lvm("vgcreate", "--config", 'devices/hints="none"', "--setautoactivation", "n", "lunar_new", fresh)
    group.lvm("lvcreate", "--config", 'devices/hints="none"', "-an", "-Zn", "-Wn", "-L", "8M", "-n", "one", "lunar_new")
    run(group, "lunar_new")
    assert group.active() == ["lunar_new/one"]
