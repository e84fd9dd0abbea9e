"""Telling Alertmanager once a minute of all that is open: what it is not told again it holds to be over."""

from collections.abc import Sequence

from sqlalchemy import Engine, text

from watcher_server.alerts.channels.account import UnknownSecretError
from watcher_server.alerts.channels.alertmanager import send_open
from watcher_server.alerts.channels.asking import FailedTryError
from watcher_server.alerts.channels.snapshot import About
from watcher_server.alerts.composing import ABOUT, read_about
from watcher_server.alerts.lanes import note_failure, note_success
from watcher_server.alerts.outcome import Outcome
from watcher_server.alerts.sending import ChannelRow
from watcher_server.settings import Settings

# A lane that leaves the channel alone does so for this too.
_CHANNELS = """
SELECT name, type, spec, secrets FROM channel
WHERE type = 'alertmanager' AND (paused_until IS NULL OR paused_until <= now()) ORDER BY name
"""

# What it was told to be open, and is. By ix_alert_subject_incident_id.
_OPEN = f"""
SELECT {ABOUT}
FROM incident LEFT JOIN pipeline_effective AS pipeline ON pipeline.id = incident.pipeline_id
WHERE incident.state <> 'resolved' AND EXISTS (
    SELECT FROM alert_subject AS subject JOIN notification ON notification.alert_id = subject.alert_id
    WHERE subject.incident_id = incident.id AND notification.channel = :channel
        AND notification.state IN ('sent', 'merged')
)
ORDER BY incident.id
"""  # noqa: S608 - the columns are a constant


def tell_alertmanagers(engine: Engine, settings: Settings) -> None:
    """Tell each Alertmanager among the channels of the open incidents that were sent there."""
    with engine.connect() as connection:
        channels = [ChannelRow._make(row) for row in connection.execute(text(_CHANNELS))]
        rows = [connection.execute(text(_OPEN), {"channel": channel.name}).all() for channel in channels]
    for channel, is_open in zip(channels, rows, strict=True):
        if is_open:
            outcome = _tell(channel, [read_about(row, settings) for row in is_open], settings)
            with engine.begin() as connection:
                if outcome.sent_to is None:
                    note_failure(connection, channel.name, outcome)
                else:
                    note_success(connection, channel.name)


def _tell(channel: ChannelRow, incidents: Sequence[About], settings: Settings) -> Outcome:
    try:
        return send_open(incidents, channel.open(settings), settings)
    except FailedTryError as error:
        return error.outcome
    except UnknownSecretError as error:
        return Outcome(error=str(error))
