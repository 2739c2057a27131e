# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""saveconfig.json: what targetctl restores at boot, in the form that every rtslib-fb since 2.1.69 reads (saveconfig.json(5), rtslib/root.py)."""

from __future__ import annotations

import json
import os
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.files import make_folder, read_bytes, write_atomic
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_configfs import (
    COMPANY,
    DEFAULT_GROUP,
    PLAIN_GROUP,
    PLUGINS,
    Acl,
    Auth,
    Backstore,
    Kernel,
    Key,
    PortalGroup,
    info_word,
)
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_steps import Saved
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_wanted import Store, Wanted

Entry = t.Dict[str, t.Any]
Content = t.Mapping[str, t.Any]

#: Debian's rtslib-fb has a folder and a service of its own
_DEBIAN_UNIT = "rtslib-fb-targetctl.service"
_UNITS = (_DEBIAN_UNIT, "target.service", "targetclid.service")
_NAME = "saveconfig.json"
#: what rtslib writes to an ALUA group, in the order of the alphabet; a group it cannot set makes it give up on everything
_ALUA = (
    "alua_access_state alua_access_status alua_access_type alua_support_active_nonoptimized alua_support_active_optimized alua_support_offline"
    " alua_support_standby alua_support_transitioning alua_support_unavailable alua_write_metadata implicit_trans_secs nonop_delay_msecs preferred"
    " trans_delay_msecs"
).split()
_SETTLED = ("0", "1", "2", "3")
#: rtslib restores attributes as files below attrib/, and this leads to files beside it, which it has no word for
_BESIDE = "../"
#: of user-space backstores, what is in their entry already, and what their handlers refuse
_IN_ENTRY = ("dev_config", "dev_size")
#: what an entry has only where it says something
_OPTIONAL = (
    "chap_userid chap_password chap_mutual_userid chap_mutual_password discovery_userid discovery_password discovery_mutual_userid"
    " discovery_mutual_password tag aio nullio control"
).split()


def locate_saved(root: str = "/") -> str:
    """The path of the saved file on this host; where no tools are installed yet, the path that those of its distribution have."""
    units = [unit for unit in _UNITS for folder in ("lib", "usr/lib") if os.path.exists(os.path.join(root, folder, "systemd/system", unit))]
    debian = _DEBIAN_UNIT in units or (not units and os.path.exists(os.path.join(root, "etc/debian_version")))
    return os.path.join(root, "etc", "rtslib-fb-target" if debian else "target", _NAME)


def folder_of(path: str) -> str:
    """The folder of the saved file, which is also where the kernel keeps persistent reservations."""
    return os.path.dirname(path)


def read_saved(path: str, root: str = "/") -> Saved:
    """The saved file and whether a service restores it; raises ``DamagedError`` where it cannot be understood."""
    data = read_bytes(path)
    wants = os.path.join(root, "etc/systemd/system")
    enabled = any(
        os.path.lexists(os.path.join(wants, folder, unit)) for unit in _UNITS for folder in ("multi-user.target.wants", "remote-fs.target.wants")
    )
    if not os.path.isdir(os.path.join(root, "run/systemd/system")):
        enabled = True  # another init, of which we know nothing
    if data is None:
        return Saved(path=path, restored_at_boot=enabled)
    try:
        content = json.loads(data.decode("utf-8"))
    except ValueError as error:
        raise DamagedError(path, f"is not JSON: {error}", "Nothing of it would come back at boot; repair it or move it away") from None
    lists = [content.get(word, []) for word in ("storage_objects", "targets", "fabric_modules")] if isinstance(content, dict) else [None]
    if not all(isinstance(one, list) and all(isinstance(entry, dict) for entry in one) for one in lists):
        raise DamagedError(path, "is not a configuration that targetctl saved", "Repair it or move it away")
    return Saved(path=path, content=content, restored_at_boot=enabled)


def write_saved(wanted: Wanted, kernel: Kernel, saved: Saved) -> None:
    """Put what the kernel has for this task's objects into the file, whole or not at all; everything else in it stays."""
    make_folder(os.path.dirname(saved.path), 0o755)
    text = json.dumps(merged(wanted, kernel, saved.content), sort_keys=True, indent=2) + "\n"
    write_atomic(saved.path, text.encode("utf-8"), 0o600)


