# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with LVM for tests: recorded reports (fixtures/record.sh), in which volumes are active and open as a test says.

What is recorded: every report but for the two fields lv_active and lv_device_open, since where they were recorded the kernel had no device-mapper.
What is written as LVM's source has it (lib/report/values.h and report.c of 2.03.16 and 2.03.39): ``active`` or nothing; ``open`` or nothing, and
``unknown`` for a volume that is inactive. What commands do to the kernel is made up here, too. tests/integration/lvm has the real lvm do both.
"""

from __future__ import annotations

import json
import re
import shutil
import typing as t
from pathlib import Path

from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result, Runner
from ansible_collections.lunar.iscsi.plugins.module_utils._lvm.kernel import short
from ansible_collections.lunar.iscsi.plugins.module_utils._lvm.paths import Host
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.sysfs_tree import Tree

FIXTURES = Path(__file__).parent / "fixtures"
RELEASES = ("2.03.16", "2.03.31")
#: xenGuests: noc1 and noc-2; data: www and its snapshot nightly, the thin pool tp and db-1 in it, which is left out of activation
LINEAR = ("xenGuests/noc1", "xenGuests/noc-2")
NOC1, NOC2 = LINEAR


def recorded(release: str, name: str) -> Result:
    """A report as lvm printed it."""
    heard = FIXTURES / f"{release}-{name}.err"
    return Result(("lvm", "fullreport"), 0, (FIXTURES / f"{release}-{name}.json").read_text("utf-8"), heard.read_text("utf-8") if heard.exists() else "")


class FakeLvm(Runner):
    """Takes the commands of LVM for a host in a folder; ``calls`` are their arguments without ``lvm``."""

    def __init__(self, tmp_path: Path, report: str = "whole", release: str = "2.03.16") -> None:
        super().__init__()
        self.tree = Tree(tmp_path)
        self.host = Host(self.tree.sys, self.tree.proc, self.tree.dev, self.tree.udev)
        self.release = release
        self.calls: t.List[t.Tuple[str, ...]] = []
        self.active: t.Set[str] = set()
        self.opened: t.Set[str] = set()
        self.system_id = ""
        #: the report that is given next, and the one that comes after it, if there are several
        self.reports = [report]
        #: what is seen outside the devices file, where there is one
        self.everywhere = report
        #: commands (their first words) that fail, and what they say
        self.failing: t.Dict[str, str] = {}
        #: called before each command
        self.before: t.Callable[[t.Sequence[str]], None] = lambda argv: None
        self._next = 3
        for number in range(1, 7):
            self.disk(f"loop{number}", f"7:{number}")

    def disk(self, name: str, numbers: str, content: bytes = b"") -> None:
        self.tree.block(name, numbers)
        self.tree.write(f"/dev/{name}", content)

    # what is there

    @property
    def answer(self) -> t.Dict[str, t.Any]:
        return t.cast(t.Dict[str, t.Any], json.loads(recorded(self.release, self.reports[0]).stdout))

    def volumes(self) -> t.Dict[str, t.Tuple[str, t.Dict[str, str]]]:
        """UUID of the group and row of the volume, by GROUP/VOLUME; of two groups of one name, the later one of the report."""
        return {f"{part['vg'][0]['vg_name']}/{row['lv_name']}": (part["vg"][0]["vg_uuid"], row)
                for part in self.answer["report"] if "vg" in part for row in part["lv"]}

    def activate(self, *names: str, size: t.Optional[int] = None, suspended: int = 0) -> None:
        for name in names:
            if name not in self.active:
                group, row = self.volumes()[name]
                kernel = f"dm-{self._next}"
                self.tree.block(kernel, f"252:{self._next}", "", (size or int(row["lv_size"])) // 512,
                                uuid=f"LVM-{short(group)}{short(row['lv_uuid'])}", name=row["lv_dm_path"][len("/dev/mapper/"):], suspended=str(suspended))
                self._next += 1
                self.active.add(name)

    def deactivate(self, *names: str) -> None:
        for name in names:
            self.active.discard(name)
            kernel = self.kernel(name)
            shutil.rmtree(f"{self.tree.sys}/devices/virtual/block/{kernel}")
            for link in ("block", "class/block"):
                (Path(self.tree.sys) / link / kernel).unlink()

    def kernel(self, name: str) -> str:
        uuid = short(self.volumes()[name][1]["lv_uuid"])
        made = Path(self.tree.sys).glob("devices/virtual/block/dm-*/dm/uuid")
        return next(path.parent.parent.name for path in made if path.read_text().strip().endswith(uuid))

    def mount(self, name: str, point: str) -> None:
        """Mount an active volume, as /proc/self/mountinfo shows it."""
        numbers = (Path(self.tree.sys) / "block" / self.kernel(name) / "dev").read_text().strip()
        mapper = self.volumes()[name][1]["lv_dm_path"]
        self.tree.write("/proc/self/mountinfo", f"30 1 {numbers} / {point} rw,relatime shared:1 - ext4 {mapper} rw\n")
        self.opened.add(name)

    # the commands

    def run(self, argv: t.Sequence[str], *, stdin: t.Optional[str] = None, timeout: float = 60.0, env: t.Optional[t.Mapping[str, str]] = None) -> Result:
        assert argv[0] == "lvm"
        self.count += 1
        self.calls.append(tuple(argv[1:]))
        self.before(argv)
        for words, said in self.failing.items():
            if " ".join(argv[1:]).startswith(words):
                return Result(tuple(argv), 5, "", said)
        return getattr(self, f"_{argv[1]}")(tuple(argv)) or Result(tuple(argv), 0, "", "")

    def _fullreport(self, argv: t.Tuple[str, ...]) -> Result:
        name = self.everywhere if "--devicesfile" in argv else self.reports[0]
        if len(self.reports) > 1:
            self.reports.pop(0)
        given = recorded(self.release, name)
        answer = json.loads(given.stdout)
        for part in answer["report"]:
            for row in part.get("lv", ()):
                full = f"{part['vg'][0]['vg_name']}/{row['lv_name']}"
                there = full in self.active and self.volumes().get(full, ("", {}))[1] == row
                row["lv_active"] = "active" if there else ""
                row["lv_device_open"] = ("open" if full in self.opened else "") if there else "unknown"
        return given._replace(stdout=json.dumps(answer))

    def _named(self, argv: t.Sequence[str]) -> t.List[str]:
        """The volumes that a command means, by name or by --select."""
        if "--select" in argv:
            words = argv[argv.index("--select") + 1]
            uuids = set(re.findall(r"lv_uuid=([\w-]+)", words))
            group = re.findall(r"vg_uuid=([\w-]+)", words)
            return [name for name, (owner, row) in self.volumes().items() if owner in group and (not uuids or row["lv_uuid"] in uuids)]
        return [name for name in self.volumes() for word in argv[2:] if word in (name, name.partition("/")[0])]

    def _vgchange(self, argv: t.Tuple[str, ...]) -> None:
        for name in self._named(argv):
            row = self.volumes()[name][1]
            if argv[2] in ("-ay", "-aey", "-asy") and "public" in row["lv_role"] and not row["lv_skip_activation"]:
                self.activate(name)
            elif argv[2] == "-an" and name in self.active:
                self.deactivate(name)

    def _lvchange(self, argv: t.Tuple[str, ...]) -> None:
        for name in self._named(argv):
            if argv[2] == "-an":
                self.deactivate(name)
            else:
                assert "-K" in argv
                self.activate(name)

    def _vgimportdevices(self, argv: t.Tuple[str, ...]) -> None:
        self.reports = [self.everywhere]

    def _lvmdevices(self, argv: t.Tuple[str, ...]) -> None:
        self.reports = [self.everywhere]

    def _pvscan(self, argv: t.Tuple[str, ...]) -> None:
        assert argv[2:] == ("--cache",)

    def _vgs(self, argv: t.Tuple[str, ...]) -> Result:
        groups = [part["vg"][0] for part in self.answer["report"] if "vg" in part]
        seen = [group["vg_uuid"] for group in groups if group["vg_systemid"] in ("", self.system_id)]
        return Result(argv, 0, "".join(f"  {uuid}\n" for uuid in seen), "")

    def _systemid(self, argv: t.Tuple[str, ...]) -> Result:
        return Result(argv, 0, f"  system ID: {self.system_id}\n", "")
