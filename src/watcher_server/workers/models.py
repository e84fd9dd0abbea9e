"""Workers, and when they were last seen."""

from uuid import UUID

from sqlalchemy import Integer, String, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, Timestamp


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
