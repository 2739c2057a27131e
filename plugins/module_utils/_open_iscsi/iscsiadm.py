# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one room that builds iscsiadm's command lines and knows its exit codes (open-iscsi: include/iscsi_err.h, iscsiadm(8)).

Secrets are never here: a log-in takes them from the node record, a discovery from the discovery record.
"""

from __future__ import annotations

import enum
import time
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import CommandError, InputError, PeerError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result, Runner, TimedOutError, last_words
from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey, Portal, parse_portal

DEFAULT_TIMEOUT = 30.0
#: processes at once; each waits for its own answer from iscsid and costs little while it does
PARALLEL = 32

Key = t.TypeVar("Key")


class Exit(enum.IntEnum):
    """What iscsiadm's exit code means."""

    SUCCESS = 0
    ERR = 1
    SESSION_NOT_FOUND = 2
    NO_MEMORY = 3
    TRANSPORT = 4
    LOGIN = 5
    DATABASE = 6
    INVALID = 7
    TRANSPORT_TIMEOUT = 8
    INTERNAL = 9
    LOGOUT = 10
    PDU_TIMEOUT = 11
    TRANSPORT_NOT_FOUND = 12
    ACCESS = 13
    TRANSPORT_CAPABILITY = 14
    SESSION_EXISTS = 15
    INVALID_REQUEST = 16
    ISNS_UNAVAILABLE = 17
    ISCSID_COMMUNICATION = 18
    FATAL_LOGIN = 19
    ISCSID_NOT_CONNECTED = 20
    NO_OBJECTS_FOUND = 21
    SYSFS_LOOKUP = 22
    HOST_NOT_FOUND = 23
    LOGIN_AUTH_FAILED = 24
    ISNS_QUERY = 25
    ISNS_REGISTRATION = 26
    NOT_SUPPORTED = 27
    BUSY = 28
    AGAIN = 29
    UNKNOWN_DISCOVERY_TYPE = 30
    CHILD_TERMINATED = 31
    SESSION_NOT_CONNECTED = 32
    REQUEST_TIMED_OUT = 33


_ISCSID = "Start the daemon (systemctl start iscsid, or iscsid.socket) and look into its journal"
_REACH = "Check that the portal answers from this host, over the iface that was asked for"
#: exit code -> what happened, what to do
_WORDS: t.Mapping[int, t.Tuple[str, str]] = {
    Exit.ERR: ("iscsiadm failed without saying why", "Look into the journal of iscsid"),
    Exit.SESSION_NOT_FOUND: ("there is no such session", ""),
    Exit.NO_MEMORY: ("open-iscsi could not get memory", ""),
    Exit.TRANSPORT: ("the connection to the portal failed", _REACH),
    Exit.LOGIN: ("the login failed", "Look into the journal of iscsid for the status the target answered with"),
    Exit.DATABASE: ("open-iscsi could not read or write its record database", "Look for damaged records and for a stale lock of the database"),
    Exit.INVALID: ("open-iscsi refused a parameter", "A record of this node, or another one in the database, may hold a setting it does not know"),
    Exit.TRANSPORT_TIMEOUT: ("the portal did not answer in time", _REACH),
    Exit.INTERNAL: ("iscsid failed, or the session is in a state in which this cannot be done", "Try again later and look into the journal of iscsid"),
    Exit.LOGOUT: ("the log-out failed", "Look into the journal of iscsid"),
    Exit.PDU_TIMEOUT: ("the target stopped answering in the middle of the exchange", _REACH),
    Exit.TRANSPORT_NOT_FOUND: ("the kernel has no driver for the transport of this iface", "Load it (modprobe iscsi_tcp for tcp)"),
    Exit.ACCESS: ("iscsid denied access", "open-iscsi's daemon answers root only: use become"),
    Exit.TRANSPORT_CAPABILITY: ("the transport cannot do this", "Use an iface with another transport"),
    Exit.SESSION_EXISTS: ("there is a session already", ""),
    Exit.INVALID_REQUEST: ("iscsid does not know the request", "iscsiadm and the running iscsid are of different versions: restart iscsid"),
    Exit.ISNS_UNAVAILABLE: ("this open-iscsi was built without iSNS", "Ask with method: native"),
    Exit.ISNS_QUERY: ("the iSNS server refused the query, or could not be reached", "Ask with method: native, which says why"),
    Exit.ISNS_REGISTRATION: ("the iSNS server refused to register this initiator", "Let the server accept registrations of this host"),
    Exit.ISCSID_COMMUNICATION: ("the conversation with iscsid broke off", _ISCSID),
    Exit.FATAL_LOGIN: ("the target refused the login for good", "Look at the target's rules for this initiator name, and into the journal of iscsid"),
    Exit.ISCSID_NOT_CONNECTED: ("iscsid is not running", _ISCSID),
    Exit.NO_OBJECTS_FOUND: ("open-iscsi knows no such record or session", "Look at the output of iscsiadm -m node"),
    Exit.SYSFS_LOOKUP: ("something was not found in sysfs", "A session or a device may have gone away meanwhile"),
    Exit.HOST_NOT_FOUND: ("the host adapter of this iface is not there", "Check the iface's hardware address or network interface"),
    Exit.LOGIN_AUTH_FAILED: ("authentication failed", "Check the CHAP user names and secrets of both directions, and that the target lets this initiator in"),
    Exit.NOT_SUPPORTED: ("the operation is not supported", ""),
    Exit.BUSY: ("the device or the session is in use", "Unmount or stop what uses it"),
    Exit.AGAIN: ("the operation failed for now", "Try again"),
    Exit.CHILD_TERMINATED: ("a helper process of iscsiadm died", "Look into the kernel log"),
    Exit.SESSION_NOT_CONNECTED: ("the session is not connected", _REACH),
    Exit.REQUEST_TIMED_OUT: ("iscsid did not answer in time", _ISCSID),
}


