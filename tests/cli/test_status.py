"""``watcher status`` shows what runs and how far behind it is."""

import io
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from rich.console import Console
from sqlalchemy import Connection, Engine

from tests.cli.commands import LIMIT_SECONDS, Watcher
from tests.support.live import free_port, wait_until
from tests.support.queues import DETECT, add_finished, add_waiting, add_worker
from tests.support.rows import ago, now
from watcher_server.cli.snapshot import Snapshot, take_snapshot
from watcher_server.cli.status_view import render
from watcher_server.embedded.services import EmbeddedServices
from watcher_server.settings import Settings, load_settings
from watcher_server.tasking.limits.service import override_limit

LONG_NAME = "celery@ip-10-0-12-123.eu-west-1.compute.internal"


def _settings(**settings: object) -> Settings:
    return load_settings(port=free_port(), **settings)


def _text(snapshot: Snapshot, settings: Settings, width: int = 120) -> str:
    """What a terminal of so many columns shows."""
    console = Console(width=width, file=io.StringIO())
    console.print(render(snapshot, settings))
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def _row(text: str, first: str) -> list[str]:
    """The cells of the line that begins with these words."""
    line = next(line for line in text.splitlines() if line.startswith(first))
    return line.removeprefix(first).split()


def _busy(connection: Connection) -> None:
    add_worker(connection, LONG_NAME, host=LONG_NAME, active=1, pid=1_234_567)
    add_worker(connection, "celery@died", seen_at=ago(minutes=12))
    add_waiting(connection, 2_500, due_at=ago(hours=30))
    add_waiting(connection, 3, due_at=now() + timedelta(hours=1))
    add_finished(connection, 60)
    add_finished(connection, 2, state="FAILURE", finished_at=ago(days=1))


def test_the_services_are_named_with_what_is_wrong_with_them(engine: Engine) -> None:
    settings = _settings()
    with engine.begin() as connection:
        add_worker(connection, active=1)

    snapshot = take_snapshot(settings)

    assert {service.name: (service.text, service.is_good) for service in snapshot.services} == {
        "API": (f"http://127.0.0.1:{settings.port} does not answer", False),
        "Database": ("answers", True),
        "Broker": ("answers", True),
        "Workers": ("1 alive, 1 of 2 processes busy", True),
    }
    assert (snapshot.is_good, snapshot.anything_runs) == (False, True)


def test_only_workers_that_were_seen_lately_count(engine: Engine) -> None:
    with engine.begin() as connection:
        add_worker(connection, seen_at=ago(minutes=5))

    workers = take_snapshot(_settings()).services[-1]

    assert (workers.text, workers.is_good) == ("none is alive: start one with `watcher worker`", False)


def test_queues_tasks_and_workers_have_their_numbers(engine: Engine) -> None:
    with engine.begin() as connection:
        _busy(connection)

    text = _text(take_snapshot(_settings()), _settings())

    assert _row(text, "celery ") == ["0", "0", "3", "2,500", "1d", "6h", "2,503", "60", "41m", "40s"]
    assert _row(text, "scheduled ") == ["0", "0", "0", "0", "-", "0", "0", "0s"]
    assert _row(text, DETECT) == ["2,500", "15/s", "60", "2"]
    assert _row(text, "timeliness_check_task") == ["0", "1/s", "0", "0"]
    died = _row(text, "celery@died")
    # On a busy machine a few seconds follow the minutes.
    assert (died[:7], died[-1]) == (["one", "died", "4711", "0", "of", "2", "12m"], "ago")
    assert "2 failed tasks are kept." in text
    assert "`watcher tasks list --state FAILURE`" in text


def test_everything_but_long_names_fits_into_80_columns(engine: Engine) -> None:
    with engine.begin() as connection:
        _busy(connection)
        override_limit(connection, load_settings(), DETECT, 100.0, 60)

    text = _text(take_snapshot(_settings()), _settings(), width=80)

    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert _row(text, "celery ") == ["0", "0", "3", "2,500", "1d", "6h", "2,503", "60", "41m", "40s"]
    assert "pipeline_execution_closure_maintain_task" in text
    assert _row(text, "celery@ip-10")[-6:-2] == ["1234567", "1", "of", "2"]
    assert f"The limit of {DETECT} is 100/s until" in text


def test_names_neither_steer_the_terminal_nor_are_read_as_markup(engine: Engine) -> None:
    with engine.begin() as connection:
        add_worker(connection, "celery@[red]\x1b[2J\x9b", host="host\x07[/]")

    text = _text(take_snapshot(_settings()), _settings(), width=200)

    assert r"celery@[red]\x1b[2J\x9b" in text
    assert r"host\x07[/]" in text
    assert not {"\x1b", "\x9b", "\x07"} & set(text)


