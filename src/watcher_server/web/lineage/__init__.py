"""The lineage page."""
