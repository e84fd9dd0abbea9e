"""What earlier runs say a metric usually is: one statement for all rules that look at the same runs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Row, text

from watcher_server.anomalies.bounds import Baseline
from watcher_server.anomalies.rules import Method, Metric, Rule, Seasonality
from watcher_server.anomalies.statements import MEANS, MEDIANS

# The next wider bucket, for while one holds too few values.
_WIDER = {
    Seasonality.HOUR_OF_WEEK: Seasonality.HOUR,
    Seasonality.HOUR: Seasonality.NONE,
    Seasonality.WEEKDAY: Seasonality.NONE,
}
_EVERY_HOUR = list(range(24))
_FIRST_MOMENT = datetime.min.replace(tzinfo=UTC)
# Of a pipeline that runs every minute, a year would be half a million runs and a second of work for each judgement, and
# these tell as much.
_MOST_RUNS = 10_000
_STATEMENTS = {Method.ZSCORE: text(MEANS), Method.MAD: text(MEDIANS)}


@dataclass(frozen=True)
class Moment:
    """When a run started, with the hour and day (UTC) that its row records, and when it ended."""

    started_at: datetime
    ended_at: datetime
    hour_recorded: int
    date_recorded: date


def learn_baselines(
    connection: Connection, pipeline_id: int, moment: Moment, rules: Sequence[Rule]
) -> dict[int, Baseline]:
    """The baseline of each rule, by the rule's id, from what ended before the moment.

    A rule looks at the runs of its own seasonality; while these have fewer than ``minimum_executions`` values, at those
    of the next wider one.
    """
    learnt: dict[int, Baseline] = {}
    pending = [(Seasonality(rule.seasonality), rule) for rule in rules]
    while pending:
        wider = []
        for (bucket, method), alike in _group(pending):
            parameters = _window(pipeline_id, moment, bucket, alike) | _limits(moment.ended_at, alike)
            row = connection.execute(_STATEMENTS[Method(method)], parameters).one()
            measured = {rule.id: _read(row, rule, bucket) for rule in alike}
            learnt |= measured
            if bucket in _WIDER:
                too_few = [rule for rule in alike if measured[rule.id].count < rule.minimum_executions]
                wider += [(_WIDER[bucket], rule) for rule in too_few]
        pending = wider
    return learnt


def _group(pending: Sequence[tuple[Seasonality, Rule]]) -> Iterable[tuple[tuple[Seasonality, str], list[Rule]]]:
    def key(entry: tuple[Seasonality, Rule]) -> tuple[Seasonality, str]:
        return entry[0], entry[1].method

    return [(shared, [rule for _, rule in group]) for shared, group in groupby(sorted(pending, key=key), key)]


def _window(pipeline_id: int, moment: Moment, bucket: Seasonality, rules: Sequence[Rule]) -> dict[str, Any]:
    hourly = bucket in {Seasonality.HOUR, Seasonality.HOUR_OF_WEEK}
    share = _MOST_RUNS if hourly else _MOST_RUNS // len(_EVERY_HOUR)
    daily = bucket in {Seasonality.WEEKDAY, Seasonality.HOUR_OF_WEEK}
    return {
        "pipeline_id": pipeline_id,
        "ended_at": moment.ended_at,
        "hours": [moment.hour_recorded] if hourly else _EVERY_HOUR,
        "weekday": moment.date_recorded.isoweekday() if daily else None,
        # All runs may have started in one hour, and are to be enough for a verdict.
        "most": max(share, *(rule.minimum_executions for rule in rules)),
    }


def _limits(ended_at: datetime, rules: Sequence[Rule]) -> dict[str, Any]:
    """From when on each metric counts, until when also flagged, and how far out is an outlier; null without a rule."""
    by_metric = {rule.metric: rule for rule in rules}
    limits: dict[str, Any] = {"earliest": min(looks_back_to(rule, ended_at) for rule in rules)}
    for metric in Metric:
        rule = by_metric.get(metric)
        limits[f"{metric}_since"] = rule and looks_back_to(rule, ended_at)
        limits[f"{metric}_accepted"] = rule and _accepted_until(rule, ended_at)
        limits[f"{metric}_outlier"] = rule and rule.z_threshold
    return limits


def days_before(moment: datetime, days: int) -> datetime:
    """So many days of 24 hours before the moment, or the first moment there is."""
    return moment - min(timedelta(days=days), moment - _FIRST_MOMENT)


def looks_back_to(rule: Rule, ended_at: datetime) -> datetime:
    """The earliest end of a run that counts for one that ended then."""
    lookback = days_before(ended_at, rule.lookback_days)
    # A run from before the new normal is judged as it would have been then.
    return max(lookback, rule.normal_from) if rule.normal_from and rule.normal_from < ended_at else lookback


def _accepted_until(rule: Rule, ended_at: datetime) -> datetime | None:
    return rule.normal_until if rule.normal_from and rule.normal_from < ended_at else None


def _read(row: Row[Any], rule: Rule, bucket: Seasonality) -> Baseline:
    values = row._mapping  # noqa: SLF001 - the documented way to read a column by its name
    return Baseline(
        bucket=bucket.value,
        count=values[f"{rule.metric}_count"],
        center=values[f"{rule.metric}_center"],
        spread=values[f"{rule.metric}_spread"],
    )
