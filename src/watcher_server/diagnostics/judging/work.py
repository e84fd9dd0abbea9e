"""Workers, outbox, queues, failed tasks, alerts, and what is done by and by."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from watcher_server.diagnostics.checks import Check, Verdict, judge_from
from watcher_server.diagnostics.sessions import Sessions
from watcher_server.diagnostics.wording import counted
from watcher_server.diagnostics.work import WorkFacts
from watcher_server.kit.durations import duration_text
from watcher_server.queue_monitor.depths import QueueState
from watcher_server.queueing.configuration import QUEUES
from watcher_server.settings import Settings
from watcher_server.workers.service import KnownWorker, WorkerState

OLDEST_LOOK_SECONDS = 60.0
OLDEST_ACT_SECONDS = 3600.0
ALERT_LOOK_SECONDS = 60.0
ALERT_ACT_SECONDS = 3600.0
# A day is summed by a task that runs hourly.
UNSUMMED_LOOK_SECONDS = 3 * 3600.0
UNSUMMED_ACT_SECONDS = 2 * 86_400.0
CHANGES_LOOK = 10_000
OVERDUE_LOOK_SECONDS = 120.0
OVERDUE_ACT_SECONDS = 900.0
CLEANUP_LOOK_SECONDS = 3600.0
CLEANUP_ACT_SECONDS = 2 * 86_400.0

_RETENTION = "retention_task"


def judge_workers(workers: Sequence[KnownWorker], served: Mapping[str, int] | None) -> list[Check]:
    """The checks of the workers; ``served`` has how many living workers each queue has, None when it is not known."""
    living = [worker for worker in workers if worker.state is WorkerState.ALIVE]
    died = sum(worker.state is WorkerState.DIED for worker in workers)
    checks = [judge_living(len(living)), judge_died(died), judge_busy(living)]
    return checks if served is None else [*checks, judge_served(served)]


def judge_living(living: int) -> Check:
    """Whether anybody works."""
    return Check(
        title="Alive",
        figure=counted(living, "worker") if living else "none",
        normal="one or more, seen within 30 s",
        verdict=Verdict.OK if living else Verdict.ACT,
        remedy="Start a worker on any machine, and read the log of the last one; what waits runs then.",
        commands=() if living else ("watcher worker",),
    )


def judge_died(died: int) -> Check:
    """Whether workers ended without saying so."""
    return Check(
        title="Died within the hour",
        figure=counted(died, "worker") if died else "none",
        normal="none",
        verdict=Verdict.LOOK if died else Verdict.OK,
        remedy="Read its log and the system's: it was killed, often for its memory; its tasks run on another.",
        commands=("journalctl -k | grep -i oom",) if died else (),
    )


def judge_busy(living: Sequence[KnownWorker]) -> Check:
    """Whether a process is free; that none is for a moment is what they are for."""
    processes, active = sum(worker.processes for worker in living), sum(worker.active for worker in living)
    return Check(
        title="Processes at work",
        figure=f"{active:,} of {processes:,}",
        normal="any number, as long as the queues do not grow",
        verdict=Verdict.OK,
        remedy="Start another worker, or raise WATCHER_WORKER_PROCESSES, when all are at work and the queues grow.",
    )


def judge_served(served: Mapping[str, int]) -> Check:
    """Whether each queue has a worker."""
    unserved = [queue for queue, workers in served.items() if not workers]
    known = [queue for queue in unserved if queue in QUEUES]
    return Check(
        title="Queues without a worker",
        figure=counted(len(unserved), "queue") if unserved else "none",
        normal="none",
        verdict=Verdict.ACT if unserved else Verdict.OK,
        remedy="Start a worker that serves them: nothing takes what is in them.",
        commands=[f"watcher worker --queues {','.join(known)}"] if known else (),
    )


def judge_outbox(work: WorkFacts, sessions: Sessions | None) -> list[Check]:
    """The checks of the way from the database to the broker."""
    checks = [judge_waiting(work)]
    return checks if sessions is None else [*checks, judge_relays(sessions.relays), judge_keeper(kept=sessions.kept)]


def judge_waiting(work: WorkFacts) -> Check:
    """How much waits to be published, and for how long."""
    parts = [f"{work.due:,} due"]
    if work.oldest_seconds is not None:
        parts.append(f"the oldest for {duration_text(work.oldest_seconds)}")
    if work.overdue_messages:
        parts.append(f"{work.overdue_messages:,} for more than a minute")
    if work.later:
        parts.append(f"{work.later:,} for later")
    return Check(
        title="Waiting to be published",
        figure=", ".join(parts),
        normal=f"none due for {OLDEST_LOOK_SECONDS:.0f} s, unless it waits for its rate limit",
        verdict=judge_from(work.oldest_seconds or 0.0, OLDEST_LOOK_SECONDS, OLDEST_ACT_SECONDS),
        remedy="Wait as long as “Drains in” says if it is a backfill, lift a limit, or see whether the broker answers.",
        commands=("watcher limits set TASK none --minutes 60",)
        if (work.oldest_seconds or 0.0) >= OLDEST_LOOK_SECONDS
        else (),
    )


def judge_relays(relays: int) -> Check:
    """Whether anybody publishes."""
    return Check(
        title="Relays",
        figure=f"{relays:,} at work" if relays else "none",
        normal="one in every api and worker process",
        verdict=Verdict.OK if relays else Verdict.ACT,
        remedy="Start an api or a worker without WATCHER_RELAY_ENABLED=false: nothing leaves the outbox.",
    )


def judge_keeper(*, kept: bool) -> Check:
    """Whether anybody looks after lost tasks and late alerts."""
    return Check(
        title="Keeper",
        figure="at work in one process" if kept else "none",
        normal="one of all processes; another takes over within seconds",
        verdict=Verdict.OK if kept else Verdict.ACT,
        remedy="Start an api or a worker without WATCHER_RELAY_ENABLED=false: lost tasks are not put back.",
    )


def judge_queues(queues: QueueState, settings: Settings) -> list[Check]:
    """How much waits in the fullest queue."""
    pending = max((load.pending for load in queues.queues.values()), default=0)
    known = queues.broker_error is None
    rest = "" if known else "; what is in the broker is not known"
    verdict = judge_from(pending, settings.queue_alert_info, settings.queue_alert_critical)
    return [
        Check(
            title="Pending in the fullest queue",
            figure=f"{counted(pending, 'task')}{rest}",
            normal=f"below {settings.queue_alert_info:,}; {settings.queue_alert_critical:,} is critical",
            verdict=Verdict.UNKNOWN if verdict is Verdict.OK and not known else verdict,
            remedy="Wait as long as “Drains in” says, or start more workers if all their processes are at work.",
            commands=("watcher worker",) if verdict is not Verdict.OK else (),
        )
    ]


def judge_tasks(work: WorkFacts, settings: Settings) -> list[Check]:
    """Tasks and alerts that did not make it."""
    return [judge_failed(work.failed_lately, work.failed), judge_alerts(work, settings)]


def judge_failed(lately: int, kept: int) -> Check:
    """Tasks that failed for good."""
    return Check(
        title="Tasks failed in 24 hours",
        figure=f"{lately:,}, and {kept:,} are kept in all",
        normal="none",
        verdict=Verdict.LOOK if lately else Verdict.OK,
        remedy="Read their errors, put the cause right, then run them again: tasks are safe to run twice.",
        commands=("watcher tasks list --state FAILURE", "watcher tasks retry --all-failed") if lately else (),
    )


def judge_alerts(work: WorkFacts, settings: Settings) -> Check:
    """Alerts that did not arrive."""
    parts = [f"{work.alerts_late:,} late"]
    if work.alerts_late and work.alerts_oldest_seconds is not None:
        parts.append(f"the oldest for {duration_text(work.alerts_oldest_seconds)}")
    if work.alerts_given_up:
        parts.append(f"{work.alerts_given_up:,} given up within 7 days")
    oldest = (work.alerts_oldest_seconds or 0.0) if work.alerts_late else 0.0
    verdict = judge_from(oldest, ALERT_LOOK_SECONDS, ALERT_ACT_SECONDS)
    given_up = verdict is Verdict.OK and work.alerts_given_up > 0
    channel = "WATCHER_SLACK_WEBHOOK_URL" if settings.slack_webhook_url is not None else "the log"
    return Check(
        title="Alerts not delivered",
        figure=", ".join(parts) if work.alerts_late or work.alerts_given_up else "none",
        normal="none for a minute",
        verdict=Verdict.LOOK if given_up else verdict,
        remedy=f"Read why on the page of alerts; they go to {channel}, and are tried again every quarter of an hour.",
    )


def judge_upkeep(work: WorkFacts, settings: Settings, now: datetime) -> list[Check]:
    """What is done by schedule."""
    return [judge_schedule(work.overdue), judge_sums(work), judge_retention(work, settings, now)]


def judge_schedule(overdue: Mapping[str, float]) -> Check:
    """Whether scheduled checks run when they should."""
    late = {task: seconds for task, seconds in overdue.items() if task != _RETENTION}
    longest = max(late.values(), default=0.0)
    verdict = judge_from(longest, OVERDUE_LOOK_SECONDS, OVERDUE_ACT_SECONDS)
    return Check(
        title="Scheduled checks",
        figure=(f"late by {duration_text(longest)}" if longest >= 1 else "on time") if late else "none has run yet",
        normal=f"late by less than {duration_text(OVERDUE_LOOK_SECONDS)}",
        verdict=verdict if late else Verdict.LOOK,
        remedy="See that one beat and a worker run: without them nothing is checked.",
        commands=("watcher beat", "watcher worker") if verdict is not Verdict.OK or not late else (),
    )


def judge_sums(work: WorkFacts) -> Check:
    """Whether past days are summed, so that reports are fast; they are exact in any case."""
    behind = work.unsummed_seconds
    parts = ["not begun" if behind is None else f"behind by {duration_text(behind)}" if behind else "up to date"]
    if work.changes:
        parts.append(f"{counted(work.changes, 'changed day')} to be summed again")
    verdict = judge_from(behind or 0.0, UNSUMMED_LOOK_SECONDS, UNSUMMED_ACT_SECONDS)
    return Check(
        title="Daily sums",
        figure=", ".join(parts),
        normal=f"behind by less than {duration_text(UNSUMMED_LOOK_SECONDS)}, fewer than {CHANGES_LOOK:,} changed days",
        verdict=judge_from(work.changes, CHANGES_LOOK) if verdict is Verdict.OK else verdict,
        remedy="See that beat and a worker run, or that no old transaction is open; reports are exact, but slower.",
    )


def judge_retention(work: WorkFacts, settings: Settings, now: datetime) -> Check:
    """Whether what is too old is deleted, if that is wanted."""
    days, overdue = settings.retention_days, work.overdue.get(_RETENTION, 0.0)
    ran = f"last {duration_text((now - work.cleaned_up_at).total_seconds())} ago" if work.cleaned_up_at else "not yet"
    return Check(
        title="Retention",
        figure=f"{days:,} days, {ran}" if days is not None else "off: everything is kept",
        normal="off, or run by WATCHER_RETENTION_SCHEDULE",
        verdict=judge_from(overdue, CLEANUP_LOOK_SECONDS, CLEANUP_ACT_SECONDS) if days is not None else Verdict.OK,
        remedy="See whether retention_task failed, and that beat runs; what was missed is deleted by the next run.",
        commands=("watcher tasks list --name retention_task",)
        if days is not None and overdue >= CLEANUP_LOOK_SECONDS
        else (),
    )
