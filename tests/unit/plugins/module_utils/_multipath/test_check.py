# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole files checked: what multipath -t itself prints passes, what is wrong is said with line, word and the right one."""

from __future__ import annotations

import pathlib
import time
import typing as t

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.check import check, check_all
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.document import parse
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.grammar import Problem
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.schema import release

PRINTED = pathlib.Path(__file__).parent / "fixtures" / "conf"
#: from the Ceph documentation, "The iSCSI Initiator for Red Hat Enterprise Linux": with its slip, and without a product
CEPH = b"""\
devices {
        device {
                vendor                 "LIO-ORG"
                hardware_handler       "1 alua"
                path_grouping_policy   "failover"
                path_selector          "queue-length 0"
                failback               60
                path_checker           tur
                prio                   alua
                prio_args              exclusive_pref_bit
                fast_oi_fail_tmo       25
                no_path_retry          queue
        }
}
"""
#: keywords that the multipath -t of RHEL 7 prints in its defaults, with their values
RED_HAT_7 = """
verbosity 2|polling_interval 5|max_polling_interval 20|reassign_maps "yes"|multipath_dir "/lib64/multipath"|path_selector "service-time 0"
path_grouping_policy "failover"|uid_attribute "ID_SERIAL"|prio "const"|prio_args ""|features "0"|path_checker "directio"|alias_prefix "mpath"
failback "manual"|rr_min_io 1000|rr_min_io_rq 1|max_fds 1048576|rr_weight "uniform"|queue_without_daemon "no"|flush_on_last_del "no"
user_friendly_names "yes"|fast_io_fail_tmo 5|bindings_file "/etc/multipath/bindings"|wwids_file /etc/multipath/wwids|prkeys_file /etc/multipath/prkeys
log_checker_err always|find_multipaths yes|retain_attached_hw_handler no|detect_prio no|detect_path_checker no|hw_str_match no|force_sync no
deferred_remove no|ignore_new_boot_devs no|skip_kpartx no|config_dir "/etc/multipath/conf.d"|delay_watch_checks no|delay_wait_checks no
retrigger_tries 3|retrigger_delay 10|missing_uev_wait_timeout 30|new_bindings_in_boot no|remove_retries 0|disable_changed_wwids no|unpriv_sgio no
ghost_delay no|all_tg_pt no|marginal_path_err_sample_time no|marginal_path_err_rate_threshold no|marginal_path_err_recheck_gap_time no
marginal_path_double_failed_time no"""


def problems(text: t.Union[str, bytes], at: str = "0.9.4") -> t.List[Problem]:
    return check(parse(text.encode() if isinstance(text, str) else text, "/etc/multipath.conf", release(at)))


@pytest.mark.parametrize("at, told", [("0.8.5", ["delay_watch_checks", "delay_wait_checks", "disable_changed_wwids"]),
                                      ("0.9.4", ["delay_watch_checks", "delay_wait_checks", "disable_changed_wwids"]),
                                      ("0.11.1", ["delay_watch_checks", "delay_wait_checks"])])
def test_what_multipath_prints(at: str, told: t.Sequence[str]) -> None:
    """Nothing of what a release prints about itself is refused; what it prints although it is deprecated is told."""
    found = problems((PRINTED / f"{at}.conf").read_bytes(), at)
    assert [problem.word for problem in found] == told and not any(problem.harmful for problem in found)


def test_red_hat_7() -> None:
    body = RED_HAT_7.strip().replace("|", "\n")
    device = 'device {\nvendor A\nproduct B\ndetect_path_checker yes\nretain_attached_hw_handler yes\ndev_loss_tmo "infinity"\n}'
    text = f"defaults {{\n{body}\n}}\ndevices {{\n{device}\n}}\n"
    assert [problem for problem in problems(text, "0.4.9") if problem.harmful] == []
    assert {"hw_str_match", "find_multipaths"} <= {problem.word for problem in problems(text, "0.5.0") if problem.harmful}


