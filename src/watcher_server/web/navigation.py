"""The navigation of every page."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """A page in the navigation; pages whose path begins as one in ``below`` belong to it."""

    href: str
    label: str
    icon: str
    below: tuple[str, ...] = ()

    def holds(self, path: str) -> bool:
        """Whether the page at this path belongs to this section."""
        return path == self.href or any(path.startswith(prefix) for prefix in self.below)


SECTIONS = (
    Section("/ui", "Overview", "overview"),
    Section("/ui/incidents", "Incidents", "incidents", ("/ui/incidents/", "/ui/alerts")),
    Section("/ui/pipelines", "Pipelines", "pipelines", ("/ui/pipelines/", "/ui/executions/", "/ui/archive")),
    Section("/lineage-graph", "Lineage", "lineage"),
    Section("/ui/sources", "Sources", "sources", ("/ui/sources/",)),
    Section("/ui/anomalies", "Anomalies", "anomalous"),
    Section("/ui/channels", "Alerting", "alerts", ("/ui/channels/", "/ui/routes", "/ui/windows")),
    Section("/reporting", "Reporting", "reporting"),
    Section("/ui/tasks", "Tasks", "tasks", ("/ui/tasks/",)),
    Section("/diagnostics", "Diagnostics", "diagnostics"),
    Section("/ui/settings", "Settings", "settings", ("/ui/audit",)),
    Section("/ui/documentation", "Documentation", "documentation", ("/ui/documentation/",)),
)
