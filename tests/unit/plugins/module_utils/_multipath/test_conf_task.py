# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task of multipath_conf on files of a temporary folder; multipath and multipathd answer as they are told here."""

from __future__ import annotations

import os
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import bring_about
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, HostError, InputError, InUseError, IscsiError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result, Runner
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath import conf_task, owed, renames, wwids
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.conf_task import ConfTask
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.daemon import Daemon, NotRunningError, RefusedError
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.tool import Verdict
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.version import Installed
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.sysfs_tree import Tree

DEFAULTS = {"state": "present", "replace": False, "enable": False, "validate": True, "reconfigure": True, "backup": False, "timeout": 60, "wwids": None}
LIMIT = "can't set open fds limit to 1048576 : Operation not permitted"
WWID = "360014059ca317516a69465c883a29603"
Options = t.Dict[str, t.Any]


class Host(Runner):
    """A host of its own: files below a folder, and what its tools say. Comments and blank lines make no difference to its multipath."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.main = folder / "multipath.conf"
        self.folder = folder / "multipath" / "conf.d"
        self.wwids = folder / "multipath" / "wwids"
        self.bindings = folder / "multipath" / "bindings"
        self.folder.mkdir(parents=True)
        self.note = folder / "multipath" / "note"
        #: the process that multipathd is
        self.daemon = "7 100"
        self.release: t.Tuple[int, ...] = (0, 9, 4)
        #: what multipath -t complains about, by what stands in a file; "" is always there
        self.complains: t.Dict[str, str] = {}
        #: what makes it end without printing anything
        self.refuses: t.List[str] = []
        #: the sets of files that it was asked about
        self.asked: t.List[t.Dict[str, str]] = []
        self.commands: t.List[t.List[str]] = []
        #: what multipathd answers, one after the other, the last for ever; None where there is none
        self.answers: t.Optional[t.List[t.Union[bytes, IscsiError]]] = None
        self.told: t.List[str] = []
        self.says_release = True
        #: where /sys and /proc are, once there is a map
        self.kernel = folder / "kernel"

    def run(self, argv: t.Sequence[str], *, stdin: t.Optional[str] = None, timeout: float = 60.0, env: t.Optional[t.Mapping[str, str]] = None) -> Result:
        self.commands.append(list(argv))
        if argv[1] == "-h":
            return Result(tuple(argv), 0 if self.says_release else 1, "", "multipath-tools v0.9.4 (12/19, 2022)\n" if self.says_release else "error\n")
        listed = self.wwids.read_text() if self.wwids.exists() else "# Valid WWIDs:\n"
        line = f"/{argv[2]}/\n"
        if argv[2] == "cannot":
            return Result(tuple(argv), 1, "", "25680.294369 | cannot get kernel dm version\n")
        self.wwids.write_text(listed + line if argv[1] == "-a" else listed.replace(line, ""))
        return Result(tuple(argv), 0, "", "")

    def ask_multipath(self, files: t.Mapping[str, bytes], runner: Runner, *, timeout: float) -> Verdict:
        texts = {path: data.decode("utf-8", "replace") for path, data in files.items()}
        self.asked.append(texts)
        lines = [(path, number, line.split("#")[0].strip()) for path, text in texts.items() for number, line in enumerate(text.splitlines(), 1)]
        complaints = [f"{path} line {number}, {says}" for path, number, line in lines for word, says in self.complains.items() if word and word in line]
        refused = any(word in line for _path, _number, line in lines for word in self.refuses) or ("" in self.refuses)
        complaints += [self.complains[""]] if "" in self.complains and not refused else []
        if refused:
            complaints += ["error parsing config file", "multipath -t ended with exit code 1"]
        return Verdict("" if refused else "".join(line + "\n" for _path, _number, line in lines if line), tuple(complaints), refused)

    def ask_daemon(self, command: str, timeout: float = 10.0) -> bytes:
        self.told.append(command)
        if not self.answers:
            raise NotRunningError("no socket")
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, IscsiError):
            raise answer
        return answer

    def drop_in(self, name: str, text: str) -> Path:
        (self.folder / name).write_text(text)
        return self.folder / name

    def map(self, name: str, *, mounted: bool = True) -> None:
        """A map with the WWID ``WWID``, mounted on /srv/data or not."""
        shutil.rmtree(self.kernel, ignore_errors=True)
        tree = Tree(self.kernel)
        tree.block("dm-0", "253:0", uuid=f"mpath-{WWID}", name=name)
        tree.write("/proc/self/mountinfo", f"40 1 253:0 / /srv/data rw - ext4 /dev/mapper/{name} rw\n" if mounted else "")

    def make(self, **options: t.Any) -> ConfTask:
        names = ("defaults", "overrides", "protocols", "devices", "multipaths", "blacklist", "blacklist_exceptions")
        return ConfTask({"path": str(self.main), **dict.fromkeys(names), **DEFAULTS, **options})

    def do(self, *, check_mode: bool = False, **options: t.Any) -> t.Dict[str, t.Any]:
        return bring_about(self.make(**options), check_mode, True)

    def steps(self, **options: t.Any) -> t.List[str]:
        return [step.replace(str(self.main), "MAIN") for step in self.do(**options)["steps"]]


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host below ``folder``, in place of the one that runs the tests."""
    host = Host(folder)

    class Asked(Daemon):
        def ask(self, command: str, timeout: float = 10.0) -> bytes:
            return host.ask_daemon(command, timeout)

    def read_installed(run: t.Callable[[t.Sequence[str]], Result]) -> Installed:
        assert "multipath-tools v" in run(["multipath", "-h"]).stderr
        return Installed(host.release)

    def run_beside(argv: t.Sequence[str], files: t.Mapping[str, bytes], _runner: Runner, *, timeout: float) -> Result:
        assert files == {str(host.main): b""}
        return Result(tuple(argv), 0, "", "multipath-tools v0.9.4 (12/19, 2022)\n")

    for name, value in {"MAIN": str(host.main), "FOLDER": str(host.folder), "Runner": lambda: host, "Daemon": Asked, "read_installed": read_installed,
                        "ask_multipath": host.ask_multipath, "run_beside": run_beside, "_PAUSE": 0.001}.items():
        monkeypatch.setattr(conf_task, name, value)
    monkeypatch.setattr(owed, "running_daemon", lambda: "" if host.answers is None else host.daemon)
    monkeypatch.setattr(owed, "NOTE", str(host.note))
    monkeypatch.setattr(renames, "SYS", str(host.kernel / "sys"))
    monkeypatch.setattr(renames, "PROC", str(host.kernel / "proc"))
    monkeypatch.setattr(wwids, "WWIDS", str(host.wwids))
    monkeypatch.setattr(wwids, "BINDINGS", str(host.bindings))
    return host


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return stand_in(tmp_path, monkeypatch)


