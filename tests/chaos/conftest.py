"""A Hub for each module and the repos on it; every member's log beside a failure."""

from tests.daemon.conftest import _undisturbed_hub, hub, pytest_runtest_makereport, repos

__all__ = ["_undisturbed_hub", "hub", "pytest_runtest_makereport", "repos"]
