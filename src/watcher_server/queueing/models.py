"""Tasks that wait to be published."""

from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Identity, Index, SmallInteger, String, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, CreatedAt, Timestamp


class OutboxMessage(Base):
    """A task to publish, written in the transaction of the row that calls for it; the relay moves it to ``task``.

    ``due_at`` is when it may be published: now, or later for a retry. ``retries`` counts the tries so far.
    """

    __tablename__ = "outbox"
    # Short-lived rows: vacuum by count, not by a share of a table that is nearly always empty.
    __table_args__ = (
        # Who asks what became of a task finds it here as fast as in ``task``, however many wait.
        Index(None, "task_id"),
        {"postgresql_with": {"autovacuum_vacuum_scale_factor": "0", "autovacuum_vacuum_threshold": "5000"}},
    )

    # The relay looks per task for the oldest that are due, so that one kind never waits behind another.
    task_name: Mapped[str] = mapped_column(String(100), primary_key=True)
    due_at: Mapped[Timestamp] = mapped_column(server_default=func.now(), primary_key=True)
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    task_id: Mapped[UUID] = mapped_column(server_default=func.gen_random_uuid())
    kwargs: Mapped[dict[str, Any]] = mapped_column(JSONB)
    queue: Mapped[str] = mapped_column(String(50), server_default=text("'celery'"))
    created_at: Mapped[CreatedAt]
    retries: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    # What Celery is to be told besides: links, groups, priority and the like; null for nearly all.
    options: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    # Whose doing it is: the request's id and trace.
    context: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
