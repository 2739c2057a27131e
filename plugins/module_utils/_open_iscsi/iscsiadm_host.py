# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iscsiadm's mode host: the CHAP table, the flash nodes and the statistics of offload adapters (README and usr/iscsiadm.c of open-iscsi).

What the kernel shows in sysfs is read there (hosts.py, flash_nodes.py). Here is what goes through netlink to the adapter, and so needs iscsiadm.

Three things that its source says and its documentation does not:

- A CHAP secret can only be an argument: there is no file, no variable and no input for it. The caller has to have agreed to that.
- The settings of the CHAP table are named ``host.auth.username`` and so on, where the document has ``username``, which is refused.
- When it shows or deletes CHAP entries, or shows statistics, it ends with the length of the kernel's answer as its exit code where all went well.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import REDACTED
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result, Runner, TimedOutError
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.iscsiadm import DEFAULT_TIMEOUT, Exit, IscsiadmError

LOCAL, BIDI = "local", "bidi"
#: kind of entry -> the names of its user name and its secret
_NAMES: t.Mapping[str, t.Tuple[str, str]] = {
    LOCAL: ("host.auth.username", "host.auth.password"), BIDI: ("host.auth.username_in", "host.auth.password_in")}
_INDEX = "host.auth.tbl_idx"
_MADE = re.compile(r"New flashnode for host \d+ added at index (\d+)\.")
_EMPTY = "<empty>"


@dataclass(frozen=True)
class ChapEntry:
    """One entry of an adapter's CHAP table: ``local`` for what the initiator shows, ``bidi`` for what the target must show."""

    index: int
    kind: str
    username: str
    password: str = field(repr=False)

    def as_fact(self) -> t.Dict[str, t.Any]:
        """The entry as a module returns it: without its secret."""
        return {"index": self.index, "type": self.kind, "username": self.username}


class HostAdm:
    """iscsiadm about adapters, by their host number, run by ``runner`` (which counts); ``timeout`` is in seconds, for each run."""

    def __init__(self, runner: t.Optional[Runner] = None, tool: str = "iscsiadm", timeout: float = DEFAULT_TIMEOUT) -> None:
        self.runner = runner if runner is not None else Runner()
        self._tool = tool
        self._timeout = timeout

    def chap(self, host: int) -> t.List[ChapEntry]:
        """The CHAP table by index, with its secrets."""
        return parse_chap(self._run(chap_arguments(host, "show"), counts=True).stdout)

    def set_chap(self, host: int, index: t.Optional[int], kind: str, username: str, password: str) -> None:
        """Write an entry; without ``index``, the adapter takes the first free one. The secret is an argument of a process while it runs."""
        self._run(chap_arguments(host, "new" if index is None else "update", index, kind, username, password), secret=password)

    def delete_chap(self, host: int, index: int) -> None:
        """Delete one entry."""
        self._run(chap_arguments(host, "delete", index), counts=True)

    def stats(self, host: int) -> t.Dict[str, int]:
        """The adapter's counters by name."""
        return parse_stats(self._run(stats_arguments(host), counts=True).stdout)

    def new_flash_node(self, host: int, portal_type: str) -> int:
        """Have an empty flash node made for ``ipv4`` or ``ipv6``; its index. The adapter keeps it once it is updated."""
        result = self._run(flash_node_arguments(host, "new", portal_type=portal_type))
        made = _MADE.search(result.stdout)
        if made is None:
            raise HostError(" ".join(result.argv), "did not say which flash node it made", "Look at iscsiadm -m host -C flashnode, and delete it there")
        return int(made.group(1))

    def update_flash_node(self, host: int, index: int, settings: t.Mapping[str, str]) -> None:
        """Set the given settings of a flash node, all in one go."""
        self._run(flash_node_arguments(host, "update", index, settings=settings))

    def delete_flash_node(self, host: int, index: int) -> None:
        """Delete a flash node. A session that it made stays."""
        self._run(flash_node_arguments(host, "delete", index))

    def login_flash_node(self, host: int, index: int) -> None:
        """Let the adapter log in; it does so in the background. A session that is there is success."""
        self._run(flash_node_arguments(host, "login", index), also=(Exit.SESSION_EXISTS,))

    def logout_flash_node(self, host: int, index: int) -> None:
        """Log out. Where there is no session, that is success."""
        self._run(flash_node_arguments(host, "logout", index), also=(Exit.SESSION_NOT_FOUND,))

    def _run(self, arguments: t.Sequence[str], *, also: t.Container[int] = (), counts: bool = False, secret: str = "") -> Result:
        """Run once. Raises ``IscsiadmError``, or ``TimedOutError``, neither of which holds ``secret``.

        With ``counts``, an exit code that means nothing is the length of an answer, if nothing was complained about.
        """
        late, result = False, Result((), 0, "", "")
        shown = [REDACTED if secret and word == secret else word for word in (self._tool, *arguments)]
        try:
            result = self.runner.run([self._tool, *arguments], timeout=self._timeout)
        except TimedOutError:
            late = True
        if late:  # outside the handler, since what is being handled holds the arguments
            raise TimedOutError(shown, self._timeout)
        stderr = result.stderr.replace(secret, REDACTED) if secret else result.stderr
        if result.code == Exit.SUCCESS or result.code in also or (counts and result.code > max(Exit) and not stderr.strip()):
            return result
        raise IscsiadmError(Result(tuple(shown), result.code, "", stderr))


