# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iscsi_config on the iscsid.conf of the package; the real iscsiadm makes records from what it wrote, Debian's start-up check reads the name."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import typing as t
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.conf_document import ConfDocument
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.layout import installed_version
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.schema import Field, Kind, Type, fields

if t.TYPE_CHECKING:
    from conftest import Host, Run

TARGET = "iqn.2026-11.org.example:disk"
CHECKS = Path("/lib/open-iscsi/startup-checks.sh")
NAME = "iqn.2026-11.org.example:named"
#: what iscsiadm overrules in a record that it makes
OVERRULED = ("discovery.startup",)


def record(host: Host, kind: Kind = Kind.NODE) -> t.Dict[str, str]:
    """A new record as iscsiadm makes it."""
    where = {Kind.NODE: ["-m", "node", "-T", TARGET, "-p", "192.0.2.1:3260,1"], Kind.SEND_TARGETS: ["-m", "discoverydb", "-t", "st", "-p", "192.0.2.1:3260"],
             Kind.ISNS: ["-m", "discoverydb", "-t", "isns", "-p", "192.0.2.1:3205"]}[kind]
    host.clear()
    host.iscsiadm(*where, "-o", "new")
    text = host.iscsiadm(*where, "-o", "show", "-S").stdout
    return dict(line.split(" = ", 1) for line in text.splitlines() if " = " in line)


def settable(host: Host, kind: Kind) -> t.Dict[str, Field]:
    return {key: one for key, one in fields(kind, installed_version(str(host.root))).items()
            if not one.read_only and "h" not in one.flags and key not in OVERRULED}


def another(one: Field) -> str:
    """A value that is not the default."""
    if one.type is Type.INT:
        return next(str(number) for number in (one.shape.maximum if one.shape.maximum < 2**31 - 1 else 7, 4, 2) if str(number) != one.default
                    and (one.key != "node.session.cmds_max" or number == 2048))
    if one.type is Type.LIST:
        return ",".join(reversed(one.choices))
    return next((choice for choice in one.choices if choice != one.default), "some words # and more")


@pytest.mark.parametrize("kind", [Kind.NODE, Kind.SEND_TARGETS, Kind.ISNS])
def test_iscsiadm_reads_every_setting(host: Host, run: Run, kind: Kind) -> None:
    wanted = {key: another(one) for key, one in settable(host, kind).items()}
    wanted.update({key: "524288" for key in wanted if key.endswith("BurstLength")})
    before = (host.etc / "iscsid.conf").read_text()
    done = run("iscsi_config", settings=wanted, diff=True)
    assert done.get("changed") and set(done["takes_effect"].values()) == {"new_records"}, done
    found = record(host, kind)
    assert {key: found.get(key) for key in wanted} == wanted
    assert not run("iscsi_config", settings=wanted)["changed"]
    # every line that was there is there, changed or not, and only settings came in between
    after = (host.etc / "iscsid.conf").read_text()
    comments = [line for line in before.splitlines() if not line.strip() or line.startswith("#")]
    assert [line for line in after.splitlines() if not line.strip() or line.startswith("#")] == comments
    gone = run("iscsi_config", settings=dict.fromkeys(wanted), state="absent")
    assert gone["changed"] and gone["problems"] == []
    bare = record(host, kind)
    host.configure("")
    assert {key: bare.get(key) for key in wanted} == {key: record(host, kind).get(key) for key in wanted}


def test_settings_go_below_their_comments(host: Host, run: Run) -> None:
    run("iscsi_config", settings={"node.session.auth.username": "me", "node.session.auth.password": "plain-secret-1", "node.startup": "automatic"})
    lines = (host.etc / "iscsid.conf").read_text().splitlines()
    for word, value in (("username", "me"), ("password", "plain-secret-1")):
        at = lines.index(f"node.session.auth.{word} = {value}")
        assert lines[at - 1] == f"#node.session.auth.{word} = {word}"
    assert lines.count("node.startup = automatic") == 1 and "node.startup = manual" not in lines


@given(data=st.data())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_state_is_read_by_iscsiadm(host: Host, run: Run, data: st.DataObject) -> None:
    """Random settings into a file that somebody else has half written."""
    keys = settable(host, Kind.NODE)
    alone = sorted(key for key in keys if not key.endswith(("BurstLength", "noop_out_interval", "noop_out_timeout")))
    chosen = data.draw(st.lists(st.sampled_from(alone), min_size=1, max_size=6, unique=True))
    wanted = {key: data.draw(st.sampled_from([another(keys[key]), keys[key].default or "x"])) for key in chosen}
    lines = ["#", "", "node.startup=onboot", "# node.startup = automatic", "no.such.key = 1", "node.startup = Never"]
    lines += [line for key in chosen for line in (f"{key} = {keys[key].default}", f"#{key} = {wanted[key]}")]
    noise = data.draw(st.lists(st.sampled_from(lines), max_size=8))
    host.configure("\n".join(noise) + data.draw(st.sampled_from(["", "\n"])))
    done = run("iscsi_config", settings=wanted)
    found = record(host)
    assert {key: found.get(key) for key in wanted} == wanted, done
    assert ConfDocument((host.etc / "iscsid.conf").read_text(), "").effective().items() >= wanted.items()


