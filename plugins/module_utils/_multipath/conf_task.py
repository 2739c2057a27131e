# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module multipath_conf does: edit one file of multipath's configuration, prove it, and have the daemon use it."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import time
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.lunar.iscsi.plugins.module_utils._argspec import check_timeout
from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import Plan, Step
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, HostError, InputError, InUseError, IscsiError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result, Runner, last_words
from ansible_collections.lunar.iscsi.plugins.module_utils._host.files import make_folder, read_bytes, remove_file, write_atomic
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath import owed, wwids
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.check import Checker, check_all
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.daemon import Daemon, NotRunningError, RefusedError
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.document import Document, Place, parse
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.edits import likely_cause, remove_from_list
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.grammar import Problem, drop_ins, encode
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.tool import Verdict, ask_multipath, new_complaints, run_beside, without_stamp
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.version import Installed, read_installed
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.wanted import edit, overruled, parse_wanted

MAIN = "/etc/multipath.conf"
FOLDER = "/etc/multipath/conf.d"
#: what mpathconf --enable of Red Hat begins a file with, and what it takes out of one: all of which --disable puts there
ENABLED = b"defaults {\n\tuser_friendly_names yes\n\tfind_multipaths yes\n}\n"
DISABLED = (".*", "*", ".?*")
_NEW_MODE = 0o644
_PAUSE = 0.2
_OWED = ("files that it has not read since they were written\n", "the files as they are\n")
_LOG = "Look into its log (journalctl -u multipathd)"
#: a place as multipath names it: "/etc/multipath.conf line 3", "on line 3 of /etc/multipath.conf"
_PLACE = re.compile(r"(?P<path>/\S+) line (?P<line>[0-9]+)|line (?P<line2>[0-9]+) of (?P<path2>/\S+)")


