"""Sessions: who waits, what takes long, what was left open."""

from collections.abc import Sequence

from watcher_server.diagnostics.checks import Check, judge_from
from watcher_server.diagnostics.sessions import BusySession, LockWait, Sessions
from watcher_server.diagnostics.wording import counted
from watcher_server.kit.durations import duration_text

# Starts and ends of runs of the same pipeline wait for each other for milliseconds.
WAIT_LOOK_SECONDS = 1.0
WAIT_ACT_SECONDS = 30.0
# An api gives up after WATCHER_QUERY_TIMEOUT_SECONDS (30), a task after WATCHER_TASK_TIME_LIMIT_SECONDS (300).
LONG_LOOK_SECONDS = 60.0
LONG_ACT_SECONDS = 600.0
IDLE_LOOK_SECONDS = 10.0
IDLE_ACT_SECONDS = 300.0


def judge_sessions(sessions: Sessions) -> list[Check]:
    """The checks of all sessions of this database."""
    return [
        judge_waits(sessions.waits),
        judge_idle([session for session in sessions.busy if session.idles]),
        judge_long([session for session in sessions.busy if not session.idles]),
    ]


def judge_waits(waits: Sequence[LockWait]) -> Check:
    """Whether anybody waits for a lock."""
    longest = max((wait.seconds for wait in waits), default=0.0)
    waiting = len({wait.pid for wait in waits})
    # Whoever waits as well would go on by itself.
    holders = sorted({wait.holder for wait in waits if not wait.holder_waits and wait.seconds >= WAIT_LOOK_SECONDS})
    return Check(
        title="Waiting for locks",
        figure=f"{counted(waiting, 'session')}, the longest for {duration_text(longest)}" if waits else "nobody",
        normal=f"nobody for {WAIT_LOOK_SECONDS:.0f} s",
        verdict=judge_from(longest, WAIT_LOOK_SECONDS, WAIT_ACT_SECONDS),
        remedy="Let the session that holds the lock finish, or end it; the table below says who it is.",
        commands=[_end(pid) for pid in holders],
    )


def judge_idle(idle: Sequence[BusySession]) -> Check:
    """Whether transactions were left open."""
    longest = max((session.seconds for session in idle), default=0.0)
    old = [session.pid for session in idle if session.seconds >= IDLE_LOOK_SECONDS]
    return Check(
        title="Idle in transaction",
        figure=f"{counted(len(idle), 'session')}, the longest for {duration_text(longest)}"
        if idle
        else "nobody for more than 1 s",
        normal=f"nobody for {IDLE_LOOK_SECONDS:.0f} s: it keeps locks, and dead rows from being cleaned up",
        verdict=judge_from(longest, IDLE_LOOK_SECONDS, IDLE_ACT_SECONDS),
        remedy="Commit or roll back in the program that opened it, or end the session.",
        commands=[_end(pid) for pid in old],
    )


def judge_long(active: Sequence[BusySession]) -> Check:
    """Whether statements run for long."""
    longest = max((session.seconds for session in active), default=0.0)
    old = [session.pid for session in active if session.seconds >= LONG_LOOK_SECONDS]
    return Check(
        title="Longest statement",
        figure=f"{duration_text(longest)}, of {counted(len(active), 'statement')}"
        if active
        else "none for more than 1 s",
        normal=f"below {LONG_LOOK_SECONDS:.0f} s",
        verdict=judge_from(longest, LONG_LOOK_SECONDS, LONG_ACT_SECONDS),
        remedy="Let it finish if it is a backup or a migration, else cancel it and see what it waits for.",
        commands=[f"SELECT pg_cancel_backend({pid});" for pid in old],
    )


def _end(pid: int) -> str:
    return f"SELECT pg_terminate_backend({pid});"
