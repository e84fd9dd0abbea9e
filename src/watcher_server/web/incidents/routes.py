"""The pages of incidents."""

from typing import Annotated, Any

from fastapi import Form, Path, Query, Request
from fastapi.responses import HTMLResponse, Response

from watcher_server.alerts.notifications import retry_notification
from watcher_server.auth.acting import actor_of
from watcher_server.database.asking import ask
from watcher_server.http.session import Session
from watcher_server.incidents.kinds import Kind
from watcher_server.kit.errors import ConflictError, InvalidFieldError
from watcher_server.kit.fields import Id
from watcher_server.web.alerts.delivery import advice
from watcher_server.web.incidents import changes
from watcher_server.web.incidents.detail import BOX_HEIGHT, BOX_WIDTH, CHART_HEIGHT, CHART_WIDTH, read_detail
from watcher_server.web.incidents.query import PATH, Done, IncidentsView, ShownState, SingleView
from watcher_server.web.incidents.reading import EFFECTS_SHOWN, read_listing
from watcher_server.web.incidents.wording import WORDS
from watcher_server.web.pages import back_to, is_part, page_router, render
from watcher_server.web.paging import paging, url_builder
from watcher_server.web.pipelines.detail.wording import WORDS as METRIC_WORDS

router = page_router()

IncidentId = Annotated[Id, Path()]
View = Annotated[IncidentsView, Query()]


@router.get(PATH)
async def show_incidents(request: Request, session: Session, view: View) -> HTMLResponse:
    """What is wrong, the worst first, each with what is wrong because of it."""
    listing = await ask(session, read_listing, view)
    url = view.url_at(PATH)
    return render(
        request,
        "incidents/_list.html" if is_part(request) else "incidents/index.html",
        view=view,
        listing=listing,
        url=url,
        back=view.url_at("")(),
        paging=paging(url, view.page, len(listing.shown), more=listing.more),
        kinds=list(Kind),
        states=list(ShownState),
        most_effects=EFFECTS_SHOWN,
        **WORDS,
    )


@router.get(PATH + "/{incident_id}")
async def show_incident(
    request: Request, session: Session, incident_id: IncidentId, view: Annotated[SingleView, Query()]
) -> HTMLResponse:
    """One incident: the evidence, its cause and effects, what happened to it, and who was told."""
    return await _show(request, session, incident_id, view)


async def _show(request: Request, session: Session, incident_id: int, view: SingleView, **more: Any) -> HTMLResponse:
    return render(
        request,
        "incidents/_live.html" if is_part(request) else "incidents/incident.html",
        view=view,
        shown=await read_detail(session, incident_id),
        box=(BOX_WIDTH, BOX_HEIGHT),
        chart=(CHART_WIDTH, CHART_HEIGHT),
        advice=advice,
        max_age_hours=request.app.state.settings.alert_max_age_hours,
        **{**METRIC_WORDS, **WORDS, **more},
    )


@router.post(PATH + "/bulk")
async def change_many(
    request: Request, session: Session, view: View, form: Annotated[changes.BulkForm, Form()]
) -> Response:
    """Make one change to all that were ticked, and go back to the list as it was."""
    changed = await ask(session, changes.change_many, form, actor_of(request.scope))
    done = form.choice.done.value if changed.number else None
    number = changed.number if changed.number > 1 else None
    url = view.url_at(PATH)
    return back_to(request, url(done=done, changed=number, missed=changed.missed, unfit=changed.unfit))


@router.post(PATH + "/{incident_id}/change")
async def change_one(
    request: Request,
    session: Session,
    incident_id: IncidentId,
    view: View,
    form: Annotated[changes.SingleForm, Form()],
) -> Response:
    """Make one change, and go back to where the form was: the list as it was, or the page of the incident."""
    single = url_builder(f"{PATH}/{incident_id}")
    if await ask(session, changes.still_holds, incident_id, form):
        return back_to(request, single(holds="true"))
    try:
        await ask(session, changes.change_one, incident_id, form, actor_of(request.scope))
    except ConflictError:
        return back_to(request, single(missed="true") if form.single else view.url_at(PATH)(missed=incident_id))
    except InvalidFieldError as error:
        return await _show(request, session, incident_id, SingleView(), status_code=422, error=f"{error}.")
    done = form.choice.done.value
    return back_to(request, single(done=done) if form.single else view.url_at(PATH)(done=done))


@router.post(PATH + "/{incident_id}/comment")
async def comment(
    request: Request, session: Session, incident_id: IncidentId, form: Annotated[changes.CommentForm, Form()]
) -> Response:
    """Add to the timeline what somebody writes."""
    try:
        await ask(session, changes.comment, incident_id, form, actor_of(request.scope))
    except InvalidFieldError as error:
        return await _show(request, session, incident_id, SingleView(), status_code=422, error=f"{error}.")
    return _back(request, incident_id, Done.COMMENTED)


@router.post(PATH + "/{incident_id}/notifications/{notification_id}/send")
async def send_again(
    request: Request, session: Session, incident_id: IncidentId, notification_id: Annotated[Id, Path()]
) -> Response:
    """Have a message about the incident that did not arrive sent again."""
    await retry_notification(session, notification_id)
    request.app.state.relay.wake()
    return _back(request, incident_id, Done.SENT)


def _back(request: Request, incident_id: int, done: Done) -> Response:
    return back_to(request, url_builder(f"{PATH}/{incident_id}")(done=done.value))
