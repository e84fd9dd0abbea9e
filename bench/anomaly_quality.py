"""How many faults anomaly detection finds, and how often it cries wolf: its methods on labelled series, run by run."""

import argparse
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, create_engine, insert, text
from sqlalchemy.pool import NullPool

from bench.engines import empty_tables, engines
from bench.quality_plain import plain_zscore
from bench.quality_replay import run_replay
from bench.quality_scoring import Score, score
from bench.series.generated import FAMILIES, WEEKLY_CYCLE, Family, generate
from bench.series.labelled import Series
from bench.series.packaged import packaged_series
from watcher_server.anomalies.detection import detect_anomalies
from watcher_server.anomalies.models import AnomalyDetectionRule
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.executions.models import PipelineExecution
from watcher_server.pipelines.models import Pipeline

# No seed with which the methods or their defaults were chosen (1 to 3).
FIRST_SEED = 11
FULL_SEEDS = 3
PLAIN = "plain z-score (reference)"
PLAIN_SMALL = "plain, minimum 10 (reference)"
# Beside the project, where there are any: they are no part of it.
LABELLED = Path("../shared/data/labelled")
RUN_TIME = timedelta(seconds=60)
AIM = 0.8
CYCLIC = ("Yahoo", WEEKLY_CYCLE)
OLD_ENOUGH_HOURS = 24


@dataclass(frozen=True)
class _Judge:
    """A way of the product, and the metric whose rule goes that way: all judge the same runs in one pass."""

    name: str
    metric: str
    settings: dict[str, object]


JUDGES = (
    _Judge("zscore, as by default", "total_rows", {}),
    _Judge("mad", "inserts", {"method": "mad"}),
    # As long a memory as the seasonal method has, so that what it finds more is not for that.
    _Judge(
        "zscore, week hours, 90 days, min. 10",
        "soft_deletes",
        {"seasonality": "hour_of_week", "lookback_days": 90, "minimum_executions": 10},
    ),
    _Judge("seasonal, 90 days", "updates", {"method": "seasonal", "lookback_days": 90}),
    _Judge(
        "seasonal, 90 days, z 2.6",
        "duration_seconds",
        {"method": "seasonal", "lookback_days": 90, "z_threshold": 2.6},
    ),
)
Scores = dict[str, Score]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line can say."""
    parser.add_argument(
        "--full", action="store_true", help=f"{FULL_SEEDS} seeds, series without faults, and those of no pipeline"
    )
    parser.add_argument("--seeds", type=int, help="how many series of each kind of pipeline")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help="the seed of the first of each kind")
    parser.add_argument(
        "--budgets", action="store_true", help="only compare alarm budgets, also on the labelled series of --labelled"
    )
    parser.add_argument("--labelled", type=Path, default=LABELLED, help="a folder of labelled series")
    parser.add_argument("--kinds", action="store_true", help="also say how many faults of each kind were found")


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Judge every run of every series by every method, in order, and print how well."""
    if arguments.budgets:
        run_replay(arguments.labelled, console, arguments.seeds or 1, arguments.first_seed)
        return
    chosen, missing = _choose_series(arguments)
    for line in missing:
        console.print(line)
    began = time.perf_counter()
    with engines() as services:
        empty_tables(services.database_url, pipelines=0)
        scores = _score_all(services.database_url, chosen)
    runs = sum(len(series.values) for series in chosen)
    seconds = time.perf_counter() - began
    console.print(
        f"{len(chosen)} series, {runs:,} runs, each judged by {len(JUDGES)} rules of the product:"
        f" {seconds:.0f} s. Seeds of the generated: {_seeds(arguments)}."
    )
    for data_set, by_method in scores.items():
        console.print(_table(data_set, by_method))
    console.print(_table("all", _sum(scores.values())))
    if arguments.kinds:
        console.print(_kinds(_sum(scores.values())))
    _print_aim(console, scores)


def _seeds(arguments: argparse.Namespace) -> list[int]:
    count = arguments.seeds or (FULL_SEEDS if arguments.full else 1)
    return list(range(arguments.first_seed, arguments.first_seed + count))


def _choose_series(arguments: argparse.Namespace) -> tuple[list[Series], list[str]]:
    names = ["Yahoo", "MIT-BIH", "KDD 135"] if arguments.full else ["Yahoo"]
    series, missing = packaged_series(names)
    families = FAMILIES if arguments.full or arguments.seeds else _first_of_each(FAMILIES)
    for seed in _seeds(arguments):
        series += [generate(family, seed) for family in families]
        if arguments.full:
            series += [generate(family, seed, with_faults=False) for family in FAMILIES if "shift" not in family.faults]
    return series, missing


def _first_of_each(families: Iterable[Family]) -> list[Family]:
    by_data_set: dict[str, Family] = {}
    for family in families:
        by_data_set.setdefault(family.data_set, family)
    return list(by_data_set.values())


def _score_all(database_url: str, chosen: Sequence[Series]) -> dict[str, Scores]:
    """The scores by data set and method. The longest series go first, so that no process waits for the last."""
    scores: dict[str, Scores] = {series.data_set: {} for series in chosen}
    longest_first = sorted(chosen, key=lambda series: -len(series.values))
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        futures = {pool.submit(_score_series, database_url, series): series for series in longest_first}
        for future in as_completed(futures):
            _add(scores[futures[future].data_set], future.result())
    return scores


