"""Who would be told if something were wrong with a pipeline, or with something that is none."""

from datetime import UTC, datetime

from sqlalchemy import Connection, text

from watcher_server.alerts.levels import Level
from watcher_server.alerts.routing.explaining import explain
from watcher_server.alerts.routing.matching import Facts
from watcher_server.alerts.routing.schemas import Explanation
from watcher_server.incidents.kinds import TEXTS, Kind, level_for
from watcher_server.kit.errors import InvalidFieldError, NotFoundError
from watcher_server.kit.fields import BIGINT_MAX
from watcher_server.pipelines.status import WRONG


def explain_incident(
    connection: Connection, *, kind: Kind, pipeline: str | None, level: Level | None = None, at: datetime | None = None
) -> Explanation:
    """Who would be told of an incident of that kind; ``pipeline`` is a name or an id.

    Without a level it is that of the kind, moved by the pipeline's criticality; without a moment it is now.

    Raises:
        NotFoundError: there is no such pipeline.
        InvalidFieldError: the kind is about a pipeline and none is named, or one in the archive.
    """
    moment = at or datetime.now(UTC)
    if pipeline is None:
        if kind.value in {each.value for each in WRONG}:
            raise InvalidFieldError("pipeline", f"is needed: {kind} is about a pipeline")
        return explain(connection, Facts(level or TEXTS[kind].level, kind), moment)
    name = pipeline.strip().lower()
    id_ = int(name) if name.isascii() and name.isdigit() and int(name) <= BIGINT_MAX else None
    # By the unique name, which is stored in lower case, or by the primary key.
    statement = """
        SELECT known.name, known.type_name, known.owner, known.tags, known.criticality, pipeline.archived_at
        FROM pipeline JOIN pipeline_effective AS known USING (id)
        WHERE pipeline.name = :name OR pipeline.id = :id ORDER BY pipeline.name <> :name LIMIT 1
    """
    row = connection.execute(text(statement), {"name": name, "id": id_}).one_or_none()
    if row is None:
        raise NotFoundError(f"No pipeline has the name or the id {pipeline}.")
    if row.archived_at is not None:
        raise InvalidFieldError("pipeline", f"is in the archive: nothing is found of {row.name} until it is restored")
    wanted = level or level_for(TEXTS[kind].level, row.criticality)
    return explain(connection, Facts(wanted, kind, row.name, row.type_name, row.owner, tuple(row.tags)), moment)
