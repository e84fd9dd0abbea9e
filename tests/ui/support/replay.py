"""The demo's flights around the blizzard of February 2013, moved so that the second day of it was yesterday."""

from datetime import UTC, date, datetime

from tests.support.live import LiveServer
from watcher_server.demo.client import WatcherClient
from watcher_server.demo.data import find_data_folder, read_airline_names, read_flights
from watcher_server.demo.dates import dates_ending_before
from watcher_server.demo.pipelines import mute_checks, register_pipelines
from watcher_server.demo.replay import THREADS, Replay
from watcher_server.demo.warehouse import Warehouse

# Rules learn from two weeks. These days are enough to judge the blizzard.
FIRST, LAST = date(2013, 1, 20), date(2013, 2, 9)
# With their rate limits these tasks would take most of the time: each pipeline waits a second for its lineage.
_LIFTED = (
    "detect_anomalies_task",
    "pipeline_execution_closure_maintain_task",
    "address_lineage_closure_rebuild_task",
)
_LIFTED_MINUTES = 5


def replay_blizzard(server: LiveServer) -> None:
    """Replay the days as `watcher demo` does. Its tasks may still be running when this returns."""
    with WatcherClient(server.url, None) as client, Warehouse(server.database_url, connections=THREADS) as warehouse:
        for task in _LIFTED:
            assert client.lift_rate_limit(task, _LIFTED_MINUTES)
        _replay(client, warehouse)


def _replay(client: WatcherClient, warehouse: Warehouse) -> None:
    folder = find_data_folder()
    flights = read_flights(folder)
    new_dates = dates_ending_before(datetime.now(UTC), LAST)
    airlines = read_airline_names(folder)
    pipelines = register_pipelines(client, warehouse, flights, airlines=airlines, earlier=None, new_dates=new_dates)
    replay = Replay(client, warehouse, flights, pipelines)
    days = replay.missing_days(FIRST, LAST)
    replay.load_reference_files(folder, days[0])
    replay.replay_days(days, lambda _day: None)
    mute_checks(client, muted=False)
