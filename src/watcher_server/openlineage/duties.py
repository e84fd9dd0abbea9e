"""What the keeper does for OpenLineage, so that it is done while no worker is free."""

from sqlalchemy import Connection

from watcher_server.incidents.endless import find_news, tell_lost
from watcher_server.openlineage.applying.edges import expire_edges
from watcher_server.openlineage.days import keep_days
from watcher_server.openlineage.orphans import end_orphans
from watcher_server.openlineage.silence import tell_silence
from watcher_server.openlineage.waking import ANY_WAITS, wake
from watcher_server.settings import Settings
from watcher_server.tasking.keeper.duties import Duty, each_minute, every, in_transaction


def keeper_duties(settings: Settings) -> list[Duty]:
    """The duties of the keeper that are about events and what follows from them."""

    def end_what_was_left(connection: Connection) -> None:
        lost = end_orphans(connection)
        tell_lost(connection, find_news(connection, lost, settings.alert_max_age_hours))

    return [
        Duty("have events of OpenLineage applied", in_transaction(wake, only_if=ANY_WAITS), every(seconds=5)),
        Duty("look for what is silent", in_transaction(tell_silence), each_minute),
        Duty("end the runs whose caller has ended", in_transaction(end_what_was_left), each_minute),
        Duty(
            "keep the days of OpenLineage's events",
            lambda engine: keep_days(engine, settings.openlineage_event_days, settings.openlineage_failed_event_days),
            every(seconds=3_600),
            at_once=True,
        ),
        Duty(
            "take old edges out of the lineage",
            in_transaction(lambda connection: expire_edges(connection, settings.openlineage_edge_days)),
            every(seconds=24 * 3_600),
            # The process with the keeper may be a new one every day.
            at_once=True,
        ),
    ]
