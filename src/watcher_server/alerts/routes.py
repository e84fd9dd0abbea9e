"""The deliveries of alerts over HTTP, and the test of a channel."""

from collections.abc import Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request

from watcher_server.alerts import notifications
from watcher_server.alerts.models import Notification
from watcher_server.alerts.schemas import ChannelTested, NotificationResponse, NotificationState
from watcher_server.alerts.trying import run_test
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session, open_session
from watcher_server.http.state import app_state
from watcher_server.kit.fields import Id, SearchText
from watcher_server.kit.listing import Page, read_page

router = APIRouter(route_class=JsonRoute, tags=["notifications"])


@router.get("/notification", response_model=list[NotificationResponse])
async def list_notifications(
    *,
    session: Session,
    page: Annotated[Page, Depends(read_page)],
    state: NotificationState | None = None,
    channel: Annotated[SearchText | None, Query(description="The name of the channel, in full.")] = None,
    incident_id: Annotated[Id | None, Query(description="Only of alerts about this incident.")] = None,
    alert_id: Id | None = None,
) -> Sequence[Notification]:
    """Every delivery of an alert, by id: where it goes, whether it arrived, and why not."""
    return await notifications.list_notifications(
        session, page, state=state, channel=channel or None, incident_id=incident_id, alert_id=alert_id
    )


@router.post("/notification/{notification_id}/retry", response_model=NotificationResponse)
async def retry_notification(
    notification_id: Annotated[Id, Path()], session: Session, request: Request
) -> Notification:
    """Have a delivery that did not succeed tried again now, however old it is; 409 when there is nothing to send."""
    notification = await notifications.retry_notification(session, notification_id)
    request.app.state.relay.wake()
    return notification


@router.post(
    "/alerting/channels/{name}/test", tags=["alerting"], responses={404: {"description": "No channel has that name."}}
)
async def post_test(name: Annotated[str, Path(max_length=50)], request: Request) -> ChannelTested:
    """Send a channel one incident, opened and resolved and marked as a test, at once; whether both arrived."""
    session = partial(asynccontextmanager(open_session), request)
    tested = await run_test(session, name, app_state(request).settings)
    return ChannelTested(channel=name, arrived=tested.arrived, sent_to=tested.opened.sent_to, error=tested.error)
