"""What a rule would have flagged in the pipeline's own past, by its method and by each other; nothing is written."""

import asyncio
from collections.abc import Sequence
from dataclasses import fields as fields_of
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies.learners import PastRun
from watcher_server.anomalies.past import MOST_PAST_RUNS, PAST_DAYS, read_past
from watcher_server.anomalies.reading import THREADS
from watcher_server.anomalies.replay import Past, Verdict, replay
from watcher_server.anomalies.rules import Method, Rule
from watcher_server.anomalies.schemas import (
    PreviewedExecution,
    PreviewedMethod,
    PreviewResponse,
    RuleFields,
    RulePreview,
)
from watcher_server.database.engine import sync_engine
from watcher_server.database.rows import find
from watcher_server.kit.text import plural
from watcher_server.pipelines.models import Pipeline


def rule_of(fields: RuleFields) -> Rule:
    """A rule with these fields that is not stored."""
    known = fields.model_dump(mode="json", include={field.name for field in fields_of(Rule)})
    return Rule(id=0, metric=fields.metric_field.value, normal_from=None, normal_until=None, learning=False, **known)


async def preview_rule(session: AsyncSession, body: RulePreview) -> PreviewResponse:
    """What the rule would have flagged in the last days, run by run; raises NotFoundError without such a pipeline."""
    await find(session, Pipeline, body.pipeline_id)
    return await asyncio.get_running_loop().run_in_executor(THREADS, _preview, body)


def _preview(body: RulePreview) -> PreviewResponse:
    rule, until = rule_of(body), datetime.now(UTC)
    since = until - timedelta(days=PAST_DAYS + rule.lookback_days)
    with sync_engine().connect() as connection:
        runs = read_past(connection, body.pipeline_id, rule.metric, since=since, until=until, most=MOST_PAST_RUNS)
    return preview_past(body, rule, runs, until)


def preview_past(body: RulePreview, rule: Rule, runs: Sequence[PastRun], until: datetime) -> PreviewResponse:
    """The verdicts of these runs, the oldest first, by each method; those of the last ``days`` are told of."""
    begin = until - timedelta(days=body.days)
    others = [method for method in Method if method != rule.method]
    methods = [
        _show(body, replace(rule, method=method), runs, begin, chosen=method == rule.method)
        for method in (Method(rule.method), *others)
    ]
    told = sum(run.ended_at >= begin for run in runs)
    return PreviewResponse(
        pipeline_id=body.pipeline_id,
        metric_field=rule.metric,
        days=body.days,
        runs=told,
        sentence=methods[0].sentence,
        methods=methods,
    )


def _show(body: RulePreview, rule: Rule, runs: Sequence[PastRun], begin: datetime, *, chosen: bool) -> PreviewedMethod:
    past = replay(rule, runs)
    recent = past._replace(verdicts=[verdict for verdict in past.verdicts if verdict.run.ended_at >= begin])
    shown = recent.verdicts[max(0, len(recent.verdicts) - body.executions) :]
    return PreviewedMethod(
        method=rule.method,
        chosen=chosen,
        alerts=recent.alerts,
        flagged=recent.flagged,
        judged=recent.judged,
        threshold=past.threshold,
        sentence=_say(recent, body.days, body.minimum_executions),
        executions=[_show_run(verdict) for verdict in shown],
    )


def _show_run(verdict: Verdict) -> PreviewedExecution:
    run, within = verdict.run, verdict.within
    return PreviewedExecution(
        id=run.id,
        start_date=run.started_at,
        value=run.value,
        lower_bound=within and within.lower,
        upper_bound=within and within.upper,
        flagged=verdict.side != 0,
    )


def _say(past: Past, days: int, minimum: int) -> str:
    if not past.verdicts:
        return f"There were no successful runs with this metric in {days} days, so it has nothing to judge yet."
    if not past.judged:
        return (
            f"It would still be learning after the {plural(len(past.verdicts), 'run')} of {days} days:"
            f" it judges from {minimum} runs like the one that is judged."
        )
    alerts = plural(past.alerts, "alert") if past.alerts else "no alert"
    runs = plural(len(past.verdicts), "run")
    return f"It would have raised {alerts} in {days} days, and judged {past.judged:,} of {runs}."
