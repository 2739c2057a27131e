# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The protocol core against a real tgtd, with libiscsi's ``iscsi-ls`` as a second opinion."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
import typing as t

import pytest
from ansible_collections.lunar.iscsi.plugins.module_utils._host.sockets import Job, Outcome, UnreachableError, run_jobs
from ansible_collections.lunar.iscsi.plugins.module_utils._names import Portal, parse_portal
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.errors import AuthenticationError, DroppedError, LoginRefusedError, ProtocolError
from ansible_collections.lunar.iscsi.plugins.module_utils._protocol.exchanges import (
    Auth, DiscoveredTarget, DiscoveryExchange, LoginCheckExchange, LoginOptions)

ME = "iqn.2026-11.org.example:me"
DISK = "iqn.2026-11.org.example:disk"
SECRET, SECRET_OUT = "initiator-secret", "target-secret-1"


class Tgt(t.Protocol):
    """The part of the fixture that is used here; see conftest.py."""

    portal: str
    port: int

    def adm(self, *args: str) -> str: ...

    def add_portal6(self) -> str: ...

    def add_target(self, name: str, **settings: t.Any) -> int: ...

    def demand_discovery_auth(self, user: str, secret: str, outgoing: t.Optional[t.Tuple[str, str]] = None) -> None: ...


def discover(portal: str, send_targets: str = "All", **fields: t.Any) -> Outcome:
    job = Job(parse_portal(portal), lambda: DiscoveryExchange(LoginOptions(ME, **fields), send_targets=send_targets))
    return run_jobs([job], connect_timeout=3, timeout=10)[0]


def log_in(portal: str, target: str = DISK, **fields: t.Any) -> Outcome:
    job = Job(parse_portal(portal), lambda: LoginCheckExchange(LoginOptions(ME, target=target, **fields)))
    return run_jobs([job], connect_timeout=3, timeout=10)[0]


def found(outcome: Outcome) -> t.Tuple[DiscoveredTarget, ...]:
    assert outcome.error is None, outcome.error
    assert isinstance(outcome.exchange, DiscoveryExchange)
    return outcome.exchange.result


def agreed(outcome: Outcome) -> t.Mapping[str, str]:
    assert outcome.error is None, outcome.error
    assert isinstance(outcome.exchange, LoginCheckExchange)
    return outcome.exchange.result


