"""Watcher: knows what each data pipeline did, and tells people before their users do."""

__version__ = "0.2.0"
