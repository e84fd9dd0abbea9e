"""The states of a task. It imports nothing of Watcher, so that the commands can name states without loading it."""

from enum import StrEnum


class TaskState(StrEnum):
    """How far a task has got."""

    PENDING = "PENDING"
    PROGRESS = "PROGRESS"
    SUCCESS = "SUCCESS"
    RETRY = "RETRY"
    FAILURE = "FAILURE"
    REVOKED = "REVOKED"


# A task that failed for good, or was revoked, runs again only after a retry by hand.
RETRYABLE_STATES = frozenset({TaskState.FAILURE, TaskState.REVOKED})
FINAL_STATES = RETRYABLE_STATES | {TaskState.SUCCESS}
# The last try ended with an error.
ERROR_STATES = RETRYABLE_STATES | {TaskState.RETRY}
