"""What the API's reference says of tokens, and that its examples are right: against their schemas, and when sent."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped] # it declares no types
from sqlalchemy import Engine

from tests.conftest import MakeClient
from watcher_server.app import create_app
from watcher_server.auth import service
from watcher_server.settings import load_settings
from watcher_server.web.api_reference.document import EXAMPLES

DOCUMENT = create_app(load_settings(relay_enabled=False)).openapi()
OPERATIONS = [
    pytest.param(path, method, operation, id=f"{method} {path}")
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
KNOWN = {"execution_id": "1", "task": "detect_anomalies_task"}


def _examples() -> Iterator[Any]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            parts = {"body": operation.get("requestBody", {}), **operation["responses"]}
            for name, part in parts.items():
                for content in part.get("content", {}).values():
                    if "example" in content:
                        yield pytest.param(content["schema"], content["example"], id=f"{method} {path} {name}")


@pytest.mark.parametrize(("schema", "example"), list(_examples()))
def test_an_example_is_valid_against_its_schema(schema: dict[str, Any], example: Any) -> None:
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(example)


async def test_the_examples_work_in_their_order(client: httpx.AsyncClient) -> None:
    for example in EXAMPLES:
        path = example.path.format(**KNOWN)
        answer = await client.request(example.method, path, json=example.body)
        assert answer.status_code in {example.status, 200}, (path, answer.text)
        if example.answer is not None:
            assert answer.json() == example.answer, path


@pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS)
def test_what_a_route_says_it_needs_is_declared(path: str, method: str, operation: dict[str, Any]) -> None:
    declared = DOCUMENT["components"]["securitySchemes"].keys()
    assert declared == {"token", "login"}
    for one in operation["security"]:
        assert one.keys() <= declared, (method, path)


@pytest.fixture
def _token(engine: Engine) -> Iterator[None]:
    with engine.begin() as connection:
        service.create_token(connection, "reference", "read")
    yield
    with engine.begin() as connection:
        service.revoke_token(connection, "reference")


@pytest.mark.usefixtures("_token")
async def test_exactly_the_routes_that_name_no_security_answer_without_a_token(make_client: MakeClient) -> None:
    async with make_client() as client:
        for path, methods in DOCUMENT["paths"].items():
            for method, operation in methods.items():
                answer = await client.request(method, path)
                assert (answer.status_code == 401) == bool(operation["security"]), (method, path)


# What a token of each scope is enough for.
SCOPES = {
    "ingest": {"ingest"},
    "read": {"read"},
    "write": {"ingest", "read", "write"},
    "admin": {"ingest", "read", "write", "admin"},
}


@pytest.mark.usefixtures("_token")
async def test_a_route_names_the_scope_that_it_needs(make_client: MakeClient, engine: Engine) -> None:
    with engine.begin() as connection:
        tokens = {scope: service.create_token(connection, f"scope {scope}", scope) for scope in SCOPES}
    try:
        async with make_client() as client:
            for path, methods in DOCUMENT["paths"].items():
                for method, operation in methods.items():
                    for scope, token in tokens.items():
                        headers = {"Authorization": f"Bearer {token}"}
                        refused = (await client.request(method, path, headers=headers)).status_code == 403
                        enough = SCOPES[scope]
                        needed = {name for one in operation["security"] for (name,) in one.values()}
                        assert refused == (not needed <= enough), (method, path, scope)
    finally:
        with engine.begin() as connection:
            for scope in tokens:
                service.revoke_token(connection, f"scope {scope}")
