"""The page of the audit trail, for administrators; its filters are in its address."""

from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import HTTPException, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import Field

from watcher_server.audit.reading import list_entries, list_words
from watcher_server.audit.schemas import AuditEntryResponse, AuditFilter, AuditQuery
from watcher_server.audit.wording import read_differences
from watcher_server.auth.access import may_administer
from watcher_server.database.asking import ask
from watcher_server.http.session import Session
from watcher_server.kit.fields import Id
from watcher_server.web.pages import page_router, render
from watcher_server.web.paging import PAGE_SIZE, FormQuery

router = page_router()

PATH = "/ui/audit"

# Where the page of an object is, before its id or its name.
_PAGES = {
    "pipeline": "/ui/pipelines/",
    "incident": "/ui/incidents/",
    "task": "/ui/tasks/",
    "address": "/lineage-graph?source_address_id=",
    "channel": "/ui/channels/edit?name=",
    "route": "/ui/routes/edit?name=",
    "calendar": "/ui/routes/calendar?name=",
    "window": "/ui/windows/edit?name=",
}


class AuditView(FormQuery, AuditFilter):
    """What the page shows: which entries, and from which one back."""

    cursor: Annotated[Id | None, Field(ge=0)] = None

    @property
    def is_filtered(self) -> bool:
        """Whether some entries are left out."""
        return any(getattr(self, name) is not None for name in AuditFilter.model_fields)


def _page_of(entry: AuditEntryResponse) -> str | None:
    """The page of what was changed; None where it has none, or is gone."""
    page = _PAGES.get(entry.object_kind)
    if page is None or entry.object_id is None or entry.action in {"remove", "forget"}:
        return None
    return page + quote(entry.object_id, safe="")


@router.get(PATH)
async def show_audit(request: Request, session: Session, view: Annotated[AuditView, Query()]) -> HTMLResponse:
    """Who changed what, the newest first."""
    if not may_administer(request):
        raise HTTPException(HTTPStatus.FORBIDDEN, "The audit trail needs a login with the scope admin")
    filters = view.model_dump(exclude={"cursor"})
    asked = AuditQuery.model_validate({**filters, "cursor": view.cursor, "limit": PAGE_SIZE})
    found = await ask(session, list_entries, asked)
    words = await ask(session, list_words)
    download = {name: value for name, value in view.parameters().items() if name != "cursor"}
    return render(
        request,
        "audit/index.html",
        view=view,
        url=view.url_at(PATH),
        rows=[(entry, _page_of(entry), read_differences(entry)) for entry in found.entries],
        next_cursor=found.next_cursor,
        download_url="/audit.ndjson" + (f"?{urlencode(download)}" if download else ""),
        days=request.app.state.settings.audit_days,
        actions=words["actions"],
        kinds=words["kinds"],
    )
