"""Tasks that a committed row calls for, and the state of the queue's alerts."""

from typing import Any
from uuid import UUID

from sqlalchemy import String, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, BigId, CreatedAt, Timestamp


class OutboxMessage(Base):
    """A task to publish, written in the transaction of the row that calls for it; the relay deletes it."""

    __tablename__ = "outbox"
    # Short-lived rows: vacuum by count, not by a share of a table that is nearly always empty.
    __table_args__ = (
        {"postgresql_with": {"autovacuum_vacuum_scale_factor": "0", "autovacuum_vacuum_threshold": "5000"}},
    )

    id: Mapped[BigId]
    task_id: Mapped[UUID] = mapped_column(server_default=func.gen_random_uuid())
    task_name: Mapped[str] = mapped_column(String(100))
    kwargs: Mapped[dict[str, Any]] = mapped_column(JSONB)
    queue: Mapped[str] = mapped_column(String(50), server_default=text("'celery'"))
    created_at: Mapped[CreatedAt]


class QueueAlertState(Base):
    """The level at which a queue was last alerted; null while it is fine."""

    __tablename__ = "queue_alert_state"

    queue: Mapped[str] = mapped_column(String(50), primary_key=True)
    level: Mapped[str | None] = mapped_column(String(10))
    changed_at: Mapped[Timestamp] = mapped_column(server_default=func.now())
