# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""multipath_conf end to end: files are written, the real multipath says what is in effect, multipathd (a stand-in) is told."""

from __future__ import annotations

import re
import shutil
import typing as t

import pytest
import yaml

from ansible_collections.lunar.iscsi.plugins.modules import multipath_conf

if t.TYPE_CHECKING:
    from conftest import Host, StandIn

Daemon = t.Callable[..., "StandIn"]
LIO: t.Dict[str, t.Any] = {
    "vendor": "LIO-ORG", "product": ".*", "hardware_handler": "1 alua", "path_grouping_policy": "failover", "path_selector": "queue-length 0", "failback": 60,
    "path_checker": "tur", "prio": "alua", "prio_args": "exclusive_pref_bit", "fast_io_fail_tmo": 25, "no_path_retry": "queue"}
#: what an admin may have
FILE = """# by hand, do not touch

defaults {
    polling_interval  10   # seconds
    user_friendly_names "yes"
}

! the blacklist
blacklist {
    devnode "^sd[a-b]$"
    device {
        vendor "QEMU"
        product "QEMU HARDDISK"
    }
}
"""


def section(host: Host, *lines: str) -> t.List[t.Dict[str, str]]:
    """The sections in effect that hold these lines, from multipath -t: keyword to value."""
    done = host.multipath_t()
    assert (done.returncode, done.stderr) == (0, "")
    found = []
    for text in re.findall(r"^(\t?)(\w+) \{\n(.*?)^\1\}$", done.stdout, re.MULTILINE | re.DOTALL):
        entries = [line.strip() for line in text[2].splitlines()]
        if set(lines) <= {*entries, text[1]}:
            found.append({line.partition(" ")[0]: line.partition(" ")[2].strip('"') for line in entries})
    return found


def inner(host: Host, name: str, line: str) -> t.List[t.Dict[str, str]]:
    """Sections within others."""
    done = host.multipath_t()
    assert (done.returncode, done.stderr) == (0, "")
    parts = re.findall(rf"^\t{name} \{{\n(.*?)^\t\}}$", done.stdout, re.MULTILINE | re.DOTALL)
    entries = [[entry.strip() for entry in part.splitlines()] for part in parts]
    return [{entry.partition(" ")[0]: entry.partition(" ")[2].strip('"') for entry in one} for one in entries if line in one]


def test_the_device_of_an_lio_target(host: Host) -> None:
    host.main.write_text(FILE)
    predicted = host.module(check=True, diff=True, enable=True, devices=[LIO])
    assert host.main.read_text() == FILE and predicted["changed"]
    done = host.module(diff=True, enable=True, devices=[LIO])
    assert (done["steps"], done["diff"], done["problems"]) == (predicted["steps"], predicted["diff"], [])
    new = host.main.read_text()
    assert new.startswith(FILE) and [(one["after_header"], one["before"], one["after"]) for one in done["diff"]] == [("/etc/multipath.conf", FILE, new)]
    (seen,) = inner(host, "device", 'vendor "LIO-ORG"')[-1:]
    assert {key: seen[key] for key in LIO} == {key: str(value) for key, value in LIO.items()}
    assert section(host, "defaults")[0]["polling_interval"] == "10"
    again = host.module(enable=True, devices=[LIO])
    assert not again["changed"] and again["steps"] == [] and host.main.read_text() == new
    # one keyword back to its default, then the whole section
    assert host.module(state="absent", devices=[{"vendor": "LIO-ORG", "product": ".*", "no_path_retry": None}])["changed"]
    assert host.main.read_text() == new.replace("        no_path_retry queue\n", "")
    gone = host.module(state="absent", devices=[{"vendor": "LIO-ORG", "product": ".*"}])
    assert gone["changed"] and "LIO-ORG" not in host.main.read_text()
    assert not host.module(state="absent", devices=[{"vendor": "LIO-ORG", "product": ".*"}])["changed"]


