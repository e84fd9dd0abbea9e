"""The HTTP shapes of reporting."""

from dataclasses import dataclass
from datetime import date
from typing import Annotated

from fastapi import Query

from watcher_server.kit.fields import INT_MAX, ResponseBody, SearchText

LONGEST_DAYS = 30
LARGEST_PAGE = 1_000


@dataclass(frozen=True)
class ReportQuery:
    """Which figures are wanted: of how many days up to today (UTC), of which pipelines, and which page.

    A name matches the pipeline that has exactly it, or, when there is none, every pipeline that has it as a part.
    """

    page: Annotated[int, Query(ge=1, le=INT_MAX)] = 1
    page_size: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = 50
    pipeline_name: Annotated[SearchText | None, Query(description="A name, or any part of one.")] = None
    pipeline_type_name: Annotated[SearchText | None, Query(description="A name, or any part of one.")] = None
    days: Annotated[int, Query(ge=1, le=LONGEST_DAYS, description="How many days, up to today in UTC.")] = LONGEST_DAYS


class DailyMetrics(ResponseBody):
    """One pipeline on one day (UTC).

    Failed executions, error percentage, duration and throughput are of executions that ended; a running one counts
    only in ``total_executions``. Durations are in seconds, throughput in rows per second.
    """

    date_recorded: date
    pipeline_name: str
    pipeline_type_name: str
    total_executions: int
    failed_executions: int
    error_percentage: float
    daily_inserts: int
    daily_updates: int
    daily_soft_deletes: int
    daily_total_rows: int
    avg_duration_seconds: float | None
    daily_throughput: float | None


class Pagination(ResponseBody):
    """Where a page is among all pages; the first is page 1."""

    page: int
    page_size: int
    total_records: int
    total_pages: int
    has_next: bool
    has_prev: bool


class DailyMetricsPage(ResponseBody):
    """Daily metrics, newest day first, then by pipeline name."""

    data: list[DailyMetrics]
    pagination: Pagination