def explain(code: int) -> t.Tuple[str, str]:
    """What an exit code means and what to do, for any code a process can end with."""
    if code < 0:
        return f"iscsiadm was ended by signal {-code}", ""
    return _WORDS.get(code, (f"iscsiadm ended with the exit code {code}, which is unknown here", "Look into the journal of iscsid"))


class IscsiadmError(CommandError):
    """iscsiadm failed; ``exit`` is the code by name where it has one."""

    def __init__(self, result: Result) -> None:
        what, remedy = explain(result.code)
        said = last_words(result.stderr)
        super().__init__(result.argv, result.code, result.stderr, f"{what} ({said})" if said else what, remedy)
        self.exit = Exit(result.code) if result.code in set(Exit) else None


class Verdict(t.NamedTuple):
    """How it went for one object. ``done`` is true too where there was nothing to do (``changed`` is false then).

    ``code`` is iscsiadm's exit code, None where it did not come to one; ``what`` and ``remedy`` are empty where all is well.
    """

    done: bool
    changed: bool
    code: t.Optional[int]
    what: str = ""
    remedy: str = ""
    seconds: float = 0.0

    def as_problem(self, subject: str) -> t.Dict[str, str]:
        """The verdict as an entry of ``problems``."""
        return {"object": subject, "what": self.what, "remedy": self.remedy}


