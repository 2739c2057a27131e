# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real multipath as a witness: what it says it has read of a file. It needs root and the package multipath-tools, no daemon and no device."""

from __future__ import annotations

import re
import subprocess
import typing as t
from pathlib import Path

import pytest

#: runs ``multipath -t`` where the folder $1 lies over /etc, in a mount namespace that ends with it
_WITNESS = 'mount -t overlay overlay -o lowerdir="$1":/etc /etc && exec multipath -t'
_SECTION = re.compile(rb"(\t?)([a-z_]+) \{")
_KEYWORD = re.compile(rb'\t+([a-z_]+) (?:"((?:[^"]|"")*)"|([^"]*))', re.DOTALL)


class Printed(t.NamedTuple):
    """A section that multipath prints: ("devices", "device"), and its keywords."""

    path: t.Tuple[str, ...]
    entries: t.List[t.Tuple[str, str]]


class Answer(t.NamedTuple):
    code: int
    sections: t.List[Printed]
    #: what it said on standard error, without its time stamps
    complaints: t.List[str]

    def values(self, *path: str) -> t.List[t.Tuple[str, str]]:
        """The keywords of all sections at a place."""
        return [entry for section in self.sections if section.path == path for entry in section.entries]


def read_printed(output: bytes) -> t.List[Printed]:
    """What ``multipath -t`` prints, told by its indents: 0.9.4 leaves out the brace after a device of a blacklist that has no product."""
    found: t.List[Printed] = []
    outer = ""
    for line in output.split(b"\n"):
        section, keyword = _SECTION.fullmatch(line), _KEYWORD.fullmatch(line)
        if section:
            outer = outer if section.group(1) else section.group(2).decode()
            found.append(Printed((outer, section.group(2).decode()) if section.group(1) else (outer,), []))
        elif keyword:
            quoted, plain = keyword.group(2), keyword.group(3)
            value = plain if quoted is None else quoted.replace(b'""', b'"')
            # keywords that come after the sections within are the outer section's
            depth = len(line) - len(line.lstrip(b"\t"))
            owner = next(one for one in reversed(found) if len(one.path) <= depth)
            owner.entries.append((keyword.group(1).decode(), value.decode("utf-8", "surrogateescape")))
        else:
            assert line in (b"", b"\t}", b"}"), line
    return found


class Multipath:
    """Asks multipath about a configuration that lies in a folder of the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._drop_ins = folder / "multipath" / "conf.d"
        self._drop_ins.mkdir(parents=True)
        #: the sections that are built in, printed whatever the file says
        self._built_in = self._ask(b"").sections
        assert len(self._built_in) > 50, "this multipath prints no table of devices"

    def read(self, data: bytes, drop_ins: t.Optional[t.Mapping[str, bytes]] = None) -> Answer:
        """Its reading of a file and the drop-ins, without the devices that are built in."""
        answer = self._ask(data, drop_ins or {})
        return answer._replace(sections=[section for section in answer.sections if len(section.path) == 1 or section not in self._built_in])

    def _ask(self, data: bytes, drop_ins: t.Optional[t.Mapping[str, bytes]] = None) -> Answer:
        (self._folder / "multipath.conf").write_bytes(data)
        for old in self._drop_ins.iterdir():
            old.unlink()
        for name, content in (drop_ins or {}).items():
            (self._drop_ins / name).write_bytes(content)
        done = subprocess.run(["unshare", "--mount", "sh", "-c", _WITNESS, "sh", str(self._folder)], capture_output=True, timeout=60, check=False)
        complaints = [line.partition(" | ")[2] for line in done.stderr.decode("utf-8", "replace").splitlines()]
        return Answer(done.returncode, read_printed(done.stdout), complaints)


@pytest.fixture
def witness(tmp_path: Path) -> Multipath:
    return Multipath(tmp_path)
