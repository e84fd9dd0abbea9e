"""Addresses: the places that pipelines read from and write to."""

from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, BigId, CreatedAt, Timestamp


class AddressType(Base):
    """A kind of address (postgres, s3, kafka ...) within a group (database, storage, ...)."""

    __tablename__ = "address_type"

    id: Mapped[BigId]
    name: Mapped[str] = mapped_column(String(150), unique=True)
    group_name: Mapped[str] = mapped_column(String(150))
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[Timestamp | None]


class Address(Base):
    """A table, a file, a topic, a dashboard: anything data comes from or goes to."""

    __tablename__ = "address"

    id: Mapped[BigId]
    name: Mapped[str] = mapped_column(String(150), unique=True)
    address_type_id: Mapped[int] = mapped_column(ForeignKey("address_type.id"), index=True)
    database_name: Mapped[str | None] = mapped_column(String(50))
    schema_name: Mapped[str | None] = mapped_column(String(50))
    table_name: Mapped[str | None] = mapped_column(String(50))
    primary_key: Mapped[str | None] = mapped_column(String(50))
    address_metadata: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    fingerprint: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[Timestamp | None]
