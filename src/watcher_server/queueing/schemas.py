"""The HTTP shapes of queue monitoring."""

from watcher_server.kit.fields import ResponseBody


class QueueReport(ResponseBody):
    """What waits in the queues, in messages.

    ``total_pending`` is the sum of the two queues; ``beat_scheduled_tasks`` is how many tasks beat runs by schedule.
    The breakdown counts the pending messages by task; ``unknown`` is what was counted without being read.
    """

    status: str
    total_pending: int
    regular_queue_pending: int
    scheduled_queue_pending: int
    beat_scheduled_tasks: int
    task_breakdown: list[str]
    task_breakdown_raw: dict[str, int]
