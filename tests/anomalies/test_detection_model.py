"""The detection statements against the same rules written in plain Python."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta

from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, insert

from tests.support.rows import add_pipeline, add_rule, add_run, flags
from watcher_server.anomalies.detection import detect_anomalies
from watcher_server.anomalies.quantiles import prediction_factor
from watcher_server.executions.models import PipelineExecution

JUDGED_END = datetime(2026, 3, 1, 2, 30, tzinfo=UTC)
JUDGED_DAY, JUDGED_HOUR = date(2026, 3, 1), 2
WIDER = {"hour_of_week": "hour", "hour": "none", "weekday": "none"}


@dataclass(frozen=True)
class Run:
    hours_before: int
    inserts: int | None
    throughput: float | None
    hour: int
    day: date
    success: bool
    flags: dict[str, bool]

    @property
    def ended_at(self) -> datetime:
        return JUDGED_END - timedelta(hours=self.hours_before)

    def value(self, metric: str) -> float | None:
        value = self.inserts if metric == "inserts" else self.throughput
        return None if value is None else float(value)


@dataclass(frozen=True)
class Rule:
    metric: str
    z_threshold: float
    lookback_days: int
    minimum_executions: int
    method: str
    seasonality: str
    direction: str
    minimum_std_percent: float
    minimum_std: float
    normal_from: datetime | None
    normal_until: datetime | None


@dataclass(frozen=True)
class Judgement:
    count: int
    bucket: str
    mean: float
    lower: float
    upper: float
    anomalous: bool


# Mostly runs that belong to the baseline, so that most examples reach a verdict, and some values far out.
counts = st.one_of(
    *[st.integers(90, 110)] * 6, st.integers(100, 102), st.integers(300, 2000), st.integers(0, 2**63 - 1), st.none()
)
speeds = st.one_of(*[st.floats(4, 6)] * 6, st.just(5.0), st.floats(20, 90), st.floats(0, 9e18), st.none())
runs = st.builds(
    Run,
    hours_before=st.sampled_from([1, 5, 23, 24, 1, 5, 23, 24, 1, 5, 23, 24, 25, 47, 48, 49, 71, 72, 73, 0, -3]),
    inserts=counts,
    throughput=speeds,
    hour=st.sampled_from([JUDGED_HOUR] * 9 + [3]),
    day=st.sampled_from([JUDGED_DAY - timedelta(days=7)] * 5 + [JUDGED_DAY - timedelta(days=1)]),
    success=st.sampled_from([True] * 9 + [False]),
    flags=st.sampled_from([{}, {}, {}, {}, {"inserts": True}, {"inserts": False, "throughput": True}]),
)
judged_runs = st.builds(
    Run,
    hours_before=st.just(0),
    inserts=st.one_of(st.integers(0, 300), counts),
    throughput=st.one_of(st.floats(0, 20), speeds),
    hour=st.just(JUDGED_HOUR),
    day=st.just(JUDGED_DAY),
    success=st.just(value=True),
    flags=st.sampled_from([{}, {}, {}, {}, {"inserts": False}, {"throughput": True}]),
)
moments = st.sampled_from([JUDGED_END - timedelta(hours=hours) for hours in (72, 49, 48, 24, 5, 1, 0, -1)])


def rules_for(metric: str) -> st.SearchStrategy[Rule]:
    return st.builds(
        Rule,
        metric=st.just(metric),
        z_threshold=st.one_of(st.floats(1, 4), st.floats(1, 10)),
        lookback_days=st.integers(1, 3),
        minimum_executions=st.integers(2, 9),
        method=st.sampled_from(["zscore", "zscore", "mad"]),
        seasonality=st.sampled_from(["hour", "none", "weekday", "hour_of_week"]),
        direction=st.sampled_from(["both", "both", "high", "low"]),
        minimum_std_percent=st.sampled_from([0.0, 1.0, 1.0, 10.0]),
        minimum_std=st.sampled_from([0.001, 0.1, 1.0, 1.0]),
        normal_from=st.one_of(st.none(), st.none(), moments),
        normal_until=moments,
    )


def is_like(run: Run, judged: Run, seasonality: str) -> bool:
    same_hour, same_weekday = run.hour == judged.hour, run.day.weekday() == judged.day.weekday()
    return {
        "none": True,
        "hour": same_hour,
        "weekday": same_weekday,
        "hour_of_week": same_hour and same_weekday,
    }[seasonality]


def baseline_of(rule: Rule, history: Sequence[Run], judged: Run, seasonality: str) -> list[float]:
    learns_anew = rule.normal_from is not None and rule.normal_from < judged.ended_at
    since = judged.ended_at - timedelta(days=rule.lookback_days)
    if learns_anew and rule.normal_from is not None:
        since = max(since, rule.normal_from)

    def counts_for(run: Run) -> bool:
        accepted = learns_anew and rule.normal_until is not None and run.ended_at <= rule.normal_until
        return run.flags.get(rule.metric) is not True or accepted

    return [
        value
        for run in history
        if run.success and is_like(run, judged, seasonality) and since <= run.ended_at < judged.ended_at
        if counts_for(run) and (value := run.value(rule.metric)) is not None
    ]


def assume_apart(value: float, edge: float) -> None:
    """At the very edge, the two may round apart."""
    assume(abs(value - edge) > 1e-6 * abs(edge))


def center_and_spread(rule: Rule, values: Sequence[float]) -> tuple[float, float]:
    if rule.method == "mad":
        center = statistics.median(values)
        deviations = [abs(value - center) for value in values]
        return center, 1.482602 * statistics.median(deviations) or 1.253314 * statistics.fmean(deviations)
    center, spread = statistics.fmean(values), statistics.stdev(values)
    grubbs = 2.9 + 0.22 * math.log(len(values)) - 11 / len(values) if len(values) >= 15 else math.inf
    fence = max(rule.z_threshold, grubbs) * spread if spread else 0
    if spread > 1e-9 * center:
        for value in values:
            assume_apart(abs(value - center), fence)
    kept = [value for value in values if abs(value - center) <= fence + 1e-9 * center]
    if len(kept) < len(values):
        event("an outlier was left out")
    return statistics.fmean(kept), statistics.stdev(kept)


def judge(rule: Rule, history: Sequence[Run], judged: Run) -> Judgement | None:
    value = judged.value(rule.metric)
    if value is None or rule.metric in judged.flags:
        return None
    bucket = rule.seasonality
    while len(values := baseline_of(rule, history, judged, bucket)) < rule.minimum_executions and bucket in WIDER:
        bucket = WIDER[bucket]
        event("a wider bucket")
    if len(values) < rule.minimum_executions:
        event("learning")
        return None
    center, spread = center_and_spread(rule, values)
    floor = max(rule.minimum_std_percent / 100 * center, rule.minimum_std)
    half_width = max(prediction_factor(rule.z_threshold, len(values)) * spread, rule.z_threshold * floor)
    lower, upper = max(0, center - half_width), center + half_width
    for bound in (lower, upper):
        if bound:
            assume_apart(value, bound)
    # Nearly all of the centre is taken away: what is left is rounding.
    assume(lower == 0 or lower > 1e-6 * center)
    assume(lower > 0 or half_width > center * (1 + 1e-6))
    too_high, too_low = value > upper and rule.direction != "low", value < lower and rule.direction != "high"
    event(f"{rule.method}: {'anomaly' if too_high or too_low else 'normal'}")
    return Judgement(len(values), bucket, center, lower, upper, too_high or too_low)


def usual_runs(count: int) -> list[Run]:
    """So many that what lies far out is told from them."""
    day = JUDGED_DAY - timedelta(days=7)
    return [
        Run(12, 98 + number % 5, 5 + number % 3 / 4, JUDGED_HOUR, day, success=True, flags={})
        for number in range(count)
    ]


def row(pipeline_id: int, run: Run) -> dict[str, object]:
    return {
        "pipeline_id": pipeline_id,
        "start_date": run.ended_at - timedelta(minutes=5),
        "end_date": run.ended_at,
        "date_recorded": run.day,
        "hour_recorded": run.hour,
        "completed_successfully": run.success,
        "inserts": run.inserts,
        "throughput": run.throughput,
        "anomaly_flags": run.flags,
    }


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    unlike=st.lists(runs, min_size=4, max_size=24),
    alike=st.sampled_from([0, 0, 12, 40]),
    judged=judged_runs,
    rules=st.tuples(rules_for("inserts"), rules_for("throughput")),
)
def test_it_finds_what_the_model_finds(
    *, engine: Engine, unlike: list[Run], alike: int, judged: Run, rules: tuple[Rule, Rule]
) -> None:
    history = [*usual_runs(alike), *unlike]
    expected = {
        rule.metric: judgement
        for rule in rules
        if (judgement := judge(rule, history, judged)) is not None and judgement.anomalous
    }

    with engine.connect() as connection:
        pipeline_id = add_pipeline(connection)
        for rule in rules:
            add_rule(connection, pipeline_id, **asdict(rule))
        connection.execute(insert(PipelineExecution), [row(pipeline_id, run) for run in history])
        execution_id = add_run(connection, **row(pipeline_id, judged))  # type: ignore[arg-type]
        found = {
            anomaly.metric: anomaly
            for anomaly in detect_anomalies(connection, pipeline_id, execution_id, alert_max_age_hours=1)
        }
        flagged = flags(connection, execution_id)
        connection.rollback()

    assert found.keys() == expected.keys()
    assert flagged == judged.flags | dict.fromkeys(expected, True)
    for metric, judgement in expected.items():
        within, expectation = found[metric].within, found[metric].expectation
        assert (expectation.execution_count, expectation.bucket) == (judgement.count, judgement.bucket)
        assert math.isclose(within.mean, judgement.mean, rel_tol=1e-9)
        assert math.isclose(within.upper, judgement.upper, rel_tol=1e-6)
        assert math.isclose(within.lower, judgement.lower, rel_tol=1e-3, abs_tol=1e-6 * judgement.upper)
