# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module iscsi_node is killed (SIGKILL) while it writes 200 records, again and again: every record stays whole, old or new.

The module works on a root of its own. The witness is iscsiadm, over whose /etc/iscsi that of the root is put in a mount namespace.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

RECORDS = 200
ROUNDS = 12
TIMER = "node.session.timeo.replacement_timeout"
NODES = [{"target": f"iqn.2026-11.org.example:disk{number}", "portals": ["192.0.2.1:3260,1"]} for number in range(RECORDS)]


class Root:
    """A file system tree with open-iscsi in it, and the module that works on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "etc" / "iscsi"
        self.database.mkdir(parents=True)
        (folder / "usr" / "sbin").mkdir(parents=True)
        shutil.copy("/usr/sbin/iscsiadm", folder / "usr" / "sbin")
        shutil.copy("/etc/iscsi/iscsid.conf", self.database)

    def start(self, timer: int) -> subprocess.Popen[bytes]:
        """Start the module, which sets one timer in all records."""
        arguments = {"nodes": NODES, "root": str(self.folder), "settings": {TIMER: timer},
                     "auth": {"method": "CHAP", "username": "host1", "password": "secret-of-host1"}}
        module = subprocess.Popen([sys.executable, "-m", "ansible_collections.lunar.iscsi.plugins.modules.iscsi_node"],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert module.stdin is not None
        module.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())
        module.stdin.close()
        module.stdin = None
        return module

    def run(self, timer: int) -> t.Dict[str, t.Any]:
        """Let the module finish; its result."""
        output, errors = self.start(timer).communicate(timeout=60)
        result: t.Dict[str, t.Any] = json.loads(output)
        assert not result.get("failed"), (result, errors)
        return result

    def records(self) -> t.Dict[Path, str]:
        """Every file below nodes/ with what is in it."""
        return {path: path.read_text(encoding="utf-8") for path in sorted((self.database / "nodes").rglob("*")) if path.is_file()}

    def stamps(self) -> t.List[int]:
        """Changes as soon as the first or the last record is replaced."""
        ends = (NODES[0], NODES[-1])
        return [path.stat().st_ino for node in ends for path in (self.database / "nodes" / str(node["target"])).glob("*/default")]

    def staged(self) -> t.Set[str]:
        """Files in the database that belong to no record: those of a write that goes on, or was killed."""
        return {name for name in os.listdir(self.database) if name.startswith(".")}

    def iscsiadm(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The host's own tool, looking at this database."""
        script = 'mount --bind "$0" /etc/iscsi && exec iscsiadm "$@"'
        return subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(self.database), *words],
                              capture_output=True, text=True, timeout=60, check=False)


def keys_and_timer(path: Path, text: str) -> t.Tuple[t.FrozenSet[str], int]:
    """The settings a whole record has, and its timer; fails on anything that is not a whole record."""
    lines = text.splitlines()
    assert text.endswith("\n"), path
    assert lines[0].startswith("# BEGIN RECORD "), path
    assert lines[-1] == "# END RECORD", path
    settings = dict(line.split(" = ", 1) for line in lines[1:-1])
    assert len(settings) == len(lines) - 2, path
    assert settings["node.name"] in str(path), path
    assert settings["node.session.auth.password"] == "secret-of-host1", path
    return frozenset(settings), int(settings[TIMER])


@pytest.fixture
def root(tmp_path: Path) -> Root:
    if os.geteuid() != 0 or not shutil.which("iscsiadm"):
        pytest.skip("needs root and iscsiadm (Debian: open-iscsi)")
    return Root(tmp_path / "root")


def test_every_record_is_whole_after_every_kill(root: Root) -> None:
    dice = random.Random(20261121)
    assert root.run(1000)["changed"]
    before = root.records()
    assert len(before) == RECORDS
    [expected] = {keys for keys, _timer in (keys_and_timer(path, text) for path, text in before.items())}
    staged = in_the_middle = 0
    for timer in range(1001, 1001 + ROUNDS):
        stamps, leftovers = root.stamps(), root.staged()
        module = root.start(timer)
        until = time.monotonic() + 30
        # every third kill comes while files are prepared, the others while they take the place of the old ones
        while not (root.staged() - leftovers if timer % 3 == 0 else root.stamps() != stamps) and module.poll() is None and time.monotonic() < until:
            pass
        time.sleep(dice.uniform(0, 0.03) if timer % 3 == 0 else dice.uniform(0, 0.001))
        module.kill()
        module.communicate(timeout=10)
        found = root.records()
        assert set(before) <= set(found), "a record is gone"
        seen = [keys_and_timer(path, found[path]) for path in before]
        assert {keys for keys, _timer in seen} == {expected}
        in_the_middle += 0 < sum(1 for _keys, there in seen if there == timer) < RECORDS
        staged += bool(root.staged() - leftovers)
    assert staged >= 2, f"only {staged} of {ROUNDS} kills came while files were prepared; the test proves nothing"
    assert in_the_middle >= 2, f"only {in_the_middle} of {ROUNDS} kills came while records were replaced; the test proves nothing"

    last = root.run(999)
    assert last["changed"]
    assert last["problems"] == []
    assert not root.run(999)["changed"]
    assert set(root.records()) == set(before), "something was left behind"
    assert not root.staged(), "something was left behind"
    listed = root.iscsiadm("-m", "node")
    assert listed.returncode == 0, listed.stderr
    assert sorted(listed.stdout.split()[1::2]) == sorted(str(node["target"]) for node in NODES)
    shown = root.iscsiadm("-m", "node", "-T", str(NODES[7]["target"]), "-S")
    assert f"{TIMER} = 999\n" in shown.stdout
