# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that brings a target back: written, read back, and told from those of others."""

from __future__ import annotations

import string
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_model import Target, Unit
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_saved import check_savable, doubted, parse, read_saved, render

NAME = "iqn.2013-10.com.example:disk3"
WHOLE = Target(
    NAME, "iscsi", False,
    {1: Unit(1, "/srv/d", "disk", "rdwr", None, ("direct", "sync"), 4096, "6abc", "abc", True, False, True, False, "LUNAR", "DISK", "1"),
     3: Unit(3, "", "cd", "mmc", scsi_id="IET     00010003", scsi_sn="beaf13", write_cache=True)},
    ("anna", "bert"), "array", {"anna": "a=b%$\"<c", "bert": "-x", "array": "s"}, ("192.0.2.0/24",), ("iqn.2026-11.org.example:host1",),
    {"MaxBurstLength": "1024"})  # fmt: skip
TEXT = """\
# Written by the Ansible module lunar.iscsi.tgt_target. What is changed here by hand is lost with its next run.
<target iqn.2013-10.com.example:disk3>
    driver iscsi
    allow-in-use yes
    <backing-store /srv/d>
        lun 1
        device-type disk
        bs-type rdwr
        bsoflags direct:sync
        block-size 4096
        scsi_id 6abc
        scsi_sn abc
        readonly 1
        removable 0
        write-cache off
        vendor_id LUNAR
        product_id DISK
        product_rev 1
        params thin_provisioning=1
    </backing-store>
    <backing-store NONE:3>
        lun 3
        device-type cd
        bs-type mmc
        scsi_id IET     00010003
        scsi_sn beaf13
        write-cache on
    </backing-store>
    incominguser anna 'a=b%$"<c'
    incominguser bert '-x'
    outgoinguser array 's'
    initiator-address 192.0.2.0/24
    initiator-name iqn.2026-11.org.example:host1
    MaxBurstLength 1024
    state offline
</target>
"""

words = st.text(string.ascii_letters + string.digits + "._:-", min_size=1, max_size=12)
flag = st.none() | st.booleans()
word = st.none() | words


def unit_strategy(number: int) -> st.SearchStrategy[Unit]:
    return st.builds(
        Unit, st.just(number), st.just("") | words.map("/{}".format) | words.map("vol@server:{}".format), st.sampled_from(["disk", "cd", "tape"]),
        st.sampled_from(["rdwr", "aio", "glfs"]), word, st.none() | st.just(("direct",)) | st.just(("direct", "sync")), st.none() | st.just(4096), word, word,
        flag, flag, flag, flag, word, word, word)


@st.composite
def targets(draw: st.DrawFn) -> Target:
    users = draw(st.lists(words, max_size=4, unique=True))
    outgoing = draw(st.sampled_from(["", "array-of-ours"])) if users else ""
    secret = st.text([chr(number) for number in range(33, 127) if chr(number) not in "#'\\"], min_size=1)
    units = {number: draw(unit_strategy(number)) for number in draw(st.sets(st.integers(1, 9)))}
    return Target(
        draw(words), draw(st.sampled_from(["iscsi", "iser"])), draw(st.booleans()), units,
        tuple(users), outgoing, {name: draw(secret) for name in (*users, outgoing) if name},
        tuple(draw(st.lists(st.sampled_from(["ALL", "192.0.2.1", "fd00::/64"]), unique=True))), tuple(draw(st.lists(words.map("iqn.{}".format), unique=True))),
        draw(st.dictionaries(st.sampled_from(["MaxBurstLength", "InitialR2T", "HeaderDigest"]), words)))


@given(target=targets())
def test_what_is_written_is_read(target: Target) -> None:
    assert parse(render(target), "x") == target
    assert parse(doubted(render(target), ["account anna", "LUN 2"]), "x") == target


def test_the_words_of_targets_conf() -> None:
    assert render(WHOLE) == TEXT


def test_nobody_is_written_down() -> None:
    text = render(Target(NAME, initiators=("iqn.2026-11.org.example:host1",)))
    assert "    initiator-address none\n" in text
    assert parse(text, "x").addresses == ()


