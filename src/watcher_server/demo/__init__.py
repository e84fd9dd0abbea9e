"""``watcher demo``: a year of real airline operations, run and reported as a user's pipelines would."""
