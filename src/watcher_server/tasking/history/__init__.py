"""What became of each task: Celery's result backend, and the history that pages and programs read."""
