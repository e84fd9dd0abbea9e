"""Traces: from the request over the outbox to the task, and whatever that called for."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from celery.app.task import Context
from celery.exceptions import Retry
from sqlalchemy import create_engine, text

from tests.conftest import create_database, worker_broker
from tests.support.live import free_port, wait_until
from tests.telemetry.processes import run_api_and_worker
from tests.telemetry.sink import CollectedSpan, Collector, run_collector
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.telemetry.spans import Tracing

CYCLES = 20
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
START, END = "2026-03-01T02:00:00Z", "2026-03-01T02:05:00Z"

Settings = dict[str, str]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with run_collector() as collector:
        yield collector


@pytest.fixture
def traced(worker_id: str, collector: Collector) -> Settings:
    """Settings of processes that send their spans to the collector."""
    return {
        "WATCHER_DATABASE_URL": create_database(f"watcher_traced_{worker_id}"),
        "WATCHER_BROKER_URL": worker_broker(worker_id, 2),
        "WATCHER_DETECT_ANOMALIES_RATE_LIMIT": "none",
        "WATCHER_TELEMETRY": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
    }


def create_pipeline(api: httpx.Client, **fields: object) -> int:
    answer = api.post("/pipeline", json={"name": "orders", "pipeline_type_name": "extraction", **fields})
    return int(answer.json()["id"])


def create_judged_pipeline(api: httpx.Client) -> int:
    """A pipeline with a rule, so that a task follows each of its runs."""
    pipeline_id = create_pipeline(api)
    rule = {"pipeline_id": pipeline_id, "metric_field": "inserts"}
    assert api.post("/anomaly_detection_rule", json=rule).status_code == 201
    return pipeline_id


def run_once(api: httpx.Client, pipeline_id: int, **headers: str) -> httpx.Response:
    """A start and an end; the answer to the end."""
    body = {"pipeline_id": pipeline_id, "start_date": START}
    execution_id = api.post("/start_pipeline_execution", json=body).json()["id"]
    body = {"id": execution_id, "end_date": END, "completed_successfully": True}
    answer = api.post("/end_pipeline_execution", json=body, headers=headers)
    assert answer.status_code == 204, answer.text
    return answer


def wait_until_done(settings: Settings, task_name: str, count: int) -> None:
    """Wait until so many runs of a task have succeeded."""
    engine = create_engine(sqlalchemy_url(settings["WATCHER_DATABASE_URL"]))
    statement = text("SELECT count(*) FROM task WHERE name = :name AND state = 'SUCCESS'")

    def done() -> bool:
        with engine.connect() as connection:
            return bool(connection.scalar(statement, {"name": task_name}) == count)

    wait_until(done, f"{count} times {task_name}", 60)
    engine.dispose()


def the_only(spans: list[CollectedSpan]) -> CollectedSpan:
    (span,) = spans
    return span


def test_every_task_is_in_the_trace_of_its_request_however_often_processes_are_replaced(
    traced: Settings, collector: Collector, tmp_path: Path
) -> None:
    # Nothing is sent but at the end of each process.
    settings = {**traced, "OTEL_BSP_SCHEDULE_DELAY": "600000"}
    options = ["--max-tasks-per-child=1", "--concurrency=4"]
    with run_api_and_worker(settings, tmp_path, worker_options=options) as running:
        pipeline_id = create_judged_pipeline(running.api)
        answers = [run_once(running.api, pipeline_id) for _ in range(CYCLES)]
        wait_until_done(settings, "detect_anomalies_task", CYCLES)
        assert running.stop_worker() == 0
        running.stop_api()

    requests = {span.attributes["watcher.request_id"]: span for span in collector.named("POST /end_pipeline_execution")}
    tasks = collector.named("run detect_anomalies_task")
    assert {span.service for span in tasks} == {"watcher-worker"}
    assert {span.service for span in requests.values()} == {"watcher-api"}
    assert len(requests) == len(tasks) == CYCLES
    for span in tasks:
        request = requests[span.attributes["watcher.request_id"]]
        assert (span.trace_id, span.parent_id) == (request.trace_id, request.span_id)
    told = {answer.headers["x-request-id"]: answer.headers["traceparent"][:-3] for answer in answers}
    assert told == {name: f"00-{span.trace_id}-{span.span_id}" for name, span in requests.items()}


def test_a_trace_goes_from_its_caller_to_the_delivery_of_an_alert(
    traced: Settings, collector: Collector, tmp_path: Path
) -> None:
    with run_api_and_worker(traced, tmp_path) as running:
        create_pipeline(running.api, freshness_number=1, freshness_datepart="hour")
        make_everything_old(traced)
        headers = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01", "X-Request-ID": "morning-check"}
        assert running.api.post("/freshness", headers=headers).status_code == 200
        wait_until(lambda: bool(collector.named("run deliver_alert_task")), "the span of the delivery", 60)
        wait_until(lambda: bool(collector.named("POST /freshness")), "the span of the request")

    request = the_only(collector.named("POST /freshness"))
    check = the_only(collector.named("run freshness_check_task"))
    delivery = the_only(collector.named("run deliver_alert_task"))
    assert {request.trace_id, check.trace_id, delivery.trace_id} == {TRACE_ID}
    assert [request.parent_id, check.parent_id, delivery.parent_id] == [SPAN_ID, request.span_id, check.span_id]
    assert {span.name for span in collector.spans if span.service == "watcher-api"} == {
        "POST /pipeline",
        "POST /freshness",
    }
    assert request.attributes["http.request.method"] == "POST"
    assert request.attributes["http.route"] == "/freshness"
    assert request.attributes["http.response.status_code"] == 200
    assert delivery.attributes["celery.state"] == "SUCCESS"
    assert 0 <= delivery.attributes["watcher.outbox.wait_seconds"] < 60
    assert {span.attributes["watcher.request_id"] for span in (request, check, delivery)} == {"morning-check"}


def make_everything_old(settings: Settings) -> None:
    engine = create_engine(sqlalchemy_url(settings["WATCHER_DATABASE_URL"]))
    with engine.begin() as connection:
        connection.execute(text("UPDATE pipeline SET created_at = now() - interval '2 days'"))
    engine.dispose()


def test_a_collector_that_never_answers_keeps_nobody_from_working(traced: Settings, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = {**traced, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        with run_api_and_worker(settings, tmp_path) as running:
            pipeline_id = create_judged_pipeline(running.api)
            for _ in range(CYCLES):
                run_once(running.api, pipeline_id)
            wait_until_done(settings, "detect_anomalies_task", CYCLES)
            assert running.stop_worker() == 0
            running.stop_api()


def test_logfire_gets_the_spans_of_its_token(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGFIRE_TOKEN", "pylf_v1_eu_secret")
    monkeypatch.setenv("LOGFIRE_BASE_URL", collector.url)
    tracing = Tracing("watcher-api")
    tracing.provider.get_tracer("test").start_span("work").end()

    assert tracing.close(10)
    assert [span.name for span in collector.spans] == ["work"]
    assert collector.headers[0]["authorization"] == "pylf_v1_eu_secret"


def test_a_collector_beside_logfire_gets_them_too(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGFIRE_TOKEN", "pylf_v1_us_secret")
    monkeypatch.setenv("LOGFIRE_BASE_URL", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "watcher of the warehouse")
    tracing = Tracing("watcher-api")
    tracing.provider.get_tracer("test").start_span("work").end()

    assert tracing.close(10)
    assert [span.service for span in collector.spans] == ["watcher of the warehouse"] * 2
    assert [headers.get("authorization") for headers in collector.headers].count(None) == 1


@pytest.mark.parametrize("state", ["FAILURE", "RETRY"])
def test_a_failed_try_tells_its_error_without_secrets(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    tracing = Tracing("watcher-worker")
    error = ConnectionError("cannot connect to redis://:hunter2@mq")
    request = Context(id="1", retries=2, delivery_info={"routing_key": "celery"}, watcher_due=time.time() - 30)
    span = tracing.start_task(request, {}, {"task_id": "1", "task_name": "deliver_alert_task"})
    span.end(state, Retry("later", error) if state == "RETRY" else error)

    assert tracing.close(10)
    sent = the_only(collector.spans)
    assert (sent.failed, sent.parent_id) == (True, "")
    assert sent.attributes["watcher.outbox.wait_seconds"] >= 30
    assert sent.attributes["celery.state"] == state
    assert sent.errors[0]["exception.type"] == "ConnectionError"
    assert sent.errors[0]["exception.message"] == "cannot connect to redis://:***@mq"
    assert "hunter2" not in str(sent)


# redis-py loads what it finds of the SDK's metrics by itself.
LOADED = """
import sys
import watcher_server.app, watcher_server.celery_app, watcher_server.telemetry.celery_hooks
watcher_server.app.create_app()
unwanted = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "logfire")
print(*(name for name in sys.modules if name.startswith(unwanted)))
"""
WITHOUT_THE_PACKAGES = """
import sys
sys.modules["opentelemetry.sdk"] = None
from watcher_server.cli.main import main
sys.argv = ["watcher", "{command}"]
main()
"""


def run_python(program: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    # pydantic loads the plugins of whatever is installed beside it.
    variables = {**os.environ, "PYDANTIC_DISABLE_PLUGINS": "__all__", **environment}
    return subprocess.run(
        [sys.executable, "-c", program], env=variables, capture_output=True, text=True, timeout=60, check=False
    )


def test_switched_off_nothing_of_it_is_loaded() -> None:
    ran = run_python(LOADED)

    assert (ran.returncode, ran.stdout.strip()) == (0, ""), ran.stderr


@pytest.mark.parametrize("command", ["api", "worker"])
def test_without_its_packages_it_says_what_to_install(command: str) -> None:
    ran = run_python(
        WITHOUT_THE_PACKAGES.format(command=command), WATCHER_TELEMETRY="true", WATCHER_PORT=str(free_port())
    )

    assert ran.returncode == 1
    assert "with its extra `telemetry`" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_a_ping_has_no_span(traced: Settings, collector: Collector, tmp_path: Path) -> None:
    with run_api_and_worker(traced, tmp_path) as running:
        pipeline_id = create_judged_pipeline(running.api)
        url = running.api.get(f"/pipeline/{pipeline_id}").json()["ping_url"]
        answer = running.api.get(f"{url}/fail")
        assert (answer.text, "traceparent" in answer.headers) == ("OK", False)
        wait_until_done(traced, "judge_failure_task", 1)
        running.stop_api()
    assert collector.named("GET /pipeline/{pipeline_id}")
    secret = url.rpartition("/")[2]
    assert [span.name for span in collector.spans if secret in f"{span.name} {span.attributes}"] == []
