"""What the keeper does for alerts, so that they are raised and arrive while no worker is free."""

from uuid import uuid4

from watcher_server.alerts.delivery import deliver_late_alerts
from watcher_server.alerts.ending_tokens import warn_of_ending_tokens
from watcher_server.alerts.lanes import give_up_old
from watcher_server.alerts.repeating import tell_alertmanagers
from watcher_server.alerts.views import write_view
from watcher_server.auth.sessions import forget_old_sessions
from watcher_server.settings import Settings
from watcher_server.tasking.keeper.duties import Duty, each_minute, every, in_transaction

# A worker that is free takes less than a second.
_LATE_SECONDS = 3.0
# The keeper has other duties: it begins no further message after this time. One takes ten seconds at most.
_ROUND_SECONDS = 5.0


def keeper_duties(settings: Settings) -> list[Duty]:
    """The duties of the keeper that are about alerts. Nothing else looks for late alerts by itself."""
    view_id = uuid4()
    return [
        Duty(
            "say which channels this process knows",
            in_transaction(lambda connection: write_view(connection, view_id, settings)),
            each_minute,
            everywhere=True,
        ),
        Duty(
            "deliver late alerts",
            lambda engine: deliver_late_alerts(engine, settings, late_seconds=_LATE_SECONDS, seconds=_ROUND_SECONDS),
            every(seconds=1),
        ),
        Duty("tell Alertmanager what is open", lambda engine: tell_alertmanagers(engine, settings), each_minute),
        Duty(
            "give up old alerts",
            in_transaction(lambda connection: give_up_old(connection, settings.alert_max_age_hours)),
            each_minute,
        ),
        Duty("warn of tokens that expire soon", in_transaction(warn_of_ending_tokens), each_minute),
        Duty("forget the sessions that are over", in_transaction(forget_old_sessions), each_minute),
    ]
