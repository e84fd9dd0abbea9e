"""Runs the demo's pipelines for one day after another, as a scheduler would every night."""

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
    DAILY_PERFORMANCE,
    MARTS,
    WEATHER_DELAYS,
    RegisteredPipelines,
    load_name,
    reference_name,
)
from watcher_server.demo.warehouse import LoadedRows, Warehouse

# More threads than cores: while one waits for Watcher, another loads.
THREADS = 4
ROWS_PER_SECOND = 10
NOTHING = LoadedRows(inserts=0, total_rows=0)


@dataclass
class Run:
    """An execution between its start and its end; ``end`` and ``loaded`` are set by whoever does the work."""

    execution_id: int
    start: datetime
    end: datetime
    loaded: LoadedRows = NOTHING

    def finish(self, loaded: LoadedRows) -> None:
        """Take over what was loaded; the run lasts as long as so many rows take at the pace of the replay."""
        self.loaded = loaded
        self.end = self.start + timedelta(seconds=1 + loaded.inserts / ROWS_PER_SECOND)


class Replay:
    """One replay into one Watcher and one warehouse.

    Days and pipelines that an earlier replay has loaded are left out.
    """

    def __init__(
        self, client: WatcherClient, warehouse: Warehouse, flights: FlightYear, pipelines: RegisteredPipelines
    ) -> None:
        self._client = client
        self._warehouse = warehouse
        self._flights = flights
        self._pipelines = pipelines

    def missing_days(self, first: date, last: date) -> list[date]:
        """The days of 2013 from ``first`` to ``last`` that are not loaded yet."""
        return [day for day in self._flights.between(first, last) if not self._pipelines.has_loaded(DAILY_LOAD, day)]

    def load_reference_files(self, folder: Path, day: date) -> None:
        """Load airlines, airports, planes and weather, an hour before the flights of ``day``.

        Raises:
            DemoError: Watcher or the warehouse failed; the run is reported as failed.
        """
        for file in REFERENCE_FILES:
            with self._run(reference_name(file), day, REFERENCE_LOADS_AT) as run:
                run.finish(self._warehouse.load_reference(file, folder / f"{file}.csv"))

    def replay_days(self, days: Sequence[date], on_day_done: Callable[[date], None]) -> None:
        """Replay the days in order; the loads of one day run beside each other.

        Raises:
            DemoError: Watcher or the warehouse failed; the runs that were under way are reported as failed.
        """
        pool = ThreadPoolExecutor(THREADS)
        try:
            for day in days:
                self._replay_day(day, pool)
                on_day_done(day)
        finally:
            pool.shutdown(cancel_futures=True)

    def _replay_day(self, day: date, pool: ThreadPoolExecutor) -> None:
        missing = [
            departures
            for departures in sorted(self._flights.days[day])
            if not self._pipelines.has_loaded(load_name(departures), day)
        ]
        with self._run(DAILY_LOAD, day, FLIGHT_LOADS_AT, watermark=day) as parent:
            self._warehouse.remember_nightly_run(day, parent.execution_id)
            loads = list(pool.map(lambda departures: self._load_flights(departures, day, parent), missing))
            parent.loaded = LoadedRows(
                inserts=sum(load.loaded.inserts for load in loads),
                total_rows=sum(load.loaded.total_rows for load in loads),
            )
            parent.end = max([parent.end, *(load.end for load in loads)]) + timedelta(seconds=1)
            # The day counts as done when its marts are: going on after an interruption leaves none out.
            list(pool.map(lambda mart: self._build_mart(mart, day), MARTS))

    def _load_flights(self, departures: Departures, day: date, parent: Run) -> Run:
        with self._run(
            load_name(departures), day, FLIGHT_LOADS_AT, watermark=day, parent_id=parent.execution_id
        ) as run:
            lines = self._flights.days[day][departures]
            run.finish(self._warehouse.load_flights(day, departures, lines))
        return run

    def _build_mart(self, name: str, day: date) -> None:
        build = {
            DAILY_PERFORMANCE: self._warehouse.build_daily_performance,
            WEATHER_DELAYS: self._warehouse.build_weather_delays,
        }[name]
        with self._run(name, day, MARTS_AT, watermark=day) as run:
            run.finish(build(day))

    @contextmanager
    def _run(
        self,
        name: str,
        day: date,
        at: time,
        *,
        watermark: date | None = None,
        parent_id: int | None = None,
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
            # An interruption too: a run that nobody ends would look as if it were still going.
            self._client.fail_execution(execution_id, run.end, str(error) or type(error).__name__)
            raise
        self._client.end_execution(execution_id, run.end, run.loaded, {"flight_date": day.isoformat()})
