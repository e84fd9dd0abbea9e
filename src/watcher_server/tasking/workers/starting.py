"""What a worker or beat does before it starts, also one that is started by plain ``celery``."""

import gc
import os
from typing import Any

import psycopg
import redis
from celery.signals import beat_init, celeryd_init, worker_init
from celery.utils.nodenames import default_nodename, nodesplit

from watcher_server.database.version import OldServerError, PoolerError, require_server
from watcher_server.settings import get_settings
from watcher_server.tasking.sending.broker_check import UnfitBrokerError, require_broker


def refuse_unfit_server(**_: Any) -> None:
    """End the process if the database server is too old, or behind an unfit pooler. One that is away is waited for."""
    try:
        settings = get_settings()
        require_server(settings.database, settings.direct_url)
    except (OldServerError, PoolerError) as error:
        raise SystemExit(f"watcher: {error}") from None
    except psycopg.Error:
        return


def refuse_unfit_broker(**_: Any) -> None:
    """End the process if the broker can never do what Watcher needs. One that is away is waited for."""
    try:
        require_broker(get_settings().broker)
    except UnfitBrokerError as error:
        raise SystemExit(f"watcher: {error}") from None
    except (redis.RedisError, OSError):
        return


def name_worker(instance: Any, **_: Any) -> None:
    """Give a worker without a name of its own one that no other has.

    Workers of one name get each other's remote commands and are one in Flower. Celery's default is the name of the
    machine, and the specification starts several there: "celery -A src.celery_app worker", three times.
    """
    if instance.hostname == default_nodename(""):
        name, host = nodesplit(instance.hostname)
        instance.hostname = f"{name}-{os.getpid()}@{host}"


def share_memory(**_: Any) -> None:
    """Keep the garbage collector off what exists before the pool forks: its marks would copy what is shared."""
    gc.collect()
    gc.freeze()


def install() -> None:
    """Have every worker and beat of this process do so."""
    worker_init.connect(share_memory)
    celeryd_init.connect(refuse_unfit_server)
    celeryd_init.connect(refuse_unfit_broker)
    celeryd_init.connect(name_worker)
    beat_init.connect(refuse_unfit_server)
    beat_init.connect(refuse_unfit_broker)
