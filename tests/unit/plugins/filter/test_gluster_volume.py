# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What gluster 10.3 (Debian 12) prints in XML, read."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.lunar.iscsi.plugins.filter.gluster_volume import FilterModule, gluster_volume

HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<cliOutput>\n  <opRet>0</opRet>\n  <opErrno>0</opErrno>\n  <opErrstr/>\n'
# of three hosts, shortened
INFO = HEAD + """<volInfo><volumes><volume><name>gv0</name><id>f724a4fd-8add-4dad-a1c0-217f80234e3e</id><status>1</status><statusStr>Started</statusStr>
<brickCount>3</brickCount><distCount>1</distCount><replicaCount>3</replicaCount><arbiterCount>1</arbiterCount><type>2</type><typeStr>Replicate</typeStr>
<bricks>
<brick uuid="660a">10.99.0.1:/srv/brick/gv0<name>10.99.0.1:/srv/brick/gv0</name><hostUuid>660a</hostUuid><isArbiter>0</isArbiter></brick>
<brick uuid="6779">10.99.0.2:/srv/brick/gv0<name>10.99.0.2:/srv/brick/gv0</name><hostUuid>6779</hostUuid><isArbiter>0</isArbiter></brick>
<brick uuid="3468">10.99.0.3:/srv/brick/gv0<name>10.99.0.3:/srv/brick/gv0</name><hostUuid>3468</hostUuid><isArbiter>1</isArbiter></brick>
</bricks><optCount>2</optCount><options>
<option><name>performance.read-ahead</name><value>off</value></option><option><name>network.ping-timeout</name><value>20</value></option>
</options></volume><count>1</count></volumes></volInfo></cliOutput>"""
NONE = HEAD.replace("<opRet>0</opRet>", "<opRet>-1</opRet>").replace("<opErrstr/>", "<opErrstr>Volume does not exist</opErrstr>") + """
<volInfo><volumes><count>0</count></volumes></volInfo></cliOutput>"""
PEERS = HEAD + """<peerStatus><peer><uuid>6779</uuid><hostname>10.99.0.2</hostname><hostnames><hostname>10.99.0.2</hostname><hostname>g2</hostname></hostnames>
<connected>1</connected><state>3</state></peer><peer><uuid>3468</uuid><hostname>g3</hostname><hostnames><hostname>g3</hostname></hostnames>
<connected>0</connected><state>3</state></peer><peer><hostname>g4</hostname><hostnames><hostname>g4</hostname></hostnames>
<connected>1</connected><state>4</state></peer></peerStatus></cliOutput>"""


def test_a_volume() -> None:
    found = gluster_volume(INFO)
    assert {key: value for key, value in found.items() if key not in ("options", "peers", "joined")} == {
        "exists": True, "started": True, "error": "", "bricks": [f"10.99.0.{host}:/srv/brick/gv0" for host in (1, 2, 3)], "replica": 3, "arbiter": 1,
        "differing": []}
    assert found["options"] == {"performance.read-ahead": "off", "network.ping-timeout": "20"}


@pytest.mark.parametrize(("text", "said"), [pytest.param(NONE, "Volume does not exist", id="no such volume"), pytest.param("", "", id="no gluster yet")])
def test_no_volume(text: str, said: str) -> None:
    found = gluster_volume(text, {"performance.read-ahead": False})
    assert (found["exists"], found["started"], found["bricks"], found["replica"], found["error"]) == (False, False, [], 0, said)
    assert found["differing"] == ["performance.read-ahead", "off"]


def test_options_that_differ() -> None:
    wanted = {"performance.read-ahead": False, "network.ping-timeout": 20, "features.shard": True, "cluster.quorum-type": "auto"}
    assert gluster_volume(INFO, wanted)["differing"] == ["features.shard", "on", "cluster.quorum-type", "auto"]


def test_peers() -> None:
    """Those that count are connected and through with joining."""
    found = gluster_volume(PEERS)
    assert found["peers"] == {"10.99.0.2": True, "g2": True, "g3": False, "g4": False}
    assert found["joined"] == 1


@pytest.mark.parametrize("text", [
    pytest.param("Connection failed. Please check if gluster daemon is operational.", id="words"),
    pytest.param('<!DOCTYPE a [<!ENTITY b "c">]><cliOutput>&b;</cliOutput>', id="entities"),
])
def test_what_gluster_does_not_print(text: str) -> None:
    with pytest.raises(AnsibleFilterError, match="did not print XML.*" + text[:10]):
        gluster_volume(text)


def test_the_filter_has_its_name() -> None:
    assert FilterModule().filters() == {"gluster_volume": gluster_volume}