def test_every_option_is_in_effect(host: Host) -> None:
    options: t.Dict[str, t.Any] = {
        "defaults": {"user_friendly_names": True, "find_multipaths": "strict", "uid": "root", "features": ["queue_if_no_path"], "mode": "0640"},
        "overrides": {"no_path_retry": 12, "detect_prio": False},
        "protocols": [{"type": "scsi:iscsi", "fast_io_fail_tmo": 5, "dev_loss_tmo": "infinity"}],
        "devices": [{"vendor": 'A "quoted"', "product": "B#1", "revision": "2", "prio": "const"}],
        "multipaths": [{"wwid": "3600", "alias": "rbd0"}, {"wwid": "3601", "alias": "caf\u00e9 {1}"}],
        "blacklist": {"devnode": ["^sd[a-b]$", "!^sd"], "protocol": ["scsi:ata"], "devices": [{"vendor": "QEMU"}]},
        "blacklist_exceptions": {"wwid": ["3600"], "property": ["(SCSI_IDENT_|ID_WWN)"]}}
    assert host.module(**options)["problems"] == []
    defaults = section(host, "defaults")[0]
    expected = {"user_friendly_names": "yes", "find_multipaths": "strict", "features": "1 queue_if_no_path", "mode": "0640",
                "uid": "00"}  # of root, as it prints it
    assert {key: defaults[key] for key in expected} == expected
    overrides = host.multipath_t().stdout.split("\noverrides {")[1]
    assert "\tno_path_retry 12\n" in overrides and '\tdetect_prio "no"\n' in overrides
    assert inner(host, "protocol", 'type "scsi:iscsi"') == [{"type": "scsi:iscsi", "fast_io_fail_tmo": "5", "dev_loss_tmo": "infinity"}]
    assert inner(host, "device", 'vendor "A ""quoted"""')[0]["product"] == "B#1"
    assert inner(host, "multipath", 'wwid "3600"')[0]["alias"] == "rbd0"
    assert inner(host, "multipath", 'wwid "3601"')[0]["alias"] == "caf\u00e9 {1}"
    blacklist = host.multipath_t().stdout.split("\nblacklist {")[1].split("\n}")[0]
    assert [line for line in ('devnode "^sd[a-b]$"', 'devnode "!^sd"', 'protocol "scsi:ata"', 'vendor "QEMU"') if f"\t{line}\n" not in blacklist] == []
    assert '\twwid "3600"\n' in host.multipath_t().stdout.split("\nblacklist_exceptions {")[1].split("\n}")[0]
    assert not host.module(**options)["changed"]
    assert not host.module(replace=True, **options)["changed"], "what is written line by line is what is written at once"
    assert host.module(replace=True)["changed"] and host.main.read_bytes() == b""


def test_a_drop_in_and_its_order(host: Host) -> None:
    path = "/etc/multipath/conf.d/rbd.conf"
    assert host.module(path=path, defaults={"verbosity": 3})["steps"] == [f"write {path}"]
    assert sorted(host.files()) == ["multipath/conf.d/rbd.conf"]
    told = host.module(defaults={"verbosity": 1})["problems"]
    assert [(one["object"], "is read later" in one["what"]) for one in told] == [(f"{path}, line 2", True)]
    assert section(host, "defaults")[0]["verbosity"] == "3"
    # a drop-in that multipath refuses is told, and may be mended by another task
    (host.drop_ins / "bad.conf").write_text('blacklist {\n\tdevnode "["\n}\n')
    result = host.module(defaults={"verbosity": 2})
    assert result["changed"] and any("bad.conf, line 2" in one["object"] for one in result["problems"])
    assert host.module(path="/etc/multipath/conf.d/bad.conf", state="absent", blacklist={"devnode": ["["]})["problems"] == []
    assert section(host, "defaults")[0]["verbosity"] == "3"


def test_a_backup_is_a_copy_and_no_drop_in(host: Host) -> None:
    host.main.write_text(FILE)
    host.main.chmod(0o640)
    copy = host.module(backup=True, defaults={"verbosity": 3})["backup_file"]
    assert re.fullmatch(r"/etc/multipath\.conf\.\d+\.\d{4}-\d\d-\d\d@\d\d:\d\d:\d\d~", copy)
    assert (host.etc / copy[5:]).read_text() == FILE and host.main.stat().st_mode & 0o777 == 0o640
    assert sorted(name for name in host.files() if "multipath.conf" in name) == ["multipath.conf", copy[5:]]
    assert list((host.root / "run").glob("*lunar*")) == [], "something is left behind in /run"


@pytest.mark.parametrize(("options", "says"), [
    pytest.param({"defaults": {"fast_oi_fail_tmo": 5}}, "option defaults: 'fast_oi_fail_tmo' is not a keyword of 'defaults'. Did you mean 'fast_io_fail_tmo'?",
                 id="typo"),
    pytest.param({"defaults": {"polling_interval": "banana"}}, "option defaults: 'banana' as polling_interval is not allowed", id="number"),
    pytest.param({"devices": [{"vendor": "A"}]}, "option devices[0]: has no product. Say which device is meant", id="no product"),
    pytest.param({"defaults": {"auto_resize": "never"}}, "It came with 0.9.7", id="later release"),
    pytest.param({"path": "/etc/multipath.conf.d/x.conf"}, "option path: is /etc/multipath.conf.d/x.conf, which multipath does not read", id="path"),
    pytest.param({"defaults": {"uid": "nobody-at-all"}}, 'what would be written: /etc/multipath.conf line 6, invalid value for uid: "nobody-at-all"',
                 id="what only multipath -t finds"),
    pytest.param({"blacklist": {"devnode": ["*"]}}, "option blacklist.devnode: '*' as devnode is not a regular expression", id="shell pattern"),
    pytest.param({"multipaths": [{"wwid": "a", "alias": "x"}, {"wwid": "b", "alias": "x"}]}, "the alias 'x' is given to a already", id="alias twice"),
    pytest.param({"blacklist": {"devices": [{"vendor": ""}]}}, "names neither a vendor nor a product", id="blacklisted device without a name"),
])
def test_wrong_options_are_a_sentence_and_change_nothing(host: Host, options: t.Dict[str, t.Any], says: str) -> None:
    host.main.write_text(FILE)
    before = host.files()
    result = host.module(**options)
    assert result["failed"] and says in result["msg"] and result["error"]["remedy"], result
    assert host.files() == before


