# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What unit tests share: hypothesis without deadlines (machines differ), a small and a large profile; modules that are run as on a managed host."""

from __future__ import annotations

import importlib
import os

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("default", deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow], database=None)
settings.register_profile("thorough", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow], database=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture
def as_on_a_managed_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options reach a module as they do there: what is no Unicode is refused by ansible-core on the controller only."""
    try:
        profiles = importlib.import_module("ansible.module_utils._internal._json._profiles")
    except ImportError:
        return
    monkeypatch.setattr(profiles, "_string_encoding_check_enabled", lambda: False, raising=False)
