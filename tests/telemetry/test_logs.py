"""Log lines: as text and as JSON, with what they belong to, and without secrets."""

import json
import logging
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import create_database, worker_broker
from tests.support.live import wait_until, watcher_process
from tests.telemetry.processes import Running, run_api_and_worker, run_command
from watcher_server.settings import get_settings
from watcher_server.tasking.sending.broker import redis_client
from watcher_server.telemetry import redaction
from watcher_server.telemetry.context import request_context, task_context
from watcher_server.telemetry.logs import JsonLogFormatter, PlainFormatter
from watcher_server.telemetry.redaction import redact

PASSWORDS = {"database": "db p@ssw0rd", "broker": "br0ker p@ss"}
WEBHOOK_PATH = "services/T0SECRET/B0SECRET/x1y2z3"


@pytest.fixture
def _in_a_task() -> Iterator[None]:
    request = request_context.set({"request_id": "nightly-7", "traceparent": "00-…"})
    task = task_context.set(
        {"task_id": "3f", "task_name": "detect_anomalies_task", "pipeline_id": 1, "execution_id": 9}
    )
    yield
    task_context.reset(task)
    request_context.reset(request)


def record(message: str, *arguments: object, **more: Any) -> logging.LogRecord:
    return logging.LogRecord("watcher_server.alerts", logging.WARNING, __file__, 1, message, arguments, None, **more)


def as_json(logged: logging.LogRecord) -> dict[str, Any]:
    line = JsonLogFormatter().format(logged)
    assert len(line.splitlines()) == 1
    fields: dict[str, Any] = json.loads(line)
    return fields


@pytest.mark.usefixtures("_in_a_task")
def test_a_line_of_json_says_what_it_belongs_to() -> None:
    fields = as_json(record("Slack answered with %s", 500))

    assert datetime.fromisoformat(fields.pop("timestamp")).utcoffset().total_seconds() == 0  # type: ignore[union-attr]
    assert fields == {
        "level": "WARNING",
        "logger": "watcher_server.alerts",
        "message": "Slack answered with 500",
        "request_id": "nightly-7",
        "task_id": "3f",
        "task_name": "detect_anomalies_task",
        "pipeline_id": 1,
        "execution_id": 9,
    }


def test_an_alert_of_many_lines_is_one_line_of_json() -> None:
    assert as_json(record("🚨 CRITICAL\nCelery Queue Alert"))["message"] == "🚨 CRITICAL\nCelery Queue Alert"


def test_an_error_is_in_its_line() -> None:
    try:
        raise ValueError("redis://:hunter2@mq")  # noqa: TRY301 - it is the error itself that is wanted
    except ValueError:
        logged = record("It failed")
        logged.exc_info = sys.exc_info()
    exception = as_json(logged)["exception"]

    assert exception.startswith("Traceback")
    assert exception.endswith("ValueError: redis://:***@mq")


@pytest.mark.usefixtures("_in_a_task")
def test_text_names_the_task_and_the_request() -> None:
    line = PlainFormatter().format(record("Slack answered with %s", 500))

    assert line.endswith(
        "WARNING watcher_server.alerts: detect_anomalies_task[3f] request nightly-7: Slack answered with 500"
    )


def test_text_that_belongs_to_nothing_stays_as_it_is() -> None:
    assert PlainFormatter().format(record("Ready")).endswith("WARNING watcher_server.alerts: Ready")


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("redis://:hunter2@mq/0 is away", "redis://:***@mq/0 is away"),
        ("postgresql+psycopg://u:hunter2@db/x", "postgresql+psycopg://u:***@db/x"),
        ("host=db password=hunter2 user=u", "host=db password=*** user=u"),
        ("Connection(db=0, password='hunter2')", "Connection(db=0, password=***)"),
        ("{'password': 'hunter 2', 'db': 0}", "{'password': ***, 'db': 0}"),
        ("redis+socket:///s?password=hunter2&virtual_host=1", "redis+socket:///s?password=***&virtual_host=1"),
        ("Authorization: Bearer hunter2hunter2", "Authorization: Bearer ***"),
        (f"watcher_{'a' * 43} is unknown", "*** is unknown"),
        ("Listening on http://127.0.0.1:8000/docs", "Listening on http://127.0.0.1:8000/docs"),
        ('password authentication failed for user "u"', 'password authentication failed for user "u"'),
    ],
)
def test_what_reads_like_a_secret_is_hidden(message: str, shown: str) -> None:
    assert redact(message) == shown


@pytest.fixture
def _settings_with_secrets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("WATCHER_DATABASE_URL", "postgresql://watcher:watcher@db/x")
    monkeypatch.setenv("WATCHER_BROKER_URL", "redis://:s3cret%2Fword@mq/0")
    monkeypatch.setenv("WATCHER_SLACK_WEBHOOK_URL", f"https://hooks.slack.example/{WEBHOOK_PATH}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic dXNlcjpwYXNz,X-Team=data")
    get_settings.cache_clear()
    redaction._known_pattern.cache_clear()  # noqa: SLF001 - the settings of a process do not change
    yield
    monkeypatch.undo()
    get_settings.cache_clear()
    redaction._known_pattern.cache_clear()  # noqa: SLF001 - as above


