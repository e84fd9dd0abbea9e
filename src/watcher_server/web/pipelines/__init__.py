"""The list of pipelines."""
