"""What people say about jobs and datasets: which pipeline and which address they are, and that a job is forgotten."""

from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, text

from watcher_server.audit.service import Change, record
from watcher_server.database.locks import OPENLINEAGE_LOCK
from watcher_server.kit.errors import ConflictError, NotFoundError
from watcher_server.kit.fields import BIGINT_MAX
from watcher_server.kit.names import fold
from watcher_server.openlineage.envelope import DatasetName, JobName, hide_user
from watcher_server.openlineage.joining import join_dataset

# A turn that applies events knows the rows from its beginning on.
_LOCK = "SELECT pg_advisory_xact_lock(:key)"

_JOB = """
SELECT job.id, job.namespace || '/' || job.name AS name, job.pipeline_id, job.adopted,
    coalesce(pipeline.display_name, pipeline.name) AS pipeline_name, (
    SELECT count(*) FROM openlineage_job AS other WHERE other.pipeline_id = job.pipeline_id AND other.id <> job.id
) AS others
FROM openlineage_job AS job LEFT JOIN pipeline ON pipeline.id = job.pipeline_id AND pipeline.forgotten_at IS NULL
WHERE job.key = :key
"""
_LINK = """
INSERT INTO openlineage_job (key, namespace, name, pipeline_id, adopted, last_event_at)
VALUES (:key, :namespace, :name, :pipeline_id, true, now())
ON CONFLICT (key) DO UPDATE SET pipeline_id = excluded.pipeline_id, adopted = true
"""

_OBJECT = """
SELECT id, coalesce(display_name, name) AS name FROM {table}
WHERE (name = :name OR id = :id) AND forgotten_at IS NULL ORDER BY name = :name DESC LIMIT 1
"""
# Few have a slash in their namespace, so no index serves this.
_DATASETS = """
SELECT key, namespace, name, address_id FROM openlineage_dataset WHERE namespace || '/' || name = :name LIMIT 2
"""
# So that a dataset that was never seen may be named.
_NAME = """
INSERT INTO openlineage_dataset (key, namespace, name, last_seen_at) VALUES (:key, :namespace, :name, now())
ON CONFLICT (key) DO UPDATE SET alias = false, disabled = false
"""


class Named(NamedTuple):
    """A pipeline or an address, as it is called."""

    id: int
    name: str


def link_job(connection: Connection, job: JobName, pipeline: str) -> Named:
    """Have the runs of a job be those of this pipeline from now on (its name or id); one that never sent may be linked.

    What the pipeline has keeps as it is; runs that were reported before stay where they are.

    Raises:
        NotFoundError: there is no such pipeline.
    """
    connection.execute(text(_LOCK), {"key": OPENLINEAGE_LOCK})
    found = _find(connection, "pipeline", pipeline)
    hidden = _without_user(job)
    values = {"key": hidden.key, "namespace": hidden.namespace, "name": hidden.name, "pipeline_id": found.id}
    connection.execute(text(_LINK), values)
    said = f"{hidden.namespace}/{hidden.name}"
    record(connection, Change("link", "pipeline", found.id, found.name, after={"job": said}))
    return found


def unlink_job(connection: Connection, job: JobName) -> str | None:
    """Have the next event of a job find its pipeline by its name again; what its pipeline was called.

    Raises:
        NotFoundError: no event of such a job came, and it was not linked.
    """
    connection.execute(text(_LOCK), {"key": OPENLINEAGE_LOCK})
    row = _job(connection, job)
    name: str | None = row.pipeline_name
    unlink = "UPDATE openlineage_job SET pipeline_id = NULL, adopted = false WHERE id = :id"
    connection.execute(text(unlink), {"id": row.id})
    record(connection, Change("unlink", "job", row.id, row.name, before={"pipeline": name}))
    return name


def forget_job(connection: Connection, job: JobName) -> Named | None:
    """Forget a job, so that its next event makes it anew; its pipeline where that is now to be forgotten as well.

    That is the case where the pipeline was made by this job alone. With the pipeline its runs and the job go, so
    nothing else is deleted here. A pipeline of others keeps the runs that it has.

    Raises:
        NotFoundError: no event of such a job came.
    """
    connection.execute(text(_LOCK), {"key": OPENLINEAGE_LOCK})
    row = _job(connection, job)
    if row.pipeline_name is not None and not row.adopted and not row.others:
        return Named(row.pipeline_id, row.pipeline_name)
    connection.execute(text("DELETE FROM openlineage_run WHERE job_id = :id"), {"id": row.id})
    connection.execute(text("DELETE FROM openlineage_job WHERE id = :id"), {"id": row.id})
    record(connection, Change("forget", "job", row.id, row.name))
    return None


def alias_dataset(connection: Connection, dataset: str, address: str) -> Named:
    """Have a dataset (``namespace/name``) be this address from now on (its name or id), with the edges that it has.

    A dataset that was never seen may be named, too; then its namespace ends before the first slash that is no part of
    ``scheme://``.

    Raises:
        NotFoundError: there is no such address.
        ConflictError: it is not clear where the namespace ends.
    """
    connection.execute(text(_LOCK), {"key": OPENLINEAGE_LOCK})
    found = _find(connection, "address", address)
    known = connection.execute(text(_DATASETS), {"name": hide_user(dataset.strip())}).all()
    if len(known) > 1:
        raise ConflictError(f"Two datasets are spelt {dataset}, which differ in where the namespace ends.")
    name = DatasetName(known[0].namespace, known[0].name) if known else _split(dataset)
    connection.execute(text(_NAME), {"key": name.key, "namespace": name.namespace, "name": name.name})
    join_dataset(connection, name.key, found.id)
    return found


def _without_user(job: JobName) -> JobName:
    return JobName(hide_user(job.namespace), job.name)


def _job(connection: Connection, job: JobName) -> Row[Any]:
    row = connection.execute(text(_JOB), {"key": _without_user(job).key}).one_or_none()
    if row is None:
        raise NotFoundError(
            f"There is no job {job.name} in the namespace {job.namespace}: spell both as their events do, "
            "`watcher openlineage status` lists the namespaces."
        )
    return row


def _find(connection: Connection, table: str, name: str) -> Named:
    name = name.strip()
    id_ = int(name) if name.isascii() and name.isdecimal() and int(name) <= BIGINT_MAX else None
    statement = text(_OBJECT.format(table=table))
    # An address of a type that tells cases apart is stored as it is spelt.
    for spelling in dict.fromkeys((name, str(fold(name)))):
        row = connection.execute(statement, {"name": spelling, "id": id_}).one_or_none()
        if row is not None:
            return Named(row.id, row.name)
    raise NotFoundError(f"There is no {table} {name}: give its name or its id.")


def _split(dataset: str) -> DatasetName:
    text_ = hide_user(dataset.strip())
    scheme, divider, rest = text_.partition("://") if "://" in text_ else ("", "", text_)
    authority, slash, name = rest.partition("/")
    if not slash or not name or not (scheme or authority):
        raise ConflictError(f"{dataset} is no dataset: write it as namespace/name, as its events have it.")
    return DatasetName(f"{scheme}{divider}{authority}", name)
