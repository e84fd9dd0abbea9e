"""Events as they came, and what they make known of jobs, runs and datasets."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, DateTime, ForeignKey, Index, LargeBinary, Sequence, String, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, BigId, CreatedAt, Timestamp

# Of a job's namespace. Events are applied in turns of the namespaces.
LANE_CHARACTERS = 200


class OpenLineageEvent(Base):
    """An event as it was received, compressed by zlib. It waits while ``applied_at`` is null.

    The table is divided by days of ``received_at`` (UTC), so that old days go at once. ``lane`` is the beginning of the
    job's namespace, or the dataset's.
    """

    __tablename__ = "openlineage_event"
    __table_args__ = (
        Index("ix_openlineage_event_waiting", "lane", "id", postgresql_where=text("applied_at IS NULL")),
        Index("ix_openlineage_event_id", "id"),
        {"postgresql_partition_by": "RANGE (received_at)"},
    )

    # A sequence and no identity: before PostgreSQL 17 a table with partitions cannot have one.
    id: Mapped[int] = mapped_column(
        BigInteger, Sequence("openlineage_event_id_seq"), primary_key=True, autoincrement=False
    )
    received_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True, server_default=func.now())
    applied_at: Mapped[Timestamp | None]
    lane: Mapped[str] = mapped_column(String(LANE_CHARACTERS))
    body: Mapped[bytes] = mapped_column(LargeBinary)


class OpenLineageFailedEvent(Base):
    """An event that could not be applied, and why. Once it is sent again it is in the other table."""

    __tablename__ = "openlineage_failed_event"
    __table_args__ = (Index(None, "failed_at"),)

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    received_at: Mapped[Timestamp]
    failed_at: Mapped[CreatedAt]
    lane: Mapped[str] = mapped_column(String(LANE_CHARACTERS))
    error: Mapped[str] = mapped_column(Text)
    body: Mapped[bytes] = mapped_column(LargeBinary)


class OpenLineageJob(Base):
    """A job, by namespace and name as they are spelt; ``key`` is made of both.

    ``pipeline_id`` is its pipeline; null while all its runs are rolled up into others. ``adopted``: the pipeline was
    there before, so that its runs may be reported in another way, too. ``facts`` has the newest value of each facet
    that is kept, with its time. ``schedule`` is what was written into the pipeline's schedule from here, as the cron
    expression and the zone; null while nothing was.
    """

    __tablename__ = "openlineage_job"

    id: Mapped[BigId]
    key: Mapped[UUID] = mapped_column(unique=True)
    namespace: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    pipeline_id: Mapped[int | None] = mapped_column(ForeignKey("pipeline.id"), index=True)
    adopted: Mapped[bool] = mapped_column(server_default=text("false"))
    integration: Mapped[str | None] = mapped_column(String(50))
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    schedule: Mapped[list[str] | None] = mapped_column(JSONB(none_as_null=True))
    last_event_at: Mapped[Timestamp]
    created_at: Mapped[CreatedAt]


class OpenLineageRun(Base):
    """What all events of a run say together. ``key`` is made of the job's namespace and name and the run's id.

    ``state`` is as in ``folding``. ``parent_key`` is the run that it says it belongs to, known or not; ``into_key`` the
    run that it is rolled up into, or would be if that were known. ``execution_id`` is its execution: none while only
    events came that start nothing, or while it is rolled up. ``earlier_ids`` are the executions of a stream
    that began again after it had ended, without the latest. ``failed`` is whether it ended in failure. ``created_at``
    is when it was first heard of, which may be long after it ran.
    """

    __tablename__ = "openlineage_run"
    __table_args__ = (
        Index(None, "execution_id", postgresql_where=text("execution_id IS NOT NULL")),
        Index(None, "parent_key", postgresql_where=text("parent_key IS NOT NULL")),
        Index(None, "into_key", postgresql_where=text("into_key IS NOT NULL")),
        Index(None, "job_id"),
        # Retention deletes what has no execution by this.
        Index(None, "last_event_at"),
        {"postgresql_with": {"fillfactor": "70"}},
    )

    key: Mapped[UUID] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("openlineage_job.id"))
    run_id: Mapped[str] = mapped_column(Text)
    parent_key: Mapped[UUID | None]
    into_key: Mapped[UUID | None]
    rolled_up: Mapped[bool] = mapped_column(server_default=text("false"))
    execution_id: Mapped[int | None]
    earlier_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), server_default=text("'{}'"))
    ended_at: Mapped[Timestamp | None]
    failed: Mapped[bool] = mapped_column(server_default=text("false"))
    last_event_at: Mapped[Timestamp]
    state: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[CreatedAt]


class OpenLineageDataset(Base):
    """A dataset, by namespace and name as they are spelt, and its address.

    ``disabled``: two datasets say that this is another name of theirs, so it names neither. ``facts`` as of a job.
    """

    __tablename__ = "openlineage_dataset"
    __table_args__ = (Index(None, "address_id"),)

    key: Mapped[UUID] = mapped_column(primary_key=True)
    namespace: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    address_id: Mapped[int | None] = mapped_column(ForeignKey("address.id"))
    alias: Mapped[bool] = mapped_column(server_default=text("false"))
    disabled: Mapped[bool] = mapped_column(server_default=text("false"))
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    last_seen_at: Mapped[Timestamp]


class OpenLineageSource(Base):
    """Who sends: a namespace and a producer, how many of their events came to what, and their bytes as stored."""

    __tablename__ = "openlineage_source"

    lane: Mapped[str] = mapped_column(String(LANE_CHARACTERS), primary_key=True)
    producer: Mapped[str] = mapped_column(String(300), primary_key=True)
    integration: Mapped[str] = mapped_column(String(50))
    applied: Mapped[int] = mapped_column(server_default=text("0"))
    repeated: Mapped[int] = mapped_column(server_default=text("0"))
    ignored: Mapped[int] = mapped_column(server_default=text("0"))
    failed: Mapped[int] = mapped_column(server_default=text("0"))
    bytes: Mapped[int] = mapped_column(server_default=text("0"))
    first_at: Mapped[CreatedAt]
    last_at: Mapped[CreatedAt]


class OpenLineageDropped(Base):
    """How often a facet of a name was dropped because it could not be read, or is not known."""

    __tablename__ = "openlineage_dropped_facet"

    facet: Mapped[str] = mapped_column(String(100), primary_key=True)
    known: Mapped[bool] = mapped_column(primary_key=True)
    number: Mapped[int]


class AddressSchemaChange(Base):
    """A change of the fields of an address: the names that came and went, and those whose type is another one."""

    __tablename__ = "address_schema_change"
    __table_args__ = (Index("ix_address_schema_change_address_id", "address_id", "id"),)

    id: Mapped[BigId]
    address_id: Mapped[int] = mapped_column(ForeignKey("address.id"))
    pipeline_id: Mapped[int | None] = mapped_column(ForeignKey("pipeline.id", ondelete="SET NULL"), index=True)
    at: Mapped[Timestamp]
    added: Mapped[list[str]] = mapped_column(JSONB)
    removed: Mapped[list[str]] = mapped_column(JSONB)
    retyped: Mapped[list[str]] = mapped_column(JSONB)