def sentence(call: t.Callable[..., t.Any], **options: t.Any) -> str:
    with pytest.raises(IscsiError) as caught:
        call(**options)
    text = str(caught.value)
    assert ". ." not in text and ".. " not in text and "?." not in text and not text.endswith((".", " "))
    return text


# what is written


def test_a_file_is_made_and_the_second_run_does_nothing(host: Host) -> None:
    result = host.do(defaults={"polling_interval": 7}, multipaths=[{"wwid": "a", "alias": "x"}])
    assert result["changed"] and result["release"] == "0.9.4" and result["path"] == str(host.main) and result["problems"] == []
    written = "defaults {\n\tpolling_interval 7\n}\nmultipaths {\n\tmultipath {\n\t\twwid a\n\t\talias x\n\t}\n}\n"
    assert host.main.read_text() == written and host.main.stat().st_mode & 0o777 == 0o644
    assert [(one["before"], one["after"]) for one in result["diff"]] == [("", written)]
    assert sorted(os.listdir(host.main.parent)) == ["multipath", "multipath.conf"]
    asked = len(host.asked)
    assert host.steps(defaults={"polling_interval": 7}, multipaths=[{"wwid": "a", "alias": "x"}]) == []
    assert len(host.asked) == asked, "multipath was asked though there was nothing to change"


def test_mode_and_comments_of_a_file_stay(host: Host) -> None:
    host.main.write_text("# mine\ndefaults {\n  polling_interval 5 # fast\n}\n")
    host.main.chmod(0o600)
    host.do(defaults={"polling_interval": 7})
    assert host.main.read_text() == "# mine\ndefaults {\n  polling_interval 7 # fast\n}\n"
    assert host.main.stat().st_mode & 0o777 == 0o600


def test_check_mode_writes_nothing(host: Host) -> None:
    host.answers = [b"ok"]
    host.main.write_text("defaults {\n}\n")
    before = {path: path.stat().st_mtime_ns for path in [host.main.parent, *host.main.parent.rglob("*")]}
    predicted = host.do(check_mode=True, defaults={"verbosity": 3}, wwids=[WWID], backup=True)
    assert {path: path.stat().st_mtime_ns for path in [host.main.parent, *host.main.parent.rglob("*")]} == before
    assert host.told == [] and not [argv for argv in host.commands if argv[1] != "-h"]
    done = host.do(defaults={"verbosity": 3}, wwids=[WWID], backup=True)
    assert predicted["changed"] and predicted["steps"] == done["steps"] and predicted["diff"] == done["diff"]


def test_a_drop_in_alone_is_written(host: Host) -> None:
    host.main.write_text("defaults {\n}\n")
    path = str(host.folder / "new.conf")
    result = host.do(path=path, multipaths=[{"wwid": "a", "alias": "x"}])
    assert result["steps"] == [f"write {path}"] and host.main.read_text() == "defaults {\n}\n"
    assert host.do(path=path, multipaths=[{"wwid": "a", "alias": "x"}])["steps"] == []


def test_the_folder_of_drop_ins_is_made(host: Host) -> None:
    host.folder.rmdir()
    host.do(path=str(host.folder / "new.conf"), defaults={"verbosity": 3})
    assert (host.folder / "new.conf").read_text() == "defaults {\n\tverbosity 3\n}\n"


