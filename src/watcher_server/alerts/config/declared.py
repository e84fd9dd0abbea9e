"""What a file says of pipelines: that is changed there, and nowhere else."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.config.store import ObjectKind, read_objects
from watcher_server.alerts.models import AlertingObject
from watcher_server.kit.errors import ConflictError
from watcher_server.kit.globs import glob_matches


async def check_pipeline_declared(session: AsyncSession, name: str, fields: Collection[str]) -> None:
    """Raise where a file says what one of these fields of the pipeline is.

    Raises:
        ConflictError: the message names the file.
    """
    await check_pipelines_declared(session, {name: fields})


async def check_pipelines_declared(session: AsyncSession, changes: Mapping[str, Collection[str]]) -> None:
    """The same for several pipelines, with the fields of each by its name; the files are read once."""
    changed = {name: set(fields) for name, fields in changes.items() if fields}
    rows = await read_objects(session, ObjectKind.PIPELINE) if changed else []
    for name, fields in changed.items():
        for row in rows:
            declared = sorted(fields & set(row.spec))
            if declared and glob_matches(row.name, name):
                raise _conflict(row, f"{declared[0]} of the pipeline {name!r}")


async def check_rule_declared(session: AsyncSession, name: str, metric: str, fields: Collection[str]) -> None:
    """Raise where a file says what one of these fields of a pipeline's rule for the metric is.

    Raises:
        ConflictError: the message names the file.
    """
    if not fields:
        return
    for row in await _saying(session, name):
        for rule in _rules(row):
            if rule["metric_field"] == metric and (declared := sorted(set(fields) & set(rule))):
                raise _conflict(row, f"{declared[0]} of the rule of {name!r} for {metric}")


async def _saying(session: AsyncSession, name: str) -> list[AlertingObject]:
    rows = await read_objects(session, ObjectKind.PIPELINE)
    return [row for row in rows if glob_matches(row.name, name)]


def _rules(row: AlertingObject) -> Iterator[dict[str, Any]]:
    yield from row.spec.get("rules", ())


def _conflict(row: AlertingObject, what: str) -> ConflictError:
    return ConflictError(
        f"The {what} comes from the file {row.origin}: change it there, and run `watcher apply` again."
    )
