# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what is to what is wanted, in an order that the kernel accepts: backstores, ALUA groups, LUNs, portals, ACLs, then open. Pure."""

from __future__ import annotations

import os
import typing as t
import uuid

from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import Plan, Step, redact
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InputError, InUseError
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_alua import alua_ops, check_supported, members_back, put_back
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_configfs import (
    DEFAULT_GROUP,
    FOLDERS,
    PLAIN_GROUP,
    Acl,
    Auth,
    Backstore,
    Kernel,
    Key,
    Lun,
    PortalGroup,
    plain_portal,
    wwid,
)
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_remove import Remover, accesses_of, masks_of, store_of
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_saved import folder_of, is_saved, saved_serial
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_steps import (
    File, Found, Op, auth_ops, group_path, same, sessions_of, taken_by_others,
)
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_wanted import Access, Group, Store, Unit, Wanted
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.words import nearest

_SECRETS = ("password", "password_mutual")
_SPACE = uuid.UUID("2b6f1d0c-6c5e-4d0e-9d0b-7f1f0c6a3d55")  # ours; unit serials of new backstores are made in it
_FIXED = ("block_size",)  # the kernel changes it only while the backstore is not exported
Problem = t.Mapping[str, str]


def make_plan(wanted: Wanted, found: Found) -> Plan:
    """The steps, the problems, and the LUNs with the WWIDs that initiators will see; raises where something in use would go."""
    remover = Remover(wanted, found.kernel)
    remover.run()
    builder = _Builder(wanted, found, remover)
    builder.build()
    steps = remover.steps + builder.steps
    facts: t.Dict[str, t.Any] = {"luns": builder.luns} if wanted.present else {}
    problems = list(builder.problems)
    if wanted.save:
        if steps or not is_saved(wanted, found.kernel, found.saved.content) or (wanted.present and not found.reservations):
            steps.append(Step("save", f"target {wanted.name} in {found.saved.path}", work=(Op("save", found.saved.path),)))
        if not found.saved.restored_at_boot:
            remedy = "Install targetcli (targetcli-fb) and enable target.service (rtslib-fb-targetctl.service on Debian)"
            problems.append(_problem(found.saved.path, "is restored at boot by no enabled service", remedy))
    return Plan(steps=steps, problems=problems, facts=facts)


def _problem(subject: str, what: str, remedy: str) -> Problem:
    return {"object": subject, "what": what, "remedy": remedy}