@pytest.mark.parametrize("at", ["0.4.9", "0.8.5", "0.9.4", "0.14.3"])
def test_ceph_document(at: str) -> None:
    slip = next(problem for problem in problems(CEPH, at) if problem.line == 11)
    assert slip.harmful and slip.word == "fast_oi_fail_tmo"
    assert slip.as_error().sentence() == ("/etc/multipath.conf, line 11: 'fast_oi_fail_tmo' is not a keyword of 'device' of 'devices'."
                                          " Did you mean 'fast_io_fail_tmo'?")


def test_ceph_document_mended() -> None:
    assert problems(CEPH.replace(b"fast_oi", b"fast_io").replace(b'"LIO-ORG"', b'"LIO-ORG"\nproduct ".*"')) == []


@pytest.mark.parametrize("text, line, word, words", [
    ("defaults {\n polling_interval banana\n}\n", 2, "banana", "'banana' as polling_interval is not allowed. Allowed is a number from 1 to 4294967294"),
    ("defaults {\n polling_interval 30\n max_polling_interval 20\n}\n", 2, "30", "polling_interval 30 is more than max_polling_interval 20"),
    ("user_friendly_names yes\n", 1, "user_friendly_names", "It belongs in 'defaults'"),
    ("defaults {\n wwid 3600\n}\n", 2, "wwid", "It belongs in 'blacklist' or 'blacklist_exceptions'"),
    ("blacklist {\n wwid \"*\"\n}\n", 2, "*", "To match everything write '.*'"),
    ("multipaths {\n multipath {\n  wwid A\n  alias x\n }\n multipath {\n  wwid B\n  alias x\n }\n}\n", 8, "x",
     "the alias 'x' is given to A already, in /etc/multipath.conf, line 4"),
    ("overrides {\n protocol {\n  type scsi:iscs\n }\n}\n", 3, "scsi:iscs", "Did you mean 'scsi:iscsi'?"),
    ("defaults {\n auto_resize grow_only\n}\n", 2, "auto_resize", "not known to multipath-tools 0.9.4 of this host. It came with 0.9.7"),
    ("devices {\n device {\n  vendor A\n  product B\n  path_grouping_policy group_by_prios\n  alias x\n }\n}\n", 6, "alias",
     "It belongs in 'multipath' of 'multipaths'"),
], ids=["number", "polling", "outside", "section", "pattern", "alias", "protocol", "newer", "wrong section"])
def test_refused(text: str, line: int, word: str, words: str) -> None:
    found = [problem for problem in problems(text) if problem.harmful]
    assert [(problem.line, problem.word) for problem in found] == [(line, word)]
    assert words in found[0].as_error().sentence()


@pytest.mark.parametrize("text", [
    "defaults {\n polling_interval 20\n max_polling_interval 20\n disable_changed_wwids yes\n}\n",
    "defaults {\n getuid_callout \"/lib/udev/scsi_id\"\n}\n",
    "defaults {\n path_grouping_policy failover2\n}\n",
])
def test_told_and_taken(text: str) -> None:
    found = problems(text)
    assert len(found) == 1 and not found[0].harmful


def test_digits_that_are_not_ascii() -> None:
    assert {problem.line for problem in problems('defaults {\n polling_interval "\u00b2"\n max_polling_interval "\u00b9"\n}\n')} == {2, 3}


def test_names_across_files() -> None:
    one = parse(b"multipaths {\n multipath {\n wwid A\n alias x\n }\n}\n", "/etc/multipath.conf", (0, 9, 4))
    two = parse(b"multipaths {\n multipath {\n wwid A\n alias y\n }\n multipath {\n wwid B\n alias x\n }\n}\n", "/etc/multipath/conf.d/b.conf", (0, 9, 4))
    assert check(one) == check(two) == []
    found = check_all([one, two])
    assert [(problem.path, problem.line, problem.word, problem.harmful) for problem in found] == [
        ("/etc/multipath/conf.d/b.conf", 2, "A", False), ("/etc/multipath/conf.d/b.conf", 8, "x", True)]
    assert "line 4" in found[1].what


def test_a_file_of_nonsense_ends_soon() -> None:
    start = time.monotonic()
    found = problems("defaults {\n" + "".join(f"word{number} 1\n" for number in range(20000)) + "}\n")
    assert 100 <= len(found) <= 400 and time.monotonic() - start < 20
