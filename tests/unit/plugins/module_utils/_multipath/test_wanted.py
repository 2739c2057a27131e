# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of a task to a document: what is written, what is left alone, what is refused."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.check import Checker
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.document import Document, parse
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.grammar import Release
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.wanted import edit, overruled, parse_wanted

Options = t.Dict[str, t.Any]
HERE: Release = (0, 9, 4)
#: what Ansible makes of suboptions that a task does not give
NO_LISTS: Options = {"devnode": None, "wwid": None, "property": None, "protocol": None, "devices": None}


def made(text: str, options: Options, *, absent: bool = False, release: t.Optional[Release] = HERE) -> str:
    document = parse(text.encode("utf-8", "surrogateescape"), release=release)
    changed: Document = edit(document, parse_wanted(options), Checker(release), absent=absent)
    again = edit(changed, parse_wanted(options), Checker(release), absent=absent)
    assert again.render() == changed.render(), "the second run changes something"
    return changed.render().decode("utf-8", "surrogateescape")


@pytest.mark.parametrize(("options", "expected"), [
    pytest.param({}, "", id="nothing"),
    pytest.param({"defaults": {}}, "", id="an empty section is not made"),
    pytest.param({"defaults": {"polling_interval": 7}}, "defaults {\n\tpolling_interval 7\n}\n", id="number"),
    pytest.param({"defaults": {"user_friendly_names": True, "detect_prio": False}},
                 "defaults {\n\tuser_friendly_names yes\n\tdetect_prio no\n}\n", id="true and false"),
    pytest.param({"defaults": {"flush_on_last_del": True}}, "defaults {\n\tflush_on_last_del yes\n}\n", id="true of a keyword with words of its own"),
    pytest.param({"defaults": {"polling_interval": None, "max_polling_interval": 20}}, "defaults {\n\tmax_polling_interval 20\n}\n", id="None is not named"),
    pytest.param({"defaults": {"polling_interval": None}}, "", id="nothing but None"),
    pytest.param({"defaults": {"path_selector": "service-time 0"}}, 'defaults {\n\tpath_selector "service-time 0"\n}\n', id="blanks are quoted"),
    pytest.param({"defaults": {"features": ["queue_if_no_path"]}}, 'defaults {\n\tfeatures "1 queue_if_no_path"\n}\n', id="features get their count"),
    pytest.param({"overrides": {"no_path_retry": "queue"}}, "overrides {\n\tno_path_retry queue\n}\n", id="overrides"),
    pytest.param({"protocols": [{"type": "scsi:iscsi", "fast_io_fail_tmo": 5}]},
                 'overrides {\n\tprotocol {\n\t\ttype "scsi:iscsi"\n\t\tfast_io_fail_tmo 5\n\t}\n}\n', id="protocol"),
    pytest.param({"devices": [{"vendor": "LIO-ORG", "product": ".*", "no_path_retry": 12}]},
                 'devices {\n\tdevice {\n\t\tvendor "LIO-ORG"\n\t\tproduct ".*"\n\t\tno_path_retry 12\n\t}\n}\n', id="device"),
    pytest.param({"devices": [{"vendor": "A", "product": "B", "revision": "2", "prio": "const"}]},
                 "devices {\n\tdevice {\n\t\tvendor A\n\t\tproduct B\n\t\trevision 2\n\t\tprio const\n\t}\n}\n", id="device with a revision"),
    pytest.param({"multipaths": [{"wwid": "3600", "alias": "rbd0"}, {"wwid": 3601, "alias": "rbd1"}]},
                 "multipaths {\n\tmultipath {\n\t\twwid 3600\n\t\talias rbd0\n\t}\n\tmultipath {\n\t\twwid 3601\n\t\talias rbd1\n\t}\n}\n", id="two maps"),
    pytest.param({"multipaths": [{"wwid": "3600"}]}, "multipaths {\n\tmultipath {\n\t\twwid 3600\n\t}\n}\n", id="a section with nothing but its name"),
    pytest.param({"blacklist": dict(NO_LISTS, devnode=["^sd[a-c]$", "^vd"], protocol=["scsi:ata"])},
                 'blacklist {\n\tdevnode "^sd[a-c]$"\n\tdevnode "^vd"\n\tprotocol "scsi:ata"\n}\n', id="lists"),
    pytest.param({"blacklist_exceptions": dict(NO_LISTS, property=["(SCSI_IDENT_|ID_WWN)"], wwid=["3600"])},
                 'blacklist_exceptions {\n\twwid 3600\n\tproperty "(SCSI_IDENT_|ID_WWN)"\n}\n', id="exceptions"),
    pytest.param({"blacklist": dict(NO_LISTS, devices=[{"vendor": "QEMU", "product": None}, {"vendor": None, "product": "DISK"}])},
                 "blacklist {\n\tdevice {\n\t\tvendor QEMU\n\t}\n\tdevice {\n\t\tproduct DISK\n\t}\n}\n", id="devices of a blacklist"),
    pytest.param({"blacklist": dict(NO_LISTS, devices=[{"vendor": "QEMU", "product": ""}])}, "blacklist {\n\tdevice {\n\t\tvendor QEMU\n\t}\n}\n",
                 id="device of a blacklist with an empty product"),
    pytest.param({"blacklist": dict(NO_LISTS, devnode=[])}, "", id="an empty list adds nothing"),
])
def test_a_new_file(options: Options, expected: str) -> None:
    assert made("", options) == expected


