# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks that find everything as it should be, for every module about open-iscsi, and what their processes execute, as strace sees it.

They run on one host that has all of it: records, two sessions, a target and an iSNS server on loopback, a firmware table, an offload adapter. The
kernel is stood in for (sysfs and netlink), iscsid too; iscsiadm, tgtd and isnsd are the real ones. The test here and bench/run.py count the same.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
import typing as t
from pathlib import Path

from ansible_collections.lunar.iscsi.tests.integration.conftest import Isns
from ansible_collections.lunar.iscsi.tests.integration.hosts.adapter import MAC, Adapter
from ansible_collections.lunar.iscsi.tests.integration.hosts.record import build_library
from ansible_collections.lunar.iscsi.tests.integration.sessions.conftest import Host
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.ibft_tree import build, kernel_shows, with_header

Options = t.Dict[str, t.Any]
PREFIX = "iqn.2026-11.org.example"
DISK, BARE = f"{PREFIX}:disk", f"{PREFIX}:bare"
SERVED = [f"{PREFIX}:served{number}" for number in range(3)]
#: portals of the two sessions
PORTAL = "192.0.2.1:3260,1"
SERVER, PORT = "127.0.0.1", "qla4xxx.00:0e:1e:04:8b:2e"
CHAP = {"username": "host1", "password": "plain-secret-1"}
TABLE = {"initiator": {"name": f"{PREFIX}:witness"}, "nics": [{"mac": "52:54:00:12:34:56", "address": "192.0.2.10", "prefix": 24}],
         "targets": [{"name": f"{PREFIX}:boot", "address": "192.0.2.3", "lun": 1}]}
#: of the table in bench/README.md
COLUMNS = ("module", "task that changes nothing", "runs of iscsiadm", "other programs")
NODES = [{"target": f"{PREFIX}:node{number}", "portals": [f"192.0.2.{host}:3260,1" for host in (5, 6)]} for number in range(50)]


class Case(t.NamedTuple):
    """A task; ``what`` says in words what it is about. Once before it runs with ``before`` in the place of these of its options."""

    module: str
    what: str
    options: Options
    before: t.Optional[Options] = None

    def __str__(self) -> str:
        return f"{self.module}: {self.what}"


CASES = [
    Case("iscsi_config", "settings, both names, a restart where one is needed", {
        "settings": {"node.startup": "automatic"}, "initiator_name": f"{PREFIX}:witness", "initiator_alias": "witness", "restart": True}),
    Case("iscsi_db", "look", {}),
    Case("iscsi_db", "`show`, `repair`", {"show": True, "repair": True}),
    Case("iscsi_discovery", "SendTargets", {"portals": [SERVER]}),
    Case("iscsi_discovery", "SendTargets, `method: iscsiadm`", {"portals": [SERVER], "method": "iscsiadm"}),
    Case("iscsi_discovery", "iSNS", {"portals": [SERVER], "type": "isns"}),
    Case("iscsi_discovery", "firmware", {"type": "firmware"}),
    Case("iscsi_discovery", "`state: absent`", {"portals": ["192.0.2.9"], "state": "absent"}),
    Case("iscsi_firmware_info", "look", {}),
    Case("iscsi_host", "flash nodes", {"host": MAC, "flash_nodes": [{"target": DISK, "portal": "192.168.1.12:3260"}]}),
    Case("iscsi_host", "CHAP table", {"host": MAC, "chap": [CHAP], "secrets_in_arguments": True}),
    Case("iscsi_host_info", "look", {}),
    Case("iscsi_host_info", "`chap`", {"chap": True}),
    Case("iscsi_host_info", "`stats`", {"stats": True}),
    Case("iscsi_iface", "a network interface, its `rp_filter`", {"name": "san0", "settings": {"iface.net_ifacename": "lo"}, "rp_filter": "set"}),
    Case("iscsi_iface", "a port of an adapter, `apply`",
         {"name": PORT, "transport": "qla4xxx", "settings": {"iface.hwaddress": MAC, "iface.ipaddress": "192.168.1.20"}, "apply": True}, {"apply": False}),
    Case("iscsi_iface", "`state: absent`", {"name": "nobody", "state": "absent"}),
    Case("iscsi_node", "100 records with CHAP", {"nodes": NODES, "startup": "automatic", "auth": CHAP}),
    Case("iscsi_node", "`state: logged_in`", {"nodes": [{"target": DISK, "portals": [PORTAL]}], "state": "logged_in"}),
    Case("iscsi_node", "`state: logged_out`", {"nodes": [{"target": f"{PREFIX}:nobody", "portals": [PORTAL]}], "state": "logged_out"}),
    Case("iscsi_node", "`state: absent`", {"nodes": [{"target": f"{PREFIX}:nobody", "portals": [PORTAL]}], "state": "absent"}),
    Case("iscsi_session", "`state: present`, `disk_settings`", {"state": "present", "targets": [DISK], "disk_settings": {"timeout": 75, "queue_depth": 16}}),
    Case("iscsi_session", "`state: rescanned`, a session without LUN", {"targets": [BARE]}),
    Case("iscsi_session", "`state: logged_out`", {"state": "logged_out", "sids": [9]}),
    Case("iscsi_session_info", "look", {}),
    Case("iscsi_session_info", "`explain`", {"explain": True}),
    Case("iscsi_session_info", "`statistics`", {"statistics": True}),
]


