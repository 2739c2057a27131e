# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many targets after one another on one host, drawn at random with fixed seeds: from anywhere to anywhere.

Whatever comes before, a task either refuses and moves nothing, or does what check mode foretold, is accepted by the (imitated) kernel,
and finds nothing left to do when it is run again.
A task that broke off at any of its moves is completed by the next one.
"""

from __future__ import annotations

import errno
import random
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InputError, InUseError

from .lio_builders import ANO, AO, CHAP, HOST1, MUTUAL, NAME, NONE, Host, params

STATES = ["active_optimized", "active_nonoptimized", "standby", "unavailable"]
Options = t.Dict[str, t.Any]


class Draw:
    """Options of one task, most of which make sense."""

    def __init__(self, seed: int, host: Host) -> None:
        self.random = random.Random(seed)
        self.host = host

    def likely(self, chance: float) -> bool:
        return self.random.random() < chance

    def groups(self) -> t.List[Options]:
        found = []
        for number, name in enumerate(("ao", "ano"), 1):
            if self.likely(0.7):
                found.append({
                    "name": name, "id": number if self.likely(0.85) else number + 10, "state": self.random.choice(STATES),
                    "access_type": self.random.choice([None, "none", "implicit", "explicit", "both"]), "preferred": self.random.choice([None, True, False]),
                })  # fmt: skip
        return found

    def store(self, name: str) -> Options:
        if name == "d2" and self.likely(0.5):
            return {"name": name, "type": "ramdisk", "size": self.random.choice(["1MiB", "2MiB"])}
        image = self.random.choice([name, name, name + "x"])
        return self.host.image(name, path=str(self.host.root / "srv" / image), size=self.random.choice(["1MiB", "1MiB", "2MiB"]),
                               write_back=self.random.choice([None, None, True, False]), alua_groups=self.groups())

    def group(self, tag: int, stores: t.Sequence[Options]) -> Options:
        luns = []
        for number in range(3):
            if stores and self.likely(0.6):
                store = self.random.choice(stores)
                names = [one["name"] for one in store.get("alua_groups", [])] + ["default_tg_pt_gp", None]
                luns.append({"lun": number, "backstore": store["name"], "alua_group": self.random.choice(names)})
        return {"tag": tag, "luns": luns, "portals": [f"192.0.2.{tag}"] if self.likely(0.7) else [], "enabled": self.likely(0.8),
                "auth": self.random.choice([None, None, CHAP, NONE]), "iser": self.random.choice([None, True, False])}

    def task(self) -> Options:
        stores = [self.store(name) for name in ("d0", "d1", "d2") if self.likely(0.75)]
        groups = [self.group(tag, stores) for tag in (1, 2) if self.likely(0.8)]
        acls = [{"initiator": f"iqn.2026-11.org.example:{name}", "auth": self.random.choice([None, CHAP, MUTUAL, NONE])} for name in "abc" if self.likely(0.6)]
        return params(name=NAME if self.likely(0.8) else NAME + ":two", backstores=stores, portal_groups=groups, acls=acls, purge=self.likely(0.4),
                      force=self.likely(0.6), state="present" if self.likely(0.94) else "absent")

    def log_in(self) -> None:
        for info in Path(self.host.kernel.root).glob("iscsi/*/tpgt_*/acls/*/info"):
            if self.likely(0.2):
                self.host.kernel.log_in(info.parts[-5], int(info.parts[-4][5:]), info.parts[-2])


@pytest.mark.parametrize("seed", range(12))
def test_from_anywhere_to_anywhere(seed: int, tmp_path: Path) -> None:
    host = Host(tmp_path)
    draw = Draw(seed, host)
    done = 0
    for _turn in range(8):
        options = draw.task()
        draw.log_in()
        host.kernel.moves.clear()
        try:
            foretold = host.run(options, check=True)
            assert host.kernel.moves == []
            result = host.run(options)
        except (InputError, InUseError):
            assert host.kernel.moves == []
            continue
        assert (foretold["steps"], foretold.get("luns"), foretold["diff"]) == (result["steps"], result.get("luns"), result["diff"])
        assert host.run(options)["steps"] == []
        done += 1
    assert done


class Broken:
    """Lets the hands of a host fail once, at the given move."""

    def __init__(self, host: Host, at: int) -> None:
        self.left = at
        for name in ("mkdir", "rmdir", "link", "unlink", "write"):
            setattr(host.kernel, name, self.wrap(getattr(host.kernel, name)))

    def wrap(self, move: t.Callable[..., None]) -> t.Callable[..., None]:
        def moved(*args: str) -> None:
            self.left -= 1
            if self.left == -1:
                raise OSError(errno.EINVAL, "Invalid argument")
            move(*args)

        return moved


@pytest.mark.parametrize("first", range(1, 5))
def test_broken_off_anywhere(first: int, tmp_path: Path) -> None:
    failed = 0
    for at in range(first, 200, 16):
        host = Host(tmp_path / str(at))
        options = host.two_groups(acls=[{"initiator": HOST1, "auth": MUTUAL}], discovery_auth=CHAP)
        changed = host.two_groups(backstores=[host.image(write_back=True, alua_groups=[AO, dict(ANO, id=9)])], purge=True,
                                  portal_groups=[{"tag": 1, "luns": [{"lun": 0, "backstore": "d0", "alua_group": "ano"}]}])
        broken = Broken(host, at)
        for wanted in (options, changed):
            try:
                host.run(wanted)
            except HostError as error:
                assert "Invalid argument" in error.what
                failed += 1
                host.run(wanted)
            assert not host.run(wanted)["changed"]
        if broken.left >= 0:
            break
    assert failed >= 5
