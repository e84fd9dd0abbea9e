"""From the state of a run to its execution, its parent and its edges. The same state always gives the same."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from watcher_server.openlineage.envelope import EventType, JobName, read_moment
from watcher_server.openlineage.folding import Facet, State, facet_of, is_streaming, value_in, value_of
from watcher_server.openlineage.reading import UNKNOWN, from_micros, micros
from watcher_server.telemetry.redaction import redact

# A dataset as (namespace, name).
Dataset = tuple[str, ...]

# So that a name, a list and a message together stay far below the limit of the metadata.
_MOST_TEXT: Final = 4_000
_MOST_NAMES: Final = 20


@dataclass(frozen=True, slots=True)
class Mark:
    """How the run ended, and when (microseconds since 1970)."""

    at: int
    type: EventType


class Tests(NamedTuple):
    """The checks of data that a run made; ``names`` are of those that failed with the severity of an error."""

    total: int
    failed: int
    warned: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Life:
    """From when until when a run was, in microseconds since 1970.

    ``start`` is null while only events came that start nothing. ``start_known`` is false where the run only ended; then
    nothing is known of how long it took. ``end`` is null while it is going.
    """

    start: int | None
    start_known: bool
    end: Mark | None

    def has(self, moment: int) -> bool:
        """Whether this was said while it was going, or as it ended."""
        return (self.start is None or moment >= self.start) and (self.end is None or moment <= self.end.at)


@dataclass(frozen=True, slots=True)
class RunView:
    """What a state says of its run, as of now. Moments are in UTC, and never in the future.

    ``started_at`` is null while only events came that start nothing. ``start_known`` is false where the run only ended;
    then nothing is known of how long it took. ``outcome`` is null while it runs. ``attempt`` counts the starts of a
    stream. ``retried``: it failed, and its scheduler says that it tries again.
    """

    started_at: datetime | None
    start_known: bool
    ended_at: datetime | None
    heard_at: datetime
    ahead: int
    outcome: EventType | None
    attempt: int
    streaming: bool
    retried: bool
    total_rows: int | None
    bytes: int | None
    wrote: bool
    parent: tuple[JobName, str] | None
    error: str | None
    tests: Tests | None

    @property
    def parent_key(self) -> UUID | None:
        return self.parent[0].run_key(self.parent[1]) if self.parent else None

    @property
    def failed(self) -> bool:
        """Whether it ended with FAIL."""
        return self.outcome is EventType.FAIL


def view_attempts(state: State, job: JobName, run_id: str) -> list[RunView]:
    """What the state of this run says: of each attempt of a stream, the latest last; of any other run of the one."""
    streaming = is_streaming(state["facets"])
    lives = _stream_lives(state) if streaming else [_life(state)]
    parent = _parent(state, job, run_id)
    return [
        _view(state, life, number, parent, streaming=streaming, is_last=number == len(lives))
        for number, life in enumerate(lives, 1)
    ]


def _view(
    state: State, life: Life, attempt: int, parent: tuple[JobName, str] | None, *, streaming: bool, is_last: bool
) -> RunView:
    start, end, ahead = life.start, life.end, state["ahead"]
    said_in = life if streaming else None
    outputs = [(output, _said_in(said_in, output["f"], "outputStatistics")) for output in state["outputs"].values()]
    rows = [statistics["rowCount"] for _, statistics in outputs if "rowCount" in statistics]
    is_complete = end is not None and end.type is EventType.COMPLETE
    return RunView(
        started_at=None if start is None else from_micros(start - ahead),
        start_known=life.start_known,
        ended_at=None if end is None or start is None else from_micros(max(end.at, start) - ahead),
        heard_at=from_micros((state["last"] if is_last or end is None else end.at) - ahead),
        ahead=ahead,
        outcome=end.type if end else None,
        attempt=attempt,
        streaming=streaming,
        retried=_is_retried(state, end),
        total_rows=min(sum(rows), 2**63 - 1) if rows else None,
        bytes=sum(statistics.get("size", 0) for _, statistics in outputs) or None,
        wrote=is_complete and any(_is_written(output) for output, _ in outputs),
        parent=parent,
        error=None if is_complete else _error(_said_in(said_in, state["facets"], "errorMessage")),
        # dbt reports the tests that it skipped, too, as if they had failed.
        tests=None if end is not None and end.type is EventType.ABORT else _tests(state),
    )


def is_rolled_up(state: State, roll_up: Collection[tuple[str, str]]) -> bool:
    """Whether runs of this kind are a part of the run above them; ``roll_up`` has pairs in upper case."""
    return job_kind(state) in roll_up


def hides_failures(state: State) -> bool:
    """Whether it ends well whatever came of the runs that it called, as an application of Spark does."""
    return job_kind(state) == ("SPARK", "APPLICATION")


def job_kind(state: State) -> tuple[str, str]:
    """Integration and type of the job, in upper case; empty where it is not said."""
    facet = facet_of(state, "jobType") or {}
    return facet.get("integration", "").strip().upper(), (facet.get("jobType") or "").strip().upper()


def type_name(facts: Mapping[str, Facet]) -> str:
    """The type of the pipeline of a job, such as ``airflow task``."""
    kind = ((value_in(facts, "jobType") or {}).get("jobType") or "").strip()
    return " ".join(filter(None, (integration_of(facts), kind))).lower()[:150]


def integration_of(facts: Mapping[str, Facet]) -> str:
    """What kind of tool reports a job."""
    facet = facts.get("integration")
    return str(facet[2]) if facet else UNKNOWN


def edges_of(state: State) -> dict[tuple[Dataset, Dataset], int]:
    """Pairs of a source and a target, and when each was shown last, in microseconds since 1970.

    By the most explicit that there is: the job's lineage facet; else, for each output, its own lineage facet, the
    sources of its columns with every input that no output's columns name, or all inputs.
    """
    edges = dict(_exposed(state))
    entries = facet_of(state, "lineage")
    if entries is not None:
        at = state["facets"]["lineage"][0]
        for target, sources in entries:
            edges |= {(tuple(source), tuple(target)): at for source in sources}
        return {pair: at for pair, at in edges.items() if not any(map(_is_in_memory, pair))}
    # The tables that tests write hold what failed, and mostly do not exist.
    if job_kind(state)[1] == "TEST":
        return edges
    inputs = [tuple(dataset["n"]) for dataset in state["inputs"].values()]
    outputs = list(state["outputs"].values())
    mentioned = {
        tuple(source)
        for output in outputs
        for source in _facet(output, "columnLineage") or _facet(output, "lineage") or ()
    }
    for output in outputs:
        if _is_written(output):
            target = tuple(output["n"])
            edges |= {(source, target): output["t"] for source in _sources(output, inputs, mentioned)}
    return {pair: at for pair, at in edges.items() if not any(map(_is_in_memory, pair))}


def exposure_of(dataset: Dataset, exposure: Mapping[str, Any]) -> Dataset:
    """What reads a dataset outside of all pipelines, such as a dashboard, as a dataset."""
    return f"exposure://{dataset[0].partition('://')[2] or dataset[0]}", exposure["name"]


def _exposed(state: State) -> Iterator[tuple[tuple[Dataset, Dataset], int]]:
    for side in ("inputs", "outputs"):
        for dataset in state[side].values():
            for exposure in (_facet(dataset, "dbt_exposures") or {}).get("exposures", ()):
                name = tuple(dataset["n"])
                yield (name, exposure_of(name, exposure)), dataset["t"]


def _sources(output: Mapping[str, Any], inputs: list[Any], mentioned: set[Any]) -> list[Any]:
    explicit = _facet(output, "lineage")
    if explicit is not None:
        return [tuple(source) for source in explicit]
    columns = _facet(output, "columnLineage")
    if columns:
        # A parser's blind spot must not lose an edge.
        return [*(tuple(source) for source in columns), *(source for source in inputs if source not in mentioned)]
    return inputs


def _facet(dataset: Mapping[str, Any], name: str) -> Any:
    return value_in(dataset["f"], name)


def _said_in(life: Life | None, facets: Mapping[str, Facet], name: str) -> dict[str, Any]:
    """The facet, if it was said in this life of a stream."""
    facet = facets.get(name)
    return {} if facet is None or (life is not None and not life.has(facet[0])) else value_of(facet) or {}


def _is_written(output: Mapping[str, Any]) -> bool:
    """Whether it is there: the last that the run did may be to drop it."""
    change = _facet(output, "lifecycleStateChange") or {}
    return bool(change.get("lifecycleStateChange") != "DROP")


def _is_in_memory(dataset: Dataset) -> bool:
    return dataset[0].lower().startswith("inmemory:")


def _life(state: State) -> Life:
    """When a run of a batch was; an end that is earlier than the start counts as at the start."""
    # Of ends at one moment the greater type counts; marks are in that order.
    end = next((mark for mark in reversed(_marks(state)) if mark.type.ends), None)
    start = state["start"]
    if start is not None or end is None:
        return Life(start, start is not None, end)
    moment = read_moment(((facet_of(state, "airflowDagRun") or {}).get("dagRun") or {}).get("start_date"))
    if moment is not None and 0 <= micros(moment) <= end.at:
        return Life(micros(moment), start_known=True, end=end)
    return Life(end.at, start_known=False, end=end)


def _stream_lives(state: State) -> list[Life]:
    """A stream that starts after it ended is another attempt of the same run."""
    lives: list[Life] = []
    start, end = state["start"], None
    for mark in _marks(state):
        if mark.type.ends:
            end = mark
        elif end is not None:
            lives.append(_ended(start, end))
            start, end = mark.at, None
    lives.append(Life(start, start is not None, None) if end is None else _ended(start, end))
    return lives


def _ended(start: int | None, end: Mark) -> Life:
    known = start is not None and start <= end.at
    return Life(start if known else end.at, known, end)


def _marks(state: State) -> list[Mark]:
    return [Mark(at, EventType(kind)) for at, kind in state["marks"]]


def _parent(state: State, job: JobName, run_id: str) -> tuple[JobName, str] | None:
    facet = facet_of(state, "parent")
    if facet is None or not facet["run_id"] or not all(facet["job"]):
        return None
    parent = JobName(*facet["job"]), facet["run_id"]
    return None if parent == (job, run_id) else parent


def _is_retried(state: State, end: Mark | None) -> bool:
    """Airflow reports the failure of each try, also of one that it will try again; each has a run id of its own."""
    airflow = facet_of(state, "airflow")
    if end is None or end.type is not EventType.FAIL or not airflow:
        return False
    number = airflow.get("taskInstance", {}).get("try_number")
    retries = airflow.get("task", {}).get("retries")
    return number is not None and retries is not None and number <= retries


def _error(facet: Mapping[str, Any]) -> str | None:
    return redact(facet.get("message", "").strip())[:_MOST_TEXT] or None


def _tests(state: State) -> Tests | None:
    """The tests of the run and the assertions of its inputs; one that is in both was sent twice by its producer."""
    found: dict[tuple[str, str], tuple[bool, str]] = {}
    for facet in ("test", "dagster_asset_check"):
        for test in (facet_of(state, facet) or {}).get("tests", ()):
            passed = test["status"].strip().lower() in {"pass", "success", "skip", "skipped"}
            found[test["name"], test.get("column") or ""] = passed, (test.get("severity") or "error").lower()
    for dataset in state["inputs"].values():
        for assertion in (_facet(dataset, "dataQualityAssertions") or {}).get("assertions", ()):
            name = assertion.get("name") or assertion["assertion"]
            severity = (assertion.get("severity") or "error").lower()
            found.setdefault((name, assertion.get("column") or ""), (assertion["success"], severity))
    if not found:
        return None
    failed = sorted(
        f"{name} ({column})" if column else name
        for (name, column), (passed, severity) in found.items()
        if not passed and severity != "warn"
    )
    warned = sum(not passed and severity == "warn" for passed, severity in found.values())
    return Tests(len(found), len(failed), warned, tuple(failed))


def tag_text(tag: Mapping[str, str]) -> str:
    """A tag as one text: ``key`` where the value adds nothing, else ``key:value``."""
    key, value = tag["key"].strip(), tag.get("value", "").strip()
    return key if not value or value.lower() == "true" or value == key else f"{key}:{value}"
