"""What the list shows of the pipelines on one page, read as they are now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.executions.recent import RunOutcome, read_latest_runs
from watcher_server.pipelines.status import Condition, read_conditions
from watcher_server.pipelines.summaries import Summary, read_summaries
from watcher_server.web.pipelines.bars import RUNS, Bars, draw_bars
from watcher_server.web.pipelines.glances import Glance, judge


@dataclass(frozen=True, slots=True)
class PipelineRow:
    """One row of the list.

    ``also`` are words that hold besides the status, ``remark`` is said beside them; ``due`` is what is due at
    ``due_at``.
    """

    pipeline: Summary
    status: str
    also: Sequence[str]
    remark: str | None
    bars: Bars
    last: RunOutcome | None
    freshness: Glance
    timeliness: Glance
    due: str
    due_at: datetime | None


async def read_rows(session: AsyncSession, pipeline_ids: Sequence[int]) -> list[PipelineRow]:
    """These pipelines in this order, as they are now; one that is gone is left out."""
    if not pipeline_ids:
        return []
    pipelines = await read_summaries(session, pipeline_ids)
    runs = await read_latest_runs(session, pipeline_ids, RUNS)
    conditions = await read_conditions(session, pipeline_ids)
    now = datetime.now(UTC)
    return [_row(each, conditions[each.id], runs.get(each.id, []), now) for each in pipelines]


def _row(pipeline: Summary, condition: Condition, runs: list[RunOutcome], now: datetime) -> PipelineRow:
    last = runs[0] if runs else None
    write = None if pipeline.freshness.muted_by else pipeline.stale_at
    due = pipeline.expected_next_run or write
    return PipelineRow(
        pipeline=pipeline,
        status=condition.status,
        also=condition.also,
        remark=condition.remark,
        bars=draw_bars(runs),
        last=last,
        freshness=_judge_freshness(pipeline, now),
        timeliness=judge(pipeline.timeliness, last.seconds if last else None),
        due="run" if pipeline.expected_next_run else "write",
        due_at=due if pipeline.active else None,
    )


def _judge_freshness(pipeline: Summary, now: datetime) -> Glance:
    # The next run may be due only in the future: until then nothing is used up.
    used = max(0.0, (now - pipeline.counted_from).total_seconds())
    return judge(pipeline.freshness, used or None, pipeline.freshness_calendar)
