"""The labelled series of a folder by the methods of the product, with and without an alarm budget, in one pass each."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.quality_scoring import Score, score
from bench.series.generated import FAMILIES, generate
from bench.series.labelled import Series
from bench.series.numenta import labelled_series
from bench.series.packaged import packaged_series
from watcher_server.anomalies.learners import PastRun
from watcher_server.anomalies.preview import rule_of
from watcher_server.anomalies.replay import replay
from watcher_server.anomalies.rules import Rule
from watcher_server.anomalies.schemas import RulePreview

_METHODS: Mapping[str, Mapping[str, object]] = {
    "zscore": {},
    "seasonal, 90 days": {"method": "seasonal", "lookback_days": 90},
}
_BUDGETS = (None, 1.0, 2.0, 4.0)
_HIGH_Z = (5.0, 8.0)


def run_replay(folder: Path, console: Console, seeds: int, first_seed: int) -> None:
    """Score every series by the judgement of the preview, which is that of the product; a table for each data set."""
    series = labelled_series(folder) if folder.is_dir() else []
    if not series:
        console.print(f"Skipped the labelled series: there is no folder {folder}.")
    others = packaged_series(["Yahoo"])[0]
    others += [generate(family, seed) for seed in range(first_seed, first_seed + seeds) for family in FAMILIES]
    series += [replace(one, data_set="those of performance.md") for one in others]
    began = time.process_time()
    rules = _rules()
    scores: dict[str, dict[str, Score]] = {}
    for one in series:
        by_rule = scores.setdefault(one.data_set, {name: Score() for name in rules})
        for name, rule in rules.items():
            by_rule[name].add(_score(one, rule))
    console.print(f"{len(series)} series: {time.process_time() - began:.0f} s of CPU.")
    for data_set, by_rule in scores.items():
        console.print(_table(data_set, by_rule))


def _rules() -> dict[str, Rule]:
    rules = {}
    for name, fields in _METHODS.items():
        plain = rule_of(RulePreview.model_validate({"pipeline_id": 1, "metric_field": "total_rows", **fields}))
        for budget in _BUDGETS:
            said = "z 3" if budget is None else f"{budget:g} alarms a month"
            rules[f"{name}, {said}"] = replace(plain, alarms_per_month=budget)
        for z in _HIGH_Z:
            rules[f"{name}, z {z:g}"] = replace(plain, z_threshold=z)
    return rules


def _score(series: Series, rule: Rule) -> Score:
    runs = [
        PastRun(place, start, start, float(value))
        for place, (start, value) in enumerate(zip(series.starts, series.values, strict=True))
    ]
    past = replay(rule, runs)
    return score(series, [verdict.side for verdict in past.verdicts], past.judged)


def _table(data_set: str, by_rule: Mapping[str, Score]) -> Table:
    runs = next(iter(by_rule.values())).runs
    table = Table(title=f"{data_set} ({runs:,} runs)", title_justify="left")
    table.add_column("rule", min_width=36)
    for heading in ("found", "precision", "false per 1,000", "false-alarm days"):
        table.add_column(heading, justify="right")
    for name, of in by_rule.items():
        alerts = of.right_alerts + of.wrong_alerts
        table.add_row(
            name,
            f"{of.found} of {of.faults}",
            f"{of.right_alerts / alerts:.0%}" if alerts else "-",
            f"{of.false_per_thousand:.1f}",
            str(of.false_days),
        )
    return table
