"""What waits, failed, is late or runs by schedule, read from Watcher's own tables, and the checks of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from watcher_server.alerts.broken import find_broken
from watcher_server.alerts.views import find_differences
from watcher_server.diagnostics.checks import Check, Verdict, act_if, counted, judge_from, look_if
from watcher_server.diagnostics.sessions import Sessions
from watcher_server.incidents.heartbeat import UnansweredCalls, find_unanswered_calls
from watcher_server.kit.durations import duration_text
from watcher_server.openlineage.counting import NOTHING_WAITS, Waiting, read_waiting, stuck_text
from watcher_server.settings import Settings
from watcher_server.tasking.history.overdue import measure_overdue_checks
from watcher_server.tasking.queues.depths import QueueState
from watcher_server.tasking.wire import QUEUES
from watcher_server.tasking.workers.service import KnownWorker, WorkerState, list_workers


@dataclass(frozen=True)
class WorkFacts:
    """The work of Watcher itself.

    Of the outbox: rows that are ``due``, those that are due for more than a minute (``overdue_messages``), and those
    that wait for their moment (``later``). ``failed`` tasks failed for good and are kept, ``failed_lately`` of them
    within 24 hours. Alerts that wait for more than a minute are ``alerts_late``, and given up when they are too old.
    ``events`` are those of OpenLineage that are not applied. ``channels_differing`` are not known alike by all
    processes. ``unanswered`` are calls of the heartbeat URL. ``unsummed_seconds`` is how long a day has been ready to
    be summed: 0 if none is, None before the first sum. ``overdue`` has for each scheduled task the seconds since it
    should have run; unknown ones are left out. Times are UTC; ``broker_answered_at`` is the last full minute at which a
    sample of the queues reached the broker. Of the pipelines that started runs within the hour, ``clocks_ahead`` were
    reported by a clock that is more than a minute ahead, by ``most_ahead_seconds`` at most.
    """

    due: int
    overdue_messages: int
    later: int
    oldest_seconds: float | None
    failed_lately: int
    failed: int
    alerts_late: int
    alerts_oldest_seconds: float | None
    alerts_given_up: int
    unsummed_seconds: float | None
    changes: int
    cleaned_up_at: datetime | None
    broker_answered_at: datetime | None
    clocks_ahead: int
    most_ahead_seconds: float | None
    overdue: Mapping[str, float]
    workers: Sequence[KnownWorker]
    channels_broken: int = 0
    channels_differing: int = 0
    unanswered: UnansweredCalls | None = None
    events: Waiting = NOTHING_WAITS


# The outbox is read whole, as by the measurement of the queues. Tasks by ix_task_failed, ix_task_finished_at and
# ix_task_name_created_at. What was not sent by ix_notification_waiting; of other alerts there are few. Samples are read
# backwards from the newest by their primary key. More changed days than 100,000 need not be counted. The newest runs by
# ix_pipeline_execution_start_date.
_WORK = """
SELECT outbox.*, task.*, alert.*, given_up.*, clock.*,
    (SELECT greatest(0, extract(epoch FROM now() - interval '1 hour' - (summed_before + 1)::timestamp
        AT TIME ZONE 'UTC'))::float8 FROM daily_pipeline_metric_progress WHERE isfinite(summed_before))
        AS unsummed_seconds,
    (SELECT count(*) FROM (SELECT FROM daily_pipeline_metric_change
        WHERE date_recorded < (SELECT summed_before FROM daily_pipeline_metric_progress) LIMIT 100000) AS change
    ) AS changes,
    (SELECT coalesce(finished_at, created_at) FROM task WHERE name = 'retention_task' AND state = 'SUCCESS'
        ORDER BY created_at DESC LIMIT 1) AS cleaned_up_at,
    (SELECT max(sampled_at) FROM queue_depth_sample WHERE ready IS NOT NULL) AS broker_answered_at
