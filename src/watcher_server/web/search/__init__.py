"""The search of every page."""
