"""The tables of the task layer."""

from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Double, Identity, Index, Integer, SmallInteger, String, Text, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, CreatedAt, Timestamp


class OutboxMessage(Base):
    """A task to publish, written in the transaction of the row that calls for it; the relay moves it to ``task``.

    ``due_at`` is when it may be published: now, or later for a retry. ``retries`` counts the tries so far.
    """

    __tablename__ = "outbox"
    # Short-lived rows: vacuum by count, not by a share of a table that is nearly always empty.
    __table_args__ = (
        # A task is found by its id as fast as in ``task``, however many wait.
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
    # Celery's options, such as links, groups and priority; null for nearly all.
    options: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    # The id and the trace of the request that called for it.
    context: Mapped[dict[str, Any] | None] = mapped_column(JSONB)


class TaskRun(Base):
    """A published task and what became of it: Celery's result backend, and the history that the pages show.

    ``meta`` is the progress, the result or the error, as the state calls for; ``history`` has one object per failed
    try. A task with ``coalesced_into`` is done by that other task, and shares its state.
    """

    __tablename__ = "task"
    __table_args__ = (
        Index(None, "created_at"),
        Index(None, "name", "created_at"),
        Index(None, "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
        Index(None, "pipeline_id", "created_at", postgresql_where=text("pipeline_id IS NOT NULL")),
        Index(None, "pipeline_execution_id", postgresql_where=text("pipeline_execution_id IS NOT NULL")),
        Index(None, "coalesced_into", postgresql_where=text("coalesced_into IS NOT NULL")),
        # Tasks under way: few rows, read by every relay.
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
    # As in the outbox, in case the task is sent again.
    options: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    context: Mapped[dict[str, Any] | None] = mapped_column(JSONB)


class Worker(Base):
    """A worker from its start to its end, and when it was last seen."""

    __tablename__ = "worker"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    host: Mapped[str] = mapped_column(String(200))
    pid: Mapped[int] = mapped_column(Integer)
    queues: Mapped[list[str]] = mapped_column(ARRAY(String(50)))
    processes: Mapped[int] = mapped_column(Integer)
    active: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    started_at: Mapped[Timestamp] = mapped_column(server_default=func.now())
    seen_at: Mapped[Timestamp] = mapped_column(server_default=func.now())
    stopped_at: Mapped[Timestamp | None]
    metrics_url: Mapped[str | None] = mapped_column(String(200))


class RateLimitOverride(Base):
    """A rate that holds for a task until a moment, in place of the configured one; null is no limit."""

    __tablename__ = "rate_limit_override"

    task_name: Mapped[str] = mapped_column(String(100), primary_key=True)
    per_second: Mapped[float | None] = mapped_column(Double)
    until: Mapped[Timestamp]


class QueueAlertState(Base):
    """The level at which a queue was last alerted; null for a queue that is fine."""

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
