"""Pipelines whose runs are judged, reported to a cluster one by one or as a steady load."""

import http.client
import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Engine

from tests.support.rows import add_history, add_pipeline, add_rule

METRICS = ("inserts", "total_rows")
USUAL, OUTLYING = 1_000, 0
# Marks the earlier runs that the baselines come from. They are inserted, not reported, so no task judges them.
HISTORY = {"history": True}

_TIMEOUT_SECONDS = 15
_PAUSE_SECONDS = 0.2
_GIVE_UP_SECONDS = 60
# A load that is late by more than this skips the cycles that it missed.
_LATE_SECONDS = 1.0

Body = dict[str, Any]


class RefusedError(Exception):
    """The api refused a request with this status; ``status`` is None when no answer came."""

    def __init__(self, status: int | None) -> None:
        super().__init__(f"status {status}")
        self.status = status


class Client:
    """Posts to the apis in turn."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._hosts = itertools.cycle([urlsplit(url).netloc for url in urls])

    def post(self, path: str, body: Body) -> bytes:
        """The answer of the next api.

        Raises:
            RefusedError: the answer is not a 2xx, or none came.
        """
        # A new connection each time: the api may close a kept one just as the request is sent.
        connection = http.client.HTTPConnection(next(self._hosts), timeout=_TIMEOUT_SECONDS)
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise RefusedError(None) from error
        finally:
            connection.close()
        if not 200 <= response.status < 300:
            raise RefusedError(response.status)
        return content


@dataclass(frozen=True)
class Workload:
    """Pipelines, and the moment at which all their runs start.

    All runs end at the same moment too, so no run is in the baseline of another: the order of judging does not matter.
    """

    pipelines: Sequence[int]
    at: datetime

    def start_body(self, pipeline_id: int, **fields: Any) -> Body:
        """The report of a run that starts."""
        return {"pipeline_id": pipeline_id, "start_date": self.at.isoformat(), **fields}

    def end_body(self, execution_id: int, *, outlier: bool, fails: bool = False) -> Body:
        """The report of a run that ends; an outlier is an anomaly by every rule, unless the run fails."""
        end = (self.at + timedelta(seconds=42)).isoformat()
        rows = OUTLYING if outlier else USUAL
        return {
            "id": execution_id,
            "end_date": end,
            "completed_successfully": not fails,
            "inserts": rows,
            "updates": 10,
            "total_rows": rows,
        }


def make_workload(engine: Engine, name: str, *, judged: int, plain: int = 0) -> Workload:
    """Create ``judged`` pipelines with a history and a rule for each metric, and ``plain`` ones with neither."""
    at = datetime.now(UTC) - timedelta(hours=1)
    pipelines = []
    with engine.begin() as connection:
        for number in range(judged + plain):
            pipeline_id = add_pipeline(connection, f"{name} {number}")
            pipelines.append(pipeline_id)
            if number >= judged:
                continue
            for metric in METRICS:
                add_rule(connection, pipeline_id, metric)
            about = {"hour_recorded": at.hour, "total_rows": USUAL, "execution_metadata": HISTORY}
            add_history(connection, pipeline_id, [USUAL] * 8, before=at, metric="inserts", **about)
    return Workload(pipelines, at)


@dataclass
class Ledger:
    """What the load's clients saw; ``refused`` counts refusals by status, None where no answer came."""

    accepted: list[int] = field(default_factory=list)
    outliers: int = 0
    refused: Counter[int | None] = field(default_factory=Counter)
    abandoned: int = 0


class Load:
    """Cycles of start and end at a steady rate, from several threads.

    A refused start is dropped. A refused end is sent again until it is accepted, as a pipeline's client does.
    """

    def __init__(
        self,
        urls: Sequence[str],
        workload: Workload,
        *,
        per_second: float,
        threads: int = 4,
        outlier_share: float = 0.02,
        child_share: float = 0.2,
        failing_share: float = 0.0,
        seed: int = 1,
    ) -> None:
        self.ledger = Ledger()
        self._urls = urls
        self._workload = workload
        self._every = 1 / per_second
        self._outlier_share = outlier_share
        self._child_share = child_share
        self._failing_share = failing_share
        self._lock = threading.Lock()
        self._next_at = time.monotonic()
        self._stopping = threading.Event()
        chances = [random.Random(f"{seed} {number}") for number in range(threads)]  # noqa: S311 - a load needs no secret
        self._threads = [threading.Thread(target=self._run, args=[chance], daemon=True) for chance in chances]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Start no further cycle, and wait for the running ones."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, chance: random.Random) -> None:
        client = Client(self._urls)
        parents: list[int] = []
        while not self._stopping.wait(self._seconds_to_next()):
            self._report(client, chance, parents)

    def _seconds_to_next(self) -> float:
        with self._lock:
            now = time.monotonic()
            self._next_at = max(self._next_at + self._every, now - _LATE_SECONDS)
            return max(0.0, self._next_at - now)

    def _report(self, client: Client, chance: random.Random, parents: list[int]) -> None:
        pipeline_id = chance.choice(self._workload.pipelines)
        parent = chance.choice(parents) if parents and chance.random() < self._child_share else None
        outlier = chance.random() < self._outlier_share
        fails = chance.random() < self._failing_share
        try:
            answer = client.post("/start_pipeline_execution", self._workload.start_body(pipeline_id, parent_id=parent))
        except RefusedError as refused:
            self._note_refusal(refused)
            return
        execution_id = int(json.loads(answer)["id"])
        parents[:] = [*parents[-20:], execution_id]
        if self._end(client, self._workload.end_body(execution_id, outlier=outlier, fails=fails)):
            with self._lock:
                self.ledger.accepted.append(execution_id)
                self.ledger.outliers += outlier and not fails

    def _end(self, client: Client, body: Body) -> bool:
        deadline = time.monotonic() + _GIVE_UP_SECONDS
        while time.monotonic() < deadline:
            try:
                client.post("/end_pipeline_execution", body)
            except RefusedError as refused:
                self._note_refusal(refused)
                time.sleep(_PAUSE_SECONDS)
            else:
                return True
        with self._lock:
            self.ledger.abandoned += 1
        return False

    def _note_refusal(self, refused: RefusedError) -> None:
        with self._lock:
            self.ledger.refused[refused.status] += 1


@contextmanager
def under_load(urls: Sequence[str], workload: Workload, *, per_second: float, **options: Any) -> Iterator[Load]:
    """Run a load until the block ends."""
    load = Load(urls, workload, per_second=per_second, **options)
    load.start()
    try:
        yield load
    finally:
        load.stop()
