"""`watcher run`: the command, as it would run alone, and around it the reports of the run."""

import contextlib
import os
import resource
import signal
import socket
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from watcher_server.cli.running.child import Child, Ended, SignalPost
from watcher_server.cli.running.figures import OutputReader, read_result
from watcher_server.cli.running.kept import KeptRun, Run, keep
from watcher_server.cli.running.options import Options, read_options
from watcher_server.cli.running.reporting import FLUSH_SECONDS, Reporter, now


def run_wrapped(arguments: Sequence[str]) -> NoReturn:
    """Run the command, and end as it ended."""
    options = read_options(arguments, os.environ)
    if not options.command:
        _flush(options)
    post = SignalPost()
    kept = keep(Run(options.destination, str(uuid.uuid4()), now(), _parent_id(os.environ)))
    reporter = Reporter(options)
    reporter.start(kept)
    result = _result_file(kept)
    reader = None if options.rows_from is None else OutputReader(options.rows_from)
    child, ended = _run(options, post, reader, _environment(options, kept.run, reporter.execution_id, result))
    if reader is not None:
        reader.finish()
    figures = {**(reader.found if reader is not None else {}), **read_result(result)}
    kept.run.end = _describe(ended, figures)
    kept.save()
    result.unlink(missing_ok=True)
    reporter.end(kept)
    for sentence in filter(None, [ended.error or reporter.trouble]):
        _say(sentence)
    kept.release()
    child.pass_on_the_rest()
    _end_as(ended.status)


def _flush(options: Options) -> NoReturn:
    reporter = Reporter(options)
    away = reporter.flush(time.monotonic() + FLUSH_SECONDS, patient=True)
    print(f"{reporter.sent} reported, {len(away)} destinations away")  # noqa: T201 - what the user asked for
    if reporter.trouble is not None:
        _say(reporter.trouble)
    raise SystemExit(1 if away else 0)


def _run(
    options: Options, post: SignalPost, reader: OutputReader | None, environment: Mapping[str, str]
) -> tuple[Child, Ended]:
    """Run the command until it succeeds, somebody ends it, or it has failed as often as it may."""
    for _ in range(options.retries + 1):
        child = Child(post, None if reader is None else reader.read)
        ended = child.run(options.command, environment, options.timeout)
        if ended.status == 0 or ended.told is not None or ended.error is not None:
            break
        child.pass_on_the_rest()
    return child, ended


def _parent_id(environment: Mapping[str, str]) -> int | None:
    given = environment.get("WATCHER_EXECUTION_ID", "")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 19 else None  # noqa: PLR2004 - of 64 bits


def _result_file(kept: KeptRun) -> Path:
    """Where the command may write what it did."""
    if kept.path is not None:
        return kept.path.with_suffix(".result")
    return Path(os.environ.get("TMPDIR", "/tmp")) / f"watcher-{kept.run.rid}.result"  # noqa: S108 - a name nobody knows


def _environment(options: Options, run: Run, execution_id: str | None, result: Path) -> dict[str, str]:
    """The command's environment: what it starts finds its place below this run."""
    environment = {**os.environ, "WATCHER_RESULT": str(result)}
    environment.pop("WATCHER_EXECUTION_ID", None)
    if execution_id is not None:
        environment["WATCHER_EXECUTION_ID"] = execution_id
    job = options.pipeline or Path(options.command[0]).name
    environment["OPENLINEAGE_PARENT_ID"] = f"watcher/{job}/{run.rid}"
    if not environment.get("OPENLINEAGE_URL"):
        parts = urlsplit(options.ping_url or "")
        server = f"{parts.scheme}://{parts.netloc}{parts.path.partition('/ping/')[0]}"
        environment["OPENLINEAGE_URL"] = options.url if options.ping_url is None else server
        if options.token is not None:
            environment.setdefault("OPENLINEAGE_API_KEY", options.token)
    return environment


def _describe(ended: Ended, figures: Mapping[str, Any]) -> dict[str, Any]:
    """The end of the run, as it is reported."""
    metadata: dict[str, Any] = {"host": socket.gethostname()}
    succeeded = ended.status == 0 and ended.told is None
    error = ended.error
    if ended.timed_out:
        error = "it took longer than it may, and was ended"
    elif ended.told is not None:
        error = f"it was ended by {signal.Signals(ended.told).name}"
    elif ended.status < 0:
        error = f"it was killed by {signal.Signals(-ended.status).name}"
    if error is not None:
        metadata["error"] = error
    end: dict[str, Any] = {"end_date": now(), "execution_metadata": metadata}
    if error is None:
        end["exit_status"] = ended.status
    if not succeeded and ended.tail:
        end["output"] = ended.tail.decode("utf-8", "replace").replace("\r\n", "\n")
    if figures:
        end["figures"] = dict(figures)
    return end


def _say(sentence: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"watcher: {sentence.splitlines()[0]}\n".encode(errors="replace"))


def _end_as(status: int) -> NoReturn:
    """End with the exit status of the command, or by the signal that killed it."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    if status < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError, ValueError):
            # SIGKILL has no handler to take away.
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
        status = 128 - status
    # A thread that still waits for an answer does not hold up the end.
    os._exit(status)
