# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host's own files say, and what is said where they are missing or damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.conf import read_host_conf


@pytest.mark.parametrize(("content", "says"), [
    pytest.param(b"InitiatorName=iqn.2026-11.org.example:caf\xe9\n", "not UTF-8", id="Latin-1"),
    pytest.param(b"InitiatorName=\xff\xfe\n", "not UTF-8", id="no text at all"),
    pytest.param(b"InitiatorName=host1\n", "does not begin with", id="no iSCSI name"),
    pytest.param(b"", "names no initiator", id="empty"),
])
def test_a_damaged_initiator_name_is_a_sentence(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "etc/iscsi").mkdir(parents=True)
    (tmp_path / "etc/iscsi/initiatorname.iscsi").write_bytes(content)
    conf = read_host_conf(str(tmp_path))
    with pytest.raises(DamagedError, match=says) as caught:
        conf.require_initiator_name()
    assert caught.value.subject == str(tmp_path / "etc/iscsi/initiatorname.iscsi")
    caught.value.sentence().encode("utf-8")


def test_a_missing_file_is_named_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(HostError) as caught:
        read_host_conf(str(tmp_path)).require_initiator_name()
    assert caught.value.subject == str(tmp_path / "etc/iscsi/initiatorname.iscsi")
