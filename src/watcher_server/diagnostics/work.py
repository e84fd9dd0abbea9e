"""What waits, what failed, and what is done by and by: read from Watcher's own tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from watcher_server.metrics.schedules import measure_overdue_checks
from watcher_server.settings import Settings
from watcher_server.workers.service import KnownWorker, WorkerState, list_workers


@dataclass(frozen=True)
class WorkFacts:
    """The work of Watcher itself.

    Of the outbox: rows that are ``due``, and overdue, which is due for more than a minute; ``later`` wait for their
    moment. ``failed_lately`` tasks failed for good within 24 hours, ``failed`` of all are kept. Alerts that wait for
    more than a minute are ``alerts_late``, and given up when they are too old. ``unsummed_seconds`` is for how long a
    day has been ready to be summed, 0 when none is; None before the first was. ``overdue`` has for each
    scheduled task how many seconds ago it should have run; those of which nothing is known are left out. Times are
    UTC; ``broker_answered_at`` is the last full minute at which a sample of the queues reached the broker.
    """

    due: int
    overdue_messages: int
    later: int
    oldest_seconds: float | None
    failed_lately: int
    failed: int
    alerts_late: int
    alerts_oldest_seconds: float | None
    alerts_given_up: int
    unsummed_seconds: float | None
    changes: int
    cleaned_up_at: datetime | None
    broker_answered_at: datetime | None
    overdue: Mapping[str, float]
    workers: Sequence[KnownWorker]

    @property
    def living(self) -> Sequence[KnownWorker]:
        """The workers that are alive."""
        return [worker for worker in self.workers if worker.state is WorkerState.ALIVE]


# The outbox is read whole, as by the measurement of the queues. Tasks by ix_task_failed, ix_task_finished_at and
# ix_task_name_created_at. Of alerts there are few; samples are read backwards from the newest by their primary key.
_WORK = """
SELECT outbox.*, task.*, alert.*,
    (SELECT greatest(0, extract(epoch FROM now() - interval '1 hour' - (summed_before + 1)::timestamp
        AT TIME ZONE 'UTC'))::float8 FROM daily_pipeline_metric_progress WHERE isfinite(summed_before))
        AS unsummed_seconds,
    (SELECT count(*) FROM (SELECT FROM daily_pipeline_metric_change
        WHERE date_recorded < (SELECT summed_before FROM daily_pipeline_metric_progress) LIMIT :most) AS change
    ) AS changes,
    (SELECT coalesce(finished_at, created_at) FROM task WHERE name = 'retention_task' AND state = 'SUCCESS'
        ORDER BY created_at DESC LIMIT 1) AS cleaned_up_at,
    (SELECT max(sampled_at) FROM queue_depth_sample WHERE ready IS NOT NULL) AS broker_answered_at
FROM (
    SELECT count(*) FILTER (WHERE due_at <= now()) AS due,
        count(*) FILTER (WHERE due_at <= now() - interval '1 minute') AS overdue_messages,
        count(*) FILTER (WHERE due_at > now()) AS later,
        extract(epoch FROM now() - min(due_at) FILTER (WHERE due_at <= now()))::float8 AS oldest_seconds
    FROM outbox
) AS outbox, (
    SELECT count(*) AS failed, count(*) FILTER (WHERE finished_at > now() - interval '24 hours') AS failed_lately
    FROM task WHERE state = 'FAILURE'
) AS task, (
    SELECT count(*) FILTER (WHERE created_at BETWEEN now() - make_interval(hours => :max_age_hours)
            AND now() - interval '1 minute') AS alerts_late,
        extract(epoch FROM now() - min(created_at) FILTER (
            WHERE created_at > now() - make_interval(hours => :max_age_hours)))::float8 AS alerts_oldest_seconds,
        count(*) FILTER (WHERE created_at < now() - make_interval(hours => :max_age_hours)) AS alerts_given_up
    FROM alert WHERE delivered_at IS NULL AND created_at > now() - interval '7 days'
) AS alert
"""

# Beyond so many it does not matter how many.
_MOST_CHANGES = 100_000


def read_work(connection: Connection, settings: Settings) -> WorkFacts:
    """What is to be done, and who does it."""
    values = {"most": _MOST_CHANGES, "max_age_hours": settings.alert_max_age_hours}
    facts = connection.execute(text(_WORK), values).one()
    workers = list_workers(connection)
    starts = [worker.started_at for worker in workers if worker.state is WorkerState.ALIVE]
    return WorkFacts(
        **facts._asdict(),
        overdue=measure_overdue_checks(connection, settings, min(starts, default=None)),
        workers=workers,
    )
