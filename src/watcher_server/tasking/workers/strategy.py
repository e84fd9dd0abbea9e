"""What a worker does with a message that did not come from the relay.

The specification sets a rate per task, such as "detect_anomalies_task 15/s", for every sender.
"""

import logging
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from celery.worker.strategy import default
from sqlalchemy.exc import SQLAlchemyError

from watcher_server.database.engine import sync_engine
from watcher_server.settings import get_settings
from watcher_server.tasking.limits.service import configured_limits
from watcher_server.tasking.sending.calls import due_moment, named_arguments
from watcher_server.tasking.sending.outbox import enqueue_call
from watcher_server.tasking.wire import DUE_HEADER, MAIN_QUEUE

logger = logging.getLogger(__name__)


def paced_strategy(task: Any, app: Any, consumer: Any, **options: Any) -> Any:
    """Celery's strategy, but a message of a rate-limited task that no relay paced goes to the outbox first.

    Such a message comes from a program that knows Watcher's tasks only by name; ``.delay()`` goes through the outbox.
    """
    run: Any = default(task, app, consumer, **options)
    if configured_limits(get_settings()).get(task.name) is None:
        return run

    def receive(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **more: Any) -> Any:
        if DUE_HEADER in message.headers or not _divert(task, message):
            return run(message, body, ack, reject, callbacks, **more)
        ack(logger, consumer.connection_errors)
        return None

    return receive


def _divert(task: Any, message: Any) -> bool:
    """Put the call into the outbox; False when that fails. Then the worker runs it at once."""
    headers: Mapping[str, Any] = message.headers
    try:
        args, kwargs, embedded = message.decode()
        options = {
            name: headers[name]
            for name in ("group", "group_index", "root_id", "parent_id", "expires", "shadow")
            if headers.get(name)
        }
        renamed = {"callbacks": "link", "errbacks": "link_error", "chain": "chain", "chord": "chord"}
        options |= {option: embedded[name] for name, option in renamed.items() if embedded.get(name)}
        if "group" in options:
            options["group_id"] = options.pop("group")
        with sync_engine().begin() as connection:
            enqueue_call(
                connection,
                headers["task"],
                named_arguments(task, args, kwargs),
                task_id=UUID(headers["id"]),
                queue=message.delivery_info.get("routing_key") or MAIN_QUEUE,
                due_at=due_moment(headers),
                retries=headers.get("retries") or 0,
                options=options,
            )
    except (SQLAlchemyError, ValueError, TypeError, LookupError, AttributeError) as error:
        logger.warning("A message of a limited task is run at once: %s", type(error).__name__)
        return False
    return True
