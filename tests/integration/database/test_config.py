# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iscsi_config on the iscsid.conf of the package; the real iscsiadm makes records from what it wrote, Debian's start-up check reads the name."""

from __future__ import annotations

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
