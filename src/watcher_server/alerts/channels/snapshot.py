"""An alert as it is when it is sent: all that a channel needs to render it, read in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime


@dataclass(frozen=True)
class About:
    """An incident that a message is about.

    Attributes:
        id: its number.
        key: the same for all messages about it, and no other's, also of another Watcher.
        kind: what is wrong.
        level: how bad it is.
        subject: the pipeline, queue, task or channel that it is about.
        detail: it in one line.
        is_over: it is resolved.
        opened_at: when it opened, UTC.
        owner: who has the pipeline, if that is known.
        link: its page; None where Watcher's public address is not set.
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

    Attributes:
        key: the same whenever this message is sent, and no other's.
        text: the alert as docs/alerts.md has it.
        details: pairs of label and value.
        change: what happened to the incidents; None for a message about none.
        incidents: those that it is about.
        parents: the earlier messages about them; a message belongs to the thread of its only one.
        arrived: the parts of it that have arrived before, such as recipients.
        link: the page of its incident, or of all; None where Watcher's public address is not set.
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
        """Whether it says that something is over."""
        return self.change == "resolved" or self.level == "RESOLVED"

    def with_arrived(self, *parts: str) -> "Snapshot":
        """The same, of which these parts have arrived too."""
        return replace(self, arrived=self.arrived | set(parts))


def shorten(text: str, longest: int) -> str:
    """The text, cut to this many characters with a sign that something is missing."""
    return text if len(text) <= longest else text[: longest - 1] + "…"
