"""The state of the queues' alerts."""

from sqlalchemy import String, func
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, Timestamp


class QueueAlertState(Base):
    """The level at which a queue was last alerted; null while it is fine."""

    __tablename__ = "queue_alert_state"

    queue: Mapped[str] = mapped_column(String(50), primary_key=True)
    level: Mapped[str | None] = mapped_column(String(10))
    changed_at: Mapped[Timestamp] = mapped_column(server_default=func.now())
