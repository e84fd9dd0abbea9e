"""Alertmanager: a sink in its place, and a real one."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.deploy.tools import find_program, miss
from tests.support.channels import add_channel, channel_named
from tests.support.http_sink import HttpSink
from tests.support.live import free_port, wait_until
from tests.support.notifications import add_incident, put
from tests.support.snapshots import about, channel, resolved, snapshot
from watcher_server.alerts.channels.snapshot import Snapshot
from watcher_server.alerts.outcome import Outcome
from watcher_server.alerts.repeating import tell_alertmanagers
from watcher_server.alerts.sending import send
from watcher_server.settings import Settings


def moment(value: str) -> datetime:
    return datetime.fromisoformat(value)


def test_an_incident_fires_for_three_minutes_and_ends_at_once_when_it_is_over(
    sink: HttpSink, settings: Settings
) -> None:
    manager = channel("alertmanager", url=sink.url, username="w", password="secret", labels={"team": "data"})

    assert send(manager, snapshot(), settings) == Outcome(sent_to="alertmanager")
    assert send(manager, resolved(), settings).sent_to

    (firing,), (over,) = (each.json for each in sink.received)
    assert sink.received[0].path == "/api/v2/alerts"
    assert sink.received[0].headers["authorization"] == "Basic dzpzZWNyZXQ="
    assert firing["labels"] == over["labels"]
    assert firing["labels"]["team"] == "data"
    assert 150 < (moment(firing["endsAt"]) - datetime.now(UTC)).total_seconds() <= 180
    assert moment(over["endsAt"]) <= datetime.now(UTC)


class TestEachMinute:
    @pytest.fixture
    def told(self, engine: Engine, sink: HttpSink) -> Engine:
        """An incident that Alertmanager was told of, and one that went elsewhere."""
        add_channel(engine, "manager", "alertmanager", url=sink.url)
        put(engine, "here", add_incident(engine, "here"), change="opened", state="sent", channel="manager")
        put(engine, "elsewhere", add_incident(engine, "elsewhere"), change="opened", state="sent")
        return engine

    def test_it_is_told_again_of_what_is_open_there(self, told: Engine, sink: HttpSink, settings: Settings) -> None:
        tell_alertmanagers(told, settings)
        tell_alertmanagers(told, settings)

        assert [[alert["labels"]["subject"] for alert in each.json] for each in sink.received] == [["here"], ["here"]]

    def test_of_what_is_over_nothing_is_said(self, told: Engine, sink: HttpSink, settings: Settings) -> None:
        with told.begin() as connection:
            connection.execute(text("UPDATE incident SET state = 'resolved', resolved_at = now(), resolution = 'auto'"))

        tell_alertmanagers(told, settings)

        assert sink.received == []

    def test_one_that_is_away_is_a_channel_that_fails(self, told: Engine, sink: HttpSink, settings: Settings) -> None:
        sink.say(500)
        tell_alertmanagers(told, settings)
        row = channel_named(told, "manager")
        assert (row["failures"], row["last_error"]) == (1, "Alertmanager answered with status 500")

        tell_alertmanagers(told, settings)
        assert (channel_named(told, "manager")["failures"], channel_named(told, "manager")["failing_since"]) == (
            0,
            None,
        )


@contextmanager
def alertmanager(folder: Path, port: int) -> Iterator[str]:
    """A real one; the base of its API."""
    program = find_program("prometheus-alertmanager", ".venv-debian/usr/bin", "run tests/debian-packages.sh")
    if not Path("/usr/share/prometheus/alertmanager/default.tmpl").exists():
        miss("Alertmanager's templates are missing: run tests/debian-packages.sh as root.")
    (folder / "manager.yml").write_text(
        "route: {receiver: nobody, group_by: [kind], group_wait: 1s}\nreceivers: [{name: nobody}]\n"
    )
    files = ["--config.file", str(folder / "manager.yml"), "--storage.path", str(folder / "data")]
    options = [*files, "--cluster.listen-address="]
    process = subprocess.Popen([program, *options, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(url), "Alertmanager")
        yield url
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready").status_code == 200
    except httpx.TransportError:
        return False


def _firing(url: str) -> list[str]:
    return sorted(alert["labels"]["subject"] for alert in httpx.get(f"{url}/api/v2/alerts").json())


def test_a_real_alertmanager_fires_groups_resolves_and_is_told_again_after_its_restart(
    tmp_path: Path, settings: Settings
) -> None:
    port = free_port()
    orders, sales = about(1, subject="orders"), about(2, subject="sales")

    def tell(url: str, told: Snapshot) -> None:
        assert send(channel("alertmanager", url=url), told, settings) == Outcome(sent_to="alertmanager")

    with alertmanager(tmp_path, port) as url:
        tell(url, snapshot(incidents=[orders, sales]))
        wait_until(lambda: _firing(url) == ["orders", "sales"], "both alerts")
        (group,) = httpx.get(f"{url}/api/v2/alerts/groups").json()
        assert (group["labels"], len(group["alerts"])) == ({"kind": "failing"}, 2)

        tell(url, resolved(incidents=[about(1, subject="orders", is_over=True)]))
        wait_until(lambda: _firing(url) == ["sales"], "one alert")
    with alertmanager(tmp_path, port) as url:
        tell(url, snapshot(incidents=[sales]))
        wait_until(lambda: _firing(url) == ["sales"], "the alert after the restart")