@pytest.mark.parametrize(("text", "options"), [
    pytest.param("defaults {\n  user_friendly_names 1 # mine\n}\n", {"defaults": {"user_friendly_names": True}}, id="1 is yes"),
    pytest.param('defaults {\n\tuser_friendly_names "yes"\n}\n', {"defaults": {"user_friendly_names": "yes"}}, id="quotes"),
    pytest.param("defaults {\n\tno_path_retry fail\n}\n", {"defaults": {"no_path_retry": 0}}, id="fail is 0"),
    pytest.param('defaults {\n\tfeatures  "1   queue_if_no_path"\n}\n', {"defaults": {"features": ["queue_if_no_path"]}}, id="blanks within"),
    pytest.param("defaults {\n\tfind_multipaths on\n}\n", {"defaults": {"find_multipaths": True}}, id="on is yes"),
    pytest.param("defaults {\n\tpolling_interval 5\n\tpolling_interval 7\n}\n", {"defaults": {"polling_interval": 7}}, id="the last line counts already"),
    pytest.param("defaults {\n\tchecker tur\n}\n", {"defaults": {"path_checker": "tur"}}, id="another word for the keyword"),
    pytest.param("defaults {\n\tpath_checker tur\n}\n", {"defaults": {"checker": "tur"}}, id="another word in the task"),
    pytest.param("multipaths {\n\tmultipath {\n\t\talias x\n\t\twwid a\n\t}\n}\n", {"multipaths": [{"wwid": "a", "alias": "x"}]}, id="name below"),
    pytest.param('blacklist {\n\tdevnode "^sd"\n}\n', {"blacklist": dict(NO_LISTS, devnode=["^sd"])}, id="listed already"),
    pytest.param("blacklist {\n\tdevice {\n\t\tvendor QEMU\n\t}\n}\n", {"blacklist": dict(NO_LISTS, devices=[{"vendor": "QEMU", "product": None}])},
                 id="blacklisted already"),
])
def test_what_means_the_same_is_left_alone(text: str, options: Options) -> None:
    assert made(text, options) == text


#: a file with everything, to be edited
FILE = """# of the admin
defaults {
    polling_interval 5 # fast
    find_multipaths yes
}

devices {
    device {
        vendor "LIO-ORG"
        product ".*"
        no_path_retry queue
    }
    device {
        vendor "LIO-ORG"
        product ".*"
        revision "4"
        no_path_retry fail
    }
}
multipaths {
    multipath {
        wwid 3600
        alias old
    }
}
blacklist {
    devnode "^sd[a-z]"
    devnode "^vd"
    device {
        vendor QEMU
    }
}
"""


