"""OpenLineage: what other tools report of their runs, read from the events that they send anyway.

An event is stored as it came (``receiving``) and applied a moment later (``applying``). What it says is read once
(``envelope``, ``facets``, ``reading``) and joined with what is known of its run (``folding``). What follows from that
(``deriving``, ``noting``, ``naming``, ``describing``) is written in turns (``applying``), and told (``telling``,
``silence``).
"""

# Here, because a command that only sends events need not load what reads them.
EVENT_PATH = "/api/v1/lineage"
BATCH_PATH = "/api/v1/lineage/batch"