def chap_arguments(
    host: int, operation: str, index: t.Optional[int] = None, kind: str = "", username: str = "", password: str = "",
) -> t.List[str]:
    """``operation`` is show, new, update or delete; ``kind``, ``username`` and ``password`` are for new and update."""
    found = ["-m", "host", "-H", str(host), "-C", "chap", "-o", operation]
    if index is not None:
        found += ["-x", str(index)]
    if kind:
        found += ["-n", _NAMES[kind][0], "-v", username, "-n", _NAMES[kind][1], "-v", password]
    return found


def flash_node_arguments(
    host: int, operation: str, index: t.Optional[int] = None, *, portal_type: str = "", settings: t.Optional[t.Mapping[str, str]] = None,
) -> t.List[str]:
    """``operation`` is new, update, delete, login or logout."""
    found = ["-m", "host", "-H", str(host), "-C", "flashnode"]
    if index is not None:
        found += ["-x", str(index)]
    found += ["-o", operation]
    if portal_type:
        found += ["-A", portal_type]
    for name, value in (settings or {}).items():
        found += ["-n", name, "-v", value]
    return found


def stats_arguments(host: int) -> t.List[str]:
    """Statistics of one adapter."""
    return ["-m", "host", "-H", str(host), "-C", "stats"]


def parse_chap(text: str) -> t.List[ChapEntry]:
    """Read the records that iscsiadm prints of a CHAP table (usr/idbm.c, idbm_print); by index.

    Raises ``HostError`` where they cannot be understood, without any of the text, since that holds secrets.
    """
    found: t.Dict[int, ChapEntry] = {}
    held: t.Dict[str, str] = {}
    for line in text.split("\n"):  # splitlines() would end lines in the middle of some secrets
        if line.startswith("# BEGIN RECORD"):
            held = {}
        elif line.startswith("# END RECORD"):
            entry = _entry(held)
            found[entry.index] = entry
            held = {}
        elif line:
            name, equals, value = line.partition(" = ")
            held[name if equals else ""] = "" if value == _EMPTY else value
    if held:
        raise _unclear("a CHAP table")
    return [found[index] for index in sorted(found)]


def _entry(held: t.Mapping[str, str]) -> ChapEntry:
    for kind, (username, password) in _NAMES.items():
        if set(held) == {_INDEX, username, password} and re.fullmatch("[0-9]+", held[_INDEX]):
            return ChapEntry(int(held[_INDEX]), kind, held[username], held[password])
    raise _unclear("a CHAP table")


def parse_stats(text: str) -> t.Dict[str, int]:
    """Read ``Host Statistics:`` and its lines of ``name: number`` (usr/iscsiadm.c, print_host_stats).

    Numbers are printed with a sign and have none. Raises ``HostError`` where there is anything else.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found: t.Dict[str, int] = {}
    for line in lines[1:]:
        name, _colon, value = line.partition(": ")
        if not re.fullmatch(r"\w+", name) or not re.fullmatch(r"-?[0-9]+", value):
            raise _unclear("statistics")
        found[name] = int(value) % 2**64
    if not found or lines[0] != "Host Statistics:":
        raise _unclear("statistics")
    return found


def _unclear(what: str) -> HostError:
    return HostError("iscsiadm -m host", f"printed {what} in a form that is unknown here", "Report it together with the version of open-iscsi")