@pytest.mark.parametrize(("options", "old", "new"), [
    pytest.param({"defaults": {"polling_interval": 7}}, "polling_interval 5 # fast", "polling_interval 7 # fast", id="value"),
    pytest.param({"defaults": {"find_multipaths": False}}, "find_multipaths yes", "find_multipaths no", id="word"),
    pytest.param({"defaults": {"verbosity": 3}}, "    find_multipaths yes\n", "    find_multipaths yes\n    verbosity 3\n", id="another keyword"),
    pytest.param({"devices": [{"vendor": "LIO-ORG", "product": ".*", "no_path_retry": 12}]}, "no_path_retry queue", "no_path_retry 12",
                 id="the device without a revision"),
    pytest.param({"devices": [{"vendor": "LIO-ORG", "product": ".*", "revision": 4, "no_path_retry": 12}]}, "no_path_retry fail", "no_path_retry 12",
                 id="the device with one"),
    pytest.param({"multipaths": [{"wwid": "3600", "alias": "new"}]}, "alias old", "alias new", id="alias"),
    pytest.param({"multipaths": [{"wwid": "3600", "alias": "a#b"}]}, "alias old", 'alias "a#b"', id="a value that needs quotes"),
    pytest.param({"blacklist": dict(NO_LISTS, devnode=["^nbd", "^vd"])}, '    devnode "^vd"\n', '    devnode "^vd"\n    devnode "^nbd"\n',
                 id="one more pattern"),
])
def test_the_rest_of_a_file_stays(options: Options, old: str, new: str) -> None:
    assert FILE.count(old) == 1
    assert made(FILE, options) == FILE.replace(old, new)


@pytest.mark.parametrize(("options", "gone"), [
    pytest.param({"defaults": {"polling_interval": None}}, "    polling_interval 5 # fast\n", id="keyword"),
    pytest.param({"defaults": {"polling_interval": 99}}, "    polling_interval 5 # fast\n", id="keyword, whatever its value"),
    pytest.param({"defaults": {"verbosity": None}}, "", id="keyword that is not there"),
    pytest.param({"overrides": {"no_path_retry": None}}, "", id="section that is not there"),
    pytest.param({"defaults": {}}, "", id="nothing named"),
    pytest.param({"devices": [{"vendor": "LIO-ORG", "product": ".*", "no_path_retry": None}]}, "        no_path_retry queue\n", id="keyword of a device"),
    pytest.param({"devices": [{"vendor": "LIO-ORG", "product": ".*", "revision": "4"}]},
                 '    device {\n        vendor "LIO-ORG"\n        product ".*"\n        revision "4"\n        no_path_retry fail\n    }\n',
                 id="device with a revision"),
    pytest.param({"multipaths": [{"wwid": "3600"}]}, "    multipath {\n        wwid 3600\n        alias old\n    }\n", id="multipath"),
    pytest.param({"multipaths": [{"wwid": "3601"}]}, "", id="multipath that is not there"),
    pytest.param({"blacklist": dict(NO_LISTS, devnode=["^vd", "^no"])}, '    devnode "^vd"\n', id="pattern"),
    pytest.param({"blacklist": dict(NO_LISTS, devices=[{"vendor": "QEMU", "product": None}])}, "    device {\n        vendor QEMU\n    }\n",
                 id="blacklisted device"),
    pytest.param({"blacklist": dict(NO_LISTS, devnode=["*", ""])}, "", id="patterns that are none may be taken away"),
])
def test_absent(options: Options, gone: str) -> None:
    assert made(FILE, options, absent=True) == FILE.replace(gone, "")


