"""From one event to what it says: a state of its run, and facts of its job and its datasets."""

import hashlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from pydantic_core import to_json

from watcher_server.openlineage.envelope import DatasetName, Envelope, EventKind, EventType, JobName, hide_user
from watcher_server.openlineage.facets import DELETED, Place, read_facets
from watcher_server.openlineage.folding import MOST_DATASETS, Facet, State, is_streaming, value_in, value_of
from watcher_server.telemetry.redaction import redact

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = 86_400 * 1_000_000
# What an event is taken to be of whose producer says nothing of itself.
UNKNOWN: Final = "openlineage"
# Trino names a job by the id of its query, such as 20260131_120000_00017_abcde: each job would have one run.
_QUERY_ID = re.compile(r"\d{8}_\d{6}_\d{5}_\w{5}")
_INTEGRATION = re.compile(r"/integration/([\w-]+)|/provider[s]?[/-](?:apache[/-])?([\w-]+)|\bapache/(airflow)\b")
# One of these stands in every text that has something to hide (telemetry/redaction.py).
_HINTS: Final = (b"@", b"passw", b"secret", b"apikey", b"api_key", b"bearer", b"/ping/", b"watcher_")
# What belongs to the job or the dataset, whichever run it came with; everything else belongs to the run.
_OF_JOB: Final = frozenset({"ownership", "tags", "documentation", "sql", "sourceCode", "dbt_node"})
# What belongs to both: it says how the run is to be read, too.
_OF_JOB_AND_RUN: Final = frozenset({"jobType", "sourceCodeLocation"})
_OF_DATASET_AND_RUN: Final = frozenset({"lifecycleStateChange", "dbt_exposures"})
_OF_DATASET: Final = frozenset({
    "schema", "ownership", "tags", "documentation", "symlinks", "datasetType", "storage", "catalog", "version",
})  # fmt: skip


@dataclass(slots=True)
class SeenDataset:
    """A dataset that an event names, and what it says of it whichever run it is of."""

    name: DatasetName
    facts: dict[str, Facet]


@dataclass(slots=True)
class Reading:
    """What an event says.

    ``state`` is that of its run; of a job's event it has the datasets that the job reads and writes, and no run.
    ``datasets`` are all that it names, by key. ``declared`` is what a dataset says that it is made of: its own
    (namespace, name), and those of its sources. ``dropped`` counts facets by name, and whether they are known.
    ``nameless``: its job has no name that another run of it would have.
    """

    kind: EventKind
    at: datetime
    type: EventType
    job: JobName | None
    run_id: str | None
    producer: str
    integration: str
    state: State
    job_facts: dict[str, Facet]
    datasets: dict[str, SeenDataset]
    declared: tuple[tuple[str, str], list[list[str]]] | None = None
    dropped: dict[tuple[str, bool], int] = field(default_factory=dict)
    nameless: bool = False

    @property
    def run_key(self) -> UUID | None:
        """The key of the run; None but for a run's event."""
        return self.job.run_key(self.run_id) if self.job and self.run_id is not None else None


