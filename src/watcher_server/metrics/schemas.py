"""The HTTP shape of what Prometheus is to scrape."""

from watcher_server.kit.fields import ResponseBody


class TargetGroup(ResponseBody):
    """A group of targets as Prometheus reads them (``http_sd_config``): ``host:port``, and labels for relabelling."""

    targets: list[str]
    labels: dict[str, str]