@pytest.mark.parametrize(("options", "subject", "fragment", "remedy"), [
    pytest.param({"defaults": {"poling_interval": 5}}, "option defaults", "'poling_interval' is not a keyword", "Did you mean 'polling_interval'?", id="typo"),
    pytest.param({"devices": [{"vendor": "LIO-ORG", "product": ".*", "fast_oi_fail_tmo": 25}]}, "option devices[0] (LIO-ORG .*)", "'fast_oi_fail_tmo'",
                 "Did you mean 'fast_io_fail_tmo'?", id="typo of the Ceph document"),
    pytest.param({"defaults": {"alias": "x"}}, "option defaults", "'alias' is not a keyword of 'defaults'", "It belongs in", id="wrong section"),
    pytest.param({"defaults": {"devnode": "^sd"}}, "option defaults", "'devnode'", "It belongs in 'blacklist'", id="pattern in defaults"),
    pytest.param({"defaults": {"polling_interval": "banana"}}, "option defaults", "'banana' as polling_interval is not allowed", "number from 1", id="number"),
    pytest.param({"defaults": {"polling_interval": -1}}, "option defaults", "'-1' as polling_interval", "number from 1", id="negative"),
    pytest.param({"defaults": {"polling_interval": 5.5}}, "option defaults: polling_interval", "is a float", "text, a number", id="float"),
    pytest.param({"defaults": {"polling_interval": True}}, "option defaults: polling_interval", "neither true nor false", "quotes", id="true for a number"),
    pytest.param({"defaults": {"polling_interval": {"a": 1}}}, "option defaults: polling_interval", "is a dict", "Give it as text", id="mapping as a value"),
    pytest.param({"defaults": {"path_grouping_policy": "failovr"}}, "option defaults", "'failovr'", "Did you mean 'failover'?", id="enum"),
    pytest.param({"defaults": {"mode": 420}}, "option defaults: mode", "YAML may have read otherwise", "quotes", id="octal number"),
    pytest.param({"defaults": {"prio_args": "a\nb"}}, "option defaults: prio_args", "end of a line", "Leave it out", id="two lines"),
    pytest.param({"overrides": {"features": "1 queue_if_no_path pg_init_retries"}}, "option overrides", "says 1 arguments, and 2 follow", "1 queue_if_no_path",
                 id="count"),
    pytest.param({"defaults": {"checker": "tur", "path_checker": "directio"}}, "option defaults", "set the same thing", "Give one of them",
                 id="two words for one"),
    pytest.param({"devices": [{"vendor": "A"}]}, "option devices[0]", "has no product", "Say which device is meant", id="no product"),
    pytest.param({"devices": [{"no_path_retry": 5}]}, "option devices[0]", "has no vendor and no product", "Say which", id="neither"),
    pytest.param({"devices": [{"vendor": "A", "product": 1.10}]}, "option devices[0]", "product is 1.1, a float", "in quotes",
                 id="a product that YAML shortened"),
    pytest.param({"multipaths": [{"alias": "x"}]}, "option multipaths[0]", "has no wwid", "Say which multipath", id="no wwid"),
    pytest.param({"multipaths": [{"wwid": ""}]}, "option multipaths[0]", "has no wwid", "Say which", id="empty wwid"),
    pytest.param({"multipaths": [{"wwid": ["a"]}]}, "option multipaths[0]", "wwid is ['a'], a list", "as text", id="list of wwids"),
    pytest.param({"multipaths": [{"wwid": "a", "alias": "x"}, {"wwid": "a", "alias": "y"}]}, "option multipaths[1] (a)",
                 "the same section as option multipaths[0] (a)",
                 "Make one entry", id="one twice"),
    pytest.param({"multipaths": [{"wwid": "a", "alias": "x/y"}]}, "option multipaths[0] (a)", "slash", "Leave it out", id="slash in an alias"),
    pytest.param({"protocols": [{"type": "iscsi"}]}, "option protocols[0] (iscsi)", "'iscsi' as type", "Did you mean 'scsi:iscsi'?", id="type of protocol"),
    pytest.param({"protocols": [{"type": "scsi:iscsi", "polling_interval": 5}]}, "option protocols[0]", "'polling_interval' is not a keyword", "'defaults'",
                 id="keyword that no protocol has"),
    pytest.param({"blacklist": dict(NO_LISTS, devnode=["*"])}, "option blacklist.devnode", "'*' as devnode is not a regular expression", "'.*'",
                 id="shell pattern"),
    pytest.param({"blacklist": dict(NO_LISTS, devnode=["^sd", ""])}, "option blacklist.devnode", "empty pattern, which matches everything", "Leave it out",
                 id="empty pattern"),
    pytest.param({"blacklist": dict(NO_LISTS, devices=[{"vendor": "", "product": ""}])}, "option blacklist.devices[0]", "neither a vendor nor a product",
                 "at least one", id="blacklisted device with empty names"),
    pytest.param({"multipaths": [{"wwid": "a\nb"}]}, "option multipaths[0]", "wwid is 'a\\nb', which holds what cannot be printed", "Leave that out",
                 id="wwid of two lines"),
    pytest.param({"multipaths": [{"wwid": "a", "prio_args": "x" * 1100}]}, "option multipaths[0] (a): prio_args", "the line would have", "shorten",
                 id="too long"),
    pytest.param({"overrides": {"protocol": [{"type": "scsi:iscsi"}]}}, "option overrides", "protocol is a section", "an option of its own, protocols",
                 id="section within"),
    pytest.param({"defaults": {"blacklist": {"devnode": []}}}, "option defaults", "blacklist is a section", "an option of its own, blacklist",
                 id="section in another"),
    pytest.param({"blacklist": dict(NO_LISTS, devices=[{"vendor": None, "product": None}])}, "option blacklist.devices[0]", "neither a vendor nor a product",
                 "at least one", id="blacklisted device without a name"),
])
def test_refused(options: Options, subject: str, fragment: str, remedy: str) -> None:
    with pytest.raises(InputError) as caught:
        made(FILE, options)
    assert caught.value.subject.startswith(subject)
    assert fragment in caught.value.what
    assert remedy in caught.value.remedy
    assert ".." not in str(caught.value).replace("'.*'", "") and "?." not in str(caught.value)


