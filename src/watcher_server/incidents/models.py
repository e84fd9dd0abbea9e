"""Incidents: what is wrong, from when it began to when it was over, and everything that happened to each."""

from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, BigId, CreatedAt, Timestamp


class Incident(Base):
    """One thing that is wrong with one subject: at most one of a kind is open for it at any moment.

    The subject is a pipeline, or without one ``subject``: the name of a task, a queue, a channel or a check.
    ``since`` is when it began, ``opened_at`` when it was found. ``detail`` says in one line what was found last,
    ``count`` how many runs in a row show it. ``execution_id`` or ``task_id`` is the latest evidence, which retention
    may have deleted.

    ``root_id`` is the incident that explains this one. ``told_at`` is when people were told that it opened; null while
    they were not, because its root speaks for it. ``speaks_at`` is when it speaks for itself after its root is over;
    ``tell_resolved_at`` when people are told that it is over, unless it opens again.

    ``snooze`` says until what it is quiet: ``time`` (until ``snoozed_until``), ``next_run`` or ``worse``. ``quiet``
    says that somebody resolved it while it held: it does not open again before it was over once, unless it gets worse.
    Every change raises ``version``, but that of a count. ``held_by`` is the window that keeps it from being told.
    """

    __tablename__ = "incident"
    __table_args__ = (
        Index(
            "uq_incident_open",
            "kind",
            "pipeline_id",
            "subject",
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where=text("state <> 'resolved'"),
        ),
        # The status of a pipeline, and everything that the sweep looks at, however long the history is.
        Index("ix_incident_current", "pipeline_id", postgresql_where=text("state <> 'resolved' OR quiet OR flapping")),
        # The latest incident of a key, and the history of a pipeline.
        Index("ix_incident_pipeline_id", "pipeline_id", "kind", "subject", "id"),
        Index(None, "opened_at"),
        Index(None, "resolved_at"),
        # The few that people are still to be told the end of.
        Index(None, "tell_resolved_at", postgresql_where=text("tell_resolved_at IS NOT NULL")),
        Index(None, "root_id", postgresql_where=text("root_id IS NOT NULL")),
        CheckConstraint("state IN ('open', 'acknowledged', 'resolved')", name="state"),
        CheckConstraint("(state = 'resolved') = (resolved_at IS NOT NULL)", name="resolved"),
        CheckConstraint("resolution IN ('auto', 'hand', 'paused')", name="resolution"),
        CheckConstraint("snooze IN ('time', 'next_run', 'worse')", name="snooze"),
    )

    id: Mapped[BigId]
    kind: Mapped[str] = mapped_column(String(20))
    pipeline_id: Mapped[int | None] = mapped_column(ForeignKey("pipeline.id", ondelete="CASCADE"))
    subject: Mapped[str] = mapped_column(String(200), server_default=text("''"))
    state: Mapped[str] = mapped_column(String(12), server_default=text("'open'"))
    level: Mapped[str] = mapped_column(String(10))
    detail: Mapped[str] = mapped_column(Text, server_default=text("''"))
    count: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    execution_id: Mapped[int | None]
    task_id: Mapped[UUID | None]
    since: Mapped[Timestamp]
    opened_at: Mapped[CreatedAt]
    changed_at: Mapped[CreatedAt]
    resolved_at: Mapped[Timestamp | None]
    resolution: Mapped[str | None] = mapped_column(String(6))
    root_id: Mapped[int | None] = mapped_column(ForeignKey("incident.id", ondelete="SET NULL"))
    speaks_at: Mapped[Timestamp | None]
    told_at: Mapped[Timestamp | None]
    tell_resolved_at: Mapped[Timestamp | None]
    assignee: Mapped[str | None] = mapped_column(String(150))
    acknowledged_by: Mapped[str | None] = mapped_column(String(150))
    acknowledged_at: Mapped[Timestamp | None]
    acknowledged_until: Mapped[Timestamp | None]
    snooze: Mapped[str | None] = mapped_column(String(8))
    snoozed_until: Mapped[Timestamp | None]
    flapping: Mapped[bool] = mapped_column(server_default=text("false"))
    quiet: Mapped[bool] = mapped_column(server_default=text("false"))
    held_by: Mapped[str | None] = mapped_column(String(50))
    version: Mapped[int] = mapped_column(Integer, server_default=text("1"))


class IncidentEvent(Base):
    """One thing that happened to an incident; rows are only ever added.

    ``change`` is opened, reopened, worse, better, flapping, acknowledged, unacknowledged, assigned, snoozed, unsnoozed,
    commented, explained, held, told or resolved; ``actor`` the name of a token, ``cli``, ``loopback``, or ``watcher``.
    """

    __tablename__ = "incident_event"
    __table_args__ = (Index("ix_incident_event_incident_id", "incident_id", "id"),)

    id: Mapped[BigId]
    incident_id: Mapped[int] = mapped_column(ForeignKey("incident.id", ondelete="CASCADE"))
    at: Mapped[CreatedAt]
    change: Mapped[str] = mapped_column(String(16))
    actor: Mapped[str] = mapped_column(String(150))
    text: Mapped[str | None] = mapped_column(Text)


class IncidentTally(Base):
    """Numbers of incidents that only grow, as the counters of Prometheus have to, although retention deletes incidents.

    ``measure`` is opened, acknowledged or resolved: how many there were of a kind. Of the latter two, ``number`` is how
    many took up to ``at_most`` seconds, and more than the next lower bound; ``seconds`` is how long they took together.
    """

    __tablename__ = "incident_tally"

    measure: Mapped[str] = mapped_column(String(12), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    at_most: Mapped[float] = mapped_column(primary_key=True)
    number: Mapped[int]
    seconds: Mapped[float]


class HeartbeatCall(Base):
    """The last call of the heartbeat URL, in one row; ``error`` is why it failed, as since ``failing_since``."""

    __tablename__ = "heartbeat_call"
    __table_args__ = (CheckConstraint('"only"', name="only"),)

    only: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    called_at: Mapped[CreatedAt]
    failing_since: Mapped[Timestamp | None]
    error: Mapped[str | None] = mapped_column(Text)