class Iscsiadm:
    """iscsiadm, run by ``runner`` (which counts); ``clock`` is for tests."""

    def __init__(self, runner: t.Optional[Runner] = None, tool: str = "iscsiadm", clock: t.Callable[[], float] = time.monotonic) -> None:
        self.runner = runner if runner is not None else Runner()
        self._tool = tool
        self._clock = clock

    def login(
        self, keys: t.Iterable[NodeKey], timeout: float = DEFAULT_TIMEOUT, parallel: int = PARALLEL,
    ) -> t.Dict[NodeKey, Verdict]:
        """Log in to exactly these nodes, all at once, within ``timeout`` seconds together.

        Each must have a record. A session that is there already is success. A login past the limit is given up: its
        iscsiadm is killed, while iscsid goes on trying in the background as often as the record tells it.
        """
        late = "Check that the portal answers; iscsid goes on trying in the background for node.session.initial_login_retry_max attempts"
        return self._all({key: login_arguments(key) for key in keys}, {Exit.SESSION_EXISTS}, timeout, parallel, late)

    def logout(self, sids: t.Iterable[int], timeout: float = DEFAULT_TIMEOUT, parallel: int = PARALLEL) -> t.Dict[int, Verdict]:
        """Log out of exactly these sessions, all at once. A session that is gone already is success."""
        gone = {Exit.NO_OBJECTS_FOUND, Exit.SESSION_NOT_FOUND, Exit.SYSFS_LOOKUP}
        late = "The target may be unreachable: the session goes when iscsid gives up; look at iscsiadm -m session"
        return self._all({sid: logout_arguments(sid) for sid in sids}, gone, timeout, parallel, late)

    def rescan(self, sids: t.Iterable[int], timeout: float = DEFAULT_TIMEOUT, parallel: int = PARALLEL) -> t.Dict[int, Verdict]:
        """Look for new LUNs and changed sizes in exactly these sessions, all at once."""
        late = "A target that does not answer makes a scan wait; look at the state of the session"
        return self._all({sid: rescan_arguments(sid) for sid in sids}, set(), timeout, parallel, late)

    def discover(self, portal: Portal, timeout: float = DEFAULT_TIMEOUT, how: str = "sendtargets") -> t.List[t.Tuple[str, Portal]]:
        """SendTargets (or ``how="isns"``) by iscsiadm, writing no node record: (target, portal) in the order the target gave.

        Where a discovery record of this portal exists, its settings (CHAP among them) hold, else those of iscsid.conf.
        Raises ``IscsiadmError``, or ``PeerError`` where the answer cannot be understood.
        """
        result = self.runner.run([self._tool, *discover_arguments(portal, how)], timeout=timeout)
        if result.code == Exit.NO_OBJECTS_FOUND:
            return []
        if result.code != Exit.SUCCESS:
            raise IscsiadmError(result)
        return parse_discovered(result.stdout)

    def apply_iface(self, name: str, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Give the port of an offload adapter the network settings of its iface record; raises ``IscsiadmError``."""
        result = self.runner.run([self._tool, *apply_iface_arguments(name)], timeout=timeout)
        if result.code != Exit.SUCCESS:
            raise IscsiadmError(result)

    def ping(self, name: str, address: str, *, count: int, size: int, interval: int, timeout: float = DEFAULT_TIMEOUT) -> t.List[t.Tuple[int, str]]:
        """Let the port of an offload adapter ping an address: the number of each packet, and why it got no answer, empty where it got one.

        Raises ``IscsiadmError`` where it did not come to a ping.
        """
        result = self.runner.run([self._tool, *ping_arguments(name, address, count=count, size=size, interval=interval)], timeout=timeout)
        answers = parse_pings(result.stdout)
        if not answers:  # the exit code is that of the last packet, so it says nothing where there are answers
            raise IscsiadmError(result)
        return answers

    def version(self) -> str:
        """What ``iscsiadm --version`` says, as 2.1.8."""
        result = self.runner.run([self._tool, "--version"], timeout=10.0)
        words = result.stdout.split()
        if result.code != Exit.SUCCESS or not words:
            raise IscsiadmError(result)
        return words[-1]

    def _all(
        self, wanted: t.Mapping[Key, t.Sequence[str]], also: t.Container[int], timeout: float, parallel: int, late: str,
    ) -> t.Dict[Key, Verdict]:
        """Run one iscsiadm a key, ``parallel`` at once; ``also`` are exit codes that mean there was nothing to do."""
        deadline = self._clock() + timeout

        def one(arguments: t.Sequence[str]) -> Verdict:
            start = self._clock()
            if start >= deadline:
                return Verdict(False, False, None, f"was not tried: the time limit of {timeout:g} s was over", late)
            try:
                result = self.runner.run([self._tool, *arguments], timeout=deadline - start)
            except TimedOutError:
                return Verdict(False, False, None, f"did not end within the time limit of {timeout:g} s", late, self._clock() - start)
            return _judge(result, also, self._clock() - start)

        if not wanted:
            return {}
        from concurrent.futures import ThreadPoolExecutor  # seldom needed, and every import costs the host at every task

        with ThreadPoolExecutor(max_workers=max(1, min(parallel, len(wanted)))) as pool:
            waiting = {key: pool.submit(one, arguments) for key, arguments in wanted.items()}
            return {key: answer.result() for key, answer in waiting.items()}


def _judge(result: Result, also: t.Container[int], seconds: float) -> Verdict:
    if result.code == Exit.SUCCESS:
        return Verdict(True, True, result.code, seconds=seconds)
    what, remedy = explain(result.code)
    if result.code in also:
        return Verdict(True, False, result.code, what, "", seconds)
    if result.code in (Exit.ISCSID_NOT_CONNECTED, Exit.ACCESS):
        # nothing can work then: one sentence for the host instead of the same for each object
        raise IscsiadmError(result)
    return Verdict(False, False, result.code, f"{what} (iscsiadm exit code {result.code})", remedy, seconds)


def login_arguments(key: NodeKey) -> t.List[str]:
    """Log in to one node. The portal is written with its tpgt where one is known."""
    return ["-m", "node", "-T", key.target, "-p", str(key.portal), "-I", key.iface, "--login"]


def logout_arguments(sid: int) -> t.List[str]:
    """Log out of one session."""
    return ["-m", "session", "-r", str(sid), "--logout"]


def rescan_arguments(sid: int) -> t.List[str]:
    """Scan one session for new LUNs and sizes."""
    return ["-m", "session", "-r", str(sid), "--rescan"]


def statistics_arguments(sid: t.Optional[int] = None) -> t.List[str]:
    """The counters of one session, or of all."""
    return ["-m", "session", *([] if sid is None else ["-r", str(sid)]), "--stats"]


def discover_arguments(portal: Portal, how: str = "sendtargets") -> t.List[str]:
    """Discovery that writes no node record. ``discoverydb`` and not ``discovery``: that one ignores the stored CHAP."""
    return ["-m", "discoverydb", "-t", how, "-p", portal.address, "-o", "nonpersistent", "--discover"]


def apply_iface_arguments(name: str) -> t.List[str]:
    """Network settings of one iface into its port."""
    return ["-m", "iface", "-I", name, "-o", "apply"]


def ping_arguments(name: str, address: str, *, count: int, size: int, interval: int) -> t.List[str]:
    """Ping through one iface; ``size`` in bytes, ``interval`` in seconds."""
    return ["-m", "iface", "-I", name, "-C", "ping", "-a", address, "-b", str(size), "-c", str(count), "-i", str(interval)]


def parse_pings(text: str) -> t.List[t.Tuple[int, str]]:
    """Read lines of ``Ping 1 completed`` and ``Ping 2 failed: timed out`` (usr/iscsiadm.c, exec_ping_op)."""
    found = []
    for line in text.splitlines():
        words = line.strip().split(" ", 3)
        if len(words) >= 3 and words[0] == "Ping" and words[1].isdigit() and words[2] in ("completed", "failed:"):
            found.append((int(words[1]), "" if words[2] == "completed" else words[3] if len(words) > 3 else "no reason was given"))
    return found


def parse_discovered(text: str) -> t.List[t.Tuple[str, Portal]]:
    """Read lines of ``address:port,tpgt target`` (usr/idbm.c, idbm_print_node_flat), each once.

    A name without a dot is printed in brackets as if it were IPv6. Raises ``PeerError`` for any other line.
    """
    found: t.Dict[t.Tuple[str, Portal], None] = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        where, _space, target = line.strip().partition(" ")
        if where.startswith("[") and ":" not in where.partition("]")[0]:
            where = where[1:].replace("]", "", 1)
        try:
            portal = parse_portal(where)
        except InputError as error:
            raise PeerError(f"discovery answer {line!r}", error.what, "Report it together with the output of iscsiadm")
        if not target:
            raise PeerError(f"discovery answer {line!r}", "holds no target name", "Report it together with the output of iscsiadm")
        found[(target, portal)] = None
    return list(found)
