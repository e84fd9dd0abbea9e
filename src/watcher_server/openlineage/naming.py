"""The names of pipelines and addresses that jobs and datasets become.

Producers spell one dataset in several ways; these are made one name as far as that is safe: schemes that mean the same,
default ports, quotes, and the partition at the end of a path.
"""

import fnmatch
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from watcher_server.database.names import MOST_PART, shorten_to_column
from watcher_server.kit.names import SentName, fold
from watcher_server.openlineage.envelope import DatasetName, JobName, hide_user

_SAME_SCHEMES: Final = {
    "s3a": "s3",
    "s3n": "s3",
    "postgresql": "postgres",
    "abfs": "abfss",
    "wasb": "wasbs",
    "sqlserver": "mssql",
}
_DEFAULT_PORTS: Final = {
    "postgres": 5432,
    "mysql": 3306,
    "mssql": 1433,
    "oracle": 1521,
    "redshift": 5439,
    "trino": 8080,
    "kafka": 9092,
}
_DATABASES: Final = frozenset({
    "postgres", "mysql", "mssql", "oracle", "redshift", "snowflake", "duckdb", "trino", "hive", "crate", "db2",
    "teradata", "spanner", "cassandra", "awsathena", "azuresynapse", "databricks", "unitycatalog", "fabric-warehouse",
    "bigquery",
})  # fmt: skip
# As OpenLineage's Java client trims them: key=value, and dates that are folders of their own.
_PARTITION = re.compile(r"[^/=]+=[^/]*|\d{4}-\d{2}-\d{2}(T[\d:.-]+Z?)?|\d{8}|\d{6}")
_DATE_FOLDERS = re.compile(r"/\d{4}/\d{2}(/\d{2})?$")
_SNOWFLAKE = re.compile(r"\.snowflakecomputing\.com$", re.IGNORECASE)
# A part of the name of a table.
_QUOTED = re.compile(r'(?:(?<=\.)|^)"([^"]*)"(?=\.|$)')


class AddressName(NamedTuple):
    """The address of a dataset: its name, its type with the group that a new type gets, and the parts of a table."""

    name: SentName
    type_name: str
    group_name: str
    database_name: str | None = None
    schema_name: str | None = None
    table_name: str | None = None


def pipeline_name(job: JobName) -> SentName:
    """The pipeline of a job, always with its namespace: two schedulers may each have a job ``etl``."""
    return shorten_to_column(f"{job.namespace}/{job.name}")


def address_name(dataset: DatasetName, integration: str, aliases: Mapping[str, str]) -> AddressName:
    """The address of a dataset as it was sent.

    ``integration`` is that of the job that names it: the type of an address whose namespace has no scheme. ``aliases``
    are other names of namespaces, by glob.
    """
    namespace, scheme = _plain_namespace(dataset.namespace, aliases)
    name = dataset.name.strip()
    type_name, group = _type_of(namespace, scheme, integration)
    if group == "database" and type_name != "glue":
        name = _QUOTED.sub(r"\1", name)
    elif group == "file":
        name = trim_partitions(name)
    whole = f"{namespace.rstrip('/')}/{name.lstrip('/')}" if namespace != "file://" else f"file://{name.lstrip('/')}"
    return AddressName(shorten_to_column(whole), type_name, group, *_parts(name, type_name, group))


def trim_partitions(path: str) -> str:
    """The path without the folders of partitions at its end, never without all of it."""
    kept = path.rstrip("/")
    while True:
        shorter = _DATE_FOLDERS.sub("", kept)
        if shorter == kept:
            head, _, last = kept.rpartition("/")
            shorter = head if _PARTITION.fullmatch(last) else kept
        if shorter == kept or not shorter.strip("/"):
            return kept or path
        kept = shorter


def _plain_namespace(sent: str, aliases: Mapping[str, str]) -> tuple[str, str]:
    """The namespace as it is compared, and its scheme; "" without one."""
    namespace = hide_user(sent.strip()).rstrip("/")
    scheme, separator, rest = namespace.partition("://")
    if not separator:
        if namespace.rstrip(":").lower() == "file":
            namespace, scheme = "file://", "file"
        else:
            scheme = ""
    else:
        scheme = _SAME_SCHEMES.get(scheme.lower(), scheme.lower())
        if scheme == "snowflake":
            rest = _SNOWFLAKE.sub("", rest)
        port = _DEFAULT_PORTS.get(scheme)
        if port and rest and not re.search(r":\d+", rest):
            host, slash, path = rest.partition("/")
            rest = f"{host}:{port}{slash}{path}"
        namespace = f"{scheme}://{rest}"
    for glob, other in aliases.items():
        if fnmatch.fnmatchcase(namespace.lower(), glob.lower()):
            return other.rstrip("/"), other.partition("://")[0].lower() if "://" in other else ""
    return namespace, scheme


def _type_of(namespace: str, scheme: str, integration: str) -> tuple[str, str]:
    """The type of an address, and the group of that type."""
    lower = namespace.lower()
    if lower.startswith("arn:aws:glue:"):
        return "glue", "database"
    scheme = scheme or lower.partition(":")[0].partition("/")[0]
    type_name = {"awsathena": "athena", "gs": "gcs"}.get(scheme, scheme)
    if scheme in _DATABASES:
        return type_name, "database"
    if scheme in {"s3", "gs", "abfss", "wasbs", "hdfs", "dbfs", "file"}:
        return type_name, "file"
    if scheme.startswith(("kafka", "pubsub", "kinesis")):
        return type_name, "stream"
    return str(fold(type_name if "://" in namespace else integration))[:150] or "openlineage", "other"


def _parts(name: str, type_name: str, group: str) -> tuple[str | None, str | None, str | None]:
    """Database, schema and table."""
    if type_name == "glue":
        parts = name.removeprefix("table/").split("/")
        parts = ["", *parts] if len(parts) == 2 else []  # noqa: PLR2004 - database and table
    elif group in {"file", "stream"}:
        parts = []
    else:
        parts = name.split(".")
        parts = parts[-3:] if group == "database" or len(parts) == 3 else []  # noqa: PLR2004 - the parts of a table
    if not parts:
        return None, None, None
    folded = [str(fold(part))[:MOST_PART] or None for part in parts]
    database, schema, table = [None] * (3 - len(folded)) + folded
    return database, schema, table