@pytest.mark.parametrize(("text", "options", "expected"), [
    pytest.param(None, {"enable": True}, "defaults {\n\tuser_friendly_names yes\n\tfind_multipaths yes\n}\n", id="no file"),
    pytest.param(None, {"enable": True, "defaults": {"find_multipaths": False}}, "defaults {\n\tuser_friendly_names yes\n\tfind_multipaths no\n}\n",
                 id="no file, and one of its words named"),
    pytest.param("", {"enable": True}, "", id="empty file"),
    pytest.param('blacklist {\n\tdevnode ".*"\n\tdevnode "^sda"\n}\n', {"enable": True}, 'blacklist {\n\tdevnode "^sda"\n}\n', id="mpathconf --disable"),
    pytest.param("blacklist {\n\tdevnode \"*\"\n}\n", {"enable": True}, "blacklist {\n}\n", id="the same of an older one"),
    pytest.param('blacklist {\n\tdevnode ".*"\n}\n', {"enable": False}, 'blacklist {\n\tdevnode ".*"\n}\n', id="the same where it may stay"),
    pytest.param('blacklist {\n\twwid ".*"\n}\n', {"enable": True}, 'blacklist {\n\twwid ".*"\n}\n', id="with exceptions to it, that is how a list is made"),
    pytest.param("junk\n", {"replace": True}, "", id="replaced by nothing"),
    pytest.param("junk {\n", {"replace": True, "defaults": {"verbosity": 3}}, "defaults {\n\tverbosity 3\n}\n", id="replaced"),
    pytest.param("# mine\n", {"replace": True, "enable": True}, "defaults {\n\tuser_friendly_names yes\n\tfind_multipaths yes\n}\n", id="replaced and enabled"),
    pytest.param("defaults {\n\tverbosity 3\n}\n", {"replace": True, "defaults": {"verbosity": 3}}, "defaults {\n\tverbosity 3\n}\n",
                 id="replaced by the same"),
    pytest.param("defaults {\n\tverbosity 3\n}\n", {"state": "absent", "defaults": {"verbosity": None}}, "defaults {\n}\n", id="absent"),
    pytest.param(None, {"state": "absent", "defaults": {"verbosity": None}}, None, id="absent from no file"),
    pytest.param(None, {"replace": True}, None, id="no file replaced by nothing"),
])
def test_enable_replace_absent(host: Host, text: t.Optional[str], options: Options, expected: t.Optional[str]) -> None:
    if text is not None:
        host.main.write_text(text)
    result = host.do(**options)
    assert (host.main.read_text() if host.main.exists() else None) == expected
    assert result["changed"] is (text != expected)
    assert not host.do(**options)["changed"]


@pytest.mark.parametrize(("options", "says"), [
    pytest.param({"path": "/etc/other.conf"}, "which multipath does not read", id="elsewhere"),
    pytest.param({"path": "/etc/multipath.conf.d/x.conf"}, "which multipath does not read", id="another folder"),
    pytest.param({"path": "FOLDER/x"}, "a name that ends with .conf", id="another name"),
    pytest.param({"path": "FOLDER/../../../etc/passwd.conf"}, "which multipath does not read", id="around the corner"),
    pytest.param({"path": "FOLDER/deeper/x.conf"}, "which multipath does not read", id="below"),
    pytest.param({"replace": True, "state": "absent"}, "together with state absent", id="replace and absent"),
    pytest.param({"enable": True, "state": "absent"}, "together with state absent", id="enable and absent"),
    pytest.param({"enable": True, "path": "FOLDER/x.conf"}, "option enable: is about", id="enable and a drop-in"),
    pytest.param({"timeout": 0}, "timeout", id="no time"),
    pytest.param({"wwids": ["a b"]}, "'a b' is no WWID", id="wwid"),
    pytest.param({"multipaths": [{"alias": "x"}]}, "has no wwid", id="section"),
])
def test_options_refused_before_anything_is_looked_at(host: Host, options: Options, says: str) -> None:
    options = {key: value.replace("FOLDER", str(host.folder)) if isinstance(value, str) else value for key, value in options.items()}
    assert says in sentence(host.make, **options)
    assert host.commands == []


def test_a_drop_in_is_refused_where_none_is_read(host: Host) -> None:
    host.release = (0, 5, 0)
    assert "multipath-tools 0.5.0 of this host does not read" in sentence(host.do, path=str(host.folder / "x.conf"))


# what multipath -t says


def test_it_is_shown_the_candidate_among_the_other_files(host: Host) -> None:
    host.main.write_text("defaults {\n}\n")
    for name in ("b.conf", "a.conf", "c.conf~"):
        host.drop_in(name, "# other\n")
    host.do(check_mode=True, path=str(host.folder / "a.conf"), defaults={"verbosity": 3})
    after, before = host.asked
    assert {os.path.basename(path) for path in after} == {"multipath.conf", "a.conf", "b.conf"}
    assert {path for path in after if after[path] != before[path]} == {str(host.folder / "a.conf")}
    assert "verbosity 3" in after[str(host.folder / "a.conf")]


def test_a_complaint_about_the_candidate_refuses_it(host: Host) -> None:
    host.main.write_text("defaults {\n\tpolling_interval 5\n}\n")
    host.complains = {"verbosity": "no such thing"}
    text = sentence(host.do, defaults={"verbosity": 3})
    assert text == (f"{host.main}: multipath -t of this host complains about what would be written: {host.main} line 3, no such thing. "
                    "Nothing was changed. Change the options, or say validate: false to write it all the same")
    assert host.main.read_text() == "defaults {\n\tpolling_interval 5\n}\n"
    host.do(defaults={"verbosity": 3}, validate=False)
    assert "verbosity 3" in host.main.read_text()


@pytest.mark.parametrize("complains", [{"": LIMIT}, {"getuid_callout": "deprecated"}, {"": LIMIT, "getuid_callout": "deprecated"}])
def test_complaints_that_were_there_before_are_not_blamed_on_it(host: Host, complains: t.Dict[str, str]) -> None:
    host.main.write_text("defaults {\n\tverbosity 2\n}\noverrides {\n}\ndevices {\n}\n")
    host.drop_in("a.conf", "# of the installer\ndefaults {\n\tmax_fds 64 # getuid_callout\n}\n")
    host.drop_in("b.conf", "defaults {\n\tgetuid_callout x\n}\n")
    host.complains = complains
    result = host.do(overrides={"no_path_retry": 5}, defaults={"verbosity": 3, "max_fds": None})
    assert result["changed"] and LIMIT not in str(result["problems"])
    # our own check has told about that line already
    assert [problem["object"] for problem in result["problems"]] == [f"{host.folder}/b.conf, line 2"]


