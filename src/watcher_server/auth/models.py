"""Tokens, and how many logins failed."""

from sqlalchemy import BigInteger, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, BigId, CreatedAt, Timestamp


class ApiToken(Base):
    """A token's SHA-256; the token itself is shown once and never stored."""

    __tablename__ = "api_token"

    id: Mapped[BigId]
    name: Mapped[str] = mapped_column(String(150), unique=True)
    scope: Mapped[str] = mapped_column(String(10))
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    created_at: Mapped[CreatedAt]
    last_used_at: Mapped[Timestamp | None]


class FailedLoginCount(Base):
    """How many wrong tokens were shown in one way: ``bearer``, ``cookie`` or ``form``. Every api process adds to it."""

    __tablename__ = "failed_login_count"

    kind: Mapped[str] = mapped_column(String(10), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)
