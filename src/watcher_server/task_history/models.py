"""Published tasks and what became of them."""

from typing import Any
from uuid import UUID

from sqlalchemy import Index, SmallInteger, String, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, CreatedAt, Timestamp


class TaskRun(Base):
    """A published task and what became of it: Celery's result backend, and the history that people look at.

    ``meta`` is the progress, the result or the error, as the state calls for; ``history`` has one object per failed
    try. A task with ``coalesced_into`` was done by that other one, and is in its state.
    """

    __tablename__ = "task"
    __table_args__ = (
        Index(None, "created_at"),
        Index(None, "name", "created_at"),
        Index(None, "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
        Index(None, "pipeline_id", "created_at", postgresql_where=text("pipeline_id IS NOT NULL")),
        Index(None, "pipeline_execution_id", postgresql_where=text("pipeline_execution_id IS NOT NULL")),
        Index(None, "coalesced_into", postgresql_where=text("coalesced_into IS NOT NULL")),
        # What is under way: few rows, looked at by every relay.
        Index("ix_task_under_way", "name", "state", postgresql_where=text("state IN ('PENDING', 'PROGRESS', 'RETRY')")),
        Index("ix_task_failed", "name", postgresql_where=text("state IN ('FAILURE', 'REVOKED')")),
        {"postgresql_with": {"autovacuum_vacuum_scale_factor": "0.02", "autovacuum_vacuum_threshold": "5000"}},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    kwargs: Mapped[dict[str, Any]] = mapped_column(JSONB)
    queue: Mapped[str] = mapped_column(String(50))
    state: Mapped[str] = mapped_column(String(10))
    meta: Mapped[Any | None] = mapped_column(JSONB)
    retries: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    # How often the process that ran it died.
    deaths: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    pipeline_id: Mapped[int | None]
    pipeline_execution_id: Mapped[int | None]
    created_at: Mapped[CreatedAt]
    published_at: Mapped[Timestamp | None]
    started_at: Mapped[Timestamp | None]
    finished_at: Mapped[Timestamp | None]
    worker_id: Mapped[UUID | None]
    coalesced_into: Mapped[UUID | None]
    history: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    traceback: Mapped[str | None] = mapped_column(Text)
    # As in the outbox: what Celery and the log are told besides, should the task be sent again.
    options: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    context: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
