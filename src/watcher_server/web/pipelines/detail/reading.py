"""What the page of one pipeline shows: how it does and why, and each of its tabs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from functools import partial
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies import service as anomalies
from watcher_server.anomalies.flagged import read_anomaly
from watcher_server.anomalies.progress import read_known
from watcher_server.anomalies.rules import Direction, Method, Metric, Seasonality
from watcher_server.database.asking import ask
from watcher_server.database.rows import find
from watcher_server.executions.recent import LOOKED_THROUGH, Outcome, RunOutcome, read_latest_runs, read_runs
from watcher_server.incidents.explaining import explain_incident
from watcher_server.incidents.kinds import Kind
from watcher_server.incidents.reading import IncidentFilter, list_incidents
from watcher_server.kit.fields import Id, UtcDatetime
from watcher_server.kit.listing import Page
from watcher_server.lineage.places import MOST_PLACES, Reach, read_places, read_reach, read_touched
from watcher_server.pipelines.findings import Finding, read_findings
from watcher_server.pipelines.models import Pipeline
from watcher_server.pipelines.status import WRONG, Status, read_conditions
from watcher_server.pipelines.summaries import Summary, read_summaries
from watcher_server.timeliness.service import read_severities
from watcher_server.web.incidents.wording import WORDS as INCIDENT_WORDS
from watcher_server.web.paging import PAGE_SIZE
from watcher_server.web.pipelines.detail.log import read_log
from watcher_server.web.pipelines.detail.series import read_series
from watcher_server.web.pipelines.detail.trying import suggest_form
from watcher_server.web.pipelines.detail.watermarks import compare_moves
from watcher_server.web.pipelines.detail.wording import METRIC_NAMES

# Of the metadata. A name or a value of more characters is cut.
_MOST_PAIRS = 100
_LONGEST_TEXT = 1_000


@dataclass(frozen=True, slots=True)
class Standing:
    """How a pipeline does: the status in one word, each finding behind it, the worst first, and what to say beside it.

    ``latest`` is its latest run, if any, ``reach`` what it writes and what depends on that.
    """

    pipeline: Pipeline
    summary: Summary
    status: Status
    remark: str | None
    findings: Sequence[Finding]
    latest: RunOutcome | None
    reach: Reach

    @property
    def metadata(self) -> list[tuple[str, str]]:
        """Names and values as text, a hundred at most; the tags are shown on their own."""
        stored: Mapping[str, Any] = self.pipeline.pipeline_metadata or {}
        known = [(name, value) for name, value in stored.items() if name != "tags"]
        shown = [(name[:_LONGEST_TEXT], _as_text(value)) for name, value in known[:_MOST_PAIRS]]
        if len(known) > _MOST_PAIRS:
            shown.append(("…", f"{len(known) - _MOST_PAIRS:,} more, which the API shows"))
        return shown


def _as_text(value: Any) -> str:
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= _LONGEST_TEXT else shown[:_LONGEST_TEXT] + "…"


async def read_standing(session: AsyncSession, pipeline_id: int) -> Standing:
    """How the pipeline does now. Raises NotFoundError: there is no such pipeline."""
    pipeline = await find(session, Pipeline, pipeline_id)
    condition = (await read_conditions(session, [pipeline_id]))[pipeline_id]
    findings = (await read_findings(session, [pipeline_id]))[pipeline_id]
    latest = await read_latest_runs(session, [pipeline_id], 1)
    # That a run is late says already that it is going.
    words = [word for word in condition.words if word != Status.RUNNING or Status.LATE not in condition.words]
    return Standing(
        pipeline=pipeline,
        summary=(await read_summaries(session, [pipeline_id]))[0],
        status=condition.status,
        remark=condition.remark,
        findings=[findings[word] for word in words if word in findings],
        latest=latest[pipeline_id][0] if latest else None,
        reach=await read_reach(session, pipeline_id),
    )


class Tab(StrEnum):
    """What is shown below the pipeline's status."""

    CHARTS = "charts"
    RUNS = "runs"
    WATERMARKS = "watermarks"
    RULES = "rules"
    LINEAGE = "lineage"
    INCIDENTS = "incidents"
    ALERTS = "alerts"
    TOLD = "told"
    PING = "ping"


class RunCount(IntEnum):
    """How many runs the charts show."""

    FEW = 30
    USUAL = 90
    MANY = 200


class Done(StrEnum):
    """What was just done, for the page to say so."""

    UNFLAGGED = "unflagged"
    REFLAGGED = "reflagged"
    ACCEPTED = "accepted"
    RULE_CREATED = "rule-created"
    RULE_CHANGED = "rule-changed"
    FORGOTTEN = "forgotten"
    RENEWED = "renewed"


