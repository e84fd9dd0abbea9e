"""Incidents: one truth about what is wrong, told once, with its cause, until it is over."""