class _Builder:
    """The second half of a plan: makes what is missing and changes what differs, given what the first half leaves."""

    def __init__(self, wanted: Wanted, found: Found, remover: Remover) -> None:
        self.wanted = wanted
        self.found = found
        self.kernel: Kernel = remover.kernel
        self.stale = remover.stale
        self.steps: t.List[Step] = []
        self.problems: t.List[Problem] = []
        self.luns: t.List[t.Dict[str, t.Any]] = []
        self._serials: t.Dict[Key, str] = {key: store.serial for key, store in self.kernel.backstores.items()}
        self._hbas = set(self.kernel.hbas)
        self._empty = self._hbas - {store.hba for store in self.kernel.backstores.values()}
        self._made: t.Dict[Key, str] = {}
        self._sizes = {key: store.size for key, store in self.kernel.backstores.items()}

    def build(self) -> None:
        wanted = self.wanted
        if not wanted.present:
            if wanted.discovery is not None and self.kernel.has_iscsi:
                self._discovery(wanted.discovery)
            return
        if not self.found.kernel.loaded:
            self._step("load", "kernel module target_core_mod", "", "loaded", [Op("module", "target_core_mod")])
        for store in wanted.stores.values():
            self._store(store)
        self._check_serials()
        kernel = self.kernel
        if not kernel.has_iscsi:
            self._step("load", "kernel module iscsi_target_mod", "", "loaded", [Op("mkdir", "iscsi")])
        if wanted.discovery is not None:
            self._discovery(wanted.discovery)
        if wanted.name not in kernel.targets:
            self._step("create", f"target {wanted.name}", None, "target", [Op("mkdir", f"iscsi/{wanted.name}")])
        groups = kernel.targets.get(wanted.name, {})
        for access in wanted.accesses:
            for tag in sorted((access.tags or frozenset()) - set(groups) - set(wanted.groups)):
                raise InputError(
                    f"ACL of {access.initiator}", f"is for portal group {tag}, which is neither there nor named", "Name it in portal_groups"
                )
        for tag in sorted(set(groups) | set(wanted.groups)):
            self._group(tag, groups.get(tag), wanted.groups.get(tag))

    def _step(self, action: str, subject: str, before: t.Any, after: t.Any, ops: t.Sequence[Op]) -> None:
        if ops:
            self.steps.append(Step(action, subject, before=before, after=after, work=tuple(ops)))

    # backstores

    def _store(self, new: Store) -> None:
        old = self.kernel.backstores.get(new.key)
        size = self._size(new, old)
        if old is None:
            self._create_store(new, size)
            old = Backstore(key=new.key, hba=self._made[new.key], groups={DEFAULT_GROUP: PLAIN_GROUP})
        elif size is not None and size > old.size and new.key.plugin in ("fileio", "user"):
            ops = [Op("grow", new.path, str(size)), Op("write", f"{old.folder}/control", f"fd_dev_size={size}")]
            if new.key.plugin == "user":
                ops = [Op("write", f"{old.folder}/attrib/dev_size", str(size))]
            self._step("grow", f"backstore {new.key} (initiators see it after a rescan)", {"size": old.size}, {"size": size}, ops)
        self._sizes[new.key] = size or old.size or self.found.files.get(new.path, File()).size
        self._attributes(
            f"backstore {new.key}", f"{old.folder}/attrib", old.attributes, self._store_attributes(new, old), exists=new.key in self.kernel.backstores
        )
        self._alua(new, old)

    def _store_attributes(self, new: Store, old: Backstore) -> t.Mapping[str, str]:
        for name in _FIXED:
            exports = [
                1 for groups in self.kernel.targets.values() for group in groups.values() for lun in group.luns.values() if lun.backstore == new.key
            ]
            if name in new.attributes and name in old.attributes and exports and not same(old.attributes[name], new.attributes[name]):
                raise InputError(
                    f"backstore {new.key}: attribute {name}",
                    f"is {old.attributes[name]}, and the kernel changes it only while no LUN is made of it",
                    "Take its LUNs away first",
                )
        return new.attributes

    def _size(self, new: Store, old: t.Optional[Backstore]) -> t.Optional[int]:
        """Bytes the backstore shall have, None where the device says; shrinking and what is no file or device are refused."""
        file = self.found.files.get(new.path, File())
        subject = f"backstore {new.key}"
        if old is not None and new.size is not None and new.size < old.size:
            raise InputError(
                subject,
                f"has {old.size} bytes and shall have {new.size}; whatever is beyond would be lost",
                "Shrinking is not supported; make a new backstore",
            )
        if old is not None:
            return new.size
        if new.key.plugin == "block":
            if file.kind != "block":
                raise InputError(
                    subject,
                    f"{new.path} is {'missing' if file.kind == 'missing' else 'no block device'}",
                    "Give a block device; for a file the type is fileio",
                )
            if self.found.users.get(new.path):
                raise InUseError(new.path, self.found.users[new.path], "Free it first; a target needs the device for itself")
            return None
        if new.key.plugin != "fileio":
            return new.size
        if file.kind not in ("missing", "file"):
            raise InputError(subject, f"{new.path} is no file", "Give a file; for a block device the type is block")
        if file.kind == "missing" and (new.size is None or not new.create):
            raise InputError(
                subject,
                f"{new.path} is missing",
                "Say its size, so that it is made" if new.create else "Say create: true and its size, or bring the file",
            )
        if new.size is not None and file.size - file.size % 512 > new.size:
            raise InputError(subject, f"{new.path} has {file.size} bytes, and shall have {new.size}", "Give the size of the file, or leave size out")
        if file.kind == "missing" and not file.has_folder:
            self.problems.append(_problem(new.path, "is in a folder that does not exist", "Make the folder first"))
        size = new.size if new.size is not None else file.size
        if size < 512:
            raise InputError(subject, f"{new.path} has {size} bytes", "Give it a size of at least 512 bytes")
        return size

    def _serial(self, new: Store) -> str:
        """The unit serial of a backstore to be made: as told, as it was, as saved, or one that nothing else has."""
        before = self.found.kernel.backstores.get(new.key)
        same_image = before is not None and (new.path, new.config) == (before.path, before.config)
        return (
            new.serial
            or (before.serial if before is not None and same_image else "")
            or (saved_serial(self.found.saved.content, new) if before is None else "")
            or str(uuid.uuid5(_SPACE, "\n".join((self.found.seed, str(new.key), new.path, new.config))))
        )

    def _create_store(self, new: Store, size: t.Optional[int]) -> None:
        folder = FOLDERS[new.key.plugin]
        number = 0
        while any(hba.endswith(f"_{number}") for hba in self._hbas):
            number += 1
        left = sorted(hba for hba in self._empty if hba.rpartition("_")[0] == folder)  # by a task that broke off
        hba = self._made[new.key] = left[0] if left else f"{folder}_{number}"
        self._empty.discard(hba)
        self._hbas.add(hba)
        serial = self._serials[new.key] = self._serial(new)
        path = f"core/{hba}/{new.key.name}"
        file = self.found.files.get(new.path, File())
        ops = self._dbroot() + ([] if left else [Op("mkdir", f"core/{hba}")]) + [Op("mkdir", path)]
        shown: t.Dict[str, t.Any] = {"path": new.path, "size": size, "wwn": serial}
        if new.key.plugin == "fileio":
            ops = ([Op("grow", new.path, str(size))] if file.size < (size or 0) else []) + ops
            ops.append(Op("write", f"{path}/control", f"fd_dev_name={new.path},fd_dev_size={size}"))
            if new.write_back:
                shown["write_back"] = True
                ops.append(Op("write", f"{path}/control", "fd_buffered_io=1"))
        elif new.key.plugin == "block":
            ops.append(Op("write", f"{path}/control", f"udev_path={new.path},readonly={int(bool(new.readonly))}"))
        elif new.key.plugin == "ramdisk":
            ops.append(
                Op("write", f"{path}/control", f"rd_pages={(size or 0) // os.sysconf('SC_PAGE_SIZE')}" + (",rd_nullio=1" if new.nullio else ""))
            )
        else:
            shown["config"] = new.config
            ops.append(Op("write", f"{path}/control", f"dev_config={new.config},dev_size={size}"))
            if not self.found.tcmu:
                self.problems.append(
                    _problem(f"backstore {new.key}", "needs tcmu-runner, which was not found on this host", "Install and start tcmu-runner")
                )
        if new.path:
            ops.append(Op("write", f"{path}/udev_path", new.path))
        ops += [Op("write", f"{path}/enable", "1"), Op("write", f"{path}/wwn/vpd_unit_serial", serial)]
        self._step("create", f"backstore {new.key}", None, {name: value for name, value in shown.items() if value not in ("", None)}, ops)

    def _dbroot(self) -> t.List[Op]:
        """The tools keep persistent reservations beside the saved file and tell the kernel so, which works only before the first backstore."""
        folder = folder_of(self.found.saved.path)
        kernel = self.found.kernel
        if not self.wanted.save or kernel.backstores or len(self._made) > 1 or (kernel.loaded and kernel.dbroot in ("", folder)):
            return []
        return [Op("dbroot", "dbroot", folder)]

    def _check_serials(self) -> None:
        """Two images with one WWID corrupt data: initiators take them for two paths to one."""
        images: t.Dict[str, t.Tuple[Key, str]] = {}
        for key, serial in self._serials.items():
            old, new = self.kernel.backstores.get(key), self.wanted.stores.get(key)
            image = (new.path or new.config if new else "") or (old.path or old.config if old else "") or str(key)
            name = wwid(serial, old.company) if old else wwid(serial)
            other, other_image = images.setdefault(name, (key, image))
            if other_image != image and (key in self.wanted.stores or other in self.wanted.stores):
                raise InputError(
                    f"backstore {key}",
                    f"would have the WWID {name} of backstore {other}, which is another image; initiators would take them for one disk",
                    "Give each image its own wwn, or leave wwn out",
                )

    # ALUA

    def _alua(self, new: Store, old: Backstore) -> None:
        ids = {group.get("tg_pt_gp_id"): name for name, group in old.groups.items()}
        if new.groups and not old.groups:
            raise HostError(f"backstore {new.key}", "has no ALUA groups in this kernel", "Leave alua_groups out")
        for name, settings in new.groups.items():
            path, was = f"{old.folder}/alua/{name}", old.groups.get(name)
            holder = ids.get(settings.get("tg_pt_gp_id", ""))
            check_supported(f"backstore {new.key}: ALUA group {name!r}", dict(was or {}, **settings), settings)
            if was is None and holder and settings.get("tg_pt_gp_id"):
                raise InputError(
                    f"backstore {new.key}: ALUA group {name!r}",
                    f"has the id {settings['tg_pt_gp_id']}, which group {holder!r} has",
                    "Choose another id, or purge",
                )
            if was is None:
                # what a new group has in the kernel; implicit keeps initiators from moving the states themselves
                settings = dict({"alua_access_type": "1"}, **settings)
                ops = [Op("mkdir", path), Op("write", f"{path}/tg_pt_gp_id", settings["tg_pt_gp_id"])]
                ops += alua_ops(path, PLAIN_GROUP, settings) + self._members_back(new.key, name)
                self._step("create", f"ALUA group {name} of backstore {new.key}", None, settings, ops)
            else:
                number = settings.get("tg_pt_gp_id", "")
                ops = [Op("write", f"{path}/tg_pt_gp_id", number)] if number and not was.get("tg_pt_gp_id") else []
                ops += alua_ops(path, was, settings)
                changed = {op.path.rpartition("/")[2]: op.value for op in ops}
                self._step("change", f"ALUA group {name} of backstore {new.key}", {key: was.get(key, "") for key in changed}, changed, ops)

    def _members_back(self, key: Key, name: str) -> t.List[Op]:
        """The LUNs that were in a group before it was made anew, and that the task does not put elsewhere."""
        told = {(self.wanted.name, tag, number) for tag, group in self.wanted.groups.items() for number, unit in group.luns.items() if unit.group}
        back = members_back(self.found.kernel, self.kernel, key, name, told)
        self.kernel = put_back(self.kernel, back, name)
        return [Op("write", f"{group_path(target, tag)}/lun/lun_{number}/alua_tg_pt_gp", name) for target, tag, number in back]

    # portal groups

    def _discovery(self, auth: Auth) -> None:
        old, enforce = self.kernel.discovery, auth != Auth()
        ops = auth_ops("iscsi/discovery_auth", old, auth)
        if enforce != self.kernel.enforce_discovery:
            # never open for a moment: demanded before the old secret goes, given up before it goes
            one = Op("write", "iscsi/discovery_auth/enforce_discovery_auth", str(int(enforce)))
            ops = ops + [one] if enforce else [one] + ops
        before = dict(old.items(), enforced=self.kernel.enforce_discovery)
        self._step("change", "discovery authentication", redact(before, _SECRETS), redact(dict(auth.items(), enforced=enforce), _SECRETS), ops)

    def _group(self, tag: int, found: t.Optional[PortalGroup], wanted: t.Optional[Group]) -> None:
        base, where = group_path(self.wanted.name, tag), f"portal group {tag} of {self.wanted.name}"
        old = found or PortalGroup(tag=tag)
        new = wanted or Group(tag=tag, enabled=old.enabled)
        if found is None:
            self._step("create", where, None, {"tag": tag}, [Op("mkdir", base)])
        attributes, accesses = dict(new.attributes), accesses_of(self.wanted, tag)
        chap = self._authentication(found, new, accesses)
        if chap is not None:
            attributes.setdefault("authentication", chap)
        self._attributes(where, f"{base}/attrib", old.attributes, attributes, exists=found is not None)
        self._attributes(where, f"{base}/param", old.parameters, new.parameters, exists=found is not None, word="parameter")
        if new.auth is not None:
            self._auth(f"authentication of {where}", f"{base}/auth", old.auth, new.auth)
        for unit in new.luns.values():
            self._lun(base, where, old.luns.get(unit.number), unit)
        for portal in new.portals:
            self._portal(base, where, portal, old, new)
        luns = set(old.luns) | set(new.luns)
        for access in accesses.values():
            enforced = attributes.get("authentication", old.attributes.get("authentication", "1"))
            self._acl(base, where, old.acls.get(access.initiator), access, luns, enforced)
        if new.enabled != old.enabled:
            if not new.enabled and sessions_of(old) and not self.wanted.force:
                raise InUseError(where, sessions_of(old), "Log these initiators out first, or say force: true")
            self._step(
                "open" if new.enabled else "close",
                where,
                {"enabled": old.enabled},
                {"enabled": new.enabled},
                [Op("write", f"{base}/enable", str(int(new.enabled)))],
            )
        self._report(tag, old, new)

    def _authentication(self, found: t.Optional[PortalGroup], new: Group, accesses: t.Mapping[str, Access]) -> t.Optional[str]:
        """Whether initiators have to prove who they are: as soon as one is given a secret; None where nothing is said about it."""
        said = [auth for auth in [new.auth] + [one.auth for one in accesses.values()] if auth is not None]
        if any(auth != Auth() for auth in said):
            return "1"
        if found is None:
            return "0"
        kept = any(acl.auth != Auth() for name, acl in found.acls.items() if name not in accesses or accesses[name].auth is None)
        return "0" if said and not kept else None

    def _lun(self, base: str, where: str, old: t.Optional[Lun], unit: Unit) -> None:
        key = store_of(self.wanted, self.kernel, unit.backstore)
        path, subject = f"{base}/lun/lun_{unit.number}", f"LUN {unit.number} of {where}"
        if key is None:
            known = [one.name for one in list(self.wanted.stores) + list(self.kernel.backstores)]
            raise InputError(
                subject,
                f"shall be of the backstore {unit.backstore!r}, which is neither there nor named{nearest(unit.backstore, known)}",
                "Name it in backstores",
            )
        store = self.kernel.backstores.get(key)
        groups = set(store.groups if store else ()) | set(self.wanted.stores[key].groups if key in self.wanted.stores else ()) | {DEFAULT_GROUP}
        if unit.group and store and not store.groups:
            raise HostError(f"backstore {key}", "has no ALUA groups in this kernel", f"Leave alua_group out of {subject}")
        if unit.group and unit.group not in groups:
            raise InputError(
                subject,
                f"shall be in the ALUA group {unit.group!r}, which {key} does not have{nearest(unit.group, groups)}",
                "List it in alua_groups",
            )
        move = [Op("write", f"{path}/alua_tg_pt_gp", unit.group)] if unit.group and unit.group != (old.group if old else DEFAULT_GROUP) else []
        if old is None:
            link = f"core/{store.hba if store else self._made[key]}/{key.name}"
            self._step(
                "create",
                subject,
                None,
                {"backstore": str(key), "alua_group": unit.group or DEFAULT_GROUP},
                [Op("mkdir", path), Op("link", f"{path}/{key.name}", link)] + move,
            )
        else:
            self._step("move", f"{subject} to the ALUA group {unit.group}", {"alua_group": old.group}, {"alua_group": unit.group}, move)

    def _portal(self, base: str, where: str, portal: str, old: PortalGroup, new: Group) -> None:
        name = next((one for one in old.portals if plain_portal(one) == portal), portal)
        path, subject = f"{base}/np/{name}", f"portal {portal} of {where}"
        was = old.portals.get(name)
        iser = (
            [Op("write", f"{path}/iser", str(int(bool(new.iser))))] if new.iser is not None and bool(new.iser) != (was[0] if was else False) else []
        )
        if was is None:
            ours = {plain_portal(one) for groups in self.found.kernel.targets.values() for group in groups.values() for one in group.portals}
            if taken_by_others(portal, self.found.listening, ours):
                remedy = "Stop it (tgtd listens on all addresses), or choose another port"
                self.problems.append(_problem(subject, "is taken by another program that listens there", remedy))
            self._step("create", subject, None, {"portal": portal, "iser": bool(new.iser)}, [Op("mkdir", path)] + iser)
        else:
            self._step("change", subject, {"iser": was[0]}, {"iser": bool(new.iser)}, iser)

    def _acl(self, base: str, where: str, found: t.Optional[Acl], access: Access, luns: t.Collection[int], enforced: str) -> None:
        path, subject = f"{base}/acls/{access.initiator}", f"ACL of {access.initiator} in {where}"
        old = found or Acl(initiator=access.initiator)
        attributes = dict(access.attributes)
        if access.auth == Auth() and enforced != "0":
            attributes.setdefault("authentication", "0")  # kernel 6.0 and newer
        elif access.auth is not None and access.auth != Auth() and old.attributes.get("authentication") == "0":
            attributes.setdefault("authentication", "1")
        auth = auth_ops(f"{path}/auth", old.auth, access.auth) if access.auth is not None else []
        if found is None:
            self._step("create", subject, None, redact(dict((access.auth or Auth()).items()), _SECRETS), [Op("mkdir", path)] + auth)
        else:
            self._auth(f"authentication of {subject}", f"{path}/auth", old.auth, access.auth if access.auth is not None else old.auth)
        self._attributes(subject, f"{path}/attrib", old.attributes, attributes, exists=found is not None)
        if (access.auth or old.auth) == Auth() and enforced != "0" and attributes.get("authentication", old.attributes.get("authentication")) != "0":
            self.problems.append(
                _problem(
                    subject,
                    "has no secret in a portal group that asks for one, so this initiator cannot log in",
                    "Give it auth, with method: None if it shall log in without",
                )
            )
        for mask in masks_of(access, luns, old.mapped):
            if mask.lun not in luns:
                raise InputError(subject, f"shall see LUN {mask.lun}, which {where} does not have", "Name the LUN in portal_groups")
            was = old.mapped.get(mask.mapped)
            protect = bool(mask.write_protect)
            ops = [Op("write", f"{path}/lun_{mask.mapped}/write_protect", str(int(protect)))]
            if was is None:
                make = [
                    Op("mkdir", f"{path}/lun_{mask.mapped}"),
                    Op("link", f"{path}/lun_{mask.mapped}/lun_{mask.lun}", f"{base}/lun/lun_{mask.lun}"),
                ]
                self._step(
                    "map", f"LUN {mask.mapped} to {access.initiator} in {where}", None, {"lun": mask.lun, "write_protect": protect}, make + ops
                )
            elif mask.write_protect is not None and was.write_protect != protect:
                self._step(
                    "change",
                    f"mapped LUN {mask.mapped} of {access.initiator} in {where}",
                    {"write_protect": was.write_protect},
                    {"write_protect": protect},
                    ops,
                )

    def _auth(self, subject: str, path: str, old: Auth, new: Auth) -> None:
        self._step("change", subject, redact(dict(old.items()), _SECRETS), redact(dict(new.items()), _SECRETS), auth_ops(path, old, new))

    def _attributes(
        self, where: str, path: str, old: t.Mapping[str, str], new: t.Mapping[str, str], *, exists: bool, word: str = "attribute"
    ) -> None:
        for name in new:
            if exists and old and name not in old:
                raise HostError(
                    f"{where}: {word} {name!r}", "is not in this kernel, or can only be read", "Leave it out, or use a kernel that has it"
                )
        changed = {name: value for name, value in new.items() if not same(old.get(name), value)}
        self._step(
            "set",
            f"{word}s of {where}",
            {name: old.get(name, "") for name in changed} if exists else None,
            changed,
            [Op("write", f"{path}/{name}", value) for name, value in changed.items()],
        )

    def _report(self, tag: int, old: PortalGroup, new: Group) -> None:
        """The LUNs that this portal group will have, as initiators see them."""
        keys = {number: lun.backstore for number, lun in old.luns.items()}
        keys.update({number: store_of(self.wanted, self.kernel, unit.backstore) for number, unit in new.luns.items()})
        for number, key in sorted(keys.items()):
            if key is not None:
                store = self.kernel.backstores.get(key)
                group = new.luns[number].group if number in new.luns else None
                serial = self._serials.get(key, "")
                self.luns.append(
                    {
                        "tag": tag,
                        "lun": number,
                        "backstore": str(key),
                        "wwid": wwid(serial, store.company) if store else wwid(serial),
                        "serial": serial,
                        "size": self._sizes.get(key, 0),
                        "alua_group": group or (old.luns[number].group if number in old.luns else DEFAULT_GROUP),
                    }
                )
