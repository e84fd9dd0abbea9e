"""The limit on the database's side: the same statements by pgbench, with nothing of ours in between."""

import re
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from watcher_server.executions.statements import END_STATEMENT, START_STATEMENT

VALUES = {
    "parent_id": "NULL",
    "watermark": "NULL",
    "next_watermark": "'1'",
    "start_date": "now()",
    "end_date": "(now() + interval '42 s')",
    "completed_successfully": "true",
    "inserts": "1000",
    "updates": "10",
    "soft_deletes": "NULL",
    "total_rows": "1010",
    "execution_metadata": "NULL",
    "context": "NULL",
    "backfill": "false",
    "nothing_to_do": "false",
    "pipeline_id": ":pipeline_id",
    "id": ":id",
}


def _script(pipelines: int, *, notify: bool) -> str:
    def filled(statement: str) -> str:
        without_comments = re.sub(r"--.*", "", statement)
        return re.sub(r"%\((\w+)\)s", lambda match: VALUES[match[1]], without_comments).strip()

    end = END_STATEMENT
    if notify:
        told = "(SELECT count(pg_notify('watcher_outbox', '')::text) FROM ended)"
        last = "\nSELECT EXISTS (SELECT FROM queued)"
        end = end.replace(f"{last} FROM ended", f"{last}, {told} FROM ended")
        assert end != END_STATEMENT, "The statement has another end now: have this notify in it."
    return f"\\set pipeline_id random(1, {pipelines})\n{filled(START_STATEMENT)} \\gset\n{filled(end)};\n"


def measure_pgbench(
    binaries: Path,
    database_url: str,
    folder: Path,
    *,
    connections: int,
    seconds: int,
    pipelines: int,
    notify: bool = False,
) -> float:
    """Cycles per second that pgbench reaches with prepared statements, each an own transaction.

    With ``notify`` each end also wakes the relays by the database, which the product's statement leaves out.
    """
    script = folder / "cycle.sql"
    script.write_text(_script(pipelines, notify=notify))
    url = urlsplit(database_url)
    command = [
        *(str(binaries / "pgbench"), "--no-vacuum", "--protocol=prepared", f"--file={script}"),
        *(f"--client={connections}", "--jobs=1", f"--time={seconds}"),
        *(f"--host={parse_qs(url.query)['host'][0]}", f"--username={url.username}", url.path.lstrip("/")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"tps = ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    return float(found[1])
