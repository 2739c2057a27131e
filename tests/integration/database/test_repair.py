# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Repair, with the real iscsiadm as witness: it reads what was repaired, and its list works again."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

if t.TYPE_CHECKING:
    from conftest import Host, Run

ONE = "iqn.2026-11.org.example:one"
TWO = "iqn.2026-11.org.example:two"
PORTAL = "192.0.2.1:3260,1"
SECRET = "plain-secret-of-node"
NODES = [{"target": ONE, "portals": [PORTAL]}]


def record_of(host: Host, target: str, tag: int = 1, iface: str = "default") -> Path:
    return Path(host.etc, f"nodes/{target}/192.0.2.1,3260,{tag}/{iface}")


def made(host: Host, target: str = ONE, portal: str = PORTAL, *more: str) -> None:
    host.iscsiadm("-m", "node", "-o", "new", "-T", target, "-p", portal, *more)


def listed(host: Host) -> t.List[str]:
    return sorted(host.iscsiadm("-m", "node").stdout.splitlines())


def kept_aside(host: Host) -> t.Dict[str, str]:
    return {path: text for path, text in host.files().items() if path.startswith("damaged/")}


def cut_off(text: str) -> str:
    return text[:text.index("node.session.err_timeo.lu_reset_timeout") + 43]


DAMAGE: t.Dict[str, t.Callable[[str], str]] = {
    "empty": lambda text: "",
    "zeroes": lambda text: "\0" * len(text),
    "cut off": cut_off,
    "rubbish": lambda text: text.replace("node.tpgt = 1", "%$rubbish").replace("queue_depth = 32", "queue_depth = many"),
    "without its end": lambda text: text.replace("# END RECORD\n", ""),
}


@pytest.mark.parametrize("how", sorted(DAMAGE))
def test_a_damaged_record_is_whole_again(host: Host, run: Run, how: str) -> None:
    made(host)
    made(host, TWO)
    fresh = record_of(host, ONE).read_text()
    host.iscsiadm("-m", "node", "-T", ONE, "-o", "update", "-n", "node.session.auth.password", "-v", SECRET)
    host.iscsiadm("-m", "node", "-T", ONE, "-o", "update", "-n", "node.startup", "-v", "automatic")
    before = record_of(host, ONE).read_text()
    record_of(host, ONE).write_text(DAMAGE[how](before))
    damaged = host.files()
    # iscsiadm reads over a missing last line; with all else it lists a node that is none, or one with another tag
    assert (listed(host) == [f"{PORTAL} {ONE}", f"{PORTAL} {TWO}"]) is (how == "without its end")
    left = run("iscsi_node", nodes=NODES)
    assert left["failed"] and "repair: true" in left["msg"] and not left["changed"] and host.files() == damaged
    assert any("repair: true" in problem["remedy"] and problem["object"].endswith(f"{ONE}/192.0.2.1,3260,1/default") for problem in left["problems"])
    predicted = run("iscsi_node", nodes=NODES, repair=True, check=True, diff=True)
    assert host.files() == damaged
    done = run("iscsi_node", nodes=NODES, repair=True, diff=True)
    assert done["steps"] == predicted["steps"] and done["diff"] == predicted["diff"] and len(done["steps"]) == 1 and done["problems"] == []
    assert listed(host) == [f"{PORTAL} {ONE}", f"{PORTAL} {TWO}"]
    # what the file still said is said again, the rest is what iscsiadm makes of this host's configuration
    saved = "" if how in ("empty", "zeroes") else before
    assert record_of(host, ONE).read_text() == (saved or fresh)
    assert host.iscsiadm("-m", "node", "-T", ONE, "-p", PORTAL, "-o", "show").returncode == 0
    assert list(kept_aside(host).values()) == ([] if how == "empty" else [DAMAGE[how](before)])
    assert host.modes() <= {"d700", "f600"}
    assert not run("iscsi_node", nodes=NODES)["changed"]
    host.iscsiadm("-m", "node", "-T", ONE, "-o", "delete")
    assert listed(host) == [f"{PORTAL} {TWO}"] and f"static/{ONE},192.0.2.1,3260,1,default" not in host.files()


def test_of_two_tags_the_one_that_is_not_named_goes(host: Host, run: Run) -> None:
    made(host)
    made(host, ONE, "192.0.2.1:3260,2")
    assert len(listed(host)) == 2
    asked = run("iscsi_node", nodes=[{"target": ONE, "portals": ["192.0.2.1"]}], repair=True)
    assert asked["failed"] and "portal group tag" in asked["msg"] and len(listed(host)) == 2
    named = run("iscsi_node", nodes=NODES)
    assert not named["changed"] and [problem["object"] for problem in named["problems"]] == [f"{ONE} at 192.0.2.1:3260"]
    done = run("iscsi_node", nodes=NODES, repair=True)
    assert len(done["steps"]) == 1 and ":3260,2 " in done["steps"][0] and done["problems"] == []
    assert listed(host) == [f"{PORTAL} {ONE}"]


def test_a_record_whose_iface_is_gone_gives_way(host: Host, run: Run) -> None:
    host.iscsiadm("-m", "iface", "-I", "san0", "-o", "new")
    made(host, ONE, PORTAL, "-I", "san0")
    (host.etc / "ifaces/san0").unlink()
    named = run("iscsi_node", nodes=NODES)
    assert not named["changed"] and "iface san0" in named["problems"][0]["what"] and "repair: true" in named["problems"][0]["remedy"]
    done = run("iscsi_node", nodes=NODES, repair=True)
    assert len(done["steps"]) == 2 and done["problems"] == []
    assert not record_of(host, ONE, iface="san0").exists() and listed(host) == [f"{PORTAL} {ONE}"]
    ours = record_of(host, ONE).read_text()
    host.clear()
    made(host)
    assert record_of(host, ONE).read_text() == ours


def test_discovery_repairs_what_it_finds(host: Host, tgt: t.Any, run: Run) -> None:
    tgt.add_target(ONE)
    run("iscsi_discovery", portals=[tgt.portal])
    node, asked = (next(path for path in host.etc.rglob(name) if path.is_file()) for name in ("default", "st_config"))
    whole = host.files()
    node.write_text("")
    asked.write_text(asked.read_text()[:-5])
    damaged = host.files()
    left = run("iscsi_discovery", portals=[tgt.portal])
    assert not left["changed"] and len(left["problems"]) == 2 and host.files() == damaged
    done = run("iscsi_discovery", portals=[tgt.portal], repair=True)
    assert len(done["steps"]) == 2 and done["problems"] == []
    assert {path: text for path, text in host.files().items() if not path.startswith("damaged/")} == whole
    assert list(kept_aside(host)) == [f"damaged/send_targets/{asked.parent.name}/st_config.1"]
    assert listed(host) == [f"{tgt.portal},1 {ONE}"]
    host.iscsiadm("-m", "discoverydb", "-t", "st", "-p", tgt.portal, "-o", "delete")
    assert set(host.files()) == set(kept_aside(host))


def test_what_is_absent_takes_its_damaged_record_along(host: Host, run: Run) -> None:
    made(host)
    record_of(host, ONE).write_text("")
    assert run("iscsi_node", nodes=NODES, state="absent")["failed"]
    assert run("iscsi_node", nodes=NODES, state="absent", repair=True)["changed"]
    assert not any(ONE in path for path in host.files())
