# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the value of a keyword of multipath.conf may be, by kind; which values mean the same; and values of task options as words of the file.

Matched to multipath-tools 0.4.9 to 0.14.3: libmultipath/dict.c (handlers), structs.c (names of protocols), prio.h, checkers.h, prkey.c.
"""

from __future__ import annotations

import difflib
import functools
import re
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.grammar import Release
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.schema import Has, Keyword, Span, as_text, spans

_INT_MAX = 2**31 - 1
#: names and WWIDs of maps: DM_NAME_LEN of the kernel and WWID_SIZE of multipath-tools are 128, with the NUL at the end
_NAME_MAX = 127
# flags of regcomp(3), the same in glibc and musl
_REG_EXTENDED, _REG_NOSUB = 1, 8
# Kinds that are words and numbers. Alternatives are parted by blanks; words joined by = mean the same, the first is how it is written here;
# @since-until holds for one word or range, ~since says from when a word is deprecated.
_WORDS: t.Mapping[str, str] = {
    "bool": "yes=1 no=0",
    "queueing": "yes=1=on@0.4.9-0.6.0 no=0=off@0.4.9-0.6.0",
    "find": "yes=1=on@0.7.7 no=0=off@0.7.7 strict@0.7.7 greedy@0.7.7 smart@0.7.7",
    "marginal": "on@0.8.9=yes=1 off@0.8.9=no=0 fpin@0.8.9",
    "flush": "always@0.9.9=yes~0.9.9=1~0.9.9 unused@0.9.9=no~0.9.9=0~0.9.9 never@0.9.9",
    "policy": "failover multibus group_by_serial group_by_prio group_by_node_name group_by_tpg@0.9.6",
    "failback": "manual immediate followover@0.5.0 0..max",
    "weight": "uniform priorities",
    "retry": "queue fail=0 1..max",
    "off_count": "off 0..max",
    "no_count": "no=0 1..max",
    "retries": "off 0..5",
    "dev_loss": "infinity@0.5.0=4294967295@0.8.4=2147483647@0.5.0-0.8.4 0..4294967295",
    "log": "always once",
    "max_fds": "max 0..max",
    "resize": "never grow_only grow_shrink",
    "verbosity": "0..max@0.4.9-0.8.8 0..4@0.8.8",
    "poll": "1..4294967294",
    "u32": "0..4294967295",
    "count": "0..max",
    "int": "-2147483648..max",
    "uxsock": "1000..max@0.6.0-0.7.0 4000..max@0.7.0",
    "vpd": "hp3par",
    "protocol": "scsi:fcp scsi:spi scsi:ssa scsi:sbp scsi:srp scsi:iscsi scsi:sas scsi:adt scsi:ata scsi:usb scsi:unspec ccw cciss undef"
                " nvme@0.9.0-0.9.2 nvme:pcie@0.9.2 nvme:rdma@0.9.2 nvme:fc@0.9.2 nvme:tcp@0.9.2 nvme:loop@0.9.2 nvme:apple-nvme@0.9.2 nvme:unspec@0.9.2",
}
#: kinds whose numbers may have no sign, not even a plus
_UNSIGNED = ("poll", "u32")
#: kinds whose words name a plug-in of multipath-tools; a host may have others than these
_PLUGINS: t.Mapping[str, str] = {
    "prio": "const alua emc hp_sw rdac hds random datacore netapp@0.4.9-0.5.0 ontap@0.5.0 iet@0.5.0 weightedpath@0.5.0 sysfs@0.6.2"
            " path_latency@0.7.2 ana@0.8.0",
    "checker": "tur directio emc_clariion hp_sw rdac readsector0 cciss_tur rbd@0.6.3-0.7.8 none@0.7.3",
}
#: kinds that are names and a count of arguments, by how many words stand before the count; the names are those of the kernel, which may learn others
_COUNTED: t.Mapping[str, t.Tuple[int, str]] = {
    "selector": (1, "round-robin queue-length service-time historical-service-time io-affinity"),
    "features": (0, "queue_if_no_path retain_attached_hw_handler pg_init_retries pg_init_delay_msecs queue_mode"),
    "handler": (0, "alua emc hp_sw rdac"),
}


class Word(t.NamedTuple):
    text: str
    span: Span
    deprecated: t.Optional[Release]


class Range(t.NamedTuple):
    low: int
    high: int
    span: Span


class Kind(t.NamedTuple):
    #: groups of words that mean the same
    words: t.Tuple[t.Tuple[Word, ...], ...]
    ranges: t.Tuple[Range, ...]


class Wrong(t.NamedTuple):
    """What is wrong with a value, as the second half of a sentence; ``harmful`` as in ``grammar.Problem``."""

    what: str
    remedy: str
    harmful: bool = True


def _word(text: str) -> Word:
    text, _tilde, deprecated = text.partition("~")
    text, _at, span = text.partition("@")
    return Word(text, spans(span)[0], spans(deprecated)[0].since if deprecated else None)


@functools.lru_cache(maxsize=None)
def _kind(name: str) -> Kind:
    words: t.List[t.Tuple[Word, ...]] = []
    ranges: t.List[Range] = []
    for alternative in (_WORDS.get(name) or _PLUGINS[name]).split():
        if ".." in alternative:
            bounds, _at, span = alternative.partition("@")
            low, _dots, high = bounds.partition("..")
            ranges.append(Range(int(low), _INT_MAX if high == "max" else int(high), spans(span)[0]))
        else:
            words.append(tuple(_word(one) for one in alternative.split("=")))
    return Kind(tuple(words), tuple(ranges))


def check_value(one: Keyword, value: str, at: t.Optional[Release] = None, has: t.Optional[Has] = None,
                plugins: t.Optional[t.Mapping[str, t.Collection[str]]] = None) -> t.Optional[Wrong]:
    """What is wrong with a value of that keyword for that release; None where nothing is.

    ``plugins`` names prioritizers (``prio``) and checkers (``checker``) that the host has beyond those of multipath-tools.
    """
    if one.kind in _WORDS or one.kind in _PLUGINS:
        return _check_words(one, value, at, has, (plugins or {}).get(one.kind, ()))
    if one.kind in _COUNTED:
        return _check_counted(one, value)
    if one.kind == "regex":
        return _check_pattern(value, at) if one.section[0].startswith("blacklist") else _check_regex(value)
    check = _CHECKS.get(one.kind)  # a kind that is not listed takes any text
    return check(value, at) if check else None


def _check_words(one: Keyword, value: str, at: t.Optional[Release], has: t.Optional[Has], more: t.Collection[str]) -> t.Optional[Wrong]:
    kind = _kind(one.kind)
    ranges = [each for each in kind.ranges if each.span.holds(at)]
    number = _number(value, signed=one.kind not in _UNSIGNED)
    within = value in more or (number is not None and any(each.low <= number <= each.high for each in ranges))
    for group in kind.words:
        for word in group:
            if word.text == value and not within:
                return _check_word(word, group, kind, at, has)
    if within:
        return None
    words = _live(kind, at, has)
    if one.kind == "policy":  # multipath-tools looks at the begin of the word only
        begin = next((word for word in words if value.startswith(word)), "")
        if begin:
            return Wrong(f"is read as {begin!r}", f"Write {begin}", harmful=False)
    numbers = [f"a number from {each.low} to {each.high}" for each in ranges]
    allowed = " or ".join([", ".join(repr(word) for word in words), *numbers] if words else numbers)
    near = difflib.get_close_matches(value.strip().lower(), words, 1)
    return Wrong("is out of range" if number is not None and ranges else "is not allowed", f"Did you mean {near[0]!r}?" if near else f"Allowed is {allowed}")


def _check_word(word: Word, group: t.Sequence[Word], kind: Kind, at: t.Optional[Release], has: t.Optional[Has]) -> t.Optional[Wrong]:
    if not word.span.holds(at) and not _carried_back(word, kind, has):
        if at is not None and word.span.since > at:
            # 0.4.9 is Red Hat's in practice, with words of later releases; where its library cannot be asked, its multipath -t still is
            harmful = has is not None or at[:3] != (0, 4, 9)
            return Wrong(f"is not known to multipath-tools {as_text(at)}", f"It came with {as_text(word.span.since)}", harmful)
        return Wrong(f"is not known to multipath-tools since {as_text(word.span.until or ())}", "Take another value")
    if word.deprecated is not None and at is not None and word.deprecated <= at:
        return Wrong("is deprecated", f"Write {group[0].text!r}", harmful=False)
    return None


@functools.lru_cache(maxsize=None)
def _shared() -> t.FrozenSet[str]:
    """Words that several kinds know: that a library has one says nothing about any of them."""
    seen: t.Set[str] = set()
    twice: t.Set[str] = set()
    for name in (*_WORDS, *_PLUGINS):
        words = {word.text for group in _kind(name).words for word in group}
        twice |= words & seen
        seen |= words
    return frozenset(twice)


def _carried_back(word: Word, kind: Kind, has: t.Optional[Has]) -> bool:
    """Whether the host's library takes a word of a later release, told by those that came with it and mean nothing else."""
    if has is None or word.span.until is not None:
        return False
    return any(has(peer.text) for group in kind.words for peer in group if peer.span.since == word.span.since and peer.text not in _shared())


