# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module iscsi_db, with the real iscsiadm as witness: a database that it wrote is whole, one that was damaged lists again after repair."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

if t.TYPE_CHECKING:
    from conftest import Host, Run

ONE = "iqn.2026-11.org.example:one"
TWO = "iqn.2026-11.org.example:two"
PORTAL = "192.0.2.1:3260,1"
SECRET = "plain-secret-of-node"
LISTED = [f"{PORTAL} {ONE}", f"{PORTAL} {ONE}", f"{PORTAL} {TWO}"]


def record_of(host: Host, target: str = ONE, tag: int = 1, iface: str = "default") -> Path:
    return Path(host.etc, f"nodes/{target}/192.0.2.1,3260,{tag}/{iface}")


@pytest.fixture
def made(host: Host) -> t.Dict[str, str]:
    """A database as iscsiadm makes it: two targets, one of them also over an iface, a SendTargets and an iSNS discovery; its files."""
    host.iscsiadm("-m", "iface", "-I", "san0", "-o", "new")
    host.iscsiadm("-m", "iface", "-I", "san0", "-o", "update", "-n", "iface.net_ifacename", "-v", "lo")
    for words in (("-T", ONE, "-p", PORTAL), ("-T", ONE, "-p", PORTAL, "-I", "san0"), ("-T", TWO, "-p", PORTAL)):
        host.iscsiadm("-m", "node", "-o", "new", *words)
    host.iscsiadm("-m", "node", "-T", ONE, "-o", "update", "-n", "node.session.auth.password", "-v", SECRET)
    host.iscsiadm("-m", "discoverydb", "-t", "st", "-p", "192.0.2.1", "-o", "new")
    host.iscsiadm("-m", "discoverydb", "-t", "isns", "-p", "192.0.2.2:3205", "-o", "new")
    files: t.Dict[str, str] = host.files()
    return files


def listed(host: Host) -> t.List[str]:
    return sorted(host.iscsiadm("-m", "node").stdout.splitlines())


def checks(result: t.Mapping[str, t.Any]) -> t.List[str]:
    return sorted(finding["check"] for finding in result["findings"])


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_what_iscsiadm_made_is_whole(host: Host, run: Run, made: t.Dict[str, str]) -> None:
    for repair in (False, True):
        done = run("iscsi_db", repair=repair)
        assert not done["changed"] and done["steps"] == [] and done["findings"] == [] and done["problems"] == [] and host.files() == made
    assert done["records"] == {"nodes": 3, "ifaces": 1, "send_targets": 1, "isns": 1}
    assert listed(host) == LISTED


Damage = t.Callable[["Host"], None]


def _write(name: str, text: str = "") -> Damage:
    def damage(host: Host) -> None:
        next(path for path in sorted(host.etc.rglob("*")) if path.is_file() and str(path).endswith(name)).write_text(text)

    return damage


def _unknown_key(host: Host) -> None:
    edit(record_of(host), "# END", "node.colour = blue\n# END")


def _garbage(host: Host) -> None:
    edit(record_of(host), "replacement_timeout = 120", "replacement_timeout = abc")
    edit(record_of(host, TWO), "node.startup = manual", "node.startup = sometimes")


def _other_tag_in_the_record(host: Host) -> None:
    edit(record_of(host), "node.tpgt = 1", "node.tpgt = 7")


def _orphan_links(host: Host) -> None:
    os.symlink("/etc/iscsi/nodes/gone", host.etc / f"static/{ONE}-gone,192.0.2.1,3260,1,default")
    os.symlink("/etc/iscsi/nodes/gone", host.etc / "static/rubbish")


def _no_iface(host: Host) -> None:
    (host.etc / "ifaces/san0").unlink()


def _modes(host: Host) -> None:
    record_of(host).chmod(0o644)
    (host.etc / "nodes").chmod(0o777)


def _misplaced(host: Host) -> None:
    other = record_of(host, "iqn.2026-11.org.example:three")
    other.parent.mkdir(parents=True)
    other.write_text(record_of(host, TWO).read_text())
    other.chmod(0o600)


def _empty_discovery(host: Host) -> None:
    (host.etc / "send_targets/192.0.2.9,3260").mkdir(mode=0o700)


