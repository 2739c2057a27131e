# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module multipath_conf does: edit one file of multipath's configuration, prove it, and have the daemon use it."""

from __future__ import annotations

import os
import shutil
import time
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.lunar.iscsi.plugins.module_utils._argspec import check_timeout
from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import Plan, Step
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, HostError, InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Runner, check
from ansible_collections.lunar.iscsi.plugins.module_utils._host.files import make_folder, read_bytes, remove_file, write_atomic
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath import wwids
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.check import Checker, check_all
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.daemon import Daemon, NotRunningError
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.document import Document, Place, parse
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.edits import remove_from_list
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.grammar import drop_ins
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.tool import Verdict, ask_multipath
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.version import Installed, read_installed
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.wanted import edit, parse_wanted

MAIN = "/etc/multipath.conf"
FOLDER = "/etc/multipath/conf.d"
#: what mpathconf --enable of Red Hat begins a file with, and what it takes out of one: all of which --disable puts there
ENABLED = b"defaults {\n\tuser_friendly_names yes\n\tfind_multipaths yes\n}\n"
DISABLED = (".*", "*", ".?*")
_PID_FILES = ("/run/multipathd.pid", "/run/multipathd/multipathd.pid", "/var/run/multipathd.pid")
_NEW_MODE = 0o644


@dataclass(frozen=True)
class Found:
    """The files as they are, what multipath makes of them, and what it makes of them once the change is in."""

    installed: Installed
    #: every file that is read, by its path, in the order in which multipath reads them
    files: t.Mapping[str, bytes] = field(default_factory=dict)
    whitelist: t.Sequence[str] = ()
    #: whether there is a multipathd that has to be told
    daemon: bool = False
    before: t.Optional[Verdict] = None
    after: t.Optional[Verdict] = None
    #: complaints that have nothing to do with any file
    always: t.Sequence[str] = ()


