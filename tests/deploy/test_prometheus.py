"""A real Prometheus, with the files of deploy/prometheus, on a live Watcher."""

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml
from sqlalchemy import NullPool, create_engine, insert

from tests.conftest import create_database, worker_broker
from tests.deploy.expressions import (
    ALERTS,
    DASHBOARDS,
    Expression,
    alert_expressions,
    alert_rules,
    answer_also_without_fault,
    dashboard_expressions,
    has_data,
    panels,
)
from tests.deploy.tools import DEPLOY, find_program
from tests.support.live import free_port, wait_until, watcher_process
from watcher_server.alerts.levels import Level
from watcher_server.alerts.service import NewAlert, raise_alert
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.tasking.models import OutboxMessage
from watcher_server.tasking.sending.broker import redis_client

CONFIGURATION = DEPLOY / "prometheus" / "prometheus.yml"
HOW_TO_GET_IT = "run tests/debian-packages.sh, or apt-get install prometheus"


def _program(name: str) -> str:
    return find_program(name, ".venv-debian/usr/bin", HOW_TO_GET_IT)


@dataclass(frozen=True)
class Monitored:
    """A Watcher and the Prometheus that scrapes it."""

    watcher_url: str
    prometheus_url: str
    database_url: str

    def ask(self, path: str) -> Any:
        answer = httpx.get(f"{self.prometheus_url}/api/v1/{path}", timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def cause(self, number: int) -> None:
        """Have a task succeed, one fail for good, and one be retried."""
        httpx.post(f"{self.watcher_url}/freshness").raise_for_status()
        engine = create_engine(sqlalchemy_url(self.database_url), poolclass=NullPool)
        with engine.begin() as connection:
            broken = {"task_name": "detect_anomalies_task", "kwargs": {"unheard": "of"}}
            connection.execute(insert(OutboxMessage).values(broken))
            raise_alert(connection, NewAlert(f"test {number}", Level.INFO, "Test", "A test.", ()))


@pytest.fixture(scope="module")
def monitored(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    """An api, a worker and Prometheus, with tasks of every outcome."""
    _program("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    database_url = create_database(f"watcher_monitored_{worker_id}")
    broker_url = worker_broker(worker_id, 2)
    api_port, prometheus_port = free_port(), free_port()
    environment = {
        "WATCHER_HOME": str(folder / "home"),
        "WATCHER_DATABASE_URL": database_url,
        "WATCHER_BROKER_URL": broker_url,
        "WATCHER_PORT": str(api_port),
        "WATCHER_API_PROCESSES": "1",
        "WATCHER_WORKER_METRICS_PORT": str(free_port()),
        "WATCHER_SLACK_WEBHOOK_URL": "http://127.0.0.1:1/",
    }
    with ExitStack() as stack:
        with redis_client(broker_url) as broker:
            broker.flushdb()
        stack.enter_context(watcher_process(["api"], environment, folder / "api.log"))
        stack.enter_context(watcher_process(["worker", "--autoscale", "2,1"], environment, folder / "worker.log"))
        prometheus_url = stack.enter_context(_prometheus(folder, prometheus_port, api_port))
        watched = Monitored(f"http://127.0.0.1:{api_port}", prometheus_url, database_url)
        wait_until(lambda: _all_targets_are_up(watched), f"the first scrapes (the logs are in {folder})", 40)
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(_BUSY)
        yield watched


# Each delivery of an alert fails with an error that passes.
_BUSY = """
CREATE FUNCTION be_busy() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the table is busy' USING ERRCODE = 'lock_not_available'; END $$;
CREATE TRIGGER busy BEFORE INSERT ON channel EXECUTE FUNCTION be_busy();
"""


@contextmanager
def _prometheus(folder: Path, port: int, api_port: int) -> Iterator[str]:
    """Prometheus on the example's configuration: its addresses are these, and its intervals a second."""
    configuration = CONFIGURATION.read_text().replace("127.0.0.1:8000", f"127.0.0.1:{api_port}")
    configuration = configuration.replace("interval: 15s", "interval: 1s").replace("interval: 30s", "interval: 1s")
    (folder / "prometheus.yml").write_text(configuration)
    (folder / "alerts.yml").write_text(ALERTS.read_text())
    command = [
        _program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(f"{url}/-/ready"), f"Prometheus (its log is in {folder})")
        yield url
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _all_targets_are_up(watched: Monitored) -> bool:
    health = {target["labels"]["job"]: target["health"] for target in watched.ask("targets")["activeTargets"]}
    return health == {"watcher-api": "up", "watcher-workers": "up"}


def test_the_configuration_and_the_rules_are_prometheus_own() -> None:
    for command in (["check", "config", str(CONFIGURATION)], ["check", "rules", str(ALERTS)]):
        checked = subprocess.run([_program("promtool"), *command], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    for rule in alert_rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}, rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]


def test_every_panel_can_be_shown() -> None:
    assert len(DASHBOARDS) == 2
    for place, panel in panels():
        assert panel["type"] in {"timeseries", "stat", "table"}, place
        assert panel["fieldConfig"]["defaults"]["unit"], place
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}, place


def test_every_expression_finds_its_data(monitored: Monitored) -> None:
    expressions = [*alert_expressions(), *dashboard_expressions()]
    missing: list[Expression] = expressions
    deadline = time.monotonic() + 30
    for number in range(60):
        # Again and again, so that what counts them rises between two scrapes.
        monitored.cause(number)
        missing = [expression for expression in missing if not has_data(monitored.prometheus_url, expression)]
        if not missing or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    assert not missing


def test_a_task_that_failed_for_good_raises_its_alert(monitored: Monitored) -> None:
    monitored.cause(-1)

    def has_fired() -> bool:
        alerts = monitored.ask("alerts")["alerts"]
        fired = {(alert["labels"]["alertname"], alert["labels"].get("name")) for alert in alerts}
        return ("WatcherTasksFailed", "detect_anomalies_task") in fired

    wait_until(has_fired, "the alert")


def test_prometheus_evaluates_every_rule(monitored: Monitored) -> None:
    def rules() -> list[dict[str, Any]]:
        return [rule for group in monitored.ask("rules")["groups"] for rule in group["rules"]]

    assert {rule["name"] for rule in rules()} == {rule["alert"] for rule in alert_rules()}
    wait_until(lambda: all(rule["health"] == "ok" for rule in rules()), "the evaluation of every rule")


def test_a_metric_that_does_not_exist_would_be_noticed(monitored: Monitored) -> None:
    for query in (
        "max(watcher_no_such_metric) == bool 0",
        "watcher_up == bool 1 and on (no_such_label) celery_worker_up{hostname='nobody'} == bool 1",
    ):
        assert not has_data(monitored.prometheus_url, Expression("test", query))


def test_comparisons_of_labels_are_not_those_of_values() -> None:
    query = 'a{b!="c", d=~"e > f"} != 1 and label_replace(g, "h", "<", "i", "") >= 2'
    expected = 'a{b!="c", d=~"e > f"} != bool 1 and label_replace(g, "h", "<", "i", "") >= bool 2'
    assert answer_also_without_fault(query) == expected


def test_the_example_scrapes_the_jobs_that_are_named() -> None:
    scraped = {job["job_name"] for job in yaml.safe_load(CONFIGURATION.read_text())["scrape_configs"]}
    expressions = [*alert_expressions(), *dashboard_expressions()]
    named = {job for expression in expressions for job in re.findall(r'job="([^"]*)"', expression.query)}
    assert named
    assert named <= scraped
