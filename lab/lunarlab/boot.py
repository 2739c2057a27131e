# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest boots with in place of the image's kernel and initramfs: others, a table of boot firmware, no disk."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from lunarlab.common import LabError

#: the signature of a table of boot firmware for iSCSI, and its revision
_IBFT = "sig=iBFT,rev=1"
#: QEMU gives a table no more room than the 16 bits of its length in the option allow
_LONGEST = 0xFFFF


class Boot(t.NamedTuple):
    """None stands for what every guest has."""

    kernel: t.Optional[Path] = None
    initrd: t.Optional[Path] = None
    #: the kernel's words about its root file system
    words: t.Optional[str] = None
    #: what follows the 36 bytes of the ACPI header of a table iBFT (lab/ibft.py makes it)
    firmware: t.Optional[Path] = None
    disk: bool = True

    def check(self) -> Boot:
        """Itself with absolute paths.

        :raises LabError: a file is missing or unusable, or something is given without what belongs to it.
        """
        if (self.kernel is None) is not (self.initrd is None):
            raise LabError("a kernel and its initramfs belong together: give both --kernel and --initrd, or none.")
        if not self.disk and (self.kernel is None or not self.words):
            raise LabError("a guest without a disk needs a kernel, an initramfs and words about its root: give --kernel, --initrd and --append.")
        made = self._replace(kernel=_absolute("kernel", self.kernel), initrd=_absolute("initrd", self.initrd), firmware=_absolute("table", self.firmware))
        if made.firmware is not None and not 0 < made.firmware.stat().st_size <= _LONGEST:
            raise LabError(f"{made.firmware} is {made.firmware.stat().st_size} bytes long, which no table is: make it with lab/ibft.py.")
        return made

    def arguments(self) -> t.List[str]:
        """QEMU's arguments for the table."""
        return ["-acpitable", f"{_IBFT},data={self.firmware}"] if self.firmware is not None else []

    def write(self, path: Path) -> None:
        """Keep it for the next start."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({key: str(value) if isinstance(value, Path) else value for key, value in self._asdict().items()}) + "\n")


def _absolute(what: str, path: t.Optional[Path]) -> t.Optional[Path]:
    if path is None:
        return None
    if not path.is_file() or "," in str(path):  # QEMU's options are separated by commas
        raise LabError(f"{path} is {'no file' if not path.is_file() else 'a name with a comma'}: give the {what} by another path.")
    return path.resolve()


def read_boot(path: Path) -> Boot:
    """What was kept; the usual for nothing, or for what cannot be read."""
    try:
        kept = json.loads(path.read_text())
        kernel, initrd, firmware = (None if kept[name] is None else Path(kept[name]) for name in ("kernel", "initrd", "firmware"))
        return Boot(kernel, initrd, kept["words"], firmware, bool(kept["disk"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Boot()
