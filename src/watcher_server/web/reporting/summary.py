"""What all the pipelines of a report did together, day by day and in all."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date
from decimal import Decimal
from typing import Any, Self

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.reporting.figures import FIGURE_COLUMNS, FIGURES
from watcher_server.reporting.service import matching
from watcher_server.reporting.statements import CHOSEN, DAYS_BETWEEN, IN_SUMMED_DAYS
from watcher_server.web.reporting.query import ReportView
from watcher_server.web.reporting.reading import Extent

# Summing so many days of pipelines takes no longer than somebody may wait for a page; more than these come after it.
_SUMMED_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Sums:
    """What some rows of the report come to; counts of rows, and durations in seconds."""

    report_rows: int
    total_executions: int
    ended_executions: int
    failed_executions: int
    inserts: int
    updates: int
    soft_deletes: int
    total_rows: int
    duration_seconds: int
    measured_durations: int

    @classmethod
    def of(cls, row: Any) -> Self:
        """The sums in a row of SQL."""
        return cls(*(_whole(getattr(row, field.name)) for field in fields(cls)))

    @classmethod
    def together(cls, several: Sequence[Self]) -> Self:
        """The sums of sums."""
        return cls(*(sum(getattr(sums, field.name) for sums in several) for field in fields(cls)))

    @property
    def error_percentage(self) -> float | None:
        """Failed executions in percent of those that ended."""
        return 100 * self.failed_executions / self.ended_executions if self.ended_executions else None

    @property
    def mean_seconds(self) -> float | None:
        """What an execution took, on average."""
        return self.duration_seconds / self.measured_durations if self.measured_durations else None

    @property
    def throughput(self) -> float | None:
        """Rows per second of all that ran."""
        return self.total_rows / self.duration_seconds if self.duration_seconds else None


@dataclass(frozen=True, slots=True)
class Summary:
    """The days of the report on which something ran, the earliest first."""

    days: Sequence[tuple[date, Sums]]

    @property
    def total(self) -> Sums:
        """Everything together."""
        return Sums.together([sums for _, sums in self.days])

    def chart(self) -> dict[str, list[Any]]:
        """What the charts draw, day by day."""
        return {
            "days": [day.isoformat() for day, _ in self.days],
            "completed": [sums.ended_executions - sums.failed_executions for _, sums in self.days],
            "failed": [sums.failed_executions for _, sums in self.days],
            "rows": [sums.total_rows for _, sums in self.days],
        }


def _whole(value: int | Decimal | None) -> int:
    return int(value or 0)


_SUMMED = ", ".join(f"sum({field.name}) AS {field.name}" for field in fields(Sums) if field.name != "report_rows")

# Summed days by the primary key of the sums; pairs that have changed since, from the executions by
# ix_pipeline_execution_pipeline_id_start_date, and later days by ix_pipeline_execution_start_date.
_DAYS = text(f"""
WITH {CHOSEN}, {DAYS_BETWEEN}, figures AS (
    SELECT metric.date_recorded, {FIGURE_COLUMNS}
    FROM daily_pipeline_metric AS metric JOIN chosen ON chosen.id = metric.pipeline_id
    WHERE {IN_SUMMED_DAYS.format(table="metric")}
        AND NOT EXISTS (
            SELECT FROM daily_pipeline_metric_change AS change
            WHERE change.date_recorded = metric.date_recorded AND change.pipeline_id = metric.pipeline_id)
    UNION ALL
    SELECT change.date_recorded, counted.*
    FROM daily_pipeline_metric_change AS change JOIN chosen ON chosen.id = change.pipeline_id
    CROSS JOIN LATERAL (
        SELECT {FIGURES} FROM pipeline_execution AS execution
        WHERE execution.pipeline_id = change.pipeline_id
            AND start_date >= change.date_recorded::timestamp AT TIME ZONE 'UTC'
            AND start_date < (change.date_recorded + 1)::timestamp AT TIME ZONE 'UTC'
        GROUP BY execution.pipeline_id
    ) AS counted
    WHERE {IN_SUMMED_DAYS.format(table="change")}
    UNION ALL
    SELECT (start_date AT TIME ZONE 'UTC')::date, {FIGURES}
    FROM pipeline_execution AS execution JOIN chosen ON chosen.id = execution.pipeline_id
    WHERE start_date >= (SELECT greatest(first_day, summed_before)::timestamp AT TIME ZONE 'UTC' FROM period)
        AND start_date < (SELECT (last_day + 1)::timestamp AT TIME ZONE 'UTC' FROM period)
    GROUP BY (start_date AT TIME ZONE 'UTC')::date, execution.pipeline_id
)
SELECT date_recorded, count(*) AS report_rows, {_SUMMED}
FROM figures GROUP BY date_recorded ORDER BY date_recorded
""")  # noqa: S608 - parts of statements, which are code


def is_quick(view: ReportView, extent: Extent) -> bool:
    """Whether the summary takes no longer than somebody may wait for a page."""
    return extent.pipelines * len(view.period(extent.today)) <= _SUMMED_AT_ONCE


async def read_summary(session: AsyncSession, view: ReportView, extent: Extent) -> Summary:
    """The whole filtered report, whatever page of it is shown."""
    days = view.period(extent.today)
    if not days:
        return Summary([])
    parameters = matching(view.pipeline_name, view.pipeline_type_name) | {"first_day": days[-1], "last_day": days[0]}
    rows = await session.execute(_DAYS, parameters)
    return Summary([(row.date_recorded, Sums.of(row)) for row in rows])
