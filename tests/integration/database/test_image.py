# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iscsi_image between two hosts: the real iscsiadm recorded what the first one has, and reads what the second one got."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest

if t.TYPE_CHECKING:
    from conftest import Host

ONE, TWO, THREE = (f"iqn.2026-11.org.example:{name}" for name in ("one", "two", "three"))
PORTAL = "127.0.0.1:3260,1"
NAME = "iqn.2026-11.org.example:witness"
BOOT = [{"target": ONE}]


@pytest.fixture(scope="module")
def _tree(_host: Host, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Host]:
    tree = type(_host)(tmp_path_factory.mktemp("tree"))
    yield tree
    tree.stop()


@pytest.fixture
def tree(_tree: Host) -> Host:
    """The installed system: to the module a mounted tree, to iscsiadm the host it runs on."""
    _tree.clear()
    (_tree.etc / "initiatorname.iscsi").write_text("## its own\nGenerateName=yes\nInitiatorName=iqn.2026-11.org.example:fresh\n")
    (_tree.etc / "initiatorname.iscsi").chmod(0o600)
    return _tree


@pytest.fixture
def installer(host: Host) -> Host:
    """The running system: a discovery with two nodes, one of them through an iface of its own and with CHAP, and a static one."""
    host.iscsiadm("-m", "iface", "-I", "path1", "-o", "new")
    host.iscsiadm("-m", "iface", "-I", "path1", "-o", "update", "-n", "iface.net_ifacename", "-v", "lo")
    host.start_tgtd([ONE, TWO], ["127.0.0.1:3260"])
    host.iscsiadm("-m", "discovery", "-t", "st", "-p", "127.0.0.1", "-I", "default", "-I", "path1")
    host.stop_others()
    host.iscsiadm("-m", "node", "-T", THREE, "-p", "192.0.2.9:3260,1", "-o", "new")
    host.iscsiadm("-m", "discoverydb", "-t", "isns", "-p", "192.0.2.5:3205", "-o", "new")
    for name, value in (("authmethod", "CHAP"), ("username", "host"), ("password", "plain-secret-1")):
        host.iscsiadm("-m", "node", "-T", TWO, "-p", "127.0.0.1", "-o", "update", "-n", f"node.session.auth.{name}", "-v", value)
        host.iscsiadm("-m", "discoverydb", "-t", "st", "-p", "127.0.0.1", "-o", "update", "-n", f"discovery.sendtargets.auth.{name}", "-v", value)
    host.iscsiadm("-m", "node", "-T", ONE, "-p", "127.0.0.1", "-o", "update", "-n", "node.session.timeo.replacement_timeout", "-v", "77")
    return host


def image(installer: Host, tree: Host, **options: t.Any) -> t.Dict[str, t.Any]:
    """Run the module in the first system, where the second one is mounted."""
    done: t.Dict[str, t.Any] = installer.module("iscsi_image", root=str(tree.root), **options)
    assert "plain-secret" not in str(done)
    return done


def shown(host: Host, *which: str) -> t.Dict[str, str]:
    text = host.iscsiadm("-m", *which, *(() if which[0] == "iface" else ("-S",)), "-o", "show").stdout
    return dict(line.split(" = ", 1) for line in text.splitlines() if " = " in line)


def listed(host: Host) -> t.List[str]:
    """Every node and iface as iscsiadm lists them."""
    lines = host.iscsiadm("-m", "node", "-P", "1").stdout.splitlines() + host.iscsiadm("-m", "discoverydb", "-P", "1").stdout.splitlines()
    return sorted(re.sub(r"\s+", " ", line).strip() for line in lines)


def test_everything_is_carried_over_as_iscsiadm_reads_it(installer: Host, tree: Host) -> None:
    source = installer.files()
    done = image(installer, tree, boot_nodes=BOOT)
    assert done["changed"] and done["problems"] == [] and done["kept"] == [], done
    assert listed(tree) == listed(installer)
    for target, iface in ((ONE, "default"), (ONE, "path1"), (TWO, "default"), (TWO, "path1")):
        which = ("node", "-T", target, "-p", PORTAL, "-I", iface)
        startup = "onboot" if target == ONE else "automatic"
        conn = {"node.conn[0].startup": "onboot"} if target == ONE else {}
        assert shown(tree, *which) == {**shown(installer, *which), "node.startup": startup, **conn}
    assert shown(tree, "iface", "-I", "path1") == shown(installer, "iface", "-I", "path1")
    for kind, portal in (("st", "127.0.0.1:3260"), ("isns", "192.0.2.5:3205")):
        record = ("discoverydb", "-t", kind, "-p", portal)
        assert shown(tree, *record) == shown(installer, *record)
    assert tree.modes() == {"d700", "f600"}
    assert installer.files() == source


def test_start_scripts_log_in_to_what_the_system_is_not_on(installer: Host, tree: Host) -> None:
    """With no daemon to log in, iscsiadm says which nodes it would have logged in to."""
    image(installer, tree, boot_nodes=BOOT)
    said = tree.iscsiadm("-m", "node", "--loginall=automatic", check=False)
    tried = set(re.findall(r"target: (\S+),", said.stdout + said.stderr))
    assert tried == {TWO, THREE}


