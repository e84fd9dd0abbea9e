"""Rates that hold for a while."""

from sqlalchemy import Double, String
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, Timestamp


class RateLimitOverride(Base):
    """A rate that holds for a task until a moment, in place of the configured one; null is no limit."""

    __tablename__ = "rate_limit_override"

    task_name: Mapped[str] = mapped_column(String(100), primary_key=True)
    per_second: Mapped[float | None] = mapped_column(Double)
    until: Mapped[Timestamp]
