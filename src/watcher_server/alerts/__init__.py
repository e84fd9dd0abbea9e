"""Alerts: each is written as a row in the transaction that found its cause, and delivered afterwards."""