#: what is done to a database, what is found, and whether iscsiadm cannot list all nodes of it any more
DAMAGES: t.Dict[str, t.Tuple[Damage, t.List[str], bool]] = {
    "an empty node": (_write("192.0.2.1,3260,1/default"), ["damaged"], True),
    "an empty node over an iface": (_write("3260,1/san0"), ["damaged"], True),
    "a node of zeroes": (_write("192.0.2.1,3260,1/default", "\0" * 3000), ["damaged"], True),
    "an empty iface": (_write("ifaces/san0"), ["damaged", "missing_iface"], False),
    "an empty discovery": (_write("st_config"), ["damaged"], False),
    "an empty iSNS server": (_write("isns_config"), ["damaged"], False),
    "an unknown key": (_unknown_key, ["unknown_key"], True),
    "garbage values": (_garbage, ["bad_value", "bad_value"], True),
    "another tag in the record": (_other_tag_in_the_record, ["bad_value"], True),
    "links to nothing": (_orphan_links, ["orphan_link", "strange_link"], False),
    "an iface that is gone": (_no_iface, ["missing_iface"], False),
    "open to all": (_modes, ["permissions", "permissions"], False),
    "a record in the place of another": (_misplaced, ["misplaced"], True),
    "an empty folder": (_empty_discovery, ["no_record"], False),
}


@pytest.mark.parametrize("case", sorted(DAMAGES))
def test_damage_is_found_named_and_mended(host: Host, run: Run, made: t.Dict[str, str], case: str) -> None:
    damage, found, unlistable = DAMAGES[case]
    damage(host)
    damaged, modes = host.files(), host.modes()
    broken = host.iscsiadm("-m", "node", check=False)
    assert (sorted(broken.stdout.splitlines()) != LISTED) is unlistable

    named = run("iscsi_db")
    assert checks(named) == found and len(named["problems"]) == len(found) and not named["changed"] and host.files() == damaged
    assert all(finding["what"] and finding["remedy"] for finding in named["findings"])
    predicted = run("iscsi_db", repair=True, check=True, diff=True)
    assert host.files() == damaged and host.modes() == modes and predicted["changed"]
    done = run("iscsi_db", repair=True, diff=True)
    assert done["steps"] == predicted["steps"] and done["diff"] == predicted["diff"] and checks(done) == found and done["problems"] == []
    after = {path: text for path, text in host.files().items() if not path.startswith("damaged/")}
    expected = dict(made)
    if case == "a node of zeroes" or case == "an empty node":  # a secret cannot come back from nothing
        path = next(path for path in made if path.endswith("3260,1/default"))
        expected[path] = made[path].replace(f"node.session.auth.password = {SECRET}\n", "")
    if case == "an empty node over an iface":
        path = next(path for path in made if path.endswith("3260,1/san0"))
        expected[path] = made[path].replace(f"node.session.auth.password = {SECRET}\n", "")
    assert after == expected
    assert listed(host) == LISTED and host.modes() <= {"d700", "f600"}
    assert sorted(done["kept"]) == sorted(str(host.etc / path) for path in host.files() if path.startswith("damaged/"))
    assert {Path(path).read_text() for path in done["kept"]} <= set(damaged.values())
    assert not run("iscsi_db", repair=True)["changed"]


def test_everything_at_once(host: Host, run: Run, made: t.Dict[str, str]) -> None:
    for damage in (_unknown_key, _garbage, _orphan_links, _modes, _misplaced, _empty_discovery, _no_iface, _write("st_config"), _write("isns_config")):
        damage(host)
    predicted = run("iscsi_db", repair=True, check=True)
    done = run("iscsi_db", repair=True)
    assert done["steps"] == predicted["steps"] and done["problems"] == []
    assert {path: text for path, text in host.files().items() if not path.startswith("damaged/")} == made and listed(host) == LISTED


def test_two_tags_without_a_session_are_left_to_who_knows(host: Host, run: Run) -> None:
    for tag in (1, 2):
        host.iscsiadm("-m", "node", "-o", "new", "-T", ONE, "-p", f"192.0.2.1:3260,{tag}")
    before = host.files()
    done = run("iscsi_db", repair=True)
    assert not done["changed"] and checks(done) == ["duplicate_tpgt"] and len(done["problems"]) == 1 and host.files() == before


@pytest.mark.parametrize("damaged", [False, True], ids=["whole", "damaged"])
def test_a_record_without_tag_gives_way_to_one_with_a_tag(host: Host, run: Run, damaged: bool) -> None:
    host.iscsiadm("-m", "node", "-o", "new", "-T", ONE, "-p", "192.0.2.1:3260")
    old = next(path for path in (host.etc / "nodes").rglob("*") if path.is_file())
    text = old.read_text()[:200 if damaged else None]
    host.clear()
    host.iscsiadm("-m", "node", "-o", "new", "-T", ONE, "-p", PORTAL)
    (host.etc / f"nodes/{ONE}/192.0.2.1,3260").write_text(text)
    (host.etc / f"nodes/{ONE}/192.0.2.1,3260").chmod(0o600)
    done = run("iscsi_db", repair=True)
    assert len(done["steps"]) == 1 and done["problems"] == [] and [Path(path).read_text() for path in done["kept"]] == [text]
    assert listed(host) == [f"{PORTAL} {ONE}"]