def _live(kind: Kind, at: t.Optional[Release], has: t.Optional[Has] = None) -> t.List[str]:
    """The words that a release takes, one of each meaning."""
    found: t.List[str] = []
    for group in kind.words:
        found += [word.text for word in group if word.span.holds(at) or _carried_back(word, kind, has)][:1]
    return found


def _number(value: str, *, signed: bool = True) -> t.Optional[int]:
    """A number as strtol reads it, but nothing may follow it."""
    sign = "[+-]?" if signed else ""
    return int(value) if re.fullmatch(rf"[ \t\r\f\v]*{sign}[0-9]{{1,20}}[ \t\r\f\v]*", value) else None


def _check_counted(one: Keyword, value: str) -> t.Optional[Wrong]:
    """``features`` and the like: a count, and as many words after it."""
    before, known = _COUNTED[one.kind]
    words = value.split()
    example = {"selector": "'service-time 0'", "features": "'1 queue_if_no_path', or '0' for none", "handler": "'1 alua', or '0' for none"}[one.kind]
    count = words[before] if len(words) > before else ""
    if not re.fullmatch(r"[0-9]{1,3}", count):
        return Wrong("has no count of arguments", f"Write it as {example}")
    arguments = words[before + 1:]
    if int(count) != len(arguments):
        return Wrong(f"says {int(count)} arguments, and {len(arguments)} follow", f"Write it as {example}")
    names = known.split()
    for name in words[:1] if one.kind == "selector" else arguments[:1] if one.kind == "handler" else arguments:
        if name not in names and not name.isdigit():
            near = difflib.get_close_matches(name, names, 1, 0.7)
            if near:
                return Wrong(f"holds {name!r}, which the kernel does not know", f"Did you mean {near[0]!r}?")
            if one.kind != "features":
                return Wrong(f"holds {name!r}, which is unknown here", f"Known are {', '.join(names)}", harmful=False)
    return None