class ConfTask:
    """One multipath_conf task; see ``_convergence.Task``."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        self._params = params
        self._path: str = params["path"]
        self._absent = params["state"] == "absent"
        self._timeout = check_timeout(params["timeout"])
        if self._path != MAIN and (os.path.dirname(self._path) != FOLDER or not self._path.endswith(".conf")):
            raise InputError("option path", f"is {self._path}, which multipath does not read", f"Give {MAIN}, or a name that ends with .conf in {FOLDER}")
        if params["replace"] and self._absent:
            raise InputError("option replace", "is true together with state absent", "An empty file is state present with replace and nothing else")
        self._wanted = parse_wanted(params)
        self._wwids = wwids.check_wwids(params["wwids"] or ())
        self._runner = Runner()
        self._daemon = Daemon(runner=self._runner)
        self._facts: t.Dict[str, t.Any] = {}

    # read

    def read(self) -> Found:
        """The files; and, where they are to change, what multipath itself says of both states."""
        installed = read_installed(lambda argv: self._runner.run(argv, timeout=self._timeout))
        found = Found(installed, self._read_files(installed), wwids.read_wwids(), _daemon_runs())
        new = self._candidate(found).render()
        if not self._params["validate"] or new == found.files.get(self._path, b""):
            return found
        after = self._ask({**found.files, self._path: new})
        before, always = self._ask(found.files), self._ask({}).complaints if after.complaints else ()
        return replace(found, before=before, after=after, always=always)

    def _read_files(self, installed: Installed) -> t.Dict[str, bytes]:
        try:
            names = drop_ins(os.listdir(FOLDER), installed.release)
        except OSError:
            names = []
        paths = [MAIN, *(os.path.join(FOLDER, name) for name in names)]
        return {path: data for path, data in ((path, read_bytes(path)) for path in paths) if data is not None}

    def _ask(self, files: t.Mapping[str, bytes]) -> Verdict:
        return ask_multipath(files, self._runner, timeout=self._timeout)

    # plan

    def _checker(self, found: Found) -> Checker:
        return Checker(found.installed.release, has=found.installed.has, plugins=found.installed.plugins)

    def _candidate(self, found: Found) -> Document:
        """The file as it shall be."""
        data = b"" if self._params["replace"] else found.files.get(self._path, ENABLED if self._params["enable"] else b"")
        document = parse(data, self._path, found.installed.release)
        if self._params["enable"]:
            document = remove_from_list(document, Place(("blacklist",)), "devnode", DISABLED)
        return edit(document, self._wanted, self._checker(found), absent=self._absent)

    def plan(self, found: Found) -> Plan:
        """Write the file, have the daemon read it, add or remove WWIDs."""
        old, new = found.files.get(self._path), self._candidate(found)
        steps: t.List[Step] = []
        if new.render() != (old or b""):
            self._refuse(found, new)
            steps.append(Step("write", self._path, _text(old), _text(new.render()), work=("write", new.render(), old)))
            if self._params["reconfigure"] and found.daemon and (found.before is None or found.before.effective != (found.after or found.before).effective):
                steps.append(Step("reconfigure", "multipathd", *_effective(found), work=("reconfigure", None, None)))
        changed = wwids.remove(found.whitelist, self._wwids) if self._absent else wwids.add(found.whitelist, self._wwids)
        verb = "take off the whitelist" if self._absent else "whitelist"
        steps.extend(Step(verb, wwid, *(("listed", "not listed") if self._absent else ("not listed", "listed")), work=("wwid", wwid, None)) for wwid in changed)
        return Plan(steps, self._problems(found, new), {"path": self._path, "release": found.installed.text})

    def _documents(self, found: Found, new: Document) -> t.List[Document]:
        release = found.installed.release
        files = {**found.files, self._path: new.render()} if new.render() or self._path in found.files else found.files
        order = sorted(files, key=lambda path: (path != MAIN, path.encode("utf-8", "surrogateescape")))
        return [parse(files[path], path, release) for path in order]

    def _refuse(self, found: Found, new: Document) -> None:
        """Raise where the file would not be read as it is written, whoever wrote it."""
        for problem in check_all([new], found.installed.release, has=found.installed.has, plugins=found.installed.plugins):
            if problem.harmful:
                remedy = problem.remedy if problem.remedy.endswith("?") else problem.remedy + "."
                raise DamagedError(problem.subject, problem.what, f"{remedy} Nothing was changed; the line is that of the file as it would be")
        for complaint in found.after.complaints if found.after else ():
            if complaint not in found.always and (found.before is None or complaint not in found.before.complaints):
                raise InputError(self._path, f"multipath -t of this host complains about what would be written: {complaint}",
                                 "Nothing was changed. Change the options, or say validate: false to write it all the same")

    def _problems(self, found: Found, new: Document) -> t.List[t.Dict[str, str]]:
        documents = self._documents(found, new)
        problems = [problem.as_problem() for problem in check_all(documents, found.installed.release, has=found.installed.has,
                                                                  plugins=found.installed.plugins)]
        said = [complaint for complaint in (found.after.complaints if found.after else ()) if complaint not in found.always]
        return problems + [{"object": "multipath -t", "what": complaint, "remedy": "It said so before this task, too"} for complaint in said]

    # apply

    def apply(self, steps: t.Sequence[Step]) -> t.Mapping[str, t.Any]:
        """The file first, then the daemon; where that will not have it, the old file comes back."""
        old: t.Optional[bytes] = None
        for step in steps:
            kind, what, before = step.work
            if kind == "write":
                old = before
                self._write(what, before)
            elif kind == "reconfigure":
                self._reconfigure(old)
            else:
                argv = ["multipath", "-w" if self._absent else "-a", what]
                check(self._runner.run(argv, timeout=self._timeout), f"{what} could not be {'removed from' if self._absent else 'added to'} the wwids file")
        return self._facts

    def _write(self, data: bytes, old: t.Optional[bytes]) -> None:
        make_folder(os.path.dirname(self._path), 0o755)
        if old is not None and self._params["backup"]:
            backup = f"{self._path}.{os.getpid()}.{time.strftime('%Y-%m-%d@%H:%M:%S')}~"
            shutil.copy2(self._path, backup)
            self._facts["backup_file"] = backup
        write_atomic(self._path, data, _NEW_MODE, keep_mode=True)

    def _reconfigure(self, old: t.Optional[bytes]) -> None:
        try:
            self._daemon.ask("reconfigure", self._timeout)
            self._wait_for_daemon()
        except NotRunningError:
            return  # it will read the file when it starts
        except HostError as error:
            if old is None:
                remove_file(self._path)
            else:
                write_atomic(self._path, old, _NEW_MODE, keep_mode=True)
            raise HostError("multipathd", f"would not take the new {self._path} ({error.what}), so the old one was put back",
                            "Look into its log (journalctl -u multipathd)") from error

    def _wait_for_daemon(self) -> None:
        """Since 0.9.0 it answers before it begins; it is done when it is idle again."""
        deadline = time.monotonic() + self._timeout
        while b"configure" in self._daemon.ask("show daemon", self._timeout):
            if time.monotonic() > deadline:
                raise HostError("multipathd", f"was still configuring after {self._timeout:g} s", "Paths that hang make it slow; see multipathd show paths")
            time.sleep(0.2)

    def finish(self, found: Found, done: bool) -> t.Mapping[str, t.Any]:
        """Nothing exists only at the end."""
        return {}


def _daemon_runs() -> bool:
    for path in _PID_FILES:
        pid = (read_bytes(path) or b"").strip()
        if pid.isdigit() and os.path.isdir(f"/proc/{int(pid)}"):
            return True
    return False


def _text(data: t.Optional[bytes]) -> t.Optional[str]:
    return None if data is None else data.decode("utf-8", "replace")


def _effective(found: Found) -> t.Tuple[str, str]:
    """What changes in the configuration that is in effect, line by line."""
    if found.before is None or found.after is None:
        return "the old file\n", "the new file\n"
    before, after = found.before.effective.splitlines(), found.after.effective.splitlines()
    return ("".join(line + "\n" for line in before if line not in set(after)), "".join(line + "\n" for line in after if line not in set(before)))
