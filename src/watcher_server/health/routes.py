"""Health over HTTP: whether the api lives, and whether requests will work."""

from fastapi import APIRouter, Request, Response

from watcher_server.health.schemas import CheckResponse, Live, Readiness
from watcher_server.health.service import check_readiness
from watcher_server.http.body import JsonRoute

router = APIRouter(route_class=JsonRoute, tags=["health"])


@router.get("/health/live")
async def get_liveness() -> Live:
    """Whether the process answers. It asks neither database nor broker."""
    return Live(status="ok")


@router.get("/health/ready", responses={503: {"model": Readiness}})
async def get_readiness(request: Request, response: Response) -> Readiness:
    """Whether requests will work: database, migrations and broker. 503 with the reason when one does not."""
    state = request.app.state
    checks = await check_readiness(state.query_engine, state.settings.broker)
    reasons = [reason for reason in checks.values() if reason is not None]
    if reasons:
        response.status_code = 503
    return Readiness(
        status="unavailable" if reasons else "ready",
        detail=" ".join(reasons) or None,
        checks={name: CheckResponse(ok=reason is None, reason=reason) for name, reason in checks.items()},
    )
