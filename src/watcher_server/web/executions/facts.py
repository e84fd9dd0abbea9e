"""The values of an execution as its page shows them: numbers beside those of the run before, timeliness, metadata."""

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from watcher_server.executions.clocks import clock_skew, exact_seconds
from watcher_server.executions.models import PipelineExecution
from watcher_server.executions.reading import Context
from watcher_server.kit.durations import duration_text
from watcher_server.kit.text import escape_controls

# By their columns, in the order in which people read them.
_METRICS = {
    "duration_seconds": "Duration",
    "inserts": "Inserts",
    "updates": "Updates",
    "soft_deletes": "Soft deletes",
    "total_rows": "Total rows",
    "throughput": "Rows per second",
}


@dataclass(frozen=True)
class Comparison:
    """One metric of the run and of the one before; ``change`` in percent, None where there is nothing to compare."""

    metric: str
    label: str
    value: float | None
    before: float | None
    is_anomalous: bool

    @property
    def change(self) -> float | None:
        """By how many percent the value differs from the one before."""
        if self.value is None or not self.before:
            return None
        return 100 * (self.value - self.before) / self.before


@dataclass(frozen=True)
class Timeliness:
    """How the run stands to its threshold: in words, and by the word of its colour (ok, late, unknown)."""

    word: str
    text: str


def compare(
    run: PipelineExecution, before: PipelineExecution | None, now: datetime, anomalous_metrics: Collection[str]
) -> Sequence[Comparison]:
    """Every metric of the run beside that of the run before."""
    return [
        Comparison(
            metric,
            label,
            seconds_of(run, now) if metric == "duration_seconds" else _value(run, metric),
            _value(before, metric),
            is_anomalous=metric in anomalous_metrics,
        )
        for metric, label in _METRICS.items()
    ]


def _value(run: PipelineExecution | None, metric: str) -> float | None:
    if run is None:
        return None
    value: float | None = exact_seconds(run) if metric == "duration_seconds" else getattr(run, metric)
    return value


def seconds_of(run: PipelineExecution, now: datetime) -> float | None:
    """How long the run took, or has been going in whole seconds; None where nobody knows."""
    if run.end_date is not None:
        return exact_seconds(run)
    return max(0, int((now - run.start_date).total_seconds()))


def describe_clock(run: PipelineExecution) -> str | None:
    """That the clock by which the run was reported is wrong, in a sentence; None for one that is right."""
    skew = clock_skew(run)
    # Less is what a network takes.
    if skew is None or skew < timedelta(seconds=1):
        return None
    return f"its clock is {duration_text(skew.total_seconds())} ahead"


def judge_timeliness(run: PipelineExecution, context: Context) -> Timeliness:
    """How the run stands to the threshold that holds for its pipeline today."""
    number = context.threshold_number
    if number is None:
        return Timeliness("unknown", "no threshold")
    allowed = f"{number} {context.threshold_datepart}{'' if number == 1 else 's'}"
    whose = "its own" if context.threshold_own else f"that of the type {context.type_name}"
    if context.deadline is None:
        return Timeliness("ok", f"{allowed} ({whose})")
    left = (context.deadline - (run.end_date or context.now)).total_seconds()
    if left < 0:
        return Timeliness("late", f"{duration_text(-left)} over the {allowed} allowed ({whose})")
    relation = "left of" if run.end_date is None else "under"
    return Timeliness("ok", f"{duration_text(left)} {relation} the {allowed} allowed ({whose})")


def status_of(end_date: datetime | None, succeeded: bool | None, outcome: str | None, *, is_anomalous: bool) -> str:
    """How a run went, in the word of its colour.

    That is running, failed, lost, aborted, retried, anomalous or completed.
    """
    if end_date is None:
        return "running"
    if not succeeded:
        return outcome or "failed"
    return "anomalous" if is_anomalous else "completed"


def status_of_run(run: PipelineExecution, anomalous_metrics: Collection[str]) -> str:
    """How this run went."""
    return status_of(run.end_date, run.completed_successfully, run.outcome, is_anomalous=bool(anomalous_metrics))


_find_colour = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Output:
    """The last lines that a command printed; ``cut`` says that more is kept."""

    lines: Sequence[str]
    cut: bool


def last_lines(output: str) -> Output:
    """The last lines, without the colours of a terminal; other characters that steer one are escaped."""
    lines = _find_colour.sub("", output).splitlines()
    shown = [escape_controls(line.expandtabs()) for line in lines[-200:]]
    return Output(shown, cut=len(lines) > len(shown))


_LONGEST_PATH = 300
_LONGEST_TEXT = 4_000


@dataclass(frozen=True)
class Entry:
    """One value; ``path`` names where it is: ``source.files[2].name``."""

    path: str
    text: str


@dataclass(frozen=True)
class Metadata:
    """The values in their order; ``is_cut`` says that there is more than is shown."""

    entries: list[Entry]
    is_cut: bool


def read_metadata(value: dict[str, Any] | None, without: Collection[str] = ()) -> Metadata:
    """Every value of nested JSON with its path, but what stands under the names ``without``."""
    entries: list[Entry] = []
    is_cut = False
    value = value or {}
    # One that is large is not walked further than it is shown, so it is copied only where something is left out.
    shown_part = {name: part for name, part in value.items() if name not in without} if without else value
    for path, leaf in _walk("", shown_part):
        if len(entries) == 300:  # noqa: PLR2004 - the API shows all
            return Metadata(entries, is_cut=True)
        shown = leaf if isinstance(leaf, str) else json.dumps(leaf)
        is_cut = is_cut or len(shown) > _LONGEST_TEXT
        entries.append(Entry(path, _cut(shown, _LONGEST_TEXT)))
    return Metadata(entries, is_cut)


def _walk(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The leaves with their paths, in order, none before it is asked for; nothing is nested deeper than 100 levels."""
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from _walk(_cut(f"{path}.{key}" if path else key, _LONGEST_PATH), child)
    elif isinstance(value, list) and value:
        for place, child in enumerate(value):
            yield from _walk(_cut(f"{path}[{place}]", _LONGEST_PATH), child)
    elif path:
        yield path, value


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[:longest] + "…"