class Counted(t.NamedTuple):
    """How often a task ran iscsiadm, and the other programs that it ran."""

    iscsiadm: int
    others: t.Tuple[str, ...]


class World(Host):
    """The host; ``folder`` has to be there and empty."""

    def __init__(self, folder: Path) -> None:
        (folder / "root").mkdir()
        super().__init__(folder / "root")
        self.session(1, DISK, {"sda": 0})
        self.session(2, BARE)
        self._adapter = Adapter(self.tree, folder / "kernel")
        for path, text in kernel_shows(with_header(build(TABLE))).items():
            self.tree.write(f"/sys/firmware/ibft/{path}", text)
        (self.root / "etc/iscsi/iscsid.conf").write_text(Path("/etc/iscsi/iscsid.conf").read_text())
        self._env = {"LD_PRELOAD": str(build_library(folder)), "ISCSI_KERNEL": str(folder / "kernel")}
        self._log = folder / "strace"
        (folder / "isns").mkdir()
        self._isns = Isns(folder / "isns")
        self._tgtd: t.Optional[subprocess.Popen[bytes]] = None

    def start(self) -> None:
        super().start()
        (self.root / "sysctl.d").mkdir()
        self.run("mount", "--bind", str(self.root / "sysctl.d"), "/etc/sysctl.d")
        # open-isns takes an address only where the network has one of that kind, loopback not counted
        self.run("ip", "address", "add", "192.0.2.99/32", "dev", "lo")
        self._isns.portal, self._isns.port = f"{SERVER}:3205", 3205
        self._isns.start(before=self.inside())
        self._isns.register({SERVED[0]: ["192.0.2.7:3260,1"]}, before=self.inside())
        tgtd, tgtadm = (self.inside("env", f"TGT_IPC_SOCKET={self.root}/tgtd", *words) for words in (
            ("tgtd", "-f", "--iscsi", f"portal={SERVER}:3260"), ("tgtadm", "--lld", "iscsi")))
        quiet = subprocess.DEVNULL
        self._tgtd = subprocess.Popen(tgtd, stdin=quiet, stdout=quiet, stderr=quiet)
        until = time.monotonic() + 20
        while subprocess.run([*tgtadm, "--op", "show", "--mode", "sys"], capture_output=True, check=False).returncode and time.monotonic() < until:
            time.sleep(0.05)
        for number, name in enumerate(SERVED, 1):
            for words in (f"--op new --mode target --tid {number} -T {name}", f"--op bind --mode target --tid {number} -I ALL"):
                subprocess.run([*tgtadm, *words.split()], check=True)

    def stop(self) -> None:
        if self._tgtd is not None:
            self._tgtd.kill()
            self._tgtd.wait()
        self._isns.stop()
        super().stop()
        self._adapter.close()

    def count(self, case: Case) -> Counted:
        """Run a task until it changes nothing, and count what one more run executes. Raises ``RuntimeError`` where it goes on changing things, or fails."""
        self._done(case._replace(options={**case.options, **(case.before or {})}))
        self._log.unlink(missing_ok=True)
        again = self._done(case, "strace", "-f", "-z", "-qq", "-o", str(self._log), "-e", "trace=execve")
        if again["changed"]:
            raise RuntimeError(f"{case}: {again['steps']}")
        executed = re.findall(r'execve\("([^"]+)"', self._log.read_text())
        if not executed:
            raise RuntimeError("strace did not even show the module")
        names = [os.path.basename(path) for path in executed[1:]]
        return Counted(names.count("iscsiadm"), tuple(name for name in names if name != "iscsiadm"))

    def _done(self, case: Case, *before: str) -> t.Dict[str, t.Any]:
        result = self.module(case.module, "env", *(f"{name}={value}" for name, value in self._env.items()), *before, **case.options)
        if result.get("failed"):
            raise RuntimeError(f"{case}: {result['msg']}")
        return result


@contextlib.contextmanager
def world(folder: Path) -> t.Iterator[World]:
    """The host while it runs."""
    one = World(folder)
    try:
        one.start()
        yield one
    finally:
        one.stop()
