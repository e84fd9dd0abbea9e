"""Who would be told, over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query

from watcher_server.alerts.levels import Level
from watcher_server.alerts.routing.schemas import Explanation
from watcher_server.database.names import KnownObjectName
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.incidents.explaining import explain_incident
from watcher_server.incidents.kinds import Kind
from watcher_server.kit.fields import UtcDatetime

router = APIRouter(route_class=JsonRoute, prefix="/alerting", tags=["alerting"])


@router.get("/explain", responses={404: {"description": "No pipeline has that name or id."}})
async def get_explanation(
    session: Session,
    kind: Kind,
    pipeline: Annotated[KnownObjectName | None, Query()] = None,
    level: Level | None = None,
    at: Annotated[UtcDatetime | None, Query()] = None,
) -> Explanation:
    """Who would be told of such an incident of a pipeline (its name or id): each route, and why or why not.

    A moment without a zone is UTC; without a moment it is now.
    """
    connection = await session.connection()
    return await connection.run_sync(
        lambda sync: explain_incident(sync, kind=kind, pipeline=pipeline, level=level, at=at)
    )