def test_what_only_shows_once_the_file_is_whole_is_not_blamed_on_it(host: Host) -> None:
    host.main.write_text("blacklist {\n\tdevnode [\n}\n")
    host.refuses, host.complains = ["devnode"], {"": LIMIT}
    assert host.do(replace=True, defaults={"verbosity": 3})["problems"] == []
    assert len(host.asked) == 3


def test_a_complaint_that_moved_is_not_new(host: Host) -> None:
    host.main.write_text("defaults {\n}\noverrides {\n\tno_path_retry 5\n}\n")
    host.complains = {"no_path_retry": "is not liked"}
    result = host.do(defaults={"verbosity": 3}, check_mode=True)
    assert result["problems"] == [{"object": "multipath -t", "what": f"{host.main} line 5, is not liked",
                                   "remedy": "It said so before this task, too; see multipath.conf(5)"}]


def test_a_host_whose_multipath_fails_always_is_told(host: Host) -> None:
    host.refuses = [""]
    assert "multipath -t: fails on this host even with an empty configuration: error parsing config file. " in sentence(host.do, defaults={"verbosity": 3})
    assert not host.main.exists()


def test_the_release_is_found_where_the_live_file_is_refused(host: Host) -> None:
    host.says_release = False
    assert host.do(defaults={"verbosity": 3})["release"] == "0.9.4"


def test_an_edit_beside_a_drop_in_that_is_refused(host: Host) -> None:
    host.drop_in("a.conf", 'blacklist {\n\tdevnode "["\n}\n')
    host.refuses, host.answers = ["devnode"], [b"ok"]
    result = host.do(defaults={"verbosity": 3}, check_mode=True)
    assert result["steps"] == [f"write {host.main}", "reconfigure multipathd"]  # what is in effect is not known
    assert [problem["object"] for problem in result["problems"]][:1] == [f"{host.folder}/a.conf, line 2"]
    assert "ended with exit code 1" in str(result["problems"])


# files that are broken

BROKEN = "defaults {\n\tpolling_interval 5\n\tfast_oi_fail_tmo 5\n}\n"


def test_a_broken_file_with_nothing_to_change_is_reported(host: Host) -> None:
    host.main.write_text(BROKEN)
    result = host.do(defaults={"polling_interval": 5})
    assert not result["changed"] and host.main.read_text() == BROKEN
    assert [(problem["object"], problem["remedy"]) for problem in result["problems"]] == [
        (f"{host.main}, line 3", "Did you mean 'fast_io_fail_tmo'?")]


@pytest.mark.parametrize(("text", "options", "says"), [
    pytest.param(BROKEN, {"defaults": {"polling_interval": 7}}, "line 3: 'fast_oi_fail_tmo' is not a keyword of 'defaults'. Did you mean", id="typo"),
    pytest.param(BROKEN, {"overrides": {"no_path_retry": 7}}, "? Mend it first; nothing was changed", id="typo, another section"),
    pytest.param("defaults {\n\tpolling_interval 5\n", {"overrides": {"no_path_retry": 7}}, "is not closed", id="no brace"),
    pytest.param("defaults {\n\tpolling_interval 5 {\n}\n", {"defaults": {"verbosity": 3}}, "value of polling_interval is dropped; it opens nothing",
                 id="brace"),
    pytest.param("defaults {\n\tpolling_interval 5 }\n", {"overrides": {"no_path_retry": 7}}, "line 2: the brace after the value", id="swallowed brace"),
    pytest.param("}\n", {"defaults": {"verbosity": 3}}, "line 1: the brace closes nothing", id="brace too many"),
    pytest.param("# old\n\ndefaults {\n\tpolling_interval banana\n}\n", {"blacklist": {"devnode": ["^sd"]}}, "line 4: 'banana' as polling_interval",
                 id="number"),
])
def test_a_broken_file_that_has_to_change_is_refused_untouched(host: Host, text: str, options: Options, says: str) -> None:
    host.main.write_text(text)
    assert says in sentence(host.do, **options)
    assert host.main.read_text() == text and sorted(os.listdir(host.main.parent)) == ["multipath", "multipath.conf"]


def test_the_line_is_that_of_the_file_as_it_is(host: Host) -> None:
    host.main.write_text("defaults {\n}\noverrides {\n\tno_path_rety 5\n}\n")
    assert f"{host.main}, line 4: " in sentence(host.do, defaults={"verbosity": 3})


def test_a_file_that_is_too_large(host: Host) -> None:
    host.main.write_bytes(b"# x\n" * 2_500_000)
    assert "has 10000000 bytes, which is no file that was written for multipath-tools" in sentence(host.do, defaults={"verbosity": 3})
    host.do(replace=True, defaults={"verbosity": 3})
    assert host.main.read_text() == "defaults {\n\tverbosity 3\n}\n"
    # another one is told about, and keeps nobody from working
    host.drop_in("large.conf", "# x\n" * 300_000)
    result = host.do(defaults={"verbosity": 2})
    assert [problem["object"] for problem in result["problems"]] == [f"{host.folder}/large.conf"]


def test_a_folder_in_its_place(host: Host) -> None:
    host.main.mkdir()
    assert f"{host.main}: could not be read" in sentence(host.do, defaults={"verbosity": 3})
    host.main.rmdir()
    (host.folder / "folder.conf").mkdir()
    assert host.steps(defaults={"verbosity": 3}) == ["write MAIN"]
    assert "folder.conf: could not be read" in sentence(host.do, path=str(host.folder / "folder.conf"), defaults={"verbosity": 3})


# files together


