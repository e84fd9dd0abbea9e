"""The task history over HTTP."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.http.state import app_state
from watcher_server.tasking.history import service
from watcher_server.tasking.history.events import TaskFollower
from watcher_server.tasking.history.schemas import Retried, RetryFailed, TaskDetail, TaskList, TaskQuery

router = APIRouter(route_class=JsonRoute, tags=["tasks"])

_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"description": "No task has that id."}}


@router.get("/tasks")
async def list_tasks(session: Session, query: Annotated[TaskQuery, Query()]) -> TaskList:
    """A page of tasks, the newest first: the first fifty unless the query says otherwise."""
    return await (await session.connection()).run_sync(service.list_tasks, query)


@router.get("/tasks/{task_id}", responses=_UNKNOWN)
async def get_task(task_id: str, session: Session) -> TaskDetail:
    """One task, and what became of it."""
    return await (await session.connection()).run_sync(service.find_task, task_id)


@router.post("/tasks/retry-failed", status_code=202)
async def retry_failed(session: Session, request: Request, body: RetryFailed | None = None) -> Retried:
    """Run every failed task again, or those of one name."""
    connection = await session.connection()
    retried = await connection.run_sync(service.retry_failed, body.name if body else None)
    app_state(request).relay.wake()
    return Retried(retried=retried)


@router.post(
    "/tasks/{task_id}/retry",
    status_code=202,
    responses={**_UNKNOWN, 409: {"description": "The task did not fail."}},
)
async def retry_task(task_id: str, session: Session, request: Request) -> TaskDetail:
    """Run a failed task again, under the same id and with the same arguments."""
    task = await (await session.connection()).run_sync(service.retry_task, task_id)
    app_state(request).relay.wake()
    return task


async def _first_look(task_id: str, request: Request) -> AsyncIterator[TaskDetail]:
    # Not by the session of a request, which would last as long as the stream.
    with app_state(request).stream_slots.take(request):
        follower: TaskFollower = request.app.state.task_follower
        yield await follower.read(task_id)


@router.get(
    "/tasks/{task_id}/events",
    response_class=EventSourceResponse,
    responses={
        **_UNKNOWN,
        429: {"description": "This token or address has too many streams open."},
        503: {"description": "Too many streams are open."},
    },
)
async def follow_task(
    request: Request, first: Annotated[TaskDetail, Depends(_first_look)]
) -> AsyncIterator[ServerSentEvent]:
    """Follow a task: an event `task` with the task as it is, and one at each change, until its state is final.

    The data of an event is what `GET /tasks/{id}` answers. A browser that is not told to stop connects again after the
    end: close the stream at SUCCESS, FAILURE or REVOKED.
    """
    follower: TaskFollower = request.app.state.task_follower
    async for task in follower.follow(first):
        yield ServerSentEvent(event="task", data=task)
