"""The entries of the audit trail."""

from typing import Any

from sqlalchemy import Index, String, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, BigId, CreatedAt


class AuditEntry(Base):
    """One change by a person or a program. Rows are added, and deleted when they are old; a trigger refuses updates.

    ``object_id`` is the id of what was changed, or its name where it has no id. ``before`` and ``after`` hold only the
    fields that differ; secrets in them are masked.
    """

    __tablename__ = "audit_entry"
    __table_args__ = (
        Index(None, "at"),
        Index(None, "object_kind", "object_id", "id"),
        Index(None, "actor", "id"),
    )

    id: Mapped[BigId]
    at: Mapped[CreatedAt]
    actor: Mapped[str] = mapped_column(String(150))
    actor_kind: Mapped[str] = mapped_column(String(20))
    source: Mapped[str] = mapped_column(String(400))
    action: Mapped[str] = mapped_column(String(30))
    object_kind: Mapped[str] = mapped_column(String(30))
    object_id: Mapped[str | None] = mapped_column(Text)
    object_name: Mapped[str] = mapped_column(Text)
    before: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    after: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    request_id: Mapped[str | None] = mapped_column(String(128))
