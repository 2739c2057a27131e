# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first half of a lio_target plan: what has to go, who would miss it, and what is left then. Pure."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import Step
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError, InUseError
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_configfs import (
    DEFAULT_GROUP,
    Acl,
    Backstore,
    Kernel,
    Key,
    Mapped,
    PortalGroup,
    plain_portal,
)
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_steps import (
    Op,
    group_path,
    lun_sessions,
    remove_acl,
    remove_group,
    remove_lun,
    remove_mapped,
    sessions_of,
)
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_wanted import Access, Mask, Wanted, find_store

Groups = t.Dict[int, PortalGroup]
_NAMED = 3


def accesses_of(wanted: Wanted, tag: int) -> t.Mapping[str, Access]:
    """The ACLs that a task names for a portal group."""
    return {one.initiator: one for one in wanted.accesses if one.tags is None or tag in one.tags}


def masks_of(access: Access, luns: t.Iterable[int], mapped: t.Mapping[int, Mapped]) -> t.Sequence[Mask]:
    """What an initiator shall see, of LUNs that the portal group will have; without a list, each LUN where it is, new ones under their own number."""
    if access.masks is not None:
        return access.masks
    places = {one.lun: number for number, one in mapped.items() if one.lun is not None}
    masks = []
    for lun in sorted(luns):
        number = places.get(lun, lun)
        while lun not in places and number in places.values():
            number += 1
        places[lun] = number
        masks.append(Mask(lun=lun, mapped=number))
    return masks


def store_of(wanted: Wanted, kernel: Kernel, name: str) -> t.Optional[Key]:
    """The backstore that a LUN names: of the task, or one that is there."""
    return find_store(wanted.stores, name) or find_store(kernel.backstores, name)


def stale_reason(wanted: Wanted, store: Backstore) -> str:
    """Why a backstore cannot become what is wanted but by being made anew; "" where it can."""
    new = wanted.stores[store.key]
    if not store.enabled or not store.serial:
        return "it was never finished"
    if new.path and new.path != store.path:
        return f"its path is {store.path}"
    if new.config and new.config != store.config:
        return f"its config is {store.config}"
    for word in ("write_back", "readonly", "nullio"):
        if getattr(new, word) is not None and getattr(new, word) != getattr(store, word):
            return f"its {word} is {str(getattr(store, word)).lower()}"
    if new.serial and new.serial != store.serial:
        return f"its wwn is {store.serial}"
    if store.key.plugin == "ramdisk" and new.size is not None and new.size > store.size:
        return f"its size is {store.size}"
    return ""


