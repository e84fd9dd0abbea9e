"""The proxies of ``docs/proxies.md``, with the lines that stand there, in front of a live Watcher."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import create_database, worker_broker
from tests.http.test_splitting import compare_with_fresh_connections
from tests.support.live import LiveServer, start_live
from tests.support.proxies import PROXIES, start_proxy


@pytest.fixture(scope="module")
def proxied(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A Watcher that answers proxies without a token: the bodies are the subject here."""
    database_url = create_database(f"watcher_proxied_{worker_id}")
    logs = tmp_path_factory.mktemp("proxied")
    open_to_all = {"WATCHER_ALLOW_UNAUTHENTICATED": "true"}
    with start_live(database_url, worker_broker(worker_id, 2), logs, settings=open_to_all) as server:
        yield server


@pytest.mark.parametrize("name", PROXIES)
def test_no_body_reaches_into_the_next_request_on_a_proxys_kept_connection(
    name: str, proxied: LiveServer, tmp_path: Path
) -> None:
    with start_proxy(name, urlsplit(proxied.url).netloc, tmp_path) as url:
        compare_with_fresh_connections(url, proxied, seed=11)
