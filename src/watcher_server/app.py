"""The HTTP application."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from watcher_server import __version__
from watcher_server.addresses.routes import router as addresses_router
from watcher_server.anomalies.routes import router as anomalies_router
from watcher_server.auth.middleware import AuthMiddleware
from watcher_server.auth.routes import router as auth_router
from watcher_server.database.engine import create_ingest_pool, create_query_engine
from watcher_server.executions.routes import ingest_router
from watcher_server.executions.routes import router as executions_router
from watcher_server.freshness.routes import router as freshness_router
from watcher_server.health.routes import router as health_router
from watcher_server.http.errors import register_error_handlers
from watcher_server.http.head import HeadMiddleware
from watcher_server.http.ingest import BodyMiddleware, IngestRoute
from watcher_server.http.request_id import NamedRequestsApp
from watcher_server.keeper.keeper import Keeper
from watcher_server.lineage.routes import router as lineage_router
from watcher_server.metrics.routes import router as metrics_router
from watcher_server.pipelines.board import Board
from watcher_server.pipelines.routes import router as pipelines_router
from watcher_server.queue_monitor.routes import router as queueing_router
from watcher_server.queueing.relay import Relay
from watcher_server.rate_limits.routes import router as rate_limits_router
from watcher_server.reporting.routes import router as reporting_router
from watcher_server.retention.routes import router as retention_router
from watcher_server.schedules.routes import router as schedules_router
from watcher_server.settings import Settings, get_settings
from watcher_server.task_history.routes import router as tasks_router
from watcher_server.telemetry.logs import configure_logging
from watcher_server.telemetry.tracing import configure_tracing
from watcher_server.timeliness.routes import router as timeliness_router
from watcher_server.web.api_reference.routes import router as api_reference_router
from watcher_server.web.errors import register_page_errors
from watcher_server.web.routes import router as web_router
from watcher_server.web.tasks.gauge import QueueGauge

# Starlette tries routes in order: what every run of every pipeline calls comes first.
ROUTERS = (
    ingest_router,
    pipelines_router,
    executions_router,
    addresses_router,
    lineage_router,
    anomalies_router,
    freshness_router,
    timeliness_router,
    schedules_router,
    queueing_router,
    rate_limits_router,
    tasks_router,
    reporting_router,
    retention_router,
    auth_router,
    health_router,
    metrics_router,
    api_reference_router,
    web_router,
)

_LAST_SPANS_SECONDS = 2.0


@asynccontextmanager
async def _run_services(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    settings: Settings = app.state.settings
    app.state.query_engine = create_query_engine(settings)
    app.state.ingest_pool = create_ingest_pool(settings)
    app.state.board = Board(app.state.query_engine)
    app.state.queue_gauge = QueueGauge(app.state.query_engine, settings)
    # Not waiting for connections: an api that starts while the database is away answers 503 until it is back.
    await app.state.ingest_pool.open(wait=False)
    app.state.relay = Relay(settings)
    keeper = Keeper(settings)
    if settings.relay_enabled:
        app.state.relay.start()
        keeper.start()
    # What answers without an end listens to it: the HTTP server sets it when it is told to stop.
    app.state.stopping = asyncio.Event()
    try:
        yield {"stopping": app.state.stopping}
    finally:
        keeper.stop()
        app.state.relay.stop()
        await app.state.queue_gauge.close()
        await app.state.board.close()
        await app.state.ingest_pool.close()
        await app.state.query_engine.dispose()
        if app.state.tracing is not None:
            await asyncio.to_thread(app.state.tracing.close, _LAST_SPANS_SECONDS)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application, by default with the settings of this process."""
    settings = settings or get_settings()
    configure_logging(settings)
    tracing = configure_tracing("watcher-api", settings)
    app = NamedRequestsApp(
        title="Watcher",
        version=__version__,
        summary="Knows what each data pipeline did, and tells people before their users do.",
        lifespan=_run_services,
        docs_url=None,
        redoc_url=None,
        tracing=tracing,
        ingest_paths={route.path for route in ingest_router.routes if isinstance(route, IngestRoute)},
    )
    app.state.settings = settings
    app.state.tracing = tracing
    app.add_middleware(HeadMiddleware)
    # The last one added is the first one asked: nobody's body is read before they may send it.
    app.add_middleware(BodyMiddleware, max_body_bytes=settings.max_body_bytes, routes=ingest_router.routes)
    app.add_middleware(AuthMiddleware)
    register_error_handlers(app)
    register_page_errors(app)
    for router in ROUTERS:
        app.include_router(router)
    return app
