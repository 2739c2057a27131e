# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks detach and rescan_fleet on a host that is made of namespaces (role_host.py) and has no session; what needs one is tried in the lab."""

from __future__ import annotations

import json
import re
import subprocess
import typing as t

import pytest

from .role_host import RoleHost
from .test_role import Entry, play, play_with, volume

VARS = {"initiator_nodes": [{"target": "iqn.2026-11.org.example:guests", "portals": ["192.0.2.1:3260,1"]}], "lvm_manage_packages": False, "lvm_timeout": 60}


def run(host: RoleHost, playbook: str, *words: str, **more: t.Any) -> subprocess.CompletedProcess[str]:
    given = host.folder / "vars.json"
    given.write_text(json.dumps(dict(VARS, **more)), "utf-8")
    return play_with(host, f"lunar.iscsi.{playbook}", "--extra-vars", f"@{given}", *words)


def changed(done: subprocess.CompletedProcess[str], name: str = "one") -> int:
    recap = re.search(rf"^{name} +: ok=\d+ +changed=(\d+) +unreachable=0 +failed=0 ", done.stdout, re.MULTILINE)
    assert done.returncode == 0 and recap, done.stdout + done.stderr
    return int(recap.group(1))


@pytest.fixture
def group(host: RoleHost) -> Entry:
    return {"name": "data", "create": True, "devices": [host.disk("a", megabytes=128)], "volumes": [volume("www"), volume("db")]}


def test_detach_stops_at_what_is_in_use_and_takes_the_rest_away_in_order(host: RoleHost, group: Entry) -> None:
    play(host, group)
    host.changes()
    working = subprocess.Popen(host.inside("sh", "-c", "cd /srv/db; echo ready; exec sleep infinity"), env=host.env, stdout=subprocess.PIPE)
    try:
        assert working.stdout is not None and working.stdout.readline()
        done = run(host, "detach", detach_hosts="one", lvm_groups=[group])
        assert done.returncode == 2 and "/srv/db by sleep (pid " in done.stdout and host.changes() == []
        assert host.said("findmnt --noheadings --output TARGET --source /dev/mapper/data-www") == "/srv/www\n"
    finally:
        working.kill()
        working.wait()
    assert changed(run(host, "detach", "--check", detach_hosts="one", lvm_groups=[group])) == 5 and host.changes() == []
    assert changed(run(host, "detach", detach_hosts="one", lvm_groups=[group])) == 5
    assert host.said("lvs --noheadings --options lv_active data").split() == [] and host.said("cat /etc/fstab") == "# nothing yet\n"
    assert changed(run(host, "detach", detach_hosts="one", lvm_groups=[group])) == 0


def test_a_fleet_in_one_table(host: RoleHost, group: Entry) -> None:
    play(host, group)
    host.run("lvcreate", "--yes", "--size", "16m", "--name", "more", "data")
    host.run("lvchange", "-an", "data/more")
    done = run(host, "rescan_fleet", rescan_fleet_hosts="one:two", rescan_fleet_batch=1)
    assert changed(done) == 0
    for name in ("one", "two"):
        assert re.search(rf'"{name}  +-  +data  +[0-9.]+ MB  db\* more www\*"', done.stdout), done.stdout
    assert "data is active on one and two, and nothing keeps them from each other." in done.stdout
    done = run(host, "rescan_fleet", rescan_fleet_hosts="one:gone")
    assert done.returncode == 2 and "gone could not be looked at: " in done.stdout and re.search(r'"one  +-  +data ', done.stdout), done.stdout


@pytest.mark.parametrize(("playbook", "given", "words"), [
    ("attach", {"attach_hosts": "nobody"}, "The inventory has no nobody"),
    ("attach", {"attach_hosts": "one", "initiator_nodes": [], "lvm_groups": [{"name": "data"}]}, "give the nodes as initiator_nodes"),
    ("attach", {"attach_hosts": "one", "lvm_groups": [{"name": "data", "state": "inactive"}]}, "none of them with state: inactive"),
    ("detach", {"detach_hosts": "one"}, "the volume groups on their disks as lvm_groups"),
    ("detach", {"detach_hosts": "one", "detach_targets": [], "lvm_groups": [{"name": "data"}]}, "give the targets as detach_targets"),
    ("rescan_fleet", {"rescan_fleet_hosts": "one", "rescan_fleet_batch": "half"}, "rescan_fleet_batch is half"),
])
def test_what_is_not_said_is_asked_for(playbook: str, given: t.Dict[str, t.Any], words: str, host: RoleHost) -> None:
    done = run(host, playbook, **given)
    assert done.returncode == 2 and words in re.sub(r"\s+", " ", done.stdout + done.stderr), done.stdout + done.stderr
    assert host.changes() == []
