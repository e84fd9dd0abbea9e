"""The Python client, in each way in which it sends."""

import json
from pathlib import Path

import pytest

from tests.producers.conftest import HERE, Receiver, producer

RUNS = 20


def variables_of(way: str, receiver: Receiver) -> dict[str, str]:
    """What has the client send in this way."""
    if way == "gzip":
        # With any of these it does not look at the two usual variables.
        return {
            "OPENLINEAGE__TRANSPORT__TYPE": "http",
            "OPENLINEAGE__TRANSPORT__URL": receiver.url,
            "OPENLINEAGE__TRANSPORT__AUTH": json.dumps({"type": "api_key", "apiKey": receiver.token}),
            "OPENLINEAGE__TRANSPORT__COMPRESSION": "gzip",
        }
    return receiver.variables() | ({"OPENLINEAGE__TRANSPORT__TYPE": "async_http"} if way == "async" else {})


@pytest.mark.parametrize("way", ["sync", "gzip", "async"])
def test_each_run_arrives_once(receiver: Receiver, tmp_path: Path, way: str) -> None:
    namespace = f"python-{way}"
    command = ["python", str(HERE / "send_events.py"), namespace, str(RUNS)]
    producer("python").run(command, variables_of(way, receiver), directory=tmp_path)
    found = receiver.found(namespace)

    assert len(found.runs) == RUNS
    assert {(run.pipeline, run.type) for run in found.runs} == {(f"{namespace}/load", "python script")}
    assert {(run.succeeded, run.total_rows, run.said["events"]) for run in found.runs} == {(True, 3, 2)}
    warehouse = "postgres://warehouse:5432/shop.public"
    assert found.edges == [(f"{namespace}/load", f"{warehouse}.orders", f"{warehouse}.daily")]
