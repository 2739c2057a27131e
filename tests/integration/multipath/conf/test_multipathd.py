# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""multipath_conf and the real multipathd, which says itself what configuration it uses."""

from __future__ import annotations

import typing as t

import pytest

if t.TYPE_CHECKING:
    from conftest import Host, RealDaemon

TELLS = ["reconfigure multipathd"]


def interval(multipathd: RealDaemon) -> t.List[str]:
    return [line.split()[1] for line in multipathd.config() if line.startswith("\tpolling_interval ")]


@pytest.fixture
def running(host: Host, multipathd: RealDaemon) -> RealDaemon:
    host.main.write_text("defaults {\n\tpolling_interval 7\n}\n")
    multipathd.start()
    assert interval(multipathd) == ["7"]
    return multipathd


def test_it_uses_what_was_written(host: Host, running: RealDaemon) -> None:
    options: t.Dict[str, t.Any] = {
        "defaults": {"polling_interval": 8}, "overrides": {"no_path_retry": 5}, "multipaths": [{"wwid": "3600", "alias": 'a "b" \\ c'}],
        "blacklist": {"devnode": ["^sd[a-b]$"]}, "devices": [{"vendor": "A", "product": "B", "prio": "const"}]}
    assert host.module(**options)["steps"] == ["write /etc/multipath.conf", *TELLS]
    assert interval(running) == ["8"]
    used = running.config()
    assert [line for line in ("\tno_path_retry 5", '\t\talias "a ""b"" \\ c"', '\tdevnode "^sd[a-b]$"', '\t\tvendor "A"') if line not in used] == []
    assert not host.module(**options)["changed"]


def test_a_run_that_is_killed_before_it_tells_is_made_good_by_the_next(host: Host, running: RealDaemon) -> None:
    options: t.Dict[str, t.Any] = {"defaults": {"polling_interval": 8}}
    host.module_killed("-a", wwids=["3600"], **options)
    assert "polling_interval 8" in host.main.read_text() and interval(running) == ["7"]
    assert host.module(check=True, **options)["steps"] == TELLS and interval(running) == ["7"]
    assert host.module(**options)["steps"] == TELLS and interval(running) == ["8"]
    assert not host.module(**options)["changed"]
    assert list((host.root / "run").glob("*lunar*")) == []


def test_a_daemon_that_is_started_after_a_killed_run_needs_no_word(host: Host, running: RealDaemon) -> None:
    host.module_killed("-a", wwids=["3600"], defaults={"polling_interval": 8})
    running.stop()
    assert not host.module(defaults={"polling_interval": 8})["changed"]
    running.start()
    assert interval(running) == ["8"] and not host.module(defaults={"polling_interval": 8})["changed"]


def test_what_a_task_was_not_to_tell_it(host: Host, running: RealDaemon) -> None:
    assert host.module(defaults={"polling_interval": 8}, reconfigure=False)["steps"] == ["write /etc/multipath.conf"]
    assert interval(running) == ["7"]
    assert host.module(defaults={"polling_interval": 8})["steps"] == TELLS and interval(running) == ["8"]


def test_a_name_that_it_gave_to_another_map_itself(host: Host, running: RealDaemon) -> None:
    bindings = host.etc / "multipath" / "bindings"
    bindings.write_text("mpatha 3600\nmpathb 3601\n")
    options: t.Dict[str, t.Any] = {"multipaths": [{"wwid": "3602", "alias": "mpatha"}]}
    assert [(problem["object"], problem["what"]) for problem in host.module(check=True, **options)["problems"]] == [
        ("alias mpatha", "is given to 3602, and multipath itself gave it to 3600")]
    assert host.module(**options)["steps"] == ["write /etc/multipath.conf", *TELLS]
    # the witness: the daemon takes the name away from that map
    assert "mpathb 3601" in bindings.read_text() and "mpatha" not in bindings.read_text()
    assert (host.module(**options)["changed"], host.module(**options)["problems"]) == (False, [])
