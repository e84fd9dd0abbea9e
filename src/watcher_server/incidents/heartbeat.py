"""Watcher's own dead man's switch: a call each minute while it is well, so that somebody else notices when it is not.

The keeper makes it, which needs the database: one that is stopped makes the calls stop.
"""

import logging
import re
from enum import Enum
from typing import NamedTuple

import httpx
from sqlalchemy import Connection, Engine, text

from watcher_server.alerts.broken import find_broken, find_substitutes
from watcher_server.alerts.channels.asking import FailedTryError, Question, ask
from watcher_server.incidents.watcher import suspect_itself
from watcher_server.settings import Settings
from watcher_server.tasking.wire import ALIVE

logger = logging.getLogger(__name__)

# Healthchecks, hosted or one's own, and what speaks like it, takes the reason of a failure.
_TAKES_REASONS = re.compile(r"^https?://(hc-ping\.com/|[^?#]*/ping/)")

# Healthchecks answers with 200 also where a check was deleted, or is called too often.
_IGNORED = re.compile(rb"OK \((not found|rate limited)\)")

_SERVICE = "The heartbeat URL"

# The keeper has other duties.
_SECONDS = 5.0


class Unsure(Enum):
    """Watcher has just been started, so that it is too early to say whether it is well."""

    YET = "yet"


def judge_itself(connection: Connection, settings: Settings) -> str | Unsure | None:
    """Why Watcher is not well; None when it is: a worker lives, the checks run, and alerts leave."""
    suspected = suspect_itself(connection, settings)
    reasons = [each.finding.detail for each in suspected if each.may_open] + _find_untold(connection)
    if reasons:
        return "\n".join(reasons)
    lives = connection.scalar(text(f"SELECT bool_or({ALIVE}) FROM worker"))  # noqa: S608 - a constant
    return None if lives and not suspected else Unsure.YET


def _find_untold(connection: Connection) -> list[str]:
    """Why people are not told of what is wrong, if they are not."""
    names = [channel.name for channel in find_broken(connection)]
    lost = [name for name in names if not find_substitutes(connection, name, names)]
    if lost:
        return [f"No channel delivers alerts: {', '.join(names)}"]
    # A lane that works takes what is due within seconds, also after a pause.
    statement = """
        SELECT notification.channel FROM notification LEFT JOIN channel ON channel.name = notification.channel
        WHERE state IN ('waiting', 'sending') AND next_try_at < now() - interval '5 minutes'
            AND (paused_until IS NULL OR paused_until < now() - interval '5 minutes')
        ORDER BY notification.id LIMIT 1
    """
    stalled = connection.scalar(text(statement))
    return [] if stalled is None else ["Alerts have waited for more than 5 minutes, and nothing sends them"]


class UnansweredCalls(NamedTuple):
    """The heartbeat URL does not answer: for how long, and what came of the last call."""

    seconds: float
    error: str


def find_unanswered_calls(connection: Connection) -> UnansweredCalls | None:
    """Whether the heartbeat URL does not answer; None while it does, or is not called."""
    # A call is due each minute. One that was made long ago tells nothing of now.
    statement = """
        SELECT extract(epoch FROM now() - failing_since)::float8 AS seconds, error FROM heartbeat_call
        WHERE error IS NOT NULL AND called_at > now() - interval '5 minutes'
    """
    row = connection.execute(text(statement)).one_or_none()
    return None if row is None else UnansweredCalls._make(row)


def send_heartbeat(engine: Engine, settings: Settings) -> None:
    """Call the URL while Watcher is well; else say why not, where the other side takes that, or call nobody."""
    if settings.heartbeat_url is None:
        return
    url = settings.heartbeat_url.get_secret_value()
    with engine.connect() as connection:
        found = judge_itself(connection, settings)
    if found is None:
        _call(engine, "GET", url, b"", settings)
    elif isinstance(found, str):
        logger.warning("The heartbeat URL is not called: %s", found)
        if _TAKES_REASONS.match(url):
            parsed = httpx.URL(url)
            failing = parsed.copy_with(path=f"{parsed.path.rstrip('/')}/fail")
            _call(engine, "POST", str(failing), found.encode(), settings)


def _call(engine: Engine, method: str, url: str, content: bytes, settings: Settings) -> None:
    """Call the URL, and write down whether it answered."""
    error = _ask(method, url, content, settings)
    if error is not None:
        logger.warning("%s", error)
    with engine.begin() as connection:
        statement = """
            INSERT INTO heartbeat_call AS last (error, failing_since)
            VALUES (:error, CASE WHEN CAST(:error AS text) IS NOT NULL THEN now() END)
            ON CONFLICT ("only") DO UPDATE SET called_at = now(), error = excluded.error,
                failing_since = CASE WHEN excluded.error IS NOT NULL THEN coalesce(last.failing_since, now()) END
        """
        connection.execute(text(statement), {"error": error})


def _ask(method: str, url: str, content: bytes, settings: Settings) -> str | None:
    """Why the call was not taken; None when it was."""
    question = Question(_SERVICE, url, content, is_own=True, method=method, whole_seconds=_SECONDS, reads_success=True)
    try:
        answer = ask(question, settings)
    except FailedTryError as error:
        return str(error)
    if not answer.is_success:
        return f"{_SERVICE} answered with status {answer.status}"
    ignored = _IGNORED.match(answer.body)
    return None if ignored is None else f"{_SERVICE} ignores the calls: {ignored[1].decode()}"
