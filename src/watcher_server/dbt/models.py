"""Which of dbt's files were applied."""

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, CreatedAt, Timestamp


class DbtArtifact(Base):
    """A file of dbt that was applied, so that it is not applied again: ``run_results`` or ``sources`` of an invocation.

    ``generated_at`` is when dbt wrote it. Retention deletes rows by ``applied_at``.
    """

    __tablename__ = "dbt_artifact"
    __table_args__ = (Index(None, "applied_at"),)

    invocation_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(12), primary_key=True)
    generated_at: Mapped[Timestamp]
    applied_at: Mapped[CreatedAt]
