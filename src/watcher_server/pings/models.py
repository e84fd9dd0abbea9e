"""Keys of ping URLs, how fast each URL may be pinged, and which run a caller means.

The secret of a pipeline's own URL and its slug are columns of the pipeline.
"""

from uuid import UUID

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, BigId, CreatedAt, Timestamp


class PingKey(Base):
    """A key that reaches every pipeline by its slug; only the SHA-256 of it is stored."""

    __tablename__ = "ping_key"

    id: Mapped[BigId]
    name: Mapped[str] = mapped_column(String(150), unique=True)
    key_hash: Mapped[bytes] = mapped_column(unique=True)
    created_at: Mapped[CreatedAt]


class PingPace(Base):
    """When a pipeline's URL would be free again if its pings came evenly.

    UNLOGGED: every ping writes it, and after a crash of the database nobody misses it.
    """

    __tablename__ = "ping_pace"
    __table_args__ = ({"prefixes": ["UNLOGGED"], "postgresql_with": {"fillfactor": "50"}},)

    pipeline_id: Mapped[int] = mapped_column(
        ForeignKey("pipeline.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    free_at: Mapped[Timestamp]


class PingRun(Base):
    """The execution that a caller means by its own run id (``rid``).

    Without foreign keys, as the closure of executions: retention deletes both.
    """

    __tablename__ = "ping_run"
    __table_args__ = (Index(None, "execution_id"),)

    pipeline_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    rid: Mapped[UUID] = mapped_column(primary_key=True)
    execution_id: Mapped[int]
