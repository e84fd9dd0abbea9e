"""Three channels that are told everything: one that is well, one that is slow, and one that is dead."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from typing import Any

from tests.support.cluster import Cluster
from tests.support.routing import put_channel, put_object
from tests.support.slack import SlackSink, slack_sink
from watcher_server.alerts.config.schemas import DEFAULT

WELL, SLOW, DEAD = "well", "slow", "dead"
_SLOW_SECONDS = 1.0


@contextmanager
def three_channels(cluster: Cluster, **route: Any) -> Iterator[None]:
    """Have a cluster tell everything to all three, and to its Slack what the dead one does not take.

    ``route`` are further fields of the route. Afterwards the channels answer no more.
    """
    with ExitStack() as sinks:
        for name in (WELL, SLOW, DEAD):
            cluster.sinks[name] = sink = sinks.enter_context(slack_sink())
            _add(cluster, name, sink)
        cluster.sinks[SLOW].slow_seconds = _SLOW_SECONDS
        cluster.sinks[DEAD].status = HTTPStatus.GONE
        cluster.dead.add(DEAD)
        put_object(cluster.engine, "route", "all", {"to": [WELL, SLOW, DEAD], "fallback": DEFAULT, **route})
        try:
            yield
        finally:
            cluster.dead.clear()
            for name in (WELL, SLOW, DEAD):
                del cluster.sinks[name]


def _add(cluster: Cluster, name: str, sink: SlackSink) -> None:
    # What the operator gives by a file may lead to an address of this machine.
    secret = cluster.home / f"{name}.url"
    secret.write_text(sink.url)
    put_channel(cluster.engine, name, type="slack", spec={"type": "slack", "url": {"file": str(secret)}})