@dataclass(frozen=True)
class Found:
    """The files as they are, what multipath makes of them, and what it makes of them once the change is in."""

    installed: Installed
    #: every file that is read, by its path, in the order in which multipath reads them
    files: t.Mapping[str, bytes] = field(default_factory=dict)
    whitelist: t.Sequence[str] = ()
    #: WWIDs by the names that multipath gave to maps itself; known where the task gives names, or the daemon is to be told
    bindings: t.Mapping[str, str] = field(default_factory=dict)
    #: which multipathd there is that has to be told, and whether it has still to be told of what was written before
    daemon: str = ""
    owed: bool = False
    before: t.Optional[Verdict] = None
    after: t.Optional[Verdict] = None
    #: what it makes of no configuration at all: such complaints are of the host, not of a file
    always: t.Optional[Verdict] = None
    #: the maps in use that the daemon would rename; looked for where it is to be told
    in_use: t.Optional[InUseError] = None


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
        if params["enable"] and self._absent:
            raise InputError("option enable", "is true together with state absent", "Make two tasks of them")
        if params["enable"] and self._path != MAIN:
            raise InputError("option enable", f"is about {MAIN}, and option path is {self._path}", "Make two tasks of them")
        self._wanted = parse_wanted(params)
        #: the names that the task gives to maps, and their WWIDs
        self._aliases = {} if self._absent else {
            str(section.settings["alias"]): str(dict(section.place.identity).get("wwid")) for section in self._wanted.sections if section.settings.get("alias")}
        self._wwids = wwids.check_wwids(params["wwids"] or ())
        self._runner = Runner()
        self._daemon = Daemon(runner=self._runner)
        self._facts: t.Dict[str, t.Any] = {}
        #: what multipath -t complains about, whoever is to blame
        self._said: t.List[str] = []

    # read

    def read(self) -> Found:
        """The files; and, where they are to change, what multipath itself says of both states."""
        installed = read_installed(self._ask_release)
        if self._path != MAIN and installed.release < (0, 6, 0) and not installed.holds(FOLDER):
            raise InputError("option path", f"is {self._path}, which multipath-tools {installed.text} of this host does not read", f"Give {MAIN}")
        daemon = owed.running_daemon()
        found = Found(installed, self._read_files(installed), daemon=daemon, owed=owed.is_owed(daemon))
        new = self._candidate(found).render()
        found = replace(found, whitelist=wwids.read_wwids(self._state_file(found, "wwids_file", wwids.WWIDS)))
        if self._aliases:
            found = replace(found, bindings=wwids.read_bindings(self._state_file(found, "bindings_file", wwids.BINDINGS)))
        writes = new != found.files.get(self._path, b"")
        if self._params["validate"] and writes:
            after = self._ask({**found.files, self._path: new})
            always = self._ask({MAIN: b""}) if after.complaints else None
            if always is not None and always.refused:
                raise HostError("multipath -t", f"fails on this host even with an empty configuration: {always.complaints[0]}",
                                "Mend that, or say validate: false to write without asking it")
            found = replace(found, before=self._ask(found.files), after=after, always=always)
        return replace(found, in_use=self._in_use(found)) if self._tells(found, writes) or self._owes(found) else found

    def _tells(self, found: Found, writes: bool) -> bool:
        """Whether the daemon has to be told of what this task writes."""
        return bool(self._params["reconfigure"] and found.daemon and writes and _differs(found))

    def _owes(self, found: Found) -> bool:
        """Whether it has still to be told of what was written before."""
        return bool(self._params["reconfigure"] and found.daemon and found.owed)

    def _in_use(self, found: Found) -> t.Optional[InUseError]:
        from ansible_collections.lunar.iscsi.plugins.module_utils._multipath import renames
        bindings = found.bindings or wwids.read_bindings(self._state_file(found, "bindings_file", wwids.BINDINGS))
        return renames.refusal(self._documents(found, self._candidate(found))[0], bindings, found.installed.release)

    def _ask_release(self, argv: t.Sequence[str]) -> Result:
        """A live file that multipath refuses keeps it from saying its release, too; then it is asked beside it."""
        done = self._runner.run(argv, timeout=self._timeout)
        return done if "multipath-tools v" in done.stderr + done.stdout else run_beside(argv, {MAIN: b""}, self._runner, timeout=self._timeout)

    def _read_files(self, installed: Installed) -> t.Dict[str, bytes]:
        try:
            names = drop_ins(os.listdir(FOLDER), installed.release)
        except OSError:
            names = []
        paths = [MAIN, *(os.path.join(FOLDER, name) for name in names)]
        # of a folder with such a name multipath reads nothing; where it is the one that shall be written, reading says so
        wanted = [path for path in paths if path == self._path or not os.path.isdir(path)]
        return {path: data for path, data in ((path, read_bytes(path)) for path in wanted) if data is not None}

    def _state_file(self, found: Found, keyword: str, usual: str) -> str:
        """Where the whitelist or the bindings are: until 0.9.6 the configuration could say so."""
        if found.installed.release >= (0, 9, 7):
            return usual
        said = [document.get(Place(("defaults",)), keyword) for document in self._documents(found, self._candidate(found))[0]]
        return next((path for path in reversed(said) if path), usual)

    def _ask(self, files: t.Mapping[str, bytes]) -> Verdict:
        return ask_multipath(files, self._runner, timeout=self._timeout)

    # plan

    def _checker(self, found: Found) -> Checker:
        return Checker(found.installed.release, has=found.installed.has, plugins=found.installed.plugins)

    def _check(self, found: Found, documents: t.Sequence[Document]) -> t.List[Problem]:
        return check_all(documents, found.installed.release, has=found.installed.has, plugins=found.installed.plugins)

    def _candidate(self, found: Found) -> Document:
        """The file as it shall be."""
        empty = ENABLED if self._params["enable"] else b""
        document = parse(empty if self._params["replace"] else found.files.get(self._path, empty), self._path, found.installed.release)
        try:
            changed = remove_from_list(document, Place(("blacklist",)), "devnode", DISABLED) if self._params["enable"] else document
            return edit(changed, self._wanted, self._checker(found), absent=self._absent)
        except DamagedError:
            cause = likely_cause(self._check(found, [document]))
            if cause is None:
                raise
            raise DamagedError(cause.subject, cause.what, f"{_ended(cause.remedy)} Mend it first; nothing was changed")

    def plan(self, found: Found) -> Plan:
        """Write the file, add or remove WWIDs, have the daemon read it all."""
        old, new = found.files.get(self._path), self._candidate(found)
        steps: t.List[Step] = []
        writes = new.render() != (old or b"")
        if writes:
            self._refuse(found, new)
            if found.in_use is not None and self._tells(found, writes):
                raise found.in_use
            # the daemon that will not know of it, unless nothing changes for it
            unaware = found.daemon if _differs(found) else ""
            steps.append(Step("write", self._path, _text(old), _text(new.render()), work=("write", new.render(), (old, unaware))))
        changed = wwids.remove(found.whitelist, self._wwids) if self._absent else wwids.add(found.whitelist, self._wwids)
        verb, before, after = ("take off the whitelist", "listed", "not listed") if self._absent else ("whitelist", "not listed", "listed")
        steps.extend(Step(verb, wwid, before, after, work=("wwid", wwid, None)) for wwid in changed)
        if found.in_use is None and (self._tells(found, writes) or self._owes(found)):
            steps.append(Step("reconfigure", "multipathd", *(_effective(found) if writes else _OWED), work=("reconfigure", found.owed, None)))
        return Plan(steps, self._problems(found, new), {"path": self._path, "release": found.installed.text})

    def _documents(self, found: Found, new: Document) -> t.Tuple[t.List[Document], t.List[t.Dict[str, str]]]:
        """All files as they shall be, in the order in which they are read (sorted, the main file is the first), and what could not be looked at."""
        files = {**found.files, self._path: new.render()} if new.render() or self._path in found.files else found.files
        documents: t.List[Document] = []
        problems: t.List[t.Dict[str, str]] = []
        for path in sorted(files, key=encode):
            try:
                documents.append(new if path == self._path else parse(files[path], path, found.installed.release))
            except InputError as error:
                problems.append(error.as_problem())
        return documents, problems

    def _refuse(self, found: Found, new: Document) -> None:
        """Raise where the file would not be read as it is written, whoever wrote it."""
        for problem in self._check(found, [new]):
            if problem.harmful:
                raise self._refusal(found, problem)
        for problem in self._check(found, self._documents(found, new)[0]):
            if problem.harmful and problem.word in self._aliases:
                raise InputError(problem.subject, problem.what, problem.remedy.rstrip(".") + ". Nothing was changed")
        for complaint in new_complaints(found.after, found.before, found.always) if found.after else ():
            raise InputError(self._path, f"multipath -t of this host complains about what would be written: {complaint}",
                             "Nothing was changed. Change the options, or say validate: false to write it all the same")

    def _refusal(self, found: Found, problem: Problem) -> DamagedError:
        """The sentence with the line of the file as it is, where the mistake is in it already."""
        remedy = _ended(problem.remedy)
        old = self._check(found, [parse(found.files[self._path], self._path, found.installed.release)]) if self._path in found.files and not (
            self._params["replace"]) else []
        for one in old:
            if (one.word, one.what) == (problem.word, problem.what):
                return DamagedError(one.subject, one.what, f"{remedy} Mend it first; nothing was changed")
        return DamagedError(problem.subject, problem.what, f"{remedy} Nothing was changed; the line is that of the file as it would be")

    def _problems(self, found: Found, new: Document) -> t.List[t.Dict[str, str]]:
        documents, problems = self._documents(found, new)
        checked = self._check(found, documents)
        problems += [problem.as_problem() for problem in checked]
        if not self._absent:
            problems += [problem.as_problem() for problem in overruled(self._wanted, documents, self._path, found.installed.release)]
        for alias, wwid in self._aliases.items():
            if found.bindings.get(alias, wwid) != wwid:
                problems.append({"object": f"alias {alias}", "what": f"is given to {wwid}, and multipath itself gave it to {found.bindings[alias]}",
                                 "remedy": "If that map is still in use, choose another name; it is called otherwise from now on"})
        if found.in_use is not None:  # and this task has nothing of its own to tell, or it had been refused
            problems.append({"object": found.in_use.subject, "what": f"{found.in_use.what}, so multipathd was not told to read what was written before",
                             "remedy": "Take it out of use and run the task again; else the name comes with the next boot"})
        told = {(problem.path, problem.line) for problem in checked}
        if found.after is not None:  # it is not asked again once the file is in place
            self._said = new_complaints(found.after, found.always)
        for complaint in self._said:
            place = _PLACE.search(complaint)
            if place is None or (place.group("path") or place.group("path2"), int(place.group("line") or place.group("line2"))) not in told:
                problems.append({"object": "multipath -t", "what": complaint, "remedy": "It said so before this task, too; see multipath.conf(5)"})
        return problems

    # apply

    def apply(self, steps: t.Sequence[Step]) -> t.Mapping[str, t.Any]:
        """The file first, then the whitelist, then the daemon; where that will not have it, the old file comes back."""
        back: t.Optional[t.Callable[[], str]] = None
        try:
            for step in steps:
                kind, what, before = step.work
                if kind == "write":
                    old, unaware = before
                    self._write(what, old, unaware)
                    back = functools.partial(self._put_back, old)
                elif kind == "reconfigure":
                    self._reconfigure(back, what)
                else:
                    self._whitelist(what)
        except IscsiError as error:
            error.facts.update(self._facts)
            raise
        return self._facts

    def _write(self, data: bytes, old: t.Optional[bytes], unaware: str) -> None:
        make_folder(os.path.dirname(self._real()), 0o755)
        if read_bytes(self._path) != old:
            raise HostError(self._path, "was changed by someone else while this task looked at it", "Nothing was changed; run the task again")
        if old is not None and self._params["backup"]:
            self._facts["backup_file"] = self._back_up()
        if unaware:
            owed.note(unaware)
        write_atomic(self._real(), data, _NEW_MODE, keep_mode=True)

    def _real(self) -> str:
        """A link stays one: the file that it leads to is written."""
        return os.path.realpath(self._path)

    def _back_up(self) -> str:
        # until 0.8.3 every name with .conf in it is read in conf.d, so a copy goes to the folder above
        folder = os.path.dirname(FOLDER) if os.path.dirname(self._path) == FOLDER else os.path.dirname(self._path)
        copy = os.path.join(folder, f"{os.path.basename(self._path)}.{os.getpid()}.{time.strftime('%Y-%m-%d@%H:%M:%S')}~")
        try:
            shutil.copy2(self._path, copy)
        except OSError as error:
            raise HostError(copy, f"could not be written: {error.strerror or error}", "Nothing was changed; check the file system it is on")
        return copy

    def _whitelist(self, wwid: str) -> None:
        done = self._runner.run(["multipath", "-w" if self._absent else "-a", wwid], timeout=self._timeout)
        if done.code != 0:
            said = without_stamp(last_words(done.stderr) or last_words(done.stdout)) or f"exit code {done.code}"
            raise HostError(f"WWID {wwid}", f"could not be {'taken off' if self._absent else 'put on'} the whitelist, {' '.join(done.argv)} says: {said}",
                            "Look at whether the kernel has dm-multipath (modprobe dm-multipath)")

    def _reconfigure(self, back: t.Optional[t.Callable[[], str]], was_owed: bool) -> None:
        """``back`` undoes what this task wrote, where it did; ``was_owed`` says that the daemon did not know the files of before either."""
        deadline = time.monotonic() + self._timeout
        told = False
        try:
            self._tell(deadline)
            told = True
            self._wait_for_daemon(deadline)
        except IscsiError as error:
            if isinstance(error, NotRunningError) and not told:
                owed.settle()  # it will read the file when it starts
                return
            if back is None:
                raise HostError("multipathd", f"would not read its files again ({error.what})", _LOG) from error
            done = back()
            if told:  # it may have begun with the new file
                with contextlib.suppress(IscsiError):
                    self._daemon.ask("reconfigure")
                    owed.settle()
            elif not was_owed:
                owed.settle()
            raise HostError("multipathd", f"would not take the new {self._path} ({error.what}), so {done}", _LOG) from error
        owed.settle()

    def _put_back(self, old: t.Optional[bytes]) -> str:
        if old is None:
            remove_file(self._real())
            return "it was removed again"
        write_atomic(self._real(), old, _NEW_MODE, keep_mode=True)
        return "the old one was put back"

    def _tell(self, deadline: float) -> None:
        while True:
            try:
                self._daemon.ask("reconfigure", max(deadline - time.monotonic(), _PAUSE))
                return
            except RefusedError as error:
                if not error.busy or time.monotonic() > deadline:
                    raise
            time.sleep(_PAUSE)

    def _wait_for_daemon(self, deadline: float) -> None:
        """Since 0.9.0 it answers before it begins; it is done when it is idle again."""
        while b"configure" in self._daemon.ask("show daemon", max(deadline - time.monotonic(), _PAUSE)):
            if time.monotonic() > deadline:
                raise HostError("multipathd", f"was still configuring after {self._timeout:g} s", "Paths that hang make it slow; see multipathd show paths")
            time.sleep(_PAUSE)

    def finish(self, found: Found, done: bool) -> t.Mapping[str, t.Any]:
        """Nothing exists only at the end."""
        return {}


def _ended(remedy: str) -> str:
    return remedy if remedy.endswith("?") else remedy.rstrip(".") + "."


def _text(data: t.Optional[bytes]) -> t.Optional[str]:
    return None if data is None else data.decode("utf-8", "replace")


def _differs(found: Found) -> bool:
    """Whether the configuration in effect changes; it does as far as anybody knows where multipath was not asked or prints none."""
    before, after = found.before, found.after
    return before is None or after is None or before.refused or after.refused or before.effective != after.effective


def _effective(found: Found) -> t.Tuple[str, str]:
    """What changes in the configuration that is in effect, line by line."""
    if found.before is None or found.after is None or found.before.refused or found.after.refused:
        return "the old file\n", "the new file\n"
    before, after = found.before.effective.splitlines(), found.after.effective.splitlines()
    return ("".join(line + "\n" for line in before if line not in set(after)), "".join(line + "\n" for line in after if line not in set(before)))
