"""The list of pipelines, and changing them in place."""

from typing import Annotated, Any

from fastapi import Depends, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from watcher_server.http.session import Session
from watcher_server.http.state import app_state
from watcher_server.kit.fields import DatePart, Id
from watcher_server.web.pages import is_part, page_router, render
from watcher_server.web.paging import PAGE_SIZE, paging
from watcher_server.web.pipelines import changes, reading
from watcher_server.web.pipelines.bulk import MOST_AT_ONCE, BulkForm, change_many
from watcher_server.web.pipelines.changes import Editing
from watcher_server.web.pipelines.editing import EditForm, Errors
from watcher_server.web.pipelines.listing import DEFAULT_ORDER, PATH, Filters, list_pipelines
from watcher_server.web.pipelines.next_runs import known_zones, read_next_runs

router = page_router()


@router.get(PATH)
async def show_pipelines(
    request: Request,
    session: Session,
    filters: Annotated[Filters, Depends()],
    selected: Annotated[list[Id], Query(max_length=PAGE_SIZE)] = [],  # noqa: B006 - FastAPI copies it
    everything: Annotated[str, Query(max_length=4_000)] = "",
) -> HTMLResponse:
    """The list, or to htmx only its live part, in which the ``selected`` and ``everything`` stay so."""
    listing = await list_pipelines(session, filters)
    url = filters.url()
    page = render(
        request,
        "pipelines/_list.html" if is_part(request) else "pipelines/index.html",
        filters=filters,
        listing=listing,
        rows=await reading.read_rows(session, listing.ids),
        selected=frozenset(selected),
        everything=everything,
        most_at_once=MOST_AT_ONCE,
        url=url,
        url_order=None if filters.order == DEFAULT_ORDER else filters.order,
        paging=paging(url, listing.page, len(listing.ids), total=listing.total),
    )
    if is_part(request):
        page.headers["HX-Replace-Url"] = url()
    return page


@router.get(PATH + "/next-runs")
async def show_next_runs(
    request: Request,
    schedule: Annotated[str, Query(max_length=200)] = "",
    schedule_timezone: Annotated[str, Query(max_length=100)] = "",
    schedule_grace_minutes: Annotated[str, Query(max_length=20)] = "",
) -> HTMLResponse:
    """When a pipeline with what is being typed would run next: a part of the form."""
    next_runs = read_next_runs(schedule, schedule_timezone.strip(), schedule_grace_minutes.strip())
    return render(request, "pipelines/_next_runs.html", next_runs=next_runs)


@router.get(PATH + "/{pipeline_id}/edit")
async def show_edit(
    request: Request, session: Session, pipeline_id: Annotated[Id, Path()], back: str = PATH
) -> HTMLResponse:
    """The form that changes a pipeline: a page, or to htmx what goes into the dialog."""
    return _show_editing(request, await changes.begin_editing(session, pipeline_id), back)


@router.post(PATH + "/{pipeline_id}/edit")
async def post_edit(
    request: Request, session: Session, pipeline_id: Annotated[Id, Path()], form: Annotated[EditForm, Form()]
) -> Response:
    """What changes, for the viewer to confirm; once confirmed, the change."""
    editing = await changes.go_on_editing(session, pipeline_id, form)
    return _changed(request, form.back) if editing.is_done else _show_editing(request, editing, form.back)


@router.post(PATH + "/bulk")
async def post_bulk(request: Request, session: Session, form: Annotated[BulkForm, Form()]) -> Response:
    """How many change, for the viewer to confirm; once confirmed, the change."""
    bulk = await change_many(session, form)
    if bulk.is_done:
        app_state(request).relay.wake()
        return _changed(request, form.back)
    return _show_form(request, "pipelines/bulk.html", "pipelines/_bulk.html", bulk.errors, form.back, bulk=bulk)


def _show_form(request: Request, page: str, part: str, errors: Errors, back: str, **shown: Any) -> HTMLResponse:
    in_dialog = is_part(request)
    return render(
        request,
        part if in_dialog else page,
        # A part that htmx is to show has to be a success.
        status_code=422 if errors and not in_dialog else 200,
        in_dialog=in_dialog,
        dateparts=list(DatePart),
        back=_list_or_page(back),
        **shown,
    )


def _show_editing(request: Request, editing: Editing, back: str) -> HTMLResponse:
    page, part = "pipelines/edit.html", "pipelines/_editor.html"
    return _show_form(request, page, part, editing.errors, back, editing=editing, zones=known_zones())


def _changed(request: Request, back: str) -> Response:
    if is_part(request):
        # static/pipelines/page.js reloads the list on this event.
        return Response(status_code=204, headers={"HX-Trigger": "pipelines-changed"})
    return RedirectResponse(_list_or_page(back), status_code=303)


def _list_or_page(target: str) -> str:
    """Where to go afterwards: a page of pipelines, never another site."""
    is_ours = target == PATH or target.startswith((f"{PATH}?", f"{PATH}/"))
    return target if is_ours and target.isascii() and target.isprintable() and "\\" not in target else PATH
