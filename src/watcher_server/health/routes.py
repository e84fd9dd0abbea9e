"""Is it there, is it alive, does it work, and what can it do."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from scalar_fastapi import get_scalar_api_reference

from watcher_server import __version__
from watcher_server.health.schemas import CheckResponse, Live, Readiness, Welcome
from watcher_server.health.service import check_readiness
from watcher_server.http.body import JsonRoute

router = APIRouter(route_class=JsonRoute, tags=["health"])

_LINKS = {
    "docs": "/docs",
    "scalar": "/scalar",
    "openapi": "/openapi.json",
    "health": "/health/ready",
    "reporting": "/reporting",
    "lineage": "/lineage-graph",
    "diagnostics": "/diagnostics",
}


@router.get("/")
async def welcome() -> Welcome:
    """What answers here."""
    return Welcome(name="Watcher", version=__version__, links=_LINKS)


@router.get("/health/live")
async def get_liveness() -> Live:
    """Whether the process answers; it asks nobody else."""
    return Live(status="ok")


@router.get("/health/ready", responses={503: {"model": Readiness}})
async def get_readiness(request: Request, response: Response) -> Readiness:
    """Whether requests will work: database, migrations and broker. 503 with the reason when one does not."""
    state = request.app.state
    checks = await check_readiness(state.query_engine, state.settings.broker)
    reasons = [check.reason for check in checks.values() if check.reason]
    if reasons:
        response.status_code = 503
    return Readiness(
        status="unavailable" if reasons else "ready",
        detail=" ".join(reasons) or None,
        checks={name: CheckResponse.model_validate(check) for name, check in checks.items()},
    )


@router.get("/scalar", include_in_schema=False)
async def show_api_reference(request: Request) -> HTMLResponse:
    """The API reference, another reading of ``/docs``."""
    return get_scalar_api_reference(openapi_url=request.app.openapi_url, title="Watcher")
