"""A year of runs at once is a backfill, and no reason to wait for rates that are meant for one run after another."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from watcher_server.demo.client import WatcherClient

_TASKS = ("detect_anomalies_task", "pipeline_execution_closure_maintain_task")
# Longer than a replay takes; should it be interrupted, the configured limits hold again after that.
_MINUTES = 30


@contextmanager
def lifted_limits(console: Console, client: WatcherClient) -> Iterator[None]:
    """Lift the rate limits of the tasks that the replay causes, and restore them."""
    lifted = [task for task in _TASKS if client.lift_rate_limit(task, _MINUTES)]
    if len(lifted) < len(_TASKS):
        console.print(
            "The analysis runs at its configured rates, which takes far longer than the replay: "
            "a token with the scope admin lifts them for it.",
            soft_wrap=True,
        )
    yield
    for task in lifted:
        client.restore_rate_limit(task)
