"""The HTTP application."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from fastapi import FastAPI
from starlette.routing import Route

from watcher_server import __version__
from watcher_server.addresses.routes import ingest_router as addresses_ingest_router
from watcher_server.addresses.routes import router as addresses_router
from watcher_server.alerts.config.routes import router as alerting_router
from watcher_server.alerts.routes import router as notifications_router
from watcher_server.anomalies.routes import router as anomalies_router
from watcher_server.archive.routes import router as archive_router
from watcher_server.audit.routes import router as audit_router
from watcher_server.auth.book import TokenBook
from watcher_server.auth.failures import FailedLogins
from watcher_server.auth.middleware import AuthMiddleware
from watcher_server.auth.oidc.provider import OidcProvider
from watcher_server.auth.routes import router as whoami_router
from watcher_server.config_file.routes import router as config_file_router
from watcher_server.database.engine import create_ingest_pool, create_query_engine
from watcher_server.dbt import ARTIFACTS_PATH
from watcher_server.dbt.routes import router as dbt_router
from watcher_server.executions.routes import ingest_router as executions_ingest_router
from watcher_server.executions.routes import router as executions_router
from watcher_server.freshness.routes import router as freshness_router
from watcher_server.health.routes import router as health_router
from watcher_server.http.head import HeadMiddleware
from watcher_server.http.ingest_route import IngestRoutes
from watcher_server.http.receiving import BodyLimit, BodyMiddleware
from watcher_server.http.request_id import NamedRequestsApp
from watcher_server.http.state import AppState
from watcher_server.http.streams import StreamSlots
from watcher_server.incidents.duties import keeper_duties
from watcher_server.incidents.routes import explain_router, queue_check_router
from watcher_server.incidents.routes import router as incidents_router
from watcher_server.lineage.landmarks import Landmarks
from watcher_server.lineage.routes import ingest_router as lineage_ingest_router
from watcher_server.lineage.routes import router as lineage_router
from watcher_server.mcp_server.routes import router as mcp_router
from watcher_server.metrics.routes import router as metrics_router
from watcher_server.missed_runs.routes import router as missed_runs_router
from watcher_server.openlineage.duties import keeper_duties as openlineage_duties
from watcher_server.openlineage.event_routes import router as openlineage_events_router
from watcher_server.openlineage.receiving import Receiver
from watcher_server.openlineage.routes import ingest_router as openlineage_ingest_router
from watcher_server.openlineage.routes import other_methods_router as openlineage_other_methods_router
from watcher_server.pings.receiving import PingMiddleware
from watcher_server.pings.routes import router as pings_router
from watcher_server.pipelines.routes import ingest_router as pipelines_ingest_router
from watcher_server.pipelines.routes import router as pipelines_router
from watcher_server.registration.routes import ingest_router as registration_ingest_router
from watcher_server.reporting.routes import router as reporting_router
from watcher_server.retention.routes import router as retention_router
from watcher_server.settings import Settings, SettingsError, get_settings
from watcher_server.tasking.history.events import TaskFollower
from watcher_server.tasking.history.routes import router as history_router
from watcher_server.tasking.keeper.keeper import Keeper
from watcher_server.tasking.limits.routes import router as limits_router
from watcher_server.tasking.queues.routes import router as queues_router
from watcher_server.tasking.sending.relay import Relay
from watcher_server.telemetry.logs import configure_logging
from watcher_server.telemetry.tracing import configure_tracing
from watcher_server.timeliness.routes import router as timeliness_router
from watcher_server.web.api_reference.document import complete
from watcher_server.web.api_reference.routes import router as api_reference_router
from watcher_server.web.errors import register_page_errors
from watcher_server.web.routes import PAGE_ROUTERS
from watcher_server.web.routes import router as web_router
from watcher_server.web.tasks.gauge import QueueGauge

# Starlette tries routes in order: what every run of every pipeline calls comes first.
ROUTERS = (
    executions_ingest_router,
    registration_ingest_router,
    lineage_ingest_router,
    pipelines_ingest_router,
    addresses_ingest_router,
    pipelines_router,
    pings_router,
    executions_router,
    addresses_router,
    lineage_router,
    anomalies_router,
    freshness_router,
    timeliness_router,
    missed_runs_router,
    dbt_router,
    openlineage_events_router,
    incidents_router,
    notifications_router,
    alerting_router,
    explain_router,
    config_file_router,
    queue_check_router,
    queues_router,
    limits_router,
    history_router,
    reporting_router,
    retention_router,
    archive_router,
    audit_router,
    health_router,
    metrics_router,
    whoami_router,
    mcp_router,
    api_reference_router,
    web_router,
    # Behind the pages, so that what may be asked of "/" is what they say.
    openlineage_ingest_router,
    openlineage_other_methods_router,
)
# What no router of ROUTERS or PAGE_ROUTERS answers.
_OTHER_NAMES = {"openapi.json", "ping", "static"}
_INGEST_ROUTES = IngestRoutes(route for router in ROUTERS for route in router.routes)

_LAST_SPANS_SECONDS = 2.0
# Anybody may send this form, so it gets no more than a token and a path need.
_LOGIN_BYTES = 16 * 1024
# A question has a few short arguments.
_QUESTION_BYTES = 64 * 1024


@dataclass
class Services(AppState):
    """Everything that hangs on ``app.state``."""

    failed_logins: FailedLogins = field(init=False)
    token_book: TokenBook = field(init=False)
    oidc: OidcProvider | None = field(init=False)
    landmarks: Landmarks = field(init=False)
    queue_gauge: QueueGauge = field(init=False)
    task_follower: TaskFollower = field(init=False)
    openlineage_receiver: Receiver = field(init=False)


class WatcherApp(NamedRequestsApp):
    """The application, whose reference names tokens and has examples."""

    def openapi(self) -> dict[str, Any]:
        """The document of the API; made once, when it is first asked for."""
        known = self.openapi_schema
        document = super().openapi()
        return document if document is known else complete(document)


@asynccontextmanager
async def fresh_memory(app: FastAPI) -> AsyncIterator[None]:
    """What an application remembers of its database and its callers: nothing at first, and not beyond the block."""
    state = cast("Services", app.state)
    settings = state.settings
    state.failed_logins = FailedLogins()
    state.token_book = TokenBook(state.query_engine, state.failed_logins)
    state.oidc = None if settings.oidc_issuer is None else OidcProvider(settings)
    state.landmarks = Landmarks()
    state.queue_gauge = QueueGauge(state.query_engine, settings)
    state.stream_slots = StreamSlots(settings.max_streams, settings.max_streams_per_caller)
    state.task_follower = TaskFollower(state.query_engine, state.stopping)
    state.openlineage_receiver = Receiver(state.ingest_pool, state.relay, settings)
    try:
        yield
    finally:
        await state.openlineage_receiver.close()
        await state.task_follower.close()
        await state.queue_gauge.close()
        await state.token_book.close()


@asynccontextmanager
async def _run_services(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    state = cast("Services", app.state)
    settings = state.settings
    state.query_engine = create_query_engine(settings)
    state.ingest_pool = create_ingest_pool(settings)
    state.stopping = asyncio.Event()
    # Not waiting for connections: an api that starts while the database is away answers 503 until it is back.
    await state.ingest_pool.open(wait=False)
    state.relay = relay = Relay(settings)
    keeper = Keeper(settings, [*keeper_duties(settings), *openlineage_duties(settings)])
    if settings.relay_enabled:
        relay.start()
        keeper.start()
    try:
        async with fresh_memory(app):
            yield {"stopping": state.stopping}
    finally:
        keeper.stop()
        relay.stop()
        await state.ingest_pool.close()
        await state.query_engine.dispose()
        if state.tracing is not None:
            await asyncio.to_thread(state.tracing.close, _LAST_SPANS_SECONDS)


def require_own_path(settings: Settings) -> None:
    """Check that the path of WATCHER_PUBLIC_URL is none of Watcher's own.

    A proxy may leave the path in the requests or take it away, and Watcher has to see which.

    Raises:
        SettingsError: it begins as an address of Watcher does.
    """
    routes = [route for router in (*ROUTERS, *PAGE_ROUTERS) for route in router.routes if isinstance(route, Route)]
    names = _OTHER_NAMES.union(route.path.split("/")[1] for route in routes) - {""}
    if settings.root_path.split("/")[1:2] and settings.root_path.split("/")[1] in names:
        raise SettingsError(
            f"WATCHER_PUBLIC_URL has the path {settings.root_path}, and addresses of Watcher itself begin so: "
            "give it another path, such as /watcher."
        )


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application, by default with the settings of this process."""
    settings = settings or get_settings()
    configure_logging(settings)
    tracing = configure_tracing("watcher-api", settings)
    app = WatcherApp(
        title="Watcher",
        version=__version__,
        summary="Knows what each data pipeline did, and tells people before their users do.",
        lifespan=_run_services,
        docs_url=None,
        redoc_url=None,
        tracing=tracing,
        ingest_routes=_INGEST_ROUTES,
        root=settings.root_path,
    )
    app.state = Services(settings, tracing)  # type: ignore[assignment]
    app.add_middleware(HeadMiddleware)
    # The last one added comes first: AuthMiddleware refuses a request before its body is read.
    app.add_middleware(
        BodyMiddleware,
        max_body_bytes=settings.max_body_bytes,
        path_limits={
            "/login": BodyLimit(min(_LOGIN_BYTES, settings.max_body_bytes)),
            "/mcp": BodyLimit(_QUESTION_BYTES),
            ARTIFACTS_PATH: BodyLimit(settings.dbt_max_bytes, "WATCHER_DBT_MAX_BYTES"),
        },
        routes=_INGEST_ROUTES,
    )
    app.add_middleware(PingMiddleware)
    app.add_middleware(AuthMiddleware)
    register_page_errors(app)
    for router in ROUTERS:
        app.include_router(router)
    return app
