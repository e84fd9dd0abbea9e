"""What pages show of what events said: of a pipeline, of a run, of an address. Only addresses of the web are links."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.addresses.models import Address
from watcher_server.executions.code_changes import describe_changes
from watcher_server.executions.models import PipelineExecution
from watcher_server.openlineage.envelope import read_moment
from watcher_server.pipelines.models import Pipeline

# Of each side of a run; the API and the lineage have the others.
MOST_DATASETS: Final = 200
MOST_FIELDS: Final = 500
# Of the metadata of a run, what this shows.
SHOWN_NAMES: Final = frozenset({"openlineage", "error"})


def web_address(url: Any) -> str | None:
    """The URL, if a browser may follow it to a page."""
    return url if isinstance(url, str) and url.lower().startswith(("http://", "https://")) else None


class Said(dict[str, Any]):
    """What events said, by name; None for what none did."""

    def __missing__(self, name: str) -> None:
        return None

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "Said":
        """The same at every level."""
        return cls({name: cls.of(part) if isinstance(part, Mapping) else part for name, part in said.items()})


@dataclass(frozen=True, slots=True)
class PipelineSaid:
    """What events said of a pipeline. ``tags`` are those that people did not give it as well."""

    said: Said
    tags: Sequence[str]
    schedule: str | None

    @property
    def code_url(self) -> str | None:
        code = self.said.get("code") or {}
        return web_address(code.get("url")) or web_address(code.get("repository"))

    @property
    def code_text(self) -> str:
        """The file, the version and the branch of its code, as far as they are known."""
        code = self.said.get("code") or {}
        path = code.get("path") or self.said.get("file") or code.get("url") or code.get("repository")
        return ", ".join(filter(None, (path, code.get("branch"), code.get("version"))))

    @property
    def said_schedule(self) -> str | None:
        schedule = self.said.get("schedule") or {}
        return schedule.get("cron") if isinstance(schedule, Mapping) else None

    @property
    def schedule_is_said(self) -> bool:
        return self.schedule is not None and self.schedule == self.said_schedule


def describe_pipeline(pipeline: Pipeline, by_hand: Collection[str]) -> PipelineSaid | None:
    """What events said of it, beside the tags that people gave it; None where none did."""
    if not pipeline.openlineage:
        return None
    said = Said.of(pipeline.openlineage)
    return PipelineSaid(said, [tag for tag in said.get("tags", ()) if tag not in by_hand], pipeline.schedule)


class UsedDataset(NamedTuple):
    """A dataset that a run read or wrote, with what it said of it; ``address_id`` is None while it is no address."""

    written: bool
    namespace: str
    name: str
    address_id: int | None
    rows: int | None
    size: int | None
    files: int | None


@dataclass(frozen=True, slots=True)
class RunSaid:
    """What events said of a run: ``said`` is ``execution_metadata.openlineage``.

    ``changes`` say what is another one than in the last success. Of more than ``MOST_DATASETS`` datasets the first by
    name are there; ``more`` counts the others.
    """

    said: Said
    datasets: Sequence[UsedDataset] = ()
    more: int = 0
    changes: Sequence[str] = ()

    @property
    def error(self) -> str | None:
        error = self.said["error"]
        return error["message"] if isinstance(error, Said) else None

    @property
    def log_url(self) -> str | None:
        return web_address(self.said.get("log_url"))

    @property
    def engine(self) -> str | None:
        """What it ran on: ``spark 3.5.1``."""
        engine = self.said.get("engine") or {}
        return " ".join(filter(None, (engine.get("name"), engine.get("version")))) or None

    @property
    def nominal(self) -> tuple[datetime | None, datetime | None]:
        """The interval that it stands for, such as the day whose data it loads."""
        return read_moment(self.said.get("nominal_start")), read_moment(self.said.get("nominal_end"))

    @property
    def read(self) -> list[UsedDataset]:
        return [each for each in self.datasets if not each.written]

    @property
    def wrote(self) -> list[UsedDataset]:
        return [each for each in self.datasets if each.written]


# The run by ix_openlineage_run_execution_id, what is rolled up into it by ix_openlineage_run_into_key. What the run
# itself says of a dataset counts; else what its parts say together. The facets are [moment, whether it ended, value].
_DATASETS = """
WITH said AS (
    SELECT true AS own, state FROM openlineage_run WHERE execution_id = :execution_id
    UNION ALL
    SELECT false, part.state FROM openlineage_run AS run
    JOIN openlineage_run AS part ON part.into_key = run.key AND part.rolled_up
    WHERE run.execution_id = :execution_id
), used AS (
    SELECT said.own, side.written, dataset.key, dataset.value -> 'n' AS name, statistics.*
    FROM said
    CROSS JOIN (VALUES (false, 'inputs', 'inputStatistics'), (true, 'outputs', 'outputStatistics'))
        AS side (written, name, facet)
    CROSS JOIN LATERAL jsonb_each(said.state -> side.name) AS dataset (key, value)
    LEFT JOIN LATERAL jsonb_to_record(dataset.value #> ARRAY['f', side.facet, '2'])
        AS statistics ("rowCount" numeric, size numeric, "fileCount" numeric) ON true
), summed AS (
    SELECT written, key, (array_agg(name))[1] AS name,
        coalesce(sum("rowCount") FILTER (WHERE own), sum("rowCount"))::bigint AS rows,
        coalesce(sum(size) FILTER (WHERE own), sum(size))::bigint AS size,
        coalesce(sum("fileCount") FILTER (WHERE own), sum("fileCount"))::bigint AS files
    FROM used GROUP BY written, key
)
SELECT written, summed.name ->> 0, summed.name ->> 1, dataset.address_id, rows, size, files, number
FROM (
    SELECT *, row_number() OVER (PARTITION BY written ORDER BY name, key) AS place,
        count(*) OVER (PARTITION BY written) AS number
    FROM summed
) AS summed
LEFT JOIN openlineage_dataset AS dataset ON dataset.key = CAST(summed.key AS uuid)
WHERE place <= :most
ORDER BY written, place
"""


async def read_run(session: AsyncSession, run: PipelineExecution) -> RunSaid | None:
    """What events said of the run; None where none did."""
    said = (run.execution_metadata or {}).get("openlineage")
    if not isinstance(said, Mapping):
        return None
    rows = (await session.execute(text(_DATASETS), {"execution_id": run.id, "most": MOST_DATASETS})).all()
    more = sum({row.written: row.number for row in rows}.values()) - len(rows)
    changes = await (await session.connection()).run_sync(describe_changes, run.id)
    return RunSaid(Said.of(said), [UsedDataset(*row[:-1]) for row in rows], more, changes)


class OtherName(NamedTuple):
    """A dataset that the address is, as it is spelt; ``disabled`` where two datasets claim the name."""

    namespace: str
    name: str
    alias: bool
    disabled: bool


class SchemaChanged(NamedTuple):
    """Fields that came, went, or have another type since then."""

    at: datetime
    added: Sequence[str]
    removed: Sequence[str]
    retyped: Sequence[str]


@dataclass(frozen=True, slots=True)
class AddressSaid:
    """What events said of an address, the datasets that it is, and how its fields changed, the latest first."""

    said: Said
    names: Sequence[OtherName]
    changes: Sequence[SchemaChanged]

    @property
    def fields(self) -> list[Said]:
        """Its fields, ``MOST_FIELDS`` at most, each with a name, and perhaps a type and a description."""
        return [Said(each) for each in self.said.get("fields", ())[:MOST_FIELDS]]

    @property
    def exposures(self) -> list[tuple[str, str | None]]:
        """What people see of it, such as dashboards, each with its page."""
        return [(each["name"], web_address(each.get("url"))) for each in self.said.get("exposures", ())]


_NAMES = """
SELECT namespace, name, alias, disabled FROM openlineage_dataset
WHERE address_id = :address_id ORDER BY alias, namespace, name LIMIT :most
"""
_CHANGES = """
SELECT at, added, removed, retyped FROM address_schema_change
WHERE address_id = :address_id ORDER BY id DESC LIMIT :most
"""


async def read_address(session: AsyncSession, address: Address) -> AddressSaid | None:
    """What events said of the address; None where none named it."""
    parameters = {"address_id": address.id}
    names = (await session.execute(text(_NAMES), parameters | {"most": 50})).all()
    if not names and not address.openlineage:
        return None
    changes = await session.execute(text(_CHANGES), parameters | {"most": 20})
    return AddressSaid(
        Said.of(address.openlineage or {}),
        [OtherName(*row) for row in names],
        [SchemaChanged(*row) for row in changes],
    )