def test_an_alias_that_another_file_gives_is_refused(host: Host) -> None:
    path = host.drop_in("a.conf", "multipaths {\n\tmultipath {\n\t\twwid a\n\t\talias x\n\t}\n}\n")
    text = sentence(host.do, multipaths=[{"wwid": "b", "alias": "x"}])
    assert "the alias 'x' is given to" in text and str(path) in text and text.endswith("Nothing was changed")
    assert not host.main.exists()
    host.do(multipaths=[{"wwid": "b", "alias": "y"}])


def test_an_alias_that_another_map_got_by_itself_is_told(host: Host) -> None:
    host.bindings.write_text("mpatha 3600\nmpathb 3601\n")
    wanted: t.Dict[str, t.Any] = {"multipaths": [{"wwid": "3601", "alias": "mpatha"}, {"wwid": "3602", "alias": "new"}]}
    (problem,) = host.do(**wanted)["problems"]
    assert (problem["object"], problem["what"]) == ("alias mpatha", "is given to 3601, and multipath itself gave it to 3600")
    assert len(host.do(**wanted)["problems"]) == 1, "until the binding is gone"
    assert host.do(multipaths=[{"wwid": "3601", "alias": "mpatha"}], state="absent")["problems"] == []
    assert host.do(multipaths=[{"wwid": "3600", "alias": "mpatha"}], replace=True)["problems"] == []
    # where the configuration says that the bindings are elsewhere
    elsewhere = host.main.parent / "elsewhere"
    elsewhere.write_text("mpathc 3600\n")
    assert host.do(defaults={"bindings_file": str(elsewhere)}, replace=True, **wanted)["problems"] == []
    assert len(host.do(multipaths=[{"wwid": "3609", "alias": "mpathc"}])["problems"]) == 1


def test_a_later_file_that_sets_it_otherwise_is_told(host: Host) -> None:
    host.drop_in("b.conf", "defaults {\n\tverbosity 1\n}\n")
    result = host.do(defaults={"verbosity": 3})
    assert [problem["what"] for problem in result["problems"]] == [
        "sets verbosity of defaults to '1' and is read later, so '3' of this task has no effect"]
    assert host.do(path=str(host.folder / "c.conf"), defaults={"verbosity": 3})["problems"] == []
    assert len(host.do(path=str(host.folder / "a.conf"), defaults={"verbosity": 3})["problems"]) == 1
    assert host.do(state="absent", defaults={"verbosity": 3})["problems"] == []


def test_a_link_stays_a_link(host: Host) -> None:
    real = host.main.parent / "elsewhere" / "real.conf"
    host.main.symlink_to(real)
    host.do(defaults={"verbosity": 3})
    assert host.main.is_symlink() and real.read_text() == "defaults {\n\tverbosity 3\n}\n"
    host.answers = [HostError("multipathd", "says no")]
    assert "put back" in sentence(host.do, defaults={"verbosity": 2})
    assert host.main.is_symlink() and real.read_text() == "defaults {\n\tverbosity 3\n}\n"


# backups


def test_backup(host: Host) -> None:
    assert "backup_file" not in host.do(defaults={"verbosity": 3}, backup=True)
    host.main.chmod(0o640)
    copy = Path(host.do(defaults={"verbosity": 2}, backup=True)["backup_file"])
    assert copy.read_text() == "defaults {\n\tverbosity 3\n}\n" and copy.parent == host.main.parent and copy.stat().st_mode & 0o777 == 0o640
    assert "backup_file" not in host.do(defaults={"verbosity": 2}, backup=True)
    assert "backup_file" not in host.do(defaults={"verbosity": 1})


def test_a_backup_of_a_drop_in_is_none(host: Host) -> None:
    host.release = (0, 8, 3)  # reads every file there with .conf in its name
    path = host.drop_in("a.conf", "defaults {\n\tverbosity 3\n}\n")
    copy = Path(host.do(path=str(path), defaults={"verbosity": 2}, backup=True)["backup_file"])
    assert copy.parent == host.folder.parent and "verbosity 3" in copy.read_text()
    assert os.listdir(host.folder) == ["a.conf"]


def test_a_backup_that_fails_fails_the_task(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: str, target: str) -> None:
        raise OSError(28, "No space left on device")

    host.main.write_text("defaults {\n}\n")
    monkeypatch.setattr(shutil, "copy2", full)
    assert "No space left on device. Nothing was changed" in sentence(host.do, defaults={"verbosity": 3}, backup=True)
    assert host.main.read_text() == "defaults {\n}\n"


def test_a_file_that_changed_meanwhile_is_left_alone(host: Host) -> None:
    task = host.make(defaults={"verbosity": 3})
    plan = task.plan(task.read())
    host.main.write_text("# somebody else\n")
    with pytest.raises(HostError, match="was changed by someone else"):
        task.apply(plan.steps)
    assert host.main.read_text() == "# somebody else\n"


# the daemon


def test_the_daemon_is_told_where_it_runs_and_something_changes(host: Host) -> None:
    host.answers = [b"ok", b"pid 7 configure", b"pid 7 idle"]
    result = host.do(defaults={"verbosity": 3})
    assert result["steps"] == [f"write {host.main}", "reconfigure multipathd"] and host.told == ["reconfigure", "show daemon", "show daemon"]
    assert result["diff"][1]["after"] == "defaults {\nverbosity 3\n}\n"


