# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tasks refuse before they look at anything: a root that is ambiguous, filters that leave out everything."""

from __future__ import annotations

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.discovery import DiscoveryTask
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.nodes import NodeTask

from .builders import discovery_params, node_params


def test_a_relative_root_is_refused() -> None:
    with pytest.raises(InputError, match="option root: is 'usr', which is no absolute path"):
        NodeTask(node_params(root="usr"))
    with pytest.raises(InputError, match="option root: is 'usr', which is no absolute path"):
        DiscoveryTask(discovery_params(root="usr"))


def test_another_name_of_the_running_system_does_not_hide_its_sessions() -> None:
    NodeTask(node_params(root="//", state="logged_in"))  # refused where root is another system
    DiscoveryTask(discovery_params(root="/.", method="iscsiadm"))


@pytest.mark.parametrize("option", ["targets", "networks", "ifaces"])
def test_an_empty_filter_is_refused(option: str) -> None:
    with pytest.raises(InputError, match=f"option {option}: is an empty list"):
        DiscoveryTask(discovery_params(**{option: []}))
