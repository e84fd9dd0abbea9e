"""Rules on a pipeline's page before they are saved: what suits the metric, and what a rule would have flagged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies.preview import preview_rule
from watcher_server.anomalies.rules import Metric
from watcher_server.anomalies.schemas import PreviewedExecution, PreviewedMethod, RulePreview
from watcher_server.anomalies.suggesting import suggest_rule
from watcher_server.web.pipelines.detail.changes import read_rule

WIDTH, HEIGHT = 720, 120
_MARGIN = 6.0


@dataclass(frozen=True, slots=True)
class PastChart:
    """The past by one method, as the coordinates of SVG: the line of values, the band, and the flagged runs."""

    of: PreviewedMethod
    line: str
    bands: Sequence[str]
    dots: Sequence[tuple[float, float]]
    first: PreviewedExecution | None
    last: PreviewedExecution | None


async def preview_form(session: AsyncSession, pipeline_id: int, form: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows of a rule that was filled in and is not saved.

    Raises:
        FormError: a field is wrong.
        NotFoundError: no such pipeline.
    """
    body = read_rule(RulePreview, form, pipeline_id=pipeline_id, days=90, executions=400)
    found = await preview_rule(session, body)
    charts = [_draw(method) for method in found.methods]
    return {"preview": found, "past_charts": charts, "past_size": (WIDTH, HEIGHT)}


async def suggest_form(session: AsyncSession, pipeline_id: int, metric: str) -> dict[str, Any]:
    """The fields of the rule that suits the metric, and why. Raises NotFoundError: no such pipeline."""
    found = await suggest_rule(session, pipeline_id, Metric(metric))
    return {"suggested": found.rule.model_dump(mode="json"), "why": found.why}


def _draw(method: PreviewedMethod) -> PastChart:
    runs = method.executions
    levels = [level for run in runs for level in (run.value, run.lower_bound, run.upper_bound) if level is not None]
    # A band that is much wider than the values would leave them as a line.
    values = [run.value for run in runs]
    reach = max(values) - min(values) if values else 0.0
    low = max(min(levels), min(values) - reach) if levels else 0.0
    high = min(max(levels), max(values) + reach) if levels else 1.0

    def left(place: int) -> float:
        return round(_MARGIN + place * (WIDTH - 2 * _MARGIN) / max(1, len(runs) - 1), 1)

    def top(level: float) -> float:
        share = (min(max(level, low), high) - low) / (high - low) if high > low else 0.5
        return round(HEIGHT - _MARGIN - share * (HEIGHT - 2 * _MARGIN), 1)

    places = [(left(place), run) for place, run in enumerate(runs)]
    return PastChart(
        method,
        line=" ".join(f"{x},{top(run.value)}" for x, run in places),
        bands=_bands([(x, run, top) for x, run in places]),
        dots=[(x, top(run.value)) for x, run in places if run.flagged],
        first=runs[0] if runs else None,
        last=runs[-1] if runs else None,
    )


def _bands(places: Sequence[tuple[float, PreviewedExecution, Any]]) -> list[str]:
    """An outline for each row of runs with a verdict."""
    outlines: list[str] = []
    upper: list[str] = []
    lower: list[str] = []
    for x, run, top in [*places, (0.0, None, None)]:
        if run is not None and run.upper_bound is not None and run.lower_bound is not None:
            upper.append(f"{x},{top(run.upper_bound)}")
            lower.append(f"{x},{top(run.lower_bound)}")
        elif upper:
            outlines.append(" ".join([*upper, *reversed(lower)]))
            upper, lower = [], []
    return outlines
