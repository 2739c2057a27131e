# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Broken files that a task is to change, each refused in words and left as it is, or edited so that the real multipath sees the change and no other."""

from __future__ import annotations

import re
import typing as t

import pytest

if t.TYPE_CHECKING:
    from conftest import Host

DEVICE = "\tdevice {\n\t\tvendor A\n\t\tproduct B\n\t\tprio const\n\t}\n"
DEVICES = f"devices {{\n{DEVICE}}}\n"
MAP = "multipaths {\n\tmultipath {\n\t\twwid a\n\t\talias %s\n\t}\n}\n"
CHANGE: t.Dict[str, t.Any] = {"overrides": {"no_path_retry": 5}}


def defaults(line: str) -> str:
    return f"defaults {{\n\t{line}\n}}\n"


# the file, where the mistake is, what is said about it
REFUSED = [
    # braces
    pytest.param("defaults {\n\tpolling_interval 5\n", 1, "the section defaults is not closed. Write the brace", id="brace missing at the end"),
    pytest.param("defaults {\n\tpolling_interval 5\n" + DEVICES, 3, "close the section defaults before it", id="brace missing in the middle"),
    pytest.param(defaults("polling_interval 5 }").replace("\n}\n", "\n"), 2, "the brace after the value of polling_interval is dropped; it closes nothing",
                 id="closing brace behind a value"),
    pytest.param("defaults { polling_interval 5\n}\n", 1, "'polling_interval' and all that follows it in the line is dropped", id="keyword behind the brace"),
    pytest.param("defaults { polling_interval 5 }\n", 1, "Write it on a line of its own, each closing brace too", id="all in one line"),
    pytest.param("multipaths {\n\tmultipath { wwid a\n\t}\n}\n", 2, "'wwid' and all that follows", id="brace on the keyword's line, deeper"),
    pytest.param(defaults("polling_interval 5") + "}\n", 4, "the brace closes nothing", id="brace too many"),
    pytest.param("overrides\n\tdetect_prio no\n}\n", 1, "there is no brace after overrides, so multipath-tools drops the line", id="no brace after overrides"),
    pytest.param('{"defaults": {"polling_interval": 5}}\n', 1, "a line that begins with a brace is dropped", id="JSON"),
    # sections
    pytest.param("default {\n\tpolling_interval 5\n}\n", 1, "default opens no section in the top of the file", id="unknown section"),
    pytest.param("device {\n\tvendor A\n\tproduct B\n}\n", 1, "device belongs into the section devices", id="device outside of devices"),
    pytest.param(DEVICES.replace("devices", "multipaths"), 2, "device belongs into the section devices; close the section multipaths",
                 id="device in multipaths"),
    pytest.param('defaults {\n\tblacklist {\n\t\tdevnode "^sd"\n\t}\n}\n', 2, "close the section defaults before it", id="blacklist in defaults"),
    pytest.param("polling_interval 5\n", 1, "stands outside of any section. It belongs in 'defaults'", id="keyword outside of any section"),
    pytest.param("devices {\n\tdevice {\n\t\tvendor A\n\t}\n}\n", 2, "the section device has no product, so multipath-tools drops it",
                 id="device without product"),
    pytest.param("multipaths {\n\tmultipath {\n\t\talias x\n\t}\n}\n", 2, "has no wwid", id="multipath without wwid"),
    pytest.param("overrides {\n\tprotocol {\n\t\tfast_io_fail_tmo 5\n\t}\n}\n", 2, "has no type", id="protocol without type"),
    pytest.param(MAP % "x" + (MAP % "x").replace("wwid a", "wwid b"), 10, "the alias 'x' is given to a already", id="one alias for two maps"),
    # keywords
    pytest.param(defaults("fast_oi_fail_tmo 5"), 2, "Did you mean 'fast_io_fail_tmo'?", id="keyword with letters swapped"),
    pytest.param(defaults("Polling_Interval 5"), 2, "Did you mean 'polling_interval'?", id="keyword in capitals"),
    pytest.param(defaults("polling_interval: 5"), 2, "Did you mean 'polling_interval'?", id="colon"),
    pytest.param(defaults("alias x"), 2, "It belongs in 'multipath' of 'multipaths'", id="keyword of another section"),
    pytest.param(defaults("polling_interval"), 2, "polling_interval has no value", id="no value"),
    pytest.param(defaults('"polling_interval" 5'), 2, "the line begins with a quote", id="keyword in quotes"),
    pytest.param(defaults("polling_interval = 5"), 2, "the equals sign is read as the value", id="equals sign with blanks"),
    pytest.param(defaults("polling_interval=5"), 2, "is read as one word", id="equals sign without"),
    pytest.param(defaults("polling_interval 5\n\tpolling_interval 6"), 3, "is set already in line 2, so '5' there is dropped", id="keyword twice"),
    pytest.param(defaults("auto_resize never"), 2, "It came with 0.9.7", id="keyword of a later release"),
    pytest.param(defaults("default_features 0"), 2, "was removed from multipath-tools with 0.9.0. Use 'features' instead", id="keyword of an older release"),
    # values
    pytest.param(defaults("path_selector round-robin 0"), 2, "the value of path_selector is 'round-robin', what follows it is dropped",
                 id="blanks without quotes"),
    pytest.param(defaults("path_selector 'round-robin 0'"), 2, "what follows it is dropped", id="single quotes"),
    pytest.param(defaults('path_selector "round-robin 0'), 2, "the quote that opens the value of path_selector is not closed", id="quote not closed"),
    pytest.param(defaults("polling_interval banana"), 2, "'banana' as polling_interval is not allowed", id="no number"),
    pytest.param(defaults("polling_interval -1"), 2, "'-1' as polling_interval is not allowed", id="negative number"),
    pytest.param(defaults("polling_interval 5;"), 2, "'5;' as polling_interval", id="semicolon"),
    pytest.param(defaults("dev_loss_tmo 99999999999"), 2, "is out of range", id="number too large"),
    pytest.param(defaults("max_fds 0x10"), 2, "'0x10' as max_fds is not allowed", id="hexadecimal number"),
    pytest.param(defaults("polling_interval 50\n\tmax_polling_interval 20"), 2, "is more than max_polling_interval 20", id="more than the maximum"),
    pytest.param(defaults("path_grouping_policy failovr"), 2, "Did you mean 'failover'?", id="bad enum"),
    pytest.param(defaults("user_friendly_names true"), 2, "Allowed is 'yes', 'no'", id="true for yes"),
    pytest.param('blacklist {\n\tdevnode "*"\n}\n', 2, "is not a regular expression", id="shell pattern"),
    pytest.param('overrides {\n\tfeatures "2 queue_if_no_path"\n}\n', 2, "says 2 arguments, and 1 follow", id="wrong count of features"),
    pytest.param("overrides {\n\tprotocol {\n\t\ttype iscsi\n\t}\n}\n", 3, "Did you mean 'scsi:iscsi'?", id="unknown protocol"),
    pytest.param(defaults("gid disk"), 2, "'disk' as gid is the name of a group, and multipath-tools looks for a user", id="name of a group"),
    pytest.param(MAP % '""', 4, "'' as alias is no name", id="empty alias"),
    pytest.param(MAP % ("x" * 128), 4, "as alias has 128 bytes", id="alias too long"),
    pytest.param((MAP % "x").replace("wwid a", 'wwid ""'), 3, "'' as wwid is that of no map", id="empty wwid"),
    # bytes
    pytest.param(MAP.encode() % b"caf\xe9x", 4, "is outside of quotes and not ASCII", id="Latin-1 without quotes"),
    pytest.param(DEVICES.replace("vendor A", "vendor \u201cA\u201d"), 3, "is outside of quotes and not ASCII", id="typographic quotes"),
    pytest.param("defaults {\r\tpolling_interval 5\r}\r", 1, "a carriage return in the line ends it", id="carriage returns alone"),
    pytest.param(defaults("polling_interval 5").encode("utf-16"), 0, "is written in UTF-16", id="UTF-16"),
    pytest.param(defaults("polling_interval 5\0 6"), 2, "a NUL byte in the line ends it", id="NUL byte"),
    pytest.param(bytes(range(256)) * 4, 1, "", id="every byte there is"),
    pytest.param("# " + "x" * 2000 + "\n" + defaults("polling_interval 5"), 1, "more than the 1023 bytes", id="line too long"),
    pytest.param(defaults(f'prio_args "{"x" * 2000}"'), 2, "", id="value too long"),
    pytest.param("# x\n" * 2_500_000, 0, "has 10000000 bytes", id="10 MB of comments"),
    pytest.param("x" * 10_000_000, 0, "has 10000000 bytes", id="10 MB in a line"),
    # something else altogether
    pytest.param("defaults:\n  polling_interval: 5\n", 1, "defaults: has no value", id="YAML"),
    pytest.param("[defaults]\npolling_interval = 5\n", 1, "[defaults] has no value", id="INI"),
    pytest.param(defaults("polling_interval {{ interval }}"), 2, "polling_interval opens no section", id="template that was not rendered"),
    pytest.param(f"<<<<<<< HEAD\n{defaults('verbosity 1')}=======\n{defaults('verbosity 2')}>>>>>>> other\n", 1, "'<<<<<<<' stands outside",
                 id="merge conflict"),
    pytest.param("include /etc/other.conf\n", 1, "'include' stands outside of any section", id="include"),
    pytest.param("// old\n" + defaults("polling_interval 5"), 1, "'//' stands outside of any section", id="comment of C"),
]
# the file, what is told about it
HANDLED = [
    pytest.param("", None, id="empty"),
    pytest.param("# a\n! b\n\n", None, id="comments alone"),
    pytest.param(defaults("polling_interval 5").rstrip("\n"), None, id="no end of the last line"),
    pytest.param("defaults\n{\n\tpolling_interval 5\n}\n", "there is no brace after defaults", id="brace below its section"),
    pytest.param("defaults\n\tpolling_interval 5\n}\n", "there is no brace after defaults", id="no brace after defaults"),
    pytest.param(DEVICES + DEVICES.replace("const", "alua"), "device A B has a section already, in line 2", id="device twice"),
    pytest.param(f"devices {{\n{DEVICE}{DEVICE.replace('const', 'alua')}}}\n", "device A B has a section already, in line 2", id="device twice in one section"),
    pytest.param(defaults("polling_interval 5\n\tpolling_interval 5"), "with the same value", id="keyword twice, same value"),
    pytest.param(defaults("polling_interval 5#x"), "begins a comment", id="comment right behind a value"),
    pytest.param(defaults("polling_interval 5 ! old"), None, id="comment of the other kind"),
    pytest.param(defaults("path_grouping_policy failover2"), "is read as 'failover'", id="enum with more behind it"),
    pytest.param(defaults("getuid_callout x"), "is not read any more", id="deprecated keyword"),
    pytest.param(defaults("uid nobody-at-all"), "is the name of no user of this host", id="unknown user"),
    pytest.param('blacklist_exceptions {\n\tdevnode ""\n}\n', "is an empty pattern, which matches everything", id="empty pattern"),
    pytest.param("blacklist {\n\tdevice {\n\t}\n}\n", None, id="empty device in a blacklist"),
    pytest.param(b"# caf\xe9\n" + defaults("polling_interval 5").encode(), None, id="Latin-1 in a comment"),
    pytest.param(MAP.encode() % b'"caf\xe9"', "is not UTF-8", id="Latin-1 in quotes"),
    pytest.param(MAP % '"caf\u00e9 {#}"', None, id="UTF-8, braces and marks in quotes"),
    pytest.param(defaults("polling_interval\u00a05"), "is outside of quotes and not ASCII", id="no-break space"),
    pytest.param(defaults("polling_interval 5").replace("\n", "\r\n"), "carriage return and line feed", id="CRLF"),
    pytest.param("\ufeff" + defaults("polling_interval 5"), "byte order mark", id="byte order mark"),
    pytest.param(defaults("polling_interval 5") + "\0" * 512, "a NUL byte ends the line", id="NUL bytes at the end"),
    pytest.param("# x\n" * 100_000 + defaults("polling_interval 5"), None, id="400 kB"),
]


