"""What takes minutes runs by ``make test-infrastructure`` only."""

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out the tests that are marked as long, unless they were asked for."""
    if os.environ.get("WATCHER_TEST_LONG"):
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="takes minutes: make test-infrastructure"))