def iscsi_ls(portal: str) -> t.List[t.Tuple[str, str]]:
    """Names and portals as libiscsi sees them."""
    if shutil.which("iscsi-ls") is None:
        pytest.fail("the witness is missing: install libiscsi-bin")
    said = subprocess.run(["iscsi-ls", f"iscsi://{portal}"], check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout
    return re.findall(r"^Target:(\S+) Portal:(\S+)$", said, re.MULTILINE)


@pytest.mark.parametrize("number", [1, 500])
def test_discovery_finds_what_libiscsi_finds(tgt: Tgt, number: int) -> None:
    for count in range(number):
        tgt.add_target(f"{DISK}-{count}-with-a-name-that-makes-the-answer-long")
    ours = [(target.name, str(portal)) for target in found(discover(tgt.portal)) for portal in target.portals]
    assert len(ours) == number
    assert sorted(ours) == sorted(iscsi_ls(tgt.portal))  # libiscsi turns the order round


def test_a_portal_without_targets(tgt: Tgt) -> None:
    error = discover(tgt.portal).error  # tgtd closes the connection as long as it has no target at all
    assert isinstance(error, DroppedError) and f"portal {tgt.portal}: closed the connection during the login" in str(error)
    tgt.add_target(DISK, allow="192.0.2.1")
    assert found(discover(tgt.portal)) == ()


def test_discovery_of_one_target(tgt: Tgt) -> None:
    for count in range(3):
        tgt.add_target(f"{DISK}{count}")
    assert found(discover(tgt.portal, f"{DISK}1")) == (DiscoveredTarget(f"{DISK}1", (Portal("127.0.0.1", tgt.port, 1),)),)
    assert found(discover(tgt.portal, f"{DISK}7")) == ()


def test_ipv6(tgt: Tgt) -> None:
    tgt.add_target(DISK)
    portal = tgt.add_portal6()
    assert found(discover(portal)) == (DiscoveredTarget(DISK, (Portal("::1", tgt.port, 1),)),)
    assert agreed(log_in(portal))["TargetPortalGroupTag"] == "1"


def test_host_name(tgt: Tgt) -> None:
    tgt.add_target(DISK)
    assert len(found(discover(f"localhost:{tgt.port}"))) == 1


@pytest.mark.parametrize("fields", [
    pytest.param({}, id="as usual"),
    pytest.param({"algorithms": ("MD5",)}, id="MD5 alone"),
])
def test_discovery_with_chap(tgt: Tgt, fields: t.Dict[str, t.Any]) -> None:
    tgt.add_target(DISK)
    tgt.demand_discovery_auth("disc", SECRET, ("back", SECRET_OUT))
    assert len(found(discover(tgt.portal, auth=Auth("disc", SECRET, **fields)))) == 1
    assert len(found(discover(tgt.portal, auth=Auth("disc", SECRET, "back", SECRET_OUT, **fields)))) == 1


@pytest.mark.parametrize(("auth", "error"), [
    pytest.param(None, LoginRefusedError, id="none"),
    pytest.param(Auth("disc", "wrong"), LoginRefusedError, id="wrong secret"),
    pytest.param(Auth("nobody", SECRET), LoginRefusedError, id="wrong name"),
    pytest.param(Auth("disc", SECRET, "back", "wrong"), AuthenticationError, id="wrong secret of the target"),
])
@pytest.mark.parametrize("errand", [pytest.param(discover, id="discovery"), pytest.param(log_in, id="login")])
def test_wrong_auth_is_said_at_once_and_in_words(
    tgt: Tgt, errand: t.Callable[..., Outcome], auth: t.Optional[Auth], error: t.Type[Exception],
) -> None:
    tgt.add_target(DISK, accounts={"disc": SECRET}, outgoing=("back", SECRET_OUT))
    tgt.demand_discovery_auth("disc", SECRET, ("back", SECRET_OUT))
    outcome = errand(tgt.portal, auth=auth)
    assert isinstance(outcome.error, error)
    assert f"portal {tgt.portal}" in str(outcome.error) and "authentication failure" in str(outcome.error)
    if error is LoginRefusedError:
        assert "(0x0201)" in str(outcome.error)
    assert SECRET not in str(outcome.error) and SECRET_OUT not in str(outcome.error)
    assert outcome.seconds < 2


@pytest.mark.parametrize("auth", [
    pytest.param(Auth("user", SECRET), id="one-way"),
    pytest.param(Auth("user", SECRET, algorithms=("MD5",)), id="one-way MD5"),
    pytest.param(Auth("user", SECRET, "back", SECRET_OUT), id="mutual"),
    pytest.param(Auth("user", SECRET, "back", SECRET_OUT, algorithms=("MD5",)), id="mutual MD5"),
])
def test_login_with_chap(tgt: Tgt, auth: Auth) -> None:
    tgt.add_target(DISK, accounts={"user": SECRET}, outgoing=("back", SECRET_OUT))
    assert agreed(log_in(tgt.portal, auth=auth))["AuthMethod"] == "CHAP"


def test_login_leaves_no_session_behind(tgt: Tgt) -> None:
    tid = str(tgt.add_target(DISK))
    assert agreed(log_in(tgt.portal))["AuthMethod"] == "None"
    until = time.monotonic() + 5
    while "Session" in tgt.adm("--op", "show", "--mode", "conn", "--tid", tid) and time.monotonic() < until:
        time.sleep(0.05)
    assert "Session" not in tgt.adm("--op", "show", "--mode", "conn", "--tid", tid)


def test_mutual_chap_is_not_given_up(tgt: Tgt) -> None:
    tgt.add_target(DISK)
    assert agreed(log_in(tgt.portal, auth=Auth("user", SECRET)))["AuthMethod"] == "None"
    assert log_in(tgt.portal, auth=Auth("user", SECRET, "back", SECRET_OUT)).error is not None


@pytest.mark.parametrize(("header", "data"), [("CRC32C", "None"), ("None", "CRC32C"), ("CRC32C", "CRC32C")])
def test_digests_the_target_insists_on(tgt: Tgt, header: str, data: str) -> None:
    tgt.add_target(DISK, settings={"HeaderDigest": header, "DataDigest": data})
    result = agreed(log_in(tgt.portal, header_digest=(header,), data_digest=(data,)))
    assert (result["HeaderDigest"], result["DataDigest"]) == (header, data)


def test_digests_the_target_does_not_do(tgt: Tgt) -> None:
    tgt.add_target(DISK)
    error = log_in(tgt.portal, header_digest=("CRC32C",)).error
    assert isinstance(error, ProtocolError) and "HeaderDigest=CRC32C" in str(error)


def test_a_target_that_is_not_there(tgt: Tgt) -> None:
    tgt.add_target(f"{DISK}-kept-from-us", allow="192.0.2.1")
    for name in (DISK, f"{DISK}-kept-from-us"):
        error = log_in(tgt.portal, name).error
        assert isinstance(error, LoginRefusedError) and "target not found (0x0203)" in str(error)


@pytest.mark.parametrize(("why", "permanent"), [("Temporary", False), ("Permanent", True)])
def test_redirect(tgt: Tgt, why: str, permanent: bool) -> None:
    with socket.socket() as elsewhere:
        # It does not listen: where we were sent to shows in the error. tgtd redirects nobody to the address he comes from.
        elsewhere.bind(("127.0.0.2", 0))
        port = elsewhere.getsockname()[1]
        tgt.add_target(DISK, settings={"RedirectAddress": "127.0.0.2", "RedirectPort": str(port), "RedirectReason": why})
        outcome = log_in(tgt.portal)
    assert outcome.redirected == (Portal("127.0.0.2", port),)
    assert outcome.redirect_permanent is permanent
    assert isinstance(outcome.error, UnreachableError) and f"portal 127.0.0.2:{port} (redirected from {tgt.portal})" in str(outcome.error)


def test_one_dead_portal_among_three(tgt: Tgt) -> None:
    tgt.add_target(DISK)
    portal6 = tgt.add_portal6()
    with socket.socket() as listener:  # takes the connection and never says a word
        listener.bind(("127.0.0.1", 0))
        listener.listen(5)
        dead = f"127.0.0.1:{listener.getsockname()[1]}"
        jobs = [Job(parse_portal(portal), lambda: DiscoveryExchange(LoginOptions(ME))) for portal in (tgt.portal, dead, portal6)]
        began = time.monotonic()
        outcomes = run_jobs(jobs, connect_timeout=1, timeout=2)
        assert time.monotonic() - began < 3
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    assert f"portal {dead}" in str(outcomes[1].error) and "timed out after 2 s" in str(outcomes[1].error)
    assert outcomes[0].seconds < 1 and outcomes[2].seconds < 1