def test_the_name_is_that_of_the_running_system(installer: Host, tree: Host) -> None:
    image(installer, tree, boot_nodes=[])
    text = (tree.etc / "initiatorname.iscsi").read_text()
    assert text == f"## its own\nInitiatorName={NAME}\n"
    assert (tree.etc / "initiatorname.iscsi").stat().st_mode & 0o777 == 0o600
    assert tree.run("sh", "-c", ". /etc/iscsi/initiatorname.iscsi; echo $InitiatorName").stdout.strip() == NAME


def test_twice_is_once_and_check_mode_tells_it(installer: Host, tree: Host) -> None:
    before = tree.files()
    predicted = image(installer, tree, boot_nodes=BOOT, _ansible_check_mode=True, _ansible_diff=True)
    assert tree.files() == before
    done = image(installer, tree, boot_nodes=BOOT, _ansible_diff=True)
    assert predicted["steps"] == done["steps"] and predicted["diff"] == done["diff"] and predicted["changed"]
    files = tree.files()
    again = image(installer, tree, boot_nodes=BOOT, _ansible_diff=True)
    assert not again["changed"] and again["diff"] == [] and tree.files() == files


def test_what_the_tree_has_is_never_reset(installer: Host, tree: Host) -> None:
    foreign = "iqn.2026-11.org.example:foreign"
    tree.iscsiadm("-m", "node", "-T", foreign, "-p", "192.0.2.7:3260,1", "-o", "new")
    for target in (ONE, TWO):
        tree.iscsiadm("-m", "node", "-T", target, "-p", PORTAL, "-o", "new")
        tree.iscsiadm("-m", "node", "-T", target, "-p", PORTAL, "-o", "update", "-n", "node.session.timeo.replacement_timeout", "-v", "5")
    tree.iscsiadm("-m", "iface", "-I", "path1", "-o", "new")
    before = {target: shown(tree, "node", "-T", target, "-p", PORTAL, "-I", "default") for target in (ONE, TWO)}
    foreign_before, iface_before = shown(tree, "node", "-T", foreign), shown(tree, "iface", "-I", "path1")
    done = image(installer, tree, boot_nodes=BOOT)
    assert shown(tree, "node", "-T", foreign) == foreign_before
    assert shown(tree, "iface", "-I", "path1") == iface_before
    assert shown(tree, "node", "-T", TWO, "-p", PORTAL, "-I", "default") == before[TWO]
    onboot = {"node.startup": "onboot", "node.conn[0].startup": "onboot"}
    assert shown(tree, "node", "-T", ONE, "-p", PORTAL, "-I", "default") == {**before[ONE], **onboot}
    kept = {entry["object"]: entry["differs"] for entry in done["kept"]}
    assert "iface.net_ifacename" in kept["iface path1"]
    assert {"node.session.timeo.replacement_timeout", "node.session.auth.password"} <= set(kept[f"{TWO} at {PORTAL}"])
    assert not image(installer, tree, boot_nodes=BOOT)["changed"]


def test_inside_a_chroot_the_running_system_is_the_source(installer: Host, tree: Host, tmp_path: Path) -> None:
    done = tree.module("iscsi_image", root="/", source=str(installer.root), boot_nodes=BOOT)
    assert done["changed"] and listed(tree) == listed(installer)
    assert shown(tree, "node", "-T", ONE, "-p", PORTAL, "-I", "default")["node.startup"] == "onboot"


def test_damage_is_named_and_not_carried_over(installer: Host, tree: Host) -> None:
    path = installer.etc / f"nodes/{THREE}/192.0.2.9,3260,1/default"
    path.write_text("")
    done = image(installer, tree, boot_nodes=[])
    assert [problem["object"] for problem in done["problems"]] == [f"/etc/iscsi/nodes/{THREE}/192.0.2.9,3260,1/default"]
    assert THREE not in tree.iscsiadm("-m", "node").stdout


@pytest.mark.parametrize("options, words", [
    ({"root": "/"}, "whose database /etc/iscsi is that of source"), ({"root": "/nowhere"}, "is not a folder"), ({"root": "tree"}, "no absolute path"),
    ({"boot_nodes": [{"target": "iqn.2026-11.org.example:unknown"}]}, "is not recorded on this host"),
])
def test_refused_with_nothing_changed(installer: Host, tree: Host, options: t.Dict[str, t.Any], words: str) -> None:
    files = tree.files()
    done = installer.module("iscsi_image", **{"root": str(tree.root), **options})
    assert done.get("failed") and words in done["msg"], done
    assert tree.files() == files


def test_a_tree_without_open_iscsi_is_refused(installer: Host, tmp_path: Path) -> None:
    done = installer.module("iscsi_image", root=str(tmp_path), boot_nodes=[])
    assert done.get("failed") and "open-iscsi" in done["msg"], done
    assert list(tmp_path.iterdir()) == []