@pytest.mark.usefixtures("_settings_with_secrets")
@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("AUTH s3cret/word failed", "AUTH *** failed"),
        ("AUTH s3cret%2Fword failed", "AUTH *** failed"),
        (f"POST https://hooks.slack.example/{WEBHOOK_PATH} 500", "POST *** 500"),
        (f"POST /{WEBHOOK_PATH} HTTP/1.1", "POST /*** HTTP/1.1"),
        ("sent with Basic dXNlcjpwYXNz", "sent with ***"),
        ("watcher: the relay of watcher_server", "watcher: the relay of watcher_server"),
    ],
)
def test_configured_secrets_are_hidden_wherever_they_stand(message: str, shown: str) -> None:
    assert redact(message) == shown


@pytest.fixture
def webhook() -> Iterator[str]:
    """A Slack that takes everything, under a secret path."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nobody looks."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/{WEBHOOK_PATH}"
        server.shutdown()
        thread.join()


@pytest.fixture
def secretive(worker_id: str, webhook: str) -> Iterator[dict[str, str]]:
    """Settings with a password wherever one can be, and the lowest level of logs."""
    broker_url = worker_broker(worker_id, 2)
    with redis_client(broker_url) as broker:
        broker.execute_command("ACL", "SETUSER", "logged", "on", f">{PASSWORDS['broker']}", "~*", "&*", "+@all")
        yield {
            "WATCHER_DATABASE_URL": create_database(f"watcher_logged_{worker_id}").replace(
                "@/", ":db%20p%40ssw0rd@/", 1
            ),
            "WATCHER_BROKER_URL": broker_url.replace("://", "://logged:br0ker%20p%40ss@", 1),
            "WATCHER_SLACK_WEBHOOK_URL": webhook,
            "WATCHER_LOG_FORMAT": "json",
            "WATCHER_LOG_LEVEL": "DEBUG",
        }
        broker.execute_command("ACL", "DELUSER", "logged")


def work(running: Running) -> None:
    """A run, and a check that alerts."""
    api = running.api
    body = {"name": "orders", "pipeline_type_name": "x", "freshness_number": 1, "freshness_datepart": "hour"}
    pipeline_id = api.post("/pipeline", json=body).json()["id"]
    body = {"pipeline_id": pipeline_id, "metric_field": "inserts"}
    assert api.post("/anomaly_detection_rule", json=body).status_code == 201
    body = {"pipeline_id": pipeline_id, "start_date": "2026-03-01T02:00:00Z"}
    execution_id = api.post("/start_pipeline_execution", json=body).json()["id"]
    body = {"id": execution_id, "completed_successfully": True, "inserts": 1, "end_date": "2026-03-01T03:00:00Z"}
    assert api.post("/end_pipeline_execution", json=body, headers={"X-Request-ID": "nightly-7"}).status_code == 204
    assert api.post("/freshness").status_code == 200


def test_every_process_logs_lines_of_json_without_secrets(secretive: dict[str, str], tmp_path: Path) -> None:
    logs = {name: tmp_path / f"{name}.log" for name in ("api", "worker", "beat")}
    token = run_command(["token", "create", "logs", "--scope", "admin"], secretive, tmp_path).stdout.strip()
    options = ["--loglevel=debug"]
    beat = {**secretive, "WATCHER_HOME": str(tmp_path / "home")}
    with (
        run_api_and_worker(secretive, tmp_path, worker_options=options) as running,
        watcher_process(["beat"], beat, logs["beat"]),
    ):
        running.api.headers["Authorization"] = f"Bearer {token}"
        work(running)
        wait_until(lambda: "delivered_to" in logs["worker"].read_text(), "the delivery of the alert")
        wait_until(lambda: "beat: Starting" in logs["beat"].read_text(), "the start of beat")
        assert running.stop_worker() == 0

    lines = {name: [json.loads(line) for line in log.read_text().splitlines()] for name, log in logs.items()}
    # The broker may still hold what a test before this one left there.
    (judged,) = [
        line
        for line in lines["worker"]
        if "anomalies_found" in line["message"] and line.get("request_id") == "nightly-7"
    ]
    assert {name: judged[name] for name in ("request_id", "task_name", "pipeline_id", "execution_id")} == {
        "request_id": "nightly-7",
        "task_name": "detect_anomalies_task",
        "pipeline_id": 1,
        "execution_id": 1,
    }
    assert judged["task_id"] in judged["message"]
    assert {"DEBUG", "INFO"} <= {line["level"] for line in lines["worker"]}
    everything = "".join(log.read_text() for log in logs.values())
    secrets = [*PASSWORDS.values(), "db%20p%40ssw0rd", "br0ker%20p%40ss", WEBHOOK_PATH, token]
    assert [secret for secret in secrets if secret in everything] == []


def test_text_of_a_worker_names_the_request(worker_id: str, tmp_path: Path) -> None:
    settings = {
        "WATCHER_DATABASE_URL": create_database(f"watcher_logged_{worker_id}"),
        "WATCHER_BROKER_URL": worker_broker(worker_id, 2),
    }
    log = tmp_path / "worker.log"
    with run_api_and_worker(settings, tmp_path) as running:
        work(running)
        wait_until(lambda: "delivered_to" in log.read_text(), "the delivery of the alert")

    (judged,) = [line for line in log.read_text().splitlines() if "anomalies_found" in line]
    assert ": INFO/ForkPoolWorker-" in judged
    assert "] request nightly-7: Task detect_anomalies_task[" in judged
    (alert,) = [line for line in log.read_text().splitlines() if line.endswith("⚠️ WARNING")]
    assert "] deliver_alert_task[" in alert
