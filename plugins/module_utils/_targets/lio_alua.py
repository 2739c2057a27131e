# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel wants of a change to an ALUA group (drivers/target/target_core_alua.c, target_core_configfs.c). Pure."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_configfs import DEFAULT_GROUP, Kernel, Key
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_steps import Op, same
from ansible_collections.lunar.iscsi.plugins.module_utils._targets.lio_wanted import STATES

#: a LUN of this host: target, portal group tag, number
Place = t.Tuple[str, int, int]


def members_back(before: Kernel, now: Kernel, key: Key, name: str, told: t.Container[Place]) -> t.List[Place]:
    """The LUNs of any target that were in a group before it was removed, are still there, and are not in ``told``."""
    return [
        (target, tag, number)
        for target, groups in now.targets.items()
        for tag, group in groups.items()
        for number, lun in group.luns.items()
        if (lun.backstore, lun.group) == (key, DEFAULT_GROUP)
        and before.targets[target][tag].luns[number].group == name
        and (target, tag, number) not in told
    ]


def put_back(kernel: Kernel, places: t.Collection[Place], name: str) -> Kernel:
    """The kernel with these LUNs in a group."""
    return dataclasses.replace(
        kernel,
        targets={
            target: {
                tag: dataclasses.replace(
                    group,
                    luns={
                        number: dataclasses.replace(lun, group=name) if (target, tag, number) in places else lun
                        for number, lun in group.luns.items()
                    },
                )
                for tag, group in groups.items()
            }
            for target, groups in kernel.targets.items()
        },
    )


def check_supported(subject: str, group: t.Mapping[str, str], settings: t.Mapping[str, str]) -> None:
    """The kernel takes no state that the group does not support, as it is or as it shall be."""
    for word, number in STATES.items():
        if settings.get("alua_access_state") == number and group.get(f"alua_support_{word}") == "0":
            raise InputError(subject, f"shall be {word}, which it does not support", "Say supported_states, with this state among them")


def alua_ops(path: str, was: t.Mapping[str, str], settings: t.Mapping[str, str]) -> t.List[Op]:
    """Write what differs: what allows first, then the state, which only a group with implicit ALUA takes, then what forbids."""
    todo = {name: value for name, value in settings.items() if name != "tg_pt_gp_id" and not same(was.get(name), value)}
    state = {"alua_access_state": todo.pop("alua_access_state")} if "alua_access_state" in todo else {}
    final = todo.pop("alua_access_type", None)
    first = {name: value for name, value in todo.items() if not (name.startswith("alua_support_") and value == "0")}
    last = {name: value for name, value in todo.items() if name not in first}
    now = was.get("alua_access_type", "3")
    writes = list(first.items())
    if state and now not in ("1", "3"):
        between = final if final in ("1", "3") else "1"
        writes.append(("alua_access_type", between))
        final = final if final is not None else now
        final = None if final == between else final
    writes += list(state.items()) + ([("alua_access_type", final)] if final is not None else []) + list(last.items())
    return [Op("write", f"{path}/{name}", value) for name, value in writes]
