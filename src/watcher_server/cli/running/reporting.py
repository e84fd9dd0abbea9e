"""Reporting runs: the start before the command, the end after it, and what was left behind before both."""

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from watcher_server.cli.running.kept import KeptRun, Run, left_behind
from watcher_server.cli.running.options import Options
from watcher_server.cli.running.sending import AwayError, RefusedError, post

# How long the command waits for its start to be reported, and the wrapper's end for its end.
START_SECONDS = 2.0
END_SECONDS = 5.0
# `watcher run --flush` has time.
FLUSH_SECONDS = 30.0
_LOST = "the process that watched this run was killed: what became of the run is not known"


def now() -> str:
    """This moment."""
    return datetime.now(UTC).isoformat()


class Reporter:
    """Reports runs, and remembers the first thing that went wrong, in a sentence."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._resolved: dict[str, str] = {}
        self.execution_id: str | None = None
        self.trouble: str | None = None
        self.sent = 0

    def start(self, kept: KeptRun) -> None:
        """Report that the run began, after those that were left behind; in two seconds at most."""
        _within(START_SECONDS, lambda deadline: self._report_start(kept, deadline))

    def _report_start(self, kept: KeptRun, deadline: float) -> None:
        away = self.flush(deadline)
        if _key(kept.run) in away:
            return
        try:
            url = self._url(kept.run, deadline)
            body = {"start_date": kept.run.start_date, "parent_id": kept.run.parent_id}
            _, self.execution_id = post(f"{url}/start?rid={kept.run.rid}", body, token=None, timeout=_left(deadline))
        except (AwayError, RefusedError) as error:
            self._note(f"the start of the run is not reported yet: {error}")

    def end(self, kept: KeptRun) -> None:
        """Report how the run ended; in five seconds at most. What cannot be reported is left behind."""
        if not _within(END_SECONDS, lambda deadline: self._report_end(kept, deadline)):
            self._note("the run is not reported yet: no answer in time")

    def _report_end(self, kept: KeptRun, deadline: float) -> None:
        away = self.flush(deadline)
        if _key(kept.run) in away:
            self._note("the run is not reported yet: Watcher is away")
        else:
            self._send(kept, deadline)

    def flush(self, deadline: float, *, patient: bool = False) -> set[str]:
        """Report what was left behind; the destinations that did not take all of it.

        ``patient`` waits where Watcher asks for that.
        """
        away: set[str] = set()
        with left_behind() as runs:
            for kept in runs:
                key = _key(kept.run)
                if key in away:
                    continue
                if time.monotonic() > deadline or not self._send(kept, deadline, patient=patient):
                    away.add(key)
        return away

    def _send(self, kept: KeptRun, deadline: float, *, patient: bool = False) -> bool:
        """Send the end of a run, and with it its start; False when it is to be tried again later."""
        run = kept.run
        if run.end is None:
            run.end = {"end_date": now(), "execution_metadata": {"error": _LOST}}
        while True:
            try:
                self._send_end(run, deadline)
            except AwayError as error:
                if patient and error.seconds is not None and error.seconds <= FLUSH_SECONDS:
                    time.sleep(error.seconds)
                    deadline += error.seconds
                    continue
                self._note(f"the run is not reported yet: {error}")
                kept.save()
                return False
            except RefusedError as error:
                self._note(f"Watcher refused the report of the run: {error}")
            else:
                self.sent += 1
            kept.forget()
            return True

    def _send_end(self, run: Run, deadline: float) -> None:
        end = dict(run.end or {})
        status = end.pop("exit_status", None)
        signal = "/fail" if status is None else f"/{status}"
        figures = end.pop("figures", {})
        body = {"start_date": run.start_date, "parent_id": run.parent_id, **end}
        url = f"{self._url(run, deadline)}{signal}?rid={run.rid}"
        try:
            post(url, {**body, **figures}, token=None, timeout=_left(deadline))
        except RefusedError as error:
            if error.status != HTTPStatus.BAD_REQUEST or not figures:
                raise
            # Rather a run without numbers than none.
            self._note(f"the numbers of the run are not reported: {error}")
            post(url, body, token=None, timeout=_left(deadline))

    def _url(self, run: Run, deadline: float) -> str:
        """The ping URL of a run's pipeline."""
        if "ping_url" in run.to:
            url: str = run.to["ping_url"]
            return url
        key = _key(run)
        if key not in self._resolved:
            answer = self._ask_for_url(run.to["url"], run.to["pipeline"], deadline)
            try:
                uuid = json.loads(answer)["ping_url"].rpartition("/")[2]
            except (ValueError, TypeError, LookupError, AttributeError):
                raise AwayError("the answer is not one of Watcher") from None
            # Below the address that this machine uses; the public one may be another.
            self._resolved[key] = f"{run.to['url']}/ping/{quote(uuid)}"
        return self._resolved[key]

    def _ask_for_url(self, server: str, pipeline: dict[str, Any], deadline: float) -> bytes:
        token = self._options.token
        try:
            return post(f"{server}/ping_url", pipeline, token=token, timeout=_left(deadline))[0]
        except RefusedError as error:
            if error.status != HTTPStatus.UNPROCESSABLE_ENTITY or set(pipeline) == {"name"}:
                raise
            self._note(f"Watcher refused the schedule: {error}")
            return post(f"{server}/ping_url", {"name": pipeline["name"]}, token=token, timeout=_left(deadline))[0]

    def _note(self, sentence: str) -> None:
        self.trouble = self.trouble or sentence


def _key(run: Run) -> str:
    return json.dumps(run.to, sort_keys=True)


def _left(deadline: float) -> float:
    return max(0.05, deadline - time.monotonic())


def _within(seconds: float, report: Callable[[float], None]) -> bool:
    """Report, in a thread that is left alone when it takes too long: names are looked up without a time limit."""
    thread = threading.Thread(target=report, args=(time.monotonic() + seconds,), daemon=True)
    thread.start()
    thread.join(seconds + 0.1)
    return not thread.is_alive()
