"""What the keeper does besides its own, so that incidents are found, told and resolved while no worker is free."""

from collections.abc import Callable

from sqlalchemy import Connection, Engine

from watcher_server.alerts import duties as alerts
from watcher_server.audit.service import delete_old
from watcher_server.http.idempotency import forget_old_keys
from watcher_server.incidents.endless import EndlessRuns
from watcher_server.incidents.heartbeat import send_heartbeat
from watcher_server.incidents.queues import check_queues
from watcher_server.incidents.sweep import ANY_TO_TELL, sweep_incidents, tell_resolved
from watcher_server.incidents.watcher import check_watcher
from watcher_server.pipelines.mutes import end_mutes
from watcher_server.settings import Settings
from watcher_server.tasking.keeper.duties import Duty, by_cron, each_minute, every, in_transaction


def keeper_duties(settings: Settings) -> list[Duty]:
    """The duties of the keeper: incidents, alerts, keys of requests, the audit trail.

    Nothing else looks at the queues by itself.
    """

    def with_settings(check: Callable[[Connection, Settings], object]) -> Callable[[Engine], object]:
        return in_transaction(lambda connection: check(connection, settings))

    return [
        Duty("look at the queues", with_settings(check_queues), by_cron(settings.celery_queue_health_check_schedule)),
        Duty("look for runs that never end", EndlessRuns(settings).look, each_minute, at_once=True),
        Duty("end mutes", in_transaction(end_mutes), each_minute),
        Duty("sweep the incidents", with_settings(sweep_incidents), each_minute),
        Duty(
            "tell what is over",
            in_transaction(lambda connection: tell_resolved(connection, settings), only_if=ANY_TO_TELL),
            every(seconds=5),
        ),
        Duty("look after Watcher itself", with_settings(check_watcher), each_minute),
        # At once: the keeper before this one may have ended before its call of this minute.
        Duty("call the heartbeat URL", lambda engine: send_heartbeat(engine, settings), each_minute, at_once=True),
        *alerts.keeper_duties(settings),
        Duty("forget the keys of old requests", in_transaction(forget_old_keys), each_minute),
        Duty(
            "delete old entries of the audit trail",
            lambda engine: delete_old(engine, settings.audit_days),
            every(seconds=3600),
            at_once=True,
        ),
    ]
