"""What the pages of the tasks change: failed tasks run again, rate limits hold or do not."""

from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel, Field

from watcher_server.auth.scopes import Scope
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.settings import RateLimit, rate_per_second
from watcher_server.tasking.history.schemas import TaskName
from watcher_server.tasking.history.service import retry_failed, retry_task
from watcher_server.tasking.limits.service import override_limit, reset_limit
from watcher_server.web.pages import back_to
from watcher_server.web.paging import url_builder

_LIST = "/ui/tasks"

router = APIRouter(route_class=JsonRoute, include_in_schema=False)


class LimitChange(BaseModel):
    """What the form sends: a limit such as ``100/s`` or ``none``, and for how many minutes."""

    task: TaskName
    limit: RateLimit
    minutes: Annotated[int, Field(ge=1, le=1440)] = 60


def may_change_limits(request: Request) -> bool:
    """Whether the viewer may change rate limits, which is for administrators."""
    access: int | None = request.scope.get("watcher_access")
    return access is not None and access >= Scope.ADMIN.rank


@router.post("/ui/tasks/retry-failed")
async def retry_failed_tasks(
    request: Request, session: Session, name: Annotated[TaskName | None, Form()] = None
) -> Response:
    """Run every failed task again, or those of one name."""
    connection = await session.connection()
    retried = await connection.run_sync(retry_failed, name)
    request.app.state.relay.wake()
    return back_to(request, url_builder(_LIST, name=name, retried=retried)() + "#tasks")


@router.post("/ui/tasks/{task_id}/retry")
async def retry_one_task(
    request: Request, session: Session, task_id: str, back: Annotated[str, Form()] = ""
) -> Response:
    """Run a failed task again, and go back to the list that asked for it, or to the task."""
    connection = await session.connection()
    task = await connection.run_sync(retry_task, task_id)
    request.app.state.relay.wake()
    return back_to(request, back if _is_list(back) else f"{_LIST}/{task.id}")


@router.post("/ui/tasks/limits/set")
async def set_limit(request: Request, session: Session, change: Annotated[LimitChange, Form()]) -> Response:
    """Have another limit hold for a while."""
    _check_administrator(request)
    connection = await session.connection()
    settings, per_second = request.app.state.settings, rate_per_second(change.limit)
    await connection.run_sync(override_limit, settings, change.task, per_second, change.minutes)
    return back_to(request, f"{_LIST}#limits")


@router.post("/ui/tasks/limits/reset")
async def put_limit_back(request: Request, session: Session, task: Annotated[TaskName, Form()]) -> Response:
    """Have the configured limit hold again."""
    _check_administrator(request)
    connection = await session.connection()
    await connection.run_sync(reset_limit, request.app.state.settings, task)
    return back_to(request, f"{_LIST}#limits")


# The page of a refused change links to the address that was posted to.


@router.get("/ui/tasks/{task_id}/retry")
async def go_to_task(task_id: str) -> Response:
    """The task that could not be run again."""
    return RedirectResponse(f"{_LIST}/{quote(task_id, safe='')}", status_code=HTTPStatus.SEE_OTHER)


@router.get("/ui/tasks/limits/{change}")
async def go_to_limits(change: str) -> Response:
    """The limits, of which one could not be changed."""
    del change
    return RedirectResponse(f"{_LIST}#limits", status_code=HTTPStatus.SEE_OTHER)


def _check_administrator(request: Request) -> None:
    if not may_change_limits(request):
        raise HTTPException(HTTPStatus.FORBIDDEN, "Changing a rate limit needs the role admin")


def _is_list(address: str) -> bool:
    """Whether an address that a form brought is one of the list's own."""
    return address.isprintable() and (address == _LIST or address.startswith((f"{_LIST}?", f"{_LIST}#")))