def test_check_mode_and_wrong_input_write_nothing(host: Host, run: Run) -> None:
    before = (host.etc / "iscsid.conf").read_bytes()
    predicted = run("iscsi_config", settings={"node.startup": "onboot"}, initiator_name=NAME, check=True, diff=True)
    assert predicted["changed"] and len(predicted["diff"]) == 2
    for wrong in ({"node.startup": "sometimes"}, {"node.session.queue_deph": 5}, {"node.session.auth.password": "plain-secret\nx"}):
        failed = run("iscsi_config", settings=wrong)
        assert failed["failed"] and "Traceback" not in failed["msg"]
    assert (host.etc / "iscsid.conf").read_bytes() == before


def test_the_package_is_fine_as_it_was_installed(run: Run) -> None:
    found = run("iscsi_config")
    assert not found["changed"] and found["problems"] == [] and found["settings"]["node.startup"] == "manual"


@pytest.mark.skipif(not CHECKS.exists(), reason="Debian's start-up check is not here")
@pytest.mark.parametrize("text", ["GenerateName=yes\n", "InitiatorName = iqn.2026-11.org.example:x\n", "",
                                  "# InitiatorName=\nGenerateName=yes\nInitiatorAlias=a"])
def test_debian_starts_with_the_name(host: Host, run: Run, text: str) -> None:
    path = host.etc / "initiatorname.iscsi"
    kept = path.read_text()
    try:
        path.write_text(text)
        done = run("iscsi_config", initiator_name=NAME, initiator_alias="the alias")
        assert done["changed"] and done["initiator_name"] == NAME
        written = path.read_text()
        host.run("sh", str(CHECKS))
        assert path.read_text() == written and f"InitiatorName={NAME}\n" in written and "InitiatorAlias=the alias\n" in written
        assert not run("iscsi_config", initiator_name=NAME, initiator_alias="the alias")["changed"]
    finally:
        path.write_text(kept)


class Daemon:
    """Something that the machine takes for an iscsid, and a systemctl that starts it anew. No kernel here lets the real one start."""

    def __init__(self, folder: Path) -> None:
        self.program, self.calls = folder / "iscsid", folder / "calls"
        shutil.copy(shutil.which("sleep") or "/bin/sleep", self.program)
        self.tools = folder / "tools"
        self.tools.mkdir()
        systemctl = self.tools / "systemctl"
        systemctl.write_text(f"#!/bin/sh\necho \"$@\" >> {self.calls}\nkill $(cat {folder}/pid)\n{self.program} 600 </dev/null >/dev/null 2>&1 &\n"
                             f"echo $! > {folder}/pid\n")
        systemctl.chmod(0o755)
        self.pid = folder / "pid"

    def start(self) -> None:
        self.pid.write_text(str(subprocess.Popen([str(self.program), "600"]).pid))

    def stop(self) -> None:
        os.kill(int(self.pid.read_text()), signal.SIGKILL)


@pytest.fixture
def iscsid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Daemon]:
    daemon = Daemon(tmp_path)
    monkeypatch.setenv("PATH", f"{daemon.tools}{os.pathsep}{os.environ['PATH']}")
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()
        Path("/run/lunar-iscsi.iscsid").unlink(missing_ok=True)


def test_what_iscsid_has_not_read_is_known_until_it_starts_anew(host: Host, iscsid: Daemon) -> None:
    assert host.module("iscsi_config", settings={"node.startup": "onboot"})["restart_needed"] == []
    done = host.module("iscsi_config", settings={"iscsid.safe_logout": True}, initiator_alias="one")
    assert done["changed"] and done["restart_needed"] == ["iscsid"] and done["restart_safe"] is True
    told = host.module("iscsi_config", settings={"iscsid.safe_logout": True})
    assert not told["changed"] and told["restart_reasons"] == ["iscsid.safe_logout", "InitiatorAlias"]
    predicted = host.module("iscsi_config", restart=True, _ansible_check_mode=True)
    assert predicted["steps"] == ["restart iscsid"] and not iscsid.calls.exists()
    anew = host.module("iscsi_config", restart=True)
    assert anew["steps"] == ["restart iscsid"] and anew["restart_needed"] == [] and iscsid.calls.read_text() == "restart iscsid.service\n"
    again = host.module("iscsi_config", settings={"iscsid.safe_logout": True}, restart=True)
    assert not again["changed"] and again["steps"] == [] and iscsid.calls.read_text().count("\n") == 1


def test_a_daemon_that_was_started_by_somebody_has_read_it(host: Host, iscsid: Daemon) -> None:
    assert host.module("iscsi_config", initiator_alias="two")["restart_needed"] == ["iscsid"]
    iscsid.stop()
    iscsid.start()
    assert host.module("iscsi_config", initiator_alias="two")["restart_needed"] == []


def test_a_restart_that_fails_is_a_sentence_and_tried_again(host: Host, iscsid: Daemon) -> None:
    (iscsid.tools / "systemctl").write_text("#!/bin/sh\necho 'Job for iscsid.service failed.' >&2\nexit 1\n")
    failed = host.module("iscsi_config", initiator_alias="three", restart=True)
    assert failed["failed"] and "could not restart iscsid.service: Job for iscsid.service failed" in failed["msg"]
    assert "InitiatorAlias=three\n" in (host.etc / "initiatorname.iscsi").read_text()
    assert host.module("iscsi_config", initiator_alias="three")["restart_needed"] == ["iscsid"]
