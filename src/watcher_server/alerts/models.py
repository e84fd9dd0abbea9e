"""Alerts: written in the transaction that found their cause, what each is about, and how its delivery goes."""

from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, BigId, CreatedAt, Timestamp


class Alert(Base):
    """One message to people. The unique ``dedupe_key`` is what makes a task that runs twice alert once.

    ``kind`` is that of the incidents that it is about, ``change`` what happened to them: opened, reopened, worse,
    better, flapping, reminder, escalated or resolved. Both are null for a message about no incident, such as a warning.
    """

    __tablename__ = "alert"
    __table_args__ = (Index(None, "created_at"),)

    id: Mapped[BigId]
    dedupe_key: Mapped[str] = mapped_column(String(200), unique=True)
    level: Mapped[str] = mapped_column(String(10))
    title: Mapped[str] = mapped_column(String(200))
    message: Mapped[str] = mapped_column(Text)
    # Pairs of label and value, in the order in which they are shown.
    details: Mapped[list[list[str]]] = mapped_column(JSONB, server_default=text("'[]'"))
    created_at: Mapped[CreatedAt]
    kind: Mapped[str | None] = mapped_column(String(20))
    change: Mapped[str | None] = mapped_column(String(10))


class AlertSubject(Base):
    """Something that an alert is about: an incident, a pipeline, an execution, a task, or several of these."""

    __tablename__ = "alert_subject"

    id: Mapped[BigId]
    alert_id: Mapped[int] = mapped_column(ForeignKey("alert.id", ondelete="CASCADE"), index=True)
    incident_id: Mapped[int | None] = mapped_column(ForeignKey("incident.id", ondelete="CASCADE"), index=True)
    pipeline_id: Mapped[int | None] = mapped_column(index=True)
    execution_id: Mapped[int | None] = mapped_column(index=True)
    task_id: Mapped[UUID | None]


class Channel(Base):
    """Where alerts go, and how that goes. ``default`` is Slack where its webhook is set, and else the log.

    One process at a time sends to a channel: the one that holds its ``lease``. ``failures`` counts those in a row since
    ``failing_since``; nothing is sent before ``paused_until``, which stays when that moment is over. ``gone`` says that
    the other side knows the channel no more.

    ``spec`` is what its type needs, as the file has it; secrets that were given in plain stand encrypted in
    ``secrets``, and in ``spec`` as ``{"stored": true}``. ``origin`` names the file that it comes from, None for one
    made by the API or the pages. ``cap_tokens`` messages could be sent at ``cap_at`` under its cap.
    """

    __tablename__ = "channel"

    name: Mapped[str] = mapped_column(String(50), primary_key=True)
    lease: Mapped[UUID | None]
    leased_until: Mapped[Timestamp | None]
    failures: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    failing_since: Mapped[Timestamp | None]
    paused_until: Mapped[Timestamp | None]
    gone: Mapped[bool] = mapped_column(server_default=text("false"))
    last_sent_at: Mapped[Timestamp | None]
    last_error: Mapped[str | None] = mapped_column(Text)
    type: Mapped[str] = mapped_column(String(20), server_default=text("'default'"))
    spec: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    secrets: Mapped[bytes | None] = mapped_column(LargeBinary)
    origin: Mapped[str | None] = mapped_column(Text)
    cap_tokens: Mapped[float | None] = mapped_column(Double)
    cap_at: Mapped[Timestamp | None]
    updated_at: Mapped[Timestamp | None]


class AlertingObject(Base):
    """A route, a calendar or a window, as the file has it, or what it says of pipelines.

    Routes are asked in the order of their positions. The name of what is said of pipelines is the glob of their names.
    ``origin`` names the file that it comes from, None for one made by the API or the pages.
    """

    __tablename__ = "alerting_object"
    __table_args__ = (
        UniqueConstraint("kind", "name"),
        CheckConstraint("kind IN ('route', 'calendar', 'window', 'pipeline')", name="kind"),
    )

    id: Mapped[BigId]
    kind: Mapped[str] = mapped_column(String(10))
    name: Mapped[str] = mapped_column(String(1000))
    position: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    spec: Mapped[dict[str, Any]] = mapped_column(JSONB)
    origin: Mapped[str | None] = mapped_column(Text)
    updated_at: Mapped[Timestamp] = mapped_column(server_default=func.now())


class Notification(Base):
    """An alert on its way to one channel.

    ``state`` is waiting, sending, sent, merged (another message, that of ``sent_in``, says it too), given_up, or
    skipped (there was nothing to say there, as ``reason`` tells). With
    ``perhaps_sent`` an answer was lost, so it may have arrived twice. ``refused`` says that the channel did not take
    this message when it was tried last, which tells nothing of others. Somebody had it tried again at ``asked_at``.
    ``sent_to`` is the kind of place, such as slack or log. ``ref`` is what the channel calls the message, for later
    ones of the same incident. Of one in parts, such as for several recipients, ``arrived`` has those that got there
    although the whole did not. ``route`` sent it there, and ``reason`` says why it waits, for one that is held back.
    """

    __tablename__ = "notification"
    __table_args__ = (
        UniqueConstraint("alert_id", "channel"),
        CheckConstraint("state IN ('waiting', 'sending', 'sent', 'merged', 'given_up', 'skipped')", name="state"),
        Index("ix_notification_waiting", "channel", "id", postgresql_where=text("state IN ('waiting', 'sending')")),
        Index(None, "sent_in", postgresql_where=text("sent_in IS NOT NULL")),
        Index(None, "ref", postgresql_where=text("ref IS NOT NULL")),
    )

    id: Mapped[BigId]
    alert_id: Mapped[int] = mapped_column(ForeignKey("alert.id", ondelete="CASCADE"))
    channel: Mapped[str] = mapped_column(String(50))
    state: Mapped[str] = mapped_column(String(10), server_default=text("'waiting'"))
    created_at: Mapped[CreatedAt]
    next_try_at: Mapped[Timestamp] = mapped_column(server_default=func.now())
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    perhaps_sent: Mapped[bool] = mapped_column(server_default=text("false"))
    refused: Mapped[bool] = mapped_column(server_default=text("false"))
    asked_at: Mapped[Timestamp | None]
    sent_at: Mapped[Timestamp | None]
    sent_to: Mapped[str | None] = mapped_column(String(20))
    sent_in: Mapped[int | None] = mapped_column(ForeignKey("notification.id", ondelete="SET NULL"))
    last_error: Mapped[str | None] = mapped_column(Text)
    ref: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    route: Mapped[str | None] = mapped_column(Text)
    arrived: Mapped[list[str] | None] = mapped_column(JSONB)


class ChannelView(Base):
    """What a process, an api or a worker, knows of each channel, so that one that lacks a secret is found.

    ``known`` has, by the name of a channel, a mark that is the same in each process that has the same secrets, or
    ``{"problem": why}``. The process was alive at ``seen_at``.
    """

    __tablename__ = "channel_view"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    host: Mapped[str] = mapped_column(Text)
    pid: Mapped[int] = mapped_column(Integer)
    seen_at: Mapped[CreatedAt]
    known: Mapped[dict[str, Any]] = mapped_column(JSONB)
