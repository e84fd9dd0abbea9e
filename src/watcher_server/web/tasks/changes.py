"""What the pages of the tasks change: failed tasks run again, rate limits hold or do not."""

from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote

from fastapi import Form, HTTPException, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel, Field

from watcher_server.auth.access import may_administer
from watcher_server.database.asking import ask
from watcher_server.http.session import Session
from watcher_server.settings import RateLimit, rate_per_second
from watcher_server.tasking.history.schemas import TaskName
from watcher_server.tasking.history.service import retry_failed, retry_task
from watcher_server.tasking.limits.service import override_limit, reset_limit
from watcher_server.web.pages import back_to, page_router
from watcher_server.web.paging import url_builder

_LIST = "/ui/tasks"

router = page_router()


class LimitChange(BaseModel):
    """What the form sends: a limit such as ``100/s`` or ``none``, and for how many minutes."""

    task: TaskName
    limit: RateLimit
    minutes: Annotated[int, Field(ge=1, le=1440)] = 60


@router.post("/ui/tasks/retry-failed")
async def retry_failed_tasks(
    request: Request, session: Session, name: Annotated[TaskName | None, Form()] = None
) -> Response:
    """Run every failed task again, or those of one name."""
    retried = await ask(session, retry_failed, name)
    request.app.state.relay.wake()
    return back_to(request, url_builder(_LIST, name=name, retried=retried)() + "#tasks")


@router.post("/ui/tasks/{task_id}/retry")
async def retry_one_task(
    request: Request, session: Session, task_id: str, back: Annotated[str, Form()] = ""
) -> Response:
    """Run a failed task again, and go back to the list that asked for it, or to the task."""
    task = await ask(session, retry_task, task_id)
    request.app.state.relay.wake()
    is_list = back.isprintable() and (back == _LIST or back.startswith((f"{_LIST}?", f"{_LIST}#")))
    return back_to(request, back if is_list else f"{_LIST}/{task.id}")


@router.post("/ui/tasks/limits/set")
async def set_limit(request: Request, session: Session, change: Annotated[LimitChange, Form()]) -> Response:
    """Have another limit hold for a while."""
    _check_administrator(request)
    settings, per_second = request.app.state.settings, rate_per_second(change.limit)
    await ask(session, override_limit, settings, change.task, per_second, change.minutes)
    return back_to(request, f"{_LIST}#limits")


@router.post("/ui/tasks/limits/reset")
async def put_limit_back(request: Request, session: Session, task: Annotated[TaskName, Form()]) -> Response:
    """Have the configured limit hold again."""
    _check_administrator(request)
    await ask(session, reset_limit, request.app.state.settings, task)
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
    if not may_administer(request):
        raise HTTPException(HTTPStatus.FORBIDDEN, "Changing a rate limit needs the role admin")
