"""What came of one try to send an alert, and after which pauses it is tried again."""

from collections.abc import Collection
from dataclasses import dataclass

# A notification that failed is tried again after these seconds, and then every quarter of an hour.
_RETRY_SECONDS = (5.0, 30.0, 120.0, 300.0, 900.0)
# A channel is left alone for these seconds after this many failures in a row, and for longer with each further one.
_FAILURES_IN_A_ROW = 5
_CHANNEL_SECONDS = (60.0, 120.0, 300.0, 900.0)
# No channel is left alone for longer, whatever it asks for. One that is gone is probed at this pace.
LONGEST_PAUSE_SECONDS = 900.0


@dataclass(frozen=True)
class Outcome:
    """How a try ended: it arrived at ``sent_to``, such as slack or log, or ``error`` says without secrets why not.

    Of a message that arrived, ``error`` says what of it did not. ``perhaps_sent``: it was handed over and the answer
    was lost. ``pause_seconds``: the other side asked for this pause, before any other message is sent. ``gone``: it
    knows the channel no more. ``refused``: it did not take this message, and may take others. ``ref`` is what it calls
    the message, for those that come after. ``arrived`` has the parts of a message that have arrived although the whole
    did not, such as recipients.
    """

    sent_to: str | None = None
    error: str | None = None
    perhaps_sent: bool = False
    pause_seconds: float | None = None
    gone: bool = False
    refused: bool = False
    ref: str | None = None
    arrived: Collection[str] = ()


def retry_seconds(attempts: int) -> float:
    """Seconds until a notification is tried again that has been tried this many times, at least once."""
    return _RETRY_SECONDS[min(attempts, len(_RETRY_SECONDS)) - 1]


def channel_seconds(outcome: Outcome, failures: int) -> float:
    """Seconds for which a channel is left alone after a failure, the ``failures``-th in a row; 0 for none."""
    if outcome.pause_seconds is not None:
        return min(outcome.pause_seconds, LONGEST_PAUSE_SECONDS)
    if outcome.gone:
        return LONGEST_PAUSE_SECONDS
    if failures < _FAILURES_IN_A_ROW:
        return 0.0
    return _CHANNEL_SECONDS[min(failures - _FAILURES_IN_A_ROW, len(_CHANNEL_SECONDS) - 1)]
