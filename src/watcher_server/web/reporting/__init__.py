"""The reporting page."""
