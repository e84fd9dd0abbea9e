"""The alerts page."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse, Response

from watcher_server.alerts.service import Level
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.kit.fields import Id
from watcher_server.web.alerts import delivery, reading, subjects
from watcher_server.web.alerts.changes import send_again
from watcher_server.web.alerts.query import AlertQuery
from watcher_server.web.pages import back_to, is_part, render
from watcher_server.web.paging import paging, url_builder

router = APIRouter(route_class=JsonRoute, include_in_schema=False)


@router.get("/ui/alerts")
async def show_alerts(request: Request, session: Session, query: Annotated[AlertQuery, Query()]) -> HTMLResponse:
    """What was told to people, and whether it arrived."""
    settings = request.app.state.settings
    channel = await reading.read_channel(session, settings)
    alerts, more = await reading.read_alerts(session, query)
    pipelines = await reading.read_pipelines(session, subjects.names_in(alerts))
    url = url_builder("/ui/alerts", **query.model_dump(exclude={"page"}))
    return render(
        request,
        "alerts/part.html" if is_part(request) else "alerts/page.html",
        query=query,
        levels=[level.value for level in Level],
        channel=channel,
        alerts=alerts,
        deliveries=await reading.read_failed_deliveries(session, alerts),
        links_of=subjects.links_of,
        details_of=lambda alert: subjects.details_of(alert, pipelines),
        advice=delivery.advice,
        is_given_up=lambda alert: delivery.is_given_up(alert, channel.now, settings),
        max_age_hours=settings.alert_max_age_hours,
        url=url,
        paging=paging(url, query.page, len(alerts), more=more),
    )


@router.post("/ui/alerts/{alert_id}/send")
async def post_send(request: Request, session: Session, alert_id: Annotated[Id, Path()]) -> Response:
    """Have an alert that did not arrive sent again."""
    await send_again(session, alert_id)
    request.app.state.relay.wake()
    return back_to(request, f"/ui/alerts?alert={alert_id}")
