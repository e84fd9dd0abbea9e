"""The lineage page, and the parts of it that its script asks for."""

from typing import Annotated, Any

from fastapi import Depends, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.addresses.schemas import AddressFound
from watcher_server.addresses.service import search_addresses
from watcher_server.database.asking import ask
from watcher_server.http.session import Session
from watcher_server.http.state import app_state
from watcher_server.kit.errors import ConflictError, NotFoundError
from watcher_server.kit.fields import Id, ResponseBody, SearchText
from watcher_server.lineage.affected import find_cause
from watcher_server.lineage.details import MOST_LOOKED_AT, read_details
from watcher_server.lineage.landmarks import MOST_COUNTED, Landmarks, read_troubled
from watcher_server.openlineage.joining import join_dataset, read_proposal
from watcher_server.openlineage.pages import read_address
from watcher_server.pipelines.status import Status
from watcher_server.web.lineage.query import ViewState, read_state
from watcher_server.web.lineage.reading import read_view
from watcher_server.web.pages import back_to, is_part, page_router, render, render_in_parts

router = page_router()

_MOST_FOUND = 20

State = Annotated[ViewState | None, Depends(read_state)]
Wanted = Annotated[SearchText, Query()]


@router.get("/lineage-graph")
async def show_lineage(request: Request, session: Session, state: State, q: Wanted = "") -> Response:
    """What feeds an address and what it feeds; without one, where to begin. Its script gets the parts that change.

    A search while a path has only one end finds the other.
    """
    if state is None or (q and state.seeks_end):
        return await _show_start(request, session, q, state)
    try:
        view = await read_view(session, state)
    except NotFoundError:
        return render(request, "lineage/unknown.html", status_code=404, wanted="", state=None)
    selected = state.selected if state.selected in view.names else None
    panel = await _read_panel(session, selected or state.centre, view.status_of(selected or state.centre))
    write = render if is_part(request) else render_in_parts
    return write(
        request,
        "lineage/_view.html" if is_part(request) else "lineage/index.html",
        view=view,
        state=state,
        wanted="",
        **panel,
    )


async def _read_panel(session: AsyncSession, address_id: int, status: Status | None = None) -> dict[str, Any]:
    """What the panel of an address shows. Of more pipelines on one side of it, the page names the worst."""
    details = await read_details(session, address_id, status)
    return {
        "details": details,
        "cause": await find_cause(session, address_id, details.status),
        "said": await read_address(session, details.address),
        "proposal": await read_proposal(session, address_id),
        "most_pipelines": 20,
        "most_looked_at": MOST_LOOKED_AT,
    }


async def _show_start(request: Request, session: AsyncSession, wanted: str, state: ViewState | None) -> HTMLResponse:
    found, more = await search_addresses(session, wanted, _MOST_FOUND)
    landmarks: Landmarks = request.app.state.landmarks
    connected, roots = await landmarks.read(session)
    return render(
        request,
        "lineage/start.html",
        wanted=wanted,
        state=state,
        found=found,
        more=more,
        most_found=_MOST_FOUND,
        most_counted=MOST_COUNTED,
        troubled=await read_troubled(session),
        connected=connected,
        roots=roots,
    )


@router.get("/lineage-graph/details")
async def show_details(request: Request, session: Session, state: State) -> HTMLResponse:
    """The panel of the chosen address."""
    if state is None:
        raise NotFoundError("Choose an address with source_address_id.")
    panel = await _read_panel(session, state.centre if state.selected is None else state.selected)
    return render(request, "lineage/_details.html", state=state, **panel)


class JoinForm(BaseModel):
    """The address that another one turned out to be."""

    into: Id


@router.post("/ui/addresses/{address_id}/join")
async def join_addresses(
    request: Request, session: Session, address_id: Annotated[Id, Path()], form: Annotated[JoinForm, Form()]
) -> Response:
    """Have the dataset of an address be the address that the page proposed."""
    proposal = await read_proposal(session, address_id)
    if proposal is None or proposal.address_id != form.into:
        raise ConflictError("The two are not proposed as one any more: open the address again.")
    await ask(session, join_dataset, proposal.dataset_key, form.into)
    app_state(request).relay.wake()
    return back_to(request, f"/lineage-graph?source_address_id={form.into}")


class Found(ResponseBody):
    """The best addresses that a search found; ``more`` when there are others."""

    addresses: list[AddressFound]
    more: bool


@router.get("/lineage-graph/search")
async def search(session: Session, q: Wanted = "") -> Found:
    """The addresses whose names contain all the words, to complete what is being typed."""
    found, more = await search_addresses(session, q, _MOST_FOUND)
    return Found(addresses=found, more=more)
