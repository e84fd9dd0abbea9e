"""From a call or a committed row to a message in the broker: outbox, relay, beat, Celery's configuration."""
