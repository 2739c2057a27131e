# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of lio_target as the argument spec leaves them, and a host of one fake kernel and one folder to run a task on."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import bring_about
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_task import TargetTask

from .fake_lio import FakeKernel

NAME = "iqn.2003-01.org.linux-iscsi.rheln1"
HOST1 = "iqn.2026-11.org.example:host1"
SERIAL = "9ca31751-6a69-465c-883a-296030000000"
CHAP: t.Dict[str, t.Any] = {"method": "CHAP", "username": "u", "password": "a-secret-of-12", "username_in": None, "password_in": None, "algorithms": None}
MUTUAL: t.Dict[str, t.Any] = dict(CHAP, username_in="array", password_in="another-secret")
NONE: t.Dict[str, t.Any] = dict(CHAP, method="None", username=None, password=None)
AO = {"name": "ao", "id": 1, "state": "active_optimized"}
ANO = {"name": "ano", "id": 2, "state": "active_nonoptimized"}


def params(**given: t.Any) -> t.Dict[str, t.Any]:
    return dict({"name": NAME, "backstores": [], "portal_groups": [], "acls": [], "state": "present", "purge": False, "force": False, "save": True}, **given)


class Host:
    """A machine: a fake kernel, and a root with /etc, /run and a place for images."""

    def __init__(self, root: Path, loaded: bool = True) -> None:
        self.root = root
        self.kernel = FakeKernel(root / "target", loaded)
        self.saved = root / "etc" / "target" / "saveconfig.json"
        for folder in ("etc/systemd/system/multi-user.target.wants", "run/systemd/system", "srv"):
            (root / folder).mkdir(parents=True)
        (root / "etc/systemd/system/multi-user.target.wants/target.service").symlink_to("/lib/systemd/system/target.service")
        (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n", encoding="utf-8")

    def image(self, name: str = "d0", **given: t.Any) -> t.Dict[str, t.Any]:
        return dict({"name": name, "type": "fileio", "path": str(self.root / "srv" / name), "size": "1MiB"}, **given)

    def two_groups(self, **given: t.Any) -> t.Dict[str, t.Any]:
        """The target of the vocabulary: one image, two portal groups in two ALUA states, one initiator."""
        return params(**dict({
            "backstores": [self.image(wwn=SERIAL, alua_groups=[AO, ANO])],
            "portal_groups": [
                {"tag": 1, "portals": ["192.168.56.101"], "luns": [{"lun": 0, "backstore": "d0", "alua_group": "ao"}]},
                {"tag": 2, "portals": ["[fd00:57:0::101]:3261"], "luns": [{"lun": 0, "backstore": "d0", "alua_group": "ano"}]},
            ],
            "acls": [{"initiator": HOST1, "auth": CHAP}],
        }, **given))  # fmt: skip

    def run(self, options: t.Mapping[str, t.Any], check: bool = False) -> t.Dict[str, t.Any]:
        task = TargetTask(options, hands=self.kernel, host=str(self.root), lock=str(self.root / "run" / "lock"))
        return bring_about(task, check, True)

    def get(self, path: str) -> str:
        """What a file of the kernel says."""
        return (self.root / "target" / path).read_text(encoding="utf-8").strip()

    def has(self, path: str) -> bool:
        return (self.root / "target" / path).exists()

    def saved_content(self) -> t.Any:
        return json.loads(self.saved.read_text(encoding="utf-8"))
