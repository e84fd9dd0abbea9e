"""Which rule suits a metric: from how often its pipeline runs, and what its past shows."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import median

from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies.learners import PastRun
from watcher_server.anomalies.past import PAST_DAYS, read_past
from watcher_server.anomalies.reading import THREADS
from watcher_server.anomalies.rules import Method, Metric, Seasonality
from watcher_server.anomalies.schemas import RuleFields, SuggestionResponse
from watcher_server.anomalies.seasonal import MINIMUM_DAYS, MINIMUM_RUNS, Observation, is_enough, learn
from watcher_server.database.engine import sync_engine
from watcher_server.database.rows import find
from watcher_server.kit.durations import duration_text
from watcher_server.kit.text import plural
from watcher_server.pipelines.models import Pipeline

_DAILY = timedelta(hours=36)
_FEW_RUNS = 3
# Of a past with this share of values that lie five deviations from the median, a mean says little.
_WILD_SHARE, _WILD = 0.03, 5.0
_ALARMS_PER_MONTH = 1.0


async def suggest_rule(session: AsyncSession, pipeline_id: int, metric: Metric) -> SuggestionResponse:
    """The rule that suits the metric of the pipeline, and why; raises NotFoundError if there is no such pipeline."""
    await find(session, Pipeline, pipeline_id)
    return await asyncio.get_running_loop().run_in_executor(THREADS, _suggest, pipeline_id, metric)


def _suggest(pipeline_id: int, metric: Metric) -> SuggestionResponse:
    until = datetime.now(UTC)
    since = until - timedelta(days=PAST_DAYS)
    with sync_engine().connect() as connection:
        runs = read_past(connection, pipeline_id, metric.value, since=since, until=until, most=2_000)
    return suggest_for(metric, runs)


def suggest_for(metric: Metric, runs: Sequence[PastRun]) -> SuggestionResponse:
    """As :func:`suggest_rule`, from the runs, the oldest first."""
    if len(runs) < _FEW_RUNS:
        rule = _seasonal(metric)
        return SuggestionResponse(
            rule=rule,
            why="There are too few runs to see how often it runs, so this is what suits a daily pipeline"
            f" with a week in its numbers; it judges from {rule.minimum_executions} runs on.",
        )
    steps = [later.started_at - run.started_at for run, later in pairwise(runs)]
    cadence = sorted(steps)[len(steps) // 2]
    known = f"It runs every {duration_text(cadence.total_seconds())} or so, and {plural(len(runs), 'run')} are known"
    return _frequent(metric, runs, known) if cadence <= _DAILY else _seldom(metric, runs, known)


def _frequent(metric: Metric, runs: Sequence[PastRun], known: str) -> SuggestionResponse:
    rule = _seasonal(metric)
    rhythm = _rhythm(runs)
    follows = (
        f"its numbers follow {rhythm}" if rhythm else "a level that follows suits numbers without a clear rhythm too"
    )
    return SuggestionResponse(
        rule=rule,
        why=f"{known}: {follows}, which the method seasonal learns from {rule.lookback_days} days;"
        f" it judges from {rule.minimum_executions} runs and {MINIMUM_DAYS} days on.",
    )


def _seldom(metric: Metric, runs: Sequence[PastRun], known: str) -> SuggestionResponse:
    is_wild = _is_wild([run.value for run in runs])
    rule = RuleFields(
        metric_field=metric,
        method=Method.MAD if is_wild else Method.ZSCORE,
        seasonality=Seasonality.NONE,
        lookback_days=365,
        minimum_executions=10,
        alarms_per_month=_ALARMS_PER_MONTH,
    )
    by = "a median, which its many outliers do not move" if is_wild else "mean and deviation"
    return SuggestionResponse(
        rule=rule,
        why=f"{known}: that is too seldom to learn a week, so all runs of a year are compared by {by};"
        f" it judges from {rule.minimum_executions} runs on.",
    )


def _seasonal(metric: Metric) -> RuleFields:
    return RuleFields(
        metric_field=metric,
        method=Method.SEASONAL,
        lookback_days=90,
        minimum_executions=MINIMUM_RUNS,
        alarms_per_month=_ALARMS_PER_MONTH,
    )


def _rhythm(runs: Sequence[PastRun]) -> str:
    """What the numbers follow, as the end of a sentence; empty when nothing shows."""
    history = [Observation(run.started_at, run.value) for run in runs]
    if not is_enough(history, runs[-1].started_at):
        return ""
    fit = learn(history)
    shown = [
        ("the hour", fit.effects.hour),
        ("the weekday", {**fit.effects.weekday, **fit.effects.week_hour}),
        ("the ends of the month", fit.effects.month_edge),
    ]
    named = [name for name, effects in shown if any(abs(effect) > fit.spread for effect in effects.values())]
    return " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)


def _is_wild(values: Sequence[float]) -> bool:
    middle = median(values)
    deviation = 1.4826 * median(abs(value - middle) for value in values)
    far = sum(abs(value - middle) > _WILD * deviation for value in values)
    return deviation > 0 and far > _WILD_SHARE * len(values)
