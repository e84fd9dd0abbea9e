"""What waits for a channel, and what of it is said next."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

# More openings than this within five minutes are a storm: they are gathered into one message.
MOST_OPENINGS = 50
_GATHER_SECONDS = 60.0


@dataclass(frozen=True)
class Waiting:
    """A notification that was not sent; of two about one incident that with the lower ``id`` comes first.

    ``due_seconds`` is since when it may be sent, negative when it may not yet. ``held``: it would have been sent by
    now, had the channel taken it. ``opening``: it says that incidents opened. ``refused``: the channel did not take
    this message, and may take others.
    """

    id: int
    due_seconds: float
    held: bool
    critical: bool
    opening: bool
    refused: bool
    incidents: frozenset[int]

    @property
    def is_due(self) -> bool:
        """Whether it may be sent now, as far as it alone is concerned."""
        return self.due_seconds >= 0


@dataclass(frozen=True)
class Backlog:
    """What waits for a channel, by id, and how many openings of the last five minutes it was told one by one."""

    waiting: Sequence[Waiting]
    told_openings: int


@dataclass(frozen=True)
class Next:
    """The notification to send, and those before it that need not be sent any more once it has arrived."""

    id: int
    instead_of: Sequence[int] = ()


@dataclass(frozen=True)
class Storm:
    """The openings to gather into one message."""

    ids: Sequence[int]


# What waits by ix_notification_waiting, its incidents by ix_alert_subject_alert_id. A message that gathers others, as
# ix_notification_sent_in tells, is no opening: it would be gathered again. A claim whose sender died counts as waiting.
# What is held back for a reason keeps nothing waiting, and comes when its time has come.
# Alerts of the last five minutes by ix_alert_created_at, and the notification of each by its unique key.
_BACKLOG = """
SELECT notification.id, extract(epoch FROM now() - next_try_at)::float8 AS due_seconds,
    attempts > 0 OR next_try_at < coalesce(paused_until, '-infinity') AS held,
    level = 'CRITICAL' AS critical,
    coalesce(change IN ('opened', 'reopened'), false)
        AND NOT EXISTS (SELECT FROM notification AS gathered WHERE gathered.sent_in = notification.id) AS opening,
    refused,
    ARRAY(SELECT DISTINCT incident_id FROM alert_subject AS subject
        WHERE subject.alert_id = alert.id AND incident_id IS NOT NULL) AS incidents,
    (SELECT count(*) FROM alert AS recent JOIN notification AS told ON told.alert_id = recent.id
        WHERE recent.created_at > now() - interval '5 minutes' AND recent.change IN ('opened', 'reopened')
            AND told.channel = :channel AND told.state = 'sent') AS told_openings
FROM notification
JOIN alert ON alert.id = notification.alert_id
LEFT JOIN channel ON channel.name = notification.channel
WHERE notification.channel = :channel AND notification.state IN ('waiting', 'sending')
    AND CASE WHEN reason IS NOT NULL THEN next_try_at <= now()
        ELSE coalesce(asked_at, notification.created_at) >= now() - make_interval(hours => :max_age_hours) END
ORDER BY notification.id
"""


def read_backlog(connection: Connection, channel: str, max_age_hours: int) -> Backlog:
    """What waits for the channel and is not too old to be told."""
    rows = connection.execute(text(_BACKLOG), {"channel": channel, "max_age_hours": max_age_hours}).all()
    waiting = [
        Waiting(row.id, row.due_seconds, row.held, row.critical, row.opening, row.refused, frozenset(row.incidents))
        for row in rows
    ]
    return Backlog(waiting, rows[0].told_openings if rows else 0)


def choose(backlog: Backlog) -> Next | Storm | None:
    """What is said next: what is critical first, else the oldest, and of each incident one after the other.

    None while nothing is due. What an earlier notification about one of its incidents waits for, it waits for too.
    """
    of_incidents: dict[int, list[Waiting]] = defaultdict(list)
    for each in backlog.waiting:
        for incident in each.incidents:
            of_incidents[incident].append(each)
    openings = [each for each in backlog.waiting if _may_be_gathered(each, of_incidents)]
    is_storm = len(openings) > 1 and backlog.told_openings + len(openings) > MOST_OPENINGS
    # While a storm lasts, openings are gathered for a minute before they are told, unless there are enough.
    if is_storm and (len(openings) > MOST_OPENINGS or max(each.due_seconds for each in openings) >= _GATHER_SECONDS):
        return Storm([each.id for each in openings])
    held_back = {each.id for each in openings} if is_storm else set()
    # What comes before something critical about the same incident is as urgent: the critical one waits for it.
    urgent = {incident for incident, told in of_incidents.items() if any(each.critical for each in told)}
    by_urgency = sorted(backlog.waiting, key=lambda each: (not (each.critical or each.incidents & urgent), each.id))
    for candidate in by_urgency:
        if candidate.is_due and candidate.id not in held_back and not _before(candidate, of_incidents):
            return _newest_state(candidate, of_incidents)
    return None


def _may_be_gathered(each: Waiting, of_incidents: Mapping[int, Sequence[Waiting]]) -> bool:
    """Whether it is an opening that is due, and the only thing that waits to be said of its incidents."""
    is_alone = all(len(of_incidents[incident]) == 1 for incident in each.incidents)
    return each.opening and each.is_due and not each.refused and is_alone


def _before(each: Waiting, of_incidents: Mapping[int, Sequence[Waiting]]) -> set[Waiting]:
    """The earlier ones that share an incident with it."""
    return {other for incident in each.incidents for other in of_incidents[incident] if other.id < each.id}


def _newest_state(first: Waiting, of_incidents: Mapping[int, Sequence[Waiting]]) -> Next:
    """The last of what the channel kept from being said about these incidents, which then says it all.

    It has to be about every incident of those that it is sent instead of: nothing is left unsaid.
    """
    if not first.held:
        return Next(first.id)
    later = {other for incident in first.incidents for other in of_incidents[incident] if other.id > first.id}
    for last in sorted(later, key=lambda each: each.id, reverse=True):
        before = _before(last, of_incidents)
        is_said = all(each.incidents <= last.incidents and _was_held(each, of_incidents) for each in before)
        if last.is_due and not last.refused and is_said:
            return Next(last.id, sorted(each.id for each in before))
    return Next(first.id)


def _was_held(each: Waiting, of_incidents: Mapping[int, Sequence[Waiting]]) -> bool:
    """Whether it waited for the channel, by itself or behind an earlier one of its incidents that did."""
    return each.held or any(other.held for other in _before(each, of_incidents))
