# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every keyword of multipath.conf: where it may stand, since which release of multipath-tools and until which, and what successor it has.

Matched to multipath-tools 0.4.9 to 0.14.3: libmultipath/dict.c (keywords by section), multipath.conf(5) (what is deprecated).
What a value may be is in ``values.py``.
"""

from __future__ import annotations

import functools
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.grammar import Path, Release

#: the newest release that the table was compared with
NEWEST: Release = (0, 14, 3)
#: says whether a word stands in the host's own libmultipath: distributions carry keywords back to releases that lack them
Has = t.Callable[[str], bool]

#: sections by letter, and since when multipath-tools reads them
SECTIONS: t.Mapping[str, t.Tuple[Path, str]] = {
    "d": (("defaults",), ""),
    "b": (("blacklist",), ""),
    "e": (("blacklist_exceptions",), ""),
    "B": (("blacklist", "device"), ""),
    "E": (("blacklist_exceptions", "device"), ""),
    "v": (("devices", "device"), ""),
    "o": (("overrides",), "0.6.0"),
    "p": (("overrides", "protocol"), "0.9.0"),
    "m": (("multipaths", "multipath"), ""),
}
#: a word for blacklist that was read until 0.8.9
_OLD_BLACKLIST = "devnode_blacklist"

# The table is text: that is compiled in no time, and this file is sent to the host at every task.
# keyword | sections, each with a release where it differs | kind of value | since, -until (the first release without it) | deprecated since > successor
# In the last column ! says that the value is ignored from then on; "rhel" as a release is Red Hat's 0.4.9.
_TABLE = """
verbosity d verbosity
polling_interval d poll
max_polling_interval d u32 0.5.0
reassign_maps d bool 0.5.0
path_selector vomd0.5.0 selector
path_grouping_policy dvom policy
uid_attrs d uid_attrs 0.7.0
uid_attribute dvo text 0.5.0
prio dvom0.5.0 prio
prio_args dvom0.5.0 text
features dvom0.5.0 features
path_checker dvo checker
checker dvo checker
alias_prefix dvo name 0.5.0
failback dvom failback
rr_min_io dvom count
rr_min_io_rq dvom count 0.5.0
rr_weight dvom weight
max_fds d max_fds
no_path_retry dvom retry
queue_without_daemon d queueing
checker_timeout d count 0.5.0
allow_usb_devices d bool 0.8.5
flush_on_last_del dvom flush
user_friendly_names dv0.5.0om0.5.0 bool
mode dm mode
uid dm owner
gid dm group
fast_io_fail_tmo dvop off_count
dev_loss_tmo dvop dev_loss
eh_deadline dvop off_count 0.8.6
max_retries d retries 0.9.7
log_checker_err d log 0.5.0
reservation_key dm prkey 0.5.0
all_tg_pt dvo bool 0.7.8
retain_attached_hw_handler dvo bool 0.5.0
detect_prio dvo bool 0.5.0
detect_checker dvo bool 0.7.0
detect_pgpolicy dvo bool 0.9.6
detect_pgpolicy_use_tpg dvo bool 0.9.6
force_sync d bool 0.6.0
strict_timing d bool 0.6.1
deferred_remove dvom bool 0.6.0
partition_delimiter d name 0.6.0
delay_watch_checks dvom no_count 0.6.0 0.8.3>san_path_err_forget_rate
delay_wait_checks dvom no_count 0.6.0 0.8.3>san_path_err_recovery_time
san_path_err_threshold dvom no_count 0.7.0-0.7.4,0.8.0
san_path_err_forget_rate dvom no_count 0.7.0-0.7.4,0.8.0
san_path_err_recovery_time dvom no_count 0.7.0-0.7.4,0.8.0
marginal_path_err_sample_time dvom no_count 0.7.4
marginal_path_err_rate_threshold dvom no_count 0.7.4
marginal_path_err_recheck_gap_time dvom no_count 0.7.4
marginal_path_double_failed_time dvom no_count 0.7.4
find_multipaths d find 0.6.0
find_multipaths_timeout d int 0.7.7
uxsock_timeout d uxsock 0.6.0
retrigger_tries d count 0.6.0
retrigger_delay d count 0.6.0
missing_uev_wait_timeout d count 0.6.0
skip_kpartx dvom bool 0.6.4
purge_disconnected dvom bool 0.14.0
remove_retries d count 0.7.0
max_sectors_kb dvom count 0.7.0
ghost_delay dvom no_count 0.7.5
auto_resize d resize 0.9.7
enable_foreign d regex 0.8.3
marginal_pathgroups d marginal 0.8.3
recheck_wwid dvo bool 0.8.6
vendor BEv regex
product BEv regex
revision v regex 0.5.0
product_blacklist v regex
hardware_handler v handler
vpd_vendor v vpd 0.8.4
devnode be regex
wwid be regex
property be regex 0.5.0
protocol be regex 0.7.8
type p protocol
wwid m wwid
alias m alias
disable_changed_wwids d any 0.6.4 !0.8.1>
pg_timeout dvm any 0.4.9 !0.5.0>
getuid_callout dvo any 0.4.9 !0.9.0>uid_attribute
multipath_dir d any 0.4.9 !0.9.0>
config_dir d any 0.6.0 !0.9.0>
bindings_file d path 0.5.0 !0.9.7>
wwids_file d path 0.5.0 !0.9.7>
prkeys_file d path 0.7.3 !0.9.7>
default_selector d selector 0.4.9-0.9.0 0.5.0>path_selector
default_path_grouping_policy d policy 0.4.9-0.9.0 0.4.9>path_grouping_policy
default_uid_attribute d text 0.5.0-0.9.0 0.5.0>uid_attribute
default_getuid_callout d any 0.4.9-0.9.0 0.4.9>uid_attribute
default_features d features 0.4.9-0.9.0 0.4.9>features
default_path_checker d checker 0.4.9-0.9.0 0.4.9>path_checker
selector d selector 0.4.9-0.5.0 0.4.9>path_selector
udev_dir d any 0.4.9-0.5.0
prio_callout dv any 0.4.0-0.4.9 0.4.0>prio
default_prio_callout d any 0.4.0-0.4.9 0.4.0>prio
hw_str_match d bool rhel
detect_path_checker dv bool rhel 9>detect_checker
ignore_new_boot_devs d bool rhel
new_bindings_in_boot d bool rhel
unpriv_sgio dvm bool rhel
all_devs v bool rhel 9>overrides
"""
# Red Hat's 0.4.9 (RHEL 7) knows these too, and upstream they came later: the names up to marginal_path_double_failed_time as its own multipath -t shows
# (a copy stands in the tests of oamg/leapp-repository), those after it by its documentation. There its multipath -t has the last word anyway.
_BACKPORTED = frozenset((
    "max_polling_interval reassign_maps path_selector uid_attribute alias_prefix rr_min_io_rq checker_timeout bindings_file wwids_file prkeys_file"
    " log_checker_err reservation_key find_multipaths retain_attached_hw_handler detect_prio force_sync deferred_remove skip_kpartx config_dir"
    " delay_watch_checks delay_wait_checks retrigger_tries retrigger_delay missing_uev_wait_timeout remove_retries disable_changed_wwids ghost_delay"
    " all_tg_pt max_sectors_kb marginal_path_err_sample_time marginal_path_err_rate_threshold marginal_path_err_recheck_gap_time"
    " marginal_path_double_failed_time property protocol revision prio prio_args features user_friendly_names uxsock_timeout").split())
_FIRST: Release = (0, 4, 9)


def release(text: str) -> Release:
    """``"0.9.4"`` as numbers; no text is the first release that is known here, ``rhel`` one that never was upstream."""
    return tuple(int(part) for part in text.split(".")) if text and text != "rhel" else _FIRST if not text else (99,)


def as_text(numbers: Release) -> str:
    return ".".join(str(number) for number in numbers)


class Span(t.NamedTuple):
    """From ``since`` on, and before ``until``."""

    since: Release
    until: t.Optional[Release] = None

    def holds(self, at: t.Optional[Release]) -> bool:
        """Whether ``at`` lies within; where the release is not known, that is where no one took it away."""
        return self.until is None if at is None else self.since <= at and (self.until is None or at < self.until)


def spans(text: str) -> t.Tuple[Span, ...]:
    """``0.7.0-0.7.4,0.8.0``: from the one to before the other, and again since the third."""
    pairs = [part.partition("-") for part in text.split(",")]
    return tuple(Span(release(since), release(until) if until else None) for since, _dash, until in pairs)


class Keyword(t.NamedTuple):
    """One keyword in one section."""

    name: str
    section: Path
    kind: str
    spans: t.Tuple[Span, ...]
    #: since when it has a successor, or no effect
    deprecated: t.Optional[Release] = None
    ignored: bool = False
    successor: str = ""

    @property
    def red_hat(self) -> bool:
        """Only ever known to Red Hat's 0.4.9."""
        return self.spans[0].since == release("rhel")

    def known_to(self, at: t.Optional[Release], has: t.Optional[Has] = None) -> bool:
        """Whether that release reads it, its distribution's patches included where ``has`` can tell."""
        if any(span.holds(at) for span in self.spans):
            return True
        if at is not None and at[:3] == _FIRST and (self.red_hat or self.name in _BACKPORTED):
            return True
        if has is None or at is None or self.red_hat or self.spans[-1].until is not None:
            return False
        # that the library has the word says nothing where it reads it in another section
        return not any(span.holds(at) for known in _table().values() if self.name in known for span in known[self.name].spans) and has(self.name)

    def is_deprecated(self, at: t.Optional[Release]) -> bool:
        return self.deprecated is not None and (at is None or self.deprecated <= at)

    def came_with(self, at: Release) -> t.Optional[Release]:
        """The first release after ``at`` that knows it; None if none does."""
        return None if self.red_hat else next((span.since for span in self.spans if span.since > at), None)

    def went_with(self, at: Release) -> t.Optional[Release]:
        """The release at or before ``at`` that took it away."""
        return next((span.until for span in reversed(self.spans) if span.until is not None and span.until <= at), None)


