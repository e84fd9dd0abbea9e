"""The trail over HTTP; ``auth.scopes`` keeps it for administrators."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from watcher_server.audit.reading import list_entries, write_lines
from watcher_server.audit.schemas import AuditFilter, AuditPage, AuditQuery
from watcher_server.database.asking import ask
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.http.state import app_state

router = APIRouter(route_class=JsonRoute, tags=["audit"])


@router.get("/audit")
async def get_audit(session: Session, query: Annotated[AuditQuery, Query()]) -> AuditPage:
    """Who changed what, the newest first; for administrators."""
    return await ask(session, list_entries, query)


@router.get(
    "/audit.ndjson",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {}}, "description": "A JSON object on each line."}},
)
async def download_audit(request: Request, asked: Annotated[AuditFilter, Query()]) -> StreamingResponse:
    """Every entry that matches, the oldest first, one on each line; for administrators."""
    headers = {"Content-Disposition": 'attachment; filename="watcher-audit.ndjson"'}
    lines = write_lines(app_state(request).query_engine, asked)
    return StreamingResponse(lines, media_type="application/x-ndjson", headers=headers)
