"""`watcher run`: any command as a run of a pipeline. It loads little, and only the standard library, to start fast."""
