"""The diagnosis for a bug report: numbers and Watcher's own words, nothing that a user named or wrote."""

import platform
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import SecretStr

from watcher_server import __version__
from watcher_server.diagnostics.checks import gravest, known
from watcher_server.diagnostics.service import Diagnosis
from watcher_server.diagnostics.storage import own_indexes
from watcher_server.models import Base
from watcher_server.settings import Settings
from watcher_server.tasking.wire import QUEUES

# These name machines and people. URLs are secrets: the report says only that they are set.
_PRIVATE_SETTINGS = frozenset({"home", "host", "worker_metrics_host"})
_TABLE = ("rows", "dead_rows", "table_bytes", "index_bytes", "sequential_scans", "index_scans")
_INDEX = ("name", "size_bytes", "scans", "valid")
# The report's own word for each number of a queue.
_QUEUE = {
    "pending": "pending",
    "outbox": "outbox_pending",
    "later": "scheduled",
    "taken": "unacknowledged",
    "oldest_seconds": "oldest_seconds",
    "in_per_minute": "in_per_minute",
    "out_per_minute": "out_per_minute",
    "failed_per_minute": "failed_per_minute",
}

Report = dict[str, Any]


def write_report(diagnosis: Diagnosis, settings: Settings) -> Report:
    """What a developer of Watcher needs to know, as JSON.

    Names of tables, indexes and queues that are not Watcher's own are left out, and so are statements, commands,
    pipelines, workers, roles, hosts and addresses.
    """
    storage, queues = known(diagnosis.findings.storage), known(diagnosis.findings.queues)
    tables, indexes = (storage.tables, storage.indexes) if storage else ((), ())
    own_tables, own = Base.metadata.tables, own_indexes()
    return {
        "watcher": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "taken_at": diagnosis.findings.taken_at.isoformat(timespec="seconds"),
        "verdict": gravest(check.verdict for check in diagnosis.checks).value,
        "sections": {
            section.title: [
                {"check": check.title, "verdict": check.verdict.value, "now": check.figure, "normal": check.normal}
                for check in section.checks
            ]
            for section in diagnosis.sections
        },
        "tables": [
            {
                "name": table.name if table.name in own_tables else "not Watcher's",
                **{field: getattr(table, field) for field in _TABLE},
            }
            for table in tables
        ],
        "indexes": [{field: getattr(index, field) for field in _INDEX} for index in indexes if index.name in own],
        "queues": {
            name: {
                **{word: getattr(queues.queues[name], field) for word, field in _QUEUE.items()},
                "workers": queues.workers.get(name, 0),
            }
            for name in QUEUES
        }
        if queues
        else {},
        "settings": {
            name: "set" if isinstance(value, SecretStr) else value
            for name, value in settings
            if name not in _PRIVATE_SETTINGS
        },
    }


def report_text(report: Report) -> str:
    """The report for people: a line for each check and table."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"Watcher {report['watcher']}, Python {report['python']}, {report['system']}, {report['taken_at']}"
    yield f"Verdict: {report['verdict']}"
    for title, checks in report["sections"].items():
        yield from ("", title)
        for check in checks:
            yield f"  [{check['verdict']}] {check['check']}: {check['now']} (normal: {check['normal']})"
    yield from ("", "Tables", *_numbers((table["name"], table) for table in report["tables"]))
    yield from ("", "Indexes", *_numbers((index["name"], index) for index in report["indexes"]))
    yield from ("", "Queues", *_numbers(report["queues"].items()))
    yield from ("", "Settings")
    yield "  " + ", ".join(f"{name}={value}" for name, value in report["settings"].items())


def _numbers(items: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    for name, numbers in items:
        yield f"  {name}: " + ", ".join(f"{key} {value}" for key, value in numbers.items() if key != "name")
