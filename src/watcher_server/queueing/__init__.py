"""From a committed row to a running task: outbox, relay, Celery's configuration, queue monitoring."""
