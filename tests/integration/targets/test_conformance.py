# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""LUNs of tgt_target and the same LUNs made with tgtadm, under libiscsi's conformance suite.

One kind of LUN in every run; all kinds where E2E_LONG is set (``make test-all``), since each costs the better part of a minute.
"""

from __future__ import annotations

import os
import subprocess
import typing as t

import pytest

from ansible_collections.lunar.iscsi.tests import conformance

if t.TYPE_CHECKING:
    from .conftest import Gateway

#: a LUN as the module is told of it, and what tgtadm is told: when it is made, and then
LUNS: t.Mapping[str, t.Tuple[t.Mapping[str, t.Any], t.Sequence[str], str]] = {
    "plain": ({}, (), ""),
    "aio": ({"bs_type": "aio"}, ("--bstype", "aio"), ""),
    "4096-thin": ({"block_size": 4096, "thin_provisioning": True}, ("--blocksize", "4096"), "thin_provisioning=1"),
    "write-through": ({"write_cache": False}, (), "mode_page=8:0:18:0x10:0:0xff:0xff:0:0:0xff:0xff:0xff:0xff:0x80:0x14:0:0:0:0:0:0"),
}
KINDS = tuple(LUNS) if os.environ.get("E2E_LONG") else ("plain",)


def made_by_hand(gateway: Gateway, kind: str, tid: int) -> None:
    _declared, when_made, then = LUNS[kind]
    target = ("--tid", str(tid))
    gateway.tgt.adm("--op", "new", "--mode", "target", *target, "-T", f"iqn.2026-11.org.example:hand-{kind}")
    gateway.tgt.adm("--op", "new", "--mode", "logicalunit", *target, "--lun", "1", "-b", gateway.image(f"hand-{kind}", 8 << 20), *when_made)
    if then:
        gateway.tgt.adm("--op", "update", "--mode", "logicalunit", *target, "--lun", "1", "--params", then)
    gateway.tgt.adm("--op", "bind", "--mode", "target", *target, "-I", "ALL")


@pytest.fixture(name="results")
def fixture_results(gateway: Gateway) -> t.Dict[str, t.Dict[str, str]]:
    """All at once, since the suite mostly waits."""
    gateway.run(targets=[{"name": f"iqn.2026-11.org.example:declared-{kind}", "allow": {"addresses": ["ALL"]},
                          "luns": [{"lun": 1, "backing_store": gateway.image(f"declared-{kind}", 8 << 20), **LUNS[kind][0]}]} for kind in KINDS])
    for tid, kind in enumerate(KINDS, 100):
        made_by_hand(gateway, kind, tid)
    running = {f"{way}-{kind}": subprocess.Popen(conformance.command(gateway.url(name=f"iqn.2026-11.org.example:{way}-{kind}")), text=True, errors="replace",
                                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for way in ("hand", "declared") for kind in KINDS}
    return {which: conformance.verdicts(suite.communicate(timeout=300)[0]) for which, suite in running.items()}


def test_same_or_better_than_by_hand(results: t.Mapping[str, t.Mapping[str, str]]) -> None:
    for kind in KINDS:
        assert (kind, conformance.compare(results[f"hand-{kind}"], results[f"declared-{kind}"])) == (kind, [])