FROM (
    SELECT count(*) FILTER (WHERE due_at <= now()) AS due,
        count(*) FILTER (WHERE due_at <= now() - interval '1 minute') AS overdue_messages,
        count(*) FILTER (WHERE due_at > now()) AS later,
        extract(epoch FROM now() - min(due_at) FILTER (WHERE due_at <= now()))::float8 AS oldest_seconds
    FROM outbox
) AS outbox, (
    SELECT count(*) AS failed, count(*) FILTER (WHERE finished_at > now() - interval '24 hours') AS failed_lately
    FROM task WHERE state = 'FAILURE'
) AS task, (
    SELECT count(*) AS alerts_late, extract(epoch FROM now() - min(created_at))::float8 AS alerts_oldest_seconds
    FROM notification
    WHERE state IN ('waiting', 'sending') AND reason IS NULL AND created_at < now() - interval '1 minute'
) AS alert, (
    SELECT count(*) AS alerts_given_up FROM notification
    WHERE state = 'given_up' AND created_at > now() - interval '7 days'
) AS given_up, (
    SELECT count(DISTINCT pipeline_id) AS clocks_ahead, extract(epoch FROM max(ahead))::float8 AS most_ahead_seconds
    FROM (
        SELECT pipeline_id, greatest(start_skew, end_skew) AS ahead FROM pipeline_execution
        WHERE start_date > now() - interval '1 hour' ORDER BY start_date DESC LIMIT 10000
    ) AS run
    WHERE ahead > interval '1 minute'
) AS clock
"""

_CLOCKS_AHEAD = (
    "SELECT pipeline_id, max(greatest(start_skew, end_skew)) FROM pipeline_execution "
    "WHERE start_date > now() - interval '1 hour' GROUP BY pipeline_id ORDER BY 2 DESC NULLS LAST LIMIT 20"
)


def read_work(connection: Connection, settings: Settings) -> WorkFacts:
    """The work that waits or failed, and the workers."""
    facts = connection.execute(text(_WORK)).one()
    workers = list_workers(connection)
    starts = [worker.started_at for worker in workers if worker.state is WorkerState.ALIVE]
    return WorkFacts(
        **facts._asdict(),
        overdue=measure_overdue_checks(connection, settings, min(starts, default=None)),
        workers=workers,
        channels_broken=len(find_broken(connection)),
        channels_differing=len(find_differences(connection)),
        unanswered=find_unanswered_calls(connection),
        events=read_waiting(connection),
    )


def judge_workers(work: WorkFacts, queues: QueueState | None) -> list[Check]:
    """The checks of the workers; ``queues`` is None if it could not be read."""
    living = [worker for worker in work.workers if worker.state is WorkerState.ALIVE]
    died = sum(worker.state is WorkerState.DIED for worker in work.workers)
    active, processes = sum(worker.active for worker in living), sum(worker.processes for worker in living)
    unserved = [] if queues is None else [queue for queue in queues.queues if not queues.workers.get(queue)]
    own = [queue for queue in unserved if queue in QUEUES]
    served = Check(
        "Queues without a worker",
        counted(len(unserved), "queue") if unserved else "none",
        "none",
        act_if(unserved),
        "Start a worker that serves them: nothing takes what is in them.",
        [f"watcher worker --queues {','.join(own)}"] if own else [],
    )
    return [
        Check(
            "Alive",
            counted(len(living), "worker") if living else "none",
            "one or more, seen within 30 s",
            act_if(not living),
            "Start a worker on any machine, and read the log of the last one; what waits runs then.",
            ["watcher worker"],
        ),
        Check(
            "Died within the hour",
            counted(died, "worker") if died else "none",
            "none",
            look_if(died),
            "Read its log and the system's: it was killed, often for its memory; its tasks run on another.",
            ["journalctl -k | grep -i oom"],
        ),
        Check(
            "Processes at work",
            f"{active:,} of {processes:,}",
            "any number, as long as the queues do not grow",
            Verdict.OK,
            "Start another worker, or raise WATCHER_WORKER_PROCESSES, when all are at work and the queues grow.",
        ),
        *([] if queues is None else [served]),
    ]


def judge_outbox(work: WorkFacts, sessions: Sessions | None) -> list[Check]:
    """The checks of the way from the database to the broker; ``sessions`` is None if it could not be read."""
    oldest = work.oldest_seconds
    parts = [
        f"{work.due:,} due",
        "" if oldest is None else f"the oldest for {duration_text(oldest)}",
        f"{work.overdue_messages:,} for more than a minute" if work.overdue_messages else "",
        f"{work.later:,} for later" if work.later else "",
    ]
    waiting = Check(
        "Waiting to be published",
        ", ".join(filter(None, parts)),
        "none due for 60 s, unless it waits for its rate limit",
        judge_from(oldest or 0.0, 60, 3600),
        "Wait as long as “Drains in” says if it is a backfill, lift a limit, or see whether the broker answers.",
        ["watcher limits set TASK none --minutes 60"],
    )
    if sessions is None:
        return [waiting]
    return [
        waiting,
        Check(
            "Relays",
            f"{sessions.relays:,} at work" if sessions.relays else "none",
            "one in every api and worker process",
            act_if(not sessions.relays),
            "Start an api or a worker without WATCHER_RELAY_ENABLED=false: nothing leaves the outbox.",
        ),
        Check(
            "Keeper",
            "at work in one process" if sessions.kept else "none",
            "one of all processes; another takes over within seconds",
            act_if(not sessions.kept),
            "Start an api or a worker without WATCHER_RELAY_ENABLED=false: lost tasks are not put back.",
        ),
    ]


def judge_queues(queues: QueueState, settings: Settings) -> list[Check]:
    """The check of the fullest queue."""
    pending = max((load.pending for load in queues.queues.values()), default=0)
    verdict = judge_from(pending, settings.queue_alert_info, settings.queue_alert_critical)
    rest = "" if queues.broker_error is None else "; what is in the broker is not known"
    return [
        Check(
            "Pending in the fullest queue",
            f"{counted(pending, 'task')}{rest}",
            f"below {settings.queue_alert_info:,}; {settings.queue_alert_critical:,} is critical",
            Verdict.UNKNOWN if rest and verdict is Verdict.OK else verdict,
            "Wait as long as “Drains in” says, or start more workers if all their processes are at work.",
            [] if verdict is Verdict.OK else ["watcher worker"],
        )
    ]


def judge_tasks(work: WorkFacts, settings: Settings) -> list[Check]:
    """The checks of tasks that failed and of alerts that did not arrive."""
    late, oldest, given_up = work.alerts_late, work.alerts_oldest_seconds, work.alerts_given_up
    parts = [
        f"{late:,} late",
        f"the oldest for {duration_text(oldest)}" if late and oldest is not None else "",
        f"{given_up:,} given up within 7 days" if given_up else "",
    ]
    alerts = judge_from((oldest or 0.0) if late else 0.0, 60, 3600)
    channel = "the log" if settings.slack_webhook_url is None else "WATCHER_SLACK_WEBHOOK_URL"
    return [
        Check(
            "Tasks failed in 24 hours",
            f"{work.failed_lately:,}, and {work.failed:,} are kept in all",
            "none",
            look_if(work.failed_lately),
            "Read their errors, put the cause right, then run them again: tasks are safe to run twice.",
            ["watcher tasks list --state FAILURE", "watcher tasks retry --all-failed"],
        ),
        Check(
            "Alerts not delivered",
            ", ".join(filter(None, parts)) if late or given_up else "none",
            "none for a minute",
            look_if(given_up) if alerts is Verdict.OK else alerts,
            f"Read why on the page of alerts; they go to {channel}, and are tried again until they are too old.",
        ),
        _judge_channels(work),
        _judge_heartbeat(work, settings),
        _judge_events(work.events),
    ]


def _judge_channels(work: WorkFacts) -> Check:
    broken, differing = work.channels_broken, work.channels_differing
    parts = [
        f"{broken:,} broken" if broken else "",
        f"{differing:,} not known alike by all processes" if differing else "",
    ]
    return Check(
        "Channels of alerts",
        ", ".join(filter(None, parts)) or "all deliver",
        "none broken, and all processes know them",
        act_if(broken or differing),
        "Read which and why; give api and workers the same settings and secrets, and test the channel.",
        ["watcher status"] if broken or differing else [],
    )


def _judge_heartbeat(work: WorkFacts, settings: Settings) -> Check:
    well = "not set" if settings.heartbeat_url is None else "answers"
    unanswered = work.unanswered
    return Check(
        "Heartbeat URL",
        well if unanswered is None else f"{unanswered.error}, for {duration_text(unanswered.seconds)}",
        "answers each minute, where it is set",
        act_if(unanswered),
        "Correct WATCHER_HEARTBEAT_URL, or look at its other side: nobody hears whether Watcher is well.",
    )


def _judge_events(events: Waiting) -> Check:
    commands = ["watcher openlineage failed", "watcher openlineage replay --failed"]
    return Check(
        "Events of OpenLineage",
        stuck_text(events) or (f"{events.waiting:,} waiting" if events.waiting else "all applied"),
        "none failed, none waits for 2m",
        act_if(stuck_text(events)),
        "Read why events failed and replay them when that is mended; if they only wait, start another worker.",
        commands if events.failed else ["watcher worker --queues scheduled"] if stuck_text(events) else [],
    )


def judge_upkeep(work: WorkFacts, settings: Settings, now: datetime) -> list[Check]:
    """The checks of what runs by schedule."""
    late = {task: seconds for task, seconds in work.overdue.items() if task != "retention_task"}
    longest = max(late.values(), default=0.0)
    behind, days = work.unsummed_seconds, settings.retention_days
    summed = "not begun" if behind is None else f"behind by {duration_text(behind)}" if behind else "up to date"
    # The task that sums a day runs hourly.
    sums = judge_from(behind or 0.0, 3 * 3600, 2 * 86_400)
    ahead = work.most_ahead_seconds
    cleaned = "not yet"
    if work.cleaned_up_at is not None:
        cleaned = f"last {duration_text((now - work.cleaned_up_at).total_seconds())} ago"
    return [
        Check(
            "Scheduled checks",
            (f"late by {duration_text(longest)}" if longest >= 1 else "on time") if late else "none has run yet",
            "late by less than 2m",
            judge_from(longest, 120, 900) if late else Verdict.LOOK,
            "See that one beat and a worker run: without them nothing is checked.",
            ["watcher beat", "watcher worker"],
        ),
        Check(
            "Daily sums",
            summed + (f", {counted(work.changes, 'changed day')} to be summed again" if work.changes else ""),
            "behind by less than 3h, fewer than 10,000 changed days",
            judge_from(work.changes, 10_000) if sums is Verdict.OK else sums,
            "See that beat and a worker run, or that no old transaction is open; reports are exact, but slower.",
        ),
        Check(
            "Clocks of clients",
            f"{counted(work.clocks_ahead, 'pipeline')}, ahead by {duration_text(ahead)} at most" if ahead else "right",
            "less than 1m ahead",
            look_if(ahead),
            "Set those machines' clocks by NTP, or have their programs send dates with an offset; a run's page says "
            "how far ahead its clock is.",
            [_CLOCKS_AHEAD] if ahead else [],
        ),
        Check(
            "Retention",
            "off: everything is kept" if days is None else f"{days:,} days, {cleaned}",
            "off, or run by WATCHER_RETENTION_SCHEDULE",
            judge_from(0.0 if days is None else work.overdue.get("retention_task", 0.0), 3600, 2 * 86_400),
            "See whether retention_task failed, and that beat runs; what was missed is deleted by the next run.",
            ["watcher tasks list --name retention_task"],
        ),
    ]
