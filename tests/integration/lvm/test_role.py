# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role lvm, played with the real ansible-playbook on a host that is made of namespaces (role_host.py). The witnesses are lvs, blkid, findmnt and fstab."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from .role_host import RoleHost

E2E = Path(__file__).resolve().parents[2] / "e2e"

Entry = t.Dict[str, t.Any]


def play_with(host: RoleHost, playbook: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A playbook, by the real ansible-playbook. The host ``two`` is the same machine by another name, and ``gone`` does not answer."""
    inventory = host.folder / "hosts.ini"
    inventory.write_text(f"[all:vars]\nansible_connection=local\nansible_python_interpreter={sys.executable}\n[all]\none\ntwo\n"
                         "gone ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1\n", "utf-8")
    return host.run(str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), *words, playbook, check=False)


def ansible(host: RoleHost, groups: t.Sequence[Entry], *words: str, play_on: str = "one", **env: str) -> subprocess.CompletedProcess[str]:
    """The role with these groups."""
    playbook = host.folder / "play.yml"
    playbook.write_text(json.dumps([{"hosts": play_on, "gather_facts": False, "roles": [
        {"role": "lunar.iscsi.lvm", "vars": {"lvm_manage_packages": False, "lvm_timeout": 60, "lvm_groups": list(groups)}}]}]), "utf-8")
    host.env.update(env)
    return play_with(host, str(playbook), *words)


def play(host: RoleHost, *groups: Entry, check: bool = False) -> int:
    """How many tasks changed something."""
    done = ansible(host, groups, *(["--check"] if check else []))
    recap = re.search(r"^one +: ok=\d+ +changed=(\d+) +unreachable=0 +failed=0 ", done.stdout, re.MULTILINE)
    assert recap, done.stdout + done.stderr
    return int(recap.group(1))


def refused(host: RoleHost, *groups: Entry, play_on: str = "one") -> str:
    """What a play that changes nothing says, all spaces as one."""
    host.changes()
    before = host.said("cat /etc/fstab; findmnt --noheadings --output TARGET,SOURCE; lvs --noheadings --options lv_full_name,lv_active,lv_tags")
    done = ansible(host, groups, play_on=play_on)
    assert re.search(r"^one +: ok=\d+ +changed=0 +unreachable=0 +failed=1 ", done.stdout, re.MULTILINE), done.stdout + done.stderr
    assert host.changes() == []
    assert host.said("cat /etc/fstab; findmnt --noheadings --output TARGET,SOURCE; lvs --noheadings --options lv_full_name,lv_active,lv_tags") == before
    return re.sub(r"[\s\\]+", " ", done.stdout + done.stderr)


def volume(name: str, size: str = "16m", fstype: str = "ext4", **more: t.Any) -> Entry:
    """One that is made, formatted and mounted."""
    return dict({"name": name, "create": True, "size": size, "path": f"/srv/{name}", "format": True, "fstype": fstype}, **more)


def test_from_empty_disks_to_mounts_and_back(host: RoleHost) -> None:
    disk = host.disk("a", megabytes=128)
    group: Entry = {"name": "data-1", "create": True, "devices": [disk], "volumes": [
        {"name": "www", "create": True, "size": "32m", "path": "/srv/www", "format": True},
        {"name": "my-db", "create": True, "size": "50%FREE", "path": "/srv/with space", "options": "noatime", "format": True}]}
    assert play(host, group, check=True) == 2
    assert host.changes() == []
    play(host, group)
    assert [line.split()[0] for line in host.changes()] == [
        "vgcreate", "lvcreate", "lvcreate", "lvchange", "systemctl", "lvchange", "systemctl"]
    assert host.said("lvs --noheadings --options lv_full_name,lv_active,lv_tags data-1").split() == ["data-1/my-db", "active", "data-1/www", "active"]
    fstab = host.said("cat /etc/fstab")
    assert "/dev/mapper/data--1-my--db /srv/with\\040space ext4 _netdev,noatime 0 0\n" in fstab
    assert host.said("findmnt --noheadings --output SOURCE,FSTYPE --mountpoint /srv/www").split() == ["/dev/mapper/data--1-www", "ext4"]
    assert play(host, group) == 0
    away = dict(group, state="inactive")
    foretold = play(host, away, check=True)
    assert host.said("findmnt --noheadings --output SOURCE --mountpoint /srv/www") and host.changes() == []
    assert play(host, away) == foretold == 5
    assert host.said("lvs --noheadings --options lv_active data-1").split() == []
    assert host.said("cat /etc/fstab") == "# nothing yet\n" and host.run("findmnt", "/srv/www", check=False).returncode == 1
    assert play(host, away) == 0


def test_what_is_on_a_disk_stays(host: RoleHost) -> None:
    empty, unknown = host.disk("empty"), host.disk("unknown", b"\0" * 5000000 + b"something")
    formatted = host.disk("formatted")
    host.run("mkfs.ext4", "-q", formatted)
    entry: Entry = {"name": "data", "create": True, "volumes": [volume("www")]}
    said = refused(host, dict(entry, devices=[empty, unknown, formatted]))
    assert f"is not empty: {unknown} holds data that no tool knows" in said and 'TYPE="ext4"' in said and f"{empty} holds" not in said
    assert "/dev/nothing, on which one shall have a volume group, is not there" in refused(host, dict(entry, devices=["/dev/nothing"]))
    host.run("pvcreate", "--quiet", empty)
    assert f"{empty} carries the label of LVM and belongs to no volume group" in refused(host, dict(entry, devices=[empty]))


def test_arguments_that_do_not_fit(host: RoleHost) -> None:
    disk = host.disk("a")
    for wrong in ({"create": True}, {"shared": "no", "devices": [disk]}, {"volumes": [volume("www", path="/srv/www/")]},
                  {"volumes": [{"name": "www", "create": True}]}, {"volumes": [volume("www", options="noatime, ro")]}, {"name": "a/b"},
                  {"volumes": [volume("www", path="/srv/x"), volume("db", path="/srv/x")]}):
        said = refused(host, dict({"name": "data"}, **t.cast(Entry, wrong)))
        assert "lvm_groups of one" in said, said


def test_names_and_mount_points_that_are_taken(host: RoleHost) -> None:
    one, other = host.disk("a"), host.disk("b")
    group: Entry = {"name": "data", "create": True, "devices": [one], "volumes": [volume("www")]}
    play(host, group)
    missing = dict(group, volumes=[volume("www"), {"name": "logs", "path": "/srv/logs"}])
    assert "logical volume data/logs: does not exist. The group has www" in refused(host, missing)
    host.run("mkdir", "/srv/taken")
    host.run("mount", "-t", "tmpfs", "elsewhere", "/srv/taken")
    assert "is that of elsewhere (now, or in /etc/fstab)" in refused(host, dict(group, volumes=[volume("more", path="/srv/taken")]))
    host.said("umount /srv/taken; echo 'UUID=1-2 /srv/taken xfs defaults 0 0' >> /etc/fstab")
    assert "is that of UUID=1-2 (now, or in /etc/fstab)" in refused(host, dict(group, volumes=[volume("more", path="/srv/taken")]))
    play(host, dict(group, state="inactive"))
    host.look_at("b")
    host.run("vgcreate", "data", other)
    host.look_at("a", "b")
    assert re.search(r"The volume group data is there 2 times on one: \S{38} and \S{38}\.", refused(host, dict(group, volumes=[volume("more")])))


def test_file_systems_are_made_on_nothing_else_than_nothing(host: RoleHost) -> None:
    group: Entry = {"name": "data", "create": True, "devices": [host.disk("a")], "volumes": [volume("www")]}
    play(host, group)
    host.said("echo kept > /srv/www/file; sync")
    assert "/dev/mapper/data-www of one shall be mounted on /srv/www as xfs, but it holds ext4" in refused(
        host, dict(group, volumes=[volume("www", fstype="xfs")]))
    # a volume that somebody else has made where another was
    play(host, dict(group, state="inactive"))
    host.run("lvremove", "--yes", "data/www")
    host.run("lvcreate", "--yes", "--wipesignatures", "y", "--size", "16m", "--name", "www", "data")
    assert "holds data that no tool knows. Nothing is made over it" in refused(host, group)
    # the role's own, in the same place
    host.run("lvremove", "--yes", "data/www")
    play(host, group)
    assert host.said("ls -A /srv/www") == "lost+found\n"


def test_a_group_that_is_in_use_stays_as_it_is(host: RoleHost) -> None:
    group: Entry = {"name": "data", "create": True, "devices": [host.disk("a", megabytes=128)],
                    "volumes": [volume("www"), volume("db"), {"name": "own", "create": True, "size": "16m"}]}
    play(host, group)
    away = dict(group, state="inactive")
    working = subprocess.Popen(host.inside("sh", "-c", "cd /srv/www; echo ready; exec sleep infinity"), env=host.env, stdout=subprocess.PIPE)
    try:
        assert working.stdout is not None and working.stdout.readline()
        said = refused(host, away)
        assert "is still in use: /srv/www by sleep (pid " in said and "/srv/db by" not in said
    finally:
        working.kill()
        working.wait()
    host.said("mkfs.ext4 -q /dev/mapper/data-own; mkdir /srv/by-hand; mount /dev/mapper/data-own /srv/by-hand")
    mounts = ", ".join(f"/dev/mapper/data-{name} mounted on /srv/{place}" for name, place in (("www", "www"), ("db", "db"), ("own", "by-hand")))
    assert f"still in use by {mounts}" in refused(host, away)
    host.said("umount /srv/by-hand; mkdir /srv/www/below; mount -t tmpfs below /srv/www/below")
    assert "/srv/www by a mount on /srv/www/below" in refused(host, away)
    host.said("umount /srv/www/below")
    assert play(host, away) == 5


def test_hosts_that_see_one_group(host: RoleHost) -> None:
    disk = host.disk("a")
    group: Entry = {"name": "data", "create": True, "devices": [disk], "volumes": [volume("www")]}
    play(host, group)
    assert "one and two would have the volume group data active at the same time" in refused(host, group, play_on="one:two")
    more = dict(group, hosts=["one", "two"], volumes=[volume("www"), volume("db")])
    for entry in (more, dict(group, hosts=["one", "two"])):
        assert "one shall have the volume group data active, and two has it active" in refused(host, entry)
    assert "one and two would have the volume group data active at the same time" in refused(host, dict(group, shared=True), play_on="one:two")
    done = ansible(host, [dict(group, shared=True, volumes=[{"name": "own", "create": True, "size": "8m"}])], play_on="one:two")
    assert done.returncode == 0, done.stdout
    assert host.changes() == 2 * ["lvcreate --yes --wipesignatures y --name own --size 8m data"]
    host.run("lvremove", "--yes", "data/own")
    play(host, dict(more, shared=True))
    assert host.said("lvs --noheadings --options lv_name,lv_active data").split() == ["db", "active", "www", "active"]
    play(host, dict(more, state="inactive"))
    play(host, more)
    assert host.said("vgs --noheadings --options vg_autoactivation data").split() == [] and ",noauto" in host.said("cat /etc/fstab")
    said = refused(host, dict(more, hosts=["one", "gone"], volumes=[volume("www")]))
    assert "one cannot know whether gone has its groups active" in said


def test_hosts_that_would_make_a_group_on_one_disk(host: RoleHost) -> None:
    disk, other = host.disk("a"), host.disk("b")

    def is_known_as(device: str, wwid: str) -> None:
        for folder in ("block", "class/block"):
            known = host.folder / "dm/sys" / folder / Path(device).name
            host.said(f"rm -r {known}; mkdir -p {known}/device; echo {wwid} > {known}/device/wwid")

    is_known_as(disk, "naa.6001405")
    is_known_as(other, "naa.6001405")
    group: Entry = {"name": "data", "create": True, "devices": [disk]}
    assert "naa.6001405 is one path of several to one disk. Give the multipath map instead" in refused(host, group)
    is_known_as(other, "naa.6001406")
    assert "one and two would have the volume group data active at the same time, would make it on the same disk" in refused(host, group, play_on="one:two")


@pytest.mark.parametrize(("state", "changes"), [("active", 7), ("inactive", 3)])
def test_a_power_cut_after_each_change(state: str, changes: int, host: RoleHost) -> None:
    """After each cut the host boots as hosts do, the run is repeated, and all is as if nothing had been.

    One cut in the middle in every run; after each change where E2E_LONG is set (``make test-all``).
    """
    cut = {"ANSIBLE_CALLBACK_PLUGINS": str(E2E / "plugins/callback"), "ANSIBLE_CALLBACKS_ENABLED": "power_cut", "E2E_CUT_HOST": "one",
           "E2E_CUT_COMMAND": "true", "E2E_CUT_AFTER": "0"}
    for after in range(1, changes + 1) if os.environ.get("E2E_LONG") else (changes // 2 + 1,):
        host.afresh()
        host.disk("a", b"\0" * (33 << 19) + b"what was there long ago")
        group: Entry = {"name": "data", "create": True, "devices": [host.disks["a"]], "volumes": [volume("www")]}
        if state == "inactive":
            play(host, group)
        done = ansible(host, [dict(group, state=state)], **{**cut, "E2E_CUT_AFTER": str(after)})
        assert done.returncode == 75, done.stdout + done.stderr
        host.power_cut()
        host.boot()
        host.said("vgchange -aay; mount --all")
        host.env.update(cut)
        again = play(host, dict(group, state=state))
        shown = host.said("lvs --noheadings --options lv_active,lv_tags data; findmnt --noheadings --output SOURCE --mountpoint /srv/www || true").split()
        assert shown == (["active", "/dev/mapper/data-www"] if state == "active" else []), f"after {after}, then {again} changes"
        assert host.said("cat /etc/fstab").count("/srv/www") == (state == "active")
    done = ansible(host, [dict(group, state=state)], **{**cut, "E2E_CUT_AFTER": str(changes + 1)})
    assert done.returncode == 0
