# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong input for every option of every module, made from its argument spec: always a sentence, never a traceback, nothing changed.

Each module stands on a stage: a host below a folder, and options with which it would change something there (or look at something).
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import json
import os
import shutil
import typing as t
from pathlib import Path

import pytest

pytest.importorskip("ansible")

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Result, Runner
from ansible_collections.lunar.iscsi.plugins.module_utils._lvm.activation import ActivationTask
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.daemon import Daemon
from ansible_collections.lunar.iscsi.plugins.module_utils._names import Portal
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi import rescan
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.ask import Answer, Asker
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.disk_settings import DiskSettings
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.host_task import HostTask
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.iscsiadm_host import ChapEntry, HostAdm
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.logout import LogoutTask
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_task import TargetTask
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_task import TgtTask
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils._lvm.fake_lvm import FakeLvm
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils._lvm.test_activation import Clock
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils._multipath.test_conf_task import stand_in
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils._targets.fake_tgtd import FakeTgtd
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils._targets.lio_builders import Host as LioHost
from ansible_collections.lunar.iscsi.tests.unit.plugins.module_utils.sysfs_tree import Tree

pytestmark = pytest.mark.usefixtures("as_on_a_managed_host")

ROOT = Path(__file__).resolve().parents[4]
MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("[a-z]*.py"))
PLACE = "ansible_collections.lunar.iscsi.plugins.modules."
ONE, TWO, THREE = (f"iqn.2026-11.org.example:{name}" for name in ("one", "two", "three"))
AUTH = {"username": "me", "password": "plain-secret-of-me", "username_in": "array", "password_in": "plain-secret-of-array", "algorithms": ["MD5"]}

Options = t.Dict[str, t.Any]
Spec = t.Dict[str, t.Any]
#: the names of an option and of those around it
Path_ = t.Tuple[str, ...]


