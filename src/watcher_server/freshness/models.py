"""What the freshness check found."""

from sqlalchemy import ForeignKey, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, BigId, CreatedAt, Timestamp


class FreshnessPipelineLog(Base):
    """One stale state of one pipeline. ``last_dml_timestamp`` is null for one that has never written."""

    __tablename__ = "freshness_pipeline_log"
    __table_args__ = (UniqueConstraint("pipeline_id", "last_dml_timestamp", postgresql_nulls_not_distinct=True),)

    id: Mapped[BigId]
    pipeline_id: Mapped[int] = mapped_column(ForeignKey("pipeline.id"))
    last_dml_timestamp: Mapped[Timestamp | None]
    evaluated_at: Mapped[CreatedAt]
    freshness_number: Mapped[int] = mapped_column(Integer)
    freshness_datepart: Mapped[str] = mapped_column(String(10))
    used_child_config: Mapped[bool]
