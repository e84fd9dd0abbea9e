"""The page of who sends events of OpenLineage, and the one that says how to connect a tool."""

from typing import Annotated

from fastapi import Form, Query, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.auth.access import may_administer
from watcher_server.auth.scopes import Scope
from watcher_server.auth.service import (
    InvalidTokenNameError,
    TokenNameTakenError,
    create_token,
    has_tokens,
    list_tokens,
)
from watcher_server.database.asking import ask
from watcher_server.http.own_address import own_address
from watcher_server.http.session import Session
from watcher_server.http.state import app_state
from watcher_server.kit.fields import BIGINT_MAX, Id
from watcher_server.openlineage import sources
from watcher_server.web.pages import back_to, is_part, page_router, render
from watcher_server.web.paging import FormQuery, url_builder
from watcher_server.web.sources.recipes import recipes, trial

router = page_router()

SOURCES, CONNECT, FIRST = "/ui/sources", "/ui/sources/connect", "/ui/sources/first"
# In place of a token that the page cannot show.
_NO_TOKEN = "TOKEN"  # noqa: S105 - none
_TOKEN_NAME = "openlineage"  # noqa: S105 - its name
EventId = Annotated[int, Field(ge=0, le=BIGINT_MAX)]


class ReplayedView(FormQuery):
    """How many events the form that led here had applied again."""

    replayed: Annotated[int, Field(ge=0, le=BIGINT_MAX)] | None = None


class SinceView(FormQuery):
    """The latest event when the page was opened first."""

    since: EventId | None = None


class ReplayForm(BaseModel):
    """The failed event that is meant; all of them without one."""

    event_id: Id | None = None


class TokenForm(BaseModel):
    """The name of the new token, and the latest event when the page was opened."""

    name: str = ""
    since: EventId = 0


@router.get(SOURCES)
async def show_sources(request: Request, session: Session, view: Annotated[ReplayedView, Query()]) -> HTMLResponse:
    """Who sends, what is silent, what waits, what failed, and what was left out."""
    return render(
        request,
        "sources/_live.html" if is_part(request) else "sources/index.html",
        view=view,
        namespaces=await sources.read_sources(session),
        inbox=await sources.read_inbox(session),
        failed=await sources.read_failed(session, 50),
        dropped=await sources.read_dropped(session),
        most_counted=sources.MOST_COUNTED,
    )


@router.post(SOURCES + "/replay")
async def replay(request: Request, session: Session, form: Annotated[ReplayForm, Form()]) -> Response:
    """Have failed events applied again."""
    number = await sources.replay_failed(session, form.event_id)
    app_state(request).relay.wake()
    return back_to(request, url_builder(SOURCES)(replayed=number))


@router.get(CONNECT)
async def show_connect(request: Request, session: Session, view: Annotated[SinceView, Query()]) -> HTMLResponse:
    """The lines for each tool, and whether the first event has come."""
    since = await sources.read_last_id(session) if view.since is None else view.since
    return await _connect(request, session, since)


@router.get(FIRST)
async def show_first(request: Request, session: Session, view: Annotated[SinceView, Query()]) -> HTMLResponse:
    """Whether the first event has come, alone; without scripts, on its page."""
    since = view.since or 0
    if not is_part(request):
        return await _connect(request, session, since)
    return render(request, "sources/_first.html", since=since, first=await sources.find_first_event(session, since))


@router.post(SOURCES + "/token")
async def make_token(request: Request, session: Session, form: Annotated[TokenForm, Form()]) -> HTMLResponse:
    """Make a token that may only send events, and show it in the lines, this once."""
    name = form.name.strip()
    if not await ask(session, has_tokens):
        error = (
            "This Watcher has no tokens, and the first one must be one that may administer, or this page could not be "
            "opened any more: make it with `watcher token create NAME --scope admin`, and log in with it."
        )
        return await _connect(request, session, form.since, name=name, error=error, status_code=409)
    try:
        token = await ask(session, create_token, name, Scope.INGEST)
    except TokenNameTakenError:
        error = f"There is a token named {name} already: choose another name."
    except InvalidTokenNameError as refused:
        error = str(refused)
    else:
        return await _connect(request, session, form.since, name=name, token=token)
    return await _connect(request, session, form.since, name=name, error=error, status_code=422)


async def _connect(
    request: Request,
    session: AsyncSession,
    since: int,
    *,
    name: str | None = None,
    token: str | None = None,
    error: str | None = None,
    status_code: int = 200,
) -> HTMLResponse:
    base = own_address(request)
    names = {each.name for each in await ask(session, list_tokens)} if may_administer(request) else set()
    return render(
        request,
        "sources/connect.html",
        status_code=status_code,
        recipes=recipes(base, token or _NO_TOKEN),
        trial=trial(base, token or _NO_TOKEN),
        token=token,
        name=_free_name(names) if name is None else name,
        has_tokens=await ask(session, has_tokens),
        since=since,
        first=await sources.find_first_event(session, since),
        error=error,
    )


def _free_name(names: set[str]) -> str:
    """A name that no token has."""
    if _TOKEN_NAME not in names:
        return _TOKEN_NAME
    return next(name for number in range(2, len(names) + 3) if (name := f"{_TOKEN_NAME} {number}") not in names)
