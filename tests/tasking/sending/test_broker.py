"""The broker's URL means the same to Watcher as it does to Celery."""

from typing import Any

import pytest

from watcher_server.tasking.sending.broker import redis_client


def _connects_to(url: str) -> dict[str, Any]:
    return dict(redis_client(url).connection_pool.connection_kwargs)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", {"host": "127.0.0.1", "port": 6379, "db": 0}),
        ("redis://broker:7000/2", {"host": "broker", "port": 7000, "db": 2}),
        ("redis://me:p%40ss@broker", {"username": "me", "password": "p@ss", "db": 0}),
        ("redis://:only@broker//3", {"username": None, "password": "only", "db": 3}),
        ("rediss://broker:7001/1?ssl_cert_reqs=CERT_NONE", {"host": "broker", "db": 1, "ssl_cert_reqs": "none"}),
        ("rediss://broker?ssl_cert_reqs=required", {"ssl_cert_reqs": "required"}),
        ("redis+socket:///run/a%20b/v.sock?virtual_host=4", {"path": "/run/a b/v.sock", "db": 4}),
        ("redis+socket:///run/v.sock", {"path": "/run/v.sock", "db": 0}),
    ],
)
def test_urls(url: str, expected: dict[str, Any]) -> None:
    options = _connects_to(url)
    assert {name: options.get(name) for name in expected} == expected
    assert options["socket_timeout"] == 2
