"""What the schedule check found."""

from sqlalchemy import ForeignKey, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, BigId, CreatedAt, Timestamp


class MissedRunLog(Base):
    """One run that was expected and had not started when its grace was over; with the schedule as it was then."""

    __tablename__ = "missed_run_log"
    __table_args__ = (UniqueConstraint("pipeline_id", "expected_at"),)

    id: Mapped[BigId]
    pipeline_id: Mapped[int] = mapped_column(ForeignKey("pipeline.id"))
    expected_at: Mapped[Timestamp]
    schedule: Mapped[str] = mapped_column(String(100))
    schedule_timezone: Mapped[str] = mapped_column(String(50))
    schedule_grace_minutes: Mapped[int] = mapped_column(Integer)
    evaluated_at: Mapped[CreatedAt]
