"""The state of the queues' alerts, and how deep the queues were."""

from sqlalchemy import String, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, Timestamp


class QueueAlertState(Base):
    """The level at which a queue was last alerted; null while it is fine."""

    __tablename__ = "queue_alert_state"

    queue: Mapped[str] = mapped_column(String(50), primary_key=True)
    level: Mapped[str | None] = mapped_column(String(10))
    changed_at: Mapped[Timestamp] = mapped_column(server_default=func.now())


class QueueDepthSample(Base):
    """What was in a queue at a full minute, in tasks; the broker's numbers are null where it did not answer.

    ``oldest_seconds`` is 0 where nothing waited.
    """

    __tablename__ = "queue_depth_sample"

    # The moment comes first in the key: by it samples are read and forgotten, those of all queues together.
    sampled_at: Mapped[Timestamp] = mapped_column(primary_key=True)
    queue: Mapped[str] = mapped_column(Text, primary_key=True)
    ready: Mapped[int | None]
    unacknowledged: Mapped[int | None]
    scheduled: Mapped[int]
    outbox_pending: Mapped[int]
    oldest_seconds: Mapped[float]
