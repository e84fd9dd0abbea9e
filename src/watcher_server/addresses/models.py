"""Addresses: the places that pipelines read from and write to."""

from typing import Any

from sqlalchemy import ForeignKey, String, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, column_property, mapped_column

from watcher_server.database.base import Base, BigId, CreatedAt, Timestamp


class AddressType(Base):
    """A kind of address (postgres, s3, kafka ...) within a group (database, storage, ...).

    Where it is ``case_sensitive``, as keys of object stores are, the name of an address is its spelling, and not folded
    to lower case.
    """

    __tablename__ = "address_type"

    id: Mapped[BigId]
    name: Mapped[str] = mapped_column(String(150), unique=True)
    group_name: Mapped[str] = mapped_column(String(150))
    case_sensitive: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[Timestamp | None]


class Address(Base):
    """A table, a file, a topic, a dashboard: anything data comes from or goes to.

    ``name`` is in Unicode's form NFC and, unless its type is case-sensitive, in lower case; ``display_name`` is the
    spelling that it was first sent in, null where that is the name itself. ``shown_name`` is what pages call it.
    ``openlineage`` is what events of OpenLineage say of it; null if none came.
    """

    __tablename__ = "address"

    id: Mapped[BigId]
    name: Mapped[str] = mapped_column(String(1000), unique=True)
    display_name: Mapped[str | None] = mapped_column(String(1000))
    shown_name: Mapped[str] = column_property(func.coalesce(display_name, name))
    archived_at: Mapped[Timestamp | None]
    forgotten_at: Mapped[Timestamp | None]
    address_type_id: Mapped[int] = mapped_column(ForeignKey("address_type.id"), index=True)
    database_name: Mapped[str | None] = mapped_column(String(255))
    schema_name: Mapped[str | None] = mapped_column(String(255))
    table_name: Mapped[str | None] = mapped_column(String(255))
    primary_key: Mapped[str | None] = mapped_column(String(255))
    address_metadata: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    openlineage: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    fingerprint: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[Timestamp | None]
