"""The lineage page, and the parts of it that a browser asks for as one looks around."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.kit.errors import NotFoundError
from watcher_server.kit.fields import ResponseBody, SearchText
from watcher_server.web.lineage import start
from watcher_server.web.lineage.details import MOST_LOOKED_AT, MOST_PIPELINES, read_details
from watcher_server.web.lineage.reading import View, read_view
from watcher_server.web.lineage.state import ViewState, read_state
from watcher_server.web.pages import is_part, render

router = APIRouter(route_class=JsonRoute, include_in_schema=False)

_LIMITS = {"most_pipelines": MOST_PIPELINES, "most_looked_at": MOST_LOOKED_AT}
# One per process.
_landmarks = start.Landmarks()

State = Annotated[ViewState | None, Depends(read_state)]
Wanted = Annotated[SearchText, Query()]


@router.get("/lineage-graph")
async def show_lineage(request: Request, session: Session, state: State, q: Wanted = "") -> HTMLResponse:
    """What feeds an address and what it feeds; without one, where to begin. Its script gets the parts that change."""
    if state is None:
        return await _show_start(request, session, q)
    try:
        view = await read_view(session, state)
    except NotFoundError:
        return render(request, "lineage/unknown.html", status_code=404, wanted="")
    template = "lineage/view.html" if is_part(request) else "lineage/index.html"
    return render(request, template, **await _context(session, view), wanted="")


async def _context(session: AsyncSession, view: View) -> dict[str, Any]:
    chosen = view.state.selected
    known = chosen if chosen in view.names else view.state.centre
    return {
        "view": view,
        "state": view.state,
        "details": await read_details(session, known or view.state.centre),
        **_LIMITS,
    }


async def _show_start(request: Request, session: AsyncSession, wanted: str) -> HTMLResponse:
    found, more = await start.search_addresses(session, wanted)
    board = await request.app.state.board.read()
    connected, roots = await _landmarks.read(session)
    return render(
        request,
        "lineage/start.html",
        wanted=wanted,
        found=found,
        more=more,
        most_found=start.MOST_FOUND,
        most_counted=start.MOST_COUNTED,
        troubled=await start.read_troubled(session, board),
        connected=connected,
        roots=roots,
    )


@router.get("/lineage-graph/details")
async def show_details(request: Request, session: Session, state: State) -> HTMLResponse:
    """The panel of the chosen address."""
    if state is None:
        raise NotFoundError("Choose an address with source_address_id.")
    chosen = state.centre if state.selected is None else state.selected
    details = await read_details(session, chosen)
    return render(request, "lineage/details.html", state=state, details=details, **_LIMITS)


class AddressFound(ResponseBody):
    """An address that a search found."""

    id: int
    name: str
    type_name: str
    group_name: str


class Found(ResponseBody):
    """The best of what a search found; ``more`` when there is more than that."""

    addresses: list[AddressFound]
    more: bool


@router.get("/lineage-graph/search")
async def search(session: Session, q: Wanted = "") -> Found:
    """The addresses whose names hold all the words, to complete what is being typed."""
    found, more = await start.search_addresses(session, q)
    return Found(addresses=[AddressFound.model_validate(each) for each in found], more=more)
