# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which maps multipathd would rename when it reads its files again, and who uses them.

It gives every map that is there the name that the files say (libmultipath/propsel.c: select_alias; configure.c: select_action). The name under /dev/mapper is
then gone for a moment, and systemd unmounts what it had mounted by that name (252 does), whoever works there. What stands on a volume or a container above
the map has a name of its own and stays.

Only what is certain counts: where a name hangs on what cannot be known (a device section whose patterns may match or not), each name that it may get is
a candidate, and a map that has one of them already is none that is renamed.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InUseError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.block import users_of
from ansible_collections.lunar.iscsi.plugins.module_utils._host.sysfs import list_dir, read_text
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.document import Document, Place, multipath
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.grammar import Release
from ansible_collections.lunar.iscsi.plugins.module_utils._multipath.sysfs_maps import KernelMap, read_kernel_maps

SYS = "/sys"
PROC = "/proc"
_DEFAULTS, _OVERRIDES = Place(("defaults",)), Place(("overrides",))
_FRIENDLY = "user_friendly_names"
_WORDS: t.Mapping[str, bool] = {"yes": True, "1": True, "no": False, "0": False}
#: vendors for whose devices some releases have user_friendly_names no built in (libmultipath/hwtable.c)
_UNFRIENDLY = ("NETAPP", "PURE")
#: what a device section says of a device, and the files of sysfs where that stands
_KNOWN_BY = {"vendor": "vendor", "product": "model", "revision": "rev"}
Device = t.Mapping[str, t.Optional[str]]


def refusal(documents: t.Sequence[Document], bindings: t.Mapping[str, str], release: Release) -> t.Optional[InUseError]:
    """The maps in use that get another name once multipathd reads these files; None where there is none."""
    maps = read_kernel_maps(SYS)
    renamed = [(one, names, users) for one, names in find_renamed(maps, documents, bindings, release, _device) for users in [_users(one)] if users]
    if not renamed:
        return None
    them = "them" if len(renamed) > 1 else "it"
    return InUseError(
        "; ".join(f"map {one.alias} ({one.plain_wwid}), which multipathd would rename to {' or '.join(names)}" for one, names, _users in renamed),
        [user for _one, _names, users in renamed for user in users],
        f"systemd unmounts a file system whose map is renamed. Nothing was changed. Take {them} out of use first (umount, swapoff), or say"
        " reconfigure: false; then the name comes with the next boot")


def find_renamed(
    maps: t.Sequence[KernelMap], documents: t.Sequence[Document], bindings: t.Mapping[str, str], release: Release, device: t.Callable[[KernelMap], Device],
) -> t.List[t.Tuple[KernelMap, t.List[str]]]:
    """The maps that would certainly be renamed, each with the names that it may get. ``documents`` stand in the order in which they are read."""
    wanted = [(one, possible_names(one, documents, bindings, release, device)) for one in maps]
    # a name that another map keeps is not given to a second one, which then stays as it is
    kept = {one.alias for one, names in wanted if one.alias in names}
    return [(one, names) for one, names in wanted if one.alias not in names and not kept & set(names)]


def possible_names(
    one: KernelMap, documents: t.Sequence[Document], bindings: t.Mapping[str, str], release: Release, device: t.Callable[[KernelMap], Device],
) -> t.List[str]:
    """The names that the files may give to a map that is there."""
    own, overrides, defaults = (_settings(documents, place) for place in (multipath(one.plain_wwid), _OVERRIDES, _DEFAULTS))
    if own.get("alias"):
        return [own["alias"].encode("utf-8", "surrogateescape").decode("utf-8", "replace")]
    of_device = _of_device(documents, device(one))
    default = defaults.get(_FRIENDLY, "")
    said = next(({words[_FRIENDLY]} for words in (own, overrides) if words.get(_FRIENDLY) in _WORDS), None) or {
        default if word is None else word for word in of_device(_FRIENDLY, "no")}
    friendly = {_WORDS.get(word, False) for word in said}
    prefixes = [overrides["alias_prefix"]] if overrides.get("alias_prefix") else [
        prefix or defaults.get("alias_prefix") or "mpath" for prefix in of_device("alias_prefix", None)]
    names = [_friendly_name(one, bindings, prefixes)] if True in friendly else []
    if False in friendly:
        # 0.4.9 leaves the name as it is; what carries that number may be more than that
        names.append(one.plain_wwid if release >= (0, 5, 0) else one.alias)
    return names