def as_bytes(data: t.Union[str, bytes]) -> bytes:
    return data if isinstance(data, bytes) else data.encode()


def test_they_are_forty_at_least() -> None:
    assert len(REFUSED) >= 40


@pytest.mark.parametrize(("data", "line", "says"), REFUSED)
def test_refused_in_words(host: Host, data: t.Union[str, bytes], line: int, says: str) -> None:
    host.main.write_bytes(as_bytes(data))
    before, inode = host.files(), host.main.stat().st_ino
    result = host.module(backup=True, **CHANGE)
    message = result["msg"]
    assert result["failed"] and message.startswith(f"/etc/multipath.conf, line {line}: " if line else "/etc/multipath.conf: ") and says in message
    assert result["error"]["kind"] in ("DamagedError", "InputError") and result["error"]["remedy"]
    assert "Traceback" not in message and ". ." not in message and "?." not in message and ".. " not in message and "\n" not in message
    assert (host.files(), host.main.stat().st_ino) == (before, inode)


@pytest.mark.parametrize(("data", "told"), HANDLED)
def test_handled(host: Host, data: t.Union[str, bytes], told: t.Optional[str]) -> None:
    content = as_bytes(data)
    host.main.write_bytes(content)
    before = host.multipath_t()
    result = host.module(**CHANGE)
    assert not result.get("failed"), result
    problems = [problem["what"] for problem in result["problems"]]
    assert result["changed"] and (any(told in what for what in problems) if told else problems == [])
    new = host.main.read_bytes()
    assert new.startswith(content), "something else was changed"
    added = new[len(content):].replace(b"\r\n", b"\n").lstrip(b"\n")
    assert added == b"overrides {\n\tno_path_retry 5\n}\n"
    # the witness: this keyword is in effect, and nothing else in effect changed
    after = host.multipath_t()
    assert after.returncode == 0 and "overrides {\n\tno_path_retry 5\n}\n" in after.stdout
    assert after.stdout.replace("overrides {\n\tno_path_retry 5\n", "overrides {\n") == before.stdout
    assert complaints(after.stderr) == complaints(before.stderr)
    again = host.module(**CHANGE)
    assert not again["changed"] and host.main.read_bytes() == new


def complaints(text: str) -> t.List[str]:
    return [re.sub(r"\bline \d+", "line", line.partition(" | ")[2]) for line in text.splitlines()]


@pytest.mark.parametrize("data", [case.values[0] for case in REFUSED], ids=[str(case.id) for case in REFUSED])
def test_replace_is_a_way_out(host: Host, data: t.Union[str, bytes]) -> None:
    host.main.write_bytes(as_bytes(data))
    result = host.module(replace=True, backup=True, **CHANGE)
    assert result["changed"] and host.main.read_bytes() == b"overrides {\n\tno_path_retry 5\n}\n"
    assert (host.etc / result["backup_file"][len("/etc/"):]).read_bytes() == as_bytes(data)
    seen = host.multipath_t()
    assert (seen.returncode, seen.stderr) == (0, "") and "overrides {\n\tno_path_retry 5\n}\n" in seen.stdout
