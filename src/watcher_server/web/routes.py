"""Every page, in one router."""

import asyncio

from fastapi import APIRouter, Depends, Request
from sqlalchemy.exc import SQLAlchemyError

from watcher_server.alerts.broken import find_broken
from watcher_server.auth.access import may_read
from watcher_server.http.state import app_state
from watcher_server.web.account.routes import router as account_router
from watcher_server.web.alerting.channel_routes import router as channels_router
from watcher_server.web.alerting.routes import router as alerting_router
from watcher_server.web.alerts.routes import router as alerts_router
from watcher_server.web.anomalies.routes import router as anomalies_router
from watcher_server.web.archive.routes import router as archive_router
from watcher_server.web.assets import router as assets_router
from watcher_server.web.audit.routes import router as audit_router
from watcher_server.web.configuration.routes import router as configuration_router
from watcher_server.web.diagnostics.routes import router as diagnostics_router
from watcher_server.web.documentation.routes import router as documentation_router
from watcher_server.web.executions.routes import router as executions_router
from watcher_server.web.front_door import router as front_door_router
from watcher_server.web.incidents.routes import router as incidents_router
from watcher_server.web.lineage.routes import router as lineage_router
from watcher_server.web.login.provider_routes import router as provider_router
from watcher_server.web.login.routes import router as login_router
from watcher_server.web.overview.routes import router as overview_router
from watcher_server.web.pages import is_part
from watcher_server.web.pipelines.detail.routes import router as pipeline_router
from watcher_server.web.pipelines.routes import router as pipelines_router
from watcher_server.web.reporting.routes import router as reporting_router
from watcher_server.web.search.routes import router as search_router
from watcher_server.web.sources.routes import router as sources_router
from watcher_server.web.tasks.routes import router as tasks_router


async def note_broken_channels(request: Request) -> None:
    """Keep the names of the channels that are broken for the frame of the page, where it will have one."""
    is_page = request.method == "GET" and "text/html" in request.headers.get("accept", "") and not is_part(request)
    if not is_page or not may_read(request):
        return
    try:
        # A page that the database keeps waiting does not wait for this.
        async with asyncio.timeout(1.0), app_state(request).query_engine.connect() as connection:
            broken = await connection.run_sync(find_broken)
    except (SQLAlchemyError, OSError, TimeoutError):
        return
    request.state.broken_channels = [channel.name for channel in broken]


PAGE_ROUTERS = (
    front_door_router,
    login_router,
    provider_router,
    account_router,
    overview_router,
    pipelines_router,
    pipeline_router,
    executions_router,
    lineage_router,
    sources_router,
    incidents_router,
    anomalies_router,
    alerts_router,
    channels_router,
    alerting_router,
    reporting_router,
    tasks_router,
    diagnostics_router,
    configuration_router,
    archive_router,
    audit_router,
    search_router,
    documentation_router,
)
router = APIRouter()
for pages in PAGE_ROUTERS:
    router.include_router(pages, dependencies=[Depends(note_broken_channels)])
router.include_router(assets_router)
