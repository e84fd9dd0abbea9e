"""The tabs of the page, each with only what it shows: the state of the page is its query string."""

from enum import IntEnum, StrEnum
from typing import Any

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies import service as anomalies
from watcher_server.anomalies.rules import Direction, Method, Seasonality
from watcher_server.kit.fields import Id, UtcDatetime
from watcher_server.kit.listing import Page
from watcher_server.web.pipeline.anomaly import read_anomaly
from watcher_server.web.pipeline.log import read_log
from watcher_server.web.pipeline.places import MOST_PLACES, read_places
from watcher_server.web.pipeline.runs import LOOKED_THROUGH, Outcome, read_runs
from watcher_server.web.pipeline.series import METRICS, MOST_BANDS, read_series
from watcher_server.web.pipeline.watermarks import read_watermark_moves


class Tab(StrEnum):
    """What is shown below the pipeline's status."""

    CHARTS = "charts"
    RUNS = "runs"
    WATERMARKS = "watermarks"
    RULES = "rules"
    LINEAGE = "lineage"
    ALERTS = "alerts"


class RunCount(IntEnum):
    """How many runs the charts show."""

    FEW = 30
    USUAL = 90
    MANY = 200


class Done(StrEnum):
    """What was just done, for the page to say so."""

    UNFLAGGED = "unflagged"
    ACCEPTED = "accepted"
    RULE_CREATED = "rule-created"
    RULE_CHANGED = "rule-changed"
    FORGOTTEN = "forgotten"


class State(BaseModel):
    """The query string: ``before`` and ``after`` are executions, ``until`` a moment, from which a list goes on."""

    tab: Tab = Tab.CHARTS
    runs: RunCount = RunCount.USUAL
    outcome: Outcome = Outcome.ALL
    before: Id | None = None
    after: Id | None = None
    until: UtcDatetime | None = None
    anomaly: Id | None = None
    edit: Id | None = None
    done: Done | None = None


async def read_tab(
    session: AsyncSession, pipeline_id: int, state: State, *, alert_max_age_hours: int
) -> dict[str, Any]:
    """What the template of the tab knows besides what every tab does.

    Raises:
        NotFoundError: the anomaly that the state names is not there.
    """
    match state.tab:
        case Tab.CHARTS:
            return await _charts(session, pipeline_id, state)
        case Tab.RUNS:
            page = await read_runs(session, pipeline_id, state.outcome, before=state.before, after=state.after)
            return {"page": page, "outcomes": list(Outcome), "looked_through": LOOKED_THROUGH}
        case Tab.WATERMARKS:
            moves, page = await read_watermark_moves(session, pipeline_id, before=state.before)
            return {"moves": moves, "page": page, "looked_through": LOOKED_THROUGH}
        case Tab.RULES:
            return await _rules(session, pipeline_id, state)
        case Tab.LINEAGE:
            sources, targets = await read_places(session, pipeline_id)
            return {"sources": sources, "targets": targets, "most": MOST_PLACES}
        case Tab.ALERTS:
            entries, older = await read_log(
                session, pipeline_id, before=state.until, alert_max_age_hours=alert_max_age_hours
            )
            return {"entries": entries, "older": older}


async def _charts(session: AsyncSession, pipeline_id: int, state: State) -> dict[str, Any]:
    rules = await anomalies.list_rules(session, Page(), pipeline_id=pipeline_id, metric_field=None, active=None)
    return {
        "series": await read_series(session, pipeline_id, rules, state.runs),
        "counts": list(RunCount),
        "most_bands": MOST_BANDS,
        "anomaly": None if state.anomaly is None else await read_anomaly(session, pipeline_id, state.anomaly),
    }


async def _rules(session: AsyncSession, pipeline_id: int, state: State) -> dict[str, Any]:
    rules = await anomalies.list_rules(session, Page(), pipeline_id=pipeline_id, metric_field=None, active=None)
    ruled = {rule.metric_field for rule in rules}
    return {
        "rules": sorted(rules, key=lambda rule: [metric.value for metric in METRICS].index(rule.metric_field)),
        "edited": next((rule for rule in rules if rule.id == state.edit), None),
        "without_rule": [metric.value for metric in METRICS if metric.value not in ruled],
        "methods": list(Method),
        "seasonalities": list(Seasonality),
        "directions": list(Direction),
        "filled": {},
    }
