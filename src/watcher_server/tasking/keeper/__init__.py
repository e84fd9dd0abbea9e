"""Duties that must be done even when no worker is free."""
