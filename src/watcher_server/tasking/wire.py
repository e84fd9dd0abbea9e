"""The names by which processes find each other's data: queues, keys of the broker, headers of a message, channels.

Also what "alive" means for a worker. Each stands here once.
"""

MAIN_QUEUE = "celery"
# Checks have a queue of their own, and alerts another: a backlog in the main queue never delays them, and slow checks
# delay no alert.
SCHEDULED_QUEUE = "scheduled"
ALERTS_QUEUE = "alerts"
QUEUES = (MAIN_QUEUE, SCHEDULED_QUEUE, ALERTS_QUEUE)
# Tasks of other programs that came into one of these. No worker of Watcher reads it.
FOREIGN_QUEUE = "watcher.foreign"

# kombu keeps each priority of a queue in a list of its own; priority 0 has the queue's plain name.
PRIORITY_SUFFIXES = ("", "\x06\x163", "\x06\x166", "\x06\x169")
# The hash of what workers have taken and not acknowledged; per message [message, exchange, routing key].
UNACKNOWLEDGED_KEY = "unacked"
# Followed by a task's name: the moment from which its next start conforms to its rate.
RATE_KEY_PREFIX = "watcher:rate:"

# When the task became due, in seconds since the epoch. Only the relay sends it, so a message that has it was paced.
DUE_HEADER = "watcher_due"

# Relays listen to this channel of the database.
WAKE_CHANNEL = "watcher_outbox"

# A worker that was not seen for six heartbeats has died. For any statement that reads ``worker``.
ALIVE = "worker.stopped_at IS NULL AND worker.seen_at > now() - interval '30 seconds'"
