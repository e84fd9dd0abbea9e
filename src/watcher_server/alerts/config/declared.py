"""What a file says of pipelines: that is changed there, and nowhere else."""

from collections.abc import Collection, Mapping

from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.config.store import ObjectKind, read_objects
from watcher_server.alerts.models import AlertingObject
from watcher_server.kit.errors import ConflictError
from watcher_server.kit.globs import glob_matches


async def check_pipelines_declared(session: AsyncSession, changes: Mapping[str, Collection[str]]) -> None:
    """Raise ConflictError, which names the file, where one says what one of these fields of a pipeline is.

    ``changes`` has the fields by the names of the pipelines; the files are read once.
    """
    changed = {name: set(fields) for name, fields in changes.items() if fields}
    rows = await read_objects(session, ObjectKind.PIPELINE) if changed else []
    for name, fields in changed.items():
        for row in rows:
            declared = sorted(fields & set(row.spec))
            if declared and glob_matches(row.name, name):
                raise _conflict(row, f"{declared[0]} of the pipeline {name!r}")


async def check_rule_declared(session: AsyncSession, name: str, metric: str, fields: Collection[str]) -> None:
    """As :func:`check_pipelines_declared`, of the fields of a pipeline's rule for the metric."""
    for row in await read_objects(session, ObjectKind.PIPELINE) if fields else ():
        for rule in row.spec.get("rules", ()) if glob_matches(row.name, name) else ():
            if rule["metric_field"] == metric and (declared := sorted(set(fields) & set(rule))):
                raise _conflict(row, f"{declared[0]} of the rule of {name!r} for {metric}")


def _conflict(row: AlertingObject, what: str) -> ConflictError:
    return ConflictError(
        f"The {what} comes from the file {row.origin}: change it there, and run `watcher apply` again."
    )
