"""The HTTP shapes of the deliveries of alerts."""

from datetime import datetime
from enum import StrEnum

from watcher_server.kit.fields import ResponseBody


class NotificationState(StrEnum):
    """How far a delivery is."""

    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    MERGED = "merged"
    GIVEN_UP = "given_up"
    SKIPPED = "skipped"


class NotificationResponse(ResponseBody):
    """An alert on its way to one channel.

    It is tried again at ``next_try_at`` while it waits. ``sent_to`` is slack or log, ``sent_in`` the notification that
    says it too, for one that was merged. With ``perhaps_sent`` an answer was lost, so it may have arrived twice. With
    ``refused`` the channel did not take this message when it was tried last, and may take others. ``last_error`` is
    why it did not arrive. ``route`` sent it there; ``reason`` is why it is held back, or why it was skipped.
    """

    id: int
    alert_id: int
    channel: str
    state: NotificationState
    created_at: datetime
    next_try_at: datetime
    attempts: int
    perhaps_sent: bool
    refused: bool
    asked_at: datetime | None
    sent_at: datetime | None
    sent_to: str | None
    sent_in: int | None
    last_error: str | None
    reason: str | None
    route: str | None


class ChannelTested(ResponseBody):
    """What came of the test of a channel: ``arrived`` when both of its messages did.

    ``error`` says why not, or what of them did not work although they arrived.
    """

    channel: str
    arrived: bool
    sent_to: str | None
    error: str | None
