"""Runs the demo's pipelines day by day, as a scheduler would every night."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path

from watcher_server.demo.client import WatcherClient
from watcher_server.demo.data import REFERENCE_FILES, Departures, FlightYear
from watcher_server.demo.dates import FLIGHT_LOADS_AT, MARTS_AT, REFERENCE_LOADS_AT
from watcher_server.demo.pipelines import (
    DAILY_LOAD,
    MARTS,
    WEATHER_MART,
    RegisteredPipelines,
    load_name,
    reference_name,
)
from watcher_server.demo.warehouse import Warehouse

# More threads than cores: while one waits for Watcher, another loads.
THREADS = 4


@dataclass
class Run:
    """An execution that has started; the code that loads sets ``end`` and the number of ``rows``."""

    execution_id: int
    start: datetime
    end: datetime
    rows: int = 0

    def finish(self, rows: int) -> None:
        """Set what was loaded, and an end that fits ten rows per second."""
        self.rows = rows
        self.end = self.start + timedelta(seconds=1 + rows / 10)


class Replay:
    """One replay into one Watcher and one warehouse.

    It leaves out the days and pipelines that an earlier replay has loaded. If Watcher or the warehouse fails, it raises
    DemoError, and the unfinished runs are reported as failed.
    """

    def __init__(
        self, client: WatcherClient, warehouse: Warehouse, flights: FlightYear, pipelines: RegisteredPipelines
    ) -> None:
        self._client = client
        self._warehouse = warehouse
        self._flights = flights
        self._pipelines = pipelines

    def missing_days(self, first: date, last: date) -> list[date]:
        """The days of 2013 from ``first`` to ``last``, both included, that are not loaded yet, in order."""
        days = (day for day in sorted(self._flights.days) if first <= day <= last)
        return [day for day in days if not self._pipelines.has_loaded(DAILY_LOAD, day)]

    def load_reference_files(self, folder: Path, day: date) -> None:
        """Load airlines, airports, planes and weather, an hour before the flights of ``day``."""
        for file in REFERENCE_FILES:
            with self._run(reference_name(file), day, REFERENCE_LOADS_AT) as run:
                run.finish(self._warehouse.load_reference(file, folder / f"{file}.csv"))

    def replay_days(self, days: Sequence[date], on_day_done: Callable[[date], None]) -> None:
        """Replay the days in order; the loads of one day run at the same time."""
        pool = ThreadPoolExecutor(THREADS)
        try:
            for day in days:
                self._replay_day(day, pool)
                on_day_done(day)
        finally:
            pool.shutdown(cancel_futures=True)

    def break_weather_load(self, now: datetime) -> None:
        """Report a load of the weather that failed a moment ago, and the mart that failed for want of it."""
        failed = (
            (reference_name("weather"), 3, "weather.csv: the weather service answered 503 Service Unavailable"),
            (WEATHER_MART, 2, "staging_weather has no rows of last night"),
        )
        for name, minutes_ago, error in failed:
            start = now - timedelta(minutes=minutes_ago)
            execution_id = self._client.start_execution(self._pipelines.ids[name], start, next_watermark=None)
            self._client.end_execution(execution_id, start + timedelta(seconds=42), {"error": error}, rows=None)

    def _replay_day(self, day: date, pool: ThreadPoolExecutor) -> None:
        missing = [
            departures
            for departures in sorted(self._flights.days[day])
            if not self._pipelines.has_loaded(load_name(departures), day)
        ]
        with self._run(DAILY_LOAD, day, FLIGHT_LOADS_AT, watermark=day) as parent:
            self._warehouse.remember_nightly_run(day, parent.execution_id)
            loads = list(pool.map(lambda departures: self._load_flights(departures, day, parent), missing))
            parent.rows = sum(load.rows for load in loads)
            parent.end = max([parent.end, *(load.end for load in loads)]) + timedelta(seconds=1)
            # The day is done when its marts are, so that a replay that goes on leaves no mart out.
            list(pool.map(lambda mart: self._build_mart(mart, day), MARTS))

    def _load_flights(self, departures: Departures, day: date, parent: Run) -> Run:
        with self._run(
            load_name(departures), day, FLIGHT_LOADS_AT, watermark=day, parent_id=parent.execution_id
        ) as run:
            run.finish(self._warehouse.load_flights(day, departures, self._flights.days[day][departures]))
        return run

    def _build_mart(self, mart: str, day: date) -> None:
        table, _ = MARTS[mart]
        with self._run(mart, day, MARTS_AT, watermark=day) as run:
            run.finish(self._warehouse.build_mart(table, day))

    @contextmanager
    def _run(
        self, name: str, day: date, at: time, *, watermark: date | None = None, parent_id: int | None = None
    ) -> Iterator[Run]:
        start = self._pipelines.dates.night_after(day, at)
        execution_id = self._client.start_execution(
            self._pipelines.ids[name],
            start,
            next_watermark=watermark.isoformat() if watermark else None,
            parent_id=parent_id,
        )
        run = Run(execution_id, start, end=start + timedelta(seconds=1))
        try:
            yield run
        except BaseException as error:
            # Also when interrupted: a run without an end would look as if it were still running.
            self._client.end_execution(execution_id, run.end, {"error": str(error) or type(error).__name__}, rows=None)
            raise
        self._client.end_execution(execution_id, run.end, {"flight_date": day.isoformat()}, rows=run.rows)
