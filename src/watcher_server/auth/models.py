"""Tokens, people, their sessions, and how many logins failed."""

from sqlalchemy import BigInteger, ForeignKey, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, BigId, CreatedAt, Timestamp


class ApiToken(Base):
    """A token's SHA-256; the token itself is shown once and never stored.

    ``purpose`` says whose it is or what for. It works until ``expires_at``, the one before its last rotation
    (``previous_hash``) until ``previous_until``.
    """

    __tablename__ = "api_token"

    id: Mapped[BigId]
    name: Mapped[str] = mapped_column(String(150), unique=True)
    scope: Mapped[str] = mapped_column(String(10))
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    created_at: Mapped[CreatedAt]
    last_used_at: Mapped[Timestamp | None]
    purpose: Mapped[str | None] = mapped_column(String(300))
    expires_at: Mapped[Timestamp | None]
    previous_hash: Mapped[bytes | None] = mapped_column(LargeBinary, unique=True)
    previous_until: Mapped[Timestamp | None]


class Person(Base):
    """A person whom a provider of logins (OIDC) knows, by issuer and subject: names and e-mails change hands.

    ``scope`` is what their roles gave at the last login. A person with ``blocked_at`` cannot log in.
    """

    __tablename__ = "person"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)

    id: Mapped[BigId]
    issuer: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(String(150))
    scope: Mapped[str] = mapped_column(String(10))
    created_at: Mapped[CreatedAt]
    last_login_at: Mapped[CreatedAt]
    blocked_at: Mapped[Timestamp | None]


class LoginSession(Base):
    """A browser that logged in with a token or as a person: the SHA-256 of what its cookie holds.

    A session that ended stays for a day, with ``ended_why``, so that its browser can be told. One whose token was
    deleted has neither a token nor a person.
    """

    __tablename__ = "login_session"

    id: Mapped[BigId]
    session_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    token_id: Mapped[int | None] = mapped_column(ForeignKey("api_token.id", ondelete="SET NULL"), index=True)
    person_id: Mapped[int | None] = mapped_column(ForeignKey("person.id", ondelete="SET NULL"), index=True)
    created_at: Mapped[CreatedAt]
    last_used_at: Mapped[CreatedAt]
    address: Mapped[str] = mapped_column(String(100))
    browser: Mapped[str] = mapped_column(String(200))
    ended_at: Mapped[Timestamp | None]
    ended_why: Mapped[str | None] = mapped_column(String(10))


class FailedLoginCount(Base):
    """How many wrong tokens were shown in one way, such as ``bearer``. Every api process adds to it."""

    __tablename__ = "failed_login_count"

    kind: Mapped[str] = mapped_column(String(10), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)