class Remover:
    """Works out the removals of one task; ``steps`` and ``kernel`` (what is left) are the result of ``run``."""

    def __init__(self, wanted: Wanted, kernel: Kernel) -> None:
        self.wanted = wanted
        self.kernel = kernel
        self.steps: t.List[Step] = []
        #: backstores to be made anew, and why
        self.stale = {key: stale_reason(wanted, store) for key, store in kernel.backstores.items() if wanted.present and key in wanted.stores}
        self.stale = {key: reason for key, reason in self.stale.items() if reason}
        #: what would be taken away from a session, and from which
        self._missed: t.List[t.Tuple[str, str]] = []
        self._groups: Groups = dict(kernel.targets.get(wanted.name, {}))

    def run(self) -> None:
        """Fill ``steps`` and ``kernel``; raises ``InUseError`` where sessions would lose something and the task does not force."""
        used = {lun.backstore for group in self._groups.values() for lun in group.luns.values() if lun.backstore}
        for key in self.stale:
            self._check_stale(key)
        exists = self.wanted.name in self.kernel.targets
        if exists and not self.wanted.present:
            self._drop_target()
        elif exists:
            for tag in list(self._groups):
                self._visit(tag)
        targets = dict(self.kernel.targets)
        if exists and self.wanted.present:
            targets[self.wanted.name] = self._groups
        else:
            targets.pop(self.wanted.name, None)
        self.kernel = dataclasses.replace(self.kernel, targets=targets)
        self._drop_alua_groups()
        self._drop_backstores(used)
        if self._missed and not self.wanted.force:
            things, users = (list(dict.fromkeys(column)) for column in zip(*self._missed))
            raise InUseError(
                "; ".join(things[:_NAMED]) + (f"; and {len(things) - _NAMED} more" if len(things) > _NAMED else ""),
                users,
                "Log these initiators out first, or say force: true and they lose what is taken away",
            )

    def _miss(self, thing: str, users: t.Sequence[str]) -> None:
        self._missed += [(thing, user) for user in users]

    def _step(self, action: str, subject: str, before: t.Union[str, t.Mapping[str, t.Any]], ops: t.Sequence[Op]) -> None:
        self.steps.append(Step(action, subject, before=before, work=tuple(ops)))

    # the target and its portal groups

    def _drop_target(self) -> None:
        for tag, group in self._groups.items():
            self._drop_group(tag, group)
        self._step("remove", f"target {self.wanted.name}", "target", [Op("rmdir", f"iscsi/{self.wanted.name}")])
        self._groups = {}

    def _drop_group(self, tag: int, group: PortalGroup) -> None:
        self._miss(f"portal group {tag} of {self.wanted.name}", sessions_of(group))
        base = group_path(self.wanted.name, tag)
        self._step(
            "remove",
            f"portal group {tag} of {self.wanted.name}",
            {
                "portals": ", ".join(group.portals),
                "acls": ", ".join(group.acls),
                "luns": ", ".join(f"{number}: {lun.backstore}" for number, lun in group.luns.items()),
            },
            remove_group(base, group),
        )

    def _visit(self, tag: int) -> None:
        group = self._groups[tag]
        if tag not in self.wanted.groups and self.wanted.purge:
            self._drop_group(tag, group)
            del self._groups[tag]
            return
        doomed = self._doomed_luns(tag, group)
        acls = {initiator: self._visit_acl(tag, group, acl, doomed) for initiator, acl in group.acls.items()}
        base, where = group_path(self.wanted.name, tag), f"of portal group {tag} of {self.wanted.name}"
        for number in doomed:
            self._miss(f"LUN {number} {where}", lun_sessions(group, number))
            self._step("remove", f"LUN {number} {where}", f"{group.luns[number].backstore}", remove_lun(base, group, number))
        portals = dict(group.portals)
        for portal in group.portals:
            if self.wanted.purge and plain_portal(portal) not in self.wanted.groups[tag].portals:
                self._miss(f"portal {portal} {where}", sessions_of(group))
                self._step("remove", f"portal {portal} {where}", portal, [Op("rmdir", f"{base}/np/{portal}")])
                del portals[portal]
        self._groups[tag] = dataclasses.replace(
            group,
            acls={name: acl for name, acl in acls.items() if acl},
            portals=portals,
            luns={number: lun for number, lun in group.luns.items() if number not in doomed},
        )

    def _doomed_luns(self, tag: int, group: PortalGroup) -> t.List[int]:
        units = self.wanted.groups[tag].luns if tag in self.wanted.groups else {}
        doomed = []
        for number, lun in group.luns.items():
            named = number in units
            if named and lun.backstore != store_of(self.wanted, self.kernel, units[number].backstore):
                self._check_maps(tag, group, number, "another backstore")
            elif lun.backstore in self.stale:
                if not named:
                    raise InputError(
                        f"backstore {lun.backstore}",
                        f"has to be made anew ({self.stale[lun.backstore]}), and is LUN {number} of portal group {tag},"
                        " which this task does not name",
                        "Name the LUN in portal_groups, so that it is made again",
                    )
                self._check_maps(tag, group, number, f"{lun.backstore} made anew")
            elif named or not self.wanted.purge:
                continue
            doomed.append(number)
        return doomed

    def _check_maps(self, tag: int, group: PortalGroup, number: int, what: str) -> None:
        """A LUN that is made again is mapped again only for the initiators of the task."""
        known = accesses_of(self.wanted, tag)
        for acl in group.acls.values():
            if acl.initiator not in known and any(one.lun == number for one in acl.mapped.values()) and not self.wanted.purge:
                raise InputError(
                    f"LUN {number} of portal group {tag}",
                    f"shall have {what}, and is mapped to {acl.initiator}, which this task does not name",
                    "Name the initiator in acls, so that the LUN is mapped again",
                )

    def _visit_acl(self, tag: int, group: PortalGroup, acl: Acl, doomed: t.Sequence[int]) -> t.Optional[Acl]:
        base, where = group_path(self.wanted.name, tag), f"{acl.initiator} in portal group {tag} of {self.wanted.name}"
        access = accesses_of(self.wanted, tag).get(acl.initiator)
        if access is None and self.wanted.purge:
            self._miss(f"ACL of {where}", [acl.session] if acl.session else [])
            self._step("remove", f"ACL of {where}", {"luns": ", ".join(map(str, acl.mapped))}, remove_acl(base, acl))
            return None
        units = set(group.luns) - set(doomed)
        if tag in self.wanted.groups:
            units |= set(self.wanted.groups[tag].luns)
        masks = {mask.mapped: mask.lun for mask in masks_of(access, units, acl.mapped)} if access else {}
        seen = set(masks.values())
        mapped = dict(acl.mapped)
        for number, one in acl.mapped.items():
            moved = number in masks and masks[number] != one.lun
            elsewhere = access is not None and access.masks is not None and one.lun in seen and number not in masks
            unnamed = self.wanted.purge and access is not None and access.masks is not None and number not in masks
            if one.lun is None or one.lun in doomed or moved or elsewhere or unnamed:
                if acl.session and one.lun not in doomed:  # else the LUN itself is named
                    self._miss(f"mapped LUN {number} of {where}", [acl.session])
                self._step("unmap", f"LUN {number} from {where}", f"LUN {one.lun}", remove_mapped(base, acl, number))
                del mapped[number]
        return dataclasses.replace(acl, mapped=mapped)

    # backstores

    def _check_stale(self, key: Key) -> None:
        others = self._exports(key, {name: groups for name, groups in self.kernel.targets.items() if name != self.wanted.name})
        if others:
            raise InUseError(
                f"backstore {key}", others, f"It has to be made anew ({self.stale[key]}), which would take it from them; take it out of them first"
            )
        if key.plugin == "ramdisk" and self.kernel.backstores[key].enabled and not self.wanted.force:
            raise InputError(
                f"backstore {key}", f"has to be made anew ({self.stale[key]}), and what is on it would be lost", "Say force: true if that is meant"
            )

    def _exports(self, key: Key, targets: t.Mapping[str, t.Mapping[int, PortalGroup]]) -> t.List[str]:
        """Where a backstore is exported, in words."""
        return [
            f"LUN {number} of portal group {tag} of {name}"
            for name, groups in targets.items()
            for tag, group in groups.items()
            for number, lun in group.luns.items()
            if lun.backstore == key
        ] + list(self.kernel.others.get(key, ()))

    def _drop_alua_groups(self) -> None:
        backstores = dict(self.kernel.backstores)
        for key, store in self.kernel.backstores.items():
            if not self.wanted.present or key not in self.wanted.stores or key in self.stale:
                continue
            groups = self.wanted.stores[key].groups
            doomed = [name for name in store.groups if name != DEFAULT_GROUP and self._alua_goes(store, name)]
            for name in doomed:
                again = name in groups
                members = [
                    user
                    for target in self.kernel.targets.values()
                    for group in target.values()
                    for number, lun in group.luns.items()
                    if (lun.backstore, lun.group) == (key, name)
                    for user in lun_sessions(group, number)
                ]
                self._miss(f"ALUA group {name} of backstore {key}", members)
                self._step(
                    "remove",
                    f"ALUA group {name} of backstore {key}" + (" (its id cannot be changed)" if again else ""),
                    dict(store.groups[name]),
                    [Op("rmdir", f"{store.folder}/alua/{name}")],
                )
            if doomed:
                backstores[key] = dataclasses.replace(store, groups={name: one for name, one in store.groups.items() if name not in doomed})
                self._members_fall_back(key, doomed)
        self.kernel = dataclasses.replace(self.kernel, backstores=backstores)

    def _alua_goes(self, store: Backstore, name: str) -> bool:
        groups = self.wanted.stores[store.key].groups
        if name not in groups:
            return self.wanted.purge
        return store.groups[name].get("tg_pt_gp_id") not in ("", None, groups[name].get("tg_pt_gp_id"))

    def _members_fall_back(self, key: Key, names: t.Sequence[str]) -> None:
        """The kernel puts the LUNs of a group that goes into the default group."""

        def fall(group: PortalGroup) -> PortalGroup:
            return dataclasses.replace(
                group,
                luns={
                    number: dataclasses.replace(lun, group=DEFAULT_GROUP) if lun.backstore == key and lun.group in names else lun
                    for number, lun in group.luns.items()
                },
            )

        targets = {name: {tag: fall(group) for tag, group in groups.items()} for name, groups in self.kernel.targets.items()}
        self.kernel = dataclasses.replace(self.kernel, targets=targets)

    def _goes(self, key: Key, used: t.Container[t.Optional[Key]]) -> bool:
        freed = self.wanted.purge and key in used
        if self.wanted.present:
            return key in self.stale or (freed and key not in self.wanted.stores)
        return freed or key in self.wanted.stores

    def _drop_backstores(self, used: t.Container[t.Optional[Key]]) -> None:
        left = dict(self.kernel.backstores)
        for key, store in self.kernel.backstores.items():
            exports = self._exports(key, self.kernel.targets) if self._goes(key, used) else []
            if exports and key in self.wanted.stores:
                raise InUseError(f"backstore {key}", exports, "Take these LUNs away first")
            if exports or not self._goes(key, used):
                continue
            again = f" (to be made anew: {self.stale[key]})" if key in self.stale else ""
            ops = [Op("rmdir", f"{store.folder}/alua/{name}") for name in store.groups if name != DEFAULT_GROUP] + [Op("rmdir", store.folder)]
            if sum(other.hba == store.hba for other in left.values()) == 1:
                ops.append(Op("rmdir", f"core/{store.hba}"))
                self.kernel = dataclasses.replace(self.kernel, hbas=self.kernel.hbas - {store.hba})
            self._step("remove", f"backstore {key}{again}", {"path": store.path, "size": store.size, "wwn": store.serial}, ops)
            del left[key]
        self.kernel = dataclasses.replace(self.kernel, backstores=left)
