# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module tgt_target where others work on tgtd too, where it is killed or tgtd is, and where secrets go."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import shlex
import socket
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InputError, IscsiError
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_control import Control, Request
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_model import Target
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_portals import parse_portals, portal_steps
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_saved import render
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_steps import Service
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.tgt_wanted import parse_wanted

if t.TYPE_CHECKING:
    from .conftest import Gateway

NAME = "iqn.2013-10.com.example:disk3"
HOST1 = "iqn.2026-11.org.example:host1"
LOCAL = {"addresses": ["127.0.0.1"]}
Options = t.Dict[str, t.Any]


def accounts(secret: str, *others: str) -> Options:
    return {"incoming": [{"username": "anna", "password": secret}, *({"username": user, "password": f"secret-of-{user}"} for user in others)]}


def test_what_was_changed_by_hand_is_set_right_in_place(gateway: Gateway) -> None:
    options: Options = {
        "luns": [{"lun": 1, "backing_store": gateway.image(), "readonly": False, "vendor": "LUNAR"}], "allow": LOCAL, "parameters": {"MaxBurstLength": 65536},
        "accounts": accounts("secret-of-anna", "bert"), "nop_interval": 5}
    gateway.run(**options)
    before = gateway.state()
    with gateway.session("anna%secret-of-anna") as sid:
        adm = gateway.tgt.adm
        adm("--op", "unbind", "--mode", "account", "--tid", "1", "--user", "bert")
        adm("--op", "unbind", "--mode", "target", "--tid", "1", "-I", "127.0.0.1")
        adm("--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL")
        adm("--op", "update", "--mode", "target", "--tid", "1", "--name", "MaxBurstLength", "--value", "512")
        adm("--op", "update", "--mode", "target", "--tid", "1", "--name", "state", "--value", "offline")
        adm("--op", "update", "--mode", "target", "--tid", "1", "--name", "nop_interval", "--value", "0")
        adm("--op", "update", "--mode", "logicalunit", "--tid", "1", "--lun", "1", "--params", "readonly=1")
        result = gateway.run(**options)
        assert len(result["steps"]) == 7, result["steps"]
        assert gateway.sids() == [sid]
        assert gateway.accounts() == ["anna", "bert"] and gateway.acl() == ["127.0.0.1"]
    until = time.monotonic() + 5
    while gateway.state() != before and time.monotonic() < until:  # until the session is gone
        time.sleep(0.05)
    assert gateway.state() == before


def test_a_target_made_by_hand_is_taken_over(gateway: Gateway) -> None:
    image = gateway.image()
    gateway.tgt.add_target(NAME, luns=[gateway.images / "disk3"], accounts={"anna": "secret-by-hand"}, settings={"MaxBurstLength": "65536"})
    gateway.tgt.adm("--op", "update", "--mode", "logicalunit", "--tid", "1", "--lun", "1", "--params", "scsi_id=6123456789abcdef,removable=1")
    before = gateway.show()
    lun: Options = {"lun": 1, "backing_store": image}
    with pytest.raises(HostError, match="whose secret tgtd does not tell"):
        gateway.run(luns=[lun])
    assert gateway.show() == before and not list(gateway.conf.iterdir())
    assert gateway.lets_in(account="anna%secret-by-hand")
    result = gateway.run(luns=[lun], accounts=accounts("secret-of-anna"))
    assert gateway.show() == before and [step.partition(" ")[0] for step in result["steps"]] == ["narrow", "set", "set", "save"]
    assert gateway.lets_in(account="anna%secret-of-anna") and not gateway.lets_in(account="anna%secret-by-hand")
    gateway.boot()
    assert gateway.show() == before
    assert not gateway.run(luns=[lun])["changed"]


def test_tasks_at_the_same_moment(gateway: Gateway) -> None:
    names = [f"iqn.2026-11.org.example:disk{number}" for number in range(4)]
    modules = [gateway.start(name=name, luns=[{"lun": 1, "backing_store": gateway.image(name[-5:])}], allow=LOCAL) for name in names]
    for module in modules:
        output, errors = module.communicate(timeout=60)
        assert '"changed": true' in output and '"failed"' not in output, (output, errors)
    assert sorted(line.split(": ")[1] for line in gateway.show().splitlines() if line.startswith("Target ")) == names
    for name in names:
        assert not gateway.run(name=name, luns=[{"lun": 1, "backing_store": str(gateway.images / name[-5:])}], allow=LOCAL)["changed"]
        assert gateway.lets_in(name=name)


