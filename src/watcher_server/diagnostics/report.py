"""The diagnosis for a bug report: numbers and Watcher's own words, nothing that a user named or wrote."""

import platform
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import SecretStr

from watcher_server import __version__
from watcher_server.diagnostics.checks import Check, gravest
from watcher_server.diagnostics.judging.storage import own_indexes, own_tables
from watcher_server.diagnostics.service import Diagnosis, known
from watcher_server.diagnostics.storage import IndexFacts, Storage, TableFacts
from watcher_server.queue_monitor.depths import QueueState
from watcher_server.queueing.configuration import QUEUES
from watcher_server.settings import Settings

# Names of machines and people are in these; addresses are secrets, and only said to be set.
_PRIVATE_SETTINGS = frozenset({"home", "host", "worker_metrics_host"})

Report = dict[str, Any]


def write_report(diagnosis: Diagnosis, settings: Settings) -> Report:
    """What a developer of Watcher needs to know, as JSON.

    Names of tables, indexes and queues that are not Watcher's own are left out, and so are statements, commands,
    pipelines, workers, roles, hosts and addresses.
    """
    findings = diagnosis.findings
    storage, queues = known(findings.storage), known(findings.queues)
    return {
        "watcher": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "taken_at": findings.taken_at.isoformat(timespec="seconds"),
        "verdict": gravest(check.verdict for check in diagnosis.checks).value,
        "sections": {section.title: [_check(check) for check in section.checks] for section in diagnosis.sections},
        "tables": [] if storage is None else list(_tables(storage)),
        "indexes": [] if storage is None else list(_indexes(storage)),
        "queues": {} if queues is None else dict(_queues(queues)),
        "settings": dict(_settings(settings)),
    }


def _check(check: Check) -> Mapping[str, str]:
    return {"check": check.title, "verdict": check.verdict.value, "now": check.figure, "normal": check.normal}


def _tables(storage: Storage) -> Iterator[Mapping[str, Any]]:
    own = own_tables()
    for table in storage.tables:
        yield {"name": table.name if table.name in own else "not Watcher's", **_table(table)}


def _table(table: TableFacts) -> Mapping[str, Any]:
    return {
        "rows": table.rows,
        "dead_rows": table.dead_rows,
        "table_bytes": table.table_bytes,
        "index_bytes": table.index_bytes,
        "sequential_scans": table.sequential_scans,
        "index_scans": table.index_scans,
    }


def _indexes(storage: Storage) -> Iterator[Mapping[str, Any]]:
    own = own_indexes()
    for index in storage.indexes:
        if index.name in own:
            yield _index(index)


def _index(index: IndexFacts) -> Mapping[str, Any]:
    return {"name": index.name, "size_bytes": index.size_bytes, "scans": index.scans, "valid": index.valid}


def _queues(queues: QueueState) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name in QUEUES:
        load = queues.queues[name]
        yield (
            name,
            {
                "pending": load.pending,
                "outbox": load.outbox_pending,
                "later": load.scheduled,
                "taken": load.unacknowledged,
                "oldest_seconds": load.oldest_seconds,
                "in_per_minute": load.in_per_minute,
                "out_per_minute": load.out_per_minute,
                "failed_per_minute": load.failed_per_minute,
                "workers": queues.workers.get(name, 0),
            },
        )


def _settings(settings: Settings) -> Iterator[tuple[str, Any]]:
    for name, value in settings:
        if isinstance(value, SecretStr):
            yield name, "set"
        elif name not in _PRIVATE_SETTINGS:
            yield name, value


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
    yield from ("", "Tables")
    yield from _numbers((table["name"], table) for table in report["tables"])
    yield from ("", "Indexes")
    yield from _numbers((index["name"], index) for index in report["indexes"])
    yield from ("", "Queues")
    yield from _numbers(report["queues"].items())
    yield from ("", "Settings")
    yield "  " + ", ".join(f"{name}={value}" for name, value in report["settings"].items())


def _numbers(items: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    for name, numbers in items:
        yield f"  {name}: " + ", ".join(f"{key} {value}" for key, value in numbers.items() if key != "name")