def micros(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_micros(moment: int) -> datetime:
    """The moment, in UTC."""
    return _EPOCH + timedelta(microseconds=moment)


def read_event(envelope: Envelope, received_at: datetime) -> Reading:
    """What an event says that arrived at that moment; it never fails: what cannot be read is left out."""
    body = envelope.body
    at, received = max(0, micros(envelope.at)), micros(received_at)
    ahead = max(0, at - received)
    # A moment that is further ahead than a clock goes wrong is a mistake, and so is one before there were such clocks.
    if ahead > _DAY:
        at, ahead = received, 0
    raw = to_json(body)
    lower = raw.lower()
    # Hardly any event has a password, and looking at each text takes long.
    said = _Said(at, envelope.type.ends, may_have_secrets=any(hint in lower for hint in _HINTS))
    facets, job_facts = _read_own_facets(body, said)
    producer = _text(body.get("producer"))
    integration, job_facts["integration"] = _integration(facets, producer, said)
    state: State = {
        "start": at if envelope.type.begins else None,
        "first": at,
        "last": at,
        "ahead": ahead,
        "marks": [[at, int(envelope.type)]] if envelope.type.ends or envelope.type is EventType.START else [],
        "recent": [at] if is_streaming(facets) else [],
        "facets": facets,
        "inputs": _read_datasets(body.get("inputs"), "input", said),
        "outputs": _read_datasets(body.get("outputs"), "output", said),
        "seen": [hashlib.blake2b(raw, digest_size=8).hexdigest()],
    }
    declared = None if envelope.dataset is None else _read_declared(envelope.dataset, body, said)
    job = _job_of(envelope.job, body)
    return Reading(
        kind=envelope.kind,
        at=envelope.at,
        type=envelope.type,
        job=job,
        run_id=envelope.run_id,
        producer=hide_user(producer)[:300],
        integration=integration,
        state=state,
        job_facts=job_facts,
        datasets=said.datasets,
        declared=declared,
        dropped=said.dropped,
        nameless=job is not None and _QUERY_ID.fullmatch(job.name) is not None,
    )


@dataclass(slots=True)
class _Said:
    """What is noted while an event is read; ``final``: it ends its run."""

    at: int
    final: bool
    may_have_secrets: bool
    datasets: dict[str, SeenDataset] = field(default_factory=dict)
    dropped: dict[tuple[str, bool], int] = field(default_factory=dict)

    def read(self, place: Place, facets: Any) -> dict[str, Facet]:
        found = read_facets(place, facets, self.dropped)
        if self.may_have_secrets:
            return {name: [self.at, self.final, _without_secrets(value)] for name, value in found}
        return {name: [self.at, self.final, value] for name, value in found}


def _without_secrets(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [_without_secrets(part) for part in value]
    if isinstance(value, dict):
        return {name: _without_secrets(part) for name, part in value.items()}
    return value


def _read_own_facets(body: dict[str, Any], said: _Said) -> tuple[dict[str, Facet], dict[str, Facet]]:
    """The facets that the run is read by, and those that tell of its job."""
    facets: dict[str, Facet] = {}
    job_facts: dict[str, Facet] = {}
    for name, facet in said.read("job", _dict(body.get("job")).get("facets")).items():
        if name in _OF_JOB or name in _OF_JOB_AND_RUN:
            job_facts[name] = facet
        if name not in _OF_JOB:
            facets[name] = facet
    facets |= _code_of(facets | job_facts)
    for name, facet in said.read("run", _dict(body.get("run")).get("facets")).items():
        # Of the same name, the job's facet is kept as "tags", and the run's as "run tags".
        facets[f"run {name}" if name == "tags" else name] = facet
    return facets, job_facts


def _code_of(job_facets: dict[str, Facet]) -> dict[str, Facet]:
    """What tells whether the SQL or the code of this run is another one than that of a run before.

    Of the job only the newest is kept, so each run keeps a short hash of its SQL, and the version of its code.
    """
    values = {name: value_of(facet) for name, facet in job_facets.items()}
    sql, location, code = values.get("sql"), values.get("sourceCodeLocation") or {}, values.get("sourceCode")
    found: dict[str, Facet] = {}
    if sql:
        digest = hashlib.blake2b(sql["query"].strip().encode(), digest_size=8).hexdigest()
        found["sql hash"] = [*job_facets["sql"][:2], digest]
    if location.get("version"):
        found["code version"] = [*job_facets["sourceCodeLocation"][:2], location["version"]]
    elif code:
        found["code version"] = [*job_facets["sourceCode"][:2], code[:16]]
    return found


def _read_declared(
    dataset: DatasetName, body: dict[str, Any], said: _Said
) -> tuple[tuple[str, str], list[list[str]]] | None:
    """What a dataset says by itself that it is made of."""
    name = DatasetName(hide_user(dataset.namespace), hide_user(dataset.name))
    own = _read_dataset(name, _dict(body.get("dataset")), "dataset", said)
    lineage = own.get("lineage") or own.get("columnLineage")
    return None if lineage is None or lineage[2] == DELETED else ((name.namespace, name.name), lineage[2])


def _job_of(job: JobName | None, body: dict[str, Any]) -> JobName | None:
    if job is None:
        return None
    outputs = body.get("outputs")
    written = (_text(_dict(one).get("name")) for one in (outputs if isinstance(outputs, list) else ()))
    if _QUERY_ID.fullmatch(job.name) and (first := next(filter(None, written), "")):
        job = JobName(job.namespace, f"writes {first}")
    return JobName(hide_user(job.namespace), hide_user(job.name))


def _read_datasets(value: Any, place: Place, said: _Said) -> dict[str, Any]:
    """The datasets of one side, by key."""
    found: dict[str, Any] = {}
    for item in value if isinstance(value, list) else ():
        holder = _dict(item)
        namespace, name = _text(holder.get("namespace")), _text(holder.get("name"))
        # What lies in the memory of a process is nothing that another run could read.
        if not namespace or not name or namespace.lower().startswith("inmemory:") or _is_audit(holder):
            continue
        dataset = DatasetName(hide_user(namespace), hide_user(name))
        facets = _read_dataset(dataset, holder, place, said)
        key = str(dataset.key)
        known = found.get(key, {"f": {}})
        found[key] = {"n": [dataset.namespace, dataset.name], "f": known["f"] | facets, "t": said.at}
    if len(found) > MOST_DATASETS:
        found = {key: found[key] for key in sorted(found)[:MOST_DATASETS]}
    return found


def _is_audit(holder: dict[str, Any]) -> bool:
    """Whether dbt's test would keep here what it found wrong: a table that mostly does not exist."""
    config = _dict(_dict(_dict(holder.get("facets")).get("dbt_model")).get("config"))
    return _text(config.get("materialized")).lower() == "test"


def _read_dataset(dataset: DatasetName, holder: dict[str, Any], place: Place, said: _Said) -> dict[str, Facet]:
    """The facets that belong to the run; the others are noted with the dataset."""
    of_run: dict[str, Facet] = {}
    facts: dict[str, Facet] = {}
    for name, facet in said.read("dataset", holder.get("facets")).items():
        if name in _OF_DATASET or name in _OF_DATASET_AND_RUN:
            facts[name] = facet
        if name not in _OF_DATASET:
            of_run[name] = facet
    if place != "dataset":
        of_run |= said.read(place, holder.get(f"{place}Facets"))
    key = str(dataset.key)
    if key in said.datasets:
        said.datasets[key].facts |= facts
    else:
        said.datasets[key] = SeenDataset(dataset, facts)
    return of_run


def _integration(facets: dict[str, Facet], producer: str, said: _Said) -> tuple[str, Facet]:
    """What kind of tool sends: as it says, else as the URL of its producer does. What it says counts for more."""
    told = ((value_in(facets, "jobType") or {}).get("integration") or "").strip().lower()
    if told:
        return told, [said.at, True, told]
    found = _INTEGRATION.search(producer)
    guessed = next(filter(None, found.groups())).lower()[:50] if found else UNKNOWN
    return guessed, [0, guessed != UNKNOWN, guessed]


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""
