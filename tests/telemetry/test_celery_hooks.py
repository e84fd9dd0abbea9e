"""What a worker knows of the request behind a task, while the task runs."""

from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery
from celery.app.trace import build_tracer

from watcher_server.telemetry import celery_hooks
from watcher_server.telemetry.context import current_context, log_fields, request_context

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run() -> Run:
    """Run a task as a worker does, with these headers and arguments; what was known while it ran."""
    celery_hooks.install()
    app = Celery(set_as_current=False)
    known: dict[str, Any] = {}

    @app.task(name="look_around")
    def look_around(**_: Any) -> None:
        known.update(context=current_context(), fields=log_fields())

    def run_task(headers: dict[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
        trace: Any = build_tracer(look_around.name, look_around, eager=True, propagate=True, app=app)
        trace("3f", (), arguments, request={"id": "3f", "delivery_info": {}, **(headers or {})})
        return known

    return run_task


def test_a_task_knows_its_request(run: Run) -> None:
    known = run({"watcher_context": {"request_id": "nightly-7"}}, pipeline_id=1, pipeline_execution_id=9)

    assert known["context"] == {"request_id": "nightly-7"}
    assert known["fields"] == {
        "request_id": "nightly-7",
        "task_id": "3f",
        "task_name": "look_around",
        "pipeline_id": 1,
        "execution_id": 9,
    }


def test_afterwards_nothing_of_it_is_left(run: Run) -> None:
    run({"watcher_context": {"request_id": "nightly-7"}}, pipeline_id=1)

    assert (current_context(), log_fields()) == (None, {})


def test_a_task_that_nobody_asked_for_has_no_request(run: Run) -> None:
    known = run({"watcher_context": None}, execution_id=9)

    assert known["context"] is None
    assert known["fields"] == {"task_id": "3f", "task_name": "look_around", "execution_id": 9}


def test_a_task_within_a_request_is_its_doing(run: Run) -> None:
    token = request_context.set({"request_id": "outer"})
    known = run()
    request_context.reset(token)

    assert known["context"] == {"request_id": "outer"}


@pytest.mark.parametrize(
    "header",
    ["text", 7, ["request_id"], {"request_id": "two\nlines"}, {"request_id": 7}, {"traceparent": "00-nonsense-01"}],
)
def test_a_header_that_says_nothing_sane_is_ignored(run: Run, header: Any) -> None:
    assert run({"watcher_context": header})["context"] is None


def test_arguments_that_are_no_ids_are_not_logged_as_such(run: Run) -> None:
    assert set(run(pipeline_id="all of them")["fields"]) == {"task_id", "task_name"}