def test_of_many_workers_that_are_gone_some_are_shown(engine: Engine) -> None:
    with engine.begin() as connection:
        add_worker(connection, "celery@lives")
        for number in range(20):
            add_worker(connection, f"celery@gone-{number:02}", stopped_at=ago(minutes=5), seen_at=ago(minutes=5))

    text = _text(take_snapshot(_settings()), _settings())

    assert "celery@lives" in text
    assert text.count("celery@gone") == 5
    assert "and 15 more that are gone" in text


def test_without_a_broker_its_numbers_are_missing(engine: Engine) -> None:
    with engine.begin() as connection:
        add_waiting(connection, 7)
    settings = _settings(broker_url="redis://127.0.0.1:1/0")

    text = _text(take_snapshot(settings), settings)

    assert "The broker does not answer: start it, or correct WATCHER_BROKER_URL." in text
    assert _row(text, "celery ")[:4] == ["-", "-", "0", "7"]


@pytest.mark.usefixtures("engine")
def test_without_a_database_the_broker_is_still_asked() -> None:
    settings = _settings(database_url="postgresql://nobody@127.0.0.1:1/none")

    text = _text(take_snapshot(settings), settings)

    assert "The database cannot be reached" in text
    assert "Broker    answers" in text
    assert "Queue" not in text


@pytest.mark.usefixtures("engine")
def test_without_a_configured_broker_the_workers_are_still_shown() -> None:
    settings = _settings(broker_url=None)

    text = _text(take_snapshot(settings), settings)

    assert "none runs, none is configured" in text
    assert "none is alive" in text


def test_it_says_how_to_start_what_does_not_run(watcher: Watcher) -> None:
    status = watcher.run("status")
    assert status.returncode == 1
    assert "`watcher up`" in status.stderr

    as_json = watcher.run("status", "--json")
    assert as_json.returncode == 1
    assert json.loads(as_json.stdout)["services"]["database"] == {"ok": False, "text": "none runs, none is configured"}


def test_a_bad_line_is_status_1(watcher: Watcher) -> None:
    with EmbeddedServices(watcher.home) as services:
        urls = {"database_url": services.database_url, "broker_url": services.broker_url}
        assert watcher.run("migrate", **urls).returncode == 0
        status = watcher.run("status", **urls)
    assert status.returncode == 1
    assert f"{watcher.url} does not answer" in status.stdout
    assert "`watcher worker`" in status.stdout
    assert "Outbox" in status.stdout


def test_it_finds_what_up_runs(watcher: Watcher) -> None:
    watcher.up()
    # The api is ready before the worker is.
    wait_until(lambda: watcher.run_beside("status").returncode == 0, "a status without a bad line", LIMIT_SECONDS)

    status = watcher.run_beside("status")
    assert f"{watcher.url} is ready" in status.stdout
    assert "1 alive" in status.stdout

    report = json.loads(watcher.run_beside("status", "--json").stdout)
    assert report["ok"] is True
    assert report["services"]["api"] == {"ok": True, "text": f"{watcher.url} is ready"}
    assert report["queues"]["queues"]["celery"]["workers_active"] == 1
    assert [worker["state"] for worker in report["workers"]] == ["alive"]
    assert report["limits"][0]["task"] == DETECT


def test_watching_needs_a_terminal(watcher: Watcher) -> None:
    refused = watcher.run("status", "--watch")
    assert refused.returncode == 1
    assert refused.stderr == "watcher: --watch needs a terminal: leave it out, or use --json.\n"


@contextmanager
def _in_a_terminal(watcher: Watcher, *arguments: str) -> Iterator[tuple["subprocess.Popen[bytes]", list[bytes]]]:
    """The command in a terminal, and what it writes there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "watcher_server.cli.main", *arguments],
        env=watcher.environment({}) | {"TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    written: list[bytes] = []

    def read() -> None:
        try:
            while chunk := os.read(ours, 65_536):
                written.append(chunk)
        except OSError:
            return  # The other end is closed.

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield process, written
    finally:
        process.kill()
        process.wait()
        reader.join()
        os.close(ours)


def test_watching_goes_on_until_it_is_interrupted(watcher: Watcher) -> None:
    with _in_a_terminal(watcher, "status", "--watch") as (process, written):
        wait_until(lambda: b"".join(written).count(b"Ctrl-C ends") >= 2, "the second look", LIMIT_SECONDS)
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_SECONDS) == 0
    output = b"".join(written)
    assert b"does not answer" in output
    assert b"Traceback" not in output
