"""Logging in with a browser."""