@pytest.mark.parametrize(("options", "told"), [
    pytest.param({"reconfigure": False, "defaults": {"verbosity": 3}}, [], id="not wished"),
    pytest.param({"defaults": {"verbosity": 2}}, [], id="nothing to change"),
    pytest.param({"defaults": {"verbosity": 3}, "validate": False}, ["reconfigure", "show daemon"], id="multipath was not asked"),
    pytest.param({"wwids": [WWID]}, [], id="the whitelist alone"),
])
def test_when_it_is_told(host: Host, options: Options, told: t.List[str]) -> None:
    host.main.write_text("defaults {\n\tverbosity 2\n}\n")
    host.answers = [b"ok", b"pid 7 idle"]
    host.do(**options)
    assert host.told == told


def test_it_is_not_told_where_only_comments_change(host: Host) -> None:
    host.main.write_text("# old\ndefaults {\n\tverbosity 2\n}\n")
    host.answers = [b"ok"]
    assert host.steps(replace=True, defaults={"verbosity": 2}) == ["write MAIN"] and host.told == []


def test_no_daemon_is_no_error(host: Host) -> None:
    assert host.steps(defaults={"verbosity": 3}) == ["write MAIN"]
    host.answers = [NotRunningError("gone since")]
    assert host.steps(defaults={"verbosity": 2}) == ["write MAIN", "reconfigure multipathd"]
    assert "verbosity 2" in host.main.read_text()


@pytest.mark.parametrize(("answers", "says", "again"), [
    pytest.param([RefusedError("reconfigure", "fail, no", False)], "answers 'reconfigure' with 'fail, no'", [], id="no"),
    pytest.param([HostError("multipathd", "did not answer in time")], "did not answer in time", [], id="silence"),
    pytest.param([DamagedError("multipathd", "announces an answer of 0 bytes")], "announces an answer", [], id="noise"),
    pytest.param([b"ok", NotRunningError("gone")], "does not run on this host: gone", ["show daemon", "reconfigure"], id="it ended over it"),
    pytest.param([b"ok", b"pid 7 configure"], "was still configuring after 0.05 s", None, id="it never came to an end"),
])
@pytest.mark.parametrize("text", [None, "# mine\ndefaults {\n}\n"], ids=["no file before", "a file before"])
def test_where_it_refuses_the_old_file_comes_back(host: Host, text: t.Optional[str], answers: t.List[t.Any], says: str, again: t.Optional[t.List[str]]) -> None:
    if text is not None:
        host.main.write_text(text)
        host.main.chmod(0o600)
    host.answers = list(answers)
    with pytest.raises(HostError) as caught:
        host.do(defaults={"verbosity": 3}, backup=True, timeout=0.05)
    assert f"would not take the new {host.main} (" in caught.value.what and says in caught.value.what
    assert caught.value.what.endswith("so the old one was put back" if text else "so it was removed again")
    assert (host.main.read_text() if host.main.exists() else None) == text
    assert (host.main.stat().st_mode & 0o777 == 0o600) if text else True
    assert ("backup_file" in caught.value.facts) is (text is not None)
    assert host.told[0] == "reconfigure" and (host.told[1:] == again if again is not None else host.told[-1] == "reconfigure")


def test_a_busy_daemon_is_asked_again(host: Host) -> None:
    busy = RefusedError("reconfigure", "timeout", True)
    host.answers = [busy, busy, b"ok", b"pid 7 idle"]
    host.do(defaults={"verbosity": 3})
    assert host.told == ["reconfigure"] * 3 + ["show daemon"] and "verbosity 3" in host.main.read_text()


def test_a_daemon_that_is_busy_for_ever(host: Host) -> None:
    host.answers = [RefusedError("reconfigure", "timeout", True)]
    assert "with 'timeout'), so it was removed again" in sentence(host.do, defaults={"verbosity": 3}, timeout=0.05)
    assert len(host.told) > 1 and not host.main.exists()


class Killed(BaseException):
    """The task ends here, and nothing that it would still do is done."""


def killed(*_arguments: t.Any, **_options: t.Any) -> t.NoReturn:
    raise Killed


