"""``watcher openlineage``: events that failed, replays, imports, and what jobs and datasets are called here."""

import gzip
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from rich.table import Table
from rich.text import Text

from watcher_server.archive import service as archive
from watcher_server.cli.databases import command_engine, command_transaction
from watcher_server.cli.errors import CommandError
from watcher_server.cli.terminal import console
from watcher_server.kit.fields import BIGINT_MAX, UtcDatetime
from watcher_server.kit.terminal import typeable
from watcher_server.kit.text import escape_controls
from watcher_server.openlineage.counting import Status, Waiting, read_status, stuck_text
from watcher_server.openlineage.envelope import JobName
from watcher_server.openlineage.event_schemas import EventResponse, EventsResponse, StatusResponse
from watcher_server.openlineage.importing import Imported, import_lines
from watcher_server.openlineage.inspecting import FoundEvents, SeenEvent, State, find_events, read_one
from watcher_server.openlineage.linking import alias_dataset, forget_job, link_job, unlink_job
from watcher_server.openlineage.replaying import Replayed, replay_failed, replay_since, replay_these
from watcher_server.settings import get_settings

_STANDARD_INPUT = Path("-")
_GZIP = b"\x1f\x8b"


def show_status(*, as_json: bool) -> bool:
    """Print what became of all events; whether none failed and none waits for long."""
    with command_transaction() as connection:
        status = read_status(connection)
    now = Waiting(status.waiting, status.oldest_waiting_seconds, status.failed)
    if as_json:
        _print_json(StatusResponse, status)
    else:
        _print_status(status, stuck_text(now))
    return stuck_text(now) is None


def _print_status(status: Status, stuck: str | None) -> None:
    if not status.received:
        _say("No event has come yet: docs/openlineage.md says what a tool needs to send some.")
        return
    _say(
        f"{status.received:,} events: {status.applied:,} applied, {status.repeated:,} said nothing new, "
        f"{status.ignored:,} ignored, {status.waiting:,} waiting, {status.failed:,} failed."
    )
    if stuck:
        _say(f"{stuck[:1].upper()}{stuck[1:]}: `watcher openlineage failed` says why, `watcher status` what runs.")
    table = _table("Namespace", "Integration", "Version", "Events", "Last (UTC)")
    for sender in status.producers:
        table.add_row(
            Text(escape_controls(sender.namespace)),
            Text(escape_controls(sender.integration)),
            Text(escape_controls(sender.version or "")),
            f"{sender.events:,}",
            _second(sender.last),
        )
    console().print(table)


def show_failed(job: str | None, run: str | None, limit: int, *, as_json: bool) -> None:
    """Print the newest events that failed."""
    with command_transaction() as connection:
        found = find_events(connection, State.FAILED, job=job, run=run, limit=limit)
    if as_json:
        _print_json(EventsResponse, found)
    elif found.events:
        _print_failed(found)
    elif job or run:
        _say("No event that failed is like that: `watcher openlineage failed` without options shows the newest of all.")
    else:
        _say("No event has failed.")


def _print_failed(found: FoundEvents) -> None:
    table = _table("ID", "Failed (UTC)", "Namespace", "Job", "Error")
    for event in found.events:
        table.add_row(
            str(event.id),
            _second(event.failed_at or event.received_at),
            Text(escape_controls(event.namespace)),
            Text(escape_controls(event.job or "")),
            Text(escape_controls((event.error or "").partition("\n")[0])),
        )
    console().print(table)
    if not found.complete:
        _say("There are more: raise --limit, or narrow the list with --job or --run.")
    _say("See one: `watcher openlineage show ID`. Once the cause is mended: `watcher openlineage replay --failed`.")


def show_one(event_id: int) -> None:
    """Print an event as JSON.

    Raises:
        CommandError: there is none of that id.
    """
    with command_transaction() as connection:
        event: SeenEvent = read_one(connection, event_id if abs(event_id) <= BIGINT_MAX else 0)
    _print_json(EventResponse, event)


def replay(event_ids: Sequence[int], since: str | None, *, failed: bool) -> None:
    """Have events applied again, and say how many.

    Raises:
        CommandError: not exactly one way to name them is given, or no event has one of the ids.
    """
    if sum(map(bool, (event_ids, since, failed))) != 1:
        raise CommandError("Say which events to apply again, in one way: their ids, --failed, or --since MOMENT.")
    moment = None if since is None else _moment(since)
    with command_engine() as engine:
        if moment is not None:
            done = replay_since(engine.begin, moment)
        elif failed:
            done = replay_failed(engine.begin)
        else:
            done = replay_these(engine.begin, [id_ for id_ in event_ids if abs(id_) <= BIGINT_MAX])
            done.unknown += [id_ for id_ in event_ids if abs(id_) > BIGINT_MAX]
    _say(_replayed_text(done))
    if done.unknown:
        raise CommandError(f"No event that is kept has the id {', '.join(map(str, done.unknown[:20]))}.")


