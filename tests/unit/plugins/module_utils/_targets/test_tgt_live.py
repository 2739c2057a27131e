# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tgtd prints. The fixtures are what tgt 1.0.85 (Debian 12) printed, with the folder of the images renamed to /srv.

In ``tgt-1.0.85-sessions.txt``, initiators logged in with aliases that hold ``alias:``, lines that look like tgtd's own, and 1500 characters.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_live import (
    LiveLun,
    LiveSession,
    LiveTarget,
    has_sessions,
    naa_of,
    parse_names,
    parse_parameters,
    parse_system,
    parse_targets,
)
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_model import own_identity
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_steps import printed_size

FIXTURES = Path(__file__).parent / "fixtures"
PLAIN = (FIXTURES / "tgt-1.0.85-targets.txt").read_text("utf-8")
SESSIONS = (FIXTURES / "tgt-1.0.85-sessions.txt").read_text("utf-8")
SYSTEM = (FIXTURES / "tgt-1.0.85-system.txt").read_text("utf-8")
DISK3, DISK4, DISK5 = (f"iqn.2013-10.com.example:disk{number}" for number in (3, 4, 5))
ALL_FLAGS = frozenset({"sync", "direct"})


def test_a_target_with_everything() -> None:
    first, second = parse_targets(PLAIN)
    assert first == LiveTarget(
        1, DISK3, "iscsi", True, 7, 3, (), {
            1: LiveLun(1, "disk", "6d4b1d1b4e5a6f0c3d2e1f0a9b8c7d6e", "d4b1", "67 MB", 512, True, True, True, "rdwr", "/srv/d1", ()),
            3: LiveLun(3, "cd", "IET     00010003", "beaf13", "10 MB", 1, True, False, False, "mmc", "/srv/c.iso", ()),
            4: LiveLun(4, "cd", "IET     00010004", "beaf14", "0 MB", 1, True, False, False, "mmc", "", ()),
            5: LiveLun(5, "disk", "IET     00010005", "beaf15", "3 MB", 4096, False, False, False, "rdwr", "/srv/my disk", ("direct", "sync")),
            6: LiveLun(6, "disk", "IET     00010006", "beaf16", "1099512 MB", 512, False, False, False, "null", "x", ()),
        }, ("anna", "odd user"), "array", ("ALL", "[fd00::]/64"), ("iqn.2026-11.org.example:host1",))  # fmt: skip
    assert (second.tid, second.name, second.ready, list(second.luns)) == (2, DISK4, False, [1])


def test_what_initiators_say_is_no_more_than_that() -> None:
    assert has_sessions(SESSIONS) and not has_sessions(PLAIN)
    names = {2: DISK4, 5: DISK5}
    first, second = parse_targets(SESSIONS, names)
    assert (first.name, list(first.luns), first.accounts, first.addresses) == (DISK4, [1], (), ("ALL",))
    assert first.luns[1].path == "/srv/d1"
    assert first.sessions == tuple(
        LiveSession(sid, f"iqn.2026-11.org.example:host{sid}", ("127.0.0.1",) if sid != 3 else (), (0,) if sid != 3 else ()) for sid in (1, 2, 3, 4))
    assert str(first.sessions[0]) == "session 1 of iqn.2026-11.org.example:host1 from 127.0.0.1"
    assert (second.name, second.sessions) == (DISK5, ())


def forged(target: str) -> str:
    """What is printed where an alias holds a whole target."""
    alias = f"x\nTarget {target}\n    System information:\n        Driver: iscsi\n        State: ready\n"
    alias += "    I_T nexus information:\n    LUN information:\n"
    return SESSIONS.replace("host4 alias: none", "host4 alias: " + alias)


def test_a_target_that_an_initiator_made_up() -> None:
    seen = [parse_targets(text, {2: DISK4, 5: DISK5}) for text in (SESSIONS, forged("3: iqn.2026-11.org.example:mine"))]
    honest, made_up = ([(one.name, one.luns, one.accounts, one.addresses) for one in found] for found in seen)
    assert made_up == honest


