"""The tasks pages."""