@pytest.fixture
def unshare(host: Host) -> t.Iterator[t.Callable[[str], None]]:
    """Put another program in the place of unshare, until the test ends."""
    tools = host.root / "run" / "bin"
    tools.mkdir()

    def put(text: str) -> None:
        (tools / "unshare").write_text(f"#!/bin/sh\n{text}\n")
        (tools / "unshare").chmod(0o755)
        host.path("/run/bin")

    yield put
    host.path("")
    shutil.rmtree(tools)


def test_without_a_namespace_of_its_own_validate_false_is_the_way(host: Host, unshare: t.Callable[[str], None]) -> None:
    unshare("echo 'unshare: unshare failed: Operation not permitted' >&2; exit 1")
    failed = host.module(defaults={"verbosity": 3})
    assert "could not be asked in a mount namespace of its own: unshare: unshare failed: Operation not permitted. Run the task" in failed["msg"]
    assert not host.main.exists()
    assert host.module(defaults={"verbosity": 3}, validate=False)["changed"]


def test_an_old_unshare_leaves_mounts_shared_and_the_host_sees_nothing_of_ours(host: Host, unshare: t.Callable[[str], None]) -> None:
    unshare(f'shift; exec {shutil.which("unshare")} --mount --propagation unchanged "$@"')  # as before util-linux 2.27
    host.inside("mount", "--make-rshared", "/")
    before = host.inside("cat", "/proc/self/mounts")
    assert host.module(defaults={"verbosity": 3})["changed"]
    assert host.inside("cat", "/proc/self/mounts") == before
    assert host.main.read_text() == "defaults {\n\tverbosity 3\n}\n"


def test_multipathd_is_told_only_where_something_changes(host: Host, daemon: Daemon) -> None:
    host.main.write_text(FILE)
    multipathd = daemon(b"ok\n", b"pid 7 configure\n", b"pid 7 idle\n")
    result = host.module(diff=True, defaults={"polling_interval": 7})
    assert result["steps"] == ["write /etc/multipath.conf", "reconfigure multipathd"]
    assert multipathd.asked == ["reconfigure", "show daemon", "show daemon"]
    assert (result["diff"][1]["before"], result["diff"][1]["after"]) == (
        "\tpolling_interval 10\n\tmax_polling_interval 40\n", "\tpolling_interval 7\n\tmax_polling_interval 28\n")
    # the same in effect, in other words
    host.main.write_text("# another comment\n" + host.main.read_text())
    assert host.module(defaults={"polling_interval": "7"})["steps"] == []
    assert host.module(defaults={"verbosity": 2})["steps"] == ["write /etc/multipath.conf"], "2 is the default"
    # a task that is not to tell it leaves that to the next
    assert host.module(state="absent", defaults={"user_friendly_names": None}, reconfigure=False)["steps"] == ["write /etc/multipath.conf"]
    assert len(multipathd.asked) == 3
    assert host.module(defaults={"polling_interval": "7"})["steps"] == ["reconfigure multipathd"]
    assert len(multipathd.asked) == 5


def test_multipathd_refuses_and_the_old_file_comes_back(host: Host, daemon: Daemon) -> None:
    host.main.write_text(FILE)
    multipathd = daemon(b"fail\nbecause\n")
    result = host.module(backup=True, defaults={"polling_interval": 7})
    assert "would not take the new /etc/multipath.conf (answers 'reconfigure' with 'fail, because'), so the old one was put back" in result["msg"]
    assert host.main.read_text() == FILE and (host.etc / result["backup_file"][5:]).read_text() == FILE
    assert multipathd.asked == ["reconfigure"]
    host.main.unlink()
    assert "so it was removed again" in host.module(defaults={"polling_interval": 7})["msg"] and not host.main.exists()


def test_multipathd_that_never_ends_configuring(host: Host, daemon: Daemon) -> None:
    host.main.write_text(FILE)
    multipathd = daemon(b"ok\n", b"pid 7 configure\n")
    assert "was still configuring after 1 s" in host.module(timeout=1, defaults={"polling_interval": 7})["msg"]
    assert host.main.read_text() == FILE and multipathd.asked[-1] == "reconfigure"


EXAMPLES = yaml.safe_load(multipath_conf.EXAMPLES)


@pytest.mark.parametrize("task", EXAMPLES, ids=[task["name"] for task in EXAMPLES])
def test_every_example_of_the_documentation(host: Host, task: t.Dict[str, t.Any]) -> None:
    options = dict(task["lunar.iscsi.multipath_conf"])
    options.pop("wwids", None)  # multipath -a needs a kernel with device-mapper
    host.main.write_text(FILE)
    result = host.module(**options)
    assert result["changed"] and result["problems"] == []
    seen = host.multipath_t()
    assert (seen.returncode, seen.stderr) == (0, "")
    assert not host.module(**options)["changed"]
