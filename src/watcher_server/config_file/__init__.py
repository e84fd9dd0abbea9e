"""Who is told, and how pipelines are watched, as a file: `watcher apply` and `watcher export`."""