def test_killed_anywhere_in_the_middle(gateway: Gateway) -> None:
    """Old and new secret, with and without them in the task that comes after; nobody gets in without one at any time."""
    luns = [{"lun": 1, "backing_store": gateway.image()}]
    dice = random.Random(20261121)
    killed = secret = 0
    while True:
        gateway.run(luns=luns, allow=LOCAL, accounts=accounts(f"secret-number-{secret}", "bert"))
        left = killed
        options: Options = {"luns": luns, "allow": LOCAL, "accounts": accounts(f"secret-number-{secret + 1}", "bert")}
        ended = not gateway.killed(left, **options)
        assert not gateway.lets_in(), f"open after {left} requests"
        if ended:
            break
        killed += 1
        after = dice.choice([secret, secret + 1, None])
        given: Options = {"accounts": accounts(f"secret-number-{after}", "bert")} if after is not None else {}
        gateway.run(**given)
        assert not gateway.run(**given)["changed"]
        expected = secret + 1 if after is None else after  # what was begun is completed
        assert gateway.lets_in(account=f"anna%secret-number-{expected}") and not gateway.lets_in()
        assert gateway.lets_in(account="bert%secret-of-bert")
        assert f"secret-number-{expected}'" in (gateway.conf / f"{NAME}.conf").read_text()
        secret += 2
        gateway.run(luns=luns, allow=LOCAL, accounts=accounts(f"secret-number-{secret}", "bert"))
    assert killed >= 8, f"only {killed} places to be killed at; the test proves little"


class Mortal(Control):
    """tgtd is killed after so many requests."""

    def __init__(self, gateway: Gateway, left: int, port: int) -> None:
        super().__init__(port)
        self.gateway, self.left = gateway, left

    def ask(self, request: Request, patience: float = 30.0) -> str:
        if request.op != "show":
            self.left -= 1
            if self.left < 0:
                self.gateway.tgt.stop()
        return super().ask(request, patience)


