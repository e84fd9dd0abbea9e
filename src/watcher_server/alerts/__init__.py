"""Telling people: an alert is a row first, and a message second."""
