# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module iscsi_config does: iscsid.conf and initiatorname.iscsi, and what iscsid has to be started anew for."""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._argspec import check_root, check_timeout
from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import REDACTED, Plan, Step
from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError, InputError, InUseError, IscsiError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.files import make_folder, read_bytes, under_root, write_atomic
from ansible_collections.lunar.iscsi.plugins.module_utils._names import MAX_NAME_BYTES, check_iscsi_name
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi import conf_keys
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.conf import CONF, INITIATOR_NAME
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.conf_document import ConfDocument, NameDocument
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.layout import locate, not_installed
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.session_keys import SessionKey, read_session_keys

_MODE = 0o600
_FOR_OTHERS = 0o004


class Found(t.NamedTuple):
    """What is: both files, the sessions, the daemon and what it has not read."""

    conf: t.Optional[bytes]
    mode: int
    name: t.Optional[bytes]
    sessions: t.Sequence[SessionKey] = ()
    daemon: str = ""
    owed: t.Tuple[str, ...] = ()
    #: why iscsid should not be started anew now; looked at only where it has to be
    risks: t.Tuple[str, ...] = ()


class ConfigTask:
    """One iscsi_config task; see ``_convergence.Task``."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        self._params = params
        self._root = check_root(params["root"])
        self._location = locate(self._root)
        self._version = self._location.version
        self._conf_path, self._name_path = self._path(CONF), self._path(INITIATOR_NAME)
        self._absent = params["state"] == "absent"
        given = params["settings"] or {}
        if self._absent:
            conf_keys.check_conf_keys(given, self._version)
        self._settings = dict.fromkeys(given, "") if self._absent else conf_keys.check_conf_settings(given, self._version)
        self._name, self._alias = params["initiator_name"], params["initiator_alias"]
        self._check_names()
        self._timeout = check_timeout(params["timeout"])
        if params["restart"] and self._root != "/":
            raise InputError("option restart", "is given together with root, and in an image no iscsid runs", "Leave one of the two out")

    def _path(self, path: str) -> str:
        """A link stays one: the file that it leads to is written."""
        return os.path.realpath(path) if self._root == "/" else under_root(self._root, path)

    def _check_names(self) -> None:
        if self._absent and (self._name is not None or self._alias is not None):
            raise InputError("option state", "is absent together with initiator_name or initiator_alias",
                             "It is about settings; an empty initiator_alias removes the alias, and a host without a name cannot log in")
        if self._name is not None:
            check_iscsi_name(self._name, "option initiator_name")
        alias = self._alias or ""
        if len(alias.encode("utf-8", "replace")) > MAX_NAME_BYTES or alias != alias.strip() or re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", alias):
            raise InputError("option initiator_alias", f"is {alias!r}, which is no alias",
                             f"Give at most {MAX_NAME_BYTES} bytes without control characters and without space at the ends")

    # read

    def read(self) -> Found:
        """Both files, and of the running system the sessions and the daemon."""
        conf, name = read_bytes(self._conf_path), read_bytes(self._name_path)
        mode = stat.S_IMODE(os.stat(self._conf_path).st_mode) if conf is not None else _MODE
        if self._root != "/":
            return Found(conf, mode, name)
        # seldom needed, and every import costs the host at every task
        from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi import daemon

        running = daemon.running_daemon()
        found = Found(conf, mode, name, read_session_keys(), running, daemon.owed(running))
        return found._replace(risks=tuple(daemon.find_risks())) if self._unread(found) else found

    # plan

    def _documents(self, found: Found) -> t.Tuple[ConfDocument, NameDocument]:
        return ConfDocument(_text(found.conf), self._conf_path), NameDocument(_text(found.name))

    def _candidates(self, found: Found) -> t.Tuple[ConfDocument, NameDocument]:
        """The files as they shall be."""
        document, names = self._documents(found)
        for key, value in self._settings.items():
            if value == "":
                document = document.without(key)
            elif conf_keys.read_value(key, document.effective().get(key)) != value:
                document = document.with_setting(key, value)
        if self._settings and not self._absent:
            conf_keys.check_pairs(self._settings, document.effective())
        if self._name is not None:
            names = names.with_name(self._name)
        if self._alias is not None:
            names = names.with_alias(self._alias)
        return document, names

    def _changes(self, found: Found) -> t.List[str]:
        """The settings that open-iscsi reads otherwise than before, and InitiatorName and InitiatorAlias."""
        (old, old_names), (new, new_names) = self._documents(found), self._candidates(found)
        before, after = old.effective(), new.effective()
        changed = [key for key in dict.fromkeys([*before, *after]) if before.get(key) != after.get(key)]
        changed += ["InitiatorName"] if old_names.name != new_names.name else []
        return changed + (["InitiatorAlias"] if old_names.alias != new_names.alias else [])

    def _unread(self, found: Found) -> t.List[str]:
        """What the running iscsid does not know of, once this task is done."""
        if not found.daemon:
            return []
        return list(dict.fromkeys([*found.owed, *(name for name in self._changes(found) if _takes_effect(name) == conf_keys.RESTART)]))

    def plan(self, found: Found) -> Plan:
        """Write one file, or both, or none, and start iscsid anew where it is asked for."""
        (old, old_names), (new, new_names) = self._documents(found), self._candidates(found)
        changes, unread = self._changes(found), self._unread(found)
        if "InitiatorName" in changes and old_names.name and found.sessions and not self._params["force"]:
            raise InUseError(f"the initiator name {old_names.name}", [f"session {session.sid} of {session.key}" for session in found.sessions],
                             "Log out first, or say force: true; a session that logs in again then does so under the new name, which its target may refuse")
        steps: t.List[Step] = []
        close = bool(found.mode & _FOR_OTHERS) and any(value and conf_keys.is_secret(key) for key, value in self._settings.items())
        if new != old:
            secrets = [key for key in changes if key in old.effective()]
            before = None if found.conf is None else old.redacted()
            steps.append(Step("write", self._conf_path, before, new.redacted(secrets), ("conf", new.render(), found, close, unread)))
        elif close:
            steps.append(Step("close to others", self._conf_path, f"mode {found.mode:04o}", f"mode {_MODE:04o}", ("conf", new.render(), found, True, ())))
        if new_names.text != old_names.text:
            if not new_names.name:
                raise InputError("option initiator_alias", f"is given, and {self._name_path} names no initiator", "Give initiator_name, too")
            before = None if found.name is None else old_names.text
            steps.append(Step("write", self._name_path, before, new_names.text, ("name", new_names.text, found, False, unread)))
        if self._params["restart"] and unread:
            if found.risks and not self._params["force"]:
                raise HostError("iscsid", "is not started anew, since that is not safe now: " + "; ".join(found.risks),
                                "Nothing was changed. Leave restart out and let it wait until it is safe, or for the next boot, or say force: true")
            steps.append(Step("restart", "iscsid", "does not know of " + ", ".join(unread), "has read its files", ("restart", None, found, False, ())))
        facts = {
            "path": self._conf_path,
            "settings": {key: REDACTED if conf_keys.is_secret(key) else value for key, value in new.effective().items()},
            "initiator_name": new_names.name, "initiator_alias": new_names.alias,
            "takes_effect": {name: _takes_effect(name) for name in changes},
        }
        return Plan(steps, self._problems(found, new, new_names, close), {**facts, **_restart_facts(unread, found.risks)})

    def _problems(self, found: Found, new: ConfDocument, names: NameDocument, close: bool) -> t.List[t.Dict[str, str]]:
        problems = new.problems(self._version)
        if self._version is None:
            problems.append(not_installed(self._location).as_problem())
        if found.mode & _FOR_OTHERS and not close and any(conf_keys.is_secret(key) for key in new.effective()):
            problems.append({"object": self._conf_path, "what": f"holds a secret and can be read by everybody (mode {found.mode:04o})",
                             "remedy": f"chmod {_MODE:04o} {self._conf_path}"})
        if not names.name:
            problems.append({"object": self._name_path, "what": "names no initiator, so this host cannot log in", "remedy": "Give initiator_name"})
        else:
            try:
                check_iscsi_name(names.name, "initiator")
            except InputError as error:
                problems.append({"object": self._name_path, "what": f"names the {error.subject}, which {error.what}", "remedy": error.remedy})
        return problems

    # apply

    def apply(self, steps: t.Sequence[Step]) -> t.Mapping[str, t.Any]:
        """Note what iscsid will not know of, write, start it anew."""
        facts: t.Dict[str, t.Any] = {}
        try:
            for step in steps:
                kind, text, found, close, unread = step.work
                if kind == "restart":
                    self._restart(found)
                    continue
                path, old = (self._conf_path, found.conf) if kind == "conf" else (self._name_path, found.name)
                self._write(path, text, old, close, found.daemon if unread else "", unread, facts)
        except IscsiError as error:
            error.facts.update(facts)
            raise
        return facts

    def _write(self, path: str, text: str, old: t.Optional[bytes], close: bool, daemon: str, unread: t.Sequence[str], facts: t.Dict[str, t.Any]) -> None:
        make_folder(os.path.dirname(path), 0o755)
        if read_bytes(path) != old:
            raise HostError(path, "was changed by someone else while this task looked at it", "Run the task again")
        if old is not None and self._params["backup"]:
            facts.setdefault("backup_files", []).append(_back_up(path, close))
        if daemon:
            from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.daemon import note

            note(daemon, unread)
        write_atomic(path, text.encode("utf-8", "surrogateescape"), _MODE, keep_mode=not close)

    def _restart(self, found: Found) -> None:
        from ansible_collections.lunar.iscsi.plugins.module_utils._host.commands import Runner
        from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.daemon import restart

        restart(Runner(), found.daemon, self._timeout)

    def finish(self, found: Found, done: bool) -> t.Mapping[str, t.Any]:
        """What iscsid still has to be started anew for."""
        return _restart_facts(self._unread(found), found.risks) if done else {}


def _takes_effect(name: str) -> str:
    return conf_keys.RESTART if name in ("InitiatorName", "InitiatorAlias") else conf_keys.takes_effect(name)


def _restart_facts(unread: t.Sequence[str], risks: t.Sequence[str]) -> t.Dict[str, t.Any]:
    return {"restart_needed": ["iscsid"] if unread else [], "restart_reasons": list(unread), "restart_safe": not risks, "restart_risks": list(risks)}


def _text(data: t.Optional[bytes]) -> str:
    return (data or b"").decode("utf-8", "surrogateescape")


def _back_up(path: str, close: bool) -> str:
    """A copy beside the file, with its mode."""
    copy = f"{path}.{os.getpid()}.{time.strftime('%Y-%m-%d@%H:%M:%S')}~"
    try:
        shutil.copy2(path, copy)
        if close:
            os.chmod(copy, _MODE)
    except OSError as error:
        raise HostError(copy, f"could not be written: {error.strerror or error}", "Check the file system it is on")
    return copy
