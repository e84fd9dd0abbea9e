"""When a pipeline is expected to run: cron expressions in time zones, and the window of each run."""