def is_saved(wanted: Wanted, kernel: Kernel, content: t.Optional[Content]) -> bool:
    """Whether the file already says what ``merged`` would write; what other versions of the tools add does not count."""
    return _within(merged(wanted, kernel, content), content or {"storage_objects": [], "targets": []})


def merged(wanted: Wanted, kernel: Kernel, content: t.Optional[Content]) -> Entry:
    """The file's content with this task's target and backstores as the kernel has them now."""
    new: Entry = dict(content or {})
    old_targets = list(new.get("targets", []))
    ours = [one for one in old_targets if (one.get("wwn"), one.get("fabric")) == (wanted.name, "iscsi")]
    groups = kernel.targets.get(wanted.name)
    keys = set(wanted.stores) | {lun.backstore for group in (groups or {}).values() for lun in group.luns.values() if lun.backstore}
    keys |= {key for key in _saved_keys(ours) if key not in kernel.backstores}
    targets = {(wanted.name, "iscsi"): dump_target(wanted.name, groups)} if groups is not None else {}
    new["targets"] = _replaced(old_targets, {(wanted.name, "iscsi")}, targets, lambda one: (one.get("wwn"), one.get("fabric")))
    stores = {key: dump_store(kernel.backstores[key]) for key in sorted(keys) if key in kernel.backstores}
    new["storage_objects"] = _replaced(list(new.get("storage_objects", [])), keys, stores, _store_key)
    if wanted.discovery is not None:
        fabric = {"iscsi": _discovery(kernel)} if kernel.enforce_discovery else {}
        new["fabric_modules"] = _replaced(list(new.get("fabric_modules", [])), {"iscsi"}, fabric, lambda one: one.get("name"))
    return new


def _store_key(entry: Content) -> Key:
    plugin = str(entry.get("plugin"))
    return Key(PLUGINS.get(plugin, plugin), str(entry.get("name")))


def _saved_keys(targets: t.Iterable[Content]) -> t.Iterator[Key]:
    for target in targets:
        for group in target.get("tpgs", []):
            for lun in group.get("luns", []):
                parts = str(lun.get("storage_object", "")).split("/")
                if len(parts) == 4:
                    yield Key(PLUGINS.get(parts[2], parts[2]), parts[3])


def _replaced(
    entries: t.Sequence[Entry], gone: t.Container[t.Any], new: t.Mapping[t.Any, Entry], identity: t.Callable[[Content], t.Any]
) -> t.List[Entry]:
    """The list with the new entries where the old ones were, others at the end, and those of ``gone`` that have no successor left out."""
    todo = dict(new)
    result = []
    for entry in entries:
        name = identity(entry)
        if name in todo:
            result.append(todo.pop(name))
        elif name not in gone:
            result.append(entry)
    return result + list(todo.values())


def _within(new: t.Any, old: t.Any) -> bool:
    if isinstance(new, dict):
        return isinstance(old, dict) and all(name in old and _within(value, old[name]) for name, value in new.items()) and not _left(new, old)
    if isinstance(new, list):
        return isinstance(old, list) and len(new) == len(old) and all(any(_within(one, other) for other in old) for one in new)
    if isinstance(new, bool) or isinstance(old, bool):
        return bool(new) == bool(old)
    return str(new) == str(old)


def _left(new: Content, old: Content) -> t.List[str]:
    """What an entry of the file still says and should not; a secret that was taken away would come back at boot."""
    return [name for name, value in old.items() if name not in new and value and (name in _OPTIONAL or name.startswith(_BESIDE))]


def saved_serial(content: t.Optional[Content], store: Store) -> str:
    """The unit serial that a backstore had when it was saved; "" where none is saved for this image."""
    for entry in (content or {}).get("storage_objects", []):
        if _store_key(entry) == store.key and (entry.get("dev") or entry.get("config") or "") in (store.path, store.config):
            return str(entry.get("wwn") or "")
    return ""


# what the kernel has, in rtslib's form. Keys that an older rtslib does not take are written only where they say something