def _score_series(database_url: str, series: Series) -> Scores:
    scores = {
        PLAIN: score(series, *plain_zscore(series)),
        PLAIN_SMALL: score(series, *plain_zscore(series, minimum=10)),
    }
    # Nothing here has to outlive a crash.
    options = {"options": "-c timezone=UTC -c synchronous_commit=off"}
    engine = create_engine(sqlalchemy_url(database_url), poolclass=NullPool, connect_args=options)
    with engine.connect() as connection:
        verdicts = _judge(connection, series)
    return scores | {name: score(series, sides, judged) for name, (sides, judged) in verdicts.items()}


def _judge(connection: Connection, series: Series) -> dict[str, tuple[list[int], int]]:
    """What the product's own detection says of each run, told of them one by one as they end."""
    pipeline_id = _add_pipeline(connection, series.name + " of " + series.data_set)
    metrics = {judge.metric: judge.name for judge in JUDGES}
    sides = {name: [0] * len(series.values) for name in metrics.values()}
    judged = dict.fromkeys(sides, 0)
    for number in range(len(series.values)):
        execution_id = _add_run(connection, pipeline_id, series, number)
        anomalies = detect_anomalies(connection, pipeline_id, execution_id, alert_max_age_hours=OLD_ENOUGH_HOURS)
        for anomaly in anomalies:
            sides[metrics[anomaly.rule.metric]][number] = 1 if anomaly.value > anomaly.within.upper else -1
        for metric in _with_verdict(connection, pipeline_id):
            judged[metrics[metric]] += 1
        connection.commit()
    return {name: (sides[name], judged[name]) for name in sides}


def _add_pipeline(connection: Connection, name: str) -> int:
    statement = insert(Pipeline).values(name=name, pipeline_type_id=1, load_lineage=False)
    pipeline_id = int(connection.execute(statement.returning(Pipeline.id)).scalar_one())
    for judge in JUDGES:
        values = {"pipeline_id": pipeline_id, "metric_field": judge.metric, **judge.settings}
        connection.execute(insert(AnomalyDetectionRule).values(values))
    connection.commit()
    return pipeline_id


def _add_run(connection: Connection, pipeline_id: int, series: Series, number: int) -> int:
    start, value = series.starts[number], series.values[number]
    statement = insert(PipelineExecution).values(
        pipeline_id=pipeline_id,
        start_date=start,
        end_date=start + RUN_TIME,
        date_recorded=start.date(),
        hour_recorded=start.hour,
        completed_successfully=True,
        **{judge.metric: value for judge in JUDGES},
    )
    return int(connection.execute(statement.returning(PipelineExecution.id)).scalar_one())


def _with_verdict(connection: Connection, pipeline_id: int) -> Iterable[str]:
    statement = text("SELECT metric_field FROM anomaly_detection_rule WHERE pipeline_id = :id AND NOT learning")
    return connection.execute(statement, {"id": pipeline_id}).scalars().all()


def _add(total: Scores, more: Scores) -> None:
    for name, one in more.items():
        total.setdefault(name, Score()).add(one)


def _sum(scores: Iterable[Scores]) -> Scores:
    total: Scores = {}
    for one in scores:
        _add(total, one)
    return total


_COLUMNS: tuple[tuple[str, Callable[[Score], str]], ...] = (
    ("found", lambda of: f"{of.found} of {of.faults}" if of.faults else "-"),
    ("recall", lambda of: f"{of.found / of.faults:.0%}" if of.faults else "-"),
    ("precision", lambda of: _share(of.right_alerts, of.right_alerts + of.wrong_alerts) if of.faults else "-"),
    ("false per 1,000", lambda of: f"{of.false_per_thousand:.1f}"),
    ("false-alarm days", lambda of: str(of.false_days)),
    ("judged", lambda of: f"{of.judged / of.runs:.0%}"),
)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "-"


def _table(data_set: str, by_method: Scores) -> Table:
    runs = next(iter(by_method.values())).runs
    table = Table(title=f"{data_set} ({runs:,} runs)", title_justify="left")
    table.add_column("method", min_width=36)
    for heading, _ in _COLUMNS:
        table.add_column(heading, justify="right", min_width=9)
    for method in (PLAIN, PLAIN_SMALL, *(judge.name for judge in JUDGES)):
        table.add_row(method, *(shown(by_method[method]) for _, shown in _COLUMNS))
    return table


def _kinds(by_method: Scores) -> Table:
    table = Table("fault", *by_method, title="Found, by kind of fault", title_justify="left")
    for kind in sorted(next(iter(by_method.values())).by_kind):
        table.add_row(
            kind, *(f"{found} of {count}" for found, count in (of.by_kind[kind] for of in by_method.values()))
        )
    return table


def _print_aim(console: Console, scores: dict[str, Scores]) -> None:
    """Series with daily and weekly cycles: four fifths found, at no more false-alarm days than faults."""
    for data_set in CYCLIC:
        for method, of in scores.get(data_set, {}).items():
            reached = of.found >= AIM * of.faults and of.false_days <= of.faults
            console.print(
                f"Aim ({AIM:.0%} found, no more false-alarm days than faults), {data_set}, {method}:"
                f" {of.found} of {of.faults} found, {of.false_days} days: {'reached' if reached else 'not reached'}"
            )
