"""Beat: the schedules, sent through the outbox."""

from celery.beat import PersistentScheduler


class OutboxScheduler(PersistentScheduler):
    """Celery's own scheduler, without the connection to the broker that it makes before it sends anything.

    What it sends is a row of the outbox, so a broker that is away keeps no check from being written down.
    """

    producer = None  # type: ignore[assignment]