def test_tgtd_dies_in_the_middle(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    options: Options = {"luns": [{"lun": 1, "backing_store": gateway.image()}], "allow": LOCAL, "accounts": accounts("secret-of-anna")}
    for left in (0, 1, 3, 5):
        gateway.tgt.restart()
        with monkeypatch.context() as patched:
            patched.setattr(f"{type(gateway).__module__}.Control", functools.partial(Mortal, gateway, left))
            with pytest.raises(IscsiError, match="tgtd"):
                gateway.run(**options)
        gateway.tgt.restart()
        assert gateway.run(**options)["changed"]
        assert gateway.lets_in(account="anna%secret-of-anna") and not gateway.lets_in()
        gateway.run(state="absent")


def test_the_first_of_two_accounts_goes(gateway: Gateway) -> None:
    gateway.run(luns=[{"lun": 1, "backing_store": gateway.image()}], allow=LOCAL, accounts=accounts("secret-of-anna", "bert", "cleo"))
    bert = [{"username": user, "password": f"secret-of-{user}"} for user in ("bert", "cleo")]
    gateway.run(accounts={"incoming": bert})
    assert gateway.tgt.alive() and gateway.accounts() == ["bert", "cleo"]
    assert gateway.lets_in(account="bert%secret-of-bert") and not gateway.lets_in(account="anna%secret-of-anna")
    # by hand, the same ends tgtd with its next look at it
    gateway.tgt.adm("--op", "unbind", "--mode", "account", "--tid", "1", "--user", "bert")
    with contextlib.suppress(subprocess.CalledProcessError):
        gateway.show()
    until = time.monotonic() + 5
    while gateway.tgt.alive() and time.monotonic() < until:
        time.sleep(0.02)
    assert not gateway.tgt.alive(), "tgtd survives it; then the order of the module is no longer needed"
    gateway.boot()
    assert gateway.accounts() == ["bert", "cleo"]


def test_an_account_of_several_targets(gateway: Gateway) -> None:
    other = "iqn.2026-11.org.example:other"
    targets: t.List[Options] = [{"name": name, "luns": [{"lun": 1, "backing_store": gateway.image(name[-5:])}], "allow": LOCAL,
                                 "accounts": accounts("secret-of-anna")} for name in (NAME, other)]
    gateway.run(targets=targets)
    before = gateway.state()
    with pytest.raises(InputError, match="name all its targets in one task"):
        gateway.run(accounts=accounts("another-secret"))
    assert gateway.state() == before
    gateway.run(targets=[dict(targets[0], accounts=accounts("another-secret")), {"name": other}])
    for name in (NAME, other):
        assert gateway.lets_in(account="anna%another-secret", name=name) and not gateway.lets_in(account="anna%secret-of-anna", name=name)
    # it moves from one target to a new one, and is not lost on the way
    third = "iqn.2026-11.org.example:third"
    gateway.run(targets=[{"name": NAME, "accounts": {}}, {"name": other, "accounts": {}}, dict(targets[0], name=third, luns=[
        {"lun": 1, "backing_store": gateway.image("third")}], accounts=accounts("another-secret"))])
    assert gateway.lets_in(account="anna%another-secret", name=third) and not gateway.lets_in(name=third) and gateway.lets_in()


def test_accounts_go_with_their_last_target(gateway: Gateway) -> None:
    other = "iqn.2026-11.org.example:other"
    gateway.run(targets=[{"name": NAME, "accounts": accounts("secret-of-anna", "bert")}, {"name": other, "accounts": accounts("secret-of-anna")}])
    gateway.run(state="absent")
    assert gateway.tgt.adm("--op", "show", "--mode", "account").split() == ["Account", "list:", "anna"]
    gateway.run(name=other, state="absent")
    assert "anna" not in gateway.tgt.adm("--op", "show", "--mode", "account")
    assert not gateway.run(name=other, state="absent")["changed"]


def test_nothing_saved(gateway: Gateway) -> None:
    options: Options = {"luns": [{"lun": 1, "backing_store": gateway.image(), "vendor": "LUNAR", "write_cache": False}], "allow": LOCAL, "save": False}
    gateway.run(**options, accounts=accounts("secret-of-anna"))
    assert not gateway.run(**options, accounts=accounts("secret-of-anna"))["changed"]
    assert not list(gateway.conf.iterdir())
    (note,) = (gateway.folder / "notes").glob("*/*")
    assert note.stat().st_mode & 0o777 == 0o600
    assert gateway.run(**options, accounts=accounts("new-secret-of-anna"))["changed"]
    assert gateway.lets_in(account="anna%new-secret-of-anna") and not gateway.lets_in(account="anna%secret-of-anna")
    gateway.tgt.restart()
    assert gateway.run(**options, accounts=accounts("secret-of-anna"))["changed"]
    assert gateway.lets_in(account="anna%secret-of-anna")
    assert len(list((gateway.folder / "notes").rglob("*"))) == 2, "notes of a tgtd that is gone are left"


def test_what_was_let_in_by_hand(gateway: Gateway) -> None:
    gateway.tgt.add_target(NAME, luns=[], allow="")
    for word, what in (("-I", "host1"), ("-Q", "host2"), ("-I", "[fd00::1]"), ("-Q", HOST1), ("-I", "ALL")):
        gateway.tgt.adm("--op", "bind", "--mode", "target", "--tid", "1", word, what)
    kept = gateway.run()
    assert gateway.acl() == ["host1", "[fd00::1]", "ALL", "host2", HOST1] and not any("log in" in step for step in kept["steps"])
    gateway.run(allow={"initiators": [HOST1]})
    assert gateway.acl() == [HOST1]


def test_pings_of_tgtd_itself_stay(gateway: Gateway) -> None:
    gateway.run(luns=[{"lun": 1, "backing_store": gateway.image()}])
    assert "Nop interval" not in gateway.show()
    gateway.run(nop_interval=7)
    assert "        Nop interval: 7\n        Nop count: 0\n" in gateway.show()
    assert gateway.run(nop_interval=7, nop_count=3)["changed"] and "        Nop count: 3\n" in gateway.show()
    gateway.run(nop_interval=0, nop_count=3)
    assert "Nop interval" not in gateway.show()
    assert not gateway.run(nop_interval=0, nop_count=5)["changed"]


PERL = """
use Config::General qw(ParseConfig);
my %conf = ParseConfig(-ConfigFile => $ARGV[0], -UseApacheInclude => 1, -IncludeDirectories => 1, -IncludeGlob => 1, -MergeDuplicateBlocks => 1);
foreach my $line (@{$conf{"target"}{$ARGV[1]}{"incominguser"}}) {
    my @userpass = split(/ /, $line);
    system("printf '%s\\\\0' --user=$userpass[0] --password=$userpass[1]");
}
"""


def test_secrets_come_back_as_they_were(gateway: Gateway) -> None:
    """Every secret that is accepted survives tgt's configuration and the shell, as its script does it; what would not is refused."""
    dice = random.Random(20261121)
    letters = [chr(number) for number in range(33, 127)]
    drawn = ["".join(dice.choice(letters) for _letter in range(dice.randrange(1, 30))) for _number in range(700)]
    drawn += [f"a{first}{second}b" for first in "<*/=$`\"%&;|(-~" for second in "<*/=$`\"%&;|(-~"]
    secrets: t.Dict[str, str] = {}
    for number, secret in enumerate(drawn):
        option = {"incoming": [{"username": f"user{number}", "password": secret}]}
        try:
            parse_wanted({"name": NAME, "accounts": option})
        except InputError as error:
            assert any(word in secret for word in ("#", "'", "\\", "<<", "*/")), error
            assert secret not in str(error) or len(secret) < 3
            continue
        secrets[f"user{number}"] = secret
    assert len(secrets) > 400
    path = gateway.folder / "secrets.conf"
    path.write_text(render(Target(NAME, incoming=tuple(secrets), secrets=secrets)))
    text = subprocess.run(["perl", "-e", PERL, str(path), NAME], check=True, capture_output=True, text=True, timeout=60).stdout
    words = text.split("\0")[:-1]
    assert dict(zip((word[len("--user="):] for word in words[::2]), (word[len("--password="):] for word in words[1::2]))) == secrets


def test_without_a_tgtd(gateway: Gateway) -> None:
    gateway.tgt.stop()
    with pytest.raises(HostError, match=f"does not run on this host with the control port {gateway.tgt.control}"):
        gateway.run(luns=[{"lun": 1, "backing_store": gateway.image()}])


def test_a_session_that_may_not_be_any_more_is_named(gateway: Gateway) -> None:
    gateway.run(luns=[{"lun": 1, "backing_store": gateway.image()}], allow=LOCAL)
    with gateway.session() as sid:
        result = gateway.run(allow={"addresses": ["192.0.2.1"]})
        assert [problem["object"] for problem in result["problems"]] == [f"session {sid} of {HOST1} from 127.0.0.1"]
        assert gateway.sids() == [sid] and not gateway.lets_in()


def test_portals_come_and_go_under_a_session(gateway: Gateway) -> None:
    gateway.run(luns=[{"lun": 1, "backing_store": gateway.image()}], allow=LOCAL)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        other = f"127.0.0.1:{probe.getsockname()[1]}"

    with gateway.session() as sid:
        for portals in ([gateway.tgt.portal, other], [other]):
            assert gateway.run(portals=portals)["changed"]
            assert portals_of(gateway) == sorted(portals)
            assert gateway.sids() == [sid]
            assert not gateway.run(portals=portals)["changed"]
    assert not gateway.lets_in()
    assert subprocess.run(["iscsi-inq", f"iscsi://{other}/{NAME}/1"], check=False, capture_output=True, timeout=20).returncode == 0
    before = portals_of(gateway)
    with pytest.raises(HostError, match="cannot be listened on"):
        gateway.run(portals=["192.0.2.77:3260"])
    assert portals_of(gateway) == before


def portals_of(gateway: Gateway) -> t.List[str]:
    """Where tgtd listens."""
    return sorted(line.split(": ")[1].rpartition(",")[0] for line in gateway.tgt.adm("--op", "show", "--mode", "portal").splitlines())


def every_address(gateway: Gateway) -> str:
    """tgtd as after installation: it listens on all addresses. The portal."""
    every = f"0.0.0.0:{gateway.tgt.port}"
    gateway.tgt.adm("--op", "delete", "--mode", "portal", "--param", f"portal={gateway.tgt.portal}")
    gateway.tgt.adm("--op", "new", "--mode", "portal", "--param", f"portal={every}")
    return every


def test_a_port_that_another_has(gateway: Gateway) -> None:
    gateway.run(luns=[{"lun": 1, "backing_store": gateway.image()}], allow=LOCAL)
    every = every_address(gateway)
    with socket.create_server(("127.0.0.1", 0)) as taken, gateway.session() as sid:
        with pytest.raises(HostError, match="cannot be listened on: Address already in use") as caught:
            gateway.run(portals=["127.0.0.2:3261", f"127.0.0.1:{taken.getsockname()[1]}"])
        assert "ss -ltn" in caught.value.remedy
        assert portals_of(gateway) == [every] and gateway.sids() == [sid]


def test_what_tgtd_let_go_of_is_taken_again(gateway: Gateway) -> None:
    """To listen on every address it lets go of the one that it has; another program has the port on a third, which only tgtd finds out."""
    gateway.run(luns=[{"lun": 1, "backing_store": gateway.image()}], allow=LOCAL)
    with socket.create_server(("127.0.0.2", gateway.tgt.port)), gateway.session() as sid:
        with pytest.raises(HostError, match="does not accept the request"):
            gateway.run(portals=[f"0.0.0.0:{gateway.tgt.port}", "127.0.0.3:3261"])
        assert portals_of(gateway) == [gateway.tgt.portal] and gateway.sids() == [sid]
    assert gateway.lets_in()


def test_one_address_of_all_at_the_same_port(gateway: Gateway) -> None:
    gateway.run(luns=[{"lun": 1, "backing_store": gateway.image()}], allow=LOCAL)
    every = every_address(gateway)
    with gateway.session() as sid:
        for portals in ([gateway.tgt.portal], [every]):
            assert gateway.run(portals=portals)["changed"] and not gateway.run(portals=portals)["changed"]
            assert portals_of(gateway) == portals and gateway.sids() == [sid] and gateway.lets_in()


@pytest.mark.parametrize("addresses, by_itself, afterwards", [
    (["192.0.2.77"], ["0.0.0.0:3260", "[::]:3260"], []), (["127.0.0.2", "192.0.2.77"], ["127.0.0.2:3260"], ["127.0.0.2:3260"]),
], ids=["alone", "beside another"])  # fmt: skip
def test_an_address_that_is_missing_at_boot(tmp_path: Path, addresses: t.List[str], by_itself: t.List[str], afterwards: t.List[str]) -> None:
    """On a host without a network, as systemd would start it: tgtd would listen on every address."""
    step = portal_steps(parse_portals(addresses), (), Service("tgtd -f", "/drop-in"))[-1]
    settings = [line.partition("=") for line in str(step.after).splitlines()]
    (start,) = [command for key, _equals, command in settings if key == "ExecStart" and command]
    environment = dict(os.environ, TGT_IPC_SOCKET=str(tmp_path / "socket"))
    log = (tmp_path / "log").open("wb")
    tgtd = subprocess.Popen(["unshare", "--net", "sh", "-c", f"ip link set lo up && exec {start}"], env=environment, stdin=subprocess.DEVNULL,
                            stdout=log, stderr=log)
    inside = ["nsenter", "-t", str(tgtd.pid), "-n"]

    def shown() -> t.List[str]:
        show = ["tgtadm", "--lld", "iscsi", "--op", "show", "--mode", "portal"]
        text = subprocess.run(show, env=environment, check=False, capture_output=True, text=True, timeout=20).stdout
        return sorted(line.split(": ")[1].rpartition(",")[0] for line in text.splitlines())

    def go_on() -> None:
        """What systemd starts after it."""
        for command in (command for key, _equals, command in settings if key == "ExecStartPost"):
            subprocess.run([*inside, *shlex.split(command.lstrip("-"))], env=environment, check=not command.startswith("-"), capture_output=True, timeout=20)

    try:
        until = time.monotonic() + 10
        while not shown() and time.monotonic() < until:
            time.sleep(0.05)
        assert shown() == by_itself
        go_on()
        assert shown() == afterwards
        subprocess.run([*inside, "ip", "address", "add", "192.0.2.77/32", "dev", "lo"], check=True, timeout=20)
        go_on()
        assert shown() == sorted(f"{address}:3260" for address in addresses)
    finally:
        tgtd.kill()
        tgtd.wait(timeout=10)
        log.close()
