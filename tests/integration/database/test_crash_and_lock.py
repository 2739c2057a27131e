# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A writer that is killed, two that want the lock at once, one that was left stale, and how long a thousand records take."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import typing as t

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import LockedError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey, Portal
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.conf import read_iscsid_conf
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.database import open_writer
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.layout import installed_version, locate
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.new_records import new_node
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.stored import STATIC, read_database

if t.TYPE_CHECKING:
    from conftest import Host

TARGET = "iqn.2026-11.org.example:disk1"

LOOP = """
import sys
from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey, Portal
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.conf import read_iscsid_conf
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.database import open_writer
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.layout import installed_version, locate
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.new_records import new_node
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.stored import STATIC
root = sys.argv[1]
where, conf = locate(root), read_iscsid_conf(root)
print("ready", flush=True)
for turn in range(10**6):
    with open_writer(where) as writer:
        for number in range(200):
            key = NodeKey(f"iqn.2026-11.org.example:disk{number}", Portal("192.0.2.1", 3260, 1))
            record = new_node(conf, target=key.target, portal=key.portal, version=where.version)
            writer.write_node(key, record.with_settings({"node.session.timeo.replacement_timeout": str(turn)}), STATIC)
"""


def write_one(host: Host, wait: float = 30) -> None:
    portal = Portal("192.0.2.1", 3260, 1)
    with open_writer(locate(str(host.root)), wait) as writer:
        writer.write_node(NodeKey(TARGET, portal), new_node(read_iscsid_conf(str(host.root)), target=TARGET, portal=portal,
                                                            version=installed_version(str(host.root))), STATIC)


def test_killed_writers_leave_whole_records_and_no_lock_behind(host: Host) -> None:
    dice = random.Random(20261121)
    whole = 0
    for _turn in range(12):
        writer = subprocess.Popen([sys.executable, "-c", LOOP, str(host.root)], stdout=subprocess.PIPE)
        assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
        time.sleep(dice.uniform(0.02, 0.6))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        for path, text in host.files().items():
            if path.startswith("nodes/"):
                whole += 1
                assert text.startswith("# BEGIN RECORD 2.1") and text.endswith("\n# END RECORD\n") and len(text.split("\n")) > 60, path
        assert read_database(locate(str(host.root))).problems == []
    assert whole > 200, "no writer got far enough to be killed while it writes"
    write_one(host, wait=5)  # takes over the lock, and tidies up
    assert not [path for path in host.etc.iterdir() if path.name.startswith(".lunar")]
    listed = host.iscsiadm("-m", "node").stdout.split("\n")[:-1]
    assert len(listed) >= 200 and all(line.startswith("192.0.2.1:3260,1 iqn.") for line in listed)


def test_iscsiadm_waits_for_us(host: Host) -> None:
    write_one(host)
    with open_writer(locate(str(host.root))):
        other = subprocess.Popen(host.inside("iscsiadm", "-m", "node", "-T", TARGET, "-o", "update", "-n", "node.startup", "-v", "automatic"))
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(1)
        assert not any("startup = automatic" in text for text in host.files().values())
    assert other.wait(10) == 0
    assert any("node.startup = automatic" in text for text in host.files().values())


def test_we_wait_for_whoever_holds_the_lock_as_iscsiadm_does(host: Host) -> None:
    folder = host.root / "run/lock/iscsi"
    (folder / "lock").touch()
    holder = subprocess.Popen(["sh", "-c", 'ln "$0/lock" "$0/lock.write" && sleep 1 && rm "$0/lock.write"', str(folder)])
    while not (folder / "lock.write").exists():
        time.sleep(0.01)
    began = time.monotonic()
    write_one(host)
    assert time.monotonic() - began > 0.5
    assert holder.wait() == 0 and not (folder / "lock.write").exists()


def test_a_stale_lock_is_named_and_left_alone(host: Host) -> None:
    folder = host.root / "run/lock/iscsi"
    (folder / "lock").touch()
    os.link(folder / "lock", folder / "lock.write")
    try:
        with pytest.raises(LockedError) as caught:
            write_one(host, wait=0.2)
        assert str(folder / "lock.write") in caught.value.sentence() and "remove the file" in caught.value.sentence()
        assert (folder / "lock.write").exists() and not any(path.startswith("nodes/") for path in host.files())
    finally:
        (folder / "lock.write").unlink()