def _rows() -> t.Iterator[Keyword]:
    for line in _TABLE.strip().splitlines():
        name, where, kind, since, deprecated = (line.split() + ["", ""])[:5]
        when, _gt, successor = deprecated.lstrip("!").partition(">")
        letters = ""
        for char in reversed(where):  # dv0.5.0om0.5.0: a release belongs to the letter before it
            if not char.isalpha():
                letters = char + letters
                continue
            path, first = SECTIONS[char]
            known = spans(letters or since)
            if first and known[0].since < release(first):
                known = (known[0]._replace(since=release(first)), *known[1:])
            yield Keyword(name, path, kind, known, release(when) if when else None, deprecated[:1] == "!", successor)
            letters = ""


@functools.lru_cache(maxsize=None)
def _table() -> t.Mapping[Path, t.Mapping[str, Keyword]]:
    found: t.Dict[Path, t.Dict[str, Keyword]] = {path: {} for path, _since in SECTIONS.values()}
    for one in _rows():
        found[one.section][one.name] = one
    return found


def section_path(path: Path) -> Path:
    """The path under which a section's keywords are listed: an old word for blacklist is blacklist."""
    return ("blacklist", *path[1:]) if path[:1] == (_OLD_BLACKLIST,) else path


def all_keywords(section: Path) -> t.Mapping[str, Keyword]:
    """Every keyword of a section, of any release; none where nothing but other sections may stand."""
    return _table().get(section_path(section), {})


def keywords(section: Path, at: t.Optional[Release] = None, has: t.Optional[Has] = None) -> t.Dict[str, Keyword]:
    """The keywords that a release reads in a section."""
    return {name: one for name, one in all_keywords(section).items() if one.known_to(at, has)}


def sections_of(name: str, at: t.Optional[Release] = None, has: t.Optional[Has] = None) -> t.List[Path]:
    """The sections in which a release reads that keyword."""
    return [section for section, known in _table().items() if name in known and known[name].known_to(at, has)]


def section_text(path: Path) -> str:
    """A section in words."""
    return " of ".join(repr(name) for name in reversed(path)) if path else "the top of the file"
