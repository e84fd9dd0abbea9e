"""What stands in the navigation of every page."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """A page in the navigation; ``below`` are the addresses that count as inside it."""

    href: str
    label: str
    icon: str
    below: tuple[str, ...] = ()

    def holds(self, path: str) -> bool:
        """Whether a page at this path belongs here."""
        return path == self.href or any(path.startswith(prefix) for prefix in self.below)


SECTIONS = (
    Section("/ui", "Overview", "overview"),
    Section("/ui/pipelines", "Pipelines", "pipelines", ("/ui/pipelines/", "/ui/executions/")),
    Section("/lineage-graph", "Lineage", "lineage"),
    Section("/ui/anomalies", "Anomalies", "anomalous"),
    Section("/ui/alerts", "Alerts", "alerts"),
    Section("/reporting", "Reporting", "reporting"),
    Section("/ui/tasks", "Tasks", "tasks", ("/ui/tasks/",)),
    Section("/diagnostics", "Diagnostics", "diagnostics"),
    Section("/ui/settings", "Settings", "settings"),
)
