"""The Hub and the repos of these tests are those of the daemon's own."""

from __future__ import annotations

from tests.daemon.conftest import _undisturbed_hub, hub, pytest_runtest_makereport, repos

__all__ = ["_undisturbed_hub", "hub", "pytest_runtest_makereport", "repos"]