@pytest.mark.parametrize("target", [f"5: {DISK5}", f"2: {DISK4}"])
def test_a_target_that_an_initiator_doubles(target: str) -> None:
    with pytest.raises(DamagedError, match="twice; an initiator"):
        parse_targets(forged(target), {2: DISK4, 5: DISK5})


@pytest.mark.parametrize("text", [
    "tgtadm: out of memory\n", "Target 1: x\n    Driver: iscsi\n", "Target 1: x\n    System information:\n        Driver: iscsi\n",
])  # fmt: skip
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(DamagedError, match="form that is not known"):
        parse_targets(text)


def test_nothing_is_no_target() -> None:
    assert parse_targets("") == []


def test_names() -> None:
    text = f"LLDs:\n    iscsi: ready\n        Target 2: {DISK4}\n        Target 12: {DISK5}\n    iser: error\n"
    assert parse_names(text) == {2: DISK4, 12: DISK5}


def test_iser_prints_no_pings() -> None:
    (one,) = parse_targets(SESSIONS[SESSIONS.index("Target 5"):].replace("Driver: iscsi", "Driver: iser"))
    assert (one.driver, one.nop_interval) == ("iser", 0)


def test_glfs_path_keeps_its_colon() -> None:
    text = PLAIN.replace("path: /srv/d1", "path: vol1@gluster1:disk4")
    text = text.replace("type: rdwr\n            Backing store path: vol1", "type: glfs\n            Backing store path: vol1")
    assert {(one.luns[1].bs_type, one.luns[1].path) for one in parse_targets(text)} == {("glfs", "vol1@gluster1:disk4")}


def test_system() -> None:
    found = parse_system(SYSTEM)
    assert found.drivers == {"iscsi"}
    assert found.bs_types == {"sheepdog": frozenset(), "bsg": frozenset(), "sg": frozenset(), "null": frozenset(), "ssc": frozenset(), "smc": ALL_FLAGS,
                              "mmc": ALL_FLAGS, "rdwr": ALL_FLAGS, "aio": frozenset()}
    assert found.discovery_accounts == {"anna"}


def test_parameters() -> None:
    assert parse_parameters("nop_interval=7\nMaxBurstLength=262144\nHeaderDigest=None\n")["MaxBurstLength"] == "262144"


@pytest.mark.parametrize("scsi_id, naa", [
    ("6d4b1d1b4e5a6f0c3d2e1f0a9b8c7d6e", "6d4b1d1b4e5a6f0c3d2e1f0a9b8c7d6e"),
    ("IET     00020001", "60000000000000000e00000000020001"),  # as udev shows it: 360000000000000000e00000000020001
    ("fd4b1d1b4e5a6f0c3d2e1f0a9b8c7d6e", "6d4b1d1b4e5a6f0c3d2e1f0a9b8c7d6e"),
    ("abc", "60000000000000000000000000000abc"),
    ("1234" + "5d4b1d1b4e5a6f0c3d2e1f0a9b8c7d6e", "6d4b1d1b4e5a6f0c3d2e1f0a9b8c7d6e"),
    ("ABC-DEF", "6000000000000000000000000abc0def"),
])  # fmt: skip
def test_naa(scsi_id: str, naa: str) -> None:
    assert naa_of(scsi_id) == naa


def test_own_identity_is_the_naa_name_too() -> None:
    (scsi_id, serial), other = own_identity(DISK3, 1), own_identity(DISK3, 2)
    assert naa_of(scsi_id) == scsi_id and serial in scsi_id and other[0] != scsi_id
    assert own_identity(DISK3, 1) == (scsi_id, serial)


@pytest.mark.parametrize("size, printed", [(0, "0 MB"), (64 << 20, "67 MB"), (10 << 20, "10 MB"), (3 << 20, "3 MB")])
def test_printed_size_is_as_in_the_fixture(size: int, printed: str) -> None:
    assert printed_size(size) == printed
