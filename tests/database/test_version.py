"""Servers that are too old are refused, with what to do."""

import pytest

from tests.support.old_server import server_of_version
from watcher_server.database.version import OldServerError, refuse_old, require_server


@pytest.mark.parametrize("version", [90_624, 150_004, 159_999])
def test_a_server_before_16_is_too_old(version: int) -> None:
    with pytest.raises(OldServerError, match="Watcher needs 16 or newer: upgrade it"):
        refuse_old(version)


@pytest.mark.parametrize("version", [160_000, 180_001, 190_000])
def test_a_server_from_16_on_is_new_enough(version: int) -> None:
    refuse_old(version)


def test_it_is_the_server_that_says_its_version(database_url: str) -> None:
    require_server(database_url)
    with server_of_version("15.4") as old, pytest.raises(OldServerError, match=r"is PostgreSQL 15\.4,"):
        require_server(old)