@pytest.mark.parametrize(("release", "options", "says"), [
    pytest.param((0, 4, 9), {"overrides": {"no_path_retry": 5}}, "came with 0.6.0", id="overrides"),
    pytest.param((0, 8, 4), {"protocols": [{"type": "scsi:iscsi"}]}, "came with 0.9.0", id="protocol"),
    pytest.param((0, 8, 4), {"defaults": {"auto_resize": "never"}}, "came with 0.9.7", id="keyword"),
    pytest.param((0, 7, 0), {"blacklist": dict(NO_LISTS, protocol=["scsi:ata"])}, "option blacklist.protocol: .* came with 0.7.8", id="list"),
    pytest.param((0, 6, 0), {"defaults": {"find_multipaths": "smart"}}, "came with 0.7.7", id="value"),
    pytest.param((0, 9, 4), {"defaults": {"getuid_callout": "/x", "default_features": "0"}}, "removed from multipath-tools with 0.9.0", id="removed"),
])
def test_what_the_release_lacks(release: Release, options: Options, says: str) -> None:
    with pytest.raises(InputError, match=says):
        made("", options, release=release)


def test_unknown_words_of_a_release_that_is_newer_than_the_table() -> None:
    assert made("", {"defaults": {"brand_new_thing": "x y"}}, release=(9, 0)) == 'defaults {\n\tbrand_new_thing "x y"\n}\n'
    with pytest.raises(InputError, match="is True, a bool"):
        made("", {"defaults": {"brand_new_thing": True}}, release=(9, 0))


def test_absent_refuses_a_word_that_never_was_one() -> None:
    with pytest.raises(InputError, match="Did you mean 'polling_interval'"):
        made(FILE, {"defaults": {"poling_interval": None}}, absent=True)
    # one that this release lacks may be taken away
    assert made("defaults {\n\tauto_resize never\n}\n", {"defaults": {"auto_resize": None}}, absent=True, release=(0, 8, 4)) == "defaults {\n}\n"


