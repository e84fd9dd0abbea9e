"""What an alert may be about."""

from enum import StrEnum


class Kind(StrEnum):
    """What may be wrong. Those of a pipeline come first, the worst of them first: they are the words of its status.

    ``failing``: the newest runs that ended failed, as many in a row as the pipeline's ``fail_after``. ``lost``: a
    run was silent for too long and was ended by Watcher, and none that began later has ended. ``silent``: a stream
    that goes on says nothing for longer than is usual, or nothing comes from where runs were missed. ``missed``: a run
    that its schedule expected did not start within its grace, and none has started since. ``late``: a run is still
    going past its timeliness threshold. ``overlapping``: more runs are open at once than may be. ``stale``: nothing was
    written for longer than the freshness threshold. ``anomalous``: the newest run that was judged is out of range.
    ``task``: a task of Watcher failed for good. ``queue``: too much waits in a queue. ``channel``: alerts cannot be
    delivered there. ``watcher``: Watcher itself cannot do its work, or hears from nobody.
    """

    FAILING = "failing"
    LOST = "lost"
    SILENT = "silent"
    MISSED = "missed"
    LATE = "late"
    OVERLAPPING = "overlapping"
    STALE = "stale"
    ANOMALOUS = "anomalous"
    TASK = "task"
    QUEUE = "queue"
    CHANNEL = "channel"
    WATCHER = "watcher"
