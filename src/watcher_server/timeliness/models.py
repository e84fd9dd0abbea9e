"""What the timeliness check found."""

from sqlalchemy import ForeignKey, Integer, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, BigId, CreatedAt


class TimelinessExecutionLog(Base):
    """One execution that ran past its threshold, or past that of a warning (``severity`` is failure or warning).

    ``execution_status`` is running or completed.
    """

    __tablename__ = "timeliness_pipeline_execution_log"
    __table_args__ = (UniqueConstraint("pipeline_execution_id", "severity"),)

    id: Mapped[BigId]
    pipeline_execution_id: Mapped[int] = mapped_column(ForeignKey("pipeline_execution.id", ondelete="CASCADE"))
    pipeline_id: Mapped[int] = mapped_column(ForeignKey("pipeline.id"))
    duration_seconds: Mapped[int | None]
    seconds_threshold: Mapped[int | None]
    execution_status: Mapped[str] = mapped_column(String(10))
    timely_number: Mapped[int] = mapped_column(Integer)
    timely_datepart: Mapped[str] = mapped_column(String(10))
    used_child_config: Mapped[bool]
    severity: Mapped[str] = mapped_column(String(10), server_default=text("'failure'"))
    evaluated_at: Mapped[CreatedAt]
