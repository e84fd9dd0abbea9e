"""Alerts: written in the transaction that found their cause, delivered afterwards."""

from sqlalchemy import Index, Integer, String, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, BigId, CreatedAt, Timestamp


class Alert(Base):
    """One message to people. The unique ``dedupe_key`` is what makes a task that runs twice alert once."""

    __tablename__ = "alert"
    # What a check found carries the moment of its transaction, and so does its alert.
    __table_args__ = (Index(None, "created_at"),)

    id: Mapped[BigId]
    dedupe_key: Mapped[str] = mapped_column(String(200), unique=True)
    level: Mapped[str] = mapped_column(String(10))
    title: Mapped[str] = mapped_column(String(200))
    message: Mapped[str] = mapped_column(Text)
    # Pairs of label and value, in the order in which they are shown.
    details: Mapped[list[list[str]]] = mapped_column(JSONB, server_default=text("'[]'"))
    created_at: Mapped[CreatedAt]
    delivered_at: Mapped[Timestamp | None]
    delivered_to: Mapped[str | None] = mapped_column(String(20))
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    last_error: Mapped[str | None] = mapped_column(Text)