def break_off(host: Host, **options: t.Any) -> None:
    """A run that is killed when it is about to tell multipathd."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(ConfTask, "_tell", killed)
        host.do(**options)
    assert host.told == []


def test_the_run_after_one_that_broke_off_tells_the_daemon(host: Host) -> None:
    host.answers = [b"ok", b"pid 7 idle"]
    break_off(host, defaults={"verbosity": 3})
    assert host.main.read_text() == "defaults {\n\tverbosity 3\n}\n"
    predicted = host.do(defaults={"verbosity": 3}, check_mode=True)
    assert predicted["steps"] == ["reconfigure multipathd"] and host.told == []
    result = host.do(defaults={"verbosity": 3})
    assert (result["steps"], result["diff"]) == (predicted["steps"], predicted["diff"]) and host.told == ["reconfigure", "show daemon"]
    assert not host.do(defaults={"verbosity": 3})["changed"] and not host.note.exists()


def test_it_is_told_by_a_task_about_another_file_or_with_another_change(host: Host) -> None:
    host.answers = [b"ok", b"pid 7 idle"]
    break_off(host, defaults={"verbosity": 3})
    assert host.steps(path=str(host.folder / "other.conf"), state="absent", defaults={"verbosity": 1}) == ["reconfigure multipathd"]
    host.told.clear()
    break_off(host, defaults={"verbosity": 1})
    assert host.steps(replace=True, defaults={"verbosity": 1, "polling_interval": 7}) == ["write MAIN", "reconfigure multipathd"]
    assert host.steps(wwids=["a"]) == ["whitelist a"]


def test_a_whitelist_that_fails_leaves_the_daemon_to_the_next_task(host: Host) -> None:
    host.answers = [b"ok", b"pid 7 idle"]
    assert "could not be put on the whitelist" in sentence(host.do, wwids=["cannot"], defaults={"verbosity": 3})
    assert host.told == [] and host.steps(defaults={"verbosity": 3}) == ["reconfigure multipathd"]


def test_a_daemon_that_was_started_since_has_read_it(host: Host) -> None:
    host.answers = [b"ok", b"pid 7 idle"]
    break_off(host, defaults={"verbosity": 3})
    host.daemon = "7 200"  # the same number, given again
    assert host.steps(defaults={"verbosity": 3}) == []
    host.answers = None
    assert host.steps(defaults={"verbosity": 3}) == []


def test_what_a_task_was_not_to_tell_is_told_by_the_next_that_may(host: Host) -> None:
    host.answers = [b"ok", b"pid 7 idle"]
    assert host.steps(defaults={"verbosity": 3}, reconfigure=False) == ["write MAIN"]
    assert host.steps(defaults={"verbosity": 3}, reconfigure=False) == []
    assert host.steps(defaults={"verbosity": 3}) == ["reconfigure multipathd"]
    # comments are nothing to tell
    host.main.write_text("# old\n" + host.main.read_text())
    assert host.steps(replace=True, defaults={"verbosity": 3}, reconfigure=False) == ["write MAIN"]
    assert host.steps(defaults={"verbosity": 3}) == []


@pytest.mark.parametrize(("answers", "owed_after"), [
    pytest.param([RefusedError("reconfigure", "fail, no", False)], False, id="it never read the new file"),
    pytest.param([b"ok", b"pid 7 configure"], False, id="told of the old one again"),
    pytest.param([b"ok", HostError("multipathd", "did not answer in time")], True, id="nobody knows what it has read"),
])
def test_whether_it_is_owed_anything_after_it_refused(host: Host, answers: t.List[t.Any], owed_after: bool) -> None:
    host.main.write_text("defaults {\n}\n")
    host.answers = answers
    assert "the old one was put back" in sentence(host.do, defaults={"verbosity": 3}, timeout=0.05)
    assert owed.is_owed(host.daemon) is owed_after


def test_what_was_owed_before_is_owed_after_it_refused(host: Host) -> None:
    host.answers = [RefusedError("reconfigure", "fail, no", False)]
    break_off(host, defaults={"verbosity": 3})
    assert "would not take the new" in sentence(host.do, defaults={"verbosity": 1})
    assert "verbosity 3" in host.main.read_text() and owed.is_owed(host.daemon)
    # and where nothing was written, nothing is put back
    assert "multipathd: would not read its files again (answers 'reconfigure' with 'fail, no'). Look" in sentence(host.do, defaults={"verbosity": 3})
    assert "verbosity 3" in host.main.read_text() and owed.is_owed(host.daemon)


def test_a_run_with_nothing_to_do_starts_one_process_and_asks_nobody(host: Host) -> None:
    host.answers = [b"ok", b"pid 7 idle"]
    host.do(defaults={"verbosity": 3})
    host.commands.clear()
    host.told.clear()
    host.asked.clear()
    assert not host.do(defaults={"verbosity": 3})["changed"]
    assert (host.commands, host.told, host.asked) == ([["multipath", "-h"]], [], [])


# maps in use

NAMED: Options = {"multipaths": [{"wwid": WWID, "alias": "array"}]}
FRIENDLY = "defaults {\n\tuser_friendly_names yes\n}\n"


@pytest.fixture
def mounted(host: Host) -> Host:
    """The map mpatha is mounted, and a daemon runs that has read its files."""
    host.main.write_text(FRIENDLY)
    host.bindings.write_text(f"mpatha {WWID}\n")
    host.answers = [b"ok", b"pid 7 idle"]
    host.map("mpatha")
    return host


def refused(host: Host, **options: t.Any) -> InUseError:
    """The refusal of a task that changed nothing and told nobody."""
    before = {path: path.read_bytes() for path in host.main.parent.rglob("*") if path.is_file()}
    with pytest.raises(InUseError) as caught:
        host.do(**options)
    assert {path: path.read_bytes() for path in host.main.parent.rglob("*") if path.is_file()} == before
    assert host.told == [] and not [argv for argv in host.commands if argv[1] != "-h"]
    return caught.value


@pytest.mark.parametrize("check_mode", [False, True])
@pytest.mark.parametrize("validate", [False, True])
def test_a_map_that_is_mounted_gets_no_other_name(mounted: Host, check_mode: bool, validate: bool) -> None:
    error = refused(mounted, check_mode=check_mode, validate=validate, wwids=["a"], **NAMED)
    assert str(error) == (
        f"map mpatha ({WWID}), which multipathd would rename to array: still in use by /dev/mapper/mpatha mounted on /srv/data. systemd unmounts a file"
        " system whose map is renamed. Nothing was changed. Take it out of use first (umount, swapoff), or say reconfigure: false; then the name comes with"
        " the next boot")
    assert error.fields()["users"] == ["/dev/mapper/mpatha mounted on /srv/data"]


def test_it_gets_one_once_it_is_not_mounted(mounted: Host) -> None:
    mounted.map("mpatha", mounted=False)
    assert mounted.steps(**NAMED) == ["write MAIN", "reconfigure multipathd"]
    mounted.map("array")
    assert mounted.steps(**NAMED) == [] and mounted.steps(defaults={"verbosity": 3}, **NAMED) == ["write MAIN", "reconfigure multipathd"]
    mounted.told.clear()
    assert "would rename to mpatha:" in str(refused(mounted, state="absent", multipaths=[{"wwid": WWID, "alias": None}]))


@pytest.mark.parametrize("options", [
    pytest.param({"defaults": {"user_friendly_names": False}}, id="defaults"),
    pytest.param({"overrides": {"user_friendly_names": False}}, id="overrides"),
    pytest.param({"multipaths": [{"wwid": WWID, "user_friendly_names": False}]}, id="the map"),
    pytest.param({"replace": True, "defaults": {"verbosity": 3}}, id="replace"),
])
def test_friendly_names_are_names_too(mounted: Host, options: Options) -> None:
    assert f"would rename to {WWID}:" in str(refused(mounted, **options))


def test_any_change_that_the_daemon_is_told_of_is_refused(mounted: Host) -> None:
    mounted.drop_in("byhand.conf", f"multipaths {{\n\tmultipath {{\n\t\twwid {WWID}\n\t\talias array\n\t}}\n}}\n")
    assert "would rename to array:" in str(refused(mounted, defaults={"polling_interval": 7}))
    # what it is not told of is none, and what it was told of is none either
    assert mounted.steps(wwids=["a"]) == ["whitelist a"] and mounted.steps(defaults={"user_friendly_names": True}) == []
    mounted.main.write_text("# mine\n" + FRIENDLY)
    assert mounted.steps(replace=True, defaults={"user_friendly_names": True}) == ["write MAIN"]
    mounted.answers = None
    assert mounted.steps(defaults={"polling_interval": 7}) == ["write MAIN"]


def test_what_is_written_without_telling_is_told_once_it_may_be(mounted: Host) -> None:
    assert mounted.steps(reconfigure=False, **NAMED) == ["write MAIN"]
    for options in (NAMED, {"wwids": ["a"]}, {"wwids": ["a"]}):
        result = mounted.do(**options)
        assert "reconfigure multipathd" not in result["steps"] and [problem["object"] for problem in result["problems"]] == [
            f"map mpatha ({WWID}), which multipathd would rename to array"]
    assert not result["changed"] and result["problems"][0]["what"] == (
        "still in use by /dev/mapper/mpatha mounted on /srv/data, so multipathd was not told to read what was written before")
    assert mounted.told == [] and owed.is_owed(mounted.daemon)
    assert mounted.do(reconfigure=False, **NAMED)["problems"] == []
    mounted.commands.clear()
    assert "would rename to array:" in str(refused(mounted, defaults={"polling_interval": 7}))
    mounted.map("mpatha", mounted=False)
    assert mounted.steps(**NAMED) == ["reconfigure multipathd"] and not owed.is_owed(mounted.daemon)


def test_a_change_that_leaves_the_name_as_it_is_after_all(mounted: Host) -> None:
    assert mounted.steps(reconfigure=False, **NAMED) == ["write MAIN"]
    assert mounted.steps(state="absent", **NAMED) == ["write MAIN", "reconfigure multipathd"]
    assert mounted.told == ["reconfigure", "show daemon"] and not owed.is_owed(mounted.daemon)


def test_what_is_wrong_with_the_file_is_told_first(mounted: Host) -> None:
    mounted.main.write_text(FRIENDLY + "junk 1\n")
    assert "'junk'" in sentence(mounted.do, **NAMED) and mounted.told == []


# the whitelist


def test_whitelist(host: Host) -> None:
    assert host.steps(wwids=[WWID, "b", WWID]) == [f"whitelist {WWID}", "whitelist b"]
    assert host.steps(wwids=[WWID]) == []
    assert host.steps(wwids=[WWID, "c"], state="absent") == [f"take off the whitelist {WWID}"]
    assert host.wwids.read_text() == "# Valid WWIDs:\n/b/\n"
    assert [argv[1:] for argv in host.commands if argv[1] != "-h"] == [["-a", WWID], ["-a", "b"], ["-w", WWID]]


def test_the_daemon_comes_after_the_whitelist(host: Host) -> None:
    host.answers = [b"ok", b"idle"]
    assert host.steps(wwids=["a"], defaults={"verbosity": 3}) == ["write MAIN", "whitelist a", "reconfigure multipathd"]


def test_the_whitelist_may_be_elsewhere_in_older_releases(host: Host) -> None:
    host.wwids = host.main.parent / "elsewhere"
    text = f"defaults {{\n\twwids_file {host.wwids}\n}}\n"
    host.drop_in("a.conf", text)
    host.main.write_text(text.replace(str(host.wwids), "/overruled"))
    assert host.steps(wwids=["a"]) == ["whitelist a"]
    assert host.steps(wwids=["a"]) == []
    host.release = (0, 9, 7)  # does not look at that keyword any more, and the other list does not have it
    assert host.do(wwids=["a"], check_mode=True)["steps"] == ["whitelist a"]


def test_a_whitelist_that_cannot_be_written(host: Host) -> None:
    assert "WWID cannot: could not be put on the whitelist, multipath -a cannot says: cannot get kernel dm version. Look" in sentence(host.do, wwids=["cannot"])


def test_errors_keep_what_was_done(host: Host) -> None:
    with pytest.raises(HostError) as caught:
        host.do(wwids=["cannot"], defaults={"verbosity": 3})
    assert caught.value.facts["steps"] == [f"write {host.main}", "whitelist cannot"]
    with pytest.raises(InputError):
        host.do(defaults={"verbosity": "x"})


def test_what_it_said_before_is_told_after_the_change_too(host: Host) -> None:
    host.main.write_text("defaults {\n\tprio_args odd\n}\n")
    host.complains = {"odd": "no such user"}
    assert [problem["what"] for problem in host.do(defaults={"verbosity": 3})["problems"]] == [f"{host.main} line 2, no such user"]
