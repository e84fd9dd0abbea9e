"""What the freshness check found."""

from sqlalchemy import ForeignKey, Integer, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, BigId, CreatedAt, Timestamp


class FreshnessPipelineLog(Base):
    """One stale state of one pipeline, or one that is about to be stale (``severity`` is failure or warning).

    ``last_dml_timestamp`` is when the pipeline last wrote, or later had nothing to do; null if it never did.
    """

    __tablename__ = "freshness_pipeline_log"
    __table_args__ = (
        UniqueConstraint("pipeline_id", "last_dml_timestamp", "severity", postgresql_nulls_not_distinct=True),
    )

    id: Mapped[BigId]
    pipeline_id: Mapped[int] = mapped_column(ForeignKey("pipeline.id"))
    last_dml_timestamp: Mapped[Timestamp | None]
    evaluated_at: Mapped[CreatedAt]
    freshness_number: Mapped[int] = mapped_column(Integer)
    freshness_datepart: Mapped[str] = mapped_column(String(10))
    used_child_config: Mapped[bool]
    severity: Mapped[str] = mapped_column(String(10), server_default=text("'failure'"))
