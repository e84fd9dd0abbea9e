"""An alert as it is when it is sent: all that a channel needs to render it, read in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class About:
    """An incident that a message is about. Times are UTC.

    ``key`` is the same for all messages about it, and no other's, also of another Watcher. ``subject`` is the pipeline,
    queue, task or channel that it is about, ``owner`` who has the pipeline, if that is known. ``link`` is its page,
    None where Watcher's public address is not set.
    """

    id: int
    key: str
    kind: str
    level: str
    subject: str
    detail: str
    is_over: bool
    opened_at: datetime
    owner: str | None = None
    link: str | None = None


@dataclass(frozen=True)
class Parent:
    """The first message about the same incidents on the same channel: its reference there, and how it read.

    ``is_over`` says that each of its incidents is resolved.
    """

    ref: str
    text: str
    is_over: bool


@dataclass(frozen=True)
class Snapshot:
    """An alert on its way to one channel.

    ``key`` is the same whenever this message is sent, and no other's. ``text`` is the alert as docs/alerts.md has it,
    ``details`` are pairs of label and value. ``change`` is what happened to the ``incidents``, None where it is about
    none; ``parents`` are the earlier messages about them, and a message belongs to the thread of its only one.
    ``arrived`` has the parts of it that have arrived before, such as recipients. ``link`` is the page of its incident,
    or of all; None where Watcher's public address is not set.
    """

    key: str
    level: str
    title: str
    message: str
    created_at: datetime
    text: str
    details: Sequence[tuple[str, str]] = ()
    kind: str | None = None
    change: str | None = None
    incidents: Sequence[About] = ()
    parents: Sequence[Parent] = ()
    arrived: frozenset[str] = field(default=frozenset())
    link: str | None = None

    @property
    def thread(self) -> str | None:
        """The reference of the message that it belongs under; None for one that stands by itself."""
        return self.parents[0].ref if len(self.parents) == 1 else None

    @property
    def is_over(self) -> bool:
        return self.change == "resolved" or self.level == "RESOLVED"


def shorten(text: str, longest: int) -> str:
    """The text, cut to this many characters with a sign that something is missing."""
    return text if len(text) <= longest else text[: longest - 1] + "…"
