"""The alerts page."""

from typing import Annotated, Literal

from fastapi import Path, Query, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BeforeValidator, Field, StringConstraints

from watcher_server.alerts import reading
from watcher_server.alerts.levels import Level
from watcher_server.http.session import Session
from watcher_server.kit.fields import Id
from watcher_server.pipelines.service import find_names
from watcher_server.web.alerts import delivery, links
from watcher_server.web.pages import back_to, is_part, page_router, render
from watcher_server.web.paging import PAGE_SIZE, FormQuery, paging, url_builder

router = page_router()


class AlertQuery(FormQuery):
    """Alerts of one level; delivered, waiting (no) or failed; with a text; of the last days; or one alert."""

    level: Annotated[Level | None, BeforeValidator(lambda typed: str(typed).strip().upper())] = None
    delivered: Literal["yes", "no", "failed"] | None = None
    q: Annotated[str, StringConstraints(strip_whitespace=True, max_length=200, pattern=r"^[^\x00]*$")] | None = None
    days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    alert: Id | None = None
    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1

    @property
    def filters(self) -> bool:
        """Whether anything is left out."""
        return any(value is not None for value in (self.level, self.delivered, self.q, self.days, self.alert))


@router.get("/ui/alerts")
async def show_alerts(request: Request, session: Session, query: Annotated[AlertQuery, Query()]) -> HTMLResponse:
    """What was told to people, and whether it arrived."""
    settings = request.app.state.settings
    channel = await reading.read_channel(session)
    wanted = query.model_dump(exclude={"page"})
    told, more = await reading.read_alerts(session, **wanted, limit=PAGE_SIZE, offset=(query.page - 1) * PAGE_SIZE)
    subjects = await reading.read_subjects(session, [each.alert.id for each in told])
    about = {each.pipeline_id for of_alert in subjects.values() for each in of_alert if each.pipeline_id is not None}
    names = await find_names(session, about)
    url = url_builder("/ui/alerts", **wanted)
    return render(
        request,
        "alerts/_list.html" if is_part(request) else "alerts/index.html",
        query=query,
        levels=[level.value for level in Level],
        is_slack=settings.slack_webhook_url is not None,
        channel=channel,
        told=told,
        links_of=lambda alert: links.links_of(alert, subjects.get(alert.id, ())),
        details_of=lambda alert: links.details_of(alert, subjects.get(alert.id, ()), names),
        advice=delivery.advice,
        max_age_hours=settings.alert_max_age_hours,
        url=url,
        paging=paging(url, query.page, len(told), more=more),
    )


@router.post("/ui/alerts/{alert_id}/send")
async def post_send(request: Request, session: Session, alert_id: Annotated[Id, Path()]) -> Response:
    """Have an alert that did not arrive sent again."""
    await delivery.send_again(session, alert_id)
    request.app.state.relay.wake()
    return back_to(request, f"/ui/alerts?alert={alert_id}")
