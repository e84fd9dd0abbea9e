"""What requests with a key of their caller were answered, and how many requests had fields that were ignored."""

from sqlalchemy import BigInteger, Index, LargeBinary, SmallInteger, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from watcher_server.database.base import Base, CreatedAt


class IdempotencyKey(Base):
    """The first answer to a key, which is the answer to each later request with it, for a day.

    ``caller`` is the id of the token, 0 without one. ``fingerprint`` is the SHA-256 of the request's path and body:
    the same key with another is refused.
    """

    __tablename__ = "idempotency_key"
    __table_args__ = (Index(None, "created_at"),)

    caller: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    status: Mapped[int] = mapped_column(SmallInteger)
    answer: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[CreatedAt]


class IgnoredFieldCount(Base):
    """How many requests to a path had fields that it does not know. Every api process adds to it."""

    __tablename__ = "ignored_field_count"

    path: Mapped[str] = mapped_column(Text, primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)
