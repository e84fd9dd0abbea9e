"""A sink for each test, and settings that let channels reach it."""

from collections.abc import Iterator

import pytest

from tests.support.http_sink import HttpSink, http_sink
from watcher_server.settings import Settings, load_settings


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    with http_sink() as found:
        yield found


@pytest.fixture
def settings() -> Settings:
    return load_settings(alert_private_hosts="127.0.0.1", public_url="https://watcher.example")