def _check_name(value: str, _at: t.Optional[Release]) -> t.Optional[Wrong]:
    return Wrong("holds a slash, which the name of a map cannot", "Leave it out") if "/" in value else None


def _check_alias(value: str, at: t.Optional[Release]) -> t.Optional[Wrong]:
    if value in ("", ".", "..", "control"):
        return Wrong("cannot be the name of a map" if value else "is no name", "Give it another name, or leave the alias out")
    return _check_name(value, at) or _check_length(value, "the name of a map")


def _check_wwid(value: str, _at: t.Optional[Release]) -> t.Optional[Wrong]:
    if not value:
        return Wrong("is that of no map", "Say which map is meant")
    return _check_length(value, "a WWID")


def _check_length(value: str, what: str) -> t.Optional[Wrong]:
    size = len(value.encode("utf-8", "surrogateescape"))
    return Wrong(f"has {size} bytes, and {what} at most {_NAME_MAX}", "Make it shorter") if size > _NAME_MAX else None


def _check_path(value: str, _at: t.Optional[Release]) -> t.Optional[Wrong]:
    return None if value.startswith("/") else Wrong("is not an absolute path", "Begin it with a slash")


def _check_mode(value: str, _at: t.Optional[Release]) -> t.Optional[Wrong]:
    good = re.fullmatch(r"0?[0-7]{1,3}", value) is not None
    return None if good else Wrong("is not a mode", "Write it in octal, from 0 to 0777")