def _replayed_text(done: Replayed) -> str:
    if not done.events:
        return "No event is applied again: none is like that, or it waits already."
    return f"{done.events:,} event{'' if done.events == 1 else 's'} will be applied again by the workers."


def import_files(files: Sequence[Path]) -> bool:
    """Store the events of these files, and say how it goes; whether every line was an event.

    Raises:
        CommandError: a file cannot be read; the files before it are stored.
    """
    most_bytes = get_settings().openlineage_max_event_bytes
    bad = 0
    with command_engine() as engine:
        for file in files:
            name = "standard input" if file == _STANDARD_INPUT else str(file)
            with _progress(name) as report, _lines(file) as lines:
                done = import_lines(engine.begin, lines, most_bytes, report=report)
            _say(f"{name}: {done.events:,} events stored" + (f", {done.bad:,} lines are none." if done.bad else "."))
            for line in done.named:
                _complain(f"{name}, line {line.number:,}: {line.reason}.")
            if done.bad > len(done.named):
                _complain(f"{name}: and {done.bad - len(done.named):,} more lines that are no events.")
            bad += done.bad
    _say("The workers apply them now: `watcher openlineage status` says how far they are.")
    return not bad


@contextmanager
def _lines(file: Path) -> Iterator[Iterable[bytes]]:
    if file == _STANDARD_INPUT:
        yield sys.stdin.buffer
        return
    try:
        with file.open("rb") as stream:
            packed = stream.read(len(_GZIP)) == _GZIP
            stream.seek(0)
            yield gzip.GzipFile(fileobj=stream) if packed else stream
    except (OSError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CommandError(f"{file} cannot be read: {reason}.") from None


@contextmanager
def _progress(name: str) -> Iterator[Any]:
    """Show how many events are stored, on a terminal."""
    out = console()
    with out.status(f"{name} ...") as shown:
        yield lambda done: shown.update(_progress_text(name, done))


def _progress_text(name: str, done: Imported) -> str:
    return escape_controls(f"{name}: {done.events:,} events" + (f", {done.bad:,} lines are none" if done.bad else ""))


def link(namespace: str, name: str, pipeline: str) -> None:
    """Link a job to a pipeline.

    Raises:
        CommandError: there is no such pipeline.
    """
    with command_transaction() as connection:
        found = link_job(connection, _job(namespace, name), pipeline)
    _say(f"From its next event on, {namespace}/{name} reports runs of the pipeline {found.name} (ID {found.id}).")


def unlink(namespace: str, name: str) -> None:
    """Undo a link.

    Raises:
        CommandError: there is no such job.
    """
    with command_transaction() as connection:
        pipeline = unlink_job(connection, _job(namespace, name))
    was = f" It was {pipeline}, which keeps its runs." if pipeline else ""
    _say(f"The next event of {namespace}/{name} finds its pipeline by its name.{was}")


def alias(dataset: str, address: str) -> None:
    """Have a dataset be an address.

    Raises:
        CommandError: there is no such address, or that is no dataset.
    """
    with command_transaction() as connection:
        found = alias_dataset(connection, dataset, address)
    _say(f"{dataset} is the address {found.name} (ID {found.id}) from now on.")


def forget(namespace: str, name: str) -> None:
    """Forget a job, and its pipeline if the job made it.

    Raises:
        CommandError: there is no such job.
    """
    with command_transaction() as connection:
        pipeline = forget_job(connection, _job(namespace, name))
        if pipeline is not None:
            archive.forget(connection, archive.Kind.PIPELINE, pipeline.id)
    rest = "" if pipeline is None else f", and so is its pipeline {pipeline.name} with its runs"
    _say(f"{namespace}/{name} is forgotten{rest}.")


def _job(namespace: str, name: str) -> JobName:
    return JobName(namespace.strip(), name.strip())


def _moment(value: str) -> datetime:
    try:
        moment: datetime = TypeAdapter(UtcDatetime).validate_python(value)
    except ValidationError:
        raise CommandError(f"--since cannot be {value}: write it like 2026-11-23T09:00+01:00.") from None
    return moment


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column == "Events" else "left")
    return table


def _second(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _print_json(model: Any, value: Any) -> None:
    adapter = TypeAdapter(model)
    sys.stdout.write(adapter.dump_json(adapter.validate_python(value, from_attributes=True), indent=2).decode() + "\n")


def _say(sentence: str) -> None:
    sys.stdout.write(f"{escape_controls(typeable(sentence))}\n")


def _complain(sentence: str) -> None:
    sys.stderr.write(f"{escape_controls(typeable(sentence))}\n")