def _friendly_name(one: KernelMap, bindings: t.Mapping[str, str], prefixes: t.Sequence[str]) -> str:
    """What ``user_friendly_names`` makes of a map that has a name already: that name, where the bindings do not say otherwise."""
    bound = next((alias for alias, wwid in bindings.items() if wwid == one.plain_wwid), "")
    if bindings.get(one.alias) == one.plain_wwid:
        return one.alias
    if bound:
        return bound
    if one.alias not in bindings and any(re.fullmatch(re.escape(prefix) + "[a-z]{1,7}", one.alias) for prefix in prefixes):
        return one.alias
    return f"a new name that begins with {' or '.join(sorted(set(prefixes)))}"


def _settings(documents: t.Sequence[Document], place: Place) -> t.Dict[str, str]:
    """What all files say of a section; the last one counts, or the first where this release does not merge such sections."""
    found = [document.settings(place) for document in documents if document.find(place)]
    if found and documents[0].stands_alone(place):
        found = found[:1]
    return {keyword: value for settings in found for keyword, value in settings.items()}


def _of_device(documents: t.Sequence[Document], device: Device) -> t.Callable[[str, t.Optional[str]], t.Set[t.Optional[str]]]:
    """A question for the values that the device sections may give to a keyword; None is among them where perhaps none does."""
    sections = [(section, _matches(section.get, device)) for document in documents for section in document.walk() if section.path == ("devices", "device")]

    def ask(keyword: str, built_in: t.Optional[str]) -> t.Set[t.Optional[str]]:
        said: t.Dict[str, bool] = {}
        for section, certain in sections:
            value = section.get(keyword) if certain is not False else None
            if value is not None:
                said[value] = said.get(value, False) or certain is True
        found: t.Set[t.Optional[str]] = set(said)
        if not any(said.values()):
            found.add(None)
            if device["vendor"] in _UNFRIENDLY and built_in is not None:
                found.add(built_in)
        return found

    return ask


def _matches(get: t.Callable[[str], t.Optional[str]], device: Device) -> t.Optional[bool]:
    """Whether a device section is for a device; None where that cannot be said."""
    certain: t.Optional[bool] = True
    for keyword, value in device.items():
        pattern = get(keyword)
        try:
            if pattern is None or (value is not None and re.search(pattern, value)):
                continue
        except re.error:  # multipath knows other patterns than we do
            certain = None
            continue
        if value is not None:
            return False
        certain = None
    return certain


def _device(one: KernelMap) -> Device:
    """What the first path of a map says of itself."""
    path = next(iter(list_dir(f"{SYS}/class/block/{one.dm}/slaves")), "")
    return {keyword: read_text(f"{SYS}/class/block/{path}/device/{name}") if path else None for keyword, name in _KNOWN_BY.items()}


def _users(one: KernelMap) -> t.List[str]:
    """Where a map or a partition on it is mounted, or used as swap."""
    folder = f"{SYS}/class/block"
    parts = [name for name in list_dir(f"{folder}/{one.dm}/holders") if re.match(r"part\d+-mpath-", read_text(f"{folder}/{name}/dm/uuid") or "")]
    devices = {f"/dev/mapper/{name}" for name in [one.name, *(read_text(f"{folder}/{part}/dm/name") for part in parts)]}
    return [str(user) for user in users_of([one.dm], SYS, PROC, opened=False) if user.kind in ("mount", "swap") and user.device in devices]
