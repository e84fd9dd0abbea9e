"""Nothing that a request contains produces a 5xx: a bounded run of schemathesis over the whole API."""

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import GenerationMode

from tests.support.live import LiveServer
from watcher_server.app import create_app
from watcher_server.settings import load_settings

EXAMPLES_PER_OPERATION = 25


schema = schemathesis.openapi.from_dict(create_app(load_settings()).openapi())
schema.config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])


@schema.parametrize()
@settings(
    max_examples=EXAMPLES_PER_OPERATION,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_no_request_is_a_server_error(case: schemathesis.Case[Any], live: LiveServer) -> None:
    response = case.call(base_url=live.url, timeout=30)

    assert response.status_code < 500, response.text


@pytest.mark.parametrize(
    "path", ["/pipeline/x", "/nowhere", "/pipeline_execution/%00", "/%ff", "/lineage-graph/?source_address_id=x"]
)
def test_odd_paths_are_client_errors(live: LiveServer, path: str) -> None:
    assert 400 <= httpx.get(live.url + path).status_code < 500
