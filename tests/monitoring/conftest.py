"""The log of each daemon beside a failure, as with the other tests of real daemons."""

from tests.daemon.conftest import pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]