class State(BaseModel):
    """The query string: ``before`` and ``after`` are executions, ``until`` a moment, from which a list goes on.

    ``metric`` is the one that a rule is to be made for, or whose flag was just taken off the ``run``.
    ``at`` is the moment for which the page says who would be told; now without it.
    """

    tab: Tab = Tab.CHARTS
    runs: RunCount = RunCount.USUAL
    outcome: Outcome = Outcome.ALL
    before: Id | None = None
    after: Id | None = None
    until: UtcDatetime | None = None
    at: Annotated[UtcDatetime | None, BeforeValidator(lambda typed: typed or None)] = None
    anomaly: Id | None = None
    edit: Id | None = None
    metric: Annotated[Metric | None, BeforeValidator(lambda given: given if given in {*Metric} else None)] = None
    run: Id | None = None
    done: Done | None = None


async def read_tab(  # noqa: PLR0911 - one for each tab
    session: AsyncSession, pipeline_id: int, state: State, *, alert_max_age_hours: int
) -> dict[str, Any]:
    """What the template of the tab knows besides what every tab does.

    Raises:
        NotFoundError: the anomaly that the state names is not there.
    """
    match state.tab:
        case Tab.CHARTS:
            rules = await anomalies.list_rules(session, Page(), pipeline_id=pipeline_id, metric_field=None, active=None)
            return {
                "series": await read_series(session, pipeline_id, rules, state.runs),
                "counts": list(RunCount),
                "anomaly": None if state.anomaly is None else await read_anomaly(session, pipeline_id, state.anomaly),
            }
        case Tab.RUNS:
            page = await read_runs(
                session, pipeline_id, state.outcome, page_size=PAGE_SIZE, before=state.before, after=state.after
            )
            late = await read_severities(session, [run.id for run in page.runs])
            outcomes = [outcome for outcome in Outcome if outcome is not Outcome.MOVES]
            return {"page": page, "late": late, "outcomes": outcomes, "looked_through": LOOKED_THROUGH}
        case Tab.WATERMARKS:
            page = await read_runs(session, pipeline_id, Outcome.MOVES, page_size=PAGE_SIZE, before=state.before)
            return {"moves": compare_moves(page), "page": page, "looked_through": LOOKED_THROUGH}
        case Tab.RULES:
            return await _rules(session, pipeline_id, state)
        case Tab.LINEAGE:
            sources, targets = await read_places(session, pipeline_id)
            touched, statuses = await read_touched(session, pipeline_id)
            places = {"sources": sources, "targets": targets, "most": MOST_PLACES}
            return {**places, "touched": touched, "statuses": statuses}
        case Tab.INCIDENTS:
            # Its open incidents, then the last ones that were resolved. The page of incidents has them all.
            wanted = IncidentFilter(pipeline_id=pipeline_id)
            incidents = await ask(session, list_incidents, wanted, Page(limit=PAGE_SIZE + 1))
            return {**INCIDENT_WORDS, "incidents": incidents[:PAGE_SIZE], "more": len(incidents) > PAGE_SIZE}
        case Tab.ALERTS:
            entries, older = await read_log(
                session, pipeline_id, before=state.until, alert_max_age_hours=alert_max_age_hours
            )
            return {"entries": entries, "older": older}
        case Tab.TOLD:
            pipeline = await find(session, Pipeline, pipeline_id)
            explain = partial(explain_incident, pipeline=pipeline.name, at=state.at or datetime.now(UTC))
            words = () if pipeline.archived_at else WRONG
            return {"explanations": [await ask(session, explain, kind=Kind(word.value)) for word in words]}
        case Tab.PING:
            return {}


async def _rules(session: AsyncSession, pipeline_id: int, state: State) -> dict[str, Any]:
    rules = await anomalies.list_rules(session, Page(), pipeline_id=pipeline_id, metric_field=None, active=None)
    ruled = {rule.metric_field for rule in rules}
    without = [metric for metric in METRIC_NAMES if metric not in ruled]
    wanted = state.metric.value if state.metric and state.metric.value in without else without[0] if without else None
    suggested = await suggest_form(session, pipeline_id, wanted) if wanted else {}
    return {
        **suggested,
        "wanted": wanted,
        "known": await read_known(session, [rule.id for rule in rules if rule.learning]),
        "preview": None,
        "rules": sorted(rules, key=lambda rule: list(METRIC_NAMES).index(rule.metric_field)),
        "edited": next((rule for rule in rules if rule.id == state.edit), None),
        "without_rule": without,
        "methods": list(Method),
        "seasonalities": list(Seasonality),
        "directions": list(Direction),
        "filled": {},
    }