def dump_store(store: Backstore) -> Entry:
    """A backstore as an entry of ``storage_objects``."""
    entry: Entry = {
        "plugin": store.key.plugin,
        "name": store.key.name,
        "wwn": store.serial,
        "attributes": dict(_numbers(store.attributes), **_beside(store)),
        "alua_tpgs": [_dump_alua(name, group) for name, group in store.groups.items()],
    }
    if store.key.plugin == "fileio":
        entry.update(dev=store.path, size=store.size, write_back=store.write_back)
        if info_word(store, "Async") == "1":
            entry["aio"] = True
    elif store.key.plugin == "block":
        entry.update(dev=store.path, readonly=store.readonly, write_back=store.attributes.get("emulate_write_cache") == "1")
        if info_word(store, "exclusive") == "0":
            entry["exclusive"] = False
    elif store.key.plugin == "ramdisk":
        entry.update(size=store.size)
        if store.nullio:
            entry["nullio"] = True
    elif store.key.plugin == "user":
        entry.update(config=store.config, size=store.size)
        entry["attributes"] = {name: value for name, value in entry["attributes"].items() if name not in _IN_ENTRY}
        if entry["attributes"].get("emulate_write_cache") == 0:
            del entry["attributes"]["emulate_write_cache"]
        if info_word(store, "HwMaxSectors"):
            entry["hw_max_sectors"] = int(info_word(store, "HwMaxSectors"))
        if info_word(store, "MaxDataAreaMB"):
            entry["control"] = f"max_data_area_mb={info_word(store, 'MaxDataAreaMB')}"
    else:
        entry.update(dev=store.path)
        del entry["wwn"]
    return entry


def _beside(store: Backstore) -> Entry:
    """Settings of the default ALUA group and of the WWID's company, which rtslib saves but does not restore, or does not save."""
    default = store.groups.get(DEFAULT_GROUP, {})
    found = {
        f"{_BESIDE}alua/{DEFAULT_GROUP}/{name}": default[name]
        for name, plain in PLAIN_GROUP.items()
        if default.get(name, plain) != plain and (name != "alua_access_state" or default[name] in _SETTLED)
    }
    if store.company != COMPANY and store.key.plugin != "pscsi":
        found[f"{_BESIDE}wwn/company_id"] = f"{store.company:#08x}"
    return _numbers(found)


def _numbers(settings: t.Mapping[str, str]) -> Entry:
    return {name: int(value) if value.lstrip("-").isdigit() else value for name, value in settings.items() if value}


def _dump_alua(name: str, group: t.Mapping[str, str]) -> Entry:
    """A group in transition is saved as active/optimized: no other number would be taken back."""
    entry = _numbers({word: group[word] for word in _ALUA if group.get(word)})
    if group.get("alua_access_state") not in _SETTLED:
        entry["alua_access_state"] = 0
    return dict(entry, name=name, tg_pt_gp_id=int(group.get("tg_pt_gp_id") or 0))


def dump_target(name: str, groups: t.Mapping[int, PortalGroup]) -> Entry:
    """A target as an entry of ``targets``."""
    return {"fabric": "iscsi", "wwn": name, "tpgs": [_dump_group(group) for group in groups.values()]}


def _dump_group(group: PortalGroup) -> Entry:
    luns = [
        {"index": lun.number, "storage_object": f"/backstores/{lun.backstore}", "alias": lun.link, "alua_tg_pt_gp_name": lun.group or None}
        for lun in group.luns.values()
        if lun.backstore
    ]
    portals = []
    for name, (iser, offload) in group.portals.items():
        address, _colon, port = name.rpartition(":")
        portals.append({"ip_address": address, "port": int(port), "iser": iser, "offload": offload})
    return dict(
        _dump_auth(group.auth, "chap_"),
        tag=group.tag,
        enable=group.enabled,
        attributes=_numbers(group.attributes),
        parameters={name: value for name, value in group.parameters.items() if value},
        luns=luns,
        portals=portals,
        node_acls=[_dump_acl(acl) for acl in group.acls.values()],
    )


def _dump_acl(acl: Acl) -> Entry:
    mapped = [
        {"index": one.number, "tpg_lun": one.lun, "write_protect": one.write_protect, "alias": one.link}
        for one in acl.mapped.values()
        if one.lun is not None
    ]
    entry = dict(_dump_auth(acl.auth, "chap_"), node_wwn=acl.initiator, attributes=_numbers(acl.attributes), mapped_luns=mapped)
    return dict(entry, tag=acl.tag) if acl.tag else entry


def _dump_auth(auth: Auth, prefix: str) -> Entry:
    words = (("userid", auth.userid), ("password", auth.password), ("mutual_userid", auth.userid_mutual), ("mutual_password", auth.password_mutual))
    return {prefix + word: value for word, value in words if value}


def _discovery(kernel: Kernel) -> Entry:
    return dict(_dump_auth(kernel.discovery, "discovery_"), name="iscsi", discovery_enable_auth=True)
