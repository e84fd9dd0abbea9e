"""What the timeliness check found."""

from sqlalchemy import ForeignKey, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, BigId, CreatedAt


class TimelinessExecutionLog(Base):
    """One execution that ran past its threshold; ``execution_status`` is running or completed."""

    __tablename__ = "timeliness_pipeline_execution_log"

    id: Mapped[BigId]
    pipeline_execution_id: Mapped[int] = mapped_column(
        ForeignKey("pipeline_execution.id", ondelete="CASCADE"), unique=True
    )
    pipeline_id: Mapped[int] = mapped_column(ForeignKey("pipeline.id"))
    duration_seconds: Mapped[int | None]
    seconds_threshold: Mapped[int | None]
    execution_status: Mapped[str] = mapped_column(String(10))
    timely_number: Mapped[int] = mapped_column(Integer)
    timely_datepart: Mapped[str] = mapped_column(String(10))
    used_child_config: Mapped[bool]
    evaluated_at: Mapped[CreatedAt]
