"""The task history over HTTP."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.task_history import events, service
from watcher_server.task_history.schemas import Retried, RetryFailed, TaskDetail, TaskList, TaskQuery
from watcher_server.task_history.service import Task, TaskPage

router = APIRouter(route_class=JsonRoute, tags=["tasks"])

_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"description": "No task has that id."}}


@router.get("/tasks", response_model=TaskList)
async def list_tasks(session: Session, query: Annotated[TaskQuery, Query()]) -> TaskPage:
    """A page of tasks, the newest first: the first fifty unless the query says otherwise."""
    connection = await session.connection()
    return await connection.run_sync(service.list_tasks, query)


@router.get("/tasks/{task_id}", response_model=TaskDetail, responses=_UNKNOWN)
async def get_task(task_id: str, session: Session) -> Task:
    """One task, and what became of it."""
    connection = await session.connection()
    return await connection.run_sync(service.find_task, task_id)


@router.post("/tasks/retry-failed", status_code=202)
async def retry_failed(session: Session, request: Request, body: RetryFailed | None = None) -> Retried:
    """Run every failed task again, or those of one name."""
    connection = await session.connection()
    retried = await connection.run_sync(service.retry_failed, body.name if body else None)
    request.app.state.relay.wake()
    return Retried(retried=retried)


@router.post(
    "/tasks/{task_id}/retry",
    status_code=202,
    response_model=TaskDetail,
    responses={**_UNKNOWN, 409: {"description": "The task did not fail."}},
)
async def retry_task(task_id: str, session: Session, request: Request) -> Task:
    """Run a failed task again, under the same id and with the same arguments."""
    connection = await session.connection()
    task = await connection.run_sync(service.retry_task, task_id)
    request.app.state.relay.wake()
    return task


async def _first_look(task_id: str, request: Request) -> Task:
    # Not by the session of a request, which would last as long as the stream.
    return await events.read_task(request.app.state.query_engine, task_id)


@router.get("/tasks/{task_id}/events", response_class=EventSourceResponse, responses=_UNKNOWN)
async def follow_task(request: Request, first: Annotated[Task, Depends(_first_look)]) -> AsyncIterator[ServerSentEvent]:
    """Follow a task: an event `task` with the task as it is, and one at each change, until its state is final.

    The data of an event is what `GET /tasks/{id}` answers. A browser that is not told to stop connects again after the
    end: close the stream at SUCCESS, FAILURE or REVOKED.
    """
    state = request.app.state
    async for task in events.follow_task(state.query_engine, first, state.stopping):
        yield ServerSentEvent(event="task", data=TaskDetail.model_validate(task))