def test_an_iface_that_nothing_is_known_of_is_no_iface(host: Host, run: Run) -> None:
    (host.etc / "ifaces").mkdir(mode=0o700)
    (host.etc / "ifaces/san9").touch(mode=0o600)
    assert run("iscsi_db", repair=True)["steps"] == ["forget iface san9 (its file is empty)"]
    assert host.files() == {}


def test_an_iface_of_two_families_is_named_and_left(host: Host, run: Run) -> None:
    host.iscsiadm("-m", "iface", "-I", "named4", "-o", "new")
    host.iscsiadm("-m", "iface", "-I", "named4", "-o", "update", "-n", "iface.ipaddress", "-v", "fd00::9")
    assert host.iscsiadm("-m", "iface", check=False).returncode == 7
    # nor is a node bound to it: iscsiadm would do that, and then list no node of this host
    refused = run("iscsi_node", nodes=[{"target": ONE, "portals": [PORTAL], "ifaces": ["named4"]}])
    assert refused["failed"] and "could list no iface and no node" in refused["msg"] and not (host.etc / "nodes").exists()
    host.iscsiadm("-m", "node", "-o", "new", "-T", ONE, "-p", PORTAL, "-I", "named4")
    assert host.iscsiadm("-m", "node", check=False).returncode == 7
    done = run("iscsi_db", repair=True)
    assert "family" in checks(done) and "with 'ipv6' in it" in done["problems"][0]["remedy"] and not done["changed"]


def test_a_stale_lock_is_removed(host: Host, run: Run, made: t.Dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi import lock

    folder = host.root / "run/lock/iscsi"
    (folder / "lock").touch()
    os.link(folder / "lock", folder / "lock.write")
    assert run("iscsi_db")["findings"] == []  # it was taken a moment ago
    monkeypatch.setattr(lock, "_STALE_AFTER", 0.0)
    assert checks(run("iscsi_db")) == ["stale_lock"]
    done = run("iscsi_db", repair=True)
    assert done["steps"] == [f"remove {folder / 'lock.write'}"] and done["problems"] == [] and not (folder / "lock.write").exists()
    assert host.files() == made


def test_no_process_is_started(host: Host, made: t.Dict[str, str]) -> None:
    _unknown_key(host)
    stand_in = host.root / "first/iscsiadm"
    stand_in.parent.mkdir(exist_ok=True)
    stand_in.write_text(f"#!/bin/sh\necho asked >> {host.root}/asked\n")
    stand_in.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(stand_in.parent), prepend=os.pathsep)
        done = host.module("iscsi_db", repair=True)
        assert done["changed"] and done["problems"] == [] and not host.module("iscsi_db", repair=True)["changed"]
    assert not (host.root / "asked").exists() and {path: text for path, text in host.files().items() if not path.startswith("damaged/")} == made


def test_where_there_is_nothing_nothing_is_wrong(host: Host, run: Run) -> None:
    done = run("iscsi_db", repair=True)
    assert not done["changed"] and done["findings"] == [] and host.files() == {}


def printed(text: str) -> t.Dict[str, str]:
    """A record as iscsiadm shows it, without what is not set."""
    pairs = (line.split(" = ", 1) for line in text.splitlines() if " = " in line)
    return {key: value for key, value in pairs if value != "<empty>"}


def test_records_are_shown_as_iscsiadm_shows_them(host: Host, run: Run, made: t.Dict[str, str]) -> None:
    shown = run("iscsi_db", show=True)
    assert not shown["changed"] and host.files() == made
    assert sorted(f"{portal} {one['target']}" for one in shown["nodes"] for portal in one["portals"] for _iface in one["ifaces"]) == LISTED
    assert [(one["target"], one["iface"]) for one in shown["node_records"]] == [(ONE, "default"), (ONE, "san0"), (TWO, "default")]
    for one in shown["node_records"]:
        theirs = printed(host.iscsiadm("-m", "node", "-T", one["target"], "-p", one["portal"], "-I", one["iface"], "-o", "show").stdout)
        assert one["settings"] == theirs and one["found_by"] == {"type": "static", "portal": None}
    assert shown["node_records"][0]["settings"]["node.session.auth.password"] == "********"
    assert [(one["name"], one["settings"]) for one in shown["iface_records"]] == [("san0", printed(host.iscsiadm("-m", "iface", "-I", "san0").stdout))]
    assert [(one["type"], one["portal"]) for one in shown["discovery_records"]] == [("send_targets", "192.0.2.1:3260"), ("isns", "192.0.2.2:3205")]
    for one, kind in zip(shown["discovery_records"], ("st", "isns")):
        assert one["settings"] == printed(host.iscsiadm("-m", "discoverydb", "-t", kind, "-p", one["portal"], "-o", "show").stdout) and one["nodes"] == []
    # what is shown is taken by the next task, and nothing is left to do
    again = run("iscsi_node", nodes=shown["nodes"])
    assert not again["changed"] and host.files() == made
