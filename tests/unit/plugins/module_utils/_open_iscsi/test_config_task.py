# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What iscsi_config plans and does: in a tree of its own, and by values where a running system is meant."""

from __future__ import annotations

import stat
import typing as t
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import bring_about
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InputError, InUseError, IscsiError
from ansible_collections.lunar.iscsi.plugins.module_utils._names import NodeKey
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi import daemon
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.config_task import ConfigTask, Found
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.session_keys import SessionKey

from .builders import A, ONE, TWO, session

NAME, OTHER = "iqn.2026-11.org.example:host", "iqn.2026-11.org.example:other"
CONF = b"# Defaults\n\n# node.startup = automatic\nnode.startup = manual\n#node.session.auth.password = password\n"
NAMES = f"## DO NOT EDIT\nInitiatorName={NAME}\n".encode()
SECRET = "plain-secret-1"
PASSWORD = "node.session.auth.password"
SESSION = SessionKey(3, NodeKey(ONE, A))


class Tree:
    """A mounted system."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.conf, self.name = root / "etc/iscsi/iscsid.conf", root / "etc/iscsi/initiatorname.iscsi"
        self.conf.parent.mkdir(parents=True)
        self.conf.write_bytes(CONF)
        self.name.write_bytes(NAMES)
        self.conf.chmod(0o640)

    def task(self, **given: t.Any) -> ConfigTask:
        return task(root=str(self.root), **given)

    def run(self, check: bool = False, **given: t.Any) -> t.Dict[str, t.Any]:
        return bring_about(self.task(**given), check, True)


def task(**given: t.Any) -> ConfigTask:
    return ConfigTask({"settings": None, "state": "present", "initiator_name": None, "initiator_alias": None, "backup": False, "restart": False,
                       "force": False, "timeout": 5, "root": "/", **given})


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def found(**given: t.Any) -> Found:
    return Found(**{"conf": CONF, "mode": 0o600, "name": NAMES, **given})


class TestFiles:
    def test_check_mode_tells_what_is_then_done_once(self, tree: Tree) -> None:
        options: t.Dict[str, t.Any] = {"settings": {"node.startup": "automatic", "iscsid.safe_logout": True}, "initiator_alias": "host one"}
        predicted = tree.run(check=True, **options)
        assert tree.conf.read_bytes() == CONF and tree.name.read_bytes() == NAMES
        done = tree.run(**options)
        assert done["changed"] and (done["steps"], done["diff"]) == (predicted["steps"], predicted["diff"])
        assert tree.conf.read_bytes() == CONF.replace(b"= manual", b"= automatic") + b"iscsid.safe_logout = Yes\n"
        assert tree.name.read_bytes() == NAMES + b"InitiatorAlias=host one\n"
        assert done["takes_effect"] == {"node.startup": "new_records", "iscsid.safe_logout": "iscsid_restart", "InitiatorAlias": "iscsid_restart"}
        assert (done["initiator_name"], done["initiator_alias"], done["settings"]["node.startup"]) == (NAME, "host one", "automatic")
        before = tree.conf.stat()
        again = tree.run(**options)
        assert not again["changed"] and again["steps"] == [] and again["diff"] == [] and tree.conf.stat() == before

    def test_the_mode_stays(self, tree: Tree) -> None:
        tree.run(settings={"node.startup": "automatic"})
        assert stat.S_IMODE(tree.conf.stat().st_mode) == 0o640

    def test_a_new_file_is_for_root_alone(self, tree: Tree) -> None:
        for path in (tree.conf, tree.name):
            path.unlink()
        made = tree.run(settings={"node.startup": "automatic"}, initiator_name=NAME)
        assert made["diff"][0]["before"] == "" and tree.conf.read_text() == "node.startup = automatic\n"
        assert tree.name.read_text() == f"InitiatorName={NAME}\n"
        assert {stat.S_IMODE(path.stat().st_mode) for path in (tree.conf, tree.name)} == {0o600}

    def test_a_secret_closes_the_file_and_is_never_shown(self, tree: Tree) -> None:
        tree.conf.chmod(0o644)
        made = tree.run(settings={PASSWORD: SECRET})
        assert stat.S_IMODE(tree.conf.stat().st_mode) == 0o600 and f"{PASSWORD} = {SECRET}" in tree.conf.read_text()
        assert SECRET not in repr(made) and made["settings"][PASSWORD] == "********"
        tree.conf.chmod(0o644)
        named = tree.run(settings={"node.startup": "manual"})
        assert not named["changed"] and ["read by everybody" in problem["what"] for problem in named["problems"]] == [False, True]
        closed = tree.run(settings={PASSWORD: SECRET})
        assert closed["steps"] == [f"close to others {tree.conf}"] and closed["diff"][0]["after"] == "mode 0600\n"
        assert stat.S_IMODE(tree.conf.stat().st_mode) == 0o600

    def test_a_secret_that_changes_shows_that_it_does(self, tree: Tree) -> None:
        tree.run(settings={PASSWORD: SECRET})
        changed = tree.run(settings={PASSWORD: "plain-secret-2"})
        before, after = changed["diff"][0]["before"], changed["diff"][0]["after"]
        assert before != after and "(changed)" in after and "plain-secret" not in before + after

    def test_removing(self, tree: Tree) -> None:
        done = tree.run(settings={"node.startup": None}, state="absent")
        assert tree.conf.read_bytes() == CONF.replace(b"node.startup = manual\n", b"") and done["takes_effect"] == {"node.startup": "new_records"}
        assert not tree.run(settings={"node.startup": "whatever"}, state="absent")["changed"]
        tree.run(settings={PASSWORD: SECRET})
        assert tree.run(settings={PASSWORD: ""})["changed"] and SECRET not in tree.conf.read_text()

    def test_the_same_in_other_words_is_no_change(self, tree: Tree) -> None:
        tree.conf.write_text("node.session.cmds_max = 0128\n")
        assert not tree.run(settings={"node.session.cmds_max": 128})["changed"]

    def test_a_link_stays_one(self, tree: Tree) -> None:
        real = tree.root / "real.conf"
        tree.conf.rename(real)
        tree.conf.symlink_to("/real.conf")
        tree.run(settings={"node.startup": "automatic"})
        assert tree.conf.is_symlink() and b"= automatic" in real.read_bytes()

    def test_backups(self, tree: Tree) -> None:
        made = tree.run(settings={"node.startup": "automatic"}, initiator_name=OTHER, backup=True)
        assert [Path(path).read_bytes() for path in made["backup_files"]] == [CONF, NAMES]
        assert stat.S_IMODE(Path(made["backup_files"][0]).stat().st_mode) == 0o640
        assert "backup_files" not in tree.run(settings={"node.startup": "automatic"}, backup=True)

    def test_someone_else_writes_meanwhile(self, tree: Tree) -> None:
        job = tree.task(settings={"node.startup": "automatic"})
        plan = job.plan(job.read())
        tree.conf.write_bytes(b"# mine\n")
        with pytest.raises(HostError, match="changed by someone else"):
            job.apply(plan.steps)
        assert tree.conf.read_bytes() == b"# mine\n"

    @pytest.mark.parametrize(("given", "says"), [
        pytest.param({"settings": {"node.sesion.scan": "auto"}}, "Did you mean 'node.session.scan'", id="typing mistake"),
        pytest.param({"settings": {"node.sesion.scan": None}, "state": "absent"}, "Did you mean", id="typing mistake in removing"),
        pytest.param({"settings": {"node.conn[0].timeo.noop_out_interval": 0}}, "takes 0 only for both", id="not with what is there"),
        pytest.param({"initiator_name": "host1"}, "option initiator_name 'host1'", id="name"),
        pytest.param({"initiator_alias": "a\nb"}, "no alias", id="alias"),
        pytest.param({"initiator_alias": "a\ud800"}, "no alias", id="no text"),
        pytest.param({"initiator_name": "iqn.2026-11.org.example:\ud800"}, "not UTF-8", id="no text as a name"),
        pytest.param({"initiator_alias": "a", "state": "absent"}, "option state", id="removing the alias"),
        pytest.param({"restart": True}, "in an image no iscsid runs", id="restart in an image"),
        pytest.param({"timeout": 0}, "option timeout", id="timeout"),
    ])
    def test_wrong_input_changes_nothing(self, tree: Tree, given: t.Dict[str, t.Any], says: str) -> None:
        tree.conf.write_bytes(CONF + b"node.conn[0].timeo.noop_out_timeout = 5\n")
        before = tree.conf.read_bytes()
        with pytest.raises(InputError, match=says.replace("[", r"\[")):
            tree.run(**given)
        assert tree.conf.read_bytes() == before and tree.name.read_bytes() == NAMES

    def test_an_alias_without_a_name(self, tree: Tree) -> None:
        tree.name.unlink()
        with pytest.raises(InputError, match="names no initiator"):
            tree.run(initiator_alias="a")
        assert [problem["remedy"] for problem in tree.run()["problems"] if problem["object"] == str(tree.name)] == ["Give initiator_name"]


class TestSessions:
    def test_the_name_stays_while_sessions_are_up(self) -> None:
        with pytest.raises(InUseError, match=f"session 3 of {ONE}") as caught:
            task(initiator_name=OTHER).plan(found(sessions=[SESSION]))
        assert NAME in str(caught.value) and "force: true" in caught.value.remedy

    @pytest.mark.parametrize(("given", "host"), [
        pytest.param({"initiator_name": OTHER, "force": True}, {}, id="forced"),
        pytest.param({"initiator_alias": "a"}, {}, id="an alias alone"),
        pytest.param({"initiator_name": NAME}, {"name": f"InitiatorName = {NAME}\n".encode()}, id="the same name, as Debian wants it"),
        pytest.param({"initiator_name": OTHER}, {"name": None}, id="no name before"),
    ])
    def test_what_no_session_minds(self, given: t.Dict[str, t.Any], host: t.Dict[str, t.Any]) -> None:
        assert len(task(**given).plan(found(**{"sessions": [SESSION], **host})).steps) == 1


class TestRestart:
    @pytest.mark.parametrize(("given", "host", "reasons"), [
        pytest.param({"settings": {"node.startup": "automatic"}}, {}, [], id="new records"),
        pytest.param({"settings": {"iscsid.startup": "x"}}, {}, [], id="iscsiadm"),
        pytest.param({"settings": {"iscsid.safe_logout": True}}, {}, ["iscsid.safe_logout"], id="its own"),
        pytest.param({"initiator_name": OTHER, "initiator_alias": "a"}, {}, ["InitiatorName", "InitiatorAlias"], id="names"),
        pytest.param({"settings": {"iscsid.safe_logout": True}}, {"daemon": ""}, [], id="none runs"),
        pytest.param({}, {"owed": ("InitiatorName",)}, ["InitiatorName"], id="of an earlier task"),
        pytest.param({"settings": {"iscsid.safe_logout": True}}, {"owed": ("InitiatorName",)}, ["InitiatorName", "iscsid.safe_logout"], id="of both"),
    ])
    def test_what_iscsid_does_not_know(self, given: t.Dict[str, t.Any], host: t.Dict[str, t.Any], reasons: t.List[str]) -> None:
        for restart in (False, True):
            made = task(restart=restart, **given).plan(found(**{"daemon": "7 100", **host}))
            assert made.facts["restart_reasons"] == reasons and made.facts["restart_needed"] == (["iscsid"] if reasons else [])
            assert (str(made.steps[-1]) == "restart iscsid" if made.steps else False) is (restart and bool(reasons))

    def test_not_where_it_is_not_safe(self) -> None:
        unsafe = found(daemon="7 100", owed=("InitiatorName",), risks=("the disk",))
        with pytest.raises(HostError, match="not safe now: the disk"):
            task(restart=True).plan(unsafe)
        assert [str(step) for step in task(restart=True, force=True).plan(unsafe).steps] == ["restart iscsid"]
        told = task().plan(unsafe)
        assert told.steps == [] and told.facts["restart_safe"] is False and told.facts["restart_risks"] == ["the disk"]

    def test_the_note_is_of_one_daemon(self, tmp_path: Path) -> None:
        path = str(tmp_path / "note")
        assert daemon.owed("7 100", path) == ()
        daemon.note("7 100", ["InitiatorName"], path)
        daemon.note("7 100", ["iscsid.safe_logout", "InitiatorName"], path)
        assert daemon.owed("7 100", path) == ("InitiatorName", "iscsid.safe_logout")
        assert daemon.owed("7 101", path) == daemon.owed("", path) == ()

    def test_which_iscsid_runs(self, tmp_path: Path) -> None:
        pid_file = tmp_path / "iscsid.pid"
        for pid, name, state, began in ((7, "iscsid", "Z", 800), (9, "iscsid", "S", 900), (12, "iscsid", "R", 901), (30, "bash", "S", 902)):
            (tmp_path / str(pid)).mkdir()
            (tmp_path / str(pid) / "comm").write_text(name + "\n")
            (tmp_path / str(pid) / "stat").write_text(f"{pid} ({name} x) {state} " + " ".join(["0"] * 18) + f" {began} 0 0\n")
        assert daemon.running_daemon(str(tmp_path), [str(pid_file)]) == "9 900"
        pid_file.write_text("12\n")
        assert daemon.running_daemon(str(tmp_path), [str(pid_file)]) == "12 901"
        pid_file.write_text("30\n")  # the number of another process by now
        assert daemon.running_daemon(str(tmp_path), [str(pid_file)]) == "9 900"

    def test_risks_are_told_by_disk_and_session(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from ansible_collections.lunar.iscsi.plugins.module_utils._host.block import User

        users = [User("/dev/sdb1", "mount", "/"), User("/dev/sdb2", "mount", "/srv"), User("/dev/sdb3", "swap")]
        monkeypatch.setattr(daemon, "users_of", lambda names, opened: users if names == ["sdb"] and not opened else [])
        risks = daemon.find_risks([session(1, ONE, A, disk="sdb")])
        assert len(risks) == 2 and risks[0].startswith("/dev/sdb1 mounted on /:") and "swap" in risks[1]
        down = session(2, TWO, A)
        object.__setattr__(down, "state", "FAILED")
        assert daemon.find_risks([down]) == [f"session 2 of {TWO} at {A} is not logged in: iscsid is setting it up again just now"]
        assert daemon.find_risks([]) == []


def test_every_error_is_a_sentence_without_the_secret(tree: Tree) -> None:
    for wrong in ({PASSWORD: SECRET + "\n"}, {PASSWORD: SECRET * 40}, {"node.session.auth.pasword": SECRET}):
        with pytest.raises(IscsiError) as caught:
            tree.run(settings=wrong)
        assert SECRET not in caught.value.sentence()


_TEXT = st.one_of(st.text(max_size=12), st.sampled_from([
    "Yes", "no", "automatic", "CRC32C", "0", "7", "-1", "99999999999999999999", "MD5,SHA1", "a # b", " x ", "x=y"]))
_VALUE = st.one_of(_TEXT, st.integers(), st.booleans(), st.none(), st.floats(), st.lists(_TEXT, max_size=3), st.dictionaries(_TEXT, _TEXT, max_size=2))
_KEY = st.one_of(st.text(max_size=12), st.sampled_from([
    "node.startup", PASSWORD, "node.session.auth.username", "node.session.cmds_max", "node.conn[0].iscsi.HeaderDigest", "node.session.auth.chap_algs",
    "node.conn[0].timeo.noop_out_interval", "discovery.isns.use_discoveryd", "discovery.sendtargets.address", "iscsid.safe_logout", "iscsid.startup",
    "node.session.auth.password_length", "iface.mtu"]))
_GIVEN = st.fixed_dictionaries({}, optional={
    "settings": st.dictionaries(_KEY, _VALUE, max_size=3), "state": st.sampled_from(["present", "absent"]),
    "initiator_name": st.one_of(_TEXT, st.sampled_from([NAME, OTHER, "eui.0123456789abcdef", "iqn.2026-11.org.example:\ud800"])), "initiator_alias": _TEXT,
    "backup": st.booleans(), "force": st.booleans(), "timeout": st.floats()})


@given(options=_GIVEN, conf=st.one_of(st.none(), st.just(CONF), st.binary(max_size=60)), name=st.one_of(st.none(), st.just(NAMES), st.binary(max_size=60)))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_input_is_done_once_or_refused_whole(tree: Tree, options: t.Dict[str, t.Any], conf: t.Optional[bytes], name: t.Optional[bytes]) -> None:
    for path, data in ((tree.conf, conf), (tree.name, name)):
        if data is not None:
            path.write_bytes(data)
        elif path.exists():
            path.unlink()
    before = [path.read_bytes() if path.exists() else None for path in (tree.conf, tree.name)]
    try:
        done = tree.run(**options)
    except IscsiError as error:
        assert error.what and error.sentence().isprintable()
        assert [path.read_bytes() if path.exists() else None for path in (tree.conf, tree.name)] == before
        return
    assert done["changed"] == (before != [path.read_bytes() if path.exists() else None for path in (tree.conf, tree.name)])
    assert not tree.run(**options)["changed"]
