"""The rows and the sums of the report over any days, from anywhere in it, at the same cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple, Self

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.reporting.statements import (
    CHOSEN,
    DAILY,
    DAYS_BETWEEN,
    FIGURE_COLUMNS,
    FIGURES,
    FIGURES_OF_WANTED,
    IN_SUMMED_DAYS,
    MATCHES,
    ROW,
)

# What `matching` makes of the names that a client filters by.
Names = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Extent:
    """Today (UTC), how many pipelines match, and the day before which days are summed."""

    today: date
    pipelines: int
    summed_before: date | None

    @property
    def days_behind(self) -> int:
        """How many past days are not summed although they should be. Yesterday should be from 01:00 UTC on."""
        return max(0, (self.today - self.summed_before).days - 1) if self.summed_before else 0


async def read_extent(session: AsyncSession, names: Names) -> Extent:
    """One pass over the pipelines."""
    statement = f"""
        SELECT (now() AT TIME ZONE 'UTC')::date AS today,
            (SELECT count(*) FROM pipeline JOIN pipeline_type ON pipeline_type.id = pipeline.pipeline_type_id
                WHERE {MATCHES}) AS pipelines,
            (SELECT summed_before FROM daily_pipeline_metric_progress WHERE summed_before > '-infinity')
                AS summed_before
    """  # noqa: S608 - parts of statements, which are code
    return Extent(*(await session.execute(text(statement), dict(names))).one())


class ReportRow(NamedTuple):
    """One pipeline on one day, as :class:`DailyMetrics` has it, and its name as pages show it."""

    pipeline_id: int
    pipeline_shown: str
    date_recorded: date
    pipeline_name: str
    pipeline_type_name: str
    total_executions: int
    failed_executions: int
    error_percentage: Decimal
    daily_inserts: Decimal
    daily_updates: Decimal
    daily_soft_deletes: Decimal
    daily_total_rows: Decimal
    avg_duration_seconds: Decimal | None
    daily_throughput: Decimal | None


class Place(NamedTuple):
    """A row of the report: a day (UTC) and the name of a pipeline."""

    day: date
    name: str


async def read_rows(
    session: AsyncSession,
    names: Names,
    days: tuple[date, date],
    *,
    place: Place | None = None,
    backwards: bool = False,
    limit: int | None = None,
) -> list[ReportRow]:
    """The rows of these days, newest day first: those after the place, or backwards those before it."""
    # The place after a name is one more than the number of names up to it, also where no pipeline has it any more.
    beyond, among_names, order = ("<=", "<", "ASC, place DESC") if backwards else (">", "<=", "DESC, place")
    statement = f"""
        WITH {CHOSEN}, {DAYS_BETWEEN}, {DAILY}, wanted AS (
            SELECT date_recorded, pipeline_id, place FROM daily
            WHERE CAST(:from_day AS date) IS NULL OR date_recorded <> CAST(:from_day AS date)
                OR place {beyond} (SELECT count(*) FROM chosen WHERE pipeline_name {among_names} :from_name)
            ORDER BY date_recorded {order}
            LIMIT :limit
        ), {FIGURES_OF_WANTED}
        SELECT figures.pipeline_id, pipeline_shown, {ROW}
        FROM figures JOIN chosen ON chosen.id = figures.pipeline_id
        ORDER BY date_recorded DESC, figures.place
    """  # noqa: S608 - parts of statements, which are code
    parameters = {
        **names,
        "first_day": days[0],
        "last_day": days[1],
        "from_day": place and place.day,
        "from_name": place and place.name,
        "limit": limit,
    }
    return [ReportRow(*row) for row in await session.execute(text(statement), parameters)]


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


_SUMMED = ", ".join(f"sum({field.name}) AS {field.name}" for field in fields(Sums) if field.name != "report_rows")

# Summed days by the primary key of the sums; pairs that have changed since, from the executions by
# ix_pipeline_execution_pipeline_id_start_date; later days, and earlier ones that were not summed, by
# ix_pipeline_execution_start_date.
_FIGURES_OF_DAYS = f"""figures AS (
    SELECT metric.date_recorded, metric.pipeline_id, {FIGURE_COLUMNS}
    FROM daily_pipeline_metric AS metric JOIN chosen ON chosen.id = metric.pipeline_id
    WHERE {IN_SUMMED_DAYS.format(table="metric")}
        AND NOT EXISTS (
            SELECT FROM daily_pipeline_metric_change AS change
            WHERE change.date_recorded = metric.date_recorded AND change.pipeline_id = metric.pipeline_id)
    UNION ALL
    SELECT change.date_recorded, change.pipeline_id, counted.*
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
    SELECT (start_date AT TIME ZONE 'UTC')::date AS day, execution.pipeline_id, {FIGURES}
    FROM pipeline_execution AS execution JOIN chosen ON chosen.id = execution.pipeline_id
    WHERE start_date >= (SELECT greatest(first_day, summed_before)::timestamp AT TIME ZONE 'UTC' FROM period)
        AND start_date < (SELECT (last_day + 1)::timestamp AT TIME ZONE 'UTC' FROM period)
    GROUP BY day, execution.pipeline_id
    UNION ALL
    SELECT (start_date AT TIME ZONE 'UTC')::date AS day, execution.pipeline_id, {FIGURES}
    FROM pipeline_execution AS execution JOIN chosen ON chosen.id = execution.pipeline_id
    WHERE start_date >= (SELECT first_day::timestamp AT TIME ZONE 'UTC' FROM period)
        AND start_date < (
            SELECT least(last_day + 1, summed_since, summed_before)::timestamp AT TIME ZONE 'UTC' FROM period)
        AND NOT EXISTS (
            SELECT FROM daily_pipeline_metric AS metric
            WHERE date_recorded = (start_date AT TIME ZONE 'UTC')::date AND metric.pipeline_id = execution.pipeline_id)
        AND NOT EXISTS (
            SELECT FROM daily_pipeline_metric_change AS change
            WHERE date_recorded = (start_date AT TIME ZONE 'UTC')::date AND change.pipeline_id = execution.pipeline_id)
    GROUP BY day, execution.pipeline_id
)"""  # noqa: S608 - parts of statements, which are code


async def read_sums(session: AsyncSession, names: Names, days: tuple[date, date]) -> list[tuple[date, Sums]]:
    """The sums of all rows of each day on which something ran, the earliest first."""
    statement = f"""
        WITH {CHOSEN}, {DAYS_BETWEEN}, {_FIGURES_OF_DAYS}
        SELECT date_recorded, count(*) AS report_rows, {_SUMMED}
        FROM figures GROUP BY date_recorded ORDER BY date_recorded
    """  # noqa: S608 - parts of statements, which are code
    rows = await session.execute(text(statement), {**names, "first_day": days[0], "last_day": days[1]})
    return [(day, Sums(*(int(value or 0) for value in values))) for day, *values in rows]


class PipelineSums(NamedTuple):
    """What the rows of one pipeline come to."""

    pipeline_id: int
    pipeline_shown: str
    pipeline_type_name: str
    sums: Sums


async def read_pipeline_sums(session: AsyncSession, names: Names, days: tuple[date, date]) -> list[PipelineSums]:
    """The sums of these days for each pipeline that ran, by name."""
    statement = f"""
        WITH {CHOSEN}, {DAYS_BETWEEN}, {_FIGURES_OF_DAYS}
        SELECT pipeline_id, pipeline_shown, pipeline_type_name, count(*) AS report_rows, {_SUMMED}
        FROM figures JOIN chosen ON chosen.id = figures.pipeline_id
        GROUP BY pipeline_id, pipeline_shown, pipeline_type_name, pipeline_name ORDER BY pipeline_name
    """  # noqa: S608 - parts of statements, which are code
    rows = await session.execute(text(statement), {**names, "first_day": days[0], "last_day": days[1]})
    return [
        PipelineSums(number, shown, kind, Sums(*(int(value or 0) for value in values)))
        for number, shown, kind, *values in rows
    ]
