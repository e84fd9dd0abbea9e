"""The edges between addresses, and their transitive closure."""

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, BigId, CreatedAt, Timestamp


class AddressLineage(Base):
    """An edge: a pipeline reads the source and writes the target. Two pipelines may share one.

    ``origin`` is ``declared`` (by a request or dbt's files), or ``openlineage`` (seen in events, and last at
    ``last_seen_at``, to a day).
    """

    __tablename__ = "address_lineage"

    id: Mapped[BigId]
    pipeline_id: Mapped[int] = mapped_column(ForeignKey("pipeline.id"))
    source_address_id: Mapped[int] = mapped_column(ForeignKey("address.id"))
    target_address_id: Mapped[int] = mapped_column(ForeignKey("address.id"))
    created_at: Mapped[CreatedAt]
    origin: Mapped[str] = mapped_column(String(11), server_default=text("'declared'"))
    last_seen_at: Mapped[Timestamp | None]

    __table_args__ = (
        UniqueConstraint("pipeline_id", "source_address_id", "target_address_id"),
        # Those that may leave because they were not seen for long.
        Index(None, "last_seen_at", postgresql_where=text("last_seen_at IS NOT NULL")),
        # One index for each direction of a traversal.
        Index("ix_address_lineage_downstream", "source_address_id", "target_address_id"),
        Index("ix_address_lineage_upstream", "target_address_id", "source_address_id"),
    )


class ArchivedAddressLineage(Base):
    """An edge whose pipeline, source or target is in the archive. It comes back as it was when none is any more."""

    __tablename__ = "archived_address_lineage"

    pipeline_id: Mapped[int] = mapped_column(ForeignKey("pipeline.id"), primary_key=True)
    source_address_id: Mapped[int] = mapped_column(ForeignKey("address.id"), primary_key=True, index=True)
    target_address_id: Mapped[int] = mapped_column(ForeignKey("address.id"), primary_key=True, index=True)
    origin: Mapped[str] = mapped_column(String(11), server_default=text("'declared'"))
    last_seen_at: Mapped[Timestamp | None]


class AddressLineageClosure(Base):
    """One row per connected pair at its least depth, with one shortest path; depth 0 is the address itself.

    The rows of depth 1 are the edges that the closure knows: those of ``address_lineage`` as of the last rebuild around
    them, self edges left out. All other rows follow from these.
    """

    __tablename__ = "address_lineage_closure"

    source_address_id: Mapped[int] = mapped_column(primary_key=True)
    target_address_id: Mapped[int] = mapped_column(primary_key=True)
    depth: Mapped[int] = mapped_column(Integer)
    lineage_path: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))

    __table_args__ = (
        Index("ix_address_lineage_closure_target_address_id", "target_address_id"),
        # These hold the edges only. A rebuild reads its graph and the changed edges from them.
        Index(
            "ix_address_lineage_closure_edge_downstream",
            "source_address_id",
            "target_address_id",
            postgresql_where=text("depth = 1"),
        ),
        Index(
            "ix_address_lineage_closure_edge_upstream",
            "target_address_id",
            "source_address_id",
            postgresql_where=text("depth = 1"),
        ),
    )


class AddressLineagePending(Base):
    """A source that a rebuild in parts has not reached yet, so that its rows of the closure are out of date."""

    __tablename__ = "address_lineage_pending"

    source_address_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