@pytest.mark.parametrize("line", ["    write-cache off", "    backing-store /srv/x", "    controller_tid 5", "    <direct-store /dev/sdb>", "include x"])
def test_a_line_of_someone_else(line: str) -> None:
    with pytest.raises(DamagedError, match="which this module does not write") as caught:
        parse(TEXT.replace("    state offline", line), "x")
    assert "a=b" not in caught.value.sentence()


@pytest.mark.parametrize("line", ["        direct-store x", "        lun one", "        block-size large", "        mode_page 8:0"])
def test_a_line_of_someone_else_in_a_lun(line: str) -> None:
    with pytest.raises(DamagedError, match="which this module does not write"):
        parse(TEXT.replace("        lun 1", line), "x")


@pytest.mark.parametrize("changed", [
    {"units": {1: Unit(1, "/srv/my disk")}}, {"units": {1: Unit(1, "/srv/a'b")}}, {"units": {1: Unit(1, "/srv/d", bs_options="a=b;c=d")}},
    {"units": {1: Unit(1, "v@s:d", bs_type="glfs"), 2: Unit(2, kind="cd")}}, {"incoming": ("odd user",)}, {"addresses": ("a b",)},
    {"initiators": ("iqn.$(x)",)}, {"units": {1: Unit(1, "/srv/d", scsi_id="$x")}},
])  # fmt: skip
def test_what_cannot_be_saved(changed: t.Dict[str, t.Any]) -> None:
    check_savable(replace(WHOLE, addresses=("[fd00::]/64",)))
    with pytest.raises(HostError, match="disk3: has "):
        check_savable(replace(WHOLE, **changed))


class Etc:
    """A folder that stands for /etc/tgt."""

    def __init__(self, folder: Path) -> None:
        self.main, self.conf = folder / "targets.conf", folder / "conf.d"
        self.conf.mkdir()

    def write(self, name: str, text: str) -> str:
        path = self.conf / name if name != "targets.conf" else self.main
        path.write_text(text, encoding="utf-8")
        return str(path)


@pytest.fixture
def etc(tmp_path: Path) -> Etc:
    return Etc(tmp_path)


def test_ours_and_those_of_others(etc: Etc) -> None:
    etc.write(f"{NAME}.conf", TEXT)
    other = etc.write("other.conf", "<target iqn.2026-11.org.example:a>\n</target>\n  <TARGET \"iqn.2026-11.org.example:b\" >\n</target>\n")
    copied = etc.write("copy.conf", TEXT.replace("disk3", "disk4"))
    etc.write("targets.conf", f"include {etc.conf}/*.conf\n")
    found = read_saved(str(etc.conf), str(etc.main))
    assert found.ours == {NAME: WHOLE} and found.texts == {NAME: TEXT} and found.included and not any(found.doubts.values())
    assert found.foreign == {"iqn.2026-11.org.example:a": other, "iqn.2026-11.org.example:b": other, "iqn.2013-10.com.example:disk4": copied}


def test_doubts_are_read(etc: Etc) -> None:
    etc.write(f"{NAME}.conf", doubted(TEXT, ["account anna", "LUN 2"]))
    assert read_saved(str(etc.conf), None).doubts == {NAME: {"account anna", "LUN 2"}}


@pytest.mark.parametrize("main, included", [
    ("include {conf}/*.conf\n", True), ("<<include {conf}/*.conf>>\n", True), ("  Include {conf}/*\n", True), ("include {conf}\n", True),
    ("include conf.d/*.conf\n", True), ("# include {conf}/*.conf\n", False), ("include {conf}/one.conf\n", False), ("default-driver iscsi\n", False),
    (None, False),
])  # fmt: skip
def test_whether_the_folder_is_read_at_boot(etc: Etc, main: t.Optional[str], included: bool) -> None:
    if main is not None:
        etc.write("targets.conf", main.format(conf=etc.conf))
    assert read_saved(str(etc.conf), str(etc.main)).included is included


def test_a_foreign_target_anywhere(etc: Etc, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "one.conf").write_text(f"<target {NAME}>\n</target>\n")
    (tmp_path / "between.conf").write_text(f"include {tmp_path}/deep\n")
    etc.write("targets.conf", f"include {tmp_path}/between.conf\ninclude {etc.main}\n")
    assert read_saved(str(etc.conf), str(etc.main)).foreign == {NAME: str(tmp_path / "deep" / "one.conf")}
