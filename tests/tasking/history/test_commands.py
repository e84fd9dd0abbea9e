"""``watcher tasks``: looking at tasks and running them again, from a terminal."""

import sys
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

import pytest
from rich.console import Console
from sqlalchemy import Engine

from tests.support.rows import ago, now
from tests.support.tasks import STORED_ERROR, UNKNOWN_ID, add_task, add_waiting, add_worker, waiting_rows
from watcher_server.cli.main import main
from watcher_server.cli.tasks_view import render_list
from watcher_server.tasking.history.schemas import TaskQuery
from watcher_server.tasking.history.service import list_tasks


class Ended(NamedTuple):
    """How a command ended, and what it said."""

    status: int
    out: str
    error: str


Run = Callable[..., Ended]


@pytest.fixture
def run(engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """``watcher tasks …``, in this process, on the database of the test."""

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["watcher", "tasks", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return run


def outbox_ids(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return [str(row["task_id"]) for row in waiting_rows(connection)]


def test_the_list_has_a_line_for_each_task(engine: Engine, run: Run) -> None:
    with engine.begin() as connection:
        failed = add_task(connection, "FAILURE", created_at=ago(minutes=3), history=[{"exc_type": "OSError"}] * 3)
        running = add_task(connection, "PROGRESS", created_at=ago(minutes=2))
        waiting = add_waiting(connection, "freshness_check_task", created_at=ago(minutes=1))

    ended = run("list")

    assert (ended.status, ended.error) == (0, "")
    header, *lines = ended.out.splitlines()
    assert header.split() == ["ID", "Task", "State", "Created", "(UTC)", "Tries"]
    assert [line.split()[:3] for line in lines] == [
        [waiting, "freshness_check_task", "PENDING"],
        [running, "detect_anomalies_task", "PROGRESS"],
        [failed, "detect_anomalies_task", "FAILURE"],
    ]
    assert "75% Calculating z-scores" in lines[1]
    assert lines[2].split()[5] == "3"
    assert "DatabaseError: Connection timeout" in lines[2]


def test_the_list_says_when_the_next_try_is(engine: Engine, run: Run) -> None:
    later = now() + timedelta(minutes=10)
    with engine.begin() as connection:
        add_waiting(connection, task_id=add_task(connection, "RETRY"), due_at=later)

    assert f"DatabaseError: Connection timeout (not before {later:%Y-%m-%d %H:%M:%S})" in run("list").out


def test_the_list_takes_filters(engine: Engine, run: Run) -> None:
    with engine.begin() as connection:
        failed = add_task(connection, "FAILURE", pipeline_id=7, created_at=ago(minutes=2))
        check = add_task(connection, "SUCCESS", "freshness_check_task", created_at=ago(minutes=1))

    assert failed in run("list", "--state", "failure").out
    assert check not in run("list", "--state", "FAILURE").out
    assert check in run("list", "--name", "freshness_check_task").out
    assert failed in run("list", "--pipeline", "7").out
    cut = run("list", "--limit", "1").out
    assert failed not in cut
    assert "There are more: raise --limit" in cut


def test_an_empty_list_says_what_to_do(engine: Engine, run: Run) -> None:
    assert "`watcher up`" in run("list").out
    with engine.begin() as connection:
        add_task(connection)
    assert "`watcher tasks list`" in run("list", "--state", "failure").out


def test_in_a_narrow_terminal_nothing_is_lost(engine: Engine) -> None:
    with engine.begin() as connection:
        task_id = add_task(connection, "FAILURE", "pipeline_execution_closure_maintain_task")
        tasks = list_tasks(connection, TaskQuery()).tasks
    narrow = Console(width=80)

    with narrow.capture() as captured:
        narrow.print(render_list(tasks, narrow.width))

    for words in ("pipeline_execution_closure_maintain_task", task_id, "DatabaseError: Connection timeout", "FAILURE"):
        assert words in captured.get()


def test_one_task_is_shown_whole_with_the_traceback_last(engine: Engine, run: Run) -> None:
    tried = {"at": "2026-03-01T02:00:00.123+00:00", "exc_type": "OSError", "exc_message": "[bold] gone", "retries": 0}
    with engine.begin() as connection:
        task_id = add_task(
            connection,
            "FAILURE",
            kwargs={"pipeline_id": 7},
            pipeline_id=7,
            worker_id=add_worker(connection, "celery@one"),
            history=[tried],
            traceback="Traceback (most recent call last):\n  …\nOSError: [bold] gone",
            context={"request_id": "abc"},
        )

    ended = run("show", task_id)

    assert (ended.status, ended.error) == (0, "")
    for words in (
        task_id,
        "detect_anomalies_task",
        "DatabaseError: Connection timeout",
        "2 of 3",
        '{"pipeline_id": 7}',
        "celery@one",
        "abc",
        "2026-03-01 02:00:00  OSError: [bold] gone",
    ):
        assert words in ended.out
    assert ended.out.rstrip().endswith("OSError: [bold] gone")


def test_a_task_in_any_state_can_be_shown(engine: Engine, run: Run) -> None:
    with engine.begin() as connection:
        running = add_task(connection, "PROGRESS")
        succeeded = add_task(connection, "SUCCESS")
        waiting = add_waiting(connection)

    assert "75%" in run("show", running).out
    assert '{"anomalies_found": 2}' in run("show", succeeded).out
    assert "PENDING" in run("show", waiting).out


def test_what_an_error_says_does_not_steer_the_terminal(engine: Engine, run: Run) -> None:
    error = {**STORED_ERROR, "exc_message": "\x1b]0;owned\x07\x1b[2Jgone"}
    with engine.begin() as connection:
        task_id = add_task(connection, "FAILURE", meta=error, traceback="\x1b[31m")

    for ended in (run("list"), run("show", task_id)):
        assert "\x1b" not in ended.out
        assert "gone" in ended.out


def test_one_failed_task_runs_again(engine: Engine, run: Run) -> None:
    with engine.begin() as connection:
        failed, other = add_task(connection, "FAILURE"), add_task(connection, "FAILURE")

    ended = run("retry", failed)

    assert ended.status == 0
    assert f"`watcher tasks show {failed}`" in ended.out
    assert outbox_ids(engine) == [failed]
    again = run("retry", failed)
    assert (again.status, len(again.error.splitlines())) == (1, 1)
    assert "is in the state PENDING" in again.error
    assert other not in outbox_ids(engine)


def test_all_failed_tasks_run_again_and_are_counted(engine: Engine, run: Run) -> None:
    with engine.begin() as connection:
        failed = [add_task(connection, "FAILURE", created_at=ago(hours=hours)) for hours in (3, 2)]
        check = add_task(connection, "FAILURE", "freshness_check_task")

    assert run("retry", "--all-failed", "--name", "freshness_check_task").out == "1 failed task runs again.\n"
    assert run("retry", "--all-failed").out == "2 failed tasks run again.\n"
    assert outbox_ids(engine) == [check, *failed]
    assert "There is no failed task" in run("retry", "--all-failed").out


@pytest.mark.parametrize("command", ["show", "retry"])
@pytest.mark.parametrize("task_id", [UNKNOWN_ID, "nightly"])
def test_an_unknown_task_is_one_sentence(run: Run, command: str, task_id: str) -> None:
    ended = run(command, task_id)

    assert (ended.status, ended.out, len(ended.error.splitlines())) == (1, "", 1)
    assert f"No task has the id {task_id}" in ended.error


@pytest.mark.parametrize("arguments", [[], [UNKNOWN_ID, "--all-failed"], ["--name", "freshness_check_task"]])
def test_a_retry_must_say_which(run: Run, arguments: list[str]) -> None:
    ended = run("retry", *arguments)

    assert (ended.status, len(ended.error.splitlines())) == (1, 1)
    assert "either the id of one, or --all-failed" in ended.error


def test_a_name_does_not_go_with_one_task(run: Run) -> None:
    assert "--name goes with --all-failed" in run("retry", UNKNOWN_ID, "--name", "freshness_check_task").error


def test_a_pipeline_that_cannot_be_is_one_sentence(run: Run) -> None:
    ended = run("list", "--pipeline", str(2**63))

    assert (ended.status, len(ended.error.splitlines())) == (1, 1)
    assert ended.error.startswith("watcher: --pipeline ")