@pytest.mark.parametrize(("settings", "elsewhere", "release", "told"), [
    pytest.param({"path_grouping_policy": "failover"}, "", (0, 9, 6), True, id="on by default"),
    pytest.param({"path_grouping_policy": "failover"}, "", (0, 9, 5), False, id="a release that does not choose"),
    pytest.param({"path_grouping_policy": "failover"}, "", None, False, id="no release known"),
    pytest.param({"path_grouping_policy": "failover", "detect_pgpolicy": False}, "", (0, 11, 1), False, id="told not to, here"),
    pytest.param({"path_grouping_policy": "failover"}, "defaults {\n\tdetect_pgpolicy no\n}\n", (0, 11, 1), False, id="told not to, in defaults"),
    pytest.param({"path_grouping_policy": "failover", "detect_pgpolicy": False}, "overrides {\n\tdetect_pgpolicy yes\n}\n", (0, 11, 1), True, id="overrides"),
    pytest.param({"path_grouping_policy": "group_by_prio"}, "", (0, 11, 1), False, id="what it chooses"),
    pytest.param({"no_path_retry": "fail"}, "", (0, 11, 1), False, id="another keyword"),
])
def test_a_policy_that_is_chosen_for_alua_is_told(settings: Options, elsewhere: str, release: t.Any, told: bool) -> None:
    path = "/etc/multipath/conf.d/b.conf"
    wanted = parse_wanted({"devices": [{"vendor": "A", "product": "B", **settings}]})
    ours = edit(parse(b"", path, release or HERE), wanted, Checker(release or HERE))
    documents = [parse(elsewhere.encode(), "/etc/multipath.conf", release or HERE), ours]
    found = [problem for problem in overruled(wanted, documents, path, release) if "grouped by their priorities" in problem.what]
    assert [problem.word for problem in found] == (["path_grouping_policy"] if told else [])
    assert all("path_grouping_policy" in ours.render().decode().splitlines()[problem.line - 1] for problem in found)


OVERRULES = [
    parse(b"overrides {\n\tno_path_retry fail\n\tpath_checker tur\n}\n", "/etc/multipath.conf", HERE),
    parse(b"", "/etc/multipath/conf.d/a.conf", HERE),
    parse(b"defaults {\n\tpolling_interval 5\n\tverbosity 2\n}\n", "/etc/multipath/conf.d/b.conf", HERE),
    parse(b"multipaths {\n\tmultipath {\n\t\twwid a\n\t\talias y\n\t}\n}\n", "/etc/multipath/conf.d/c.conf", HERE),
]


@pytest.mark.parametrize(("options", "name", "expected"), [
    pytest.param({"defaults": {"polling_interval": 7}}, "conf.d/a.conf", ["conf.d/b.conf, line 2: sets polling_interval of defaults to '5' and is read later"],
                 id="later"),
    pytest.param({"defaults": {"polling_interval": 7}}, "conf.d/c.conf", [], id="earlier"),
    pytest.param({"defaults": {"polling_interval": 7}}, "conf.d/b.conf", [], id="the file itself"),
    pytest.param({"defaults": {"polling_interval": 7}}, "conf.d/z.conf", [], id="a file that there is none of"),
    pytest.param({"defaults": {"verbosity": 2, "polling_interval": None}}, "conf.d/a.conf", [], id="the same, and None"),
    pytest.param({"multipaths": [{"wwid": "a", "alias": "x"}, {"wwid": "b", "alias": "z"}]}, "conf.d/a.conf",
                 ["conf.d/c.conf, line 4: sets alias of multipaths / multipath a to 'y' and is read later"], id="section in a list"),
    pytest.param({"devices": [{"vendor": "A", "product": "B", "no_path_retry": 12, "checker": "tur"}]}, "conf.d/z.conf",
                 [".conf, line 2: sets no_path_retry of overrides to 'fail', which goes before that of a device"], id="overrides"),
    pytest.param({"devices": [{"vendor": "A", "product": "B", "checker": "directio", "no_path_retry": "fail"}]}, "conf.d/a.conf",
                 [".conf, line 3: sets checker of overrides to 'tur', which goes before that of a device"], id="overrides, another word for it"),
    pytest.param({"overrides": {"no_path_retry": 12}}, "conf.d/z.conf", [], id="overrides itself"),
])
def test_what_has_no_effect_is_told(options: Options, name: str, expected: t.List[str]) -> None:
    path = f"/etc/multipath/{name}"
    found = overruled(parse_wanted(options), OVERRULES, path, HERE)
    assert [problem.as_error().sentence().partition(", so ")[0].replace("/etc/multipath/", "").replace("/etc/multipath", "") for problem in found] == expected
    assert all("of this task has no effect. Set it there, or take it out there" in str(problem.as_error()) for problem in found)