def _check_owner(value: str, _at: t.Optional[Release]) -> t.Optional[Wrong]:
    if re.fullmatch(r"[0-9]{1,10}", value):
        return None if int(value) <= 2**32 - 1 else Wrong("is out of range", "Allowed is a number from 0 to 4294967295 or the name of a user")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.@\\-]*[$]?", value):
        return Wrong("is neither a number nor the name of a user", "Write one of them")
    if _id_of("user", value) is not None:
        return None
    return Wrong("is the name of no user of this host, so the line is dropped", "Make the user first, or write a number", harmful=False)


def _check_group(value: str, at: t.Optional[Release]) -> t.Optional[Wrong]:
    """multipath-tools looks for a user here, too, and takes the group that is the user's first; names of groups it does not know."""
    wrong = _check_owner(value, at)
    number = _id_of("group", value) if wrong is not None and not wrong.harmful else None
    if number is None:
        return wrong
    return Wrong("is the name of a group, and multipath-tools looks for a user of that name, to take the group from", f"Write its number, {number}")


def _id_of(kind: str, name: str) -> t.Optional[int]:
    """The number of a user or group of this host."""
    import grp  # seldom needed, both
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid if kind == "user" else grp.getgrnam(name).gr_gid
    except KeyError:
        return None


#: one leading zero and one x are passed over, and something has to follow
_PRKEY = r"0?[xX]?(?P<digits>[0-9a-fA-F]{1,16})(?<!^0)"


def _check_prkey(value: str, at: t.Optional[Release]) -> t.Optional[Wrong]:
    if value == "file":
        return None if at is None or at >= (0, 7, 3) else Wrong(f"is not known to multipath-tools {as_text(at)}", "It came with 0.7.3")
    key, colon, flag = value.partition(":")
    if colon and (flag != "aptpl" or (at is not None and at < (0, 7, 8))):
        return Wrong(f"ends with {colon + flag!r}", "Only ':aptpl' may stand there, since 0.7.8")
    if re.fullmatch(_PRKEY, key):
        return None
    return Wrong("is not a reservation key", "Write up to 16 hex digits, 0x before them or not; 'file' takes it from the prkeys file")


def _check_uid_attrs(value: str, _at: t.Optional[Release]) -> t.Optional[Wrong]:
    bad = [word for word in value.split() if not re.fullmatch(r"[^:]+:.+", word)]
    return Wrong(f"holds {bad[0]!r}, which is no pair", "Write pairs of device and attribute, such as 'sd:ID_SERIAL dasd:ID_UID'") if bad else None


def _without_mark(value: str, at: t.Optional[Release]) -> str:
    """A pattern of a blacklist without the mark that inverts it, or the backslash that keeps one from doing so (since 0.8.5)."""
    return value[1:] if value.startswith(("!", "\\!")) and (at is None or at >= (0, 8, 5)) else value


def _check_pattern(value: str, at: t.Optional[Release]) -> t.Optional[Wrong]:
    pattern = _without_mark(value, at)
    if not pattern:
        inverted = value.startswith("!")
        return Wrong(f"is an empty pattern, which matches {'nothing' if inverted else 'everything'}",
                     "Leave it out" if inverted else "Leave it out, or write '.*' if that is meant", harmful=False)
    return _check_regex(pattern)


def _check_regex(pattern: str) -> t.Optional[Wrong]:
    """The C library of this host is asked: multipath-tools gives the pattern to the same function."""
    if not re.search(r"[\\\[\](){}*+?|^$]", pattern):
        return None
    said = _regcomp(pattern)
    if not said:
        return None
    return Wrong(f"is not a regular expression: {said}", "To match everything write '.*'" if pattern == "*" else "Write it as in regex(7), extended")


