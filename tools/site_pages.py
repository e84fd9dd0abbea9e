"""Which documents the site has, in which order, and under which names."""

# Documents outside of docs/, and their names on the site.
OUTSIDE = {
    "README.md": "index.md",
    "docs/README.md": "contents.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "RELEASING.md": "releasing.md",
    "SECURITY.md": "reporting-a-vulnerability.md",
    "LICENSE": "license.txt",
    "deploy/README.md": "deploy.md",
}
NAV = {
    "Start": ["index.md", "contents.md"],
    "Use": [
        "ways-in.md", "runs.md", "schedulers.md", "dbt.md", "openlineage.md", "openlineage-producers.md",
        "schedules.md", "anomalies.md", "lineage.md", "incidents.md", "alerts.md", "telling.md", "routes.md",
        "channels.md", "mcp.md", "pages.md", "glossary.md",
    ],
    "Run": [
        "deployment.md", "kubernetes.md", "deploy.md", "postgresql.md", "broker.md", "proxies.md", "infrastructure.md",
        "access.md", "audit.md", "security.md",
        "upgrading.md", "monitoring.md", "logging-and-tracing.md", "reliability.md", "retention.md", "growth.md",
    ],
    "Background work": ["tasks.md", "queues.md", "rate-limits.md"],
    "Reference": ["settings.md", "reference/commands.md", "reference/api.md", "reference/metrics.md", "performance.md"],
    "Project": ["changelog.md", "contributing.md", "house.md", "releasing.md", "reporting-a-vulnerability.md"],
}  # fmt: skip
