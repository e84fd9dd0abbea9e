"""The HTTP shape of a freshness check."""

from typing import Literal

from watcher_server.kit.fields import ResponseBody


class FreshnessCheckQueued(ResponseBody):
    """The check will run as soon as a worker takes it."""

    status: Literal["queued"] = "queued"