class Stage:
    """One module, a host for it, and right options. ``instead`` has other options for what cannot stand beside these, by their outermost name."""

    def __init__(self, name: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.name, self.folder, self.patch = name, folder, patch
        self.module = importlib.import_module(PLACE + name)
        self.right: Options = {}
        self.instead: t.Dict[str, Options] = {}
        #: whether text of any kind may lead it out of its folder, so that it is only tried in check mode
        self.bounded = False
        patch.setattr(AnsibleModule, "log", lambda self, msg, log_args=None: None)
        STAGES[name](self)

    def run(self, options: Options, check: bool = False) -> Options:
        """Options in, what the module printed out. Whatever it raises comes through, as it would end a task with a traceback."""
        printed = io.StringIO()
        with patch_module_args(dict(options, _ansible_check_mode=check)), contextlib.redirect_stdout(printed), pytest.raises(SystemExit):
            self.module.main()
        return t.cast(Options, json.loads(printed.getvalue()))

    def files(self) -> t.Dict[str, t.Any]:
        """Every file, link and folder with its mode and content."""
        found: t.Dict[str, t.Any] = {}
        for folder, folders, names in os.walk(self.folder):
            for name in (*folders, *names):
                path = os.path.join(folder, name)
                content = os.readlink(path) if os.path.islink(path) else Path(path).read_bytes() if os.path.isfile(path) else None
                found[path] = (os.lstat(path).st_mode, content)
        return found

    def spec(self) -> Spec:
        """The argument spec that the module gives to ansible-core."""
        seen: t.List[Spec] = []

        class Seen(BaseException):
            pass

        def look(_self: t.Any, argument_spec: Spec, **_more: t.Any) -> None:
            seen.append(argument_spec)
            raise Seen

        with self.patch.context() as patch, pytest.raises(Seen):
            patch.setattr(AnsibleModule, "__init__", look)
            self.module.main()
        return seen[0]

    def wrong(self, path: Path_, value: t.Any, options: t.Optional[Options] = None) -> Options:
        """The right options, or others, but for one."""
        options = copy.deepcopy(options or self.instead.get(path[0], self.right))
        here: t.Any = options
        for name in path[:-1]:
            here = here.setdefault(name, {})
            if isinstance(here, list):
                here = here[0]
        here[path[-1]] = value
        return options


# the hosts


def image(stage: Stage) -> str:
    """A mounted system with open-iscsi and a database: two nodes, one of them damaged, an iface, a discovery."""
    root = stage.folder / "root"
    for folder in ("sbin", "etc/iscsi", "run/lock/iscsi"):
        (root / folder).mkdir(parents=True)
    (root / "sbin/iscsiadm").write_bytes(b"# BEGIN RECORD 2.1.11\0")  # where its version is read
    (root / "etc/iscsi/iscsid.conf").write_text("# of the admin\nnode.startup = manual\n")
    (root / "etc/iscsi/initiatorname.iscsi").write_text("InitiatorName=iqn.2026-11.org.example:host\n")
    for name, options in (
        ("iscsi_iface", {"name": "path1", "settings": {"iface.net_ifacename": "lo"}}),
        ("iscsi_node", {"nodes": [{"target": target, "portals": ["192.0.2.1:3260,1"], "ifaces": ["path1"]} for target in (ONE, TWO)]}),
    ):
        with patch_module_args(dict(options, root=str(root))), contextlib.redirect_stdout(io.StringIO()), pytest.raises(SystemExit):
            importlib.import_module(PLACE + name).main()
    damaged = root / f"etc/iscsi/nodes/{TWO}/192.0.2.1,3260,1/path1"
    assert damaged.stat().st_size
    damaged.write_text("")
    return str(root)


def _config(stage: Stage) -> None:
    stage.right = {"settings": {"node.startup": "automatic"}, "initiator_name": THREE, "initiator_alias": "host1", "root": image(stage)}


def _db(stage: Stage) -> None:
    stage.right = {"repair": True, "root": image(stage)}


def _discovery(stage: Stage) -> None:
    answers = [Answer(Portal("192.0.2.1", 3260, None), [(THREE, [Portal("192.0.2.1", 3260, 1)])])]
    stage.patch.setattr(Asker, "ask", lambda self, portals: answers)
    stage.patch.setattr(Asker, "ask_isns", lambda self, portals: answers)
    stage.right = {"portals": ["192.0.2.1"], "targets": ["*"], "networks": ["192.0.2.0/24"], "ifaces": ["path1"], "settings": {"node.startup": "automatic"},
                   "discovery_settings": {"discovery.sendtargets.timeo.login_timeout": 20}, "initiator_name": THREE, "auth": AUTH, "root": image(stage)}


def _iface(stage: Stage) -> None:
    stage.right = {"name": "path2", "transport": "tcp", "settings": {"iface.net_ifacename": "san2"}, "root": image(stage)}
    stage.instead = {"ping": dict(stage.right, ping={"address": "127.0.0.1"})}


def _node(stage: Stage) -> None:
    stage.right = {"nodes": [{"target": THREE, "portals": ["192.0.2.1:3260,1"], "ifaces": ["path1"]}], "startup": "automatic", "profile": "multipath",
                   "leading_login": False, "nr_sessions": 1, "scan": "manual", "settings": {"node.session.timeo.replacement_timeout": 15}, "auth": AUTH,
                   "root": image(stage)}


class Silent(Runner):
    """Whatever is started ends well and says nothing."""

    def run(self, argv: t.Sequence[str], *, stdin: t.Optional[str] = None, timeout: float = 60.0, env: t.Optional[t.Mapping[str, str]] = None) -> Result:
        return Result(tuple(argv), 0, "", "")


def _session(stage: Stage) -> None:
    tree, rules = Tree(stage.folder), str(stage.folder / "rules.d/99-disks.rules")
    stage.patch.setattr(stage.module, "RescanTask", lambda params, **more: rescan.RescanTask(params, sys=tree.sys, **more))
    stage.patch.setattr(stage.module, "LogoutTask", lambda params: LogoutTask(params, sys=tree.sys))
    stage.patch.setattr(rescan, "DiskSettings", lambda *given, **more: DiskSettings(*given, rules=rules, **more))
    stage.patch.setattr(rescan, "Runner", Silent)
    stage.right = {"targets": ["iqn.2026-11.org.example:*"], "disk_settings": {"timeout": 60, "max_retries": 3, "queue_depth": 16}}
    stage.instead = {"sids": {"sids": [1], "disk_settings": {"timeout": 60}, "persistent": False}}


def _host(stage: Stage) -> None:
    tree, target = Tree(stage.folder), "iqn.2002-03.com.compellent:5000d310004b0716"
    tree.attributes("/sys/class/iscsi_host/host6", hwaddress="00:0e:1e:04:8b:2e")
    tree.attributes("/sys/class/scsi_host/host6", proc_name="qla4xxx", state="running")
    table, node = stage.folder / "table", "/sys/bus/iscsi_flashnode/devices/flashnode_"

    def update(_self: HostAdm, host: int, index: int, _settings: t.Mapping[str, str]) -> None:
        tree.attributes(f"{node}sess-{host}:{index}", targetname=target, portal_type="ipv4")
        tree.attributes(f"{node}conn-{host}:{index}:0", ipaddress="192.168.1.12", port=3260)

    def chap(_self: HostAdm, _host: int) -> t.List[ChapEntry]:
        return [ChapEntry(4, "local", *table.read_text("utf-8").split())] if table.exists() else []

    def set_chap(_self: HostAdm, _host: int, _index: t.Optional[int], _kind: str, username: str, password: str) -> None:
        table.write_text(f"{username} {password}", "utf-8")

    for name, hands in (("new_flash_node", lambda self, host, portal_type: 2), ("update_flash_node", update), ("chap", chap), ("set_chap", set_chap)):
        stage.patch.setattr(HostAdm, name, hands)
    stage.patch.setattr(stage.module, "HostTask", lambda params: HostTask(params, sys=tree.sys))
    stage.right = {"host": "6", "flash_nodes": [{"target": target, "portal": "192.168.1.12"}], "timeout": 1}
    stage.instead = {"chap": {"host": "6", "chap": [{"index": 4, "username": "host1", "password": "plain-secret-of-host"}], "secrets_in_arguments": True}}
    stage.bounded = True


def _host_info(stage: Stage) -> None:
    tree = Tree(stage.folder)
    tree.session(1, 12, ONE)
    look = stage.module.look
    stage.patch.setattr(stage.module, "look", lambda params: look(params, tree.sys))
    stage.right = {"hosts": ["12"]}


def _firmware_info(stage: Stage) -> None:
    tree, look = Tree(stage.folder), stage.module.look
    stage.patch.setattr(stage.module, "look", lambda secrets, hidden: look(secrets, hidden, tree.sys, tree.proc))


def _session_info(stage: Stage) -> None:
    stage.patch.setattr(stage.module, "read_sessions", lambda sys: [])
    stage.right = {"targets": ["*"], "sids": [1]}


def _lio_target(stage: Stage) -> None:
    host = LioHost(stage.folder)
    stage.patch.setattr(stage.module, "TargetTask", lambda params: TargetTask(params, hands=host.kernel, host=str(host.root), lock=str(host.root / "run/lock")))
    auth = {key: value for key, value in AUTH.items() if key != "algorithms"}  # which a target of LIO does not choose
    stage.right = {**host.two_groups(), "discovery_auth": auth}
    stage.right["portal_groups"][0]["auth"] = auth
    stage.right["acls"][0].update(auth=auth, luns=[{"lun": 0}])
    stage.bounded = True


def _lvm_activation(stage: Stage) -> None:
    lvm, clock = FakeLvm(stage.folder), Clock()
    stage.patch.setattr(stage.module, "ActivationTask", lambda params, **more: ActivationTask(
        params, runner=lvm, host=lvm.host, devices_file=str(stage.folder / "system.devices"), clock=clock, sleep=clock.sleep, **more))
    stage.right = {"volumes": ["xenGuests"]}
    stage.bounded = True


def _multipath_conf(stage: Stage) -> None:
    host = stand_in(stage.folder, stage.patch)
    matches = {"devnode": ["^sda$"], "devices": [{"vendor": "IET", "product": "VIRTUAL-DISK"}]}
    stage.right = {"path": str(host.main), "defaults": {"polling_interval": 5}, "devices": [{"vendor": "LIO-ORG", "product": ".*", "failback": 60}],
                   "multipaths": [{"wwid": "360014059ca317516a69465c883a29603", "alias": "rbd0"}], "blacklist": matches, "blacklist_exceptions": matches}
    stage.bounded = True


def _multipath_info(stage: Stage) -> None:
    class Fixed(Daemon):
        def ask(self, command: str, timeout: float = 10.0) -> bytes:
            return b'{"major_version": 0, "minor_version": 1, "maps": []}\n'

    stage.patch.setattr(stage.module, "Daemon", Fixed)
    stage.patch.setattr(stage.module, "read_sessions", lambda sys: [])
    stage.right = {"maps": [], "timeout": 0.05}


def _tgt_target(stage: Stage) -> None:
    conf = stage.folder / "conf.d"
    conf.mkdir()
    (stage.folder / "targets.conf").write_text(f"include {conf}/*.conf\n", encoding="utf-8")
    for name in ("socket", "fstab"):
        (stage.folder / name).touch()
    tgtd = FakeTgtd(str(stage.folder / "socket"))
    stage.patch.setattr(stage.module, "TgtTask", lambda params: TgtTask(
        params, tgtd, main=str(stage.folder / "targets.conf"), fstab=str(stage.folder / "fstab"), lock=str(stage.folder / "lock"),
        notes=str(stage.folder / "notes")))
    account = {"username": "host1", "password": "plain-secret-of-host1"}
    target = {"name": ONE, "luns": [{"lun": 1, "backing_store": str(stage.folder / "disk"), "size": "1MiB", "create": True}],
              "allow": {"addresses": ["192.0.2.0/24"], "initiators": [THREE]}, "parameters": {"MaxConnections": 1},
              "accounts": {"incoming": [account], "outgoing": {"username": "array", "password": "plain-secret-of-array"}}}
    stage.right = {**target, "save_folder": str(conf)}
    another = {"lun": 1, "backing_store": str(stage.folder / "another"), "size": "1MiB", "create": True}
    stage.instead = {"targets": {"targets": [dict(target, name=TWO, luns=[another])], "save_folder": str(conf)}}
    stage.bounded = True


STAGES: t.Dict[str, t.Callable[[Stage], None]] = {
    "iscsi_config": _config, "iscsi_db": _db, "iscsi_discovery": _discovery, "iscsi_firmware_info": _firmware_info, "iscsi_host": _host,
    "iscsi_host_info": _host_info, "iscsi_iface": _iface, "iscsi_node": _node, "iscsi_session": _session, "iscsi_session_info": _session_info,
    "lio_target": _lio_target, "lvm_activation": _lvm_activation, "multipath_conf": _multipath_conf, "multipath_info": _multipath_info,
    "tgt_target": _tgt_target,
}
#: modules that only look
LOOKING = ("iscsi_firmware_info", "iscsi_host_info", "iscsi_session_info", "multipath_info")


@pytest.fixture(params=MODULES)
def stage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(request.param, tmp_path, monkeypatch)


def test_every_module_is_on_stage() -> None:
    assert sorted(STAGES) == MODULES


def test_what_is_right_is_done(stage: Stage) -> None:
    """Or all that follows would prove nothing."""
    for options in (stage.right, *stage.instead.values()):
        before = stage.files()
        if "ping" in options:  # which is of the running host alone
            continue
        done = stage.run(options)
        assert not done.get("failed"), done["msg"]
        assert (done["changed"] and stage.files() != before) is (stage.name not in LOOKING and "sids" not in options)


# wrong by their type


def options_of(spec: Spec, above: Path_ = ()) -> t.Iterator[t.Tuple[Path_, Spec]]:
    """Every option, and every one inside another."""
    for name, entry in spec.items():
        yield (*above, name), entry
        yield from options_of(entry.get("options") or {}, (*above, name))


def wrong_values(entry: Spec) -> t.List[t.Any]:
    """What an option can never mean. For plain text there is nothing that it may not be, as far as its type goes."""
    kind = entry.get("type", "str")
    by_type: t.Dict[str, t.List[t.Any]] = {
        "bool": ["perhaps", 7, 0.5, [], {"a": 1}],
        "int": ["many", "", "1.5", 1.5, True, "inf", float("-inf"), float("nan"), [1], [0, [7], 0], [2**63, None, None], {"a": 1}],
        "float": ["soon", "", [1.0], {"a": 1}],
        "dict": ["no mapping", 5, True, 1.5, [], [1], ["a", "b"]],
        "list": [{"a": 1}] if entry.get("elements") in ("dict", "int") else [],
    }
    found = list(by_type.get(kind, []))
    if "choices" in entry:
        found += ["colour", "", "\0"] if kind == "str" else [["colour"], "colour,size"]
    if "options" in entry:
        found += [{"colour": "blue"}] if kind == "dict" else [[{"colour": "blue"}], [5], [True], ["x"], [["x"]], [None], "x", 5]
    if kind == "list" and entry.get("elements") == "int":
        found += ["many", ["1", "many"], [[1]], [{"a": 1}], [True], "inf", "1,inf", ["1", "Infinity"]]
    return found


def is_sentence(done: Options) -> bool:
    text = done.get("msg")
    return done.get("failed") is True and isinstance(text, str) and len(text) > 10 and "Traceback" not in text and "exception" not in done


def test_what_no_option_can_be(stage: Stage) -> None:
    before, tried = stage.files(), 0
    for path, entry in options_of(stage.spec()):
        for value in wrong_values(entry):
            done = stage.run(stage.wrong(path, value))
            assert is_sentence(done) and not done.get("changed"), f"{'.'.join(path)}: {value!r}: {done}"
            tried += 1
    for done in (stage.run({**stage.right, "colour": "blue"}), *(
            stage.run({key: value for key, value in stage.right.items() if key != name}) for name, entry in stage.spec().items() if entry.get("required"))):
        assert is_sentence(done)
    assert stage.files() == before and tried > 2


# wrong by what they mean

NAMES = ("", " ", "disk1", "iqn.2026-11.org.example:two words", "iqn." + "a" * 230, "iqn.2026-11.org.example:\n")
PORTALS = [[text] for text in (
    "", "192.0.2.1:0", "192.0.2.1:99999", "192.0.2.1:3260,70000", "192.0.2.1:3260,-2", "[::1", "[::1]x", "192.0.2.1:a", "a b", "a/b")]
IFACES = [[""], ["a" * 65], ["a/b"], ["a b"], ["no-such-iface"]]
RECORDS = [{"node.colour": 1}, {"": 1}, {"node.session.timeo.replacement_timeout": "abc"}, {"node.session.timeo.replacement_timeout": 2**40},
           {"node.startup": "sometimes"}, {"node.session.auth.password": "a\nb"}, {"node.name": "iqn.2026-11.org.example:x"}]
SECRETS = ("", "a" * 256, " a", "a\nb")
TIMES = [0, -1, 3601, "nan"]
PLACES = ["", "etc", "/nonexistent", "\0"]
#: what no option of that name can mean, though its type is right
MEANINGLESS: t.Dict[str, t.Sequence[t.Tuple[str, t.Sequence[t.Any]]]] = {
    "iscsi_config": [
        ("settings", [*RECORDS[:5], {"iface.mtu": 1}]), ("initiator_name", NAMES), ("initiator_alias", ["a" * 224, " a", "a\nb"]), ("timeout", TIMES),
        ("root", PLACES)],
    "iscsi_db": [("root", PLACES)],
    "iscsi_discovery": [
        ("portals", PORTALS), ("targets", [[]]), ("networks", [[], ["a"], ["192.0.2.0/33"], ["192.0.2.1/24/8"]]), ("ifaces", [[], *IFACES]),
        ("settings", RECORDS),
        ("discovery_settings", [{"node.startup": "manual"}, {"discovery.sendtargets.timeo.login_timeout": "abc"}]),
        ("initiator_name", NAMES),
        ("auth.username", SECRETS), ("auth.password", SECRETS), ("auth.username_in", SECRETS), ("auth.password_in", [*SECRETS, AUTH["password"]]),
        ("timeout", TIMES), ("root", PLACES)],
    "iscsi_iface": [
        ("name", ["", "default", "iser", "a" * 65, "a/b", "a b", "a,b", "..", "\0"]),
        ("settings", [{"iface.colour": 1}, {"node.startup": "manual"}, {"iface.mtu": "abc"}, {"iface.hwaddress": "00:11"}, {"iface.ipaddress": "1.2"},
                      {"iface.net_ifacename": "a b"}]),
        ("ping.address", ["", "a", "192.0.2.999"]), ("ping.count", [0, -1, 1001]), ("ping.size", [-1, 2**40]), ("ping.interval", [-1, 61]),
        ("timeout", TIMES), ("root", PLACES)],
    "iscsi_node": [
        ("nodes.target", NAMES), ("nodes.portals", [[], *PORTALS]), ("nodes.ifaces", [[], *IFACES]), ("nr_sessions", [0, -1, 2**40]),
        ("settings", RECORDS), ("auth.username", SECRETS), ("auth.password", SECRETS), ("auth.username_in", SECRETS),
        ("auth.password_in", [*SECRETS, AUTH["password"]]), ("timeout", TIMES), ("root", PLACES)],
    "iscsi_firmware_info": [("secrets", [True])],
    "iscsi_host": [
        ("host", ["", "7", "12", "00:00:00:00:00:00", "eth0"]), ("chap", [[{}], [{"username": "u"}], [{"password": "x"}]]), ("chap.index", [-1, 2048]),
        ("chap.username", ["a\nb", " a"]), ("chap.password", ["", "a" * 256, " a"]), ("flash_nodes.target", NAMES),
        ("flash_nodes.portal", ["", "array.example.org", "192.0.2.1:0"]), ("flash_nodes.index", [-1, 99]),
        ("flash_nodes.settings", [{"flashnode.colour": 1}, {"flashnode.session.tpgt": "abc"}, {"": 1}]), ("timeout", TIMES)],
    "iscsi_host_info": [("hosts", [["7"], [""], ["eth0"]])],
    "iscsi_session": [
        ("sids", [[-1]]), ("targets", [[""], ["a\nb"], ['a"b']]), ("disk_settings", [{}]), ("disk_settings.timeout", [-1, 2**40]),
        ("disk_settings.max_retries", [-2, 6]), ("disk_settings.queue_depth", [0, -1, 2**40]), ("timeout", TIMES)],
    "iscsi_session_info": [],
    "lio_target": [
        ("name", NAMES), ("backstores.name", ["", "a/b", "a b"]), ("backstores.type", ["", "floppy"]), ("backstores.path", ["", "relative"]),
        ("backstores.size", ["", "1XiB", "-1MiB", "0"]), ("backstores.wwn", ["\n", "a" * 300]), ("backstores.attributes", [{"a/b": 1}, {"": 1}]),
        ("backstores.alua_groups.name", ["", "a/b"]), ("backstores.alua_groups.id", [-1, 2**20]), ("portal_groups.tag", [-1, 2**20]),
        ("portal_groups.portals", [["192.0.2.1:0"], ["a b"], ["host.example.org"]]), ("portal_groups.luns.lun", [-1, 2**20]),
        ("portal_groups.luns.backstore", ["", "none"]), ("portal_groups.luns.alua_group", ["none"]), ("portal_groups.attributes", [{"a/b": 1}]),
        ("portal_groups.parameters", [{"a/b": 1}]), ("acls.initiator", NAMES), ("acls.tags", [[9]]), ("acls.luns.lun", [-1, 9]),
        ("save_file", ["relative", "/a\0b"])],
    "lvm_activation": [
        ("volumes", [[""], ["a b"], ["a/b/c"], ["xenGuests/"], ["/dev/sda"], ["no-such-group"], ["-a"]]),
        ("devices", [["relative"], [""]]), ("timeout", TIMES)],
    "multipath_conf": [
        ("path", ["", "/etc/passwd", "relative"]), ("defaults", [{"colour": "blue"}, {"polling_interval": "soon"}, {"user_friendly_names": "a\nb"}]),
        ("overrides", [{"colour": "blue"}]), ("protocols", [[{"colour": "blue"}]]),
        ("devices", [[{"product": "x"}], [{"vendor": "x", "colour": "blue"}], [{}]]),
        ("multipaths", [[{"alias": "x"}], [{"wwid": "a b\n"}]]), ("blacklist.devnode", [["["], ["a\nb"]]), ("blacklist.wwid", [["a\nb"]]),
        ("wwids", [[""], ["a b"], ["a/b"]]), ("timeout", TIMES)],
    "multipath_info": [("wait_for.paths", [-1]), ("wait_for.groups", [-1]), ("timeout", TIMES)],
    "tgt_target": [
        ("name", ["", "a b", "a\nb"]), ("luns.lun", [-1, 0, 2**20]), ("luns.backing_store", ["", "relative", "a\nb"]), ("luns.bs_type", ["floppy"]),
        ("luns.block_size", [0, 513, -1]), ("luns.size", ["", "1XiB", "-1MiB"]), ("luns.vendor", ["a" * 9, "\n"]), ("luns.product", ["a" * 17]),
        ("luns.revision", ["a" * 5]), ("luns.scsi_id", ["a" * 300]), ("allow.addresses", [["192.0.2.0/33"], [""], ["a b"]]),
        ("allow.initiators", [[""], ["a b"]]),
        ("accounts.incoming.username", ["", "a b", "a\nb"]), ("accounts.incoming.password", ["", "a b", "a\nb"]), ("accounts.outgoing.password", [""]),
        ("parameters", [{"Colour": 1}, {"": 1}, {"MaxConnections": "a\nb"}]), ("nop_interval", [-1]), ("nop_count", [-1]),
        ("portals", [["a b"], ["192.0.2.1:0"]]),
        ("control_port", [-1, 2**20]), ("save_folder", ["relative", "/a\0b"])],
}


def test_what_means_nothing(stage: Stage) -> None:
    wrong = []
    for name, values in MEANINGLESS[stage.name]:
        for value in values:
            before = stage.files()
            done = stage.run(stage.wrong(tuple(name.split(".")), value))
            if not is_sentence(done) or stage.files() != before:
                wrong.append((name, value))
    assert not wrong, "\n".join(map(repr, wrong))


# wrong by what they say


HOSTILE = ("", " ", "\0", "a\0b", "\n", "a\nb = c", "../../x", "/", "\udc80", "é", "a" * 5000, "%s%n{}", "$HOME", "`id`", "-1", "1e999", "nan", "'", '"',
           "{", "[", "]", "[::1", "::1", "[fe80::1%]:3260", "192.0.2.1:0", "192.0.2.1:99999", "192.0.2.1:3260,-1", "192.0.2.1:3260,70000", "192.0.2.999",
           "192.0.2.0/33", "iqn.", "iqn.2026-11.org.example:UP er", "default", "iser", "1XiB", "-1MiB", "yes", "none", "*")
SETTINGS = ("node.startup", "node.session.timeo.replacement_timeout", "node.session.auth.password", "iface.mtu", "iface.net_ifacename", "polling_interval",
            "discovery.sendtargets.discoveryd_poll_inval", "MaxConnections", "vendor", "wwid", "colour", "", "\n")
_plain = st.one_of(st.none(), st.booleans(), st.integers(-2, 2**70), st.floats(), st.sampled_from(HOSTILE), st.text(max_size=20))
_nested = st.one_of(_plain, st.lists(_plain, max_size=3), st.dictionaries(st.sampled_from(SETTINGS), _plain, max_size=3))
anything = st.one_of(_nested, st.lists(_nested, max_size=2))
#: a task that waits for something would do so
times: st.SearchStrategy[t.Any] = st.sampled_from([0, -1, 0.01, 3601, 1e12, "nan", "inf", "soon", "", None, [1], {}])
#: none of these is this machine
roots: st.SearchStrategy[t.Any] = st.sampled_from(["", " ", "relative", "/nonexistent", "\0", "/x\0y", "/\udc80", 5, ["/nonexistent"], {}, "/" + "a" * 5000])


def test_whatever_is_given_is_done_or_refused_in_a_sentence(stage: Stage) -> None:
    paths = [path for path, _entry in options_of(stage.spec())]
    before, pristine = stage.files(), stage.folder.with_name(stage.folder.name + "-pristine")
    shutil.copytree(stage.folder, pristine, symlinks=True)

    @given(st.data())
    def check(data: st.DataObject) -> None:
        options: t.Optional[Options] = None
        for path in data.draw(st.lists(st.sampled_from(paths), min_size=1, max_size=3), label="options"):
            value = data.draw(times if "timeout" in path[-1] else roots if path == ("root",) else anything, label="value")
            with contextlib.suppress(TypeError, IndexError, AttributeError):  # what is around it is wrong itself by now
                options = stage.wrong(path, value, options)
        options = stage.right if options is None else options
        done = stage.run(options, check=stage.bounded or options.get("root") != stage.right.get("root"))
        after = stage.files()
        if done.get("failed"):
            assert is_sentence(done), done
        if done.get("failed") or not done["changed"] or stage.bounded:
            assert after == before, {path: (before.get(path), after.get(path)) for path in {*before, *after} if before.get(path) != after.get(path)}
        else:
            shutil.rmtree(stage.folder)
            shutil.copytree(pristine, stage.folder, symlinks=True)

    check()
