"""What `watcher run` is told: by its arguments, and by the environment."""

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
DEFAULT_URL = "http://127.0.0.1:8000"

_EPILOG = """
WATCHER_URL and WATCHER_TOKEN (a token of the scope write), or WATCHER_PING_URL, say where it reports to.

It never fails the command: what cannot be reported is kept in ~/.local/state/watcher/runs, and sent by the next
`watcher run` or by `watcher run --flush`.

A command that knows what it did writes it as JSON into the file that $WATCHER_RESULT names:
{"inserts": 1250, "updates": 3, "soft_deletes": 0, "total_rows": 1253, "watermark": "2026-01-03"}
"""


@dataclass(frozen=True)
class Options:
    """What to run, and how; ``timeout`` in seconds. Without a command only what is kept is sent."""

    command: list[str]
    pipeline: str | None
    schedule: str | None
    timezone: str | None
    timeout: float | None
    rows_from: "re.Pattern[str] | None"
    retries: int
    url: str
    token: str | None
    ping_url: str | None

    @property
    def destination(self) -> dict[str, Any]:
        """Where reports go, as it is kept; the token is not."""
        if self.ping_url is not None:
            return {"ping_url": self.ping_url}
        declared = {"name": self.pipeline, "schedule": self.schedule, "schedule_timezone": self.timezone}
        return {"url": self.url, "pipeline": {name: value for name, value in declared.items() if value is not None}}


def read_options(arguments: Sequence[str], environment: Mapping[str, str]) -> Options:
    """What the arguments and the environment say; what they say wrong ends the process with status 2."""
    parser = _parser()
    given = parser.parse_args(arguments)
    command = given.command[1:] if given.command[:1] == ["--"] else given.command
    # An address on the command line is what the user means now; a pipeline there is meant beside its server.
    ping_url = given.ping_url or (None if given.pipeline else environment.get("WATCHER_PING_URL")) or None
    if not given.flush:
        if not command:
            parser.error("which command is to run? watcher run --pipeline NAME -- COMMAND")
        if not given.pipeline and not ping_url:
            parser.error("whose run is it? --pipeline NAME, or WATCHER_PING_URL")
    return Options(
        command=[] if given.flush else command,
        pipeline=given.pipeline,
        schedule=given.schedule,
        timezone=given.timezone,
        timeout=given.timeout,
        rows_from=given.rows_from,
        retries=given.retries,
        url=(environment.get("WATCHER_URL") or DEFAULT_URL).rstrip("/"),
        token=environment.get("WATCHER_TOKEN") or None,
        ping_url=ping_url.rstrip("/") if ping_url else None,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="watcher run",
        usage="watcher run --pipeline NAME [options] -- COMMAND [ARGUMENT...]",
        description="Run a command as it is, and report the run.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--pipeline", metavar="NAME", help="the pipeline; it is made when there is none of that name")
    parser.add_argument("--schedule", metavar="CRON", help='when it runs, such as "0 2 * * *"')
    parser.add_argument("--timezone", metavar="ZONE", help="the time zone of the schedule, such as Europe/Berlin")
    parser.add_argument("--timeout", type=_duration, metavar="TIME", help="end the command after 90s, 30m, 2h or 1d")
    parser.add_argument(
        "--rows-from", type=_pattern, metavar="REGEX", help=r"numbers in its output: '(?P<inserts>\d+) rows loaded'"
    )
    parser.add_argument("--retries", type=_number, default=0, metavar="N", help="run it again after a failure")
    parser.add_argument("--ping-url", metavar="URL", help="instead of --pipeline; WATCHER_PING_URL hides it from ps")
    parser.add_argument("--flush", action="store_true", help="send what could not be reported, and run nothing")
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _duration(text: str) -> float:
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)([smhd]?)", text)
    if found is None or not float(found[1]):
        raise argparse.ArgumentTypeError("it is a time such as 90s, 30m, 2h or 1d")
    return float(found[1]) * _SECONDS[found[2] or "s"]


def _number(text: str) -> int:
    if not re.fullmatch("[0-9]{1,4}", text):
        raise argparse.ArgumentTypeError("it is a number, 0 to 9999")
    return int(text)


def _pattern(text: str) -> "re.Pattern[str]":
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"it is no regular expression: {error}") from None
    known = {"inserts", "updates", "soft_deletes", "total_rows", "watermark"}
    if not known & pattern.groupindex.keys():
        raise argparse.ArgumentTypeError(f"it has no group of the name of {', '.join(sorted(known))}: (?P<inserts>...)")
    return pattern
