"""The file over HTTP, parsed: `watcher apply` and `watcher export` read and write it as YAML."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from watcher_server.config_file import export as exporting
from watcher_server.config_file.schemas import Apply, Plan
from watcher_server.config_file.service import apply
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.http.state import app_state

router = APIRouter(route_class=JsonRoute, prefix="/alerting", tags=["alerting"])


@router.post("/apply", responses={409: {"description": "Something in it comes from another file, or is in use."}})
async def apply_document(body: Apply, session: Session, request: Request) -> Plan:
    """Make channels, calendars, routes, windows and pipelines as the document says: all of it, or nothing."""
    plan = await apply(session, body, app_state(request).settings)
    request.app.state.relay.wake()
    return plan


@router.get("/export")
async def export_document(
    *,
    session: Session,
    pipelines: Annotated[
        bool, Query(description="Every pipeline as it is now, and not only what was applied.")
    ] = False,
) -> dict[str, Any]:
    """The document that makes what is so now. Of secrets it says where they are, or that they are stored."""
    return await exporting.export(session, every_pipeline=pipelines)
