"""Applying events, a turn at a time, each in one transaction.

The way of a turn: ``inbox`` takes what waits; ``runs`` joins it with what is known and finds what each run is rolled up
into; ``pipelines`` and ``places`` get or create pipelines and addresses; ``executions``, ``tree`` and ``edges`` write
what follows; ``turn`` calls them in this order. One process applies at a time, so runs and jobs need no order of locks
among themselves; pipelines and addresses, which requests change too, are written in the order of their names.
"""