def _regcomp(pattern: str) -> str:
    """Why regcomp(3) refuses a pattern; nothing where it takes it, or where it cannot be asked."""
    try:
        import ctypes  # not on every host, and seldom needed

        library = ctypes.CDLL(None)
        compiled = ctypes.create_string_buffer(512)  # a regex_t has 64 bytes or less
        code = library.regcomp(compiled, ctypes.c_char_p(pattern.encode("utf-8", "surrogateescape")), _REG_EXTENDED | _REG_NOSUB)
        if code == 0:
            library.regfree(compiled)
            return ""
        said = ctypes.create_string_buffer(128)
        library.regerror(code, compiled, said, ctypes.c_size_t(len(said)))
        return said.value.decode("utf-8", "replace")
    except (ImportError, AttributeError, OSError):
        return ""


_CHECKS: t.Mapping[str, t.Callable[[str, t.Optional[Release]], t.Optional[Wrong]]] = {
    "name": _check_name, "path": _check_path, "mode": _check_mode, "owner": _check_owner, "group": _check_group,
    "alias": _check_alias, "wwid": _check_wwid,
    "prkey": _check_prkey, "uid_attrs": _check_uid_attrs,
}
#: kinds where a number in YAML is read otherwise than it is written: octal, hexadecimal
_QUOTED_KINDS = ("mode", "prkey")


def normalise(one: Keyword, value: str, at: t.Optional[Release] = None) -> str:
    """The value in the form in which two that mean the same to multipath-tools are equal."""
    if one.kind in _WORDS:
        kind = _kind(one.kind)
        for group in kind.words:
            if any(word.text == value and word.span.holds(at) for word in group):
                return next(word.text for word in group if word.span.holds(at))
        number = _number(value)
        if number is None or str(number) == value:
            return value
        return normalise(one, str(number), at)
    if one.kind in _COUNTED or one.kind == "uid_attrs":
        return " ".join(value.split())
    if one.kind == "mode" and re.fullmatch(r"[0-7]{1,4}", value):
        return f"{int(value, 8):04o}"
    if one.kind == "prkey":
        key, colon, flag = value.partition(":")
        found = re.fullmatch(_PRKEY, key)
        return f"{int(found.group('digits'), 16):#x}{colon}{flag}" if found else value
    return value


def same(one: Keyword, left: str, right: str, at: t.Optional[Release] = None) -> bool:
    """Whether two values of a keyword mean the same to multipath-tools."""
    return normalise(one, left, at) == normalise(one, right, at)


def render_value(one: Keyword, value: t.Any, at: t.Optional[Release] = None) -> str:
    """The value of a task's option as the word of the file: ``True`` is ``yes``, ``60`` is ``60``, a list of features gets its count.

    Raises ``InputError`` where a value has no such word. What comes back is not checked yet: that does ``check_value``.
    """
    subject = f"option {one.name!r}"
    if isinstance(value, bool):
        wanted = ("yes", "on", "always") if value else ("no", "off")
        for group in _kind(one.kind).words if one.kind in _WORDS else ():
            if any(word.text in wanted for word in group):
                return next(word.text for word in group if word.span.holds(at))
        raise InputError(subject, f"{value} is neither true nor false in multipath.conf", "Put the word in quotes")
    if isinstance(value, int):
        if one.kind in _QUOTED_KINDS:
            raise InputError(subject, f"{value} is a number, which YAML may have read otherwise than it is written", "Put it in quotes")
        return str(value)
    if isinstance(value, (list, tuple)) and (one.kind in ("features", "handler", "uid_attrs")):
        words = [str(part) for part in value]
        return " ".join(words) if one.kind == "uid_attrs" else " ".join([str(len(" ".join(words).split())), *words])
    if not isinstance(value, str):
        raise InputError(subject, f"is a {type(value).__name__}", "Give it as text, a number, or true or false")
    if re.search(r"[\n\r\0]", value):
        raise InputError(subject, f"{value!r} holds the end of a line or a NUL byte, which a value cannot", "Leave it out")
    return value
